//! The queue of a destination: what waits, in the order of its lanes, limited in bytes.
//!
//! Every app has a lane, `hash mod LANES`; every lane is bound to one connection at a time, so the
//! records of an app keep their order. The number of connections doubles when it grows, so lanes
//! only ever move to new ones. Each old connection then gets a handover: it ends its stream, so that
//! the peer has read all of it, and goes on with a new one. A barrier at the head of a new line makes
//! it wait until the handover is past. When there are to be fewer, it is the other way round: the lines of
//! the upper half get nothing more, and the lower ones wait for their handovers.
//!
//! Concurrency: one lock around all of it, held for pushes and pops, never over an await.

mod item;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use logboom_record::{Selection, UnixNanos};
use tokio::sync::Notify;

pub(super) use item::Item;

/// Lanes of a destination: more than the largest cap of connections that makes sense.
const LANES: usize = 256;
/// Records of an item whose lanes are looked at while there is one line.
const LANE_SAMPLES: usize = 32;
/// Least and most bytes that a worker may have in hand.
const HAND_BYTES: (usize, usize) = (64 << 10, 16 << 20);

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

    fn item(&self) -> Option<&Item> {
        match self {
            Self::Item(item) => Some(item),
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
    /// Whether a worker serves it.
    is_served: bool,
    /// Sequence numbers of the last entry that was pushed, popped, and done with. Entries are done
    /// with in order; what lies between the last two is in the worker's hand.
    pushed: u64,
    popped: u64,
    finished: u64,
    /// What the worker has in hand: sequence numbers, and when it was received.
    hand: VecDeque<(u64, UnixNanos)>,
    /// When the last item was done with.
    idle_since: Instant,
}

#[derive(Debug)]
struct Inner {
    lines: Vec<Line>,
    /// Lines that get items, from the first: that of a lane is the one of its number, modulo their count. The
    /// others end what they have.
    active: usize,
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

/// The queue.
#[derive(Debug)]
pub(super) struct Queue {
    bytes_max: AtomicUsize,
    inner: Mutex<Inner>,
    work: Notify,
    space: Notify,
}

/// What a push did.
#[derive(Debug, Default)]
pub(super) struct Pushed {
    /// Items shed to make room.
    pub(super) shed: Vec<Item>,
    /// Bytes charged for what was pushed, less what was shed.
    pub(super) bytes: isize,
    /// Lines that have work now and need a worker; they count as served from here on.
    pub(super) unserved: Vec<LineKey>,
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
            lines: vec![Line::new(0)],
            active: 1,
            lanes_used: [0; LANES / 64],
            bytes: 0,
            is_closed: false,
            next_id: 1,
        };
        let bytes_max = AtomicUsize::new(bytes_max);
        Self { bytes_max, inner: Mutex::new(inner), work: Notify::new(), space: Notify::new() }
    }

    /// Bytes that may wait.
    pub(super) fn bytes_max(&self) -> usize {
        self.bytes_max.load(Ordering::Relaxed)
    }

    /// Bytes that the worker of a line may have in hand. A kernel holds some MiB that a slow peer has
    /// not acknowledged; but what is in hand is never shed, so most of the queue must not be there.
    pub(super) fn hand_bytes_max(&self) -> usize {
        let lines = self.inner().lines.len().max(1);
        (self.bytes_max() / 4 / lines).clamp(HAND_BYTES.0, HAND_BYTES.1)
    }

    /// Changes how many bytes may wait; what waits already stays.
    pub(super) fn set_bytes_max(&self, bytes_max: usize) {
        self.bytes_max.store(bytes_max, Ordering::Relaxed);
        self.space.notify_waiters();
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a push of anything would find room.
    pub(super) fn has_room(&self) -> bool {
        self.is_below(self.bytes_max())
    }

    fn is_below(&self, bytes: usize) -> bool {
        let inner = self.inner();
        inner.bytes < bytes || inner.is_closed
    }

    /// Waits until there is room. Cancel safe.
    pub(super) async fn room(&self) {
        while !self.has_room() {
            self.space_below(self.bytes_max()).await;
        }
    }

    /// Waits until half of it is empty: the time to read on in the spool. Cancel safe.
    pub(super) async fn half_room(&self) {
        let half = self.bytes_max().div_ceil(2);
        self.space_below(half).await;
    }

    async fn space_below(&self, bytes: usize) {
        loop {
            let space = self.space.notified();
            if self.is_below(bytes) {
                return;
            }
            space.await;
        }
    }

    /// Pushes an item and sheds the oldest as far as the limit demands.
    pub(super) fn push(&self, item: Item, sheds: bool) -> Pushed {
        let bytes_max = self.bytes_max();
        let mut pushed = Pushed { bytes: item.bytes.cast_signed(), ..Pushed::default() };
        let mut inner = self.inner();
        inner.bytes += item.bytes;
        inner.append(item);
        while sheds && inner.bytes > bytes_max {
            let Some(oldest) = inner.shed_oldest() else { break };
            pushed.bytes -= oldest.bytes.cast_signed();
            inner.bytes -= oldest.bytes;
            pushed.shed.push(oldest);
        }
        pushed.unserved = inner.claim_unserved();
        drop(inner);
        self.work.notify_waiters();
        pushed
    }

    /// A worker gives up its line because there is nothing to do. False if there is, after all.
    pub(super) fn leave(&self, key: LineKey) -> bool {
        let mut inner = self.inner();
        match inner.lines.get_mut(key.number).filter(|line| line.id == key.id) {
            Some(line) if line.entries.is_empty() => {
                line.is_served = false;
                true
            }
            Some(_) => false,
            None => true,
        }
    }

    /// Takes back what a worker had in hand when it was stopped, in order; the line has no worker then.
    pub(super) fn put_back(&self, key: LineKey, items: impl DoubleEndedIterator<Item = Item>) {
        let mut inner = self.inner();
        // A line that is gone had nothing in hand.
        let Some(line) = inner.lines.get_mut(key.number).filter(|line| line.id == key.id) else {
            return;
        };
        for item in items.rev() {
            line.entries.push_front(Entry::Item(item));
        }
        line.finished = line.popped;
        line.is_served = false;
    }

    /// Calls `each` with the items that wait in a line, in order, while it returns true. Nobody pushes or pops
    /// meanwhile.
    pub(super) fn while_waiting(&self, key: LineKey, mut each: impl FnMut(&mut Item) -> bool) {
        let mut inner = self.inner();
        let line = inner.lines.get_mut(key.number).filter(|line| line.id == key.id);
        let entries = line.into_iter().flat_map(|line| &mut line.entries);
        for entry in entries {
            if let Entry::Item(item) = entry
                && !each(item)
            {
                return;
            }
        }
    }

    /// Whether nothing waits in any line.
    pub(super) fn is_empty(&self) -> bool {
        self.inner().lines.iter().all(|line| line.entries.is_empty() && line.is_empty_handed())
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
                    give_back(&mut line.entries);
                    line.popped = item.sequence;
                    line.hand.push_back((item.sequence, item.received()));
                    return Popped::Item(item);
                }
                Some(Entry::Handover { sequence }) => {
                    line.popped = sequence;
                    return Popped::Handover;
                }
                Some(Entry::Barrier { .. }) | None => {}
            }
        }
    }

    /// Books a handover as done with.
    pub(super) fn handed_over(&self, key: LineKey) {
        let mut inner = self.inner();
        if let Some(line) = inner.lines.get_mut(key.number) {
            line.finish(line.popped);
        }
        inner.drop_ended();
        drop(inner);
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
            line.finish(item.sequence);
        }
        let has_barriers = inner.lines.len() > 1;
        drop(inner);
        self.space.notify_waiters();
        if has_barriers {
            self.work.notify_waiters();
        }
        item.bytes
    }

    /// How long ago the oldest of what is not done with was received.
    pub(super) fn oldest(&self) -> Duration {
        let inner = self.inner();
        let oldest = inner.lines.iter().filter_map(Line::oldest).min();
        let nanos = oldest.map_or(0, |received| UnixNanos::now().0.saturating_sub(received.0));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
    }

    /// How long the oldest item waiting in a line has waited.
    pub(super) fn oldest_wait(&self, key: LineKey) -> Duration {
        let inner = self.inner();
        let entries = inner.lines.get(key.number).map(|line| &line.entries);
        let oldest = entries.into_iter().flatten().find_map(Entry::item);
        oldest.map_or(Duration::ZERO, |item| item.since.elapsed())
    }

    /// Doubles the lines, if more lanes than lines were used and there may be that many. Returns
    /// the new ones.
    pub(super) fn grow(&self, lines_max: usize) -> Vec<LineKey> {
        let mut inner = self.inner();
        let count = inner.active;
        let used: u32 = inner.lanes_used.iter().map(|word| word.count_ones()).sum();
        let is_folding = inner.lines.len() > count;
        let is_enough = count * 2 > lines_max.min(LANES) || used as usize <= count;
        if inner.is_closed || is_folding || is_enough {
            return Vec::new();
        }
        let hand_over = |(connection, line): (usize, &mut Line)| (connection, line.hand_over());
        let barriers: Vec<_> = inner.lines.iter_mut().enumerate().map(hand_over).collect();
        let mut grown = Vec::with_capacity(count);
        for number in count..count * 2 {
            let mut line = Line { is_served: true, ..Line::new(inner.next_id) };
            grown.push(LineKey { number, id: inner.next_id });
            inner.next_id += 1;
            let held =
                barriers.iter().map(|(c, s)| Entry::Barrier { connection: *c, sequence: *s });
            line.entries.extend(held);
            inner.lines.push(line);
        }
        inner.active = inner.lines.len();
        inner.lanes_used = [0; LANES / 64];
        drop(inner);
        self.work.notify_waiters();
        grown
    }

    /// Halves the lines that get items until there are at most so many, and at least one. Returns those of
    /// the others that need a worker to end what they have.
    pub(super) fn fold(&self, lines_max: usize) -> Vec<LineKey> {
        let mut inner = self.inner();
        while inner.active > lines_max.max(1) {
            inner.active /= 2;
            let half = inner.active;
            let (lower, upper) = inner.lines.split_at_mut(half);
            // Those beyond the upper half have ended theirs before, or hand over to it.
            for (lower, (connection, upper)) in lower.iter_mut().zip((half..).zip(upper)) {
                let sequence = upper.hand_over();
                lower.entries.push_back(Entry::Barrier { connection, sequence });
            }
        }
        let unserved = inner.claim_unserved();
        drop(inner);
        self.work.notify_waiters();
        unserved
    }

    /// Takes away the upper half of the lines, if all of them have been idle for `idle`: long enough
    /// for their peers to have read what they sent. Their lanes go back to those that had them.
    pub(super) fn shrink(&self, idle: Duration) {
        let mut inner = self.inner();
        let half = inner.active / 2;
        let upper = inner.lines.get(half.max(1)..).unwrap_or_default();
        if half == 0 || !upper.iter().all(|line| line.is_idle(idle)) {
            return;
        }
        inner.lines.truncate(half);
        inner.active = half;
        drop(inner);
        self.work.notify_waiters();
    }

    /// Closes the queue: workers end once their lines are empty, and nobody waits for room.
    pub(super) fn close(&self) {
        self.inner().is_closed = true;
        self.work.notify_waiters();
        self.space.notify_waiters();
    }

    /// Takes everything out, oldest first.
    pub(super) fn clear(&self) -> Vec<Item> {
        let mut inner = self.inner();
        let mut items = Vec::new();
        while let Some(item) = inner.shed_oldest() {
            inner.bytes -= item.bytes;
            items.push(item);
        }
        items
    }
}

