//! Framing: cutting a stream of bytes into frames.
//!
//! One rule per session, never changed while it lives, so that nothing inside a frame can be taken
//! for the start of another:
//!
//! * [`Framing::Octet`], RFC 6587 §3.4.1: `MSG-LEN SP MSG`. The count is the only boundary. It has
//!   1 to [`COUNT_DIGITS_MAX`] digits and no leading zero; anything else ends the session. One
//!   deviation: LF bytes between a frame and the next count are skipped, as other receivers do.
//! * [`Framing::Lf`], RFC 6587 §3.4.2: a frame ends at LF; a CR before it belongs to the mark.
//! * [`Framing::Nul`]: a frame ends at NUL; LF is content.
//! * [`Framing::Auto`] decides once, by what comes first. A digit 1 to 9: octet counting. Anything
//!   else: a mark at the end, which the first delivered bytes that hold a mark decide. If LF comes
//!   first and is followed by `<` or by nothing, it is LF. If a NUL comes, before any LF or behind
//!   one that goes on with other text, and is followed by `<` or by nothing, it is NUL: the frame
//!   has several lines. In any other case it is LF.
//!
//! For the first three the frames are the same however the stream was cut on its way; for `Auto`
//! too where there is no NUL in it, and where frames that start with `<` end with NUL and the first
//! of them comes in one piece or has one line.
//!
//! Frames that are empty, or nothing but a line end, are no records: they are skipped.

use std::fmt;
use std::str::FromStr;

use logboom_record::Span;

use crate::keyword::{UnknownKeyword, choose};

/// Most digits of an octet count.
pub const COUNT_DIGITS_MAX: usize = 10;

/// How frames are told apart in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Decided by the first bytes of the session.
    Auto,
    /// Octet counting.
    Octet,
    /// LF or CRLF behind each frame.
    Lf,
    /// NUL behind each frame.
    Nul,
}

impl Framing {
    const KEYWORDS: &'static [&'static str] = &["auto", "octet", "lf", "nul"];

    /// The word in the configuration.
    #[must_use]
    pub fn keyword(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Octet => "octet",
            Self::Lf => "lf",
            Self::Nul => "nul",
        }
    }
}

impl FromStr for Framing {
    type Err = UnknownKeyword;

    fn from_str(word: &str) -> Result<Self, UnknownKeyword> {
        choose("framing", word, Self::KEYWORDS, &[Self::Auto, Self::Octet, Self::Lf, Self::Nul])
    }
}

/// What becomes of a frame longer than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oversize {
    /// Its first bytes, up to the limit, are delivered and marked; the rest is thrown away.
    Truncate,
    /// It is thrown away and counted.
    Reject,
}

impl Oversize {
    const KEYWORDS: &'static [&'static str] = &["truncate", "reject"];

    /// The word in the configuration.
    #[must_use]
    pub fn keyword(self) -> &'static str {
        match self {
            Self::Truncate => "truncate",
            Self::Reject => "reject",
        }
    }
}

impl FromStr for Oversize {
    type Err = UnknownKeyword;

    fn from_str(word: &str) -> Result<Self, UnknownKeyword> {
        choose("oversize", word, Self::KEYWORDS, &[Self::Truncate, Self::Reject])
    }
}

/// One frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Where it lies in the bytes that were given, without count and mark.
    pub span: Span,
    /// It was longer than the limit; this is its beginning.
    pub truncated: bool,
    /// The stream ended inside it.
    pub incomplete: bool,
}

/// An octet count that cannot be read. The session cannot go on: nobody knows where the next frame
/// starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FramingError {
    /// Where the wrong byte lies in the bytes that were given.
    pub offset: usize,
    /// The wrong byte.
    pub found: u8,
    /// What was wrong.
    pub fault: CountFault,
}

/// What may be wrong with an octet count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CountFault {
    /// It does not start with a digit from 1 to 9.
    Start,
    /// It does not end with a space.
    End,
    /// It has more than [`COUNT_DIGITS_MAX`] digits.
    Length,
}

impl fmt::Display for FramingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = self.found.escape_ascii();
        match self.fault {
            CountFault::Start => write!(f, "octet count starts with `{found}`, allowed: 1 to 9"),
            CountFault::End => write!(f, "octet count ends with `{found}`, allowed: one space"),
            CountFault::Length => {
                write!(f, "octet count goes on with `{found}`, allowed: {COUNT_DIGITS_MAX} digits")
            }
        }?;
        write!(f, ", at byte {} of the buffer", self.offset)
    }
}

impl std::error::Error for FramingError {}

/// The rule in force, once it is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// Nothing was seen yet.
    Undecided,
    /// Not octet counting; the mark was not seen yet.
    Marked,
    Octet,
    /// This byte ends a frame.
    Until(u8),
}

/// What is left of an over-long frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Skip {
    Nothing,
    /// This many bytes.
    Bytes(u64),
    /// All up to the mark, and it.
    ToMark,
}

