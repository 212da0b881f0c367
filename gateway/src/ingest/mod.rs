//! Ingest: listeners and sessions; bytes to batches.
//!
//! * **What enters**: bytes of peers.
//! * **What leaves**: decoded batches, handed to the [`Intake`] one at a time per session.
//! * **Limits**: sessions per source, bytes per record, time per frame, idle time; bytes of all
//!   batches in flight ([`Admission`]).
//! * **When it fails**: a session is closed with a reason; its listener goes on.
//! * **May import**: `telemetry`, `config`.

mod admission;
mod entrance;
mod listener;
mod relp;
mod tcp;
mod udp;

use std::future::Future;
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;

use logboom_record::{Batch, Receipt};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use admission::{Admission, Permit};
use entrance::{Entrance, Gate};
use listener::Protocol;

use crate::config::{Source, SourceUrl};
use crate::telemetry::ledger::SourceBook;

/// Where batches go. The future is ready when the session may read on: a destination that blocks
/// makes it wait.
pub trait Intake: Send + Sync + 'static {
    /// Takes a batch; the permit is held for as long as its bytes are, the receipt until each of its
    /// records has reached its end.
    fn take<'a>(
        &'a self,
        batch: Batch,
        permit: Permit,
        receipt: Option<Arc<Receipt>>,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;
}

/// A source that listens.
pub struct Listening {
    /// The address it is bound to.
    pub address: SocketAddr,
    /// Ends when the source has shut down and its sessions are over.
    pub task: JoinHandle<()>,
    source: Source,
    gate: Arc<Gate>,
    stop: watch::Sender<bool>,
}

impl std::fmt::Debug for Listening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listening").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Listening {
    /// The source as it is in force.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Puts another form of the source into force, which has the same name and URL: sessions that
    /// are open keep the old one until they end.
    pub fn change(&mut self, source: &Source, book: Arc<SourceBook>, common: &Common) {
        if self.source == *source {
            return;
        }
        let intake = Arc::clone(&self.gate.load().intake);
        let shutdown = self.stop.subscribe();
        self.gate.store(Arc::new(Entrance::new(source, book, intake, common, shutdown)));
        self.source = source.clone();
    }

    /// Stops taking in: the source ends with what it has.
    pub fn stop(&self) {
        // Without a receiver the source has ended already.
        self.stop.send(true).unwrap_or_default();
    }
}

/// Why a source cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("source \"{name}\" cannot listen on {scheme}://{address}{hint}")]
pub struct BindError {
    name: String,
    scheme: &'static str,
    address: SocketAddr,
    hint: &'static str,
    #[source]
    cause: std::io::Error,
}

/// What all sources share.
#[derive(Clone, Debug)]
pub struct Common {
    /// Longest record in bytes.
    pub record_bytes_max: usize,
    /// The budget of the process.
    pub admission: Arc<Admission>,
    /// Turns true when sources are to end at once.
    pub give_up: watch::Receiver<bool>,
}

/// A source that is bound and does not yet take anything in.
#[derive(Debug)]
pub struct Bound {
    address: SocketAddr,
    socket: BoundSocket,
}

#[derive(Debug)]
enum BoundSocket {
    Stream(TcpListener, Protocol),
    Datagram(UdpSocket),
}

/// Binds a source.
///
/// # Errors
/// [`BindError`] when the address cannot be bound.
pub fn bind(source: &Source) -> Result<Bound, BindError> {
    let address = source.url.address();
    let bound = || match source.url {
        SourceUrl::SyslogTcp(_) | SourceUrl::Relp(_) => {
            let is_relp = matches!(source.url, SourceUrl::Relp(_));
            let protocol = if is_relp { Protocol::Relp } else { Protocol::Syslog };
            let listener = listener::bind(address)?;
            let address = listener.local_addr()?;
            Ok(Bound { address, socket: BoundSocket::Stream(listener, protocol) })
        }
        SourceUrl::SyslogUdp(_) => {
            let socket = udp::bind(address, source.receive_buffer)?;
            let address = socket.local_addr()?;
            Ok(Bound { address, socket: BoundSocket::Datagram(socket) })
        }
    };
    bound().map_err(|cause: std::io::Error| BindError {
        name: source.name.clone(),
        scheme: source.url.scheme(),
        address,
        hint: hint(&cause),
        cause,
    })
}

impl Bound {
    /// Starts to serve the source until it is stopped.
    #[must_use]
    pub fn serve(
        self,
        source: &Source,
        book: Arc<SourceBook>,
        intake: Arc<dyn Intake>,
        common: &Common,
    ) -> Listening {
        let (stop, shutdown) = watch::channel(false);
        let entrance = Entrance::new(source, book, intake, common, shutdown);
        let gate = Arc::new(Gate::from_pointee(entrance));
        let serving = Arc::clone(&gate);
        let task = match self.socket {
            BoundSocket::Stream(listener, protocol) => {
                tokio::spawn(listener::serve(listener, serving, protocol))
            }
            BoundSocket::Datagram(socket) => {
                let handle = Handle::current();
                tokio::task::spawn_blocking(move || udp::serve(&socket, &serving, &handle))
            }
        };
        Listening { address: self.address, task, source: source.clone(), gate, stop }
    }
}

fn hint(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            " (another program has that port: stop it or choose another)"
        }
        std::io::ErrorKind::PermissionDenied => {
            " (ports below 1024 need CAP_NET_BIND_SERVICE: grant it or choose a higher port)"
        }
        std::io::ErrorKind::AddrNotAvailable => " (this machine does not have that address)",
        _ => "",
    }
}
