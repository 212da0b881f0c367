//! RFC 5424 behind the priority.

use logboom_record::{Span, flags};

use super::structured_data::{Notes, Step, open, step};
use super::timestamp::{Moment, rfc3339};
use super::{
    APP_NAME_BYTES_MAX, BOM, Expected, HOST_BYTES_MAX, MSG_ID_BYTES_MAX, PROC_ID_BYTES_MAX, Reader,
};
use crate::scan::graph_end;

/// How many SD-IDs are remembered to find one that comes twice.
const SD_IDS_MAX: usize = 8;

/// Where reading goes on, or else where the body starts because it cannot.
type Next = Result<usize, usize>;

/// Reads what follows the priority.
#[inline]
pub(super) fn read(reader: &mut Reader<'_>, at: usize) {
    reader.head.flags |= flags::RFC5424;
    let mut is_exact = true;
    match header(reader, at, &mut is_exact) {
        Ok(body) => {
            if reader.bytes.get(body..).is_some_and(|body| body.starts_with(BOM)) {
                reader.body(body + BOM.len());
            } else {
                reader.body(body);
            }
        }
        Err(body) => reader.body(body),
    }
    if is_exact && reader.first_fault.is_none() {
        reader.head.flags |= flags::VERBATIM;
    }
}

#[inline]
fn header(reader: &mut Reader<'_>, at: usize, is_exact: &mut bool) -> Next {
    let at = version(reader, at, is_exact)?;
    let at = time(reader, at, is_exact)?;
    let (span, next) = field(reader, at, HOST_BYTES_MAX, Expected::Hostname);
    reader.head.host = span;
    let (span, next) = field(reader, next?, APP_NAME_BYTES_MAX, Expected::AppName);
    reader.head.app_name = span;
    let (span, next) = field(reader, next?, PROC_ID_BYTES_MAX, Expected::ProcId);
    reader.head.proc_id = span;
    let (span, next) = field(reader, next?, MSG_ID_BYTES_MAX, Expected::MsgId);
    reader.head.msg_id = span;
    structured_data(reader, next?, is_exact)
}

/// VERSION SP: 1 to 999.
#[inline]
fn version(reader: &mut Reader<'_>, at: usize, is_exact: &mut bool) -> Next {
    let tail = reader.bytes.get(at..).unwrap_or(&[]);
    if let [b'1', b' ', ..] = tail {
        return Ok(at + 2);
    }
    *is_exact = false;
    let digits = tail.iter().take(3).take_while(|byte| byte.is_ascii_digit()).count();
    if digits > 0 && tail.first() != Some(&b'0') && tail.get(digits) == Some(&b' ') {
        return Ok(at + digits + 1);
    }
    reader.assume_time();
    reader.fault(at + digits, Expected::Version);
    Err(at)
}

/// TIMESTAMP SP. One that is written like a time but is none is passed over.
#[inline]
fn time(reader: &mut Reader<'_>, at: usize, is_exact: &mut bool) -> Next {
    if let Some([b'-', b' ']) = reader.bytes.get(at..).and_then(|tail| tail.first_chunk()) {
        reader.assume_time();
        return Ok(at + 2);
    }
    let Some(stamp) = rfc3339(reader.bytes, at, 0).filter(|stamp| is_ended(reader, stamp.end))
    else {
        return wrong_time(reader, at);
    };
    match stamp.moment {
        Moment::At(nanos) => reader.head.time = nanos,
        Moment::Beyond => reader.assume_time(),
        Moment::Invalid => return wrong_time(reader, at),
    }
    if !stamp.is_exact {
        *is_exact = false;
        if let Some(broken) = stamp.broken_at {
            let is_digit = reader.bytes.get(broken).is_some_and(u8::is_ascii_digit);
            reader.fault(broken, if is_digit { Expected::Fraction } else { Expected::Timestamp });
        }
        if !stamp.is_zoned {
            reader.head.flags |= flags::ZONE_ASSUMED;
        }
    }
    after(reader, stamp.end)
}

#[cold]
fn wrong_time(reader: &mut Reader<'_>, at: usize) -> Next {
    reader.assume_time();
    reader.fault(at, Expected::Timestamp);
    let is_time = |byte: &u8| byte.is_ascii_digit() || b"TZtz:.+-".contains(byte);
    let tail = reader.bytes.get(at..).unwrap_or(&[]);
    let len = tail.iter().take_while(|byte| is_time(byte)).count();
    let is_number = tail.first().is_some_and(|byte| byte.is_ascii_digit() || *byte == b'+');
    if is_number && is_ended(reader, at + len) { after(reader, at + len) } else { Err(at) }
}

