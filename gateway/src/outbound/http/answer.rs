//! What a server answered, and what that means for the records.

use std::time::Duration;

use hyper::StatusCode;
use logboom_record::UnixNanos;

/// Longest wait that a server can ask for.
pub(crate) const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);
/// Bytes of an answer's text that are kept.
const TEXT_BYTES_MAX: usize = 512;

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The status; 200 to 999.
    pub(crate) status: StatusCode,
    /// When to come back, if it says so.
    pub(crate) retry_after: Option<RetryAfter>,
    /// Where a redirect leads, cut and escaped as `text` is.
    pub(crate) location: Option<String>,
    /// The first 512 bytes of the body, with control characters escaped.
    pub(crate) text: String,
    /// The connection takes no more requests.
    pub(crate) closes: bool,
}

/// What an answer means for the records of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// They have arrived.
    Delivered,
    /// Try again, after [`Answer::retry_after`] or a backoff.
    Retry,
    /// Nothing is wrong with the records: an operator has to put the credentials right. Try again,
    /// but seldom, and say so.
    Denied,
    /// Try again with fewer records; a single one is refused.
    TooLarge,
    /// They will never be taken as they are.
    Refused,
}

/// What a status means.
///
/// | status | judgement | because |
/// |---|---|---|
/// | 2xx | delivered | |
/// | 3xx | refused | redirects are not followed: the destination is what the operator wrote |
/// | 401, 403, 407 | denied | all records would be refused until an operator acts; they wait |
/// | 408, 425, 429 | retry | the server asks for it |
/// | 409 | retry | an attempt with the same key is still at work, or was when this one came |
/// | 413 | too large | |
/// | 421 | retry | another connection may lead to the right server |
/// | other 4xx | refused | the request is wrong, and would be again |
/// | 501, 505 | refused | the server cannot do it at all |
/// | other 5xx, and above | retry | |
#[must_use]
pub(crate) fn judge(status: StatusCode) -> Judgement {
    match status.as_u16() {
        200..=299 => Judgement::Delivered,
        401 | 403 | 407 => Judgement::Denied,
        408 | 409 | 421 | 425 | 429 => Judgement::Retry,
        413 => Judgement::TooLarge,
        501 | 505 => Judgement::Refused,
        500.. => Judgement::Retry,
        _ => Judgement::Refused,
    }
}

/// When a server wants to see a request again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RetryAfter {
    /// After that time.
    In(Duration),
    /// At that time.
    At(UnixNanos),
}

impl RetryAfter {
    /// Reads the header `Retry-After`: seconds, or a date of the preferred form.
    ///
    /// *Source*: RFC 9110, sections 10.2.3 and 5.6.7.
    #[must_use]
    pub(crate) fn parse(value: &[u8]) -> Option<Self> {
        let value = value.trim_ascii();
        if !value.is_empty() && value.iter().all(u8::is_ascii_digit) {
            // More digits than fit are a long time.
            let seconds = std::str::from_utf8(value).ok()?.parse().unwrap_or(u64::MAX);
            return Some(Self::In(Duration::from_secs(seconds)));
        }
        http_date(value).map(Self::At)
    }

