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
mod tcp;
mod udp;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use logboom_record::{Batch, SourceId};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use admission::{Admission, Permit};
use entrance::Entrance;

use crate::config::{Source, SourceUrl};
use crate::telemetry::ledger::SourceBook;

/// Where batches go. The future is ready when the session may read on: a destination that blocks
/// makes it wait.
pub trait Intake: Send + Sync + 'static {
    /// Takes a batch; the permit is held for as long as its bytes are.
    fn take<'a>(
        &'a self,
        batch: Batch,
        permit: Permit,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;
}

/// A source that listens.
#[derive(Debug)]
pub struct Listening {
    /// The address it is bound to.
    pub address: SocketAddr,
    /// Ends when the source has shut down and its sessions are over.
    pub task: JoinHandle<()>,
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
    /// Turns true when sources are to end with what they have.
    pub shutdown: watch::Receiver<bool>,
    /// Turns true when they are to end at once.
    pub give_up: watch::Receiver<bool>,
}

/// Binds a source and starts to serve it until shutdown.
///
/// # Errors
/// [`BindError`] when the address cannot be bound.
pub async fn listen(
    source: &Source,
    id: SourceId,
    book: Arc<SourceBook>,
    intake: Arc<dyn Intake>,
    common: &Common,
) -> Result<Listening, BindError> {
    let address = source.url.address();
    let fail = |cause: std::io::Error| BindError {
        name: source.name.clone(),
        scheme: source.url.scheme(),
        address,
        hint: hint(&cause),
        cause,
    };
    let entrance = Arc::new(Entrance::new(source, id, book, intake, common));
    match source.url {
        SourceUrl::SyslogTcp(_) => {
            let listener = tcp::bind(address).map_err(fail)?;
            let address = listener.local_addr().map_err(fail)?;
            Ok(Listening { address, task: tokio::spawn(tcp::serve(listener, entrance)) })
        }
        SourceUrl::SyslogUdp(_) => {
            let socket = udp::bind(address, source.receive_buffer).map_err(fail)?;
            let address = socket.local_addr().map_err(fail)?;
            let handle = Handle::current();
            let task = tokio::task::spawn_blocking(move || udp::serve(&socket, &entrance, &handle));
            Ok(Listening { address, task })
        }
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
