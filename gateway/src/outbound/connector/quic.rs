//! QUIC: the relay to another gateway, which stores each batch once.
//!
//! Records that the spool has belong to one producer, the spool's log for this destination; others
//! to another, the queue in memory. A record's position is the entry it is in and its place among
//! those of this destination. What the hub has, it says at the beginning of each connection: so a
//! record is never sent twice, whatever of the two sides has crashed.
//!
//! *Source*: `docs/spec/quic.md`.

use std::collections::VecDeque;
use std::time::Duration;

use logboom_codec::encode;
use logboom_codec::quic::{
    BatchHead, Code, Control, Hello, Limits, RelayError, VERSION, Welcome, push_record,
};
use logboom_record::{Position, ProducerId, Record};
use quinn::{Connection, ConnectionError, SendStream, WriteError};
use tokio::time::{Instant, timeout};

use super::{CHUNK_BYTES, Failure, dial_failure};
use crate::net::{
    ControlError, ControlStream, Endpoint, QuicConnection, dial_quic, quic_close, quic_fault,
};
use crate::outbound::hand::{Hand, Outcome, Progress};
use crate::outbound::queue::Item;
use crate::outbound::sender::digest;
use crate::outbound::{Destination, random};
use crate::telemetry::ledger::AttemptOutcome;

/// Batches that may wait for their acknowledgement.
const WINDOW: usize = 128;
/// Records of a batch.
const BATCH_RECORDS: u32 = 1024;
/// Time for the hub to open the session, and for an acknowledgement to come at all.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Time for the last words to go out.
const GOODBYE: Duration = Duration::from_secs(1);

/// The spool's log, and the queue in memory: the places of the producers in the `HELLO`.
const SPOOLED: usize = 0;
const QUEUED: usize = 1;

/// The ids of a destination's producers.
#[derive(Debug)]
pub(in crate::outbound) struct Producers([ProducerId; 2]);

impl Producers {
    /// Those of a destination. The first is the same in each process that has this spool; without a
    /// spool it is of no use.
    pub(in crate::outbound) fn new(sender: Option<[u8; 16]>, canonical: &str) -> Self {
        let drawn = random();
        let spooled = match sender {
            Some(sender) => digest([&sender[..], canonical.as_bytes()]),
            None => random(),
        };
        Self([ProducerId(spooled), ProducerId(drawn)])
    }
}

/// What was sent and is not settled.
#[derive(Debug)]
struct Sent {
    producer: usize,
    position: Position,
    records: usize,
    /// It was not sent after all, and ended so.
    outcome: Option<Outcome>,
}

/// A session with a hub.
#[derive(Debug)]
pub(in crate::outbound) struct QuicConnector {
    quic: QuicConnection,
    control: ControlStream,
    limits: Limits,
    /// Up to where the hub has each producer's records.
    kept: [Position; 2],
    streams: [Option<SendStream>; 2],
    waiting: VecDeque<Sent>,
    /// When the last acknowledgement came, or the first batch was sent that waits for one.
    heard: Instant,
    /// The hub takes no more here.
    is_leaving: bool,
}

/// What a session that writes sees next.
enum Turn {
    Written(Result<usize, WriteError>),
    Frame(Result<Option<Control>, ControlError>),
}

