//! Single values: words of a list, numbers, sizes and durations in their ranges.

use std::time::Duration;

use super::super::defaults::{Bounds, MAX_CONNECTIONS};
use super::super::raw::{Integer, Text};
use super::super::report::{ProblemKind, Report, nearest, quote};
use super::super::unit;
use super::write_range;

/// A word of a list.
pub(super) fn choice<T: Copy>(
    key: &'static str,
    text: Option<&Text>,
    default: T,
    choices: &[(&'static str, T)],
    report: &mut Report<'_>,
) -> T {
    let Some(text) = text else { return default };
    let written = text.get_ref().as_str();
    if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == written) {
        return *choice;
    }
    let allowed = choices.iter().map(|(name, _)| (*name).to_owned()).collect();
    let nearest = nearest(written, choices.iter().map(|(name, _)| *name)).map(str::to_owned);
    let value = quote(written);
    report.add(text.span().start, ProblemKind::UnknownValue { key, value, nearest, allowed });
    default
}

/// A count in its range.
pub(super) fn count(
    key: &'static str,
    number: Option<&Integer>,
    bounds: &Bounds<usize>,
    report: &mut Report<'_>,
) -> usize {
    let Some(number) = number else { return bounds.default };
    let count = usize::try_from(*number.get_ref()).ok();
    if let Some(count) = count.filter(|count| (bounds.least..=bounds.most).contains(count)) {
        return count;
    }
    let value = number.get_ref().to_string();
    let (least, most) = (bounds.least.to_string(), bounds.most.to_string());
    let key = key.to_owned();
    report.add(number.span().start, ProblemKind::OutOfRange { key, value, least, most });
    bounds.default
}

/// A size in its range, in bytes.
pub(super) fn size(
    key: &'static str,
    text: Option<&Text>,
    bounds: &Bounds<usize>,
    report: &mut Report<'_>,
) -> usize {
    let Some(text) = text else { return bounds.default };
    let value = quote(text.get_ref());
    let kind = match unit::size(text.get_ref()) {
        Some(size) if (bounds.least..=bounds.most).contains(&size) => return size,
        Some(_) => {
            let (least, most) = (unit::write_size(bounds.least), unit::write_size(bounds.most));
            ProblemKind::OutOfRange { key: key.to_owned(), value, least, most }
        }
        None => ProblemKind::Size { key, value },
    };
    report.add(text.span().start, kind);
    bounds.default
}

/// A size in its range that is part of another size, by default not more than all of it.
pub(super) fn part(
    key: &'static str,
    text: Option<&Text>,
    bounds: &Bounds<usize>,
    (whole, most): (&str, usize),
    report: &mut Report<'_>,
) -> usize {
    let default = bounds.default.min(most);
    let size = size(key, text, &Bounds { default, ..*bounds }, report);
    if let Some(text) = text.filter(|_| size > most) {
        let (value, least) = (quote(text.get_ref()), unit::write_size(bounds.least));
        let most = format!("{whole}, which is {}", unit::write_size(most));
        let key = key.to_owned();
        report.add(text.span().start, ProblemKind::OutOfRange { key, value, least, most });
    }
    size
}

/// A number of connections.
pub(super) fn connections(number: Option<&Integer>, report: &mut Report<'_>) -> u16 {
    let count = count("max_connections", number, &MAX_CONNECTIONS, report);
    // The range ends far below.
    u16::try_from(count).unwrap_or(u16::MAX)
}

/// A duration in its range.
pub(super) fn duration(
    key: &'static str,
    text: Option<&Text>,
    bounds: &Bounds<Duration>,
    report: &mut Report<'_>,
) -> Duration {
    let Some(text) = text else { return bounds.default };
    let value = quote(text.get_ref());
    let kind = match unit::duration(text.get_ref()) {
        Some(duration) if (bounds.least..=bounds.most).contains(&duration) => return duration,
        Some(_) => {
            let (least, most) = write_range(bounds);
            ProblemKind::OutOfRange { key: key.to_owned(), value, least, most }
        }
        None => ProblemKind::Duration { key, value },
    };
    report.add(text.span().start, kind);
    bounds.default
}
