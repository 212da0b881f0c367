//! Claims about decompression.

use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

use super::*;

const LIMITS: Limits = Limits { bytes_max: 16 << 20, ratio_max: 200 };

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn zlib(text: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn deflate(text: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn zstd_of(text: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(text, 3).unwrap()
}

fn inflate(coding: Coding, body: &[u8], limits: Limits) -> Result<Vec<u8>, InflateError> {
    let mut inflate = Inflate::new(coding, body, limits)?;
    let mut out = Vec::new();
    while !inflate.more(&mut out, 1000)? {}
    Ok(out)
}

#[test]
fn each_coding_gives_back_what_was_compressed() {
    let text = "a line of a log\n".repeat(10_000).into_bytes();
    for (coding, body) in [
        (Coding::Gzip, gzip(&text)),
        (Coding::Deflate, zlib(&text)),
        (Coding::Deflate, deflate(&text)),
        (Coding::Zstd, zstd_of(&text)),
    ] {
        assert_eq!(inflate(coding, &body, LIMITS).unwrap(), text, "{coding:?}");
    }
    assert_eq!(inflate(Coding::Gzip, &gzip(b""), LIMITS).unwrap(), b"");
}

#[test]
fn c5_every_member_and_every_frame_is_decoded() {
    let gzips = [gzip(b"one\n"), gzip(b""), gzip(b"two\n")].concat();
    assert_eq!(inflate(Coding::Gzip, &gzips, LIMITS).unwrap(), b"one\ntwo\n");
    let frames = [zstd_of(b"one\n"), zstd_of(b"two\n")].concat();
    assert_eq!(inflate(Coding::Zstd, &frames, LIMITS).unwrap(), b"one\ntwo\n");
}

#[test]
fn deflate_that_looks_like_zlib_is_read() {
    // A stored block of one byte, whose first two bytes are a header of zlib, then an empty last one.
    let raw = b"\x78\x01\x00\xfe\xffx\x01\x00\x00\xff\xff";
    assert!(is_zlib(raw));
    assert_eq!(inflate(Coding::Deflate, raw, LIMITS).unwrap(), b"x");
}

#[test]
fn what_is_cut_broken_or_followed_by_more_is_refused() {
    let text = "some text, and some more\n".repeat(100).into_bytes();
    for (coding, body) in [
        (Coding::Gzip, gzip(&text)),
        (Coding::Deflate, zlib(&text)),
        (Coding::Deflate, deflate(&text)),
        (Coding::Zstd, zstd_of(&text)),
    ] {
        for end in 0..body.len() {
            let cut = inflate(coding, &body[..end], LIMITS);
            // An empty body is an empty stream of frames or members to some.
            assert!(cut.is_err() || cut.unwrap().is_empty(), "{coding:?} cut at {end}");
        }
        let more = [&body[..], b"\x01\x02\x03"].concat();
        assert!(inflate(coding, &more, LIMITS).is_err(), "{coding:?}");
        assert!(inflate(coding, b"not compressed at all", LIMITS).is_err(), "{coding:?}");
    }
}

#[test]
fn c1_a_window_of_zstd_beyond_the_limit_is_refused() {
    // A frame of an empty block with a window of 128 MiB.
    let body = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x88, 0x01, 0x00, 0x00];
    assert!(matches!(inflate(Coding::Zstd, &body, LIMITS), Err(InflateError::Broken(_))));
}

#[test]
fn c2_a_bomb_is_refused_before_it_has_grown() {
    let text = vec![0; 40 << 20];
    for (coding, body) in [
        (Coding::Gzip, gzip(&text)),
        (Coding::Deflate, zlib(&text)),
        (Coding::Zstd, zstd_of(&text)),
    ] {
        let mut inflate = Inflate::new(coding, &body, LIMITS).unwrap();
        let mut out = Vec::new();
        let error = loop {
            match inflate.more(&mut out, 64 << 10) {
                Ok(is_over) => assert!(!is_over),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, InflateError::TooLarge), "{coding:?}");
        assert!(out.capacity() <= 32 << 20, "{coding:?}: {}", out.capacity());
    }
    // The ratio counts beyond the first MiB.
    let small = zstd_of(&vec![0; 3 << 20]);
    assert!(matches!(inflate(Coding::Zstd, &small, LIMITS), Err(InflateError::TooLarge)));
    assert!(inflate(Coding::Zstd, &zstd_of(&vec![0; 1 << 20]), LIMITS).is_ok());
}

#[test]
fn codings_are_named_as_in_http() {
    assert_eq!(Coding::from_token(" GZip"), Some(Coding::Gzip));
    assert_eq!(Coding::from_token("x-gzip"), Some(Coding::Gzip));
    assert_eq!(Coding::from_token("deflate"), Some(Coding::Deflate));
    assert_eq!(Coding::from_token("zstd"), Some(Coding::Zstd));
    for unknown in ["br", "gzip, gzip", "", "identity"] {
        assert_eq!(Coding::from_token(unknown), None);
    }
}
