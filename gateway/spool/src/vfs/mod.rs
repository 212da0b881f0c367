//! What the spool asks of a file system, so that a test can be one.
//!
//! [`Real`] is the operating system's; `sim::Sim` (with the feature `sim`) forgets what was not synced, tears writes and
//! fails when told to.

use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::sync::Arc;

mod real;
#[cfg(any(test, feature = "sim"))]
#[doc(hidden)]
pub mod sim;

pub use real::Real;

/// Attempts to read, with the last one that does without.
const READS: u32 = 4;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To read what is there.
    Read,
    /// To read and to write what is there.
    Write,
    /// To write a new file; what had the name before is emptied.
    Create,
}

/// A file system.
pub trait Vfs: Send + Sync + Debug {
    /// Makes a directory and those above it; one that is there already is no error.
    ///
    /// # Errors
    /// What the file system says.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// The names in a directory.
    ///
    /// # Errors
    /// What the file system says.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    /// Opens a file.
    ///
    /// # Errors
    /// What the file system says.
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn File>>;
    /// Gives a file another name; what had that name is gone.
    ///
    /// # Errors
    /// What the file system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Takes a name away.
    ///
    /// # Errors
    /// What the file system says.
    fn unlink(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// What the file system says.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Locks a file, which is made if need be, for as long as the guard lives. `None`: another
    /// process holds it.
    ///
    /// # Errors
    /// What the file system says.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>>;
    /// 64 bits that nobody can guess.
    ///
    /// # Errors
    /// What the system says.
    fn random(&self) -> io::Result<u64>;
}

/// A held lock; given back when dropped.
pub trait Lock: Send + Sync + Debug {}

/// An open file. Calls take an offset: there is no position to share.
pub trait File: Send + Sync + Debug {
    /// Writes a prefix of `bytes`, and says how long it was.
    ///
    /// # Errors
    /// What the file system says.
    fn pwrite(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;
    /// Reads, and says how much; 0 only at the end of the file.
    ///
    /// # Errors
    /// What the file system says.
    fn pread(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Makes what was written durable.
    ///
    /// # Errors
    /// What the file system says. What was written since the last success is then in doubt for
    /// ever.
    fn sync_data(&self) -> io::Result<()>;
    /// Takes room for the file to have this length.
    ///
    /// # Errors
    /// What the file system says.
    fn allocate(&self, len: u64) -> io::Result<()>;
    /// Cuts the file to a length, or makes it longer with zeros.
    ///
    /// # Errors
    /// What the file system says.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// The length of the file.
    ///
    /// # Errors
    /// What the file system says.
    fn size(&self) -> io::Result<u64>;
}

/// Writes all of `bytes`: goes on after a short write or an interruption.
pub(crate) fn write_all(file: &dyn File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let count = uninterrupted(|| file.pwrite(bytes, offset))?;
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = bytes.get(count..).unwrap_or_default();
        offset += count as u64;
    }
    Ok(())
}

/// Reads until `bytes` is full or the file ends; says how much.
pub(crate) fn read_full(file: &dyn File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let count = uninterrupted(|| file.pread(rest, offset + filled as u64))?;
        if count == 0 {
            break;
        }
        filled += count;
    }
    Ok(filled)
}

/// Calls again as long as the call is interrupted.
pub(crate) fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Tries again, as a disk may have a bad moment; at last without what it does not give, if the call
/// can do without (it is told by `true`).
pub(crate) fn patiently<T>(mut call: impl FnMut(bool) -> io::Result<T>) -> io::Result<T> {
    for _ in 1..READS {
        if let Ok(done) = call(false) {
            return Ok(done);
        }
    }
    call(true)
}

/// Whether an error means that there is no room (or that nothing may be written) rather than that
/// the disk is broken.
pub(crate) fn is_full(error: &io::Error) -> bool {
    use rustix::io::Errno;

    let full = [Errno::NOSPC, Errno::FBIG, Errno::DQUOT, Errno::ROFS];
    error.raw_os_error().is_some_and(|code| full.iter().any(|errno| errno.raw_os_error() == code))
}
