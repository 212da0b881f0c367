//! Any frame decodes, its spans lie within it, other bytes of the arena do not matter, and strict
//! and best effort agree.
//!
//! Input: format (1 byte), then the frame.
#![no_main]

use libfuzzer_sys::fuzz_target;
use logboom_codec::decode::{Decoder, Format, Mode, structured_data};
use logboom_record::{Head, Span, UnixNanos, flags};

const RECEIVED: UnixNanos = UnixNanos(1_795_241_082_000_000_000);

fuzz_target!(|input: &[u8]| {
    let [choice, frame @ ..] = input else { return };
    let format = match choice % 3 {
        0 => Format::Auto,
        1 => Format::Rfc5424,
        _ => Format::Rfc3164,
    };
    let decoder = Decoder::new(format, Mode::BestEffort);
    let span = Span::new(0, frame.len());
    let Ok(head) = decoder.decode(frame, span, RECEIVED) else { panic!("best effort gave up") };
    for part in spans(&head) {
        let is_within = part.offset as usize + part.len as usize <= frame.len() && part.len > 0;
        assert!(part == Span::NONE || is_within, "{part:?}");
    }
    assert!(head.severity < 8 && head.facility < 24);
    assert!(head.flags & flags::TIME_ASSUMED == 0 || head.time == RECEIVED.0);
    assert!(head.flags & flags::VERBATIM == 0 || head.flags & flags::MALFORMED == 0);
    for element in structured_data(head.structured_data.of(frame)) {
        assert!(!element.id.is_empty());
    }

    let arena = [b"<1>1 - x]\"", frame, b"\"] 09:;"].concat();
    let moved = decoder.decode(&arena, Span::new(10, 10 + frame.len()), RECEIVED);
    let Ok(moved) = moved else { panic!("best effort gave up") };
    for (one, other) in spans(&head).into_iter().zip(spans(&moved)) {
        assert_eq!(one.of(frame), other.of(&arena));
    }
    assert_eq!((head.time, head.flags), (moved.time, moved.flags));

    match Decoder::new(format, Mode::Strict).decode(frame, span, RECEIVED) {
        Ok(strict) => assert!(strict == head && head.flags & flags::MALFORMED == 0),
        Err(error) => {
            assert!(head.flags & flags::VERBATIM == 0);
            assert!(error.offset <= frame.len() && !error.to_string().is_empty());
        }
    }
});

fn spans(head: &Head) -> [Span; 7] {
    let Head { raw, body, host, app_name, proc_id, msg_id, structured_data, .. } = *head;
    [raw, body, host, app_name, proc_id, msg_id, structured_data]
}
