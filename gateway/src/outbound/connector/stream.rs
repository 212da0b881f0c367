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
use crate::net::Stream;
use crate::outbound::hand::{Hand, Outcome, Progress};

/// How often to ask the kernel what was acknowledged, at first and at last.
const ASK_FIRST: Duration = Duration::from_millis(1);
const ASK_LAST: Duration = Duration::from_millis(50);
/// Time for a peer to read what it was sent and close.
const FINISH_TIMEOUT: Duration = Duration::from_secs(5);
/// For how long the records of a new TLS connection are not taken as delivered, whatever the peer's
/// kernel says: with TLS 1.3 a peer refuses our certificate only after the handshake.
const TLS_DOUBT: Duration = Duration::from_secs(1);
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
    waste: usize,
}

impl StreamConnector {
    pub(super) fn new(
        stream: Stream,
        format: encode::WireFormat,
        framing: encode::WireFraming,
    ) -> Self {
        let (ends, ask_next, opened) = (VecDeque::new(), ASK_FIRST, Instant::now());
        Self { stream, format, framing, ends, ask_next, opened, waste: 0 }
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
        let written = async {
            self.stream.write_all(out).await?;
            self.stream.flush().await
        };
        let written = written.await;
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
        Ok(())
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
