//! Replays: parked records that are on their way again. A letter stays in the park, and is not sent
//! once more, until its record has arrived.
//!
//! ```text
//!  claim ─▶ receipt ─▶ flow or destination ─▶ receipt ends ─▶ kept: forgotten   lost: may be claimed again
//! ```

use std::collections::HashSet;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use logboom_record::{Receipt, Resolution};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::park::{Filter, Letter, Park, ParkError};

/// What is on its way.
pub(super) struct Replays {
    park: Arc<Park>,
    runtime: Handle,
    /// Letters whose receipts are out. Held while letters are read or forgotten, so that none is
    /// claimed that is just being forgotten.
    under_way: Mutex<HashSet<u64>>,
    ended: Mutex<Ended>,
    /// None once shutdown has begun.
    tasks: Mutex<Option<JoinSet<()>>>,
}

/// Letters whose receipts have ended and which are not settled yet.
#[derive(Default)]
struct Ended {
    letters: Vec<(u64, Resolution)>,
    /// Somebody is about to settle them.
    is_due: bool,
    /// The process ends: what is let go now has not arrived.
    is_over: bool,
}

/// Letters of one page.
pub(super) struct Page {
    /// Those to send.
    pub(super) claimed: Vec<Claimed>,
    /// Those that are on their way already.
    pub(super) under_way: Vec<u64>,
    /// The last of both, where more may follow.
    pub(super) last: Option<u64>,
}

/// A letter that is to be sent. If it is dropped before, it stays parked.
pub(super) struct Claimed {
    pub(super) letter: Letter,
    pub(super) receipt: Arc<Receipt>,
    is_sent: bool,
}

impl Claimed {
    /// It has been handed on with its receipt.
    pub(super) fn sent(mut self) {
        self.is_sent = true;
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        if !self.is_sent {
            self.receipt.lose();
        }
    }
}

impl Replays {
    /// None yet.
    pub(super) fn new(park: Arc<Park>, runtime: Handle) -> Arc<Self> {
        Arc::new(Self {
            park,
            runtime,
            under_way: Mutex::default(),
            ended: Mutex::default(),
            tasks: Mutex::new(Some(JoinSet::new())),
        })
    }

    /// Runs a replay, to its end even if nobody waits for it any more, but not beyond the beginning
    /// of shutdown: then there is no answer.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        replay: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        {
            let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            let tasks = tasks.as_mut()?;
            while tasks.try_join_next().is_some() {}
            tasks.spawn(async move {
                // Whoever asked may be gone.
                drop(answer.send(replay.await));
            });
        }
        answered.await.ok()
    }

    /// Claims the letters that `filter` means.
    pub(super) async fn claim(self: &Arc<Self>, filter: Filter) -> Result<Page, ParkError> {
        let replays = Arc::clone(self);
        let claimed = self.runtime.spawn_blocking(move || replays.claim_now(&filter)).await;
        Ok(claimed.map_err(std::io::Error::other)??)
    }

    fn claim_now(self: &Arc<Self>, filter: &Filter) -> std::io::Result<Page> {
        let mut known = self.under_way();
        let letters = self.park.letters(filter)?;
        let is_full = letters.len() == filter.limit;
        let last = letters.last().filter(|_| is_full).map(|letter| letter.id);
        let mut page = Page { claimed: Vec::new(), under_way: Vec::new(), last };
        for letter in letters {
            let id = letter.id;
            if !known.insert(id) {
                page.under_way.push(id);
                continue;
            }
            let replays = Arc::clone(self);
            let receipt = Receipt::new(move |resolution| replays.ended(id, resolution));
            page.claimed.push(Claimed { letter, receipt, is_sent: false });
        }
        Ok(page)
    }

    fn under_way(&self) -> MutexGuard<'_, HashSet<u64>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ended_letters(&self) -> MutexGuard<'_, Ended> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The receipt of a letter has ended. Does not block.
    fn ended(self: &Arc<Self>, id: u64, resolution: Resolution) {
        let mut ended = self.ended_letters();
        if ended.is_over {
            return;
        }
        ended.letters.push((id, resolution));
        if !std::mem::replace(&mut ended.is_due, true) {
            let replays = Arc::clone(self);
            drop(self.runtime.spawn_blocking(move || replays.settle()));
        }
    }

    /// Forgets the letters that have arrived; the others may be claimed again. Blocks.
    fn settle(&self) {
        let mut under_way = self.under_way();
        let mut letters = {
            let mut ended = self.ended_letters();
            ended.is_due = false;
            std::mem::take(&mut ended.letters)
        };
        let kept = letters.iter().filter(|(_, resolution)| *resolution == Resolution::Kept);
        let kept: Vec<u64> = kept.map(|(id, _)| *id).collect();
        if let Err(error) = self.park.forget(&kept) {
            let records = kept.len();
            tracing::error!(%error, records, "replayed records could not be taken out of the park");
            // They have arrived, and must not go again: with the next ones, it is tried again.
            let failed = letters.extract_if(.., |(_, resolution)| *resolution == Resolution::Kept);
            self.ended_letters().letters.extend(failed);
        }
        for (id, _) in letters {
            under_way.remove(&id);
        }
    }

    /// Ends the replays that are at it, and lets no other begin. What they have handed on stays on
    /// its way.
    pub(super) async fn stop(&self) {
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut tasks) = tasks {
            tasks.shutdown().await;
        }
    }

    /// Settles what has ended, for the last time. Blocks.
    pub(super) fn finish(&self) {
        self.settle();
        self.ended_letters().is_over = true;
    }
}

#[cfg(test)]
mod tests;
