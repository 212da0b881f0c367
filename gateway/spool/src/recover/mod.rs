//! Opening: what earlier processes left.
//!
//! Sealed segments say in their footer what is in them; the others are scanned, cut behind their
//! last frame and sealed. Damaged content is never a reason not to start.

mod load;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};

use tokio::sync::Notify;

use crate::damage::{Content, content, quarantine};
use crate::destination::Lag;
use crate::files::{Files, first_of};
use crate::group::Group;
use crate::read::Cache;
use crate::segment::{Segment, Wants};
use crate::state::{Inner, Shared};
use crate::vfs::{Access, Lock, Vfs, patiently};
use crate::{Damage, DestinationId, Observer, OpenError, Options, State, Stats, Totals, Waiting};

pub(crate) use load::is_gone;
use load::{Found, Loaded};

/// Sequences given by a process that did not close the spool are in doubt: the next one begins at
/// a multiple of this, behind all that it can have given.
const ERA: u64 = 1 << 32;
/// Attempts to count what waits in a segment, each with damage that the one before it did not meet.
const ATTEMPTS: u32 = 4;

/// What was found at the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// The spool is new, or was closed.
    pub was_clean: bool,
    /// Segments found.
    pub segments: usize,
    /// Ends of segments that were cut off: writes that were never finished, and what was written
    /// behind one of these and as little synced.
    pub cut: Vec<Cut>,
    /// Damage.
    pub damaged: Vec<Damage>,
    /// Bytes copied to `quarantine/`.
    pub quarantined_bytes: u64,
    /// Destinations with something waiting; they lag.
    pub destinations: Vec<Recovered>,
    /// The sequence the next entry will have.
    pub next_sequence: u64,
}

/// The end of a segment that was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The first sequence of the segment.
    pub segment: u64,
    /// Bytes cut that were not zero at the end.
    pub bytes: u64,
}

/// A destination with something waiting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Who.
    pub destination: DestinationId,
    /// Its name.
    pub name: String,
    /// What waits.
    pub waiting: Waiting,
}

/// Takes the directory, and reads what is in it.
pub(crate) fn open(
    vfs: Arc<dyn Vfs>,
    path: &Path,
    options: Options,
    observer: Arc<dyn Observer>,
) -> Result<(Arc<Shared>, Recovery), OpenError> {
    let files = Files::new(path);
    let lock = take(&*vfs, &files)?;
    // A spare has nothing in it.
    drop(vfs.unlink(&files.spare()));
    let Looked { inner, uuid, recovery } = look(&*vfs, &files, Access::Write)?;
    let uuid = match uuid {
        Some(uuid) => uuid,
        None => {
            new_uuid(&*vfs).map_err(|source| failed("draw a number for", path.into(), source))?
        }
    };
    let options =
        Options { segment_bytes: options.segment_bytes.min(options.bytes_max / 4), ..options };
    let shared = Shared {
        vfs,
        files,
        options,
        uuid,
        observer,
        state: Mutex::new(inner),
        cache: Mutex::new(Cache::default()),
        work: Condvar::new(),
        written: Notify::new(),
        room: Notify::new(),
        _lock: lock,
    };
    Ok((Arc::new(shared), recovery))
}

/// What a directory has in it.
pub(crate) struct Looked {
    pub(crate) inner: Inner,
    pub(crate) uuid: Option<[u8; 16]>,
    pub(crate) recovery: Recovery,
}

/// Reads what is in the directory; with [`Access::Write`], repairs what must be.
pub(crate) fn look(vfs: &dyn Vfs, files: &Files, access: Access) -> Result<Looked, OpenError> {
    let dir = &files.dir;
    let names = vfs.list(dir).map_err(|source| failed("list", dir.clone(), source))?;
    let mut firsts: Vec<u64> = names.iter().filter_map(|name| first_of(name)).collect();
    firsts.sort_unstable();
    let mut opening = Opening::new(vfs, files, access);
    opening.recovery.segments = firsts.len();
    for (at, first) in firsts.iter().enumerate() {
        opening.take(*first, firsts.get(at + 1).copied())?;
    }
    Ok(opening.finish())
}

/// Makes the directory if need be, and locks it.
pub(crate) fn take(vfs: &dyn Vfs, files: &Files) -> Result<Box<dyn Lock>, OpenError> {
    let dir = &files.dir;
    vfs.create_dir(dir).map_err(|source| failed("make", dir.clone(), source))?;
    let lock = vfs.lock(&files.lock()).map_err(|source| failed("lock", files.lock(), source))?;
    lock.ok_or_else(|| OpenError::Locked { path: dir.clone() })
}

