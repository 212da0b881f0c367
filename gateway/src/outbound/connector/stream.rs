//! Syslog over TCP and TLS: a stream without acknowledgements of its own.
//!
//! What the peer's kernel has acknowledged is delivered; what it has not is sent again over the next
//! connection, record by record. Over TLS a chunk is acknowledged as a whole, since its records
//! share TLS records. What a peer's kernel has acknowledged and its program never read is lost if
//! it dies: only a protocol with acknowledgements can tell.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use logboom_codec::encode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{CHUNK_BYTES, Failure};
use crate::net::{Silence, Stream};
use crate::outbound::hand::{Hand, Outcome, Progress};
use crate::outbound::queue::give_back;

/// How often to ask the kernel what was acknowledged, at first and at last.
const ASK_FIRST: Duration = Duration::from_millis(1);
const ASK_LAST: Duration = Duration::from_millis(50);
/// Time for a peer to read what it was sent and close.
const FINISH_TIMEOUT: Duration = Duration::from_secs(5);
/// For how long the records of a new TLS connection are not taken as delivered, whatever the peer's
/// kernel says: with TLS 1.3 a peer refuses our certificate only after the handshake.
const TLS_DOUBT: Duration = Duration::from_secs(1);
/// A peer that has not answered for this long is gone.
const SILENCE: Duration = Duration::from_secs(30);
/// Bytes a syslog receiver may say before it counts as broken: nobody listens to them.
const WASTE_BYTES_MAX: usize = 64 << 10;

/// A syslog stream.
#[derive(Debug)]
pub(in crate::outbound) struct StreamConnector {
    stream: Stream,
    format: encode::WireFormat,
    framing: encode::WireFraming,
    /// For each record that was sent and not settled, the number of wire bytes at its end.
    ends: VecDeque<u64>,
    ask_next: Duration,
    opened: Instant,
    silence: Silence,
    waste: usize,
}

impl StreamConnector {
    pub(super) fn new(
        stream: Stream,
        format: encode::WireFormat,
        framing: encode::WireFraming,
    ) -> Self {
        let (ends, ask_next, opened) = (VecDeque::new(), ASK_FIRST, Instant::now());
        let silence = Silence::new(SILENCE);
        Self { stream, format, framing, ends, ask_next, opened, silence, waste: 0 }
    }

    pub(super) async fn send(
        &mut self,
        hand: &Hand,
        out: &mut Vec<u8>,
        progress: &mut Progress,
    ) -> Result<usize, Failure> {
        out.clear();
        let start = self.stream.handed_to_kernel();
        let mut sent = 0;
        for (_, record) in hand.unsent_records() {
            encode::framed(self.format, self.framing, &record, out);
            if !self.stream.is_tls() {
                self.ends.push_back(start + out.len() as u64);
            }
            sent += 1;
            if out.len() >= CHUNK_BYTES {
                break;
            }
        }
        let written = self.write(out).await;
        written.map_err(|error| Failure::stream("write", &error, &self.stream))?;
        if self.stream.is_tls() {
            let end = self.stream.handed_to_kernel();
            self.ends.extend(std::iter::repeat_n(end, sent));
        }
        progress.bytes += out.len();
        self.ask_next = ASK_FIRST;
        self.settle(progress);
        Ok(sent)
    }

    /// Writes all of it. A peer that takes nothing is waited for as long as it lives.
    async fn write(&mut self, mut bytes: &[u8]) -> std::io::Result<()> {
        loop {
            // Where records come all the time, nobody waits for news.
            self.silence.look(&self.stream)?;
            // Both are cancel safe.
            let written = async {
                if bytes.is_empty() {
                    return self.stream.flush().await.map(|()| 0);
                }
                self.stream.write(bytes).await
            };
            match tokio::time::timeout(self.silence.pace(), written).await {
                Ok(Ok(0)) if bytes.is_empty() => return Ok(()),
                Ok(Ok(0)) => return Err(ErrorKind::WriteZero.into()),
                Ok(Ok(n)) => bytes = bytes.get(n..).unwrap_or_default(),
                Ok(Err(error)) => return Err(error),
                Err(_elapsed) => {}
            }
        }
    }

