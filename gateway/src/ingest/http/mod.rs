//! HTTP sessions: requests whose bodies are records, answered when their receipts say so.
//!
//! ```text
//!  request ─▶ account ─▶ body, within limits ─▶ decompressed ─▶ batches, one receipt ─▶ … ─▶ answer
//! ```
//!
//! HTTP/1.1 and HTTP/2, which the first bytes tell apart. A request that has begun to be stored goes on
//! when its sender has gone. The API is in `docs/book/http.md`.

pub(super) mod accounts;
pub(super) mod answer;
pub(super) mod body;
mod frames;
mod http3;
pub(super) mod memory;
pub(super) mod request;
pub(super) mod store;

use std::convert::Infallible;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hyper::Request;
use hyper::body::Body;
use hyper::header::{ALT_SVC, HeaderValue};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use logboom_codec::body::Settings;
use logboom_record::{FieldId, FieldNames};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use super::entrance::Entrance;
use super::listener::stopping;
use super::peer::Peer;
use crate::config::{Accounts, Source, SourceHttp, SourceUrl};
use crate::net::Stream;
use answer::{Answer, taken};
pub(super) use http3::session as session_over_quic;
use memory::Memory;
use request::Turn;

/// Requests of one HTTP/2 session at a time.
pub(super) const STREAMS_MAX: u32 = 100;
/// Bytes that a peer may send of one request, and of all in a session, before they are asked for.
const STREAM_WINDOW: u32 = 128 << 10;
const SESSION_WINDOW: u32 = 256 << 10;
/// Bytes of all headers of a request.
pub(super) const HEADER_BYTES_MAX: u32 = 16 << 10;
/// Bytes that HTTP/1.1 holds of a session.
const BUFFER_BYTES_MAX: usize = 64 << 10;
/// Streams that a peer may reset before they were looked at, and that we reset over its mistakes.
pub(super) const RESETS_MAX: usize = 20;
pub(super) const MISTAKES_MAX: usize = 100;
/// How long a session that is told to end may take before it is closed.
pub(super) const END_GRACE: Duration = Duration::from_secs(5);
/// New names of fields that the peers of one source may make: a sixteenth of what the process has.
const NAMES_MAX: usize = 4096;

/// What a source of HTTP has besides.
pub(super) struct Http {
    pub(super) accounts: Accounts,
    pub(super) bounds: body::Bounds,
    answer_timeout: Duration,
    /// How bodies are read.
    pub(super) settings: Settings,
    requests_max: usize,
    pub(super) requests: Arc<Semaphore>,
    pub(super) memory: Arc<Memory>,
    /// How many new names of fields may still be made.
    names_left: Arc<AtomicUsize>,
    /// Where HTTP/3 is spoken besides.
    alt_svc: Option<HeaderValue>,
}

impl Http {
    /// What a source has; `settings` without its attributes for apps.
    pub(super) fn new(http: &SourceHttp, source: &Source, settings: Settings) -> Self {
        let of_entries = source.grpc.iter().flat_map(|_| logboom_codec::body::envoy::names());
        let mut own = logboom_codec::body::OWN_NAMES.into_iter().chain(of_entries);
        if !own.all(|name| FieldNames::global().intern(name).is_some()) {
            tracing::error!("no room for names of fields; what records say of themselves is cut");
        }
        let attributes = if http.app_attributes.is_empty() {
            logboom_codec::body::otlp::APP_ATTRIBUTES.map(str::to_owned).to_vec()
        } else {
            http.app_attributes.clone()
        };
        Self {
            accounts: http.accounts.clone(),
            bounds: body::Bounds { bytes_max: http.body_max, time: source.frame_timeout },
            answer_timeout: http.answer_timeout,
            settings: Settings { app_attributes: attributes, ..settings },
            requests_max: http.requests_max,
            requests: Arc::new(Semaphore::new(http.requests_max)),
            memory: Arc::default(),
            names_left: Arc::new(AtomicUsize::new(NAMES_MAX)),
            alt_svc: alt_svc(&source.url),
        }
    }

    /// Keeps what the entrance before it remembers, and its requests if their limit is the same.
    pub(super) fn inherit(&mut self, before: &Self) {
        self.memory = Arc::clone(&before.memory);
        self.names_left = Arc::clone(&before.names_left);
        if self.requests_max == before.requests_max {
            self.requests = Arc::clone(&before.requests);
        }
    }

    /// The id of a field's name, if it is known or may become so.
    pub(super) fn name(&self, name: &str) -> Option<FieldId> {
        let names = FieldNames::global();
        if let Some(known) = names.find(name) {
            return Some(known);
        }
        let take = |left: usize| left.checked_sub(1);
        self.names_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()?;
        let id = names.intern(name);
        if id.is_none() {
            self.names_left.fetch_add(1, Ordering::Relaxed);
        }
        id
    }
}

/// The header that tells clients of HTTP/3. Source: RFC 7838 section 3.
fn alt_svc(url: &SourceUrl) -> Option<HeaderValue> {
    match url {
        // A port that is not known yet cannot be told.
        SourceUrl::Https3(address) if address.port() > 0 => {
            HeaderValue::from_str(&format!("h3=\":{}\"; ma=86400", address.port())).ok()
        }
        _ => None,
    }
}

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http").field("bounds", &self.bounds).finish_non_exhaustive()
    }
}

/// What the requests of one session share.
pub(super) struct Session {
    pub(super) entrance: Arc<Entrance>,
    pub(super) peer: Peer,
    pub(super) activity: Activity,
    /// Closed when the last request that is being stored is.
    _storing: mpsc::Sender<Infallible>,
}

