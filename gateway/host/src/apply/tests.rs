//! Splitting records, and answers that would take more memory than they cost.

use super::*;
use logboom_record::{FieldId, Head, flags};

fn batch_of(bodies: &[&str]) -> Batch {
    let mut batch = Batch::new(Vec::new(), UnixNanos(0));
    for body in bodies {
        let raw = batch.append(body.as_bytes());
        batch.push(&Head { raw, body: raw, severity: 6, ..Head::default() });
    }
    batch
}

fn apply(batch: &mut Batch, verdicts: &mut Verdicts, edits: abi::Edits) -> Vec<u32> {
    check_edits(&edits, batch, &Selection::All, 1).unwrap();
    let mut created = Vec::new();
    let dropped = apply_edits(batch, verdicts, &Selection::All, edits, &mut created);
    insert_created(batch, verdicts, created);
    dropped
}

#[test]
fn the_parts_of_a_dropped_record_live_and_go_where_it_was_sent() {
    let mut batch = batch_of(&["first", "one two", "dead", "last"]);
    let mut verdicts = Verdicts::new(1);
    verdicts.kill(2, 4);
    mark(&mut verdicts.unkept, 1, 4);
    verdicts.sends[0] = vec![1, 3];
    let edits = abi::Edits {
        created: vec![1, 5, 3, 1, 9, 3],
        dropped: vec![1, 0],
        ..abi::Edits::default()
    };
    assert_eq!(apply(&mut batch, &mut verdicts, edits), [0]);
    let living: Vec<&[u8]> =
        batch.records().filter(|r| !verdicts.is_dead(r.index())).map(|r| r.body()).collect();
    assert_eq!(living, [&b"first"[..], b"one", b"two", b"last"]);
    assert_eq!(verdicts.sent_to(0), [2, 3, 5]);
    let kept: Vec<usize> = (0..6).filter(|index| verdicts.is_kept(*index)).collect();
    assert_eq!(kept, [0, 5]);
    assert!(batch.record(2).unwrap().flags() & flags::CREATED != 0);
}

#[test]
fn a_part_made_without_dropping_the_whole_lives_beside_it() {
    let mut batch = batch_of(&["whole", "dropped"]);
    let mut verdicts = Verdicts::new(0);
    let edits = abi::Edits { created: vec![0, 0, 2], dropped: vec![1, 0], ..abi::Edits::default() };
    apply(&mut batch, &mut verdicts, edits);
    let dead: Vec<bool> = (0..3).map(|index| verdicts.is_dead(index)).collect();
    assert_eq!(dead, [false, false, true]);
}

fn check(batch: &Batch, edits: &abi::Edits) -> Result<(), String> {
    check_edits(edits, batch, &Selection::All, 1)
}

fn row(name: FieldId, len: u32) -> [u32; 5] {
    [0, name.0, 0, 0, len]
}

#[test]
fn many_spans_to_the_same_bytes_are_a_lie() {
    let len = 100_000;
    let batch = batch_of(&[&"x".repeat(len)]);
    let len = u32::try_from(len).unwrap();
    let name = FieldNames::global().intern("spans").unwrap();
    let fields =
        |n: usize| abi::Edits { fields: row(name, len).repeat(n), ..abi::Edits::default() };
    assert_eq!(check(&batch, &fields(4)), Ok(()));
    let message = check(&batch, &fields(5)).unwrap_err();
    assert!(message.contains("500000 bytes in all; at most 465536"), "{message}");
    let mixed = abi::Edits {
        changes: [0, 4, 0, len].repeat(3),
        created: [0, 0, len].repeat(2),
        ..abi::Edits::default()
    };
    assert!(check(&batch, &mixed).is_err());
    // What it brings along itself counts for it.
    let own = abi::Edits { arena: vec![0; 100_000], ..fields(8) };
    assert_eq!(check(&batch, &own), Ok(()));
}

#[test]
fn a_body_of_more_than_a_mebibyte_is_a_lie() {
    let batch = batch_of(&["x"]);
    let with = |len: u32| abi::Edits {
        arena: vec![0; 2 << 20],
        created: vec![0, OWN_ARENA, len],
        ..abi::Edits::default()
    };
    assert_eq!(check(&batch, &with(1 << 20)), Ok(()));
    assert!(check(&batch, &with((1 << 20) + 1)).is_err());
    let changed = abi::Edits {
        arena: vec![0; 2 << 20],
        changes: vec![0, 4, OWN_ARENA, (1 << 20) + 1],
        ..abi::Edits::default()
    };
    assert!(check(&batch, &changed).is_err());
}

#[test]
fn created_records_take_over_a_bounded_number_of_fields() {
    let mut batch = batch_of(&["x", "y"]);
    let name = FieldNames::global().intern("copied").unwrap();
    batch.add_fields([1, name.0, 1, 0, 0].repeat(500));
    let with = |parent: u32, n: usize| abi::Edits {
        fields: [1, name.0, 1, 0, 0].repeat(500),
        created: [parent, 0, 1].repeat(n),
        ..abi::Edits::default()
    };
    assert_eq!(check(&batch, &with(1, 262)), Ok(()));
    let message = check(&batch, &with(1, 263)).unwrap_err();
    assert!(message.contains("263000 fields"), "{message}");
    assert_eq!(check(&batch, &with(0, 4096)), Ok(()));
    assert!(check(&batch, &with(0, 4097)).is_err());
}
