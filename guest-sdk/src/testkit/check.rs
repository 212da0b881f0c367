//! What the host checks of a guest's answers, and refuses.

use super::host;
use crate::batch::slice;
use crate::{EditTables, FieldId, Manifest, UpdateTables, VerdictTables};

const OWN: u32 = 1 << 31;

/// The bytes that a span of an answer points at.
pub(super) fn bytes<'a>(
    input: &'a [u8],
    own: &'a [u8],
    offset: u32,
    len: u32,
) -> Result<&'a [u8], String> {
    let (arena, name) = if offset & OWN == 0 { (input, "batch") } else { (own, "answer") };
    let found = slice(arena, offset & !OWN, len);
    if found.len() == len as usize {
        Ok(found)
    } else {
        Err(format!(
            "a span of {len} bytes at {} lies outside of the {name}'s arena of {} bytes",
            offset & !OWN,
            arena.len()
        ))
    }
}

/// The rows of a table: whole, sorted by record, of records that exist.
pub(super) fn rows<'a, const N: usize>(
    name: &str,
    table: &'a [u32],
    count: usize,
) -> Result<&'a [[u32; N]], String> {
    let (rows, rest) = table.as_chunks::<N>();
    if !rest.is_empty() {
        return Err(format!("table `{name}` has {} words, which {N} do not divide", table.len()));
    }
    if let Some(row) = rows.iter().find(|row| row[0] as usize >= count) {
        return Err(format!("table `{name}` names record {} of {count}", row[0]));
    }
    if !rows.is_sorted_by_key(|row| row[0]) {
        return Err(format!("table `{name}` is not sorted by record"));
    }
    Ok(rows)
}

pub(super) fn edits(
    manifest: &Manifest,
    input: &[u8],
    tables: &EditTables,
    count: usize,
) -> Result<(), String> {
    for [_, id, kind, low, high] in rows::<5>("fields", &tables.fields, count)? {
        if host::field_name(FieldId(*id)).is_none() {
            return Err(format!("field id {id} was never interned"));
        }
        match kind {
            0 | 5 => drop(bytes(input, &tables.arena, *low, *high)?),
            1..=4 => {}
            _ => return Err(format!("field kind {kind} does not exist")),
        }
    }
    for [_, column, low, high] in rows::<4>("changes", &tables.changes, count)? {
        match column {
            4 | 6 | 8 | 10 | 12 | 16 => drop(bytes(input, &tables.arena, *low, *high)?),
            0 => {}
            18 if *low <= 7 => {}
            18 => return Err(format!("severity {low} is above 7")),
            _ => return Err(format!("column {column} cannot be changed")),
        }
    }
    for [_, offset, len] in rows::<3>("created", &tables.created, count)? {
        bytes(input, &tables.arena, *offset, *len)?;
    }
    for [_, reason] in rows::<2>("dropped", &tables.dropped, count)? {
        has(&manifest.reasons, "reason", *reason)?;
    }
    Ok(())
}

pub(super) fn verdicts(
    manifest: &Manifest,
    input: &[u8],
    tables: &VerdictTables,
    count: usize,
) -> Result<(), String> {
    if tables.words.len() != count {
        return Err(format!("{} verdicts for {count} records", tables.words.len()));
    }
    for word in &tables.words {
        if word & OWN != 0 {
            has(&manifest.reasons, "reason", word & 0xffff)?;
            continue;
        }
        for route in (0..30).filter(|route| word & 1 << route != 0) {
            has(&manifest.routes, "route", route)?;
        }
    }
    for [_, route] in rows::<2>("more", &tables.more, count)? {
        has(&manifest.routes, "route", *route)?;
    }
    for [_, offset, len] in rows::<3>("apps", &tables.apps, count)? {
        bytes(input, &tables.arena, *offset, *len)?;
    }
    Ok(())
}

pub(super) fn updates(manifest: &Manifest, tables: &UpdateTables) -> Result<(), String> {
    let (series, values) = (tables.series.len(), tables.values.len());
    if series != values {
        return Err(format!("{series} series but {values} values"));
    }
    for id in tables.series.iter().chain(&tables.expired) {
        let Some((metric, labels)) = host::series(*id) else {
            return Err(format!("series {id} was never interned"));
        };
        let Some(metric) = manifest.metrics.get(metric as usize) else {
            return Err(format!("series {id} is of metric {metric}, which the manifest lacks"));
        };
        if metric.labels.len() != labels.len() {
            let (name, wanted) = (&metric.name, metric.labels.len());
            return Err(format!("{name} has {wanted} labels, a series gives {}", labels.len()));
        }
    }
    Ok(())
}

fn has(list: &[String], what: &str, index: u32) -> Result<(), String> {
    let count = list.len();
    match list.get(index as usize) {
        Some(_) => Ok(()),
        None => Err(format!("{what} {index} is none of the manifest's {count}")),
    }
}
