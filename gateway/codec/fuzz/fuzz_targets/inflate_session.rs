//! Compressed sessions inflate the same however they are cut, never beyond the room they are given;
//! messages never beyond their limit.
//!
//! Input: bytes of a read (1 byte), room (1 byte), then the stream.
#![no_main]

use libfuzzer_sys::fuzz_target;
use logboom_codec::inflate::session::{InflateError, Inflater, inflate_message};

fuzz_target!(|input: &[u8]| {
    let [read, room, stream @ ..] = input else { return };
    let (read, room) = (usize::from(*read).max(1), usize::from(*room).max(1));
    let cut = inflate(stream, read, room);
    let whole = inflate(stream, usize::MAX, 4096);
    assert_eq!(cut.1, whole.1);
    if cut.1.is_none() {
        assert_eq!(cut.0, whole.0);
    }
    let mut out = Vec::new();
    if inflate_message(stream, room, &mut out).is_err() {
        assert!(out.is_empty());
    }
    assert!(out.len() <= room);
});

fn inflate(stream: &[u8], read: usize, room: usize) -> (Vec<u8>, Option<InflateError>) {
    let (mut inflater, mut all) = (Inflater::default(), Vec::new());
    for mut input in stream.chunks(read) {
        loop {
            let mut out = Vec::with_capacity(room);
            let capacity = out.capacity();
            let result = inflater.inflate(input, &mut out);
            assert_eq!(out.capacity(), capacity);
            let is_full = out.len() == capacity;
            all.extend(out);
            match result {
                Err(error) => return (all, Some(error)),
                Ok(used) => input = &input[used..],
            }
            if !is_full {
                assert!(input.is_empty());
                break;
            }
        }
    }
    (all, None)
}
