//! A record as one line of JSON.

use std::io::Write as _;
use std::sync::Arc;

use logboom_record::{FieldId, FieldValue, Record, UnixNanos};

use super::structured_data::{Group, Meeting, Names, each_group};
use super::{push_number, rfc3339};
use crate::decode::{Param, structured_data};
use crate::json::is_json;
use crate::scan::json_special;

/// Fields beyond this many are not looked for behind one of the same name.
const COMPARED_MAX: usize = 64;

/// Appends the record as one JSON object, without a line feed:
///
/// ```text
/// {"time":…,"received":…,"source":…,"app":…,"severity":…,"facility":…,"host":…,"app_name":…,
///  "proc_id":…,"msg_id":…,"structured_data":{id:{name:value}},"fields":{name:value},"body":…}
/// ```
///
/// Absent members are left out. Times are RFC 3339 with nanoseconds, severity and facility their
/// keywords. Invalid UTF-8 becomes U+FFFD. A parameter name that comes several times in an element
/// has an array of its values; of a field added several times, the last one counts. A field that
/// claims to be JSON and is not becomes a string.
///
/// `source` names the source that took the record in, `names` the fields; one that `names` does
/// not know is left out.
pub fn json(
    record: &Record<'_>,
    source: &str,
    names: &mut dyn FnMut(FieldId) -> Option<Arc<str>>,
    out: &mut Vec<u8>,
) {
    out.push(b'{');
    push_time(b"\"time\":\"", record.time(), out);
    push_time(b",\"received\":\"", record.received(), out);
    push_member(b",\"source\":", source.as_bytes(), out);
    push_member(b",\"app\":", record.app(), out);
    push_member(b",\"severity\":", record.severity().keyword().as_bytes(), out);
    push_member(b",\"facility\":", record.facility().keyword().as_bytes(), out);
    push_member(b",\"host\":", record.host(), out);
    push_member(b",\"app_name\":", record.app_name(), out);
    push_member(b",\"proc_id\":", record.proc_id(), out);
    push_member(b",\"msg_id\":", record.msg_id(), out);
    push_elements(record.structured_data(), out);
    push_fields(record, names, out);
    push_member(b",\"body\":", record.body(), out);
    out.push(b'}');
}

fn push_time(name: &[u8], time: UnixNanos, out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    rfc3339(time, 9, out);
    out.push(b'"');
}

/// A member by its name as it is written, unless it is absent.
fn push_member(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    if !value.is_empty() {
        out.extend_from_slice(name);
        push_string(value, out);
    }
}

fn push_elements(data: &[u8], out: &mut Vec<u8>) {
    if structured_data(data).next().is_none() {
        return;
    }
    out.extend_from_slice(b",\"structured_data\":");
    let mut open = b'{';
    each_group(
        data,
        |one, other| one == other,
        |group| {
            out.push(open);
            open = b',';
            push_string(group.id, out);
            out.push(b':');
            push_params(group, out);
        },
    );
    out.push(b'}');
}

fn push_params(mut params: Group<'_>, out: &mut Vec<u8>) {
    let mut names = Names::of(params.clone().map(|param| param.name), |one, other| one == other);
    let mut open = b'{';
    while let Some(param) = params.next() {
        let meeting = names.meet(param.name);
        if meeting == Meeting::Again {
            continue;
        }
        out.push(open);
        open = b',';
        push_string(param.name, out);
        out.push(b':');
        if meeting == Meeting::Only {
            push_value(&param, out);
            continue;
        }
        out.push(b'[');
        push_value(&param, out);
        for other in params.clone().filter(|other| other.name == param.name) {
            out.push(b',');
            push_value(&other, out);
        }
        out.push(b']');
    }
    if open == b'{' {
        out.push(open);
    }
    out.push(b'}');
}

fn push_value(param: &Param<'_>, out: &mut Vec<u8>) {
    out.push(b'"');
    param.pieces().for_each(|piece| push_text(piece, out));
    out.push(b'"');
}

fn push_fields(
    record: &Record<'_>,
    names: &mut dyn FnMut(FieldId) -> Option<Arc<str>>,
    out: &mut Vec<u8>,
) {
    let mut is_first = true;
    for (index, field) in record.fields().enumerate() {
        let later = record.fields().skip(index + 1).take(COMPARED_MAX);
        if index < COMPARED_MAX && later.into_iter().any(|later| later.name == field.name) {
            continue;
        }
        let Some(name) = names(field.name) else { continue };
        out.extend_from_slice(if is_first { b",\"fields\":{" } else { b"," });
        is_first = false;
        push_string(name.as_bytes(), out);
        out.push(b':');
        push_field_value(field.value, out);
    }
    if !is_first {
        out.push(b'}');
    }
}

fn push_field_value(value: FieldValue<'_>, out: &mut Vec<u8>) {
    match value {
        FieldValue::Text(text) => push_string(text, out),
        FieldValue::Integer(number) => {
            if number < 0 {
                out.push(b'-');
            }
            push_number(number.unsigned_abs(), out);
        }
        FieldValue::Float(number) => push_float(number, out),
        FieldValue::Bool(true) => out.extend_from_slice(b"true"),
        FieldValue::Bool(false) => out.extend_from_slice(b"false"),
        FieldValue::Null => out.extend_from_slice(b"null"),
        FieldValue::Json(text) if is_json(text) => {
            // Line ends can only be blanks between tokens here.
            out.extend(text.iter().map(|b| if matches!(b, b'\n' | b'\r') { b' ' } else { *b }));
        }
        FieldValue::Json(text) => push_string(text, out),
    }
}

/// The shortest text that reads back as the same number; JSON has no infinities.
pub(crate) fn push_float(number: f64, out: &mut Vec<u8>) {
    let start = out.len();
    if !number.is_finite() || write!(out, "{number:?}").is_err() {
        out.truncate(start);
        out.extend_from_slice(b"null");
    }
}

pub(crate) fn push_string(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    push_text(bytes, out);
    out.push(b'"');
}

/// The inside of a string.
fn push_text(bytes: &[u8], out: &mut Vec<u8>) {
    if bytes.is_ascii() {
        return push_escaped(bytes, out);
    }
    for chunk in bytes.utf8_chunks() {
        push_escaped(chunk.valid().as_bytes(), out);
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

fn push_escaped(mut bytes: &[u8], out: &mut Vec<u8>) {
    while let Some(at) = json_special(bytes) {
        out.extend_from_slice(&bytes[..at]);
        push_escape(bytes[at], out);
        bytes = &bytes[at + 1..];
    }
    out.extend_from_slice(bytes);
}

/// A byte that may not stand in a string as it is.
fn push_escape(byte: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match byte {
        b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        _ => {
            let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', HEX[high], HEX[low]]);
        }
    }
}
