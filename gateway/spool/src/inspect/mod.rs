//! Looking at a spool from outside, for people.
//!
//! The functions that only look take no lock and change nothing; they may be used beside the
//! process that has the spool open, and then see a moment of it. [`repair`] and [`rewind`] lock it.

mod mend;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::Path;

use crate::damage::content;
use crate::destination::Destination;
use crate::files::Files;
use crate::format::{Entries, Kind};
use crate::segment::Segment;
use crate::state::Inner;
use crate::vfs::{Access, Real, Vfs, patiently};
use crate::walk::{Frame, Step, Walk};
use crate::{Cut, Damage, DestinationId, OpenError, Totals, recover};

pub use mend::{repair, rewind};

/// A segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its first sequence, which is in its name.
    pub first: u64,
    /// One past its last sequence.
    pub next: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Bytes of it that are frames.
    pub used_bytes: u64,
    /// What each destination wants in it, by name.
    pub destinations: BTreeMap<String, Totals>,
    /// Damaged spans in it that are known.
    pub damaged: usize,
}

/// A destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestinationInfo {
    /// Its name.
    pub name: String,
    /// Everything before this sequence is done.
    pub cursor: u64,
    /// What is behind it.
    pub waiting: Totals,
}

/// Which entries to give out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Only those that this destination wants.
    pub destination: Option<String>,
    /// Only those from this sequence on.
    pub from: u64,
    /// Only those before this sequence.
    pub to: u64,
}

impl Default for Filter {
    fn default() -> Self {
        Self { destination: None, from: 0, to: u64::MAX }
    }
}

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryInfo {
    /// Its place in the log.
    pub sequence: u64,
    /// The first sequence of its segment.
    pub segment: u64,
    /// Where in the segment its frame begins.
    pub offset: u64,
    /// Who wants it: name, records, bytes.
    pub wants: Vec<(String, u32, u32)>,
    /// What was appended.
    pub payload: Vec<u8>,
}

/// What a look at every byte found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Segments.
    pub segments: usize,
    /// Entries that can be read.
    pub entries: u64,
    /// Bytes of their payloads.
    pub payload_bytes: u64,
    /// Damage.
    pub damaged: Vec<Damage>,
    /// Ends of segments that were never finished, or are just being written.
    pub torn: Vec<Cut>,
    /// Bytes copied to `quarantine/`, by [`repair`].
    pub quarantined_bytes: u64,
    /// Segments written anew, by [`repair`].
    pub rewritten: Vec<u64>,
}

/// The segments, in order.
///
/// # Errors
/// [`OpenError`], except `Locked`.
pub fn segments(path: &Path) -> Result<Vec<SegmentInfo>, OpenError> {
    let (inner, _) = look(&Real, path)?;
    Ok(inner.segments.iter().map(|segment| inner.segment_info(segment)).collect())
}

