//! `std:access`: fields of access logs of nginx, Apache and Envoy, and metrics of requests.
//!
//! ```text
//! client ident user [time] "method path protocol" status bytes "referer" "user agent"
//! └──────────────── common ─────────────────────────────────┘ └───── combined ──────┘
//! [time] "method path protocol" code flags … duration … "upstream host" …       envoy
//! ```
//! Configuration: `{"format": "auto", "metrics": false, "labels": ["app", …]}`; `common`, `combined`
//! and `envoy` accept that format only.
//!
//! Fields of nginx and Apache: `client`, `user`, `method`, `path`, `protocol`, `status` (integer),
//! `bytes` (integer), `referer`, `user_agent`. What is written as `-` is left out, but for `bytes`,
//! where it means 0. What stands behind the known parts is ignored, as operators append to this
//! format.
//!
//! Fields of Envoy: those of its protocol, as the gateway has them of the access log service;
//! `duration` is in seconds. Both Envoy's default format and Istio's are understood, of requests and
//! of connections. A record that came with the fields is not parsed again.
//!
//! A request line that is none gives the field `request` instead of method, path and protocol. The
//! event time is taken from the line where the record came without one. What is not such a line is
//! left alone.
//!
//! With `"metrics": true` requests and connections are counted, by these fields wherever they come
//! from, by those of Istio's JSON lines, and by attributes of such names that an operator configures.

use guest_scan::{find, time};
use logboom_guest::{
    Batch, Edits, FieldId, Guest, Interest, Manifest, Meter, Parser, Record, Updates, config, flags,
};
use memchr::memrchr;

mod envoy;
mod line;
mod meter;

use line::Line;
use meter::{Label, Meters};

/// Fields of which a record of Envoy's protocol has one at least.
const KNOWN: [&str; 2] = ["response.response_code", "access_log_type"];

/// The guest.
#[derive(Debug)]
pub struct Access {
    format: Format,
    ids: Ids,
    envoy: envoy::Ids,
    known: [FieldId; 2],
    meters: Option<Meters>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    #[default]
    Auto,
    Combined,
    Common,
    Envoy,
}

#[derive(serde::Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Config {
    format: Format,
    metrics: bool,
    labels: Option<Vec<Label>>,
}

#[derive(Debug)]
struct Ids {
    client: FieldId,
    user: FieldId,
    request: RequestIds,
    status: FieldId,
    bytes: FieldId,
    referer: FieldId,
    user_agent: FieldId,
}

impl Guest for Access {
    fn describe(config: &str) -> Result<(Self, Manifest), String> {
        let Config { format, metrics, labels } = config::read(config)?;
        let ids = Ids {
            client: FieldId::intern("client"),
            user: FieldId::intern("user"),
            request: RequestIds::intern(["method", "path", "protocol"]),
            status: FieldId::intern("status"),
            bytes: FieldId::intern("bytes"),
            referer: FieldId::intern("referer"),
            user_agent: FieldId::intern("user_agent"),
        };
        let mut manifest = Manifest::new("access", env!("CARGO_PKG_VERSION"))
            .interest(Interest::all().fields(&KNOWN));
        let meters = match labels {
            Some(_) if !metrics => return Err("labels is for metrics, which is false".to_owned()),
            _ if !metrics => None,
            None => Some(Meters::declare(&meter::LABELS, &mut manifest)),
            Some(labels) => {
                let twice = |at: usize| labels.iter().take(at).any(|label| *label == labels[at]);
                if let Some(at) = (0..labels.len()).find(|at| twice(*at)) {
                    return Err(format!("labels has {} twice", labels[at].name()));
                }
                Some(Meters::declare(&labels, &mut manifest))
            }
        };
        let known = KNOWN.map(FieldId::intern);
        Ok((Self { format, ids, envoy: envoy::Ids::intern(), known, meters }, manifest))
    }
}

