//! What waits in a queue.

use std::sync::Arc;
use std::time::Instant;

use logboom_record::{Selection, UnixNanos};

use crate::outbound::Parcel;

/// A selection that needs less than one part in this many of its arena is copied out of it, so
/// that a slow destination does not hold whole batches for a few records.
const COPY_BELOW: usize = 4;

/// Records of one parcel that wait for one connection.
#[derive(Debug)]
pub(in crate::outbound) struct Item {
    pub(in crate::outbound) parcel: Arc<Parcel>,
    pub(in crate::outbound) selection: Selection,
    pub(in crate::outbound) records: usize,
    /// The entry of the spool that has them too.
    pub(in crate::outbound) held: Option<u64>,
    /// Whether records have the same places in the parcel's batch as in that entry.
    pub(in crate::outbound) is_as_stored: bool,
    /// Records of it that are done with and left out at its front.
    pub(in crate::outbound) first: usize,
    pub(super) bytes: usize,
    pub(super) since: Instant,
    /// Place in its line, from 1.
    pub(super) sequence: u64,
}

impl Item {
    pub(super) fn received(&self) -> UnixNanos {
        self.parcel.batch().received()
    }

    /// The selected records of a parcel; `held` is the entry of the spool that has them too.
    pub(in crate::outbound) fn new(
        parcel: &Arc<Parcel>,
        selection: Selection,
        held: Option<u64>,
    ) -> Self {
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
            let selection = Selection::All;
            let is_as_stored = false;
            return Self {
                parcel,
                selection,
                records,
                held,
                is_as_stored,
                first: 0,
                bytes,
                since,
                sequence: 0,
            };
        }
        // It holds the memory of the whole parcel.
        let bytes = batch.footprint();
        let (parcel, is_as_stored) = (Arc::clone(parcel), true);
        let first = 0;
        Self { parcel, selection, records, held, is_as_stored, first, bytes, since, sequence: 0 }
    }

    /// Its place in its line, from 1: it only grows.
    pub(in crate::outbound) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The bytes it is charged for.
    pub(in crate::outbound) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Leaves out its first records, which are done with.
    pub(in crate::outbound) fn skip(&mut self, records: usize) {
        let rest = self.selection.iter(self.parcel.batch().len()).skip(records);
        let rest: Vec<u32> = rest.map(|index| u32::try_from(index).unwrap_or(u32::MAX)).collect();
        self.first += records;
        self.records = rest.len();
        self.selection = Selection::Some(rest);
    }
}
