//! What a worker has in hand: items popped from its line and not yet done with, in order.
//!
//! ```text
//!  front item                              back item
//!  ├─ done ─┼─ sent on this connection ─┼─ unsent ─┤
//! ```
//!
//! Connectors settle records in the order in which they were sent. When a connection is lost, what
//! it has not settled is unsent again.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use logboom_record::Record;

use super::entry::{FNV_START, fnv};
use super::queue::{Item, give_back};

/// How the way of a record to its destination ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The destination has it.
    Delivered,
    /// It can never be sent this way: larger than a datagram can be.
    TooLarge,
    /// The destination will never take it, for this reason.
    Refused(String),
}

/// The records of one request, which stay together until it is answered for good.
#[derive(Debug)]
pub(super) struct Group {
    records: usize,
    id: Option<String>,
}

impl Group {
    /// The next so many records in hand.
    pub(super) fn new(records: usize) -> Self {
        Self { records: records.max(1), id: None }
    }

    pub(super) fn records(&self) -> usize {
        self.records
    }

    /// Its id, the same for each attempt. Of records that are all of one entry of the spool it is the
    /// same in a later process too: `scope` says which spool and which destination.
    pub(super) fn id(&mut self, hand: &Hand, scope: &str) -> &str {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        let records = self.records;
        self.id.get_or_insert_with(|| match name_of(hand, records) {
            Some((entry, indices)) => format!("{scope}.{entry}.{indices:016x}"),
            None => format!("{:016x}.{}", process_id(), COUNT.fetch_add(1, Ordering::Relaxed)),
        })
    }
}

/// The entry of the spool that has all of the next records, and a hash of their places in it: an
/// entry's records may have been dealt out over lines, and be cut into requests in many ways.
fn name_of(hand: &Hand, records: usize) -> Option<(u64, u64)> {
    let mut unsent = hand.unsent_records().take(records).peekable();
    let (first, _) = unsent.peek()?;
    let (first, mut hash) = (*first, FNV_START);
    let entry = first.held.filter(|_| first.is_as_stored)?;
    for (item, record) in unsent {
        if !std::ptr::eq(item, first) {
            return None;
        }
        hash = fnv(hash, &(record.index() as u64).to_le_bytes());
    }
    Some((entry, hash))
}

/// A number that no other process has, most likely.
fn process_id() -> u64 {
    static ID: OnceLock<u64> = OnceLock::new();
    *ID.get_or_init(|| RandomState::new().hash_one(std::process::id()))
}

/// What connectors report while they send, in order.
#[derive(Debug, Default)]
pub(super) struct Progress {
    settled: VecDeque<(usize, Outcome)>,
    /// The request under way, where there are requests.
    pub(super) group: Option<Group>,
    /// Bytes written, framing included.
    pub(super) bytes: usize,
    /// The destination has answered well on this connection.
    pub(super) proven: bool,
}

impl Progress {
    /// So many records, the next in order, have ended this way.
    pub(super) fn settle(&mut self, records: usize, outcome: Outcome) {
        match self.settled.back_mut() {
            _ if records == 0 => {}
            Some((last, same)) if *same == outcome => *last += records,
            _ => self.settled.push_back((records, outcome)),
        }
    }

    /// The next run of records that ended alike.
    pub(super) fn take(&mut self) -> Option<(usize, Outcome)> {
        self.settled.pop_front()
    }
}

/// The items in hand.
#[derive(Debug, Default)]
pub(super) struct Hand {
    items: VecDeque<Item>,
    /// Records of the front item that are done with.
    done: usize,
    /// Records behind those that were sent on the present connection.
    sent: usize,
    /// Records that are not done with.
    records: usize,
    bytes: usize,
}

