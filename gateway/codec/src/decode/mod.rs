//! Decoding: a frame to the head of a record.
//!
//! In [`Mode::BestEffort`] no frame is lost: what can be read is read, the rest becomes the body,
//! and [`flags`] say so. [`Mode::Strict`] gives the first fault instead.
//!
//! Where this differs from the RFCs (A: more is accepted), and from go-syslog (G), which many
//! senders were tested against:
//!
//! | | input | here |
//! |---|---|---|
//! | A G | one line end or NUL at the end of the frame | not part of the record |
//! | A G | leap second, `23:59:60` UTC | accepted as the last nanosecond of `:59`; RFC 5424 §6.2.3 forbids sending it, so the record leaves with a time written anew |
//! | G | a backslash in a parameter value before anything but `"`, `\`, `]` | stands for itself (RFC 5424 §6.3.3); written with an escape when it leaves |
//! | G | TAB, line feeds and any other byte in an RFC 3164 body | content |
//! | G | `Mmm d` and `Mmm 0d` in RFC 3164 | both read, as is `Mmm  d` |
//! | G | RFC 3164 year | the one that brings the time nearest to the receive time, not 0 |
//! | G | `app:text` without a space | no tag; the body is `app:text` |
//! | A | VERSION 2 to 999 | read as version 1, and leaves as version 1 |
//! | A | dialects of RFC 3164 | a time with a year or a fraction, RFC 3339, Cisco's sequence number and marks, no time, no host, a tag without a colon if it has a PID |
//! | best effort | a date that does not exist, an hour 25 | receive time, flagged; never another date |
//! | best effort | 7 and more fraction digits | nine are kept, flagged |
//! | best effort | `t` and `z` in lower case | read, flagged |
//! | best effort | a header field or SD-NAME over its length | kept whole, flagged |
//! | best effort | SD values without quotes, with a bare `]`, more blanks, an SD-ID twice, invalid UTF-8 | kept, flagged |
//! | best effort | the header breaks off or a byte in it is not PRINTUSASCII | fields so far are kept, the rest is the body, flagged |
//! | best effort | no PRI, or one out of range | the whole frame is the body, `user.notice`, flagged |

mod error;
mod exact;
mod rfc3164;
mod rfc5424;
mod structured_data;
mod timestamp;

use std::str::FromStr;

use logboom_record::{Head, Span, UnixNanos, flags};

pub use self::error::{DecodeError, Expected};
pub use self::structured_data::{Element, Elements, Param, Params, structured_data};
use crate::framing::trim;
use crate::keyword::{UnknownKeyword, choose};

/// Longest HOSTNAME in bytes. Source: RFC 5424 §6.
pub const HOST_BYTES_MAX: usize = 255;
/// Longest APP-NAME in bytes. Source: RFC 5424 §6.
pub const APP_NAME_BYTES_MAX: usize = 48;
/// Longest PROCID in bytes. Source: RFC 5424 §6.
pub const PROC_ID_BYTES_MAX: usize = 128;
/// Longest MSGID in bytes. Source: RFC 5424 §6.
pub const MSG_ID_BYTES_MAX: usize = 32;
/// Longest SD-ID and PARAM-NAME in bytes. Source: RFC 5424 §6.
pub const SD_NAME_BYTES_MAX: usize = 32;

/// Severity and facility where no priority can be read. Source: RFC 3164 §4.3.3.
const USER_NOTICE: u8 = 13;
/// Highest priority: facility 23, severity 7.
const PRIORITY_MAX: u8 = 191;
const BOM: &[u8] = b"\xef\xbb\xbf";

/// The grammar of the frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// RFC 5424 if a version number and a space follow the priority, else RFC 3164.
    #[default]
    Auto,
    /// RFC 5424.
    Rfc5424,
    /// RFC 3164 and its dialects.
    Rfc3164,
}

impl Format {
    const KEYWORDS: &'static [&'static str] = &["auto", "rfc5424", "rfc3164"];

    /// The word in the configuration.
    #[must_use]
    pub fn keyword(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Rfc5424 => "rfc5424",
            Self::Rfc3164 => "rfc3164",
        }
    }
}

impl FromStr for Format {
    type Err = UnknownKeyword;

    fn from_str(word: &str) -> Result<Self, UnknownKeyword> {
        choose("format", word, Self::KEYWORDS, &[Self::Auto, Self::Rfc5424, Self::Rfc3164])
    }
}

/// What becomes of a frame that breaks its grammar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It is a record, with what could be read.
    #[default]
    BestEffort,
    /// It is an error.
    Strict,
}

impl Mode {
    const KEYWORDS: &'static [&'static str] = &["best_effort", "strict"];

    /// The word in the configuration.
    #[must_use]
    pub fn keyword(self) -> &'static str {
        match self {
            Self::BestEffort => "best_effort",
            Self::Strict => "strict",
        }
    }
}

impl FromStr for Mode {
    type Err = UnknownKeyword;

    fn from_str(word: &str) -> Result<Self, UnknownKeyword> {
        choose("mode", word, Self::KEYWORDS, &[Self::BestEffort, Self::Strict])
    }
}

/// Decodes frames of one source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decoder {
    /// The grammar.
    pub format: Format,
    /// What becomes of frames that break it.
    pub mode: Mode,
    /// Seconds east of UTC for times that come without a zone; 0 is UTC.
    pub zone_offset_seconds: i32,
}

impl Decoder {
    /// A decoder that takes times without a zone as UTC.
    #[must_use]
    pub const fn new(format: Format, mode: Mode) -> Self {
        Self { format, mode, zone_offset_seconds: 0 }
    }

