//! What came back from a guest: checked word for word, then applied.
//!
//! A guest is not trusted. Each function here first looks at the whole answer and says what is
//! wrong with it; only an answer without fault changes anything.

use logboom_record::{
    Batch, FIELD_STRIDE, FieldNames, FieldValue, Selection, Span, UnixNanos, column, flags,
};

use crate::abi;

/// Marks an offset into the guest's arena.
const OWN_ARENA: u32 = 1 << 31;
/// Most records one call may create.
const CREATED_MAX: usize = 4096;
/// Most fields that the records of one call may take over from their parents, in all.
const COPIED_FIELDS_MAX: usize = 1 << 18;
/// Longest body a guest may give a record, in bytes.
const BODY_BYTES_MAX: u32 = 1 << 20;
/// How often over the spans of one answer may name the bytes of the two arenas, since each span may
/// become a copy later on; then [`SPAN_BYTES_FREE`] more.
const SPAN_FACTOR_MAX: u64 = 4;
/// What the spans of an answer may name beyond that, in bytes.
const SPAN_BYTES_FREE: u64 = 64 << 10;
/// Bit 30 of a verdict: keep.
const KEEP: u32 = 1 << 30;
/// Bit 31 of a verdict: drop.
const DROP: u32 = 1 << 31;
/// Routes that fit into the word itself.
const ROUTES_IN_WORD: u32 = 30;

/// What has been decided about the records of a batch on its way through the guests.
#[derive(Clone, Debug)]
pub struct Verdicts {
    /// Records dropped or parked; empty while there are none.
    dead: Vec<bool>,
    /// Records whose app's drains do not get them; empty while there are none.
    unkept: Vec<bool>,
    /// For each route of the pipeline, the records sent there, in the order of the verdicts.
    sends: Vec<Vec<u32>>,
}

impl Verdicts {
    /// Nothing decided, for a pipeline whose routers may name `routes` routes.
    #[must_use]
    pub fn new(routes: usize) -> Self {
        Self { dead: Vec::new(), unkept: Vec::new(), sends: vec![Vec::new(); routes] }
    }

    /// Whether the record at `index` has been dropped or parked.
    #[must_use]
    pub fn is_dead(&self, index: usize) -> bool {
        self.dead.get(index).copied().unwrap_or(false)
    }

    /// Whether the drains of the record's app get it.
    #[must_use]
    pub fn is_kept(&self, index: usize) -> bool {
        !self.is_dead(index) && !self.unkept.get(index).copied().unwrap_or(false)
    }

    /// Whether nothing was dropped and everything kept.
    #[must_use]
    pub fn keeps_all(&self) -> bool {
        self.dead.is_empty() && self.unkept.is_empty()
    }

    /// Whether no record was dropped or parked.
    #[must_use]
    pub fn kills_none(&self) -> bool {
        self.dead.is_empty()
    }

    /// The living records sent to a route, ascending, each once.
    #[must_use]
    pub fn sent_to(&self, route: usize) -> Vec<u32> {
        let mut list = self.sends.get(route).cloned().unwrap_or_default();
        if !list.is_sorted() {
            list.sort_unstable();
        }
        list.dedup();
        if !self.dead.is_empty() {
            list.retain(|index| !self.is_dead(*index as usize));
        }
        list
    }

    pub(crate) fn dead(&self) -> &[bool] {
        &self.dead
    }

    pub(crate) fn kill(&mut self, index: usize, len: usize) {
        mark(&mut self.dead, index, len);
    }

    /// Follows the records that were inserted behind their parents. A created record is sent where
    /// its parent was and kept if it was, but it lives even if its parent was dropped: that is how
    /// a record is split.
    fn insert(&mut self, parents: &[u32], old_len: usize) {
        if parents.is_empty() {
            return;
        }
        let order = insertion_order(parents, old_len);
        if !self.unkept.is_empty() {
            self.unkept = order.iter().map(|old| self.unkept[*old as usize]).collect();
        }
        if !self.dead.is_empty() {
            // A created record stands behind another of the same old index; its parent does not.
            let mut last = None;
            let is_created = |old: u32| last.replace(old) == Some(old);
            let created: Vec<bool> = order.iter().copied().map(is_created).collect();
            let marks = order.iter().zip(created);
            self.dead = marks.map(|(old, new)| !new && self.dead[*old as usize]).collect();
        }
        for list in &mut self.sends {
            if list.is_empty() {
                continue;
            }
            let mut sent = vec![false; old_len];
            list.iter().for_each(|index| sent[*index as usize] = true);
            let moved = (0u32..).zip(&order).filter(|(_, old)| sent[**old as usize]);
            *list = moved.map(|(new, _)| new).collect();
        }
    }
}

