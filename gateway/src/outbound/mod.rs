//! Outbound: destinations with their queues, lanes, connections and connectors.
//!
//! * **What enters**: [`Parcel`]s, shared batches with the selection of records a destination gets.
//! * **What leaves**: bytes at the destination; outcomes in its book.
//! * **Limits**: queue bytes and connections per destination; one backoff per connection.
//! * **When it fails**: the records stay queued and are tried again; a full queue sheds its oldest
//!   or makes the sources wait, by the order's `when_full`.
//! * **May import**: `telemetry`, `config`.
//!
//! ```text
//!  push ──▶ lane = hash of app ──▶ connection's queue ──▶ worker: encode, write ──▶ outcome
//!                                        ▲
//!                     connections double while the oldest waits too long
//! ```

mod backoff;
mod connector;
mod destination;
mod queue;
mod worker;

use std::sync::Arc;

use logboom_record::{Batch, Selection};

pub use destination::{Destination, DestinationSettings};

/// A batch on its way to its destinations, shared by their queues.
pub struct Parcel {
    batch: Batch,
    source: Arc<str>,
    /// What becomes of the batch when nobody needs it any more.
    done: Option<Done>,
}

/// Called with the batch of a parcel when the last of its holders is done.
pub type Done = Box<dyn FnOnce(Batch) + Send + Sync>;

impl Parcel {
    /// Wraps a batch of the named source.
    #[must_use]
    pub fn new(batch: Batch, source: Arc<str>, done: Done) -> Self {
        Self { batch, source, done: Some(done) }
    }

    /// The batch.
    #[must_use]
    pub fn batch(&self) -> &Batch {
        &self.batch
    }

    /// A parcel of copies of the selected records only.
    fn extract(&self, selection: &Selection) -> Self {
        let source = Arc::clone(&self.source);
        Self { batch: self.batch.extract(selection), source, done: None }
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
            let empty = Batch::new(Vec::new(), self.batch.source(), self.batch.received());
            done(std::mem::replace(&mut self.batch, empty));
        }
    }
}
