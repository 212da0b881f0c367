//! What a record and a batch are: the floor that every other room stands on.
//!
//! * **What enters**: bytes of frames, and the spans a decoder found in them.
//! * **What leaves**: a [`Batch`], read through [`Record`] views, whole or by an index list.
//! * **Limits**: offsets are `u32`, so an arena holds less than 4 GiB; sources cut batches far
//!   earlier ([`BATCH_BYTES_MAX`], [`BATCH_RECORDS_MAX`]).
//! * **When it fails**: out-of-range spans read as empty, never as a panic.
//! * **May import**: nothing of this workspace.
//!
//! A batch is one arena of bytes and one table of fixed rows:
//!
//! ```text
//!  arena  "…<34>1 2026-11-21T05:44:01Z web-1 nginx 77 - - GET /…<13>1 2026-…"
//!              ▲                        ▲     ▲            ▲
//!              │raw                     │host │app-name    │body
//!  rows   [ time lo│hi│ raw off,len │ body off,len │ host … │ app … │ meta │ hash ]   record 0
//!         [ …                                                                     ]   record 1
//!  fields [ record│name│kind│off/lo│len/hi ] …           sorted by record, added by parsers
//! ```
//!
//! The rows are `u32` words in the very layout in which they cross to guests
//! (`wit/logboom.wit`), so nothing is rebuilt at that border.

mod batch;
mod mark;
mod names;
mod receipt;
mod row;
mod time;

pub use batch::{Batch, FIELD_STRIDE, Field, FieldValue, ImageError, Record, Selection};
pub use mark::{Mark, POSITION_BYTES, Position, ProducerId};
pub use names::{Facility, FieldId, FieldNames, Severity};
pub use receipt::{Receipt, Resolution};
pub use row::{Head, STRIDE, Span, column, flags};
pub use time::UnixNanos;

/// A source closes a batch at this many arena bytes.
pub const BATCH_BYTES_MAX: usize = 1 << 20;
/// A source closes a batch at this many records.
pub const BATCH_RECORDS_MAX: usize = 4096;

/// A 32-bit hash of a tenant key (`app-space`), the first step of each routing look-up.
///
/// Equal keys hash equal within one process; the seed differs between processes, so the value is
/// never stored or sent.
#[must_use]
pub fn app_hash(app: &[u8]) -> u32 {
    names::hash(app)
}
