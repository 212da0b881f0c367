//! Sixteen bytes at once: a SIMD register in WebAssembly, an array elsewhere.
//!
//! The library calls of memchr do the same for long texts; here the loop stands where it is used,
//! and a text of twenty bytes costs no call.

pub use imp::Lanes;

/// Whether [`Lanes`] are a register, so that they are the fastest way for short texts too.
pub(crate) const IS_REGISTER: bool = cfg!(all(target_arch = "wasm32", target_feature = "simd128"));

/// How many bytes there are in [`Lanes`].
pub const LANES: usize = 16;

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod imp {
    use std::arch::wasm32::{
        u8x16_bitmask, u8x16_eq, u8x16_lt, u8x16_shr, u8x16_splat, u8x16_swizzle, v128, v128_and,
        v128_any_true, v128_load, v128_or, v128_store,
    };

    use super::LANES;

    /// Sixteen bytes.
    #[derive(Clone, Copy, Debug)]
    pub struct Lanes(v128);

    impl Lanes {
        /// The bytes at a place in memory.
        #[must_use]
        #[inline]
        #[expect(unsafe_code, reason = "the only way to load a vector from memory")]
        pub fn load(bytes: &[u8; LANES]) -> Self {
            // SAFETY: a reference to 16 bytes is valid for a read of 16; alignment is not needed.
            Self(unsafe { v128_load(bytes.as_ptr().cast()) })
        }

        /// The bytes in memory.
        #[must_use]
        #[inline]
        #[expect(unsafe_code, reason = "the only way to store a vector to memory")]
        pub fn store(self) -> [u8; LANES] {
            let mut bytes = [0; LANES];
            // SAFETY: a reference to 16 bytes is valid for a write of 16; alignment is not needed.
            unsafe { v128_store(bytes.as_mut_ptr().cast(), self.0) };
            bytes
        }

        /// All bits set where the byte is this one, none elsewhere.
        #[must_use]
        #[inline]
        pub fn equal(self, byte: u8) -> Self {
            Self(u8x16_eq(self.0, u8x16_splat(byte)))
        }

        /// All bits set where the byte is smaller, none elsewhere.
        #[must_use]
        #[inline]
        pub fn below(self, byte: u8) -> Self {
            Self(u8x16_lt(self.0, u8x16_splat(byte)))
        }

        /// Bits that both have.
        #[must_use]
        #[inline]
        pub fn and(self, other: Self) -> Self {
            Self(v128_and(self.0, other.0))
        }

        /// Bits that one has.
        #[must_use]
        #[inline]
        pub fn or(self, other: Self) -> Self {
            Self(v128_or(self.0, other.0))
        }

        /// For each byte what the tables have at its lower and at its upper four bits, bits that
        /// both have.
        #[must_use]
        #[inline]
        pub fn nibbles(self, [low, high]: [Self; 2]) -> Self {
            let lower = v128_and(self.0, u8x16_splat(15));
            let upper = u8x16_shr(self.0, 4);
            Self(v128_and(u8x16_swizzle(low.0, lower), u8x16_swizzle(high.0, upper)))
        }

        /// Whether a bit is set anywhere.
        #[must_use]
        #[inline]
        pub fn any(self) -> bool {
            v128_any_true(self.0)
        }

        /// The highest bit of each byte, the first byte's lowest.
        #[must_use]
        #[inline]
        pub fn bits(self) -> u32 {
            u32::from(u8x16_bitmask(self.0))
        }
    }
}

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
mod imp {
    use super::LANES;

    /// Sixteen bytes.
    #[derive(Clone, Copy, Debug)]
    pub struct Lanes([u8; LANES]);

    impl Lanes {
        /// The bytes at a place in memory.
        #[must_use]
        #[inline]
        pub fn load(bytes: &[u8; LANES]) -> Self {
            Self(*bytes)
        }

        /// The bytes in memory.
        #[must_use]
        #[inline]
        pub fn store(self) -> [u8; LANES] {
            self.0
        }

        /// All bits set where the byte is this one, none elsewhere.
        #[must_use]
        #[inline]
        pub fn equal(self, byte: u8) -> Self {
            Self(self.0.map(|lane| if lane == byte { 0xff } else { 0 }))
        }

        /// All bits set where the byte is smaller, none elsewhere.
        #[must_use]
        #[inline]
        pub fn below(self, byte: u8) -> Self {
            Self(self.0.map(|lane| if lane < byte { 0xff } else { 0 }))
        }

        /// Bits that both have.
        #[must_use]
        #[inline]
        pub fn and(self, other: Self) -> Self {
            Self(std::array::from_fn(|lane| self.0[lane] & other.0[lane]))
        }

        /// Bits that one has.
        #[must_use]
        #[inline]
        pub fn or(self, other: Self) -> Self {
            Self(std::array::from_fn(|lane| self.0[lane] | other.0[lane]))
        }

        /// For each byte what the tables have at its lower and at its upper four bits, bits that
        /// both have.
        #[must_use]
        #[inline]
        pub fn nibbles(self, [low, high]: [Self; 2]) -> Self {
            Self(self.0.map(|byte| low.0[usize::from(byte & 15)] & high.0[usize::from(byte >> 4)]))
        }

        /// Whether a bit is set anywhere.
        #[must_use]
        #[inline]
        pub fn any(self) -> bool {
            u128::from_ne_bytes(self.0) != 0
        }

        /// The highest bit of each byte, the first byte's lowest.
        #[must_use]
        #[inline]
        pub fn bits(self) -> u32 {
            self.0.iter().rev().fold(0, |bits, lane| bits << 1 | u32::from(lane >> 7))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LANES, Lanes};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn lanes_are_sixteen_single_bytes(a: [u8; LANES], b: [u8; LANES], byte: u8) {
            let (x, y) = (Lanes::load(&a), Lanes::load(&b));
            let all = |is: bool| if is { 0xff } else { 0 };
            prop_assert_eq!(x.store(), a);
            prop_assert_eq!(x.equal(byte).store(), a.map(|lane| all(lane == byte)));
            prop_assert_eq!(x.below(byte).store(), a.map(|lane| all(lane < byte)));
            prop_assert_eq!(x.and(y).store(), std::array::from_fn(|i| a[i] & b[i]));
            prop_assert_eq!(x.or(y).store(), std::array::from_fn(|i| a[i] | b[i]));
            let nibbles = b.map(|lane| a[usize::from(lane & 15)] & b[usize::from(lane >> 4)]);
            prop_assert_eq!(y.nibbles([x, y]).store(), nibbles);
            prop_assert_eq!(x.and(x.equal(byte)).any(), byte != 0 && a.contains(&byte));
            let bits = (0..LANES).filter(|i| a[*i] >= 0x80).map(|i| 1 << i).sum::<u32>();
            prop_assert_eq!(x.bits(), bits);
        }
    }
}
