//! A record as RFC 3164.

use logboom_record::{Record, flags};

use super::{push_field, push_priority, put_two};
use crate::civil::Civil;
use crate::decode::{HOST_BYTES_MAX, PROC_ID_BYTES_MAX};

/// Longest tag that is written: what receivers of today take, though RFC 3164 §4.1.3 says 32.
const TAG_BYTES_MAX: usize = 128;
const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";

/// Appends the record as one RFC 3164 message, without framing. One that came complete in that
/// format and was not changed is copied as it came; any other gets its time in UTC.
pub fn rfc3164(record: &Record<'_>, out: &mut Vec<u8>) {
    if is_copied(record) {
        return out.extend_from_slice(record.raw());
    }
    push_priority(record, out);
    push_time(record, out);
    out.push(b' ');
    push_field(record.host(), HOST_BYTES_MAX, |byte| byte.is_ascii_graphic(), out);
    out.push(b' ');
    let (tag, proc_id) = (record.app_name(), record.proc_id());
    if !tag.is_empty() || !proc_id.is_empty() {
        push_field(tag, TAG_BYTES_MAX, is_tag_byte, out);
        if !proc_id.is_empty() {
            out.push(b'[');
            push_field(proc_id, PROC_ID_BYTES_MAX, is_tag_byte, out);
            out.push(b']');
        }
        out.extend_from_slice(b": ");
    }
    out.extend_from_slice(record.body());
}

fn is_copied(record: &Record<'_>) -> bool {
    const OTHER: u16 = flags::MALFORMED
        | flags::TRUNCATED
        | flags::EDITED
        | flags::CREATED
        | flags::TIME_ASSUMED
        | flags::PRIORITY_ASSUMED;
    record.flags() & (flags::RFC3164 | OTHER) == flags::RFC3164 && !record.host().is_empty()
}

fn is_tag_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b':' | b'[' | b']')
}

/// `Mmm dd hh:mm:ss`, the day padded with a blank.
fn push_time(record: &Record<'_>, out: &mut Vec<u8>) {
    let civil = Civil::of(record.time());
    let mut text = *b"Jan 00 00:00:00";
    let name = (civil.month as usize).saturating_sub(1) * 3;
    if let Some(month) = MONTHS.get(name..name + 3) {
        text[..3].copy_from_slice(month);
    }
    put_two(&mut text, 4, civil.day);
    if civil.day < 10 {
        text[4] = b' ';
    }
    put_two(&mut text, 7, civil.second / 3600);
    put_two(&mut text, 10, civil.second / 60 % 60);
    put_two(&mut text, 13, civil.second % 60);
    out.extend_from_slice(&text);
}
