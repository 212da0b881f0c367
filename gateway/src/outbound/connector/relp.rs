//! RELP: syslog over TCP or TLS, every record answered.

use std::collections::VecDeque;
use std::time::Duration;

use logboom_codec::encode;
use logboom_codec::relp::{Client, DATA_BYTES_MAX_DEFAULT, OK, Reply};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

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

/// What a session that writes sees next.
enum Turn {
    Written(std::io::Result<usize>),
    Read(std::io::Result<usize>),
}

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
    /// When the last answer came, or the first record was sent that waits for one.
    heard: Instant,
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
            heard: Instant::now(),
            is_closing: false,
        };
        let deadline = connector.deadline();
        let opened = async {
            while !connector.client.is_open() {
                connector.read(&mut Progress::default()).await?;
            }
            Ok(())
        };
        match timeout_at(deadline, opened).await {
            Ok(Ok(())) => Ok(connector),
            Ok(Err(failure)) => Err(Failure { attempt: "connect", ..failure }),
            Err(_) => Err(late("connect")),
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < WINDOW
    }

    /// When an answer must have come, if any is due.
    fn deadline(&self) -> Instant {
        self.heard + ANSWER_TIMEOUT
    }

    pub(super) async fn send(
        &mut self,
        hand: &Hand,
        out: &mut Vec<u8>,
        progress: &mut Progress,
    ) -> Result<usize, Failure> {
        out.clear();
        if self.waiting.is_empty() {
            self.heard = Instant::now();
        }
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
        self.write(out, progress).await?;
        progress.bytes += out.len();
        self.settle(progress);
        Ok(sent)
    }

    /// Writes all of it, and reads answers meanwhile: a peer may not read on before they are taken.
    async fn write(&mut self, mut bytes: &[u8], progress: &mut Progress) -> Result<(), Failure> {
        loop {
            self.unread.reserve(READ_BYTES);
            let deadline = self.deadline();
            let (mut reader, mut writer) = tokio::io::split(&mut self.stream);
            let written = async {
                if bytes.is_empty() {
                    return writer.flush().await.map(|()| 0);
                }
                writer.write(bytes).await
            };
            // All of them are cancel safe.
            let turn = tokio::select! {
                biased;
                written = written => Turn::Written(written),
                read = reader.read_buf(&mut self.unread) => Turn::Read(read),
                () = tokio::time::sleep_until(deadline) => return Err(late("write")),
            };
            match turn {
                Turn::Written(Ok(0)) if bytes.is_empty() => return Ok(()),
                Turn::Written(Ok(0)) => return Err(Failure::closed()),
                Turn::Written(Ok(n)) => bytes = bytes.get(n..).unwrap_or_default(),
                Turn::Written(Err(error)) => {
                    return Err(Failure::stream("write", &error, &self.stream));
                }
                Turn::Read(read) => self.take(read, progress)?,
            }
        }
    }

    /// Waits for answers. Cancel safe.
    pub(super) async fn news(&mut self, progress: &mut Progress) -> Result<(), Failure> {
        if self.waiting.is_empty() {
            return self.read(progress).await;
        }
        // It counts from the last answer, however often this is called.
        let read = timeout_at(self.deadline(), self.read(progress)).await;
        read.unwrap_or_else(|_| Err(late("answer")))
    }

    async fn read(&mut self, progress: &mut Progress) -> Result<(), Failure> {
        self.unread.reserve(READ_BYTES);
        let read = self.stream.read_buf(&mut self.unread).await;
        self.take(read, progress)
    }

    /// Takes the answers that were read.
    fn take(
        &mut self,
        read: std::io::Result<usize>,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        match read {
            Ok(0) => return Err(Failure::closed()),
            Ok(_) => {}
            Err(error) => return Err(Failure::stream("answer", &error, &self.stream)),
        }
        let received = self.client.receive(&self.unread, 0, &mut self.replies);
        for reply in std::mem::take(&mut self.replies) {
            match reply {
                Reply::Syslog { txnr, code, text } => {
                    self.heard = Instant::now();
                    let outcome = if code == OK {
                        progress.proven = true;
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
        let is_answered = |(_, answer): &mut (u32, Option<Outcome>)| answer.is_some();
        while let Some((_, Some(outcome))) = self.waiting.pop_front_if(is_answered) {
            progress.settle(1, outcome);
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

#[cfg(test)]
mod tests {
    use logboom_codec::relp::{Request, Server};
    use tokio::net::{TcpListener, TcpStream};

    use super::super::hand_of;
    use super::*;

    const RECORD: &[u8] = b"<14>1 - - - - - - hello";

    /// A session with a server that answers the first so many records.
    async fn connect(answers: usize) -> RelpConnector {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (mut server, mut buffer) = (Server::new(1 << 16), Vec::new());
            let mut left = answers;
            while stream.read_buf(&mut buffer).await.is_ok_and(|n| n > 0) {
                let (mut requests, mut out) = (Vec::new(), Vec::new());
                let consumed = server.receive(&buffer, 0, &mut requests, 1024).unwrap();
                buffer.drain(..consumed);
                for request in requests {
                    match request {
                        Request::Open { txnr } => server.accept_open(txnr, &mut out),
                        Request::Syslog { txnr, .. } if left > 0 => {
                            server.ok(txnr, &mut out);
                            left -= 1;
                        }
                        Request::Syslog { .. } | Request::Close { .. } => {}
                    }
                }
                stream.write_all(&out).await.unwrap();
            }
        });
        let tcp = TcpStream::connect(address).await.unwrap();
        let stream = Stream::accept(tcp, None, ANSWER_TIMEOUT).await.unwrap();
        RelpConnector::open(stream).await.unwrap()
    }

    #[tokio::test]
    async fn records_that_keep_coming_do_not_put_off_the_time_for_an_answer() {
        let mut connector = connect(0).await;
        tokio::time::pause();
        let began = Instant::now();
        let (hand, mut progress, mut out) = (hand_of(RECORD), Progress::default(), Vec::new());
        let failure = loop {
            if let Err(failure) = connector.send(&hand, &mut out, &mut progress).await {
                break failure;
            }
            let news = connector.news(&mut progress);
            // A push ends the wait for news.
            if let Ok(Err(failure)) = tokio::time::timeout(ANSWER_TIMEOUT / 8, news).await {
                break failure;
            }
            assert!(began.elapsed() < ANSWER_TIMEOUT * 2, "it waits for ever");
        };
        assert_eq!(failure.outcome, AttemptOutcome::Timeout, "{failure:?}");
        assert!(!progress.proven && progress.take().is_none());
    }

    #[tokio::test]
    async fn an_answer_of_success_proves_the_destination_good() {
        let mut connector = connect(1).await;
        let (hand, mut progress, mut out) = (hand_of(RECORD), Progress::default(), Vec::new());
        connector.send(&hand, &mut out, &mut progress).await.unwrap();
        while connector.waiting.front().is_some() {
            connector.news(&mut progress).await.unwrap();
        }
        assert!(progress.proven);
        assert_eq!(progress.take(), Some((1, Outcome::Delivered)));
    }
}
