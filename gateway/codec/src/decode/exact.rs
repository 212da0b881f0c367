//! RFC 5424 that is valid to the letter, in one straight line.
//!
//! Most records are, and reading them is what the gateway does most. This reader knows no way to
//! go on after a fault: it gives up at the first one and leaves the frame to the tolerant reader,
//! which finds the same head wherever this one finds one (a test holds them together).

use logboom_record::{Head, Span, UnixNanos, flags};

use super::timestamp::{Moment, rfc3339};
use super::{
    APP_NAME_BYTES_MAX, BOM, HOST_BYTES_MAX, MSG_ID_BYTES_MAX, PRIORITY_MAX, PROC_ID_BYTES_MAX,
    SD_NAME_BYTES_MAX,
};
use crate::scan::Stops;

/// How many SD-IDs are remembered to find one that comes twice; more elements are left to the
/// tolerant reader.
const SD_IDS_MAX: usize = 8;

/// The head of a frame that starts at `base` of the arena; `None` if anything in it is not as it
/// should be.
#[inline]
pub(super) fn read(bytes: &[u8], base: u32, received: UnixNanos) -> Option<Head> {
    let (priority, at) = priority(bytes)?;
    let (time, at) = time(bytes, at)?;
    let mut stops = Stops::new(bytes, at);
    let host_end = field(bytes, &mut stops, at, HOST_BYTES_MAX)?;
    let host = span(bytes, base, at, host_end);
    let at = host_end + 1;
    let app_end = field(bytes, &mut stops, at, APP_NAME_BYTES_MAX)?;
    let app_name = span(bytes, base, at, app_end);
    let at = app_end + 1;
    let proc_end = field(bytes, &mut stops, at, PROC_ID_BYTES_MAX)?;
    let proc_id = span(bytes, base, at, proc_end);
    let at = proc_end + 1;
    let msg_end = field(bytes, &mut stops, at, MSG_ID_BYTES_MAX)?;
    let msg_id = span(bytes, base, at, msg_end);
    let at = msg_end + 1;
    let is_nil = bytes.get(at) == Some(&b'-');
    let data_end = if is_nil { at + 1 } else { elements(bytes, &mut stops, at)? };
    let structured_data = span(bytes, base, at, data_end);
    let mut body = data_end;
    if let Some(blank) = bytes.get(data_end) {
        if *blank != b' ' {
            return None;
        }
        body += 1;
    }
    if bytes.get(body..).is_some_and(|body| body.starts_with(BOM)) {
        body += BOM.len();
    }
    let exact = flags::RFC5424 | flags::VERBATIM;
    Some(Head {
        time: time.unwrap_or(received.0),
        raw: range(base, 0, bytes.len()),
        body: range(base, body, bytes.len()),
        host,
        app_name,
        proc_id,
        msg_id,
        structured_data,
        app: Span::NONE,
        severity: priority % 8,
        facility: priority / 8,
        flags: if time.is_some() { exact } else { exact | flags::TIME_ASSUMED },
        app_hash: 0,
    })
}

/// `<PRI>1 `.
#[inline(always)]
fn priority(bytes: &[u8]) -> Option<(u8, usize)> {
    let digit = |byte: u8| byte.wrapping_sub(b'0');
    let (value, end) = match *bytes {
        [b'<', a @ b'1'..=b'9', b @ b'0'..=b'9', b'>', b'1', b' ', ..] => {
            (digit(a) * 10 + digit(b), 6)
        }
        [b'<', b'1', b @ b'0'..=b'9', c @ b'0'..=b'9', b'>', b'1', b' ', ..] => {
            (100 + digit(b) * 10 + digit(c), 7)
        }
        [b'<', a @ b'0'..=b'9', b'>', b'1', b' ', ..] => (digit(a), 5),
        _ => return None,
    };
    (value <= PRIORITY_MAX).then_some((value, end))
}

