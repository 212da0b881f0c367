//! Passing entries without reading them out: to shed a lag, and to make room.

use std::collections::HashMap;

use crate::segment::{Segment, Wants};
use crate::state::{Inner, Shared};
use crate::{DestinationId, Shed, Totals};

impl Shared {
    /// Passes the oldest lagging entries of a destination until few enough bytes lag.
    pub(crate) fn shed(&self, id: DestinationId, keep_bytes: u64) -> Shed {
        let mut shed = Shed::default();
        loop {
            let mut inner = self.lock();
            let before = inner.destinations.get(id.index()).and_then(|d| d.pinned());
            let next = inner.shed_whole(id, keep_bytes, &mut shed);
            let after = inner.destinations.get(id.index()).and_then(|d| d.pinned());
            if before != after && inner.moved(id.0, before, after) {
                self.work.notify_one();
            }
            let Some((position, segment, ids)) = next else { return shed };
            drop(inner);
            match segment.wants(&ids, position, false) {
                Ok(Some(entries)) => {
                    self.shed_some(id, keep_bytes, (position, segment.next), &entries, &mut shed);
                }
                Ok(None) if self.examine(segment.salt, false).is_ok() => {}
                // What cannot be read now is left to the reader, who decides what to do about it.
                Ok(None) | Err(_) => return shed,
            }
        }
    }

    /// Passes some of the entries of a segment.
    fn shed_some(
        &self,
        id: DestinationId,
        keep_bytes: u64,
        (position, next): (u64, u64),
        entries: &[Wants],
        shed: &mut Shed,
    ) {
        let mut inner = self.lock();
        let Some(destination) = inner.destinations.get_mut(id.index()) else { return };
        let before = destination.pinned();
        if destination.lag.is_none_or(|lag| lag.position != position) {
            return;
        }
        for Wants { sequence, totals, .. } in entries {
            if destination.lag.is_none_or(|lag| lag.totals.bytes <= keep_bytes) {
                break;
            }
            destination.shed(*sequence, *totals);
            shed.records += totals.records;
            shed.bytes += totals.bytes;
        }
        if let Some(lag) = destination.lag.as_mut().filter(|lag| lag.totals.bytes > keep_bytes) {
            lag.position = next;
        }
        let after = destination.pinned();
        if before != after && inner.moved(id.0, before, after) {
            self.work.notify_one();
        }
    }

    /// Everything that a segment holds for destinations that are not past it is given up.
    pub(crate) fn pass_segment(&self, segment: &Segment) {
        // Exact counts for those who stand in the middle of it.
        let partial: Vec<u32> = {
            let inner = self.lock();
            let stands_in = |(id, _): &(&u32, &Totals)| inner.stands_inside(**id, segment);
            let ids = segment.totals.iter().filter(stands_in).flat_map(|(id, _)| {
                let file_id = inner.destinations.get(DestinationId(*id).index());
                segment.ids(*id, file_id.map_or(u32::MAX, |d| d.file_id))
            });
            ids.collect()
        };
        let entries = if partial.is_empty() {
            Vec::new()
        } else {
            segment.wants(&partial, segment.first, false).ok().flatten().unwrap_or_default()
        };
        let mut inner = self.lock();
        let lost = inner.pass_segment(segment, &entries);
        drop(inner);
        for (id, totals) in lost {
            self.observer.shed(id, totals.records, totals.bytes);
        }
    }
}

impl Inner {
    /// Passes whole segments as far as their totals allow. What comes next must be looked at
    /// entry by entry; `None`: few enough bytes lag, or what follows is not written.
    fn shed_whole(
        &mut self,
        id: DestinationId,
        keep_bytes: u64,
        shed: &mut Shed,
    ) -> Option<(u64, Segment, Vec<u32>)> {
        loop {
            let destination = self.destinations.get(id.index())?;
            let lag = destination.lag.filter(|lag| lag.totals.bytes > keep_bytes)?;
            let segment = self.segment_at(lag.position)?;
            let totals = segment.totals.get(&id.0).copied().unwrap_or_default();
            let rest = lag.totals.bytes.saturating_sub(totals.bytes);
            let is_whole = lag.position <= segment.first && (rest >= keep_bytes);
            if totals != Totals::default() && !is_whole {
                let ids = segment.ids(id.0, destination.file_id);
                return Some((lag.position, segment.view(), ids));
            }
            let next = segment.next;
            let destination = self.destinations.get_mut(id.index())?;
            if totals == Totals::default() {
                destination.lag.as_mut()?.position = next;
                continue;
            }
            destination.shed(next.saturating_sub(1), totals);
            shed.records += totals.records;
            shed.bytes += totals.bytes;
        }
    }

    fn stands_inside(&self, id: u32, segment: &Segment) -> bool {
        let lag = self.destinations.get(DestinationId(id).index()).and_then(|d| d.lag);
        lag.is_some_and(|lag| lag.position > segment.first && lag.position < segment.next)
    }

    fn pass_segment(
        &mut self,
        segment: &Segment,
        entries: &[Wants],
    ) -> Vec<(DestinationId, Totals)> {
        let mut inside: HashMap<u32, Totals> = HashMap::new();
        for Wants { sequence, file_id, totals } in entries {
            let id = self.resolve(segment, *file_id).unwrap_or(u32::MAX);
            let destination = self.destinations.get(DestinationId(id).index());
            if destination.and_then(|d| d.lag).is_some_and(|lag| lag.position <= *sequence) {
                inside.entry(id).or_default().add(*totals);
            }
        }
        let mut lost = Vec::new();
        for id in (0..).take(self.destinations.len()) {
            let stood_inside = self.stands_inside(id, segment);
            let Some(destination) = self.destinations.get_mut(DestinationId(id).index()) else {
                continue;
            };
            let before = destination.pinned();
            if before.is_none_or(|before| before >= segment.next) {
                continue;
            }
            destination.release(segment.next);
            if let Some(lag) = destination.lag.as_mut().filter(|l| l.position < segment.next) {
                let here = if stood_inside { &inside.get(&id) } else { &segment.totals.get(&id) };
                let totals = here.copied().unwrap_or_default();
                lag.position = segment.next;
                lag.totals = lag.totals.less(totals);
                lost.push((DestinationId(id), totals));
            }
            let after = destination.pinned();
            self.moved(id, before, after);
        }
        lost.retain(|(_, totals)| totals.records > 0);
        lost
    }
}
