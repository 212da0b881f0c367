//! The frames against the specification's vectors, and against themselves.

use proptest::prelude::*;

use super::*;

const SPECIFICATION: &str = include_str!("../../../../docs/spec/quic.md");
const LIMITS: Limits = Limits { bytes: 4 << 20, records: 4096 };
const START: Position = Position { entry: 0, record: 0 };

/// The bytes of the specification's vectors of a name, with what stands behind the name.
fn vectors(name: &str) -> Vec<(String, Vec<u8>)> {
    let blocks = SPECIFICATION.split("```vector ").skip(1);
    let mut found = Vec::new();
    for block in blocks {
        let (title, rest) = block.split_once('\n').unwrap();
        let hex = rest.split("```").next().unwrap();
        let (first, argument) = title.split_once(' ').unwrap_or((title, ""));
        if first == name {
            let digits: Vec<u8> = hex.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
            let byte =
                |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
            found.push((argument.to_owned(), digits.chunks(2).map(byte).collect()));
        }
    }
    assert!(!found.is_empty(), "no vector {name}");
    found
}

fn id(first: u8) -> ProducerId {
    ProducerId(std::array::from_fn(|at| first + u8::try_from(at).unwrap()))
}

fn check(name: &str, control: &Control) {
    let (_, bytes) = vectors(name).remove(0);
    let mut written = Vec::new();
    control.write(&mut written);
    assert_eq!(written, bytes, "{name}");
    assert_eq!(Control::read(&bytes), Ok(Some((control.clone(), bytes.len()))), "{name}");
    for len in 0..bytes.len() {
        assert_eq!(Control::read(&bytes[..len]), Ok(None), "{name} cut at {len}");
    }
}

#[test]
fn docs_vectors_are_what_is_spoken() {
    let producers = vec![id(0), id(16)];
    check("hello", &Control::Hello(Hello { versions: (1, 1), producers }));
    let positions = vec![START, Position { entry: 7, record: 3 }];
    check("welcome", &Control::Welcome(Welcome { version: 1, limits: LIMITS, positions }));
    let position = Position { entry: 1 << 32, record: 2 };
    check("ack", &Control::Ack { producer: 1, position });
    check("goaway", &Control::GoAway);
    for (code, bytes) in vectors("refused") {
        let error = Control::read(&bytes).unwrap_err();
        assert_eq!(error.code().number().to_string(), code, "{error}");
    }
}

#[test]
fn the_docs_stream_is_what_is_written_and_read() {
    let (_, bytes) = vectors("stream").remove(0);
    let mut body = Vec::new();
    push_record(b"<14>1 - - - - - - a", &mut body);
    push_record(b"<14>1 - - - - - - bc", &mut body);
    let position = Position { entry: 9, record: 2 };
    let head = BatchHead { position, records: 2, bytes: u32::try_from(body.len()).unwrap() };
    let written = [&1u16.to_be_bytes()[..], &head.to_bytes(), &body].concat();
    assert_eq!(written, bytes);
    assert_eq!(BatchHead::read(head.to_bytes(), LIMITS, START), Ok(head));
    let records = head.records(&body).unwrap();
    assert_eq!(&body[records[1].clone()], b"<14>1 - - - - - - bc");
}

#[test]
fn the_docs_table_of_codes_is_that_of_the_code() {
    for code in Code::ALL {
        let row = format!("| {} | {} |", code.number(), format!("{code:?}").to_uppercase());
        assert!(SPECIFICATION.contains(&row), "{row}");
        assert_eq!(Code::of(code.number().into()), Some(code));
    }
    assert_eq!(Code::of(12), None);
}

#[test]
fn a_frame_that_is_not_known_is_passed_over() {
    let bytes = [200, 0, 2, 9, 9, 4, 0, 0];
    assert_eq!(Control::read(&bytes), Ok(Some((Control::Unknown(200), 5))));
    assert_eq!(Control::read(&bytes[5..]), Ok(Some((Control::GoAway, 3))));
    // Bytes behind those that are known are of a later version too.
    let ack = [3, 0, 16, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 7, 7];
    let position = Position { entry: 1, record: 2 };
    assert_eq!(Control::read(&ack), Ok(Some((Control::Ack { producer: 1, position }, 19))));
}

#[test]
fn a_frame_over_the_limit_is_refused_before_it_has_come() {
    assert_eq!(Control::read(&[1, 0x10, 0x01]), Err(RelayError::FrameBytes(4097)));
    assert_eq!(Control::read(&[9, 0xff, 0xff]), Err(RelayError::FrameBytes(65535)));
}

#[test]
fn a_batch_that_is_too_large_or_not_behind_the_last_is_refused() {
    let good = BatchHead { position: Position { entry: 5, record: 1 }, records: 10, bytes: 300 };
    let last = Position { entry: 5, record: 0 };
    assert_eq!(BatchHead::read(good.to_bytes(), LIMITS, last), Ok(good));
    for (head, last, expected) in [
        (BatchHead { records: 0, ..good }, last, RelayError::BatchRecords(0)),
        (BatchHead { records: 4097, ..good }, last, RelayError::BatchRecords(4097)),
        (BatchHead { bytes: u32::MAX, ..good }, last, RelayError::BatchBytes(u32::MAX)),
        (BatchHead { bytes: 29, ..good }, last, RelayError::BatchBytes(29)),
        (good, good.position, RelayError::Order),
        (good, Position { entry: 6, record: 0 }, RelayError::Order),
    ] {
        assert_eq!(BatchHead::read(head.to_bytes(), LIMITS, last), Err(expected));
    }
}

#[test]
fn records_that_do_not_add_up_to_their_batch_are_refused() {
    let position = Position { entry: 1, record: 0 };
    for (body, records, at) in [
        (&b"3 abc"[..], 2, 5),
        (b"3 abc3 abc", 1, 10),
        (b"4 abc", 1, 0),
        (b"2 abc", 1, 4),
        (b"03 abc", 1, 0),
        (b"0 ", 1, 0),
        (b"3 abc\n", 1, 5),
        (b"-1 abc", 1, 0),
        (b"3\tabc", 1, 0),
        (b"99999999999999999999999 abc", 1, 0),
        (b"18446744073709551615 abc", 1, 0),
        (b"3", 1, 0),
    ] {
        let bytes = u32::try_from(body.len()).unwrap();
        let head = BatchHead { position, records, bytes };
        assert_eq!(head.records(body), Err(RelayError::Framing(at)), "{}", body.escape_ascii());
    }
}

proptest! {
    #[test]
    fn batches_come_back_as_they_were(
        records in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 1..20),
        entry: u64, record: u32,
    ) {
        let mut body = Vec::new();
        records.iter().for_each(|record| push_record(record, &mut body));
        let head = BatchHead {
            position: Position { entry, record },
            records: u32::try_from(records.len()).unwrap(),
            bytes: u32::try_from(body.len()).unwrap(),
        };
        prop_assume!(head.position > START);
        prop_assert_eq!(BatchHead::read(head.to_bytes(), LIMITS, START), Ok(head));
        let read: Vec<Vec<u8>> =
            head.records(&body).unwrap().into_iter().map(|range| body[range].to_vec()).collect();
        prop_assert_eq!(read, records);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(Some((control, len))) = Control::read(&bytes) {
            prop_assert!(len <= bytes.len());
            let mut written = Vec::new();
            control.write(&mut written);
            prop_assert!(written.len() <= len);
        }
        let head = BatchHead { position: START, records: 1, bytes: 10 };
        drop(head.records(&bytes));
    }
}
