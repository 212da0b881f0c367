//! `http://` and `https://`: requests with records in their bodies.
//!
//! Path and query belong to the peer and stay as they are, but for the keys of our own. A peer that
//! wants a key of the same name gets it with a letter of it escaped (`%66ormat=…`).

use std::fmt::{self, Write};

use sha2::{Digest, Sha256};

use super::super::secret::Secret;
use super::super::url::{Authority, Parts, UrlError, query_choice, unescape};
use super::{DestinationKind, DestinationUrl};

const FORMATS: &[(&str, HttpFormat)] = &[
    ("logplex", HttpFormat::Logplex),
    ("ndjson", HttpFormat::Ndjson),
    ("json", HttpFormat::Json),
    ("raw", HttpFormat::Raw),
];
const SWITCHES: &[(&str, bool)] = &[("true", true), ("false", false)];
const VERSIONS: &[(&str, HttpVersion)] = &[("1.1", HttpVersion::Http1), ("2", HttpVersion::Http2)];

/// Bytes of the digest that stands for credentials.
const DIGEST_BYTES: usize = 4;

/// What an HTTP destination's URL says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpDestination {
    /// Whether it is `https://`.
    pub tls: bool,
    /// A host name in lower case, or an IP address without brackets.
    pub host: String,
    /// 1 to 65535; 80 by default, 443 with TLS.
    pub port: u16,
    /// The target of requests: begins with `/`, printable ASCII, without our own keys.
    pub path_and_query: String,
    /// What stood before the host.
    pub credentials: Option<Credentials>,
    /// How the body is written.
    pub format: HttpFormat,
    /// Whether the body is compressed.
    pub gzip: bool,
    /// Which HTTP is spoken.
    pub version: HttpVersion,
}

/// User and password of HTTP's Basic scheme. *Source*: RFC 7617 section 2. `Debug` shows neither:
/// many services take a token in the user's place.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Without a colon or control characters.
    pub user: String,
    /// Without control characters; may be empty.
    pub password: Secret,
}

/// How the body of a request is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HttpFormat {
    /// Syslog messages, each with its length in front, as Logplex drains have it. The default.
    Logplex,
    /// One JSON object a line.
    Ndjson,
    /// One JSON array of objects.
    Json,
    /// The bodies of records alone, one a line.
    Raw,
}

/// Which HTTP is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HttpVersion {
    /// What both sides agree on over TLS; else HTTP/1.1.
    Auto,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2; without TLS with prior knowledge (RFC 9113 section 3.3).
    Http2,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

/// Reads the URL behind its scheme.
pub(super) fn read(parts: &Parts<'_>) -> Result<DestinationUrl, UrlError> {
    let Authority { userinfo, host, port } = parts.authority(1)?;
    let credentials = userinfo.map(read_credentials).transpose()?;
    let tls = parts.scheme == "https";
    let port = port.unwrap_or(if tls { 443 } else { 80 });
    let ([format, gzip, version], others) = parts.pairs(&["format", "gzip", "http"])?;
    let format = query_choice("format", format, HttpFormat::Logplex, FORMATS)?;
    let gzip = query_choice("gzip", gzip, false, SWITCHES)?;
    let version = query_choice("http", version, HttpVersion::Auto, VERSIONS)?;

    let path = if parts.path.is_empty() { "/" } else { parts.path };
    let query = others.join("&");
    let path_and_query = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
    check_target(&path_and_query)?;

    let mut canonical = format!("{}://{}:{port}{path_and_query}", parts.scheme, host.in_url());
    let own = [
        written(format, HttpFormat::Logplex, FORMATS).map(|value| ("format", value)),
        written(gzip, false, SWITCHES).map(|value| ("gzip", value)),
        written(version, HttpVersion::Auto, VERSIONS).map(|value| ("http", value)),
    ];
    let mut joint = if query.is_empty() { '?' } else { '&' };
    for (key, value) in own.into_iter().flatten() {
        // Writing to a `String` does not fail.
        write!(canonical, "{joint}{key}={value}").unwrap_or_default();
        joint = '&';
    }
    if let Some(credentials) = &credentials {
        canonical = format!("{canonical}#cred={}", digest(&canonical, credentials));
    }
    let host = host.to_text();
    let kind = DestinationKind::Http(HttpDestination {
        tls,
        host,
        port,
        path_and_query,
        credentials,
        format,
        gzip,
        version,
    });
    Ok(DestinationUrl { canonical, kind })
}

/// The word for a value that is not the default.
fn written<T: Copy + PartialEq>(
    value: T,
    default: T,
    choices: &[(&'static str, T)],
) -> Option<&'static str> {
    let (word, _) = choices.iter().find(|(_, choice)| *choice == value)?;
    (value != default).then_some(word)
}

fn read_credentials(userinfo: &str) -> Result<Credentials, UrlError> {
    let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:%".contains(c);
    let undo = |text| unescape(text).map_err(|_| UrlError::BadCredentials);
    let (user, password) = (undo(user)?, undo(password)?);
    let has_control = format!("{user}{password}").contains(char::is_control);
    let is_empty = user.is_empty() && password.is_empty();
    if is_empty || has_control || user.contains(':') || !userinfo.chars().all(is_plain) {
        return Err(UrlError::BadCredentials);
    }
    Ok(Credentials { user, password: Secret::new(password) })
}

/// *Source*: RFC 3986 sections 3.3 and 3.4.
fn check_target(target: &str) -> Result<(), UrlError> {
    let mut rest = target.chars();
    while let Some(c) = rest.next() {
        let is_escape = || rest.as_str().get(..2).is_some_and(is_hexadecimal);
        let is_good = match c {
            '%' => is_escape(),
            _ => c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@/?".contains(c),
        };
        if !is_good {
            return Err(UrlError::Target(c));
        }
    }
    Ok(())
}

fn is_hexadecimal(digits: &str) -> bool {
    digits.bytes().all(|digit| digit.is_ascii_hexdigit())
}

/// Tells credentials apart without showing them. The URL goes in too, so that the same password at
/// two places looks different.
fn digest(url: &str, credentials: &Credentials) -> String {
    let mut sha = Sha256::new();
    for part in [url, &credentials.user, credentials.password.expose()] {
        sha.update(part);
        // In none of the three.
        sha.update([0]);
    }
    let mut text = String::new();
    for byte in sha.finalize().iter().take(DIGEST_BYTES) {
        write!(text, "{byte:02x}").unwrap_or_default();
    }
    text
}
