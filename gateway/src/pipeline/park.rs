//! The dead-letter log: parked records with their reason, one JSON object a line.
//!
//! ```text
//! {"parked":"<RFC 3339>","guest":"mine","kind":"trap","reason":"…","record":{…},"raw":"<base64>"}
//! ```
//!
//! `record` is the JSON form of the record, `raw` the frame byte for byte. The file is only ever
//! appended to; beyond its limit nothing more is parked, and the caller counts that as a drop.
//!
//! Concurrency: one lock around the file, held for one write of all lines of a batch.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use logboom_codec::encode;
use logboom_host::Fault;
use logboom_record::{Batch, FieldNames, UnixNanos};

/// Largest size of the log, in bytes.
const BYTES_MAX: u64 = 1 << 30;
/// Name of the log in the data folder.
const FILE_NAME: &str = "parked.ndjson";

/// The dead-letter log.
#[derive(Debug)]
pub struct Park {
    path: PathBuf,
    file: Mutex<Option<std::fs::File>>,
}

impl Park {
    /// The log in the data folder; the file is made with the first record.
    #[must_use]
    pub fn new(data: &Path) -> Self {
        Self { path: data.join(FILE_NAME), file: Mutex::new(None) }
    }

    /// Parks the records of `batch`, each for the reason beside it. Returns how many were parked:
    /// all, or none if the log is full or cannot be written, which is logged.
    pub fn take<'a>(
        &self,
        batch: &Batch,
        source: &str,
        guest: &str,
        reasons: impl Iterator<Item = &'a Fault>,
    ) -> usize {
        let mut lines = Vec::new();
        let now = UnixNanos::now();
        for (record, fault) in batch.records().zip(reasons) {
            lines.extend_from_slice(b"{\"parked\":\"");
            encode::rfc3339(now, 9, &mut lines);
            let kind = fault.kind.keyword();
            let head = format!("\",\"guest\":{},\"kind\":\"{kind}\"", quoted(guest));
            lines.extend_from_slice(head.as_bytes());
            let reason = format!(",\"reason\":{},\"record\":", quoted(&fault.message));
            lines.extend_from_slice(reason.as_bytes());
            encode::json(&record, source, &mut |id| FieldNames::global().name(id), &mut lines);
            lines.extend_from_slice(b",\"raw\":\"");
            lines.extend_from_slice(BASE64_STANDARD.encode(record.raw()).as_bytes());
            lines.extend_from_slice(b"\"}\n");
        }
        match self.append(&lines) {
            Ok(()) => batch.len(),
            Err(error) => {
                let (path, records) = (self.path.display(), batch.len());
                tracing::error!(%error, %path, records, "records could not be parked");
                0
            }
        }
    }

    fn append(&self, lines: &[u8]) -> std::io::Result<()> {
        let mut held = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let file = match held.take() {
            Some(file) => file,
            // It holds what records say: for the owner alone.
            None => {
                let mut options = std::fs::OpenOptions::new();
                options.create(true).append(true).mode(0o600).open(&self.path)?
            }
        };
        let size = file.metadata()?.len();
        if size + lines.len() as u64 > BYTES_MAX {
            let message = format!("the dead-letter log has {size} bytes, {BYTES_MAX} are allowed");
            return Err(std::io::Error::other(message));
        }
        let written = (&file).write_all(lines);
        if written.is_err() {
            // A torn line would spoil the next one.
            file.set_len(size)?;
        }
        *held = Some(file);
        written
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
