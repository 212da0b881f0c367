//! The worker of one line: takes items, sends them, books what settles, tries again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connector::{Connector, Failure, Open};
use super::destination::Destination;
use super::hand::{Hand, Outcome, Progress};
use super::queue::{Item, LineKey, Popped};
use crate::telemetry::ledger::{AttemptOutcome, DropReason};

/// A connection that lasts this long is a good one.
const SETTLED: Duration = Duration::from_secs(1);
/// A line opens a connection at most this often: destinations that end theirs with every answer would
/// otherwise cost more than those that do not.
const CONNECT_EVERY: Duration = Duration::from_millis(50);
/// A buffer that has grown beyond this is not kept.
const BUFFER_KEPT_BYTES: usize = 1 << 20;
/// Nor beyond this, where so many sends in a row had need of little of it.
const BUFFER_CALM_BYTES: usize = 64 << 10;
const SMALL_MOST: u32 = 1000;
/// Bytes taken from the line at a time.
const TAKE_BYTES: usize = 512 << 10;

/// Serves a line of the destination's queue until the line is closed, taken away, or idle.
pub(super) async fn run(destination: Arc<Destination>, line: LineKey) {
    let mut worker = Worker {
        line,
        connector: None,
        open: None,
        connected: None,
        hand: Hand::default(),
        progress: Progress::default(),
        out: Vec::new(),
        small: 0,
        admitted: tokio::time::Instant::now(),
        is_handing_over: false,
        idle_since: None,
        destination,
    };
    while worker.step().await {}
    // The line is over: whatever the peer has not read yet, it is to read.
    worker.finish().await;
}

struct Worker {
    destination: Arc<Destination>,
    line: LineKey,
    connector: Option<Connector>,
    /// Counts the connection.
    open: Option<Arc<Open>>,
    /// When the last one was opened.
    connected: Option<Instant>,
    hand: Hand,
    progress: Progress,
    /// Encoded records, reused.
    out: Vec<u8>,
    /// How often in a row little of it was used.
    small: u32,
    /// When the last attempt was admitted.
    admitted: tokio::time::Instant,
    /// The line waits for this connection to end.
    is_handing_over: bool,
    idle_since: Option<tokio::time::Instant>,
}

impl Worker {
    /// One round: take, send, or wait. False when the line is over.
    async fn step(&mut self) -> bool {
        self.book_settled();
        let destination = Arc::clone(&self.destination);
        // Made before looking, so that nothing pushed meanwhile is missed.
        let work = destination.queue.work();
        let is_over = self.take();
        if self.hand.is_empty() {
            if is_over {
                return false;
            }
            if self.is_handing_over {
                self.finish().await;
                self.is_handing_over = false;
                destination.queue.handed_over(self.line);
                return true;
            }
        }
        let may_send = self.connector.as_ref().is_none_or(Connector::has_room);
        if self.hand.unsent() > 0 && may_send {
            self.send().await;
            destination.consider_growing(self.line);
            return true;
        }
        if self.hand.is_empty() && self.connector.is_some() && destination.cap.is_wanted() {
            // Another line waits for a connection, and this one has nothing to do with its own.
            self.finish().await;
            return true;
        }
        self.wait(work).await
    }

    /// Takes items from the line as far as the hand has room; true when none will come any more.
    fn take(&mut self) -> bool {
        let full = (self.hand.bytes() + TAKE_BYTES).min(self.destination.queue.hand_bytes_max());
        while !self.is_handing_over && self.hand.bytes() < full {
            match self.destination.queue.pop(self.line) {
                Popped::Item(item) => self.hand.push(item),
                Popped::Handover => self.is_handing_over = true,
                Popped::Empty => return false,
                Popped::Closed => return true,
            }
        }
        false
    }

    /// Waits for work, for settlement, or for the end of the connection. False when there is nothing
    /// to do and the line is left.
    async fn wait(&mut self, work: tokio::sync::futures::Notified<'_>) -> bool {
        let is_small = self.out.len() < self.out.capacity() / 8;
        self.small = if is_small { self.small.saturating_add(1) } else { 0 };
        let most = if self.small > SMALL_MOST { BUFFER_CALM_BYTES } else { BUFFER_KEPT_BYTES };
        if self.out.capacity() > most {
            self.out = Vec::new();
        }
        let may_connect = self.may_connect();
        let Some(connector) = &mut self.connector else {
            if tokio::time::Instant::now() < may_connect {
                // Whoever serves the line next would know nothing of it.
                tokio::select! {
                    () = work => {}
                    () = tokio::time::sleep_until(may_connect) => {}
                }
                return true;
            }
            if self.destination.queue.leave(self.line) {
                return false;
            }
            // What is at the front waits for another connection.
            work.await;
            return true;
        };
        let idle_since = match self.idle_since {
            _ if !self.hand.is_empty() => None,
            None => Some(tokio::time::Instant::now()),
            since => since,
        };
        self.idle_since = idle_since;
        let idle = self.destination.settings().idle;
        let idle_until = idle_since.map_or_else(far_away, |since| since + idle);
        // All three are cancel safe.
        let news = tokio::select! {
            () = work => return true,
            news = connector.news(&mut self.progress) => news,
            () = tokio::time::sleep_until(idle_until) => {
                self.finish().await;
                self.destination.queue.shrink(idle);
                return true;
            }
        };
        if let Err(failure) = news {
            self.lost(failure);
        }
        true
    }

