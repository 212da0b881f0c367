//! Marks in the spool, so that a batch that was stored before a crash is known behind it.
//!
//! An entry of the spool may have marks: what its sender calls the batch. A destination of its own,
//! [`NAME`], wants each such entry, so that the entry stays until a later one says the same: the
//! *summary*, an entry without records that has the marks of all producers. At the start, what this
//! destination still has is all that must be known.
//!
//! ```text
//!  spool  … │ batch, mark A 7 │ batch, mark B 2 │ summary A 7, B 2 │ batch, mark A 8 │
//!           └────── done when the summary is synced ─────┘  └──── held ────┘
//! ```
//!
//! *Source*: `docs/adr/0009-marks-travel-with-the-records.md`.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use logboom_record::{Batch, Mark, UnixNanos};
use logboom_spool::{AppendError, DestinationId, Read, Spool, Want};
use tokio::sync::oneshot;

use super::entry;
use crate::marks::Marks;

/// What the spool calls the destination of marks.
pub const NAME: &str = "marks:";
/// How often it is looked whether a summary is due.
const EVERY: Duration = Duration::from_secs(1);
/// A summary is written anew behind so many bytes of entries, even if it says nothing new: its
/// segment must never be the oldest.
const BYTES: u64 = 4 << 20;
/// Reads in a row that may fail at the start.
const FAILURES_MAX: usize = 16;

/// The marks of a spool.
#[derive(Debug)]
pub struct Marked {
    spool: Spool,
    id: DestinationId,
    /// Entries that are held, with the mark for which each is; a summary has none.
    held: Mutex<Vec<(u64, Option<Mark>)>>,
    written: Mutex<Written>,
    /// Summaries are written one after the other: each knows by number what it covers.
    turn: tokio::sync::Mutex<()>,
}

/// When the last summary was written.
#[derive(Clone, Copy, Debug, Default)]
struct Written {
    clock: u64,
    appended_bytes: u64,
}

impl Marked {
    /// Reads what the spool has into `marks`. Blocks on the disk.
    #[must_use]
    pub fn recover(spool: Spool, marks: &Marks) -> Self {
        let id = spool.destination(NAME);
        let mut held = Vec::new();
        let mut failures = 0;
        while failures < FAILURES_MAX {
            match spool.read(id) {
                Ok(Read::Entry { sequence, payload, .. }) => {
                    failures = 0;
                    held.push((sequence, None));
                    match entry::marks(&payload) {
                        Ok(found) => marks.load(found),
                        Err(error) => {
                            tracing::error!(sequence, %error, "marks of an entry are lost");
                        }
                    }
                }
                Ok(Read::NotYet | Read::CaughtUp) => break,
                // At the third failure the spool passes it.
                Err(error) => {
                    failures += 1;
                    tracing::error!(%error, "marks in the spool cannot be read");
                }
            }
        }
        let (held, written) = (Mutex::new(held), Mutex::default());
        Self { spool, id, held, written, turn: tokio::sync::Mutex::default() }
    }

    fn held(&self) -> MutexGuard<'_, Vec<(u64, Option<Mark>)>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// That an entry with a mark is wanted.
    pub(super) fn want(&self) -> Want {
        Want { destination: self.id, records: 1, bytes: 0, hold: true }
    }

    /// An entry with a mark was appended.
    pub(super) fn note(&self, sequence: u64, mark: Mark) {
        self.held().push((sequence, Some(mark)));
    }

    /// Writes summaries for as long as the spool is open.
    pub async fn keep(&self, marks: &Marks) {
        loop {
            tokio::time::sleep(EVERY).await;
            if self.is_due(marks) && !self.summarise(marks).await {
                return;
            }
        }
    }

    /// Writes the last summary: what is kept without the spool is in no entry.
    pub async fn finish(&self, marks: &Marks) {
        if self.is_due(marks) {
            self.summarise(marks).await;
        }
    }

    fn is_due(&self, marks: &Marks) -> bool {
        let written = *self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let appended = self.spool.stats().appended_bytes.saturating_sub(written.appended_bytes);
        written.clock != marks.clock() || (appended > BYTES && !self.held().is_empty())
    }

