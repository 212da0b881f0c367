//! The park: dead letters. Records that a guest failed at, or that a destination will never take, with
//! the reason; to be listed, shown, replayed, or forgotten with age.
//!
//! * **What enters**: records, each with its reason.
//! * **What leaves**: the same, when an operator asks for them.
//! * **Limits**: bytes of all files together; age of a letter, within a sixteenth of it.
//! * **When it fails**: nothing is parked, and the caller counts that as a drop.
//! * **May import**: nothing.
//!
//! Files of one JSON object a line, only ever appended to, named by the first id in them; beside each
//! one, as soon as there is any, the ids of its letters that are gone:
//!
//! ```text
//!  parked/00000000000000000001.ndjson
//!   {"id":1,"parked":"<RFC 3339>","guest":"mine","kind":"trap","reason":"…","source":"edge",
//!    "record":{…},"raw":"<base64>","image":"<base64>"}
//!   {"id":2,…,"destination":"https://…","kind":"refused",…}
//!  parked/00000000000000000001.gone
//!   {"gone":1}
//! ```
//!
//! `record` is the JSON form of the record, `raw` the frame byte for byte, `image` what is needed to
//! replay it. When the last letter of a file is gone, both files are deleted. So that no id is given
//! twice, the newest file stays even if it is empty.
//!
//! Concurrency: one lock around all that writes, held for one write of all lines of a batch, and for
//! its sync where that is asked for.

mod read;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use logboom_codec::encode;
use logboom_record::{Batch, FieldNames, Selection, UnixNanos};

pub use read::{Filter, Letter, ParkError};

/// Name of its folder in the data folder.
pub const FOLDER: &str = "parked";
/// A file is closed at this size in bytes, or at this part of what the park may take if that is less:
/// room comes back a file at a time. And it is closed when its first letter has this part of the age that
/// is allowed: letters go a file at a time too, when the last of them is too old.
const FILE_BYTES_MAX: u64 = 16 << 20;
const FILES_MIN: u32 = 16;
/// Letters are looked at for their age so often at least.
const LOOK_EVERY_MAX: Duration = Duration::from_secs(3600);

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

/// What is known of the files.
#[derive(Debug, Default)]
struct Written {
    open: Option<Open>,
    /// Bytes of all letters, gone ones included; `None` before anything was looked at.
    bytes: Option<u64>,
    next_id: u64,
    /// The ids that are left in files of which some are gone, by the first id of the file.
    left: HashMap<u64, Vec<u64>>,
}

/// The file that is written to.
#[derive(Debug)]
struct Open {
    first: u64,
    file: File,
    bytes: u64,
    /// When its first letter came.
    begun: Option<Instant>,
    /// Whether its entry in the folder would last.
    is_entered: bool,
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

