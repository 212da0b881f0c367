//! How a destination uses the spool.
//!
//! ```text
//!             queue full, or left by an earlier process
//!  caught up ──────────────────────────────────────────▶ lagging: all that comes goes to the spool,
//!      ▲                                                    │     the reader refills the queue from it
//!      └──────────────── nothing left in the spool ◀────────┘
//! ```
//!
//! While a destination lags, everything for it passes through the spool, so that its order stays.
//! The flag `is_set` may only be taken back under the gate, when the spool says that the lag is over.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use logboom_record::{Receipt, Selection};
use logboom_spool::{AppendError, DestinationId, Durable, Read, Spool, State, Want};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::breaker::BreakerState;
use super::entry::{self, Entry};
use super::hand::Hand;
use super::queue::{Item, LineKey};
use super::{Destination, Parcel};
use crate::config::{DestinationKind, WhenFull};
use crate::telemetry::ledger::{Count, DropReason};

/// How long a source may wait for a disk that is busy.
const DISK_PATIENCE: Duration = Duration::from_secs(1);
/// How long to wait after a read failed.
const READ_PAUSE: Duration = Duration::from_secs(1);

/// What a destination knows of its lag.
#[derive(Debug, Default)]
pub(super) struct Lag {
    is_set: AtomicBool,
    /// Held while it is decided whether records go to the queue or to the spool.
    gate: Mutex<Gate>,
    grown: Notify,
    /// The same for who looks later.
    has_grown: AtomicBool,
    /// Something was read, or the lag is over.
    shrunk: Notify,
    stopped: Notify,
    is_stopped: AtomicBool,
    id: OnceLock<DestinationId>,
}

/// Whether an entry is to be held: given out by memory, and not read from the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    No,
    /// If nothing lags.
    IfItCan,
    /// If something lags it is not appended.
    Only,
}

#[derive(Debug, Default)]
struct Gate {
    reader: Option<JoinHandle<()>>,
}

impl Lag {
    /// Whether the destination may lag: what comes for it is to pass the gate.
    pub(super) fn is_set(&self) -> bool {
        self.is_set.load(Ordering::Acquire)
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Acquire)
    }
}

/// What the spool calls when an entry is synced, or never will be: the receipt is let go.
pub(super) fn durable(receipt: Option<Arc<Receipt>>) -> Option<Durable> {
    receipt.map(|receipt| {
        let told: Durable = Box::new(move |synced| {
            if synced.is_err() {
                receipt.lose();
            }
        });
        told
    })
}

impl Destination {
    /// Its number in the spool.
    pub(super) fn spool_id(&self, spool: &Spool) -> DestinationId {
        *self.lag.id.get_or_init(|| {
            let id = spool.destination(self.name());
            self.common().losses.register(id, &self.book);
            id
        })
    }

    /// What a parcel weighs for it in the spool.
    pub(super) fn want(&self, spool: &Spool, parcel: &Parcel, records: usize, hold: bool) -> Want {
        let share = parcel.batch().stored_bytes() / parcel.batch().len().max(1) * records;
        Want {
            destination: self.spool_id(spool),
            records: u32::try_from(records).unwrap_or(u32::MAX),
            bytes: u32::try_from(share).unwrap_or(u32::MAX),
            // What comes from several sources at once is only in the order of its entries when it is
            // read from the spool.
            hold: hold && !matches!(self.settings().kind, DestinationKind::Quic { .. }),
        }
    }

    /// Records of an entry of the spool are done with.
    pub(super) fn entry_done(&self, entry: u64, records: usize) {
        if let Some(spool) = &self.common().spool {
            let records = u32::try_from(records).unwrap_or(u32::MAX);
            spool.done(self.spool_id(spool), entry, records);
        }
    }

