//! Outbound: destinations with their queues, lanes, connections and connectors.
//!
//! * **What enters**: [`Parcel`]s, shared batches with the selection of records a destination gets.
//! * **What leaves**: bytes at the destination; outcomes in its book; refused records in the park.
//! * **Limits**: queue bytes, share of the spool, connections and requests in flight per destination;
//!   one breaker for all its connections.
//! * **When it fails**: the records stay queued and are tried again; a full queue spills into the
//!   spool, sheds its oldest or makes the sources wait, by the order's `when_full`.
//! * **May import**: `telemetry`, `config`, `net`, `park`, `marks`.
//!
//! ```text
//!  deliver ─▶ push ─▶ lane = hash of app ─▶ line ─▶ worker: hand, connector ─▶ outcome
//!     │         │                            ▲
//!     │         └─▶ spool (queue full) ─▶ reader
//!     └─▶ spool (durability = "disk"), receipt resolves when it is synced
//! ```

mod backoff;
mod breaker;
mod cap;
mod connector;
mod destination;
mod entry;
mod hand;
mod http;
mod lag;
mod losses;
mod marked;
mod queue;
mod sender;
mod worker;

use std::sync::Arc;

use arc_swap::ArcSwap;
use logboom_record::{Batch, Receipt, Selection};
use logboom_spool::{AppendError, Spool, Want};

pub use breaker::BreakerState;
pub use destination::{Destination, DestinationSettings, IDLE, SPOOL_GRACE};
pub use entry::{Entry, EntryError, destination_key};
pub use losses::Losses;
pub use marked::{Marked, NAME as MARKS};
pub use sender::sender;

use crate::config::{Durability, WhenFull};
use crate::net::Network;
use crate::park::Park;
use crate::telemetry::ledger::{DropReason, SourceBook};
use queue::Item;

/// What all destinations share.
#[derive(Debug)]
pub struct Common {
    /// How to reach hosts, and which may be reached.
    pub network: ArcSwap<Network>,
    /// The spool, where there is one.
    pub spool: Option<Spool>,
    /// As whom the spool sends, as [`sender()`] says.
    pub sender: Option<[u8; 16]>,
    /// The marks in the spool, where there is one.
    pub marked: Option<Marked>,
    /// What the spool tells its losses to.
    pub losses: Arc<Losses>,
    /// Where refused records go.
    pub park: Arc<Park>,
}

/// Random bytes that nobody guesses.
fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    // It fails where the system has no randomness at all; then TLS, and with it QUIC, fails too.
    drop(rustls::crypto::aws_lc_rs::default_provider().secure_random.fill(&mut bytes));
    bytes
}

/// A batch on its way to its destinations, shared by their queues.
pub struct Parcel {
    batch: Batch,
    source: Arc<str>,
    /// Let go with the parcel: then every record of it has reached its end.
    receipt: Option<Arc<Receipt>>,
    /// What becomes of the batch when nobody needs it any more.
    done: Option<Done>,
}

/// Called with the batch of a parcel when the last of its holders is done.
pub type Done = Box<dyn FnOnce(Batch) + Send + Sync>;

impl Parcel {
    /// Wraps a batch of the named source. The receipt is let go when the parcel is.
    #[must_use]
    pub fn new(batch: Batch, source: Arc<str>, receipt: Option<Arc<Receipt>>, done: Done) -> Self {
        Self { batch, source, receipt, done: Some(done) }
    }

    /// The batch.
    #[must_use]
    pub fn batch(&self) -> &Batch {
        &self.batch
    }

    /// A parcel of copies of the selected records only.
    fn extract(&self, selection: &Selection) -> Self {
        let (source, receipt) = (Arc::clone(&self.source), self.receipt.clone());
        Self { batch: self.batch.extract(selection), source, receipt, done: None }
    }
}

impl std::fmt::Debug for Parcel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parcel").field("records", &self.batch.len()).finish_non_exhaustive()
    }
}

impl Drop for Parcel {
    fn drop(&mut self) {
        if let Some(done) = self.done.take() {
            let empty = Batch::new(Vec::new(), self.batch.received());
            done(std::mem::replace(&mut self.batch, empty));
        }
    }
}

/// What each destination gets of a batch.
pub type Deliveries = Vec<(Arc<Destination>, Selection)>;

