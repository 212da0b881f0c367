//! Connectors: the code that speaks a destination's protocol.
//!
//! A connector takes records in order and reports, in that order, how their way ended: at once where
//! the protocol has no acknowledgement, later where it has one. What a connector has not settled when
//! its connection is lost is sent again over the next one.
//!
//! | connector | a record is delivered when |
//! |---|---|
//! | `stream` | the peer's kernel has acknowledged its bytes |
//! | `relp` | the peer has answered its frame |
//! | `quic` | the peer has acknowledged its batch, or says at the beginning that it has it |
//! | `request` | the peer has answered the request with success |
//! | `datagram` | this machine's kernel has taken it |
//! | `file` | it is written; synced too, where a source waits for its receipt or the spool lets go of it |

mod datagram;
mod file;
mod quic;
mod relp;
mod request;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use logboom_codec::encode;

use super::Destination;
use super::cap::Slot;
use super::hand::{Hand, Progress};
use crate::config::{DestinationKind, LineFormat, WireFormat, WireFraming};
use crate::net::{DialError, Endpoint, Stream, TlsFault, dial};
use crate::telemetry::ledger::{AttemptOutcome, DestinationBook};

pub(super) use quic::Producers;
pub(super) use request::Pool;

/// Bytes encoded before they are written.
const CHUNK_BYTES: usize = 256 << 10;

/// Why an attempt failed. The records it was about are kept.
#[derive(Debug)]
pub(super) struct Failure {
    /// What was tried: `connect`, `write`, `keep`, …
    pub(super) attempt: &'static str,
    /// Under what it is counted.
    pub(super) outcome: AttemptOutcome,
    /// What happened, for the log.
    pub(super) message: String,
    /// How long the destination asked to be left alone.
    pub(super) retry_after: Option<Duration>,
    /// Whether the connection can go on: only the request failed.
    pub(super) keeps_connection: bool,
}

impl Failure {
    fn new(attempt: &'static str, outcome: AttemptOutcome, message: impl Into<String>) -> Self {
        let (message, retry_after) = (message.into(), None);
        Self { attempt, outcome, message, retry_after, keeps_connection: false }
    }

    fn io(attempt: &'static str, error: &std::io::Error) -> Self {
        Self::new(attempt, AttemptOutcome::of_io(error), error.to_string())
    }

    /// The same of a stream, whose peer may have said no by TLS after all.
    fn stream(attempt: &'static str, error: &std::io::Error, stream: &Stream) -> Self {
        match TlsFault::within(error, &stream.peer().to_string()) {
            Some((keyword, message)) => {
                Self::new(attempt, AttemptOutcome::of_keyword(keyword), message)
            }
            None => Self::io(attempt, error),
        }
    }

    /// The peer has ended the connection.
    pub(super) fn closed() -> Self {
        Self::new("keep", AttemptOutcome::Closed, "the destination closed the connection")
    }
}

/// Counts a connection for as long as it is open, within the destination's cap.
#[derive(Debug)]
pub(super) struct Open {
    book: Arc<DestinationBook>,
    _slot: Option<Slot>,
}

impl Open {
    /// Counts a connection.
    fn new(book: &Arc<DestinationBook>, slot: Option<Slot>) -> Self {
        book.connections.enter(1);
        book.connects.add(1);
        Self { book: Arc::clone(book), _slot: slot }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.book.connections.leave(1);
    }
}

/// An open way to a destination.
#[derive(Debug)]
pub(super) enum Connector {
    Stream(stream::StreamConnector),
    Relp(relp::RelpConnector),
    Quic(Box<quic::QuicConnector>),
    Request(request::RequestConnector),
    Datagram(datagram::DatagramConnector),
    File(file::FileConnector),
    Stdout(LineFormat),
}

impl Connector {
    /// Opens it; a host name is resolved anew each time, and its addresses tried in turn.
    pub(super) async fn open(destination: &Destination) -> Result<(Self, Arc<Open>), Failure> {
        let settings = destination.settings();
        // Several HTTP connectors may share one connection, which has one slot.
        let slot = match &settings.kind {
            DestinationKind::Http(_) => None,
            _ => Some(destination.cap.slot().await),
        };
        let connector = match &settings.kind {
            DestinationKind::SyslogTcp { host, port, framing, format }
            | DestinationKind::SyslogTls { host, port, framing, format } => {
                let stream = connect(destination, host, *port).await?;
                let (format, framing) = (wire_format(*format), wire_framing(*framing));
                Self::Stream(stream::StreamConnector::new(stream, format, framing))
            }
            DestinationKind::Relp { host, port, .. } => {
                let stream = connect(destination, host, *port).await?;
                Self::Relp(relp::RelpConnector::open(stream).await?)
            }
            DestinationKind::Quic { host, port } => {
                let opened = Box::pin(quic::QuicConnector::open(destination, host, *port));
                Self::Quic(Box::new(opened.await?))
            }
            DestinationKind::SyslogUdp { host, port, format, bytes_max } => {
                let target = datagram::DatagramTarget {
                    host: host.clone(),
                    port: *port,
                    guarded: settings.guarded,
                    format: wire_format(*format),
                    bytes_max: *bytes_max,
                };
                let opened = datagram::DatagramConnector::open(destination.common(), target);
                Self::Datagram(opened.await?)
            }
            DestinationKind::File { path, format } => {
                Self::File(file::FileConnector::open(path, *format).await?)
            }
            DestinationKind::Stdout { format } => Self::Stdout(*format),
            DestinationKind::Http(http) => {
                let (connector, open) = request::RequestConnector::open(destination, http).await?;
                return Ok((Self::Request(connector), open));
            }
        };
        Ok((connector, Arc::new(Open::new(&destination.book, slot))))
    }