impl QuicConnector {
    /// Connects, and hears what the hub has.
    pub(super) async fn open(
        destination: &Destination,
        host: &str,
        port: u16,
    ) -> Result<Self, Failure> {
        let settings = destination.settings();
        let (tls, guarded) = (settings.tls.clone(), settings.guarded);
        let endpoint = Endpoint { host: host.to_owned(), port, tls, guarded };
        let network = destination.common().network.load_full();
        let quic = dial_quic(&network, &endpoint).await.map_err(|error| dial_failure(&error))?;
        let opened = timeout(ANSWER_TIMEOUT, greet(&quic, destination.producers())).await;
        let (control, welcome) = match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(failure)) => return Err(Failure { attempt: "connect", ..failure }),
            Err(_) => return Err(late("connect")),
        };
        let [spooled, queued] = welcome.positions[..] else {
            return Err(protocol("a WELCOME for other producers"));
        };
        let spool = destination.common().spool.as_ref();
        if spool.is_some_and(|spool| spooled > Position::default() && spooled.entry >= spool.next())
        {
            return Err(older());
        }
        Ok(Self {
            quic,
            control,
            limits: welcome.limits,
            kept: [spooled, queued],
            streams: [None, None],
            waiting: VecDeque::new(),
            heard: Instant::now(),
            is_leaving: false,
        })
    }

    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < WINDOW && !self.is_leaving
    }

    /// Whether the connection is over.
    pub(super) fn check(&self) -> Result<(), Failure> {
        match self.quic.connection.close_reason() {
            Some(reason) => Err(lost(&reason, "keep")),
            None => Ok(()),
        }
    }

    /// Sends one batch.
    pub(super) async fn send(
        &mut self,
        hand: &Hand,
        out: &mut Vec<u8>,
        progress: &mut Progress,
    ) -> Result<usize, Failure> {
        out.clear();
        let mut message = Vec::new();
        let mut batch: Option<Sent> = None;
        let (mut known, mut records) = (0, 0);
        for (item, place, record) in hand.unsent_places() {
            let (producer, position) = place_of(item, place);
            let is_known = self.kept.get(producer).is_some_and(|kept| *kept >= position);
            let other = batch.as_ref().is_some_and(|batch| batch.producer != producer);
            if is_known && batch.is_none() {
                self.note(Sent { producer, position, records: 1, outcome: None });
                known += 1;
                continue;
            }
            if is_known || other || records >= BATCH_RECORDS.min(self.limits.records) {
                break;
            }
            let before = out.len();
            encode(&record, &mut message, out);
            if out.len() > self.limits.bytes as usize {
                out.truncate(before);
                if batch.is_none() {
                    let outcome = Some(Outcome::Refused(self.too_large(message.len())));
                    self.note(Sent { producer, position, records: 1, outcome });
                    known += 1;
                }
                break;
            }
            records += 1;
            batch = Some(Sent { producer, position, records: records as usize, outcome: None });
            if out.len() >= CHUNK_BYTES {
                break;
            }
        }
        if let Some(batch) = batch {
            let bytes = u32::try_from(out.len()).unwrap_or(u32::MAX);
            let head = BatchHead { position: batch.position, records, bytes };
            if self.waiting.is_empty() {
                self.heard = Instant::now();
            }
            let producer = batch.producer;
            self.note(batch);
            self.write(producer, &head.to_bytes(), progress).await?;
            self.write(producer, out, progress).await?;
            progress.bytes += out.len();
        }
        self.settle(progress);
        Ok(known + records as usize)
    }

    fn too_large(&self, bytes: usize) -> String {
        format!("a record of {bytes} bytes, the hub takes at most {}", self.limits.bytes)
    }

    /// Notes what is on its way; what is settled alike already is one.
    fn note(&mut self, sent: Sent) {
        match self.waiting.back_mut() {
            Some(last)
                if last.producer == sent.producer
                    && last.outcome == sent.outcome
                    && self.kept.get(sent.producer).is_some_and(|kept| *kept >= sent.position) =>
            {
                last.position = sent.position;
                last.records += sent.records;
            }
            _ => self.waiting.push_back(sent),
        }
    }

    /// Writes to the stream of a producer, and takes acknowledgements meanwhile.
    async fn write(
        &mut self,
        producer: usize,
        mut bytes: &[u8],
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        let Some(place) = self.streams.get_mut(producer) else { return Ok(()) };
        if place.is_none() {
            // A hub may allow no stream, or none of its bytes.
            let opened = timeout(ANSWER_TIMEOUT, open(&self.quic.connection, producer)).await;
            *place = Some(opened.map_err(|_| unopened())??);
        }
        // Taken out, so that acknowledgements can be entered meanwhile.
        let Some(mut stream) = place.take() else { return Ok(()) };
        while !bytes.is_empty() {
            let deadline = self.deadline();
            // All of them are cancel safe.
            let turn = tokio::select! {
                biased;
                written = stream.write(bytes) => Turn::Written(written),
                frame = self.control.read() => Turn::Frame(frame),
                () = tokio::time::sleep_until(deadline) => return Err(late("write")),
            };
            match turn {
                Turn::Written(Ok(n)) => bytes = bytes.get(n..).unwrap_or_default(),
                Turn::Written(Err(error)) => return Err(not_written(&error)),
                Turn::Frame(frame) => self.take(frame, progress)?,
            }
        }
        if let Some(place) = self.streams.get_mut(producer) {
            *place = Some(stream);
        }
        Ok(())
    }

    /// When an acknowledgement must have come, if any is due.
    fn deadline(&self) -> Instant {
        self.heard + ANSWER_TIMEOUT
    }

    /// Waits for acknowledgements. Cancel safe.
    pub(super) async fn news(&mut self, progress: &mut Progress) -> Result<(), Failure> {
        let frame = if self.waiting.is_empty() {
            self.control.read().await
        } else {
            let deadline = self.deadline();
            // It counts from the last acknowledgement, however often this is called.
            let read = tokio::time::timeout_at(deadline, self.control.read()).await;
            read.map_err(|_| late("answer"))?
        };
        self.take(frame, progress)
    }

    fn take(
        &mut self,
        frame: Result<Option<Control>, ControlError>,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        match frame.map_err(|error| unread(&error))? {
            Some(Control::Ack { producer, position }) => {
                let kept = self.kept.get_mut(usize::from(producer));
                let kept = kept.ok_or_else(|| protocol("an ACK of another producer"))?;
                *kept = (*kept).max(position);
                self.heard = Instant::now();
                progress.proven = true;
                self.settle(progress);
                Ok(())
            }
            Some(Control::GoAway) => {
                self.is_leaving = true;
                if self.waiting.is_empty() { Err(Failure::closed()) } else { Ok(()) }
            }
            Some(Control::Unknown(_)) => Ok(()),
            Some(other) => Err(protocol(&RelayError::Unexpected(other.kind()).to_string())),
            None => Err(Failure::closed()),
        }
    }

    /// Settles what is decided on at the front.
    fn settle(&mut self, progress: &mut Progress) {
        let kept = self.kept;
        let is_kept = |sent: &Sent| kept.get(sent.producer).is_some_and(|k| *k >= sent.position);
        let is_decided = |sent: &mut Sent| sent.outcome.is_some() || is_kept(sent);
        while let Some(sent) = self.waiting.pop_front_if(is_decided) {
            progress.settle(sent.records, sent.outcome.unwrap_or(Outcome::Delivered));
        }
    }

    /// Ends the connection; all is acknowledged, or will be sent again.
    pub(super) async fn finish(self) {
        quic_close(&self.quic.connection, Code::None, "");
        drop(timeout(GOODBYE, self.quic.endpoint.wait_idle()).await);
    }
}

