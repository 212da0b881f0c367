//! What the spool knows of a destination: what it holds, from where it lags.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use crate::{Totals, Waiting};

/// A destination. Held entries are all before the lag.
#[derive(Debug)]
pub(crate) struct Destination {
    pub(crate) name: Arc<str>,
    /// Its number in the files; never another's while a file has it.
    pub(crate) file_id: u32,
    /// From the first one that is not finished on.
    held: VecDeque<Held>,
    /// What of them is not finished.
    held_waiting: Totals,
    /// What was shed between two held entries, or behind the last: the last sequence, all of it.
    shed: VecDeque<(u64, Totals)>,
    pub(crate) lag: Option<Lag>,
    /// Of entries that lag as a whole and were held before: what of their records is not finished.
    partly: BTreeMap<u64, u32>,
    /// One past the last entry it wanted, or a little more after a restart.
    pub(crate) wanted: u64,
    /// The cursor on disk is behind.
    pub(crate) is_changed: bool,
    /// Where its totals are in the open group: (number of the group, index).
    pub(crate) slot: (u64, usize),
    /// Where the next read begins to look.
    pub(crate) place: Place,
    /// Reads in a row that the disk refused.
    pub(crate) refusals: u32,
    /// One reader at a time.
    pub(crate) turn: Arc<Mutex<()>>,
}

/// An entry that the caller has.
#[derive(Clone, Copy, Debug)]
struct Held {
    sequence: u64,
    records: u32,
    bytes: u32,
    /// Records that are not finished.
    left: u32,
}

/// Entries that are on disk alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lag {
    /// Entries from here on.
    pub(crate) position: u64,
    pub(crate) totals: Totals,
}

/// A group of a segment, and the entry in it that comes next.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Place {
    pub(crate) salt: u64,
    pub(crate) offset: u64,
    /// Sequence of the group's first entry.
    pub(crate) first: u64,
    /// Where in the body the next entry is.
    pub(crate) at: usize,
    /// Its sequence.
    pub(crate) next: u64,
}

impl Destination {
    pub(crate) fn new(name: Arc<str>, file_id: u32) -> Self {
        Self {
            name,
            file_id,
            held: VecDeque::new(),
            held_waiting: Totals::default(),
            shed: VecDeque::new(),
            lag: None,
            partly: BTreeMap::new(),
            wanted: 0,
            is_changed: false,
            slot: (u64::MAX, 0),
            place: Place::default(),
            refusals: 0,
            turn: Arc::default(),
        }
    }

    /// An entry was appended; says whether it is held.
    pub(crate) fn append(&mut self, sequence: u64, records: u32, bytes: u32, hold: bool) -> bool {
        self.wanted = sequence + 1;
        if self.lag.is_none() && hold {
            self.hold(sequence, records, bytes);
            return true;
        }
        let begins = || Lag { position: sequence, totals: Totals::default() };
        let lag = self.lag.get_or_insert_with(begins);
        lag.totals.add(Totals::of(records, bytes));
        false
    }

    /// The lag passes an entry.
    pub(crate) fn pass(&mut self, sequence: u64, totals: Totals) {
        if let Some(lag) = &mut self.lag {
            lag.position = sequence + 1;
            lag.totals = lag.totals.less(totals);
            self.partly.remove(&sequence);
        }
    }

    /// The lag passes entries up to a sequence, and nobody gets them.
    pub(crate) fn shed(&mut self, sequence: u64, totals: Totals) {
        self.pass(sequence, totals);
        let Some(held) = self.held.back() else { return };
        match self.shed.back_mut().filter(|(last, _)| *last > held.sequence) {
            Some((last, shed)) => {
                *last = sequence;
                shed.add(totals);
            }
            None => self.shed.push_back((sequence, totals)),
        }
    }

    /// An entry is in the caller's hands.
    pub(crate) fn hold(&mut self, sequence: u64, records: u32, bytes: u32) {
        if records > 0 {
            self.held_waiting.add(Totals::of(records, bytes));
        } else if self.held.is_empty() {
            return;
        }
        self.held.push_back(Held { sequence, records, bytes, left: records });
    }

