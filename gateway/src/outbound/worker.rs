//! The worker of one connection: takes items, writes them, tries again.

use std::hash::{BuildHasher, RandomState};
use std::io::{Error, ErrorKind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::backoff::Backoff;
use super::connector::Connector;
use super::destination::Destination;
use super::queue::{Item, LineKey, Popped};
use crate::telemetry::ledger::DropReason;

/// A connection without work for this long is closed.
const IDLE: Duration = Duration::from_secs(30);
/// A connection that lasts this long is a good one.
const SETTLED: Duration = Duration::from_secs(1);
/// A buffer that has grown beyond this is not kept.
const BUFFER_KEPT_BYTES: usize = 1 << 20;

/// Serves a line of the destination's queue until the line is closed or taken away.
pub(super) async fn run(destination: Arc<Destination>, line: LineKey) {
    let mut worker = Worker {
        line,
        connector: None,
        connected: Instant::now(),
        backoff: Backoff::new(RandomState::new().hash_one(line.number)),
        out: Vec::new(),
        destination,
    };
    while let Some(item) = worker.next().await {
        worker.deliver(&item).await;
        worker.destination.consider_growing(line);
    }
    // The line is over: whatever the peer has not read yet, it is to read.
    worker.finish().await;
}

struct Worker {
    destination: Arc<Destination>,
    line: LineKey,
    connector: Option<Connector>,
    /// When it was opened.
    connected: Instant,
    backoff: Backoff,
    /// Encoded records, reused.
    out: Vec<u8>,
}

impl Worker {
    /// The next item of the line; `None` when there will be none.
    async fn next(&mut self) -> Option<Item> {
        loop {
            let destination = Arc::clone(&self.destination);
            let work = destination.queue.work();
            match destination.queue.pop(self.line) {
                Popped::Item(item) => return Some(item),
                Popped::Closed => return None,
                Popped::Handover => {
                    self.finish().await;
                    destination.queue.handed_over(self.line);
                    continue;
                }
                Popped::Empty => {}
            }
            if self.out.capacity() > BUFFER_KEPT_BYTES {
                self.out = Vec::new();
            }
            let Some(connector) = &self.connector else {
                work.await;
                continue;
            };
            // All three are cancel safe.
            tokio::select! {
                () = work => {}
                () = connector.closing() => {
                    if connector.is_closed() {
                        self.lost().await;
                    }
                }
                () = tokio::time::sleep(IDLE) => {
                    self.disconnect();
                    destination.queue.shrink(IDLE);
                }
            }
        }
    }

    /// Delivers an item, however many attempts it takes.
    async fn deliver(&mut self, item: &Item) {
        let (mut done, batch) = (0, item.parcel.batch());
        let book = Arc::clone(&self.destination.book);
        while done < item.records {
            if self.connector.as_ref().is_some_and(Connector::is_closed) {
                self.lost().await;
            }
            if !self.connect().await {
                continue;
            }
            let Some(connector) = &mut self.connector else { continue };
            let source = &item.parcel.source;
            let written =
                connector.write(batch, source, &item.selection, done, &mut self.out).await;
            done += written.delivered + written.too_large;
            book.delivered.add(written.delivered);
            book.delivered_bytes.add(written.bytes);
            book.dropped.add(DropReason::TooLarge, written.too_large);
            book.in_flight.leave(written.delivered + written.too_large);
            match written.error {
                None if self.connected.elapsed() >= SETTLED => self.backoff.reset(),
                None => {}
                Some(error) => self.fail("write", &error).await,
            }
        }
        let bytes = self.destination.queue.finish(self.line, item);
        book.queue_bytes.change(-bytes.cast_signed());
    }

    /// Connects if need be; waits before it returns `false`.
    async fn connect(&mut self) -> bool {
        if self.connector.is_some() {
            return true;
        }
        let book = Arc::clone(&self.destination.book);
        match Connector::open(&self.destination.settings.kind).await {
            Ok(connector) => {
                self.connector = Some(connector);
                self.connected = Instant::now();
                book.connections.enter(1);
                book.connects.add(1);
                let destination = self.destination.name();
                tracing::debug!(destination, connection = self.line.number, "connected");
                true
            }
            Err(error) => {
                self.fail("connect", &error).await;
                false
            }
        }
    }

    /// The peer has closed. One that does so at once is not called again at once.
    async fn lost(&mut self) {
        if self.connected.elapsed() >= SETTLED {
            self.disconnect();
        } else {
            let error = Error::new(ErrorKind::ConnectionReset, "closed as soon as it was open");
            self.fail("keep", &error).await;
        }
    }

    /// Counts a failure, says so, and waits.
    async fn fail(&mut self, attempt: &'static str, error: &Error) {
        self.disconnect();
        self.destination.book.failures.add(1);
        let wait = self.backoff.next();
        let destination = self.destination.name();
        tracing::warn!(destination, attempt, %error, ?wait, "attempt failed, records are kept");
        tokio::time::sleep(wait).await;
    }

    /// Ends the connection so that the peer reads all of it.
    async fn finish(&mut self) {
        if let Some(connector) = self.connector.take() {
            connector.finish().await;
            self.destination.book.connections.leave(1);
        }
    }

    fn disconnect(&mut self) {
        if self.connector.take().is_some() {
            self.destination.book.connections.leave(1);
        }
    }
}
