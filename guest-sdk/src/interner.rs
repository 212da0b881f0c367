//! A small hash table from names to numbers that allocates for new names only.

use std::hash::{BuildHasher, RandomState};

const EMPTY: u32 = u32::MAX;
const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;

/// Names of one or more parts, each with a number. Holds at most `max` names.
#[derive(Clone, Debug)]
pub(crate) struct Interner {
    /// Indices into `entries`, at hash positions; at most half of them taken.
    slots: Vec<u32>,
    entries: Vec<Entry>,
    /// The parts of all names, each behind its length in four bytes.
    bytes: Vec<u8>,
    seed: u64,
    max: usize,
    /// The entry that [`Interner::find_next`] tries first.
    likely: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u32,
    start: u32,
    value: Option<u32>,
}

impl Interner {
    /// An empty table.
    pub(crate) fn new(max: usize) -> Self {
        let seed = RandomState::new().hash_one(0u8);
        Self {
            slots: vec![EMPTY; 64],
            entries: Vec::new(),
            bytes: Vec::new(),
            seed,
            max,
            likely: 0,
        }
    }

    /// The number of a name.
    #[inline]
    pub(crate) fn find(&self, parts: &[&[u8]]) -> Option<u32> {
        let index = self.index(parts, self.hash(parts))?;
        self.entries.get(index)?.value
    }

    /// The number of a name of one part, which is likely to be the one behind the name that was
    /// found last: programs write their keys in the same order again and again.
    #[inline]
    pub(crate) fn find_next(&mut self, name: &[u8]) -> Option<u32> {
        if let Some(entry) = self.entries.get(self.likely)
            && self.is_name(entry.start as usize, &[name])
        {
            self.likely += 1;
            return entry.value;
        }
        let index = self.index(&[name], self.hash(&[name]))?;
        self.likely = index + 1;
        self.entries.get(index)?.value
    }

    /// Gives a name a number; `false` when the table is full.
    pub(crate) fn insert(&mut self, parts: &[&[u8]], value: u32) -> bool {
        let hash = self.hash(parts);
        if let Some(entry) = self.index(parts, hash).and_then(|i| self.entries.get_mut(i)) {
            entry.value = Some(value);
            return true;
        }
        let start = self.bytes.len();
        let size: usize = parts.iter().map(|part| part.len() + 4).sum();
        let (Ok(start), Ok(_)) = (u32::try_from(start), u32::try_from(start + size)) else {
            return false;
        };
        if self.entries.len() >= self.max {
            return false;
        }
        for part in parts {
            self.bytes.extend_from_slice(&crate::edits::word(part.len()).to_le_bytes());
            self.bytes.extend_from_slice(part);
        }
        self.entries.push(Entry { hash, start, value: Some(value) });
        if self.entries.len() * 2 > self.slots.len() {
            self.grow();
        } else {
            let index = self.entries.len() - 1;
            self.link(index, hash);
        }
        true
    }

    /// Takes a name's number away and returns it. The name keeps its place.
    pub(crate) fn remove(&mut self, parts: &[&[u8]]) -> Option<u32> {
        let index = self.index(parts, self.hash(parts))?;
        self.entries.get_mut(index)?.value.take()
    }

    fn grow(&mut self) {
        self.slots = vec![EMPTY; self.slots.len() * 2];
        for index in 0..self.entries.len() {
            self.link(index, self.entries[index].hash);
        }
    }

    fn link(&mut self, index: usize, hash: u32) {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        while self.slots[at] != EMPTY {
            at = (at + 1) & mask;
        }
        self.slots[at] = crate::edits::word(index);
    }

