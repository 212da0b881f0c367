//! What a router says: where each record goes.

use crate::edits::{offset_in, sorted, word};
use crate::{Batch, Record};

/// The drains of the record's app get it.
const KEEP: u32 = 1 << 30;
/// The record is dropped; bits 0 to 15 say why.
const DROP: u32 = 1 << 31;
/// Routes of a smaller index have a bit of their own.
const BITS: u32 = 30;
/// Marks an offset into the verdicts' own arena rather than the batch's.
const OWN: u32 = 1 << 31;

/// The index of a route in the manifest's `routes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Route(pub u32);

/// The index of a reason in the manifest's `reasons`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reason(pub u32);

/// The contract's `verdicts`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerdictTables {
    /// One word a record: bits 0-29 routes, bit 30 keep, bit 31 drop with a reason in bits 0-15.
    pub words: Vec<u32>,
    /// Two words each: record, route of index 30 and above.
    pub more: Vec<u32>,
    /// Three words each: record, offset and length of its new app.
    pub apps: Vec<u32>,
    /// Bytes that are not in the batch's arena.
    pub arena: Vec<u8>,
}

/// A router's verdicts under construction. Every record starts as *kept*: the drains of its app
/// get it, no route does.
#[derive(Debug)]
pub struct Verdicts<'a> {
    batch: Batch<'a>,
    tables: VerdictTables,
    /// Whether the tables stay as they are, right or wrong.
    is_raw: bool,
}

impl<'a> Verdicts<'a> {
    /// Keeps all records of `batch`, until told otherwise.
    #[must_use]
    pub fn new(batch: Batch<'a>) -> Self {
        let words = vec![KEEP; batch.len()];
        let tables = VerdictTables { words, ..VerdictTables::default() };
        Self { batch, tables, is_raw: false }
    }

    /// Keeps the record: the drains of its app get it, besides the routes it was given.
    #[inline]
    pub fn keep(&mut self, record: &Record<'_>) {
        self.change(record, |word| if word & DROP == 0 { word | KEEP } else { KEEP });
    }

    /// Sends the record to a route as well. After [`Verdicts::drop`] it goes there alone.
    #[inline]
    pub fn route(&mut self, record: &Record<'_>, route: Route) {
        let bit = if route.0 < BITS { 1 << route.0 } else { 0 };
        self.change(record, |word| if word & DROP == 0 { word | bit } else { bit });
        if route.0 >= BITS {
            self.tables.more.extend_from_slice(&[record.index(), route.0]);
        }
    }

    /// Takes back all that was said of where the record goes, the initial *keep* too. A record
    /// left like that goes nowhere and counts as dropped for the reason `unrouted`.
    #[inline]
    pub fn clear(&mut self, record: &Record<'_>) {
        self.change(record, |_| 0);
        self.forget_more(record);
    }

    /// Drops the record.
    #[inline]
    pub fn drop(&mut self, record: &Record<'_>, reason: Reason) {
        self.change(record, |_| DROP | reason.0 & 0xffff);
        self.forget_more(record);
    }

    /// Gives the record to another app.
    pub fn set_app(&mut self, record: &Record<'_>, app: &[u8]) {
        let offset = offset_in(self.batch.arena(), app).unwrap_or_else(|| {
            let start = word(self.tables.arena.len());
            self.tables.arena.extend_from_slice(app);
            start | OWN
        });
        self.tables.apps.extend_from_slice(&[record.index(), offset, word(app.len())]);
    }

    /// The tables themselves, for guests that mean to break the contract: tests of hosts.
    #[doc(hidden)]
    pub fn tables_mut(&mut self) -> &mut VerdictTables {
        self.is_raw = true;
        &mut self.tables
    }

    /// The finished tables, sorted by record.
    #[must_use]
    pub fn finish(mut self) -> VerdictTables {
        if self.is_raw {
            return self.tables;
        }
        if !self.tables.more.as_chunks::<2>().0.is_sorted_by_key(|row| row[0]) {
            self.tables.more = sorted::<2>(&self.tables.more);
        }
        if !self.tables.apps.as_chunks::<3>().0.is_sorted_by_key(|row| row[0]) {
            self.tables.apps = sorted::<3>(&self.tables.apps);
        }
        self.tables
    }

    #[inline]
    fn change(&mut self, record: &Record<'_>, with: impl FnOnce(u32) -> u32) {
        if let Some(word) = self.tables.words.get_mut(record.index() as usize) {
            *word = with(*word);
        }
    }

    #[inline]
    fn forget_more(&mut self, record: &Record<'_>) {
        if !self.tables.more.is_empty() {
            let (rows, _) = self.tables.more.as_chunks::<2>();
            let kept: Vec<[u32; 2]> =
                rows.iter().filter(|row| row[0] != record.index()).copied().collect();
            self.tables.more = kept.into_flattened();
        }
    }
}

#[cfg(test)]
mod tests;
