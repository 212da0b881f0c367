//! Frames and batches of the relay: what is read is within its bytes, and is written as it was.
//!
//! Input: control frames, a zero byte, then a batch's head and body.
#![no_main]

use libfuzzer_sys::fuzz_target;
use logboom_codec::quic::{BATCH_HEAD_BYTES, BatchHead, Control, Limits, push_record};
use logboom_record::Position;

const LIMITS: Limits = Limits { bytes: 4 << 20, records: 4096 };

fuzz_target!(|input: &[u8]| {
    let mut rest = input;
    while let Ok(Some((control, len))) = Control::read(rest) {
        let mut written = Vec::new();
        control.write(&mut written);
        // Without what was passed over, it is the same again.
        let (again, all) = Control::read(&written).expect("just written").expect("whole");
        assert_eq!((again, all), (control, written.len()));
        assert!(written.len() <= len);
        rest = &rest[len..];
    }
    let at = input.iter().position(|byte| *byte == 0).map_or(0, |at| at + 1);
    let Some((head, body)) = input[at..].split_first_chunk::<BATCH_HEAD_BYTES>() else { return };
    let Ok(head) = BatchHead::read(*head, LIMITS, Position::default()) else { return };
    let body = &body[..body.len().min(head.bytes as usize)];
    let head = BatchHead { bytes: u32::try_from(body.len()).expect("short"), ..head };
    let Ok(records) = head.records(body) else { return };
    let mut written = Vec::new();
    records.iter().for_each(|record| push_record(&body[record.clone()], &mut written));
    assert_eq!(written, body);
});