pub(crate) fn failed(what: &'static str, path: PathBuf, source: io::Error) -> OpenError {
    OpenError::Io { what, path, source }
}

fn new_uuid(vfs: &dyn Vfs) -> io::Result<[u8; 16]> {
    let mut uuid = [0; 16];
    for half in uuid.chunks_mut(8) {
        half.copy_from_slice(&vfs.random()?.to_le_bytes());
    }
    Ok(uuid)
}

/// What was learned of the segments so far.
struct Opening<'a> {
    vfs: &'a dyn Vfs,
    files: &'a Files,
    /// Only to look: nothing is cut, sealed or copied.
    access: Access,
    inner: Inner,
    uuid: Option<[u8; 16]>,
    /// By destination; the last one counts.
    cursors: HashMap<u32, u64>,
    was_clean: bool,
    recovery: Recovery,
}

impl<'a> Opening<'a> {
    fn new(vfs: &'a dyn Vfs, files: &'a Files, access: Access) -> Self {
        Self {
            vfs,
            files,
            access,
            inner: empty(),
            uuid: None,
            cursors: HashMap::new(),
            was_clean: true,
            recovery: Recovery::default(),
        }
    }

    /// Takes in the next segment. Entries from `limit` on are in the one behind it.
    fn take(&mut self, first: u64, limit: Option<u64>) -> Result<(), OpenError> {
        self.inner.next = self.inner.next.max(first);
        let mut loaded = match load::load(self.vfs, self.files, first, limit, self.access)? {
            Found::Gone => return Ok(()),
            Found::Unreadable { len } => {
                self.was_clean = false;
                let spans = vec![crate::Span { offset: 0, len }];
                let segment = Some(first);
                let damage = Damage { segment, spans, is_partial: true, ..Damage::default() };
                self.recovery.quarantined_bytes += len;
                self.recovery.damaged.push(damage);
                return Ok(());
            }
            Found::Segment(loaded) => loaded,
        };
        self.was_clean = loaded.closed;
        self.uuid = self.uuid.or(loaded.uuid);
        self.name(&mut loaded);
        if loaded.was_scanned {
            self.repair(&mut loaded);
        }
        let segment = loaded.segment;
        self.inner.next = self.inner.next.max(segment.next);
        for id in segment.totals.keys() {
            if let Some(d) = self.inner.destinations.get_mut(DestinationId(*id).index()) {
                d.wanted = d.wanted.max(segment.next);
            }
        }
        self.inner.segments.push_back(segment);
        Ok(())
    }

    /// Finds out who the numbers in a segment are.
    fn name(&mut self, loaded: &mut Loaded) {
        for row in &loaded.rows {
            let id = match &row.name {
                Some(name) => self.known(row.id, name, &mut loaded.segment),
                None => self.inner.resolve(&loaded.segment, row.id),
            };
            if let Some(id) = id {
                self.cursors.insert(id, row.frontier);
                // Sequences that were given are never given again, also where the entry is lost.
                self.inner.next = self.inner.next.max(row.frontier);
            }
            self.inner.file_id_next = self.inner.file_id_next.max(row.id.saturating_add(1));
        }
        let mut totals = BTreeMap::<u32, Totals>::new();
        for (file_id, wanted) in &loaded.totals {
            let known = self.inner.resolve(&loaded.segment, *file_id);
            // The tables with the name are damaged: kept under a name that says so.
            let id =
                known.unwrap_or_else(|| self.inner.insert(&format!("unknown-{file_id}"), *file_id));
            self.inner.file_id_next = self.inner.file_id_next.max(file_id.saturating_add(1));
            if wanted.entries > 0 {
                totals.entry(id).or_default().add(*wanted);
            }
        }
        loaded.segment.totals = totals;
    }

