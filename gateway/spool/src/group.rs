//! Entries that are written together.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::format::{self, HEAD, Wanted};
use crate::{Durable, SpoolFailed, Totals, crash};

/// Entries on their way to the disk, as the body of a frame behind room for its head.
#[derive(Default)]
pub(crate) struct Group {
    pub(crate) frame: Vec<u8>,
    pub(crate) first: u64,
    pub(crate) count: u32,
    /// One call for each entry that has one.
    pub(crate) durables: Vec<Durable>,
    /// What each destination wants here.
    pub(crate) totals: Vec<(u32, Totals)>,
}

impl Group {
    /// An empty group in an old buffer.
    pub(crate) fn reuse(frame: Vec<u8>) -> Self {
        let mut group = Self::default();
        group.frame = frame;
        group.frame.clear();
        group
    }

    /// Tells all who wait for it, once.
    pub(crate) fn tell(&mut self, result: &Result<(), SpoolFailed>) {
        for durable in std::mem::take(&mut self.durables) {
            let call = AssertUnwindSafe(|| durable(result.clone()));
            // A panic of theirs is not ours.
            drop(catch_unwind(call));
            crash::point("durable_called");
        }
    }

    pub(crate) fn push(
        &mut self,
        sequence: u64,
        wants: impl ExactSizeIterator<Item = Wanted>,
        payload: &[&[u8]],
    ) {
        if self.count == 0 {
            self.first = sequence;
            self.frame.resize(HEAD, 0);
        }
        self.count += 1;
        format::push_entry(&mut self.frame, wants, payload);
    }

    /// The frame, as it stands in a segment with this salt.
    pub(crate) fn frame(&mut self, salt: u64) -> &[u8] {
        let len = self.frame.len().saturating_sub(HEAD);
        format::refinish(&mut self.frame, len, self.first, self.count, salt);
        &self.frame
    }

    pub(crate) fn next(&self) -> u64 {
        self.first + u64::from(self.count)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.frame.len()
    }
}

/// Whoever waits for a group that goes without being synced must not take that for a success.
impl Drop for Group {
    fn drop(&mut self) {
        if !self.durables.is_empty() {
            self.tell(&Err(SpoolFailed { reason: "it was not closed".to_owned() }));
        }
    }
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { first, count, .. } = self;
        f.debug_struct("Group").field("first", first).field("count", count).finish_non_exhaustive()
    }
}
