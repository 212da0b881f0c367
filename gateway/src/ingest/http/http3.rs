//! HTTP/3: the same requests over QUIC.
//!
//! *Source*: RFC 9114.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use h3::server::{RequestResolver, RequestStream};
use http_body_util::BodyExt as _;
use hyper::Response;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::CONTENT_LENGTH;
use quinn::{Connection, VarInt};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::frames::{Guarded, Reading};
use super::{END_GRACE, Error, HEADER_BYTES_MAX, Session, handle};
use crate::ingest::entrance::Entrance;
use crate::ingest::listener::stopping;
use crate::ingest::peer::Peer;
use crate::telemetry::ledger::RejectReason;

/// *Source*: RFC 9114 section 8.1, `H3_NO_ERROR`.
const NO_ERROR: VarInt = VarInt::from_u32(0x100);

/// Serves a session until one of the sides ends it, and all that is being stored is stored.
pub(in crate::ingest) async fn session(
    connection: Connection,
    peer: Peer,
    entrance: Arc<Entrance>,
) {
    let (session, stored) = Session::new(peer, entrance);
    let (guarded, guard) = Guarded::new(connection.clone());
    let ended = serve(guarded, &session).await;
    if let Some(reason) = guard.fault() {
        complain(reason, &session);
    }
    connection.close(NO_ERROR, b"");
    session.conclude(ended, stored).await;
}

/// A peer wanted too much to be kept of its frames.
fn complain(reason: &str, Session { entrance, peer, .. }: &Session) {
    entrance.book.reject(RejectReason::Framing, 1);
    if let Some(left_out) = entrance.throttle.allow() {
        let source = entrance.name.as_str();
        tracing::warn!(source, %peer, reason, left_out, "session closed");
    }
}

type Guarding = Guarded<h3_quinn::Connection>;
type Resolver = RequestResolver<Guarding, Bytes>;

async fn serve(connection: Guarding, session: &Arc<Session>) -> Result<(), Error> {
    let entrance = &session.entrance;
    let mut builder = h3::server::builder();
    builder.max_field_section_size(u64::from(HEADER_BYTES_MAX));
    let mut shutdown = entrance.shutdown.clone();
    let built = builder.build(connection);
    let mut connection = tokio::select! {
        () = stopping(&mut shutdown) => return Ok(()),
        built = tokio::time::timeout(entrance.handshake_timeout, built) => built??,
    };
    let mut requests: JoinSet<()> = JoinSet::new();
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
                tokio::time::timeout(END_GRACE, connection.shutdown(0)).await??;
                end = Some(Instant::now() + session.longest());
            }
            () = session.activity.is_idle(entrance.idle), if end.is_none() => {
                tokio::time::timeout(END_GRACE, connection.shutdown(0)).await??;
                end = Some(Instant::now() + END_GRACE);
            }
            () = tokio::time::sleep_until(closing), if end.is_some() => break Ok(()),
        }
        if end.is_some() && requests.is_empty() {
            break Ok(());
        }
    };
    // What is being stored goes on without those who would hear of it.
    requests.shutdown().await;
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
    // A peer that takes no answer keeps nobody waiting.
    let Ok(sent) = tokio::time::timeout(session.answer_timeout(), sent).await else { return };
    if let Err(error) = sent {
        let source = session.entrance.name.as_str();
        tracing::debug!(source, peer = %session.peer, %error, "an answer was not heard");
    }
}

/// The body of a request.
struct Received {
    stream: RequestStream<Reading<h3_quinn::RecvStream>, Bytes>,
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
