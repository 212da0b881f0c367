//! An entry of the spool: a parcel and what each destination gets of it, as bytes.
//!
//! ```text
//!  u8 version                                                               little endian
//!  version 2 alone: u32 marks │ marks × ( 16 producer │ 12 position )       what senders call it
//!  u16 length, name of the source │ u32 wants
//!  wants × ( u64 destination │ u32 count │ count × u32 index )      count 2³²−1: every record
//!  image of the batch │ its arena
//! ```
//!
//! Version 2 is written where there are marks, else version 1, which earlier programs read too.
//!
//! A destination is named by a hash of its canonical URL, the same in every process.

use logboom_record::{Batch, ImageError, Mark, Position, ProducerId, Selection};

/// Versions of the entry, its first byte: without marks, and with them.
const PLAIN: u8 = 1;
const MARKED: u8 = 2;
/// The count that stands for every record.
const ALL: u32 = u32::MAX;
/// Why an entry cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// A version that this program does not know.
    #[error("version {0} of an entry is unknown, {PLAIN} and {MARKED} are known")]
    Version(u8),
    /// It ends too early.
    #[error("an entry is broken at byte {0}")]
    Broken(usize),
    /// Its batch cannot be read.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// It has nothing for the destination.
    #[error("an entry has nothing for its destination")]
    NotWanted,
}

/// Where FNV-1a begins.
pub(super) const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a: the same in every process and version of this program.
pub(super) fn fnv(hash: u64, bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(hash, step)
}

/// The key of a destination: FNV-1a of its canonical URL.
#[must_use]
pub fn destination_key(canonical: &str) -> u64 {
    fnv(FNV_START, canonical.as_bytes())
}

/// An entry up to the tables of its batch; they follow, and the arena.
pub(super) fn front<'a>(
    batch: &Batch,
    source: &str,
    marks: &[Mark],
    wants: impl ExactSizeIterator<Item = (u64, &'a Selection)>,
) -> Vec<u8> {
    let mut out = Vec::new();
    if marks.is_empty() {
        out.push(PLAIN);
    } else {
        out.push(MARKED);
        out.extend_from_slice(&u32::try_from(marks.len()).unwrap_or(u32::MAX).to_le_bytes());
        for mark in marks {
            out.extend_from_slice(&mark.producer.0);
            out.extend_from_slice(&mark.position.to_bytes());
        }
    }
    let source =
        source.get(..source.floor_char_boundary(usize::from(u16::MAX))).unwrap_or_default();
    out.extend_from_slice(&u16::try_from(source.len()).unwrap_or(u16::MAX).to_le_bytes());
    out.extend_from_slice(source.as_bytes());
    out.extend_from_slice(&u32::try_from(wants.len()).unwrap_or(u32::MAX).to_le_bytes());
    for (key, selection) in wants {
        out.extend_from_slice(&key.to_le_bytes());
        match selection {
            Selection::All => out.extend_from_slice(&ALL.to_le_bytes()),
            Selection::Some(list) => {
                out.extend_from_slice(&u32::try_from(list.len()).unwrap_or(ALL).to_le_bytes());
                let start = out.len();
                out.resize(start + 4 * list.len(), 0);
                let free = out.get_mut(start..).unwrap_or_default().as_chunks_mut::<4>().0;
                free.iter_mut().zip(list).for_each(|(free, index)| *free = index.to_le_bytes());
            }
        }
    }
    batch.write_image_front(&mut out);
    out
}

/// What an entry has.
#[derive(Debug)]
pub struct Entry {
    /// Name of the source.
    pub source: String,
    /// The batch.
    pub batch: Batch,
    wants: Vec<(u64, Selection)>,
}

impl Entry {
    /// Reads an entry.
    ///
    /// # Errors
    /// [`EntryError`].
    pub fn read(mut payload: Vec<u8>) -> Result<Self, EntryError> {
        let mut at = 0;
        read_marks(&payload, &mut at)?;
        let len = usize::from(u16::from_le_bytes(take(&payload, &mut at)?));
        let source = String::from_utf8_lossy(slice(&payload, &mut at, len)?).into_owned();
        let count = u32::from_le_bytes(take(&payload, &mut at)?);
        let mut wants = Vec::new();
        for _ in 0..count {
            let key = u64::from_le_bytes(take(&payload, &mut at)?);
            let selection = match u32::from_le_bytes(take(&payload, &mut at)?) {
                ALL => Selection::All,
                count => {
                    let bytes = slice(&payload, &mut at, (count as usize).saturating_mul(4))?;
                    let words = bytes.as_chunks::<4>().0.iter();
                    Selection::Some(words.map(|word| u32::from_le_bytes(*word)).collect())
                }
            };
            wants.push((key, selection));
        }
        payload.drain(..at);
        let batch = Batch::from_image(payload)?;
        Ok(Self { source, batch, wants })
    }

