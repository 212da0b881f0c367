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

use super::queue::Item;

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
    /// same in a later process too.
    pub(super) fn id(&mut self, hand: &Hand) -> &str {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        let records = self.records;
        self.id.get_or_insert_with(|| {
            let front = hand.front().filter(|(item, done)| item.records - done >= records);
            match front.and_then(|(item, done)| Some((item.held?, done))) {
                Some((entry, done)) => format!("s{entry}.{done}.{records}"),
                None => format!("{:x}.{}", process_id(), COUNT.fetch_add(1, Ordering::Relaxed)),
            }
        })
    }
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

    /// Bytes that the items in hand are charged for.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Records not yet sent on this connection.
    pub(super) fn unsent(&self) -> usize {
        self.records - self.sent
    }

    /// The first item, and how many of its records are done with.
    pub(super) fn front(&self) -> Option<(&Item, usize)> {
        self.items.front().map(|item| (item, self.done))
    }

    /// The records not yet sent, in order, each with its item.
    pub(super) fn unsent_records(&self) -> impl Iterator<Item = (&Item, Record<'_>)> {
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
            let records = item.selection.iter(batch.len()).skip(skip);
            records.filter_map(|i| batch.record(i)).map(move |record| (item, record))
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
