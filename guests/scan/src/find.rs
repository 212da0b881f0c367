//! Where one of few bytes stands next.

use crate::lanes::{IS_REGISTER, LANES, Lanes};

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// The first position at or after `at` where one of `wanted` stands; the end of `bytes` if there
/// is none.
#[must_use]
#[inline(always)]
pub fn find<const N: usize>(bytes: &[u8], at: usize, wanted: [u8; N]) -> usize {
    search::<N, false>(bytes, at, wanted)
}

/// The same, also stopping at bytes below 0x20.
#[must_use]
#[inline(always)]
pub(crate) fn find_or_control<const N: usize>(bytes: &[u8], at: usize, wanted: [u8; N]) -> usize {
    search::<N, true>(bytes, at, wanted)
}

#[inline(always)]
fn search<const N: usize, const CONTROL: bool>(
    bytes: &[u8],
    mut at: usize,
    wanted: [u8; N],
) -> usize {
    while IS_REGISTER
        && let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<LANES>())
    {
        let lanes = Lanes::load(chunk);
        let mut hits = lanes.below(if CONTROL { 0x20 } else { 0 });
        for byte in wanted {
            hits = hits.or(lanes.equal(byte));
        }
        if hits.any() {
            return at + hits.bits().trailing_zeros() as usize;
        }
        at += LANES;
    }
    search_rest::<N, CONTROL>(bytes, at, wanted)
}

/// Eight bytes at once in one word, then the last ones by themselves.
#[inline(never)]
fn search_rest<const N: usize, const CONTROL: bool>(
    bytes: &[u8],
    mut at: usize,
    wanted: [u8; N],
) -> usize {
    while let Some(word) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*word);
        // The lowest bit set is exact; those above it may be false.
        let mut hits = if CONTROL { word.wrapping_sub(ONES * 0x20) & !word } else { 0 };
        for byte in wanted {
            let difference = word ^ (ONES * u64::from(byte));
            hits |= difference.wrapping_sub(ONES) & !difference;
        }
        hits &= HIGHS;
        if hits != 0 {
            return at + hits.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let rest = bytes.get(at..).unwrap_or(&[]);
    let found = rest.iter().position(|byte| wanted.contains(byte) || (CONTROL && *byte < 0x20));
    found.map_or(bytes.len(), |found| at + found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn sixteen_bytes_find_what_single_bytes_find(
            bytes in prop::collection::vec(any::<u8>(), 0..70),
            at in 0usize..70,
        ) {
            let at = at.min(bytes.len());
            let slow = |control: bool| {
                let found = bytes[at..]
                    .iter()
                    .position(|b| [b'"', b'\\'].contains(b) || control && *b < 0x20);
                found.map_or(bytes.len(), |found| at + found)
            };
            prop_assert_eq!(find(&bytes, at, [b'"', b'\\']), slow(false));
            prop_assert_eq!(find_or_control(&bytes, at, [b'"', b'\\']), slow(true));
        }
    }

    #[test]
    fn a_start_behind_the_end_finds_nothing() {
        assert_eq!(find(b"abc", 7, [b'a']), 3);
    }
}
