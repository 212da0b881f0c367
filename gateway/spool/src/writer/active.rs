//! The segment that is written to.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::sync::Arc;

use crate::format::{self, Header, Row, SECTOR, Seal, VERSION};
use crate::group::Group;
use crate::segment::Segment;
use crate::state::{Inner, Shared};
use crate::vfs::{File, uninterrupted, write_all};
use crate::{DestinationId, crash};

/// Bytes of a table up to which it is written twice, so that one damaged byte loses no name.
const TWICE_BYTES: usize = 64 << 10;

/// The segment that is written to; what readers know of it is the last of the segments.
#[derive(Debug)]
pub(crate) struct Active {
    pub(super) file: Arc<dyn File>,
    salt: u64,
    /// Where the next frame goes.
    pub(super) end: u64,
    pub(super) has_entries: bool,
    /// Where it began to be written to, behind all cursors.
    start: u64,
    /// One past the last sequence in it.
    next: u64,
    /// Destinations whose name stands in it.
    named: HashSet<u32>,
    /// As much as was synced: the end, the next sequence.
    pub(super) synced: (u64, u64),
}

impl Active {
    /// Makes a segment of the spare: a header and all cursors, synced before it has its name.
    pub(super) fn create(shared: &Shared, file: Arc<dyn File>, first: u64) -> io::Result<Self> {
        let salt = shared.vfs.random()?;
        let header = Header { version: VERSION, uuid: shared.uuid, salt, first };
        let mut bytes = header.write();
        let mut named = HashSet::new();
        let rows = shared.lock().all_rows();
        named.extend(rows.iter().map(|row| row.id));
        if !rows.is_empty() {
            push_table(&mut bytes, &rows, first, false, salt);
        }
        let end = write_end(&*file, bytes, 0)?;
        uninterrupted(|| file.sync_data())?;
        let path = shared.segment_path(first);
        shared.vfs.rename(&shared.files.spare(), &path)?;
        crash::point("segment_created");
        uninterrupted(|| shared.vfs.sync_dir(&shared.files.dir))?;
        let mut segment = Segment::new(first, salt, Arc::clone(&file));
        (segment.end, segment.size) = (end, shared.options.segment_bytes.max(end));
        shared.lock().push_segment(segment);
        let synced = (end, first);
        Ok(Self { file, salt, end, has_entries: false, start: end, next: first, named, synced })
    }

    /// Writes a group, and before it the names it needs.
    pub(super) fn put(&mut self, shared: &Shared, group: &Group) -> io::Result<()> {
        let rows = shared.lock().rows_of(group, &self.named);
        let mut offset = self.end;
        if !rows.is_empty() {
            let mut bytes = Vec::new();
            push_table(&mut bytes, &rows, group.first, self.is_synced(), self.salt);
            offset = write_end(&*self.file, bytes, offset)?;
        }
        let frame = group.frame(rows.is_empty() && self.is_synced(), self.salt);
        write_all(&*self.file, &frame, offset)?;
        self.end = offset + (frame.len() - SECTOR) as u64;
        drop(frame);
        self.named.extend(rows.iter().map(|row| row.id));
        self.has_entries = true;
        self.next = group.next();
        let mut inner = shared.lock();
        if let Some(segment) = inner.segment_by_salt(self.salt) {
            segment.point(group.first, offset);
            segment.next = group.next();
            for (id, totals) in &group.totals {
                segment.totals.entry(*id).or_default().add(*totals);
            }
        }
        inner.grow(self.salt, self.end);
        Ok(())
    }

    /// Writes the cursors that changed; says whether there were any.
    pub(super) fn put_cursors(&mut self, shared: &Shared) -> io::Result<bool> {
        let rows = shared.lock().changed_rows(&self.named);
        if rows.is_empty() {
            return Ok(false);
        }
        let mut bytes = Vec::new();
        if rows.iter().any(|row| row.name.is_some()) {
            push_table(&mut bytes, &rows, self.next, self.is_synced(), self.salt);
        } else {
            bytes = format::table(&rows, self.next, self.is_synced(), self.salt);
        }
        // After an error the next segment begins with all cursors: these are not forgotten.
        self.end = write_end(&*self.file, bytes, self.end)?;
        self.named.extend(rows.iter().map(|row| row.id));
        shared.lock().grow(self.salt, self.end);
        Ok(true)
    }

    /// Whether it is as long as a segment may be, of which what it began with is at most half.
    pub(super) fn is_long(&self, segment_bytes: u64) -> bool {
        self.end > segment_bytes.max(2 * self.start)
    }

    /// Whether all that was written is durable.
    fn is_synced(&self) -> bool {
        self.synced.0 == self.end
    }

    /// What was written is durable.
    pub(super) fn note_synced(&mut self) {
        self.synced = (self.end, self.next);
    }

