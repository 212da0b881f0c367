//! Reading the park: what is listed, shown and replayed.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Split};
use std::ops::Range;
use std::path::{Path, PathBuf};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use logboom_record::Batch;
use serde_json::Value;

use super::Park;

/// Endings of the names of files: letters, and which of them are gone.
pub(super) const LETTERS: &str = "ndjson";
pub(super) const GONE: &str = "gone";

/// Which letters are meant.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only these; empty for all.
    pub ids: HashSet<u64>,
    /// Only those of this guest.
    pub guest: Option<String>,
    /// Only those of this destination.
    pub destination: Option<String>,
    /// Only ids above this.
    pub after: u64,
    /// Only ids below this.
    pub before: Option<u64>,
    /// At most so many; 0 for all.
    pub limit: usize,
}

/// One parked record.
#[derive(Clone, Debug)]
pub struct Letter {
    /// Its id.
    pub id: u64,
    /// The line as it stands.
    pub line: Value,
}

/// Why a letter cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ParkError {
    /// The park cannot be read or written.
    #[error("the park cannot be used: {0}")]
    Io(#[from] std::io::Error),
    /// The gateway is being shut down.
    #[error("the gateway is stopping: {0} records are on their way, the others stay parked")]
    Stopping(usize),
    /// The image is missing or broken.
    #[error("letter {0} has no image that could be replayed")]
    Image(u64),
}

impl Letter {
    /// A text member, empty if absent.
    #[must_use]
    pub fn text(&self, member: &str) -> &str {
        self.line.get(member).and_then(Value::as_str).unwrap_or_default()
    }

    /// The record as a batch of its own.
    ///
    /// # Errors
    /// [`ParkError::Image`].
    pub fn batch(&self) -> Result<Batch, ParkError> {
        let broken = ParkError::Image(self.id);
        let Ok(image) = BASE64_STANDARD.decode(self.text("image")) else { return Err(broken) };
        Batch::from_image(image).map_err(|_| broken)
    }

    /// The line without what only replaying needs.
    #[must_use]
    pub fn summary(&self) -> Value {
        let mut line = self.line.clone();
        if let Some(members) = line.as_object_mut() {
            members.remove("image");
            members.remove("raw");
        }
        line
    }
}

impl Park {
    /// The letters that `filter` means, oldest first. Reads the files, as far as the limit asks for; a
    /// torn or foreign line is passed over. Blocks.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn letters(&self, filter: &Filter) -> std::io::Result<Vec<Letter>> {
        letters(&self.folder, filter)
    }
}

fn letters(folder: &Path, filter: &Filter) -> std::io::Result<Vec<Letter>> {
    let mut letters = Vec::new();
    let files = files(folder)?;
    let ends = files.iter().skip(1).map(|(next, _)| *next).chain([u64::MAX]);
    for ((first, path), end) in files.iter().zip(ends) {
        if !filter.may_mean_any(*first..end) {
            continue;
        }
        // Before the letters: when the last of them goes, their file is deleted first.
        let gone = gone(path)?;
        let Some(lines) = lines(path)? else { continue };
        for line in lines {
            let line = line?;
            let Some(id) = id_of(&line).filter(|id| filter.means_id(*id) && !gone.contains(id))
            else {
                continue;
            };
            let Ok(line) = serde_json::from_slice(&line) else { continue };
            let letter = Letter { id, line };
            if filter.means(&letter) {
                letters.push(letter);
            }
            if filter.limit > 0 && letters.len() == filter.limit {
                return Ok(letters);
            }
        }
    }
    Ok(letters)
}

/// The lines of a file; none if there is no such file any more.
fn lines(path: &Path) -> std::io::Result<Option<Split<BufReader<File>>>> {
    match File::open(path) {
        Ok(file) => Ok(Some(BufReader::new(file).split(b'\n'))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The id of the letter that a line is, if it is one. Lines are long, and this need not read them.
fn id_of(line: &[u8]) -> Option<u64> {
    number(line.strip_prefix(b"{\"id\":")?.strip_suffix(b"}")?, b',')
}

/// The number up to the first `end`.
fn number(text: &[u8], end: u8) -> Option<u64> {
    let digits = text.split(|byte| *byte == end).next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The ids that are gone of a file of letters.
fn gone(path: &Path) -> std::io::Result<HashSet<u64>> {
    let mut gone = HashSet::new();
    for line in lines(&path.with_extension(GONE))?.into_iter().flatten() {
        let line = line?;
        let id = line.strip_prefix(b"{\"gone\":").filter(|rest| rest.ends_with(b"}"));
        gone.extend(id.and_then(|rest| number(rest, b'}')));
    }
    Ok(gone)
}

/// The ids of a file of letters that are not gone, in order.
pub(super) fn left(path: &Path) -> std::io::Result<Vec<u64>> {
    let gone = gone(path)?;
    let mut left = Vec::new();
    for line in lines(path)?.into_iter().flatten() {
        left.extend(id_of(&line?).filter(|id| !gone.contains(id)));
    }
    Ok(left)
}

impl Filter {
    /// Whether a letter with one of these ids may be meant.
    fn may_mean_any(&self, ids: Range<u64>) -> bool {
        ids.end > self.after.saturating_add(1)
            && self.before.is_none_or(|before| ids.start < before)
            && (self.ids.is_empty() || self.ids.iter().any(|id| ids.contains(id)))
    }

    fn means_id(&self, id: u64) -> bool {
        id > self.after
            && self.before.is_none_or(|before| id < before)
            && (self.ids.is_empty() || self.ids.contains(&id))
    }

    fn means(&self, letter: &Letter) -> bool {
        let is = |member, wanted: &Option<String>| {
            wanted.as_ref().is_none_or(|wanted| letter.text(member) == wanted)
        };
        is("guest", &self.guest) && is("destination", &self.destination)
    }
}

/// The files of a folder by the first id in them; none if there is no folder.
pub(super) fn files(folder: &Path) -> std::io::Result<Vec<(u64, PathBuf)>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let is_ours = path.extension().is_some_and(|ending| ending == LETTERS);
        let first = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
        if let Some(first) = first.filter(|_| is_ours) {
            files.push((first, path));
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// The largest id in a file that begins with `first`.
pub(super) fn last_id(first: u64, path: &Path) -> std::io::Result<u64> {
    let mut last = first.saturating_sub(1);
    for line in lines(path)?.into_iter().flatten() {
        last = last.max(id_of(&line?).unwrap_or(0));
    }
    Ok(last)
}