fn encode(record: &Record<'_>, message: &mut Vec<u8>, out: &mut Vec<u8>) {
    message.clear();
    encode::rfc5424(record, message);
    push_record(message, out);
}

/// Whose record it is, and its position.
fn place_of(item: &Item, place: usize) -> (usize, Position) {
    let record = u32::try_from(item.first + place + 1).unwrap_or(u32::MAX);
    match item.held {
        Some(entry) => (SPOOLED, Position { entry, record }),
        None => (QUEUED, Position { entry: item.sequence(), record }),
    }
}

/// Opens the stream of a producer.
async fn open(connection: &Connection, producer: usize) -> Result<SendStream, Failure> {
    let mut stream = connection.open_uni().await.map_err(|error| lost(&error, "write"))?;
    let index = u16::try_from(producer).unwrap_or(u16::MAX).to_be_bytes();
    stream.write_all(&index).await.map_err(|error| not_written(&error))?;
    Ok(stream)
}

fn unopened() -> Failure {
    let message = format!("the hub allows no stream for records within {ANSWER_TIMEOUT:?}");
    Failure::new("write", AttemptOutcome::Timeout, message)
}

/// Opens the control stream, and says who speaks.
async fn greet(
    quic: &QuicConnection,
    producers: &Producers,
) -> Result<(ControlStream, Welcome), Failure> {
    let opened = quic.connection.open_bi().await;
    let (send, recv) = opened.map_err(|error| lost(&error, "connect"))?;
    let mut control = ControlStream::new(send, recv);
    let hello = Hello { versions: (VERSION, VERSION), producers: producers.0.to_vec() };
    let written = control.write(&[Control::Hello(hello)]).await;
    written.map_err(|error| not_written(&error))?;
    loop {
        match control.read().await.map_err(|error| unread(&error))? {
            Some(Control::Welcome(welcome)) => return Ok((control, welcome)),
            Some(Control::Unknown(_)) => {}
            Some(Control::GoAway) | None => return Err(Failure::closed()),
            Some(other) => {
                return Err(protocol(&RelayError::Unexpected(other.kind()).to_string()));
            }
        }
    }
}