    /// Parks the records of `batch`, each for the kind and reason beside it. Where they `must_last`,
    /// because nobody else will have them, they are on the disk before this returns. Returns how many
    /// were parked: all, or none if the park is full or cannot be written, which is logged.
    pub fn take<'a>(
        &self,
        batch: &Batch,
        source: &str,
        by: Parked<'_>,
        reasons: impl Iterator<Item = (&'a str, &'a str)>,
        must_last: bool,
    ) -> usize {
        let mut written = self.written();
        let taken = self.open(&mut written).and_then(|()| {
            let first = written.next_id;
            let lines = lines(batch, source, by, reasons, first);
            self.append(&mut written, &lines, must_last)?;
            written.next_id = first + batch.len() as u64;
            let ids = first..written.next_id;
            let file = written.open.as_ref().map(|open| open.first);
            if let Some(left) = file.and_then(|file| written.left.get_mut(&file)) {
                left.extend(ids);
            }
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

    /// The id that the next letter gets. Blocks.
    ///
    /// # Errors
    /// When the files cannot be read.
    pub fn end(&self) -> std::io::Result<u64> {
        let mut written = self.written();
        self.look(&mut written)?;
        Ok(written.next_id)
    }

    /// Takes letters out: replayed, or no longer wanted. That works in a full park too, and makes
    /// room as soon as no letter of a file is left. Blocks.
    ///
    /// # Errors
    /// When that cannot be written; then some of them stay.
    pub fn forget(&self, ids: &[u64]) -> std::io::Result<()> {
        let mut written = self.written();
        self.look(&mut written)?;
        let files = read::files(&self.folder)?;
        let mut of_file: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
        for id in ids {
            let after = files.partition_point(|(first, _)| first <= id);
            of_file.entry(after).or_default().push(*id);
        }
        for (after, mut ids) in of_file {
            let Some((first, path)) = after.checked_sub(1).and_then(|at| files.get(at)) else {
                continue;
            };
            ids.sort_unstable();
            self.forget_in(&mut written, (*first, path), &ids)?;
        }
        Ok(())
    }

    /// Takes letters of one file out.
    fn forget_in(
        &self,
        written: &mut Written,
        (first, path): (u64, &Path),
        ids: &[u64],
    ) -> std::io::Result<()> {
        let is_known = written.left.contains_key(&first);
        let left = match written.left.remove(&first) {
            Some(left) => left,
            None => read::left(path)?,
        };
        let (gone, rest): (Vec<u64>, Vec<u64>) =
            left.iter().copied().partition(|id| ids.binary_search(id).is_ok());
        if gone.is_empty() {
            written.left.insert(first, left);
            return Ok(());
        }
        if rest.is_empty() {
            return self.delete(written, (first, path));
        }
        let lines: String = gone.iter().map(|id| format!("{{\"gone\":{id}}}\n")).collect();
        // What an earlier process has left torn must not spoil the first line.
        let lines = if is_known { lines } else { format!("\n{lines}") };
        let mut options = File::options();
        let path = path.with_extension(read::GONE);
        let mut file = options.create(true).append(true).mode(0o600).open(path)?;
        // After an error it is no longer known, and is read again.
        file.write_all(lines.as_bytes())?;
        written.left.insert(first, rest);
        Ok(())
    }

    /// Deletes a file of letters and what goes with it. If it was the last, another takes its place.
    fn delete(&self, written: &mut Written, (first, path): (u64, &Path)) -> std::io::Result<()> {
        let bytes = path.metadata()?.len();
        written.open.take_if(|open| open.first == first);
        std::fs::remove_file(path)?;
        written.bytes = written.bytes.map(|all| all.saturating_sub(bytes));
        written.left.remove(&first);
        remove_if_any(&path.with_extension(read::GONE))?;
        if written.open.is_none() {
            self.open(written)?;
        }
        Ok(())
    }

    /// How often to call [`Self::expire`].
    #[must_use]
    pub fn look_every(&self) -> Duration {
        (self.age_max / FILES_MIN).min(LOOK_EVERY_MAX)
    }

    /// Deletes files whose last letter is older than the age allowed. Returns how many. Blocks.
    ///
    /// # Errors
    /// When the folder cannot be read or a file not be deleted.
    pub fn expire(&self) -> std::io::Result<usize> {
        let mut written = self.written();
        self.look(&mut written)?;
        let mut expired = 0;
        for (first, path) in read::files(&self.folder)? {
            let found = path.metadata()?;
            let is_newest = first >= written.next_id;
            let is_old = found.modified()?.elapsed().is_ok_and(|age| age > self.age_max);
            if is_old && !is_newest {
                self.delete(&mut written, (first, &path))?;
                expired += 1;
            }
        }
        Ok(expired)
    }

    /// Sees to it that it is known what there is.
    fn look(&self, written: &mut Written) -> std::io::Result<()> {
        if written.bytes.is_some() {
            return Ok(());
        }
        let mut bytes = 0;
        let files = read::files(&self.folder)?;
        for (_, path) in &files {
            bytes += path.metadata()?.len();
        }
        let last = files.last().map_or(Ok(0), |(first, path)| read::last_id(*first, path))?;
        written.next_id = written.next_id.max(last + 1);
        written.bytes = Some(bytes);
        Ok(())
    }

    /// Sees to it that there is a file to write to.
    fn open(&self, written: &mut Written) -> std::io::Result<()> {
        self.look(written)?;
        let bytes_max = FILE_BYTES_MAX.min(self.bytes_max / u64::from(FILES_MIN));
        let age_max = self.age_max / FILES_MIN;
        let has_room = |open: &Open| {
            open.bytes < bytes_max && open.begun.is_none_or(|begun| begun.elapsed() < age_max)
        };
        if written.open.as_ref().is_some_and(has_room) {
            return Ok(());
        }
        std::fs::create_dir_all(&self.folder)?;
        let first = written.next_id;
        let path = self.folder.join(format!("{first:020}.{}", read::LETTERS));
        // Of a file of that name that somebody has removed.
        remove_if_any(&path.with_extension(read::GONE))?;
        // It holds what records say: for the owner alone.
        let mut options = File::options();
        let mut file = options.create(true).append(true).mode(0o600).open(path)?;
        let mut bytes = file.metadata()?.len();
        if bytes > 0 {
            // It has no letter, but what an earlier process has left torn.
            file.write_all(b"\n")?;
            bytes += 1;
            written.bytes = written.bytes.map(|all| all + 1);
        }
        written.open = Some(Open { first, file, bytes, begun: None, is_entered: false });
        Ok(())
    }

    fn append(&self, written: &mut Written, lines: &[u8], sync: bool) -> std::io::Result<()> {
        let held = written.bytes.unwrap_or(0);
        let more = lines.len() as u64;
        if held + more > self.bytes_max {
            let most = self.bytes_max;
            let message = format!("the park has {held} bytes, {most} are allowed ([parked] max)");
            return Err(std::io::Error::other(message));
        }
        let Some(open) = written.open.as_mut() else { return Ok(()) };
        let mut appended = open.file.write_all(lines);
        if sync {
            appended = appended.and_then(|()| self.sync(open));
        }
        if let Err(error) = appended {
            // What is not parked must not be found, and a torn line would spoil the next one.
            if open.file.set_len(open.bytes).is_err() {
                (written.open, written.bytes) = (None, None);
            }
            return Err(error);
        }
        open.bytes += more;
        open.begun.get_or_insert_with(Instant::now);
        written.bytes = Some(held + more);
        Ok(())
    }

    /// Makes what a file has, and that it is there, outlast a crash of the machine.
    fn sync(&self, open: &mut Open) -> std::io::Result<()> {
        open.file.sync_data()?;
        if !open.is_entered {
            File::open(&self.folder)?.sync_all()?;
            // The folder itself may be new.
            self.folder.parent().map_or(Ok(()), |data| File::open(data)?.sync_all())?;
            open.is_entered = true;
        }
        Ok(())
    }
}

fn remove_if_any(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
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
