//! Series: what a meter counts, kept by the host so that it outlives the guest's instances.
//!
//! Concurrency: one lock per guest, taken once a batch with few updates, since a guest sums before
//! it answers.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::abi;

/// Label value of the series that takes what is beyond the limit.
const OVERFLOW: &str = "_overflow";

/// What a metric's values mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows; updates add.
    Counter,
    /// Updates set.
    Gauge,
    /// Updates are observations.
    Histogram,
}

/// A metric as the manifest declares it.
#[derive(Clone, Debug)]
pub(crate) struct MetricSpec {
    pub(crate) name: String,
    pub(crate) help: String,
    pub(crate) kind: MetricKind,
    pub(crate) labels: Vec<String>,
    pub(crate) buckets: Vec<f64>,
}

/// The value of one series.
#[derive(Clone, Debug, PartialEq)]
pub enum Sample {
    /// Of a counter or gauge.
    Number(f64),
    /// Of a histogram: observations at or below each bound of the metric, not cumulated; the last
    /// entry counts those above all bounds. Then the sum and the count of all.
    Histogram {
        /// One entry a bound, and one more.
        buckets: Vec<u64>,
        /// Sum of the observations.
        sum: f64,
        /// Number of observations.
        count: u64,
    },
}

/// One series, for export.
#[derive(Clone, Copy, Debug)]
pub struct SeriesView<'a> {
    /// Metric name.
    pub metric: &'a str,
    /// Metric help.
    pub help: &'a str,
    /// Metric kind.
    pub kind: MetricKind,
    /// Label names.
    pub label_names: &'a [String],
    /// Label values, one each.
    pub label_values: &'a [String],
    /// Upper bounds of a histogram.
    pub bounds: &'a [f64],
    /// The value.
    pub sample: &'a Sample,
}

/// All series of one guest.
#[derive(Debug)]
pub(crate) struct Registry {
    metrics: Vec<MetricSpec>,
    series_max: usize,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    ids: HashMap<(u32, Vec<String>), u32>,
    series: Vec<Series>,
    /// Slots of series that expired, the oldest first: reused where the limit is met. One that was
    /// updated since is live again and passed over.
    expired: VecDeque<u32>,
    /// Overflow series among `series`, which do not count against the limit.
    overflows: usize,
    overflowed: u64,
}

/// An id is a slot and, above these bits, the generation of what is in it.
const SLOT_BITS: u32 = 22;

#[derive(Debug)]
struct Series {
    metric: u32,
    labels: Vec<String>,
    sample: Sample,
    /// Expired series keep their id until their slot is needed; an update revives them.
    is_live: bool,
    is_overflow: bool,
    /// Whether it stands in the queue of expired slots.
    is_queued: bool,
    /// The id it has now. An update under an earlier one comes too late and does nothing.
    id: u32,
}

impl Table {
    fn slot(id: u32) -> usize {
        (id & ((1 << SLOT_BITS) - 1)) as usize
    }

    fn of(&mut self, id: u32) -> Option<&mut Series> {
        self.series.get_mut(Self::slot(id)).filter(|series| series.id == id)
    }

    /// Takes the slot of a series that expired, and gives it the next generation.
    fn reuse(&mut self) -> Option<u32> {
        while let Some(slot) = self.expired.pop_front() {
            let Some(series) = self.series.get_mut(slot as usize) else { continue };
            series.is_queued = false;
            if series.is_live {
                continue;
            }
            let key = (series.metric, std::mem::take(&mut series.labels));
            let id = series.id.wrapping_add(1 << SLOT_BITS);
            self.ids.remove(&key);
            return Some(id);
        }
        None
    }

    fn expire(&mut self, id: u32, metrics: &[MetricSpec]) {
        let Some(series) = self.of(id) else { return };
        // What others still count in is not one series' to end.
        if series.is_overflow {
            return;
        }
        let Some(spec) = metrics.get(series.metric as usize) else { return };
        series.is_live = false;
        series.sample = spec.zero();
        if !std::mem::replace(&mut series.is_queued, true) {
            self.expired.push_back(id & ((1 << SLOT_BITS) - 1));
        }
    }
}

