//! All that changes, behind one mutex, and what a caller does to it.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use tokio::sync::Notify;

use crate::destination::Destination;
use crate::files::Files;
use crate::format::{self, Wanted};
use crate::group::{Body, GROUP_BYTES, Group};
use crate::read::Cache;
use crate::segment::Segment;
use crate::vfs::{Lock, Vfs};
use crate::{
    AppendError, Appended, DestinationId, Durable, ENTRY_BYTES_MAX, Observer, Options, State,
    Stats, Totals, Waiting, Want,
};

/// Most buffers kept for reuse, and bytes over which one is not.
const BUFFERS: usize = 24;
const BUFFER_BYTES: usize = 2 * GROUP_BYTES;
/// Groups on their way as of which an entry waits for the copy before it, rather than begin another one:
/// each has a buffer, however little is in it.
const GROUPS_MOST: usize = 12;

/// What the handles and the writer share.
pub(crate) struct Shared {
    pub(crate) vfs: Arc<dyn Vfs>,
    pub(crate) files: Files,
    pub(crate) options: Options,
    pub(crate) uuid: [u8; 16],
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) state: Mutex<Inner>,
    pub(crate) cache: Mutex<Cache>,
    /// The writer has work.
    pub(crate) work: Condvar,
    /// For readers.
    pub(crate) written: Notify,
    /// For those who append.
    pub(crate) room: Notify,
    pub(crate) _lock: Box<dyn Lock>,
}