    /// How long to wait, seen from `now`: at most [`RETRY_AFTER_MAX`].
    #[must_use]
    pub(crate) fn wait(self, now: UnixNanos) -> Duration {
        match self {
            Self::In(wait) => wait,
            Self::At(time) => {
                let nanos = time.0.saturating_sub(now.0);
                Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
            }
        }
        .min(RETRY_AFTER_MAX)
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`. The name of the day is not checked.
fn http_date(value: &[u8]) -> Option<UnixNanos> {
    let text = std::str::from_utf8(value).ok()?;
    let (_, rest) = text.split_once(", ")?;
    let mut words = rest.split(' ');
    let mut next = || words.next();
    let (day, month, year, clock, zone) = (next()?, next()?, next()?, next()?, next()?);
    let months = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let at = months.find(month).filter(|at| month.len() == 3 && at % 3 == 0)?;
    let mut clock = clock.split(':');
    let (hour, minute, second) = (clock.next()?, clock.next()?, clock.next()?);
    if words.next().is_some() || clock.next().is_some() || zone != "GMT" {
        return None;
    }
    let day = number(day, 2, 31)?;
    let days = days_before(number(year, 4, 2261)?, i64::try_from(at / 3).ok()?) + day - 1;
    let seconds =
        number(hour, 2, 23)? * 3600 + number(minute, 2, 59)? * 60 + number(second, 2, 60)?;
    (day > 0).then(|| UnixNanos((days * 86_400 + seconds) * 1_000_000_000))
}

/// A number of exactly so many digits.
fn number(text: &str, digits: usize, max: i64) -> Option<i64> {
    let is_number = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|value| is_number && *value <= max)
}

/// Days from the beginning of 1970 to that of a month, 0 to 11.
fn days_before(year: i64, month: i64) -> i64 {
    // Years that begin in March have their leap day at the end.
    let (year, month) = if month < 2 { (year - 1, month + 10) } else { (year, month - 2) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + (month * 153 + 2) / 5 - 719_468
}

/// The beginning of what a server said, fit for a log.
pub(super) fn text(bytes: &[u8]) -> String {
    let kept = String::from_utf8_lossy(bytes.get(..TEXT_BYTES_MAX).unwrap_or(bytes));
    let mut text = String::with_capacity(kept.len());
    for character in kept.chars() {
        if character.is_control() {
            text.extend(character.escape_default());
        } else {
            text.push(character);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_has_its_judgement() {
        let judged = |status: u16| judge(StatusCode::from_u16(status).unwrap());
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(judged(status), Judgement::Delivered, "{status}");
        }
        for status in [408, 409, 421, 425, 429, 500, 502, 503, 504, 507, 520, 599, 600, 999] {
            assert_eq!(judged(status), Judgement::Retry, "{status}");
        }
        for status in [401, 403, 407] {
            assert_eq!(judged(status), Judgement::Denied, "{status}");
        }
        for status in [101, 300, 301, 304, 308, 400, 402, 404, 410, 411, 415, 422, 451, 501, 505] {
            assert_eq!(judged(status), Judgement::Refused, "{status}");
        }
        assert_eq!(judged(413), Judgement::TooLarge);
    }

    fn wait(value: &str, now: i64) -> Option<Duration> {
        let now = UnixNanos(now * 1_000_000_000);
        RetryAfter::parse(value.as_bytes()).map(|after| after.wait(now))
    }

    #[test]
    fn a_wait_is_given_in_seconds_or_as_a_date_and_has_a_limit() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(wait("120", 0), seconds(120));
        assert_eq!(wait(" 0 ", 0), seconds(0));
        assert_eq!(wait("3601", 0), Some(RETRY_AFTER_MAX));
        assert_eq!(wait("99999999999999999999999", 0), Some(RETRY_AFTER_MAX));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_770), seconds(7));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_778), seconds(0));
        assert_eq!(wait("Fri, 31 Dec 2100 23:59:60 GMT", 0), Some(RETRY_AFTER_MAX));
    }

    #[test]
    fn dates_are_counted_right() {
        // `date -u -d … +%s`
        for (date, unix) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Wed, 31 Dec 1969 23:59:59 GMT", -1),
            ("Tue, 29 Feb 2000 12:00:00 GMT", 951_825_600),
            ("Wed, 01 Mar 2000 00:00:00 GMT", 951_868_800),
            ("Mon, 01 Mar 2100 00:00:00 GMT", 4_107_542_400),
            ("Sat, 21 Nov 2026 11:10:15 GMT", 1_795_259_415),
        ] {
            let expected = Some(RetryAfter::At(UnixNanos(unix * 1_000_000_000)));
            assert_eq!(RetryAfter::parse(date.as_bytes()), expected, "{date}");
        }
    }

    #[test]
    fn what_is_no_wait_is_passed_over() {
        for value in [
            "",
            "-1",
            "+1",
            "1.5",
            "soon",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "06 Nov 1994 08:49:37 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 32 Nov 1994 08:49:37 GMT",
            "Sun, 06 ovD 1994 08:49:37 GMT",
            "Sun, 06 Nov 94 08:49:37 GMT",
            "Sun, 06 Nov 9999 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Sun, 06 Nov 1994 08:49 GMT",
            "Sun, 06 Nov 1994 08:49:37 GMT x",
            "Sun, 06 N\u{f6}v",
        ] {
            assert_eq!(wait(value, 0), None, "{value}");
        }
    }

    #[test]
    fn text_is_cut_and_cannot_write_to_a_terminal() {
        assert_eq!(text(b"a\x1b[2J\r\n\x00\xff\xc3\xa9"), "a\\u{1b}[2J\\r\\n\\u{0}\u{fffd}\u{e9}");
        assert_eq!(text(&[b'a'; 600]).len(), 512);
    }
}
