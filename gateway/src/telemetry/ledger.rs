//! The ledger: the books that show that no record was lost in silence.
//!
//! Two kinds of book, each of which balances by itself:
//!
//! ```text
//!  source       received + created + replayed = routed + dropped{reason} + parked + in_pipeline
//!  destination  accepted + recovered + replayed = delivered + dropped{reason} + parked + in_flight
//! ```
//!
//! and one equation between them: `copies`, what the sources handed on, counted once for each
//! destination, equals the sum of `accepted`. What is in the pipeline and in flight is counted on
//! its own, not as the rest of the others, so that the equations can fail. `recovered` is what an
//! earlier process left in the spool, `replayed` what came back from the park; of what is in flight,
//! `spooled` is on disk alone.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use serde_json::{Map, Value, json};

use super::streams::Streams;

/// Why a record that was taken in did not reach a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// It was in the spool and can no longer be read.
    Damaged,
    /// A guest said so, for a reason of its own (`logboom_guest_records_dropped_total`).
    Filtered,
    /// A guest failed at it and the guest's policy is `drop`.
    GuestFault,
    /// The dead-letter log could not take it.
    ParkFailed,
    /// The queue was full; the oldest went.
    Shed,
    /// The gateway stopped before it could be delivered.
    Shutdown,
    /// The spool could not take it: the disk is full or failing.
    SpoolFull,
    /// Larger than one datagram can be.
    TooLarge,
    /// No drain, route or router wanted it.
    Unrouted,
}

impl DropReason {
    /// Every reason, in the order of the books.
    pub const ALL: [Self; 9] = [
        Self::Damaged,
        Self::Filtered,
        Self::GuestFault,
        Self::ParkFailed,
        Self::Shed,
        Self::Shutdown,
        Self::SpoolFull,
        Self::TooLarge,
        Self::Unrouted,
    ];

    /// The label value.
    #[must_use]
    pub fn keyword(self) -> &'static str {
        match self {
            Self::Damaged => "damaged",
            Self::Filtered => "filtered",
            Self::GuestFault => "guest_fault",
            Self::ParkFailed => "park_failed",
            Self::Shed => "shed",
            Self::Shutdown => "shutdown",
            Self::SpoolFull => "spool_full",
            Self::TooLarge => "too_large",
            Self::Unrouted => "unrouted",
        }
    }
}

/// Why something was refused at the door; it is not among the received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectReason {
    /// A request did not say who sends it as it should, or wanted to write to an app that is not its
    /// own.
    Auth,
    /// The source has as many requests as it may.
    Busy,
    /// What was compressed cannot be inflated, or would grow too much.
    Compression,
    /// The record was taken before and is sent again: after a broken session (RELP), in a request with
    /// the same id (HTTP), in a batch that is here (QUIC).
    Duplicate,
    /// The stream broke its framing; the session was closed.
    Framing,
    /// A peer did not say who it is as it should: its TLS handshake or its PROXY header failed.
    Handshake,
    /// The frame broke its grammar and the source is strict.
    Malformed,
    /// No memory was free and the source cannot wait (UDP), or not for long (HTTP).
    Memory,
    /// The frame was longer than the limit and the source rejects such.
    Oversize,
    /// The peer has as many sessions as one peer may.
    PeerSessions,
    /// A request for what there is not: its path, its method, its kind of body.
    Request,
    /// The source has as many sessions as it may.
    Sessions,
    /// A frame that had begun did not end in time.
    Timeout,
    /// The kernel's receive buffer was full (UDP).
    Kernel,
}

impl RejectReason {
    /// Every reason, in the order of the books.
    pub const ALL: [Self; 14] = [
        Self::Auth,
        Self::Busy,
        Self::Compression,
        Self::Duplicate,
        Self::Framing,
        Self::Handshake,
        Self::Malformed,
        Self::Memory,
        Self::Oversize,
        Self::PeerSessions,
        Self::Request,
        Self::Sessions,
        Self::Timeout,
        Self::Kernel,
    ];

    /// The label value.
    #[must_use]
    pub fn keyword(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Busy => "busy",
            Self::Compression => "compression",
            Self::Duplicate => "duplicate",
            Self::Framing => "framing",
            Self::Handshake => "handshake",
            Self::Malformed => "malformed",
            Self::Memory => "memory",
            Self::Oversize => "oversize",
            Self::PeerSessions => "peer_sessions",
            Self::Request => "request",
            Self::Sessions => "sessions",
            Self::Timeout => "timeout",
            Self::Kernel => "kernel",
        }
    }
}

