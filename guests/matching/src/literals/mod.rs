//! Which of many texts are in a body, by one pass over it.
//!
//! One text is looked for by its two rarest bytes, sixteen positions at once. For up to 48 texts it
//! is an algorithm of the kind of Hyperscan's Teddy: of each text three bytes that are rare in logs
//! stand for it, texts are put into eight buckets, and a table by nibbles tells for sixteen
//! positions at once in which buckets these three bytes may occur there. What may be is then
//! compared. Above that number it is an Aho-Corasick automaton, which takes a step a byte whatever
//! the number.

use aho_corasick::AhoCorasick;
use guest_scan::lanes::{LANES, Lanes};
use memchr::arch::all::packedpair::Pair;

/// Most texts of one set.
pub(crate) const LITERALS_MAX: usize = 256;
/// Above this many texts an automaton is faster.
const TEDDY_MAX: usize = 48;
/// Positions that one step of a search of many looks at, and the bytes it looks at for that.
const STEP: usize = 2 * LANES;
const WINDOW: usize = STEP + 2;

/// A set of texts, by index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LiteralSet([u64; LITERALS_MAX / 64]);

impl LiteralSet {
    pub(crate) fn insert(&mut self, index: usize) {
        if let Some(word) = self.0.get_mut(index / 64) {
            *word |= 1 << (index % 64);
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0 == [0; LITERALS_MAX / 64]
    }

    #[inline]
    pub(crate) fn meets(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).any(|(a, b)| a & b != 0)
    }

    #[inline]
    pub(crate) fn is_within(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).all(|(a, b)| a & !b == 0)
    }
}

/// The texts, made ready for searching.
#[derive(Debug)]
pub(crate) enum Literals {
    None,
    One(Box<Single>),
    Few(Box<Teddy>),
    Many(Box<AhoCorasick>),
}

impl Literals {
    /// Takes texts that are not empty, [`LITERALS_MAX`] at most.
    pub(crate) fn new(texts: &[String]) -> Result<Self, String> {
        Ok(match texts {
            [] => Self::None,
            [one] => Self::One(Box::new(Single::new(one.as_bytes()))),
            few if few.len() <= TEDDY_MAX => Self::Few(Box::new(Teddy::new(few))),
            many => {
                let automaton = AhoCorasick::new(many).map_err(|error| error.to_string())?;
                Self::Many(Box::new(automaton))
            }
        })
    }

    /// The texts that occur in `body`.
    #[inline]
    pub(crate) fn find(&self, body: &[u8]) -> LiteralSet {
        let mut found = LiteralSet::default();
        match self {
            Self::None => {}
            Self::One(finder) => {
                if finder.is_in(body) {
                    found.insert(0);
                }
            }
            Self::Few(teddy) => teddy.find(body, &mut found),
            Self::Many(automaton) => {
                for hit in automaton.find_overlapping_iter(body) {
                    found.insert(hit.pattern().as_usize());
                }
            }
        }
        found
    }
}

/// One text.
#[derive(Debug)]
pub(crate) struct Single {
    text: Box<[u8]>,
    /// Where in the text its two rarest bytes stand, the first one first.
    rare: [(usize, u8); 2],
}

impl Single {
    fn new(text: &[u8]) -> Self {
        let (a, b) = Pair::new(text).map_or((0, text.len() - 1), |pair| {
            (usize::from(pair.index1()), usize::from(pair.index2()))
        });
        let (a, b) = (a.min(b), a.max(b));
        Self { text: text.into(), rare: [(a, text[a]), (b, text[b])] }
    }

    #[inline]
    fn is_in(&self, body: &[u8]) -> bool {
        let [(first, first_byte), (second, _)] = self.rare;
        let Some(last) = body.len().checked_sub(self.text.len()) else { return false };
        // The bytes at each position's first and second place; texts begin at 0 to `last`.
        let places = (body.get(first..=first + last), body.get(second..=second + last));
        let (Some(a), Some(b)) = places else { return false };
        let mut at = 0;
        for (a, b) in a.as_chunks().0.iter().zip(b.as_chunks().0) {
            if self.is_in_step(a, b, body, at) {
                return true;
            }
            at += STEP;
        }
        if at > last {
            return false;
        }
        match (a.last_chunk(), b.last_chunk()) {
            // Positions looked at twice cost less than single bytes.
            (Some(a), Some(b)) => self.is_in_step(a, b, body, last + 1 - STEP),
            _ => (at..=last).any(|at| body[at + first] == first_byte && self.is_at(body, at)),
        }
    }

    #[inline]
    fn is_in_step(&self, a: &[u8; STEP], b: &[u8; STEP], body: &[u8], at: usize) -> bool {
        let [(_, first), (_, second)] = self.rare;
        let ([a_low, a_high], [b_low, b_high]) = (halves(a), halves(b));
        let low = a_low.equal(first).and(b_low.equal(second));
        let high = a_high.equal(first).and(b_high.equal(second));
        low.or(high).any() && self.is_among(low.bits() | high.bits() << LANES, body, at)
    }

    #[cold]
    fn is_among(&self, mut hits: u32, body: &[u8], at: usize) -> bool {
        while hits != 0 {
            if self.is_at(body, at + hits.trailing_zeros() as usize) {
                return true;
            }
            hits &= hits - 1;
        }
        false
    }

