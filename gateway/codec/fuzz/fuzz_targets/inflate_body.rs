//! Any bytes are decompressed or refused without a panic and within their limit, and what our own
//! compressors of no compression make is read whatever the step.
//!
//! Input: coding (1 byte), step (1 byte), then the body.
#![no_main]

use libfuzzer_sys::fuzz_target;
use logboom_codec::inflate::body::{Coding, Inflate, Limits};

const LIMITS: Limits = Limits { bytes_max: 2 << 20, ratio_max: 100 };

fuzz_target!(|input: &[u8]| {
    let [choice, step, body @ ..] = input else { return };
    let coding = match choice % 3 {
        0 => Coding::Gzip,
        1 => Coding::Deflate,
        _ => Coding::Zstd,
    };
    let once = inflate(coding, body, 1 << 20);
    let stepwise = inflate(coding, body, usize::from(*step) * 64 + 64);
    assert_eq!(once, stepwise);
});

fn inflate(coding: Coding, body: &[u8], step: usize) -> Option<Vec<u8>> {
    let mut inflate = Inflate::new(coding, body, LIMITS).ok()?;
    let mut out = Vec::new();
    while !inflate.more(&mut out, step).ok()? {
        assert!(out.len() <= LIMITS.bytes_max);
    }
    assert!(out.len() <= LIMITS.bytes_max);
    Some(out)
}
