//! One segment, as its file says.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use crate::damage::Content;
use crate::files::{Files, segment_name};
use crate::format::{self, FRAMES, Header, Kind, Row, SECTOR, Seal, Span, VERSION, index};
use crate::segment::Segment;
use crate::vfs::{Access, File, Vfs, patiently, read_full, uninterrupted, write_all};
use crate::walk::{Frame, Step, Walk, last_bytes};
use crate::{OpenError, Totals, crash};

use super::failed;

/// What a file is.
pub(crate) enum Found {
    /// It was deleted meanwhile: somebody has the spool open, and this is only a look.
    Gone,
    /// Nothing in it can be read; it is in `quarantine/` now, if the disk gave that much.
    Unreadable {
        len: u64,
    },
    Segment(Box<Loaded>),
}

/// A segment, and what its file says about destinations.
pub(crate) struct Loaded {
    pub(crate) segment: Segment,
    pub(crate) uuid: Option<[u8; 16]>,
    /// In order: cursors and names.
    pub(crate) rows: Vec<Row>,
    /// By number in the file.
    pub(crate) totals: BTreeMap<u32, Totals>,
    pub(crate) closed: bool,
    /// It was not sealed.
    pub(crate) was_scanned: bool,
    /// The disk gave all of it, so what is no frame may be cut off.
    pub(crate) was_read: bool,
    /// Bytes behind the frames up to the next zeros.
    pub(crate) cut: u64,
    /// Those of them among which are whole frames, behind one that is missing.
    pub(crate) unsynced: Option<Span>,
    /// Damage, if it was scanned.
    pub(crate) content: Content,
}

/// Reads a segment. Entries from `limit` on do not count: they were written again, elsewhere.
pub(crate) fn load(
    vfs: &dyn Vfs,
    files: &Files,
    first: u64,
    limit: Option<u64>,
    access: Access,
) -> Result<Found, OpenError> {
    let path = files.segment(first);
    let opened = patiently(|_| {
        let file = vfs.open(&path, access)?;
        Ok((file.size()?, file))
    });
    let (len, file) = match opened {
        Ok(opened) => opened,
        Err(source) if source.kind() == io::ErrorKind::PermissionDenied => {
            return Err(failed("open", path, source));
        }
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(Found::Gone),
        Err(_) => return Ok(Found::Unreadable { len: 0 }),
    };
    let Ok(found) = patiently(|_| salt(&*file, len)) else {
        return Ok(Found::Unreadable { len });
    };
    let Some((header, salt)) = found else {
        // Renamed whole: a copy would need as much room again.
        let to = files.quarantine().join(segment_name(first));
        if access == Access::Write {
            drop(vfs.create_dir(&files.quarantine()).and_then(|()| vfs.rename(&path, &to)));
        }
        return Ok(Found::Unreadable { len });
    };
    if let Some(version) = header.map(|header| header.version).filter(|v| *v > VERSION) {
        return Err(OpenError::NewerFormat { path, version, max: VERSION });
    }
    let mut segment = Segment::new(first, salt, Arc::clone(&file));
    segment.size = len;
    let mut loaded = Loaded {
        segment,
        uuid: header.map(|header| header.uuid),
        rows: Vec::new(),
        totals: BTreeMap::new(),
        closed: false,
        was_scanned: false,
        was_read: true,
        cut: 0,
        unsynced: None,
        content: Content::default(),
    };
    // A seal that could not be synced may speak of entries that were written again.
    let is_sealed = loaded.sealed(len);
    if !is_sealed || limit.is_some_and(|limit| loaded.segment.next > limit) {
        loaded.scan_all(len, limit).map_err(|source| failed("read", path, source))?;
    }
    if access == Access::Read && is_gone(vfs, files, &loaded.segment) {
        return Ok(Found::Gone);
    }
    Ok(Found::Segment(Box::new(loaded)))
}

