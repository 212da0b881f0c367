//! RELP: syslog over TCP or TLS, every record answered.

use std::collections::VecDeque;
use std::time::Duration;

use logboom_codec::encode;
use logboom_codec::relp::{Client, DATA_BYTES_MAX_DEFAULT, OK, Reply};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{CHUNK_BYTES, Failure};
use crate::net::Stream;
use crate::outbound::hand::{Hand, Outcome, Progress};
use crate::telemetry::ledger::AttemptOutcome;

/// Records that may wait for their answer.
const WINDOW: usize = 1024;
/// Time for the session to be opened, and for an answer to come at all.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes read at a time.
const READ_BYTES: usize = 16 << 10;

/// A RELP session.
#[derive(Debug)]
pub(in crate::outbound) struct RelpConnector {
    stream: Stream,
    client: Client,
    /// What was read and is not a whole frame yet.
    unread: Vec<u8>,
    replies: Vec<Reply>,
    /// Records sent and not settled, oldest first: number, and its answer if that came early.
    waiting: VecDeque<(u32, Option<Outcome>)>,
    is_closing: bool,
}

impl RelpConnector {
    /// Opens a session over a stream.
    pub(super) async fn open(mut stream: Stream) -> Result<Self, Failure> {
        let mut request = Vec::new();
        let client = Client::open(DATA_BYTES_MAX_DEFAULT, &mut request);
        let sent = stream_write(&mut stream, &request).await;
        sent.map_err(|error| Failure::stream("connect", &error, &stream))?;
        let mut connector = Self {
            stream,
            client,
            unread: Vec::new(),
            replies: Vec::new(),
            waiting: VecDeque::new(),
            is_closing: false,
        };
        let opened = async {
            while !connector.client.is_open() {
                connector.read(&mut Progress::default()).await?;
            }
            Ok(())
        };
        match tokio::time::timeout(ANSWER_TIMEOUT, opened).await {
            Ok(Ok(())) => Ok(connector),
            Ok(Err(failure)) => Err(Failure { attempt: "connect", ..failure }),
            Err(_) => Err(late("connect")),
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < WINDOW
    }

    pub(super) async fn send(
        &mut self,
        hand: &Hand,
        out: &mut Vec<u8>,
        progress: &mut Progress,
    ) -> Result<usize, Failure> {
        out.clear();
        let mut message = Vec::new();
        let mut sent = 0;
        for (_, record) in hand.unsent_records() {
            if out.len() >= CHUNK_BYTES || self.waiting.len() >= WINDOW {
                break;
            }
            message.clear();
            encode::rfc5424(&record, &mut message);
            sent += 1;
            match self.client.syslog(&message, out) {
                Ok(txnr) => self.waiting.push_back((txnr, None)),
                // It has its place in the order, but nothing is sent.
                Err(error) => {
                    self.waiting.push_back((0, Some(Outcome::Refused(error.to_string()))));
                }
            }
        }
        let written = stream_write(&mut self.stream, out).await;
        written.map_err(|error| Failure::stream("write", &error, &self.stream))?;
        progress.bytes += out.len();
        self.settle(progress);
        Ok(sent)
    }

    /// Waits for answers. Cancel safe.
    pub(super) async fn news(&mut self, progress: &mut Progress) -> Result<(), Failure> {
        if self.waiting.is_empty() {
            return self.read(progress).await;
        }
        let read = tokio::time::timeout(ANSWER_TIMEOUT, self.read(progress)).await;
        read.unwrap_or_else(|_| Err(late("answer")))
    }

    async fn read(&mut self, progress: &mut Progress) -> Result<(), Failure> {
        self.unread.reserve(READ_BYTES);
        match self.stream.read_buf(&mut self.unread).await {
            Ok(0) => return Err(Failure::closed()),
            Ok(_) => {}
            Err(error) => return Err(Failure::stream("answer", &error, &self.stream)),
        }
        let received = self.client.receive(&self.unread, 0, &mut self.replies);
        for reply in std::mem::take(&mut self.replies) {
            match reply {
                Reply::Syslog { txnr, code, text } => {
                    let outcome = if code == OK {
                        Outcome::Delivered
                    } else {
                        let text = String::from_utf8_lossy(text.of(&self.unread)).into_owned();
                        Outcome::Refused(format!("RELP answer {code} {text}"))
                    };
                    let waiting = self.waiting.iter_mut().find(|(waiting, _)| *waiting == txnr);
                    if let Some((_, answer)) = waiting {
                        *answer = Some(outcome);
                    }
                }
                Reply::ServerClose | Reply::Closed => self.is_closing = true,
                Reply::Opened => {}
            }
        }
        self.settle(progress);
        match received {
            Ok(_) if self.is_closing => Err(Failure::closed()),
            Ok(consumed) => {
                self.unread.drain(..consumed);
                Ok(())
            }
            Err(error) => Err(Failure::new("answer", AttemptOutcome::Protocol, error.to_string())),
        }
    }

    /// Settles what is answered at the front.
    fn settle(&mut self, progress: &mut Progress) {
        while let Some((_, Some(_))) = self.waiting.front() {
            if let Some((_, Some(outcome))) = self.waiting.pop_front() {
                progress.settle(1, outcome);
            }
        }
    }

    /// Says goodbye.
    pub(super) async fn finish(mut self) {
        let mut goodbye = Vec::new();
        self.client.close(&mut goodbye);
        let said = async {
            stream_write(&mut self.stream, &goodbye).await?;
            self.stream.shutdown().await
        };
        // An error means that the connection is gone, which ends it as well.
        drop(tokio::time::timeout(Duration::from_secs(1), said).await);
    }
}

async fn stream_write(stream: &mut Stream, bytes: &[u8]) -> std::io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

fn late(attempt: &'static str) -> Failure {
    let message = format!("no answer within {ANSWER_TIMEOUT:?}");
    Failure::new(attempt, AttemptOutcome::Timeout, message)
}
