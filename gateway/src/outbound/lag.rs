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
use logboom_spool::{DestinationId, Durable, Read, Spool, Want};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::entry::{self, Entry};
use super::queue::Item;
use super::{Destination, Parcel};
use crate::telemetry::ledger::{Count, DropReason};

/// A selection of less than one part in this many of its batch is spooled without the rest of it.
const EXTRACT_BELOW: usize = 4;

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
    id: OnceLock<DestinationId>,
}

#[derive(Debug, Default)]
struct Gate {
    reader: Option<AbortHandle>,
    is_stopped: bool,
}

impl Lag {
    /// Whether the destination may lag: what comes for it is to pass the gate.
    pub(super) fn is_set(&self) -> bool {
        self.is_set.load(Ordering::Acquire)
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops reading: what is in the spool stays there.
    pub(super) fn stop(&self) {
        let mut gate = self.gate();
        gate.is_stopped = true;
        if let Some(reader) = gate.reader.take() {
            reader.abort();
        }
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
        let share = parcel.batch().footprint() / parcel.batch().len().max(1) * records;
        Want {
            destination: self.spool_id(spool),
            records: u32::try_from(records).unwrap_or(u32::MAX),
            bytes: u32::try_from(share).unwrap_or(u32::MAX),
            hold,
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

    /// Waits for the disk to keep up, but not for a disk that does not.
    pub(super) async fn spool_room(&self) {
        if let Some(spool) = &self.common().spool {
            // When it is late, the spool says no, and the records are shed and counted.
            drop(tokio::time::timeout(DISK_PATIENCE, spool.room()).await);
        }
    }

    /// Takes records of a destination that lags, or begins to.
    pub(super) fn push_lagging(
        self: &Arc<Self>,
        parcel: &Arc<Parcel>,
        selection: Selection,
        counted: &Count,
    ) {
        let records = selection.count(parcel.batch().len());
        let gate = self.lag.gate();
        let is_caught_up = !self.lag.is_set();
        self.enter(records, counted);
        let hold = self.queue.has_room();
        let appended = self.append(parcel, &selection, hold, None);
        match appended {
            Ok((entry, true)) => {
                drop(gate);
                self.enqueue(Item::new(parcel, selection, Some(entry)), false);
            }
            Ok((_, false)) => {
                drop(gate);
                self.note_left(records);
            }
            // Without a spool the queue's oldest go; behind others on disk these cannot overtake.
            Err(()) if is_caught_up => {
                drop(gate);
                self.enqueue(Item::new(parcel, selection, None), true);
            }
            Err(()) => {
                drop(gate);
                self.book.dropped.add(DropReason::SpoolFull, records);
                self.book.in_flight.leave(records);
                if let Some(receipt) = &parcel.receipt {
                    receipt.lose();
                }
            }
        }
    }

    /// Records went to the spool and not into the queue.
    pub(super) fn note_left(self: &Arc<Self>, records: usize) {
        self.book.spooled.enter(records);
        self.begin_reading();
    }

    /// Appends a selection to the spool for this destination alone. Returns the entry and whether it
    /// is held. An entry that is not held takes the receipt with it.
    fn append(
        &self,
        parcel: &Parcel,
        selection: &Selection,
        hold: bool,
        receipt: Option<Arc<Receipt>>,
    ) -> Result<(u64, bool), ()> {
        let Some(spool) = &self.common().spool else { return Err(()) };
        let batch = parcel.batch();
        let records = selection.count(batch.len());
        let extracted;
        let (batch, selection) = if records < batch.len() / EXTRACT_BELOW {
            extracted = batch.extract(selection);
            (&extracted, &Selection::All)
        } else {
            (batch, selection)
        };
        let mut head = Vec::new();
        let key = entry::destination_key(self.name());
        entry::write(batch, &parcel.source, [(key, selection)].into_iter(), &mut head);
        let want = self.want(spool, parcel, records, hold);
        let receipt = receipt.or_else(|| parcel.receipt.clone());
        let durable = durable(receipt.filter(|_| !hold));
        let appended = spool.append(&[&head, batch.arena()], &[want], durable).map_err(drop)?;
        Ok((appended.sequence, appended.held.first().copied().unwrap_or(false)))
    }

    /// Leaves an item that was not delivered in the spool. False if it could not be.
    pub(super) fn leave_in_spool(&self, item: &Item) -> bool {
        let is_left =
            item.held.is_some() || self.append(&item.parcel, &item.selection, false, None).is_ok();
        if is_left {
            self.book.spooled.enter(item.records);
        }
        is_left
    }

    /// Sees to it that somebody reads what is in the spool for this destination.
    fn begin_reading(self: &Arc<Self>) {
        let mut gate = self.lag.gate();
        self.lag.is_set.store(true, Ordering::Release);
        if gate.reader.is_none() && !gate.is_stopped {
            let destination = Arc::clone(self);
            let reader = tokio::spawn(async move { destination.read_spool().await });
            gate.reader = Some(reader.abort_handle());
        }
        drop(gate);
        self.lag.grown.notify_one();
    }

    /// Refills the queue from the spool until the lag is over.
    async fn read_spool(self: Arc<Self>) {
        let Some(spool) = self.common().spool.clone() else { return };
        let id = self.spool_id(&spool);
        loop {
            self.shed_beyond_share(&spool, id).await;
            // Both are cancel safe.
            tokio::select! {
                biased;
                () = self.queue.half_room() => {}
                () = self.lag.grown.notified() => continue,
            }
            let written = spool.written();
            let reading = spool.clone();
            let Ok(read) = tokio::task::spawn_blocking(move || reading.read(id)).await else {
                return;
            };
            match read {
                Ok(Read::Entry { sequence, payload, records, .. }) => {
                    self.take_entry(sequence, payload, records as usize);
                }
                Ok(Read::NotYet) => written.await,
                Ok(Read::CaughtUp) => {
                    let mut gate = self.lag.gate();
                    // Something may have been left there since.
                    if !spool.waiting(id).is_lagging {
                        self.lag.is_set.store(false, Ordering::Release);
                        gate.reader = None;
                        return;
                    }
                }
                Err(error) => {
                    let destination = self.name();
                    tracing::error!(destination, %error, "the spool cannot be read, trying again");
                    tokio::time::sleep(READ_PAUSE).await;
                }
            }
        }
    }

    /// Puts an entry that was read into the queue.
    fn take_entry(self: &Arc<Self>, sequence: u64, payload: Vec<u8>, records: usize) {
        self.book.spooled.leave(records);
        let read = Entry::read(payload).and_then(|entry| {
            let selection = entry.selection(self.name())?;
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
            let (destination, records) = (self.name(), usize::try_from(shed.records).unwrap_or(0));
            tracing::warn!(
                destination,
                records,
                share,
                "its share of the spool is full, oldest shed"
            );
            self.book.lose_spooled(DropReason::Shed, records);
        }
    }
}
