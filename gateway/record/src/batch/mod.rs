//! The batch: records moved together in one arena.

mod image;

use std::collections::HashMap;

use crate::row::{Head, STRIDE, Span, column, flags};
use crate::{Facility, FieldId, Severity, UnixNanos, app_hash};

pub use image::ImageError;

/// Words of one row of the field table: record, name, kind, then two words of value.
pub const FIELD_STRIDE: usize = 5;

/// The value of a field.
///
/// In the table the kind is the third word; text-like values are (offset, length) into the arena,
/// numbers are the two halves (low, high) of their 64 bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FieldValue<'a> {
    /// Kind 0: bytes, UTF-8 by custom, not by promise.
    Text(&'a [u8]),
    /// Kind 1.
    Integer(i64),
    /// Kind 2.
    Float(f64),
    /// Kind 3.
    Bool(bool),
    /// Kind 4.
    Null,
    /// Kind 5: a nested value as its JSON text.
    Json(&'a [u8]),
}

impl FieldValue<'_> {
    /// Number of kinds; a kind word at or above it is invalid.
    pub const KINDS: u32 = 6;
}

/// One field of one record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Field<'a> {
    /// Its interned name.
    pub name: FieldId,
    /// Its value.
    pub value: FieldValue<'a>,
}

/// Records moved together: one arena, one table of rows, one table of fields.
#[derive(Clone, Debug)]
pub struct Batch {
    arena: Vec<u8>,
    rows: Vec<u32>,
    fields: Vec<u32>,
    received: UnixNanos,
}

impl Batch {
    /// A batch without records over `arena`, received at `received`.
    #[must_use]
    pub fn new(arena: Vec<u8>, received: UnixNanos) -> Self {
        Self { arena, rows: Vec::new(), fields: Vec::new(), received }
    }

    /// The same with a table of rows made before, of [`STRIDE`] words each; a trailing part of a
    /// row is cut off.
    #[must_use]
    pub fn from_rows(arena: Vec<u8>, mut rows: Vec<u32>, received: UnixNanos) -> Self {
        rows.truncate(rows.len() / STRIDE * STRIDE);
        Self { arena, rows, fields: Vec::new(), received }
    }

    /// Adds a record; its spans point into the arena.
    pub fn push(&mut self, head: &Head) {
        self.rows.extend_from_slice(&head.pack());
    }

    /// Appends bytes to the arena and returns where they lie.
    pub fn append(&mut self, bytes: &[u8]) -> Span {
        let start = self.arena.len();
        self.arena.extend_from_slice(bytes);
        Span::new(start, self.arena.len())
    }

