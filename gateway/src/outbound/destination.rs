//! A destination: the one endpoint that drains and routes share.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use logboom_record::Selection;
use tokio::task::JoinSet;

use super::Parcel;
use super::connector::Connector;
use super::queue::{LineKey, Queue};
use super::worker;
use crate::config::{DestinationKind, WhenFull};
use crate::telemetry::ledger::{DestinationBook, DropReason};

/// How long the oldest record of a line may wait before more connections are tried.
const GROW_AFTER: Duration = Duration::from_millis(100);
/// Shortest time between two growths, in which the last one can show its worth.
const GROW_EVERY: Duration = Duration::from_secs(1);
/// What a growth must have brought, as a factor of the rate before it, for another to follow.
const GROW_GAIN: f64 = 1.1;
/// How long to leave the number as it is after a growth that has brought nothing.
const GROW_PAUSE: Duration = Duration::from_secs(60);

/// How a destination is set up.
#[derive(Clone, Debug)]
pub struct DestinationSettings {
    /// Its canonical URL.
    pub canonical: String,
    /// What it is.
    pub kind: DestinationKind,
    /// Most connections at a time.
    pub connections_max: usize,
    /// Bytes that may wait for it.
    pub queue_bytes_max: usize,
    /// What happens when they do.
    pub when_full: WhenFull,
}

/// A destination in service.
#[derive(Debug)]
pub struct Destination {
    pub(super) settings: DestinationSettings,
    pub(super) queue: Queue,
    pub(super) book: Arc<DestinationBook>,
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
    /// Puts a destination into service; it connects when there is work.
    #[must_use]
    pub fn start(settings: DestinationSettings, book: Arc<DestinationBook>) -> Arc<Self> {
        let destination = Arc::new(Self {
            queue: Queue::new(settings.queue_bytes_max),
            settings,
            book,
            workers: Mutex::new(JoinSet::new()),
            growth: Mutex::new(Growth::new()),
        });
        destination.employ(LineKey::FIRST);
        destination
    }

    /// Its canonical URL.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.settings.canonical
    }

    /// Takes records into the queue. With `when_full = "block"` it first waits for room.
    /// Cancel safe: nothing was taken before it is ready.
    pub async fn push(&self, parcel: &Arc<Parcel>, selection: Selection) {
        let sheds = match self.settings.when_full {
            WhenFull::Shed => true,
            WhenFull::Block => {
                self.queue.room().await;
                false
            }
        };
        let records = selection.count(parcel.batch().len());
        self.book.accepted.add(records);
        self.book.in_flight.enter(records);
        let pushed = self.queue.push(parcel, selection, sheds);
        self.book.queue_bytes.change(pushed.bytes);
        if pushed.shed > 0 {
            self.book.dropped.add(DropReason::Shed, pushed.shed);
            self.book.in_flight.leave(pushed.shed);
        }
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
        let settings = &self.settings;
        let lines_max = Connector::lines_max(&settings.kind, settings.connections_max);
        for line in self.queue.grow(lines_max) {
            self.employ(line);
        }
    }

    fn employ(self: &Arc<Self>, line: LineKey) {
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        while workers.try_join_next().is_some() {}
        workers.spawn(worker::run(Arc::clone(self), line));
    }

    /// Delivers what is queued until `deadline`, then gives up the rest and counts it.
    pub async fn shutdown(&self, deadline: tokio::time::Instant) {
        self.queue.close();
        let mut workers =
            std::mem::take(&mut *self.workers.lock().unwrap_or_else(PoisonError::into_inner));
        let finished = tokio::time::timeout_at(deadline, async {
            while workers.join_next().await.is_some() {}
        });
        if finished.await.is_err() {
            // Those that are still at it give up what they have in hand.
            workers.shutdown().await;
        }
        let (records, bytes) = self.queue.clear();
        self.book.queue_bytes.change(-bytes.cast_signed());
        let in_flight = usize::try_from(self.book.in_flight.get()).unwrap_or(usize::MAX);
        if in_flight == 0 {
            return;
        }
        self.book.dropped.add(DropReason::Shutdown, in_flight);
        self.book.in_flight.leave(in_flight);
        let destination = self.name();
        tracing::error!(destination, records, in_flight, "records given up at shutdown");
    }
}
