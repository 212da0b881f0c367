//! Whatever a record holds, it leaves as valid RFC 5424 that reads back as the same, one frame is
//! one frame in each framing, and its JSON is one line.
//!
//! Input: flags (1 byte), four lengths (1 byte each), then host, app name, PROCID, structured
//! data, body.
#![no_main]

use libfuzzer_sys::fuzz_target;
use logboom_codec::decode::{Decoder, Format, Mode};
use logboom_codec::encode::{WireFormat, WireFraming, framed, json, rfc5424};
use logboom_codec::framing::{Frame, Framer, Framing, Oversize};
use logboom_record::{Batch, Head, SourceId, Span, UnixNanos, flags};

fuzz_target!(|input: &[u8]| {
    let [choice, l1, l2, l3, l4, rest @ ..] = input else { return };
    let mut batch = Batch::new(Vec::new(), SourceId(0), UnixNanos(0));
    let mut rest = rest;
    let mut take = |len: u8| {
        let (part, behind) = rest.split_at(rest.len().min(usize::from(len)));
        rest = behind;
        batch.append(part)
    };
    let (host, app_name, proc_id, structured_data) = (take(*l1), take(*l2), take(*l3), take(*l4));
    let body = batch.append(rest);
    let (severity, facility) = (choice & 7, choice >> 3);
    let head = Head {
        time: 1_795_241_082_000_001_000,
        host, app_name, proc_id, msg_id: proc_id, structured_data, body, severity, facility,
        flags: flags::EDITED,
        ..Head::default()
    };
    batch.push(&head);
    let Some(record) = batch.record(0) else { panic!("no record") };

    let mut written = Vec::new();
    rfc5424(&record, &mut written);
    let decoder = Decoder::new(Format::Rfc5424, Mode::Strict);
    let again = match decoder.decode(&written, Span::new(0, written.len()), UnixNanos(0)) {
        Ok(again) => again,
        Err(error) => panic!("{error}: {}", written.escape_ascii()),
    };
    assert!(again.flags & flags::VERBATIM != 0);
    assert_eq!((again.time, again.severity), (record.time().0, severity));
    if !matches!(rest.last(), Some(b'\n' | 0)) {
        assert_eq!(again.body.of(&written), rest);
    }

    for format in [WireFormat::Rfc5424, WireFormat::Rfc3164] {
        for framing in [WireFraming::Octet, WireFraming::Lf] {
            let mut stream = Vec::new();
            framed(format, framing, &record, &mut stream);
            framed(format, framing, &record, &mut stream);
            let mut framer = Framer::new(Framing::Auto, usize::MAX >> 1, Oversize::Reject);
            let mut frames: Vec<Frame> = Vec::new();
            let consumed = framer.cut(&stream, 0, &mut frames, usize::MAX);
            assert_eq!((consumed, frames.len()), (Ok(stream.len()), 2));
        }
    }

    let mut line = Vec::new();
    json(&record, "fuzz", &mut |_| None, &mut line);
    assert!(line.iter().all(|byte| *byte >= 0x20) && std::str::from_utf8(&line).is_ok());
});
