//! Copying past the caches.
//!
//! What goes to the disk with `O_DIRECT` is not read again here: a copy of it in the caches would only drive
//! out what is (ADR 0010).

/// Bytes of a line of the cache: whole ones go past it.
const LINE: usize = 64;

/// Appends bytes that are most likely not read again.
pub(crate) fn extend(buffer: &mut Vec<u8>, bytes: &[u8]) {
    buffer.reserve(bytes.len());
    let edge = buffer.spare_capacity_mut().as_ptr().align_offset(LINE);
    let (edge, bytes) = bytes.split_at_checked(edge).unwrap_or((bytes, &[]));
    let (lines, rest) = bytes.as_chunks();
    buffer.extend_from_slice(edge);
    extend_lines(buffer, lines);
    buffer.extend_from_slice(rest);
}

/// Appends lines, past the caches if there is room for them where a line begins.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[expect(unsafe_code, reason = "there is no safe store past the caches")]
fn extend_lines(buffer: &mut Vec<u8>, lines: &[[u8; LINE]]) {
    use std::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_sfence, _mm_stream_si128};

    let room = buffer.spare_capacity_mut().as_chunks_mut::<LINE>().0;
    if room.len() < lines.len() || !room.as_ptr().cast::<__m128i>().is_aligned() {
        return buffer.extend_from_slice(lines.as_flattened());
    }
    for (to, from) in room.iter_mut().zip(lines) {
        let (to, from) = (to.as_mut_ptr().cast::<__m128i>(), from.as_ptr().cast::<__m128i>());
        for i in 0..LINE / size_of::<__m128i>() {
            // SAFETY: both are within their line; the first line is aligned, and so are those behind it.
            unsafe { _mm_stream_si128(to.add(i), _mm_loadu_si128(from.add(i))) };
        }
    }
    // SAFETY: the lines were all written above, within the capacity. The fence puts that before whatever
    // tells another thread of them.
    unsafe {
        _mm_sfence();
        buffer.set_len(buffer.len() + lines.len() * LINE);
    }
}

/// Appends lines.
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
fn extend_lines(buffer: &mut Vec<u8>, lines: &[[u8; LINE]]) {
    buffer.extend_from_slice(lines.as_flattened());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn appends_what_it_is_given(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..6),
            from in 0_usize..70,
        ) {
            let mut buffer = Vec::with_capacity(100);
            let mut expected = Vec::new();
            for part in &parts {
                let part = part.get(from..).unwrap_or(part);
                extend(&mut buffer, part);
                expected.extend_from_slice(part);
                prop_assert_eq!(&buffer, &expected);
            }
        }
    }
}
