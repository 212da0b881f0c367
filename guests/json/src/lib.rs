//! `std:json`: fields of bodies that are a JSON object.
//!
//! Each member becomes a typed field; nested objects and arrays stay JSON text. Members that give
//! what belongs in the head of a record go there instead: by default `message`, `msg` or `log` to
//! the body, `level`, `severity` or `lvl` to the severity, `time`, `ts`, `timestamp` or
//! `@timestamp` to the event time. A body that is no JSON object is left alone.
//!
//! Configuration: `{"body": ["message"], "severity": ["level"], "time": ["ts"]}`, each a list of
//! keys; an empty list turns that part off.

use guest_scan::heads::{HeadTable, HeadValue, HeadsSet};
use guest_scan::json::{Invalid, Members, Value};
use guest_scan::{HeadKeys, Number, Text};
use logboom_guest::{Batch, Edits, FieldId, FieldNames, Guest, Manifest, Parser, Record, config};

/// Most fields of one record; members beyond are passed over.
const FIELDS_MAX: usize = 256;

/// The guest.
#[derive(Debug)]
pub struct Json {
    heads: HeadTable,
    names: FieldNames,
    /// A key with its escapes undone.
    key: Vec<u8>,
}

impl Guest for Json {
    fn describe(config: &str) -> Result<(Self, Manifest), String> {
        let heads = config::read::<HeadKeys>(config)?.table();
        let guest = Self { heads, names: FieldNames::new(), key: Vec::new() };
        Ok((guest, Manifest::new("json", env!("CARGO_PKG_VERSION"))))
    }
}

impl Parser for Json {
    fn parse(&mut self, batch: &Batch<'_>, edits: &mut Edits<'_>) -> Result<(), String> {
        for record in batch.records() {
            let before = edits.checkpoint();
            if self.read(&record, edits).is_err() {
                edits.rollback(before);
            }
        }
        Ok(())
    }
}

impl Json {
    #[inline]
    fn read(&mut self, record: &Record<'_>, edits: &mut Edits<'_>) -> Result<(), Invalid> {
        let Self { heads, names, key: buffer } = self;
        let mut members = Members::new(record.body())?;
        let mut set = HeadsSet::default();
        let mut count = 0;
        while let Some((key, value)) = members.next()? {
            let name = if key.has_escapes { unescaped(key, buffer) } else { key.raw };
            if let Some(head) = heads.find(name)
                && let Some(value) = head_value(value)
                && set.set(head, value, record, edits)
            {
                continue;
            }
            count += 1;
            if count <= FIELDS_MAX
                && let Some(id) = names.id(name)
            {
                write(edits, record, id, value);
            }
        }
        Ok(())
    }
}

#[cold]
fn unescaped<'a>(key: Text<'_>, buffer: &'a mut Vec<u8>) -> &'a [u8] {
    buffer.clear();
    key.unescape(buffer);
    buffer
}

#[inline]
fn head_value(value: Value<'_>) -> Option<HeadValue<'_>> {
    match value {
        Value::Number(number) => Some(HeadValue::Number(number)),
        Value::String(text) => Some(HeadValue::Text(text)),
        _ => None,
    }
}

#[inline]
fn write(edits: &mut Edits<'_>, record: &Record<'_>, id: FieldId, value: Value<'_>) {
    match value {
        Value::Array(text) | Value::Object(text) => edits.json(record, id, text),
        Value::Bool(value) => edits.bool(record, id, value),
        Value::Null => edits.null(record, id),
        Value::Number(Number::Integer(value)) => edits.integer(record, id, value),
        Value::Number(Number::Float(value)) => edits.float(record, id, value),
        Value::String(text) if text.has_escapes => {
            edits.text_with(record, id, |out| text.unescape(out));
        }
        Value::String(text) => edits.text(record, id, text.raw),
    }
}

logboom_guest::export!(Json: parser);

#[cfg(test)]
mod tests;
