//! Byte scans, eight at a time.
//!
//! Header fields and parameter values are a few bytes to a few dozen long: too short for a call
//! into a SIMD search, long enough that going byte by byte shows.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;
const QUOTES: u64 = u64::from_ne_bytes([b'"'; 8]);
const BACKSLASHES: u64 = u64::from_ne_bytes([b'\\'; 8]);
const EQUALS: u64 = u64::from_ne_bytes([b'='; 8]);
const BRACKETS: u64 = u64::from_ne_bytes([b']'; 8]);

/// Eight bytes from `at`, the first one lowest.
#[inline]
fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The high bit of each zero byte; bits above the lowest one may be wrong.
#[inline]
const fn zeros(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGHS
}

/// The place of the lowest hit.
#[inline]
const fn first(hits: u64) -> usize {
    (hits.trailing_zeros() / 8) as usize
}

/// The first position at or after `at` whose byte is not PRINTUSASCII (33 to 126), or the end.
#[inline]
pub(crate) fn graph_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(word) = word(bytes, at) {
        let low = word.wrapping_sub(ONES * 0x21) & !word;
        let high = word.wrapping_add(ONES) | word;
        let hits = (low | high) & HIGHS;
        if hits != 0 {
            return at + first(hits);
        }
        at += 8;
    }
    while bytes.get(at).is_some_and(u8::is_ascii_graphic) {
        at += 1;
    }
    at
}

/// The first `"`, `\` or `]` at or after `at`.
#[inline]
pub(crate) fn value_stop(bytes: &[u8], mut at: usize) -> Option<usize> {
    while let Some(word) = word(bytes, at) {
        let hits = zeros(word ^ QUOTES) | zeros(word ^ BACKSLASHES) | zeros(word ^ BRACKETS);
        if hits != 0 {
            return Some(at + first(hits));
        }
        at += 8;
    }
    while let Some(byte) = bytes.get(at) {
        if matches!(byte, b'"' | b'\\' | b']') {
            return Some(at);
        }
        at += 1;
    }
    None
}

/// The first byte that JSON wants escaped: `"`, `\`, or a control character.
#[inline]
pub(crate) fn json_special(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(word) = word(bytes, at) {
        let low = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        let hits = low | zeros(word ^ QUOTES) | zeros(word ^ BACKSLASHES);
        if hits != 0 {
            return Some(at + first(hits));
        }
        at += 8;
    }
    let is_special = |byte: &u8| *byte < 0x20 || matches!(byte, b'"' | b'\\');
    bytes.get(at..)?.iter().position(is_special).map(|found| at + found)
}

/// The end of an SD-NAME that starts at `at`: PRINTUSASCII except `=`, `]`, `"`.
#[inline]
pub(crate) fn name_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(word) = word(bytes, at) {
        let low = word.wrapping_sub(ONES * 0x21) & !word;
        let high = word.wrapping_add(ONES) | word;
        let marks = zeros(word ^ EQUALS) | zeros(word ^ QUOTES) | zeros(word ^ BRACKETS);
        let hits = (low | high | marks) & HIGHS;
        if hits != 0 {
            return at + first(hits);
        }
        at += 8;
    }
    while bytes.get(at).is_some_and(|byte| is_name_byte(*byte)) {
        at += 1;
    }
    at
}

/// Whether a byte may stand in an SD-NAME.
#[inline]
pub(crate) const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'=' | b']' | b'"')
}

/// Whether a byte ends something in a header or in structured data: everything that is not
/// PRINTUSASCII, and `"`, `\`, `]`, `=`.
#[inline]
const fn is_stop(byte: u8) -> bool {
    // No short cuts: vectors have none. The last bit is all that `\` and `]` differ in.
    (byte.wrapping_sub(b'!') > b'~' - b'!') | (byte == b'"') | (byte | 1 == b']') | (byte == b'=')
}

/// The places of all [stops](is_stop), in order.
///
/// They are found 64 bytes at a time, all at once, so that stepping from one to the next waits for
/// nothing but the bits of a mask; scans that start where the last one ended wait for each other.
#[derive(Debug)]
pub(crate) struct Stops<'a> {
    bytes: &'a [u8],
    block: usize,
    mask: u64,
}

impl<'a> Stops<'a> {
    /// From `start` on.
    #[inline]
    pub(crate) fn new(bytes: &'a [u8], start: usize) -> Self {
        Self { bytes, block: start, mask: mask_at(bytes, start) }
    }

    /// The place of the next one.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> Option<usize> {
        while self.mask == 0 {
            self.block += 64;
            if self.block >= self.bytes.len() {
                return None;
            }
            self.mask = mask_at(self.bytes, self.block);
        }
        let at = self.block + self.mask.trailing_zeros() as usize;
        self.mask &= self.mask - 1;
        Some(at)
    }
}

/// A bit for each stop of the 64 bytes from `at`, the first one lowest; none beyond the end.
#[inline(never)]
fn mask_at(bytes: &[u8], at: usize) -> u64 {
    let Some(tail) = bytes.get(at..).filter(|tail| !tail.is_empty()) else { return 0 };
    if let Some(block) = tail.first_chunk() {
        return stop_mask(block);
    }
    let missing = 64 - tail.len();
    if let Some(block) = bytes.last_chunk() {
        return stop_mask(block) >> missing;
    }
    let mut block = [0; 64];
    block[..tail.len()].copy_from_slice(tail);
    stop_mask(&block) << missing >> missing
}

fn stop_mask(block: &[u8; 64]) -> u64 {
    // Two loops that compilers turn into vector compares and a gathering of the sign bits.
    let mut marks = [0u8; 64];
    for (mark, byte) in marks.iter_mut().zip(block) {
        *mark = u8::from(is_stop(*byte));
    }
    let mut mask = 0;
    for (place, word) in marks.as_chunks::<8>().0.iter().enumerate() {
        // Eight bytes of 0 or 1: the product brings bit 0 of byte n to bit 56 + n.
        let bits = u64::from_le_bytes(*word).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        mask |= bits << (8 * place);
    }
    mask
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn scans_agree_with_going_byte_by_byte(
            bytes in proptest::collection::vec(prop_oneof![any::<u8>(), 30u8..36, 30u8..36, 58u8..64, 90u8..96, 124u8..130], 0..200),
            at in 0usize..210,
        ) {
            let tail = bytes.get(at..).unwrap_or(&[]);
            let graph = tail.iter().take_while(|b| b.is_ascii_graphic()).count();
            prop_assert_eq!(graph_end(&bytes, at), at + graph);
            let name = tail.iter().take_while(|b| is_name_byte(**b)).count();
            prop_assert_eq!(name_end(&bytes, at), at + name);
            let mut stops = Stops::new(&bytes, at);
            let found: Vec<usize> = std::iter::from_fn(|| stops.next()).collect();
            let known: Vec<usize> =
                (at..bytes.len()).filter(|place| is_stop(bytes[*place])).collect();
            prop_assert_eq!(found, known);
            let special = tail.iter().position(|b| *b < 0x20 || matches!(b, b'"' | b'\\'));
            prop_assert_eq!(json_special(tail), special);
            let stop = tail.iter().position(|b| matches!(b, b'"' | b'\\' | b']'));
            prop_assert_eq!(value_stop(&bytes, at), stop.map(|n| n + at));
        }
    }
}