    /// Writes a summary, and lets go of what it covers when it is synced. False when the spool is
    /// closed.
    async fn summarise(&self, marks: &Marks) -> bool {
        let _turn = self.turn.lock().await;
        // What comes from here on is for the next one.
        let clock = marks.clock();
        let covered = self.held().len();
        let all = marks.all();
        let empty = Batch::new(Vec::new(), UnixNanos::now());
        let entry = entry::front(&empty, "", &all, std::iter::empty());
        let (synced, is_synced) = oneshot::channel();
        // Nobody waits for it any more at the end of the process.
        let durable = Box::new(move |result: Result<(), _>| {
            synced.send(result.is_ok()).unwrap_or_default();
        });
        let sequence = match self.spool.append(&[&entry], &[self.want()], Some(durable)) {
            Ok(appended) => appended.sequence,
            Err(AppendError::Closed) => return false,
            // Another time.
            Err(_) => return true,
        };
        let is_synced = is_synced.await.unwrap_or(false);
        let mut held = self.held();
        held.push((sequence, None));
        if !is_synced {
            return true;
        }
        let known: HashMap<_, _> = all.iter().map(|m| (m.producer, m.position)).collect();
        // Of a producer that is forgotten nothing is to be known. A batch that is synced, but was
        // not yet known to be, is not in the summary.
        let is_covered = |mark: &Mark| {
            known.get(&mark.producer).is_none_or(|position| *position >= mark.position)
        };
        let kept = held.split_off(covered);
        let old = std::mem::replace(&mut *held, kept);
        for (sequence, mark) in old {
            if mark.as_ref().is_none_or(is_covered) {
                self.spool.done(self.id, sequence, 1);
            } else {
                held.push((sequence, mark));
            }
        }
        drop(held);
        let appended_bytes = self.spool.stats().appended_bytes;
        *self.written.lock().unwrap_or_else(PoisonError::into_inner) =
            Written { clock, appended_bytes };
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use logboom_record::{Position, ProducerId};
    use logboom_spool::{Damage, Observer, Options, State};

    use super::*;
    use crate::marks::Owner;

    struct Silent;

    impl Observer for Silent {
        fn shed(&self, _: DestinationId, _: u64, _: u64) {}
        fn unwritten(&self, _: DestinationId, _: u64, _: u64) {}
        fn damaged(&self, _: &Damage) {}
        fn state(&self, _: &State) {}
    }

    fn open(path: &std::path::Path) -> Spool {
        Spool::open(path, Options::default(), Arc::new(Silent)).unwrap().0
    }

    fn mark(producer: u8, entry: u64) -> Mark {
        Mark { producer: ProducerId([producer; 16]), position: Position { entry, record: 1 } }
    }

    /// Appends an entry with a mark, and moves the mark.
    fn store(marked: &Marked, marks: &Marks, mark: Mark) {
        let batch = Batch::new(Vec::new(), UnixNanos(0));
        let entry = entry::front(&batch, "edge", &[mark], std::iter::empty());
        let appended = marked.spool.append(&[&entry], &[marked.want()], None).unwrap();
        marked.note(appended.sequence, mark);
        marks.load([mark]);
    }

    #[tokio::test]
    async fn marks_are_known_after_a_restart_with_and_without_a_summary() {
        let folder = std::env::temp_dir().join(format!("logboom-marked-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&folder));
        let expected = [mark(1, 9), mark(2, 3), mark(3, 1)];
        let marks = Marks::default();
        let marked = Marked::recover(open(&folder), &marks);
        for mark in [mark(1, 8), mark(2, 3), mark(1, 9)] {
            store(&marked, &marks, mark);
        }
        assert!(marked.summarise(&marks).await);
        let waiting = marked.spool.waiting(marked.id).records;
        assert_eq!(waiting, 1, "the summary alone is needed");
        store(&marked, &marks, mark(3, 1));
        marked.spool.close();
        drop(marked);

        for _ in 0..2 {
            let found = Marks::default();
            let marked = Marked::recover(open(&folder), &found);
            let mut all = found.all();
            all.sort_by_key(|mark| mark.producer);
            assert_eq!(all, expected);
            assert!(marked.summarise(&found).await);
            assert_eq!(marked.spool.waiting(marked.id).records, 1);
            marked.spool.close();
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[tokio::test]
    async fn summaries_that_are_asked_for_at_once_are_written_one_by_one() {
        let folder = std::env::temp_dir().join(format!("logboom-at-once-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&folder));
        let marks = Marks::default();
        let marked = Marked::recover(open(&folder), &marks);
        (1..=9).for_each(|entry| store(&marked, &marks, mark(1, entry)));
        // As the last one at a shutdown, while one is being synced.
        assert_eq!(tokio::join!(marked.summarise(&marks), marked.summarise(&marks)), (true, true));
        assert_eq!(marked.spool.waiting(marked.id).records, 1);
        marked.spool.close();
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[tokio::test]
    async fn segments_go_when_a_summary_covers_their_marks() {
        let folder = std::env::temp_dir().join(format!("logboom-segments-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&folder));
        let options = Options { segment_bytes: 1 << 20, bytes_max: 64 << 20, ..Options::default() };
        let spool = Spool::open(&folder, options, Arc::new(Silent)).unwrap().0;
        let (marks, filling) = (Marks::default(), vec![0; 256 << 10]);
        let marked = Marked::recover(spool, &marks);
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        for entry in 1..=40 {
            let appended = marked.spool.append(&[&filling], &[marked.want()], None);
            marked.note(appended.unwrap().sequence, mark(1, entry));
            marked.spool.room().await;
        }
        marks.load([mark(1, 40)]);
        assert!(marked.summarise(&marks).await);
        while marked.spool.stats().segments > 2 {
            assert!(tokio::time::Instant::now() < deadline, "{:?}", marked.spool.stats());
            tokio::task::yield_now().await;
        }
        marked.spool.close();
        drop(marked);
        let found = Marks::default();
        drop(Marked::recover(open(&folder), &found));
        assert_eq!(found.all(), [mark(1, 40)]);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[tokio::test]
    async fn an_entry_that_no_summary_covers_stays() {
        let folder = std::env::temp_dir().join(format!("logboom-covers-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&folder));
        let (marks, owner) = (Marks::default(), Arc::new(Owner::default()));
        let marked = Marked::recover(open(&folder), &marks);
        let producer = marks.claim(ProducerId([1; 16]), &owner);
        let on_its_way = mark(1, 5);
        assert_eq!(producer.admit(&owner, on_its_way.position), crate::marks::Admitted::New);
        marked.note(
            marked.spool.append(&[b"x"], &[marked.want()], None).unwrap().sequence,
            on_its_way,
        );
        assert!(marked.summarise(&marks).await);
        assert_eq!(marked.spool.waiting(marked.id).records, 2);
        producer.hand_on(on_its_way.position);
        producer.resolve(on_its_way.position, logboom_record::Resolution::Kept);
        assert!(marked.summarise(&marks).await);
        assert_eq!(marked.spool.waiting(marked.id).records, 1);
        marked.spool.close();
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
