//! Going through the frames of a segment, past damage.

use std::io;

use crate::format::{FRAMES, HEAD, Head, Kind, SECTOR, Span, TRAILER, index, sectors};
use crate::vfs::{File, read_full, uninterrupted};

/// Bytes read at once; most frames of a quiet spool fit.
const CHUNK: usize = 4096;
/// Bytes looked through at once for the next valid frame.
const SEARCH: usize = 256 * 1024;

/// What lies behind the last valid frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tail {
    /// Perhaps a torn write, or room never written.
    Open,
    /// Nothing: all bytes up to the limit were written as frames.
    Whole,
}

/// A frame with its body.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) offset: u64,
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
}

/// What comes next.
#[derive(Debug)]
pub(crate) enum Step {
    Frame(Frame),
    /// Bytes that are no frame, with the head where that could be read.
    Damaged(Span, Option<Head>),
    /// No more frames.
    End,
}

/// A walk over the frames of a file, from an offset up to a limit.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    pub(crate) file: &'a dyn File,
    pub(crate) salt: u64,
    pub(crate) offset: u64,
    pub(crate) limit: u64,
    pub(crate) tail: Tail,
    /// Damage that is passed over without a word.
    pub(crate) known: &'a [Span],
    /// Groups that end at or before this sequence are passed over without reading their body.
    pub(crate) from: u64,
    /// Bytes that cannot be read count as damaged.
    pub(crate) is_lenient: bool,
}

impl<'a> Walk<'a> {
    /// A walk over all frames of a file of unknown content.
    pub(crate) fn scan(file: &'a dyn File, salt: u64, limit: u64) -> Self {
        let (tail, known) = (Tail::Open, &[][..]);
        Self { file, salt, offset: FRAMES, limit, tail, known, from: 0, is_lenient: true }
    }

    /// The next frame, or why there is none.
    pub(crate) fn step(&mut self) -> io::Result<Step> {
        loop {
            // A walk may begin inside of one: at a point, or where a group was read before it rotted.
            if let Some(end) = self.known.iter().find_map(|span| end_around(*span, self.offset)) {
                self.offset = end;
                continue;
            }
            if self.offset.saturating_add(HEAD as u64) > self.limit {
                return Ok(self.end());
            }
            let (head, bytes) = self.look()?;
            let Some(head) = head else {
                return self.damaged(None);
            };
            let offset = self.offset;
            if head.kind == Kind::Group && head.next() <= self.from {
                self.offset += head.size();
                continue;
            }
            let Some(body) = self.body(&head, bytes)? else {
                return self.damaged(Some(head));
            };
            self.offset += head.size();
            return Ok(Step::Frame(Frame { offset, head, body }));
        }
    }

    /// The head of the frame here, if there is one, and the first bytes of it.
    fn look(&self) -> io::Result<(Option<Head>, Vec<u8>)> {
        let mut bytes = vec![0; CHUNK.min(index(self.limit - self.offset))];
        if self.fill(&mut bytes, self.offset).is_err() {
            // Perhaps only what is behind the frame cannot be read.
            bytes.truncate(HEAD);
            self.fill(&mut bytes, self.offset)?;
        }
        let head = Head::read(&bytes, self.salt).filter(|head| self.fits(head));
        Ok((head, bytes))
    }

    /// The body of a frame of whose bytes the first were read; `None` if it is damaged.
    fn body(&self, head: &Head, mut bytes: Vec<u8>) -> io::Result<Option<Vec<u8>>> {
        let (read, len) = (bytes.len(), HEAD + index(head.len.into()));
        bytes.resize(len, 0);
        if let Some(rest) = bytes.get_mut(read.min(len)..) {
            self.fill(rest, self.offset + read as u64)?;
        }
        let body = bytes.split_off(HEAD);
        Ok(head.holds(&body, self.salt).then_some(body))
    }

    fn fits(&self, head: &Head) -> bool {
        self.offset.saturating_add(head.size()) <= self.limit
    }

    fn end(&mut self) -> Step {
        let end = self.offset;
        self.offset = self.limit.max(end);
        if self.tail == Tail::Whole && end < self.limit {
            return Step::Damaged(Span { offset: end, len: self.limit - end }, None);
        }
        Step::End
    }

    /// Passes over bytes that are no frame.
    fn damaged(&mut self, head: Option<Head>) -> io::Result<Step> {
        let offset = self.offset;
        // The head of the frame, if it can be read, says where the next one is.
        let behind = head.map(|head| offset + head.size());
        let next = match behind {
            Some(behind) if self.is_frame(behind)? => Some(behind),
            Some(behind) if self.tail == Tail::Whole && behind >= self.limit => Some(self.limit),
            _ => self.search(sectors(offset + 1))?,
        };
        let Some(next) = next else { return Ok(self.end()) };
        self.offset = next;
        let is_one = behind == Some(next);
        Ok(Step::Damaged(Span { offset, len: next - offset }, head.filter(|_| is_one)))
    }

    /// The offset of the next valid frame.
    fn search(&self, from: u64) -> io::Result<Option<u64>> {
        let mut chunk = vec![0; SEARCH + HEAD];
        let mut start = from;
        while start.saturating_add(HEAD as u64) <= self.limit {
            let len = chunk.len().min(index(self.limit - start));
            let Some(bytes) = chunk.get_mut(..len) else { break };
            self.fill(bytes, start)?;
            for at in (0..SEARCH.min(len)).step_by(SECTOR) {
                // The head has a checksum of its own: content that looks like frames costs little.
                let looks = bytes.get(at..).and_then(|b| Head::read(b, self.salt)).is_some();
                if looks && self.is_frame(start + at as u64)? {
                    return Ok(Some(start + at as u64));
                }
            }
            start += SEARCH as u64;
        }
        Ok(None)
    }

    fn is_frame(&self, offset: u64) -> io::Result<bool> {
        if offset.saturating_add(HEAD as u64) > self.limit {
            return Ok(false);
        }
        let probe = Self { offset, known: &[], ..*self };
        match probe.look()? {
            (Some(head), bytes) => Ok(probe.body(&head, bytes)?.is_some()),
            (None, _) => Ok(false),
        }
    }

    /// Reads; what lies behind the end of the file is zeros.
    fn fill(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        match read_full(self.file, bytes, offset) {
            Ok(_) => Ok(()),
            Err(error) if !self.is_lenient => Err(error),
            Err(_) => {
                self.fill_what_can_be_read(bytes, offset);
                Ok(())
            }
        }
    }

    /// Reads sector by sector; those that cannot be read stay zeros.
    fn fill_what_can_be_read(&self, mut bytes: &mut [u8], mut offset: u64) {
        while !bytes.is_empty() {
            // Those of the file, so that none is lost for its neighbour.
            let len = index(sectors(offset + 1) - offset).min(bytes.len());
            let (sector, rest) = bytes.split_at_mut(len);
            if read_full(self.file, sector, offset).is_err() {
                sector.fill(0);
            }
            (bytes, offset) = (rest, offset + len as u64);
        }
    }
}

/// The end of a span with this offset in it.
fn end_around(span: Span, offset: u64) -> Option<u64> {
    let end = span.offset.saturating_add(span.len.max(SECTOR as u64));
    (span.offset..end).contains(&offset).then_some(end)
}

/// The bytes at the end of a file where a trailer would be.
pub(crate) fn last_bytes(file: &dyn File, len: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; TRAILER];
    let Some(offset) = len.checked_sub(TRAILER as u64) else { return Ok(Vec::new()) };
    uninterrupted(|| read_full(file, &mut bytes, offset))?;
    Ok(bytes)
}
