//! Civil dates and Unix nanoseconds, proleptic Gregorian, leap seconds not counted.
//!
//! The day arithmetic shifts the year to start in March, so that the leap day is its last.

use logboom_record::UnixNanos;

pub(crate) const NANOS_PER_SECOND: i64 = 1_000_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
const DAYS_PER_ERA: i64 = 146_097;
/// From 0000-03-01 to 1970-01-01.
const DAYS_TO_EPOCH: i64 = 719_468;
/// Makes any year positive, a multiple of 400.
const YEAR_SHIFT: i32 = 4_000;
const DAYS_IN_SHIFT: i64 = DAYS_PER_ERA * 10;

/// Days by month, the leap day counted; there is no month 0.
const MONTH_DAYS: [u32; 13] = [0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// A date and a time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Civil {
    /// -4000 to 10,000.
    pub(crate) year: i32,
    /// 1 to 12.
    pub(crate) month: u32,
    /// 1 to 31.
    pub(crate) day: u32,
    /// Of the day, 0 to 86,399.
    pub(crate) second: u32,
    /// Of the second, 0 to 999,999,999.
    pub(crate) nanos: u32,
}

impl Civil {
    /// The date of a time.
    #[expect(clippy::cast_possible_truncation, reason = "every narrowed value is below 146,097")]
    #[expect(clippy::cast_sign_loss, reason = "remainders by rem_euclid are not negative")]
    pub(crate) fn of(time: UnixNanos) -> Self {
        let seconds = time.0.div_euclid(NANOS_PER_SECOND);
        let days = seconds.div_euclid(SECONDS_PER_DAY) + DAYS_TO_EPOCH;
        let era = days.div_euclid(DAYS_PER_ERA);
        let day_of_era = days.rem_euclid(DAYS_PER_ERA);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * march_month + 2) / 5 + 1;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        Self {
            year: year as i32,
            month: month as u32,
            day: day as u32,
            second: seconds.rem_euclid(SECONDS_PER_DAY) as u32,
            nanos: time.0.rem_euclid(NANOS_PER_SECOND) as u32,
        }
    }

    /// Whether there is such a date and such a second.
    #[inline]
    pub(crate) fn is_valid(&self) -> bool {
        let is_leap_day = self.month == 2 && self.day == 29;
        let days = usize::try_from(self.month).ok().and_then(|month| MONTH_DAYS.get(month));
        days.is_some_and(|days| self.day.wrapping_sub(1) < *days)
            && (!is_leap_day || is_leap_year(self.year))
            && i64::from(self.second) < SECONDS_PER_DAY
    }

    /// Unix seconds of a valid date, `offset` seconds east of UTC.
    #[inline]
    pub(crate) fn unix_seconds(&self, offset: i32) -> i64 {
        let is_late = self.month <= 2;
        let year = (self.year + YEAR_SHIFT).unsigned_abs() - u32::from(is_late);
        let march_month = if is_late { self.month + 9 } else { self.month - 3 };
        let day_of_year = (153 * march_month + 2) / 5 + self.day - 1;
        let days = year * 365 + year / 4 - year / 100 + year / 400 + day_of_year;
        let days = i64::from(days) - DAYS_TO_EPOCH - DAYS_IN_SHIFT;
        days * SECONDS_PER_DAY + i64::from(self.second) - i64::from(offset)
    }

    /// Unix nanoseconds of a valid date; `None` outside of the years 1677 to 2262, where 64 bits
    /// end.
    #[inline]
    pub(crate) fn unix_nanos(&self, offset: i32) -> Option<i64> {
        self.unix_seconds(offset).checked_mul(NANOS_PER_SECOND)?.checked_add(i64::from(self.nanos))
    }
}

#[inline]
const fn is_leap_year(year: i32) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn civil(year: i32, month: u32, day: u32) -> Civil {
        Civil { year, month, day, second: 0, nanos: 0 }
    }

    #[test]
    fn known_days_have_their_known_numbers() {
        for (date, days) in [
            (civil(1970, 1, 1), 0),
            (civil(1969, 12, 31), -1),
            (civil(2000, 2, 29), 11_016),
            (civil(2000, 3, 1), 11_017),
            (civil(2026, 11, 21), 20_778),
            (civil(2100, 3, 1), 47_541),
        ] {
            assert_eq!(date.unix_seconds(0), days * SECONDS_PER_DAY, "{date:?}");
        }
    }

    #[test]
    fn leap_days_exist_only_in_leap_years() {
        for (year, is_leap) in [(2000, true), (1900, false), (2024, true), (2023, false), (0, true)]
        {
            assert_eq!(civil(year, 2, 29).is_valid(), is_leap, "{year}");
            assert!(!civil(year, 2, 30).is_valid());
        }
        assert!(!civil(2024, 0, 1).is_valid());
        assert!(!civil(2024, 13, 1).is_valid());
        assert!(!civil(2024, 4, 31).is_valid());
    }

    proptest! {
        #[test]
        fn a_time_survives_the_way_through_its_date(nanos in any::<i64>()) {
            let date = Civil::of(UnixNanos(nanos));
            prop_assert!(date.is_valid());
            // The first second of the range starts before it.
            if nanos > i64::MIN + NANOS_PER_SECOND {
                prop_assert_eq!(date.unix_nanos(0), Some(nanos));
            }
        }
    }
}
