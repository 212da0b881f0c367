//! Cuts the records out of a received stream, by the framing that its first byte shows.
//!
//! This is deliberately not the gateway's own framing: what verifies must not share the mistakes of
//! what it verifies. It is strict where senders are known to be right.

use memchr::{memchr, memchr_iter};

use super::MESSAGE_BYTES_MAX;

/// A stream that is neither octet counted nor lines. The session cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotFramed;

/// Framing of one session, decided by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Octet,
    Lf,
}

/// Cuts whole records, for their contents to be looked at.
#[derive(Debug, Default)]
pub(super) struct Cutter {
    kind: Option<Kind>,
}

impl Cutter {
    /// Hands each whole record of `bytes` to `each`, without its framing and without a trailing line
    /// feed, and returns how many bytes are used up.
    pub(super) fn cut(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(&[u8]),
    ) -> Result<usize, NotFramed> {
        let Some(&first) = bytes.first() else { return Ok(0) };
        let kind = *self.kind.get_or_insert_with(|| kind_of(first));
        let mut used = 0;
        while let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) {
            let frame = match kind {
                Kind::Octet => octet_frame(rest)?,
                Kind::Lf => memchr(b'\n', rest).map(|end| (0, end + 1)),
            };
            let Some((start, end)) = frame else { break };
            let record = rest.get(start..end).ok_or(NotFramed)?;
            each(record.strip_suffix(b"\n").unwrap_or(record));
            used += end;
        }
        if bytes.len() - used > MESSAGE_BYTES_MAX + 16 {
            return Err(NotFramed);
        }
        Ok(used)
    }
}

/// Counts records without keeping their bytes.
#[derive(Debug, Default)]
pub(super) struct Counter {
    kind: Option<Kind>,
    /// Bytes of the current record still to come.
    remaining: usize,
    /// The count read so far.
    count: usize,
}

impl Counter {
    /// The number of records that end in `bytes`.
    pub(super) fn count(&mut self, bytes: &[u8]) -> Result<u64, NotFramed> {
        let Some(&first) = bytes.first() else { return Ok(0) };
        match *self.kind.get_or_insert_with(|| kind_of(first)) {
            Kind::Lf => Ok(memchr_iter(b'\n', bytes).count() as u64),
            Kind::Octet => self.count_octet(bytes),
        }
    }

    fn count_octet(&mut self, bytes: &[u8]) -> Result<u64, NotFramed> {
        let (mut records, mut at) = (0, 0);
        while at < bytes.len() {
            if self.remaining > 0 {
                let step = self.remaining.min(bytes.len() - at);
                at += step;
                self.remaining -= step;
                records += u64::from(self.remaining == 0);
                continue;
            }
            match bytes.get(at) {
                Some(digit @ b'0'..=b'9') if self.count <= MESSAGE_BYTES_MAX => {
                    self.count = self.count * 10 + usize::from(digit - b'0');
                }
                Some(b' ') if (1..=MESSAGE_BYTES_MAX).contains(&self.count) => {
                    self.remaining = std::mem::take(&mut self.count);
                }
                _ => return Err(NotFramed),
            }
            at += 1;
        }
        Ok(records)
    }
}

fn kind_of(first: u8) -> Kind {
    if first.is_ascii_digit() { Kind::Octet } else { Kind::Lf }
}

/// Start and end of the counted record at the head of `bytes`, or `None` where it is not whole yet.
fn octet_frame(bytes: &[u8]) -> Result<Option<(usize, usize)>, NotFramed> {
    let mut count = 0;
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'0'..=b'9' if count <= MESSAGE_BYTES_MAX => {
                count = count * 10 + usize::from(byte - b'0');
            }
            b' ' if (1..=MESSAGE_BYTES_MAX).contains(&count) => {
                let end = at + 1 + count;
                return Ok((end <= bytes.len()).then_some((at + 1, end)));
            }
            _ => return Err(NotFramed),
        }
    }
    Ok(None)
}