    #[inline]
    fn index(&self, parts: &[&[u8]], hash: u32) -> Option<usize> {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let index = self.slots[at] as usize;
            let entry = self.entries.get(index)?;
            if entry.hash == hash && self.is_name(entry.start as usize, parts) {
                return Some(index);
            }
            at = (at + 1) & mask;
        }
    }

    #[inline]
    fn is_name(&self, start: usize, parts: &[&[u8]]) -> bool {
        let mut rest = self.bytes.get(start..).unwrap_or(&[]);
        parts.iter().all(|part| {
            let Some((len, tail)) = rest.split_first_chunk::<4>() else { return false };
            let len = u32::from_le_bytes(*len) as usize;
            rest = tail.get(len..).unwrap_or(&[]);
            tail.get(..len).is_some_and(|known| equal(known, part))
        })
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the fold keeps both halves")]
    fn hash(&self, parts: &[&[u8]]) -> u32 {
        let mut state = self.seed;
        for part in parts {
            state = fold(state ^ part.len() as u64);
            let (words, tail) = part.as_chunks::<8>();
            for word in words {
                state = fold(state ^ u64::from_le_bytes(*word));
            }
            state = fold(state ^ up_to_eight(tail));
        }
        (state ^ state >> 32) as u32
    }
}

/// The bytes of a text shorter than eight in one word, without a loop; the length tells equal words
/// of different texts apart.
#[inline]
fn up_to_eight(text: &[u8]) -> u64 {
    match (text.first_chunk::<4>(), text.last_chunk::<4>(), text) {
        (Some(first), Some(last), _) => {
            u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last))
        }
        (_, _, [first, .., last]) => {
            let middle = text[text.len() / 2];
            u64::from(*first) << 16 | u64::from(middle) << 8 | u64::from(*last)
        }
        (_, _, [only]) => u64::from(*only),
        _ => 0,
    }
}

/// Whether two texts are equal, without a call.
#[inline]
pub(crate) fn equal(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let ((a_words, a_tail), (b_words, b_tail)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut difference = up_to_eight(a_tail) ^ up_to_eight(b_tail);
    for (a, b) in a_words.iter().zip(b_words) {
        difference |= u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b);
    }
    difference == 0
}

/// Multiplies and folds; on a 32-bit target a 64-bit product with its rotation stands in for the
/// 128-bit one.
#[inline]
fn fold(value: u64) -> u64 {
    let product = value.wrapping_mul(MULTIPLIER);
    product ^ product.rotate_right(29)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart_by_their_parts() {
        let mut names = Interner::new(10);
        assert!(names.insert(&[b"ab", b"c"], 1));
        assert!(names.insert(&[b"a", b"bc"], 2));
        assert_eq!(names.find(&[b"ab", b"c"]), Some(1));
        assert_eq!(names.find(&[b"a", b"bc"]), Some(2));
        assert_eq!(names.find(&[b"abc"]), None);
    }

    #[test]
    fn a_thousand_names_are_all_found_again() {
        let mut names = Interner::new(1000);
        for i in 0..1000u32 {
            assert!(names.insert(&[format!("name-{i}").as_bytes()], i));
        }
        for i in 0..1000u32 {
            assert_eq!(names.find(&[format!("name-{i}").as_bytes()]), Some(i));
        }
        assert!(!names.insert(&[b"one more"], 0), "the table is full");
        assert_eq!(names.find(&[b"one more"]), None);
    }

    #[test]
    fn names_out_of_their_order_are_found_too() {
        let mut names = Interner::new(10);
        let all: [&[u8]; 5] = [b"a", b"bcd", b"efghi", b"", b"level and more than eight"];
        for (value, name) in (0..).zip(all) {
            assert!(names.insert(&[name], value));
        }
        for order in [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 2, 0, 4, 1]] {
            for index in order {
                assert_eq!(names.find_next(all[index]), u32::try_from(index).ok());
            }
        }
        assert_eq!(names.find_next(b"bce"), None);
        assert_eq!(names.find_next(b"level and more than eighu"), None);
    }

    #[test]
    fn texts_are_equal_or_not_at_every_length() {
        for length in 0..40 {
            let text = vec![b'x'; length];
            assert!(equal(&text, &text.clone()));
            for at in 0..length {
                let mut other = text.clone();
                other[at] = b'y';
                assert!(!equal(&text, &other), "{length} {at}");
            }
        }
    }

    #[test]
    fn a_removed_name_can_come_back() {
        let mut names = Interner::new(1);
        assert!(names.insert(&[b"a"], 7));
        assert_eq!(names.remove(&[b"a"]), Some(7));
        assert_eq!(names.find(&[b"a"]), None);
        assert!(names.insert(&[b"a"], 8));
        assert_eq!(names.find(&[b"a"]), Some(8));
    }
}
