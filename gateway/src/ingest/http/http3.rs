//! HTTP/3: the same requests over QUIC.
//!
//! *Source*: RFC 9114.

use std::io;
use std::net::UdpSocket;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use h3::server::{RequestResolver, RequestStream};
use http_body_util::BodyExt as _;
use hyper::Response;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::CONTENT_LENGTH;
use quinn::{Connection, Endpoint, EndpointConfig, Incoming, TokioRuntime, VarInt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{END_GRACE, Error, HEADER_BYTES_MAX, Session, handle};
use crate::ingest::entrance::{Entrance, Gate};
use crate::ingest::listener::{Open, Refused, Seat, Seats, note, stopping};
use crate::ingest::peer::Peer;
use crate::net::{AcceptError, TlsFault, http3_server, http3_subject};
use crate::telemetry::ledger::RejectReason;

/// Handshakes at a time with peers that have not shown that they are where they say; others have to
/// show it first. *Source*: RFC 9000 section 8.1.2.
const HANDSHAKES_MAX: usize = 64;
/// *Source*: RFC 9114 section 8.1, `H3_NO_ERROR`.
const NO_ERROR: VarInt = VarInt::from_u32(0x100);

/// Accepts until shutdown, then waits for the sessions. A session keeps the entrance that was in
/// force when it began.
pub(in crate::ingest) async fn http3(socket: UdpSocket, gate: Arc<Gate>) {
    let first = gate.load_full();
    let (mut shutdown, mut give_up) = (first.shutdown.clone(), first.give_up.clone());
    let endpoint = match listen(socket, &first) {
        Ok(endpoint) => endpoint,
        Err(error) => {
            let source = first.name.as_str();
            return tracing::error!(source, %error, "HTTP/3 cannot be spoken");
        }
    };
    drop(first);
    let (mut sessions, seats) = (JoinSet::new(), Arc::<Seats>::default());
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    loop {
        // Accepting and joining are cancel safe.
        let incoming = tokio::select! {
            () = stopping(&mut shutdown) => break,
            Some(ended) = sessions.join_next() => {
                note(ended, &gate.load());
                continue;
            }
            incoming = endpoint.accept() => incoming,
        };
        // Only an endpoint that is closed has none.
        let Some(incoming) = incoming else { break };
        let entrance = gate.load_full();
        if sessions.len() >= entrance.sessions_max {
            entrance.book.reject(RejectReason::Sessions, 1);
            incoming.refuse();
            continue;
        }
        match Arc::clone(&handshakes).try_acquire_owned() {
            Err(_) if incoming.may_retry() => {
                // It may be retried: that was asked just now.
                incoming.retry().unwrap_or_else(|error| error.into_incoming().refuse());
            }
            turn => {
                let seats = Arc::clone(&seats);
                sessions.spawn(session(incoming, entrance, seats, turn.ok()));
            }
        }
    }
    endpoint.set_server_config(None);
    tokio::select! {
        () = async { while let Some(ended) = sessions.join_next().await { note(ended, &gate.load()) } } => {}
        () = stopping(&mut give_up) => sessions.shutdown().await,
    }
    // Last words go out.
    tokio::time::timeout(END_GRACE, endpoint.wait_idle()).await.unwrap_or_default();
}

fn listen(socket: UdpSocket, entrance: &Entrance) -> io::Result<Endpoint> {
    let tls = entrance.tls.as_deref().ok_or(io::ErrorKind::InvalidInput)?;
    let server = http3_server(tls, entrance.idle)?;
    Endpoint::new(EndpointConfig::default(), Some(server), socket, Arc::new(TokioRuntime))
}

/// Serves one connection, once it is admitted, until one of the sides ends it.
async fn session(
    incoming: Incoming,
    entrance: Arc<Entrance>,
    seats: Arc<Seats>,
    turn: Option<OwnedSemaphorePermit>,
) {
    let _open = Open::of(Arc::clone(&entrance));
    let address = incoming.remote_address();
    let mut shutdown = entrance.shutdown.clone();
    let admitted = tokio::select! {
        // Nothing has come of it yet that would be lost.
        () = stopping(&mut shutdown) => return,
        admitted = admit(incoming, &entrance, &seats) => admitted,
    };
    drop(turn);
    let (connection, peer, _seat) = match admitted {
        Ok(admitted) => admitted,
        Err(refused) => return refused.note(&Peer::at(address), &entrance),
    };
    let (session, mut stored) = Session::new(peer, Arc::clone(&entrance));
    let ended = serve(connection.clone(), &session).await;
    session.note(ended);
    drop(session);
    connection.close(NO_ERROR, b"");
    if let Some(never) = stored.recv().await {
        match never {}
    }
}

/// What a peer has to pass before its first request: its limit of sessions, and the handshake.
async fn admit(
    incoming: Incoming,
    entrance: &Entrance,
    seats: &Arc<Seats>,
) -> Result<(Connection, Peer, Option<Seat>), Refused> {
    let limit = entrance.handshake_timeout;
    let address = incoming.remote_address();
    let mut peer = Peer::at(address);
    let seat = match entrance.sessions_per_peer_max {
        0 => None,
        most => Some(seats.take(address.ip(), most).ok_or(Refused::PeerSessions(most))?),
    };
    let io = |error| Refused::Handshake(AcceptError::Io(error));
    let tls = entrance.tls.as_deref().ok_or_else(|| io(io::ErrorKind::InvalidInput.into()))?;
    let server = Arc::new(http3_server(tls, entrance.idle).map_err(io)?);
    let handshake = async { incoming.accept_with(server)?.await };
    let connection = match tokio::time::timeout(limit, handshake).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => {
            let (fault, source) = (TlsFault::Handshake, io::Error::other(error));
            return Err(Refused::Handshake(AcceptError::Tls { fault, source }));
        }
        Err(_) => return Err(Refused::Handshake(AcceptError::Timeout { limit })),
    };
    peer.subject = http3_subject(&connection);
    Ok((connection, peer, seat))
}

