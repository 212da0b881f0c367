//! A guest under test, and what it said in readable form.

use super::input::Inputs;
use super::{check, host};
use crate::running::Running;
use crate::{
    Batch, EditTables, FieldId, Guest, Manifest, Meter, MetricKind, Parser, Router, UpdateTables,
    VerdictTables,
};

/// A field's value, owned.
#[derive(Clone, Debug, PartialEq)]
pub enum FieldValue {
    /// Bytes; what is not UTF-8 in them is replaced.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A number.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// There, without a value.
    Null,
    /// JSON text.
    Json(String),
}

impl From<&str> for FieldValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<i64> for FieldValue {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<f64> for FieldValue {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<bool> for FieldValue {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

/// What a parser did to one record; `None` and empty where it did nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parsed {
    /// Fields by name, in the order in which they were added.
    pub fields: Vec<(String, FieldValue)>,
    /// A new body.
    pub body: Option<String>,
    /// A new HOSTNAME.
    pub host: Option<String>,
    /// A new program.
    pub app_name: Option<String>,
    /// A new PROCID.
    pub proc_id: Option<String>,
    /// A new MSGID.
    pub msg_id: Option<String>,
    /// A new tenant key.
    pub app: Option<String>,
    /// A new event time, Unix nanoseconds.
    pub time: Option<i64>,
    /// A new severity.
    pub severity: Option<u8>,
    /// Bodies of the records made from it.
    pub created: Vec<String>,
    /// The reason it was dropped for.
    pub dropped: Option<String>,
}

impl Parsed {
    /// The value of the field `name`; the last one where there are several.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&FieldValue> {
        self.fields.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// Whether the guest left the record alone.
    #[must_use]
    pub fn is_untouched(&self) -> bool {
        *self == Self::default()
    }
}

/// Where a router sent one record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routed {
    /// Whether the drains of its app get it.
    pub is_kept: bool,
    /// Names of the routes it goes to.
    pub routes: Vec<String>,
    /// The reason it was dropped for.
    pub dropped: Option<String>,
    /// Its new app.
    pub app: Option<String>,
}

impl Routed {
    fn kept() -> Self {
        Self { is_kept: true, ..Self::default() }
    }
}

/// One series of a trial: metric index, labels, and what it holds.
#[derive(Clone, Debug)]
struct Held {
    metric: u32,
    labels: Vec<String>,
    value: f64,
    observations: Vec<f64>,
}

/// A guest under test, in the state it has between batches.
#[derive(Debug)]
pub struct Trial<G> {
    running: Running<G>,
    manifest: Manifest,
    held: Vec<Held>,
}

impl<G: Guest> Trial<G> {
    /// Describes the guest with this configuration text.
    ///
    /// # Errors
    /// What the guest says of its configuration.
    pub fn start(config: &str) -> Result<Self, String> {
        let (running, manifest) = Running::start(config)?;
        Ok(Self { running, manifest, held: Vec::new() })
    }

    /// What the guest said of itself.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The value of a counter or gauge: metric name, label values.
    #[must_use]
    pub fn value(&self, metric: &str, labels: &[&str]) -> Option<f64> {
        self.held(metric, labels).map(|held| held.value)
    }

    /// What a histogram observed: metric name, label values.
    #[must_use]
    pub fn observations(&self, metric: &str, labels: &[&str]) -> Option<&[f64]> {
        self.held(metric, labels).map(|held| held.observations.as_slice())
    }

    /// How many series there are.
    #[must_use]
    pub fn series_count(&self) -> usize {
        self.held.len()
    }

    fn held(&self, metric: &str, labels: &[&str]) -> Option<&Held> {
        self.held.iter().find(|held| {
            let name = self.manifest.metrics.get(held.metric as usize).map(|m| m.name.as_str());
            name == Some(metric) && held.labels == labels
        })
    }
}

impl<G: Parser> Trial<G> {
    /// Parses a batch. What the interest excludes comes back untouched.
    ///
    /// # Errors
    /// What the guest says, or what the host would refuse.
    pub fn parse(&mut self, inputs: &Inputs) -> Result<Vec<Parsed>, String> {
        let mut parsed = vec![Parsed::default(); inputs.batch()?.len()];
        let (selected, indices) = inputs.select(&self.manifest.interest)?;
        let batch = selected.batch()?;
        let tables = self.running.parse(batch)?;
        check::edits(&self.manifest, batch.arena(), &tables, batch.len())?;
        let text = |offset, len| {
            let bytes = check::bytes(batch.arena(), &tables.arena, offset, len)?;
            Ok::<_, String>(String::from_utf8_lossy(bytes).into_owned())
        };
        let at = |record: u32| indices.get(record as usize).map_or(0, |index| *index as usize);
        for [record, id, kind, low, high] in check::rows("fields", &tables.fields, batch.len())? {
            let bits = u64::from(*high) << 32 | u64::from(*low);
            let value = match kind {
                0 => FieldValue::Text(text(*low, *high)?),
                1 => FieldValue::Integer(bits.cast_signed()),
                2 => FieldValue::Float(f64::from_bits(bits)),
                3 => FieldValue::Bool(*low != 0),
                4 => FieldValue::Null,
                _ => FieldValue::Json(text(*low, *high)?),
            };
            let name = host::field_name(FieldId(*id)).unwrap_or_default();
            parsed[at(*record)].fields.push((name, value));
        }
        for [record, column, low, high] in check::rows("changes", &tables.changes, batch.len())? {
            let parsed = &mut parsed[at(*record)];
            match column {
                0 => {
                    let bits = u64::from(*high) << 32 | u64::from(*low);
                    parsed.time = Some(bits.cast_signed());
                }
                4 => parsed.body = Some(text(*low, *high)?),
                6 => parsed.host = Some(text(*low, *high)?),
                8 => parsed.app_name = Some(text(*low, *high)?),
                10 => parsed.proc_id = Some(text(*low, *high)?),
                12 => parsed.msg_id = Some(text(*low, *high)?),
                16 => parsed.app = Some(text(*low, *high)?),
                _ => parsed.severity = u8::try_from(*low).ok(),
            }
        }
        for [record, offset, len] in check::rows("created", &tables.created, batch.len())? {
            parsed[at(*record)].created.push(text(*offset, *len)?);
        }
        for [record, reason] in check::rows("dropped", &tables.dropped, batch.len())? {
            let reason = self.manifest.reasons.get(*reason as usize).cloned();
            parsed[at(*record)].dropped = reason;
        }
        Ok(parsed)
    }

