//! A stream gives the same frames however it is cut, and never more is held than the limit.
//!
//! Input: framing and oversize (1 byte), limit (1 byte), number of cuts (1 byte), the lengths of
//! the reads (1 byte each), then the stream.
#![no_main]

use libfuzzer_sys::fuzz_target;
use logboom_codec::framing::{COUNT_DIGITS_MAX, Frame, Framer, Framing, FramingError, Oversize};

fuzz_target!(|input: &[u8]| {
    let [choice, limit, cuts, rest @ ..] = input else { return };
    let (lengths, stream) = rest.split_at(rest.len().min(usize::from(*cuts)));
    let framing = match choice & 3 {
        0 => Framing::Octet,
        1 => Framing::Lf,
        2 => Framing::Nul,
        _ => Framing::Auto,
    };
    let oversize = if choice & 4 == 0 { Oversize::Truncate } else { Oversize::Reject };
    let limit = usize::from(*limit).max(1);
    let mut stream = stream.to_vec();
    if framing == Framing::Auto {
        // What a NUL means is decided by the first read that shows a mark.
        stream.retain(|byte| *byte != 0);
    }
    let framer = Framer::new(framing, limit, oversize);
    let whole = run(framer.clone(), &stream, &[], usize::MAX, limit);
    let parts = run(framer, &stream, lengths, 1 + usize::from(choice >> 5), limit);
    assert_eq!(whole, parts);
});

type Session = (Vec<(Vec<u8>, bool, bool)>, Result<u64, (u8, bool)>);

fn run(mut framer: Framer, stream: &[u8], lengths: &[u8], frames_max: usize, limit: usize) -> Session {
    let mut got = Vec::new();
    let mut buffer = Vec::new();
    let mut rest = stream;
    let mut take = |buffer: &[u8], frames: &[Frame]| {
        for frame in frames {
            assert!(frame.span.len as usize <= limit && frame.span.len > 0);
            got.push((frame.span.of(buffer).to_vec(), frame.truncated, frame.incomplete));
        }
    };
    for len in lengths.iter().map(|len| usize::from(*len)).chain([stream.len()]) {
        let (read, behind) = rest.split_at(len.min(rest.len()));
        rest = behind;
        buffer.extend_from_slice(read);
        loop {
            let mut frames = Vec::new();
            let result = framer.cut(&buffer, 0, &mut frames, frames_max);
            take(&buffer, &frames);
            match result {
                Ok(consumed) => buffer.drain(..consumed),
                Err(error) => return (got, Err(fault(&buffer, error))),
            };
            if frames.len() < frames_max {
                break;
            }
        }
        assert!(buffer.len() <= limit + COUNT_DIGITS_MAX + 1, "{} bytes held", buffer.len());
    }
    let mut frames = Vec::new();
    assert_eq!(framer.finish(&buffer, 0, &mut frames), Ok(buffer.len()));
    take(&buffer, &frames);
    (got, Ok(framer.rejected()))
}

fn fault(buffer: &[u8], error: FramingError) -> (u8, bool) {
    assert_eq!(buffer.get(error.offset), Some(&error.found));
    (error.found, error.to_string().is_empty())
}
