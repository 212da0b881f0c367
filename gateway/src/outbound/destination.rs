//! A destination: the one endpoint that drains and routes share.

use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use logboom_record::Selection;
use tokio::task::JoinSet;

use super::breaker::{Breaker, BreakerState};
use super::cap::Cap;
use super::connector::{Connector, Pool, Producers};
use super::entry::destination_key;
use super::lag::Lag;
use super::queue::{Item, LineKey, Queue};
use super::{Common, Parcel, worker};
use crate::config::{DestinationKind, WhenFull};
use crate::net::TlsClient;
use crate::park::Parked;
use crate::telemetry::ledger::{Count, DestinationBook, DropReason};
use crate::telemetry::throttle::Throttle;

/// How long the oldest record of a line may wait before more connections are tried.
const GROW_AFTER: Duration = Duration::from_millis(100);
/// Shortest time between two growths, in which the last one can show its worth.
const GROW_EVERY: Duration = Duration::from_secs(1);
/// What a growth must have brought, as a factor of the rate before it, for another to follow.
const GROW_GAIN: f64 = 1.1;
/// How long to leave the number as it is after a growth that has brought nothing.
const GROW_PAUSE: Duration = Duration::from_secs(60);

/// Time beyond a shutdown's deadline for what is left to go to disk.
pub const SPOOL_GRACE: Duration = Duration::from_secs(5);

/// A connection without work for this long is closed.
pub const IDLE: Duration = Duration::from_secs(30);

/// How a destination is set up.
#[derive(Clone, Debug)]
pub struct DestinationSettings {
    /// Its canonical URL.
    pub canonical: String,
    /// What it is.
    pub kind: DestinationKind,
    /// Most connections at a time.
    pub connections_max: usize,
    /// Bytes that may wait for it in memory.
    pub queue_bytes_max: usize,
    /// Bytes that may wait for it in the spool.
    pub share: u64,
    /// What happens when its queue is full.
    pub when_full: WhenFull,
    /// How to speak TLS to it, where its scheme says so.
    pub tls: Option<Arc<TlsClient>>,
    /// Whether its addresses are checked against the network policy.
    pub guarded: bool,
    /// Time for one request to be answered.
    pub attempt: Duration,
    /// How long a connection without work stays open.
    pub idle: Duration,
}

/// A destination in service.
#[derive(Debug)]
pub struct Destination {
    name: Arc<str>,
    /// How entries of the spool call it.
    pub(super) key: u64,
    settings: ArcSwap<DestinationSettings>,
    common: Arc<Common>,
    pub(super) queue: Queue,
    pub(super) book: Arc<DestinationBook>,
    pub(super) breaker: Breaker,
    pub(super) cap: Arc<Cap>,
    pub(super) pool: Pool,
    /// As whom it sends, where the protocol wants to know.
    producers: OnceLock<Producers>,
    /// For lines in the log that its failures cause, that tell of refused records, and of lost ones.
    pub(super) throttle: Throttle,
    refused: Throttle,
    lost: Throttle,
    pub(super) lag: Lag,
    workers: Mutex<JoinSet<()>>,
    growth: Mutex<Growth>,
}

/// What the last growth of connections brought.
#[derive(Debug)]
struct Growth {
    since: Instant,
    /// Records delivered at that time, and records a second before it.
    delivered: u64,
    rate_before: f64,
    paused_until: Instant,
}

impl Growth {
    fn new() -> Self {
        let now = Instant::now();
        Self { since: now, delivered: 0, rate_before: 0.0, paused_until: now }
    }

    /// Whether it is time for more connections and the last ones were worth it.
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    fn may_go_on(&mut self, delivered: u64) -> bool {
        let elapsed = self.since.elapsed();
        if elapsed < GROW_EVERY || Instant::now() < self.paused_until {
            return false;
        }
        let rate = delivered.saturating_sub(self.delivered) as f64 / elapsed.as_secs_f64();
        let is_worth_it = rate > self.rate_before * GROW_GAIN;
        if is_worth_it {
            self.rate_before = rate;
        } else {
            self.paused_until = Instant::now() + GROW_PAUSE;
            self.rate_before = 0.0;
        }
        (self.since, self.delivered) = (Instant::now(), delivered);
        is_worth_it
    }
}

impl Destination {
    /// Puts a destination into service; it connects when there is work. What an earlier process left
    /// for it in the spool comes first.
    #[must_use]
    pub fn start(
        settings: DestinationSettings,
        book: Arc<DestinationBook>,
        common: Arc<Common>,
    ) -> Arc<Self> {
        let name: Arc<str> = settings.canonical.as_str().into();
        let destination = Arc::new(Self {
            queue: Queue::new(settings.queue_bytes_max),
            breaker: Breaker::new(RandomState::new().hash_one(&name)),
            cap: Cap::new(settings.connections_max),
            pool: Pool::new(settings.connections_max),
            producers: OnceLock::new(),
            throttle: Throttle::default(),
            refused: Throttle::default(),
            lost: Throttle::default(),
            lag: Lag::default(),
            workers: Mutex::new(JoinSet::new()),
            growth: Mutex::new(Growth::new()),
            settings: ArcSwap::from_pointee(settings),
            key: destination_key(&name),
            name,
            book,
            common,
        });
        destination.recover();
        destination
    }