/// How an attempt to connect or to send ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// Records were delivered.
    Ok,
    /// The destination asked for patience: 429 and its like in HTTP, a hub without room in QUIC.
    Busy,
    /// The destination closed the connection.
    Closed,
    /// The network policy forbids its address.
    Forbidden,
    /// Something else that the system reported.
    Io,
    /// It answered what its protocol does not allow.
    Protocol,
    /// Nobody listens there.
    Refused,
    /// It wants other credentials.
    Rejected,
    /// It reset the connection.
    Reset,
    /// Its name has no address.
    Resolve,
    /// Nothing within the time limit.
    Timeout,
    /// TLS was not agreed on, or a certificate is not good.
    Tls,
    /// There is no way there.
    Unreachable,
}

impl AttemptOutcome {
    /// Every outcome, in the order of the books.
    pub const ALL: [Self; 13] = [
        Self::Ok,
        Self::Busy,
        Self::Closed,
        Self::Forbidden,
        Self::Io,
        Self::Protocol,
        Self::Refused,
        Self::Rejected,
        Self::Reset,
        Self::Resolve,
        Self::Timeout,
        Self::Tls,
        Self::Unreachable,
    ];

    /// The label value.
    #[must_use]
    pub fn keyword(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Busy => "busy",
            Self::Closed => "closed",
            Self::Forbidden => "forbidden",
            Self::Io => "io",
            Self::Protocol => "protocol",
            Self::Refused => "refused",
            Self::Rejected => "rejected",
            Self::Reset => "reset",
            Self::Resolve => "resolve",
            Self::Timeout => "timeout",
            Self::Tls => "tls",
            Self::Unreachable => "unreachable",
        }
    }

    /// The outcome of that label value; every kind of TLS trouble is one.
    #[must_use]
    pub fn of_keyword(keyword: &str) -> Self {
        if keyword.starts_with("tls") {
            return Self::Tls;
        }
        Self::ALL.into_iter().find(|known| known.keyword() == keyword).unwrap_or(Self::Io)
    }

    /// The outcome that an error of the system stands for.
    #[must_use]
    pub fn of_io(error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        match error.kind() {
            ErrorKind::ConnectionRefused => Self::Refused,
            ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => {
                Self::Reset
            }
            ErrorKind::UnexpectedEof => Self::Closed,
            ErrorKind::TimedOut => Self::Timeout,
            ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => Self::Unreachable,
            _ => Self::Io,
        }
    }
}

/// Attempts by outcome.
#[derive(Debug, Default)]
pub struct Attempts([Count; AttemptOutcome::ALL.len()]);

impl Attempts {
    /// Counts `n` attempts that ended so.
    pub fn add(&self, outcome: AttemptOutcome, n: usize) {
        self.0[outcome as usize].add(n);
    }

    /// All outcomes with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (AttemptOutcome, u64)> + '_ {
        AttemptOutcome::ALL.into_iter().zip(self.0.iter().map(Count::get))
    }
}

/// A count that only grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds `n`.
    pub fn add(&self, n: usize) {
        self.0.fetch_add(n as u64, Ordering::Relaxed);
    }

    /// The value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What is somewhere now.
#[derive(Debug, Default)]
pub struct Level(AtomicU64);

impl Level {
    /// `n` more.
    pub fn enter(&self, n: usize) {
        self.0.fetch_add(n as u64, Ordering::Relaxed);
    }

    /// `n` fewer.
    pub fn leave(&self, n: usize) {
        self.0.fetch_sub(n as u64, Ordering::Relaxed);
    }

    /// `n` more, or fewer if negative.
    pub fn change(&self, n: isize) {
        // Adding the two's complement subtracts.
        self.0.fetch_add(n.cast_unsigned() as u64, Ordering::Relaxed);
    }

    /// The value; 0 where a leave was counted before its enter.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed).cast_signed().max(0).cast_unsigned()
    }
}

/// Drops by reason.
#[derive(Debug, Default)]
pub struct Drops([Count; DropReason::ALL.len()]);

impl Drops {
    /// Counts `n` records dropped for a reason.
    pub fn add(&self, reason: DropReason, n: usize) {
        self.0[reason as usize].add(n);
    }

    /// All reasons with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.into_iter().zip(self.0.iter().map(Count::get))
    }

    /// The sum.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.0.iter().map(Count::get).sum()
    }
}

/// The book of one source.
#[derive(Debug, Default)]
pub struct SourceBook {
    /// Name of the source.
    pub name: String,
    /// Records taken in.
    pub received: Count,
    /// Bytes of their frames.
    pub received_bytes: Count,
    /// Records that guests made of these.
    pub created: Count,
    /// Records that came back from the park.
    pub replayed: Count,
    /// Refused at the door, by reason.
    rejected: [Count; RejectReason::ALL.len()],
    /// Records handed to at least one destination.
    pub routed: Count,
    /// The same, counted once for each destination.
    pub copies: Count,
    /// Records dropped before any destination.
    pub dropped: Drops,
    /// Records parked.
    pub parked: Count,
    /// Records in the pipeline, or waiting for a full queue.
    pub in_pipeline: Level,
    /// Open sessions.
    pub sessions: Level,
    /// Streams of access logs.
    pub streams: Streams,
}

