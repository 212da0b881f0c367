//! The body of a request, and the headers that say what it is.

use std::io::{self, Write as _};
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, InvalidHeaderValue,
    USER_AGENT,
};
use logboom_codec::encode;
use logboom_record::{FieldId, Record};

use crate::config::HttpFormat;

const MSG_COUNT: HeaderName = HeaderName::from_static("logplex-msg-count");
const FRAME_ID: HeaderName = HeaderName::from_static("logplex-frame-id");
const DRAIN_TOKEN: HeaderName = HeaderName::from_static("logplex-drain-token");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const LOGPLEX_AGENT: HeaderValue = HeaderValue::from_static("Logplex/v72");
const OWN_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("logboom/", env!("CARGO_PKG_VERSION")));

fn content_type(format: HttpFormat) -> HeaderValue {
    HeaderValue::from_static(match format {
        HttpFormat::Logplex => "application/logplex-1",
        HttpFormat::Ndjson => "application/x-ndjson",
        HttpFormat::Json => "application/json",
        HttpFormat::Raw => "text/plain",
    })
}

/// A body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Body {
    /// As it is sent.
    pub(crate) bytes: Bytes,
    /// How many records are in it.
    pub(crate) records: usize,
}

/// Writes records into a body.
#[derive(Debug)]
pub(crate) struct Writer {
    format: HttpFormat,
    out: Vec<u8>,
    records: usize,
}

impl Writer {
    /// An empty body.
    #[must_use]
    pub(crate) fn new(format: HttpFormat) -> Self {
        Self { format, out: Vec::new(), records: 0 }
    }

    /// Appends a record that the source named `source` took in. `names` names its fields.
    pub(crate) fn push(
        &mut self,
        record: &Record<'_>,
        source: &str,
        names: &mut dyn FnMut(FieldId) -> Option<Arc<str>>,
    ) {
        let out = &mut self.out;
        match self.format {
            HttpFormat::Logplex => push_logplex(record, out),
            HttpFormat::Ndjson => {
                encode::json(record, source, names, out);
                out.push(b'\n');
            }
            HttpFormat::Json => {
                out.push(if self.records == 0 { b'[' } else { b',' });
                encode::json(record, source, names, out);
            }
            HttpFormat::Raw => encode::raw(record, out),
        }
        self.records += 1;
    }

    /// Its length so far, before it is compressed.
    #[must_use]
    pub(crate) fn bytes(&self) -> usize {
        self.out.len()
    }

    /// The body, compressed if `gzip` says so: some milliseconds for each MiB.
    ///
    /// # Errors
    /// None is known: both ends of the compressor are memory.
    pub(crate) fn finish(mut self, gzip: bool) -> io::Result<Body> {
        if self.format == HttpFormat::Json {
            self.out.extend_from_slice(if self.records == 0 { b"[]" } else { b"]" });
        }
        let bytes = if gzip { compress(&self.out)? } else { self.out };
        Ok(Body { bytes: bytes.into(), records: self.records })
    }
}

/// Its length, a space, an RFC 5424 message, a line feed that the length includes. LF, CR and NUL inside
/// of it become spaces.
fn push_logplex(record: &Record<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    encode::rfc5424(record, out);
    for byte in out.iter_mut().skip(start) {
        if matches!(byte, b'\n' | b'\r' | 0) {
            *byte = b' ';
        }
    }
    out.push(b'\n');
    let end = out.len();
    out.extend_from_slice((end - start).to_string().as_bytes());
    out.push(b' ');
    let count = out.len() - end;
    // The length was written behind the message, for only now it is known.
    if let Some(frame) = out.get_mut(start..) {
        frame.rotate_right(count);
    }
}

fn compress(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::fast());
    encoder.write_all(bytes)?;
    encoder.finish()
}

/// The headers of a destination's requests.
#[derive(Clone, Debug)]
pub(crate) struct Headers {
    format: HttpFormat,
    /// The same in each request.
    fixed: Vec<(HeaderName, HeaderValue)>,
}

impl Headers {
    /// The headers of bodies in `format`.
    #[must_use]
    pub(crate) fn new(format: HttpFormat, gzip: bool) -> Self {
        let agent = if format == HttpFormat::Logplex { LOGPLEX_AGENT } else { OWN_AGENT };
        let mut fixed = vec![(USER_AGENT, agent), (CONTENT_TYPE, content_type(format))];
        if gzip {
            fixed.push((CONTENT_ENCODING, HeaderValue::from_static("gzip")));
        }
        Self { format, fixed }
    }

    /// With a name and a password. *Source*: RFC 7617.
    ///
    /// # Errors
    /// None is known: Base64 is always a header value.
    pub(crate) fn basic(mut self, user: &str, password: &str) -> Result<Self, InvalidHeaderValue> {
        let credentials = BASE64_STANDARD.encode(format!("{user}:{password}"));
        let mut value = HeaderValue::from_str(&format!("Basic {credentials}"))?;
        value.set_sensitive(true);
        self.fixed.push((AUTHORIZATION, value));
        Ok(self)
    }

    /// With the token of a drain. Only Logplex bodies carry it.
    ///
    /// # Errors
    /// For a token with control characters.
    pub(crate) fn drain_token(mut self, token: &str) -> Result<Self, InvalidHeaderValue> {
        if self.format == HttpFormat::Logplex {
            self.fixed.push((DRAIN_TOKEN, HeaderValue::from_str(token)?));
        }
        Ok(self)
    }

    /// The headers of a body. `frame` names it: the same when it is sent again.
    #[must_use]
    pub(crate) fn of(&self, body: &Body, frame: &HeaderValue) -> Vec<(HeaderName, HeaderValue)> {
        let mut headers = self.fixed.clone();
        headers.push((IDEMPOTENCY_KEY, frame.clone()));
        if self.format == HttpFormat::Logplex {
            headers.push((MSG_COUNT, body.records.into()));
            headers.push((FRAME_ID, frame.clone()));
        }
        headers
    }
}

#[cfg(test)]
mod tests;
