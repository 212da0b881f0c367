//! What a meter says: changes to its series, summed here before they cross.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::host;
use crate::interner::Interner;

/// Most label combinations one [`SeriesCache`] keeps; those beyond it cost a host call each time.
const SERIES_MAX: usize = 16_384;

/// The index of a metric in the manifest's `metrics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MetricId(pub u32);

/// One series of a metric: the metric with one value for each of its labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Series {
    id: u32,
    /// Its place among this instance's series, dense from 0.
    slot: u32,
}

thread_local! {
    static SLOTS: RefCell<BTreeMap<u32, u32>> = const { RefCell::new(BTreeMap::new()) };
}

impl Series {
    /// Asks the host for the series of these label values, in the order of the metric's labels.
    /// Do it once and keep it, or let a [`SeriesCache`] do that. Beyond the guest's limit of series
    /// this is the overflow series.
    #[must_use]
    pub fn intern(metric: MetricId, labels: &[&[u8]]) -> Self {
        let labels: Vec<String> =
            labels.iter().map(|label| String::from_utf8_lossy(label).into_owned()).collect();
        let id = host::intern_series(metric.0, &labels);
        SLOTS.with_borrow_mut(|slots| {
            let next = crate::edits::word(slots.len());
            Self { id, slot: *slots.entry(id).or_insert(next) }
        })
    }
}

/// Label values to series: those seen before are found without allocation or call.
#[derive(Clone, Debug)]
pub struct SeriesCache {
    metric: MetricId,
    known: Interner,
    series: Vec<Series>,
}

impl SeriesCache {
    /// An empty cache for one metric.
    #[must_use]
    pub fn new(metric: MetricId) -> Self {
        Self { metric, known: Interner::new(SERIES_MAX), series: Vec::new() }
    }

    /// The series of these label values, in the order of the metric's labels.
    #[inline]
    pub fn get(&mut self, labels: &[&[u8]]) -> Series {
        let known = self.known.find(labels).and_then(|index| self.series.get(index as usize));
        match known {
            Some(series) => *series,
            None => self.learn(labels),
        }
    }

    /// Forgets the series of these label values, if there is one, here and at the host.
    pub fn expire(&mut self, labels: &[&[u8]], updates: &mut Updates) {
        let known = self.known.remove(labels).and_then(|index| self.series.get(index as usize));
        if let Some(series) = known {
            updates.expire(*series);
        }
    }

    #[cold]
    fn learn(&mut self, labels: &[&[u8]]) -> Series {
        let series = Series::intern(self.metric, labels);
        if self.known.insert(labels, crate::edits::word(self.series.len())) {
            self.series.push(series);
        }
        series
    }
}

/// The contract's `updates`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UpdateTables {
    /// Ids of series, as the host gave them.
    pub series: Vec<u32>,
    /// The change of each.
    pub values: Vec<f64>,
    /// Ids of series to forget.
    pub expired: Vec<u32>,
}

/// A meter's updates under construction. What is added to one series many times in a batch crosses
/// once.
#[derive(Clone, Debug, Default)]
pub struct Updates {
    /// Sums and latest values, by slot; `None` where this batch changed nothing.
    pending: Vec<Option<f64>>,
    /// Series with a pending value, in the order of their first change.
    touched: Vec<Series>,
    tables: UpdateTables,
}

impl Updates {
    /// No updates yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds to a counter.
    #[inline]
    pub fn add(&mut self, series: Series, amount: f64) {
        let pending = self.pending(series);
        *pending = Some(pending.unwrap_or(0.0) + amount);
    }

    /// Sets a gauge; the last value of a batch counts.
    #[inline]
    pub fn set(&mut self, series: Series, value: f64) {
        *self.pending(series) = Some(value);
    }

    /// Observes a value in a histogram.
    #[inline]
    pub fn observe(&mut self, series: Series, value: f64) {
        self.tables.series.push(series.id);
        self.tables.values.push(value);
    }

    /// Forgets a series. Its handle must not be used afterwards; [`SeriesCache::expire`] sees to
    /// that.
    pub fn expire(&mut self, series: Series) {
        self.tables.expired.push(series.id);
    }

    /// The tables themselves, for guests that mean to break the contract: tests of hosts.
    #[doc(hidden)]
    pub fn tables_mut(&mut self) -> &mut UpdateTables {
        &mut self.tables
    }

    /// The finished tables; what is pending starts anew.
    #[must_use]
    pub fn finish(&mut self) -> UpdateTables {
        for series in self.touched.drain(..) {
            let pending = self.pending.get_mut(series.slot as usize).and_then(Option::take);
            if let Some(value) = pending {
                self.tables.series.push(series.id);
                self.tables.values.push(value);
            }
        }
        std::mem::take(&mut self.tables)
    }

    /// Forgets what a failed batch had changed.
    pub(crate) fn reset(&mut self) {
        self.touched.clear();
        self.pending.clear();
        self.tables = UpdateTables::default();
    }

    #[inline]
    fn pending(&mut self, series: Series) -> &mut Option<f64> {
        let slot = series.slot as usize;
        if slot >= self.pending.len() {
            self.pending.resize(slot + 1, None);
        }
        let pending = &mut self.pending[slot];
        if pending.is_none() {
            self.touched.push(series);
        }
        pending
    }
}

#[cfg(test)]
mod tests;