    /// The destination of that name, with a number that is its own at least in this segment.
    fn known(&mut self, file_id: u32, name: &str, segment: &mut Segment) -> Option<u32> {
        let by_name = self.inner.names.get(name).copied();
        let by_id = self.inner.by_file_id.get(&file_id).copied();
        match (by_name, by_id) {
            (None, None) => Some(self.inner.insert(name, file_id)),
            (Some(id), Some(other)) if id == other => Some(id),
            (Some(id), None) => {
                self.inner.by_file_id.insert(file_id, id);
                Some(id)
            }
            (by_name, Some(_)) => {
                self.inner.file_id_next = self.inner.file_id_next.max(file_id.saturating_add(1));
                let id = by_name.unwrap_or_else(|| self.inner.register(name));
                segment.aliases.insert(file_id, id);
                Some(id)
            }
        }
    }

    /// Cuts and seals a segment that was scanned, and copies what is damaged in it.
    fn repair(&mut self, loaded: &mut Loaded) {
        let segment = &mut loaded.segment;
        let file = Arc::clone(&segment.file);
        let content = std::mem::take(&mut loaded.content);
        if !content.spans.is_empty() {
            if self.access == Access::Write {
                let copied = quarantine(self.vfs, self.files, &*file, segment.first, &content);
                self.recovery.quarantined_bytes += copied;
            }
            self.recovery.damaged.push(Damage {
                segment: Some(segment.first),
                is_partial: !content.sequences.is_empty(),
                spans: content.spans.clone(),
                sequences: content.sequences,
                lost: Vec::new(),
            });
            segment.known = content.spans;
        }
        if let Some(span) = loaded.unsynced.filter(|_| self.access == Access::Write) {
            let content = Content { spans: vec![span], ..Content::default() };
            let copied = quarantine(self.vfs, self.files, &*file, segment.first, &content);
            self.recovery.quarantined_bytes += copied;
        }
        if loaded.cut > 0 {
            self.recovery.cut.push(Cut { segment: segment.first, bytes: loaded.cut });
        }
        if loaded.was_read && self.access == Access::Write {
            let rows = self.inner.rows_at(segment, &self.cursors);
            // If it cannot be sealed, it is scanned again at the next start.
            segment.size = load::seal(segment, rows).unwrap_or(segment.size);
        }
    }

    /// Counts what waits, and puts all together.
    fn finish(mut self) -> Looked {
        let oldest = self.inner.segments.front().map_or(0, |segment| segment.first);
        let cursors: Vec<u64> = (0..self.inner.destinations.len() as u64)
            .map(|id| u32::try_from(id).ok().and_then(|id| self.cursors.get(&id)).copied())
            .map(|cursor| cursor.unwrap_or(oldest).max(oldest))
            .collect();
        for at in 0..self.inner.segments.len() {
            self.count(at, &cursors);
        }
        self.find_gaps();
        let is_new = self.inner.segments.is_empty() && self.inner.next == 0;
        self.recovery.was_clean = self.was_clean || is_new;
        if !self.recovery.was_clean {
            self.inner.next = (self.inner.next / ERA + 1).saturating_mul(ERA);
        }
        self.recovery.next_sequence = self.inner.next;
        self.inner.stats.quarantined_bytes = self.recovery.quarantined_bytes;
        let all = (0..).map(DestinationId).zip(&self.inner.destinations);
        let lagging = all.filter(|(_, d)| d.lag.is_some()).map(|(destination, d)| Recovered {
            destination,
            name: d.name.to_string(),
            waiting: d.waiting(),
        });
        self.recovery.destinations = lagging.collect();
        Looked { inner: self.inner, uuid: self.uuid, recovery: self.recovery }
    }

    /// Within an era sequences have no gaps, so a segment that ends too early was cut.
    fn find_gaps(&mut self) {
        let segments = self.inner.segments.iter();
        let pairs = segments.clone().zip(segments.skip(1));
        let gaps = pairs.filter(|(a, b)| a.next < b.first && !b.first.is_multiple_of(ERA));
        let damaged = gaps.map(|(a, b)| Damage {
            segment: Some(a.first),
            sequences: vec![(a.next, b.first)],
            is_partial: true,
            ..Damage::default()
        });
        self.recovery.damaged.extend(damaged);
    }

