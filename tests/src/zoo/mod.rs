//! A zoo of destinations, one of each kind that goes wrong, and healthy ones to hold them against.
//!
//! A [`Keeper`] sends records that tell their number and the time; a [`Cage`] is a destination that
//! behaves in one way, counts what it gets and how many connections are open to it at once.

mod behaviour;
mod http2;
mod keeper;
#[cfg(test)]
mod tests;

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use socket2::{Domain, SockRef, Socket, Type};

pub use keeper::{Keeper, Pace};

use crate::process::established;
use crate::{Certificates, Pair, wait_until};

/// Buffers of destinations that do not read much.
const SMALL: usize = 8 * 1024;

/// What a destination does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Syslog: takes everything at once.
    Healthy,
    /// Syslog: takes so many records a second on each connection.
    Slow(u32),
    /// Syslog: accepts and never reads.
    NeverReads,
    /// Syslog: does not accept; its queue of new connections is full.
    NeverAccepts,
    /// Syslog: resets each connection after so many records.
    ResetsEach(u64),
    /// Syslog: closes each connection at once.
    ClosesAtOnce,
    /// HTTP: takes everything and answers 204.
    HttpHealthy,
    /// HTTP: answers always with this status; 429 and 503 with `Retry-After` in seconds.
    HttpStatus(u16),
    /// HTTP: closes in the middle of each answer.
    HttpClosesMidway,
    /// HTTP: each answer has a body without an end.
    HttpEndless,
    /// HTTP: reads and never answers.
    HttpSilent,
    /// HTTP/2: says GOAWAY on each connection with so many requests, by turns behind the answer to the
    /// last one and in place of it.
    Http2GoesAway(u64),
    /// HTTP/2: its window is 0 and stays so; it reads no body and does not answer.
    Http2NoWindow,
}

/// One of each kind that goes wrong.
///
/// # Panics
/// As [`Cage::new`].
#[must_use]
pub fn sick(certificates: &Certificates) -> Vec<(&'static str, Cage)> {
    vec![
        ("slow", Cage::new(Behaviour::Slow(1))),
        ("never-reads", Cage::new(Behaviour::NeverReads)),
        ("never-accepts", Cage::new(Behaviour::NeverAccepts)),
        ("resets", Cage::new(Behaviour::ResetsEach(100))),
        ("closes-at-once", Cage::new(Behaviour::ClosesAtOnce)),
        ("http-500", Cage::new(Behaviour::HttpStatus(500))),
        ("http-429", Cage::new(Behaviour::HttpStatus(429))),
        ("http-closes-midway", Cage::new(Behaviour::HttpClosesMidway)),
        ("http-endless", Cage::new(Behaviour::HttpEndless)),
        ("http-silent", Cage::new(Behaviour::HttpSilent)),
        ("http2-goaway", Cage::new(Behaviour::Http2GoesAway(100))),
        ("http2-no-window", Cage::new(Behaviour::Http2NoWindow)),
        ("tls-expired", Cage::with_tls(Behaviour::Healthy, &certificates.expired)),
        ("tls-wrong-name", Cage::with_tls(Behaviour::HttpHealthy, &certificates.wrong_name)),
    ]
}

/// A gateway with a TCP source, a drain for each app, and so many connections to each destination;
/// `trusted` are the keys of drains by TLS.
#[must_use]
pub fn configuration(drains: &[(String, String)], trusted: &str, cap: usize) -> String {
    let mut config = format!(
        r#"
[limits]
max_connections = {cap}

[spool]
max = "256MiB"
share = "16MiB"

[[source]]
name = "tcp"
url = "syslog+tcp://127.0.0.1:0"
"#
    );
    for (app, url) in drains {
        let is_tls = url.starts_with("syslog+tls") || url.starts_with("https");
        let keys = if is_tls { trusted } else { "" };
        config.push_str(&format!("\n[[drain]]\napp = \"{app}\"\nurl = \"{url}\"\n{keys}"));
    }
    config
}

impl Behaviour {
    fn is_http(self) -> bool {
        matches!(
            self,
            Self::HttpHealthy
                | Self::HttpStatus(_)
                | Self::HttpClosesMidway
                | Self::HttpEndless
                | Self::HttpSilent
        ) || self.is_http2()
    }

    fn is_http2(self) -> bool {
        matches!(self, Self::Http2GoesAway(_) | Self::Http2NoWindow)
    }
}

/// A destination with its books. Dropping it closes it.
#[derive(Debug)]
pub struct Cage {
    address: SocketAddr,
    behaviour: Behaviour,
    books: Arc<Books>,
    tls: Option<Arc<ServerConfig>>,
    /// Connections that fill the queue of one that never accepts.
    fillers: Vec<TcpStream>,
}

#[derive(Debug, Default)]
struct Books {
    is_closed: AtomicBool,
    listens: AtomicBool,
    open: AtomicUsize,
    most: AtomicUsize,
    accepted: AtomicU64,
    failed_handshakes: AtomicU64,
    requests: AtomicU64,
    goaways: AtomicU64,
    records: AtomicU64,
    keeps: AtomicBool,
    kept: Mutex<Vec<(String, Vec<u8>)>>,
    /// Microseconds from sending to arrival, of each record since the last look.
    latencies: Mutex<Vec<u32>>,
    /// Those open, so that they can be ended.
    streams: Mutex<Vec<(u64, TcpStream)>>,
}

