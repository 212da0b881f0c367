//! Damage in a segment that is being read: what it is, who lost what.

use std::collections::BTreeMap;
use std::io;

use crate::files::{Files, segment_name};
use crate::format::{Entries, Head, Kind, Span, index};
use crate::segment::Segment;
use crate::state::{Inner, Shared};
use crate::vfs::{Access, File, Vfs, read_full, write_all};
use crate::walk::{Step, Walk};
use crate::{DestinationId, Totals, crash};

/// Damaged bytes, and what was in them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// The first sequence of the segment; `None`: no segment, but a count that did not come out.
    pub segment: Option<u64>,
    /// Where the bytes are.
    pub spans: Vec<Span>,
    /// The sequences missing, as ranges of which the end is not included.
    pub sequences: Vec<(u64, u64)>,
    /// What destinations lost, exactly.
    pub lost: Vec<Lost>,
    /// Destinations may have lost more than that; for those that still read, the rest is reported
    /// when they have caught up.
    pub is_partial: bool,
}

/// What a destination lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Who.
    pub destination: DestinationId,
    /// Its name.
    pub name: String,
    /// What.
    pub totals: Totals,
}

/// How much of the damage lies at a position or behind it.
enum Behind {
    Nothing,
    Some,
    All,
}

impl Damage {
    fn behind(&self, position: u64) -> Behind {
        let mut gaps = self.sequences.iter();
        if gaps.clone().all(|(_, next)| *next <= position) {
            return Behind::Nothing;
        }
        if gaps.all(|(first, _)| *first >= position) { Behind::All } else { Behind::Some }
    }
}

/// What is in a segment, damage and all.
#[derive(Debug, Default)]
pub(crate) struct Content {
    pub(crate) spans: Vec<Span>,
    pub(crate) sequences: Vec<(u64, u64)>,
    /// What can be read, by number in the file.
    pub(crate) totals: BTreeMap<u32, Totals>,
    /// The end of the last frame.
    pub(crate) end: u64,
}

impl Content {
    pub(crate) fn count(&mut self, body: &[u8]) {
        for want in Entries::new(body).flat_map(|entry| entry.wants().collect::<Vec<_>>()) {
            let totals = self.totals.entry(want.id).or_default();
            totals.add(Totals::of(want.records, want.bytes));
        }
    }

    /// Takes note of damage behind `next`, the sequence that was expected.
    pub(crate) fn damaged(&mut self, span: Span, head: Option<Head>, next: u64) {
        self.spans.push(span);
        match head {
            Some(head) if head.kind == Kind::Group => {
                self.sequences.push((head.sequence, head.next()));
            }
            // A frame that is no group: nothing is missing.
            Some(_) => {}
            // Its end is known when the next frame is met.
            None => self.sequences.push((next, next)),
        }
    }

    /// A frame was met: its sequence ends the gap before it.
    pub(crate) fn met(&mut self, sequence: u64) {
        if let Some((first, next)) = self.sequences.last_mut()
            && *first == *next
        {
            *next = sequence.max(*first);
        }
    }
}

/// Goes through a segment from its start. What cannot be read is an error, or damage.
pub(crate) fn content(segment: &Segment, is_lenient: bool) -> io::Result<Content> {
    let mut content = Content::default();
    let mut walk = Walk { is_lenient, ..segment.walk(0) };
    let mut next = segment.first;
    loop {
        match walk.step()? {
            Step::Frame(frame) if frame.head.kind == Kind::Group => {
                content.met(frame.head.sequence);
                content.count(&frame.body);
                next = frame.head.next();
            }
            Step::Frame(frame) => content.met(frame.head.sequence),
            Step::Damaged(span, head) => content.damaged(span, head, next),
            Step::End => break,
        }
    }
    content.met(segment.next);
    content.sequences.retain(|(first, next)| first < next);
    Ok(content)
}

impl Shared {
    /// Finds out what of a segment is damaged, and tells the observer.
    pub(crate) fn examine(&self, salt: u64, is_lenient: bool) -> io::Result<()> {
        let Some(segment) = self.lock().segment_by_salt(salt).cloned() else { return Ok(()) };
        let content = content(&segment, is_lenient)?;
        if content.spans.is_empty() {
            return Ok(());
        }
        let copied = quarantine(&*self.vfs, &self.files, &*segment.file, segment.first, &content);
        let mut inner = self.lock();
        inner.stats.quarantined_bytes += copied;
        let damage = inner.damaged(&segment, content);
        drop(inner);
        if let Some(damage) = damage {
            self.observer.damaged(&damage);
        }
        Ok(())
    }