/// All that changes.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) next: u64,
    pub(crate) open: Group,
    /// The number of the open group.
    pub(crate) group: u64,
    /// Full groups, for the writer to take.
    pub(crate) queue: VecDeque<Group>,
    /// How many there are of those, and of groups that the writer has.
    pub(crate) under_way: usize,
    /// Buffers of groups that are done with.
    pub(crate) buffers: Vec<Vec<u8>>,
    /// Bytes in memory that are not synced.
    pub(crate) unsynced: usize,
    /// Those of them that the writer has not taken.
    pub(crate) untaken: usize,
    pub(crate) destinations: Vec<Destination>,
    pub(crate) names: HashMap<Arc<str>, u32>,
    /// Destinations by their number in the files.
    pub(crate) by_file_id: HashMap<u32, u32>,
    pub(crate) file_id_next: u32,
    /// In order; the last one is written to, if it is the writer's.
    pub(crate) segments: VecDeque<Segment>,
    /// The first sequence of the oldest segment that could not be deleted, if one could not: as
    /// long as it is there, cursors must say that it is done.
    pub(crate) undeleted: u64,
    /// Destinations whose cursor on disk is behind.
    pub(crate) changed: Vec<u32>,
    /// The salt of the oldest segment, and the first destination that may still be in it: those
    /// before are past it for good.
    pub(crate) keeper: (u64, u32),
    /// The writer looks by itself whether there is something to write, soon.
    pub(crate) is_watched: bool,
    /// The writer has something to do. Who sets it also notifies `Shared::work`.
    pub(crate) wake: bool,
    /// A reader waits for what is not written.
    pub(crate) has_reader: bool,
    pub(crate) closing: bool,
    pub(crate) state: State,
    pub(crate) stats: Stats,
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        crate::lock(&self.state)
    }

    pub(crate) fn segment_path(&self, first: u64) -> PathBuf {
        self.files.segment(first)
    }

    pub(crate) fn destination(&self, name: &str) -> DestinationId {
        DestinationId(self.lock().register(name))
    }

    pub(crate) fn append(
        &self,
        payload: &[&[u8]],
        wants: &[Want],
        durable: Option<Durable>,
        is_held: bool,
    ) -> Result<Appended, AppendError> {
        let len = payload.iter().map(|part| part.len()).sum();
        let bytes = format::entry_size(len, wants.len());
        if bytes > ENTRY_BYTES_MAX {
            return Err(AppendError::TooLarge { bytes });
        }
        let mut inner = self.lock();
        inner.may_append(self.options.unsynced_bytes_max)?;
        inner.knows(wants)?;
        if is_held {
            inner.may_hold(wants)?;
        }
        let before = inner.unsynced;
        let body = inner.body_for(bytes, self.options.segment_bytes);
        let has_room = inner.unsynced < before;
        let mut body = crate::lock(&body);
        let (appended, lag_began) = inner.append(bytes, wants, durable);
        inner.stats.appended_bytes += len as u64;
        let wanted = inner.in_file(wants);
        let wakes = inner.should_wake(self.options.unsynced_bytes_max);
        inner.wake |= wakes;
        drop(inner);
        // With nothing locked but the body, so that nobody else waits for the copy.
        body.push(wanted.into_iter(), payload);
        drop(body);
        if wakes {
            self.work.notify_one();
        }
        if lag_began {
            self.written.notify_waiters();
        }
        if has_room {
            self.room.notify_waiters();
        }
        Ok(appended)
    }

    pub(crate) fn done(&self, id: DestinationId, sequence: u64, records: u32) {
        let mut inner = self.lock();
        let Some(destination) = inner.destinations.get_mut(id.index()) else { return };
        let before = destination.pinned();
        if !destination.done(sequence, records) {
            return;
        }
        let after = destination.pinned();
        let wakes = inner.moved(id.0, before, after);
        drop(inner);
        if wakes {
            self.work.notify_one();
        }
    }

    pub(crate) fn waiting(&self, id: DestinationId) -> Waiting {
        self.lock().destinations.get(id.index()).map(Destination::waiting).unwrap_or_default()
    }

    pub(crate) fn forget(&self, id: DestinationId) -> Waiting {
        let mut inner = self.lock();
        let Some(destination) = inner.destinations.get_mut(id.index()) else {
            return Waiting::default();
        };
        let (waiting, before) = (destination.waiting(), destination.pinned());
        destination.release(u64::MAX);
        destination.lag = None;
        let wakes = inner.moved(id.0, before, None);
        drop(inner);
        if wakes {
            self.work.notify_one();
        }
        self.written.notify_waiters();
        waiting
    }

    pub(crate) fn relinquish(&self, id: DestinationId) -> Waiting {
        let mut inner = self.lock();
        let Some(destination) = inner.destinations.get_mut(id.index()) else {
            return Waiting::default();
        };
        destination.relinquish();
        let waiting = destination.waiting();
        drop(inner);
        self.written.notify_waiters();
        waiting
    }

    pub(crate) fn holds(&self, id: DestinationId, sequence: u64) -> bool {
        self.lock().destinations.get(id.index()).is_some_and(|d| d.holds(sequence))
    }

    pub(crate) fn lagging(&self) -> Vec<(DestinationId, String, Waiting)> {
        let inner = self.lock();
        let all = (0..).map(DestinationId).zip(&inner.destinations);
        let waiting = all.map(|(id, d)| (id, d.name.to_string(), d.waiting()));
        waiting.filter(|(.., waiting)| waiting.is_lagging || waiting.records > 0).collect()
    }

    pub(crate) async fn room(&self) {
        loop {
            // Made before the look, so that what happens in between wakes it.
            let room = self.room.notified();
            let may_append = self.lock().may_append(self.options.unsynced_bytes_max);
            if matches!(may_append, Ok(()) | Err(AppendError::Closed)) {
                return;
            }
            room.await;
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        let inner = self.lock();
        Stats {
            segments: inner.segments.len() as u64,
            bytes: inner.segments.iter().map(|segment| segment.size).sum(),
            unsynced_bytes: inner.unsynced as u64,
            ..inner.stats
        }
    }

    /// Changes the state, and tells who must know.
    pub(crate) fn set_state(&self, state: State) {
        let mut inner = self.lock();
        if inner.state == state {
            return;
        }
        inner.state = state.clone();
        drop(inner);
        self.room.notify_waiters();
        self.written.notify_waiters();
        self.observer.state(&state);
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Inner {
    /// Finds a destination, or makes one.
    pub(crate) fn register(&mut self, name: &str) -> u32 {
        if let Some(known) = self.names.get(name) {
            return *known;
        }
        let file_id = self.file_id_next;
        self.file_id_next = self.file_id_next.saturating_add(1);
        self.insert(name, file_id)
    }

    /// Makes a destination with a number it has in the files.
    pub(crate) fn insert(&mut self, name: &str, file_id: u32) -> u32 {
        let (name, id) = (Arc::<str>::from(name), format::small(self.destinations.len()));
        self.names.insert(Arc::clone(&name), id);
        self.by_file_id.insert(file_id, id);
        self.destinations.push(Destination::new(name, file_id));
        id
    }

    /// The writer is to end.
    pub(crate) fn close(&mut self) {
        self.closing = true;
        self.wake = true;
    }

    fn may_append(&self, unsynced_max: usize) -> Result<(), AppendError> {
        if self.closing {
            return Err(AppendError::Closed);
        }
        match &self.state {
            State::Good => {}
            State::Full => return Err(AppendError::Full),
            State::Failed(reason) => return Err(AppendError::Failed(reason.clone())),
        }
        if self.unsynced >= unsynced_max {
            return Err(AppendError::Backlog { bytes: self.unsynced, max: unsynced_max });
        }
        Ok(())
    }

    fn knows(&self, wants: &[Want]) -> Result<(), AppendError> {
        let unknown = |want: &&Want| want.destination.index() >= self.destinations.len();
        match wants.iter().find(unknown) {
            Some(want) => Err(AppendError::UnknownDestination(want.destination.0)),
            None => Ok(()),
        }
    }

    fn may_hold(&self, wants: &[Want]) -> Result<(), AppendError> {
        let lags = |want: &&Want| {
            let destination = self.destinations.get(want.destination.index());
            !want.hold || destination.is_none_or(|destination| destination.lag.is_some())
        };
        match wants.iter().find(lags) {
            Some(want) => Err(AppendError::Lagging(want.destination.0)),
            None => Ok(()),
        }
    }

    /// Where an entry of so many bytes is to be copied: into the body of the open group, if it has room and
    /// nobody is just copying into it, or there are many groups already.
    fn body_for(&mut self, bytes: usize, segment_bytes: u64) -> Arc<Mutex<Body>> {
        // Two of them or more make a segment.
        let most = GROUP_BYTES.min(format::index(segment_bytes / 2));
        let is_full = self.open.bytes() > 0 && self.open.bytes() + bytes > most;
        if is_full || (self.under_way < GROUPS_MOST && self.open.is_busy()) {
            self.close_group();
        }
        self.open.body()
    }

    /// Appends an entry of so many bytes; says also whether a destination began to lag.
    fn append(
        &mut self,
        bytes: usize,
        wants: &[Want],
        durable: Option<Durable>,
    ) -> (Appended, bool) {
        let sequence = self.next;
        self.next += 1;
        let before = self.open.bytes();
        let mut held = Vec::with_capacity(wants.len());
        let mut lag_began = false;
        for want in wants {
            let Some(destination) = self.destinations.get_mut(want.destination.index()) else {
                continue;
            };
            let lagged = destination.lag.is_some();
            held.push(destination.append(sequence, want.records, want.bytes, want.hold));
            lag_began |= !lagged && destination.lag.is_some();
            if destination.slot.0 != self.group {
                destination.slot = (self.group, self.open.totals.len());
                self.open.totals.push((want.destination.0, Totals::default()));
            }
            if let Some((_, totals)) = self.open.totals.get_mut(destination.slot.1) {
                totals.add(Totals::of(want.records, want.bytes));
            }
        }
        self.open.add(sequence, bytes, durable);
        self.unsynced += self.open.bytes() - before;
        self.untaken += self.open.bytes() - before;
        self.stats.appended_entries += 1;
        (Appended { sequence, held }, lag_began)
    }

    /// What destinations want, as it stands in a file.
    fn in_file(&self, wants: &[Want]) -> Vec<Wanted> {
        let id = |want: &Want| {
            self.destinations.get(want.destination.index()).map_or(u32::MAX, |d| d.file_id)
        };
        let wanted =
            |want: &Want| Wanted { id: id(want), records: want.records, bytes: want.bytes };
        wants.iter().map(wanted).collect()
    }

    /// Lets go of the oldest groups if all are done with them: nobody need write them.
    fn drop_needless(&mut self) {
        while let Some(mut group) = self.queue.pop_front() {
            if !group.durables.is_empty() || !self.is_done(&mut group) {
                self.queue.push_front(group);
                return;
            }
            self.untaken = self.untaken.saturating_sub(group.bytes());
            self.stats.unwritten_entries += u64::from(group.count);
            self.settle(&group);
        }
    }

    /// A group is durable, or needless: its memory is free.
    pub(crate) fn settle(&mut self, group: &Group) {
        self.under_way = self.under_way.saturating_sub(1);
        self.unsynced = self.unsynced.saturating_sub(group.bytes());
        let buffer = group.take_buffer();
        if self.buffers.len() < BUFFERS && buffer.capacity() <= BUFFER_BYTES {
            self.buffers.push(buffer);
        }
    }

    /// Puts the open group where the writer takes it.
    pub(crate) fn close_group(&mut self) {
        self.drop_needless();
        let salt = self.segments.back().map_or(0, |segment| segment.salt);
        let next = Group::new(self.buffers.pop(), self.open.bytes(), salt);
        let group = std::mem::replace(&mut self.open, next);
        self.queue.push_back(group);
        self.under_way += 1;
        self.group += 1;
    }

    /// Whether the writer must hear of what was appended just now: it does not know that there is
    /// something, somebody waits for it, or it is much.
    fn should_wake(&self, unsynced_max: usize) -> bool {
        !self.wake && (!self.is_watched || self.is_awaited() || self.is_much(unsynced_max))
    }

    /// Whether somebody waits for what was appended, so that it must be written now.
    pub(crate) fn is_awaited(&self) -> bool {
        let mut groups = self.queue.iter().chain([&self.open]);
        self.has_reader || self.closing || groups.any(|group| !group.durables.is_empty())
    }

    /// Whether so much was not taken by the writer that it must go on.
    pub(crate) fn is_much(&self, unsynced_max: usize) -> bool {
        self.untaken >= unsynced_max / 4
    }

    /// Whether all who want entries of a group are done with them. Destinations only move on, so each is
    /// looked at once: there may be very many.
    pub(crate) fn is_done(&self, group: &mut Group) -> bool {
        let next = group.next();
        let is_past = |(id, _): &(u32, Totals)| {
            let destination = self.destinations.get(DestinationId(*id).index());
            destination.and_then(Destination::pinned).is_none_or(|pinned| pinned >= next)
        };
        let rest = group.totals.get(group.done..).unwrap_or_default();
        group.done += rest.iter().take_while(|wanting| is_past(wanting)).count();
        group.done == group.totals.len()
    }

    /// A frontier moved; says whether the writer must be woken for it.
    pub(crate) fn moved(&mut self, id: u32, before: Option<u64>, after: Option<u64>) -> bool {
        let is_first = self.changed.is_empty();
        if let Some(destination) = self.destinations.get_mut(DestinationId(id).index())
            && !destination.is_changed
        {
            destination.is_changed = true;
            self.changed.push(id);
        }
        // The last segment stays, whoever has left it.
        let oldest = self.segments.front().filter(|_| self.segments.len() > 1);
        let edge = oldest.map_or(0, |segment| segment.next);
        let left = before.is_some_and(|before| before < edge) && after.is_none_or(|a| a >= edge);
        let should_wake = (is_first || left) && !self.wake;
        self.wake |= should_wake;
        should_wake
    }

    /// Below it, nobody wants anything.
    pub(crate) fn frontier(&self) -> u64 {
        self.destinations.iter().filter_map(Destination::pinned).min().unwrap_or(self.next)
    }

    /// How far a destination got.
    pub(crate) fn frontier_of(&self, destination: &Destination) -> u64 {
        destination.pinned().unwrap_or(self.next)
    }

    /// The destination that a number in a segment means.
    pub(crate) fn resolve(&self, segment: &Segment, file_id: u32) -> Option<u32> {
        segment.aliases.get(&file_id).or_else(|| self.by_file_id.get(&file_id)).copied()
    }

    /// The segment with what comes at `position` or next behind it.
    pub(crate) fn segment_at(&self, position: u64) -> Option<&Segment> {
        self.segments.get(self.segments.partition_point(|segment| segment.next <= position))
    }

    pub(crate) fn segment_by_salt(&mut self, salt: u64) -> Option<&mut Segment> {
        self.segments.iter_mut().find(|segment| segment.salt == salt)
    }
}
