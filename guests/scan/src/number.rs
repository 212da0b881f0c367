//! Numbers in text.

/// A number as it was written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// Whole, within 64 bits.
    Integer(i64),
    /// With a fraction or an exponent, or beyond 64 bits.
    Float(f64),
}

impl Number {
    /// Reads a number in the grammar of JSON (RFC 8259 section 6): `-`, digits without leading
    /// zeros, a fraction, an exponent. `None` for anything else, and for what overflows a float.
    #[must_use]
    #[inline]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (number, len) = Self::leading(text)?;
        (len == text.len()).then_some(number)
    }

    /// Reads the number at the start of a text, and tells its length in bytes.
    #[must_use]
    #[inline]
    pub fn leading(text: &[u8]) -> Option<(Self, usize)> {
        let is_negative = text.first() == Some(&b'-');
        let start = usize::from(is_negative);
        let (whole, end) = digits(text, start, 0);
        if end == start || (end > start + 1 && text[start] == b'0') {
            return None;
        }
        let next = text.get(end).copied();
        if end - start <= DIGITS_EXACT && !matches!(next, Some(b'.' | b'e' | b'E')) {
            let value = if is_negative { -whole.cast_signed() } else { whole.cast_signed() };
            return Some((Self::Integer(value), end));
        }
        if next == Some(b'.') {
            let (all, behind) = digits(text, end + 1, whole);
            let places = behind - end - 1;
            let is_plain = !matches!(text.get(behind), Some(b'e' | b'E'));
            // Both the digits and the power of ten are exact as floats, so their quotient is the
            // nearest float.
            if is_plain && places > 0 && behind - start - 1 <= 15 {
                let value = exact(all) / POWERS[places];
                return Some((Self::Float(if is_negative { -value } else { value }), behind));
            }
        }
        Self::leading_long(text)
    }

    #[cold]
    fn leading_long(text: &[u8]) -> Option<(Self, usize)> {
        let len = length(text)?;
        let number = str::from_utf8(text.get(..len)?).ok()?;
        if let Ok(value) = number.parse() {
            return Some((Self::Integer(value), len));
        }
        let value = number.parse().ok().filter(|value: &f64| value.is_finite())?;
        Some((Self::Float(value), len))
    }

    /// The number as a float; whole numbers beyond 2^53 lose their last digits.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "documented")]
    pub fn as_f64(self) -> f64 {
        match self {
            Self::Integer(value) => value as f64,
            Self::Float(value) => value,
        }
    }
}

/// Digits that surely fit 64 bits.
const DIGITS_EXACT: usize = 18;
/// Powers of ten that are exact as floats, as far as they are used.
const POWERS: [f64; 16] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// Appends the digits from `at` on to `value`, which wraps, and tells where they end.
#[inline]
fn digits(text: &[u8], mut at: usize, mut value: u64) -> (u64, usize) {
    while let Some(byte @ b'0'..=b'9') = text.get(at) {
        value = value.wrapping_mul(10).wrapping_add(u64::from(byte & 15));
        at += 1;
    }
    (value, at)
}

#[expect(clippy::cast_precision_loss, reason = "of at most 15 digits, which floats hold")]
fn exact(digits: u64) -> f64 {
    digits as f64
}

/// The length of the number at the start of a text.
fn length(text: &[u8]) -> Option<usize> {
    let start = usize::from(text.first() == Some(&b'-'));
    let mut end = digits(text, start, 0).1;
    if end == start || (end > start + 1 && text[start] == b'0') {
        return None;
    }
    if text.get(end) == Some(&b'.') {
        let behind = digits(text, end + 1, 0).1;
        if behind == end + 1 {
            return None;
        }
        end = behind;
    }
    if let Some(b'e' | b'E') = text.get(end) {
        let sign = usize::from(matches!(text.get(end + 1), Some(b'+' | b'-')));
        let first = end + 1 + sign;
        let behind = digits(text, first, 0).1;
        if behind == first {
            return None;
        }
        end = behind;
    }
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::Number::{self, Float, Integer};
    use proptest::prelude::*;

    #[test]
    fn the_grammar_is_that_of_json() {
        for (text, expected) in [
            ("0", Some(Integer(0))),
            ("-0", Some(Integer(0))),
            ("-12", Some(Integer(-12))),
            ("9223372036854775807", Some(Integer(i64::MAX))),
            ("-9223372036854775808", Some(Integer(i64::MIN))),
            ("9223372036854775808", Some(Float(9_223_372_036_854_775_808.0))),
            ("1.5", Some(Float(1.5))),
            ("-1e3", Some(Float(-1000.0))),
            ("1E+2", Some(Float(100.0))),
            ("1e999", None),
            ("", None),
            ("-", None),
            ("01", None),
            ("00000000000000000000001", None),
            ("1.", None),
            (".5", None),
            ("1e", None),
            ("+1", None),
            ("1x", None),
            ("inf", None),
            ("NaN", None),
        ] {
            assert_eq!(Number::parse(text.as_bytes()), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_integer_survives(value: i64) {
            prop_assert_eq!(Number::parse(value.to_string().as_bytes()), Some(Integer(value)));
        }

        #[test]
        fn every_decimal_is_the_nearest_float(whole in -999_999_999i64..1_000_000_000, fraction in 0u32..1_000_000) {
            let text = format!("{whole}.{fraction}");
            let nearest: f64 = text.parse().unwrap();
            prop_assert_eq!(Number::parse(text.as_bytes()), Some(Float(nearest)));
        }

        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            let is_number = Number::parse(&bytes).is_some();
            prop_assert!(!is_number || bytes.iter().any(u8::is_ascii_digit));
        }
    }
}
