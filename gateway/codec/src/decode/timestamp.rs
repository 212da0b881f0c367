//! Timestamps: RFC 3339 as RFC 5424 narrows it, and the `Mmm dd hh:mm:ss` of RFC 3164.

use logboom_record::UnixNanos;

use crate::civil::{Civil, NANOS_PER_SECOND};

const DAY_SECONDS: i64 = 86_400;
/// 365.2425 days.
const MEAN_YEAR_SECONDS: i64 = 31_556_952;
/// A time without a year is moved by a year when it is further than this from the receive time.
const HALF_YEAR_SECONDS: i64 = 183 * DAY_SECONDS;

/// What a timestamp turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// A time, Unix nanoseconds.
    At(i64),
    /// A valid date that 64 bits of nanoseconds cannot hold.
    Beyond,
    /// Written like a time, but there is no such one.
    Invalid,
}

/// A timestamp that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) moment: Moment,
    /// Where it ends.
    pub(super) end: usize,
    /// It has a zone.
    pub(super) is_zoned: bool,
    /// It is one that RFC 5424 lets a sender write.
    pub(super) is_exact: bool,
    /// It breaks RFC 5424 here, but can be read.
    pub(super) broken_at: Option<usize>,
}

/// Reads digits of fixed places; a byte that is none makes the sum of wrongs greater than 9.
struct Digits {
    wrong: u8,
}

impl Digits {
    #[inline]
    fn two(&mut self, high: u8, low: u8) -> u32 {
        let (high, low) = (high.wrapping_sub(b'0'), low.wrapping_sub(b'0'));
        self.wrong |= u8::from(high > 9) | u8::from(low > 9);
        u32::from(high) * 10 + u32::from(low)
    }
}

/// Reads two digits at every byte of `word` at once, each pair into the byte of its first digit.
/// `text` is the pattern that the word must have: `0` for any digit, `*` for any byte, `T` for `t`
/// too. `None` if it differs.
#[inline(always)]
fn pairs(word: &[u8; 8], text: &[u8; 8]) -> Option<u64> {
    let mut sixes = 0;
    let (mut checked, mut kept) = (0, 0);
    // The masks are constants once this is inlined.
    for (place, byte) in text.iter().enumerate() {
        let (six, check, keep) = match byte {
            b'0' => (6, 0xf0, 0x0f),
            b'T' => (0, 0xdf, 0),
            b'*' => (0, 0, 0),
            _ => (0, 0xff, 0),
        };
        sixes |= six << (8 * place);
        checked |= check << (8 * place);
        kept |= keep << (8 * place);
    }
    let digits: u64 = u64::from_le_bytes(*word) ^ u64::from_le_bytes(*text);
    let wrong = (digits | digits.wrapping_add(sixes)) & checked;
    let digits = digits & kept;
    (wrong == 0).then(|| digits.wrapping_mul(10).wrapping_add(digits >> 8))
}

#[inline(always)]
const fn pair(pairs: u64, place: u32) -> u32 {
    (pairs >> (8 * place) & 0xff) as u32
}

/// Reads `YYYY-MM-DDThh:mm:ss[.fraction][zone]` at `at`; `None` if it is not written like that.
#[inline(always)]
pub(super) fn rfc3339(bytes: &[u8], at: usize, zone_offset: i32) -> Option<Stamp> {
    let text: &[u8; 19] = bytes.get(at..)?.first_chunk()?;
    let date = pairs(text.first_chunk()?, b"0000-00-")?;
    let hour = pairs(text[8..].first_chunk()?, b"00T00:00")?;
    let clock = pairs(text.last_chunk()?, b"00:00:00")?;
    let year = pair(date, 0) * 100 + pair(date, 2);
    let (month, day, hour) = (pair(date, 5), pair(hour, 0), pair(hour, 3));
    let (minute, second) = (pair(clock, 3), pair(clock, 6));
    let mut broken_at = (text[10] == b't').then_some(at + 10);
    let (nanos, end) = fraction(bytes, at + 19);
    if end > at + 19 + 7 {
        broken_at = broken_at.or(Some(at + 19 + 7));
    }
    let mut is_valid = hour < 24 && minute < 60 && second <= 60;
    let zone = match bytes.get(end) {
        Some(b'Z') => Some((0, end + 1)),
        Some(b'+' | b'-') => {
            let (east, is_zone) = numeric_zone(bytes, end)?;
            is_valid &= is_zone;
            Some((east, end + 6))
        }
        Some(b'z') => {
            broken_at = broken_at.or(Some(end));
            Some((0, end + 1))
        }
        _ => {
            broken_at = broken_at.or(Some(end));
            None
        }
    };
    let (offset, end) = zone.unwrap_or((zone_offset, end));
    let is_leap = second == 60;
    let clock = hour * 3600 + minute * 60 + second - u32::from(is_leap);
    let civil = Civil { year: year.cast_signed(), month, day, second: clock, nanos };
    is_valid &= civil.is_valid();
    let moment = if is_valid { moment(&civil, offset, is_leap) } else { Moment::Invalid };
    let is_exact = !is_leap && broken_at.is_none();
    Some(Stamp { moment, end, is_zoned: zone.is_some(), is_exact, broken_at })
}