/// Gives most of a queue's memory back that it had need of and has no more.
pub(super) fn give_back<T>(queue: &mut VecDeque<T>) {
    const KEPT: usize = 512;
    if queue.capacity() > KEPT && queue.len() < queue.capacity() / 8 {
        queue.shrink_to(queue.capacity() / 4);
    }
}

impl Line {
    fn new(id: u64) -> Self {
        let (entries, hand, idle_since) = (VecDeque::new(), VecDeque::new(), Instant::now());
        Self { id, entries, is_served: false, pushed: 0, popped: 0, finished: 0, hand, idle_since }
    }

    /// Has it end its stream behind what it has; returns the place of that.
    fn hand_over(&mut self) -> u64 {
        self.pushed += 1;
        self.entries.push_back(Entry::Handover { sequence: self.pushed });
        self.pushed
    }

    fn finish(&mut self, sequence: u64) {
        self.finished = self.finished.max(sequence);
        while self.hand.front().is_some_and(|(sequence, _)| *sequence <= self.finished) {
            self.hand.pop_front();
        }
        give_back(&mut self.hand);
        self.idle_since = Instant::now();
    }

    /// When the first of what is not done with was received.
    fn oldest(&self) -> Option<UnixNanos> {
        let waiting = || self.entries.iter().find_map(Entry::item).map(Item::received);
        self.hand.front().map(|(_, received)| *received).or_else(waiting)
    }