    /// Its canonical URL.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it is set up now.
    #[must_use]
    pub fn settings(&self) -> Arc<DestinationSettings> {
        self.settings.load_full()
    }

    /// Where its breaker stands.
    #[must_use]
    pub fn breaker(&self) -> BreakerState {
        self.breaker.state()
    }

    /// How many requests to it may be in flight, and how many are; of use for HTTP.
    #[must_use]
    pub fn requests(&self) -> (usize, usize) {
        self.pool.in_flight()
    }

    /// How long ago the oldest record that waits for it was received.
    #[must_use]
    pub fn oldest(&self) -> Duration {
        self.queue.oldest()
    }

    /// As whom a relay gets its records; made when it is first asked for.
    pub(super) fn producers(&self) -> &Producers {
        self.producers.get_or_init(|| Producers::new(self.common.sender, &self.name))
    }

    pub(super) fn common(&self) -> &Arc<Common> {
        &self.common
    }

    /// Changes how it is set up; what waits for it stays. Open connections keep what they have, new
    /// ones take what is new. Those beyond a lower cap end when what waits for them is done with.
    pub fn change(self: &Arc<Self>, settings: DestinationSettings) {
        self.queue.set_bytes_max(settings.queue_bytes_max);
        self.cap.change(settings.connections_max);
        self.pool.change(settings.connections_max);
        let lines_max = Connector::lines_max(&settings.kind, settings.connections_max);
        for line in self.queue.fold(lines_max) {
            self.employ(line);
        }
        self.settings.store(Arc::new(settings));
        // What made it fail may be mended.
        self.breaker.try_again();
    }

    /// What made its attempts fail may be mended, if it speaks TLS by this client.
    pub fn try_again(&self, client: &Arc<TlsClient>) {
        if self.settings.load().tls.as_ref().is_some_and(|own| Arc::ptr_eq(own, client)) {
            self.breaker.try_again();
        }
    }

    /// Takes records into the queue, or into the spool where they belong there. With
    /// `when_full = "block"` it first waits for room. Cancel safe: nothing was taken before it is
    /// ready.
    pub async fn push(self: &Arc<Self>, parcel: &Arc<Parcel>, selection: Selection) {
        self.take(parcel, selection, &self.book.accepted).await;
    }

    /// As [`Self::push`], for all records of a parcel that come back from the park.
    pub async fn replay(self: &Arc<Self>, parcel: &Arc<Parcel>) {
        self.take(parcel, Selection::All, &self.book.replayed).await;
    }

    /// Takes records that are entered as what `entry` counts.
    async fn take(self: &Arc<Self>, parcel: &Arc<Parcel>, selection: Selection, entry: &Count) {
        let when_full = self.settings.load().when_full;
        if when_full == WhenFull::Block {
            self.blocking_room().await;
        }
        let spills = when_full == WhenFull::Spool;
        let overflows = spills && !self.queue.has_room();
        // A source that waits for its receipt must not wait for a destination that is down.
        let is_down = spills && parcel.receipt.is_some() && self.breaker() != BreakerState::Closed;
        if self.lag.is_set() || overflows || is_down {
            self.spool_room().await;
            self.push_lagging(parcel, selection, !is_down, entry);
        } else {
            self.enter(selection.count(parcel.batch().len()), entry);
            let sheds = when_full == WhenFull::Shed;
            self.enqueue(Item::new(parcel, selection, None), sheds);
        }
    }

    /// Enters records into the book as accepted.
    pub(super) fn accept(&self, records: usize) {
        self.enter(records, &self.book.accepted);
    }

    /// Enters records into the book as what `entry` counts.
    pub(super) fn enter(&self, records: usize, entry: &Count) {
        entry.add(records);
        self.book.in_flight.enter(records);
    }

    /// Puts an item into the queue, and workers to work.
    pub(super) fn enqueue(self: &Arc<Self>, item: Item, sheds: bool) {
        let pushed = self.queue.push(item, sheds);
        self.book.queue_bytes.change(pushed.bytes);
        for line in pushed.unserved {
            self.employ(line);
        }
        for item in pushed.shed {
            self.give_up(&item, DropReason::Shed);
        }
    }

    /// Has `when_full = "block"` hold nobody up any more.
    pub(crate) fn stop_blocking(&self) {
        self.queue.set_bytes_max(usize::MAX);
        self.lag_has_shrunk();
    }

