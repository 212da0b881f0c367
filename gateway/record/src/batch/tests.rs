//! Batches: rows, fields, created records, extraction.

use super::*;
use proptest::prelude::*;

fn batch_of(bodies: &[&str]) -> Batch {
    let mut batch = Batch::new(Vec::new(), UnixNanos(7));
    for body in bodies {
        let raw = batch.append(body.as_bytes());
        batch.push(&Head { raw, body: raw, severity: 6, facility: 1, ..Head::default() });
    }
    batch
}

#[test]
fn a_row_survives_packing() {
    let mut batch = Batch::new(b"hello web-1 shop".to_vec(), UnixNanos(9));
    let head = Head {
        time: -5,
        raw: Span::new(0, 16),
        body: Span::new(0, 5),
        host: Span::new(6, 11),
        app: Span::new(12, 16),
        severity: 3,
        facility: 23,
        flags: flags::RFC5424 | flags::VERBATIM,
        app_hash: app_hash(b"shop"),
        ..Head::default()
    };
    batch.push(&head);
    let record = batch.record(0).unwrap();
    assert_eq!(record.head(), head);
    assert_eq!(
        (record.body(), record.host(), record.app()),
        (&b"hello"[..], &b"web-1"[..], &b"shop"[..])
    );
    assert!(record.is_verbatim());
    batch.change_flags(0, flags::EDITED, 0);
    assert!(!batch.record(0).unwrap().is_verbatim());
}

#[test]
fn spans_outside_the_arena_read_as_empty() {
    let mut batch = Batch::new(b"abc".to_vec(), UnixNanos(0));
    batch.push(&Head { body: Span { offset: 2, len: u32::MAX }, ..Head::default() });
    assert_eq!(batch.record(0).unwrap().body(), b"");
}

#[test]
fn fields_are_found_by_record_and_the_last_of_a_name_wins() {
    let mut batch = batch_of(&["a", "b", "c"]);
    let text = batch.append(b"deep");
    batch.add_fields(vec![0, 1, 1, 200, 0, 2, 1, 3, 1, 0]);
    batch.add_fields(vec![0, 1, 0, text.offset, text.len, 1, 2, 4, 0, 0]);
    let names: Vec<_> =
        batch.records().map(|r| r.fields().map(|f| f.value).collect::<Vec<_>>()).collect();
    assert_eq!(names[0], [FieldValue::Integer(200), FieldValue::Text(b"deep")]);
    assert_eq!(names[1], [FieldValue::Null]);
    assert_eq!(names[2], [FieldValue::Bool(true)]);
    assert_eq!(batch.record(0).unwrap().field(FieldId(1)), Some(FieldValue::Text(b"deep")));
    assert_eq!(batch.record(1).unwrap().field(FieldId(1)), None);
}

#[test]
fn created_records_stand_behind_their_parent_with_its_fields() {
    let mut batch = batch_of(&["a", "b"]);
    batch.add_fields(vec![0, 1, 1, 5, 0]);
    let (x, y) = (batch.append(b"x"), batch.append(b"y"));
    batch.insert(&[(0, x), (0, y)]);
    let bodies: Vec<_> = batch.records().map(|r| r.body()).collect();
    assert_eq!(bodies, [b"a", b"x", b"y", b"b"]);
    assert_eq!(batch.record(2).unwrap().field(FieldId(1)), Some(FieldValue::Integer(5)));
    assert_eq!(batch.record(3).unwrap().field(FieldId(1)), None);
    assert_eq!(batch.record(1).unwrap().flags() & flags::CREATED, flags::CREATED);
}

proptest! {
    #[test]
    fn extract_keeps_what_it_takes(bodies in prop::collection::vec("[a-z]{0,12}", 1..20), mask in any::<u32>()) {
        let refs: Vec<&str> = bodies.iter().map(String::as_str).collect();
        let mut batch = batch_of(&refs);
        for index in 0..refs.len() {
            let app = batch.append(format!("app-{index}").as_bytes());
            batch.set_app(index, app);
        }
        let picked: Vec<u32> = (0..u32::try_from(refs.len()).unwrap()).filter(|i| mask >> i & 1 == 1).collect();
        let out = batch.extract(&Selection::Some(picked.clone()));
        prop_assert_eq!(out.len(), picked.len());
        for (record, index) in out.records().zip(&picked) {
            prop_assert_eq!(record.body(), refs[*index as usize].as_bytes());
            let app = format!("app-{index}");
            prop_assert_eq!(record.app(), app.as_bytes());
            prop_assert_eq!(record.app_hash(), app_hash(record.app()));
        }
    }
}

#[test]
fn a_long_span_that_many_records_name_is_extracted_once() {
    let long = "x".repeat(100_000);
    let mut batch = batch_of(&["parent", "other"]);
    let text = batch.append(long.as_bytes());
    batch.add_fields(vec![0, 1, 0, text.offset, text.len, 1, 1, 0, text.offset, text.len]);
    batch.insert(&vec![(0, text); 1000]);
    let extract = batch.extract(&Selection::All);
    assert_eq!(extract.len(), 1002);
    assert!(extract.arena().len() < 200_000, "{} bytes", extract.arena().len());
    for (record, old) in extract.records().zip(batch.records()) {
        assert_eq!(record.body(), old.body());
        assert_eq!(record.raw(), old.raw());
        assert_eq!(record.field(FieldId(1)), Some(FieldValue::Text(long.as_bytes())));
    }
}
