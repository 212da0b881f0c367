//! What a guest says of itself: its name, its interest, the routes, reasons and metrics it uses.

use crate::{MetricId, Reason, Route};

/// A guest's description, the answer of [`Guest::describe`](crate::Guest::describe).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Manifest {
    /// The guest's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Which records it wants.
    pub interest: Interest,
    /// Names of routes that its verdicts may use, by index.
    pub routes: Vec<String>,
    /// Why it drops records, by index: short, in snake_case; at most 32.
    pub reasons: Vec<String>,
    /// Its metrics, by index.
    pub metrics: Vec<Metric>,
}

impl Manifest {
    /// A guest that wants all records and declares nothing else. `env!("CARGO_PKG_NAME")` and
    /// `env!("CARGO_PKG_VERSION")` do well here.
    #[must_use]
    pub fn new(name: &str, version: &str) -> Self {
        Self { name: name.into(), version: version.into(), ..Self::default() }
    }

    /// With this interest.
    #[must_use]
    pub fn interest(mut self, interest: Interest) -> Self {
        self.interest = interest;
        self
    }

    /// Declares a route and tells its index; a name that was declared before keeps its index.
    pub fn add_route(&mut self, name: &str) -> Route {
        Route(position(&mut self.routes, name))
    }

    /// Declares a reason to drop records and tells its index.
    pub fn add_reason(&mut self, reason: &str) -> Reason {
        Reason(position(&mut self.reasons, reason))
    }

    /// Declares a metric and tells its index.
    pub fn add_metric(&mut self, metric: Metric) -> MetricId {
        self.metrics.push(metric);
        MetricId(crate::edits::word(self.metrics.len() - 1))
    }
}

fn position(list: &mut Vec<String>, name: &str) -> u32 {
    let index = list.iter().position(|known| known == name).unwrap_or_else(|| {
        list.push(name.to_owned());
        list.len() - 1
    });
    crate::edits::word(index)
}

/// Which records a guest wants. The host selects them natively, and a record that is not wanted
/// costs the guest nothing: a narrow interest is the best thing a guest can do for its speed. All
/// conditions given must hold; an empty list is no condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interest {
    /// Only records at least this severe: 7 takes all, 3 takes errors and worse.
    pub severity: u8,
    /// Globs of apps: `*` matches any run of bytes, `?` one.
    pub apps: Vec<String>,
    /// Globs of app names, that is, of programs.
    pub app_names: Vec<String>,
    /// Of these texts one must occur in the body.
    pub literals: Vec<String>,
    /// Names of the fields that the guest reads; others are not handed over.
    pub fields: Vec<String>,
}

impl Default for Interest {
    fn default() -> Self {
        Self {
            severity: 7,
            apps: Vec::new(),
            app_names: Vec::new(),
            literals: Vec::new(),
            fields: Vec::new(),
        }
    }
}

impl Interest {
    /// All records, no fields.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Only records at least this severe, 0 (emergency) to 7 (debug).
    #[must_use]
    pub fn severity(mut self, severity: u8) -> Self {
        self.severity = severity;
        self
    }

    /// Only records of apps that one of these globs matches.
    #[must_use]
    pub fn apps(mut self, globs: &[&str]) -> Self {
        self.apps.extend(globs.iter().map(|glob| (*glob).to_owned()));
        self
    }

    /// Only records of programs that one of these globs matches.
    #[must_use]
    pub fn app_names(mut self, globs: &[&str]) -> Self {
        self.app_names.extend(globs.iter().map(|glob| (*glob).to_owned()));
        self
    }

    /// Only records in whose body one of these occurs.
    #[must_use]
    pub fn literals(mut self, literals: &[&str]) -> Self {
        self.literals.extend(literals.iter().map(|literal| (*literal).to_owned()));
        self
    }

    /// With these fields.
    #[must_use]
    pub fn fields(mut self, names: &[&str]) -> Self {
        self.fields.extend(names.iter().map(|name| (*name).to_owned()));
        self
    }
}

/// What kind of metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Is set.
    Gauge,
    /// Observes values in buckets.
    Histogram,
}

/// A metric of a meter.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// Its name; of counters it ends in `_total`.
    pub name: String,
    /// One sentence for people.
    pub help: String,
    /// Its kind.
    pub kind: MetricKind,
    /// Names of its labels.
    pub labels: Vec<String>,
    /// Upper bounds of a histogram's buckets, ascending.
    pub buckets: Vec<f64>,
}

impl Metric {
    /// A counter without labels.
    #[must_use]
    pub fn counter(name: &str, help: &str) -> Self {
        Self::new(MetricKind::Counter, name, help)
    }

    /// A gauge without labels.
    #[must_use]
    pub fn gauge(name: &str, help: &str) -> Self {
        Self::new(MetricKind::Gauge, name, help)
    }

    /// A histogram without labels; `buckets` are upper bounds, ascending.
    #[must_use]
    pub fn histogram(name: &str, help: &str, buckets: &[f64]) -> Self {
        let metric = Self::new(MetricKind::Histogram, name, help);
        Self { buckets: buckets.to_vec(), ..metric }
    }

    /// With one label more.
    #[must_use]
    pub fn label(mut self, name: &str) -> Self {
        self.labels.push(name.to_owned());
        self
    }

    fn new(kind: MetricKind, name: &str, help: &str) -> Self {
        Self {
            name: name.to_owned(),
            help: help.to_owned(),
            kind,
            labels: Vec::new(),
            buckets: Vec::new(),
        }
    }
}