/// Reads `+hh:mm` at `at`: seconds east of UTC, and whether there is such a zone.
#[inline]
fn numeric_zone(bytes: &[u8], at: usize) -> Option<(i32, bool)> {
    let text: &[u8; 6] = bytes.get(at..)?.first_chunk()?;
    let mut word = [b' '; 8];
    word[..6].copy_from_slice(text);
    let zone = pairs(&word, b"*00:00**")?;
    let (hours, minutes) = (pair(zone, 1), pair(zone, 4));
    let east = (hours * 3600 + minutes * 60).cast_signed();
    Some((if text[0] == b'+' { east } else { -east }, hours < 24 && minutes < 60))
}

/// The time of a valid date. A leap second must be the last one of a UTC day.
#[inline]
fn moment(civil: &Civil, offset: i32, is_leap: bool) -> Moment {
    if is_leap {
        let second = civil.unix_seconds(offset);
        let last = Civil { nanos: 999_999_999, ..*civil };
        return match last.unix_nanos(offset) {
            _ if second.rem_euclid(DAY_SECONDS) != DAY_SECONDS - 1 => Moment::Invalid,
            Some(nanos) => Moment::At(nanos),
            None => Moment::Beyond,
        };
    }
    civil.unix_nanos(offset).map_or(Moment::Beyond, Moment::At)
}

/// Reads `.digits` at `at`: the nanoseconds, of nine digits at most, and where it ends.
#[inline]
fn fraction(bytes: &[u8], at: usize) -> (u32, usize) {
    if bytes.get(at) != Some(&b'.') {
        return (0, at);
    }
    if let Some(short) = short_fraction(bytes, at + 1) {
        return short;
    }
    let (mut nanos, mut end) = (0u32, at + 1);
    while let Some(byte) = bytes.get(end).filter(|byte| byte.is_ascii_digit()) {
        if end - at <= 9 {
            nanos = nanos * 10 + u32::from(byte - b'0');
        }
        end += 1;
    }
    match end - at - 1 {
        0 => (0, at),
        count @ 1..=8 => (nanos * POWERS[9 - count], end),
        _ => (nanos, end),
    }
}

/// The same for one to seven digits at `at`, all at once; `None` if there are more or fewer, or the
/// frame ends too soon to tell.
#[inline]
fn short_fraction(bytes: &[u8], at: usize) -> Option<(u32, usize)> {
    let word = u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?) ^ 0x3030_3030_3030_3030;
    let others = (word | word.wrapping_add(0x0606_0606_0606_0606)) & 0xf0f0_f0f0_f0f0_f0f0;
    let count = others.trailing_zeros() as usize / 8;
    if !(1..8).contains(&count) {
        return None;
    }
    // The digits move to the high end, zeros come before them: a number of eight digits.
    let digits = word << (64 - 8 * count);
    let pairs = (digits.wrapping_mul(10).wrapping_add(digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs.wrapping_mul(100).wrapping_add(pairs >> 16)) & 0x0000_ffff_0000_ffff;
    let value = (fours.wrapping_mul(10_000).wrapping_add(fours >> 32)) & 0xffff_ffff;
    Some((value as u32 * POWERS[9 - count], at + count))
}

