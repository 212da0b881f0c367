//! Where records come in: `[[source]]` after its check.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::destination::{RELP_PORT, SYSLOG_PORT};
use super::template::AppTemplate;
use super::url::{Host, Parts, Schemes, UrlError};

/// The schemes of sources.
const SCHEMES: Schemes = Schemes {
    supported: &["relp", "syslog+tcp", "syslog+udp"],
    aliases: &[],
    planned: &[
        "grpc",
        "grpcs",
        "http",
        "https",
        "quic",
        "relps",
        "syslog+tls",
        "syslog+unix",
        "syslog+unixgram",
    ],
};

/// A configured entrance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// How pipelines and metrics call it.
    pub name: String,
    /// What it listens on.
    pub url: SourceUrl,
    /// How a record's tenant key is made.
    pub app: AppTemplate,
    /// How records are told apart on a stream; of use for TCP alone.
    pub framing: Framing,
    /// Which syslog a record is written in.
    pub format: Format,
    /// Whether a record that breaks its RFC is rejected instead of taken as well as possible.
    pub strict: bool,
    /// What becomes of a record longer than [`super::Limits::record`].
    pub oversize: Oversize,
    /// Sessions at a time; of no use for UDP.
    pub max_sessions: usize,
    /// How long a session may bring nothing before it is closed; of no use for UDP.
    pub idle: Duration,
    /// A frame that has begun must end within this; of no use for UDP.
    pub frame_timeout: Duration,
    /// Bytes asked of the kernel for datagrams that wait (`SO_RCVBUF`); of use for UDP
    /// alone.
    pub receive_buffer: usize,
    /// Records taken from a session and not yet answered; of use for RELP alone.
    pub window: usize,
}

/// What a source listens on. Port 0 asks for any free port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SourceUrl {
    /// `syslog+udp://IP:port`.
    SyslogUdp(SocketAddr),
    /// `syslog+tcp://IP:port`.
    SyslogTcp(SocketAddr),
    /// `relp://IP:port`.
    Relp(SocketAddr),
}

/// How records are told apart on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Framing {
    /// Found out from the first bytes of a session, then kept.
    Auto,
    /// The length in front. *Source*: RFC 6587 section 3.4.1.
    Octet,
    /// A line feed behind. *Source*: RFC 6587 section 3.4.2.
    Lf,
    /// A NUL behind. *Source*: RFC 6587 section 3.4.2.
    Nul,
}

/// Which syslog a record is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Found out from each record.
    Auto,
    /// *Source*: RFC 5424 section 6.
    Rfc5424,
    /// *Source*: RFC 3164 section 4.1, and its dialects.
    Rfc3164,
}

/// What becomes of a record that is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Oversize {
    /// It is cut, marked and counted.
    Truncate,
    /// It is refused and counted.
    Reject,
}

impl SourceUrl {
    /// Reads a source's URL. `localhost` is 127.0.0.1.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with it.
    pub fn parse(url: &str) -> Result<Self, UrlError> {
        let parts = Parts::parse(url, &SCHEMES)?;
        let (host, port) = parts.endpoint(0)?;
        let [] = parts.query(&[])?;
        let ip = match host {
            Host::Address(ip) => ip,
            Host::Name(name) if name == "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Host::Name(name) => return Err(UrlError::HostToListen(super::report::quote(&name))),
        };
        let at = |default| SocketAddr::new(ip, port.unwrap_or(default));
        Ok(match parts.scheme {
            "relp" => Self::Relp(at(RELP_PORT)),
            "syslog+udp" => Self::SyslogUdp(at(SYSLOG_PORT)),
            _ => Self::SyslogTcp(at(SYSLOG_PORT)),
        })
    }

    /// The address it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        match self {
            Self::SyslogUdp(address) | Self::SyslogTcp(address) | Self::Relp(address) => *address,
        }
    }

    /// Whether it takes TCP connections.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        !matches!(self, Self::SyslogUdp(_))
    }

    /// The scheme, without a colon.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        match self {
            Self::SyslogUdp(_) => "syslog+udp",
            Self::SyslogTcp(_) => "syslog+tcp",
            Self::Relp(_) => "relp",
        }
    }
}

impl fmt::Display for SourceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme(), self.address())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_urls_are_addresses() {
        for (url, expected) in [
            ("syslog+udp://127.0.0.1:5514", "syslog+udp://127.0.0.1:5514"),
            ("syslog+tcp://LOCALHOST:0", "syslog+tcp://127.0.0.1:0"),
            ("syslog+tcp://0.0.0.0", "syslog+tcp://0.0.0.0:514"),
            ("relp://[::1]", "relp://[::1]:2514"),
            ("Syslog+TCP://[::]:6514/", "syslog+tcp://[::]:6514"),
        ] {
            assert_eq!(SourceUrl::parse(url).unwrap().to_string(), expected, "{url}");
        }
    }
}
