//! TCP listeners: accepting sessions, and their end.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use super::entrance::{Entrance, Gate};
use super::{relp, tcp};
use crate::telemetry::ledger::RejectReason;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;
/// How long to wait after accepting failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

pub(super) fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket =
        Socket::new(Domain::for_address(address), Type::STREAM, Some(socket2::Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// What sessions speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Syslog,
    Relp,
}

/// Accepts until shutdown, then waits for the sessions. A session keeps the entrance that was in
/// force when it began.
pub(super) async fn serve(listener: TcpListener, gate: Arc<Gate>, protocol: Protocol) {
    let mut sessions = JoinSet::new();
    let first = gate.load_full();
    let (mut shutdown, mut give_up) = (first.shutdown.clone(), first.give_up.clone());
    drop(first);
    loop {
        // Accepting and joining are cancel safe.
        let accepted = tokio::select! {
            () = stopping(&mut shutdown) => break,
            Some(ended) = sessions.join_next() => {
                note(ended, &gate.load());
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        let entrance = gate.load_full();
        match accepted {
            Ok((stream, peer)) => {
                if sessions.len() >= entrance.sessions_max {
                    entrance.book.reject(RejectReason::Sessions, 1);
                    if let Some(left_out) = entrance.throttle.allow() {
                        let (source, limit) = (entrance.name.as_str(), entrance.sessions_max);
                        tracing::warn!(source, %peer, limit, left_out, "session refused, source is full");
                    }
                    continue;
                }
                match protocol {
                    Protocol::Syslog => sessions.spawn(tcp::session(stream, peer, entrance)),
                    Protocol::Relp => sessions.spawn(relp::session(stream, peer, entrance)),
                };
            }
            // The peer is gone already, or descriptors ran out: neither ends the listener.
            Err(error) => {
                let source = entrance.name.as_str();
                tracing::warn!(source, %error, "session not accepted");
                if !matches!(error.kind(), ErrorKind::ConnectionAborted) {
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
    drop(listener);
    tokio::select! {
        () = async { while let Some(ended) = sessions.join_next().await { note(ended, &gate.load()) } } => {}
        () = stopping(&mut give_up) => sessions.shutdown().await,
    }
}

/// A session that panicked took nothing along but itself; it is said, since it is a mistake of ours.
fn note(ended: Result<(), JoinError>, entrance: &Entrance) {
    if let Err(error) = ended
        && error.is_panic()
    {
        entrance.book.sessions.leave(1);
        let source = entrance.name.as_str();
        tracing::error!(source, %error, "a session panicked; please report it");
    }
}

/// Ready when shutdown has begun, or whoever could begin it is gone. Cancel safe.
pub(super) async fn stopping(shutdown: &mut watch::Receiver<bool>) {
    drop(shutdown.wait_for(|stop| *stop).await);
}
