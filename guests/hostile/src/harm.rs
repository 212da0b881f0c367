//! Harm that needs no wrong answer: time, memory, stack, traps, floods, calls that are not there.

use std::hint::black_box;

use logboom_guest::{Batch, Edits, FieldId, Series, Updates, host};

use crate::METRIC;

/// How much a flood brings with each batch.
const FLOOD: u32 = 100_000;

pub(crate) fn spin() {
    let mut turns = 0u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

pub(crate) fn allocate() {
    let mut hoard: Vec<Vec<u8>> = Vec::new();
    loop {
        hoard.push(black_box(vec![1; 1 << 20]));
    }
}

pub(crate) fn recurse() {
    #[expect(unconditional_recursion, reason = "that is the harm")]
    fn deeper(depth: u64) -> u64 {
        let room = black_box([depth; 64]);
        deeper(depth + 1) + room[0]
    }
    black_box(deeper(0));
}

#[expect(clippy::panic, reason = "that is the harm")]
pub(crate) fn panic(why: &str) {
    panic!("{why}");
}

pub(crate) fn has_marker(body: &[u8]) -> bool {
    body.windows(6).any(|window| window == b"POISON")
}

pub(crate) fn is_thousandth(body: &[u8]) -> bool {
    let hash = body.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash.is_multiple_of(1000)
}

#[expect(unsafe_code, reason = "there is no safe way to a text that is none")]
pub(crate) fn not_utf8() -> String {
    // SAFETY: none; it breaks the promise of `String` on purpose. Nothing in the guest reads the
    // text before it crosses.
    unsafe { String::from_utf8_unchecked(vec![b'a', 0xff, 0xfe, 0xc3, b'(']) }
}

pub(crate) fn flood_log() {
    for line in 0..FLOOD {
        host::log(host::Level::Error, &format!("flood {line} {}", "x".repeat(100)));
    }
}

pub(crate) fn flood_fields(batch: &Batch<'_>, edits: &mut Edits<'_>, call: u32) {
    let Some(record) = batch.record(0) else { return };
    for number in 0..FLOOD {
        let id = FieldId::intern(&format!("flood_{call}_{number}"));
        edits.integer(&record, id, 1);
    }
}

pub(crate) fn flood_series(updates: &mut Updates, call: u32) {
    for number in 0..FLOOD {
        let label = format!("flood-{call}-{number}");
        updates.add(Series::intern(METRIC, &[label.as_bytes()]), 1.0);
    }
}

pub(crate) fn read_environment() {
    black_box(std::env::vars().count());
}

pub(crate) fn read_clock() {
    black_box(std::time::SystemTime::now());
}

pub(crate) fn read_file() {
    black_box(std::fs::read("/etc/passwd").is_ok());
}

#[expect(clippy::print_stdout, reason = "that is the harm")]
pub(crate) fn print() {
    println!("printed by a guest");
}

#[expect(clippy::exit, reason = "that is the harm")]
pub(crate) fn leave() {
    std::process::exit(0);
}
