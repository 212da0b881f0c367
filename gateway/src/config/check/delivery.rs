//! What is kept on disk, and what needs it.

use std::path::Path;

use super::super::defaults;
use super::super::raw::{Raw, RawParked, RawPipeline, RawSpool, Text};
use super::super::report::{ProblemKind, Report};
use super::super::{Durability, Parked, Spool};
use super::check_path;
use super::value::{choice, duration, part, size};

const DURABILITIES: &[(&str, Durability)] =
    &[("memory", Durability::Memory), ("disk", Durability::Disk)];

/// The spool; `data` is the folder that it is in by default.
pub(super) fn check_spool(raw: &RawSpool, data: &Path, report: &mut Report<'_>) -> Spool {
    let max = size("max", raw.max.as_ref(), &defaults::SPOOL_MAX, report);
    let whole = ("max", max);
    let share = part("share", raw.share.as_ref(), &defaults::SPOOL_SHARE, whole, report);
    let quarter = ("a quarter of max", max / defaults::SPOOL_SEGMENTS_LEAST);
    let segment = part("segment", raw.segment.as_ref(), &defaults::SPOOL_SEGMENT, quarter, report);
    let path = raw.path.as_ref().map(|text| check_path("path", text, report));
    Spool {
        enabled: raw.enabled.as_ref().is_none_or(|enabled| *enabled.get_ref()),
        path: path.unwrap_or_else(|| data.join(defaults::SPOOL)),
        max: max as u64,
        share: share as u64,
        segment: segment as u64,
    }
}

/// The durability of pipelines that have none of their own, and of sources without a pipeline.
pub(super) fn check_durability(raw: &Raw, report: &mut Report<'_>) -> Durability {
    durability(raw, raw.spool.durability.as_ref(), Durability::Memory, report)
}

/// The durability of one pipeline.
pub(super) fn check_pipeline(
    raw: &Raw,
    pipeline: &RawPipeline,
    default: Durability,
    report: &mut Report<'_>,
) -> Durability {
    durability(raw, pipeline.durability.as_ref(), default, report)
}

fn durability(
    raw: &Raw,
    text: Option<&Text>,
    default: Durability,
    report: &mut Report<'_>,
) -> Durability {
    let found = choice("durability", text, default, DURABILITIES, report);
    if let (Some(text), Durability::Disk) = (text, found) {
        need_spool(&raw.spool, text, ("durability = \"disk\"", "\"memory\""), report);
    }
    found
}

/// Reports it if the spool, which the value of `text` needs, is turned off. `words` are what is
/// written there, and what goes without a spool.
pub(super) fn need_spool(
    raw: &RawSpool,
    text: &Text,
    words: (&'static str, &'static str),
    report: &mut Report<'_>,
) {
    if let Some(off) = raw.enabled.as_ref().filter(|enabled| !enabled.get_ref()) {
        let (line, (what, allowed)) = (report.line(off.span().start), words);
        report.add(text.span().start, ProblemKind::NeedsSpool { what, line, allowed });
    }
}

pub(super) fn check_parked(raw: &RawParked, report: &mut Report<'_>) -> Parked {
    Parked {
        max: size("max", raw.max.as_ref(), &defaults::PARKED_MAX, report) as u64,
        age: duration("age", raw.age.as_ref(), &defaults::PARKED_AGE, report),
    }
}
