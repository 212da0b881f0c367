//! The types of `wit/logboom.wit` as they cross.

use wasmtime::component::{ComponentType, Lift, Lower};

/// `types.batch`, borrowed.
#[derive(Clone, Copy, Debug, ComponentType, Lower)]
#[component(record)]
pub(crate) struct Batch<'a> {
    pub(crate) arena: &'a [u8],
    pub(crate) stride: u32,
    pub(crate) rows: &'a [u32],
    pub(crate) fields: &'a [u32],
    pub(crate) received: u64,
}

/// `types.edits`.
#[derive(Clone, Debug, Default, ComponentType, Lift)]
#[component(record)]
pub(crate) struct Edits {
    pub(crate) arena: Vec<u8>,
    pub(crate) fields: Vec<u32>,
    pub(crate) changes: Vec<u32>,
    pub(crate) created: Vec<u32>,
    pub(crate) dropped: Vec<u32>,
}

/// `types.verdicts`.
#[derive(Clone, Debug, Default, ComponentType, Lift)]
#[component(record)]
pub(crate) struct Answer {
    pub(crate) words: Vec<u32>,
    pub(crate) more: Vec<u32>,
    pub(crate) apps: Vec<u32>,
    pub(crate) arena: Vec<u8>,
}

/// `types.updates`.
#[derive(Clone, Debug, Default, ComponentType, Lift)]
#[component(record)]
pub(crate) struct Updates {
    pub(crate) series: Vec<u32>,
    pub(crate) values: Vec<f64>,
    pub(crate) expired: Vec<u32>,
}

/// `types.interest`.
#[derive(Clone, Debug, Default, ComponentType, Lift)]
#[component(record)]
pub(crate) struct Interest {
    pub(crate) severity: u8,
    pub(crate) apps: Vec<String>,
    #[component(name = "app-names")]
    pub(crate) app_names: Vec<String>,
    pub(crate) literals: Vec<String>,
    pub(crate) fields: Vec<String>,
}

/// `types.metric-kind`.
#[derive(Clone, Copy, Debug, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "lifting makes them")]
pub(crate) enum MetricKind {
    #[component(name = "counter")]
    Counter,
    #[component(name = "gauge")]
    Gauge,
    #[component(name = "histogram")]
    Histogram,
}

/// `types.metric`.
#[derive(Clone, Debug, ComponentType, Lift)]
#[component(record)]
pub(crate) struct Metric {
    pub(crate) name: String,
    pub(crate) help: String,
    pub(crate) kind: MetricKind,
    pub(crate) labels: Vec<String>,
    pub(crate) buckets: Vec<f64>,
}

/// `types.manifest`.
#[derive(Clone, Debug, ComponentType, Lift)]
#[component(record)]
pub(crate) struct Manifest {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) interest: Interest,
    pub(crate) routes: Vec<String>,
    pub(crate) reasons: Vec<String>,
    pub(crate) metrics: Vec<Metric>,
}

/// `host.level`.
#[derive(Clone, Copy, Debug, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "lifting makes them")]
pub(crate) enum Level {
    #[component(name = "error")]
    Error,
    #[component(name = "warn")]
    Warn,
    #[component(name = "info")]
    Info,
    #[component(name = "debug")]
    Debug,
}

/// What an answer holds of the host's memory.
pub(crate) trait Held {
    /// Bytes of its lists.
    fn bytes(&self) -> usize;
}

impl Held for Edits {
    fn bytes(&self) -> usize {
        let words =
            self.fields.len() + self.changes.len() + self.created.len() + self.dropped.len();
        self.arena.len() + words * size_of::<u32>()
    }
}

impl Held for Answer {
    fn bytes(&self) -> usize {
        let words = self.words.len() + self.more.len() + self.apps.len();
        self.arena.len() + words * size_of::<u32>()
    }
}

impl Held for Updates {
    fn bytes(&self) -> usize {
        let words = self.series.len() + self.expired.len();
        words * size_of::<u32>() + self.values.len() * size_of::<f64>()
    }
}