    /// Says in the log that records were given up.
    pub(super) fn tell_lost(&self, records: usize, reason: DropReason, what: &str) {
        if let Some(left_out) = self.lost.allow() {
            let (destination, reason) = (self.name(), reason.keyword());
            tracing::warn!(destination, records, reason, left_out, "{what}");
        }
    }

    /// Books an item as lost.
    pub(super) fn give_up(&self, item: &Item, reason: DropReason) {
        match reason {
            DropReason::Shed => {
                self.tell_lost(item.records, reason, "its queue is full, oldest shed")
            }
            DropReason::SpoolFull => {
                self.tell_lost(item.records, reason, "the spool takes nothing")
            }
            // Told of at the end, all at once.
            _ => {}
        }
        self.book.dropped.add(reason, item.records);
        self.book.in_flight.leave(item.records);
        if let Some(receipt) = &item.parcel.receipt {
            receipt.lose();
        }
        self.let_go(item, item.records);
    }

    /// Records of an item are done with: the spool need not keep them.
    pub(super) fn let_go(&self, item: &Item, records: usize) {
        if let Some(entry) = item.held {
            self.entry_done(entry, records);
        }
    }

    /// Parks records of an item that the destination will never take.
    pub(super) fn park(&self, item: &Item, places: Range<usize>, reason: &str) {
        let batch = item.parcel.batch();
        let indices = item.selection.iter(batch.len()).skip(places.start).take(places.len());
        let indices: Vec<u32> = indices.map(|i| u32::try_from(i).unwrap_or(u32::MAX)).collect();
        let records = batch.extract(&Selection::Some(indices));
        let (source, name) = (&item.parcel.source, self.name());
        let reasons = std::iter::repeat_n(("refused", reason), places.len());
        let by = Parked::Destination(name);
        // Its sender, or the spool, lets go of it.
        let must_last = item.parcel.receipt.is_some() || item.held.is_some();
        let parked = self.common.park.take(&records, source, by, reasons, must_last);
        self.book.parked.add(parked);
        self.book.dropped.add(DropReason::ParkFailed, places.len() - parked);
        if let Some(receipt) = item.parcel.receipt.as_ref().filter(|_| parked < places.len()) {
            receipt.lose();
        }
        if let Some(left_out) = self.refused.allow() {
            let records = places.len();
            tracing::warn!(
                destination = name,
                records,
                reason,
                left_out,
                "records refused, parked"
            );
        }
    }

    /// Parks all records of an item that never got into the queue.
    pub(super) fn park_whole(&self, item: &Item, reason: &str) {
        self.park(item, 0..item.records, reason);
        self.book.in_flight.leave(item.records);
    }

    /// Adds connections when a line's oldest record has waited too long, for as long as more of
    /// them have brought more records a second.
    pub(super) fn consider_growing(self: &Arc<Self>, line: LineKey) {
        if self.queue.oldest_wait(line) < GROW_AFTER {
            return;
        }
        let mut growth = self.growth.lock().unwrap_or_else(PoisonError::into_inner);
        if !growth.may_go_on(self.book.delivered.get()) {
            return;
        }
        drop(growth);
        let settings = self.settings.load();
        let lines_max = Connector::lines_max(&settings.kind, settings.connections_max);
        for line in self.queue.grow(lines_max) {
            self.employ(line);
        }
    }

    fn workers(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn employ(self: &Arc<Self>, line: LineKey) {
        let mut workers = self.workers();
        // One that panicked has said so itself.
        while workers.try_join_next().is_some() {}
        workers.spawn(worker::run(Arc::clone(self), line));
    }

    /// Delivers what is queued until `deadline`. The rest goes to the spool; without one it is given
    /// up and counted.
    pub async fn shutdown(&self, deadline: tokio::time::Instant) {
        self.stop_reading().await;
        self.queue.close();
        let mut workers = std::mem::take(&mut *self.workers());
        let finished = tokio::time::timeout_at(deadline, async {
            while workers.join_next().await.is_some() {}
        });
        if finished.await.is_err() {
            // Those that are still at it give back what they have in hand.
            workers.shutdown().await;
        }
        let (mut kept, mut lost) = (0, 0);
        for item in self.queue.clear() {
            self.book.queue_bytes.change(-item.bytes().cast_signed());
            if self.leave_in_spool(&item, deadline + SPOOL_GRACE).await {
                kept += item.records;
            } else {
                lost += item.records;
                self.give_up(&item, DropReason::Shutdown);
            }
        }
        self.relinquish();
        let destination = self.name();
        if kept > 0 {
            tracing::info!(destination, records = kept, "records left in the spool");
        }
        if lost > 0 {
            tracing::error!(destination, records = lost, "records given up at shutdown");
        }
    }
}
