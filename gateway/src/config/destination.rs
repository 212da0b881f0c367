//! Where records go: the URLs of routes and drains, and their one canonical form.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use super::url::{Host, Parts, Schemes, UrlError, escape, query_choice, unescape};

/// The port of syslog over UDP and TCP. *Source*: RFC 5426 section 3.3; TCP as in use
/// (RFC 6587 has none of its own).
pub(super) const SYSLOG_PORT: u16 = 514;

/// The schemes of destinations.
const SCHEMES: Schemes = Schemes {
    supported: &["file", "stdout", "syslog", "syslog+tcp", "syslog+udp"],
    planned: &[
        "elasticsearch",
        "elasticsearchs",
        "hec",
        "hecs",
        "http",
        "https",
        "influx",
        "influxs",
        "kafka",
        "loki",
        "lokis",
        "nats",
        "otlp",
        "otlps",
        "quic",
        "redis",
        "relp",
        "s3",
        "shaftlog",
        "syslog+tls",
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
    /// query that are not at their default, sorted.
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
    /// `syslog+udp://host:port`.
    SyslogUdp {
        /// As in `SyslogTcp`.
        host: String,
        /// As in `SyslogTcp`.
        port: u16,
        /// How a record is written.
        format: WireFormat,
    },
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

/// What happens to a record whose destination's queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WhenFull {
    /// Sources that feed it wait.
    Block,
    /// The oldest record of the queue is dropped, and counted.
    Shed,
}

impl DestinationUrl {
    /// Reads a destination's URL.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with it; credentials in it are never part of the message.
    pub fn parse(url: &str) -> Result<Self, UrlError> {
        let parts = Parts::parse(url, &SCHEMES)?;
        match parts.scheme {
            "file" => file(&parts),
            "stdout" => stdout(&parts),
            "syslog+udp" => syslog_udp(&parts),
            _ => syslog_tcp(&parts),
        }
    }
}

impl fmt::Display for DestinationUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.canonical)
    }
}

fn syslog_tcp(parts: &Parts<'_>) -> Result<DestinationUrl, UrlError> {
    let (host, port) = endpoint(parts)?;
    let [format, framing] = parts.query(&["format", "framing"])?;
    let format = query_choice("format", format, WireFormat::Rfc5424, WIRE_FORMATS)?;
    let framing = query_choice("framing", framing, WireFraming::Octet, WIRE_FRAMINGS)?;
    let canonical = canonical(
        format!("syslog+tcp://{}:{port}", host.in_url()),
        &[
            (format != WireFormat::Rfc5424, "format=rfc3164"),
            (framing != WireFraming::Octet, "framing=lf"),
        ],
    );
    let host = host.to_text();
    Ok(DestinationUrl {
        canonical,
        kind: DestinationKind::SyslogTcp { host, port, framing, format },
    })
}

fn syslog_udp(parts: &Parts<'_>) -> Result<DestinationUrl, UrlError> {
    let (host, port) = endpoint(parts)?;
    let [format] = parts.query(&["format"])?;
    let format = query_choice("format", format, WireFormat::Rfc5424, WIRE_FORMATS)?;
    let canonical = canonical(
        format!("syslog+udp://{}:{port}", host.in_url()),
        &[(format != WireFormat::Rfc5424, "format=rfc3164")],
    );
    let host = host.to_text();
    Ok(DestinationUrl { canonical, kind: DestinationKind::SyslogUdp { host, port, format } })
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

fn endpoint(parts: &Parts<'_>) -> Result<(Host, u16), UrlError> {
    let (host, port) = parts.endpoint(1)?;
    Ok((host, port.unwrap_or(SYSLOG_PORT)))
}

/// The base and those pairs which hold, in the order given.
fn canonical(base: String, pairs: &[(bool, &str)]) -> String {
    let query: Vec<&str> =
        pairs.iter().filter(|(holds, _)| *holds).map(|(_, pair)| *pair).collect();
    if query.is_empty() { base } else { format!("{base}?{}", query.join("&")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_endpoint_has_one_canonical_form() {
        for (url, expected) in [
            ("syslog://logs.example.com", "syslog+tcp://logs.example.com:514"),
            ("SYSLOG+TCP://Logs.Example.COM:514/", "syslog+tcp://logs.example.com:514"),
            ("syslog://a?framing=octet&format=rfc5424", "syslog+tcp://a:514"),
            (
                "syslog://a?framing=lf&format=rfc3164",
                "syslog+tcp://a:514?format=rfc3164&framing=lf",
            ),
            (
                "syslog://a?format=rfc3164&framing=lf&",
                "syslog+tcp://a:514?format=rfc3164&framing=lf",
            ),
            ("syslog://[2001:DB8::0:1]:6514", "syslog+tcp://[2001:db8::1]:6514"),
            ("syslog+udp://10.0.0.7", "syslog+udp://10.0.0.7:514"),
            (
                "syslog+udp://10.0.0.7:0514?format=rfc3164",
                "syslog+udp://10.0.0.7:514?format=rfc3164",
            ),
            ("syslog://_dmarc.x-y.example.", "syslog+tcp://_dmarc.x-y.example.:514"),
            ("file:///var/log/all.log", "file:///var/log/all.log"),
            ("file://localhost/var//log/./all.log", "file:///var/log/all.log"),
            ("file:out/all.log?format=json", "file:out/all.log?format=json"),
            ("file:./out/all.log", "file:out/all.log"),
            ("file:///a%20b%23", "file:///a%20b%23"),
            ("file:///%61", "file:///a"),
            ("file:///%C3%A9", "file:///%C3%A9"),
            ("stdout:", "stdout:"),
            ("stdout:?format=json", "stdout:"),
            ("stdout:?format=raw", "stdout:?format=raw"),
        ] {
            let parsed = DestinationUrl::parse(url).unwrap();
            assert_eq!(parsed.canonical, expected, "{url}");
            // The canonical form says the same as the URL.
            assert_eq!(DestinationUrl::parse(expected).unwrap(), parsed, "{url}");
        }
    }

    #[test]
    fn urls_say_what_they_say() {
        let check = |url: &str, expected| {
            assert_eq!(DestinationUrl::parse(url).unwrap().kind, expected, "{url}");
        };
        check(
            "syslog://[::1]:5514?framing=lf",
            DestinationKind::SyslogTcp {
                host: "::1".to_owned(),
                port: 5514,
                framing: WireFraming::Lf,
                format: WireFormat::Rfc5424,
            },
        );
        check(
            "syslog+udp://A",
            DestinationKind::SyslogUdp {
                host: "a".to_owned(),
                port: 514,
                format: WireFormat::Rfc5424,
            },
        );
        check(
            "file:a%20b",
            DestinationKind::File { path: PathBuf::from("a b"), format: LineFormat::Rfc5424 },
        );
        check("stdout:", DestinationKind::Stdout { format: LineFormat::Json });
    }
}