/// Both kinds of connection.
trait Wire: Read + Write {}
impl<T: Read + Write> Wire for T {}

impl Cage {
    /// Opens a destination on any port.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn new(behaviour: Behaviour) -> Self {
        Self::on(SocketAddr::from(([127, 0, 0, 1], 0)), behaviour, None)
    }

    /// Opens a destination that speaks TLS with this certificate.
    ///
    /// # Panics
    /// When there is no port, or the files cannot be read.
    #[must_use]
    pub fn with_tls(behaviour: Behaviour, pair: &Pair) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        // The first random byte takes long; no handshake of what is measured is to wait for it.
        provider.secure_random.fill(&mut [0]).expect("a random byte");
        let chain = CertificateDer::pem_file_iter(&pair.certificate).expect("a certificate");
        let chain: Vec<_> = chain.collect::<Result<_, _>>().expect("certificates");
        let key = PrivateKeyDer::from_pem_file(&pair.key).expect("a key");
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a certificate and its key");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::on(any, behaviour, Some(Arc::new(config)))
    }

    fn on(address: SocketAddr, behaviour: Behaviour, tls: Option<Arc<ServerConfig>>) -> Self {
        let books = Arc::new(Books::default());
        let mut cage = Self { address, behaviour, books, tls, fillers: Vec::new() };
        cage.open();
        cage
    }

    fn open(&mut self) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_reuse_address(true).expect("an option");
        if matches!(self.behaviour, Behaviour::Slow(_) | Behaviour::NeverReads) {
            socket.set_recv_buffer_size(SMALL).expect("an option");
        }
        // After a flap the port may be held by what is still ending.
        wait_until("the port of a destination", || socket.bind(&self.address.into()).is_ok());
        let never_accepts = self.behaviour == Behaviour::NeverAccepts;
        socket.listen(if never_accepts { 1 } else { 1024 }).expect("listening");
        let listener = TcpListener::from(socket);
        self.address = listener.local_addr().expect("an address");
        self.books = Arc::new(Books::default());
        self.books.listens.store(true, Ordering::SeqCst);
        if never_accepts {
            self.fill();
        }
        let (books, tls, behaviour) = (Arc::clone(&self.books), self.tls.clone(), self.behaviour);
        thread::spawn(move || {
            accept(&listener, &books, tls.as_ref(), behaviour);
            drop(listener);
            books.listens.store(false, Ordering::SeqCst);
        });
    }

    /// Connects until the kernel takes no more.
    fn fill(&mut self) {
        const NO_ANSWER: Duration = Duration::from_millis(200);
        while let Ok(stream) = TcpStream::connect_timeout(&self.address, NO_ANSWER) {
            self.fillers.push(stream);
        }
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// As a destination.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = match (self.behaviour.is_http(), self.tls.is_some()) {
            (false, false) => "syslog+tcp",
            (false, true) => "syslog+tls",
            (true, false) => "http",
            (true, true) => "https",
        };
        let path = match self.behaviour {
            behaviour if behaviour.is_http2() => "/logs?http=2",
            behaviour if behaviour.is_http() => "/logs",
            _ => "",
        };
        format!("{scheme}://{}{path}", self.address)
    }

    /// Ends all connections and listens no more, as when the machine goes down.
    ///
    /// # Panics
    /// When that does not happen in time.
    pub fn close(&mut self) {
        self.books.is_closed.store(true, Ordering::SeqCst);
        self.fillers.clear();
        // Wakes the thread that accepts.
        drop(TcpStream::connect_timeout(&self.address, Duration::from_secs(1)));
        self.books.end_all();
        let books = &self.books;
        wait_until("a closed destination", || !books.listens.load(Ordering::SeqCst));
        self.books.end_all();
    }

    /// Listens again on the same port after [`close`](Self::close), with new books.
    ///
    /// # Panics
    /// When it cannot.
    pub fn reopen(&mut self) {
        self.open();
    }

    /// As [`reopen`](Self::reopen), mended or fallen ill.
    ///
    /// # Panics
    /// When it cannot.
    pub fn reopen_as(&mut self, behaviour: Behaviour) {
        self.behaviour = behaviour;
        self.open();
    }

    /// Records that came.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.books.records.load(Ordering::Relaxed)
    }

    /// Requests that came.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.books.requests.load(Ordering::Relaxed)
    }

    /// Connections on which it has said GOAWAY.
    #[must_use]
    pub fn goaways(&self) -> u64 {
        self.books.goaways.load(Ordering::Relaxed)
    }

    /// Keeps what comes from here on, for [`take_kept`](Self::take_kept).
    pub fn keep(&self) {
        self.books.keeps.store(true, Ordering::Relaxed);
    }

    /// Takes what was kept, in the order in which it was read: of HTTP/2 the idempotency key and body of
    /// each request, else each record, without a key.
    ///
    /// # Panics
    /// When a thread of the destination did.
    #[must_use]
    pub fn take_kept(&self) -> Vec<(String, Vec<u8>)> {
        std::mem::take(&mut self.books.kept.lock().expect("books"))
    }

    /// Connections that were accepted.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.books.accepted.load(Ordering::Relaxed)
    }

    /// Handshakes for TLS that failed.
    #[must_use]
    pub fn failed_handshakes(&self) -> u64 {
        self.books.failed_handshakes.load(Ordering::Relaxed)
    }

    /// Connections that are open now.
    #[must_use]
    pub fn open_now(&self) -> usize {
        self.books.open.load(Ordering::SeqCst)
    }

    /// The most connections that were open at once.
    #[must_use]
    pub fn most_open(&self) -> usize {
        self.books.most.load(Ordering::Relaxed)
    }

    /// Takes the latencies of the records that came since the last call, in microseconds.
    ///
    /// # Panics
    /// When a thread of the destination did.
    #[must_use]
    pub fn take_latencies(&self) -> Vec<u32> {
        std::mem::take(&mut self.books.latencies.lock().expect("books"))
    }
}