    /// Takes up what an earlier process left in the spool.
    pub(super) fn recover(self: &Arc<Self>) {
        let Some(spool) = &self.common().spool else { return };
        let waiting = spool.waiting(self.spool_id(spool));
        if waiting.records == 0 {
            return;
        }
        // Of a destination that was taken out of the configuration and is back, the book knows them.
        let known = self.book.spooled.get();
        let records = usize::try_from(waiting.records.saturating_sub(known)).unwrap_or(usize::MAX);
        self.book.recovered.add(records);
        self.book.in_flight.enter(records);
        self.book.spooled.enter(records);
        let (destination, bytes) = (self.name(), waiting.bytes);
        tracing::info!(destination, records, bytes, "records found in the spool");
        self.begin_reading();
    }

    /// Stops reading: what is in the spool stays there.
    pub(super) async fn stop_reading(&self) {
        self.lag.is_stopped.store(true, Ordering::Release);
        self.lag.stopped.notify_one();
        self.lag_has_shrunk();
        let reader = self.lag.gate().reader.take();
        if let Some(reader) = reader {
            drop(reader.await);
        }
    }

    /// Gives what is held in the spool for this destination back to it: nobody has it in memory any
    /// more.
    pub(super) fn relinquish(&self) {
        if let Some(spool) = &self.common().spool {
            spool.relinquish(self.spool_id(spool));
        }
    }

    /// Waits for the disk to keep up, but not for a disk that is full or fails.
    pub(super) async fn spool_room(&self) {
        if let Some(spool) = self.common().spool.as_ref().filter(|s| s.state() == State::Good) {
            // When it is late, the spool says no, and the records are shed and counted.
            drop(tokio::time::timeout(DISK_PATIENCE, spool.room()).await);
        }
    }

    /// Those that wait for it look again.
    pub(super) fn lag_has_shrunk(&self) {
        self.lag.shrunk.notify_waiters();
    }

    /// Waits as `when_full = "block"` says: for room in the queue, and of what waits on disk for no more than
    /// the queue may hold. Cancel safe.
    pub(super) async fn blocking_room(&self) {
        loop {
            self.queue.room().await;
            let shrunk = self.lag.shrunk.notified();
            let Some(spool) = self.common().spool.as_ref().filter(|_| self.lag.is_set()) else {
                return;
            };
            // What is to go to the disk is not given up there.
            spool.room().await;
            let waiting = spool.waiting(self.spool_id(spool)).lag_bytes;
            if self.lag.is_stopped() || waiting < self.queue.bytes_max() as u64 {
                return;
            }
            shrunk.await;
        }
    }

    /// Takes records of a destination that lags, or begins to. `may_hold` says whether they may be put
    /// into the queue beside the spool.
    pub(super) fn push_lagging(
        self: &Arc<Self>,
        parcel: &Arc<Parcel>,
        selection: Selection,
        may_hold: bool,
        counted: &Count,
    ) {
        let records = selection.count(parcel.batch().len());
        let (mut item, was_caught_up, appended) = {
            let _gate = self.lag.gate();
            self.enter(records, counted);
            let hold = may_hold && self.queue.has_room();
            let item = Item::new(parcel, selection, None);
            let appended = self.append(&item, if hold { Hold::IfItCan } else { Hold::No });
            (item, !self.lag.is_set(), appended)
        };
        match appended {
            Ok((entry, true)) => {
                (item.held, item.is_as_stored) = (Some(entry), true);
                self.enqueue(item, false);
            }
            Ok((_, false)) => self.note_left(records),
            // Without a spool the queue's oldest go; behind others on disk these cannot overtake.
            Err(_) if was_caught_up => self.enqueue(item, true),
            Err(error @ AppendError::TooLarge { .. }) => self.park_whole(&item, &error.to_string()),
            Err(_) => self.give_up(&item, DropReason::SpoolFull),
        }
    }

    /// Records went to the spool and not into the queue.
    pub(super) fn note_left(self: &Arc<Self>, records: usize) {
        self.book.spooled.enter(records);
        self.begin_reading();
        self.lag.has_grown.store(true, Ordering::Release);
        self.lag.grown.notify_one();
    }