impl Registry {
    pub(crate) fn new(metrics: Vec<MetricSpec>, series_max: usize) -> Self {
        Self { metrics, series_max, table: Mutex::default() }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The id of a series. `None` where the metric is not declared or the labels do not fit it.
    pub(crate) fn intern(&self, metric: u32, labels: Vec<String>) -> Option<u32> {
        let spec = self.metrics.get(metric as usize)?;
        if labels.len() != spec.labels.len() {
            return None;
        }
        let mut table = self.table();
        let mut key = (metric, labels);
        if let Some(id) = table.ids.get(&key) {
            return Some(*id);
        }
        let (mut reused, mut is_overflow) = (None, false);
        if table.series.len() - table.overflows >= self.series_max {
            reused = table.reuse();
            if reused.is_none() {
                table.overflowed += 1;
                key.1 = vec![OVERFLOW.to_owned(); spec.labels.len()];
                if let Some(id) = table.ids.get(&key) {
                    return Some(*id);
                }
                is_overflow = true;
                table.overflows += 1;
            }
        }
        let fresh = u32::try_from(table.series.len()).ok().filter(|slot| *slot < 1 << SLOT_BITS);
        let id = reused.or(fresh)?;
        let (labels, sample) = (key.1.clone(), spec.zero());
        let series =
            Series { metric, labels, sample, is_live: false, is_overflow, is_queued: false, id };
        match table.series.get_mut(Table::slot(id)) {
            Some(slot) => *slot = series,
            None => table.series.push(series),
        }
        table.ids.insert(key, id);
        Some(id)
    }

    /// Whether every id is known and every value can be taken.
    pub(crate) fn check(&self, updates: &abi::Updates) -> Result<(), String> {
        let known = self.table().series.len();
        if updates.series.len() != updates.values.len() {
            let (ids, values) = (updates.series.len(), updates.values.len());
            return Err(format!("updates name {ids} series with {values} values"));
        }
        let all = updates.series.iter().chain(&updates.expired);
        if let Some(bad) = all.copied().find(|id| Table::slot(*id) >= known) {
            return Err(format!("series {bad} was never interned; {known} are"));
        }
        let mut updated = updates.series.iter().zip(&updates.values);
        if let Some((id, bad)) = updated.find(|(_, value)| !value.is_finite()) {
            return Err(format!("series {id} was given {bad}; only finite values are taken"));
        }
        Ok(())
    }

    /// Applies updates that [`Self::check`] has passed.
    pub(crate) fn apply(&self, updates: &abi::Updates) {
        let mut table = self.table();
        for (id, value) in updates.series.iter().zip(&updates.values) {
            let Some(series) = table.of(*id) else { continue };
            let Some(spec) = self.metrics.get(series.metric as usize) else { continue };
            series.is_live = true;
            series.sample.update(spec, *value);
        }
        for id in &updates.expired {
            table.expire(*id, &self.metrics);
        }
    }

    pub(crate) fn for_each(&self, mut visit: impl FnMut(SeriesView<'_>)) {
        let table = self.table();
        for (index, spec) in (0u32..).zip(&self.metrics) {
            for series in table.series.iter().filter(|s| s.metric == index && s.is_live) {
                visit(SeriesView {
                    metric: &spec.name,
                    help: &spec.help,
                    kind: spec.kind,
                    label_names: &spec.labels,
                    label_values: &series.labels,
                    bounds: &spec.buckets,
                    sample: &series.sample,
                });
            }
        }
    }

    /// How many series there are, and how often the limit was met.
    pub(crate) fn counts(&self) -> (usize, u64) {
        let table = self.table();
        (table.series.len(), table.overflowed)
    }
}

impl MetricSpec {
    fn zero(&self) -> Sample {
        match self.kind {
            MetricKind::Counter | MetricKind::Gauge => Sample::Number(0.0),
            MetricKind::Histogram => {
                Sample::Histogram { buckets: vec![0; self.buckets.len() + 1], sum: 0.0, count: 0 }
            }
        }
    }
}

impl Sample {
    fn update(&mut self, spec: &MetricSpec, value: f64) {
        match self {
            // A counter never falls: a guest that subtracts is ignored.
            Self::Number(held) if spec.kind == MetricKind::Counter => *held += value.max(0.0),
            Self::Number(held) => *held = value,
            Self::Histogram { buckets, sum, count } => {
                let place = spec.buckets.partition_point(|bound| *bound < value);
                if let Some(bucket) = buckets.get_mut(place) {
                    *bucket += 1;
                }
                *sum += value;
                *count += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(series_max: usize) -> Registry {
        let spec = |name: &str, kind, labels: &[&str], buckets: &[f64]| MetricSpec {
            name: name.into(),
            help: String::new(),
            kind,
            labels: labels.iter().map(ToString::to_string).collect(),
            buckets: buckets.to_vec(),
        };
        Registry::new(
            vec![
                spec("hits", MetricKind::Counter, &["code"], &[]),
                spec("seconds", MetricKind::Histogram, &[], &[0.1, 1.0]),
            ],
            series_max,
        )
    }

    fn update(series: u32, value: f64) -> abi::Updates {
        abi::Updates { series: vec![series], values: vec![value], expired: vec![] }
    }

    #[test]
    fn counters_add_histograms_observe_and_expired_series_vanish() {
        let registry = registry(10);
        let hits = registry.intern(0, vec!["200".into()]).unwrap();
        let seconds = registry.intern(1, vec![]).unwrap();
        assert_eq!(registry.intern(0, vec!["200".into()]), Some(hits));
        assert_eq!(registry.intern(0, vec![]), None);
        assert_eq!(registry.intern(9, vec![]), None);
        for value in [1.0, 2.0, -5.0] {
            registry.apply(&update(hits, value));
        }
        for value in [0.1, 0.5, 7.0] {
            registry.apply(&update(seconds, value));
        }
        let mut seen = Vec::new();
        registry.for_each(|view| seen.push((view.metric.to_owned(), view.sample.clone())));
        assert_eq!(seen[0], ("hits".into(), Sample::Number(3.0)));
        let histogram = Sample::Histogram { buckets: vec![1, 1, 1], sum: 7.6, count: 3 };
        assert_eq!(seen[1], ("seconds".into(), histogram));
        registry.apply(&abi::Updates { expired: vec![hits, seconds], ..Default::default() });
        registry.for_each(|view| panic!("{} still there", view.metric));
    }

    #[test]
    fn beyond_the_limit_one_overflow_series_takes_all() {
        let registry = registry(2);
        let ids: Vec<_> =
            (0..9).map(|i| registry.intern(0, vec![i.to_string()]).unwrap()).collect();
        assert_eq!(ids[..3], [0, 1, 2]);
        assert!(ids[3..].iter().all(|id| *id == 2));
        assert_eq!(registry.counts(), (3, 7));
    }

    #[test]
    fn unknown_ids_and_uneven_lists_are_refused() {
        let registry = registry(2);
        assert!(registry.check(&update(0, 1.0)).is_err());
        assert!(registry.check(&abi::Updates { values: vec![1.0], ..Default::default() }).is_err());
    }
    #[test]
    fn an_expired_series_gives_its_place_to_another_and_its_id_is_void_then() {
        let registry = registry(2);
        let intern = |label: &str| registry.intern(0, vec![label.to_owned()]).unwrap();
        let (a, b) = (intern("a"), intern("b"));
        registry.apply(&update(b, 1.0));
        let expire = |id| registry.apply(&abi::Updates { expired: vec![id], ..Default::default() });
        expire(a);
        // Within the limit an update still revives it.
        registry.apply(&update(a, 1.0));
        assert_eq!(registry.counts(), (2, 0));
        expire(a);
        expire(a);
        let c = intern("c");
        assert_ne!(c, a);
        registry.apply(&update(c, 5.0));
        assert_eq!(registry.check(&update(a, 7.0)), Ok(()));
        registry.apply(&update(a, 7.0));
        expire(a);
        let mut seen = Vec::new();
        registry.for_each(|view| seen.push((view.label_values.to_vec(), view.sample.clone())));
        seen.sort_by(|left, right| left.0.cmp(&right.0));
        let number = |label: &str, n| (vec![label.to_owned()], Sample::Number(n));
        assert_eq!(seen, [number("b", 1.0), number("c", 5.0)]);
        let overflow = intern("d");
        assert_eq!(registry.counts(), (3, 1), "all places are taken again");
        registry.apply(&update(overflow, 1.0));
        expire(overflow);
        registry.for_each(|view| seen.push((view.label_values.to_vec(), view.sample.clone())));
        assert!(seen.contains(&number(OVERFLOW, 1.0)), "nobody ends what all share");
    }

    #[test]
    fn values_that_are_no_number_are_refused() {
        let registry = registry(2);
        let id = registry.intern(0, vec!["x".into()]).unwrap();
        assert_eq!(registry.check(&update(id, 1.0)), Ok(()));
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let message = registry.check(&update(id, bad)).unwrap_err();
            assert!(message.contains("finite"), "{message}");
        }
    }
}
