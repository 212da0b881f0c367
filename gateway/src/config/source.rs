//! Where records come in: `[[source]]` after its check.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::destination::{RELP_PORT, SYSLOG_PORT, SYSLOG_TLS_PORT};
use super::network::Cidr;
use super::source_grpc::SourceGrpc;
use super::source_http::SourceHttp;
use super::template::AppTemplate;
use super::url::{Host, Parts, Schemes, UrlError, query_choice, unescape};

/// Ports that need no privileges, beside those of the control listener and of other gateways.
const HTTP_PORT: u16 = 8080;
/// As [`HTTP_PORT`].
const HTTPS_PORT: u16 = 8443;
/// Where meshes are used to find a sink of access logs; as [`HTTP_PORT`].
const GRPC_PORT: u16 = 9001;
/// Beside that of syslog over TLS; none is assigned.
pub(super) const QUIC_PORT: u16 = 6515;

/// What the kernel takes as the path of a socket, in bytes.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// The schemes of sources.
const SCHEMES: Schemes = Schemes {
    supported: &[
        "grpc",
        "grpcs",
        "http",
        "https",
        "quic",
        "relp",
        "relps",
        "syslog+tcp",
        "syslog+tls",
        "syslog+udp",
        "syslog+unix",
        "syslog+unixgram",
    ],
    aliases: &[],
    planned: &[],
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
    /// Whether what comes may be compressed, as rsyslog does it; of use for syslog alone.
    pub compression: Compression,
    /// Which syslog a record is written in.
    pub format: Format,
    /// Whether a record that breaks its RFC is rejected instead of taken as well as possible.
    pub strict: bool,
    /// What becomes of a record longer than [`super::Limits::record`].
    pub oversize: Oversize,
    /// Sessions at a time; of no use for datagrams.
    pub max_sessions: usize,
    /// Sessions at a time of one peer, by its IP address; 0 for no limit. Of use for TCP and QUIC
    /// alone.
    pub max_sessions_per_peer: usize,
    /// How long a peer may take to say who it is, by TLS or by a PROXY header. Of use for TCP and
    /// QUIC alone.
    pub handshake_timeout: Duration,
    /// Networks whose peers are proxies: their connections begin with a PROXY header (version 1 or
    /// 2), and nobody else's do.
    pub proxy_protocol: Vec<Cidr>,
    /// Whether who sent a record is among its fields.
    pub peer_fields: bool,
    /// How it says who it is, and which peers it lets in: there with schemes of TLS, and only there.
    pub tls: Option<SourceTls>,
    /// How long a session may bring nothing before it is closed; of no use for UDP.
    pub idle: Duration,
    /// A frame that has begun must end within this; of no use for UDP.
    pub frame_timeout: Duration,
    /// Bytes asked of the kernel for datagrams that wait (`SO_RCVBUF`); of use for UDP
    /// alone.
    pub receive_buffer: usize,
    /// Sockets that share the address, each with a thread of its own; of use for UDP alone.
    pub sockets: usize,
    /// Permissions of the socket in the file system; of use for Unix sockets alone.
    pub mode: u32,
    /// Records taken from a session and not yet answered; of use for RELP alone.
    pub window: usize,
    /// What it needs to take requests: there with `http`, `https`, `grpc` and `grpcs`, and only there.
    pub http: Option<SourceHttp>,
    /// What it needs to take access logs: there with `grpc` and `grpcs`, and only there.
    pub grpc: Option<SourceGrpc>,
}

/// The TLS of a source. All files are PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceTls {
    /// The certificate, then those that lead to its authority.
    pub cert: PathBuf,
    /// The private key of the certificate.
    pub key: PathBuf,
    /// Which peers are let in.
    pub clients: Clients,
}

/// Which peers a source with TLS lets in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Clients {
    /// All; none is asked for a certificate.
    All,
    /// Those without a certificate, and those with one of an authority in this file.
    Optional(PathBuf),
    /// Those with a certificate of an authority in this file.
    Required(PathBuf),
}

