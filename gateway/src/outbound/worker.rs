//! The worker of one connection: takes items, writes them, tries again.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use super::backoff::Backoff;
use super::connector::Connector;
use super::destination::Destination;
use super::queue::{Item, Popped};
use crate::telemetry::ledger::DropReason;

/// A connection without work for this long is closed.
const IDLE: Duration = Duration::from_secs(30);
/// A buffer that has grown beyond this is not kept.
const BUFFER_KEPT_BYTES: usize = 1 << 20;

/// Serves a line of the destination's queue until the line is closed or taken away.
pub(super) async fn run(destination: Arc<Destination>, line: usize) {
    let mut worker = Worker {
        line,
        connector: None,
        backoff: Backoff::new(RandomState::new().hash_one(line)),
        out: Vec::new(),
        destination,
    };
    while let Some(item) = worker.next().await {
        worker.deliver(&item).await;
        worker.destination.consider_growing(line);
    }
    worker.disconnect();
}

struct Worker {
    destination: Arc<Destination>,
    line: usize,
    connector: Option<Connector>,
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
                    if let Some(connector) = self.connector.take() {
                        connector.finish().await;
                        destination.book.connections.leave(1);
                    }
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
                        self.disconnect();
                    }
                }
                () = tokio::time::sleep(IDLE) => {
                    self.disconnect();
                    destination.queue.shrink();
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
                self.disconnect();
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
                None => self.backoff.reset(),
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
                book.connections.enter(1);
                book.connects.add(1);
                let destination = self.destination.name();
                tracing::debug!(destination, connection = self.line, "connected");
                true
            }
            Err(error) => {
                self.fail("connect", &error).await;
                false
            }
        }
    }

    /// Counts a failure, says so, and waits.
    async fn fail(&mut self, attempt: &'static str, error: &std::io::Error) {
        self.disconnect();
        self.destination.book.failures.add(1);
        let wait = self.backoff.next();
        let destination = self.destination.name();
        tracing::warn!(destination, attempt, %error, ?wait, "attempt failed, records are kept");
        tokio::time::sleep(wait).await;
    }

    fn disconnect(&mut self) {
        if self.connector.take().is_some() {
            self.destination.book.connections.leave(1);
        }
    }
}