    /// Counts what a segment holds for destinations that are not past it.
    fn count(&mut self, at: usize, cursors: &[u64]) {
        let Some(segment) = self.inner.segments.get(at).cloned() else { return };
        let cursor = |id: &u32| cursors.get(DestinationId(*id).index()).copied().unwrap_or(0);
        let is_inside = |id: &&u32| cursor(id) > segment.first && cursor(id) < segment.next;
        let inside: Vec<u32> = segment.totals.keys().filter(is_inside).copied().collect();
        let mut entries = Vec::new();
        if !inside.is_empty() {
            let from = inside.iter().map(cursor).min().unwrap_or_default();
            entries = self.wants(at, &inside, from, cursors);
        }
        // The totals are less now if damage was found.
        let Some(segment) = self.inner.segments.get(at).cloned() else { return };
        for (id, totals) in &segment.totals {
            if cursor(id) <= segment.first && totals.entries > 0 {
                self.inner.lag(*id, cursor(id), *totals);
            }
        }
        for Wants { sequence, file_id, totals } in entries {
            let Some(id) = self.inner.resolve(&segment, file_id) else { continue };
            if inside.contains(&id) && sequence >= cursor(&id) {
                self.inner.lag(id, cursor(&id), totals);
            }
        }
    }

    /// What some destinations want in a segment; damage met on the way is reported.
    fn wants(&mut self, at: usize, ids: &[u32], from: u64, cursors: &[u64]) -> Vec<Wants> {
        for _ in 0..ATTEMPTS {
            let Some(segment) = self.inner.segments.get(at) else { break };
            let file_id = |id: &u32| {
                let destination = self.inner.destinations.get(DestinationId(*id).index());
                segment.ids(*id, destination.map_or(u32::MAX, |d| d.file_id))
            };
            let file_ids: Vec<u32> = ids.iter().flat_map(file_id).collect();
            match patiently(|is_lenient| segment.wants(&file_ids, from, is_lenient)) {
                Ok(Some(entries)) => return entries,
                // A lenient look is never refused.
                Ok(None) | Err(_) => self.examine(at, cursors),
            }
        }
        Vec::new()
    }

    /// Goes through a sealed segment in which damage was met.
    fn examine(&mut self, at: usize, cursors: &[u64]) {
        let Some(segment) = self.inner.segments.get(at).cloned() else { return };
        let content = patiently(|is_lenient| content(&segment, is_lenient));
        // A lenient look is never refused.
        let Ok(content) = content else { return };
        if self.access == Access::Write {
            let copied = quarantine(self.vfs, self.files, &*segment.file, segment.first, &content);
            self.recovery.quarantined_bytes += copied;
        }
        let good = self.inner.good(&segment, &content);
        let spans = content.spans.clone();
        let position = |id: DestinationId| cursors.get(id.index()).copied().unwrap_or(0);
        let damage = self.inner.assess(&segment, content, &good, position);
        self.recovery.damaged.push(damage);
        if let Some(segment) = self.inner.segments.get_mut(at) {
            segment.known.extend(spans);
            segment.totals = good;
        }
    }
}

impl Inner {
    /// A destination lags behind with so much more.
    fn lag(&mut self, id: u32, position: u64, totals: Totals) {
        if let Some(destination) = self.destinations.get_mut(DestinationId(id).index()) {
            let none = Lag { position, totals: Totals::default() };
            destination.lag.get_or_insert(none).totals.add(totals);
        }
    }

    /// The rows of a segment's footer, as of then.
    fn rows_at(
        &self,
        segment: &Segment,
        cursors: &HashMap<u32, u64>,
    ) -> Vec<(crate::format::Row, Totals)> {
        let mut rows = Vec::new();
        for (id, destination) in (0..).zip(&self.destinations) {
            let cursor = cursors.get(&id).copied();
            let totals = segment.totals.get(&id).copied();
            if cursor.is_none() && totals.is_none() {
                continue;
            }
            let ids = segment.ids(id, destination.file_id);
            let Some(id) = ids.first().copied() else { continue };
            let name = Some(destination.name.to_string());
            let row = crate::format::Row { id, name, frontier: cursor.unwrap_or(0) };
            rows.push((row, totals.unwrap_or_default()));
        }
        rows
    }
}

fn empty() -> Inner {
    Inner {
        next: 0,
        open: Group::new(None, 0, 0),
        group: 0,
        queue: VecDeque::new(),
        under_way: 0,
        buffers: Vec::new(),
        unsynced: 0,
        untaken: 0,
        destinations: Vec::new(),
        names: HashMap::new(),
        by_file_id: HashMap::new(),
        file_id_next: 0,
        segments: VecDeque::new(),
        undeleted: u64::MAX,
        changed: Vec::new(),
        keeper: (0, 0),
        is_watched: false,
        wake: false,
        has_reader: false,
        closing: false,
        state: State::Good,
        stats: Stats::default(),
    }
}
