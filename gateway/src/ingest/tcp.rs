//! Syslog over TCP, plain or TLS: RFC 6587 framings, RFC 5425, one task per session.

use std::io::ErrorKind;

use logboom_codec::framing::{Frame, Framer};
use logboom_record::BATCH_RECORDS_MAX;
use tokio::time::Instant;

use super::entrance::Entrance;
use super::listener::stopping;
use super::peer::{Peer, Senders};
use crate::net::Stream;
use crate::telemetry::ledger::RejectReason;

/// Smallest and largest read buffer in bytes; it follows what the peer sends.
const BUFFER_BYTES: std::ops::RangeInclusive<usize> = 4 << 10..=256 << 10;
/// A buffer filled to less than one part in this many is copied out instead of given away.
const COPY_BELOW: usize = 4;
/// Most bytes a session still reads when shutdown has begun: what a kernel buffers at the most.
const SHUTDOWN_BYTES_MAX: usize = 8 << 20;

/// Serves a session until one of the sides ends it.
pub(super) async fn session(mut stream: Stream, peer: &Peer, entrance: &Entrance) {
    let mut session = Session {
        framer: entrance.framer(),
        buffer: Vec::new(),
        frames: Vec::new(),
        read_bytes: *BUFFER_BYTES.start(),
        peer,
        entrance,
    };
    let ended = session.run(&mut stream).await;
    let source = entrance.name.as_str();
    match ended {
        End::Peer | End::Shutdown => tracing::debug!(source, %peer, "session ended"),
        End::Idle => tracing::debug!(source, %peer, "session closed, idle"),
        End::Framing(error) => {
            entrance.book.reject(RejectReason::Framing, 1);
            if let Some(left_out) = entrance.throttle.allow() {
                let what = "session closed, its framing cannot be followed";
                tracing::warn!(source, %peer, %error, left_out, "{what}");
            }
        }
        End::Frame => entrance.note_late_frame(peer),
        End::Broken(error) => tracing::debug!(source, %peer, %error, "session broke"),
    }
}

/// Why a session ended.
enum End {
    Peer,
    Shutdown,
    Idle,
    Frame,
    Framing(logboom_codec::framing::FramingError),
    Broken(std::io::Error),
}

struct Session<'a> {
    framer: Framer,
    /// Bytes not yet consumed, at its front.
    buffer: Vec<u8>,
    frames: Vec<Frame>,
    /// Room to make for the next read.
    read_bytes: usize,
    peer: &'a Peer,
    entrance: &'a Entrance,
}

