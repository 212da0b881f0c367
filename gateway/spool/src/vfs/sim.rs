//! A disk in memory that forgets what was not synced, tears writes, and fails when told to.
//!
//! Each file has what a reader sees and what is durable. A crash applies any of the writes since
//! the last sync, each perhaps torn at a sector, in any order, to the durable content; and of the
//! names that changed since the last sync of the directory, any. A sync that fails drops the
//! writes, as Linux does: they can still be read, and no later sync saves them.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::{Access, File, Lock, Vfs};
use crate::lock;

/// Bytes that are written whole or not at all.
const SECTOR: usize = 512;
/// Errno of "no such file".
const ENOENT: i32 = 2;
/// That of what the disk does not give.
const EIO: i32 = 5;

/// A fault to inject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The call fails with this errno.
    Errno(i32),
    /// A write stops halfway, without an error; other calls are not hurt.
    Short,
}

/// A disk in memory; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Sim(Arc<Mutex<Disk>>);

#[derive(Debug, Default)]
struct Disk {
    files: BTreeMap<u64, Content>,
    next_file: u64,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    locked: bool,
    seed: u64,
    /// Calls that can fail, so far.
    calls: u64,
    faults: BTreeMap<u64, Fault>,
    /// From this call on, all fail so.
    broken: Option<(u64, i32)>,
    room: Option<u64>,
    /// Crashes so far: a handle of an earlier life changes nothing any more.
    life: u64,
    double_syncs: u64,
}

#[derive(Clone, Debug, Default)]
struct Content {
    seen: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
    /// A write or a sync failed: the spool must not touch it again.
    failed_sync: bool,
    /// What cannot be read any more.
    spoilt: Vec<Range<usize>>,
}

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Len(usize),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>, keeps: impl Fn(usize) -> bool) {
        match self {
            Self::Len(len) => bytes.resize(*len, 0),
            Self::Write(offset, new) => {
                for (at, byte) in new.iter().enumerate() {
                    let to = offset + at;
                    if !keeps(to / SECTOR) {
                        continue;
                    }
                    if bytes.len() <= to {
                        bytes.resize(to + 1, 0);
                    }
                    if let Some(old) = bytes.get_mut(to) {
                        *old = *byte;
                    }
                }
            }
        }
    }
}