fn mark(marks: &mut Vec<bool>, index: usize, len: usize) {
    marks.resize(len.max(index + 1), false);
    marks[index] = true;
}

/// For each record after the insertion, the old index of the record or of its parent.
fn insertion_order(parents: &[u32], old_len: usize) -> Vec<u32> {
    let mut order = Vec::with_capacity(old_len + parents.len());
    let mut created = parents.iter().peekable();
    for old in (0u32..).take(old_len) {
        order.push(old);
        while created.next_if(|parent| **parent <= old).is_some() {
            order.push(old);
        }
    }
    order
}

/// Rows of a table: whole, sorted by their first word, which is a record below `records`.
fn check_table(name: &str, table: &[u32], width: usize, records: usize) -> Result<(), String> {
    if !table.len().is_multiple_of(width) {
        return Err(format!("{name} has {} words, not a multiple of {width}", table.len()));
    }
    let mut last = 0;
    for row in table.chunks_exact(width) {
        if row[0] as usize >= records {
            return Err(format!("{name} names record {} of {records}", row[0]));
        }
        if row[0] < last {
            return Err(format!("{name} is not sorted: record {} after {last}", row[0]));
        }
        last = row[0];
    }
    Ok(())
}

/// The arenas that spans of an answer may point into, by their lengths.
#[derive(Clone, Copy)]
struct Arenas {
    input: usize,
    own: usize,
}

impl Arenas {
    #[inline]
    fn holds(self, offset: u32, len: u32) -> bool {
        let size = if offset & OWN_ARENA == 0 { self.input } else { self.own };
        (offset & !OWN_ARENA) as usize + len as usize <= size
    }

    fn check(self, name: &str, offset: u32, len: u32) -> Result<(), String> {
        if self.holds(offset, len) {
            return Ok(());
        }
        let whose = if offset & OWN_ARENA == 0 { "the batch's" } else { "its own" };
        let offset = offset & !OWN_ARENA;
        Err(format!("{name} has a span, {offset} and {len} bytes, outside of {whose} arena"))
    }

    /// Most bytes that all spans of an answer may name together.
    fn span_bytes_max(self) -> u64 {
        let both = u64::try_from(self.input.saturating_add(self.own)).unwrap_or(u64::MAX);
        both.saturating_mul(SPAN_FACTOR_MAX).saturating_add(SPAN_BYTES_FREE)
    }

    /// Where a checked span lies once the guest's arena stands behind the input's.
    fn resolve(self, offset: u32, len: u32) -> Span {
        let start = if offset & OWN_ARENA == 0 {
            offset as usize
        } else {
            self.input + (offset & !OWN_ARENA) as usize
        };
        if len == 0 { Span::NONE } else { Span::new(start, start + len as usize) }
    }
}

/// As [`check_table`], and each row's name, kind and value; one pass, since fields are many. Returns
/// how many bytes the values name.
fn check_fields(fields: &[u32], records: usize, arenas: Arenas) -> Result<u64, String> {
    let (rows, rest) = fields.as_chunks::<FIELD_STRIDE>();
    if !rest.is_empty() {
        return Err(format!("fields has {} words, not a multiple of {FIELD_STRIDE}", fields.len()));
    }
    let names = FieldNames::global().count();
    let (mut last, mut bytes) = (0, 0);
    for [record, name, kind, offset, len] in rows {
        let is_text = matches!(kind, 0 | 5);
        let is_good = (*record as usize) < records
            && *record >= last
            && (*name as usize) < names
            && *kind < FieldValue::KINDS
            && (!is_text || arenas.holds(*offset, *len));
        if !is_good {
            let row = format!("record {record}, name {name}, kind {kind}, value {offset} {len}");
            return Err(format!(
                "fields has a row ({row}) that is unsorted or names what does not exist: there are \
                 {records} records, {names} names, {} kinds",
                FieldValue::KINDS
            ));
        }
        last = *record;
        bytes += if is_text { u64::from(*len) } else { 0 };
    }
    Ok(bytes)
}

/// Each change's column and value; returns how many bytes the new spans name.
fn check_changes(changes: &[u32], records: usize, arenas: Arenas) -> Result<u64, String> {
    check_table("changes", changes, 4, records)?;
    let mut bytes = 0;
    for row in changes.chunks_exact(4) {
        match row[1] as usize {
            column::TIME => {}
            column::META if row[2] <= 7 => {}
            column::META => return Err(format!("changes set severity {}; 0 to 7 exist", row[2])),
            column::BODY
            | column::HOST
            | column::APP_NAME
            | column::PROC_ID
            | column::MSG_ID
            | column::APP => {
                arenas.check("changes", row[2], row[3])?;
                check_length("changes", row[3])?;
                bytes += u64::from(row[3]);
            }
            other => return Err(format!("changes set column {other}, which guests may not")),
        }
    }
    Ok(bytes)
}