impl Session<'_> {
    async fn run(&mut self, stream: &mut Stream) -> End {
        let mut shutdown = self.entrance.shutdown.clone();
        let mut frame_deadline: Option<Instant> = None;
        // What the kernel has when shutdown begins is still taken, up to this.
        let mut last_bytes = SHUTDOWN_BYTES_MAX;
        loop {
            let wait = frame_deadline.unwrap_or_else(|| Instant::now() + self.entrance.idle);
            // Waiting for readiness is cancel safe.
            let ready = tokio::select! {
                biased;
                ready = tokio::time::timeout_at(wait, stream.readable()) => ready,
                () = stopping(&mut shutdown) => Ok(Ok(())),
            };
            match ready {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return self.end(End::Broken(error)).await,
                Err(_) if frame_deadline.is_some() => return End::Frame,
                Err(_) => return End::Idle,
            }
            let began_to_wait = Instant::now();
            self.entrance.admission.room().await;
            // The peer is not to blame for the gateway's want of memory.
            frame_deadline = frame_deadline.map(|deadline| deadline + began_to_wait.elapsed());
            let is_last = *shutdown.borrow();
            match self.read(stream) {
                Ok(0) => return self.end(End::Peer).await,
                Ok(n) if is_last && n >= last_bytes => return self.end(End::Shutdown).await,
                Ok(n) if is_last => last_bytes -= n,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock && is_last => {
                    return self.end(End::Shutdown).await;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => return self.end(End::Broken(error)).await,
            }
            let has_frames = match self.cut().await {
                Ok(has_frames) => has_frames,
                Err(error) => return End::Framing(error),
            };
            if self.buffer.is_empty() {
                // An idle session holds no buffer.
                self.buffer = Vec::new();
                frame_deadline = None;
            } else if has_frames || frame_deadline.is_none() {
                // The frame at the front began with this read.
                frame_deadline = Some(Instant::now() + self.entrance.frame_timeout);
            }
        }
    }

    fn read(&mut self, stream: &mut Stream) -> std::io::Result<usize> {
        if self.buffer.capacity() == 0 {
            self.buffer = self.entrance.admission.arena(self.read_bytes);
        }
        self.buffer.reserve(self.read_bytes.saturating_sub(self.buffer.len()));
        let read = stream.try_read_buf(&mut self.buffer);
        match &read {
            Ok(n) => self.adapt(*n),
            Err(_) if self.buffer.is_empty() => self.buffer = Vec::new(),
            Err(_) => {}
        }
        read
    }

    /// Reads more at a time while the peer fills the buffer, less when it does not.
    fn adapt(&mut self, n: usize) {
        if n >= self.read_bytes {
            self.read_bytes = (self.read_bytes * 2).min(*BUFFER_BYTES.end());
        } else if n < self.read_bytes / 8 {
            self.read_bytes = (self.read_bytes / 2).max(*BUFFER_BYTES.start());
        }
    }

    /// Cuts and hands on what the buffer has; keeps the begun frame at its front. Returns whether
    /// any frame was complete.
    async fn cut(&mut self) -> Result<bool, logboom_codec::framing::FramingError> {
        let mut has_frames = false;
        loop {
            self.frames.clear();
            let cut = self.framer.cut(&self.buffer, 0, &mut self.frames, BATCH_RECORDS_MAX);
            let rejected = self.framer.rejected();
            if rejected > 0 {
                let n = usize::try_from(rejected).unwrap_or(usize::MAX);
                self.entrance.book.reject(RejectReason::Oversize, n);
            }
            let consumed = match &cut {
                Ok(consumed) => *consumed,
                Err(_) => self.frames.last().map_or(0, |f| (f.span.offset + f.span.len) as usize),
            };
            let is_full = self.frames.len() >= BATCH_RECORDS_MAX;
            if self.frames.is_empty() {
                self.buffer.drain(..consumed);
            } else {
                has_frames = true;
                let arena = self.detach(consumed);
                let batch = self.entrance.decode(arena, &self.frames, Senders::One(self.peer));
                self.entrance.offer(batch, None).await;
            }
            cut?;
            if !is_full {
                return Ok(has_frames);
            }
        }
    }

    /// Takes the consumed front of the buffer as an arena, without copying it when it is large.
    fn detach(&mut self, consumed: usize) -> Vec<u8> {
        let rest = self.buffer.len() - consumed;
        if consumed < self.buffer.capacity() / COPY_BELOW || rest > consumed {
            let arena = self.buffer.get(..consumed).unwrap_or_default().to_vec();
            self.buffer.drain(..consumed);
            return arena;
        }
        // A session with nothing begun holds no buffer.
        let next = if rest == 0 { 0 } else { rest + self.read_bytes };
        let mut next = self.entrance.admission.arena(next);
        next.extend_from_slice(self.buffer.get(consumed..).unwrap_or_default());
        let mut arena = std::mem::replace(&mut self.buffer, next);
        arena.truncate(consumed);
        arena
    }

    /// Hands on what is left when the stream is over.
    async fn end(&mut self, end: End) -> End {
        self.frames.clear();
        if let Err(error) = self.framer.finish(&self.buffer, 0, &mut self.frames) {
            return End::Framing(error);
        }
        if !self.frames.is_empty() {
            let arena = std::mem::take(&mut self.buffer);
            let batch = self.entrance.decode(arena, &self.frames, Senders::One(self.peer));
            self.entrance.offer(batch, None).await;
        }
        end
    }
}
