//! `std:logfmt`: fields of bodies such as `level=info msg="request done" took=1.5 ok=true`.
//!
//! A body is logfmt when all of its words are pairs `key=value`, the value bare or in quotes with
//! the escapes of JSON; anything else is left alone. With `"bare": true` a key without a value is
//! allowed and means true. Values that are numbers, `true` or `false` become such, unless quoted or
//! with `"typed": false`. `key=` is an empty text.
//!
//! Keys that give message, severity and time are taken as by `std:json`: configuration
//! `{"body": […], "severity": […], "time": […], "bare": false, "typed": true}`.

use guest_scan::heads::{HeadTable, HeadValue, HeadsSet};
use guest_scan::{HeadKeys, Number, Text};
use logboom_guest::{Batch, Edits, FieldId, FieldNames, Guest, Manifest, Parser, Record, config};

mod pairs;

use pairs::{Pair, Pairs};

/// Most fields of one record; pairs beyond are passed over.
const FIELDS_MAX: usize = 256;

/// The guest.
#[derive(Debug)]
pub struct Logfmt {
    heads: HeadTable,
    names: FieldNames,
    allows_bare: bool,
    is_typed: bool,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    body: Vec<String>,
    severity: Vec<String>,
    time: Vec<String>,
    bare: bool,
    typed: bool,
}

impl Default for Config {
    fn default() -> Self {
        let HeadKeys { body, severity, time } = HeadKeys::default();
        Self { body, severity, time, bare: false, typed: true }
    }
}

impl Guest for Logfmt {
    fn describe(config: &str) -> Result<(Self, Manifest), String> {
        let Config { body, severity, time, bare, typed } = config::read(config)?;
        let heads = HeadKeys { body, severity, time }.table();
        let guest = Self { heads, names: FieldNames::new(), allows_bare: bare, is_typed: typed };
        let mut manifest = Manifest::new("logfmt", env!("CARGO_PKG_VERSION"));
        if !bare {
            manifest.interest.literals.push("=".to_owned());
        }
        Ok((guest, manifest))
    }
}

impl Parser for Logfmt {
    fn parse(&mut self, batch: &Batch<'_>, edits: &mut Edits<'_>) -> Result<(), String> {
        for record in batch.records() {
            let before = edits.checkpoint();
            if self.read(&record, edits).is_none() {
                edits.rollback(before);
            }
        }
        Ok(())
    }
}

impl Logfmt {
    /// `None` when the body is not logfmt.
    #[inline]
    fn read(&mut self, record: &Record<'_>, edits: &mut Edits<'_>) -> Option<()> {
        let mut pairs = Pairs::new(record.body());
        let mut set = HeadsSet::default();
        let (mut count, mut has_value) = (0, false);
        while let Some(Pair { key, value, is_quoted }) = pairs.next()? {
            let Some(value) = value else {
                if !self.allows_bare {
                    return None;
                }
                self.field(key, &mut count, |id| edits.bool(record, id, true));
                continue;
            };
            has_value = true;
            if let Some(head) = self.heads.find(key)
                && set.set(head, HeadValue::Text(value), record, edits)
            {
                continue;
            }
            let is_typed = self.is_typed && !is_quoted;
            self.field(key, &mut count, |id| write(edits, record, id, value, is_typed));
        }
        has_value.then_some(())
    }

    #[inline]
    fn field(&mut self, key: &[u8], count: &mut usize, write: impl FnOnce(FieldId)) {
        *count += 1;
        if *count <= FIELDS_MAX
            && let Some(id) = self.names.id(key)
        {
            write(id);
        }
    }
}

#[inline]
fn write(edits: &mut Edits<'_>, record: &Record<'_>, id: FieldId, value: Text<'_>, is_typed: bool) {
    if value.has_escapes {
        return edits.text_with(record, id, |out| value.unescape(out));
    }
    if is_typed {
        match value.raw {
            b"true" => return edits.bool(record, id, true),
            b"false" => return edits.bool(record, id, false),
            [b'0'..=b'9' | b'-', ..] => match Number::parse(value.raw) {
                Some(Number::Integer(number)) => return edits.integer(record, id, number),
                Some(Number::Float(number)) => return edits.float(record, id, number),
                None => {}
            },
            _ => {}
        }
    }
    edits.text(record, id, value.raw);
}

logboom_guest::export!(Logfmt: parser);

#[cfg(test)]
mod tests;