impl Hand {
    pub(super) fn push(&mut self, item: Item) {
        self.records += item.records;
        self.bytes += item.bytes();
        self.items.push_back(item);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The items, in order.
    pub(super) fn items_mut(&mut self) -> impl Iterator<Item = &mut Item> {
        self.items.iter_mut()
    }

    /// Bytes that the items in hand are charged for.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Records not yet sent on this connection.
    pub(super) fn unsent(&self) -> usize {
        self.records - self.sent
    }

    /// The records not yet sent, in order, each with its item.
    pub(super) fn unsent_records(&self) -> impl Iterator<Item = (&Item, Record<'_>)> {
        self.unsent_places().map(|(item, _, record)| (item, record))
    }

    /// The same with the place of each among its item's records.
    pub(super) fn unsent_places(&self) -> impl Iterator<Item = (&Item, usize, Record<'_>)> {
        // Whole items are passed over by their count.
        let mut skip = self.done + self.sent;
        let first = self.items.iter().position(|item| {
            let is_within = skip < item.records;
            skip -= if is_within { 0 } else { item.records };
            is_within
        });
        let items = self.items.iter().skip(first.unwrap_or(self.items.len()));
        items.enumerate().flat_map(move |(nth, item)| {
            let batch = item.parcel.batch();
            let skip = if nth == 0 { skip } else { 0 };
            let records = item.selection.iter(batch.len()).enumerate().skip(skip);
            records.filter_map(move |(place, i)| Some((item, place, batch.record(i)?)))
        })
    }

    /// So many more records were sent.
    pub(super) fn note_sent(&mut self, records: usize) {
        self.sent = (self.sent + records).min(self.records);
    }

    /// The connection is gone: what is in hand is to be sent again.
    pub(super) fn unsend(&mut self) {
        self.sent = 0;
    }

    /// The next records that lie within one item, at most `records`, are done with: calls `each` with
    /// the item and their places among its records. Returns the item when all of it is done.
    pub(super) fn finish_some(
        &mut self,
        records: &mut usize,
        each: impl FnOnce(&Item, std::ops::Range<usize>),
    ) -> Option<Item> {
        let front = self.items.front()?;
        let n = (*records).min(front.records - self.done);
        each(front, self.done..self.done + n);
        *records -= n;
        self.records -= n;
        self.sent = self.sent.saturating_sub(n);
        self.done += n;
        if self.done < front.records {
            return None;
        }
        self.done = 0;
        let item = self.items.pop_front()?;
        give_back(&mut self.items);
        self.bytes -= item.bytes();
        Some(item)
    }

    /// Lets go of everything; the first item without what is done of it, of which it tells the number.
    pub(super) fn let_go(&mut self) -> (usize, VecDeque<Item>) {
        let mut items = std::mem::take(&mut self.items);
        let done = std::mem::take(&mut self.done);
        if let Some(front) = items.front_mut().filter(|_| done > 0) {
            front.skip(done);
        }
        (self.sent, self.records, self.bytes) = (0, 0, 0);
        (done, items)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use logboom_record::{Batch, Head, Selection, UnixNanos};

    use super::*;
    use crate::outbound::Parcel;

    const SCOPE: &str = "spool.destination";

    fn parcel(records: usize) -> Arc<Parcel> {
        let mut batch = Batch::new(Vec::new(), UnixNanos(0));
        for number in 0..records {
            let raw = batch.append(format!("record {number}").as_bytes());
            batch.push(&Head { raw, body: raw, ..Head::default() });
        }
        Arc::new(Parcel::new(batch, "test".into(), None, Box::new(drop)))
    }

    fn hand(items: impl IntoIterator<Item = (Selection, Option<u64>)>) -> Hand {
        let (mut hand, parcel) = (Hand::default(), parcel(8));
        for (selection, held) in items {
            hand.push(Item::new(&parcel, selection, held));
        }
        hand
    }

    fn some(indices: &[u32]) -> Selection {
        Selection::Some(indices.to_vec())
    }

    fn id(hand: &Hand, records: usize, scope: &str) -> String {
        Group::new(records).id(hand, scope).to_owned()
    }

    #[test]
    fn the_same_records_of_an_entry_have_the_same_id_however_they_came_to_be_together() {
        let expected = id(&hand([(some(&[2, 3, 5]), Some(7))]), 3, SCOPE);
        assert_eq!(id(&hand([(some(&[2, 3, 5, 6]), Some(7))]), 3, SCOPE), expected);
        let mut begun = hand([(some(&[0, 1, 2, 3, 5]), Some(7))]);
        assert!(begun.finish_some(&mut 2, |_, _| ()).is_none());
        assert_eq!(id(&begun, 3, SCOPE), expected);
        let mut given_back = Hand::default();
        for item in begun.let_go().1 {
            given_back.push(item);
        }
        assert_eq!(id(&given_back, 3, SCOPE), expected);
    }

    #[test]
    fn a_record_keeps_its_place_in_its_item_however_much_of_that_is_done() {
        let places = |hand: &Hand| -> Vec<usize> {
            hand.unsent_places().map(|(item, place, _)| item.first + place).collect()
        };
        let mut hand = hand([(some(&[1, 2, 5, 7]), Some(7)), (Selection::All, None)]);
        assert_eq!(places(&hand)[..6], [0, 1, 2, 3, 0, 1]);
        assert!(hand.finish_some(&mut 1, |_, _| ()).is_none());
        hand.note_sent(1);
        assert_eq!(places(&hand)[..3], [2, 3, 0]);
        let mut given_back = Hand::default();
        hand.let_go().1.into_iter().for_each(|item| given_back.push(item));
        assert_eq!(places(&given_back)[..4], [1, 2, 3, 0]);
    }

    #[test]
    fn other_records_another_entry_and_another_destination_have_another_id() {
        let first = || hand([(some(&[0, 2, 4, 6]), Some(7))]);
        let ids = [
            id(&first(), 4, SCOPE),
            id(&first(), 3, SCOPE),
            // The other line's share of the same entry.
            id(&hand([(some(&[1, 3, 5, 7]), Some(7))]), 4, SCOPE),
            id(&hand([(some(&[0, 2, 4, 6]), Some(8))]), 4, SCOPE),
            id(&first(), 4, "spool.other"),
        ];
        let distinct: std::collections::HashSet<&String> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len(), "{ids:?}");
    }

    #[test]
    fn records_that_are_not_all_of_one_entry_have_an_id_of_their_own() {
        let hands = [
            hand([(Selection::All, None)]),
            hand([(some(&[0, 1, 2, 3]), Some(7)), (some(&[4, 5, 6, 7]), Some(8))]),
            hand([(some(&[0, 1, 2, 3]), Some(7)), (some(&[4, 5, 6, 7]), None)]),
        ];
        for hand in hands {
            let (mut group, again) = (Group::new(8), id(&hand, 8, SCOPE));
            assert_ne!(group.id(&hand, SCOPE), again);
            assert_eq!(group.id(&hand, SCOPE).to_owned(), group.id(&hand, SCOPE));
            assert!(!again.starts_with(SCOPE), "{again}");
        }
    }
}