impl Drop for Cage {
    fn drop(&mut self) {
        self.books.is_closed.store(true, Ordering::SeqCst);
        self.books.end_all();
        drop(TcpStream::connect_timeout(&self.address, Duration::from_millis(100)));
    }
}

impl Books {
    fn end_all(&self) {
        for (_, stream) in &*self.streams.lock().expect("books") {
            // One that has ended already is what is wanted.
            drop(stream.shutdown(Shutdown::Both));
        }
    }

    fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst)
    }

    /// Counts a connection that is open now. The own count is at times too high, since the end of a
    /// connection is read later than it came; the kernel knows better, but for a moment in which it has
    /// an end in hand, and so is asked several times. What counts is what lasts some milliseconds.
    fn enter(&self, port: u16) -> u64 {
        let open = self.open.fetch_add(1, Ordering::SeqCst) + 1;
        if open == 1 {
            self.most.fetch_max(1, Ordering::Relaxed);
        } else if open > self.most.load(Ordering::Relaxed) {
            let look = |_| {
                crate::pause(Duration::from_millis(1));
                established(port)
            };
            let least = (0..5).map(look).min().unwrap_or(open);
            self.most.fetch_max(open.min(least).max(1), Ordering::Relaxed);
        }
        self.accepted.fetch_add(1, Ordering::Relaxed)
    }

    fn keep(&self, key: &str, bytes: &[u8]) {
        if self.keeps.load(Ordering::Relaxed) {
            self.kept.lock().expect("books").push((key.to_owned(), bytes.to_vec()));
        }
    }

    fn leave(&self, number: u64) {
        self.streams.lock().expect("books").retain(|&(its, _)| its != number);
        self.open.fetch_sub(1, Ordering::SeqCst);
    }
}

fn accept(
    listener: &TcpListener,
    books: &Arc<Books>,
    tls: Option<&Arc<ServerConfig>>,
    behaviour: Behaviour,
) {
    const LOOK: Duration = Duration::from_millis(20);
    let port = listener.local_addr().expect("an address").port();
    while behaviour == Behaviour::NeverAccepts && !books.is_closed() {
        crate::pause(LOOK);
    }
    for stream in listener.incoming().flatten() {
        if books.is_closed() {
            return;
        }
        let number = books.enter(port);
        let copy = stream.try_clone().expect("a second handle");
        books.streams.lock().expect("books").push((number, copy));
        let (books, tls) = (Arc::clone(books), tls.cloned());
        thread::spawn(move || {
            // However it ends, it is over: that is what the zoo is for.
            drop(serve(stream, tls, behaviour, &books));
            books.leave(number);
        });
    }
}

fn serve(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    behaviour: Behaviour,
    books: &Arc<Books>,
) -> io::Result<()> {
    if behaviour.is_http2() {
        return http2::http2(stream, behaviour, books);
    }
    // A second handle, since that of the wire is lent out; to reset by.
    let handle = stream.try_clone()?;
    let reset = || SockRef::from(&handle).set_linger(Some(Duration::ZERO));
    let mut wire: Box<dyn Wire> = match tls {
        None => Box::new(stream),
        Some(config) => {
            let mut stream = stream;
            let mut session = ServerConnection::new(config).map_err(io::Error::other)?;
            let shaken = session.complete_io(&mut stream);
            if shaken.is_err() || session.is_handshaking() {
                books.failed_handshakes.fetch_add(1, Ordering::Relaxed);
                return shaken.map(drop);
            }
            Box::new(StreamOwned::new(session, stream))
        }
    };
    match behaviour {
        Behaviour::ClosesAtOnce | Behaviour::NeverAccepts => Ok(()),
        Behaviour::NeverReads => {
            while !books.is_closed() && handle.take_error()?.is_none() {
                crate::pause(Duration::from_millis(50));
            }
            Ok(())
        }
        _ if behaviour.is_http() => behaviour::http(&mut *wire, behaviour, books),
        _ => behaviour::syslog(&mut *wire, behaviour, books, &reset),
    }
}
