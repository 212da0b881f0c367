//! The ledger: the books that show that no record was lost in silence.
//!
//! Two kinds of book, each of which balances by itself:
//!
//! ```text
//!  source       received + created = routed + dropped{reason} + parked + in_pipeline
//!  destination  accepted           = delivered + dropped{reason} + parked + in_flight
//! ```
//!
//! and one equation between them: `copies`, what the sources handed on, counted once for each
//! destination, equals the sum of `accepted`. What is in the pipeline and in flight is counted on
//! its own, not as the rest of the others, so that the equations can fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Map, Value, json};

/// Why a record that was taken in did not reach a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// A guest said so, for a reason of its own (`logboom_guest_dropped_total`).
    Filtered,
    /// A guest failed at it and the guest's policy is `drop`.
    GuestFault,
    /// The dead-letter log could not take it.
    ParkFailed,
    /// The queue was full; the oldest went.
    Shed,
    /// The gateway stopped before it could be delivered.
    Shutdown,
    /// Larger than one datagram can be.
    TooLarge,
    /// No drain, route or router wanted it.
    Unrouted,
}

impl DropReason {
    /// Every reason, in the order of the books.
    pub const ALL: [Self; 7] = [
        Self::Filtered,
        Self::GuestFault,
        Self::ParkFailed,
        Self::Shed,
        Self::Shutdown,
        Self::TooLarge,
        Self::Unrouted,
    ];

    /// The label value.
    #[must_use]
    pub fn keyword(self) -> &'static str {
        match self {
            Self::Filtered => "filtered",
            Self::GuestFault => "guest_fault",
            Self::ParkFailed => "park_failed",
            Self::Shed => "shed",
            Self::Shutdown => "shutdown",
            Self::TooLarge => "too_large",
            Self::Unrouted => "unrouted",
        }
    }
}

/// Why something was refused at the door; it is not among the received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectReason {
    /// The stream broke its framing; the session was closed.
    Framing,
    /// The frame broke its grammar and the source is strict.
    Malformed,
    /// No memory was free and the source cannot wait (UDP).
    Memory,
    /// The frame was longer than the limit and the source rejects such.
    Oversize,
    /// The source has as many sessions as it may.
    Sessions,
    /// A frame that had begun did not end in time.
    Timeout,
    /// The kernel's receive buffer was full (UDP).
    Kernel,
}

impl RejectReason {
    /// Every reason, in the order of the books.
    pub const ALL: [Self; 7] = [
        Self::Framing,
        Self::Malformed,
        Self::Memory,
        Self::Oversize,
        Self::Sessions,
        Self::Timeout,
        Self::Kernel,
    ];

    /// The label value.
    #[must_use]
    pub fn keyword(self) -> &'static str {
        match self {
            Self::Framing => "framing",
            Self::Malformed => "malformed",
            Self::Memory => "memory",
            Self::Oversize => "oversize",
            Self::Sessions => "sessions",
            Self::Timeout => "timeout",
            Self::Kernel => "kernel",
        }
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
#[derive(Debug)]
pub struct SourceBook {
    /// Name of the source.
    pub name: String,
    /// Records taken in.
    pub received: Count,
    /// Bytes of their frames.
    pub received_bytes: Count,
    /// Records that guests made of these.
    pub created: Count,
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
        let came = self.received.get() + self.created.get();
        let went =
            self.routed.get() + self.dropped.sum() + self.parked.get() + self.in_pipeline.get();
        came.wrapping_sub(went).cast_signed()
    }
}

/// The book of one destination.
#[derive(Debug)]
pub struct DestinationBook {
    /// Canonical URL, without credentials.
    pub name: String,
    /// Records taken into its queue.
    pub accepted: Count,
    /// Records it has.
    pub delivered: Count,
    /// Bytes written to it, framing included.
    pub delivered_bytes: Count,
    /// Records dropped on the way to it.
    pub dropped: Drops,
    /// Records parked on the way to it.
    pub parked: Count,
    /// Records queued or being written.
    pub in_flight: Level,
    /// Bytes that its queue is charged for.
    pub queue_bytes: Level,
    /// Open connections.
    pub connections: Level,
    /// Connections opened in all.
    pub connects: Count,
    /// Attempts to connect or write that failed.
    pub failures: Count,
}

impl DestinationBook {
    /// Left side less right side of the book's equation.
    #[must_use]
    pub fn imbalance(&self) -> i64 {
        let went =
            self.delivered.get() + self.dropped.sum() + self.parked.get() + self.in_flight.get();
        self.accepted.get().wrapping_sub(went).cast_signed()
    }
}

/// All books of the process.
#[derive(Debug, Default)]
pub struct Ledger {
    sources: Vec<Arc<SourceBook>>,
    destinations: Vec<Arc<DestinationBook>>,
}

impl Ledger {
    /// Opens a book for each name.
    #[must_use]
    pub fn new(sources: &[String], destinations: &[String]) -> Self {
        let source = |name: &String| {
            Arc::new(SourceBook {
                name: name.clone(),
                received: Count::default(),
                received_bytes: Count::default(),
                created: Count::default(),
                rejected: Default::default(),
                routed: Count::default(),
                copies: Count::default(),
                dropped: Drops::default(),
                parked: Count::default(),
                in_pipeline: Level::default(),
                sessions: Level::default(),
            })
        };
        let destination = |name: &String| {
            Arc::new(DestinationBook {
                name: name.clone(),
                accepted: Count::default(),
                delivered: Count::default(),
                delivered_bytes: Count::default(),
                dropped: Drops::default(),
                parked: Count::default(),
                in_flight: Level::default(),
                queue_bytes: Level::default(),
                connections: Level::default(),
                connects: Count::default(),
                failures: Count::default(),
            })
        };
        Self {
            sources: sources.iter().map(source).collect(),
            destinations: destinations.iter().map(destination).collect(),
        }
    }

    /// The sources' books, in the order of the configuration.
    #[must_use]
    pub fn sources(&self) -> &[Arc<SourceBook>] {
        &self.sources
    }

    /// The destinations' books.
    #[must_use]
    pub fn destinations(&self) -> &[Arc<DestinationBook>] {
        &self.destinations
    }

    /// Whether each book balances and the two kinds agree. While records move, a book may be read
    /// between two of its entries; only at rest does `false` mean that something is wrong.
    #[must_use]
    pub fn is_balanced(&self) -> bool {
        let copies: u64 = self.sources.iter().map(|book| book.copies.get()).sum();
        let accepted: u64 = self.destinations.iter().map(|book| book.accepted.get()).sum();
        copies == accepted
            && self.sources.iter().all(|book| book.imbalance() == 0)
            && self.destinations.iter().all(|book| book.imbalance() == 0)
    }

    /// The ledger as the API gives it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let sources = self.sources.iter().map(|book| (book.name.clone(), source_json(book)));
        let destinations =
            self.destinations.iter().map(|book| (book.name.clone(), destination_json(book)));
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
    json!({
        "accepted": book.accepted.get(),
        "delivered": book.delivered.get(),
        "delivered_bytes": book.delivered_bytes.get(),
        "dropped": dropped_json(&book.dropped),
        "parked": book.parked.get(),
        "in_flight": book.in_flight.get(),
        "queue_bytes": book.queue_bytes.get(),
        "connections": book.connections.get(),
        "connects": book.connects.get(),
        "failures": book.failures.get(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_entry_unbalances_the_ledger() {
        let ledger = Ledger::new(&["a".into()], &["file:///x".into()]);
        let (source, destination) = (&ledger.sources()[0], &ledger.destinations()[0]);
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
