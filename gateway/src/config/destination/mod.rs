//! Where records go: the URLs of routes and drains, and their one canonical form.

mod http;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Component, Path, PathBuf};

use super::source::QUIC_PORT;
use super::url::{Parts, Schemes, UrlError, escape, query_choice, query_number, unescape};
pub use http::{Credentials, HttpDestination, HttpFormat, HttpVersion};

/// The port of syslog over UDP and TCP. *Source*: RFC 5426 section 3.3; TCP as in use
/// (RFC 6587 has none of its own).
pub(super) const SYSLOG_PORT: u16 = 514;

/// *Source*: RFC 5425 section 4.1.
pub(super) const SYSLOG_TLS_PORT: u16 = 6514;

/// RELP has no port of its own; this is the one of its documentation.
pub(super) const RELP_PORT: u16 = 2514;

/// What each IPv4 receiver must take (RFC 5426 section 3.2), and what a datagram can hold.
const DATAGRAM_BYTES: (usize, usize) = (480, 65_507);

/// The schemes of destinations.
const SCHEMES: Schemes = Schemes {
    supported: &[
        "file",
        "http",
        "https",
        "quic",
        "relp",
        "relps",
        "stdout",
        "syslog",
        "syslog+tcp",
        "syslog+tls",
        "syslog+udp",
    ],
    // Logshuttle's other name for it, which stands in its users' drains.
    aliases: &[("ssh", "syslog+tls")],
    planned: &[
        "elasticsearch",
        "elasticsearchs",
        "hec",
        "hecs",
        "influx",
        "influxs",
        "kafka",
        "loki",
        "lokis",
        "nats",
        "otlp",
        "otlps",
        "redis",
        "s3",
        "shaftlog",
    ],
};

const WIRE_FRAMINGS: &[(&str, WireFraming)] =
    &[("octet", WireFraming::Octet), ("lf", WireFraming::Lf)];
const WIRE_FORMATS: &[(&str, WireFormat)] =
    &[("rfc5424", WireFormat::Rfc5424), ("rfc3164", WireFormat::Rfc3164)];
const LINE_FORMATS: &[(&str, LineFormat)] =
    &[("rfc5424", LineFormat::Rfc5424), ("json", LineFormat::Json), ("raw", LineFormat::Raw)];

/// A destination: two URLs with the same canonical form are the same one, and share its
/// connections and its queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestinationUrl {
    /// The identity: scheme and host in lower case, the port, the path, and those keys of the
    /// query that are not at their default, sorted; of HTTP the target as it was written, and a
    /// digest of the credentials.
    pub canonical: String,
    /// What it says.
    pub kind: DestinationKind,
}

/// What a destination's URL says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DestinationKind {
    /// `syslog+tcp://host:port`, and `syslog://`.
    SyslogTcp {
        /// A host name in lower case, or an IP address without brackets.
        host: String,
        /// 1 to 65535; 514 by default.
        port: u16,
        /// How records are told apart on the stream.
        framing: WireFraming,
        /// How a record is written.
        format: WireFormat,
    },
    /// `syslog+tls://host:port`, and `ssh://`.
    SyslogTls {
        /// As in `SyslogTcp`.
        host: String,
        /// 1 to 65535; 6514 by default.
        port: u16,
        /// As in `SyslogTcp`.
        framing: WireFraming,
        /// As in `SyslogTcp`.
        format: WireFormat,
    },
    /// `syslog+udp://host:port`.
    SyslogUdp {
        /// As in `SyslogTcp`.
        host: String,
        /// As in `SyslogTcp`.
        port: u16,
        /// How a record is written.
        format: WireFormat,
        /// Bytes of a datagram, 480 to 65507. A record that needs more is refused.
        bytes_max: usize,
    },
    /// `relp://host:port`, and `relps://` over TLS.
    Relp {
        /// As in `SyslogTcp`.
        host: String,
        /// 1 to 65535; 2514 by default.
        port: u16,
        /// Whether it goes over TLS.
        tls: bool,
    },
    /// `quic://host:port`: another gateway.
    Quic {
        /// As in `SyslogTcp`.
        host: String,
        /// 1 to 65535; 6515 by default.
        port: u16,
    },
    /// `http://host:port/path`, and `https://`.
    Http(HttpDestination),
    /// `file:///folder/file`, or `file:folder/file` in the working directory.
    File {
        /// As the operating system takes it.
        path: PathBuf,
        /// How a record is written, one a line.
        format: LineFormat,
    },
    /// `stdout:`.
    Stdout {
        /// How a record is written, one a line.
        format: LineFormat,
    },
}

