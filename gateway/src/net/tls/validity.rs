//! From when to when a certificate is valid.
//!
//! *Source*: RFC 5280 §4.1. Only the way to this one field is read; whether the rest is in order,
//! the verifier says.

use std::time::{Duration, SystemTime};

pub(super) const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// The version, which is left out in version 1.
pub(super) const EXPLICIT_0: u8 = 0xa0;

/// The first and the last moment; none if this is no certificate.
pub(in crate::net) fn validity(certificate: &[u8]) -> Option<(SystemTime, SystemTime)> {
    let (certificate, _) = expect(certificate, SEQUENCE)?;
    let (mut body, _) = expect(certificate, SEQUENCE)?;
    if let Some((_, rest)) = expect(body, EXPLICIT_0) {
        body = rest;
    }
    // Serial number, signature algorithm, issuer.
    for _ in 0..3 {
        body = first(body)?.rest;
    }
    let (validity, _) = expect(body, SEQUENCE)?;
    let (from, rest) = time(validity)?;
    let (until, _) = time(rest)?;
    Some((from, until))
}

/// One element of DER.
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    pub(super) content: &'a [u8],
    /// What follows it.
    pub(super) rest: &'a [u8],
}

/// The content of the first element, which has this tag, and what follows it.
pub(super) fn expect(bytes: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    let Element { tag, content, rest } = first(bytes)?;
    (tag == wanted).then_some((content, rest))
}

/// The first element.
pub(super) fn first(bytes: &[u8]) -> Option<Element<'_>> {
    let (&[tag, length], rest) = bytes.split_first_chunk()?;
    if length < 0x80 {
        let (content, rest) = rest.split_at_checked(usize::from(length))?;
        return Some(Element { tag, content, rest });
    }
    // A longer length: its own length, of at most four bytes, then it.
    let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
    if digits.is_empty() || digits.len() > 4 {
        return None;
    }
    let length = digits.iter().fold(0u64, |length, digit| (length << 8) | u64::from(*digit));
    let (content, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    Some(Element { tag, content, rest })
}

/// The time that is the first element, and what follows it.
fn time(bytes: &[u8]) -> Option<(SystemTime, &[u8])> {
    let Element { tag, content, rest } = first(bytes)?;
    let digits = content.strip_suffix(b"Z")?;
    let (century, digits) = match (tag, digits.len()) {
        (UTC_TIME, 12) => (None, digits),
        (GENERALIZED_TIME, 14) => {
            let (century, digits) = digits.split_at_checked(2)?;
            (Some(number(century)?), digits)
        }
        _ => return None,
    };
    let mut pairs = digits.chunks_exact(2).map(number);
    let mut next = || pairs.next().flatten();
    let (year, month, day) = (next()?, next()?, next()?);
    let (hour, minute, second) = (next()?, next()?, next()?);
    // Two digits of a year are those of 1950 to 2049.
    let year = year + 100 * century.unwrap_or(if year < 50 { 20 } else { 19 });
    let is_time = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second < 61;
    if !is_time {
        return None;
    }
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    let apart = Duration::from_secs(seconds.unsigned_abs());
    let time = if seconds < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(apart)?
    } else {
        SystemTime::UNIX_EPOCH.checked_add(apart)?
    };
    Some((time, rest))
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0i64, |number, digit| {
        digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0'))
    })
}

/// In the Gregorian calendar. Years are counted from March, so that a leap day is the last of its
/// year.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month < 3 { year - 1 } else { year };
    let months_since_march = (month + 9) % 12;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // 0000-03-01 is day 0 of this count; 1970-01-01 is day 719,468.
    365 * year + leap_days + (153 * months_since_march + 2) / 5 + day - 1 - 719_468
}