    /// Reports what was counted and never found.
    pub(crate) fn report_missing(&self, missing: Option<Lost>) {
        if let Some(lost) = missing {
            let damage = Damage { lost: vec![lost], ..Damage::default() };
            self.observer.damaged(&damage);
        }
    }
}

impl Inner {
    /// Books the damage; `None`: somebody did before, or the segment is not what it was.
    fn damaged(&mut self, seen: &Segment, content: Content) -> Option<Damage> {
        let same = |segment: &&mut Segment| {
            segment.salt == seen.salt && segment.end >= seen.end && segment.known == seen.known
        };
        self.segments.iter_mut().find(same)?.known.extend(&content.spans);
        let good = self.good(seen, &content);
        // Before its position a destination was given all; what it holds is in the caller's memory.
        let position = |id: DestinationId| {
            let lag = self.destinations.get(id.index()).and_then(|d| d.lag);
            lag.map_or(u64::MAX, |lag| lag.position)
        };
        let damage = self.assess(seen, content, &good, position);
        for lost in &damage.lost {
            let destination = self.destinations.get_mut(lost.destination.index());
            if let Some(lag) = destination.and_then(|d| d.lag.as_mut()) {
                lag.totals = lag.totals.less(lost.totals);
            }
        }
        let segment = self.segment_by_salt(seen.salt)?;
        for (id, here) in &mut segment.totals {
            let before = seen.totals.get(id).copied().unwrap_or_default();
            *here = here.less(before.less(good.get(id).copied().unwrap_or_default()));
        }
        Some(damage)
    }

    /// What can be read in a segment, by destination.
    pub(crate) fn good(&self, segment: &Segment, content: &Content) -> BTreeMap<u32, Totals> {
        let mut good = BTreeMap::<u32, Totals>::new();
        for (file_id, totals) in &content.totals {
            if let Some(id) = self.resolve(segment, *file_id) {
                good.entry(id).or_default().add(*totals);
            }
        }
        good
    }

    /// Who loses what by the damage in a segment, given how far each destination is.
    pub(crate) fn assess(
        &self,
        segment: &Segment,
        content: Content,
        good: &BTreeMap<u32, Totals>,
        position: impl Fn(DestinationId) -> u64,
    ) -> Damage {
        let mut damage = Damage {
            segment: Some(segment.first),
            spans: content.spans,
            sequences: content.sequences,
            ..Damage::default()
        };
        for (id, totals) in &segment.totals {
            let gone = totals.less(good.get(id).copied().unwrap_or_default());
            let destination = DestinationId(*id);
            if gone.entries == 0 {
                continue;
            }
            match damage.behind(position(destination)) {
                Behind::Nothing => {}
                Behind::Some => damage.is_partial = true,
                Behind::All => {
                    let name = self.name_of(*id);
                    damage.lost.push(Lost { destination, name, totals: gone });
                }
            }
        }
        damage
    }

    pub(crate) fn name_of(&self, id: u32) -> String {
        let destination = self.destinations.get(DestinationId(id).index());
        destination.map(|d| d.name.to_string()).unwrap_or_default()
    }
}

/// Copies damaged bytes to a file of their own, as far as they can be read and written. Says how
/// many; it is for people to look at, so an error is no reason to stop.
pub(crate) fn quarantine(
    vfs: &dyn Vfs,
    files: &Files,
    file: &dyn File,
    first: u64,
    content: &Content,
) -> u64 {
    let dir = files.quarantine();
    if vfs.create_dir(&dir).is_err() {
        return 0;
    }
    let mut copied = 0;
    for span in &content.spans {
        let name = format!("{}-{}-{}.bin", segment_name(first), span.offset, span.len);
        let mut bytes = vec![0; index(span.len.min(64 << 20))];
        let copy = read_full(file, &mut bytes, span.offset).and_then(|len| {
            let copy = vfs.open(&dir.join(name), Access::Create)?;
            write_all(&*copy, bytes.get(..len).unwrap_or_default(), 0)?;
            copy.sync_data()?;
            Ok(len)
        });
        copied += copy.map_or(0, |len| len as u64);
        crash::point("quarantine_copied");
    }
    copied
}
