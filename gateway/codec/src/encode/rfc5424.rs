//! A record as RFC 5424.

use logboom_record::{Record, UnixNanos};

use super::structured_data::push_structured_data;
use super::{push_field, push_priority, rfc3339};
use crate::decode::{
    APP_NAME_BYTES_MAX, HOST_BYTES_MAX, MSG_ID_BYTES_MAX, PROC_ID_BYTES_MAX, structured_data,
};

const BOM: &[u8] = b"\xef\xbb\xbf";
const MICROSECOND: i64 = 1_000;
const SECOND: i64 = 1_000_000_000;

/// Appends the record as one RFC 5424 message, without framing. One that is
/// [verbatim](Record::is_verbatim) is copied as it came.
pub fn rfc5424(record: &Record<'_>, out: &mut Vec<u8>) {
    if record.is_verbatim() {
        return out.extend_from_slice(record.raw());
    }
    push_priority(record, out);
    out.extend_from_slice(b"1 ");
    push_time(record.time(), out);
    for (field, len_max) in [
        (record.host(), HOST_BYTES_MAX),
        (record.app_name(), APP_NAME_BYTES_MAX),
        (record.proc_id(), PROC_ID_BYTES_MAX),
        (record.msg_id(), MSG_ID_BYTES_MAX),
    ] {
        out.push(b' ');
        push_field(field, len_max, |byte| byte.is_ascii_graphic(), out);
    }
    out.push(b' ');
    let data = record.structured_data();
    if structured_data(data).next().is_some() {
        push_structured_data(data, out);
    } else {
        out.push(b'-');
    }
    let body = record.body();
    if !body.is_empty() {
        out.push(b' ');
        if body.starts_with(BOM) {
            // A receiver takes one mark away.
            out.extend_from_slice(BOM);
        }
        out.extend_from_slice(body);
    }
}

/// With as much of a fraction as it has and RFC 5424 allows.
fn push_time(time: UnixNanos, out: &mut Vec<u8>) {
    let micros = time.0.rem_euclid(SECOND) / MICROSECOND;
    rfc3339(time, if micros == 0 { 0 } else { 6 }, out);
}
