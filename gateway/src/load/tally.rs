//! The books of a receiver: which numbers of which sequence have come.

use std::collections::{BTreeMap, HashMap};

use memchr::{memchr, memmem};

use super::SequenceReport;

/// How many missing stretches a report names for one sequence.
const MISSING_SHOWN_MAX: usize = 5;

/// What is known of all sequences.
#[derive(Debug)]
pub(super) struct Tally {
    sequences: HashMap<Vec<u8>, Sequence>,
    /// The number that each sequence starts with.
    first: u64,
    /// The key of the record at hand; kept so that looking it up allocates nothing.
    key: Vec<u8>,
    /// Records that carry no identity of ours.
    pub(super) unnumbered: u64,
    /// Numbered records, without what came twice.
    pub(super) distinct: u64,
    /// Records whose number had come before.
    pub(super) duplicated: u64,
    /// Records whose number is below that of an earlier one at the same listener, and which are not
    /// duplicates.
    pub(super) out_of_order: u64,
}

/// One producer's numbers for one app.
#[derive(Debug)]
struct Sequence {
    /// All numbers below have come or are in `missing`.
    next: u64,
    /// First and last number of each stretch that has not come, below `next`.
    missing: BTreeMap<u64, u64>,
    received: u64,
    duplicated: u64,
    out_of_order: u64,
    /// The highest number at each listener.
    last: Vec<u64>,
}

impl Tally {
    /// Books for sequences that start with the number `first`.
    pub(super) fn new(first: u64) -> Self {
        Self {
            sequences: HashMap::new(),
            first,
            key: Vec::new(),
            unnumbered: 0,
            distinct: 0,
            duplicated: 0,
            out_of_order: 0,
        }
    }

    /// Books one record that came at a listener.
    pub(super) fn record(&mut self, listener: usize, message: &[u8]) {
        let Some(identity) = Identity::of(message) else {
            self.unnumbered += 1;
            return;
        };
        self.key.clear();
        self.key.extend_from_slice(identity.producer);
        self.key.push(0);
        self.key.extend_from_slice(identity.app);
        let sequence = match self.sequences.get_mut(self.key.as_slice()) {
            Some(sequence) => sequence,
            None => {
                let first = self.first;
                self.sequences.entry(self.key.clone()).or_insert_with(|| Sequence::new(first))
            }
        };
        match sequence.book(listener, identity.sequence) {
            Booked::Duplicate => self.duplicated += 1,
            Booked::InOrder => self.distinct += 1,
            Booked::Late => {
                self.distinct += 1;
                self.out_of_order += 1;
            }
        }
    }

    /// Numbers that have not come although a higher one of the same sequence has.
    pub(super) fn missing(&self) -> u64 {
        self.sequences.values().map(Sequence::missing).sum()
    }

    /// What there is to say about the sequences that are not perfect, in the order of their names.
    pub(super) fn faults(&self) -> Vec<SequenceReport> {
        let mut faults: Vec<_> = self
            .sequences
            .iter()
            .filter(|(_, sequence)| sequence.is_faulty())
            .map(|(key, sequence)| sequence.report(key))
            .collect();
        faults.sort_by(|a, b| (&a.producer, &a.app).cmp(&(&b.producer, &b.app)));
        faults
    }
}

enum Booked {
    InOrder,
    Late,
    Duplicate,
}

impl Sequence {
    fn new(first: u64) -> Self {
        Self {
            next: first,
            missing: BTreeMap::new(),
            received: 0,
            duplicated: 0,
            out_of_order: 0,
            last: Vec::new(),
        }
    }

    fn book(&mut self, listener: usize, number: u64) -> Booked {
        self.received += 1;
        if number >= self.next {
            if number > self.next {
                self.missing.insert(self.next, number - 1);
            }
            self.next = number + 1;
        } else if !self.fill(number) {
            self.duplicated += 1;
            return Booked::Duplicate;
        }
        if self.last.len() <= listener {
            self.last.resize(listener + 1, 0);
        }
        match self.last.get_mut(listener) {
            Some(last) if *last > number => {
                self.out_of_order += 1;
                Booked::Late
            }
            Some(last) => {
                *last = number;
                Booked::InOrder
            }
            None => Booked::InOrder,
        }
    }

    /// Takes a number out of what is missing; false when it was not missing.
    fn fill(&mut self, number: u64) -> bool {
        let stretch = self.missing.range(..=number).next_back().map(|(&from, &to)| (from, to));
        let Some((from, to)) = stretch.filter(|&(_, to)| number <= to) else { return false };
        self.missing.remove(&from);
        if from < number {
            self.missing.insert(from, number - 1);
        }
        if number < to {
            self.missing.insert(number + 1, to);
        }
        true
    }

    fn missing(&self) -> u64 {
        self.missing.iter().map(|(from, to)| to - from + 1).sum()
    }

    fn is_faulty(&self) -> bool {
        !self.missing.is_empty() || self.duplicated > 0 || self.out_of_order > 0
    }

