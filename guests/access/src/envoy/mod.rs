//! Envoy's access log lines: its default format, and Istio's, which has more behind and within.
//!
//! ```text
//! [time] "method path protocol" code flags received sent duration upstream-time
//!     "forwarded for" "user agent" "request id" "authority" "upstream host"
//!
//! [time] "method path protocol" code flags details termination "failure" received sent duration
//!     upstream-time "forwarded for" "user agent" "request id" "authority" "upstream host"
//!     cluster upstream-local downstream-local downstream-remote server-name route
//! ```
//! Each is one line; times are in milliseconds. Envoy escapes nothing, so a quoted text is taken to
//! end at the first quote that stands where one can end.

use guest_scan::{Number, time};
use logboom_guest::{Edits, FieldId, Record, flags};
use memchr::memmem;

use crate::RequestIds;

/// Texts that become fields as they stand, in the order of the line. What Envoy has no name for in
/// its protocol has that of the header it is.
const TEXTS: [&str; 15] = [
    "response_flags",
    "response.response_code_details",
    "connection_termination_details",
    "upstream_transport_failure_reason",
    "response.response_headers.x-envoy-upstream-service-time",
    "request.forwarded_for",
    "request.user_agent",
    "request.request_id",
    "request.authority",
    "upstream_remote_address",
    "upstream_cluster",
    "upstream_local_address",
    "downstream_local_address",
    "downstream_remote_address",
    "tls_properties.tls_sni_hostname",
];

/// One line taken apart. `-` and what its format lacks are empty.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Line<'a> {
    time: &'a [u8],
    /// Between the quotes.
    request: &'a [u8],
    code: i64,
    /// As [`TEXTS`] names them.
    texts: [&'a [u8]; 15],
    route: &'a [u8],
    received: i64,
    sent: i64,
    /// Milliseconds.
    duration: Option<i64>,
}

impl<'a> Line<'a> {
    /// Takes a line apart; `None` where it is of neither format.
    pub(crate) fn split(text: &'a [u8]) -> Option<Self> {
        let mut rest = Rest(text.strip_suffix(b"\n").unwrap_or(text).strip_prefix(b"[")?);
        let time = rest.until(b"] \"")?;
        let request = rest.until(b"\" ")?;
        let code = whole(rest.word()?)?;
        let flags = rest.word()?;
        let mut texts: [&[u8]; 15] = [&[]; 15];
        texts[0] = flags;
        let mut received = rest.word()?;
        // Bytes are always a number; in their place Istio has a text, which never is one.
        let is_istio = whole(received).is_none();
        if is_istio {
            texts[1] = received;
            texts[2] = rest.until(b" \"")?;
            texts[3] = rest.until(b"\" ")?;
            received = rest.word()?;
        }
        let (received, sent) = (whole(received)?, whole(rest.word()?)?);
        // Requests that never began have no duration.
        let duration = rest.word()?;
        let duration = if duration == b"-" { None } else { Some(whole(duration)?) };
        texts[4] = rest.until(b" \"")?;
        for text in &mut texts[5..9] {
            *text = rest.until(b"\" \"")?;
        }
        // What an operator has appended to the default format does not matter.
        texts[9] = rest.until(b"\" ").or_else(|| rest.0.strip_suffix(b"\""))?;
        let mut route: &[u8] = &[];
        if is_istio {
            for text in &mut texts[10..15] {
                *text = rest.word()?;
            }
            route = rest.0;
        }
        for text in texts.iter_mut().chain([&mut route]) {
            if *text == b"-" {
                *text = &[];
            }
        }
        Some(Self { time, request, code, texts, route, received, sent, duration })
    }
}

/// What is left of a line.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    /// What stands before `end`, which is passed over.
    fn until(&mut self, end: &[u8]) -> Option<&'a [u8]> {
        let at = memmem::find(self.0, end)?;
        let (before, rest) = self.0.split_at_checked(at)?;
        self.0 = rest.get(end.len()..)?;
        Some(before)
    }

    /// A text without blanks, and the blank behind it.
    fn word(&mut self) -> Option<&'a [u8]> {
        self.until(b" ").filter(|word| !word.is_empty())
    }
}

fn whole(text: &[u8]) -> Option<i64> {
    match Number::parse(text)? {
        Number::Integer(value @ 0..) => Some(value),
        _ => None,
    }
}

/// The fields of such lines: those of Envoy's protocol.
#[derive(Debug)]
pub(crate) struct Ids {
    request: RequestIds,
    code: FieldId,
    texts: [FieldId; 15],
    route: FieldId,
    request_bytes: FieldId,
    response_bytes: FieldId,
    received: FieldId,
    sent: FieldId,
    duration: FieldId,
}

impl Ids {
    pub(crate) fn intern() -> Self {
        Self {
            request: RequestIds::intern([
                "request.request_method",
                "request.path",
                "protocol_version",
            ]),
            code: FieldId::intern("response.response_code"),
            texts: TEXTS.map(FieldId::intern),
            route: FieldId::intern("route_name"),
            request_bytes: FieldId::intern("request.request_body_bytes"),
            response_bytes: FieldId::intern("response.response_body_bytes"),
            received: FieldId::intern("connection_properties.received_bytes"),
            sent: FieldId::intern("connection_properties.sent_bytes"),
            duration: FieldId::intern("duration"),
        }
    }

    pub(crate) fn write(&self, line: &Line<'_>, record: &Record<'_>, edits: &mut Edits<'_>) {
        if record.flags() & flags::TIME_ASSUMED != 0
            && let Some(nanos) = time::rfc3339(line.time)
        {
            edits.set_time(record, nanos);
        }
        if line.request == b"- - -" {
            edits.integer(record, self.received, line.received);
            edits.integer(record, self.sent, line.sent);
        } else {
            self.request.write(line.request, record, edits);
            edits.integer(record, self.code, line.code);
            edits.integer(record, self.request_bytes, line.received);
            edits.integer(record, self.response_bytes, line.sent);
        }
        let texts = self.texts.iter().chain([&self.route]);
        for (id, text) in texts.zip(line.texts.iter().chain([&line.route])) {
            if !text.is_empty() {
                edits.text(record, *id, text);
            }
        }
        if let Some(duration) = line.duration {
            edits.float(record, self.duration, Number::Integer(duration).as_f64() / 1000.0);
        }
    }
}

#[cfg(test)]
mod tests;
