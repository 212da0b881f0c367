//! One live store of a guest, and the few host functions it may call.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use logboom_record::{FieldId, FieldNames};
use wasmtime::component::{Component, Func, Instance as Linked, InstancePre, Linker, TypedFunc};
use wasmtime::{ResourceLimiter, Store, StoreContextMut};

use crate::abi;
use crate::engine::Engine;
use crate::series::Registry;

/// Most data that one call may hand over, and all answers to one batch, in bytes. A batch is at most 1 MiB plus its rows, so an
/// answer several times that size is a flood.
pub(crate) const ANSWER_BYTES_MAX: usize = 32 << 20;
/// Lines of log a guest may write in one second.
const LOG_LINES_MAX: u32 = 10;
/// Most series that a guest may ask for within `describe`.
const PENDING_SERIES_MAX: usize = 1024;
/// Longest text that is taken from a guest for a log line or a message, in bytes.
const TEXT_BYTES_MAX: usize = 2048;

/// Most elements of a table, which is far above what compilers emit.
const TABLE_ELEMENTS_MAX: usize = 20_000;

/// What the host functions of an instance reach.
pub(crate) struct State {
    memory: Memory,
    guest: Arc<str>,
    names_left: Arc<AtomicU32>,
    /// What its series are kept in. The first instance of a guest has none until its `describe`
    /// has told the metrics.
    pub(crate) registry: Option<Arc<Registry>>,
    /// Series that the first instance asked for within `describe`; the id is the place.
    pub(crate) pending: Vec<(u32, Vec<String>)>,
    log: Arc<Mutex<LogBudget>>,
    random: u64,
}

/// Lines of log that a guest may still write, all its instances together.
#[derive(Debug)]
pub(crate) struct LogBudget {
    since: Instant,
    lines: u32,
    suppressed: u64,
}

/// Counts and limits the linear memory of a store, all its modules together.
struct Memory {
    bytes: usize,
    bytes_max: usize,
}

impl ResourceLimiter for Memory {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let bytes = self.bytes.saturating_add(desired.saturating_sub(current));
        let is_allowed = bytes <= self.bytes_max;
        if is_allowed {
            self.bytes = bytes;
        }
        Ok(is_allowed)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX)
    }
}

/// A live store with the functions of its roles.
pub(crate) struct Instance {
    pub(crate) store: Store<State>,
    pub(crate) parse: Option<Func>,
    pub(crate) route: Option<Func>,
    pub(crate) measure: Option<Func>,
    describe: Func,
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance").field("guest", &self.store.data().guest).finish_non_exhaustive()
    }
}

/// What every instance of a guest is given.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub(crate) guest: Arc<str>,
    pub(crate) memory_max: usize,
    pub(crate) deadline: Duration,
    /// Field names it may still add to the process's table.
    pub(crate) names_left: Arc<AtomicU32>,
    pub(crate) log: Arc<Mutex<LogBudget>>,
}

impl LogBudget {
    pub(crate) fn new() -> Self {
        Self { since: Instant::now(), lines: 0, suppressed: 0 }
    }