impl Sim {
    /// An empty disk; the seed decides all that is left to chance.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let sim = Self::default();
        lock(&sim.0).seed = seed;
        sim
    }

    /// What a power loss leaves: a disk of its own, on which nothing is open.
    #[must_use]
    pub fn crash(&self, seed: u64) -> Self {
        let mut disk = lock(&self.0);
        disk.life += 1;
        let mut dice = seed;
        let mut files = BTreeMap::new();
        for (id, content) in &disk.files {
            let mut bytes = content.durable.clone();
            let mut changes: Vec<&Change> = content.pending.iter().collect();
            // Lengths keep their order among themselves; writes reach the platter in any.
            for at in (1..changes.len()).rev() {
                let other = crate::format::index(roll(&mut dice) >> 1) % (at + 1);
                changes.swap(at, other);
            }
            for change in changes {
                match roll(&mut dice) % 4 {
                    0 => {}
                    1 => {
                        let mask = roll(&mut dice);
                        change.apply(&mut bytes, |sector| mask >> (sector % 64) & 1 == 1);
                    }
                    _ => change.apply(&mut bytes, |_| true),
                }
            }
            let spoilt = content.spoilt.clone();
            let content =
                Content { seen: bytes.clone(), durable: bytes, spoilt, ..Content::default() };
            files.insert(*id, content);
        }
        let mut names = disk.durable_names.clone();
        let all: Vec<PathBuf> = disk.names.keys().chain(names.keys()).cloned().collect();
        for path in all {
            if roll(&mut dice).is_multiple_of(2) {
                continue;
            }
            match disk.names.get(&path) {
                Some(id) => names.insert(path, *id),
                None => names.remove(&path),
            };
        }
        let next = Disk {
            files,
            next_file: disk.next_file,
            names: names.clone(),
            durable_names: names,
            seed: dice,
            life: disk.life,
            ..Disk::default()
        };
        Self(Arc::new(Mutex::new(next)))
    }

    /// What the end of the process leaves: all that was written.
    #[must_use]
    pub fn kill(&self) -> Self {
        let disk = lock(&self.0);
        let next = Disk {
            files: disk.files.clone(),
            next_file: disk.next_file,
            names: disk.names.clone(),
            durable_names: disk.durable_names.clone(),
            seed: disk.seed,
            ..Disk::default()
        };
        Self(Arc::new(Mutex::new(next)))
    }

    /// The `nth` call from now on (0 is the next one) meets a fault.
    pub fn fail_at(&self, nth: u64, fault: Fault) {
        let mut disk = lock(&self.0);
        let call = disk.calls + nth;
        disk.faults.insert(call, fault);
    }

    /// All calls fail from the `nth` on, or none.
    pub fn break_at(&self, nth: u64, errno: Option<i32>) {
        let mut disk = lock(&self.0);
        disk.broken = errno.map(|errno| (disk.calls + nth, errno));
        if errno.is_none() {
            disk.faults.clear();
        }
    }

    /// From now on this part of a file cannot be read, also after a restart.
    pub fn spoil(&self, path: &Path, part: Range<usize>) {
        let mut disk = lock(&self.0);
        let id = disk.id(path).unwrap_or(u64::MAX);
        if let Some(content) = disk.files.get_mut(&id) {
            content.spoilt.push(part);
        }
    }

    /// Calls so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        lock(&self.0).calls
    }

    /// Bytes there may be on the disk; `None`: as many as one likes.
    pub fn set_room(&self, bytes: Option<u64>) {
        lock(&self.0).room = bytes;
    }

    /// Writes and syncs of a file after one of its syncs had failed.
    #[must_use]
    pub fn touched_after_failure(&self) -> u64 {
        lock(&self.0).double_syncs
    }

    /// The files and their content, as a reader sees them.
    #[must_use]
    pub fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let disk = lock(&self.0);
        let content = |id| disk.files.get(id).map(|content| content.seen.clone());
        disk.names
            .iter()
            .map(|(path, id)| (path.clone(), content(id).unwrap_or_default()))
            .collect()
    }

    /// Puts a file there, durably.
    pub fn put(&self, path: &Path, bytes: Vec<u8>) {
        let mut disk = lock(&self.0);
        let id = disk.next_file;
        disk.next_file += 1;
        disk.names.insert(path.to_owned(), id);
        disk.durable_names.insert(path.to_owned(), id);
        let content = Content { seen: bytes.clone(), durable: bytes, ..Content::default() };
        disk.files.insert(id, content);
    }
}

