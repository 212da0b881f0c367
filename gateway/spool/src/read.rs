//! Giving out what a destination lags behind with.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use crate::destination::Place;
use crate::format::{Entries, Entry, Kind};
use crate::segment::Segment;
use crate::state::{Inner, Shared};
use crate::walk::{Frame, Step};
use crate::{DestinationId, Lost, Read, ReadError, Totals, lock};

/// Bytes of groups that are kept for the next read.
const CACHE_BYTES: usize = 16 << 20;
/// At so many refusals in a row, what the disk does not give counts as damaged.
const REFUSALS_MAX: u32 = 3;

/// Groups read of late, so that each is read once for many entries.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    groups: VecDeque<Arc<Cached>>,
    bytes: usize,
}

#[derive(Debug)]
struct Cached {
    salt: u64,
    offset: u64,
    frame: Frame,
}

impl Cache {
    fn get(&mut self, salt: u64, offset: u64) -> Option<Arc<Cached>> {
        let is_it = |group: &Arc<Cached>| group.salt == salt && group.offset == offset;
        let at = self.groups.iter().position(is_it)?;
        let group = self.groups.remove(at)?;
        self.groups.push_back(Arc::clone(&group));
        Some(group)
    }

    fn put(&mut self, group: Arc<Cached>) {
        self.bytes += group.frame.body.len();
        self.groups.push_back(group);
        while self.bytes > CACHE_BYTES && self.groups.len() > 1 {
            let gone = self.groups.pop_front();
            self.bytes -= gone.map_or(0, |gone| gone.frame.body.len());
        }
    }
}

/// Where to look.
struct Look {
    position: u64,
    segment: Segment,
    ids: Vec<u32>,
    place: Place,
    is_lenient: bool,
}

/// What a look at the state says.
enum Next {
    CaughtUp(Option<Lost>),
    NotYet,
    Look(Box<Look>),
}

/// What a look into a segment found.
enum Found {
    Entry(Place, Given),
    /// Nothing more for the destination.
    Passed,
    Damaged,
}

struct Given {
    sequence: u64,
    payload: Vec<u8>,
    records: u32,
    bytes: u32,
}

impl Shared {
    pub(crate) fn read(&self, id: DestinationId) -> Result<Read, ReadError> {
        let turn = self.lock().destinations.get(id.index()).map(|d| Arc::clone(&d.turn));
        let turn = turn.ok_or(ReadError::UnknownDestination(id.0))?;
        let _turn = lock(&turn);
        loop {
            let look = match self.look(id) {
                Next::CaughtUp(missing) => {
                    self.report_missing(missing);
                    self.forget_groups();
                    return Ok(Read::CaughtUp);
                }
                Next::NotYet => return Ok(Read::NotYet),
                Next::Look(look) => look,
            };
            let found = self.find(&look).and_then(|found| {
                if matches!(found, Found::Damaged) {
                    self.examine(look.segment.salt, look.is_lenient)?;
                }
                Ok(found)
            });
            match found {
                Ok(Found::Entry(place, given)) => {
                    if self.lock().give(id, look.position, place, &given) {
                        let Given { sequence, payload, records, bytes } = given;
                        return Ok(Read::Entry { sequence, payload, records, bytes });
                    }
                }
                Ok(Found::Passed) => self.pass(id, &look),
                // It is known now, and passed at the next attempt.
                Ok(Found::Damaged) => {}
                Err(source) => {
                    if let Some(destination) = self.lock().destinations.get_mut(id.index()) {
                        destination.refusals += 1;
                    }
                    return Err(ReadError::Io { segment: look.segment.first, source });
                }
            }
        }
    }

    /// Lets go of the groups read of late once nobody lags any more.
    fn forget_groups(&self) {
        let is_empty = lock(&self.cache).groups.is_empty();
        if !is_empty && self.lock().destinations.iter().all(|d| d.lag.is_none()) {
            *lock(&self.cache) = Cache::default();
        }
    }

    fn look(&self, id: DestinationId) -> Next {
        let mut inner = self.lock();
        let next = inner.look(id);
        if matches!(next, Next::NotYet) && !inner.has_reader {
            inner.has_reader = true;
            inner.wake = true;
        }
        // Also the end of a lag may have something for the writer: a cursor that moved.
        if inner.wake {
            self.work.notify_one();
        }
        next
    }