impl SourceBook {
    /// Counts refusals.
    pub fn reject(&self, reason: RejectReason, n: usize) {
        self.rejected[reason as usize].add(n);
    }

    /// Refusals by reason.
    pub fn rejected(&self) -> impl Iterator<Item = (RejectReason, u64)> + '_ {
        RejectReason::ALL.into_iter().zip(self.rejected.iter().map(Count::get))
    }

    /// Left side less right side of the book's equation.
    #[must_use]
    pub fn imbalance(&self) -> i64 {
        let came = self.received.get() + self.created.get() + self.replayed.get();
        let went =
            self.routed.get() + self.dropped.sum() + self.parked.get() + self.in_pipeline.get();
        came.wrapping_sub(went).cast_signed()
    }
}

/// The book of one destination.
#[derive(Debug, Default)]
pub struct DestinationBook {
    /// Canonical URL, without credentials.
    pub name: String,
    /// Records taken into its queue, or into the spool for it.
    pub accepted: Count,
    /// Records that an earlier process left for it in the spool.
    pub recovered: Count,
    /// Records that came back from the park.
    pub replayed: Count,
    /// Records it has.
    pub delivered: Count,
    /// Bytes written to it, framing included.
    pub delivered_bytes: Count,
    /// Records dropped on the way to it.
    pub dropped: Drops,
    /// Records parked on the way to it.
    pub parked: Count,
    /// Records queued, being written, or in the spool.
    pub in_flight: Level,
    /// Of these, the ones that are in the spool and not in memory.
    pub spooled: Level,
    /// Bytes that its queue is charged for.
    pub queue_bytes: Level,
    /// Open connections.
    pub connections: Level,
    /// Connections opened in all.
    pub connects: Count,
    /// Attempts by outcome.
    pub attempts: Attempts,
}

impl DestinationBook {
    /// Whether anything ever came for the destination.
    #[must_use]
    pub fn is_used(&self) -> bool {
        self.accepted.get() + self.recovered.get() + self.replayed.get() > 0
    }

    /// Enters records that were lost in the spool.
    pub fn lose_spooled(&self, reason: DropReason, records: usize) {
        self.dropped.add(reason, records);
        self.in_flight.leave(records);
        self.spooled.leave(records);
    }

    /// Left side less right side of the book's equation.
    #[must_use]
    pub fn imbalance(&self) -> i64 {
        let went =
            self.delivered.get() + self.dropped.sum() + self.parked.get() + self.in_flight.get();
        let came = self.accepted.get() + self.recovered.get() + self.replayed.get();
        came.wrapping_sub(went).cast_signed()
    }
}

/// All books of the process. Those of sources and destinations that are no longer configured stay,
/// so that the sums go on.
#[derive(Debug, Default)]
pub struct Ledger {
    sources: RwLock<Books<SourceBook>>,
    destinations: RwLock<Books<DestinationBook>>,
}

/// Books in the order in which they were opened, and by name.
#[derive(Debug)]
struct Books<T> {
    list: Arc<[Arc<T>]>,
    by_name: HashMap<String, Arc<T>>,
}

impl<T> Default for Books<T> {
    fn default() -> Self {
        Self { list: Arc::new([]), by_name: HashMap::new() }
    }
}

impl<T> Books<T> {
    /// The books of these names, opened where they are not.
    fn open(&mut self, names: &[String], new: impl Fn(&String) -> T) -> Vec<Arc<T>> {
        let mut list = self.list.to_vec();
        let opened = names.iter().map(|name| {
            let book = self.by_name.entry(name.clone()).or_insert_with(|| {
                let book = Arc::new(new(name));
                list.push(Arc::clone(&book));
                book
            });
            Arc::clone(book)
        });
        let opened = opened.collect();
        self.list = list.into();
        opened
    }
}

impl Ledger {
    /// The books of the named sources, in order; new ones are opened.
    pub fn open_sources(&self, names: &[String]) -> Vec<Arc<SourceBook>> {
        let mut books = self.sources.write().unwrap_or_else(PoisonError::into_inner);
        books.open(names, |name| SourceBook { name: name.clone(), ..SourceBook::default() })
    }

    /// The books of the named destinations, in order; new ones are opened.
    pub fn open_destinations(&self, names: &[String]) -> Vec<Arc<DestinationBook>> {
        let mut books = self.destinations.write().unwrap_or_else(PoisonError::into_inner);
        books.open(names, |name| DestinationBook {
            name: name.clone(),
            ..DestinationBook::default()
        })
    }