    /// Parses a batch without any check, for benches.
    ///
    /// # Errors
    /// What the guest says.
    pub fn parse_tables(&mut self, batch: Batch<'_>) -> Result<EditTables, String> {
        self.running.parse(batch)
    }
}

impl<G: Router> Trial<G> {
    /// Routes a batch. What the interest excludes is kept, as it is by the host.
    ///
    /// # Errors
    /// What the guest says, or what the host would refuse.
    pub fn route(&mut self, inputs: &Inputs) -> Result<Vec<Routed>, String> {
        let mut routed = vec![Routed::kept(); inputs.batch()?.len()];
        let (selected, indices) = inputs.select(&self.manifest.interest)?;
        let batch = selected.batch()?;
        let tables = self.running.route(batch)?;
        check::verdicts(&self.manifest, batch.arena(), &tables, batch.len())?;
        let name = |route: u32| self.manifest.routes.get(route as usize).cloned();
        let at = |record: u32| indices.get(record as usize).map_or(0, |index| *index as usize);
        for (index, word) in indices.iter().zip(&tables.words) {
            let routed = &mut routed[*index as usize];
            routed.is_kept = word & 1 << 30 != 0 && word & 1 << 31 == 0;
            if word & 1 << 31 != 0 {
                routed.dropped = self.manifest.reasons.get((word & 0xffff) as usize).cloned();
            } else {
                routed.routes =
                    (0..30).filter(|route| word & 1 << route != 0).filter_map(name).collect();
            }
        }
        for [record, route] in check::rows("more", &tables.more, batch.len())? {
            routed[at(*record)].routes.extend(name(*route));
        }
        for [record, offset, len] in check::rows("apps", &tables.apps, batch.len())? {
            let app = check::bytes(batch.arena(), &tables.arena, *offset, *len)?;
            routed[at(*record)].app = Some(String::from_utf8_lossy(app).into_owned());
        }
        Ok(routed)
    }

    /// Routes a batch without any check, for benches.
    ///
    /// # Errors
    /// What the guest says.
    pub fn route_tables(&mut self, batch: Batch<'_>) -> Result<VerdictTables, String> {
        self.running.route(batch)
    }
}

impl<G: Meter> Trial<G> {
    /// Measures a batch; [`Trial::value`] and [`Trial::observations`] tell what came of it.
    ///
    /// # Errors
    /// What the guest says, or what the host would refuse.
    pub fn measure(&mut self, inputs: &Inputs) -> Result<(), String> {
        let (selected, _) = inputs.select(&self.manifest.interest)?;
        let tables = self.running.measure(selected.batch()?)?;
        check::updates(&self.manifest, &tables)?;
        for (series, value) in tables.series.iter().zip(&tables.values) {
            let Some((metric, labels)) = host::series(*series) else { continue };
            let kind = self.manifest.metrics.get(metric as usize).map(|metric| metric.kind);
            let held = self.hold(metric, labels);
            match kind {
                Some(MetricKind::Gauge) => held.value = *value,
                Some(MetricKind::Histogram) => held.observations.push(*value),
                _ => held.value += value,
            }
        }
        for series in &tables.expired {
            let Some((metric, labels)) = host::series(*series) else { continue };
            self.held.retain(|held| held.metric != metric || held.labels != labels);
        }
        Ok(())
    }

    /// Measures a batch without any check, for benches.
    ///
    /// # Errors
    /// What the guest says.
    pub fn measure_tables(&mut self, batch: Batch<'_>) -> Result<UpdateTables, String> {
        self.running.measure(batch)
    }

    fn hold(&mut self, metric: u32, labels: Vec<String>) -> &mut Held {
        let known =
            self.held.iter().position(|held| held.metric == metric && held.labels == labels);
        let index = known.unwrap_or_else(|| {
            self.held.push(Held { metric, labels, value: 0.0, observations: Vec::new() });
            self.held.len() - 1
        });
        &mut self.held[index]
    }
}
