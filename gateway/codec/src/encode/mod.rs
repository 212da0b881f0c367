//! Encoding: a record to what goes over the wire or into a file.
//!
//! A record that came as strictly valid RFC 5424 and was not changed leaves as it came. Any other
//! is written anew from its head, so that the receiver always gets valid syslog:
//!
//! * bytes that may not stand in a header field become `_`, fields are cut to their length;
//! * structured data is quoted and escaped anew; elements with one SD-ID are joined, invalid UTF-8
//!   in values becomes U+FFFD;
//! * the time has microseconds at most (RFC 5424 §6), and UTC as its zone.
//!
//! With LF framing, line feeds, carriage returns and NULs inside a record are written as `#012`,
//! `#015` and `#000`: no content can end the frame and start a forged one. So they are in [`raw`].

mod json;
mod rfc3164;
mod rfc5424;
mod structured_data;

use std::str::FromStr;

use logboom_record::{Record, UnixNanos};

pub use self::json::json;
pub(crate) use self::json::{push_float, push_string};
pub use self::rfc3164::rfc3164;
pub use self::rfc5424::rfc5424;
use crate::civil::Civil;
use crate::keyword::{UnknownKeyword, choose};

/// What a syslog destination reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WireFormat {
    /// RFC 5424.
    #[default]
    Rfc5424,
    /// RFC 3164: structured data and MSGID do not fit in it and are left out.
    Rfc3164,
}

impl WireFormat {
    const KEYWORDS: &'static [&'static str] = &["rfc5424", "rfc3164"];

    /// The word in the configuration.
    #[must_use]
    pub fn keyword(self) -> &'static str {
        match self {
            Self::Rfc5424 => "rfc5424",
            Self::Rfc3164 => "rfc3164",
        }
    }
}

impl FromStr for WireFormat {
    type Err = UnknownKeyword;

    fn from_str(word: &str) -> Result<Self, UnknownKeyword> {
        choose("format", word, Self::KEYWORDS, &[Self::Rfc5424, Self::Rfc3164])
    }
}

/// How a destination tells frames apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WireFraming {
    /// RFC 6587 octet counting: every byte arrives as it is.
    #[default]
    Octet,
    /// LF behind each frame; line ends inside are escaped.
    Lf,
}

impl WireFraming {
    const KEYWORDS: &'static [&'static str] = &["octet", "lf"];

    /// The word in the configuration.
    #[must_use]
    pub fn keyword(self) -> &'static str {
        match self {
            Self::Octet => "octet",
            Self::Lf => "lf",
        }
    }
}

impl FromStr for WireFraming {
    type Err = UnknownKeyword;

    fn from_str(word: &str) -> Result<Self, UnknownKeyword> {
        choose("framing", word, Self::KEYWORDS, &[Self::Octet, Self::Lf])
    }
}

/// Appends one frame to `out`.
pub fn framed(format: WireFormat, framing: WireFraming, record: &Record<'_>, out: &mut Vec<u8>) {
    if format == WireFormat::Rfc5424 && record.is_verbatim() {
        return frame_raw(framing, record.raw(), out);
    }
    let start = out.len();
    match format {
        WireFormat::Rfc5424 => rfc5424(record, out),
        WireFormat::Rfc3164 => rfc3164(record, out),
    }
    match framing {
        WireFraming::Octet => {
            let len = out.len() - start;
            let message_end = out.len();
            push_number(len as u64, out);
            out.push(b' ');
            let count = out.len() - message_end;
            // The count was written behind the message, for only now it is known.
            out[start..].rotate_right(count);
        }
        WireFraming::Lf => {
            if line_break(&out[start..]).is_some() {
                let message = out.split_off(start);
                push_line(&message, out);
            }
            out.push(b'\n');
        }
    }
}

fn frame_raw(framing: WireFraming, raw: &[u8], out: &mut Vec<u8>) {
    match framing {
        WireFraming::Octet => {
            push_number(raw.len() as u64, out);
            out.push(b' ');
            out.extend_from_slice(raw);
        }
        WireFraming::Lf => {
            push_line(raw, out);
            out.push(b'\n');
        }
    }
}

/// Appends `time` as RFC 3339 in UTC with `digits` (0 to 9) digits of a second's fraction.
pub fn rfc3339(time: UnixNanos, digits: usize, out: &mut Vec<u8>) {
    let civil = Civil::of(time);
    let mut text = *b"0000-00-00T00:00:00.000000000";
    // Of a 64-bit time, the year lies between 1677 and 2262.
    let year = civil.year.unsigned_abs();
    put_two(&mut text, 0, year / 100);
    put_two(&mut text, 2, year % 100);
    put_two(&mut text, 5, civil.month);
    put_two(&mut text, 8, civil.day);
    put_two(&mut text, 11, civil.second / 3600);
    put_two(&mut text, 14, civil.second / 60 % 60);
    put_two(&mut text, 17, civil.second % 60);
    let mut nanos = civil.nanos;
    for place in (20..29).rev() {
        text[place] += (nanos % 10) as u8;
        nanos /= 10;
    }
    let end = if digits == 0 { 19 } else { 20 + digits.min(9) };
    out.extend_from_slice(&text[..end]);
    out.push(b'Z');
}

/// Writes two digits over two `0`.
#[inline]
fn put_two(text: &mut [u8], at: usize, value: u32) {
    if let Some([high, low]) = text.get_mut(at..at + 2) {
        *high += (value / 10 % 10) as u8;
        *low += (value % 10) as u8;
    }
}

/// Appends a number in decimal.
pub(crate) fn push_number(mut value: u64, out: &mut Vec<u8>) {
    let mut digits = [0u8; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// `<PRI>` of a record.
fn push_priority(record: &Record<'_>, out: &mut Vec<u8>) {
    let priority =
        u64::from(record.facility().0.min(23)) * 8 + u64::from(record.severity().0.min(7));
    out.push(b'<');
    push_number(priority, out);
    out.push(b'>');
}

/// A header field: cut to `len_max`, each byte that `is_allowed` refuses replaced, `-` if empty.
fn push_field(field: &[u8], len_max: usize, is_allowed: fn(u8) -> bool, out: &mut Vec<u8>) {
    if field.is_empty() {
        return out.push(b'-');
    }
    let kept = field.get(..len_max).unwrap_or(field);
    out.extend(kept.iter().map(|byte| if is_allowed(*byte) { *byte } else { b'_' }));
}

/// Appends the body of a record as a line of its own, whatever is in it.
pub fn raw(record: &Record<'_>, out: &mut Vec<u8>) {
    push_line(record.body(), out);
    out.push(b'\n');
}

/// The first byte that would end a line or a string on the way.
fn line_break(bytes: &[u8]) -> Option<usize> {
    memchr::memchr3(b'\n', b'\r', 0, bytes)
}

/// Appends bytes with line ends and NULs escaped as `#` and three octal digits.
///
/// Source: rsyslog's and haproxy's notation of control characters.
fn push_line(mut bytes: &[u8], out: &mut Vec<u8>) {
    while let Some(at) = line_break(bytes) {
        out.extend_from_slice(&bytes[..at]);
        out.extend_from_slice(match bytes[at] {
            b'\n' => b"#012",
            b'\r' => b"#015",
            _ => b"#000",
        });
        bytes = &bytes[at + 1..];
    }
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests;
