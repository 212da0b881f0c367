//! Structured data: the view ends, covers what the decoder took, and unescaped values are what
//! their pieces are.
//!
//! Input: STRUCTURED-DATA.
#![no_main]

use libfuzzer_sys::fuzz_target;
use logboom_codec::decode::{Decoder, structured_data};
use logboom_record::{Span, UnixNanos, flags};

fuzz_target!(|data: &[u8]| {
    for element in structured_data(data) {
        for param in element.params() {
            let value = param.value();
            assert!(value.len() <= param.raw.len());
            let joined: Vec<u8> = param.pieces().flatten().copied().collect();
            assert_eq!(*value, joined);
            if param.is_quoted {
                // Escaped again, it is the same value.
                let mut raw = Vec::new();
                for byte in value.iter() {
                    if b"\"\\]".contains(byte) {
                        raw.push(b'\\');
                    }
                    raw.push(*byte);
                }
                let text = [b"[a b=\"".as_slice(), &raw, b"\"]"].concat();
                let again = structured_data(&text).next().and_then(|e| e.params().next());
                assert_eq!(again.map(|param| param.value().into_owned()), Some(joined));
            }
        }
    }

    let frame = [b"<1>1 - - - - - ".as_slice(), data].concat();
    let span = Span::new(0, frame.len());
    let Ok(head) = Decoder::default().decode(&frame, span, UnixNanos(0)) else { panic!("gave up") };
    let taken = head.structured_data.of(&frame);
    // The view reads just what the decoder took: cut short, it finds fewer elements.
    let count = structured_data(taken).count();
    assert!(taken.is_empty() == (count == 0));
    if let Some(shorter) = taken.len().checked_sub(1) {
        assert!(structured_data(&taken[..shorter]).count() < count);
    }
    assert!(head.flags & flags::RFC5424 != 0);
});