/// The bodies of created records; returns how many bytes they name.
fn check_created(
    batch: &Batch,
    selection: &Selection,
    edits: &abi::Edits,
    arenas: Arenas,
) -> Result<u64, String> {
    let created = &edits.created;
    check_table("created", created, 3, selection.count(batch.len()))?;
    if created.len() > CREATED_MAX * 3 {
        return Err(format!("{} records created; at most {CREATED_MAX}", created.len() / 3));
    }
    let (mut bytes, mut copied, mut parent) = (0, 0, None);
    for row in created.chunks_exact(3) {
        arenas.check("created", row[1], row[2])?;
        check_length("created", row[2])?;
        bytes += u64::from(row[2]);
        // The rows are sorted by parent: its fields are counted once.
        let fields = match parent {
            Some((record, fields)) if record == row[0] => fields,
            _ => fields_of(batch, selection, edits, row[0]),
        };
        parent = Some((row[0], fields));
        copied += fields;
    }
    if copied > COPIED_FIELDS_MAX {
        let limit = format!("at most {COPIED_FIELDS_MAX} a call");
        return Err(format!("created records would take over {copied} fields; {limit}"));
    }
    Ok(bytes)
}

/// How many fields a record has with those that the answer adds.
fn fields_of(batch: &Batch, selection: &Selection, edits: &abi::Edits, record: u32) -> usize {
    let index = place(selection, record) as usize;
    let rows = edits.fields.as_chunks::<FIELD_STRIDE>().0;
    let added =
        rows.partition_point(|row| row[0] <= record) - rows.partition_point(|row| row[0] < record);
    batch.record(index).map_or(0, |record| record.field_rows().len()) + added
}

fn check_length(name: &str, len: u32) -> Result<(), String> {
    if len <= BODY_BYTES_MAX {
        return Ok(());
    }
    Err(format!("{name} has a span of {len} bytes; at most {BODY_BYTES_MAX} are allowed"))
}

/// The index in the batch of a record as the guest counts them.
fn place(selection: &Selection, record: u32) -> u32 {
    match selection {
        Selection::All => record,
        Selection::Some(list) => list[record as usize],
    }
}

/// Looks at a parser's answer for the records of `selection`.
pub(crate) fn check_edits(
    edits: &abi::Edits,
    batch: &Batch,
    selection: &Selection,
    reasons: usize,
) -> Result<(), String> {
    let records = selection.count(batch.len());
    let arenas = Arenas { input: batch.arena().len(), own: edits.arena.len() };
    let bytes = check_fields(&edits.fields, records, arenas)?
        + check_changes(&edits.changes, records, arenas)?
        + check_created(batch, selection, edits, arenas)?;
    let bytes_max = arenas.span_bytes_max();
    if bytes > bytes_max {
        return Err(format!("its spans name {bytes} bytes in all; at most {bytes_max} here"));
    }
    check_table("dropped", &edits.dropped, 2, records)?;
    match edits.dropped.chunks_exact(2).find(|row| row[1] as usize >= reasons) {
        Some(row) => Err(format!("dropped for reason {}; the manifest has {reasons}", row[1])),
        None => Ok(()),
    }
}

/// Applies checked edits that concern the records of `selection`; returns the records dropped, by
/// reason, and the parents of those created, which the caller inserts last.
pub(crate) fn apply_edits(
    batch: &mut Batch,
    verdicts: &mut Verdicts,
    selection: &Selection,
    edits: abi::Edits,
    created: &mut Vec<(u32, Span)>,
) -> Vec<u32> {
    let len = batch.len();
    let arenas = Arenas { input: batch.arena().len(), own: edits.arena.len() };
    let at = |record: u32| place(selection, record);
    batch.append(&edits.arena);
    let mut rows = edits.fields;
    for [record, _, kind, offset, len] in rows.as_chunks_mut::<FIELD_STRIDE>().0 {
        *record = at(*record);
        if matches!(kind, 0 | 5) && *offset & OWN_ARENA != 0 {
            let span = arenas.resolve(*offset, *len);
            (*offset, *len) = (span.offset, span.len);
        }
    }
    batch.add_fields(rows);
    for row in edits.changes.chunks_exact(4) {
        change(batch, at(row[0]) as usize, row, arenas);
    }
    for row in edits.created.chunks_exact(3) {
        created.push((at(row[0]), arenas.resolve(row[1], row[2])));
    }
    let mut dropped = Vec::new();
    for row in edits.dropped.chunks_exact(2) {
        let index = at(row[0]) as usize;
        if !verdicts.is_dead(index) {
            verdicts.kill(index, len);
            dropped.push(row[1]);
        }
    }
    dropped
}