    /// Has the spool take what waits in memory too, so that its receipts need not wait for a destination that
    /// fails: what a worker has in hand, and behind it its line, as far as nothing lags and the disk keeps up.
    pub(super) fn secure(&self, hand: &mut Hand, line: LineKey) {
        let settings = self.settings();
        let is_relay = matches!(settings.kind, DestinationKind::Quic { .. });
        if settings.when_full != WhenFull::Spool || is_relay || self.common().spool.is_none() {
            return;
        }
        let _gate = self.lag.gate();
        if !self.lag.is_set() && hand.items_mut().all(|item| self.secure_item(item)) {
            self.queue.while_waiting(line, |item| self.secure_item(item));
        }
    }

    /// Says whether the next ones may be secured too.
    fn secure_item(&self, item: &mut Item) -> bool {
        if item.held.is_some() || item.parcel.receipt.is_none() {
            return true;
        }
        // The receipt is let go with the parcel, which others have too.
        item.parcel = Arc::new(item.parcel.extract(&item.selection));
        (item.selection, item.is_as_stored) = (Selection::All, false);
        let Ok((entry, _)) = self.append(item, Hold::Only) else { return false };
        (item.held, item.is_as_stored) = (Some(entry), true);
        if let Some(parcel) = Arc::get_mut(&mut item.parcel) {
            parcel.receipt = None;
        }
        true
    }

    /// Appends an item to the spool, for this destination alone. Returns the entry and whether it is
    /// held. The receipt waits for the sync, whatever else waits.
    fn append(&self, item: &Item, hold: Hold) -> Result<(u64, bool), AppendError> {
        let Some(spool) = &self.common().spool else { return Err(AppendError::Closed) };
        let (parcel, selection) = (&item.parcel, &item.selection);
        let wants = [(self.key, selection)].into_iter();
        let front = entry::front(parcel.batch(), &parcel.source, &[], wants);
        let [fields, rows] = parcel.batch().image_tables();
        let want = self.want(spool, parcel, item.records, hold != Hold::No);
        let durable = durable(parcel.receipt.clone());
        let payload = [&front, &*fields, &*rows, parcel.batch().arena()];
        let appended = match hold {
            Hold::Only => spool.append_held(&payload, &[want], durable)?,
            Hold::IfItCan | Hold::No => spool.append(&payload, &[want], durable)?,
        };
        Ok((appended.sequence, appended.held.first().copied().unwrap_or(false)))
    }

    /// Leaves an item that was not delivered in the spool. False if it could not be until `deadline`.
    pub(super) async fn leave_in_spool(&self, item: &Item, deadline: Instant) -> bool {
        let Some(spool) = &self.common().spool else { return false };
        let id = self.spool_id(spool);
        if item.held.is_none_or(|entry| !spool.holds(id, entry)) {
            while let Err(error) = self.append(item, Hold::No) {
                if matches!(error, AppendError::Closed | AppendError::TooLarge { .. }) {
                    return false;
                }
                // More than the disk has taken so far, or more than it can.
                if tokio::time::timeout_at(deadline, spool.room()).await.is_err() {
                    return false;
                }
            }
        }
        self.book.spooled.enter(item.records);
        true
    }

    /// Sees to it that somebody reads what is in the spool for this destination.
    fn begin_reading(self: &Arc<Self>) {
        let mut gate = self.lag.gate();
        self.lag.is_set.store(true, Ordering::Release);
        let is_running = gate.reader.as_ref().is_some_and(|reader| !reader.is_finished());
        if !is_running && !self.lag.is_stopped() {
            let destination = Arc::clone(self);
            gate.reader = Some(tokio::spawn(async move { destination.read_spool().await }));
        }
    }

