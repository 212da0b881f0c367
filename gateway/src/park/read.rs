//! Reading the park: what is listed, shown and replayed.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use logboom_record::Batch;
use serde_json::Value;

use super::Park;

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
    /// The letters that `filter` means, oldest first. Reads the files; a torn or foreign line is
    /// passed over. Blocks.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn letters(&self, filter: &Filter) -> std::io::Result<Vec<Letter>> {
        letters(&self.folder, filter)
    }
}

fn letters(folder: &Path, filter: &Filter) -> std::io::Result<Vec<Letter>> {
    let mut gone = HashSet::new();
    let mut letters = Vec::new();
    for (_, path) in files(folder)? {
        for line in BufReader::new(File::open(path)?).split(b'\n') {
            let Ok(line) = serde_json::from_slice::<Value>(&line?) else { continue };
            if let Some(id) = line.get("gone").and_then(Value::as_u64) {
                gone.insert(id);
            } else if let Some(id) = line.get("id").and_then(Value::as_u64) {
                let letter = Letter { id, line };
                if filter.means(&letter) {
                    letters.push(letter);
                }
            }
        }
    }
    letters.retain(|letter| !gone.contains(&letter.id));
    if filter.limit > 0 {
        letters.truncate(filter.limit);
    }
    Ok(letters)
}

impl Filter {
    fn means(&self, letter: &Letter) -> bool {
        let is = |member, wanted: &Option<String>| {
            wanted.as_ref().is_none_or(|wanted| letter.text(member) == wanted)
        };
        letter.id > self.after
            && (self.ids.is_empty() || self.ids.contains(&letter.id))
            && is("guest", &self.guest)
            && is("destination", &self.destination)
    }
}

/// The files of a folder by the first id in them; none if there is no folder.
pub(super) fn files(folder: &Path) -> std::io::Result<Vec<(u64, PathBuf)>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let is_ours = path.extension().is_some_and(|ending| ending == "ndjson");
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
    for line in BufReader::new(File::open(path)?).split(b'\n') {
        let line = serde_json::from_slice::<Value>(&line?).unwrap_or_default();
        last = last.max(line.get("id").and_then(Value::as_u64).unwrap_or(0));
    }
    Ok(last)
}
