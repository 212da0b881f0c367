//! What a parser says: fields, changes of the head, new records, dropped records.

use crate::{Batch, FieldId, Reason, Record, Value};

/// Marks an offset into the edits' own arena rather than the batch's.
const OWN: u32 = 1 << 31;

/// The parts of a record's head that a parser may set to bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// The message text.
    Body = 4,
    /// HOSTNAME.
    Host = 6,
    /// The program.
    AppName = 8,
    /// PROCID.
    ProcId = 10,
    /// MSGID.
    MsgId = 12,
    /// The tenant key, `app-space`.
    App = 16,
}

/// The contract's `edits`: flat tables over one arena.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EditTables {
    /// Bytes that are not in the batch's arena.
    pub arena: Vec<u8>,
    /// Five words a field: record, field id, kind, two words of value.
    pub fields: Vec<u32>,
    /// Four words a change: record, column, two words of value.
    pub changes: Vec<u32>,
    /// Three words a new record: the one it is made from, offset and length of its body.
    pub created: Vec<u32>,
    /// Two words a dropped record: record, reason.
    pub dropped: Vec<u32>,
}

impl EditTables {
    /// Empty tables with room for as much as [`EditTables::sizes`] told of others: batches
    /// resemble one another.
    pub(crate) fn with_room(sizes: [usize; 5]) -> Self {
        let [arena, fields, changes, created, dropped] = sizes;
        Self {
            arena: Vec::with_capacity(arena),
            fields: Vec::with_capacity(fields),
            changes: Vec::with_capacity(changes),
            created: Vec::with_capacity(created),
            dropped: Vec::with_capacity(dropped),
        }
    }

    /// The lengths of the tables.
    pub(crate) fn sizes(&self) -> [usize; 5] {
        let Self { arena, fields, changes, created, dropped } = self;
        [arena.len(), fields.len(), changes.len(), created.len(), dropped.len()]
    }
}

/// How far [`Edits`] had got; see [`Edits::checkpoint`].
#[derive(Clone, Copy, Debug)]
pub struct Checkpoint {
    arena: usize,
    fields: usize,
    changes: usize,
    created: usize,
    dropped: usize,
}

/// A parser's edits under construction.
///
/// Bytes that lie in the batch are pointed at, all others are copied once. Records are cheapest in
/// their order; in any other order the tables are sorted at the end.
#[derive(Debug)]
pub struct Edits<'a> {
    batch: Batch<'a>,
    tables: EditTables,
    last: u32,
    is_sorted: bool,
}

impl<'a> Edits<'a> {
    /// No edits yet, for the records of `batch`.
    #[must_use]
    pub fn new(batch: Batch<'a>) -> Self {
        Self::with_tables(batch, EditTables::default())
    }

    pub(crate) fn with_tables(batch: Batch<'a>, tables: EditTables) -> Self {
        Self { batch, tables, last: 0, is_sorted: true }
    }

    /// Adds a field.
    #[inline]
    pub fn field(&mut self, record: &Record<'_>, id: FieldId, value: Value<'_>) {
        match value {
            Value::Text(bytes) => self.text(record, id, bytes),
            Value::Integer(value) => self.integer(record, id, value),
            Value::Float(value) => self.float(record, id, value),
            Value::Bool(value) => self.bool(record, id, value),
            Value::Null => self.null(record, id),
            Value::Json(bytes) => self.json(record, id, bytes),
        }
    }

    /// Adds a field of text.
    #[inline]
    pub fn text(&mut self, record: &Record<'_>, id: FieldId, bytes: &[u8]) {
        let span = self.place(bytes);
        self.push_field(record, id, 0, span);
    }

    /// Adds a field of text which `write` appends to the arena of the edits; it must not take
    /// anything from it.
    pub fn text_with(
        &mut self,
        record: &Record<'_>,
        id: FieldId,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let span = self.write(write);
        self.push_field(record, id, 0, span);
    }

    /// Adds a whole number.
    #[inline]
    pub fn integer(&mut self, record: &Record<'_>, id: FieldId, value: i64) {
        self.push_field(record, id, 1, halves(value.cast_unsigned()));
    }

    /// Adds a number.
    #[inline]
    pub fn float(&mut self, record: &Record<'_>, id: FieldId, value: f64) {
        self.push_field(record, id, 2, halves(value.to_bits()));
    }

    /// Adds a truth value.
    #[inline]
    pub fn bool(&mut self, record: &Record<'_>, id: FieldId, value: bool) {
        self.push_field(record, id, 3, [u32::from(value), 0]);
    }

    /// Adds a field without a value.
    #[inline]
    pub fn null(&mut self, record: &Record<'_>, id: FieldId) {
        self.push_field(record, id, 4, [0, 0]);
    }

    /// Adds a nested value as its JSON text, which the host takes as it is.
    #[inline]
    pub fn json(&mut self, record: &Record<'_>, id: FieldId, text: &[u8]) {
        let span = self.place(text);
        self.push_field(record, id, 5, span);
    }

    /// Sets a part of the head; empty bytes make it absent.
    #[inline]
    pub fn set(&mut self, record: &Record<'_>, column: Column, bytes: &[u8]) {
        let span = self.place(bytes);
        self.push_change(record, column as u32, span);
    }

    /// Sets a part of the head to what `write` appends to the arena of the edits; it must not take
    /// anything from it.
    pub fn set_with(
        &mut self,
        record: &Record<'_>,
        column: Column,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let span = self.write(write);
        self.push_change(record, column as u32, span);
    }

    /// Sets the message text.
    #[inline]
    pub fn set_body(&mut self, record: &Record<'_>, bytes: &[u8]) {
        self.set(record, Column::Body, bytes);
    }