    /// Number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len() / STRIDE
    }

    /// Whether there is no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The arena.
    #[must_use]
    pub fn arena(&self) -> &[u8] {
        &self.arena
    }

    /// All rows, [`STRIDE`] words each.
    #[must_use]
    pub fn rows(&self) -> &[u32] {
        &self.rows
    }

    /// The field table, [`FIELD_STRIDE`] words a row, sorted by record.
    #[must_use]
    pub fn field_rows(&self) -> &[u32] {
        &self.fields
    }

    /// When the records came in.
    #[must_use]
    pub fn received(&self) -> UnixNanos {
        self.received
    }

    /// Memory held: what admission counts, in bytes.
    #[must_use]
    pub fn footprint(&self) -> usize {
        self.arena.capacity() + (self.rows.capacity() + self.fields.capacity()) * 4
    }

    /// Bytes that it takes where it is written: arena and rows.
    #[must_use]
    pub fn stored_bytes(&self) -> usize {
        self.arena.len() + (self.rows.len() + self.fields.len()) * 4
    }

    /// Gives the arena's memory back for reuse.
    #[must_use]
    pub fn into_parts(self) -> (Vec<u8>, Vec<u32>) {
        (self.arena, self.rows)
    }

    /// The record at `index`.
    #[must_use]
    #[inline]
    pub fn record(&self, index: usize) -> Option<Record<'_>> {
        let row = self.rows.get(index * STRIDE..(index + 1) * STRIDE)?;
        Some(Record { batch: self, row, index })
    }

    /// All records in order.
    pub fn records(&self) -> impl ExactSizeIterator<Item = Record<'_>> + Clone {
        self.rows.chunks_exact(STRIDE).enumerate().map(|(index, row)| Record {
            batch: self,
            row,
            index,
        })
    }

    /// Points one span column of a record elsewhere in the arena.
    pub fn set_span(&mut self, index: usize, column: usize, span: Span) {
        let at = index * STRIDE + column;
        if let Some([offset, len]) = self.rows.get_mut(at..at + 2) {
            (*offset, *len) = (span.offset, span.len);
        }
    }

    /// Sets a record's tenant key to a span of the arena and refreshes its hash.
    pub fn set_app(&mut self, index: usize, span: Span) {
        let hash = app_hash(span.of(&self.arena));
        self.set_span(index, column::APP, span);
        if let Some(word) = self.rows.get_mut(index * STRIDE + column::APP_HASH) {
            *word = hash;
        }
    }

    /// Sets a record's event time.
    #[expect(clippy::cast_possible_truncation, reason = "the two halves of a 64-bit word")]
    #[expect(clippy::cast_sign_loss, reason = "the bits of the time, read back as signed")]
    pub fn set_time(&mut self, index: usize, time: UnixNanos) {
        let bits = time.0 as u64;
        let at = index * STRIDE + column::TIME;
        if let Some([low, high]) = self.rows.get_mut(at..at + 2) {
            (*low, *high) = (bits as u32, (bits >> 32) as u32);
        }
    }

    /// Sets a record's severity, 0 to 7.
    pub fn set_severity(&mut self, index: usize, severity: u8) {
        if let Some(meta) = self.rows.get_mut(index * STRIDE + column::META) {
            *meta = *meta & !0xff | u32::from(severity.min(7));
        }
    }

    /// Adds and removes [`flags`] of a record.
    pub fn change_flags(&mut self, index: usize, add: u16, remove: u16) {
        if let Some(meta) = self.rows.get_mut(index * STRIDE + column::META) {
            *meta = (*meta & !(u32::from(remove) << 16)) | u32::from(add) << 16;
        }
    }

    /// Adds rows to the field table. `rows` must be sorted by record, as must be what is there;
    /// fields of one record keep the order in which they were added.
    pub fn add_fields(&mut self, rows: Vec<u32>) {
        if self.fields.is_empty() {
            self.fields = rows;
            return;
        }
        let first = rows.first().copied().unwrap_or(u32::MAX);
        let last = self.fields.len().checked_sub(FIELD_STRIDE).map_or(0, |at| self.fields[at]);
        if first >= last {
            self.fields.extend_from_slice(&rows);
            return;
        }
        let old = std::mem::take(&mut self.fields);
        self.fields.reserve(old.len() + rows.len());
        let (mut old, mut new) =
            (old.chunks_exact(FIELD_STRIDE).peekable(), rows.chunks_exact(FIELD_STRIDE).peekable());
        loop {
            let row = match (old.peek(), new.peek()) {
                (Some(a), Some(b)) if b[0] < a[0] => new.next(),
                (None, _) => new.next(),
                _ => old.next(),
            };
            let Some(row) = row else { return };
            self.fields.extend_from_slice(row);
        }
    }

    /// Inserts copies of records right behind them, each with another body; `created` names the
    /// record and the body's place in the arena, sorted by record. A copy has the fields of its
    /// record and the flags [`flags::CREATED`] and [`flags::EDITED`].
    pub fn insert(&mut self, created: &[(u32, Span)]) {
        if created.is_empty() {
            return;
        }
        let old = std::mem::replace(self, Self::new(Vec::new(), self.received));
        let mut pending = created.iter().peekable();
        for (number, record) in (0u32..).zip(old.records()) {
            self.push_copy(record, None);
            while let Some((_, body)) = pending.next_if(|(parent, _)| *parent <= number) {
                self.push_copy(record, Some(*body));
            }
        }
        self.arena = old.arena;
    }

    fn push_copy(&mut self, record: Record<'_>, body: Option<Span>) {
        let index = self.len();
        self.rows.extend_from_slice(record.row);
        for row in record.field_rows() {
            self.fields.push(u32::try_from(index).unwrap_or(u32::MAX));
            self.fields.extend_from_slice(&row[1..]);
        }
        if let Some(body) = body {
            self.set_span(index, column::BODY, body);
            self.change_flags(index, flags::CREATED | flags::EDITED, 0);
        }
    }

    /// A new batch with copies of the listed records only, their bytes packed together. Spans that
    /// lie within the raw frame keep sharing it, and long spans that several records name are copied
    /// once: what parsers made of a few bytes does not grow here.
    #[must_use]
    pub fn extract(&self, selection: &Selection) -> Self {
        let records = || selection.iter(self.len()).filter_map(|index| self.record(index));
        let bytes = records().map(|record| record.raw().len()).sum();
        let mut out = Self::new(Vec::with_capacity(bytes), self.received);
        out.rows.reserve_exact(selection.count(self.len()) * STRIDE);
        let mut copied = Copied::default();
        for (new_index, index) in selection.iter(self.len()).enumerate() {
            let Some(record) = self.record(index) else { continue };
            let head = record.head();
            let raw = out.copy(self, head.raw, &mut copied);
            let mut moved = Head { raw, ..head };
            for (from, to) in [
                (head.body, &mut moved.body),
                (head.host, &mut moved.host),
                (head.app_name, &mut moved.app_name),
                (head.proc_id, &mut moved.proc_id),
                (head.msg_id, &mut moved.msg_id),
                (head.structured_data, &mut moved.structured_data),
                (head.app, &mut moved.app),
            ] {
                *to = out.carry(self, from, (head.raw, raw), &mut copied);
            }
            out.push(&moved);
            let number = u32::try_from(new_index).unwrap_or(u32::MAX);
            for row in record.field_rows() {
                let mut row = [number, row[1], row[2], row[3], row[4]];
                if matches!(row[2], 0 | 5) {
                    let span = Span { offset: row[3], len: row[4] };
                    let span = out.carry(self, span, (head.raw, raw), &mut copied);
                    (row[3], row[4]) = (span.offset, span.len);
                }
                out.fields.extend_from_slice(&row);
            }
        }
        out
    }

    fn carry(&mut self, from: &Self, span: Span, raw: (Span, Span), copied: &mut Copied) -> Span {
        let (old, new) = raw;
        let within = span.offset >= old.offset
            && span.offset.saturating_add(span.len) <= old.offset.saturating_add(old.len);
        if span.is_empty() {
            Span::NONE
        } else if within {
            Span { offset: span.offset - old.offset + new.offset, len: span.len }
        } else {
            self.copy(from, span, copied)
        }
    }

    fn copy(&mut self, from: &Self, span: Span, copied: &mut Copied) -> Span {
        if span.len < SHARED_BYTES_MIN {
            return self.append(span.of(&from.arena));
        }
        let known = copied.entry((span.offset, span.len));
        *known.or_insert_with(|| self.append(span.of(&from.arena)))
    }
}

