//! A connection, and requests on it.
//!
//! *Concurrency*: hyper runs each connection on tasks of its own. They belong to the connection and
//! its [shares](Connection::share), and end with the last of them.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper::header::{CONNECTION, HOST, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use hyper::http::response::Parts;
use hyper::http::uri::{Authority, PathAndQuery, Scheme};
use hyper::{Method, Request, Response, Uri};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::answer::{Answer, RetryAfter, text};
use super::error::HttpError;

/// Most bytes of the head of an answer.
pub(crate) const HEAD_BYTES_MAX: u32 = 32 * 1024;
/// Most header fields of an answer.
const HEADERS_MAX: usize = 100;
/// How long a session may take to open: the preface of HTTP/2 is a write.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// What a server may send unread on one stream of HTTP/2, and on all of them.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// A connection of HTTP/2 with requests in flight is asked for a sign of life so often.
const PING_EVERY: Duration = Duration::from_secs(20);
/// How long that sign may take.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Which HTTP is spoken. The dialler knows it from ALPN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// HTTP/1.1: one request at a time.
    Http1,
    /// HTTP/2: many.
    Http2,
}

/// Where requests go, read once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    scheme: Scheme,
    authority: Authority,
    path: PathAndQuery,
    host: HeaderValue,
}

impl Target {
    /// Reads a target. `authority` is `host` or `host:port`; credentials do not belong in it.
    ///
    /// # Errors
    /// What is wrong with `authority` or `path_and_query`.
    pub(crate) fn new(
        is_tls: bool,
        authority: &str,
        path_and_query: &str,
    ) -> Result<Self, hyper::http::Error> {
        let scheme = if is_tls { Scheme::HTTPS } else { Scheme::HTTP };
        let host = HeaderValue::from_str(authority)?;
        let path = PathAndQuery::try_from(path_and_query)?;
        Ok(Self { scheme, authority: Authority::try_from(authority)?, path, host })
    }
}

/// A request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Post<'a> {
    /// Where it goes.
    pub(crate) target: &'a Target,
    /// What it says besides `Host` and `Content-Length`, which are added.
    pub(crate) headers: &'a [(HeaderName, HeaderValue)],
    /// What it brings. It is shared, not copied.
    pub(crate) body: &'a Bytes,
}

/// How much a server may ask of us.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// From the request to the end of its answer.
    pub(crate) total: Duration,
    /// Bytes of an answer's body that are read.
    pub(crate) answer_bytes_max: usize,
}

/// A connection to a server.
#[derive(Debug)]
pub(crate) struct Connection {
    sender: Sender,
    tasks: Arc<Tasks>,
    /// Has lost its sender when the connection is over.
    running: watch::Receiver<()>,
    /// It is being closed.
    is_abandoned: bool,
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Connection {
    /// Speaks HTTP on a stream that is connected, and through its TLS handshake.
    ///
    /// *Cancel safety*: the stream is dropped, and with it the connection.
    ///
    /// # Errors
    /// [`HttpError::Connect`], [`HttpError::ConnectTimeout`].
    pub(crate) async fn open<S>(stream: S, version: Version) -> Result<Self, HttpError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let tasks = Arc::new(Tasks::default());
        let (runs, running) = watch::channel(());
        let opening = timeout(OPEN_TIMEOUT, Sender::open(stream, version, &tasks.spawner, runs));
        match opening.await {
            Ok(Ok(sender)) => Ok(Self { sender, tasks, running, is_abandoned: false }),
            Ok(Err(source)) => Err(HttpError::Connect { source }),
            Err(_elapsed) => Err(HttpError::ConnectTimeout { after: OPEN_TIMEOUT }),
        }
    }

    /// Whether it takes requests. A server may close it at any time, also just after this was asked.
    #[must_use]
    pub(crate) fn is_open(&self) -> bool {
        let is_closed = match &self.sender {
            Sender::Http1(sender) => sender.is_closed(),
            Sender::Http2(sender) => sender.is_closed(),
        };
        !is_closed && !self.is_abandoned
    }

    /// Waits until it is over.
    ///
    /// *Cancel safety*: nothing is lost.
    pub(crate) async fn closed(&self) {
        let mut running = self.running.clone();
        while running.changed().await.is_ok() {}
    }

    /// Whether it takes several requests at once.
    #[must_use]
    pub(crate) fn can_share(&self) -> bool {
        matches!(self.sender, Sender::Http2(_))
    }

    /// The same connection for another request at the same time, if it [can](Self::can_share).
    #[must_use]
    pub(crate) fn share(&self) -> Option<Self> {
        let Sender::Http2(sender) = &self.sender else { return None };
        let (sender, tasks) = (Sender::Http2(sender.clone()), Arc::clone(&self.tasks));
        Some(Self { sender, tasks, running: self.running.clone(), is_abandoned: false })
    }

