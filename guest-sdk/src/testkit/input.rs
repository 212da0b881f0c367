//! Records and batches for tests.

use super::host;
use super::trial::FieldValue;
use crate::batch::{FIELD_STRIDE, STRIDE, column};
use crate::edits::word;
use crate::{Batch, Glob, Interest, Record};

/// One record to be handed to a guest.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Input {
    spans: [Vec<u8>; 7],
    app: Vec<u8>,
    time: i64,
    severity: u8,
    facility: u8,
    flags: u16,
    fields: Vec<(String, FieldValue)>,
}

impl Input {
    /// A record of severity 6 (info) and facility 1 (user) with this body, which is its raw frame
    /// too. Its time is 2026-11-21T05:44:01Z.
    #[must_use]
    pub fn body(body: impl AsRef<[u8]>) -> Self {
        let mut input =
            Self { time: 1_795_239_841_000_000_000, severity: 6, facility: 1, ..Self::default() };
        input.spans[0] = body.as_ref().to_vec();
        input.spans[1] = body.as_ref().to_vec();
        input
    }

    /// With this raw frame.
    #[must_use]
    pub fn raw(self, raw: impl AsRef<[u8]>) -> Self {
        self.with(column::RAW, raw.as_ref())
    }

    /// With this HOSTNAME.
    #[must_use]
    pub fn host(self, host: impl AsRef<[u8]>) -> Self {
        self.with(column::HOST, host.as_ref())
    }

    /// With this program.
    #[must_use]
    pub fn app_name(self, name: impl AsRef<[u8]>) -> Self {
        self.with(column::APP_NAME, name.as_ref())
    }

    /// With this PROCID.
    #[must_use]
    pub fn proc_id(self, id: impl AsRef<[u8]>) -> Self {
        self.with(column::PROC_ID, id.as_ref())
    }

    /// With this MSGID.
    #[must_use]
    pub fn msg_id(self, id: impl AsRef<[u8]>) -> Self {
        self.with(column::MSG_ID, id.as_ref())
    }

    /// With this STRUCTURED-DATA, brackets included.
    #[must_use]
    pub fn structured_data(self, data: impl AsRef<[u8]>) -> Self {
        self.with(column::STRUCTURED_DATA, data.as_ref())
    }

    /// With this tenant key.
    #[must_use]
    pub fn app(mut self, app: impl AsRef<[u8]>) -> Self {
        self.app = app.as_ref().to_vec();
        self
    }

    /// With this event time, in Unix nanoseconds.
    #[must_use]
    pub fn time(mut self, nanos: i64) -> Self {
        self.time = nanos;
        self
    }

    /// With this severity, 0 to 7.
    #[must_use]
    pub fn severity(mut self, severity: u8) -> Self {
        self.severity = severity;
        self
    }

    /// With this facility, 0 to 23.
    #[must_use]
    pub fn facility(mut self, facility: u8) -> Self {
        self.facility = facility;
        self
    }

    /// With these [`flags`](crate::flags).
    #[must_use]
    pub fn flags(mut self, flags: u16) -> Self {
        self.flags = flags;
        self
    }

    /// With this field besides those it has.
    #[must_use]
    pub fn field(mut self, name: &str, value: impl Into<FieldValue>) -> Self {
        self.fields.push((name.to_owned(), value.into()));
        self
    }

    fn with(mut self, column: usize, bytes: &[u8]) -> Self {
        if let Some(span) = self.spans.get_mut((column - column::RAW) / 2) {
            *span = bytes.to_vec();
        }
        self
    }
}

impl From<&str> for Input {
    fn from(body: &str) -> Self {
        Self::body(body)
    }
}

impl From<(&str, &str)> for Input {
    /// An app and a body.
    fn from((app, body): (&str, &str)) -> Self {
        Self::body(body).app(app)
    }
}

/// A batch of records that owns its lists.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    arena: Vec<u8>,
    rows: Vec<u32>,
    fields: Vec<u32>,
}