    /// Whether a line may be written now, and how many were not since the last one.
    fn take(&mut self) -> Option<u64> {
        if self.since.elapsed() >= Duration::from_secs(1) {
            self.since = Instant::now();
            self.lines = 0;
        }
        if self.lines >= LOG_LINES_MAX {
            self.suppressed += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

/// The id of a field name. A new name is charged to `left`; `None` where that is used up, or the
/// name is too long, or the process's table is full.
pub(crate) fn intern_charged(left: &AtomicU32, name: &str) -> Option<FieldId> {
    if let Some(id) = FieldNames::global().find(name) {
        return Some(id);
    }
    let less = |left: u32| left.checked_sub(1);
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).ok()?;
    FieldNames::global().intern(name)
}

/// Cuts text from a guest to a length fit for a log line, and makes control characters visible.
pub(crate) fn tame(text: &str) -> String {
    let end = text.floor_char_boundary(TEXT_BYTES_MAX);
    let kept = text.get(..end).unwrap_or_default();
    kept.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// A linker with the contract's host functions. Every other import of the component, such as the
/// WASI interfaces that its standard library names, traps when it is called; only the seed of hash
/// maps is given, since nothing works without.
pub(crate) fn linker(engine: &Engine, component: &Component) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::<State>::new(&engine.inner);
    let mut host = linker.instance("logboom:guest/host@0.1.0")?;
    host.func_wrap("log", |store, (level, text): (abi::Level, String)| {
        log(&store, level, &text);
        Ok(())
    })?;
    host.func_wrap("intern-field", |store, (name,): (String,)| Ok((intern(&store, &name),)))?;
    host.func_wrap(
        "intern-series",
        |store: StoreContextMut<'_, State>, (metric, labels): (u32, Vec<String>)| {
            Ok((intern_series(store, metric, labels)?,))
        },
    )?;
    for (name, _) in component.component_type().imports(&engine.inner) {
        if name.starts_with("wasi:random/insecure-seed@") {
            linker
                .instance(name)?
                .func_wrap("insecure-seed", |store, (): ()| Ok((seed(store),)))?;
        }
    }
    linker.define_unknown_imports_as_traps(component)?;
    Ok(linker)
}

fn seed(mut store: StoreContextMut<'_, State>) -> (u64, u64) {
    let state = store.data_mut();
    let mut next = || {
        state.random = state.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (state.random ^ state.random >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed ^ mixed >> 27
    };
    (next(), next())
}

fn intern(store: &StoreContextMut<'_, State>, name: &str) -> u32 {
    intern_charged(&store.data().names_left, name).map_or(u32::MAX, |id| id.0)
}

fn intern_series(
    mut store: StoreContextMut<'_, State>,
    metric: u32,
    labels: Vec<String>,
) -> wasmtime::Result<u32> {
    let labels: Vec<String> = labels.into_iter().map(|label| tame(&label)).collect();
    let state = store.data_mut();
    if let Some(registry) = &state.registry {
        return registry.intern(metric, labels).ok_or_else(|| {
            let count = "intern-series: the manifest has no metric of that index and label count";
            wasmtime::Error::msg(format!("{count}: {metric}"))
        });
    }
    let series = (metric, labels);
    let known = state.pending.iter().position(|held| *held == series);
    let at = known.unwrap_or(state.pending.len());
    if at >= PENDING_SERIES_MAX {
        let limit = format!("intern-series: more than {PENDING_SERIES_MAX} series in describe");
        return Err(wasmtime::Error::msg(limit));
    }
    if known.is_none() {
        state.pending.push(series);
    }
    Ok(u32::try_from(at)?)
}

fn log(store: &StoreContextMut<'_, State>, level: abi::Level, text: &str) {
    let state = store.data();
    let allowed = state.log.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(suppressed) = allowed else { return };
    let (guest, text) = (&*state.guest, tame(text));
    match level {
        abi::Level::Error => tracing::error!(guest, suppressed, text, "guest says"),
        abi::Level::Warn => tracing::warn!(guest, suppressed, text, "guest says"),
        abi::Level::Info => tracing::info!(guest, suppressed, text, "guest says"),
        abi::Level::Debug => tracing::debug!(guest, suppressed, text, "guest says"),
    }
}

/// The export of the contract that stands for a function.
const EXPORTS: [(&str, &str); 4] = [
    ("logboom:guest/control@0.1.0", "describe"),
    ("logboom:guest/parser@0.1.0", "parse"),
    ("logboom:guest/router@0.1.0", "route"),
    ("logboom:guest/meter@0.1.0", "measure"),
];

impl Instance {
    /// Instantiates a component.
    pub(crate) fn new(
        engine: &Engine,
        pre: &InstancePre<State>,
        grant: &Grant,
        registry: Option<Arc<Registry>>,
    ) -> wasmtime::Result<Self> {
        let state = State {
            memory: Memory { bytes: 0, bytes_max: grant.memory_max },
            guest: Arc::clone(&grant.guest),
            names_left: Arc::clone(&grant.names_left),
            registry,
            pending: Vec::new(),
            log: Arc::clone(&grant.log),
            random: u64::from(std::process::id()).wrapping_mul(0x2545_F491_4F6C_DD1D),
        };
        let mut store = Store::new(&engine.inner, state);
        store.limiter(|state| &mut state.memory);
        store.set_hostcall_fuel(ANSWER_BYTES_MAX);
        let _running = engine.begin_call();
        store.set_epoch_deadline(Engine::ticks(grant.deadline.max(START_DEADLINE)));
        let linked = pre.instantiate(&mut store)?;
        let [describe, parse, route, measure] =
            EXPORTS.map(|(interface, name)| find(&mut store, &linked, interface, name));
        let describe = describe.ok_or_else(|| {
            wasmtime::Error::msg("it does not export logboom:guest/control@0.1.0")
        })?;
        Ok(Self { store, parse, route, measure, describe })
    }

    /// Whether each export has the contract's types; names the first that has not.
    pub(crate) fn check_types(&mut self) -> Result<(), (&'static str, String)> {
        type Answer<T> = (Result<T, String>,);
        let store = &mut self.store;
        let wrong = |name| move |error: wasmtime::Error| (name, format!("{error:#}"));
        self.describe
            .typed::<(String,), Answer<abi::Manifest>>(&mut *store)
            .map_err(wrong("control.describe"))?;
        if let Some(parse) = self.parse {
            parse
                .typed::<(abi::Batch<'_>,), Answer<abi::Edits>>(&mut *store)
                .map_err(wrong("parser.parse"))?;
        }
        if let Some(route) = self.route {
            route
                .typed::<(abi::Batch<'_>,), Answer<abi::Answer>>(&mut *store)
                .map_err(wrong("router.route"))?;
        }
        if let Some(measure) = self.measure {
            measure
                .typed::<(abi::Batch<'_>,), Answer<abi::Updates>>(&mut *store)
                .map_err(wrong("meter.measure"))?;
        }
        Ok(())
    }

    /// Hands the instance its configuration.
    pub(crate) fn describe(
        &mut self,
        engine: &Engine,
        config: &str,
        deadline: Duration,
    ) -> wasmtime::Result<Result<abi::Manifest, String>> {
        let _running = engine.begin_call();
        self.store.set_epoch_deadline(Engine::ticks(deadline.max(START_DEADLINE)));
        let describe =
            self.describe.typed::<(&str,), (Result<abi::Manifest, String>,)>(&mut self.store)?;
        Ok(describe.call(&mut self.store, (config,))?.0)
    }

    /// Calls a role's function, whose types `check_types` has passed.
    #[expect(unsafe_code, reason = "a typed call with a borrowed batch, checked when loaded")]
    pub(crate) fn call<R>(
        &mut self,
        engine: &Engine,
        function: Func,
        batch: abi::Batch<'_>,
        deadline: Duration,
    ) -> wasmtime::Result<Result<R, String>>
    where
        R: wasmtime::component::ComponentType + wasmtime::component::Lift,
    {
        let _running = engine.begin_call();
        self.store.set_epoch_deadline(Engine::ticks(deadline));
        // SAFETY: `check_types` has compared this export's types with these when the guest was
        // loaded; all instances are made from that one component.
        let typed = unsafe {
            TypedFunc::<(abi::Batch<'_>,), (Result<R, String>,)>::new_unchecked(function)
        };
        Ok(typed.call(&mut self.store, (batch,))?.0)
    }

    /// Bytes of linear memory it has grown to; memory never shrinks.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.store.data().memory.bytes
    }
}

/// What instantiation and `describe` may take, at least: compiling a configured pattern is slow.
const START_DEADLINE: Duration = Duration::from_secs(2);

fn find(store: &mut Store<State>, linked: &Linked, interface: &str, name: &str) -> Option<Func> {
    let interface = linked.get_export_index(&mut *store, None, interface)?;
    let function = linked.get_export_index(&mut *store, Some(&interface), name)?;
    linked.get_func(&mut *store, function)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_beyond_the_budget_are_counted_and_told_with_the_next() {
        let mut budget = LogBudget::new();
        for _ in 0..LOG_LINES_MAX {
            assert_eq!(budget.take(), Some(0));
        }
        assert_eq!([budget.take(), budget.take()], [None, None]);
        budget.since -= Duration::from_secs(1);
        assert_eq!([budget.take(), budget.take()], [Some(2), Some(0)]);
    }

    #[test]
    fn names_are_charged_when_new_until_none_is_left() {
        let left = AtomicU32::new(1);
        let first = intern_charged(&left, "charged_by_an_instance");
        assert!(first.is_some());
        assert_eq!(intern_charged(&left, "charged_by_an_instance"), first);
        assert_eq!(intern_charged(&left, "charged_by_the_next"), None);
    }
}
