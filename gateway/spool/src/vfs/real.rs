//! The operating system's file system.

use std::fs::{self, OpenOptions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FallocateFlags, FlockOperation, OFlags};
use rustix::io::Errno;

use super::{Access, File, Lock, Vfs};
use crate::format::SECTOR;

/// The operating system's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct Real;

impl Vfs for Real {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(path)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn File>> {
        let mut options = OpenOptions::new();
        options.read(true);
        match access {
            Access::Read => {}
            Access::Write => {
                options.write(true);
            }
            Access::Create => {
                options.write(true).create(true).truncate(true);
            }
        }
        let file = options.open(path)?;
        if access == Access::Create {
            Ok(Arc::new(Direct::new(file, path)))
        } else {
            Ok(Arc::new(file))
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        fs::File::open(path)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Box::new(Flock { _file: file }))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn random(&self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        let source =
            fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
        // Where there is no such file, the hasher's keys come from the system's generator too.
        source.map_or_else(
            |_| Ok(RandomState::new().build_hasher().finish()),
            |()| Ok(u64::from_le_bytes(bytes)),
        )
    }
}

/// The lock ends when the file is closed, also when the process dies.
#[derive(Debug)]
struct Flock {
    _file: fs::File,
}

impl Lock for Flock {}

/// Least bytes of a write for which it is worth to wait for the disk at once.
const DIRECT_BYTES_MIN: usize = 64 << 10;

/// A file to be written, large writes past the page cache: what is synced at once and mostly never read
/// costs a copy, and the pages for it, for nothing.
#[derive(Debug)]
struct Direct {
    file: fs::File,
    /// Opened for it, where the file system can.
    direct: Option<fs::File>,
    /// It cannot after all.
    is_refused: AtomicBool,
}

impl Direct {
    fn new(file: fs::File, path: &Path) -> Self {
        let flags = OFlags::DIRECT.bits().cast_signed();
        let direct = OpenOptions::new().write(true).custom_flags(flags).open(path).ok();
        Self { file, direct, is_refused: AtomicBool::new(false) }
    }

    /// Whether a write is one that can go past the page cache: whole sectors, also in memory.
    fn suits(bytes: &[u8], offset: u64) -> bool {
        bytes.len() >= DIRECT_BYTES_MIN
            && bytes.len().is_multiple_of(SECTOR)
            && offset.is_multiple_of(SECTOR as u64)
            && bytes.as_ptr().align_offset(SECTOR) == 0
    }
}

impl File for Direct {
    fn pwrite(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let direct = self.direct.as_ref().filter(|_| !self.is_refused.load(Ordering::Relaxed));
        if let Some(direct) = direct.filter(|_| Self::suits(bytes, offset)) {
            match direct.write_at(bytes, offset) {
                // Its sectors are larger, or the file system changed its mind.
                Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
                    self.is_refused.store(true, Ordering::Relaxed);
                }
                result => return result,
            }
        }
        self.file.write_at(bytes, offset)
    }

    fn pread(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(&self.file)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        File::allocate(&self.file, len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        File::set_len(&self.file, len)
    }

    fn size(&self) -> io::Result<u64> {
        File::size(&self.file)
    }
}

impl File for fs::File {
    fn pwrite(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.write_at(bytes, offset)
    }

    fn pread(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        self.read_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        Self::sync_data(self)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        match rustix::fs::fallocate(self, FallocateFlags::empty(), 0, len) {
            // A file system without it: room is then taken as it is written.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            result => Ok(result?),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        Self::set_len(self, len)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}
