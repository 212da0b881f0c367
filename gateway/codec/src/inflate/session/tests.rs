//! Streams and messages, whole, cut anywhere, damaged, and such as only want to become large.

use std::io::Write;

use flate2::write::ZlibEncoder;
use flate2::{Compress, Compression, FlushCompress};
use proptest::prelude::*;

use super::*;

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// One stream, flushed behind each part, as rsyslog does at the end of a transaction.
fn flushed(parts: &[&[u8]]) -> Vec<u8> {
    let mut stream = Compress::new(Compression::default(), true);
    let mut out = Vec::with_capacity(1 << 20);
    for part in parts {
        stream.compress_vec(part, &mut out, FlushCompress::Sync).unwrap();
    }
    out
}

/// Inflates in reads of so many bytes into a buffer of so many.
fn inflate(stream: &[u8], read: usize, room: usize) -> Result<Vec<u8>, InflateError> {
    let (mut inflater, mut all) = (Inflater::default(), Vec::new());
    for mut input in stream.chunks(read) {
        loop {
            let mut out = Vec::with_capacity(room);
            let capacity = out.capacity();
            let used = inflater.inflate(input, &mut out)?;
            assert_eq!(out.capacity(), capacity, "it grew");
            input = &input[used..];
            let is_full = out.len() == capacity;
            all.extend(out);
            if !is_full {
                assert!(input.is_empty(), "{} bytes left although there was room", input.len());
                break;
            }
        }
    }
    Ok(all)
}

#[test]
fn a_stream_is_told_by_its_first_two_bytes() {
    for level in 0..10 {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::new(level));
        encoder.write_all(b"<13>x").unwrap();
        assert_eq!(is_zlib(&encoder.finish().unwrap()), Some(true), "{level}");
    }
    assert_eq!([is_zlib(b""), is_zlib(b"x")], [None, None]);
    for text in ["<13>x", "13 <13>", "xylophone", "x", "x\n"] {
        assert_ne!(is_zlib(text.as_bytes()), Some(true), "{text}");
    }
    // With a dictionary, which nobody has given us.
    assert_eq!(is_zlib(&[0x78, 0xbb]), Some(false));
}

#[test]
fn what_was_flushed_comes_out_without_an_end() {
    let parts: [&[u8]; 3] = [b"<13>one\n", b"<13>two\n", b"<13>three\n"];
    assert_eq!(inflate(&flushed(&parts), 5, 4).unwrap(), parts.concat());
}

#[test]
fn c5_streams_one_after_the_other_are_one_session() {
    let both = [zlib(b"<13>one\n"), zlib(b"<13>two\n")].concat();
    assert_eq!(inflate(&both, 3, 5).unwrap(), b"<13>one\n<13>two\n");
    let garbage = [zlib(b"<13>one\n"), b"and more".to_vec()].concat();
    assert_eq!(inflate(&garbage, 100, 100), Err(InflateError::Damaged));
}

#[test]
fn c2_a_stream_that_only_grows_is_ended_soon() {
    let bomb = zlib(&vec![0; 64 << 20]);
    assert_eq!(inflate(&bomb, 4096, 64 << 10), Err(InflateError::Ratio));
    // Byte by byte, and in streams one after the other, each of them small.
    assert_eq!(inflate(&bomb, 1, 64 << 10), Err(InflateError::Ratio));
    let many = zlib(&vec![0; 1 << 20]).repeat(8);
    assert_eq!(inflate(&many, 4096, 64 << 10), Err(InflateError::Ratio));
    // Records are not so.
    let line = b"<13>1 2026-11-21T05:44:01.000001Z web-1 nginx 77 - - GET / HTTP/1.1\n";
    assert!(inflate(&zlib(&line.repeat(40_000)), 4096, 64 << 10).is_ok());
}

#[test]
fn a_message_is_inflated_up_to_its_limit() {
    let message = |text: &[u8]| [b"z".to_vec(), zlib(text)].concat();
    let long = vec![b'a'; 100_000];
    for (text, most, expected) in [
        (&b"<13>short"[..], 100, false),
        (&b"<13>short"[..], 9, false),
        (&b"<13>short"[..], 8, true),
        (&long, 100_000, false),
        (&long, 99_999, true),
        (&long, 10, true),
    ] {
        let mut out = b"before".to_vec();
        let frame = message(text);
        assert!(is_compressed_message(&frame));
        assert_eq!(inflate_message(&frame, most, &mut out), Ok(expected), "{} {most}", text.len());
        assert_eq!(out, [b"before", &text[..text.len().min(most)]].concat());
    }
    let empty = message(b"");
    assert_eq!(inflate_message(&empty, 10, &mut Vec::new()), Ok(false));
    for text in ["<13>x", "z", "zx", "zebra crossing", ""] {
        assert!(!is_compressed_message(text.as_bytes()), "{text}");
    }
}

#[test]
fn c2_a_message_of_zeros_takes_no_more_than_its_limit() {
    let bomb = [b"z".to_vec(), zlib(&vec![0; 64 << 20])].concat();
    let mut out = Vec::new();
    assert_eq!(inflate_message(&bomb, 65_536, &mut out), Ok(true));
    assert_eq!(out.len(), 65_536);
}

#[test]
fn a_message_that_is_cut_or_damaged_is_refused_and_leaves_nothing() {
    let whole = [b"z".to_vec(), zlib(b"<13>1 - host app - - - some text")].concat();
    for end in 3..whole.len() {
        let mut out = b"before".to_vec();
        assert_eq!(inflate_message(&whole[..end], 100, &mut out), Err(InflateError::Damaged));
        assert_eq!(out, b"before");
    }
}

proptest! {
    #[test]
    fn what_was_compressed_comes_out_however_it_is_cut(
        bytes in prop::collection::vec(0..4u8, 0..2_000),
        read in 1..300usize,
        room in 1..300usize,
    ) {
        prop_assert_eq!(inflate(&zlib(&bytes), read, room).unwrap(), bytes);
    }

    #[test]
    fn bytes_of_any_kind_do_no_harm(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        is_damaged in any::<bool>(),
        at in any::<prop::sample::Index>(),
    ) {
        let mut stream = bytes.clone();
        if is_damaged {
            stream = [b"z".to_vec(), zlib(&bytes)].concat();
            let at = at.index(stream.len());
            stream[at] = stream[at].wrapping_add(1);
        }
        let mut out = Vec::new();
        let is_taken = inflate_message(&stream, 100, &mut out).is_ok();
        prop_assert!(out.len() <= 100 && (is_taken || out.is_empty()));
        drop(inflate(&stream, 7, 16));
        drop(inflate(stream.get(1..).unwrap_or_default(), 7, 16));
    }
}