    /// Whether its worker has nothing in hand.
    fn is_empty_handed(&self) -> bool {
        self.finished >= self.popped
    }

    /// Whether there is nothing to do and has not been for `idle`.
    fn is_idle(&self, idle: Duration) -> bool {
        self.entries.is_empty() && self.is_empty_handed() && self.idle_since.elapsed() >= idle
    }

    /// Whether everything up to `sequence` is done with.
    fn is_past(&self, sequence: u64) -> bool {
        let queued = self.entries.iter().find_map(Entry::sequence);
        let has_let_go = self.is_empty_handed() || self.finished >= sequence;
        has_let_go && queued.is_none_or(|s| s > sequence)
    }
}

impl Inner {
    /// Appends an item to the lines of its lanes.
    fn append(&mut self, item: Item) {
        if self.active == 1 {
            self.sample_lanes(&item);
            return self.append_to(0, item);
        }
        let mut parts: Vec<Vec<u32>> = vec![Vec::new(); self.active];
        let batch = item.parcel.batch();
        for index in item.selection.iter(batch.len()) {
            let Some(record) = batch.record(index) else { continue };
            let lane = record.app_hash() as usize % LANES;
            self.lanes_used[lane / 64] |= 1 << (lane % 64);
            let line = lane % parts.len();
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
            let part = Item { parcel, selection, records, bytes, since, sequence: 0, ..item };
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

    /// Takes away the last lines that get nothing more and have ended what they had.
    fn drop_ended(&mut self) {
        let has_ended = |line: &Line| line.entries.is_empty() && line.is_empty_handed();
        while self.lines.len() > self.active && self.lines.last().is_some_and(has_ended) {
            self.lines.pop();
        }
    }

    /// Lines with work and without a worker; they count as served from here on.
    fn claim_unserved(&mut self) -> Vec<LineKey> {
        let mut claimed = Vec::new();
        for (number, line) in self.lines.iter_mut().enumerate() {
            if !line.is_served && !line.entries.is_empty() {
                line.is_served = true;
                claimed.push(LineKey { number, id: line.id });
            }
        }
        claimed
    }

    /// Removes the item that has waited longest.
    fn shed_oldest(&mut self) -> Option<Item> {
        let first = |line: &Line| {
            let entries = line.entries.iter().enumerate();
            entries.filter_map(|(at, entry)| Some((entry.item()?.since, at))).next()
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

#[cfg(test)]
mod tests;
