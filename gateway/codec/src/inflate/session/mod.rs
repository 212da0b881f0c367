//! What rsyslog sends compressed: a session that is one zlib stream, and single messages.
//!
//! *Source*: RFC 1950 (zlib), RFC 1951 (deflate); for the `z` before a message, rsyslog's
//! `compression.mode`. What comes out is limited while it comes out, in bytes and as a multiple of
//! what went in.

use std::fmt;

use flate2::{Decompress, FlushDecompress, Status};

#[cfg(test)]
mod tests;

/// What a compressed message begins with, before the zlib stream that it is.
const MESSAGE_MARK: u8 = b'z';
/// A stream may grow by this factor on the whole. Deflate reaches 1,032, log records not a tenth of
/// that.
pub const RATIO_MAX: u64 = 512;
/// Bytes that may come out of a stream before its ratio counts: a short one of equal lines is no
/// attack.
pub const RATIO_FREE_BYTES: u64 = 1 << 20;

/// Why compressed bytes are not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InflateError {
    /// They are not what zlib writes.
    Damaged,
    /// They become too many.
    Ratio,
}

impl fmt::Display for InflateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged => f.write_str("its zlib stream is damaged"),
            Self::Ratio => write!(f, "its zlib stream grows more than {RATIO_MAX}-fold"),
        }
    }
}

impl std::error::Error for InflateError {}

/// Whether a session that begins with these bytes is a zlib stream; none as long as that is open.
/// No syslog record begins so.
#[must_use]
pub fn is_zlib(bytes: &[u8]) -> Option<bool> {
    match bytes {
        [] => None,
        [first, ..] if *first != 0x78 => Some(false),
        [_] => None,
        // A window of 32 KiB, no dictionary, and the check of these two bytes.
        [first, second, ..] => {
            let is_checked = u16::from_be_bytes([*first, *second]).is_multiple_of(31);
            Some(is_checked && second & 0x20 == 0)
        }
    }
}

/// A session that is a zlib stream, or several of them one after the other.
#[derive(Debug)]
pub struct Inflater {
    stream: Decompress,
    /// The stream has ended; if there is more, another one begins.
    is_over: bool,
    came: u64,
    became: u64,
}

impl Default for Inflater {
    fn default() -> Self {
        Self { stream: Decompress::new(true), is_over: false, came: 0, became: 0 }
    }
}

impl Inflater {
    /// Inflates into the free capacity of `out`, and never makes it grow. Returns how many bytes of
    /// the input are used up; unless `out` is full, that is all of it.
    ///
    /// # Errors
    /// [`InflateError`]; what came out until then is in `out`.
    pub fn inflate(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<usize, InflateError> {
        let mut used = 0;
        loop {
            let rest = input.get(used..).unwrap_or_default();
            if self.is_over {
                if rest.is_empty() {
                    return Ok(used);
                }
                self.stream.reset(true);
                self.is_over = false;
            }
            let (before_in, before_out) = (self.stream.total_in(), self.stream.total_out());
            let status = self.stream.decompress_vec(rest, out, FlushDecompress::None);
            let taken = self.stream.total_in() - before_in;
            let made = self.stream.total_out() - before_out;
            used += usize::try_from(taken).unwrap_or(usize::MAX);
            self.came += taken;
            self.became += made;
            let status = status.map_err(|_| InflateError::Damaged)?;
            if self.became > RATIO_FREE_BYTES && self.became / RATIO_MAX > self.came {
                return Err(InflateError::Ratio);
            }
            self.is_over = status == Status::StreamEnd;
            let is_full = out.len() == out.capacity();
            if is_full || (!self.is_over && (used >= input.len() || taken + made == 0)) {
                return Ok(used);
            }
        }
    }
}

/// Whether a frame is a compressed message.
#[must_use]
pub fn is_compressed_message(frame: &[u8]) -> bool {
    frame
        .split_first()
        .is_some_and(|(mark, stream)| *mark == MESSAGE_MARK && is_zlib(stream) == Some(true))
}

/// Inflates a compressed message behind what `out` has, up to `most` bytes of it. Returns whether
/// there would have been more.
///
/// # Errors
/// [`InflateError::Damaged`]; then `out` is as it was.
pub fn inflate_message(frame: &[u8], most: usize, out: &mut Vec<u8>) -> Result<bool, InflateError> {
    let stream = frame.get(1..).unwrap_or_default();
    // One byte more tells whether it is longer.
    let mut message = Vec::with_capacity(most.min(stream.len().saturating_mul(4)).max(64));
    let mut inflater = Decompress::new(true);
    loop {
        let used = usize::try_from(inflater.total_in()).unwrap_or(usize::MAX);
        let rest = stream.get(used..).unwrap_or_default();
        let status = inflater.decompress_vec(rest, &mut message, FlushDecompress::Finish);
        match status.map_err(|_| InflateError::Damaged)? {
            Status::StreamEnd => break,
            _ if message.len() > most => break,
            // There is room, and yet no end: it was cut.
            _ if message.len() < message.capacity() => return Err(InflateError::Damaged),
            _ => message.reserve((most + 1 - message.len()).min(message.len())),
        }
    }
    let is_longer = message.len() > most;
    out.extend_from_slice(message.get(..most).unwrap_or(&message));
    Ok(is_longer)
}
