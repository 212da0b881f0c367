//! `std:k8s`: records of Kubernetes containers, in the two forms in which collectors hand them on.
//!
//! - The **JSON record** of fluentd and its kin: `{"log", "stream", "time", "kubernetes":
//!   {"namespace_name", "pod_name", "container_name", "host", …}, "topic", …}`.
//! - The **line of the container runtime** (CRI): `2026-11-21T05:44:01.123456789Z stdout F text`.
//!
//! Both give body (less one line end), event time, severity (3 for `stderr`, else 6) and the field
//! `stream`. The JSON record also gives host, app name (the container), proc id (the pod), the
//! fields `namespace`, `pod`, `container`, and the app: the container's name up to `--`, a dash,
//! and the topic, or the namespace where there is no topic. A line of the runtime that is only a
//! part of what was written has the field `partial`, true. What is neither is left alone.
//!
//! There is nothing to configure.

use guest_scan::json::{Invalid, Members, Value};
use guest_scan::{Text, time};
use logboom_guest::{Batch, Column, Edits, FieldId, Guest, Manifest, Parser, Record, config};
use memchr::{memchr, memmem};

/// The guest.
#[derive(Debug)]
pub struct K8s {
    namespace: FieldId,
    pod: FieldId,
    container: FieldId,
    stream: FieldId,
    partial: FieldId,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {}

impl Guest for K8s {
    fn describe(config: &str) -> Result<(Self, Manifest), String> {
        let Config {} = config::read(config)?;
        let guest = Self {
            namespace: FieldId::intern("namespace"),
            pod: FieldId::intern("pod"),
            container: FieldId::intern("container"),
            stream: FieldId::intern("stream"),
            partial: FieldId::intern("partial"),
        };
        Ok((guest, Manifest::new("k8s", env!("CARGO_PKG_VERSION"))))
    }
}

impl Parser for K8s {
    fn parse(&mut self, batch: &Batch<'_>, edits: &mut Edits<'_>) -> Result<(), String> {
        for record in batch.records() {
            match record.body().first() {
                Some(b'{') => {
                    if let Ok(Some(found)) = JsonRecord::read(record.body()) {
                        self.write_json(&found, &record, edits);
                    }
                }
                Some(b'0'..=b'9') => {
                    if let Some(line) = RuntimeLine::split(record.body()) {
                        self.write_line(&line, &record, edits);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl K8s {
    fn write_json(&self, found: &JsonRecord<'_>, record: &Record<'_>, edits: &mut Edits<'_>) {
        set(edits, record, Column::Body, without_line_end(found.log));
        if let Some(nanos) = time::rfc3339(found.time) {
            edits.set_time(record, nanos);
        }
        edits.set_severity(record, severity(found.stream));
        if !found.stream.is_empty() {
            edits.text(record, self.stream, found.stream);
        }
        let places = [
            (found.host, Some(Column::Host), None),
            (found.container, Some(Column::AppName), Some(self.container)),
            (found.pod, Some(Column::ProcId), Some(self.pod)),
            (found.namespace, None, Some(self.namespace)),
        ];
        for (text, column, field) in places {
            if text.is_empty() {
                continue;
            }
            if let Some(column) = column {
                edits.set(record, column, text);
            }
            if let Some(field) = field {
                edits.text(record, field, text);
            }
        }
        let end = memmem::find(found.container, b"--").unwrap_or(found.container.len());
        let app = found.container.get(..end).unwrap_or(&[]);
        let space = if found.topic.is_empty() { found.namespace } else { found.topic };
        if !app.is_empty() && !space.is_empty() {
            edits.set_with(record, Column::App, |out| {
                out.extend_from_slice(app);
                out.push(b'-');
                out.extend_from_slice(space);
            });
        }
    }

    fn write_line(&self, line: &RuntimeLine<'_>, record: &Record<'_>, edits: &mut Edits<'_>) {
        edits.set_body(record, line.text);
        edits.set_time(record, line.time);
        edits.set_severity(record, severity(line.stream));
        edits.text(record, self.stream, line.stream);
        if line.is_partial {
            edits.bool(record, self.partial, true);
        }
    }
}

fn severity(stream: &[u8]) -> u8 {
    if stream == b"stderr" { 3 } else { 6 }
}

fn set(edits: &mut Edits<'_>, record: &Record<'_>, column: Column, text: Text<'_>) {
    if text.has_escapes {
        edits.set_with(record, column, |out| text.unescape(out));
    } else {
        edits.set(record, column, text.raw);
    }
}

/// Cuts one escaped line end off. Mostly no escape is left then, and nothing need be copied.
fn without_line_end(text: Text<'_>) -> Text<'_> {
    let Some(raw) = text.raw.strip_suffix(b"\\n") else { return text };
    let backslashes = raw.iter().rev().take_while(|byte| **byte == b'\\').count();
    if backslashes % 2 != 0 {
        return text;
    }
    Text { raw, has_escapes: memchr(b'\\', raw).is_some() }
}

/// The members of a JSON record that matter. Names with escapes in them read as absent: neither
/// Kubernetes nor Kafka allows characters that need any.
#[derive(Clone, Copy, Debug)]
struct JsonRecord<'a> {
    log: Text<'a>,
    stream: &'a [u8],
    time: &'a [u8],
    topic: &'a [u8],
    namespace: &'a [u8],
    pod: &'a [u8],
    container: &'a [u8],
    host: &'a [u8],
}

impl<'a> JsonRecord<'a> {
    /// `None` for an object that is no record of a container: it lacks `log`, or both `kubernetes`
    /// and `stream`.
    fn read(text: &'a [u8]) -> Result<Option<Self>, Invalid> {
        let (mut log, mut metadata) = (None, None);
        let [mut stream, mut time, mut topic] = [b"".as_slice(); 3];
        let mut members = Members::new(text)?;
        while let Some((key, value)) = members.next()? {
            match (key.raw, value) {
                (b"log", Value::String(text)) => log = Some(text),
                (b"stream", value) => stream = name(value),
                (b"time", value) => time = name(value),
                (b"topic", value) => topic = name(value),
                (b"kubernetes", Value::Object(text)) => metadata = Some(text),
                _ => {}
            }
        }
        let Some(log) = log.filter(|_| metadata.is_some() || !stream.is_empty()) else {
            return Ok(None);
        };
        let [mut namespace, mut pod, mut container, mut host] = [b"".as_slice(); 4];
        if let Some(metadata) = metadata {
            let mut members = Members::new(metadata)?;
            while let Some((key, value)) = members.next()? {
                match key.raw {
                    b"namespace_name" => namespace = name(value),
                    b"pod_name" => pod = name(value),
                    b"container_name" => container = name(value),
                    b"host" => host = name(value),
                    _ => {}
                }
            }
        }
        Ok(Some(Self { log, stream, time, topic, namespace, pod, container, host }))
    }
}

fn name(value: Value<'_>) -> &[u8] {
    match value {
        Value::String(Text { raw, has_escapes: false }) => raw,
        _ => &[],
    }
}

/// A line as the container runtime writes it.
#[derive(Clone, Copy, Debug)]
struct RuntimeLine<'a> {
    time: i64,
    stream: &'a [u8],
    is_partial: bool,
    text: &'a [u8],
}

impl<'a> RuntimeLine<'a> {
    fn split(line: &'a [u8]) -> Option<Self> {
        let (time, rest) = word(line)?;
        let time = time::rfc3339(time)?;
        let (stream, rest) = word(rest)?;
        // Tags are separated by colons; the first says whether the line is full or partial.
        let (tags, text) = word(rest).unwrap_or((rest, &[]));
        let is_partial = match tags {
            b"F" | [b'F', b':', ..] => false,
            b"P" | [b'P', b':', ..] => true,
            _ => return None,
        };
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        matches!(stream, b"stdout" | b"stderr").then_some(Self { time, stream, is_partial, text })
    }
}

fn word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (word, rest) = text.split_at_checked(memchr(b' ', text)?)?;
    Some((word, rest.get(1..)?))
}

logboom_guest::export!(K8s: parser);

#[cfg(test)]
mod tests;