/// Spans of at least this many bytes are copied once and shared; shorter ones are not looked up.
const SHARED_BYTES_MIN: u32 = 256;

/// Where long spans, by offset and length, were copied to.
type Copied = HashMap<(u32, u32), Span>;

/// Which records of a batch: all of them, or an ascending list of indices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Every record.
    All,
    /// These, ascending, without repeats.
    Some(Vec<u32>),
}

impl Selection {
    /// How many records it names in a batch of `len`.
    #[must_use]
    pub fn count(&self, len: usize) -> usize {
        match self {
            Self::All => len,
            Self::Some(list) => list.len(),
        }
    }

    /// The indices, ascending, in a batch of `len`.
    pub fn iter(&self, len: usize) -> impl Iterator<Item = usize> + '_ {
        let (all, list): (_, &[u32]) = match self {
            Self::All => (0..len, &[]),
            Self::Some(list) => (0..0, list),
        };
        all.chain(list.iter().map(|index| *index as usize))
    }
}

/// A borrowed view of one record.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    batch: &'a Batch,
    row: &'a [u32],
    index: usize,
}

impl<'a> Record<'a> {
    /// Its place in the batch.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// The row's words.
    #[must_use]
    pub fn row(&self) -> &'a [u32] {
        self.row
    }

    #[inline]
    fn span(&self, column: usize) -> Span {
        Span { offset: self.row[column], len: self.row[column + 1] }
    }

    #[inline]
    fn bytes(&self, column: usize) -> &'a [u8] {
        self.span(column).of(&self.batch.arena)
    }

    /// The row, unpacked.
    #[must_use]
    pub fn head(&self) -> Head {
        Head {
            time: self.time().0,
            raw: self.span(column::RAW),
            body: self.span(column::BODY),
            host: self.span(column::HOST),
            app_name: self.span(column::APP_NAME),
            proc_id: self.span(column::PROC_ID),
            msg_id: self.span(column::MSG_ID),
            structured_data: self.span(column::STRUCTURED_DATA),
            app: self.span(column::APP),
            severity: self.severity().0,
            facility: self.facility().0,
            flags: self.flags(),
            app_hash: self.app_hash(),
        }
    }

    /// Event time.
    #[must_use]
    #[expect(clippy::cast_possible_wrap, reason = "the bits of a signed value")]
    pub fn time(&self) -> UnixNanos {
        let bits = u64::from(self.row[column::TIME]) | u64::from(self.row[column::TIME + 1]) << 32;
        UnixNanos(bits as i64)
    }

    /// When it was received.
    #[must_use]
    pub fn received(&self) -> UnixNanos {
        self.batch.received
    }

    /// The frame as it came.
    #[must_use]
    #[inline]
    pub fn raw(&self) -> &'a [u8] {
        self.bytes(column::RAW)
    }

    /// The message text.
    #[must_use]
    #[inline]
    pub fn body(&self) -> &'a [u8] {
        self.bytes(column::BODY)
    }

    /// HOSTNAME, empty if absent.
    #[must_use]
    pub fn host(&self) -> &'a [u8] {
        self.bytes(column::HOST)
    }

    /// APP-NAME or tag, empty if absent.
    #[must_use]
    pub fn app_name(&self) -> &'a [u8] {
        self.bytes(column::APP_NAME)
    }

    /// PROCID, empty if absent.
    #[must_use]
    pub fn proc_id(&self) -> &'a [u8] {
        self.bytes(column::PROC_ID)
    }

    /// MSGID, empty if absent.
    #[must_use]
    pub fn msg_id(&self) -> &'a [u8] {
        self.bytes(column::MSG_ID)
    }

    /// STRUCTURED-DATA with brackets and escapes, empty if absent.
    #[must_use]
    pub fn structured_data(&self) -> &'a [u8] {
        self.bytes(column::STRUCTURED_DATA)
    }

    /// The tenant key, `app-space`.
    #[must_use]
    #[inline]
    pub fn app(&self) -> &'a [u8] {
        self.bytes(column::APP)
    }

    /// [`app_hash`] of the tenant key.
    #[must_use]
    #[inline]
    pub fn app_hash(&self) -> u32 {
        self.row[column::APP_HASH]
    }

    /// Severity.
    #[must_use]
    #[inline]
    pub fn severity(&self) -> Severity {
        Severity((self.row[column::META] & 0xff) as u8)
    }

    /// Facility.
    #[must_use]
    pub fn facility(&self) -> Facility {
        Facility((self.row[column::META] >> 8 & 0xff) as u8)
    }

    /// The set of [`flags`].
    #[must_use]
    #[inline]
    pub fn flags(&self) -> u16 {
        (self.row[column::META] >> 16) as u16
    }

    /// Whether the frame may leave as it came: strictly valid, and not changed since.
    #[must_use]
    #[inline]
    pub fn is_verbatim(&self) -> bool {
        self.flags() & (flags::VERBATIM | flags::EDITED) == flags::VERBATIM
    }

    /// This record's rows of the field table.
    pub fn field_rows(&self) -> std::slice::ChunksExact<'a, u32> {
        let table = &self.batch.fields;
        if table.is_empty() {
            return table.chunks_exact(FIELD_STRIDE);
        }
        let number = u32::try_from(self.index).unwrap_or(u32::MAX);
        let start = lower_bound(table, number);
        let end = lower_bound(table, number.saturating_add(1));
        table[start * FIELD_STRIDE..end * FIELD_STRIDE].chunks_exact(FIELD_STRIDE)
    }

    /// This record's fields, in the order in which parsers added them.
    pub fn fields(&self) -> impl Iterator<Item = Field<'a>> + use<'a> {
        let arena = self.batch.arena.as_slice();
        self.field_rows().map(move |row| Field { name: FieldId(row[1]), value: value(arena, row) })
    }

    /// The last field added under `name`.
    #[must_use]
    pub fn field(&self, name: FieldId) -> Option<FieldValue<'a>> {
        let arena = self.batch.arena.as_slice();
        let row = self.field_rows().rev().find(|row| row[1] == name.0)?;
        Some(value(arena, row))
    }
}

fn lower_bound(table: &[u32], record: u32) -> usize {
    let (mut low, mut high) = (0, table.len() / FIELD_STRIDE);
    while low < high {
        let middle = usize::midpoint(low, high);
        if table[middle * FIELD_STRIDE] < record {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

#[expect(clippy::cast_possible_wrap, reason = "the bits of a signed value")]
fn value<'a>(arena: &'a [u8], row: &[u32]) -> FieldValue<'a> {
    let span = Span { offset: row[3], len: row[4] };
    let bits = u64::from(row[3]) | u64::from(row[4]) << 32;
    match row[2] {
        0 => FieldValue::Text(span.of(arena)),
        1 => FieldValue::Integer(bits as i64),
        2 => FieldValue::Float(f64::from_bits(bits)),
        3 => FieldValue::Bool(bits != 0),
        5 => FieldValue::Json(span.of(arena)),
        _ => FieldValue::Null,
    }
}

#[cfg(test)]
mod tests;