    fn is_at(&self, body: &[u8], at: usize) -> bool {
        body.get(at..at + self.text.len()) == Some(&self.text)
    }
}

#[inline]
fn halves(bytes: &[u8; STEP]) -> [Lanes; 2] {
    let load = |at: usize| lanes(bytes, at).unwrap_or_else(|| Lanes::load(&[0; LANES]));
    [load(0), load(LANES)]
}

#[inline]
fn lanes(body: &[u8], at: usize) -> Option<Lanes> {
    body.get(at..)?.first_chunk().map(Lanes::load)
}

/// A text in a bucket.
#[derive(Debug)]
struct Entry {
    index: usize,
    text: Box<[u8]>,
    /// Where in the text its fingerprint begins.
    at: usize,
}

/// Several texts.
#[derive(Debug)]
pub(crate) struct Teddy {
    buckets: [Vec<Entry>; 8],
    /// Length of the fingerprints in bytes, 1 to 3.
    len: usize,
    /// For each byte of the fingerprint: buckets by the low nibble, then by the high one.
    masks: [[[u8; 16]; 2]; 3],
}

impl Teddy {
    fn new(texts: &[String]) -> Self {
        let shortest = texts.iter().map(String::len).min().unwrap_or(1);
        let mut teddy = Self {
            buckets: std::array::from_fn(|_| Vec::new()),
            len: shortest.clamp(1, 3),
            masks: [[[0; 16]; 2]; 3],
        };
        for (index, text) in texts.iter().enumerate() {
            teddy.add(index, text.as_bytes());
        }
        // Fingerprints shorter than three bytes end in bytes of any value.
        for masks in teddy.masks.iter_mut().skip(teddy.len) {
            *masks = [[0xff; 16]; 2];
        }
        teddy
    }

    fn add(&mut self, index: usize, text: &[u8]) {
        let rarest = Pair::new(text).map_or(0, |pair| usize::from(pair.index1()));
        let at = rarest.saturating_sub(1).min(text.len().saturating_sub(self.len));
        let fingerprint = text.get(at..at + self.len).unwrap_or(&[]);
        let same = self.buckets.iter().position(|bucket| {
            bucket
                .iter()
                .any(|entry| entry.text.get(entry.at..entry.at + self.len) == Some(fingerprint))
        });
        let emptiest = (0..8).min_by_key(|bucket| self.buckets[*bucket].len());
        let bucket = same.or(emptiest).unwrap_or(0);
        for (masks, byte) in self.masks.iter_mut().zip(fingerprint) {
            masks[0][usize::from(byte & 15)] |= 1 << bucket;
            masks[1][usize::from(byte >> 4)] |= 1 << bucket;
        }
        self.buckets[bucket].push(Entry { index, text: text.into(), at });
    }

    #[inline]
    fn find(&self, body: &[u8], found: &mut LiteralSet) {
        let tables = self.masks.each_ref().map(|masks| masks.each_ref().map(Lanes::load));
        let mut at = 0;
        while let Some(window) = body.get(at..).and_then(|rest| rest.first_chunk()) {
            self.look(&tables, window, body, at, found);
            at += STEP;
        }
        match body.last_chunk() {
            // Positions looked at twice cost less than a copy.
            Some(window) if self.len == 3 => {
                self.look(&tables, window, body, body.len() - WINDOW, found);
            }
            _ => self.find_padded(&tables, body, at, found),
        }
    }

    /// Looks at the positions from `at` on, with zeros behind the body, which no comparison takes
    /// for a part of it.
    fn find_padded(
        &self,
        tables: &[[Lanes; 2]; 3],
        body: &[u8],
        mut at: usize,
        found: &mut LiteralSet,
    ) {
        while let Some(rest @ [_, ..]) = body.get(at..) {
            let mut window = [0; WINDOW];
            for (padded, byte) in window.iter_mut().zip(rest) {
                *padded = *byte;
            }
            self.look(tables, &window, body, at, found);
            at += STEP;
        }
    }

    /// Looks at the positions of one step.
    #[inline]
    fn look(
        &self,
        tables: &[[Lanes; 2]; 3],
        window: &[u8; WINDOW],
        body: &[u8],
        at: usize,
        found: &mut LiteralSet,
    ) {
        let [first, second, third] = *tables;
        let buckets = |at: usize| {
            let load = |at: usize| lanes(window, at).unwrap_or_else(|| Lanes::load(&[0; LANES]));
            load(at)
                .nibbles(first)
                .and(load(at + 1).nibbles(second))
                .and(load(at + 2).nibbles(third))
        };
        let (low, high) = (buckets(0), buckets(LANES));
        if low.or(high).any() {
            self.compare(&low.store(), body, at, found);
            self.compare(&high.store(), body, at + LANES, found);
        }
    }

    /// Compares the texts that may be there, `lanes` having a bit for each bucket by position.
    #[cold]
    fn compare(&self, lanes: &[u8; LANES], body: &[u8], at: usize, found: &mut LiteralSet) {
        let mut rest = u128::from_le_bytes(*lanes);
        while rest != 0 {
            let bit = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            let (lane, bucket) = (bit / 8, bit % 8);
            for entry in self.buckets.get(bucket).into_iter().flatten() {
                let start = (at + lane).checked_sub(entry.at);
                let text = start.and_then(|start| body.get(start..start + entry.text.len()));
                if text == Some(&entry.text) {
                    found.insert(entry.index);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