/// All destinations known, by name.
///
/// # Errors
/// [`OpenError`], except `Locked`.
pub fn destinations(path: &Path) -> Result<Vec<DestinationInfo>, OpenError> {
    let (inner, _) = look(&Real, path)?;
    let info = |d: &Destination| DestinationInfo {
        name: d.name.to_string(),
        cursor: inner.frontier_of(d),
        waiting: d.lag.map(|lag| lag.totals).unwrap_or_default(),
    };
    let mut all: Vec<DestinationInfo> = inner.destinations.iter().map(info).collect();
    all.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

/// The entries that can be read, in order. Damage is passed over; [`verify`] tells of it.
///
/// # Errors
/// [`OpenError`], except `Locked`.
pub fn entries(
    path: &Path,
    filter: Filter,
) -> Result<impl Iterator<Item = EntryInfo> + use<>, OpenError> {
    let (inner, _) = look(&Real, path)?;
    Ok(EntryWalk { inner, filter, at: 0, offset: None, found: VecDeque::new() })
}

/// Checks every frame.
///
/// # Errors
/// [`OpenError`], except `Locked`.
pub fn verify(path: &Path) -> Result<Report, OpenError> {
    verify_on(&Real, path)
}

pub(crate) fn verify_on(vfs: &dyn Vfs, path: &Path) -> Result<Report, OpenError> {
    let (inner, recovery) = look(vfs, path)?;
    let mut report = Report {
        segments: recovery.segments,
        damaged: recovery.damaged,
        torn: recovery.cut,
        ..Report::default()
    };
    for segment in &inner.segments {
        report.count(segment);
        // What was met while opening is in the report; known spans are passed over here.
        if let Ok(content) = patiently(|is_lenient| content(segment, is_lenient))
            && !content.spans.is_empty()
            && !recover::is_gone(vfs, &Files::new(path), segment)
        {
            let good = inner.good(segment, &content);
            let position = |id: DestinationId| {
                let lag = inner.destinations.get(id.index()).and_then(|d| d.lag);
                lag.map_or(u64::MAX, |lag| lag.position)
            };
            report.damaged.push(inner.assess(segment, content, &good, position));
        }
    }
    Ok(report)
}

fn look(vfs: &dyn Vfs, path: &Path) -> Result<(Inner, recover::Recovery), OpenError> {
    let looked = recover::look(vfs, &Files::new(path), Access::Read)?;
    if looked.recovery.segments == 0 {
        let none = io::Error::new(io::ErrorKind::NotFound, "it has no segments");
        return Err(recover::failed("find a spool in", path.to_owned(), none));
    }
    Ok((looked.inner, looked.recovery))
}

/// A walk over all entries, a group at a time.
struct EntryWalk {
    inner: Inner,
    filter: Filter,
    at: usize,
    /// Where in the segment the walk goes on.
    offset: Option<u64>,
    found: VecDeque<EntryInfo>,
}

impl Iterator for EntryWalk {
    type Item = EntryInfo;

    fn next(&mut self) -> Option<EntryInfo> {
        loop {
            if let Some(entry) = self.found.pop_front() {
                return Some(entry);
            }
            let segment = self.inner.segments.get(self.at)?;
            if segment.first >= self.filter.to {
                return None;
            }
            let walk = segment.walk(self.filter.from);
            let offset = self.offset.unwrap_or(walk.offset);
            let mut walk = Walk { offset, is_lenient: true, ..walk };
            match walk.step() {
                Ok(Step::Frame(frame)) if frame.head.kind == Kind::Group => {
                    self.offset = Some(walk.offset);
                    let entries = self.inner.entries_of(segment, &frame);
                    self.found.extend(entries.filter(|entry| self.filter.takes(entry)));
                }
                Ok(Step::Frame(_) | Step::Damaged(..)) => self.offset = Some(walk.offset),
                Ok(Step::End) | Err(_) => (self.at, self.offset) = (self.at + 1, None),
            }
        }
    }
}

impl Filter {
    fn takes(&self, entry: &EntryInfo) -> bool {
        let is_wanted = |name: &String| entry.wants.iter().any(|(wanted, ..)| wanted == name);
        let is_inside = (self.from..self.to).contains(&entry.sequence);
        is_inside && self.destination.as_ref().is_none_or(is_wanted)
    }
}

impl Report {
    fn count(&mut self, segment: &Segment) {
        let mut walk = Walk { is_lenient: true, ..segment.walk(0) };
        while let Ok(step) = walk.step() {
            match step {
                Step::Frame(frame) if frame.head.kind == Kind::Group => {
                    for entry in Entries::new(&frame.body) {
                        self.entries += 1;
                        self.payload_bytes += entry.payload.len() as u64;
                    }
                }
                Step::Frame(_) | Step::Damaged(..) => {}
                Step::End => break,
            }
        }
    }
}

impl Inner {
    fn segment_info(&self, segment: &Segment) -> SegmentInfo {
        let named = segment.totals.iter().map(|(id, totals)| (self.name_of(*id), *totals));
        SegmentInfo {
            first: segment.first,
            next: segment.next,
            bytes: segment.size,
            used_bytes: segment.end,
            destinations: named.collect(),
            damaged: segment.known.len(),
        }
    }

    /// The entries of a frame, with names.
    fn entries_of<'a>(
        &'a self,
        segment: &'a Segment,
        frame: &'a Frame,
    ) -> impl Iterator<Item = EntryInfo> + 'a {
        let entries = (frame.head.sequence..).zip(Entries::new(&frame.body));
        entries.map(|(sequence, entry)| EntryInfo {
            sequence,
            segment: segment.first,
            offset: frame.offset,
            wants: entry
                .wants()
                .map(|want| {
                    let id = self.resolve(segment, want.id);
                    let name = id.map(|id| self.name_of(id)).unwrap_or_default();
                    (name, want.records, want.bytes)
                })
                .collect(),
            payload: entry.payload.to_vec(),
        })
    }
}
