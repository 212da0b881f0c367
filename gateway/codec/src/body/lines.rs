//! Lines and counted frames.

use logboom_record::{Head, Span, flags};

use super::writer::Writer;
use super::{BodyError, Refusal, Turn, json};
use crate::framing::{Frame, Framer, Framing, Oversize, trim};

/// Frames that are told apart at a time.
const FRAMES_MAX: usize = 256;

/// The lines of a body; empty ones are passed over.
#[derive(Debug)]
pub(super) struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Lines<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self { rest: text }
    }

    /// The next line as a record: syslog if it begins with a priority, its body otherwise.
    pub(super) fn next_line(&mut self, writer: &mut Writer<'_>) -> Turn {
        match self.next() {
            Some(line) if is_syslog(line) => syslog(line, writer),
            Some(line) => plain(line, writer),
            None => Turn::Over,
        }
    }

    /// The next line as a JSON object.
    pub(super) fn next_json(&mut self, writer: &mut Writer<'_>) -> Turn {
        match self.next() {
            Some(line) => json::line(line, writer),
            None => Turn::Over,
        }
    }

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.rest.is_empty() {
            let line = match memchr::memchr(b'\n', self.rest) {
                Some(at) => {
                    let line = self.rest.get(..at).unwrap_or_default();
                    self.rest = self.rest.get(at + 1..).unwrap_or_default();
                    line
                }
                None => std::mem::take(&mut self.rest),
            };
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if !line.is_empty() {
                return Some(line);
            }
        }
        None
    }
}

/// Whether a line begins with `<` and a digit.
fn is_syslog(line: &[u8]) -> bool {
    matches!(line, [b'<', b'0'..=b'9', ..])
}

/// A record that is its body and nothing else.
pub(super) fn plain(text: &[u8], writer: &mut Writer<'_>) -> Turn {
    let (text, is_cut) = match fit(text, writer) {
        Ok(fitting) => fitting,
        Err(refusal) => return Turn::Refused(refusal),
    };
    let mut head = writer.begin();
    let span = writer.append(text);
    (head.raw, head.body) = (span, span);
    if is_cut {
        head.flags |= flags::TRUNCATED;
    }
    writer.end(&head);
    Turn::Taken
}

/// A record in syslog.
fn syslog(frame: &[u8], writer: &mut Writer<'_>) -> Turn {
    let (frame, is_cut) = match fit(frame, writer) {
        Ok(fitting) => fitting,
        Err(refusal) => return Turn::Refused(refusal),
    };
    writer.begin();
    let span = writer.append(frame);
    let received = writer.batch.received();
    match writer.settings.decoder.decode(writer.batch.arena(), span, received) {
        Ok(mut head) => {
            if is_cut {
                head.flags = head.flags & !flags::VERBATIM | flags::TRUNCATED;
            }
            writer.end(&Head { raw: span, ..head });
            Turn::Taken
        }
        Err(error) => Turn::Refused(Refusal::Syslog(error)),
    }
}

/// What is taken of a text, and whether that is not all of it.
fn fit<'t>(text: &'t [u8], writer: &Writer<'_>) -> Result<(&'t [u8], bool), Refusal> {
    let (bytes, most) = (text.len(), writer.settings.record_bytes_max);
    match text.get(..most) {
        Some(begin) if bytes > most && writer.settings.oversize == Oversize::Truncate => {
            Ok((begin, true))
        }
        Some(_) if bytes > most => Err(Refusal::TooLong { bytes, most }),
        _ => Ok((text, false)),
    }
}

/// Counted frames. Source: RFC 6587 section 3.4.1.
#[derive(Debug)]
pub(super) struct Frames<'a> {
    text: &'a [u8],
    at: usize,
    framer: Framer,
    frames: std::vec::IntoIter<Frame>,
}

impl<'a> Frames<'a> {
    /// Sees that the frames can be told apart to the end.
    pub(super) fn new(text: &'a [u8]) -> Result<Self, BodyError> {
        let mut all = Self::begin(text);
        while all.cut()? {}
        // Line ends behind the last frame are passed over.
        let rest = text.get(all.at..).unwrap_or_default();
        if all.framer.rejected() > 0 || rest.iter().any(|byte| *byte != b'\n') {
            return Err(BodyError::Incomplete);
        }
        Ok(Self::begin(text))
    }

    fn begin(text: &'a [u8]) -> Self {
        // The text is in memory as it is: a frame is measured when it is taken.
        let framer = Framer::new(Framing::Octet, u32::MAX as usize, Oversize::Reject);
        Self { text, at: 0, framer, frames: Vec::new().into_iter() }
    }

    /// Tells the next frames apart. Returns whether it got on.
    fn cut(&mut self) -> Result<bool, BodyError> {
        let (mut frames, before) = (Vec::new(), self.at);
        let cut = self.framer.cut(self.text, self.at, &mut frames, FRAMES_MAX);
        self.at = cut.map_err(BodyError::Framing)?;
        self.frames = frames.into_iter();
        Ok(self.at > before)
    }

    /// The next frame as a record.
    pub(super) fn next(&mut self, writer: &mut Writer<'_>) -> Turn {
        loop {
            match self.frames.next() {
                Some(frame) => return syslog(trim(frame.span.of(self.text)), writer),
                // It was gone through before without an error.
                None if self.cut() == Ok(true) => {}
                None => return Turn::Over,
            }
        }
    }
}

/// The span of a range of what lies at `base`.
pub(super) fn within(base: Span, range: &std::ops::Range<usize>) -> Span {
    if range.is_empty() {
        return Span::NONE;
    }
    let start = base.offset as usize + range.start;
    Span::new(start, start + range.len())
}