/// Hands a parcel to its destinations and enters the copies into the source's book. With
/// `durability = "disk"` the parcel goes to the spool first and its receipt resolves when that is
/// synced; otherwise it resolves when every destination has its records. Cancel safe: a copy is
/// entered when it is handed on.
pub async fn deliver(
    common: &Common,
    mut parcel: Parcel,
    deliveries: Deliveries,
    durability: Durability,
    book: &SourceBook,
) {
    if let (Durability::Disk, Some(spool)) = (durability, &common.spool) {
        let receipt = parcel.receipt.take();
        let spool = (spool, common.marked.as_ref());
        return deliver_by_spool(spool, Arc::new(parcel), receipt, deliveries, book).await;
    }
    let parcel = Arc::new(parcel);
    for (destination, selection) in deliveries {
        let records = selection.count(parcel.batch().len());
        destination.push(&parcel, selection).await;
        // Behind the push, so that a session that is aborted while it waits has no entry.
        book.copies.add(records);
    }
}

async fn deliver_by_spool(
    (spool, marked): (&Spool, Option<&Marked>),
    parcel: Arc<Parcel>,
    receipt: Option<Arc<Receipt>>,
    deliveries: Deliveries,
    book: &SourceBook,
) {
    if deliveries.is_empty() {
        return;
    }
    for (destination, _) in &deliveries {
        if destination.settings().when_full == WhenFull::Block {
            destination.blocking_room().await;
        }
    }
    let len = parcel.batch().len();
    let keys = deliveries.iter().map(|(destination, selection)| (destination.key, selection));
    let mark = receipt.as_ref().and_then(|receipt| receipt.mark());
    let marked = marked.zip(mark);
    let front = entry::front(parcel.batch(), &parcel.source, mark.as_slice(), keys);
    let [fields, rows] = parcel.batch().image_tables();
    let payload = [&front, &*fields, &*rows, parcel.batch().arena()];
    let appended = loop {
        spool.room().await;
        let wants = deliveries.iter().map(|(destination, selection)| {
            let sheds = destination.settings().when_full == WhenFull::Shed;
            let hold = sheds || destination.queue.has_room();
            destination.want(spool, &parcel, selection.count(len), hold)
        });
        let mut wants: Vec<Want> = wants.collect();
        wants.extend(marked.map(|(marked, _)| marked.want()));
        match spool.append(&payload, &wants, lag::durable(receipt.clone())) {
            Ok(appended) => break appended,
            Err(AppendError::Closed) => {
                return lose(&deliveries, len, DropReason::Shutdown, receipt, book);
            }
            // Guests made it grow. Given up, its sender would send it again for ever.
            Err(error @ AppendError::TooLarge { .. }) => {
                return park((parcel, receipt), deliveries, &error.to_string(), book);
            }
            Err(AppendError::UnknownDestination(_) | AppendError::Lagging(_)) => {
                return lose(&deliveries, len, DropReason::TooLarge, receipt, book);
            }
            // There will be room again, or the source is stopped.
            Err(AppendError::Backlog { .. } | AppendError::Full | AppendError::Failed(_)) => {}
        }
    };
    if let Some((marked, mark)) = marked {
        marked.note(appended.sequence, mark);
    }
    drop(receipt);
    for ((destination, selection), held) in deliveries.into_iter().zip(appended.held) {
        let records = selection.count(len);
        book.copies.add(records);
        destination.accept(records);
        if held {
            let sheds = destination.settings().when_full == WhenFull::Shed;
            destination.enqueue(Item::new(&parcel, selection, Some(appended.sequence)), sheds);
        } else {
            destination.note_left(records);
        }
    }
}

/// The spool will never take it, and never would.
fn park(
    (mut parcel, receipt): (Arc<Parcel>, Option<Arc<Receipt>>),
    deliveries: Deliveries,
    reason: &str,
    book: &SourceBook,
) {
    // It has one owner until somebody gets it.
    if let Some(parcel) = Arc::get_mut(&mut parcel) {
        parcel.receipt = receipt;
    }
    for (destination, selection) in deliveries {
        let records = selection.count(parcel.batch().len());
        book.copies.add(records);
        destination.accept(records);
        destination.park_whole(&Item::new(&parcel, selection, None), reason);
    }
}

/// The spool will not take it any more.
fn lose(
    deliveries: &Deliveries,
    len: usize,
    reason: DropReason,
    receipt: Option<Arc<Receipt>>,
    book: &SourceBook,
) {
    if let Some(receipt) = receipt {
        receipt.lose();
    }
    for (destination, selection) in deliveries {
        let records = selection.count(len);
        book.copies.add(records);
        destination.accept(records);
        destination.book.dropped.add(reason, records);
        destination.book.in_flight.leave(records);
    }
}

#[cfg(test)]
mod tests;
