//! Sizes and durations as they are written: `"64MiB"`, `"250ms"`.
//!
//! A whole number and a unit. No fractions, no sums, no bare numbers, and no unit that people
//! read in two ways (`M`, `m`).

use std::time::Duration;

/// The units of a size, largest first.
const SIZES: [(&str, usize); 7] = [
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];

/// The units of a duration, largest first, in milliseconds.
const DURATIONS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000), ("ms", 1)];

/// What a size may look like, for messages.
pub(super) const SIZE_ALLOWED: &str =
    "a whole number and one of B, kB, KiB, MB, MiB, GB, GiB, as in \"64MiB\"";

/// What a duration may look like, for messages.
pub(super) const DURATION_ALLOWED: &str =
    "a whole number and one of ms, s, min, h, d, as in \"250ms\"";

/// Reads a size in bytes.
pub(super) fn size(text: &str) -> Option<usize> {
    let (number, unit) = split(text)?;
    let (_, scale) = SIZES.iter().find(|(name, _)| *name == unit)?;
    number.parse::<usize>().ok()?.checked_mul(*scale)
}

/// Reads a duration.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let (_, scale) = DURATIONS.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*scale).map(Duration::from_millis)
}

/// Writes a size with the largest unit of powers of two that leaves a whole number.
pub(super) fn write_size(size: usize) -> String {
    let unit = SIZES.iter().find(|(name, scale)| {
        (name.ends_with("iB") || *name == "B") && size >= *scale && size.is_multiple_of(*scale)
    });
    let (name, scale) = unit.unwrap_or(&("B", 1));
    format!("{}{name}", size / scale)
}

/// Writes a duration with the largest unit that leaves a whole number; microseconds are cut off.
pub(super) fn write_duration(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    let unit = DURATIONS.iter().find(|(_, scale)| {
        let scale = u128::from(*scale);
        milliseconds >= scale && milliseconds.is_multiple_of(scale)
    });
    let (name, scale) = unit.unwrap_or(&("ms", 1));
    format!("{}{name}", milliseconds / u128::from(*scale))
}

/// Digits, then letters, with at most one space between.
fn split(text: &str) -> Option<(&str, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    (!number.is_empty()).then_some((number, unit.strip_prefix(' ').unwrap_or(unit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_need_a_whole_number_and_a_unit() {
        for (text, expected) in [
            ("64MiB", Some(64 << 20)),
            ("64 MiB", Some(64 << 20)),
            ("1MB", Some(1_000_000)),
            ("480B", Some(480)),
            ("2kB", Some(2000)),
            ("0B", Some(0)),
            ("64M", None),
            ("64mib", None),
            ("64", None),
            ("", None),
            ("MiB", None),
            ("1.5GiB", None),
            ("-1B", None),
            ("+1B", None),
            ("18446744073709551615B", Some(usize::MAX)),
            ("18446744073709551616B", None),
            ("99999999999999GiB", None),
            ("64  MiB", None),
            ("６４MiB", None),
        ] {
            assert_eq!(size(text), expected, "{text}");
        }
    }

    #[test]
    fn durations_need_a_whole_number_and_a_unit() {
        for (text, expected) in [
            ("250ms", Some(250)),
            ("30s", Some(30_000)),
            ("10min", Some(600_000)),
            ("2 h", Some(7_200_000)),
            ("30d", Some(2_592_000_000)),
            ("1day", None),
            ("10m", None),
            ("10", None),
            ("1h30min", None),
            ("1e3s", None),
            ("99999999999999999999s", None),
            ("18446744073709551615h", None),
            ("213503982335d", None),
        ] {
            assert_eq!(duration(text), expected.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for bytes in [0, 1, 480, 1000, 1024, 65_536, 1_500_000, 256 << 20, 1 << 40] {
            assert_eq!(size(&write_size(bytes)), Some(bytes));
        }
        for millis in [0, 1, 250, 1000, 90_000, 600_000, 86_400_000, 2_592_000_000] {
            let duration_ = Duration::from_millis(millis);
            assert_eq!(duration(&write_duration(duration_)), Some(duration_));
        }
        assert_eq!(write_size(256 << 20), "256MiB");
        assert_eq!(write_duration(Duration::from_secs(600)), "10min");
        assert_eq!(write_duration(Duration::from_secs(36 * 3600)), "36h");
        assert_eq!(write_duration(Duration::from_secs(24 * 3600)), "1d");
    }
}