/// The hub has more of the spool than there ever was in it: what follows would be taken for known.
fn older() -> Failure {
    let message = "the hub has later records of this spool, which is an older state of itself: \
                   remove the file \"sender\" in its folder and start again";
    Failure::new("connect", AttemptOutcome::Protocol, message)
}

fn late(attempt: &'static str) -> Failure {
    let message = format!("no acknowledgement within {ANSWER_TIMEOUT:?}");
    Failure::new(attempt, AttemptOutcome::Timeout, message)
}

fn protocol(what: &str) -> Failure {
    Failure::new("answer", AttemptOutcome::Protocol, format!("the hub sends {what}"))
}

fn not_written(error: &WriteError) -> Failure {
    match error {
        WriteError::ConnectionLost(error) => lost(error, "write"),
        error => Failure::new("write", AttemptOutcome::Protocol, error.to_string()),
    }
}

fn unread(error: &ControlError) -> Failure {
    match error {
        ControlError::Read(quinn::ReadError::ConnectionLost(error)) => lost(error, "keep"),
        ControlError::Read(error) => {
            Failure::new("answer", AttemptOutcome::Protocol, error.to_string())
        }
        ControlError::Relay(error) => protocol(&error.to_string()),
    }
}

/// What the end of a connection means.
fn lost(error: &ConnectionError, attempt: &'static str) -> Failure {
    let outcome = match error {
        ConnectionError::ApplicationClosed(close) => {
            match Code::of(close.error_code.into_inner()) {
                Some(Code::None) => return Failure::closed(),
                Some(Code::Superseded | Code::Idle) => AttemptOutcome::Closed,
                Some(Code::Busy | Code::Lost | Code::Timeout | Code::Internal) | None => {
                    AttemptOutcome::Busy
                }
                Some(
                    Code::Protocol | Code::Version | Code::Limit | Code::Framing | Code::Order,
                ) => AttemptOutcome::Protocol,
            }
        }
        ConnectionError::TimedOut => AttemptOutcome::Timeout,
        ConnectionError::Reset => AttemptOutcome::Reset,
        ConnectionError::VersionMismatch => AttemptOutcome::Protocol,
        ConnectionError::ConnectionClosed(_) | ConnectionError::TransportError(_) => {
            match quic_fault(error) {
                Some(fault) => AttemptOutcome::of_keyword(fault.keyword()),
                None => AttemptOutcome::Io,
            }
        }
        ConnectionError::LocallyClosed | ConnectionError::CidsExhausted => AttemptOutcome::Io,
    };
    Failure::new(attempt, outcome, error.to_string())
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;

    use logboom_codec::quic::ALPN;
    use logboom_record::Selection;
    use quinn::{TransportConfig, VarInt};
    use rcgen::{CertificateParams, KeyPair};

    use super::*;
    use crate::config::WhenFull;
    use crate::net::{ClientAuth, TlsClient, TlsFiles, TlsServer, TlsServerFiles, quic_server};
    use crate::outbound::tests::{Stage, parcel};

    /// A destination whose hub says that it has these of its two producers, and allows no stream.
    async fn destination(stage: &Stage, kept: [Position; 2]) -> (Arc<Destination>, u16) {
        let (pair, folder) = (KeyPair::generate().unwrap(), &stage.folder);
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
        std::fs::write(&cert, params.self_signed(&pair).unwrap().pem()).unwrap();
        std::fs::write(&key, pair.serialize_pem()).unwrap();
        let (alpn, client_auth) = (vec![ALPN], ClientAuth::None);
        let files = TlsFiles {
            ca: Some(cert.clone()),
            server_name: Some("localhost".to_owned()),
            alpn: alpn.clone(),
            ..TlsFiles::default()
        };
        let server = TlsServer::load(&TlsServerFiles { cert, key, client_auth, alpn }).unwrap();
        let mut config = quic_server(&server, 1).unwrap();
        let mut transport = TransportConfig::default();
        transport.max_concurrent_uni_streams(VarInt::from_u32(0));
        config.transport_config(Arc::new(transport));
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let endpoint = quinn::Endpoint::server(config, any).unwrap();
        let port = endpoint.local_addr().unwrap().port();
        tokio::spawn(async move {
            let connection = endpoint.accept().await.unwrap().await.unwrap();
            let (send, recv) = connection.accept_bi().await.unwrap();
            let mut control = ControlStream::new(send, recv);
            assert!(matches!(control.read().await, Ok(Some(Control::Hello(_)))));
            let limits = Limits { bytes: 1 << 20, records: 1024 };
            let welcome = Welcome { version: VERSION, limits, positions: kept.to_vec() };
            control.write(&[Control::Welcome(welcome)]).await.unwrap();
            connection.closed().await;
        });
        let url = format!("quic://127.0.0.1:{port}");
        let destination = stage.destination(&url, WhenFull::Spool, 1 << 20);
        let mut settings = (*destination.settings()).clone();
        settings.tls = Some(Arc::new(TlsClient::load(&files).unwrap()));
        destination.change(settings);
        (destination, port)
    }

    #[tokio::test]
    async fn a_hub_that_allows_no_stream_is_given_up() {
        let stage = Stage::new("quic-no-stream");
        let (destination, port) = destination(&stage, [Position::default(); 2]).await;
        let mut connector = QuicConnector::open(&destination, "127.0.0.1", port).await.unwrap();
        let (mut hand, mut out, mut progress) = (Hand::default(), Vec::new(), Progress::default());
        hand.push(Item::new(&Arc::new(parcel(&["shop"], 9, None)), Selection::All, None));
        tokio::time::pause();
        let failure = connector.send(&hand, &mut out, &mut progress).await.unwrap_err();
        assert_eq!(failure.outcome, AttemptOutcome::Timeout);
        assert!(failure.message.contains("allows no stream"), "{failure:?}");
        assert!(progress.take().is_none());
    }

    #[tokio::test]
    async fn a_hub_that_knows_more_than_the_spool_ever_had_gets_nothing() {
        let stage = Stage::new("quic-older");
        let kept = [Position { entry: 5, record: 1 }, Position::default()];
        let (destination, port) = destination(&stage, kept).await;
        let failure = QuicConnector::open(&destination, "127.0.0.1", port).await.unwrap_err();
        assert_eq!(failure.outcome, AttemptOutcome::Protocol);
        assert!(failure.message.contains("older state"), "{failure:?}");
    }
}