impl Parser for Access {
    fn parse(&mut self, batch: &Batch<'_>, edits: &mut Edits<'_>) -> Result<(), String> {
        for record in batch.records() {
            if record.body().starts_with(b"[") && self.parse_envoy(&record, edits) {
                continue;
            }
            let Some(line) = Line::split(record.body()) else { continue };
            let is_wanted = match self.format {
                Format::Auto => true,
                Format::Combined => line.agent.is_some(),
                Format::Common => line.agent.is_none(),
                Format::Envoy => false,
            };
            if is_wanted {
                self.ids.write(&line, &record, edits);
            }
        }
        Ok(())
    }
}

impl Meter for Access {
    fn measure(&mut self, batch: &Batch<'_>, updates: &mut Updates) -> Result<(), String> {
        if let Some(meters) = &mut self.meters {
            meters.measure(batch, updates);
        }
        Ok(())
    }
}

impl Access {
    /// Whether it was one of Envoy's lines.
    fn parse_envoy(&self, record: &Record<'_>, edits: &mut Edits<'_>) -> bool {
        let is_wanted = matches!(self.format, Format::Auto | Format::Envoy)
            && self.known.iter().all(|id| record.field(*id).is_none());
        let line = if is_wanted { envoy::Line::split(record.body()) } else { None };
        if let Some(line) = &line {
            self.envoy.write(line, record, edits);
        }
        line.is_some()
    }
}

impl Ids {
    #[inline]
    fn write(&self, line: &Line<'_>, record: &Record<'_>, edits: &mut Edits<'_>) {
        if record.flags() & flags::TIME_ASSUMED != 0
            && let Some(nanos) = time::access_log(line.time)
        {
            edits.set_time(record, nanos);
        }
        edits.text(record, self.client, line.client);
        if !line.user.is_empty() {
            edits.text(record, self.user, line.user);
        }
        self.request.write(line.request, record, edits);
        edits.integer(record, self.status, line.status);
        edits.integer(record, self.bytes, line.bytes);
        if let Some([referer, user_agent]) = line.agent {
            if !matches!(referer, b"-" | b"") {
                edits.text(record, self.referer, referer);
            }
            if !matches!(user_agent, b"-" | b"") {
                edits.text(record, self.user_agent, user_agent);
            }
        }
    }
}

/// The fields of a request line: those of its parts, or `request` for one that is none.
#[derive(Debug)]
pub(crate) struct RequestIds {
    parts: [FieldId; 3],
    line: FieldId,
}

impl RequestIds {
    /// Given the names for method, path and protocol.
    pub(crate) fn intern(parts: [&str; 3]) -> Self {
        Self { parts: parts.map(FieldId::intern), line: FieldId::intern("request") }
    }

    #[inline]
    pub(crate) fn write(&self, line: &[u8], record: &Record<'_>, edits: &mut Edits<'_>) {
        match request(line) {
            Some(parts) => {
                for (id, part) in self.parts.iter().zip(parts) {
                    edits.text(record, *id, part);
                }
            }
            None => edits.text(record, self.line, line),
        }
    }
}

/// A request line's method, path and protocol. The path may have blanks in it, as some clients
/// send them.
#[inline]
fn request(line: &[u8]) -> Option<[&[u8]; 3]> {
    let (head, protocol) = match line.last_chunk::<9>() {
        Some([b' ', protocol @ ..]) if protocol[0] == b'H' => (line.len() - 9, protocol.as_slice()),
        _ => {
            let blank = memrchr(b' ', line)?;
            (blank, line.get(blank + 1..)?)
        }
    };
    let first = find(line, 0, [b' ']);
    let method = line.get(..first)?;
    let path = line.get(first + 1..head)?;
    let is_method = match method {
        b"GET" | b"POST" | b"HEAD" | b"PUT" => true,
        other => !other.is_empty() && other.iter().all(u8::is_ascii_uppercase),
    };
    (is_method && protocol.starts_with(b"HTTP/") && !path.is_empty())
        .then_some([method, path, protocol])
}

/// The end of a quoted text: the first quote that no backslash escapes.
#[inline]
pub(crate) fn quoted_end(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let found = find(text, at, [b'"', b'\\']);
        if *text.get(found)? == b'"' {
            return Some(found);
        }
        at = found + 2;
    }
}

logboom_guest::export!(Access: parser + meter);

#[cfg(test)]
mod tests;