/// What a source listens on. Port 0 asks for any free port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SourceUrl {
    /// `syslog+udp://IP:port`.
    SyslogUdp(SocketAddr),
    /// `syslog+tcp://IP:port`.
    SyslogTcp(SocketAddr),
    /// `syslog+tls://IP:port`. *Source*: RFC 5425.
    SyslogTls(SocketAddr),
    /// `syslog+unix:///path`: a stream.
    SyslogUnix(PathBuf),
    /// `syslog+unixgram:///path`: datagrams, as on `/dev/log`.
    SyslogUnixgram(PathBuf),
    /// `relp://IP:port`.
    Relp(SocketAddr),
    /// `relps://IP:port`: RELP over TLS.
    Relps(SocketAddr),
    /// `http://IP:port`.
    Http(SocketAddr),
    /// `https://IP:port`.
    Https(SocketAddr),
    /// `https://IP:port?http3=true`: the same, and HTTP/3 on the UDP port of that number.
    Https3(SocketAddr),
    /// `quic://IP:port`.
    Quic(SocketAddr),
    /// `grpc://IP:port`.
    Grpc(SocketAddr),
    /// `grpcs://IP:port`: the same over TLS.
    Grpcs(SocketAddr),
}

/// Where a source listens: no two may want the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// A TCP port.
    Tcp(SocketAddr),
    /// A UDP port.
    Udp(SocketAddr),
    /// A socket in the file system.
    Path(PathBuf),
}

impl Place {
    /// The IP address and port, if it has any.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) | Self::Udp(address) => Some(*address),
            Self::Path(_) => None,
        }
    }

    /// Whether only one of them can be listened on: they are the same, or one TCP port of an address and of
    /// all addresses. Of UDP the sockets of one user may share a port so.
    #[must_use]
    pub fn excludes(&self, other: &Self) -> bool {
        let (Self::Tcp(one), Self::Tcp(two)) = (self, other) else { return self == other };
        let is_all = |it: &SocketAddr, of: &SocketAddr| {
            it.ip().is_unspecified() && it.is_ipv4() == of.is_ipv4()
        };
        one.port() == two.port() && (one.ip() == two.ip() || is_all(one, two) || is_all(two, one))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) | Self::Udp(address) => address.fmt(f),
            Self::Path(path) => path.display().fmt(f),
        }
    }
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

