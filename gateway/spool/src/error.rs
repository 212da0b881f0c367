//! What can go wrong.

use std::io;
use std::path::PathBuf;

use crate::ENTRY_BYTES_MAX;

/// Why a spool was not opened. Damaged content is no reason.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file system refuses something without which nothing can be done.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// Another process has it open.
    #[error("the spool {} is in use by another process", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// A later Logboom wrote it.
    #[error("{} has format version {version}, but this Logboom reads up to {max}; use a newer one",
        path.display())]
    NewerFormat {
        /// The segment.
        path: PathBuf,
        /// Its version.
        version: u32,
        /// The last version known here.
        max: u32,
    },
    /// There is no such destination.
    #[error("the spool {} knows no destination {name:?}", path.display())]
    NoDestination {
        /// The directory.
        path: PathBuf,
        /// The name that was asked for.
        name: String,
    },
}

/// Why an entry was not appended. Nothing of it was kept, and its [`crate::Durable`] is not called.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Too much is not yet synced; wait for [`crate::Spool::room`].
    #[error("{bytes} bytes in the spool wait to be synced, the limit is {max}")]
    Backlog {
        /// Bytes not synced.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The spool is closed.
    #[error("the spool is closed")]
    Closed,
    /// The disk fails; wait for [`crate::Spool::room`].
    #[error("the spool's disk fails: {0}")]
    Failed(String),
    /// The disk is full; wait for [`crate::Spool::room`].
    #[error("there is no room on the spool's disk")]
    Full,
    /// The destination lags, so that the entry would not be held.
    #[error("destination number {0} of the spool lags")]
    Lagging(u32),
    /// The entry is over [`ENTRY_BYTES_MAX`].
    #[error("an entry of {bytes} bytes is over the limit of {ENTRY_BYTES_MAX}")]
    TooLarge {
        /// Its bytes, with those for its wants.
        bytes: usize,
    },
    /// The destination is of another spool.
    #[error("the spool has no destination number {0}")]
    UnknownDestination(u32),
}

/// Why nothing was read. The entry is still there: try again later.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The disk fails. What cannot be read at the third attempt counts as damaged and is passed.
    #[error("cannot read segment {segment} of the spool")]
    Io {
        /// The first sequence of the segment.
        segment: u64,
        /// What the file system said.
        source: io::Error,
    },
    /// The destination is of another spool.
    #[error("the spool has no destination number {0}")]
    UnknownDestination(u32),
}

/// That an entry was not made durable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the spool ended before it could sync: {reason}")]
pub struct SpoolFailed {
    /// What the last attempt met.
    pub reason: String,
}
