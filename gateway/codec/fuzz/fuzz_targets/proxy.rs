//! A PROXY header never asks for more than its limit, always gets on, and asks for nothing behind
//! itself.
//!
//! Input: the first bytes of a connection.
#![no_main]

use libfuzzer_sys::fuzz_target;
use logboom_codec::proxy::{HEADER_BYTES_MAX, Progress, read};

fuzz_target!(|stream: &[u8]| {
    let mut taken = 0;
    while let Ok(Progress::More(more)) = read(&stream[..taken]) {
        assert!(more > 0);
        taken += more;
        assert!(taken <= HEADER_BYTES_MAX);
        if taken > stream.len() {
            return;
        }
    }
    let header = &stream[..taken];
    if let Ok(Progress::Done(_)) = read(header) {
        // Whole, and only now.
        for end in 0..taken {
            assert!(!matches!(read(&stream[..end]), Ok(Progress::Done(_))));
        }
    }
});
