//! The engine: one per process, with its epoch ticker and its cache of compiled components.

use std::fs::Metadata;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use sha2::{Digest, Sha256};
use wasmtime::component::Component;
use wasmtime::{Config, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::error::LoadError;
use crate::guest::root;

/// One step of the clock by which deadlines are counted.
const TICK: Duration = Duration::from_millis(2);
/// Steps without a call after which the clock sleeps until the next one.
const IDLE_TICKS: u32 = 50;

/// What the engine sets aside for all guests together.
#[derive(Clone, Copy, Debug)]
pub struct EngineLimits {
    /// Most linear memory that any instance may have, in bytes.
    pub memory_max: usize,
    /// Most instances alive at once.
    pub instances_max: u32,
}

/// Instances alive at once for which room is set aside, for each guest: those kept waiting, and some
/// in use above that.
const INSTANCES_PER_GUEST: u32 = 24;
/// As much again for all guests together.
const INSTANCES_SPARE: u32 = 32;
/// Most instances of an engine: each takes some 4 GiB of address space, of which 128 TiB exist.
const INSTANCES_MAX: u32 = 8192;

impl EngineLimits {
    /// Room for `guests` guests, none of which has more than `memory_max` bytes an instance.
    #[must_use]
    pub fn for_guests(memory_max: usize, guests: usize) -> Self {
        let guests = u32::try_from(guests).unwrap_or(u32::MAX);
        let instances = guests.saturating_mul(INSTANCES_PER_GUEST).saturating_add(INSTANCES_SPARE);
        Self { memory_max, instances_max: instances.min(INSTANCES_MAX) }
    }
}

impl Default for EngineLimits {
    fn default() -> Self {
        Self { memory_max: 64 << 20, instances_max: 256 }
    }
}

/// Compiles components and ticks the deadlines of their calls.
#[derive(Clone)]
pub struct Engine {
    pub(crate) inner: wasmtime::Engine,
    pub(crate) limits: EngineLimits,
    cache: Option<Arc<Path>>,
    ticker: Arc<Ticker>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("limits", &self.limits).field("cache", &self.cache).finish()
    }
}

/// The clock of deadlines: a thread, which ends with the last engine and sleeps while no guest is
/// called, so that an idle gateway costs nothing.
#[derive(Debug)]
struct Ticker {
    state: Arc<TickerState>,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct TickerState {
    stop: AtomicBool,
    /// Calls in progress.
    calls: AtomicUsize,
    is_asleep: AtomicBool,
}

/// A call in progress, for which the clock runs.
#[derive(Debug)]
pub(crate) struct Call<'a>(&'a TickerState);

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            drop(thread.join());
        }
    }
}

impl Engine {
    /// Starts an engine. Compiled components are kept in `cache`, a folder that only this user may
    /// write to; it is made if need be.
    ///
    /// # Errors
    /// [`LoadError::Engine`] when the machine cannot run it, [`LoadError::Cache`] when the folder
    /// cannot be used or others may write to it.
    pub fn new(limits: EngineLimits, cache: Option<PathBuf>) -> Result<Self, LoadError> {
        let inner = wasmtime::Engine::new(&config(limits))
            .map_err(|error| LoadError::Engine(format!("{error:#}")))?;
        if let Some(path) = &cache {
            prepare_cache(path).map_err(|cause| LoadError::Cache { path: path.clone(), cause })?;
        }
        let ticker = Ticker::start(&inner).map_err(|e| LoadError::Engine(e.to_string()))?;
        Ok(Self { inner, limits, cache: cache.map(Into::into), ticker: Arc::new(ticker) })
    }

    /// To be held during each call of a guest: its deadline needs the clock.
    #[inline]
    pub(crate) fn begin_call(&self) -> Call<'_> {
        let state = &self.ticker.state;
        // Either the clock sees the call before it sleeps, or this sees that it sleeps: both sides
        // are sequentially consistent.
        state.calls.fetch_add(1, Ordering::SeqCst);
        if state.is_asleep.load(Ordering::SeqCst)
            && let Some(thread) = &self.ticker.thread
        {
            thread.thread().unpark();
        }
        Call(state)
    }

    /// How many ticks a deadline is: rounded up, and one more because the first may come at once.
    pub(crate) fn ticks(deadline: Duration) -> u64 {
        let ticks = deadline.as_millis().div_ceil(TICK.as_millis());
        u64::try_from(ticks).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// Compiles a component, or takes it from the cache.
    pub(crate) fn compile(&self, guest: &str, bytes: &[u8]) -> Result<Component, LoadError> {
        let cached = self.cache.as_ref().map(|folder| folder.join(self.cache_name(bytes)));
        if let Some(component) = cached.as_deref().and_then(|path| self.load_cached(path)) {
            return Ok(component);
        }
        let component = Component::from_binary(&self.inner, bytes).map_err(|error| {
            LoadError::NotAComponent { guest: guest.to_owned(), cause: root(&error) }
        })?;
        if let Some(path) = cached
            && let Err(error) = store_cached(&path, &component)
        {
            tracing::warn!(guest, %error, path = %path.display(), "compiled guest not cached");
        }
        Ok(component)
    }

    fn cache_name(&self, bytes: &[u8]) -> String {
        let mut engine = DefaultHasher::new();
        self.inner.precompile_compatibility_hash().hash(&mut engine);
        let mut name = String::with_capacity(88);
        for byte in Sha256::digest(bytes) {
            name.push_str(&format!("{byte:02x}"));
        }
        format!("{name}-{:016x}.cwasm", engine.finish())
    }

    #[expect(unsafe_code, reason = "loads machine code that this user compiled before")]
    fn load_cached(&self, path: &Path) -> Option<Component> {
        match check_cached(path) {
            Ok(true) => {}
            Ok(false) => return None,
            Err(error) => {
                tracing::warn!(error, path = %path.display(), "cached guest not used, compiling anew");
                return None;
            }
        }
        // SAFETY: the file was written by `store_cached` from this engine's own compiler: it and its
        // folder were checked to be writable by nobody but this user (`check_cached`,
        // `prepare_cache`), and the name holds the digest of the component and the engine's
        // compatibility hash.
        match unsafe { Component::deserialize_file(&self.inner, path) } {
            Ok(component) => Some(component),
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "cached guest unusable, compiling anew");
                None
            }
        }
    }
}

