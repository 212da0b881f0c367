//! The inside of [`export!`](crate::export): one instance's state, and the contract's lists turned
//! into views and back.

use std::cell::RefCell;

use crate::bindings::control::logboom::guest::types;
use crate::running::Running;
use crate::{Batch, Guest, Manifest, Meter, MetricKind, Parser, Router, host};

/// The state of an instance: a guest from its description on.
#[derive(Debug)]
pub struct State<G>(RefCell<Option<Running<G>>>);

impl<G: Guest> State<G> {
    /// Before the description.
    #[must_use]
    pub const fn new() -> Self {
        Self(RefCell::new(None))
    }

    /// `control.describe`.
    ///
    /// # Errors
    /// What the guest says of its configuration.
    pub fn describe(&self, config: &str) -> Result<types::Manifest, String> {
        std::panic::set_hook(Box::new(|panic| host::log(host::Level::Error, &panic.to_string())));
        let (running, manifest) = Running::start(config)?;
        *self.0.borrow_mut() = Some(running);
        Ok(lower(manifest))
    }

    fn with<T>(
        &self,
        input: &types::Batch,
        work: impl FnOnce(&mut Running<G>, Batch<'_>) -> Result<T, String>,
    ) -> Result<T, String> {
        let types::Batch { arena, stride, rows, fields, received } = input;
        let batch = Batch::new(arena, *stride, rows, fields, *received)?;
        match self.0.borrow_mut().as_mut() {
            Some(running) => work(running, batch),
            None => Err("a batch came before `describe` had succeeded".to_owned()),
        }
    }
}

impl<G: Parser> State<G> {
    /// `parser.parse`.
    ///
    /// # Errors
    /// What the guest says.
    pub fn parse(&self, input: &types::Batch) -> Result<types::Edits, String> {
        let tables = self.with(input, Running::parse)?;
        Ok(types::Edits {
            arena: tables.arena,
            fields: tables.fields,
            changes: tables.changes,
            created: tables.created,
            dropped: tables.dropped,
        })
    }
}

impl<G: Router> State<G> {
    /// `router.route`.
    ///
    /// # Errors
    /// What the guest says.
    pub fn route(&self, input: &types::Batch) -> Result<types::Verdicts, String> {
        let tables = self.with(input, Running::route)?;
        Ok(types::Verdicts {
            words: tables.words,
            more: tables.more,
            apps: tables.apps,
            arena: tables.arena,
        })
    }
}

impl<G: Meter> State<G> {
    /// `meter.measure`.
    ///
    /// # Errors
    /// What the guest says.
    pub fn measure(&self, input: &types::Batch) -> Result<types::Updates, String> {
        let tables = self.with(input, Running::measure)?;
        Ok(types::Updates { series: tables.series, values: tables.values, expired: tables.expired })
    }
}

impl<G: Guest> Default for State<G> {
    fn default() -> Self {
        Self::new()
    }
}

fn lower(manifest: Manifest) -> types::Manifest {
    let interest = manifest.interest;
    types::Manifest {
        name: manifest.name,
        version: manifest.version,
        interest: types::Interest {
            severity: interest.severity,
            apps: interest.apps,
            app_names: interest.app_names,
            literals: interest.literals,
            fields: interest.fields,
        },
        routes: manifest.routes,
        reasons: manifest.reasons,
        metrics: manifest
            .metrics
            .into_iter()
            .map(|metric| types::Metric {
                name: metric.name,
                help: metric.help,
                kind: match metric.kind {
                    MetricKind::Counter => types::MetricKind::Counter,
                    MetricKind::Gauge => types::MetricKind::Gauge,
                    MetricKind::Histogram => types::MetricKind::Histogram,
                },
                labels: metric.labels,
                buckets: metric.buckets,
            })
            .collect(),
    }
}