    /// Decodes the frame at `frame` of `arena`, received at `received`. A line end or NUL at its
    /// end is left out. Every span of the head lies within `frame`; `app` and `app_hash` are left
    /// empty.
    ///
    /// # Errors
    /// The first fault, in [`Mode::Strict`] only; the frame should be counted and parked.
    #[inline]
    pub fn decode(
        &self,
        arena: &[u8],
        frame: Span,
        received: UnixNanos,
    ) -> Result<Head, DecodeError> {
        let bytes = trim(frame.of(arena));
        if self.format != Format::Rfc3164
            && let Some(head) = exact::read(bytes, frame.offset, received)
        {
            return Ok(head);
        }
        self.read(bytes, frame.offset, received)
    }

    /// Decodes a frame that is not the best of its kind.
    #[inline(never)]
    fn read(&self, bytes: &[u8], base: u32, received: UnixNanos) -> Result<Head, DecodeError> {
        let mut reader = Reader::new(bytes, base, received);
        match reader.priority() {
            Some(at) => match self.format {
                Format::Auto if is_versioned(bytes, at) => rfc5424::read(&mut reader, at),
                Format::Rfc5424 => rfc5424::read(&mut reader, at),
                Format::Auto | Format::Rfc3164 => {
                    rfc3164::read(&mut reader, at, self.zone_offset_seconds);
                }
            },
            None => reader.body(0),
        }
        match (self.mode, reader.first_fault) {
            (Mode::Strict, Some(error)) => Err(error),
            _ => Ok(reader.head),
        }
    }
}

/// The time that `text`, all of it, is in RFC 3339, in Unix nanoseconds, and whether it has a zone;
/// without one it is taken as UTC.
pub(crate) fn rfc3339(text: &[u8]) -> Option<(i64, bool)> {
    let stamp = timestamp::rfc3339(text, 0, 0).filter(|stamp| stamp.end == text.len())?;
    match stamp.moment {
        timestamp::Moment::At(nanos) => Some((nanos, stamp.is_zoned)),
        timestamp::Moment::Beyond | timestamp::Moment::Invalid => None,
    }
}

/// Whether one to three digits and a space stand at `at`.
#[inline]
fn is_versioned(bytes: &[u8], at: usize) -> bool {
    matches!(
        bytes.get(at..).unwrap_or(&[]),
        [b'1'..=b'9', b' ', ..]
            | [b'1'..=b'9', b'0'..=b'9', b' ', ..]
            | [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9', b' ', ..]
    )
}

/// One frame being read.
struct Reader<'a> {
    bytes: &'a [u8],
    /// Where the frame starts in the arena.
    base: u32,
    received: UnixNanos,
    head: Head,
    first_fault: Option<DecodeError>,
}

impl<'a> Reader<'a> {
    #[inline]
    fn new(bytes: &'a [u8], base: u32, received: UnixNanos) -> Self {
        let head = Head { time: received.0, ..Head::default() };
        let mut reader = Self { bytes, base, received, head, first_fault: None };
        reader.head.raw = reader.span(0, bytes.len());
        reader
    }

    /// The span of the arena for a range of the frame; absent if empty.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a frame came out of a span: 32 bits")]
    fn span(&self, start: usize, end: usize) -> Span {
        if start >= end {
            return Span::NONE;
        }
        Span { offset: self.base.wrapping_add(start as u32), len: (end - start) as u32 }
    }

    /// Notes a break of the grammar at `at`.
    #[cold]
    fn fault(&mut self, at: usize, expected: Expected) {
        self.head.flags |= flags::MALFORMED;
        self.deviate(at, expected);
    }

    /// Notes something common that a strict reader refuses all the same.
    fn deviate(&mut self, at: usize, expected: Expected) {
        if self.first_fault.is_none() {
            let found = self.bytes.get(at).copied();
            self.first_fault = Some(DecodeError { offset: at, found, expected });
        }
    }

    /// Takes everything from `at` on as the body.
    #[inline]
    fn body(&mut self, at: usize) {
        self.head.body = self.span(at, self.bytes.len());
    }

    /// Lets the receive time stand in for the event time.
    #[inline]
    fn assume_time(&mut self) {
        self.head.flags |= flags::TIME_ASSUMED;
    }

    /// Reads `<PRI>`: 0 to 191 without leading zeros. Returns where it ends, or assumes one.
    #[inline]
    fn priority(&mut self) -> Option<usize> {
        let digit = |byte: u8| u16::from(byte.wrapping_sub(b'0'));
        let (value, end) = match *self.bytes {
            [b'<', a @ b'1'..=b'9', b @ b'0'..=b'9', b'>', ..] => (digit(a) * 10 + digit(b), 4),
            [b'<', a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', b'>', ..] => {
                (digit(a) * 100 + digit(b) * 10 + digit(c), 5)
            }
            [b'<', a @ b'0'..=b'9', b'>', ..] => (digit(a), 3),
            _ => (u16::MAX, 0),
        };
        let value = u8::try_from(value).ok().filter(|value| *value <= PRIORITY_MAX);
        let priority = value.unwrap_or(USER_NOTICE);
        (self.head.facility, self.head.severity) = (priority / 8, priority % 8);
        if value.is_none() {
            self.head.flags |= flags::PRIORITY_ASSUMED | flags::TIME_ASSUMED;
            let wrong = if self.bytes.first() == Some(&b'<') { 1 } else { 0 };
            self.fault(wrong, Expected::Priority);
        }
        value.map(|_| end)
    }
}

#[cfg(test)]
mod tests;