    fn held_at(&self, sequence: u64) -> Option<usize> {
        self.held.binary_search_by_key(&sequence, |held| held.sequence).ok()
    }

    /// Whether an entry is held and not finished.
    pub(crate) fn holds(&self, sequence: u64) -> bool {
        let held = self.held_at(sequence).and_then(|at| self.held.get(at));
        held.is_some_and(|held| held.left > 0)
    }

    /// What of an entry that it wants is not finished.
    pub(crate) fn unfinished(&self, sequence: u64, wanted: Totals) -> Totals {
        match self.held_at(sequence).and_then(|at| self.held.get(at)) {
            Some(held) if held.left > 0 => Totals::of(held.left, held.bytes),
            None if self.lag.is_some_and(|lag| lag.position <= sequence) => {
                match self.partly.get(&sequence) {
                    Some(0) => Totals::default(),
                    Some(left) => Totals { records: u64::from(*left), ..wanted },
                    None => wanted,
                }
            }
            Some(_) | None => Totals::default(),
        }
    }

    /// So many records of a held entry are finished. Says whether the frontier moved.
    pub(crate) fn done(&mut self, sequence: u64, records: u32) -> bool {
        let Some(at) = self.held_at(sequence) else { return false };
        let Some(held) = self.held.get_mut(at).filter(|held| held.left > 0) else { return false };
        let records = records.min(held.left);
        held.left -= records;
        let mut finished = Totals { records: records.into(), ..Totals::default() };
        if held.left == 0 {
            (finished.entries, finished.bytes) = (1, held.bytes.into());
        }
        self.held_waiting = self.held_waiting.less(finished);
        self.trim()
    }

    /// Lets go of what is held before a sequence.
    pub(crate) fn release(&mut self, before: u64) {
        while let Some(first) = self.held.front().filter(|first| first.sequence < before) {
            if first.left > 0 {
                let gone = Totals::of(first.left, first.bytes);
                self.held_waiting = self.held_waiting.less(gone);
            }
            self.held.pop_front();
        }
        self.trim();
    }

    /// Lets go of what is finished before the first held entry that is not. Says whether anything
    /// was.
    fn trim(&mut self) -> bool {
        let before = self.held.len();
        while self.held.front().is_some_and(|first| first.left == 0) {
            self.held.pop_front();
        }
        let first = self.held.front().map_or(u64::MAX, |first| first.sequence);
        while self.shed.front().is_some_and(|(last, _)| *last < first) {
            self.shed.pop_front();
        }
        self.give_back();
        self.held.len() < before
    }

    /// What a lag has needed is not needed for ever.
    fn give_back(&mut self) {
        const KEPT: usize = 512;
        if self.held.capacity() > KEPT && self.held.len() < self.held.capacity() / 8 {
            self.held.shrink_to(self.held.capacity() / 4);
        }
    }

    /// What is held lags again, and with it all behind the first of it: what is given out in order
    /// has no holes.
    pub(crate) fn relinquish(&mut self) {
        let Some(first) = self.held.front().map(|first| first.sequence) else { return };
        let mut totals = self.lag.map(|lag| lag.totals).unwrap_or_default();
        for held in self.held.drain(..) {
            totals.add(Totals::of(held.records, held.bytes));
            if held.left < held.records {
                self.partly.insert(held.sequence, held.left);
            }
        }
        self.shed.drain(..).for_each(|(_, shed)| totals.add(shed));
        self.held_waiting = Totals::default();
        self.lag = Some(Lag { position: first, totals });
    }

    /// The first sequence that must stay, if any must.
    pub(crate) fn pinned(&self) -> Option<u64> {
        match self.held.front() {
            Some(first) => Some(first.sequence),
            None => self.lag.map(|lag| lag.position),
        }
    }

    pub(crate) fn waiting(&self) -> Waiting {
        let lag = self.lag.map(|lag| lag.totals).unwrap_or_default();
        Waiting {
            records: self.held_waiting.records + lag.records,
            bytes: self.held_waiting.bytes + lag.bytes,
            lag_records: lag.records,
            lag_bytes: lag.bytes,
            is_lagging: self.lag.is_some(),
        }
    }
}