    /// Sends what is in hand over a connection, which is opened if need be, when the breaker lets it.
    async fn send(&mut self) {
        if let Some(Err(failure)) = self.connector.as_mut().map(Connector::check) {
            self.lost(failure);
        }
        let destination = Arc::clone(&self.destination);
        let has_connection = self.connector.is_some();
        // Both are cancel safe.
        let admitted = tokio::select! {
            biased;
            admitted = destination.breaker.admit() => admitted,
            // Whoever waits for this connection's slot may be the one that was admitted.
            () = destination.cap.wanted(), if has_connection => {
                self.book_settled();
                self.disconnect();
                return;
            }
        };
        (self.admitted, self.idle_since) = (tokio::time::Instant::now(), None);
        if let Err(failure) = self.connect_and_send().await {
            // Whoever probes notes what it found before another may.
            self.note(failure);
        }
        drop(admitted);
    }

    async fn connect_and_send(&mut self) -> Result<(), Failure> {
        if self.connector.is_none() {
            tokio::time::sleep_until(self.may_connect()).await;
            let (connector, open) = Connector::open(&self.destination).await?;
            self.connected = Some(Instant::now());
            self.progress.proven = false;
            (self.connector, self.open) = (Some(connector), Some(open));
            let (destination, connection) = (self.destination.name(), self.line.number);
            tracing::debug!(destination, connection, "connected");
        }
        let Some(connector) = &mut self.connector else { return Ok(()) };
        let sent = connector.send(&self.hand, &mut self.out, &mut self.progress).await?;
        self.hand.note_sent(sent);
        Ok(())
    }

    /// When the line may open a connection.
    fn may_connect(&self) -> tokio::time::Instant {
        self.connected.map_or_else(Instant::now, |last| last + CONNECT_EVERY).into()
    }

    /// Whether the connection has shown that the destination is good: by an answer, or by lasting.
    fn is_good(&self) -> bool {
        self.progress.proven || self.connected.is_some_and(|since| since.elapsed() >= SETTLED)
    }

    /// Enters into the books what has settled, and lets go of items that are done.
    fn book_settled(&mut self) {
        if let Some(connector) = &mut self.connector {
            connector.settle(&mut self.progress);
        }
        let destination = Arc::clone(&self.destination);
        let book = &destination.book;
        book.delivered_bytes.add(std::mem::take(&mut self.progress.bytes));
        while let Some((mut records, outcome)) = self.progress.take() {
            if outcome == Outcome::Delivered {
                book.delivered.add(records);
                book.attempts.add(AttemptOutcome::Ok, 1);
            }
            // Who refuses records is there as much as who takes them.
            if outcome != Outcome::TooLarge && self.is_good() {
                let was_down = destination.breaker.succeeded(self.admitted);
                if let Some(was_down) = was_down {
                    let name = destination.name();
                    tracing::info!(destination = name, ?was_down, "back again");
                }
            }
            let settled = records;
            while records > 0 && !self.hand.is_empty() {
                let book_refusal = |item: &Item, places| {
                    match &outcome {
                        Outcome::Delivered => {}
                        Outcome::TooLarge => {
                            book.dropped.add(DropReason::TooLarge, ExactSizeIterator::len(&places));
                        }
                        Outcome::Refused(reason) => destination.park(item, places, reason),
                    };
                };
                if let Some(item) = self.hand.finish_some(&mut records, book_refusal) {
                    destination.let_go(&item, item.records);
                    let bytes = destination.queue.finish(self.line, &item);
                    book.queue_bytes.change(-bytes.cast_signed());
                }
            }
            // Behind the entries that say where they went.
            book.in_flight.leave(settled);
        }
    }

    /// The connection is over. A peer that ends one at once is not called again at once.
    fn lost(&mut self, failure: Failure) {
        self.book_settled();
        if self.is_good() && failure.outcome == AttemptOutcome::Closed {
            self.disconnect();
        } else {
            self.note(failure);
        }
    }

    /// Counts a failure and says so. Its records are sent again when the breaker lets them.
    fn note(&mut self, failure: Failure) {
        self.book_settled();
        if failure.keeps_connection {
            self.hand.unsend();
        } else {
            self.disconnect();
        }
        let destination = &self.destination;
        destination.secure(&mut self.hand, self.line);
        destination.book.attempts.add(failure.outcome, 1);
        let wait = destination.breaker.failed(failure.retry_after);
        if let Some(left_out) = destination.throttle.allow() {
            let (name, attempt, why) = (destination.name(), failure.attempt, failure.message);
            tracing::warn!(destination = name, attempt, error = %why, ?wait, left_out,
                "attempt failed, records are kept");
        }
    }

    /// Ends the connection so that the peer reads all of it.
    async fn finish(&mut self) {
        if let Some(connector) = self.connector.take() {
            connector.finish().await;
        }
        self.open = None;
    }

    fn disconnect(&mut self) {
        self.hand.unsend();
        (self.connector, self.open) = (None, None);
    }
}

/// As good as never.
fn far_away() -> tokio::time::Instant {
    tokio::time::Instant::now() + Duration::from_secs(3600)
}

impl Drop for Worker {
    /// A worker that is stopped gives back what it has in hand.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let destination = self.destination.name();
            tracing::error!(destination, "a connection's worker panicked; please report it");
        } else if self.hand.is_empty() {
            return;
        }
        self.book_settled();
        self.disconnect();
        let (done, items) = self.hand.let_go();
        if let Some(front) = items.front().filter(|_| done > 0) {
            self.destination.let_go(front, done);
        }
        self.destination.queue.put_back(self.line, items.into_iter());
    }
}