/// Whether what comes may be compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Found out from the first bytes of a session, and of each record.
    Auto,
    /// Nothing is inflated.
    None,
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
        let has_http3 = if parts.scheme == "https" {
            let [http3] = parts.query(&["http3"])?;
            query_choice("http3", http3, false, &[("true", true), ("false", false)])?
        } else {
            let [] = parts.query(&[])?;
            false
        };
        match parts.scheme {
            "syslog+unix" => return Ok(Self::SyslogUnix(socket_path(&parts)?)),
            "syslog+unixgram" => return Ok(Self::SyslogUnixgram(socket_path(&parts)?)),
            _ => {}
        }
        let (host, port) = parts.endpoint(0)?;
        let ip = match host {
            Host::Address(ip) => ip,
            Host::Name(name) if name == "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Host::Name(name) => return Err(UrlError::HostToListen(super::report::quote(&name))),
        };
        let at = |default| SocketAddr::new(ip, port.unwrap_or(default));
        Ok(match parts.scheme {
            "grpc" => Self::Grpc(at(GRPC_PORT)),
            "grpcs" => Self::Grpcs(at(GRPC_PORT)),
            "http" => Self::Http(at(HTTP_PORT)),
            "https" if has_http3 => Self::Https3(at(HTTPS_PORT)),
            "https" => Self::Https(at(HTTPS_PORT)),
            "quic" => Self::Quic(at(QUIC_PORT)),
            "relp" => Self::Relp(at(RELP_PORT)),
            "relps" => Self::Relps(at(RELP_PORT)),
            "syslog+tls" => Self::SyslogTls(at(SYSLOG_TLS_PORT)),
            "syslog+udp" => Self::SyslogUdp(at(SYSLOG_PORT)),
            _ => Self::SyslogTcp(at(SYSLOG_PORT)),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn place(&self) -> Place {
        match self {
            Self::SyslogUdp(address) | Self::Quic(address) => Place::Udp(*address),
            Self::SyslogTcp(address)
            | Self::SyslogTls(address)
            | Self::Relp(address)
            | Self::Relps(address)
            | Self::Http(address)
            | Self::Https(address)
            | Self::Https3(address)
            | Self::Grpc(address)
            | Self::Grpcs(address) => Place::Tcp(*address),
            Self::SyslogUnix(path) | Self::SyslogUnixgram(path) => Place::Path(path.clone()),
        }
    }

    /// Whether it speaks TLS, and so needs a certificate.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        matches!(
            self,
            Self::SyslogTls(_)
                | Self::Relps(_)
                | Self::Https(_)
                | Self::Https3(_)
                | Self::Quic(_)
                | Self::Grpcs(_)
        )
    }

    /// Whether it speaks HTTP.
    #[must_use]
    pub fn is_http(&self) -> bool {
        matches!(self, Self::Http(_) | Self::Https(_) | Self::Https3(_))
    }

    /// Whether it speaks gRPC.
    #[must_use]
    pub fn is_grpc(&self) -> bool {
        matches!(self, Self::Grpc(_) | Self::Grpcs(_))
    }

    /// The scheme, without a colon.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        match self {
            Self::SyslogUdp(_) => "syslog+udp",
            Self::SyslogTcp(_) => "syslog+tcp",
            Self::SyslogTls(_) => "syslog+tls",
            Self::SyslogUnix(_) => "syslog+unix",
            Self::SyslogUnixgram(_) => "syslog+unixgram",
            Self::Relp(_) => "relp",
            Self::Relps(_) => "relps",
            Self::Http(_) => "http",
            Self::Https(_) | Self::Https3(_) => "https",
            Self::Quic(_) => "quic",
            Self::Grpc(_) => "grpc",
            Self::Grpcs(_) => "grpcs",
        }
    }
}

/// The path of a socket: `scheme:///folder/name`.
fn socket_path(parts: &Parts<'_>) -> Result<PathBuf, UrlError> {
    let path = unescape(parts.path)?;
    let is_plain = parts.authority == Some("");
    if !is_plain || path.ends_with('/') || path.len() > SOCKET_PATH_BYTES_MAX {
        return Err(UrlError::Socket(parts.scheme));
    }
    Ok(PathBuf::from(path))
}

impl fmt::Display for SourceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme(), self.place())?;
        f.write_str(if matches!(self, Self::Https3(_)) { "?http3=true" } else { "" })
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
            ("https://[::]?http3=true", "https://[::]:8443?http3=true"),
            ("https://[::]?http3=false", "https://[::]:8443"),
            ("syslog+tcp://0.0.0.0", "syslog+tcp://0.0.0.0:514"),
            ("relp://[::1]", "relp://[::1]:2514"),
            ("relps://[::1]", "relps://[::1]:2514"),
            ("quic://0.0.0.0", "quic://0.0.0.0:6515"),
            ("grpc://0.0.0.0", "grpc://0.0.0.0:9001"),
            ("grpcs://[::1]", "grpcs://[::1]:9001"),
            ("syslog+tls://[::1]", "syslog+tls://[::1]:6514"),
            ("syslog+unix:///run/a%20b", "syslog+unix:///run/a b"),
            ("SYSLOG+unixgram:///dev/log", "syslog+unixgram:///dev/log"),
            ("Syslog+TCP://[::]:6514/", "syslog+tcp://[::]:6514"),
        ] {
            assert_eq!(SourceUrl::parse(url).unwrap().to_string(), expected, "{url}");
        }
    }
}
