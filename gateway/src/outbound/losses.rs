//! What the spool loses on its own: entered into the books of the destinations concerned.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use logboom_spool::{Damage, DestinationId, Observer, State};

use crate::telemetry::ledger::{DestinationBook, DropReason};

/// The spool's observer.
#[derive(Debug, Default)]
pub struct Losses {
    books: Mutex<HashMap<DestinationId, Arc<DestinationBook>>>,
    /// Records that were lost before the start, of destinations that have no book so far.
    found: Mutex<HashMap<DestinationId, u64>>,
}

impl Losses {
    /// The book of a destination. What the spool had lost of its records at the start is entered: these
    /// were left for it as well as those that wait.
    pub(super) fn register(&self, id: DestinationId, book: &Arc<DestinationBook>) {
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        books.insert(id, Arc::clone(book));
        drop(books);
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        let records = found.map_or(0, |found| usize::try_from(found).unwrap_or(usize::MAX));
        book.recovered.add(records);
        book.dropped.add(DropReason::Damaged, records);
    }

    /// Takes note of what was found when the spool was opened.
    pub(crate) fn found(&self, damaged: &[Damage]) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        for lost in damaged.iter().flat_map(|damage| &damage.lost) {
            *found.entry(lost.destination).or_default() += lost.totals.records;
        }
    }

    fn enter(&self, id: DestinationId, reason: DropReason, records: u64) {
        let books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        // One that is not configured has no book; the log has said it.
        if let Some(book) = books.get(&id) {
            book.lose_spooled(reason, usize::try_from(records).unwrap_or(usize::MAX));
        }
    }
}

impl Observer for Losses {
    fn shed(&self, destination: DestinationId, records: u64, bytes: u64) {
        tracing::warn!(records, bytes, "the spool is full ([spool] max), oldest records shed");
        self.enter(destination, DropReason::Shed, records);
    }

    fn unwritten(&self, destination: DestinationId, records: u64, bytes: u64) {
        let books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        // What has no book is the gateway's own.
        let Some(book) = books.get(&destination) else { return };
        // What it was done with in the mean time is no loss.
        let records = records.min(book.spooled.get());
        tracing::error!(
            records,
            bytes,
            "the spool was closed and its disk did not take all: these records are lost"
        );
        book.lose_spooled(DropReason::SpoolFull, usize::try_from(records).unwrap_or(usize::MAX));
    }

    fn damaged(&self, damage: &Damage) {
        for lost in &damage.lost {
            let (destination, records) = (lost.name.as_str(), lost.totals.records);
            let (segment, sequences) = (damage.segment, &damage.sequences);
            tracing::error!(
                destination,
                records,
                ?segment,
                ?sequences,
                "damage in the spool, records lost; the bytes are in its folder quarantine"
            );
            self.enter(lost.destination, DropReason::Damaged, records);
        }
    }

    fn state(&self, state: &State) {
        match state {
            State::Good => tracing::info!("the spool takes entries again"),
            State::Full => tracing::error!(
                "no room on the spool's disk: nothing is acknowledged until there is"
            ),
            State::Failed(why) => tracing::error!(why, "the spool's disk fails, trying again"),
        }
    }
}
