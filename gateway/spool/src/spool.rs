//! The handle.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use tokio::sync::futures::Notified;

use crate::recover::{self, failed};
use crate::state::Shared;
use crate::vfs::{Real, Vfs};
use crate::writer::{self, Writer};
use crate::{
    AppendError, Appended, DestinationId, Durable, Observer, OpenError, Options, Read, ReadError,
    Recovery, Shed, State, Stats, Waiting, Want, lock,
};

/// A handle to a spool; cheap to clone. The spool is closed with the last one.
#[derive(Clone, Debug)]
pub struct Spool {
    shared: Arc<Shared>,
    thread: Arc<Thread>,
}

/// The writer's thread, which ends with the last handle.
#[derive(Debug)]
struct Thread {
    shared: Arc<Shared>,
    handle: Mutex<Option<JoinHandle<()>>>,
}

impl Spool {
    /// Opens the spool in a directory, which is made if need be and locked.
    ///
    /// # Errors
    /// [`OpenError`]; damaged content is none: [`Recovery`] says what was found.
    pub fn open(
        path: &Path,
        options: Options,
        observer: Arc<dyn Observer>,
    ) -> Result<(Self, Recovery), OpenError> {
        Self::open_on(Arc::new(Real), path, options, observer)
    }

    /// As [`Spool::open`], on any file system.
    ///
    /// # Errors
    /// As there.
    pub fn open_on(
        vfs: Arc<dyn Vfs>,
        path: &Path,
        options: Options,
        observer: Arc<dyn Observer>,
    ) -> Result<(Self, Recovery), OpenError> {
        let (shared, recovery) = recover::open(vfs, path, options, observer)?;
        let mut writer = Writer::new(Arc::clone(&shared));
        // The first segment is there before the first sequence is given, so that no sequence is
        // given twice whatever a crash leaves. Without room for it, appends are refused.
        writer.work(Instant::now());
        let handle = thread::Builder::new()
            .name("spool".to_owned())
            .spawn(move || writer::run(writer))
            .map_err(|source| failed("start a thread for", path.to_owned(), source))?;
        let handle = Mutex::new(Some(handle));
        let thread = Arc::new(Thread { shared: Arc::clone(&shared), handle });
        Ok((Self { shared, thread }, recovery))
    }

    /// Drawn when the spool was made; with a sequence it names an entry anywhere.
    #[must_use]
    pub fn uuid(&self) -> [u8; 16] {
        self.shared.uuid
    }

    /// The sequence that the next entry gets: all that were ever given are below.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.shared.lock().next
    }

    /// Finds a destination by name, or makes it.
    #[must_use]
    pub fn destination(&self, name: &str) -> DestinationId {
        self.shared.destination(name)
    }

    /// Appends an entry: its parts, back to back. Never blocks on the disk.
    ///
    /// # Errors
    /// [`AppendError`]; after `Backlog`, `Full` and `Failed` wait for [`Spool::room`].
    pub fn append(
        &self,
        payload: &[&[u8]],
        wants: &[Want],
        durable: Option<Durable>,
    ) -> Result<Appended, AppendError> {
        self.shared.append(payload, wants, durable, false)
    }

    /// As [`Self::append`], but only where all destinations hold the entry: for what its caller has in memory
    /// already.
    ///
    /// # Errors
    /// [`AppendError`]; `Lagging` where one of them would not.
    pub fn append_held(
        &self,
        payload: &[&[u8]],
        wants: &[Want],
        durable: Option<Durable>,
    ) -> Result<Appended, AppendError> {
        self.shared.append(payload, wants, durable, true)
    }

    /// Ready when an append can be taken, or when none ever will be: the spool is closed.
    ///
    /// *Cancel safety*: it can be dropped at any time.
    pub async fn room(&self) {
        self.shared.room().await;
    }

    /// Gives out the next entry a destination lags behind with. Blocks on the disk.
    ///
    /// # Errors
    /// [`ReadError`]; the entry is still there.
    pub fn read(&self, destination: DestinationId) -> Result<Read, ReadError> {
        self.shared.read(destination)
    }

    /// Wakes when something was written, a lag began, or the state changed since this was called;
    /// perhaps also without a reason.
    pub fn written(&self) -> Notified<'_> {
        self.shared.written.notified()
    }

    /// So many records of a held entry are finished. More than it has, or for an entry that is
    /// not held, does nothing.
    pub fn done(&self, destination: DestinationId, sequence: u64, records: u32) {
        self.shared.done(destination, sequence, records);
    }

    /// Whether an entry is held and kept on disk: from the append or [`Spool::read`] that said so
    /// until [`Spool::done`] for all its records, [`Spool::relinquish`] or [`Spool::forget`]; no
    /// more if the segment it is in had to go, see [`Options::bytes_max`].
    #[must_use]
    pub fn holds(&self, destination: DestinationId, sequence: u64) -> bool {
        self.shared.holds(destination, sequence)
    }

    /// What a destination holds lags again: the caller has let go of it. Says what waits then.
    ///
    /// [`Spool::read`] goes back to the first entry that is held and gives out all from there on,
    /// whole: also what was finished behind it, and what [`Spool::shed`] passed behind it. `done`
    /// must no longer be called for what was held before: once it is given out again, it would
    /// count.
    pub fn relinquish(&self, destination: DestinationId) -> Waiting {
        self.shared.relinquish(destination)
    }

    /// Passes the oldest lagging entries until no more than `keep_bytes` lag; what is not written
    /// yet is not passed. Blocks on the disk.
    #[must_use]
    pub fn shed(&self, destination: DestinationId, keep_bytes: u64) -> Shed {
        self.shared.shed(destination, keep_bytes)
    }

    /// What a destination has not done.
    #[must_use]
    pub fn waiting(&self, destination: DestinationId) -> Waiting {
        self.shared.waiting(destination)
    }

    /// All destinations with something waiting, also those of earlier processes.
    #[must_use]
    pub fn lagging(&self) -> Vec<(DestinationId, String, Waiting)> {
        self.shared.lagging()
    }

    /// Gives up all that waits for a destination; says what that was.
    pub fn forget(&self, destination: DestinationId) -> Waiting {
        self.shared.forget(destination)
    }

    /// Whether the spool takes entries.
    #[must_use]
    pub fn state(&self) -> State {
        self.shared.lock().state.clone()
    }

    /// Figures.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Writes and syncs what was appended, and the cursors; ends the thread. Later appends are
    /// refused; reading goes on. Blocks on the disk.
    pub fn close(&self) {
        self.thread.close();
    }
}

impl Thread {
    fn close(&self) {
        self.shared.lock().close();
        self.shared.work.notify_one();
        let Some(handle) = lock(&self.handle).take() else { return };
        // The thread itself drops the last handle if a callback held it: it ends by itself.
        if handle.thread().id() != thread::current().id() {
            // A panic of the thread was in a callback; all that can be done was done.
            drop(handle.join());
        }
        self.shared.room.notify_waiters();
        self.shared.written.notify_waiters();
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.close();
    }
}