    fn report(&self, key: &[u8]) -> SequenceReport {
        let split = memchr(0, key).unwrap_or(key.len());
        let (producer, app) = key.split_at(split);
        SequenceReport {
            producer: String::from_utf8_lossy(producer).into_owned(),
            app: String::from_utf8_lossy(app.get(1..).unwrap_or_default()).into_owned(),
            received: self.received,
            missing: self.missing(),
            first_missing: self
                .missing
                .iter()
                .take(MISSING_SHOWN_MAX)
                .map(|(&a, &b)| (a, b))
                .collect(),
            duplicated: self.duplicated,
            out_of_order: self.out_of_order,
        }
    }
}

/// The identity that a record of ours carries.
#[derive(Debug, PartialEq, Eq)]
struct Identity<'a> {
    producer: &'a [u8],
    app: &'a [u8],
    sequence: u64,
}

impl<'a> Identity<'a> {
    fn of(message: &'a [u8]) -> Option<Self> {
        let element = memmem::find(message, b"[logboom@32473 ")?;
        let element = message.get(element..)?;
        let element = element.get(..memchr(b']', element)?)?;
        let digits = value(element, b" seq=\"")?;
        let mut sequence = 0_u64;
        for digit in digits {
            if !digit.is_ascii_digit() {
                return None;
            }
            sequence = sequence.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
        }
        // Numbers count from 1, and stop well below what would overflow `next`.
        if sequence == 0 || sequence > super::SEQUENCE_MAX {
            return None;
        }
        // PRI and version, time, host, then the app.
        let app = message.split(|&byte| byte == b' ').nth(3)?;
        Some(Self { producer: value(element, b" producer=\"")?, app, sequence })
    }
}

/// The text behind `name` up to the closing quote.
fn value<'a>(element: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let start = memmem::find(element, name)? + name.len();
    let rest = element.get(start..)?;
    rest.get(..memchr(b'"', rest)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(producer: &str, app: &str, sequence: u64) -> Vec<u8> {
        format!(
            "<165>1 - h {app} 1 ID1 [logboom@32473 producer=\"{producer}\" seq=\"{sequence}\"] x y"
        )
        .into_bytes()
    }

    /// Books numbers at listener 0 and returns (distinct, missing, duplicated, out of order).
    fn book(numbers: &[u64]) -> (u64, u64, u64, u64) {
        let mut tally = Tally::new(1);
        for &number in numbers {
            tally.record(0, &message("p", "a", number));
        }
        (tally.distinct, tally.missing(), tally.duplicated, tally.out_of_order)
    }

    #[test]
    fn each_kind_of_fault_is_told_from_the_others() {
        type Row<'a> = (&'a [u64], (u64, u64, u64, u64));
        let rows: &[Row<'_>] = &[
            (&[], (0, 0, 0, 0)),
            (&[1, 2, 3], (3, 0, 0, 0)),
            (&[2, 3], (2, 1, 0, 0)),
            (&[1, 4, 5], (3, 2, 0, 0)),
            (&[1, 2, 2, 3], (3, 0, 1, 0)),
            (&[1, 3, 2], (3, 0, 0, 1)),
            (&[3, 2, 1], (3, 0, 0, 2)),
            (&[1, 5, 3, 3, 9], (4, 5, 1, 1)),
            (&[1, 10, 5, 4, 6, 5], (5, 5, 1, 3)),
        ];
        for (numbers, expected) in rows {
            assert_eq!(book(numbers), *expected, "{numbers:?}");
        }
    }

    #[test]
    fn order_is_kept_per_producer_app_and_listener() {
        let mut tally = Tally::new(1);
        for (listener, producer, app, number) in [
            (0, "p", "a", 1),
            (1, "p", "a", 2),
            (0, "p", "b", 1),
            (0, "q", "a", 1),
            (0, "p", "a", 3),
        ] {
            tally.record(listener, &message(producer, app, number));
        }
        assert_eq!((tally.distinct, tally.missing(), tally.out_of_order), (5, 0, 0));
        // Another listener may be behind without being wrong.
        tally.record(0, &message("p", "a", 9));
        tally.record(1, &message("p", "a", 4));
        assert_eq!((tally.missing(), tally.out_of_order), (4, 0));
        assert_eq!(tally.faults()[0].first_missing, [(5, 8)]);
    }

    #[test]
    fn what_carries_no_number_is_counted_apart() {
        let mut tally = Tally::new(1);
        let bad = [
            "".to_owned(),
            "<13>hello".to_owned(),
            "<165>1 - h a 1 ID1 [logboom@32473 producer=\"p\" seq=\"x\"] b".to_owned(),
            "<165>1 - h a 1 ID1 [logboom@32473 producer=\"p\" seq=\"0\"] b".to_owned(),
            "<165>1 - h a 1 ID1 [logboom@32473 seq=\"1\"] b".to_owned(),
            "<165>1 - h a 1 ID1 [logboom@32473 producer=\"p\" seq=\"1\"".to_owned(),
            format!("<165>1 - h a 1 I [logboom@32473 producer=\"p\" seq=\"{}\"] b", u64::MAX),
        ];
        for text in &bad {
            tally.record(0, text.as_bytes());
        }
        assert_eq!((tally.unnumbered, tally.distinct), (bad.len() as u64, 0));
    }
}
