//! TCP listeners: accepting sessions, whatever they speak, and their end.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use super::entrance::{Entrance, Gate};
use super::peer::Peer;
use super::{http, relp, tcp};
use crate::net::{AcceptError, Stream};
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
    Http,
}

/// Accepts until shutdown, then waits for the sessions. A session keeps the entrance that was in
/// force when it began.
pub(super) async fn serve(listener: TcpListener, gate: Arc<Gate>, protocol: Protocol) {
    let mut sessions = JoinSet::new();
    let seats = Arc::<Seats>::default();
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
                sessions.spawn(session(stream, peer, entrance, Arc::clone(&seats), protocol));
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

/// Serves one connection, once it is admitted, until one of the sides ends it.
async fn session(
    tcp: TcpStream,
    address: SocketAddr,
    entrance: Arc<Entrance>,
    seats: Arc<Seats>,
    protocol: Protocol,
) {
    let _open = Open::of(&entrance);
    let mut shutdown = entrance.shutdown.clone();
    let admitted = tokio::select! {
        // Nothing has come of it yet that would be lost.
        () = stopping(&mut shutdown) => return,
        admitted = admit(tcp, address, &entrance, &seats) => admitted,
    };
    let (stream, peer, _seat) = match admitted {
        Ok(admitted) => admitted,
        Err(refused) => return refused.note(address, &entrance),
    };
    match protocol {
        Protocol::Syslog => tcp::session(stream, &peer, &entrance).await,
        Protocol::Relp => relp::session(stream, &peer, &entrance).await,
        Protocol::Http => http::session(stream, peer, Arc::clone(&entrance)).await,
    }
}

/// What a peer has to pass before its first record: its limit of sessions, and the TLS handshake.
async fn admit(
    tcp: TcpStream,
    address: SocketAddr,
    entrance: &Entrance,
    seats: &Arc<Seats>,
) -> Result<(Stream, Peer, Option<Seat>), Refused> {
    let limit = entrance.handshake_timeout;
    let mut peer = Peer::at(address);
    let seat = match entrance.sessions_per_peer_max {
        0 => None,
        most => Some(seats.take(peer.ip(), most).ok_or(Refused::PeerSessions(most))?),
    };
    let tls = entrance.tls.as_deref();
    let stream = Stream::accept(tcp, tls, limit).await.map_err(Refused::Handshake)?;
    peer.subject = stream.peer_subject();
    Ok((stream, peer, seat))
}

/// Why a connection does not become a session.
pub(super) enum Refused {
    Handshake(AcceptError),
    /// The limit.
    PeerSessions(usize),
}

impl Refused {
    /// Counts it and says it.
    pub(super) fn note(self, peer: SocketAddr, entrance: &Entrance) {
        let source = entrance.name.as_str();
        match self {
            // A peer that only looks whether the port is open is none.
            Self::Handshake(AcceptError::Io(error)) => {
                tracing::debug!(source, %peer, %error, "session broke");
            }
            Self::Handshake(error) => {
                entrance.book.reject(RejectReason::Handshake, 1);
                if let Some(left_out) = entrance.throttle.allow() {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    let cause = cause.unwrap_or_default();
                    tracing::warn!(source, %peer, %error, cause, left_out, "session refused");
                }
            }
            Self::PeerSessions(limit) => {
                entrance.book.reject(RejectReason::PeerSessions, 1);
                if let Some(left_out) = entrance.throttle.allow() {
                    let what = "session refused, the peer has as many as it may";
                    tracing::warn!(source, %peer, limit, left_out, "{what}");
                }
            }
        }
    }
}

/// A session in the book for as long as it lasts, however it ends.
pub(super) struct Open<'a>(&'a Entrance);

impl<'a> Open<'a> {
    pub(super) fn of(entrance: &'a Entrance) -> Self {
        entrance.book.sessions.enter(1);
        Self(entrance)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.book.sessions.leave(1);
    }
}

/// Sessions by peer.
#[derive(Debug, Default)]
pub(super) struct Seats(Mutex<HashMap<IpAddr, usize>>);

impl Seats {
    /// One more session of a peer, if it has fewer than `most`.
    pub(super) fn take(self: &Arc<Self>, peer: IpAddr, most: usize) -> Option<Seat> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(peer).or_insert(0);
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Seat { seats: Arc::clone(self), peer })
    }
}

/// A session of a peer; given back when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
    peer: IpAddr,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.peer);
            }
        }
    }
}

/// A session that panicked took nothing along but itself; it is said, since it is a mistake of ours.
pub(super) fn note(ended: Result<(), JoinError>, entrance: &Entrance) {
    if let Err(error) = ended
        && error.is_panic()
    {
        let source = entrance.name.as_str();
        tracing::error!(source, %error, "a session panicked; please report it");
    }
}

/// Ready when shutdown has begun, or whoever could begin it is gone. Cancel safe.
pub(super) async fn stopping(shutdown: &mut watch::Receiver<bool>) {
    drop(shutdown.wait_for(|stop| *stop).await);
}