fn change(batch: &mut Batch, index: usize, row: &[u32], arenas: Arenas) {
    match row[1] as usize {
        column::TIME => {
            let time = u64::from(row[2]) | u64::from(row[3]) << 32;
            batch.set_time(index, UnixNanos(time.cast_signed()));
            batch.change_flags(index, 0, flags::TIME_ASSUMED | flags::ZONE_ASSUMED);
        }
        column::META => batch.set_severity(index, u8::try_from(row[2]).unwrap_or(7)),
        column::APP => return batch.set_app(index, arenas.resolve(row[2], row[3])),
        column => batch.set_span(index, column, arenas.resolve(row[2], row[3])),
    }
    batch.change_flags(index, flags::EDITED, 0);
}

/// Inserts created records behind their parents, in the batch and in the verdicts.
pub(crate) fn insert_created(
    batch: &mut Batch,
    verdicts: &mut Verdicts,
    mut created: Vec<(u32, Span)>,
) {
    created.sort_by_key(|(parent, _)| *parent);
    let parents: Vec<u32> = created.iter().map(|(parent, _)| *parent).collect();
    verdicts.insert(&parents, batch.len());
    batch.insert(&created);
}

/// Looks at a router's answer for `records` records.
pub(crate) fn check_answer(
    answer: &abi::Answer,
    records: usize,
    input: usize,
    routes: usize,
    reasons: usize,
) -> Result<(), String> {
    if answer.words.len() != records {
        return Err(format!("{} verdicts for {records} records", answer.words.len()));
    }
    let in_word = u32::try_from(routes).unwrap_or(u32::MAX).min(ROUTES_IN_WORD);
    let allowed = KEEP | ((1u32 << in_word) - 1);
    for word in &answer.words {
        let is_good = if word & DROP == 0 {
            word & !allowed == 0
        } else {
            ((word & !DROP) as usize) < reasons
        };
        if !is_good {
            return Err(format!(
                "verdict {word:#010x} names a route or reason that the manifest does not have"
            ));
        }
    }
    check_table("more", &answer.more, 2, records)?;
    if let Some(row) = answer.more.chunks_exact(2).find(|row| row[1] as usize >= routes) {
        return Err(format!("more sends to route {}; the manifest has {routes}", row[1]));
    }
    check_table("apps", &answer.apps, 3, records)?;
    let arenas = Arenas { input, own: answer.arena.len() };
    answer.apps.chunks_exact(3).try_for_each(|row| arenas.check("apps", row[1], row[2]))
}

/// Applies a checked answer. `route_of` gives the pipeline's route for the guest's. Returns the
/// reasons of the records dropped.
pub(crate) fn apply_answer(
    batch: &mut Batch,
    verdicts: &mut Verdicts,
    selection: &Selection,
    answer: &abi::Answer,
    route_of: &[usize],
) -> Vec<u32> {
    let len = batch.len();
    let at = |record: usize| match selection {
        Selection::All => u32::try_from(record).unwrap_or(u32::MAX),
        Selection::Some(list) => list[record],
    };
    let mut dropped = Vec::new();
    for (record, word) in answer.words.iter().enumerate() {
        if *word == KEEP {
            continue;
        }
        let index = at(record);
        if word & DROP != 0 {
            verdicts.kill(index as usize, len);
            dropped.push(word & !DROP);
            continue;
        }
        if word & KEEP == 0 {
            mark(&mut verdicts.unkept, index as usize, len);
        }
        let mut routes = word & !KEEP;
        while routes != 0 {
            let route = routes.trailing_zeros() as usize;
            routes &= routes - 1;
            verdicts.sends[route_of[route]].push(index);
        }
    }
    for row in answer.more.chunks_exact(2) {
        verdicts.sends[route_of[row[1] as usize]].push(at(row[0] as usize));
    }
    if !answer.apps.is_empty() {
        let arenas = Arenas { input: batch.arena().len(), own: answer.arena.len() };
        batch.append(&answer.arena);
        for row in answer.apps.chunks_exact(3) {
            batch.set_app(at(row[0] as usize) as usize, arenas.resolve(row[1], row[2]));
        }
    }
    dropped
}

#[cfg(test)]
mod tests;
