//! The image of a batch: its tables as bytes that outlive the process. The arena goes beside it.
//!
//! ```text
//!  u8 version = 1 │ i64 received │ u32 names │ u32 field words │ u32 row words      little endian
//!  names × ( u32 id │ u16 length │ bytes )
//!  field table, u32 words of 5 a row      row table, u32 words of 20 a row
//! ```
//!
//! Ids of field names and hashes of apps hold in one process only: both are made anew on reading.

use std::borrow::Cow;
use std::collections::HashMap;

use zerocopy::IntoBytes;

use super::{Batch, FIELD_STRIDE, FieldValue};
use crate::row::{STRIDE, Span, column};
use crate::{FieldId, FieldNames, UnixNanos, app_hash};

/// Version of the image, its first byte.
const VERSION: u8 = 1;

/// Why bytes are no image of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// A version that this program does not know.
    #[error("version {0} of the image of a batch is unknown, {VERSION} is known")]
    Version(u8),
    /// It ends too early, or a table is not what it should be.
    #[error("the image of a batch is broken at byte {0}")]
    Broken(usize),
}

impl Batch {
    /// Appends the image of the tables to `out`.
    pub fn write_image(&self, out: &mut Vec<u8>) {
        self.write_image_front(out);
        for table in self.image_tables() {
            out.extend_from_slice(&table);
        }
    }

    /// The fields and the rows as they stand in the image, behind its front.
    #[must_use]
    pub fn image_tables(&self) -> [Cow<'_, [u8]>; 2] {
        [&self.fields, &self.rows].map(|words| {
            if cfg!(target_endian = "little") {
                Cow::Borrowed(words.as_bytes())
            } else {
                Cow::Owned(words.iter().flat_map(|word| word.to_le_bytes()).collect())
            }
        })
    }

    /// Appends to `out` what stands in the image before the tables.
    pub fn write_image_front(&self, out: &mut Vec<u8>) {
        let mut names: Vec<u32> =
            self.fields.chunks_exact(FIELD_STRIDE).map(|row| row[1]).collect();
        names.sort_unstable();
        names.dedup();
        let known = |id: &u32| Some((*id, FieldNames::global().name(FieldId(*id))?));
        let names: Vec<_> = names.iter().filter_map(known).collect();
        out.push(VERSION);
        out.extend_from_slice(&self.received.0.to_le_bytes());
        for count in [names.len(), self.fields.len(), self.rows.len()] {
            out.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
        }
        for (id, name) in names {
            out.extend_from_slice(&id.to_le_bytes());
            out.extend_from_slice(&u16::try_from(name.len()).unwrap_or(u16::MAX).to_le_bytes());
            out.extend_from_slice(name.as_bytes());
        }
    }

    /// The batch of an image at the front of `bytes` and of its arena, which is what lies behind
    /// the image.
    ///
    /// # Errors
    /// [`ImageError`]. Spans are not checked: those out of range read as empty, as ever.
    pub fn from_image(mut bytes: Vec<u8>) -> Result<Self, ImageError> {
        let mut reader = Reader { bytes: &bytes, at: 0 };
        let [version] = reader.take()?;
        if version != VERSION {
            return Err(ImageError::Version(version));
        }
        let received = UnixNanos(i64::from_le_bytes(reader.take()?));
        let (names, field_words, row_words) = (reader.count()?, reader.count()?, reader.count()?);
        let mut ids = HashMap::new();
        for _ in 0..names {
            let id = u32::from_le_bytes(reader.take()?);
            let len = u16::from_le_bytes(reader.take()?);
            let name = String::from_utf8_lossy(reader.slice(usize::from(len))?);
            ids.insert(id, FieldNames::global().intern(&name));
        }
        let fields = read_fields(&reader.words(field_words)?, row_words / STRIDE, &ids);
        let fields = fields.ok_or(ImageError::Broken(reader.at))?;
        let mut rows = reader.words(row_words)?;
        if !rows.len().is_multiple_of(STRIDE) {
            return Err(ImageError::Broken(reader.at));
        }
        let end = reader.at;
        bytes.drain(..end);
        for row in rows.chunks_exact_mut(STRIDE) {
            let app = Span { offset: row[column::APP], len: row[column::APP + 1] };
            row[column::APP_HASH] = app_hash(app.of(&bytes));
        }
        Ok(Self { arena: bytes, rows, fields, received })
    }
}

/// The field table with today's ids; `None` where it is not sorted or names what is not there. Names
/// that can no longer be interned leave their fields out.
fn read_fields(
    words: &[u32],
    records: usize,
    ids: &HashMap<u32, Option<FieldId>>,
) -> Option<Vec<u32>> {
    let mut fields = Vec::with_capacity(words.len());
    let mut last = 0;
    for row in words.chunks(FIELD_STRIDE) {
        let &[record, name, kind, low, high] = row else { return None };
        if record < last || record as usize >= records || kind >= FieldValue::KINDS {
            return None;
        }
        last = record;
        if let Some(name) = ids.get(&name)? {
            fields.extend_from_slice(&[record, name.0, kind, low, high]);
        }
    }
    Some(fields)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn slice(&mut self, len: usize) -> Result<&'a [u8], ImageError> {
        let broken = ImageError::Broken(self.at);
        let end = self.at.checked_add(len).ok_or(broken)?;
        let slice = self.bytes.get(self.at..end).ok_or(broken)?;
        self.at = end;
        Ok(slice)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], ImageError> {
        let broken = ImageError::Broken(self.at);
        self.slice(N)?.try_into().map_err(|_| broken)
    }

    fn count(&mut self) -> Result<usize, ImageError> {
        Ok(u32::from_le_bytes(self.take()?) as usize)
    }

    fn words(&mut self, count: usize) -> Result<Vec<u32>, ImageError> {
        let bytes = self.slice(count.saturating_mul(4))?;
        Ok(bytes.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Head;

    fn sample() -> Batch {
        let mut batch = Batch::new(Vec::new(), UnixNanos(77));
        let status = FieldNames::global().intern("image-status").unwrap();
        for (number, text) in (0u32..).zip(["one", "two", "three"]) {
            let span = batch.append(text.as_bytes());
            let app_hash = app_hash(text.as_bytes());
            batch.push(&Head { raw: span, body: span, app: span, app_hash, ..Head::default() });
            batch.add_fields(vec![number, status.0, 1, number * 100, 0]);
        }
        batch
    }

    fn image(batch: &Batch) -> Vec<u8> {
        let mut bytes = Vec::new();
        batch.write_image(&mut bytes);
        bytes.extend_from_slice(batch.arena());
        bytes
    }

    #[test]
    fn a_batch_comes_back_as_it_was() {
        let batch = sample();
        let back = Batch::from_image(image(&batch)).unwrap();
        assert_eq!((back.arena(), back.rows()), (batch.arena(), batch.rows()));
        assert_eq!(back.field_rows(), batch.field_rows());
        assert_eq!(back.received(), UnixNanos(77));
    }

    #[test]
    fn a_cut_or_changed_image_is_refused_or_read_but_never_panics() {
        let whole = image(&sample());
        let tables = whole.len() - sample().arena().len();
        for len in 0..tables {
            assert!(Batch::from_image(whole[..len].to_vec()).is_err(), "{len}");
        }
        for at in 0..tables {
            for bit in 0..8 {
                let mut changed = whole.clone();
                changed[at] ^= 1 << bit;
                if let Ok(batch) = Batch::from_image(changed) {
                    for record in batch.records() {
                        let _ = (record.raw(), record.app(), record.fields().count());
                    }
                }
            }
        }
    }
}
