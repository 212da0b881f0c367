//! The one who writes: takes the groups, writes, syncs, says so, deletes what nobody needs.
//!
//! A step does all that is due and says when the next one is; [`run`] is the thread around it, and
//! tests step by hand. What all are done with before it is written is not written (ADR 0013). An error on
//! a segment ends its use: what is not synced is still in memory and goes into a fresh one. The second
//! error in a row is a state, with retries.

mod active;
mod room;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use crate::group::Group;
use crate::state::Shared;
use crate::vfs;
use crate::{DestinationId, SpoolFailed, State, Totals, crash, format};

use active::Active;
use room::Spare;

/// How often the writer looks at entries that nobody waits for. At the second look they are written, if
/// not all are done with them by then.
const LINGER: Duration = Duration::from_millis(10);
/// An entry that nobody waits for, or a cursor, is synced after so long at the latest.
const SYNC_AFTER: Duration = Duration::from_secs(1);
const RETRY_FULL: Duration = Duration::from_millis(500);
const RETRY_FAILED: Duration = Duration::from_secs(1);
/// Fewest buffers kept for reuse.
const BUFFERS_IDLE: usize = 2;

/// The writer's own.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    active: Option<Active>,
    spare: Option<Spare>,
    /// One past the last sequence that counts on disk, or behind it where an earlier process stopped: the
    /// first of the next segment, so that segments have no gaps between them.
    next: u64,
    /// Groups to be written, or to be written again.
    pending: VecDeque<Group>,
    /// Groups written and not synced.
    unsynced: VecDeque<Group>,
    /// When to look at the groups that nobody waits for.
    looks_at: Option<Instant>,
    unsynced_since: Option<Instant>,
    cursors_at: Option<Instant>,
    /// Errors in a row.
    strikes: u32,
    retry_at: Option<Instant>,
    pub(crate) is_over: bool,
    /// Why the spool could not be closed as it should.
    pub(crate) failure: Option<io::Error>,
}

/// What failed, if something did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failed {
    Write,
    Sync,
}

/// Steps until the spool is closed; sleeps when nothing is due.
pub(crate) fn run(mut writer: Writer) {
    let shared = Arc::clone(&writer.shared);
    let steps = AssertUnwindSafe(|| {
        while !writer.is_over {
            let due = writer.step(Instant::now());
            if !writer.is_over {
                wait(&writer.shared, due);
            }
        }
    });
    // Nobody would write any more, so nothing may be taken any more.
    if catch_unwind(steps).is_err() {
        shared.set_state(State::Failed("the spool's thread panicked".to_owned()));
        let mut inner = shared.lock();
        inner.close_group();
        let left = std::mem::take(&mut inner.queue);
        // What is left tells those who wait for it, and that not under the lock.
        drop(inner);
        drop(left);
    }
}