    /// What the destination of that key gets of it.
    ///
    /// # Errors
    /// [`EntryError::NotWanted`], or [`EntryError::Broken`] where it names records that are not there.
    pub fn selection(&self, key: u64) -> Result<Selection, EntryError> {
        let found = self.wants.iter().find(|(wanted, _)| *wanted == key);
        let (_, selection) = found.ok_or(EntryError::NotWanted)?;
        let len = self.batch.len();
        match selection {
            Selection::Some(list) if list.iter().any(|index| *index as usize >= len) => {
                Err(EntryError::Broken(0))
            }
            selection => Ok(selection.clone()),
        }
    }
}

/// The marks at the front of an entry.
///
/// # Errors
/// [`EntryError`].
pub(super) fn marks(payload: &[u8]) -> Result<Vec<Mark>, EntryError> {
    read_marks(payload, &mut 0)
}

fn read_marks(payload: &[u8], at: &mut usize) -> Result<Vec<Mark>, EntryError> {
    match take(payload, at)? {
        [PLAIN] => return Ok(Vec::new()),
        [MARKED] => {}
        [other] => return Err(EntryError::Version(other)),
    }
    let count = u32::from_le_bytes(take(payload, at)?);
    let mut marks = Vec::new();
    for _ in 0..count {
        let producer = ProducerId(take(payload, at)?);
        marks.push(Mark { producer, position: Position::of_bytes(take(payload, at)?) });
    }
    Ok(marks)
}

fn slice<'a>(bytes: &'a [u8], at: &mut usize, len: usize) -> Result<&'a [u8], EntryError> {
    let found = at.checked_add(len).and_then(|end| bytes.get(*at..end));
    let found = found.ok_or(EntryError::Broken(*at))?;
    *at += len;
    Ok(found)
}

fn take<const N: usize>(bytes: &[u8], at: &mut usize) -> Result<[u8; N], EntryError> {
    let broken = *at;
    slice(bytes, at, N)?.try_into().map_err(|_| EntryError::Broken(broken))
}

#[cfg(test)]
mod tests {
    use super::*;
    use logboom_record::{Head, UnixNanos};

    fn batch() -> Batch {
        let mut batch = Batch::new(Vec::new(), UnixNanos(5));
        for text in ["one", "two", "three"] {
            let raw = batch.append(text.as_bytes());
            batch.push(&Head { raw, body: raw, ..Head::default() });
        }
        batch
    }

    #[test]
    fn each_destination_gets_its_own_records_back() {
        let batch = batch();
        let (some, all) = (Selection::Some(vec![0, 2]), Selection::All);
        let wants = [(destination_key("a"), &some), (destination_key("b"), &all)];
        let position = Position { entry: 7, record: 3 };
        let mark = Mark { producer: ProducerId([5; 16]), position };
        for known in [&[][..], &[mark, mark]] {
            let front = front(&batch, "edge", known, wants.into_iter());
            let [fields, rows] = batch.image_tables();
            let payload = [&front, &*fields, &*rows, batch.arena()].concat();
            assert_eq!(marks(&payload).unwrap(), known);
            check(&batch, payload, (&some, &all));
        }
    }

    fn check(batch: &Batch, payload: Vec<u8>, (some, all): (&Selection, &Selection)) {
        let entry = Entry::read(payload.clone()).unwrap();
        assert_eq!(entry.source, "edge");
        let selection = |canonical| entry.selection(destination_key(canonical));
        assert_eq!((selection("a").unwrap(), selection("b").unwrap()), (some.clone(), all.clone()));
        assert!(matches!(selection("c"), Err(EntryError::NotWanted)));
        assert_eq!(entry.batch.record(2).unwrap().body(), b"three");
        for len in 0..payload.len() - batch.arena().len() {
            assert!(Entry::read(payload[..len].to_vec()).is_err(), "cut at {len}");
        }
    }
}
