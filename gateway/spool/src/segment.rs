//! A segment as the readers see it.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use crate::Totals;
use crate::format::{Entries, FRAMES, Kind, Span};
use crate::vfs::File;
use crate::walk::{Step, Tail, Walk};

/// Bytes between two points of a segment's index; few for tests, whose segments are small.
const POINT_EVERY: u64 = if cfg!(test) { 2 << 10 } else { 1 << 20 };

/// A segment: what of it may be read, and what is known about that.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) first: u64,
    /// One past the last sequence that may be read here.
    pub(crate) next: u64,
    /// Drawn for this file alone, so it names it too.
    pub(crate) salt: u64,
    pub(crate) file: Arc<dyn File>,
    /// All bytes from [`FRAMES`] up to here were written as frames.
    pub(crate) end: u64,
    /// Bytes on disk.
    pub(crate) size: u64,
    /// What each destination wants here.
    pub(crate) totals: BTreeMap<u32, Totals>,
    /// Some (sequence, offset) of groups.
    pub(crate) points: Vec<(u64, u64)>,
    /// Damage that was reported.
    pub(crate) known: Vec<Span>,
    /// The destination by its number in this file, where that is another's elsewhere.
    pub(crate) aliases: BTreeMap<u32, u32>,
    /// This process wrote it to its end without an error: its file may be the next spare.
    pub(crate) is_sealed: bool,
}

/// What one destination wants of one entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wants {
    pub(crate) sequence: u64,
    pub(crate) file_id: u32,
    pub(crate) totals: Totals,
}

impl Segment {
    pub(crate) fn new(first: u64, salt: u64, file: Arc<dyn File>) -> Self {
        Self {
            first,
            next: first,
            salt,
            file,
            end: FRAMES,
            size: FRAMES,
            totals: BTreeMap::new(),
            points: Vec::new(),
            known: Vec::new(),
            aliases: BTreeMap::new(),
            is_sealed: false,
        }
    }

    /// What a reader needs; without the totals, which may be many.
    pub(crate) fn view(&self) -> Self {
        Self {
            first: self.first,
            next: self.next,
            salt: self.salt,
            file: Arc::clone(&self.file),
            end: self.end,
            size: self.size,
            totals: BTreeMap::new(),
            points: self.points.clone(),
            known: self.known.clone(),
            aliases: self.aliases.clone(),
            is_sealed: self.is_sealed,
        }
    }

    /// Takes note of where a group is, now and then.
    pub(crate) fn point(&mut self, sequence: u64, offset: u64) {
        let last = self.points.last().map_or(FRAMES, |(_, at)| *at);
        if offset >= last + POINT_EVERY {
            self.points.push((sequence, offset));
        }
    }

    /// A walk that finds what stands at `from` or behind it.
    pub(crate) fn walk(&self, from: u64) -> Walk<'_> {
        let at = self.points.partition_point(|(sequence, _)| *sequence <= from);
        let offset = at.checked_sub(1).and_then(|at| self.points.get(at));
        Walk {
            file: &*self.file,
            salt: self.salt,
            offset: offset.map_or(FRAMES, |(_, offset)| *offset),
            limit: self.end,
            tail: Tail::Whole,
            known: &self.known,
            from,
            is_lenient: false,
        }
    }

    /// The numbers a destination has in this file.
    pub(crate) fn ids(&self, destination: u32, file_id: u32) -> Vec<u32> {
        let own = (!self.aliases.contains_key(&file_id)).then_some(file_id);
        let others = self.aliases.iter().filter(|(_, d)| **d == destination).map(|(id, _)| *id);
        own.into_iter().chain(others).collect()
    }

    /// What those numbers want at `from` and behind it, entry by entry; `None`: there is damage that
    /// was not reported.
    pub(crate) fn wants(
        &self,
        ids: &[u32],
        from: u64,
        is_lenient: bool,
    ) -> io::Result<Option<Vec<Wants>>> {
        let mut found = Vec::new();
        let mut walk = Walk { is_lenient, ..self.walk(from) };
        loop {
            let frame = match walk.step()? {
                Step::Frame(frame) if frame.head.kind == Kind::Group => frame,
                Step::Frame(_) => continue,
                Step::Damaged(..) => return Ok(None),
                Step::End => return Ok(Some(found)),
            };
            for (sequence, entry) in (frame.head.sequence..).zip(Entries::new(&frame.body)) {
                let wants = entry.wants().filter(|_| sequence >= from);
                for want in wants.filter(|want| ids.contains(&want.id)) {
                    let totals = Totals::of(want.records, want.bytes);
                    found.push(Wants { sequence, file_id: want.id, totals });
                }
            }
        }
    }
}
