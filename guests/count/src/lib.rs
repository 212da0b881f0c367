//! `std:count`: metrics by configuration.
//!
//! ```json
//! {"metrics": [
//!    {"name": "http_requests_total", "help": "Requests.", "kind": "counter",
//!     "match": {"field": {"method": "*"}},
//!     "labels": {"app": "app", "status": "field.status"}},
//!    {"name": "took_seconds", "help": "Time taken.", "kind": "histogram",
//!     "match": {"regex": "took=(?<took>[0-9.]+)s"},
//!     "value": "match.took", "buckets": [0.1, 1, 10]}]}
//! ```
//! Each record for which a metric's `match` holds (what it can say is told by the crate
//! `guest-matching`; every record, where there is none) counts for that metric; `kind` is `counter`
//! unless given. What a counter adds
//! is 1, or its `value`; a gauge is set to its `value`; a histogram observes it. Without `buckets`
//! it has those of Prometheus. A record without the value, or with one that is no number, or for a
//! counter with a negative one, does not count.
//!
//! Labels and values come from `app`, `app_name`, `host`, `proc_id`, `msg_id`, `severity`,
//! `facility`, `field.NAME`, or `match.GROUP`, a group of the metric's own `regex` by name or
//! number. A label that a record lacks is empty.

use guest_matching::Set;
use logboom_guest::{Batch, Guest, Manifest, Meter, Updates, config};

mod metric;
mod source;

use metric::{MetricConfig, Series};

/// Most labels of a metric.
const LABELS_MAX: usize = 16;

/// The guest.
#[derive(Debug)]
pub struct Count {
    set: Set,
    metrics: Vec<Series>,
}

#[derive(serde::Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Config {
    metrics: Vec<MetricConfig>,
}

impl Guest for Count {
    fn describe(config: &str) -> Result<(Self, Manifest), String> {
        let Config { metrics: configs } = config::read(config)?;
        if configs.is_empty() {
            return Err("there is no metric; `metrics` needs one at least".to_owned());
        }
        let matches = configs.iter().map(|metric| &metric.r#match);
        let places = (0..).map(|index: usize| format!("metrics[{index}].match"));
        let mut set = Set::compile(places.zip(matches.clone()))?;
        let mut manifest = Manifest::new("count", env!("CARGO_PKG_VERSION"));
        manifest.interest = guest_matching::interest(matches);
        manifest.interest.fields = set.fields().to_vec();
        let mut metrics = Vec::new();
        for (index, metric) in configs.iter().enumerate() {
            if configs[..index].iter().any(|other| other.name == metric.name) {
                return Err(format!("metrics[{index}].name {:?} is taken already", metric.name));
            }
            let regex = set.take_regex(index);
            let series = metric
                .compile(regex, &mut manifest)
                .map_err(|error| format!("metrics[{index}].{error}"))?;
            metrics.push(series);
        }
        Ok((Self { set, metrics }, manifest))
    }
}

impl Meter for Count {
    fn measure(&mut self, batch: &Batch<'_>, updates: &mut Updates) -> Result<(), String> {
        for record in batch.records() {
            let found = self.set.find(record.body());
            for (index, metric) in self.metrics.iter_mut().enumerate() {
                if self.set.holds(index, &record, &found) {
                    metric.update(&record, updates);
                }
            }
        }
        Ok(())
    }
}

logboom_guest::export!(Count: meter);

#[cfg(test)]
mod tests;
