//! Points in time, as Unix nanoseconds. Years 1677 to 2262 fit; others are refused.

use crate::Number;

const SECOND: i64 = 1_000_000_000;

/// Reads an RFC 3339 time such as `2026-11-21T05:44:01.123+01:00`. A blank may stand for the `T`;
/// digits of the fraction beyond nine are cut; second 60 counts as the next minute's first.
#[must_use]
#[inline]
pub fn rfc3339(text: &[u8]) -> Option<i64> {
    let [
        a,
        b,
        c,
        d,
        b'-',
        e,
        f,
        b'-',
        g,
        h,
        b'T' | b't' | b' ',
        i,
        j,
        b':',
        k,
        l,
        b':',
        m,
        n,
        rest @ ..,
    ] = text
    else {
        return None;
    };
    let year = two([*a, *b])? * 100 + two([*c, *d])?;
    let date = date(year, two([*e, *f])?, two([*g, *h])?)?;
    let clock = clock(two([*i, *j])?, two([*k, *l])?, two([*m, *n])?)?;
    let (nanos, zone) = fraction(rest)?;
    let offset = match zone {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), a, b, b':', c, d] => {
            let minutes = two([*a, *b])? * 60 + two([*c, *d])?;
            if *sign == b'-' { -minutes * 60 } else { minutes * 60 }
        }
        _ => return None,
    };
    nanoseconds(date * 86_400 + clock - offset, nanos)
}

/// Reads the time of access logs: `21/Nov/2026:05:44:01 +0100`.
#[must_use]
#[inline]
pub fn access_log(text: &[u8]) -> Option<i64> {
    let text = text.as_array::<26>()?;
    if [text[2], text[6], text[11], text[14], text[17], text[20]] != *b"//::: " {
        return None;
    }
    let month = match &text[3..6] {
        b"Jan" => 1,
        b"Feb" => 2,
        b"Mar" => 3,
        b"Apr" => 4,
        b"May" => 5,
        b"Jun" => 6,
        b"Jul" => 7,
        b"Aug" => 8,
        b"Sep" => 9,
        b"Oct" => 10,
        b"Nov" => 11,
        b"Dec" => 12,
        _ => return None,
    };
    let pair = |at: usize| two([text[at], text[at + 1]]);
    let date = date(pair(7)? * 100 + pair(9)?, month, pair(0)?)?;
    let clock = clock(pair(12)?, pair(15)?, pair(18)?)?;
    let minutes = pair(22)? * 60 + pair(24)?;
    let offset = match text[21] {
        b'+' => minutes * 60,
        b'-' => -minutes * 60,
        _ => return None,
    };
    nanoseconds(date * 86_400 + clock - offset, 0)
}

/// A number that counts since 1970: seconds, milli-, micro- or nanoseconds, told apart by size.
/// Each unit is understood from 1973 to beyond the year 5000. `None` below that.
#[must_use]
pub fn epoch(number: Number) -> Option<i64> {
    const SECONDS: std::ops::Range<i64> = 100_000_000..100_000_000_000;
    match number {
        Number::Integer(value) => {
            let scales = [1, 1_000, 1_000_000, SECOND];
            let scale = scales.into_iter().find(|scale| {
                (SECONDS.start * scale..SECONDS.end.saturating_mul(*scale)).contains(&value)
            })?;
            value.checked_mul(SECOND / scale)
        }
        Number::Float(value) => {
            let unit = match value {
                1e8..1e11 => 1e9,
                1e11..1e14 => 1e6,
                _ => return None,
            };
            // Seconds and their fraction apart, as a float has 15 digits only.
            let whole = value.trunc();
            let fraction = ((value - whole) * unit).round();
            let (whole, fraction) = (to_integer(whole * unit)?, to_integer(fraction)?);
            whole.checked_add(fraction)
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "within 64 bits, as just checked")]
fn to_integer(value: f64) -> Option<i64> {
    (value.abs() < 9.2e18).then_some(value as i64)
}

/// Seconds and nanoseconds together, where 64 bits hold them. A checked product would do the same
/// by a call: WebAssembly has no flag of overflow.
#[inline]
fn nanoseconds(seconds: i64, nanos: i64) -> Option<i64> {
    const SECONDS_MAX: i64 = i64::MAX / SECOND - 1;
    (-SECONDS_MAX..=SECONDS_MAX).contains(&seconds).then(|| seconds * SECOND + nanos)
}

/// Days since 1970 of a day of the Gregorian calendar.
/// Source: H. Hinnant, "chrono-compatible low-level date algorithms", `days_from_civil`.
fn date(year: i64, month: i64, day: i64) -> Option<i64> {
    const LENGTHS: [i64; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = *LENGTHS.get(usize::try_from(month - 1).ok()?)?;
    let length = if is_leap && month == 2 { 29 } else { length };
    if !(1..=length).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

fn clock(hour: i64, minute: i64, second: i64) -> Option<i64> {
    (hour < 24 && minute < 60 && second <= 60).then_some(hour * 3600 + minute * 60 + second)
}

/// Nanoseconds of a fraction, if there is one, and what is behind it.
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let [b'.' | b',', digits @ ..] = text else { return Some((0, text)) };
    let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if count == 0 {
        return None;
    }
    let (digits, rest) = digits.split_at(count);
    let value = digits.iter().take(9).fold(0, |sum, digit| sum * 10 + i64::from(digit & 15));
    Some((value * SCALES[count.min(9)], rest))
}

/// Nanoseconds of the last digit of a fraction, by the number of its digits.
const SCALES: [i64; 10] =
    [1_000_000_000, 100_000_000, 10_000_000, 1_000_000, 100_000, 10_000, 1_000, 100, 10, 1];

#[inline]
fn two(digits: [u8; 2]) -> Option<i64> {
    let [tens, ones] = digits.map(|digit| digit.wrapping_sub(b'0'));
    (tens < 10 && ones < 10).then(|| i64::from(tens) * 10 + i64::from(ones))
}

#[cfg(test)]
mod tests;
