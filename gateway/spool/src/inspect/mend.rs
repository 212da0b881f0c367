//! Changing a spool from outside, with its lock.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::{Report, verify_on};
use crate::damage::{Content, content, quarantine};
use crate::destination::Lag;
use crate::format::{self, HEAD, Header, Kind, Row, Seal, VERSION};
use crate::recover::{self, failed};
use crate::segment::Segment;
use crate::state::{Inner, Shared};
use crate::vfs::{Access, Real, Vfs, patiently, uninterrupted, write_all};
use crate::walk::{Step, Walk};
use crate::writer::Writer;
use crate::{Damage, DestinationId, Observer, OpenError, Options, State, Totals};

/// Cuts torn ends, copies damage to `quarantine/`, and writes what is good in damaged segments into
/// fresh ones of the same name.
///
/// # Errors
/// [`OpenError`].
pub fn repair(path: &Path) -> Result<Report, OpenError> {
    repair_on(Arc::new(Real), path)
}

pub(crate) fn repair_on(vfs: Arc<dyn Vfs>, path: &Path) -> Result<Report, OpenError> {
    let before = verify_on(&*vfs, path)?;
    let (shared, recovery) =
        recover::open(Arc::clone(&vfs), path, Options::default(), Arc::new(Nobody))?;
    let segments: Vec<Segment> = shared.lock().segments.iter().cloned().collect();
    let mut rewritten = Vec::new();
    let mut quarantined_bytes = recovery.quarantined_bytes;
    for segment in &segments {
        let found = patiently(|is_lenient| content(segment, is_lenient));
        let found = found.map_err(|e| failed("read", shared.segment_path(segment.first), e))?;
        if found.spans.is_empty() && segment.known.is_empty() {
            continue;
        }
        let files = &shared.files;
        quarantined_bytes += quarantine(&*vfs, files, &*segment.file, segment.first, &found);
        rewrite(&shared, segment)
            .map_err(|source| failed("write anew", files.segment(segment.first), source))?;
        rewritten.push(segment.first);
    }
    drop(shared);
    let after = verify_on(&*vfs, path)?;
    Ok(Report { damaged: before.damaged, torn: before.torn, quarantined_bytes, rewritten, ..after })
}

/// Writes the good frames of a segment into a fresh one, which then takes its place.
fn rewrite(shared: &Shared, old: &Segment) -> io::Result<()> {
    let (vfs, files) = (&shared.vfs, &shared.files);
    let (spare, salt) = (files.spare(), vfs.random()?);
    let file = vfs.open(&spare, Access::Create)?;
    let mut new = Segment::new(old.first, salt, Arc::clone(&file));
    let header = Header { version: VERSION, uuid: shared.uuid, salt, first: old.first };
    write_all(&*file, &header.write(), 0)?;
    let mut good = Content::default();
    let mut walk = Walk { is_lenient: true, ..old.walk(0) };
    loop {
        let frame = match walk.step()? {
            Step::Frame(frame) => frame,
            Step::Damaged(..) => continue,
            Step::End => break,
        };
        if frame.head.kind == Kind::Group {
            new.point(frame.head.sequence, new.end);
            good.count(&frame.body);
        }
        let mut bytes = vec![0; HEAD];
        bytes.extend_from_slice(&frame.body);
        format::finish(&mut bytes, frame.head, salt);
        write_all(&*file, &bytes, new.end)?;
        new.end += bytes.len() as u64;
    }
    let rows = shared.lock().footer_rows(old, &good.totals);
    let (next, points) = (old.next, new.points);
    let seal = Seal { closed: false, next, rows, known: Vec::new(), points };
    write_all(&*file, &seal.write(new.end, salt), new.end)?;
    uninterrupted(|| file.sync_data())?;
    vfs.rename(&spare, &files.segment(old.first))?;
    vfs.sync_dir(&files.dir)
}

/// Moves the cursor of a destination, back or forward; says where it is then: entries that were
/// deleted do not come back.
///
/// # Errors
/// [`OpenError`].
pub fn rewind(path: &Path, name: &str, sequence: u64) -> Result<u64, OpenError> {
    rewind_on(Arc::new(Real), path, name, sequence)
}

pub(crate) fn rewind_on(
    vfs: Arc<dyn Vfs>,
    path: &Path,
    name: &str,
    sequence: u64,
) -> Result<u64, OpenError> {
    let (shared, _) = recover::open(vfs, path, Options::default(), Arc::new(Nobody))?;
    let moved = shared.lock().rewind(name, sequence);
    let no_destination =
        || OpenError::NoDestination { path: path.to_owned(), name: name.to_owned() };
    let cursor = moved.ok_or_else(no_destination)?;
    shared.lock().close();
    let mut writer = Writer::new(Arc::clone(&shared));
    writer.step(Instant::now());
    match writer.failure {
        None => Ok(cursor),
        Some(source) => Err(failed("write the cursor to", path.to_owned(), source)),
    }
}

impl Inner {
    /// The rows of a segment's footer: all destinations as they are now.
    fn footer_rows(&self, old: &Segment, totals: &BTreeMap<u32, Totals>) -> Vec<(Row, Totals)> {
        let mut rows = Vec::new();
        for (id, destination) in (0..).zip(&self.destinations) {
            let name = destination.name.to_string();
            let frontier = self.frontier_of(destination);
            for id in old.ids(id, destination.file_id) {
                let row = Row { id, name: Some(name.clone()), frontier };
                rows.push((row, totals.get(&id).copied().unwrap_or_default()));
            }
        }
        rows
    }

    fn rewind(&mut self, name: &str, sequence: u64) -> Option<u64> {
        let id = DestinationId(self.names.get(name).copied()?);
        let oldest = self.segments.front().map_or(self.next, |segment| segment.first);
        let (position, next) = (sequence.max(oldest).min(self.next), self.next);
        let destination = self.destinations.get_mut(id.index())?;
        destination.lag = (position < next).then(|| Lag { position, totals: Totals::default() });
        destination.wanted = next;
        Some(position)
    }
}

/// Nobody is told: the report says it.
struct Nobody;

impl Observer for Nobody {
    fn shed(&self, _destination: DestinationId, _records: u64, _bytes: u64) {}
    fn unwritten(&self, _destination: DestinationId, _records: u64, _bytes: u64) {}
    fn damaged(&self, _damage: &Damage) {}
    fn state(&self, _state: &State) {}
}
