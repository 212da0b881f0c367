//! The URLs that load is sent to and received on.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;

use super::LoadError;

/// Which protocol carries the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A stream, with framing. Source: RFC 6587.
    Tcp,
    /// One record a datagram. Source: RFC 5426.
    Udp,
    /// Requests of HTTP/1.1 with octet-counted bodies (`application/logplex-1`).
    Http,
    /// The relay protocol. Source: `docs/spec/quic.md`.
    Quic,
}

/// How records are set apart on a stream when sending. A receiver sees by the first byte which of
/// the two a session uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadFraming {
    /// A decimal count, a space, the message. Source: RFC 6587 §3.4.1.
    Octet,
    /// The message, a line feed. Source: RFC 6587 §3.4.2.
    Lf,
}

/// Files of a URL that speaks TLS, PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadFiles {
    /// The authorities to trust in the place of the system's.
    pub ca: Option<PathBuf>,
    /// The certificate to show.
    pub cert: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
}

/// A parsed `syslog+tcp://HOST:PORT?framing=octet|lf`, `syslog+udp://HOST:PORT`,
/// `http://HOST:PORT/PATH` or `quic://HOST:PORT?ca=FILE&cert=FILE&key=FILE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadUrl {
    /// Stream or datagrams.
    pub transport: Transport,
    /// Host and port, as they stand in the URL.
    pub authority: String,
    /// Framing of what is sent; octet counting unless given.
    pub framing: LoadFraming,
    /// Where requests go, with its `/`; empty but for HTTP.
    pub path: String,
    /// Of QUIC: whom to trust, and who to be.
    pub files: LoadFiles,
}

impl LoadUrl {
    /// A TCP URL on an address, octet counted.
    #[must_use]
    pub fn tcp(address: SocketAddr) -> Self {
        Self {
            transport: Transport::Tcp,
            authority: address.to_string(),
            framing: LoadFraming::Octet,
            path: String::new(),
            files: LoadFiles::default(),
        }
    }

    /// A UDP URL on an address.
    #[must_use]
    pub fn udp(address: SocketAddr) -> Self {
        Self { transport: Transport::Udp, ..Self::tcp(address) }
    }

    /// An HTTP URL on an address.
    #[must_use]
    pub fn http(address: SocketAddr, path: &str) -> Self {
        Self { transport: Transport::Http, path: path.to_owned(), ..Self::tcp(address) }
    }

    /// The same URL with another framing.
    #[must_use]
    pub fn with_framing(self, framing: LoadFraming) -> Self {
        Self { framing, ..self }
    }

    /// The first address of the host.
    ///
    /// # Errors
    /// [`LoadError::Resolve`] where the host has none.
    pub fn resolve(&self) -> Result<SocketAddr, LoadError> {
        let failed = |source| LoadError::Resolve { address: self.authority.clone(), source };
        let mut addresses = self.authority.to_socket_addrs().map_err(failed)?;
        addresses
            .next()
            .ok_or_else(|| failed(std::io::Error::other("the name exists but has no address")))
    }
}

impl FromStr for LoadUrl {
    type Err = LoadError;

    fn from_str(url: &str) -> Result<Self, LoadError> {
        let refuse = |problem: String| LoadError::Url { url: url.to_owned(), problem };
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err(refuse("it has no scheme".to_owned()));
        };
        let transport = match scheme {
            "syslog" | "syslog+tcp" => Transport::Tcp,
            "syslog+udp" => Transport::Udp,
            "http" => Transport::Http,
            "quic" => Transport::Quic,
            other => return Err(refuse(format!("scheme {other:?} is not known here"))),
        };
        let (authority, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = match authority.split_once('/') {
            None | Some((_, "")) if transport == Transport::Http => {
                (authority.trim_end_matches('/'), "/ingest".to_owned())
            }
            Some((authority, path)) if transport == Transport::Http => {
                (authority, format!("/{path}"))
            }
            _ => (authority.strip_suffix('/').unwrap_or(authority), String::new()),
        };
        match authority.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {}
            _ => return Err(refuse(format!("{authority:?} is not HOST:PORT"))),
        }
        let (mut framing, mut files) = (LoadFraming::Octet, LoadFiles::default());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match (pair, pair.split_once('='), transport) {
                ("framing=octet", _, Transport::Tcp) => framing = LoadFraming::Octet,
                ("framing=lf", _, Transport::Tcp) => framing = LoadFraming::Lf,
                (_, Some(("ca", file)), Transport::Quic) => files.ca = Some(file.into()),
                (_, Some(("cert", file)), Transport::Quic) => files.cert = Some(file.into()),
                (_, Some(("key", file)), Transport::Quic) => files.key = Some(file.into()),
                _ => return Err(refuse(format!("{pair:?} is not an option of this URL"))),
            }
        }
        Ok(Self { transport, authority: authority.to_owned(), framing, path, files })
    }
}

impl fmt::Display for LoadUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.transport, self.framing) {
            (Transport::Http, _) => write!(formatter, "http://{}{}", self.authority, self.path),
            (Transport::Quic, _) => write!(formatter, "quic://{}", self.authority),
            (Transport::Udp, _) => write!(formatter, "syslog+udp://{}", self.authority),
            (Transport::Tcp, LoadFraming::Octet) => {
                write!(formatter, "syslog+tcp://{}", self.authority)
            }
            (Transport::Tcp, LoadFraming::Lf) => {
                write!(formatter, "syslog+tcp://{}?framing=lf", self.authority)
            }
        }
    }
}
