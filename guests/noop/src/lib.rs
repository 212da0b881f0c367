//! A guest of every role that does next to nothing: what remains is the cost of crossing.
//!
//! Configuration: `{"fields": 6}` adds that many fields to each record, at most 64.

use logboom_guest::{
    Batch, Edits, FieldId, Guest, Manifest, Meter, Metric, Parser, Router, Series, Updates,
    Verdicts, config,
};

/// Most fields a record gets.
const FIELDS_MAX: usize = 64;

/// The guest.
#[derive(Debug)]
pub struct Noop {
    fields: Vec<FieldId>,
    records: Series,
}

#[derive(serde::Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Config {
    fields: usize,
}

impl Guest for Noop {
    fn describe(config: &str) -> Result<(Self, Manifest), String> {
        let Config { fields } = config::read(config)?;
        if fields > FIELDS_MAX {
            return Err(format!("fields is {fields}; 0 to {FIELDS_MAX} are allowed"));
        }
        let fields = (0..fields).map(|i| FieldId::intern(&format!("noop_{i}"))).collect();
        let mut manifest = Manifest::new("noop", env!("CARGO_PKG_VERSION"));
        let metric = Metric::counter("noop_records_total", "Records seen.");
        let records = Series::intern(manifest.add_metric(metric), &[]);
        Ok((Self { fields, records }, manifest))
    }
}

impl Parser for Noop {
    fn parse(&mut self, batch: &Batch<'_>, edits: &mut Edits<'_>) -> Result<(), String> {
        for record in batch.records() {
            for id in &self.fields {
                edits.text(&record, *id, record.body());
            }
        }
        Ok(())
    }
}

impl Router for Noop {
    fn route(&mut self, _batch: &Batch<'_>, _verdicts: &mut Verdicts<'_>) -> Result<(), String> {
        Ok(())
    }
}

impl Meter for Noop {
    fn measure(&mut self, batch: &Batch<'_>, updates: &mut Updates) -> Result<(), String> {
        let count = u32::try_from(batch.len()).unwrap_or(u32::MAX);
        updates.add(self.records, f64::from(count));
        Ok(())
    }
}

logboom_guest::export!(Noop: parser + router + meter);

#[cfg(test)]
mod tests {
    use super::*;
    use logboom_guest::testkit::{Inputs, Trial};

    #[test]
    fn it_adds_as_many_fields_as_asked_keeps_and_counts() {
        let mut trial = Trial::<Noop>::start(r#"{"fields":6}"#).unwrap();
        let inputs = Inputs::new(["a", "b"]);
        assert_eq!(trial.parse(&inputs).unwrap()[1].fields.len(), 6);
        assert!(trial.route(&inputs).unwrap().iter().all(|routed| routed.is_kept));
        trial.measure(&inputs).unwrap();
        assert_eq!(trial.value("noop_records_total", &[]), Some(2.0));
    }

    #[test]
    fn too_many_fields_are_refused() {
        let error = Trial::<Noop>::start(r#"{"fields":65}"#).unwrap_err();
        assert_eq!(error, "fields is 65; 0 to 64 are allowed");
    }
}