    /// Sends a request and reads the answer. An answer whose status came in time is one, even if
    /// its body was too long or too slow; the connection of HTTP/1.1 is then closed.
    ///
    /// *Cancel safety*: the server may have got the request. A connection of HTTP/1.1 then takes no
    /// other.
    ///
    /// # Errors
    /// Any [`HttpError`] except that of [`Connection::open`]; the connection takes no more requests
    /// unless [`Connection::is_open`] says so.
    pub(crate) async fn post(
        &mut self,
        post: Post<'_>,
        limits: Limits,
    ) -> Result<Answer, HttpError> {
        let deadline = Instant::now() + limits.total;
        let request = self.request(post);
        let response = match timeout_at(deadline, self.sender.send(request)).await {
            Ok(response) => response?,
            Err(_elapsed) => {
                self.abandon();
                return Err(HttpError::Timeout { after: limits.total });
            }
        };
        let (head, body) = response.into_parts();
        let mut start = Vec::new();
        let reading = read(body, limits.answer_bytes_max, &mut start);
        let is_read = timeout_at(deadline, reading).await.unwrap_or(false);
        if !is_read || is_last(&head) {
            self.abandon();
        }
        let header = |name| head.headers.get(name).map(HeaderValue::as_bytes);
        Ok(Answer {
            status: head.status,
            retry_after: header(RETRY_AFTER).and_then(RetryAfter::parse),
            location: header(LOCATION).map(text),
            text: text(&start),
            closes: !self.is_open(),
        })
    }

    fn request(&self, post: Post<'_>) -> Request<Full<Bytes>> {
        let target = post.target;
        let mut request = Request::new(Full::new(post.body.clone()));
        *request.method_mut() = Method::POST;
        let headers = request.headers_mut();
        for (name, value) in post.headers {
            headers.append(name, value.clone());
        }
        let mut uri = hyper::http::uri::Parts::default();
        uri.path_and_query = Some(target.path.clone());
        match &self.sender {
            Sender::Http1(_) => {
                headers.insert(HOST, target.host.clone());
            }
            Sender::Http2(_) => {
                uri.scheme = Some(target.scheme.clone());
                uri.authority = Some(target.authority.clone());
            }
        }
        // A path alone, and scheme, authority and path together, are both whole.
        *request.uri_mut() = Uri::from_parts(uri).unwrap_or_default();
        request
    }

    /// Gives up what is under way: all of HTTP/1.1; of HTTP/2 only the stream that was dropped.
    fn abandon(&mut self) {
        if !self.can_share() {
            self.is_abandoned = true;
            self.tasks.spawner.abort();
        }
    }
}

impl Sender {
    /// Drops `runs` when the connection is over.
    async fn open<S>(
        stream: S,
        version: Version,
        spawner: &Spawner,
        runs: watch::Sender<()>,
    ) -> hyper::Result<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let io = TokioIo::new(stream);
        match version {
            Version::Http1 => {
                let (sender, connection) = http1::Builder::new()
                    .max_headers(HEADERS_MAX)
                    .max_header_size(HEAD_BYTES_MAX as usize)
                    .handshake(io)
                    .await?;
                spawner.spawn(async move {
                    // What went wrong is told to the request that it concerns.
                    drop(connection.await);
                    drop(runs);
                });
                Ok(Self::Http1(sender))
            }
            Version::Http2 => {
                let (sender, connection) = http2::Builder::new(spawner.clone())
                    .timer(TokioTimer::new())
                    .initial_stream_window_size(STREAM_WINDOW_BYTES)
                    .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
                    .max_header_list_size(HEAD_BYTES_MAX)
                    .keep_alive_interval(PING_EVERY)
                    .keep_alive_timeout(PING_TIMEOUT)
                    .handshake(io)
                    .await?;
                spawner.spawn(async move {
                    drop(connection.await);
                    drop(runs);
                });
                Ok(Self::Http2(sender))
            }
        }
    }

    async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, HttpError> {
        let sent = match self {
            Self::Http1(sender) => match sender.ready().await {
                Ok(()) => sender.try_send_request(request).await,
                Err(source) => return Err(HttpError::Closed { source }),
            },
            Self::Http2(sender) => match sender.ready().await {
                Ok(()) => sender.try_send_request(request).await,
                Err(source) => return Err(HttpError::Closed { source }),
            },
        };
        sent.map_err(|mut error: TrySendError<_>| {
            // A request that is handed back was never sent.
            let is_unsent = error.take_message().is_some();
            let source = error.into_error();
            if is_unsent { HttpError::Closed { source } } else { HttpError::of_request(source) }
        })
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http1(_) => "Http1",
            Self::Http2(_) => "Http2",
        })
    }
}

/// Reads a body to its end. `false` if it has more than `bytes_max` or breaks off; what there is of
/// it is in `start` then.
async fn read(mut body: Incoming, bytes_max: usize, start: &mut Vec<u8>) -> bool {
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        let Ok(data) = frame.into_data() else { continue };
        if start.len() + data.len() > bytes_max {
            let room = bytes_max.saturating_sub(start.len());
            start.extend_from_slice(data.get(..room).unwrap_or(&data));
            return false;
        }
        start.extend_from_slice(&data);
    }
    true
}

/// Whether the server closes the connection behind this answer. hyper acts upon it too, but not
/// before the answer is seen here.
fn is_last(head: &Parts) -> bool {
    let words = head.headers.get_all(CONNECTION).iter();
    let mut words = words.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    head.version == hyper::Version::HTTP_10
        || words.any(|word| word.trim_ascii().eq_ignore_ascii_case(b"close"))
}

/// The tasks of a connection; they end when this is dropped.
#[derive(Debug, Default)]
struct Tasks {
    spawner: Spawner,
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.spawner.abort();
    }
}

/// Starts tasks of a connection. hyper keeps clones of it in those tasks.
#[derive(Clone, Debug, Default)]
struct Spawner(Arc<Mutex<JoinSet<()>>>);

impl Spawner {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    fn abort(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}

impl<F> hyper::rt::Executor<F> for Spawner
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.spawn(async move {
            drop(task.await);
        });
    }
}

#[cfg(test)]
mod tests;
