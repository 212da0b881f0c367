//! A guest that breaks its contract in every way it can, to test hosts with.
//!
//! Configuration: `{"behaviour": "spin"}`; see [`Behaviour`] for what there is. Without one it is a
//! correct guest that does nothing but count its records.

use logboom_guest::{
    Batch, Edits, FieldId, Guest, Manifest, Meter, Metric, MetricId, Parser, Router, Series,
    Updates, Verdicts, config,
};

mod behaviour;
mod harm;
mod lie;

pub use behaviour::Behaviour;

/// The guest.
#[derive(Debug)]
pub struct Hostile {
    behaviour: Behaviour,
    field: FieldId,
    records: Series,
    calls: u32,
}

#[derive(serde::Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Config {
    behaviour: Behaviour,
}

/// The one metric's index.
pub(crate) const METRIC: MetricId = MetricId(0);

impl Guest for Hostile {
    fn describe(config: &str) -> Result<(Self, Manifest), String> {
        let Config { behaviour } = config::read(config)?;
        match behaviour {
            Behaviour::Refuse => return Err("i refuse, as configured".to_owned()),
            Behaviour::PanicDescribe => harm::panic("i panic in describe, as configured"),
            Behaviour::SpinDescribe => harm::spin(),
            _ => {}
        }
        let mut manifest = Manifest::new("hostile", env!("CARGO_PKG_VERSION"));
        manifest.add_route("somewhere");
        manifest.add_reason("unwanted");
        let metric = manifest
            .add_metric(Metric::counter("hostile_records_total", "Records seen.").label("of"));
        if behaviour == Behaviour::LieManifest {
            lie::manifest(&mut manifest);
        }
        let guest = Self {
            behaviour,
            field: FieldId::intern("hostile"),
            records: Series::intern(metric, &[b"all"]),
            calls: 0,
        };
        Ok((guest, manifest))
    }
}

impl Parser for Hostile {
    fn parse(&mut self, batch: &Batch<'_>, edits: &mut Edits<'_>) -> Result<(), String> {
        self.harm(batch)?;
        if self.behaviour == Behaviour::FloodFields {
            harm::flood_fields(batch, edits, self.calls);
        }
        lie::edits(self.behaviour, batch, edits.tables_mut(), self.field);
        Ok(())
    }
}

impl Router for Hostile {
    fn route(&mut self, batch: &Batch<'_>, verdicts: &mut Verdicts<'_>) -> Result<(), String> {
        self.harm(batch)?;
        lie::verdicts(self.behaviour, batch, verdicts.tables_mut());
        Ok(())
    }
}

impl Meter for Hostile {
    fn measure(&mut self, batch: &Batch<'_>, updates: &mut Updates) -> Result<(), String> {
        self.harm(batch)?;
        updates.add(self.records, f64::from(u32::try_from(batch.len()).unwrap_or(u32::MAX)));
        if self.behaviour == Behaviour::FloodSeries {
            harm::flood_series(updates, self.calls);
        }
        lie::updates(self.behaviour, updates.tables_mut());
        Ok(())
    }
}

impl Hostile {
    /// What is the same in every role.
    fn harm(&mut self, batch: &Batch<'_>) -> Result<(), String> {
        self.calls += 1;
        match self.behaviour {
            Behaviour::Allocate => harm::allocate(),
            Behaviour::BadUtf8 => return Err(harm::not_utf8()),
            Behaviour::Error => return Err("i fail, as configured".to_owned()),
            Behaviour::FloodLog => harm::flood_log(),
            Behaviour::LongError => return Err("long ".repeat(1 << 20)),
            Behaviour::Recurse => harm::recurse(),
            Behaviour::Spin => harm::spin(),
            Behaviour::SpinOnMarker if any(batch, harm::has_marker) => harm::spin(),
            Behaviour::TrapEvery if any(batch, harm::is_thousandth) => {
                harm::panic("a thousandth record");
            }
            Behaviour::TrapOnMarker if any(batch, harm::has_marker) => {
                harm::panic("a record with POISON in it");
            }
            Behaviour::WasiCall | Behaviour::WasiEnv => harm::read_environment(),
            Behaviour::WasiClock => harm::read_clock(),
            Behaviour::WasiExit => harm::leave(),
            Behaviour::WasiFile => harm::read_file(),
            Behaviour::WasiPrint => harm::print(),
            _ => {}
        }
        Ok(())
    }
}

fn any(batch: &Batch<'_>, is_it: fn(&[u8]) -> bool) -> bool {
    batch.records().any(|record| is_it(record.body()))
}

logboom_guest::export!(Hostile: parser + router + meter);

#[cfg(test)]
mod tests;
