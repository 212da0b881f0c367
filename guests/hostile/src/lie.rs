//! Answers that are wrong.

use logboom_guest::{Batch, EditTables, FieldId, Manifest, Metric, UpdateTables, VerdictTables};

use crate::Behaviour;

/// Nothing that a host hands out.
const NOWHERE: u32 = 0x7fff_fff0;

pub(crate) fn manifest(manifest: &mut Manifest) {
    manifest.name = "no/name\n".repeat(1000);
    manifest.reasons = (0..100).map(|index| format!("Reason {index}!")).collect();
    manifest.routes.push(String::new());
    manifest.interest.severity = 200;
    manifest.interest.literals.push(String::new());
    let metric = Metric::histogram("not a name", "", &[2.0, f64::NAN, 1.0]);
    manifest.metrics.push(metric.label("le").label("le"));
}

pub(crate) fn edits(
    behaviour: Behaviour,
    batch: &Batch<'_>,
    tables: &mut EditTables,
    field: FieldId,
) {
    let count = u32::try_from(batch.len()).unwrap_or(u32::MAX);
    let last = count.saturating_sub(1);
    let end = u32::try_from(batch.arena().len()).unwrap_or(u32::MAX);
    match behaviour {
        Behaviour::BadColumn => tables.changes.extend_from_slice(&[0, 3, 0, 0]),
        Behaviour::BadField => tables.fields.extend_from_slice(&[0, NOWHERE, 1, 0, 0]),
        Behaviour::BadKind => tables.fields.extend_from_slice(&[0, field.0, 77, 0, 0]),
        Behaviour::BadReason => tables.dropped.extend_from_slice(&[0, 99]),
        Behaviour::BadSeverity => tables.changes.extend_from_slice(&[0, 18, 9, 0]),
        Behaviour::HugeList => huge(&mut tables.fields, [0, field.0, 1, 0, 0]),
        Behaviour::Huge => tables.fields = claim(),
        Behaviour::LieCount | Behaviour::LieCountMany => {
            tables.fields.extend_from_slice(&[0, field.0, 1]);
        }
        Behaviour::LieFieldSpan => {
            tables.fields.extend_from_slice(&[0, field.0, 0, end, 1]);
            tables.fields.extend_from_slice(&[0, field.0, 0, 1 << 31, 1]);
            tables.fields.extend_from_slice(&[0, field.0, 0, u32::MAX, u32::MAX]);
            tables.changes.extend_from_slice(&[0, 4, 1, u32::MAX]);
            tables.created.extend_from_slice(&[0, end, 1]);
        }
        Behaviour::LieRecordIndex => {
            tables.fields.extend_from_slice(&[count, field.0, 1, 0, 0]);
            tables.changes.extend_from_slice(&[u32::MAX, 18, 3, 0]);
        }
        Behaviour::LieUnsorted => {
            tables.fields.extend_from_slice(&[last, field.0, 1, 0, 0, 0, field.0, 1, 0, 0]);
            tables.changes.extend_from_slice(&[last, 18, 3, 0, 0, 18, 3, 0]);
            tables.dropped.extend_from_slice(&[last, 0, 0, 0]);
        }
        _ => {}
    }
}

pub(crate) fn verdicts(behaviour: Behaviour, batch: &Batch<'_>, tables: &mut VerdictTables) {
    let count = u32::try_from(batch.len()).unwrap_or(u32::MAX);
    let last = count.saturating_sub(1);
    let end = u32::try_from(batch.arena().len()).unwrap_or(u32::MAX);
    match behaviour {
        Behaviour::BadReason => tables.words.fill(1 << 31 | 99),
        Behaviour::BadRoute => {
            tables.words.fill(1 << 29);
            tables.more.extend_from_slice(&[0, 1000]);
        }
        Behaviour::HugeList => huge(&mut tables.words, [1 << 30; 5]),
        Behaviour::Huge => tables.words = claim(),
        Behaviour::LieCount => drop(tables.words.pop()),
        Behaviour::LieCountMany => tables.words.push(1 << 30),
        Behaviour::LieFieldSpan => {
            tables.apps.extend_from_slice(&[0, end, 1, 0, 1 << 31, 1, 0, u32::MAX, u32::MAX]);
        }
        Behaviour::LieRecordIndex => tables.apps.extend_from_slice(&[count, 0, 0]),
        Behaviour::LieUnsorted => tables.more.extend_from_slice(&[last, 0, 0, 0]),
        _ => {}
    }
}

pub(crate) fn updates(behaviour: Behaviour, tables: &mut UpdateTables) {
    match behaviour {
        Behaviour::BadSeries => {
            tables.series.push(NOWHERE);
            tables.values.push(1.0);
            tables.expired.push(NOWHERE);
        }
        Behaviour::HugeList => {
            huge(&mut tables.expired, [NOWHERE; 5]);
        }
        Behaviour::Huge => tables.series = claim(),
        Behaviour::LieCount | Behaviour::LieCountMany => tables.series.push(0),
        _ => {}
    }
}

/// Fills a table with one row until memory does not give more.
fn huge(table: &mut Vec<u32>, row: [u32; 5]) {
    let mut room = 1 << 24;
    while room > 1 << 10 {
        while cfg!(target_arch = "wasm32") && table.try_reserve_exact(room).is_ok() {
            while table.capacity() - table.len() >= row.len() {
                table.extend_from_slice(&row);
            }
        }
        room /= 2;
    }
}

/// A list whose length nobody can believe.
#[expect(unsafe_code, reason = "there is no safe way to such a list")]
fn claim() -> Vec<u32> {
    let small = std::mem::ManuallyDrop::new(vec![0u32; 4]);
    let length = if cfg!(target_arch = "wasm32") { 0x3fff_ffff } else { small.len() };
    // SAFETY: none; it breaks the promise of `Vec` on purpose. Nothing in the guest reads or frees
    // the list before it crosses, and the host ends the instance there.
    unsafe { Vec::from_raw_parts(small.as_ptr().cast_mut(), length, length) }
}