fn config(limits: EngineLimits) -> Config {
    let instances = limits.instances_max;
    let mut pool = PoolingAllocationConfig::default();
    pool.max_memory_size(limits.memory_max)
        .total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(4))
        .total_memories(instances)
        .total_tables(instances.saturating_mul(3))
        .linear_memory_keep_resident(2 << 20)
        .table_keep_resident(64 << 10)
        .max_unused_warm_slots(64);
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .epoch_interruption(true)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}

impl Ticker {
    fn start(engine: &wasmtime::Engine) -> std::io::Result<Self> {
        let state = Arc::new(TickerState::default());
        let (engine, own) = (engine.weak(), Arc::clone(&state));
        let thread = std::thread::Builder::new()
            .name("guest-epoch".into())
            .spawn(move || own.run(&engine))?;
        Ok(Self { state, thread: Some(thread) })
    }
}

impl TickerState {
    fn run(&self, engine: &wasmtime::EngineWeak) {
        let mut idle = 0;
        while !self.stop.load(Ordering::SeqCst) {
            std::thread::park_timeout(TICK);
            let Some(engine) = engine.upgrade() else { return };
            engine.increment_epoch();
            idle = if self.calls.load(Ordering::SeqCst) > 0 { 0 } else { idle + 1 };
            if idle < IDLE_TICKS {
                continue;
            }
            self.is_asleep.store(true, Ordering::SeqCst);
            while self.calls.load(Ordering::SeqCst) == 0 && !self.stop.load(Ordering::SeqCst) {
                std::thread::park();
            }
            self.is_asleep.store(false, Ordering::SeqCst);
            idle = 0;
        }
    }
}

/// The user this process runs as. Without it nothing can be said of who owns a file.
fn own_user() -> Result<u32, String> {
    std::fs::metadata("/proc/self")
        .map(|own| own.uid())
        .map_err(|error| format!("which user this is cannot be told: /proc/self: {error}"))
}

/// Refuses what belongs to, or can be written by, somebody else.
fn check_owned(found: &Metadata) -> Result<(), String> {
    let own = own_user()?;
    if found.uid() != own {
        return Err(format!("it belongs to user {}, not to this one ({own})", found.uid()));
    }
    if found.mode() & 0o022 != 0 {
        return Err(format!(
            "others may write to it (mode {:o}); chmod it 700",
            found.mode() & 0o777
        ));
    }
    Ok(())
}

/// Makes the folder, and refuses one that somebody else could put code into, or put another in the
/// place of.
fn prepare_cache(path: &Path) -> Result<(), String> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| error.to_string())?;
    let found = std::fs::symlink_metadata(path).map_err(|error| error.to_string())?;
    if !found.is_dir() {
        return Err("it is a link, not a folder".to_owned());
    }
    check_owned(&found)?;
    let above = path.canonicalize().map_err(|error| error.to_string())?;
    let Some(above) = above.parent() else { return Ok(()) };
    let mode = std::fs::metadata(above).map_err(|error| error.to_string())?.mode();
    if mode & 0o002 != 0 && mode & 0o1000 == 0 {
        let above = above.display();
        return Err(format!(
            "others may replace it: the folder above, {above}, has mode {:o}; chmod it o-w",
            mode & 0o7777
        ));
    }
    Ok(())
}

/// Whether there is a cached file; refuses one that is a link or that others may write to.
fn check_cached(path: &Path) -> Result<bool, String> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.to_string()),
        Ok(found) if !found.is_file() => Err("it is not a regular file".to_owned()),
        Ok(found) => check_owned(&found).map(|()| true),
    }
}

/// Writes beside and renames, so that a reader never sees half a file, and a machine that stops
/// leaves none.
fn store_cached(path: &Path, component: &Component) -> Result<(), Box<dyn std::error::Error>> {
    let bytes = component.serialize()?;
    let beside = path.with_extension(format!("{}.tmp", std::process::id()));
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    Ok(())
}