/// How records are told apart on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WireFraming {
    /// The length in front. *Source*: RFC 6587 section 3.4.1, RFC 5425 section 4.3. The default:
    /// a record may hold a line feed.
    Octet,
    /// A line feed behind. *Source*: RFC 6587 section 3.4.2.
    Lf,
}

/// How a record is written as a syslog message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WireFormat {
    /// *Source*: RFC 5424 section 6. The default: nothing of a record is lost.
    Rfc5424,
    /// *Source*: RFC 3164 section 4.1.
    Rfc3164,
}

/// How a record is written on a line of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LineFormat {
    /// As a syslog message. The default of files.
    Rfc5424,
    /// As one JSON object. The default of `stdout:`.
    Json,
    /// The body alone.
    Raw,
}

impl DestinationUrl {
    /// Reads a destination's URL.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with it; credentials in it are never part of the message.
    pub fn parse(url: &str) -> Result<Self, UrlError> {
        let parts = Parts::parse(url, &SCHEMES)?;
        let read = match parts.scheme {
            "file" => file(&parts),
            "stdout" => stdout(&parts),
            "http" | "https" => http::read(&parts),
            "quic" => quic(&parts),
            "relp" | "relps" => relp(&parts),
            "syslog+tls" => syslog_stream(&parts, true),
            "syslog+udp" => syslog_udp(&parts),
            _ => syslog_stream(&parts, false),
        };
        read.map_err(|error| parts.hide(error))
    }
}

impl DestinationKind {
    /// Whether the way there is encrypted.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        match self {
            Self::SyslogTls { .. } | Self::Quic { .. } => true,
            Self::Relp { tls, .. } | Self::Http(HttpDestination { tls, .. }) => *tls,
            Self::SyslogTcp { .. }
            | Self::SyslogUdp { .. }
            | Self::File { .. }
            | Self::Stdout { .. } => false,
        }
    }

    /// Host and port of what is reached over a stream, be it TCP or TLS.
    #[must_use]
    pub fn stream(&self) -> Option<(&str, u16)> {
        match self {
            Self::SyslogTcp { host, port, .. }
            | Self::SyslogTls { host, port, .. }
            | Self::Relp { host, port, .. }
            | Self::Http(HttpDestination { host, port, .. }) => Some((host, *port)),
            Self::SyslogUdp { .. }
            | Self::Quic { .. }
            | Self::File { .. }
            | Self::Stdout { .. } => None,
        }
    }

    /// The scheme, without a colon.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        match self {
            Self::SyslogTcp { .. } => "syslog+tcp",
            Self::SyslogTls { .. } => "syslog+tls",
            Self::SyslogUdp { .. } => "syslog+udp",
            Self::Quic { .. } => "quic",
            Self::Relp { tls: false, .. } => "relp",
            Self::Relp { tls: true, .. } => "relps",
            Self::Http(HttpDestination { tls: false, .. }) => "http",
            Self::Http(HttpDestination { tls: true, .. }) => "https",
            Self::File { .. } => "file",
            Self::Stdout { .. } => "stdout",
        }
    }
}

impl fmt::Display for DestinationUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.canonical)
    }
}

fn syslog_stream(parts: &Parts<'_>, tls: bool) -> Result<DestinationUrl, UrlError> {
    let (host, port) = parts.endpoint(1)?;
    let (scheme, default) =
        if tls { ("syslog+tls", SYSLOG_TLS_PORT) } else { ("syslog+tcp", SYSLOG_PORT) };
    let port = port.unwrap_or(default);
    let [format, framing] = parts.query(&["format", "framing"])?;
    let format = query_choice("format", format, WireFormat::Rfc5424, WIRE_FORMATS)?;
    let framing = query_choice("framing", framing, WireFraming::Octet, WIRE_FRAMINGS)?;
    let canonical = canonical(
        format!("{scheme}://{}:{port}", host.in_url()),
        &[
            (format != WireFormat::Rfc5424, "format=rfc3164"),
            (framing != WireFraming::Octet, "framing=lf"),
        ],
    );
    let host = host.to_text();
    let kind = if tls {
        DestinationKind::SyslogTls { host, port, framing, format }
    } else {
        DestinationKind::SyslogTcp { host, port, framing, format }
    };
    Ok(DestinationUrl { canonical, kind })
}