    /// How many of these a destination of this kind can have: only streams gain by several.
    pub(super) fn lines_max(kind: &DestinationKind, cap: usize) -> usize {
        match kind {
            DestinationKind::SyslogUdp { .. }
            | DestinationKind::Quic { .. }
            | DestinationKind::File { .. }
            | DestinationKind::Stdout { .. } => 1,
            _ => cap.max(1),
        }
    }

    /// Whether it takes more records now.
    pub(super) fn has_room(&self) -> bool {
        match self {
            Self::Relp(relp) => relp.has_room(),
            Self::Quic(quic) => quic.has_room(),
            _ => true,
        }
    }

    /// Sends records that are in hand and not yet sent. Returns how many of them it took; each of them
    /// is settled in `progress`, now or later. Not cancel safe: what was taken is told by
    /// [`Self::settle`] as far as it can be known.
    pub(super) async fn send(
        &mut self,
        hand: &Hand,
        out: &mut Vec<u8>,
        progress: &mut Progress,
    ) -> Result<usize, Failure> {
        match self {
            Self::Stream(stream) => stream.send(hand, out, progress).await,
            Self::Relp(relp) => relp.send(hand, out, progress).await,
            Self::Quic(quic) => quic.send(hand, out, progress).await,
            Self::Request(request) => request.send(hand, progress).await,
            Self::Datagram(datagram) => datagram.send(hand, out, progress).await,
            Self::File(file) => file.send(hand, out, progress).await,
            Self::Stdout(format) => file::send_stdout(*format, hand, out, progress).await,
        }
    }

    /// Notes in `progress` what has settled meanwhile.
    pub(super) fn settle(&mut self, progress: &mut Progress) {
        if let Self::Stream(stream) = self {
            stream.settle(progress);
        }
    }

    /// Waits until more may have settled; fails when the connection is over. Cancel safe.
    pub(super) async fn news(&mut self, progress: &mut Progress) -> Result<(), Failure> {
        match self {
            Self::Stream(stream) => stream.news(progress).await,
            Self::Relp(relp) => relp.news(progress).await,
            Self::Quic(quic) => quic.news(progress).await,
            Self::Request(request) => request.news().await,
            Self::Datagram(_) | Self::File(_) | Self::Stdout(_) => std::future::pending().await,
        }
    }

    /// Looks, without waiting, whether the connection is over: asked before anything is sent over one
    /// that was idle.
    pub(super) fn check(&mut self) -> Result<(), Failure> {
        match self {
            Self::Stream(stream) => stream.check(),
            Self::Request(request) => request.check(),
            Self::Quic(quic) => quic.check(),
            _ => Ok(()),
        }
    }

    /// Ends the connection and waits until the peer has read all of it.
    pub(super) async fn finish(self) {
        match self {
            Self::Stream(stream) => stream.finish().await,
            Self::Relp(relp) => relp.finish().await,
            Self::Quic(quic) => quic.finish().await,
            _ => {}
        }
    }
}

/// A stream to the destination's host, by TLS where its scheme says so.
async fn connect(destination: &Destination, host: &str, port: u16) -> Result<Stream, Failure> {
    let settings = destination.settings();
    let (tls, guarded) = (settings.tls.clone(), settings.guarded);
    let endpoint = Endpoint { host: host.to_owned(), port, tls, guarded };
    dial(&destination.common().network.load_full(), &endpoint)
        .await
        .map_err(|error| dial_failure(&error))
}

fn dial_failure(error: &DialError) -> Failure {
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        message.push_str(&format!(": {error}"));
        cause = error.source();
    }
    Failure::new("connect", AttemptOutcome::of_keyword(error.keyword()), message)
}

fn wire_format(format: WireFormat) -> encode::WireFormat {
    match format {
        WireFormat::Rfc5424 => encode::WireFormat::Rfc5424,
        WireFormat::Rfc3164 => encode::WireFormat::Rfc3164,
    }
}

fn wire_framing(framing: WireFraming) -> encode::WireFraming {
    match framing {
        WireFraming::Octet => encode::WireFraming::Octet,
        WireFraming::Lf => encode::WireFraming::Lf,
    }
}

/// One record in hand.
#[cfg(test)]
fn hand_of(text: &[u8]) -> Hand {
    use logboom_record::{Batch, Head, Selection, UnixNanos};

    let mut batch = Batch::new(Vec::new(), UnixNanos(0));
    let raw = batch.append(text);
    batch.push(&Head { raw, body: raw, ..Head::default() });
    let parcel = Arc::new(super::Parcel::new(batch, "test".into(), None, Box::new(drop)));
    let mut hand = Hand::default();
    hand.push(super::queue::Item::new(&parcel, Selection::All, None));
    hand
}