    /// Sets HOSTNAME.
    pub fn set_host(&mut self, record: &Record<'_>, bytes: &[u8]) {
        self.set(record, Column::Host, bytes);
    }

    /// Sets the program.
    pub fn set_app_name(&mut self, record: &Record<'_>, bytes: &[u8]) {
        self.set(record, Column::AppName, bytes);
    }

    /// Sets PROCID.
    pub fn set_proc_id(&mut self, record: &Record<'_>, bytes: &[u8]) {
        self.set(record, Column::ProcId, bytes);
    }

    /// Sets MSGID.
    pub fn set_msg_id(&mut self, record: &Record<'_>, bytes: &[u8]) {
        self.set(record, Column::MsgId, bytes);
    }

    /// Sets the tenant key: the record now belongs to that app.
    pub fn set_app(&mut self, record: &Record<'_>, bytes: &[u8]) {
        self.set(record, Column::App, bytes);
    }

    /// Sets the event time, in Unix nanoseconds.
    #[inline]
    pub fn set_time(&mut self, record: &Record<'_>, nanos: i64) {
        self.push_change(record, 0, halves(nanos.cast_unsigned()));
    }

    /// Sets the severity; what is above 7 becomes 7.
    #[inline]
    pub fn set_severity(&mut self, record: &Record<'_>, severity: u8) {
        self.push_change(record, 18, [u32::from(severity.min(7)), 0]);
    }

    /// Makes a new record from an old one: it inherits everything but its body and stands right
    /// behind it. To split a record, create its parts and drop it.
    pub fn create(&mut self, record: &Record<'_>, body: &[u8]) {
        let [offset, len] = self.place(body);
        self.note(record);
        self.tables.created.extend_from_slice(&[record.index(), offset, len]);
    }

    /// Drops a record for one of the manifest's reasons.
    pub fn drop(&mut self, record: &Record<'_>, reason: Reason) {
        self.note(record);
        self.tables.dropped.extend_from_slice(&[record.index(), reason.0]);
    }

    /// Remembers how far the edits got, to take back what follows by [`Edits::rollback`].
    #[must_use]
    #[inline]
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            arena: self.tables.arena.len(),
            fields: self.tables.fields.len(),
            changes: self.tables.changes.len(),
            created: self.tables.created.len(),
            dropped: self.tables.dropped.len(),
        }
    }

    /// Takes back everything since `to`.
    pub fn rollback(&mut self, to: Checkpoint) {
        self.tables.arena.truncate(to.arena);
        self.tables.fields.truncate(to.fields);
        self.tables.changes.truncate(to.changes);
        self.tables.created.truncate(to.created);
        self.tables.dropped.truncate(to.dropped);
    }

    /// The tables themselves, for guests that mean to break the contract: tests of hosts.
    #[doc(hidden)]
    pub fn tables_mut(&mut self) -> &mut EditTables {
        &mut self.tables
    }

    /// The finished tables, sorted by record.
    #[must_use]
    pub fn finish(mut self) -> EditTables {
        if !self.is_sorted {
            self.tables.fields = sorted::<5>(&self.tables.fields);
            self.tables.changes = sorted::<4>(&self.tables.changes);
            self.tables.created = sorted::<3>(&self.tables.created);
            self.tables.dropped = sorted::<2>(&self.tables.dropped);
        }
        self.tables
    }

    #[inline]
    fn note(&mut self, record: &Record<'_>) {
        self.is_sorted &= record.index() >= self.last;
        self.last = record.index();
    }

    #[inline]
    fn push_field(&mut self, record: &Record<'_>, id: FieldId, kind: u32, [a, b]: [u32; 2]) {
        if id != FieldId::REFUSED {
            self.note(record);
            self.tables.fields.extend_from_slice(&[record.index(), id.0, kind, a, b]);
        }
    }

    #[inline]
    fn push_change(&mut self, record: &Record<'_>, column: u32, [a, b]: [u32; 2]) {
        self.note(record);
        self.tables.changes.extend_from_slice(&[record.index(), column, a, b]);
    }

    /// Where `bytes` are: in the batch if they are a part of it, else in a copy.
    #[inline]
    fn place(&mut self, bytes: &[u8]) -> [u32; 2] {
        match offset_in(self.batch.arena(), bytes) {
            Some(offset) => [offset, word(bytes.len())],
            None => self.write(|arena| arena.extend_from_slice(bytes)),
        }
    }

    fn write(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> [u32; 2] {
        let start = self.tables.arena.len();
        write(&mut self.tables.arena);
        let len = self.tables.arena.len().saturating_sub(start);
        if len == 0 { [0, 0] } else { [word(start) | OWN, word(len)] }
    }
}

/// Where `part` begins in `whole`, if it is a part of it.
#[inline]
pub(crate) fn offset_in(whole: &[u8], part: &[u8]) -> Option<u32> {
    if part.is_empty() {
        return Some(0);
    }
    let start = part.as_ptr().addr().wrapping_sub(whole.as_ptr().addr());
    let room = whole.len().checked_sub(start)?;
    (part.len() <= room).then_some(word(start))
}

/// Sizes in a batch fit 32 bits: guests have an address space of that size.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "an arena in a guest is below 4 GiB")]
pub(crate) fn word(size: usize) -> u32 {
    size as u32
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the two halves of a 64-bit word")]
fn halves(bits: u64) -> [u32; 2] {
    [bits as u32, (bits >> 32) as u32]
}

/// The rows of a table in the order of their records; rows of one record keep their order.
pub(crate) fn sorted<const N: usize>(table: &[u32]) -> Vec<u32> {
    let (rows, _) = table.as_chunks::<N>();
    let mut rows = rows.to_vec();
    rows.sort_by_key(|row| row[0]);
    rows.into_flattened()
}

#[cfg(test)]
mod tests;
