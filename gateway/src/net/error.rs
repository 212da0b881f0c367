//! Why a destination could not be reached.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::policy::Forbidden;
use super::tls::TlsFault;

/// Why there is no connection. The cause, where there is one, is the source of the error.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The connection could not be made.
    #[error("cannot connect to {host} at {address}")]
    Connect {
        /// As configured.
        host: String,
        /// The address that was tried last.
        address: SocketAddr,
        /// What the kernel says.
        source: io::Error,
    },
    /// Nobody answered.
    #[error(
        "{host} at {address} did not answer within {limit:?}: is it up, and no firewall between?"
    )]
    ConnectTimeout {
        /// As configured.
        host: String,
        /// The address that was tried last.
        address: SocketAddr,
        /// The time given.
        limit: Duration,
    },
    /// The policy does not let anything connect there.
    #[error(
        "{host} may not be a destination: give it a public address, or allow this one in [network]"
    )]
    Forbidden {
        /// As configured.
        host: String,
        /// The address and the rule.
        source: Forbidden,
    },
    /// Not something that can be resolved.
    #[error("{host:?} is no host: write a name in ASCII, or an address")]
    Host {
        /// As configured.
        host: String,
    },
    /// The name exists, but has no address.
    #[error("{host} has no address")]
    NoAddress {
        /// As configured.
        host: String,
    },
    /// The name was not resolved.
    #[error("cannot resolve {host}: is the name right, and does its name server answer?")]
    Resolve {
        /// As configured.
        host: String,
        /// What the resolver says.
        source: io::Error,
    },
    /// The name servers did not answer.
    #[error("no answer from the name servers for {host} within {limit:?}")]
    ResolveTimeout {
        /// As configured.
        host: String,
        /// The time given.
        limit: Duration,
    },
    /// The connection was made, but not secured.
    #[error("{}", fault.explain(host))]
    Tls {
        /// The name that the certificate was to have.
        host: String,
        /// What kind of failure.
        fault: TlsFault,
        /// What the TLS library or the kernel says.
        source: io::Error,
    },
    /// The peer does not go on with the handshake.
    #[error(
        "{host} did not finish the TLS handshake within {limit:?}: does it speak TLS on this port?"
    )]
    TlsTimeout {
        /// The name that the certificate was to have.
        host: String,
        /// The time given.
        limit: Duration,
    },
}

impl DialError {
    /// A word of a closed set, for a metric's label.
    pub fn keyword(&self) -> &'static str {
        match self {
            Self::Connect { source, .. } => match source.kind() {
                io::ErrorKind::ConnectionRefused => "refused",
                io::ErrorKind::TimedOut => "timeout",
                io::ErrorKind::HostUnreachable
                | io::ErrorKind::NetworkUnreachable
                | io::ErrorKind::NetworkDown
                | io::ErrorKind::AddrNotAvailable => "unreachable",
                _ => "io",
            },
            Self::ConnectTimeout { .. } | Self::TlsTimeout { .. } => "timeout",
            Self::Forbidden { .. } => "forbidden",
            Self::Host { .. }
            | Self::NoAddress { .. }
            | Self::Resolve { .. }
            | Self::ResolveTimeout { .. } => "resolve",
            Self::Tls { fault, .. } => fault.keyword(),
        }
    }

    /// Whether it would be of no use to dial again: only what the policy forbids stays so.
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::Forbidden { .. })
    }
}
