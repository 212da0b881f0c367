//! The queue of a destination: what waits, in the order of its lanes, limited in bytes.
//!
//! Every app has a lane, `hash mod LANES`; every lane is bound to one connection at a time, so the
//! records of an app keep their order. The number of connections doubles when it grows, so lanes
//! only ever move to new ones. Each old connection then gets a handover: it ends its stream, so that
//! the peer has read all of it, and goes on with a new one. A barrier at the head of a new line makes
//! it wait until the handover is past.
//!
//! Concurrency: one lock around all of it, held for pushes and pops, never over an await.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use logboom_record::Selection;
use tokio::sync::Notify;

use super::Parcel;

/// Lanes of a destination: more than the largest cap of connections that makes sense.
const LANES: usize = 256;
/// Records of an item whose lanes are looked at while there is one line.
const LANE_SAMPLES: usize = 32;
/// A selection that needs less than one part in this many of its arena is copied out of it, so
/// that a slow destination does not hold whole batches for a few records.
const COPY_BELOW: usize = 4;

/// Records of one parcel that wait for one connection.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) parcel: Arc<Parcel>,
    pub(super) selection: Selection,
    pub(super) records: usize,
    bytes: usize,
    since: Instant,
    /// Place in its line, from 1.
    sequence: u64,
}

#[derive(Debug)]
enum Entry {
    Item(Item),
    /// End the stream and see that the peer has read it.
    Handover {
        sequence: u64,
    },
    /// Wait until the connection has finished everything up to this sequence number.
    Barrier {
        connection: usize,
        sequence: u64,
    },
}

impl Entry {
    /// Its place in its line; a barrier has none.
    fn sequence(&self) -> Option<u64> {
        match self {
            Self::Item(item) => Some(item.sequence),
            Self::Handover { sequence } => Some(*sequence),
            Self::Barrier { .. } => None,
        }
    }

    fn since(&self) -> Option<Instant> {
        match self {
            Self::Item(item) => Some(item.since),
            Self::Handover { .. } | Self::Barrier { .. } => None,
        }
    }
}

/// The queue of one connection.
#[derive(Debug)]
struct Line {
    /// Tells this line from a later one of the same number.
    id: u64,
    entries: VecDeque<Entry>,
    /// Items ever pushed; the sequence number of the last one.
    pushed: u64,
    /// Sequence number of the item that a worker has in hand.
    in_hand: Option<u64>,
    /// When the last item was done with.
    idle_since: Instant,
}

#[derive(Debug)]
struct Inner {
    lines: Vec<Line>,
    /// The connection of each lane.
    lanes: Vec<u16>,
    /// Lanes with items since the last growth, as bits.
    lanes_used: [u64; LANES / 64],
    bytes: usize,
    is_closed: bool,
    /// Id of the next line.
    next_id: u64,
}

/// A worker's claim on a line: its number, and the id by which it knows that the line is still its
/// own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LineKey {
    pub(super) number: usize,
    id: u64,
}

impl LineKey {
    /// The line that is there from the beginning.
    pub(super) const FIRST: Self = Self { number: 0, id: 0 };
}

/// The queue.
#[derive(Debug)]
pub(super) struct Queue {
    bytes_max: usize,
    inner: Mutex<Inner>,
    work: Notify,
    space: Notify,
}

/// What a push did.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Pushed {
    /// Records shed to make room.
    pub(super) shed: usize,
    /// Bytes charged for what was pushed, less what was shed.
    pub(super) bytes: isize,
}

/// What a worker finds.
#[derive(Debug)]
pub(super) enum Popped {
    Item(Item),
    /// End the stream, see that the peer has read it, then say `handed_over`.
    Handover,
    /// Nothing yet.
    Empty,
    /// Nothing, and nothing more will come.
    Closed,
}

