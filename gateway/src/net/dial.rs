//! Making a connection: resolve, judge, connect, secure.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;

use super::error::DialError;
use super::policy::Policy;
use super::resolve::Resolver;
use super::stream::{Stream, tune};
use super::tls::TlsClient;

/// Of a name with more addresses only the first ones are tried (all are judged).
pub(super) const ADDRESSES_TRIED_MAX: usize = 8;

/// What connections are made with.
#[derive(Clone, Debug, Default)]
pub struct Network {
    /// Where guarded endpoints may be.
    pub policy: Policy,
    /// Who resolves names.
    pub resolver: Resolver,
    /// How long each step may take.
    pub limits: Limits,
}

impl Network {
    /// The addresses of a host, in the order in which to try them; if it is guarded, all of them
    /// have passed the policy. For what does not connect by TCP: to be asked for each socket.
    ///
    /// *Cancel safety*: safe.
    ///
    /// # Errors
    /// The host is not resolved, or forbidden.
    pub async fn addresses(
        &self,
        host: &str,
        port: u16,
        guarded: bool,
    ) -> Result<Vec<SocketAddr>, DialError> {
        let addresses = self.resolver.resolve(host, port, self.limits.resolve).await?;
        if guarded {
            for address in &addresses {
                // One bad address condemns the name: who mixes them is up to something.
                let judged = self.policy.check(*address);
                judged.map_err(|source| DialError::Forbidden { host: host.to_owned(), source })?;
            }
        }
        Ok(addresses)
    }
}

/// How long each step of a connection may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// To resolve the name.
    pub resolve: Duration,
    /// To connect to one address.
    pub connect: Duration,
    /// For the TLS handshake.
    pub handshake: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            resolve: Duration::from_secs(4),
            connect: Duration::from_secs(4),
            handshake: Duration::from_secs(10),
        }
    }
}

/// Whom to connect to.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// A name or an address, the latter also in brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
    /// How to secure the connection; none: plain TCP.
    pub tls: Option<Arc<TlsClient>>,
    /// Whether the policy applies: it does to what tenants give, not to the operator's file.
    pub guarded: bool,
}

/// Connects. The name is resolved anew; if the endpoint is guarded, each of its addresses must
/// pass the policy, and only these are connected to, one after the other.
///
/// *Cancel safety*: safe; a connection half made is closed.
///
/// # Errors
/// If several addresses fail, that of the last one tried.
pub async fn dial(network: &Network, endpoint: &Endpoint) -> Result<Stream, DialError> {
    let Limits { connect: connect_limit, handshake, .. } = network.limits;
    let Endpoint { host, port, tls, guarded } = endpoint;
    let addresses = network.addresses(host, *port, *guarded).await?;
    let mut last = DialError::NoAddress { host: host.clone() };
    for address in addresses.into_iter().take(ADDRESSES_TRIED_MAX) {
        let connected = async {
            let tcp = connect(host, address, connect_limit).await?;
            match tls {
                Some(tls) => Stream::secure(tcp, address, tls, host, handshake).await,
                None => Ok(Stream::plain(tcp, address)),
            }
        };
        match connected.await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn connect(host: &str, address: SocketAddr, limit: Duration) -> Result<TcpStream, DialError> {
    let failed = |source| DialError::Connect { host: host.to_owned(), address, source };
    let late = |_| DialError::ConnectTimeout { host: host.to_owned(), address, limit };
    let connected = tokio::time::timeout(limit, TcpStream::connect(address)).await.map_err(late)?;
    let tcp = connected.map_err(failed)?;
    // Connecting to a free port of this machine can meet itself.
    if tcp.local_addr().map_err(failed)? == address {
        return Err(failed(std::io::ErrorKind::ConnectionRefused.into()));
    }
    tune(&tcp).map_err(failed)?;
    Ok(tcp)
}
