//! Borrowed views of what the host hands over: a batch, its records, their fields.
//!
//! Nothing here allocates, and nothing here trusts: a span or a row that points outside of the
//! batch reads as absent.

/// Words in a row of this version of the contract. A host may send longer rows, never shorter.
pub const STRIDE: usize = 20;
/// Words in a row of the field table: record, name, kind, two words of value.
pub const FIELD_STRIDE: usize = 5;

/// Positions in a row; a span takes two words, offset then length.
pub(crate) mod column {
    pub(crate) const TIME: usize = 0;
    pub(crate) const RAW: usize = 2;
    pub(crate) const BODY: usize = 4;
    pub(crate) const HOST: usize = 6;
    pub(crate) const APP_NAME: usize = 8;
    pub(crate) const PROC_ID: usize = 10;
    pub(crate) const MSG_ID: usize = 12;
    pub(crate) const STRUCTURED_DATA: usize = 14;
    pub(crate) const APP: usize = 16;
    pub(crate) const META: usize = 18;
}

/// What the gateway's decoder has to say about a record ([`Record::flags`]).
pub mod flags {
    /// The frame was RFC 5424.
    pub const RFC5424: u16 = 1;
    /// The frame was RFC 3164 or one of its dialects.
    pub const RFC3164: u16 = 1 << 1;
    /// No usable event time was given: the receive time stands in for it.
    pub const TIME_ASSUMED: u16 = 1 << 2;
    /// No usable priority was given: `user.notice` stands in for it.
    pub const PRIORITY_ASSUMED: u16 = 1 << 3;
    /// The frame broke its grammar somewhere; what could be read was kept.
    pub const MALFORMED: u16 = 1 << 4;
    /// The frame was longer than the limit and was cut.
    pub const TRUNCATED: u16 = 1 << 5;
    /// The time zone of the event was not given; UTC was taken.
    pub const ZONE_ASSUMED: u16 = 1 << 9;
}

/// Records handed over together.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    arena: &'a [u8],
    rows: &'a [u32],
    stride: usize,
    fields: &'a [u32],
    received: u64,
}

impl<'a> Batch<'a> {
    /// A view over the lists of the contract's `batch`.
    ///
    /// # Errors
    /// When `stride` is smaller than [`STRIDE`]: such a host speaks an older contract.
    pub fn new(
        arena: &'a [u8],
        stride: u32,
        rows: &'a [u32],
        fields: &'a [u32],
        received: u64,
    ) -> Result<Self, String> {
        let stride = stride as usize;
        if stride < STRIDE {
            return Err(format!("the batch has rows of {stride} words; {STRIDE} are needed"));
        }
        Ok(Self { arena, rows, stride, fields, received })
    }

    /// Number of records.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.rows.len() / self.stride
    }

    /// Whether there is no record.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.rows.len() < self.stride
    }

    /// When the records came in, in Unix nanoseconds.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// The bytes that all views point into.
    #[must_use]
    #[inline]
    pub fn arena(&self) -> &'a [u8] {
        self.arena
    }

    /// All records in order.
    #[must_use]
    #[inline]
    pub fn records(&self) -> Records<'a> {
        Records {
            arena: self.arena,
            rows: self.rows.chunks_exact(self.stride),
            fields: self.fields,
            index: 0,
        }
    }

    /// The record at `index`, counted from 0.
    #[must_use]
    pub fn record(&self, index: u32) -> Option<Record<'a>> {
        let at = (index as usize).checked_mul(self.stride)?;
        let row = self.rows.get(at..)?.get(..self.stride)?.first_chunk()?;
        let (rows, _) = self.fields.as_chunks::<FIELD_STRIDE>();
        let first = rows.partition_point(|field| field[0] < index);
        let fields = self.fields.get(first * FIELD_STRIDE..).unwrap_or(&[]);
        Some(Record { arena: self.arena, row, fields: leading(fields, index), index })
    }
}

/// The rows at the start of a field table that belong to the record `index`.
fn leading(fields: &[u32], index: u32) -> &[u32] {
    let (rows, _) = fields.as_chunks::<FIELD_STRIDE>();
    let count = rows.iter().take_while(|field| field[0] == index).count();
    fields.get(..count * FIELD_STRIDE).unwrap_or(&[])
}

/// The records of a [`Batch`] in order.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    arena: &'a [u8],
    rows: std::slice::ChunksExact<'a, u32>,
    fields: &'a [u32],
    index: u32,
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    #[inline]
    fn next(&mut self) -> Option<Record<'a>> {
        let row = self.rows.next()?.first_chunk()?;
        let index = self.index;
        self.index += 1;
        let fields = if self.fields.is_empty() { self.fields } else { self.take_fields(index) };
        Some(Record { arena: self.arena, row, fields, index })
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.rows.size_hint()
    }
}

impl ExactSizeIterator for Records<'_> {}