/// Cuts the frames of one session. Holds no bytes: what is not consumed stays with the caller.
#[derive(Clone, Debug)]
pub struct Framer {
    rule: Rule,
    frame_bytes_max: usize,
    oversize: Oversize,
    skip: Skip,
    /// Bytes behind the consumed ones in which there is no mark.
    scanned: usize,
    rejected: u64,
}

impl Framer {
    /// A framer for a new session; a frame has at most `frame_bytes_max` bytes (at least 1).
    #[must_use]
    pub fn new(framing: Framing, frame_bytes_max: usize, oversize: Oversize) -> Self {
        let rule = match framing {
            Framing::Auto => Rule::Undecided,
            Framing::Octet => Rule::Octet,
            Framing::Lf => Rule::Until(b'\n'),
            Framing::Nul => Rule::Until(0),
        };
        let frame_bytes_max = frame_bytes_max.max(1);
        Self { rule, frame_bytes_max, oversize, skip: Skip::Nothing, scanned: 0, rejected: 0 }
    }

    /// Cuts complete frames from `buf`, of which everything from `start` on is not yet consumed.
    /// Frames are pushed with spans relative to `buf`, until there are none or `frames` holds
    /// `frames_max`. Returns the position up to which bytes are consumed; the caller keeps the
    /// rest as the head of its next buffer and calls again with more behind it. The rest is never
    /// longer than the limit and a count together, unless `frames_max` was reached.
    ///
    /// # Errors
    /// [`FramingError`] for an octet count that cannot be read: deliver the frames pushed so far
    /// and close the session.
    pub fn cut(
        &mut self,
        buf: &[u8],
        start: usize,
        frames: &mut Vec<Frame>,
        frames_max: usize,
    ) -> Result<usize, FramingError> {
        let start = self.pass_over(buf, start.min(buf.len()));
        if start == buf.len() {
            return Ok(start);
        }
        self.decide(buf, start);
        match self.rule {
            Rule::Octet => self.cut_counted(buf, start, frames, frames_max),
            Rule::Until(mark) => Ok(self.cut_marked(buf, start, mark, frames, frames_max)),
            Rule::Undecided | Rule::Marked => Ok(start),
        }
    }

    /// Cuts what is left when the stream has ended: the frames that are still whole, then a last
    /// one without its mark, or a counted one marked as incomplete. Returns the end of `buf`. A
    /// count without a byte of its message is no frame.
    ///
    /// # Errors
    /// As [`Framer::cut`].
    pub fn finish(
        &mut self,
        buf: &[u8],
        start: usize,
        frames: &mut Vec<Frame>,
    ) -> Result<usize, FramingError> {
        let mut start = self.cut(buf, start, frames, usize::MAX)?;
        let incomplete = self.rule == Rule::Octet;
        if incomplete {
            start = match read_count(buf, skip_line_ends(buf, start))? {
                Some((_, message)) => message,
                None => buf.len(),
            };
        }
        let mut end = buf.len();
        if self.rule != Rule::Until(0) && !incomplete && buf[start..].ends_with(b"\r") {
            end -= 1;
        }
        push(buf, frames, Frame { span: Span::new(start, end), truncated: false, incomplete });
        self.scanned = 0;
        Ok(buf.len())
    }

    /// How many over-long frames were thrown away since the last call.
    pub fn rejected(&mut self) -> u64 {
        std::mem::take(&mut self.rejected)
    }

    /// Passes over what is left of an over-long frame.
    fn pass_over(&mut self, buf: &[u8], start: usize) -> usize {
        let here = buf.len() - start;
        match (self.skip, self.rule) {
            (Skip::Bytes(left), _) => {
                let take = usize::try_from(left).map_or(here, |left| left.min(here));
                let left = left - take as u64;
                self.skip = if left == 0 { Skip::Nothing } else { Skip::Bytes(left) };
                start + take
            }
            (Skip::ToMark, Rule::Until(mark)) => match memchr::memchr(mark, &buf[start..]) {
                Some(at) => {
                    self.skip = Skip::Nothing;
                    start + at + 1
                }
                None => buf.len(),
            },
            _ => start,
        }
    }

    /// Settles the rule of an automatic session as far as the bytes allow.
    fn decide(&mut self, buf: &[u8], start: usize) {
        if self.rule == Rule::Undecided {
            let is_count = buf.get(start).is_some_and(|byte| matches!(byte, b'1'..=b'9'));
            self.rule = if is_count { Rule::Octet } else { Rule::Marked };
        }
        if self.rule == Rule::Marked {
            let rest = &buf[start..];
            let is_long = rest.len() > self.frame_bytes_max;
            if let Some(mark) = find_mark(rest).or_else(|| is_long.then_some(b'\n')) {
                self.rule = Rule::Until(mark);
            }
        }
    }

