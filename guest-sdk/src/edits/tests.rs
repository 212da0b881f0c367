//! Tables made of edits.

use super::*;
use crate::testkit::Inputs;

const ID: FieldId = FieldId(3);

#[test]
fn parts_of_the_batch_are_pointed_at_and_others_copied() {
    let inputs = Inputs::new(["hello world"]);
    let batch = inputs.batch().unwrap();
    let record = batch.record(0).unwrap();
    let mut edits = Edits::new(batch);
    let at = offset_in(batch.arena(), record.body()).unwrap();
    edits.text(&record, ID, &record.body()[6..]);
    edits.text(&record, ID, b"copied");
    edits.text(&record, ID, b"");
    edits.json(&record, ID, b"{}");
    let tables = edits.finish();
    assert_eq!(tables.arena, b"copied{}");
    let expected =
        [[0, 3, 0, at + 6, 5], [0, 3, 0, OWN, 6], [0, 3, 0, 0, 0], [0, 3, 5, OWN | 6, 2]];
    assert_eq!(tables.fields, expected.as_flattened());
}

#[test]
fn numbers_keep_their_bits() {
    let inputs = Inputs::new(["x"]);
    let batch = inputs.batch().unwrap();
    let record = batch.record(0).unwrap();
    let mut edits = Edits::new(batch);
    edits.integer(&record, ID, -2);
    edits.float(&record, ID, 1.5);
    edits.bool(&record, ID, true);
    edits.null(&record, ID);
    edits.set_time(&record, i64::MIN);
    edits.set_severity(&record, 200);
    let tables = edits.finish();
    let expected = [
        [0, 3, 1, 0xffff_fffe, 0xffff_ffff],
        [0, 3, 2, 0, 0x3ff8_0000],
        [0, 3, 3, 1, 0],
        [0, 3, 4, 0, 0],
    ];
    assert_eq!(tables.fields, expected.as_flattened());
    assert_eq!(tables.changes, [[0, 0, 0, 0x8000_0000], [0, 18, 7, 0]].as_flattened());
}

#[test]
fn edits_out_of_order_are_sorted_by_record() {
    let inputs = Inputs::new(["a", "b"]);
    let batch = inputs.batch().unwrap();
    let [a, b] = [batch.record(0).unwrap(), batch.record(1).unwrap()];
    let mut edits = Edits::new(batch);
    edits.integer(&b, ID, 1);
    edits.integer(&a, ID, 2);
    edits.integer(&b, ID, 3);
    edits.drop(&b, Reason(0));
    edits.drop(&a, Reason(1));
    edits.create(&b, b.body());
    edits.create(&a, b"new");
    let tables = edits.finish();
    let order: Vec<[u32; 2]> =
        tables.fields.as_chunks::<5>().0.iter().map(|row| [row[0], row[3]]).collect();
    assert_eq!(order, [[0, 2], [1, 1], [1, 3]]);
    assert_eq!(tables.dropped, [0, 1, 1, 0]);
    assert_eq!(tables.created[0..3], [0, OWN, 3]);
    assert_eq!(tables.created[3], 1);
}

#[test]
fn a_rollback_takes_everything_back() {
    let inputs = Inputs::new(["a"]);
    let batch = inputs.batch().unwrap();
    let record = batch.record(0).unwrap();
    let mut edits = Edits::new(batch);
    edits.text(&record, ID, b"stays");
    let checkpoint = edits.checkpoint();
    edits.text_with(&record, ID, |arena| arena.extend_from_slice(b"goes"));
    edits.set_body(&record, b"goes");
    edits.set_with(&record, Column::Host, |arena| arena.push(b'h'));
    edits.create(&record, b"goes");
    edits.drop(&record, Reason(0));
    edits.rollback(checkpoint);
    let tables = edits.finish();
    assert_eq!(tables.sizes(), [5, 5, 0, 0, 0]);
}

#[test]
fn a_field_whose_name_was_refused_is_not_added() {
    let inputs = Inputs::new(["a"]);
    let batch = inputs.batch().unwrap();
    let mut edits = Edits::new(batch);
    edits.integer(&batch.record(0).unwrap(), FieldId::REFUSED, 1);
    assert_eq!(edits.finish(), EditTables::default());
}