#[inline]
fn is_ended(reader: &Reader<'_>, at: usize) -> bool {
    matches!(reader.bytes.get(at), None | Some(b' '))
}

/// Steps over the space at `at`, or notes that the frame ends there.
#[inline]
fn after(reader: &mut Reader<'_>, at: usize) -> Next {
    if at < reader.bytes.len() {
        return Ok(at + 1);
    }
    reader.fault(at, Expected::Hostname);
    Err(at)
}

/// A header field and the space behind it. A lone `-` is absent. One in which the frame ends is
/// kept; one with a byte that may not be there is left to the body.
#[inline]
fn field(reader: &mut Reader<'_>, at: usize, len_max: usize, expected: Expected) -> (Span, Next) {
    let end = graph_end(reader.bytes, at);
    let len = end - at;
    let follows = reader.bytes.get(end);
    if len == 0 || follows.is_some_and(|byte| *byte != b' ') {
        reader.fault(end, expected);
        return (Span::NONE, Err(at));
    }
    if len > len_max {
        reader.fault(at + len_max, expected);
    }
    let is_nil = len == 1 && reader.bytes[at] == b'-';
    let span = if is_nil { Span::NONE } else { reader.span(at, end) };
    if follows.is_none() {
        reader.fault(end, expected);
        return (span, Err(end));
    }
    (span, Ok(end + 1))
}

/// STRUCTURED-DATA, and the space before the message if there is one.
#[inline]
fn structured_data(reader: &mut Reader<'_>, at: usize, is_exact: &mut bool) -> Next {
    let mut end = at;
    if reader.bytes.get(at) == Some(&b'-') {
        end += 1;
    } else {
        end = elements(reader, at, is_exact)?;
        reader.head.structured_data = reader.span(at, end);
        let data = reader.bytes.get(at..end).unwrap_or(&[]);
        if !data.is_ascii() && std::str::from_utf8(data).is_err() {
            reader.fault(at, Expected::Utf8);
        }
    }
    match reader.bytes.get(end) {
        None => Ok(end),
        Some(b' ') => Ok(end + 1),
        Some(_) if end == at + 1 => {
            // A dash and more: no structured data at all.
            reader.fault(end, Expected::StructuredData);
            Err(at)
        }
        Some(_) => {
            reader.fault(end, Expected::Message);
            Ok(end)
        }
    }
}

/// All elements from `at` on: where they end. A broken one and what follows it is the body.
#[inline]
fn elements(reader: &mut Reader<'_>, at: usize, is_exact: &mut bool) -> Next {
    let bytes = reader.bytes;
    let mut notes = Notes::default();
    let mut ids: [&[u8]; SD_IDS_MAX] = [&[]; SD_IDS_MAX];
    let (mut start, mut count) = (at, 0);
    while bytes.get(start) == Some(&b'[') || start == at {
        let Some(id_end) = open(bytes, start, &mut notes) else {
            return Err(broken(reader, at, start, start, &notes));
        };
        let id = &bytes[start + 1..id_end];
        if ids[..count].contains(&id) {
            notes.fault.get_or_insert((start + 1, Expected::UniqueSdId));
        } else if let Some(slot) = ids.get_mut(count) {
            *slot = id;
            count += 1;
        }
        let mut next = id_end;
        start = loop {
            match step(bytes, next, &mut notes) {
                Step::Param { next: behind, .. } => next = behind,
                Step::End(end) => break end,
                Step::Broken(wrong) => return Err(broken(reader, at, start, wrong, &notes)),
            }
        };
    }
    *is_exact &= !notes.has_bare_backslash;
    if let Some((wrong, expected)) = notes.fault {
        reader.fault(wrong, expected);
    }
    Ok(start)
}

/// Keeps the elements from `at` to `start`, where the broken one starts.
#[cold]
fn broken(reader: &mut Reader<'_>, at: usize, start: usize, wrong: usize, notes: &Notes) -> usize {
    let (wrong, expected) = notes.fault.unwrap_or((wrong, Expected::StructuredData));
    reader.fault(wrong, expected);
    reader.head.structured_data = reader.span(at, start);
    start
}