impl Inputs {
    /// A batch of these records: [`Input`]s, bodies, or pairs of app and body.
    #[must_use]
    pub fn new<I: Into<Input>>(records: impl IntoIterator<Item = I>) -> Self {
        let mut inputs = Self::default();
        for record in records {
            inputs.push(&record.into());
        }
        inputs
    }

    /// The view that a guest gets of all records.
    ///
    /// # Errors
    /// Never as long as the rows are as long as the contract says.
    pub fn batch(&self) -> Result<Batch<'_>, String> {
        Batch::new(&self.arena, word(STRIDE), &self.rows, &self.fields, 1_795_239_842_000_000_000)
    }

    /// The arena and the words of all rows, as they would cross.
    #[must_use]
    pub fn lists(&self) -> (&[u8], &[u32], &[u32]) {
        (&self.arena, &self.rows, &self.fields)
    }

    /// The records that `interest` admits, and their indices in `self`.
    pub(crate) fn select(&self, interest: &Interest) -> Result<(Self, Vec<u32>), String> {
        let mut selected = Self { arena: self.arena.clone(), ..Self::default() };
        let mut indices = Vec::new();
        for record in self.batch()?.records().filter(|record| admits(interest, record)) {
            let index = record.index() as usize;
            let row = self.rows.get(index * STRIDE..(index + 1) * STRIDE).unwrap_or(&[]);
            selected.rows.extend_from_slice(row);
            let new_index = word(indices.len());
            let (fields, _) = self.fields.as_chunks::<FIELD_STRIDE>();
            for field in fields.iter().filter(|field| field[0] == record.index()) {
                let name = host::field_name(crate::FieldId(field[1])).unwrap_or_default();
                if interest.fields.contains(&name) {
                    selected.fields.push(new_index);
                    selected.fields.extend_from_slice(&field[1..]);
                }
            }
            indices.push(record.index());
        }
        Ok((selected, indices))
    }

    fn push(&mut self, input: &Input) {
        let index = word(self.rows.len() / STRIDE);
        let [low, high] = halves(input.time.cast_unsigned());
        self.rows.extend_from_slice(&[low, high]);
        for span in input.spans.iter().chain([&input.app]) {
            let span = self.append(span);
            self.rows.extend_from_slice(&span);
        }
        let meta = u32::from(input.severity)
            | u32::from(input.facility) << 8
            | u32::from(input.flags) << 16;
        self.rows.extend_from_slice(&[meta, 0]);
        for (name, value) in &input.fields {
            let (kind, [low, high]) = match value {
                FieldValue::Text(text) => (0, self.append(text.as_bytes())),
                FieldValue::Integer(value) => (1, halves(value.cast_unsigned())),
                FieldValue::Float(value) => (2, halves(value.to_bits())),
                FieldValue::Bool(value) => (3, [u32::from(*value), 0]),
                FieldValue::Null => (4, [0, 0]),
                FieldValue::Json(text) => (5, self.append(text.as_bytes())),
            };
            self.fields.extend_from_slice(&[index, host::intern_field(name).0, kind, low, high]);
        }
    }

    fn append(&mut self, bytes: &[u8]) -> [u32; 2] {
        let start = word(self.arena.len());
        self.arena.extend_from_slice(bytes);
        if bytes.is_empty() { [0, 0] } else { [start, word(bytes.len())] }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the two halves of a 64-bit word")]
fn halves(bits: u64) -> [u32; 2] {
    [bits as u32, (bits >> 32) as u32]
}

fn admits(interest: &Interest, record: &Record<'_>) -> bool {
    let any = |globs: &[String], text: &[u8]| {
        globs.is_empty() || globs.iter().any(|glob| Glob::new(glob).matches(text))
    };
    let occurs = |literal: &String| {
        record.body().windows(literal.len().max(1)).any(|window| window == literal.as_bytes())
    };
    record.severity() <= interest.severity
        && any(&interest.apps, record.app())
        && any(&interest.app_names, record.app_name())
        && (interest.literals.is_empty() || interest.literals.iter().any(occurs))
}
