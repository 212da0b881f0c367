//! Names to addresses.
//!
//! Nothing is kept: a name is resolved anew for each connection, so that a destination that moves
//! is followed, and what the policy judges is what is connected to.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::Name;
use tokio::sync::Semaphore;

use super::error::DialError;

/// The system's resolver blocks a thread each: this many names at once, the others wait.
const SYSTEM_LOOKUPS_MAX: usize = 64;
static SYSTEM_LOOKUPS: Semaphore = Semaphore::const_new(SYSTEM_LOOKUPS_MAX);
/// Longest name, in bytes, a trailing dot included.
const NAME_BYTES_MAX: usize = 254;
/// Time for one answer of a name server; there is one retry.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(1500);

/// Who resolves names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Resolver {
    /// The system's resolver: its hosts file, its search domains, its name servers.
    #[default]
    System,
    /// These name servers, and no hosts file or search domain.
    Servers(Vec<SocketAddr>),
}

impl Resolver {
    /// All addresses of the host, in the order in which to try them. An address, also in brackets,
    /// is not looked up. The system's resolver knows more spellings of addresses, such as `127.1`:
    /// what comes of them is an address like any other.
    ///
    /// *Cancel safety*: safe; nothing is kept between calls.
    ///
    /// # Errors
    /// The host is not one, is not known, has no address, or nobody answered in time.
    pub async fn resolve(
        &self,
        host: &str,
        port: u16,
        limit: Duration,
    ) -> Result<Vec<SocketAddr>, DialError> {
        let bare = bare(host).ok_or_else(|| DialError::Host { host: host.to_owned() })?;
        if let Ok(ip) = bare.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, port)]);
        }
        let found = tokio::time::timeout(limit, self.look_up(bare, port)).await;
        let found = found
            .map_err(|_| DialError::ResolveTimeout { host: host.to_owned(), limit })?
            .map_err(|source| DialError::Resolve { host: host.to_owned(), source })?;
        if found.is_empty() {
            return Err(DialError::NoAddress { host: host.to_owned() });
        }
        Ok(found)
    }

    async fn look_up(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        match self {
            Self::System => {
                let slot = SYSTEM_LOOKUPS.acquire().await.map_err(io::Error::other)?;
                let host = host.to_owned();
                let look_up = move || {
                    let found = (host.as_str(), port).to_socket_addrs();
                    // The thread is taken until here, however long ago the caller gave up.
                    drop(slot);
                    found.map(Iterator::collect)
                };
                tokio::task::spawn_blocking(look_up).await.map_err(io::Error::other)?
            }
            Self::Servers(servers) => {
                // Whole, as if it had a dot at its end: nothing is appended. Underscores are taken.
                let mut name = Name::from_ascii(host).map_err(io::Error::other)?;
                name.set_fqdn(true);
                let found = asking(servers)?.lookup_ip(name).await.map_err(io::Error::other)?;
                Ok(found.iter().map(|ip| SocketAddr::new(ip, port)).collect())
            }
        }
    }
}

/// A resolver for one question: it has nothing to remember.
fn asking(servers: &[SocketAddr]) -> io::Result<TokioResolver> {
    let servers = servers.iter().map(|server| {
        let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
        let connections = connections.map(|mut connection| {
            connection.port = server.port();
            connection
        });
        NameServerConfig::new(server.ip(), true, connections.into())
    });
    let config = ResolverConfig::from_name_servers(servers.collect());
    let provider = TokioRuntimeProvider::default();
    let mut builder = TokioResolver::builder_with_config(config, provider);
    let options = builder.options_mut();
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.timeout = ANSWER_TIMEOUT;
    options.attempts = 1;
    builder.build().map_err(io::Error::other)
}

/// The host without brackets, if it is made of what names and addresses are made of.
pub(super) fn bare(host: &str) -> Option<&str> {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    let is_plain =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':' | b'%');
    let is_host = !bare.is_empty() && bare.len() <= NAME_BYTES_MAX && bare.bytes().all(is_plain);
    is_host.then_some(bare)
}