    /// The sources' books, in the order in which they were opened.
    #[must_use]
    pub fn sources(&self) -> Arc<[Arc<SourceBook>]> {
        Arc::clone(&self.sources.read().unwrap_or_else(PoisonError::into_inner).list)
    }

    /// The destinations' books.
    #[must_use]
    pub fn destinations(&self) -> Arc<[Arc<DestinationBook>]> {
        Arc::clone(&self.destinations.read().unwrap_or_else(PoisonError::into_inner).list)
    }

    /// Whether anything ever came for the destination of that name.
    #[must_use]
    pub fn is_used(&self, destination: &str) -> bool {
        let books = self.destinations.read().unwrap_or_else(PoisonError::into_inner);
        books.by_name.get(destination).is_some_and(|book| book.is_used())
    }

    /// Whether each book balances and the two kinds agree. While records move, a book may be read
    /// between two of its entries; only at rest does `false` mean that something is wrong.
    #[must_use]
    pub fn is_balanced(&self) -> bool {
        let (sources, destinations) = (self.sources(), self.destinations());
        let copies: u64 = sources.iter().map(|book| book.copies.get()).sum();
        let accepted: u64 = destinations.iter().map(|book| book.accepted.get()).sum();
        copies == accepted
            && sources.iter().all(|book| book.imbalance() == 0)
            && destinations.iter().all(|book| book.imbalance() == 0)
    }

    /// The ledger as the API gives it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let (sources, destinations) = (self.sources(), self.destinations());
        let sources = sources.iter().map(|book| (book.name.clone(), source_json(book)));
        let destinations =
            destinations.iter().map(|book| (book.name.clone(), destination_json(book)));
        json!({
            "sources": sources.collect::<Map<_, _>>(),
            "destinations": destinations.collect::<Map<_, _>>(),
            "balanced": self.is_balanced(),
        })
    }
}

fn dropped_json(drops: &Drops) -> Value {
    let some = drops.iter().filter(|(_, n)| *n > 0);
    some.map(|(reason, n)| (reason.keyword().to_owned(), n.into())).collect::<Map<_, _>>().into()
}

fn source_json(book: &SourceBook) -> Value {
    let rejected = book.rejected().filter(|(_, n)| *n > 0);
    let rejected: Map<String, Value> =
        rejected.map(|(reason, n)| (reason.keyword().to_owned(), n.into())).collect();
    json!({
        "received": book.received.get(),
        "received_bytes": book.received_bytes.get(),
        "created": book.created.get(),
        "replayed": book.replayed.get(),
        "rejected": rejected,
        "routed": book.routed.get(),
        "copies": book.copies.get(),
        "dropped": dropped_json(&book.dropped),
        "parked": book.parked.get(),
        "in_pipeline": book.in_pipeline.get(),
        "sessions": book.sessions.get(),
    })
}

fn destination_json(book: &DestinationBook) -> Value {
    let attempts = book.attempts.iter().filter(|(_, n)| *n > 0);
    let attempts: Map<String, Value> =
        attempts.map(|(outcome, n)| (outcome.keyword().to_owned(), n.into())).collect();
    json!({
        "accepted": book.accepted.get(),
        "recovered": book.recovered.get(),
        "replayed": book.replayed.get(),
        "delivered": book.delivered.get(),
        "delivered_bytes": book.delivered_bytes.get(),
        "dropped": dropped_json(&book.dropped),
        "parked": book.parked.get(),
        "in_flight": book.in_flight.get(),
        "spooled": book.spooled.get(),
        "queue_bytes": book.queue_bytes.get(),
        "connections": book.connections.get(),
        "connects": book.connects.get(),
        "attempts": attempts,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_book_is_opened_once_and_stays() {
        let ledger = Ledger::default();
        ledger.open_sources(&["a".into(), "b".into()])[1].received.add(7);
        let again = ledger.open_sources(&["b".into(), "c".into()]);
        assert_eq!(again[0].received.get(), 7);
        let names: Vec<String> = ledger.sources().iter().map(|book| book.name.clone()).collect();
        assert_eq!(names, ["a", "b", "c"]);
    }

    #[test]
    fn a_missing_entry_unbalances_the_ledger() {
        let ledger = Ledger::default();
        let source = &ledger.open_sources(&["a".into()])[0];
        let destination = &ledger.open_destinations(&["file:///x".into()])[0];
        assert!(ledger.is_balanced());
        source.received.add(3);
        assert_eq!(source.imbalance(), 3);
        source.routed.add(2);
        source.dropped.add(DropReason::Unrouted, 1);
        assert_eq!(source.imbalance(), 0);
        source.copies.add(2);
        assert!(!ledger.is_balanced());
        destination.accepted.add(2);
        destination.delivered.add(1);
        assert!(!ledger.is_balanced());
        destination.in_flight.enter(1);
        assert!(ledger.is_balanced());
    }
}