/// When a session did something last.
pub(super) struct Activity {
    requests: AtomicUsize,
    last: Mutex<Instant>,
}

/// A request in a session, for as long as it is being answered.
pub(super) struct Active<'a>(&'a Activity);

impl Activity {
    pub(super) fn begin(&self) -> Active<'_> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        Active(self)
    }

    /// Ready when there was no request for so long. Cancel safe.
    pub(super) async fn is_idle(&self, limit: Duration) {
        loop {
            let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
            let is_busy = self.requests.load(Ordering::Relaxed) > 0;
            let until = if is_busy { Instant::now() + limit } else { last + limit };
            if until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        *self.0.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves a session until one of the sides ends it, and all that is being stored is stored.
pub(super) async fn session(stream: Stream, peer: Peer, entrance: Arc<Entrance>) {
    let (session, stored) = Session::new(peer, entrance);
    let ended = serve(stream, &session).await;
    session.conclude(ended, stored).await;
}

pub(super) type Error = Box<dyn std::error::Error + Send + Sync>;

async fn serve(stream: Stream, session: &Arc<Session>) -> Result<(), Error> {
    let entrance = &session.entrance;
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(entrance.frame_timeout.min(entrance.idle))
        .max_buf_size(BUFFER_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(SESSION_WINDOW)
        .max_header_list_size(HEADER_BYTES_MAX)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(MISTAKES_MAX);
    let service = service_fn(|request| {
        let session = Arc::clone(session);
        async move { Ok::<_, Infallible>(handle(request, &session).await) }
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut shutdown = entrance.shutdown.clone();
    // When it is closed, once it was told to end.
    let mut end: Option<Instant> = None;
    loop {
        let closing = end.unwrap_or_else(Instant::now);
        // All of them are cancel safe; a connection goes on where it was.
        tokio::select! {
            ended = connection.as_mut() => return ended,
            // Requests that were begun are answered, for which they have their own time.
            () = stopping(&mut shutdown), if end.is_none() => {
                connection.as_mut().graceful_shutdown();
                end = Some(Instant::now() + session.longest());
            }
            () = session.activity.is_idle(entrance.idle), if end.is_none() => {
                connection.as_mut().graceful_shutdown();
                end = Some(Instant::now() + END_GRACE);
            }
            () = tokio::time::sleep_until(closing), if end.is_some() => return Ok(()),
        }
    }
}

impl Session {
    /// A session, and what is closed when the last request of it that is being stored is.
    pub(super) fn new(
        peer: Peer,
        entrance: Arc<Entrance>,
    ) -> (Arc<Self>, mpsc::Receiver<Infallible>) {
        let (storing, stored) = mpsc::channel(1);
        let activity = Activity { requests: AtomicUsize::new(0), last: Mutex::new(Instant::now()) };
        (Arc::new(Self { entrance, peer, activity, _storing: storing }), stored)
    }

    /// Says how it ended, and waits until all that is being stored is.
    pub(super) async fn conclude(
        self: Arc<Self>,
        ended: Result<(), Error>,
        mut stored: mpsc::Receiver<Infallible>,
    ) {
        let (source, peer) = (self.entrance.name.as_str(), &self.peer);
        match ended {
            Ok(()) => tracing::debug!(source, %peer, "session ended"),
            Err(error) => tracing::debug!(source, %peer, %error, "session broke"),
        }
        drop(self);
        // Nothing is ever sent: this is the end of the last sender.
        if let Some(never) = stored.recv().await {
            match never {}
        }
    }

    /// The longest that a request takes which comes in time.
    pub(super) fn longest(&self) -> Duration {
        let http = self.entrance.http.as_ref();
        http.map_or(END_GRACE, |http| http.bounds.time + http.answer_timeout)
    }

    /// How long a request may wait until its records are stored.
    pub(super) fn answer_timeout(&self) -> Duration {
        self.entrance.http.as_ref().map_or(END_GRACE, |http| http.answer_timeout)
    }
}

/// Answers a request; never fails.
async fn handle<B>(request: Request<B>, session: &Arc<Session>) -> Answer
where
    B: Body<Data = Bytes> + Send,
{
    let _active = session.activity.begin();
    let mut answer = answer(request, session).await;
    if let Some(alt_svc) = session.entrance.http.as_ref().and_then(|http| http.alt_svc.clone()) {
        answer.headers_mut().insert(ALT_SVC, alt_svc);
    }
    answer
}

async fn answer<B>(request: Request<B>, session: &Arc<Session>) -> Answer
where
    B: Body<Data = Bytes> + Send,
{
    let (parts, body) = request.into_parts();
    let mut body = pin!(body);
    let form = request::form(&parts);
    let refused = match request::take(&parts, body.as_mut(), session).await {
        Ok(Turn::Known(answer)) => return answer,
        Ok(Turn::Store(order)) => {
            let waits = order.waits;
            match store::store(*order, session).await {
                Ok(stored) => return taken(form, stored.accepted, &stored.rejections, waits),
                Err(refused) => refused,
            }
        }
        Err(refused) => {
            refused.count(&session.entrance.book);
            // Who is still sending would not hear the answer if the connection were closed on it.
            body::discard(body).await;
            refused
        }
    };
    let entrance = &session.entrance;
    if let Some(left_out) = entrance.throttle.allow() {
        let (source, peer) = (entrance.name.as_str(), &session.peer);
        let status = refused.status().as_u16();
        tracing::warn!(source, %peer, status, reason = %refused, left_out, "request refused");
    }
    refused.answer(form)
}