impl<'a> Records<'a> {
    fn take_fields(&mut self, index: u32) -> &'a [u32] {
        let (rows, _) = self.fields.as_chunks::<FIELD_STRIDE>();
        let passed = rows.iter().take_while(|field| field[0] < index).count();
        let rest = self.fields.get(passed * FIELD_STRIDE..).unwrap_or(&[]);
        let own = leading(rest, index);
        self.fields = rest.get(own.len()..).unwrap_or(&[]);
        own
    }
}

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// Bytes, UTF-8 by custom, not by promise.
    Text(&'a [u8]),
    /// A whole number.
    Integer(i64),
    /// A number.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// There, without a value.
    Null,
    /// A nested value as its JSON text.
    Json(&'a [u8]),
}

/// The id of a field name, the same for all guests of a gateway; see [`FieldId::intern`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FieldId(pub u32);

impl FieldId {
    /// What the host answers when a guest's limit of names is reached. Fields of this id are not
    /// added.
    pub const REFUSED: Self = Self(u32::MAX);

    /// Asks the host for the id of a name. Do it once, in `describe`: it costs 30 to 90 ns.
    #[must_use]
    pub fn intern(name: &str) -> Self {
        crate::host::intern_field(name)
    }
}

/// A borrowed view of one record. Absent parts read as empty.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    arena: &'a [u8],
    row: &'a [u32; STRIDE],
    fields: &'a [u32],
    index: u32,
}

impl<'a> Record<'a> {
    /// Its place in the batch, from 0.
    #[must_use]
    #[inline]
    pub fn index(&self) -> u32 {
        self.index
    }

    #[inline]
    fn span(&self, column: usize) -> &'a [u8] {
        slice(self.arena, self.row[column], self.row[column + 1])
    }

    /// The frame as it came, without its framing.
    #[must_use]
    #[inline]
    pub fn raw(&self) -> &'a [u8] {
        self.span(column::RAW)
    }

    /// The message text.
    #[must_use]
    #[inline]
    pub fn body(&self) -> &'a [u8] {
        self.span(column::BODY)
    }

    /// HOSTNAME.
    #[must_use]
    #[inline]
    pub fn host(&self) -> &'a [u8] {
        self.span(column::HOST)
    }

    /// The program: APP-NAME, or the RFC 3164 tag.
    #[must_use]
    #[inline]
    pub fn app_name(&self) -> &'a [u8] {
        self.span(column::APP_NAME)
    }

    /// PROCID, or the number in brackets behind the tag.
    #[must_use]
    #[inline]
    pub fn proc_id(&self) -> &'a [u8] {
        self.span(column::PROC_ID)
    }

    /// MSGID.
    #[must_use]
    #[inline]
    pub fn msg_id(&self) -> &'a [u8] {
        self.span(column::MSG_ID)
    }

    /// STRUCTURED-DATA as it came: brackets included, escapes kept.
    #[must_use]
    #[inline]
    pub fn structured_data(&self) -> &'a [u8] {
        self.span(column::STRUCTURED_DATA)
    }

    /// Whose record it is: the tenant key, `app-space`.
    #[must_use]
    #[inline]
    pub fn app(&self) -> &'a [u8] {
        self.span(column::APP)
    }

    /// Event time in Unix nanoseconds.
    #[must_use]
    #[inline]
    pub fn time(&self) -> i64 {
        signed(self.row[column::TIME], self.row[column::TIME + 1])
    }

    /// Severity, 0 (emergency) to 7 (debug).
    #[must_use]
    #[inline]
    pub fn severity(&self) -> u8 {
        self.row[column::META].to_le_bytes()[0]
    }

    /// Facility, 0 (kernel) to 23 (local7).
    #[must_use]
    #[inline]
    pub fn facility(&self) -> u8 {
        self.row[column::META].to_le_bytes()[1]
    }

    /// A set of [`flags`].
    #[must_use]
    #[inline]
    pub fn flags(&self) -> u16 {
        let [_, _, low, high] = self.row[column::META].to_le_bytes();
        u16::from_le_bytes([low, high])
    }

    /// The value of a field, if the record has it and the guest's interest names it. Where a name
    /// was added twice, the later one counts.
    #[must_use]
    #[inline]
    pub fn field(&self, id: FieldId) -> Option<Value<'a>> {
        let (rows, _) = self.fields.as_chunks::<FIELD_STRIDE>();
        let row = rows.iter().rev().find(|row| row[1] == id.0)?;
        value(self.arena, row)
    }

    /// All fields that were handed over, in the order in which they were added.
    pub fn fields(&self) -> impl Iterator<Item = (FieldId, Value<'a>)> + use<'a> {
        let arena = self.arena;
        let (rows, _) = self.fields.as_chunks::<FIELD_STRIDE>();
        rows.iter().filter_map(move |row| Some((FieldId(row[1]), value(arena, row)?)))
    }
}

#[inline]
fn value<'a>(arena: &'a [u8], row: &[u32; FIELD_STRIDE]) -> Option<Value<'a>> {
    let [_, _, kind, low, high] = *row;
    Some(match kind {
        0 => Value::Text(slice(arena, low, high)),
        1 => Value::Integer(signed(low, high)),
        2 => Value::Float(f64::from_bits(u64::from(high) << 32 | u64::from(low))),
        3 => Value::Bool(low != 0),
        4 => Value::Null,
        5 => Value::Json(slice(arena, low, high)),
        _ => return None,
    })
}

#[inline]
pub(crate) fn slice(arena: &[u8], offset: u32, len: u32) -> &[u8] {
    arena.get(offset as usize..).and_then(|tail| tail.get(..len as usize)).unwrap_or(&[])
}

#[inline]
fn signed(low: u32, high: u32) -> i64 {
    (u64::from(high) << 32 | u64::from(low)).cast_signed()
}

#[cfg(test)]
mod tests;