fn syslog_udp(parts: &Parts<'_>) -> Result<DestinationUrl, UrlError> {
    let (host, port) = parts.endpoint(1)?;
    let port = port.unwrap_or(SYSLOG_PORT);
    let [format, bytes_max] = parts.query(&["format", "max_bytes"])?;
    let format = query_choice("format", format, WireFormat::Rfc5424, WIRE_FORMATS)?;
    let (_, most) = DATAGRAM_BYTES;
    let bytes_max = query_number("max_bytes", bytes_max, most, DATAGRAM_BYTES)?;
    let canonical = canonical(
        format!("syslog+udp://{}:{port}", host.in_url()),
        &[
            (format != WireFormat::Rfc5424, "format=rfc3164"),
            (bytes_max != most, &format!("max_bytes={bytes_max}")),
        ],
    );
    let host = host.to_text();
    Ok(DestinationUrl {
        canonical,
        kind: DestinationKind::SyslogUdp { host, port, format, bytes_max },
    })
}

fn relp(parts: &Parts<'_>) -> Result<DestinationUrl, UrlError> {
    let (host, port) = parts.endpoint(1)?;
    let port = port.unwrap_or(RELP_PORT);
    let [] = parts.query(&[])?;
    let canonical = format!("{}://{}:{port}", parts.scheme, host.in_url());
    let (host, tls) = (host.to_text(), parts.scheme == "relps");
    Ok(DestinationUrl { canonical, kind: DestinationKind::Relp { host, port, tls } })
}

fn quic(parts: &Parts<'_>) -> Result<DestinationUrl, UrlError> {
    let (host, port) = parts.endpoint(1)?;
    let port = port.unwrap_or(QUIC_PORT);
    let [] = parts.query(&[])?;
    let canonical = format!("quic://{}:{port}", host.in_url());
    Ok(DestinationUrl { canonical, kind: DestinationKind::Quic { host: host.to_text(), port } })
}

fn file(parts: &Parts<'_>) -> Result<DestinationUrl, UrlError> {
    match parts.authority {
        None | Some("") => {}
        Some(host) if host.eq_ignore_ascii_case("localhost") => {}
        Some(host) => {
            let host = host.rsplit('@').next().unwrap_or_default();
            return Err(UrlError::FileHost(super::report::quote(host)));
        }
    }
    let text = unescape(parts.path)?;
    // `file:///a//./b` and `file:///a/b` are one file; `..` stays, for a link may stand before it.
    let pieces = Path::new(&text).components().filter(|piece| *piece != Component::CurDir);
    let path: PathBuf = pieces.collect();
    let is_file = matches!(path.components().next_back(), Some(Component::Normal(_)));
    if !is_file || text.ends_with('/') || text.ends_with("/.") {
        return Err(UrlError::NoFile);
    }
    let [format] = parts.query(&["format"])?;
    let format = query_choice("format", format, LineFormat::Rfc5424, LINE_FORMATS)?;
    let slashes = if path.is_absolute() { "//" } else { "" };
    let canonical = canonical(
        format!("file:{slashes}{}", escape(&path.to_string_lossy())),
        &[(format == LineFormat::Json, "format=json"), (format == LineFormat::Raw, "format=raw")],
    );
    Ok(DestinationUrl { canonical, kind: DestinationKind::File { path, format } })
}

fn stdout(parts: &Parts<'_>) -> Result<DestinationUrl, UrlError> {
    if parts.authority.is_some() || !parts.path.is_empty() {
        return Err(UrlError::Stdout);
    }
    let [format] = parts.query(&["format"])?;
    let format = query_choice("format", format, LineFormat::Json, LINE_FORMATS)?;
    let canonical = canonical(
        "stdout:".to_owned(),
        &[
            (format == LineFormat::Raw, "format=raw"),
            (format == LineFormat::Rfc5424, "format=rfc5424"),
        ],
    );
    Ok(DestinationUrl { canonical, kind: DestinationKind::Stdout { format } })
}

/// The base and those pairs which hold, in the order given.
fn canonical(base: String, pairs: &[(bool, &str)]) -> String {
    let query: Vec<&str> =
        pairs.iter().filter(|(holds, _)| *holds).map(|(_, pair)| *pair).collect();
    if query.is_empty() { base } else { format!("{base}?{}", query.join("&")) }
}