fn wait(shared: &Shared, due: Option<Instant>) {
    let mut inner = shared.lock();
    while !inner.wake {
        let Some(due) = due else {
            inner = shared.work.wait(inner).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        let Some(left) = due.checked_duration_since(Instant::now()).filter(|d| !d.is_zero()) else {
            break;
        };
        let waited = shared.work.wait_timeout(inner, left);
        inner = waited.unwrap_or_else(PoisonError::into_inner).0;
    }
    inner.wake = false;
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let next = shared.lock().next;
        Self {
            shared,
            active: None,
            spare: None,
            next,
            pending: VecDeque::new(),
            unsynced: VecDeque::new(),
            looks_at: None,
            unsynced_since: None,
            cursors_at: None,
            strikes: 0,
            retry_at: None,
            is_over: false,
            failure: None,
        }
    }

    /// Does what is due; says when something will be.
    pub(crate) fn step(&mut self, now: Instant) -> Option<Instant> {
        let closing = self.take(now);
        if closing {
            self.finish(now);
            return None;
        }
        if self.retry_at.is_none_or(|at| at <= now) {
            self.work(now);
        }
        self.due(now)
    }

    /// Writes what there is, with a second try on a fresh segment after the first error.
    pub(crate) fn work(&mut self, now: Instant) {
        self.retry_at = None;
        loop {
            let result = self.write(now).and_then(|()| self.make_room(now));
            let Err(error) = result else {
                self.strikes = 0;
                self.shared.set_state(State::Good);
                return;
            };
            self.strikes = self.strikes.saturating_add(1);
            let is_full = vfs::is_full(&error);
            if is_full && self.delete_without_cursors() {
                continue;
            }
            if self.strikes == 1 && !is_full {
                continue;
            }
            let retry = if is_full { RETRY_FULL } else { RETRY_FAILED };
            self.retry_at = Some(now + retry);
            let state = if is_full { State::Full } else { State::Failed(error.to_string()) };
            self.shared.set_state(state);
            return;
        }
    }

    /// Takes the groups that are due; says whether the spool is being closed.
    fn take(&mut self, now: Instant) -> bool {
        let mut inner = self.shared.lock();
        inner.wake = false;
        let is_much = inner.is_much(self.shared.options.unsynced_bytes_max);
        let is_awaited = inner.is_awaited();
        let is_due = self.looks_at.is_some_and(|at| at <= now);
        let is_alone = is_much && inner.queue.is_empty();
        let before = inner.unsynced;
        if inner.open.count > 0 && (is_awaited || is_due || is_alone) {
            inner.close_group();
        }
        let has_room = inner.unsynced < before;
        if is_due {
            self.looks_at = None;
            if inner.under_way == 0 {
                inner.buffers.truncate(BUFFERS_IDLE);
            }
        }
        let is_left = |group: &Group| !(is_awaited || is_much || (is_due && group.was_seen));
        while let Some(group) = inner.queue.pop_front() {
            if is_left(&group) {
                inner.queue.push_front(group);
                break;
            }
            inner.untaken = inner.untaken.saturating_sub(group.bytes());
            self.pending.push_back(group);
        }
        inner.queue.iter_mut().for_each(|group| group.was_seen |= is_due);
        inner.has_reader = false;
        let closing = inner.closing;
        drop(inner);
        if has_room {
            self.shared.room.notify_waiters();
        }
        closing
    }

    /// Writes, and syncs where somebody waits for it.
    fn write(&mut self, now: Instant) -> io::Result<()> {
        self.pass_needless(now);
        while let Some(mut group) = self.pending.pop_front() {
            let left = self.pending.len();
            let result = self.put(&mut group, now);
            if result.is_err() {
                // Behind the other groups of that segment, which was given up.
                let before = self.pending.len().saturating_sub(left);
                self.pending.insert(before, group);
                return result;
            }
            self.unsynced_since.get_or_insert(now);
            if group.durables.is_empty() {
                // Where there was one there is soon another, which need not wake anybody.
                self.looks_at = Some(now + LINGER);
            }
            self.unsynced.push_back(group);
        }
        if self.active.is_none() {
            self.open_active(now)?;
        }
        self.write_cursors(now)?;
        let is_awaited = self.unsynced.iter().any(|group| !group.durables.is_empty());
        let is_due = self.unsynced_since.is_some_and(|since| since + SYNC_AFTER <= now);
        let is_much = self.shared.lock().unsynced >= self.shared.options.unsynced_bytes_max / 2;
        if is_awaited || is_due || (is_much && !self.unsynced.is_empty()) {
            self.sync()?;
            // Buffers that are not used again are let go at a look.
            self.looks_at.get_or_insert(now + LINGER);
        }
        Ok(())
    }

    /// Lets go of groups that need not be written, as nobody wants them any more. Who waits for one is told,
    /// and that in order.
    fn pass_needless(&mut self, now: Instant) {
        let mut inner = self.shared.lock();
        let mut is_first = self.unsynced.is_empty();
        let mut needless = Vec::new();
        for mut group in std::mem::take(&mut self.pending) {
            if (is_first || group.durables.is_empty()) && inner.is_done(&mut group) {
                inner.stats.unwritten_entries += u64::from(group.count);
                needless.push(group);
            } else {
                is_first = false;
                self.pending.push_back(group);
            }
        }
        drop(inner);
        if !needless.is_empty() {
            self.looks_at = Some(now + LINGER);
            self.settle(needless);
        }
    }

    /// Writes a group into the active segment, or into the next one.
    fn put(&mut self, group: &mut Group, now: Instant) -> io::Result<()> {
        let segment_bytes = self.shared.options.segment_bytes;
        let is_full = |active: &Active| {
            // With the sector of zeros behind it.
            let bytes = format::sectors(group.bytes() as u64) + format::SECTOR as u64;
            active.has_entries && active.end + bytes > segment_bytes
        };
        if self.active.as_ref().is_some_and(is_full) {
            self.seal(false)?;
        }
        if self.active.is_none() {
            self.open_active(now)?;
        }
        let result = self.active.as_mut().map_or(Ok(()), |active| active.put(&self.shared, group));
        crash::point("group_written");
        self.keep(result, Failed::Write)?;
        self.next = group.next();
        self.shared.written.notify_waiters();
        Ok(())
    }

    fn open_active(&mut self, now: Instant) -> io::Result<()> {
        let spare = match self.spare.take() {
            Some(spare) => spare,
            None => self.make_spare()?,
        };
        let active = Active::create(&self.shared, spare.file, self.next)?;
        self.active = Some(active);
        self.cursors_at = Some(now);
        Ok(())
    }

    /// Goes on in another segment.
    fn begin_next(&mut self, now: Instant) -> io::Result<()> {
        if self.active.as_ref().is_some_and(|active| active.has_entries) {
            self.seal(false)?;
        } else {
            // The next one has its name: nothing counts in it but cursors.
            self.active = None;
            self.unsynced_since = None;
        }
        self.open_active(now)
    }

    /// Cursors that moved, if it is time.
    fn write_cursors(&mut self, now: Instant) -> io::Result<()> {
        let every = self.shared.options.cursor_every;
        if self.cursors_at.is_some_and(|at| at + every > now) {
            return Ok(());
        }
        self.put_cursors(now)
    }

    fn put_cursors(&mut self, now: Instant) -> io::Result<()> {
        let segment_bytes = self.shared.options.segment_bytes;
        if self.active.as_ref().is_some_and(|active| active.is_long(segment_bytes)) {
            // A segment begins with all cursors.
            return self.begin_next(now);
        }
        let result = match self.active.as_mut() {
            Some(active) => active.put_cursors(&self.shared),
            None => Ok(false),
        };
        let result = result.map(|written| {
            if written {
                self.cursors_at = Some(now);
                self.unsynced_since.get_or_insert(now);
                crash::point("cursors_written");
            }
        });
        self.keep(result, Failed::Write)
    }

    /// Syncs the active segment; what was in doubt is durable then.
    fn sync(&mut self) -> io::Result<()> {
        let Some(active) = self.active.as_mut() else { return Ok(()) };
        let result = vfs::uninterrupted(|| active.file.sync_data());
        self.keep(result, Failed::Sync)?;
        crash::point("group_synced");
        if let Some(active) = self.active.as_mut() {
            active.note_synced();
        }
        self.settle_synced();
        Ok(())
    }

    /// All that was written is durable.
    fn settle_synced(&mut self) {
        self.unsynced_since = None;
        self.shared.lock().stats.syncs += 1;
        let synced = self.unsynced.drain(..).collect();
        self.settle(synced);
    }

    /// Says that groups are durable, or needless, and gives their memory back.
    fn settle(&self, mut settled: Vec<Group>) {
        let mut inner = self.shared.lock();
        settled.iter().for_each(|group| inner.settle(group));
        // As many as were of use this time, and of those that were not one less.
        let left = inner.buffers.len().saturating_sub(1);
        inner.buffers.truncate(left.max(settled.len()).max(BUFFERS_IDLE));
        drop(inner);
        settled.iter_mut().for_each(|group| group.tell(&Ok(())));
        self.shared.room.notify_waiters();
    }

    /// Ends the active segment with its footer; everything in it is synced then.
    fn seal(&mut self, closed: bool) -> io::Result<()> {
        let Some(active) = self.active.as_mut() else { return Ok(()) };
        let result = active.seal(&self.shared, closed);
        self.keep(result, Failed::Sync)?;
        crash::point("seal_synced");
        self.active = None;
        self.settle_synced();
        Ok(())
    }

    /// After an error the active segment is given up: nothing is written to it or synced any more,
    /// and what was not synced is to be written again.
    fn keep(&mut self, result: io::Result<()>, what: Failed) -> io::Result<()> {
        if let Err(error) = &result
            && let Some(active) = self.active.take()
        {
            let is_full = what == Failed::Write && vfs::is_full(error);
            self.next = active.synced.1;
            active.give_up(&self.shared, &self.unsynced, is_full);
            while let Some(group) = self.unsynced.pop_back() {
                self.pending.push_front(group);
            }
            self.unsynced_since = None;
        }
        result
    }

    /// The last step.
    fn finish(&mut self, now: Instant) {
        // The second time on a fresh segment.
        for _ in 0..2 {
            let result = self.write(now).and_then(|()| self.put_cursors(now));
            self.failure = result.and_then(|()| self.seal(true)).err();
            if self.failure.is_none() {
                break;
            }
        }
        if self.failure.is_some() {
            self.report_unwritten();
        }
        let reason = self.failure.as_ref().map(ToString::to_string).unwrap_or_default();
        let failed = Err(SpoolFailed { reason });
        let left = self.pending.drain(..).chain(self.unsynced.drain(..));
        left.for_each(|mut group| group.tell(&failed));
        if self.spare.take().is_some() {
            // A spare that stays is taken away at the next start.
            drop(self.shared.vfs.unlink(&self.shared.files.spare()));
        }
        self.is_over = true;
        self.shared.written.notify_waiters();
        self.shared.room.notify_waiters();
    }

    /// Tells the observer what is lost with the groups that could not be written.
    fn report_unwritten(&self) {
        let mut lost = BTreeMap::<u32, Totals>::new();
        let inner = self.shared.lock();
        for group in self.pending.iter().chain(&self.unsynced) {
            group.for_each(|sequence, entry| {
                for want in entry.wants() {
                    let id = inner.by_file_id.get(&want.id).copied().unwrap_or(u32::MAX);
                    let destination = inner.destinations.get(DestinationId(id).index());
                    let wanted = Totals::of(want.records, want.bytes);
                    let left = destination.map(|d| d.unfinished(sequence, wanted));
                    lost.entry(id).or_default().add(left.unwrap_or_default());
                }
            });
        }
        drop(inner);
        lost.retain(|_, totals| totals.records > 0);
        for (id, totals) in lost {
            self.shared.observer.unwritten(DestinationId(id), totals.records, totals.bytes);
        }
    }

    /// When the next step is due.
    fn due(&mut self, now: Instant) -> Option<Instant> {
        let mut inner = self.shared.lock();
        if inner.open.count > 0 || !inner.queue.is_empty() {
            self.looks_at.get_or_insert(now + LINGER);
        }
        inner.is_watched = self.looks_at.is_some();
        let sync = self.unsynced_since.map(|since| since + SYNC_AFTER);
        let every = self.shared.options.cursor_every;
        let is_behind = !inner.changed.is_empty();
        let cursors = is_behind.then(|| self.cursors_at.map_or(now, |at| at + every));
        if self.retry_at.is_some() {
            return self.retry_at;
        }
        [self.looks_at, sync, cursors].into_iter().flatten().min()
    }
}