    pub(super) fn settle(&mut self, progress: &mut Progress) {
        let is_in_doubt = self.stream.is_tls() && self.opened.elapsed() < TLS_DOUBT;
        if self.ends.is_empty() || is_in_doubt {
            return;
        }
        // Where the kernel does not tell, what it took is all that can be known.
        let acknowledged =
            self.stream.acknowledged().unwrap_or_else(|_| self.stream.handed_to_kernel());
        let settled = self.ends.partition_point(|end| *end <= acknowledged);
        self.ends.drain(..settled);
        give_back(&mut self.ends);
        progress.settle(settled, Outcome::Delivered);
    }

    pub(super) async fn news(&mut self, progress: &mut Progress) -> Result<(), Failure> {
        let mut waste = [0u8; 512];
        if self.ends.is_empty() {
            let read = self.stream.read(&mut waste).await;
            return self.judge(read);
        }
        tokio::select! {
            read = self.stream.read(&mut waste) => self.judge(read)?,
            () = tokio::time::sleep(self.ask_next) => {
                self.ask_next = (self.ask_next * 2).min(ASK_LAST);
            }
        }
        self.settle(progress);
        self.silence.look(&self.stream).map_err(|error| Failure::io("keep", &error))
    }

    /// What a read says about the connection.
    fn judge(&mut self, read: std::io::Result<usize>) -> Result<(), Failure> {
        match read {
            Ok(0) => Err(Failure::closed()),
            Ok(n) if self.waste + n > WASTE_BYTES_MAX => {
                let error = std::io::Error::other("the destination talks without end");
                Err(Failure::io("keep", &error))
            }
            Ok(n) => {
                self.waste += n;
                Ok(())
            }
            Err(error) => Err(Failure::stream("keep", &error, &self.stream)),
        }
    }

    pub(super) fn check(&mut self) -> Result<(), Failure> {
        let mut waste = [0u8; 512];
        match self.stream.try_read(&mut waste) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            read => self.judge(read),
        }
    }

    /// Ends the stream and waits until the peer has closed it too, which it does when it has read
    /// all of it; at most [`FINISH_TIMEOUT`].
    pub(super) async fn finish(mut self) {
        let mut waste = [0u8; 512];
        let ended = async {
            self.stream.shutdown().await?;
            while self.stream.read(&mut waste).await? > 0 {}
            Ok::<(), std::io::Error>(())
        };
        // An error means that the connection is gone, which ends it as well.
        drop(tokio::time::timeout(FINISH_TIMEOUT, ended).await);
    }
}

#[cfg(test)]
mod tests {
    use socket2::{SockFilter, SockRef};
    use tokio::net::{TcpListener, TcpStream};

    use super::super::hand_of;
    use super::*;
    use crate::telemetry::ledger::AttemptOutcome;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn a_write_to_a_peer_that_is_gone_ends_and_nothing_of_it_counts_as_delivered() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (peer, _) = listener.accept().await.unwrap();
        // BPF_RET | BPF_K: the peer's kernel takes 0 bytes of what comes, and says nothing.
        SockRef::from(&peer).attach_filter(&[SockFilter::new(0x06, 0, 0, 0)]).unwrap();
        let stream = Stream::accept(tcp, None, PATIENCE).await.unwrap();
        let (format, framing) = (encode::WireFormat::Rfc5424, encode::WireFraming::Lf);
        let mut connector = StreamConnector::new(stream, format, framing);
        connector.silence = Silence::new(Duration::from_secs(1));
        let text = [b"<14>1 - - - - - - ".as_slice(), &[b'x'; 1 << 20]].concat();
        let (hand, mut progress, mut out) = (hand_of(&text), Progress::default(), Vec::new());
        let sending = async {
            loop {
                if let Err(failure) = connector.send(&hand, &mut out, &mut progress).await {
                    return failure;
                }
            }
        };
        let failure = tokio::time::timeout(PATIENCE, sending).await.unwrap();
        let found = (failure.attempt, failure.outcome, failure.message.as_str());
        assert_eq!(found, ("write", AttemptOutcome::Timeout, "no sign of life for 1s"));
        connector.settle(&mut progress);
        assert_eq!(progress.take(), None);
    }
}
