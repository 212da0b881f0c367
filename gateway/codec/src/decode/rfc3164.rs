//! RFC 3164 behind the priority, and what its senders made of it.
//!
//! ```text
//! [SEQUENCE: [ORIGIN: ]] [TIME] [HOST] [TAG[[PID]]:] BODY
//! ```

use logboom_record::{Span, flags};

use super::timestamp::{Moment, Stamp, bsd, rfc3339};
use super::{Expected, HOST_BYTES_MAX, PROC_ID_BYTES_MAX, Reader};

/// Longest tag in bytes; a longer first word is body. RFC 3164 §4.1.3 says 32, container runtimes
/// write names of more than twice that.
const TAG_BYTES_MAX: usize = 128;

/// Reads what follows the priority. `zone` is in seconds east of UTC.
pub(super) fn read(reader: &mut Reader<'_>, start: usize, zone: i32) {
    reader.head.flags |= flags::RFC3164;
    let Some((stamp, at)) = time(reader, start, zone) else {
        reader.assume_time();
        reader.deviate(start, Expected::Timestamp);
        let body = tag(reader, start).unwrap_or(start);
        return reader.body(body);
    };
    match stamp.moment {
        Moment::At(nanos) => reader.head.time = nanos,
        Moment::Beyond => reader.assume_time(),
        Moment::Invalid => {
            reader.assume_time();
            reader.fault(start, Expected::Timestamp);
        }
    }
    if !stamp.is_zoned {
        reader.head.flags |= flags::ZONE_ASSUMED;
    }
    let at = skip_blanks(reader.bytes, at);
    if let Some(body) = tag(reader, at) {
        if reader.head.host.is_empty() {
            reader.deviate(at, Expected::Hostname);
        }
        return reader.body(body);
    }
    let Some(end) = host(reader.bytes, at) else {
        reader.deviate(at, Expected::Hostname);
        return reader.body(at);
    };
    let is_nil = &reader.bytes[at..end] == b"-";
    reader.head.host = if is_nil { Span::NONE } else { reader.span(at, end) };
    let at = skip_blanks(reader.bytes, end);
    let body = tag(reader, at).unwrap_or(end + 1);
    reader.body(body);
}

/// Reads a time at `at`, behind Cisco's sequence number and origin if they are there: the time, and
/// where it and its colon end.
fn time(reader: &mut Reader<'_>, at: usize, zone: i32) -> Option<(Stamp, usize)> {
    let bytes = reader.bytes;
    if let Some(stamp) = stamp(reader, at, zone) {
        let is_marked = matches!(bytes.get(at), Some(b'*' | b'.'));
        return Some(behind(bytes, stamp, is_marked));
    }
    let tail = bytes.get(at..)?;
    let digits = tail.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 || tail.get(digits) != Some(&b':') {
        return None;
    }
    let next = skip_blanks(bytes, at + digits + 1);
    if let Some(stamp) = stamp(reader, next, zone) {
        return Some(behind(bytes, stamp, true));
    }
    let end = word_end(bytes, next).checked_sub(1)?;
    if end <= next || bytes.get(end) != Some(&b':') || !is_host(&bytes[next..end]) {
        return None;
    }
    let stamp = stamp(reader, skip_blanks(bytes, end + 1), zone)?;
    reader.head.host = reader.span(next, end);
    Some(behind(bytes, stamp, true))
}

/// Reads a time in either notation at `at`, a clock mark of Cisco's before it.
fn stamp(reader: &Reader<'_>, at: usize, zone: i32) -> Option<Stamp> {
    let bytes = reader.bytes;
    let at = at + usize::from(matches!(bytes.get(at), Some(b'*' | b'.')));
    let stamp = if bytes.get(at)?.is_ascii_digit() {
        rfc3339(bytes, at, zone)
    } else {
        bsd(bytes, at, reader.received, zone)
    };
    stamp.filter(|stamp| matches!(bytes.get(stamp.end), None | Some(b' ' | b':')))
}

