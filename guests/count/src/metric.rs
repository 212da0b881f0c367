//! One configured metric and its series.

use std::collections::BTreeMap;

use guest_matching::{Expression, Groups, Match};
use guest_scan::Number;
use logboom_guest::{Manifest, Metric, MetricKind, Record, SeriesCache, Updates};

use crate::LABELS_MAX;
use crate::source::Source;

/// The buckets of a histogram that gives none: those of Prometheus, made for seconds.
const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MetricConfig {
    pub(crate) name: String,
    #[serde(default)]
    help: String,
    #[serde(default)]
    kind: Kind,
    #[serde(default = "everything")]
    pub(crate) r#match: Match,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    value: Option<String>,
    buckets: Option<Vec<f64>>,
}

/// A metric without a match counts every record.
fn everything() -> Match {
    Match { all: true, ..Match::default() }
}

#[derive(serde::Deserialize, Clone, Copy, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Kind {
    #[default]
    Counter,
    Gauge,
    Histogram,
}

/// A metric made ready.
#[derive(Debug)]
pub(crate) struct Series {
    kind: MetricKind,
    cache: SeriesCache,
    labels: Vec<Source>,
    value: Option<Source>,
    groups: Option<Groups>,
    /// Numbers among the labels, as text, of the record at hand.
    numbers: Vec<u8>,
}

impl MetricConfig {
    /// Makes the metric and declares it. `regex` is that of its match, which applies it no more.
    pub(crate) fn compile(
        &self,
        regex: Option<Expression>,
        manifest: &mut Manifest,
    ) -> Result<Series, String> {
        if !is_name(&self.name, true) {
            return Err(format!(
                "name {:?} is no name of a metric: letters, digits, `_` and `:` are allowed, no \
                 digit first",
                self.name
            ));
        }
        if self.labels.len() > LABELS_MAX {
            return Err(format!("labels has {}; {LABELS_MAX} are allowed", self.labels.len()));
        }
        let (kind, buckets) = self.kind()?;
        let groups = regex.map(Expression::groups).transpose()?;
        let mut labels = Vec::new();
        for (name, source) in &self.labels {
            if !is_name(name, false) || name.starts_with("__") || name == "le" {
                return Err(format!(
                    "labels.{name}: that is no name of a label: letters, digits and `_` are \
                     allowed, no digit or `__` first, and not `le`"
                ));
            }
            let source = Source::compile(source, groups.as_ref(), manifest);
            labels.push(source.map_err(|error| format!("labels.{name}: {error}"))?);
        }
        let value = match &self.value {
            Some(source) => {
                let source = Source::compile(source, groups.as_ref(), manifest);
                Some(source.map_err(|error| format!("value: {error}"))?)
            }
            None => None,
        };
        let metric = manifest.add_metric(Metric {
            name: self.name.clone(),
            help: self.help.clone(),
            kind,
            labels: self.labels.keys().cloned().collect(),
            buckets,
        });
        let cache = SeriesCache::new(metric);
        Ok(Series { kind, cache, labels, value, groups, numbers: Vec::new() })
    }

    fn kind(&self) -> Result<(MetricKind, Vec<f64>), String> {
        if self.kind != Kind::Counter && self.value.is_none() {
            return Err("value is missing; only a counter goes without".to_owned());
        }
        let buckets = match (&self.buckets, self.kind) {
            (Some(buckets), Kind::Histogram) => buckets.clone(),
            (None, Kind::Histogram) => BUCKETS.to_vec(),
            (Some(_), _) => return Err("buckets is for histograms only".to_owned()),
            (None, _) => Vec::new(),
        };
        if self.kind == Kind::Histogram
            && (buckets.is_empty() || !buckets.is_sorted_by(|a, b| a < b))
        {
            return Err("buckets must be bounds in ascending order, one at least".to_owned());
        }
        let kind = match self.kind {
            Kind::Counter => MetricKind::Counter,
            Kind::Gauge => MetricKind::Gauge,
            Kind::Histogram => MetricKind::Histogram,
        };
        Ok((kind, buckets))
    }
}

impl Series {
    /// Takes in a record for which the match holds, apart from its expression.
    pub(crate) fn update(&mut self, record: &Record<'_>, updates: &mut Updates) {
        if let Some(groups) = &mut self.groups
            && !groups.find(record.body())
        {
            return;
        }
        let groups = self.groups.as_ref();
        let value = match &self.value {
            None => Some(1.0),
            Some(source) => source.number(record, groups).map(Number::as_f64),
        };
        let Some(value) = value else { return };
        if self.kind == MetricKind::Counter && value < 0.0 {
            return;
        }
        // Numbers are written first, as what borrows them must not see them move.
        let mut ends = [0; LABELS_MAX];
        self.numbers.clear();
        for (end, source) in ends.iter_mut().zip(&self.labels) {
            source.write_number(record, &mut self.numbers);
            *end = self.numbers.len();
        }
        let mut labels: [&[u8]; LABELS_MAX] = [&[]; LABELS_MAX];
        let mut start = 0;
        for ((label, source), end) in labels.iter_mut().zip(&self.labels).zip(ends) {
            *label = match self.numbers.get(start..end) {
                Some(number @ [_, ..]) => number,
                _ => source.text(record, groups),
            };
            start = end;
        }
        let series = self.cache.get(labels.get(..self.labels.len()).unwrap_or(&[]));
        match self.kind {
            MetricKind::Counter => updates.add(series, value),
            MetricKind::Gauge => updates.set(series, value),
            MetricKind::Histogram => updates.observe(series, value),
        }
    }
}

fn is_name(name: &str, may_have_colons: bool) -> bool {
    let is_part = |byte: u8| {
        byte.is_ascii_alphanumeric() || byte == b'_' || (may_have_colons && byte == b':')
    };
    name.bytes().all(is_part) && name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit())
}