    fn cut_marked(
        &mut self,
        buf: &[u8],
        mut start: usize,
        mark: u8,
        frames: &mut Vec<Frame>,
        frames_max: usize,
    ) -> usize {
        let mut from = start.saturating_add(self.scanned).min(buf.len());
        self.scanned = 0;
        while frames.len() < frames_max {
            let Some(at) = memchr::memchr(mark, &buf[from..]) else {
                if buf.len() - start > self.frame_bytes_max {
                    self.cut_long(buf, start, frames);
                    self.skip = Skip::ToMark;
                    return buf.len();
                }
                self.scanned = buf.len() - start;
                return start;
            };
            let mut end = from + at;
            from = end + 1;
            if end - start > self.frame_bytes_max {
                self.cut_long(buf, start, frames);
                start = from;
                continue;
            }
            if mark == b'\n' && end > start && buf[end - 1] == b'\r' {
                end -= 1;
            }
            let span = Span::new(start, end);
            push(buf, frames, Frame { span, truncated: false, incomplete: false });
            start = from;
        }
        start
    }

    fn cut_counted(
        &mut self,
        buf: &[u8],
        mut start: usize,
        frames: &mut Vec<Frame>,
        frames_max: usize,
    ) -> Result<usize, FramingError> {
        while frames.len() < frames_max {
            start = skip_line_ends(buf, start);
            let Some((len, message)) = read_count(buf, start)? else { return Ok(start) };
            let here = buf.len() - message;
            let fits = usize::try_from(len).ok().filter(|len| *len <= self.frame_bytes_max);
            if let Some(len) = fits {
                if len > here {
                    return Ok(start);
                }
                start = message + len;
                let span = Span::new(message, start);
                push(buf, frames, Frame { span, truncated: false, incomplete: false });
                continue;
            }
            if here < self.frame_bytes_max && self.oversize == Oversize::Truncate {
                return Ok(start);
            }
            self.cut_long(buf, message, frames);
            self.skip = Skip::Bytes(len);
            start = self.pass_over(buf, message);
            if self.skip != Skip::Nothing {
                return Ok(start);
            }
        }
        Ok(start)
    }

    /// Delivers or counts the over-long frame at `start`.
    fn cut_long(&mut self, buf: &[u8], start: usize, frames: &mut Vec<Frame>) {
        match self.oversize {
            Oversize::Truncate => {
                let span = Span::new(start, start + self.frame_bytes_max);
                push(buf, frames, Frame { span, truncated: true, incomplete: false });
            }
            Oversize::Reject => self.rejected += 1,
        }
    }
}

/// The bytes of a frame or datagram without the line end or NUL that its sender put behind it.
///
/// Source: senders that count it (rsyslog's templates end in LF), HAProxy's datagrams end in LF,
/// Python's `SysLogHandler` sends a NUL.
#[must_use]
#[inline]
pub fn trim(frame: &[u8]) -> &[u8] {
    let frame = frame.strip_suffix(b"\0").unwrap_or(frame);
    let Some(line) = frame.strip_suffix(b"\n") else { return frame };
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Pushes a frame unless there is nothing in it.
#[inline]
fn push(buf: &[u8], frames: &mut Vec<Frame>, frame: Frame) {
    let is_blank = frame.span.len <= 3 && trim(frame.span.of(buf)).is_empty();
    if !is_blank {
        frames.push(frame);
    }
}

#[inline]
fn skip_line_ends(buf: &[u8], mut start: usize) -> usize {
    while buf.get(start) == Some(&b'\n') {
        start += 1;
    }
    start
}

/// Reads `MSG-LEN SP` at `at`: the count, and where the message starts. `None` if it has not all
/// come yet.
#[inline]
fn read_count(buf: &[u8], at: usize) -> Result<Option<(u64, usize)>, FramingError> {
    let mut count = 0u64;
    for digits in 0..=COUNT_DIGITS_MAX {
        let offset = at + digits;
        let Some(&found) = buf.get(offset) else { return Ok(None) };
        let fault = match found {
            b' ' if digits > 0 => return Ok(Some((count, offset + 1))),
            b'1'..=b'9' if digits < COUNT_DIGITS_MAX => None,
            b'0' if digits > 0 && digits < COUNT_DIGITS_MAX => None,
            b'0'..=b'9' if digits > 0 => Some(CountFault::Length),
            _ if digits == 0 => Some(CountFault::Start),
            _ => Some(CountFault::End),
        };
        if let Some(fault) = fault {
            return Err(FramingError { offset, found, fault });
        }
        // Ten digits stay far below 2^64.
        count = count * 10 + u64::from(found - b'0');
    }
    Ok(None)
}

/// The mark that the first bytes of a session show; `None` if there is none in them yet.
fn find_mark(bytes: &[u8]) -> Option<u8> {
    let starts_or_ends = |at: usize| matches!(bytes.get(at + 1), None | Some(b'<'));
    let first = memchr::memchr2(b'\n', 0, bytes)?;
    if bytes[first] == b'\n' && starts_or_ends(first) {
        return Some(b'\n');
    }
    let nul = memchr::memchr(0, &bytes[first..]).map(|at| first + at);
    Some(if nul.is_some_and(starts_or_ends) { 0 } else { b'\n' })
}

#[cfg(test)]
mod tests;