type Resolver = RequestResolver<h3_quinn::Connection, Bytes>;

async fn serve(connection: Connection, session: &Arc<Session>) -> Result<(), Error> {
    let entrance = &session.entrance;
    let mut builder = h3::server::builder();
    builder.max_field_section_size(u64::from(HEADER_BYTES_MAX));
    let mut connection = builder.build(h3_quinn::Connection::new(connection)).await?;
    let mut requests: JoinSet<()> = JoinSet::new();
    let mut shutdown = entrance.shutdown.clone();
    // When it is closed, once it was told to end.
    let mut end: Option<Instant> = None;
    let ended = loop {
        let closing = end.unwrap_or_else(Instant::now);
        // All of them are cancel safe.
        tokio::select! {
            accepted = connection.accept() => match accepted {
                Ok(Some(resolver)) => {
                    requests.spawn(answer(resolver, Arc::clone(session)));
                }
                Ok(None) => break Ok(()),
                Err(error) if error.is_h3_no_error() => break Ok(()),
                Err(error) => break Err(error.into()),
            },
            Some(_) = requests.join_next() => {}
            () = stopping(&mut shutdown), if end.is_none() => {
                // It goes on with the requests that it has.
                connection.shutdown(0).await?;
                end = Some(Instant::now() + session.longest());
            }
            () = session.activity.is_idle(entrance.idle), if end.is_none() => {
                connection.shutdown(0).await?;
                end = Some(Instant::now() + END_GRACE);
            }
            () = tokio::time::sleep_until(closing), if end.is_some() => break Ok(()),
        }
        if end.is_some() && requests.is_empty() {
            break Ok(());
        }
    };
    while requests.join_next().await.is_some() {}
    ended
}

/// Answers one request.
async fn answer(resolver: Resolver, session: Arc<Session>) {
    let limit = session.entrance.frame_timeout;
    let resolved = tokio::time::timeout(limit, resolver.resolve_request()).await;
    // A stream without a request in time has nobody to be answered.
    let Ok(Ok((request, stream))) = resolved else { return };
    let length = request.headers().get(CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    let (mut sending, receiving) = stream.split();
    let body = Received { stream: receiving, length, received: 0 };
    let (head, body) = handle(request.map(|()| body), &session).await.into_parts();
    let Ok(body) = body.collect().await;
    let sent = async {
        sending.send_response(Response::from_parts(head, ())).await?;
        sending.send_data(body.to_bytes()).await?;
        sending.finish().await
    };
    if let Err(error) = sent.await {
        let source = session.entrance.name.as_str();
        tracing::debug!(source, peer = %session.peer, %error, "an answer was not heard");
    }
}

/// The body of a request.
struct Received {
    stream: RequestStream<h3_quinn::RecvStream, Bytes>,
    /// As its head says.
    length: Option<u64>,
    received: u64,
}

impl Body for Received {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let data = match ready!(self.stream.poll_recv_data(context)) {
            Ok(Some(mut data)) => data.copy_to_bytes(data.remaining()),
            // *Source*: RFC 9114 section 4.1.2.
            Ok(None) if self.length.is_some_and(|length| length != self.received) => {
                return Poll::Ready(Some(Err(io::Error::from(io::ErrorKind::InvalidData).into())));
            }
            Ok(None) => return Poll::Ready(None),
            Err(error) => return Poll::Ready(Some(Err(error.into()))),
        };
        self.received += data.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.length.map(|length| length.saturating_sub(self.received));
        left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
