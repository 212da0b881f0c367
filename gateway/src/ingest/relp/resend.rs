//! What senders send again: records that were taken, but whose answers they cannot have got.
//!
//! RELP has no name for a sender or a session. What there is: a sender begins its next session with
//! all records that were not answered, in order and in one go. So the records of a session that broke
//! are remembered by the peer's address, as digests; a session that begins with just these gets its
//! answers, and they are not taken again. In doubt a record is new: better twice than not at all.
//!
//! ```text
//!  answers that were written         │ answers that were not
//!  the sender may have them, or not  │ the sender cannot have them
//!                                    ▲ certain
//! ```
//!
//! That the peer's kernel has not acknowledged an answer says nothing: it acknowledges late what a
//! sender has read long ago.
//!
//! A session repeats what was broken if it begins with all from `certain` on, and with none before, or
//! with some of those right before. *Limits*: [`RUNS_MAX`] broken sessions, [`RUNS_OF_PEER_MAX`] of one peer,
//! with [`DIGESTS_MAX`] digests, for [`LIFETIME`]; the oldest are forgotten.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// Digests that a source remembers: 8 MiB of them.
const DIGESTS_MAX: usize = 1 << 20;
/// Broken sessions that a source remembers, and those of one peer.
const RUNS_MAX: usize = 4096;
const RUNS_OF_PEER_MAX: usize = 16;
/// A sender that is back later than this is taken for another: equal records of hours apart are two.
const LIFETIME: Duration = Duration::from_secs(600);

/// A record that was answered.
pub(super) struct Seen {
    pub(super) digest: u64,
    /// Whether any of the write went out that its answer was in.
    pub(super) may_have_arrived: bool,
}

/// What became of the records of a session that broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Not known yet.
    Open,
    /// They are kept.
    Kept,
    /// Some were given up.
    Lost,
}

/// The last records of a session that broke.
#[derive(Debug)]
pub(super) struct Run {
    peer: IpAddr,
    digests: Vec<u64>,
    /// From there on the sender cannot have got the answers; there is at least one such record.
    certain: usize,
    pub(super) outcome: watch::Receiver<Outcome>,
    since: Instant,
}

impl Run {
    /// What became of them; lost if nobody is there any more who could tell.
    pub(super) fn outcome(&self) -> Outcome {
        let outcome = *self.outcome.borrow();
        let is_gone = self.outcome.has_changed().is_err();
        if outcome == Outcome::Open && is_gone { Outcome::Lost } else { outcome }
    }

    /// How many of these records, which a session begins with, were taken before: as few as it can
    /// be. None if they are not a repetition, or not yet.
    pub(super) fn begins(&self, session: &[u64]) -> Option<usize> {
        let mut tails = self.tails();
        tails.find(|tail| session.starts_with(tail)).map(<[u64]>::len)
    }

    /// Whether these records may be the beginning of a repetition.
    pub(super) fn may_begin(&self, session: &[u64]) -> bool {
        self.tails().any(|tail| tail.starts_with(session))
    }

    /// What a repetition can be, the shortest first.
    fn tails(&self) -> impl Iterator<Item = &[u64]> {
        (0..=self.certain).rev().filter_map(|start| self.digests.get(start..))
    }
}

/// The broken sessions of a source.
#[derive(Default)]
pub(in crate::ingest) struct Resends {
    runs: Mutex<VecDeque<Arc<Run>>>,
    /// With keys of its own, so that nobody can make two records look the same.
    hasher: RandomState,
}

impl Resends {
    /// What tells one record from another.
    pub(super) fn digest(&self, record: &[u8]) -> u64 {
        self.hasher.hash_one(record)
    }

    /// What sessions of this peer left.
    pub(super) fn of(&self, peer: Option<IpAddr>) -> Vec<Arc<Run>> {
        let runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        let is_its = |run: &&Arc<Run>| Some(run.peer) == peer && run.since.elapsed() < LIFETIME;
        runs.iter().filter(is_its).map(Arc::clone).collect()
    }

    /// Remembers the records of a session that broke, until a session repeats them. What becomes of
    /// them is to be told to what this returns.
    pub(super) fn remember(
        &self,
        peer: Option<IpAddr>,
        digests: Vec<u64>,
        certain: usize,
    ) -> watch::Sender<Outcome> {
        let (told, outcome) = watch::channel(Outcome::Open);
        let Some(peer) = peer else { return told };
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        runs.retain(|run| run.since.elapsed() < LIFETIME);
        if runs.iter().filter(|run| run.peer == peer).count() >= RUNS_OF_PEER_MAX
            && let Some(oldest) = runs.iter().position(|run| run.peer == peer)
        {
            runs.remove(oldest);
        }
        let since = Instant::now();
        runs.push_back(Arc::new(Run { peer, digests, certain, outcome, since }));
        let mut count: usize = runs.iter().map(|run| run.digests.len()).sum();
        while count > DIGESTS_MAX || runs.len() > RUNS_MAX {
            count -= runs.pop_front().map_or(count, |run| run.digests.len());
        }
        told
    }

    /// Forgets what was repeated.
    pub(super) fn forget(&self, run: &Arc<Run>) {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        runs.retain(|known| !Arc::ptr_eq(known, run));
    }
}
