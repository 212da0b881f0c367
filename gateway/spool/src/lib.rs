//! One durable log for all destinations: opaque payloads, many cursors.
//!
//! * **What enters**: an entry, once, however many destinations want it, and how many records each
//!   of them has in it.
//! * **What leaves**: the entries a destination lags behind with, in order ([`Spool::read`]); a call
//!   when an entry is durable ([`Durable`]); and a count of all that was lost ([`Observer`]).
//! * **Limits**: [`Options::bytes_max`] on disk, [`Options::unsynced_bytes_max`] in memory,
//!   [`ENTRY_BYTES_MAX`] an entry.
//! * **When it fails**: a segment whose write or sync failed is never touched again, what was not
//!   synced goes from memory into a fresh one; if that fails too, or without room, appends are
//!   refused until a retry succeeds, and reading goes on. Damaged bytes are passed over, copied to
//!   `quarantine/` and counted.
//! * **May import**: nothing of Logboom.
//!
//! A destination is *caught up* (what is appended for it is held: in the caller's memory, and on
//! disk until [`Spool::done`]) or it *lags* from some entry on (what follows is on disk alone, and
//! is given out by [`Spool::read`]). What is held lags again after [`Spool::relinquish`].
//!
//! The format is in `docs/spec/spool.md`.
//!
//! *Concurrency*: one mutex, `Shared::state`, guards all that changes; nothing is read, written or
//! called under it, nor an entry copied: for that its group's body is locked before the state is let go,
//! by whoever appends. The writer locks a body when its group is closed; who has a body never takes the
//! state. One thread, the writer, writes and syncs. A reader takes the turn of its destination before the
//! state; the cache of groups is locked last and alone.

pub mod inspect;
pub mod vfs;

mod crash;
mod damage;
mod destination;
mod error;
mod files;
mod format;
mod group;
mod pass;
mod read;
mod recover;
mod segment;
mod spool;
mod state;

#[cfg(test)]
mod tests;
mod uncached;
mod walk;
mod writer;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use damage::{Damage, Lost};
pub use error::{AppendError, OpenError, ReadError, SpoolFailed};
pub use format::Span;
pub use recover::{Cut, Recovered, Recovery};
pub use spool::Spool;

/// Bytes an entry may have.
pub const ENTRY_BYTES_MAX: usize = 16 << 20;

/// The limits of a spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes of a segment, taken ahead; at most a quarter of `bytes_max`.
    pub segment_bytes: u64,
    /// Bytes on disk; over it, the oldest segment goes, with what anybody still wants in it.
    ///
    /// What lagged there is lost, and [`Observer::shed`] is told. What was held there is not lost
    /// and nobody is told: the caller has it in memory, but there alone, so it would not come again
    /// after a restart. [`Spool::holds`] says no then, and it waits no more.
    pub bytes_max: u64,
    /// Bytes appended and not yet synced; over it, an append must wait.
    pub unsynced_bytes_max: usize,
    /// How often cursors are written, at most.
    pub cursor_every: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            bytes_max: 10 << 30,
            unsynced_bytes_max: 16 << 20,
            cursor_every: Duration::from_millis(100),
        }
    }
}

/// A destination, for as long as the process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DestinationId(pub(crate) u32);

impl DestinationId {
    fn index(self) -> usize {
        format::index(u64::from(self.0))
    }
}

/// That a destination wants an entry. One for each destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// Who wants it.
    pub destination: DestinationId,
    /// Records it has in the entry.
    pub records: u32,
    /// Bytes these count for.
    pub bytes: u32,
    /// The caller keeps the entry in memory, if the destination does not lag. Else it lags from
    /// here on.
    pub hold: bool,
}

/// Called once: when the entry is synced, when all who want it are done with it before it is written, or
/// when it is sure that it will not be synced.
///
/// It is called by the writer's thread, in the order of the entries, and should be quick. An append
/// that is refused drops it uncalled.
pub type Durable = Box<dyn FnOnce(Result<(), SpoolFailed>) + Send>;

/// What became of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The entry's place in the log: greater than any before, also of earlier processes.
    pub sequence: u64,
    /// For each want, whether the entry is held; if not, [`Spool::read`] will give it out.
    pub held: Vec<bool>,
}

/// What [`Spool::read`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// The next entry; it is held now, until [`Spool::done`].
    Entry {
        /// Its place in the log.
        sequence: u64,
        /// What was appended.
        payload: Vec<u8>,
        /// Records the destination has in it.
        records: u32,
        /// Bytes these count for.
        bytes: u32,
    },
    /// The lag goes on, but the next entry is not written yet: wait for [`Spool::written`].
    NotYet,
    /// The lag is over; what is appended from now on may be held.
    CaughtUp,
}

/// Entries, records and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Entries.
    pub entries: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes these count for.
    pub bytes: u64,
}

impl Totals {
    fn of(records: u32, bytes: u32) -> Self {
        Self { entries: 1, records: records.into(), bytes: bytes.into() }
    }

    fn add(&mut self, other: Self) {
        self.entries += other.entries;
        self.records += other.records;
        self.bytes += other.bytes;
    }

    fn less(self, other: Self) -> Self {
        Self {
            entries: self.entries.saturating_sub(other.entries),
            records: self.records.saturating_sub(other.records),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }
}

/// What a destination has not done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Records held or lagging.
    pub records: u64,
    /// Bytes held or lagging.
    pub bytes: u64,
    /// Records lagging.
    pub lag_records: u64,
    /// Bytes lagging.
    pub lag_bytes: u64,
    /// Whether it lags.
    pub is_lagging: bool,
}

/// What [`Spool::shed`] passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shed {
    /// Records.
    pub records: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Whether the spool takes entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It does.
    Good,
    /// There is no room on the disk.
    Full,
    /// The disk fails.
    Failed(String),
}

/// Figures of a spool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Segments on disk.
    pub segments: u64,
    /// Bytes on disk, with those taken ahead.
    pub bytes: u64,
    /// Bytes in memory that are not synced.
    pub unsynced_bytes: u64,
    /// Syncs done.
    pub syncs: u64,
    /// Entries appended.
    pub appended_entries: u64,
    /// Bytes of their payloads.
    pub appended_bytes: u64,
    /// Entries that were never written, as all who want them were done with them before.
    pub unwritten_entries: u64,
    /// Segments given up after an error.
    pub poisoned: u64,
    /// Damaged bytes copied to `quarantine/`.
    pub quarantined_bytes: u64,
}

/// Who is told of losses, from any thread that uses the spool. It may call the spool, but not
/// [`Spool::read`].
pub trait Observer: Send + Sync {
    /// The spool was over [`Options::bytes_max`], and what a destination had in the oldest segment
    /// went with it.
    fn shed(&self, destination: DestinationId, records: u64, bytes: u64);
    /// The spool is closed, and what a destination had not done could not be written: with this process it
    /// is gone.
    fn unwritten(&self, destination: DestinationId, records: u64, bytes: u64);
    /// Damage was found.
    fn damaged(&self, damage: &Damage);
    /// The state changed.
    fn state(&self, state: &State);
}

/// Locks; a thread that panicked while it held the lock left nothing half done that matters more
/// than going on.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
