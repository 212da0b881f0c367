//! Points in time, known ones and impossible ones.

use super::*;

const KNOWN: i64 = 1_795_239_841;

#[test]
fn rfc3339_is_read_in_all_its_forms() {
    for (text, expected) in [
        ("1970-01-01T00:00:00Z", Some(0)),
        ("2026-11-21T05:44:01Z", Some(KNOWN * SECOND)),
        ("2026-11-21T06:44:01.5+01:00", Some(KNOWN * SECOND + 500_000_000)),
        ("2026-11-20T23:44:01,000000001-06:00", Some(KNOWN * SECOND + 1)),
        ("2026-11-21 05:44:01.1234567899z", Some(KNOWN * SECOND + 123_456_789)),
        ("2000-02-29T00:00:00Z", Some(951_782_400 * SECOND)),
        ("1969-12-31T23:59:59Z", Some(-SECOND)),
        ("2016-12-31T23:59:60Z", Some(1_483_228_800 * SECOND)),
        ("1900-02-29T00:00:00Z", None),
        ("2026-02-29T00:00:00Z", None),
        ("2026-13-01T00:00:00Z", None),
        ("2026-00-01T00:00:00Z", None),
        ("2026-01-00T00:00:00Z", None),
        ("2026-01-01T24:00:00Z", None),
        ("2026-01-01T00:00:00", None),
        ("2026-01-01T00:00:00.Z", None),
        ("2026-01-01T00:00:00+0100", None),
        ("2026-01-01", None),
        ("9999-01-01T00:00:00Z", None),
        ("20x6-01-01T00:00:00Z", None),
        ("", None),
    ] {
        assert_eq!(rfc3339(text.as_bytes()), expected, "{text}");
    }
}

#[test]
fn access_log_times_are_read_with_their_zone() {
    for (text, expected) in [
        ("21/Nov/2026:05:44:01 +0000", Some(KNOWN * SECOND)),
        ("20/Nov/2026:21:44:01 -0800", Some(KNOWN * SECOND)),
        ("10/Oct/2000:13:55:36 -0700", Some(971_211_336 * SECOND)),
        ("21/Nop/2026:05:44:01 +0000", None),
        ("21/Nov/2026:05:44:01 *0000", None),
        ("21/Nov/2026:05:44:01", None),
        ("21-Nov-2026:05:44:01 +0000", None),
    ] {
        assert_eq!(access_log(text.as_bytes()), expected, "{text}");
    }
}

#[test]
fn the_unit_of_an_epoch_is_told_by_its_size() {
    for (number, expected) in [
        (Number::Integer(KNOWN), Some(KNOWN * SECOND)),
        (Number::Integer(KNOWN * 1_000 + 5), Some(KNOWN * SECOND + 5_000_000)),
        (Number::Integer(KNOWN * 1_000_000 + 5), Some(KNOWN * SECOND + 5_000)),
        (Number::Integer(KNOWN * SECOND + 5), Some(KNOWN * SECOND + 5)),
        (Number::Float(1_795_239_841.25), Some(KNOWN * SECOND + 250_000_000)),
        (Number::Float(1_795_239_841_500.0), Some(KNOWN * SECOND + 500_000_000)),
        (Number::Integer(5), None),
        (Number::Integer(-KNOWN), None),
        (Number::Float(f64::NAN), None),
        (Number::Float(1e300), None),
    ] {
        assert_eq!(epoch(number), expected, "{number:?}");
    }
}