    /// Finds the next entry for the destination in a segment.
    fn find(&self, look: &Look) -> io::Result<Found> {
        let segment = &look.segment;
        let mut walk = segment.walk(look.position);
        walk.is_lenient = look.is_lenient;
        if look.place.salt == segment.salt && look.place.first <= look.position {
            walk.offset = walk.offset.max(look.place.offset);
        }
        loop {
            // What lies behind the end was given up after an error.
            let is_inside = walk.offset < walk.limit;
            let cached = is_inside.then(|| lock(&self.cache).get(segment.salt, walk.offset));
            let group = match cached.flatten() {
                Some(group) => {
                    walk.offset += group.frame.head.size();
                    group
                }
                None => match walk.step()? {
                    Step::End => return Ok(Found::Passed),
                    Step::Damaged(..) => return Ok(Found::Damaged),
                    Step::Frame(frame) if frame.head.kind != Kind::Group => continue,
                    Step::Frame(frame) => {
                        let (salt, offset) = (segment.salt, frame.offset);
                        let group = Arc::new(Cached { salt, offset, frame });
                        lock(&self.cache).put(Arc::clone(&group));
                        group
                    }
                },
            };
            if let Some((place, given)) = first_wanted(&group, look) {
                return Ok(Found::Entry(place, given));
            }
        }
    }

    /// Nothing more in this segment, as far as it was written when it was looked at.
    fn pass(&self, id: DestinationId, look: &Look) {
        let mut inner = self.lock();
        if let Some(destination) = inner.destinations.get_mut(id.index())
            && let Some(lag) = destination.lag.as_mut()
            && lag.position == look.position
        {
            lag.position = look.segment.next;
            destination.refusals = 0;
        }
    }
}

/// The first entry of a group at the position or behind it that the destination wants, and the
/// place behind it.
fn first_wanted(group: &Cached, look: &Look) -> Option<(Place, Given)> {
    let (body, first) = (&group.frame.body, group.frame.head.sequence);
    let place = look.place;
    let is_there = place.salt == group.salt && place.offset == group.offset;
    // Not again through the entries before it: a group may have thousands.
    let (at, mut sequence) = match is_there && place.next <= look.position {
        true => (place.at, place.next),
        false => (0, first),
    };
    let mut entries = Entries::new(body.get(at..)?);
    while let Some(entry) = entries.next() {
        let wanted = wanted_by(&entry, &look.ids).filter(|_| sequence >= look.position);
        if let Some((records, bytes)) = wanted {
            let at = body.len() - entries.rest();
            let (salt, offset, next) = (group.salt, group.offset, sequence + 1);
            let payload = entry.payload.to_vec();
            let place = Place { salt, offset, first, at, next };
            return Some((place, Given { sequence, payload, records, bytes }));
        }
        sequence += 1;
    }
    None
}

fn wanted_by(entry: &Entry<'_>, ids: &[u32]) -> Option<(u32, u32)> {
    let wants = entry.wants().filter(|want| ids.contains(&want.id));
    wants
        .map(|want| (want.records, want.bytes))
        .reduce(|sum, want| (sum.0.saturating_add(want.0), sum.1.saturating_add(want.1)))
}

impl Inner {
    /// Where the next entry of a destination is, or that its lag is over.
    fn look(&mut self, id: DestinationId) -> Next {
        let Some(destination) = self.destinations.get(id.index()) else {
            return Next::CaughtUp(None);
        };
        let Some(lag) = destination.lag else { return Next::CaughtUp(None) };
        let mut position = lag.position;
        let segment = loop {
            if position >= destination.wanted {
                return self.catch_up(id);
            }
            match self.segment_at(position) {
                Some(segment) if segment.totals.contains_key(&id.0) => break segment,
                Some(segment) => position = segment.next,
                None => return self.not_yet(id, position),
            }
        };
        let look = Look {
            position,
            segment: segment.view(),
            ids: segment.ids(id.0, destination.file_id),
            place: destination.place,
            is_lenient: destination.refusals >= REFUSALS_MAX,
        };
        self.move_to(id, position);
        Next::Look(Box::new(look))
    }

    fn not_yet(&mut self, id: DestinationId, position: u64) -> Next {
        self.move_to(id, position);
        Next::NotYet
    }

    fn move_to(&mut self, id: DestinationId, position: u64) {
        if let Some(lag) = self.destinations.get_mut(id.index()).and_then(|d| d.lag.as_mut()) {
            lag.position = position;
        }
    }

    /// Ends a lag. What was counted and never found was lost.
    fn catch_up(&mut self, id: DestinationId) -> Next {
        let Some(destination) = self.destinations.get_mut(id.index()) else {
            return Next::CaughtUp(None);
        };
        let missing = destination.lag.take().map(|lag| lag.totals).unwrap_or_default();
        let before = destination.pinned();
        let name = destination.name.to_string();
        self.moved(id.0, before, before);
        let is_none = missing == Totals::default();
        Next::CaughtUp((!is_none).then_some(Lost { destination: id, name, totals: missing }))
    }

    /// Marks an entry held, if nobody moved the destination meanwhile.
    fn give(&mut self, id: DestinationId, position: u64, place: Place, given: &Given) -> bool {
        let Some(destination) = self.destinations.get_mut(id.index()) else { return false };
        if destination.lag.is_none_or(|lag| lag.position != position) {
            return false;
        }
        destination.pass(given.sequence, Totals::of(given.records, given.bytes));
        destination.hold(given.sequence, given.records, given.bytes);
        destination.place = place;
        destination.refusals = 0;
        true
    }
}