/// TIMESTAMP and a space: the time, if it is not nil.
#[inline(always)]
fn time(bytes: &[u8], at: usize) -> Option<(Option<i64>, usize)> {
    if let Some([b'-', b' ']) = bytes.get(at..)?.first_chunk() {
        return Some((None, at + 2));
    }
    let stamp = rfc3339(bytes, at, 0)?;
    match stamp.moment {
        Moment::At(nanos) if stamp.is_exact && bytes.get(stamp.end) == Some(&b' ') => {
            Some((Some(nanos), stamp.end + 1))
        }
        _ => None,
    }
}

/// Where a header field ends, behind which there is a space.
#[inline(always)]
fn field(bytes: &[u8], stops: &mut Stops<'_>, at: usize, len_max: usize) -> Option<usize> {
    let end = loop {
        let stop = stops.next()?;
        match bytes[stop] {
            b' ' => break stop,
            b'"' | b'\\' | b']' | b'=' => {}
            _ => return None,
        }
    };
    ((end - at).wrapping_sub(1) < len_max).then_some(end)
}

/// The span of a field; absent if it is a lone `-`.
#[inline(always)]
fn span(bytes: &[u8], base: u32, start: usize, end: usize) -> Span {
    let is_nil = end - start == 1 && bytes[start] == b'-';
    if is_nil { Span::NONE } else { range(base, start, end) }
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a frame came out of a span: 32 bits")]
fn range(base: u32, start: usize, end: usize) -> Span {
    if start >= end {
        return Span::NONE;
    }
    Span { offset: base.wrapping_add(start as u32), len: (end - start) as u32 }
}

/// Where the elements that start at `at` end.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a frame came out of a span: 32 bits")]
fn elements(bytes: &[u8], stops: &mut Stops<'_>, at: usize) -> Option<usize> {
    let mut ids = [(0u32, 0u32); SD_IDS_MAX];
    let mut count = 0;
    let mut next = at;
    let mut seen = 0;
    while bytes.get(next) == Some(&b'[') {
        let start = next + 1;
        let mut stop = stops.next()?;
        if !is_name(start, stop) {
            return None;
        }
        let id = (start as u32, stop as u32);
        if ids.get(..count)?.iter().any(|other| is_same(bytes, id, *other)) {
            return None;
        }
        *ids.get_mut(count)? = id;
        count += 1;
        while bytes[stop] == b' ' {
            stop = param(bytes, stops, stop + 1, &mut seen)?;
        }
        if bytes[stop] != b']' {
            return None;
        }
        next = stop + 1;
    }
    let is_text = seen.is_ascii() || std::str::from_utf8(&bytes[at..next]).is_ok();
    (count > 0 && is_text).then_some(next)
}

/// Whether two ranges hold the same bytes.
#[inline]
fn is_same(bytes: &[u8], one: (u32, u32), other: (u32, u32)) -> bool {
    let of = |range: (u32, u32)| bytes.get(range.0 as usize..range.1 as usize);
    one.1 - one.0 == other.1 - other.0 && of(one) == of(other)
}

#[inline(always)]
fn is_name(start: usize, end: usize) -> bool {
    (end - start).wrapping_sub(1) < SD_NAME_BYTES_MAX
}

/// The byte behind a parameter that starts at `start`; it is a stop. Adds the bits of bytes that
/// are not ASCII to `seen`.
#[inline(always)]
fn param(bytes: &[u8], stops: &mut Stops<'_>, start: usize, seen: &mut u8) -> Option<usize> {
    let equals = stops.next()?;
    let quote = stops.next()?;
    let is_open = bytes[equals] == b'=' && quote == equals + 1 && bytes[quote] == b'"';
    if !is_open || !is_name(start, equals) {
        return None;
    }
    loop {
        let stop = stops.next()?;
        match bytes[stop] {
            b'"' => {
                let behind = stops.next()?;
                return (behind == stop + 1).then_some(behind);
            }
            b'\\' => {
                let escaped = stops.next()?;
                let is_escape =
                    escaped == stop + 1 && matches!(bytes[escaped], b'"' | b'\\' | b']');
                if !is_escape {
                    return None;
                }
            }
            b']' => return None,
            other => *seen |= other,
        }
    }
}