/// Where a time ends. Network devices put a colon behind it, and may name their zone before that.
fn behind(bytes: &[u8], mut stamp: Stamp, is_device: bool) -> (Stamp, usize) {
    let mut end = stamp.end;
    if is_device && let Some([b' ', name @ ..]) = bytes.get(end..) {
        let len = name.iter().take(5).take_while(|byte| byte.is_ascii_uppercase()).count();
        if len >= 3 && name.get(len) == Some(&b':') {
            stamp.is_zoned |= matches!(&name[..len], b"UTC" | b"GMT");
            end += len + 1;
        }
    }
    (stamp, end + usize::from(bytes.get(end) == Some(&b':')))
}

/// Reads `TAG:`, `TAG[PID]:` or `TAG[PID]` at `at` into the head: where the body starts. A bare tag
/// needs its colon and a blank or the end behind it.
fn tag(reader: &mut Reader<'_>, at: usize) -> Option<usize> {
    let bytes = reader.bytes;
    let tail = bytes.get(at..)?;
    let len = tail.iter().take(TAG_BYTES_MAX + 1).take_while(|byte| is_tag_byte(**byte)).count();
    if len == 0 || len > TAG_BYTES_MAX {
        return None;
    }
    let end = at + len;
    let (mut body, mut proc_id) = (end, Span::NONE);
    if bytes.get(end) == Some(&b'[') {
        let pid = bytes.get(end + 1..)?;
        let is_pid = |byte: &&u8| byte.is_ascii_graphic() && !matches!(byte, b'[' | b']');
        let pid_len = pid.iter().take(PROC_ID_BYTES_MAX + 1).take_while(is_pid).count();
        if pid.get(pid_len) != Some(&b']') || pid_len > PROC_ID_BYTES_MAX {
            return None;
        }
        proc_id = reader.span(end + 1, end + 1 + pid_len);
        body = end + pid_len + 2;
    }
    let has_colon = bytes.get(body) == Some(&b':');
    let is_blank = |at: usize| matches!(bytes.get(at), None | Some(b' ' | b'\t' | b'\n' | b'\r'));
    let is_tag = match (has_colon, body > end) {
        (true, true) => true,
        (true, false) => is_blank(body + 1),
        (false, true) => is_blank(body),
        (false, false) => false,
    };
    if !is_tag {
        return None;
    }
    let is_nil = &bytes[at..end] == b"-";
    reader.head.app_name = if is_nil { Span::NONE } else { reader.span(at, end) };
    reader.head.proc_id = proc_id;
    body += usize::from(has_colon);
    Some(body + usize::from(bytes.get(body) == Some(&b' ')))
}

/// Where the host that starts at `at` ends, if it is one and something follows it.
fn host(bytes: &[u8], at: usize) -> Option<usize> {
    let end = word_end(bytes, at);
    (end < bytes.len() && is_host(bytes.get(at..end)?)).then_some(end)
}

/// Names, addresses, and what syslog-ng makes of chained hosts.
fn is_host(word: &[u8]) -> bool {
    (1..=HOST_BYTES_MAX).contains(&word.len()) && word.iter().all(|byte| is_host_byte(*byte))
}

const fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'.' | b'-' | b'_' | b':' | b'%' | b'/' | b'@' | b'[' | b']')
}

/// PRINTUSASCII without what ends a tag and what shows that the word is none: JSON, `key=value`,
/// quotes.
const fn is_tag_byte(byte: u8) -> bool {
    byte.is_ascii_graphic()
        && !matches!(
            byte,
            b':' | b'['
                | b']'
                | b'"'
                | b'\''
                | b'`'
                | b'{'
                | b'}'
                | b'<'
                | b'>'
                | b'='
                | b','
                | b';'
                | b'|'
        )
}

/// The first blank at or after `at`, or the end.
fn word_end(bytes: &[u8], at: usize) -> usize {
    let tail = bytes.get(at..).unwrap_or(&[]);
    memchr::memchr(b' ', tail).map_or(bytes.len(), |len| at + len)
}

fn skip_blanks(bytes: &[u8], mut at: usize) -> usize {
    while bytes.get(at) == Some(&b' ') {
        at += 1;
    }
    at
}