/// The next number of a sequence that looks like chance (splitmix64).
fn roll(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Disk {
    /// Counts a call; says how it fails, if it does. `Ok(true)`: a short one.
    fn call(&mut self) -> io::Result<bool> {
        let call = self.calls;
        self.calls += 1;
        if let Some((_, errno)) = self.broken.filter(|(from, _)| *from <= call) {
            return Err(io::Error::from_raw_os_error(errno));
        }
        match self.faults.remove(&call) {
            Some(Fault::Errno(errno)) => Err(io::Error::from_raw_os_error(errno)),
            Some(Fault::Short) => Ok(true),
            None => Ok(false),
        }
    }

    fn id(&self, path: &Path) -> io::Result<u64> {
        self.names.get(path).copied().ok_or_else(|| io::Error::from_raw_os_error(ENOENT))
    }

    fn used(&self) -> u64 {
        let in_use = self.names.values().filter_map(|id| self.files.get(id));
        in_use.map(|content| content.seen.len() as u64).sum()
    }

    fn has_room(&self, more: usize) -> io::Result<()> {
        let full = rustix::io::Errno::NOSPC.raw_os_error();
        match self.room.filter(|room| self.used() + more as u64 > *room) {
            Some(_) => Err(io::Error::from_raw_os_error(full)),
            None => Ok(()),
        }
    }
}

impl Vfs for Sim {
    fn create_dir(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let disk = lock(&self.0);
        let here = disk.names.keys().filter(|name| name.parent() == Some(path));
        let names = here.filter_map(|name| name.file_name()?.to_str());
        Ok(names.map(str::to_owned).collect())
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn File>> {
        let mut disk = lock(&self.0);
        disk.call()?;
        let id = match access {
            Access::Read | Access::Write => disk.id(path)?,
            Access::Create => match disk.names.get(path).copied() {
                Some(id) => {
                    let content = disk.files.entry(id).or_default();
                    content.seen.clear();
                    content.pending.push(Change::Len(0));
                    id
                }
                None => {
                    let id = disk.next_file;
                    disk.next_file += 1;
                    disk.names.insert(path.to_owned(), id);
                    disk.files.insert(id, Content::default());
                    id
                }
            },
        };
        let life = disk.life;
        Ok(Arc::new(SimFile { disk: Arc::clone(&self.0), id, life }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = lock(&self.0);
        disk.call()?;
        let id = disk.id(from)?;
        disk.names.remove(from);
        disk.names.insert(to.to_owned(), id);
        Ok(())
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        let mut disk = lock(&self.0);
        disk.call()?;
        disk.id(path)?;
        disk.names.remove(path);
        Ok(())
    }

    fn sync_dir(&self, _path: &Path) -> io::Result<()> {
        let mut disk = lock(&self.0);
        disk.call()?;
        disk.durable_names = disk.names.clone();
        Ok(())
    }

    fn lock(&self, _path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        let mut disk = lock(&self.0);
        if std::mem::replace(&mut disk.locked, true) {
            return Ok(None);
        }
        Ok(Some(Box::new(SimLock(Arc::clone(&self.0)))))
    }

    fn random(&self) -> io::Result<u64> {
        Ok(roll(&mut lock(&self.0).seed))
    }
}

#[derive(Debug)]
struct SimLock(Arc<Mutex<Disk>>);

impl Lock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        lock(&self.0).locked = false;
    }
}

#[derive(Debug)]
struct SimFile {
    disk: Arc<Mutex<Disk>>,
    id: u64,
    life: u64,
}

impl SimFile {
    /// Makes a change that a crash may undo.
    fn change(&self, disk: &mut Disk, change: Change) {
        if disk.life != self.life {
            return;
        }
        let content = disk.files.entry(self.id).or_default();
        change.apply(&mut content.seen, |_| true);
        content.pending.push(change);
        disk.double_syncs += u64::from(disk.files.get(&self.id).is_some_and(|c| c.failed_sync));
    }
}

impl File for SimFile {
    fn pwrite(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut disk = lock(&self.disk);
        let is_short = disk.call()?;
        let count = if is_short { bytes.len().div_ceil(2) } else { bytes.len() };
        let offset = crate::format::index(offset);
        let len = disk.files.get(&self.id).map_or(0, |content| content.seen.len());
        disk.has_room((offset + count).saturating_sub(len))?;
        let written = bytes.get(..count).unwrap_or_default().to_vec();
        self.change(&mut disk, Change::Write(offset, written));
        Ok(count)
    }

    fn pread(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut disk = lock(&self.disk);
        disk.call()?;
        let offset = crate::format::index(offset);
        let content = disk.files.get(&self.id);
        let seen = content.and_then(|content| content.seen.get(offset..));
        let mut count = seen.map_or(0, <[u8]>::len).min(bytes.len());
        for part in content.iter().flat_map(|content| &content.spoilt) {
            if part.contains(&offset) && count > 0 {
                return Err(io::Error::from_raw_os_error(EIO));
            }
            // What is before it is given, as by a kernel.
            if part.start > offset {
                count = count.min(part.start - offset);
            }
        }
        if let (Some(to), Some(from)) = (bytes.get_mut(..count), seen.and_then(|s| s.get(..count)))
        {
            to.copy_from_slice(from);
        }
        Ok(count)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = lock(&self.disk);
        let result = disk.call();
        let is_alive = disk.life == self.life;
        let content = disk.files.entry(self.id).or_default();
        let failed_before = content.failed_sync;
        match &result {
            Ok(_) if is_alive => {
                for change in std::mem::take(&mut content.pending) {
                    change.apply(&mut content.durable, |_| true);
                }
            }
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                content.failed_sync = true;
                content.pending.clear();
            }
            _ => {}
        }
        disk.double_syncs += u64::from(failed_before);
        result.map(|_| ())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut disk = lock(&self.disk);
        disk.call()?;
        let len = crate::format::index(len);
        let old = disk.files.get(&self.id).map_or(0, |content| content.seen.len());
        disk.has_room(len.saturating_sub(old))?;
        if len > old {
            self.change(&mut disk, Change::Len(len));
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut disk = lock(&self.disk);
        disk.call()?;
        self.change(&mut disk, Change::Len(crate::format::index(len)));
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        let disk = lock(&self.disk);
        Ok(disk.files.get(&self.id).map_or(0, |content| content.seen.len() as u64))
    }
}
