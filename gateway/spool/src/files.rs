//! The names of the spool's files.

use std::path::{Path, PathBuf};

/// Digits of a sequence in a name.
const DIGITS: usize = 20;

/// Where the files of a spool are.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    pub(crate) dir: PathBuf,
}

impl Files {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// The file that is locked.
    pub(crate) fn lock(&self) -> PathBuf {
        self.dir.join("lock")
    }

    /// The segment to come.
    pub(crate) fn spare(&self) -> PathBuf {
        self.dir.join("spare.lb")
    }

    pub(crate) fn segment(&self, first: u64) -> PathBuf {
        self.dir.join(segment_name(first))
    }

    pub(crate) fn quarantine(&self) -> PathBuf {
        self.dir.join("quarantine")
    }
}

pub(crate) fn segment_name(first: u64) -> String {
    format!("seg-{first:020}.lb")
}

/// The first sequence of a segment, from its file's name.
pub(crate) fn first_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("seg-")?.strip_suffix(".lb")?;
    let is_plain = digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| digits.parse().ok())?
}
