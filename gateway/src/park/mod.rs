//! The park: dead letters. Records that a guest failed at, or that a destination will never take, with
//! the reason; to be listed, shown, replayed, or forgotten with age.
//!
//! * **What enters**: records, each with its reason.
//! * **What leaves**: the same, when an operator asks for them.
//! * **Limits**: bytes of all files together; age of a file.
//! * **When it fails**: nothing is parked, and the caller counts that as a drop.
//! * **May import**: nothing.
//!
//! Files of one JSON object a line, only ever appended to, named by the first id in them:
//!
//! ```text
//!  parked/00000000000000000001.ndjson
//!   {"id":1,"parked":"<RFC 3339>","guest":"mine","kind":"trap","reason":"…","source":"edge",
//!    "record":{…},"raw":"<base64>","image":"<base64>"}
//!   {"id":2,…,"destination":"https://…","kind":"refused",…}
//!   {"gone":1}
//! ```
//!
//! `record` is the JSON form of the record, `raw` the frame byte for byte, `image` what is needed to
//! replay it. A line with `gone` takes an earlier one out.
//!
//! Concurrency: one lock around the file that is written, held for one write of all lines of a batch.

mod read;

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use logboom_codec::encode;
use logboom_record::{Batch, FieldNames, Selection, UnixNanos};

pub use read::{Filter, Letter, ParkError};

/// Name of its folder in the data folder.
pub const FOLDER: &str = "parked";
/// A file is closed at this size, in bytes.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Who could not do with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parked<'a> {
    /// The guest of that name failed at it.
    Guest(&'a str),
    /// The destination of that canonical URL refused it.
    Destination(&'a str),
}

/// The park.
#[derive(Debug)]
pub struct Park {
    folder: PathBuf,
    bytes_max: u64,
    age_max: Duration,
    written: Mutex<Written>,
}

/// The file that is written to.
#[derive(Debug, Default)]
struct Written {
    file: Option<File>,
    file_bytes: u64,
    /// Bytes of all files; `None` before anything was written.
    bytes: Option<u64>,
    next_id: u64,
}

impl Park {
    /// The park of a data folder; its own is made with the first record.
    #[must_use]
    pub fn new(data: &Path, bytes_max: u64, age_max: Duration) -> Self {
        let written = Mutex::new(Written::default());
        Self { folder: data.join(FOLDER), bytes_max, age_max, written }
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Parks the records of `batch`, each for the kind and reason beside it. Returns how many were
    /// parked: all, or none if the park is full or cannot be written, which is logged.
    pub fn take<'a>(
        &self,
        batch: &Batch,
        source: &str,
        by: Parked<'_>,
        reasons: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> usize {
        let mut written = self.written();
        let taken = self.open(&mut written).and_then(|()| {
            let first = written.next_id;
            let lines = lines(batch, source, by, reasons, first);
            self.append(&mut written, &lines)?;
            written.next_id = first + batch.len() as u64;
            Ok(())
        });
        match taken {
            Ok(()) => batch.len(),
            Err(error) => {
                let (path, records) = (self.folder.display(), batch.len());
                tracing::error!(%error, %path, records, "records could not be parked");
                0
            }
        }
    }

    /// Takes letters out: replayed, or no longer wanted.
    ///
    /// # Errors
    /// When that cannot be written; then they stay.
    pub fn forget(&self, ids: &[u64]) -> std::io::Result<()> {
        let lines: String = ids.iter().map(|id| format!("{{\"gone\":{id}}}\n")).collect();
        let mut written = self.written();
        self.open(&mut written)?;
        self.append(&mut written, lines.as_bytes())
    }

    /// Deletes files whose last letter is older than the age allowed. Returns how many.
    ///
    /// # Errors
    /// When the folder cannot be read or a file not be deleted.
    pub fn expire(&self) -> std::io::Result<usize> {
        let mut written = self.written();
        let mut expired = 0;
        for (_, path) in read::files(&self.folder)? {
            let found = path.metadata()?;
            if found.modified()?.elapsed().is_ok_and(|age| age > self.age_max) {
                std::fs::remove_file(&path)?;
                expired += 1;
                let ids = written.next_id;
                // The file that was open may be the one that is gone.
                *written = Written { next_id: ids, ..Written::default() };
            }
        }
        Ok(expired)
    }

    /// Sees to it that there is a file to write to.
    fn open(&self, written: &mut Written) -> std::io::Result<()> {
        if written.bytes.is_none() {
            std::fs::create_dir_all(&self.folder)?;
            let mut bytes = 0;
            let files = read::files(&self.folder)?;
            for (_, path) in &files {
                bytes += path.metadata()?.len();
            }
            let last = files.last().map_or(Ok(0), |(first, path)| read::last_id(*first, path))?;
            written.next_id = written.next_id.max(last + 1);
            written.bytes = Some(bytes);
        }
        if written.file.is_none() || written.file_bytes >= FILE_BYTES_MAX {
            let path = self.folder.join(format!("{:020}.ndjson", written.next_id));
            // It holds what records say: for the owner alone.
            let mut options = File::options();
            let file = options.create(true).append(true).mode(0o600).open(path)?;
            written.file_bytes = file.metadata()?.len();
            written.file = Some(file);
        }
        Ok(())
    }

    fn append(&self, written: &mut Written, lines: &[u8]) -> std::io::Result<()> {
        let held = written.bytes.unwrap_or(0);
        if held + lines.len() as u64 > self.bytes_max {
            let most = self.bytes_max;
            let message = format!("the park has {held} bytes, {most} are allowed ([parked] max)");
            return Err(std::io::Error::other(message));
        }
        let Some(mut file) = written.file.as_ref() else { return Ok(()) };
        if let Err(error) = file.write_all(lines) {
            // A torn line would spoil the next one.
            file.set_len(written.file_bytes)?;
            return Err(error);
        }
        written.file_bytes += lines.len() as u64;
        written.bytes = Some(held + lines.len() as u64);
        Ok(())
    }
}

fn lines<'a>(
    batch: &Batch,
    source: &str,
    by: Parked<'_>,
    reasons: impl Iterator<Item = (&'a str, &'a str)>,
    first_id: u64,
) -> Vec<u8> {
    let mut lines = Vec::new();
    let now = UnixNanos::now();
    let (member, name) = match by {
        Parked::Guest(name) => ("guest", name),
        Parked::Destination(name) => ("destination", name),
    };
    for ((id, record), (kind, reason)) in (first_id..).zip(batch.records()).zip(reasons) {
        lines.extend_from_slice(format!("{{\"id\":{id},\"parked\":\"").as_bytes());
        encode::rfc3339(now, 9, &mut lines);
        let head = format!(
            "\",\"{member}\":{},\"kind\":{},\"reason\":{},\"source\":{},\"record\":",
            quoted(name),
            quoted(kind),
            quoted(reason),
            quoted(source)
        );
        lines.extend_from_slice(head.as_bytes());
        encode::json(&record, source, &mut |id| FieldNames::global().name(id), &mut lines);
        lines.extend_from_slice(b",\"raw\":\"");
        lines.extend_from_slice(BASE64_STANDARD.encode(record.raw()).as_bytes());
        lines.extend_from_slice(b"\",\"image\":\"");
        let index = u32::try_from(record.index()).unwrap_or(u32::MAX);
        let alone = batch.extract(&Selection::Some(vec![index]));
        let mut image = Vec::new();
        alone.write_image(&mut image);
        image.extend_from_slice(alone.arena());
        lines.extend_from_slice(BASE64_STANDARD.encode(&image).as_bytes());
        lines.extend_from_slice(b"\"}\n");
    }
    lines
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests;