    /// Refills the queue from the spool until the lag is over, or reading is stopped.
    async fn read_spool(self: Arc<Self>) {
        let Some(spool) = self.common().spool.clone() else { return };
        let id = self.spool_id(&spool);
        loop {
            // What a shutdown has left is not beyond it.
            if self.lag.has_grown.swap(false, Ordering::AcqRel) {
                self.shed_beyond_share(&spool, id).await;
            }
            // All of them are cancel safe.
            tokio::select! {
                biased;
                () = self.lag.stopped.notified() => {}
                () = self.wants_more() => {}
                () = self.lag.grown.notified() => continue,
            }
            if self.lag.is_stopped() {
                return;
            }
            let written = spool.written();
            let reading = spool.clone();
            // Not aborted: what it reads is held.
            let read = tokio::task::spawn_blocking(move || reading.read(id)).await;
            match read.unwrap_or(Ok(Read::NotYet)) {
                // Given back when reading is stopped.
                Ok(Read::Entry { .. }) if self.lag.is_stopped() => return,
                Ok(Read::Entry { sequence, payload, records, .. }) => {
                    self.take_entry(sequence, payload, records as usize);
                }
                Ok(Read::NotYet) => tokio::select! {
                    () = written => {}
                    () = self.lag.stopped.notified() => return,
                },
                Ok(Read::CaughtUp) if self.is_over(&spool, id) => return,
                Ok(Read::CaughtUp) => {}
                Err(error) => {
                    let destination = self.name();
                    tracing::error!(destination, %error, "the spool cannot be read, trying again");
                    tokio::time::sleep(READ_PAUSE).await;
                }
            }
        }
    }

    /// Ends the lag, unless something was left in the spool since it seemed to be over.
    fn is_over(&self, spool: &Spool, id: DestinationId) -> bool {
        let mut gate = self.lag.gate();
        let is_over = !spool.waiting(id).is_lagging;
        if is_over {
            self.lag.is_set.store(false, Ordering::Release);
            self.lag_has_shrunk();
            gate.reader = None;
        }
        is_over
    }

    /// Ready when it is time to read on: the queue is half empty. While the destination is down, what
    /// there is in memory is enough: the memory is for those that are up.
    async fn wants_more(&self) {
        loop {
            self.queue.half_room().await;
            if self.breaker() == BreakerState::Closed || self.queue.is_empty() {
                return;
            }
            self.breaker.change().await;
        }
    }

    /// Puts an entry that was read into the queue.
    fn take_entry(self: &Arc<Self>, sequence: u64, payload: Vec<u8>, records: usize) {
        self.book.spooled.leave(records);
        self.lag_has_shrunk();
        let read = Entry::read(payload).and_then(|entry| {
            let selection = entry.selection(self.key)?;
            Ok((entry, selection))
        });
        match read {
            Ok((entry, selection)) => {
                let source = entry.source.into();
                let parcel = Arc::new(Parcel::new(entry.batch, source, None, Box::new(drop)));
                self.enqueue(Item::new(&parcel, selection, Some(sequence)), false);
            }
            Err(error) => {
                let destination = self.name();
                tracing::error!(destination, sequence, records, %error, "an entry of the spool is lost");
                self.book.dropped.add(DropReason::Damaged, records);
                self.book.in_flight.leave(records);
                self.entry_done(sequence, records);
            }
        }
    }

    /// Gives up the oldest records in the spool beyond the destination's share of it.
    async fn shed_beyond_share(&self, spool: &Spool, id: DestinationId) {
        let share = self.settings().share;
        if spool.waiting(id).lag_bytes <= share {
            return;
        }
        // A little more than needed, so that it is not done for every entry.
        let (spool, keep) = (spool.clone(), share - share / 16);
        if let Ok(shed) = tokio::task::spawn_blocking(move || spool.shed(id, keep)).await {
            let records = usize::try_from(shed.records).unwrap_or(0);
            self.book.lose_spooled(DropReason::Shed, records);
            if records > 0 {
                let what = "its share of the spool is full, oldest shed";
                self.tell_lost(records, DropReason::Shed, what);
            }
        }
    }
}