impl Queue {
    pub(super) fn new(bytes_max: usize) -> Self {
        let inner = Inner {
            lines: vec![Line::new(LineKey::FIRST.id)],
            lanes: vec![0; LANES],
            lanes_used: [0; LANES / 64],
            bytes: 0,
            is_closed: false,
            next_id: 1,
        };
        Self { bytes_max, inner: Mutex::new(inner), work: Notify::new(), space: Notify::new() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a push of anything would find room.
    fn has_room(&self) -> bool {
        let inner = self.inner();
        inner.bytes < self.bytes_max || inner.is_closed
    }

    /// Waits until there is room. Cancel safe.
    pub(super) async fn room(&self) {
        loop {
            let space = self.space.notified();
            if self.has_room() {
                return;
            }
            space.await;
        }
    }

    /// Pushes records and sheds the oldest as far as the limit demands.
    pub(super) fn push(&self, parcel: &Arc<Parcel>, selection: Selection, sheds: bool) -> Pushed {
        let item = Item::new(parcel, selection);
        let mut inner = self.inner();
        let mut pushed = Pushed { shed: 0, bytes: item.bytes.cast_signed() };
        inner.bytes += item.bytes;
        inner.append(item);
        while sheds && inner.bytes > self.bytes_max {
            let Some(oldest) = inner.shed_oldest() else { break };
            pushed.shed += oldest.records;
            pushed.bytes -= oldest.bytes.cast_signed();
            inner.bytes -= oldest.bytes;
        }
        drop(inner);
        self.work.notify_waiters();
        pushed
    }

    /// The next item of a connection's line.
    pub(super) fn pop(&self, key: LineKey) -> Popped {
        let mut inner = self.inner();
        loop {
            let own = inner.lines.get(key.number).filter(|line| line.id == key.id);
            let Some(line) = own else { return Popped::Closed };
            match line.entries.front() {
                None if inner.is_closed => return Popped::Closed,
                None => return Popped::Empty,
                Some(Entry::Barrier { connection, sequence }) => {
                    let passed =
                        inner.lines.get(*connection).is_none_or(|line| line.is_past(*sequence));
                    if !passed {
                        return Popped::Empty;
                    }
                }
                Some(Entry::Item(_) | Entry::Handover { .. }) => {}
            }
            let Some(line) = inner.lines.get_mut(key.number) else { return Popped::Closed };
            match line.entries.pop_front() {
                Some(Entry::Item(item)) => {
                    line.in_hand = Some(item.sequence);
                    return Popped::Item(item);
                }
                Some(Entry::Handover { sequence }) => {
                    line.in_hand = Some(sequence);
                    return Popped::Handover;
                }
                Some(Entry::Barrier { .. }) | None => {}
            }
        }
    }

    /// Books a handover as done with.
    pub(super) fn handed_over(&self, key: LineKey) {
        if let Some(line) = self.inner().lines.get_mut(key.number) {
            line.in_hand = None;
            line.idle_since = Instant::now();
        }
        self.work.notify_waiters();
    }

    /// Waits for something to pop; may wake for nothing. Cancel safe.
    pub(super) fn work(&self) -> tokio::sync::futures::Notified<'_> {
        self.work.notified()
    }

    /// Books a popped item as done with, delivered or dropped. Returns its charged bytes.
    pub(super) fn finish(&self, key: LineKey, item: &Item) -> usize {
        let mut inner = self.inner();
        inner.bytes -= item.bytes;
        if let Some(line) = inner.lines.get_mut(key.number) {
            line.in_hand = None;
            line.idle_since = Instant::now();
        }
        let has_barriers = inner.lines.len() > 1;
        drop(inner);
        self.space.notify_waiters();
        if has_barriers {
            self.work.notify_waiters();
        }
        item.bytes
    }

    /// How long the oldest item waiting in a line has waited.
    pub(super) fn oldest_wait(&self, key: LineKey) -> Duration {
        let inner = self.inner();
        let entries = inner.lines.get(key.number).map(|line| &line.entries);
        let oldest = entries.into_iter().flatten().find_map(Entry::since);
        oldest.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Doubles the lines, if more lanes than lines were used and there may be that many. Returns
    /// the new ones.
    pub(super) fn grow(&self, lines_max: usize) -> Vec<LineKey> {
        let mut inner = self.inner();
        let count = inner.lines.len();
        let used: u32 = inner.lanes_used.iter().map(|word| word.count_ones()).sum();
        let is_power = count.is_power_of_two();
        let is_enough = count * 2 > lines_max.min(LANES) || used as usize <= count;
        if inner.is_closed || !is_power || is_enough {
            return Vec::new();
        }
        let mut barriers = Vec::with_capacity(count);
        for (connection, line) in inner.lines.iter_mut().enumerate() {
            line.pushed += 1;
            let sequence = line.pushed;
            line.entries.push_back(Entry::Handover { sequence });
            barriers.push((connection, sequence));
        }
        let mut grown = Vec::with_capacity(count);
        for number in count..count * 2 {
            let mut line = Line::new(inner.next_id);
            grown.push(LineKey { number, id: inner.next_id });
            inner.next_id += 1;
            let held =
                barriers.iter().map(|(c, s)| Entry::Barrier { connection: *c, sequence: *s });
            line.entries.extend(held);
            inner.lines.push(line);
        }
        inner.bind_lanes();
        inner.lanes_used = [0; LANES / 64];
        drop(inner);
        self.work.notify_waiters();
        grown
    }

    /// Takes away the upper half of the lines, if all of them have been idle for `idle`: long enough
    /// for their peers to have read what they sent. Their lanes go back to those that had them.
    pub(super) fn shrink(&self, idle: Duration) {
        let mut inner = self.inner();
        let half = inner.lines.len() / 2;
        let upper = inner.lines.get(half.max(1)..).unwrap_or_default();
        if half == 0 || !upper.iter().all(|line| line.is_idle(idle)) {
            return;
        }
        inner.lines.truncate(half);
        inner.bind_lanes();
        drop(inner);
        self.work.notify_waiters();
    }

    /// Closes the queue: workers end once their lines are empty, and nobody waits for room.
    pub(super) fn close(&self) {
        self.inner().is_closed = true;
        self.work.notify_waiters();
        self.space.notify_waiters();
    }

    /// Takes everything out. Returns the number of records and their charged bytes.
    pub(super) fn clear(&self) -> (usize, usize) {
        let mut inner = self.inner();
        let (mut records, mut bytes) = (0, 0);
        while let Some(item) = inner.shed_oldest() {
            records += item.records;
            bytes += item.bytes;
        }
        inner.bytes -= bytes;
        (records, bytes)
    }
}

impl Line {
    fn new(id: u64) -> Self {
        Self { id, entries: VecDeque::new(), pushed: 0, in_hand: None, idle_since: Instant::now() }
    }

    /// Whether there is nothing to do and has not been for `idle`.
    fn is_idle(&self, idle: Duration) -> bool {
        self.entries.is_empty() && self.in_hand.is_none() && self.idle_since.elapsed() >= idle
    }

    /// Whether everything up to `sequence` is done with.
    fn is_past(&self, sequence: u64) -> bool {
        let queued = self.entries.iter().find_map(Entry::sequence);
        self.in_hand.is_none_or(|s| s > sequence) && queued.is_none_or(|s| s > sequence)
    }
}

impl Inner {
    /// Appends an item to the lines of its lanes.
    fn append(&mut self, item: Item) {
        if self.lines.len() == 1 {
            self.sample_lanes(&item);
            return self.append_to(0, item);
        }
        let mut parts: Vec<Vec<u32>> = vec![Vec::new(); self.lines.len()];
        let batch = item.parcel.batch();
        for index in item.selection.iter(batch.len()) {
            let Some(record) = batch.record(index) else { continue };
            let lane = record.app_hash() as usize % LANES;
            self.lanes_used[lane / 64] |= 1 << (lane % 64);
            let line = usize::from(self.lanes[lane]);
            parts[line].push(u32::try_from(index).unwrap_or(u32::MAX));
        }
        if let Some(only) = only_one(&parts) {
            return self.append_to(only, item);
        }
        let total = item.records.max(1);
        let mut left = item.bytes;
        let count = parts.iter().filter(|part| !part.is_empty()).count();
        let parts = parts.into_iter().enumerate().filter(|(_, part)| !part.is_empty());
        for (nth, (line, part)) in parts.enumerate() {
            // The last part takes what rounding has left.
            let share = item.bytes * part.len() / total;
            let bytes = if nth + 1 == count { left } else { share };
            left -= bytes;
            let parcel = Arc::clone(&item.parcel);
            let (records, since) = (part.len(), item.since);
            let selection = Selection::Some(part);
            let part = Item { parcel, selection, records, bytes, since, sequence: 0 };
            self.append_to(line, part);
        }
    }

    /// Notes the lanes of some records; with one line, that is all there is to know of them.
    fn sample_lanes(&mut self, item: &Item) {
        let batch = item.parcel.batch();
        let indices = item.selection.iter(batch.len()).take(LANE_SAMPLES);
        for record in indices.filter_map(|index| batch.record(index)) {
            let lane = record.app_hash() as usize % LANES;
            self.lanes_used[lane / 64] |= 1 << (lane % 64);
        }
    }

    fn append_to(&mut self, line: usize, mut item: Item) {
        if let Some(line) = self.lines.get_mut(line) {
            line.pushed += 1;
            item.sequence = line.pushed;
            line.entries.push_back(Entry::Item(item));
        }
    }

    /// Binds each lane to the line of its number, modulo their count.
    fn bind_lanes(&mut self) {
        let count = self.lines.len().max(1);
        for (lane, line) in self.lanes.iter_mut().enumerate() {
            *line = u16::try_from(lane % count).unwrap_or(0);
        }
    }

    /// Removes the item that has waited longest.
    fn shed_oldest(&mut self) -> Option<Item> {
        let first = |line: &Line| {
            let entries = line.entries.iter().enumerate();
            entries.filter_map(|(at, entry)| Some((entry.since()?, at))).next()
        };
        let oldest = self.lines.iter().enumerate();
        let (line, (_, at)) =
            oldest.filter_map(|(line, l)| Some((line, first(l)?))).min_by_key(|(_, f)| f.0)?;
        match self.lines.get_mut(line)?.entries.remove(at)? {
            Entry::Item(item) => Some(item),
            Entry::Handover { .. } | Entry::Barrier { .. } => None,
        }
    }
}

/// The one part that is not empty, if there is only one.
fn only_one(parts: &[Vec<u32>]) -> Option<usize> {
    let mut filled = parts.iter().enumerate().filter(|(_, part)| !part.is_empty());
    let (first, _) = filled.next()?;
    filled.next().is_none().then_some(first)
}

impl Item {
    fn new(parcel: &Arc<Parcel>, selection: Selection) -> Self {
        let batch = parcel.batch();
        let records = selection.count(batch.len());
        let since = Instant::now();
        let frames = match &selection {
            Selection::All => batch.arena().len(),
            Selection::Some(_) => {
                let records = selection.iter(batch.len()).filter_map(|index| batch.record(index));
                records.map(|record| record.raw().len()).sum()
            }
        };
        if frames < batch.arena().len() / COPY_BELOW {
            let parcel = Arc::new(parcel.extract(&selection));
            let bytes = parcel.batch().footprint();
            return Self { parcel, selection: Selection::All, records, bytes, since, sequence: 0 };
        }
        // Its share of the memory that the whole parcel holds.
        let bytes = batch.footprint() / batch.len().max(1) * records;
        Self { parcel: Arc::clone(parcel), selection, records, bytes, since, sequence: 0 }
    }
}

#[cfg(test)]
mod tests;