const POWERS: [u32; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// Reads `Mmm dd [yyyy] hh:mm:ss[.fraction] [yyyy]` at `at`; `None` if it is not written like that.
/// Without a year, the one nearest to `received` is taken.
pub(super) fn bsd(bytes: &[u8], at: usize, received: UnixNanos, zone: i32) -> Option<Stamp> {
    let month = month(bytes.get(at..at + 3)?)?;
    let mut next = expect(bytes, at + 3, b' ')?;
    if bytes.get(next) == Some(&b' ') {
        next += 1;
    }
    let (day, next) = number(bytes, next, 2)?;
    let mut next = expect(bytes, next, b' ')?;
    let mut year = None;
    if let Some((value, end)) = year_at(bytes, next) {
        (year, next) = (Some(value), end + 1);
    }
    let clock: &[u8; 8] = bytes.get(next..)?.first_chunk()?;
    let mut digits = Digits { wrong: 0 };
    let (hour, minute) = (digits.two(clock[0], clock[1]), digits.two(clock[3], clock[4]));
    let second = digits.two(clock[6], clock[7]);
    if digits.wrong != 0 || clock[2] != b':' || clock[5] != b':' {
        return None;
    }
    let (nanos, mut end) = fraction(bytes, next + 8);
    if year.is_none()
        && bytes.get(end) == Some(&b' ')
        && let Some((value, year_end)) = year_at(bytes, end + 1)
    {
        (year, end) = (Some(value), year_end);
    }
    let is_leap = second == 60;
    let clock = hour * 3600 + minute * 60 + second - u32::from(is_leap);
    let is_clock = hour < 24 && minute < 60 && second <= 60;
    let civil = Civil { year: year.unwrap_or(0), month, day, second: clock, nanos };
    let civil = match year {
        Some(_) => civil.is_valid().then_some(civil),
        None => nearest(civil, received, zone),
    };
    let moment = match civil {
        Some(civil) if is_clock => moment(&civil, zone, is_leap),
        _ => Moment::Invalid,
    };
    Some(Stamp { moment, end, is_zoned: false, is_exact: false, broken_at: None })
}

/// Gives `civil` the year that brings it nearest to `received`. The 29th of February goes to the
/// nearest leap year within a year; if there is none, there is no such date.
fn nearest(civil: Civil, received: UnixNanos, zone: i32) -> Option<Civil> {
    let now = received.0.div_euclid(NANOS_PER_SECOND);
    // May be the year next to it for a day around New Year, which the nearest one then corrects.
    let this_year = 1970 + i32::try_from(now.div_euclid(MEAN_YEAR_SECONDS)).unwrap_or(0);
    let in_year = |year| Some(Civil { year, ..civil }).filter(Civil::is_valid);
    let distance = |civil: &Civil| civil.unix_seconds(zone).abs_diff(now);
    let this = in_year(this_year);
    if let Some(this) = this.filter(|this| distance(this) <= HALF_YEAR_SECONDS.unsigned_abs()) {
        return Some(this);
    }
    let others = [in_year(this_year - 1), in_year(this_year + 1), this];
    others.into_iter().flatten().min_by_key(distance)
}

/// Reads a year from 1970 to 2261 and looks for what may follow one: a space, a colon or nothing.
fn year_at(bytes: &[u8], at: usize) -> Option<(i32, usize)> {
    let b: &[u8; 4] = bytes.get(at..)?.first_chunk()?;
    let mut digits = Digits { wrong: 0 };
    let year = (digits.two(b[0], b[1]) * 100 + digits.two(b[2], b[3])).cast_signed();
    let is_ended = matches!(bytes.get(at + 4), None | Some(b' ' | b':'));
    (digits.wrong == 0 && is_ended && (1970..=2261).contains(&year)).then_some((year, at + 4))
}

/// Reads one to `digits_max` digits.
fn number(bytes: &[u8], at: usize, digits_max: usize) -> Option<(u32, usize)> {
    let (mut value, mut end) = (0, at);
    while end - at < digits_max
        && let Some(byte) = bytes.get(end).filter(|byte| byte.is_ascii_digit())
    {
        value = value * 10 + u32::from(byte - b'0');
        end += 1;
    }
    (end > at).then_some((value, end))
}

fn expect(bytes: &[u8], at: usize, byte: u8) -> Option<usize> {
    (bytes.get(at) == Some(&byte)).then_some(at + 1)
}

fn month(name: &[u8]) -> Option<u32> {
    Some(match name {
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
    })
}
