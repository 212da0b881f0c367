//! How records are kept until they are delivered, and who a destination is taken to be.

use std::path::PathBuf;
use std::time::Duration;

/// What happens to a record whose destination's queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WhenFull {
    /// It goes to the spool, whose oldest records of the destination are shed beyond its share.
    Spool,
    /// The oldest record of the queue is dropped, and counted.
    Shed,
    /// Sources that feed it wait.
    Block,
}

/// When a source may be told that a record has been taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Durability {
    /// When every destination has it, or the spool in place of one that is down or behind.
    Memory,
    /// When the disk has it.
    Disk,
}

/// `[spool]`: records on disk that wait for their destinations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spool {
    /// Whether there is one.
    pub enabled: bool,
    /// Its folder, relative to the working directory.
    pub path: PathBuf,
    /// Bytes that it may take on disk.
    pub max: u64,
    /// Bytes that may wait for one destination; never more than `max`.
    pub share: u64,
    /// Bytes of one of its files; at most a quarter of `max`.
    pub segment: u64,
}

/// `[parked]`: how long refused records are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked {
    /// Bytes that they may take on disk.
    pub max: u64,
    /// How long one is kept.
    pub age: Duration,
}

/// Files and name for TLS to a destination; all `None` where its scheme has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM certificates of authorities, in the place of those of the system.
    pub ca: Option<PathBuf>,
    /// PEM certificate chain that is shown to the destination. There if and only if `key` is.
    pub cert: Option<PathBuf>,
    /// PEM private key of `cert`.
    pub key: Option<PathBuf>,
    /// The name, in lower case, or IP address that the destination's certificate must have; its
    /// host if there is none.
    pub server_name: Option<String>,
}
