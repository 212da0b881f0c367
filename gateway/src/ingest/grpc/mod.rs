//! gRPC sessions: streams of access logs, and OTLP.
//!
//! ```text
//!  stream of access logs ─▶ messages ─▶ batches ─▶ …            no answer until it ends
//!  export of OTLP        ─▶ a message ─▶ batches, one receipt ─▶ … ─▶ answer
//! ```
//!
//! HTTP/2 with the limits that HTTP has, and what a message's bytes cost is as it is there; messages are
//! cut out here and read by the codec straight into batches. Health and reflection come ready-made. The
//! API is in `docs/book/grpc.md`.

mod answer;
mod aside;
mod export;
mod frames;
mod gaps;
mod stream;

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::time::Instant;
use tonic::body::Body;

use super::entrance::Entrance;
use super::http::{Error, HEADER_BYTES_MAX, MISTAKES_MAX, RESETS_MAX, STREAMS_MAX, Session};
use super::listener::stopping;
use super::peer::Peer;
use crate::net::Stream;
use frames::Stalls;
use gaps::Gaps;

const EXPORT: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
const STREAMS: [&str; 2] = [
    "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs",
    "/envoy.service.accesslog.v2.AccessLogService/StreamAccessLogs",
];

/// Bytes that a peer may send of one stream, and of all in a session, before they are asked for: more
/// than the first message of an Envoy, and what ten milliseconds bring at 25 MB/s.
const STREAM_WINDOW: u32 = 256 << 10;
const SESSION_WINDOW: u32 = 512 << 10;
/// How often a peer is asked whether it is alive, and how long it may take to say so.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_WAIT: Duration = Duration::from_secs(20);
/// How long a session that is told to end is kept for the answer to its last call.
const LAST_WORDS: Duration = Duration::from_millis(250);

/// What a source of gRPC has besides.
#[derive(Debug, Default)]
pub(super) struct Grpc {
    gaps: Arc<Gaps>,
}

impl Grpc {
    /// Keeps what the entrance before it remembers.
    pub(super) fn inherit(&mut self, before: &Self) {
        self.gaps = Arc::clone(&before.gaps);
    }
}

/// Serves a session until one of the sides ends it, and all that it brought is handed on.
pub(super) async fn session(stream: Stream, peer: Peer, entrance: Arc<Entrance>) {
    let (session, stored) = Session::new(peer, entrance);
    let ended = serve(stream, &session).await;
    session.conclude(ended, stored).await;
}

async fn serve(stream: Stream, session: &Arc<Session>) -> Result<(), Error> {
    let entrance = &session.entrance;
    let stalls = Arc::<Stalls>::default();
    let service = service_fn(|request: Request<Incoming>| {
        let (session, stalls) = (Arc::clone(session), Arc::clone(&stalls));
        async move {
            let _active = session.activity.begin();
            if !is_grpc(&request) {
                return Ok(no_grpc());
            }
            match request.uri().path() {
                EXPORT => Ok::<_, Infallible>(export::answer(request, &session, stalls).await),
                path if STREAMS.contains(&path) => {
                    Ok(stream::answer(request, &session, stalls).await)
                }
                _ => Ok(aside::answer(request).await),
            }
        }
    });
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(SESSION_WINDOW)
        .max_header_list_size(HEADER_BYTES_MAX)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(MISTAKES_MAX)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_WAIT);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut shutdown = entrance.shutdown.clone();
    // It was told to end; and when it is closed if it does not, where that is not its own choice.
    let (mut is_told, mut end) = (false, None::<Instant>);
    loop {
        let closing = end.unwrap_or_else(Instant::now);
        let idle = if is_told { LAST_WORDS } else { entrance.idle };
        // All of them are cancel safe; a connection goes on where it was.
        tokio::select! {
            ended = connection.as_mut() => return Ok(ended?),
            () = stopping(&mut shutdown), if end.is_none() => {
                connection.as_mut().graceful_shutdown();
                (is_told, end) = (true, Some(Instant::now() + session.longest()));
            }
            () = session.activity.is_idle(idle) => {
                if is_told {
                    return Ok(());
                }
                // A call that crosses this on its way is served to its end.
                connection.as_mut().graceful_shutdown();
                is_told = true;
            }
            () = tokio::time::sleep_until(closing), if end.is_some() => return Ok(()),
        }
    }
}

/// Whether it is a call. *Source*: gRPC over HTTP/2, "Content-Type".
fn is_grpc(request: &Request<Incoming>) -> bool {
    let written = request.headers().get(CONTENT_TYPE).map(|value| value.as_bytes());
    matches!(written, Some(b"application/grpc" | b"application/grpc+proto"))
}

/// What others than gRPC are answered.
fn no_grpc() -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    answer
}