    /// Ends it with its footer, and syncs.
    pub(super) fn seal(&mut self, shared: &Shared, closed: bool) -> io::Result<()> {
        let seal = {
            let mut inner = shared.lock();
            inner.seal(self.salt, closed)
        };
        let bytes = seal.write(self.end, self.salt);
        let len = self.end + bytes.len() as u64;
        write_all(&*self.file, &bytes, self.end)?;
        crash::point("seal_written");
        uninterrupted(|| self.file.set_len(len))?;
        uninterrupted(|| self.file.sync_data())?;
        if let Some(segment) = shared.lock().segment_by_salt(self.salt) {
            segment.size = len;
            segment.is_sealed = true;
        }
        Ok(())
    }

    /// Only what was synced counts from now on. If there was no room for a write, what was taken
    /// ahead is given back; after any other error the file is not touched again.
    pub(super) fn give_up(self, shared: &Shared, unsynced: &VecDeque<Group>, is_full: bool) {
        let (end, next) = self.synced;
        let is_cut = is_full && self.file.set_len(end).is_ok();
        let mut inner = shared.lock();
        inner.stats.poisoned += 1;
        if let Some(segment) = inner.segment_by_salt(self.salt) {
            (segment.end, segment.next) = (end, next);
            segment.points.retain(|(_, offset)| *offset < end);
            for (id, totals) in unsynced.iter().flat_map(|group| &group.totals) {
                if let Some(here) = segment.totals.get_mut(id) {
                    *here = here.less(*totals);
                }
            }
            if is_cut {
                segment.size = end;
            }
        }
    }
}

/// Writes frames, and behind them the zeros by which a reader sees that no write was torn here: the file
/// may have been another segment before. Says where the next frame goes.
fn write_end(file: &dyn File, mut frames: Vec<u8>, offset: u64) -> io::Result<u64> {
    let end = offset + frames.len() as u64;
    frames.resize(frames.len() + SECTOR, 0);
    write_all(file, &frames, offset)?;
    Ok(end)
}

fn push_table(bytes: &mut Vec<u8>, rows: &[Row], sequence: u64, is_after_sync: bool, salt: u64) {
    let table = format::table(rows, sequence, is_after_sync, salt);
    bytes.extend_from_slice(&table);
    if table.len() <= TWICE_BYTES {
        bytes.extend_from_slice(&format::table(rows, sequence, false, salt));
    }
}

impl Inner {
    /// Nothing on disk is before it.
    fn oldest(&self) -> u64 {
        let oldest = self.segments.front().map_or(self.next, |segment| segment.first);
        oldest.min(self.undeleted)
    }

    /// The cursors of all destinations that have entries on disk.
    fn all_rows(&self) -> Vec<Row> {
        let oldest = self.oldest();
        let with_entries = self.destinations.iter().filter(|d| d.wanted > oldest);
        let row = |d| self.row(d, true);
        with_entries.map(row).collect()
    }

    /// The destinations of a group that the segment does not name yet.
    fn rows_of(&self, group: &Group, named: &HashSet<u32>) -> Vec<Row> {
        let ids = group.totals.iter().map(|(id, _)| DestinationId(*id).index());
        let destinations = ids.filter_map(|id| self.destinations.get(id));
        let new = destinations.filter(|d| !named.contains(&d.file_id));
        new.map(|d| self.row(d, true)).collect()
    }

    fn row(&self, d: &crate::destination::Destination, has_name: bool) -> Row {
        let name = has_name.then(|| d.name.to_string());
        Row { id: d.file_id, name, frontier: self.frontier_of(d) }
    }

    fn changed_rows(&mut self, named: &HashSet<u32>) -> Vec<Row> {
        let mut rows = Vec::new();
        for id in std::mem::take(&mut self.changed) {
            if let Some(destination) = self.destinations.get_mut(DestinationId(id).index()) {
                destination.is_changed = false;
            }
            if let Some(destination) = self.destinations.get(DestinationId(id).index()) {
                rows.push(self.row(destination, !named.contains(&destination.file_id)));
            }
        }
        rows
    }

    fn seal(&mut self, salt: u64, closed: bool) -> Seal {
        let oldest = self.oldest();
        let Some(at) = self.segments.iter().position(|segment| segment.salt == salt) else {
            return Seal::default();
        };
        let Some(segment) = self.segments.get(at) else { return Seal::default() };
        let mut rows = Vec::new();
        for (id, destination) in (0..).zip(&self.destinations) {
            let totals = segment.totals.get(&id).copied().unwrap_or_default();
            if destination.wanted > oldest || totals.entries > 0 {
                rows.push((self.row(destination, true), totals));
            }
        }
        Seal {
            closed,
            // Behind a spool that is closed nothing is left to be written, so all was given that could be.
            next: if closed { self.next } else { segment.next },
            rows,
            known: segment.known.clone(),
            points: segment.points.clone(),
        }
    }

    /// A segment is there; one of the same name, in which nothing counts, is gone.
    fn push_segment(&mut self, segment: Segment) {
        if self.segments.back().is_some_and(|last| last.first == segment.first) {
            self.segments.pop_back();
        }
        self.segments.push_back(segment);
    }

    fn grow(&mut self, salt: u64, end: u64) {
        if let Some(segment) = self.segment_by_salt(salt) {
            segment.end = end;
            segment.size = segment.size.max(end);
        }
    }
}