/// Whether a segment has lost its name: while one looks, another process may delete it, and its file
/// be written to as another segment.
pub(crate) fn is_gone(vfs: &dyn Vfs, files: &Files, segment: &Segment) -> bool {
    let file = vfs.open(&files.segment(segment.first), Access::Read);
    match file.and_then(|file| salt(&*file, file.size()?)) {
        Ok(found) => found.is_none_or(|(_, salt)| salt != segment.salt),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// The header, and the salt from there or from the trailer.
pub(crate) fn salt(file: &dyn File, len: u64) -> io::Result<Option<(Option<Header>, u64)>> {
    let mut bytes = vec![0; index(FRAMES)];
    read_full(file, &mut bytes, 0)?;
    if let Some(header) = Header::read(&bytes) {
        return Ok(Some((Some(header), header.salt)));
    }
    let trailer = format::trailer(&last_bytes(file, len)?);
    Ok(trailer.map(|(_, salt)| (None, salt)))
}

/// The footer, if there is one that can be read.
pub(crate) fn footer(file: &dyn File, salt: u64, len: u64) -> Option<(u64, Seal)> {
    let bytes = last_bytes(file, len).ok()?;
    let (offset, _) = format::trailer(&bytes).filter(|(_, its)| *its == salt)?;
    let mut walk = Walk { offset, ..Walk::scan(file, salt, len) };
    match walk.step() {
        Ok(Step::Frame(frame)) if frame.head.kind == Kind::Seal && frame.offset == offset => {
            Seal::read(&frame.body).map(|seal| (offset, seal))
        }
        _ => None,
    }
}

impl Loaded {
    /// Reads the footer; says whether there was one.
    fn sealed(&mut self, len: u64) -> bool {
        let segment = &mut self.segment;
        let Some((offset, seal)) = footer(&*segment.file, segment.salt, len) else { return false };
        (segment.end, segment.next) = (offset, seal.next.max(segment.first));
        (segment.known, segment.points) = (seal.known, seal.points);
        self.closed = seal.closed;
        for (row, totals) in seal.rows {
            self.totals.insert(row.id, totals);
            self.rows.push(row);
        }
        true
    }

    /// Goes through all frames that count.
    fn scan_all(&mut self, len: u64, limit: Option<u64>) -> io::Result<()> {
        // A lenient look is never refused.
        patiently(|is_lenient| {
            let gap = self.scan(len, limit, is_lenient)?;
            // Where another segment follows, all that counts here was synced.
            let gap = gap.filter(|_| limit.is_none() && !is_lenient);
            let Some(gap) = gap else { return Ok(()) };
            let end = self.content.end;
            self.scan(gap, limit, is_lenient)?;
            self.unsynced = Some(Span { offset: gap, len: end - gap });
            Ok(())
        })
    }

    /// Goes through all frames up to an offset. Says where the first one is missing behind which no
    /// frame says that it was written after a sync: what stands there was promised to nobody.
    fn scan(&mut self, upto: u64, limit: Option<u64>, is_lenient: bool) -> io::Result<Option<u64>> {
        let file = Arc::clone(&self.segment.file);
        let mut walk = Walk { is_lenient, ..Walk::scan(&*file, self.segment.salt, upto) };
        let mut gap = None;
        self.content = Content { end: FRAMES, ..Content::default() };
        (self.segment.next, self.was_read) = (self.segment.first, !is_lenient);
        self.segment.points.clear();
        self.rows.clear();
        let mut seal = None;
        loop {
            match walk.step()? {
                Step::Frame(frame) if frame.head.kind == Kind::Seal => {
                    // The end of the file was not what it should be, or this would not be a scan.
                    seal = Seal::read(&frame.body);
                    break;
                }
                Step::Frame(frame) => {
                    let is_beyond = frame.head.kind == Kind::Group
                        && limit.is_some_and(|limit| frame.head.sequence >= limit);
                    if is_beyond {
                        break;
                    }
                    if frame.head.is_after_sync {
                        gap = None;
                    }
                    self.frame(&frame);
                }
                Step::Damaged(span, head) => {
                    gap.get_or_insert(span.offset);
                    self.content.damaged(span, head, self.segment.next);
                }
                Step::End => break,
            }
        }
        if let Some(seal) = &seal {
            // What nobody wanted any more before it was written has no frame.
            self.segment.next = self.segment.next.max(seal.next.min(limit.unwrap_or(u64::MAX)));
        }
        let end = self.content.end;
        // What is behind the last good frame is cut, not damage.
        self.content.spans.retain(|span| span.offset < end);
        self.content.met(self.segment.next);
        self.content.sequences.retain(|(first, next)| first < next);
        self.segment.end = end;
        self.totals = std::mem::take(&mut self.content.totals);
        self.closed = seal.as_ref().is_some_and(|seal| seal.closed);
        self.segment.known = seal.map(|seal| seal.known).unwrap_or_default();
        self.cut = torn_bytes(&*file, end, self.segment.size);
        self.was_scanned = true;
        Ok(gap.filter(|gap| *gap < end))
    }

    fn frame(&mut self, frame: &Frame) {
        self.content.end = frame.offset + frame.head.size();
        self.content.met(frame.head.sequence);
        self.segment.next = frame.head.sequence.max(self.segment.next);
        match frame.head.kind {
            Kind::Table => self.rows.extend(format::rows(&frame.body)),
            Kind::Group => {
                self.content.count(&frame.body);
                self.segment.point(frame.head.sequence, frame.offset);
                self.segment.next = frame.head.next().max(self.segment.next);
            }
            Kind::Header | Kind::Seal => {}
        }
    }
}

/// Bytes from `end` up to the next sector of zeros: behind that may be what the file was before.
fn torn_bytes(file: &dyn File, end: u64, len: u64) -> u64 {
    let mut chunk = vec![0; 1 << 20];
    let mut at = end;
    while at < len {
        let count = read_full(file, &mut chunk, at).unwrap_or(0);
        let bytes = chunk.get(..count).unwrap_or_default();
        let mut sectors = bytes.chunks(SECTOR);
        if let Some(zeros) = sectors.position(|sector| sector.iter().all(|byte| *byte == 0)) {
            return at + (zeros * SECTOR) as u64 - end;
        }
        if count == 0 {
            break;
        }
        at += count as u64;
    }
    at - end
}

/// Cuts a segment behind its last frame and seals it; says how long it is then.
pub(crate) fn seal(segment: &Segment, rows: Vec<(Row, Totals)>) -> io::Result<u64> {
    let (file, end) = (&*segment.file, segment.end);
    uninterrupted(|| file.set_len(end))?;
    crash::point("tail_cut");
    let seal = Seal {
        closed: false,
        next: segment.next,
        rows,
        known: segment.known.clone(),
        points: segment.points.clone(),
    };
    let bytes = seal.write(end, segment.salt);
    write_all(file, &bytes, end)?;
    uninterrupted(|| file.sync_data())?;
    Ok(end + bytes.len() as u64)
}
