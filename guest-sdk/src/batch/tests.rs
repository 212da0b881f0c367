//! Views over lists, honest and not.

use super::*;

/// Two records over `hello world`, rows two words longer than this version knows.
fn rows() -> Vec<u32> {
    let mut rows = Vec::new();
    for (offset, len) in [(0, 5), (6, 5)] {
        let mut row = [0u32; STRIDE + 2];
        (row[column::BODY], row[column::BODY + 1]) = (offset, len);
        row[column::TIME] = u32::MAX;
        row[column::TIME + 1] = u32::MAX;
        row[column::META] = 3 | 16 << 8 | 5 << 16;
        row[STRIDE] = 0xdead_beef;
        rows.extend_from_slice(&row);
    }
    rows
}

fn longer(rows: &[u32]) -> Batch<'_> {
    Batch::new(b"hello world", 22, rows, &[], 0).unwrap()
}

#[test]
fn rows_longer_than_known_are_accepted() {
    let rows = rows();
    let batch = longer(&rows);
    let bodies: Vec<&[u8]> = batch.records().map(|record| record.body()).collect();
    assert_eq!(bodies, [b"hello", b"world"]);
    assert_eq!(batch.len(), 2);
    assert_eq!(batch.record(1).unwrap().body(), b"world");
    assert!(batch.record(2).is_none());
    assert!(batch.record(u32::MAX).is_none());
}

#[test]
fn rows_shorter_than_known_are_refused() {
    for stride in [0, 1, 19] {
        let error = Batch::new(b"", stride, &[], &[], 0).unwrap_err();
        assert_eq!(error, format!("the batch has rows of {stride} words; 20 are needed"));
    }
}

#[test]
fn head_words_are_taken_apart() {
    let rows = rows();
    let record = longer(&rows).record(0).unwrap();
    assert_eq!(record.time(), -1);
    assert_eq!((record.severity(), record.facility(), record.flags()), (3, 16, 5));
    assert_eq!(record.host(), b"");
}

#[test]
fn spans_outside_of_the_arena_read_as_absent() {
    for (offset, len) in [(0, 12), (12, 1), (11, 1), (u32::MAX, 1), (1, u32::MAX), (u32::MAX, 9)] {
        let mut rows = rows();
        (rows[column::BODY], rows[column::BODY + 1]) = (offset, len);
        assert_eq!(longer(&rows).record(0).unwrap().body(), b"", "{offset} {len}");
    }
}

#[test]
fn fields_are_found_by_iteration_and_by_index() {
    let rows = rows();
    let fields = [
        [0, 7, 1, 5, 0],
        [1, 7, 0, 6, 5],
        [1, 8, 2, 0, 0x3ff8_0000],
        [1, 9, 99, 0, 0],
        [1, 7, 3, 1, 0],
        [5, 7, 4, 0, 0],
    ]
    .as_flattened()
    .to_vec();
    let batch = Batch::new(b"hello world", 22, &rows, &fields, 0).unwrap();
    let by_iteration: Vec<_> = batch.records().collect();
    let by_index = [batch.record(0).unwrap(), batch.record(1).unwrap()];
    for [first, second] in [[by_iteration[0], by_iteration[1]], by_index] {
        assert_eq!(first.field(FieldId(7)), Some(Value::Integer(5)));
        assert_eq!(first.field(FieldId(8)), None);
        assert_eq!(second.field(FieldId(7)), Some(Value::Bool(true)), "the later one counts");
        assert_eq!(second.field(FieldId(8)), Some(Value::Float(1.5)));
        assert_eq!(second.field(FieldId(9)), None, "a kind that does not exist");
        assert_eq!(second.fields().count(), 3);
    }
}

#[test]
fn a_torn_last_row_is_no_record() {
    let mut rows = rows();
    rows.pop();
    assert_eq!(longer(&rows).len(), 1);
    assert_eq!(longer(&rows).records().count(), 1);
}
