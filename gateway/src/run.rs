//! The whole process on one page: where the rooms meet.
//!
//! ```text
//!  source ─▶ framing, decode ─▶ pipeline (guests) ─▶ routing ─▶ queue, lanes ─▶ connector
//!  ingest    logboom-codec      pipeline, host       route      outbound
//! ```

use std::collections::HashMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use logboom_host::{Engine, EngineLimits, Guest, LoadError, Settings};
use logboom_record::{Batch, SourceId};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::{self, Component, Config, DestinationUrl, WhenFull};
use crate::control::{self, Control};
use crate::ingest::{self, Admission, Intake, Listening, Permit};
use crate::outbound::{Destination, DestinationSettings, Parcel};
use crate::pipeline::{Park, Pipeline, Slot};
use crate::route::Table;
use crate::telemetry::exposition::{self, Exposition};
use crate::telemetry::ledger::{DropReason, Ledger, SourceBook};

/// Why the gateway cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A source cannot listen.
    #[error(transparent)]
    Bind(#[from] ingest::BindError),
    /// The control listener cannot listen.
    #[error("control cannot listen on {address}: {cause}; choose another [control] listen")]
    Control {
        /// Where.
        address: std::net::SocketAddr,
        /// Why.
        cause: std::io::Error,
    },
    /// The data folder cannot be used.
    #[error("data folder {path} cannot be used: {cause}")]
    Data {
        /// Which.
        path: String,
        /// Why.
        cause: std::io::Error,
    },
    /// A guest cannot be taken into service.
    #[error("{component}")]
    Guest {
        /// Where its component came from.
        component: String,
        /// Why not.
        #[source]
        cause: LoadError,
    },
    /// The engine that runs guests cannot start.
    #[error(transparent)]
    Engine(#[from] LoadError),
    /// A guest's file cannot be read.
    #[error("guest \"{guest}\": cannot read {path}: {cause}")]
    GuestFile {
        /// Name in the configuration.
        guest: String,
        /// Its file.
        path: String,
        /// Why.
        cause: std::io::Error,
    },
    /// A router names a route that is not configured.
    #[error(
        "guest \"{guest}\" sends to route \"{route}\", which is not configured; configured: {configured}"
    )]
    Route {
        /// Name in the configuration.
        guest: String,
        /// The route.
        route: String,
        /// Those there are.
        configured: String,
    },
    /// Metrics cannot be recorded.
    #[error("metrics cannot be recorded: {0}")]
    Metrics(String),
}

/// A gateway in service.
#[derive(Debug)]
pub struct Gateway {
    /// The books.
    pub ledger: Arc<Ledger>,
    /// Sources by name, scheme and address.
    pub listening: Vec<(String, &'static str, std::net::SocketAddr)>,
    /// Where control listens.
    pub control: std::net::SocketAddr,
    sources: Vec<JoinHandle<()>>,
    control_task: JoinHandle<()>,
    destinations: Vec<Arc<Destination>>,
    is_ready: Arc<AtomicBool>,
    stop_sources: watch::Sender<bool>,
    give_up: watch::Sender<bool>,
    stop_control: watch::Sender<bool>,
    shutdown: Duration,
}

/// The standard guest of that name, as it is embedded.
#[must_use]
pub fn standard_guest(name: &str) -> Option<&'static [u8]> {
    let found = logboom_guest_artifacts::STANDARD.iter().find(|(known, _)| *known == name);
    found.map(|(_, bytes)| *bytes)
}

/// Time for control to answer what it was asked before the end.
const CONTROL_GRACE: Duration = Duration::from_secs(1);

/// Loads the guests of a configuration in their order; compiled ones are kept in `cache`.
///
/// # Errors
/// The first guest that cannot be loaded.
pub fn load_guests(config: &Config, cache: Option<PathBuf>) -> Result<Vec<Arc<Guest>>, StartError> {
    if config.guests.is_empty() {
        return Ok(Vec::new());
    }
    let memory_max = config.guests.iter().map(|guest| guest.memory).max().unwrap_or(0);
    let limits = EngineLimits::for_guests(memory_max, config.guests.len());
    let engine = match Engine::new(limits, cache) {
        // Without a cache guests are compiled at each start, which only takes time.
        Err(error @ LoadError::Cache { .. }) => {
            tracing::warn!(%error, "compiled guests are not kept");
            Engine::new(limits, None)?
        }
        started => started?,
    };
    config.guests.iter().map(|guest| load_guest(&engine, guest)).collect()
}

fn load_guest(engine: &Engine, guest: &config::Guest) -> Result<Arc<Guest>, StartError> {
    let from_file;
    let bytes = match &guest.component {
        Component::Standard(name) => standard_guest(name).unwrap_or_default(),
        Component::Path(path) => {
            from_file = std::fs::read(path).map_err(|cause| StartError::GuestFile {
                guest: guest.name.clone(),
                path: path.display().to_string(),
                cause,
            })?;
            &from_file
        }
    };
    let settings = Settings {
        name: guest.name.clone(),
        config: guest.config.clone(),
        memory_max: guest.memory,
        deadline: guest.deadline,
        series_max: guest.series_max,
        names_max: u32::try_from(guest.names_max).unwrap_or(u32::MAX),
    };
    let component = || match &guest.component {
        Component::Standard(name) => format!("std:{name}"),
        Component::Path(path) => path.display().to_string(),
    };
    let loaded = Guest::load(engine, bytes, settings);
    Ok(Arc::new(loaded.map_err(|cause| StartError::Guest { component: component(), cause })?))
}

/// Destinations as they are shared: each URL once, with the strongest `when_full` of its orders.
#[derive(Default)]
struct Endpoints {
    by_name: HashMap<String, usize>,
    settings: Vec<DestinationSettings>,
}

impl Endpoints {
    fn index(
        &mut self,
        config: &Config,
        url: &DestinationUrl,
        when_full: Option<WhenFull>,
    ) -> usize {
        let next = self.settings.len();
        let index = *self.by_name.entry(url.canonical.clone()).or_insert(next);
        if index == next {
            self.settings.push(DestinationSettings {
                canonical: url.canonical.clone(),
                kind: url.kind.clone(),
                connections_max: usize::from(config.limits.max_connections),
                queue_bytes_max: config.limits.queue,
                when_full: WhenFull::Shed,
            });
        }
        if when_full == Some(WhenFull::Block) {
            self.settings[index].when_full = WhenFull::Block;
        }
        index
    }
}

/// The smallest queue that a destination is given, however many there are.
const QUEUE_BYTES_MIN: usize = 256 << 10;

impl Endpoints {
    /// Cuts the queues so that all of them together hold at most half of the memory: what waits for
    /// dead destinations must never stop the sources of the living.
    fn share_memory(&mut self, memory: usize) {
        let share = memory / 2 / self.settings.len().max(1);
        for settings in &mut self.settings {
            settings.queue_bytes_max = settings.queue_bytes_max.min(share.max(QUEUE_BYTES_MIN));
        }
    }
}

/// Starts the gateway: guests, then destinations, then sources.
///
/// # Errors
/// [`StartError`]; nothing is left running.
pub async fn start(config: &Config, metrics: PrometheusHandle) -> Result<Gateway, StartError> {
    let data = |cause| StartError::Data { path: config.data.display().to_string(), cause };
    std::fs::create_dir_all(&config.data).map_err(data)?;
    let guests = load_guests(config, Some(config.data.join("compiled")))?;
    let control_at = config.control.listen;
    let control_fail = |cause| StartError::Control { address: control_at, cause };
    let control_listener = TcpListener::bind(control_at).await.map_err(control_fail)?;
    let control_address = control_listener.local_addr().map_err(control_fail)?;

    let mut endpoints = Endpoints::default();
    let mut to = |url, when_full| endpoints.index(config, url, when_full);
    let routes: Vec<usize> =
        config.routes.iter().map(|route| to(&route.destination, route.when_full)).collect();
    let drains: Vec<(String, usize)> = config
        .drains
        .iter()
        .map(|drain| (drain.app.clone(), to(&drain.destination, drain.when_full)))
        .collect();
    endpoints.share_memory(config.limits.memory);
    let source_names: Vec<String> = config.sources.iter().map(|s| s.name.clone()).collect();
    let names: Vec<String> = endpoints.settings.iter().map(|s| s.canonical.clone()).collect();
    let ledger = Arc::new(Ledger::new(&source_names, &names));
    let books = ledger.destinations().iter().cloned();
    let destinations: Vec<Arc<Destination>> =
        endpoints.settings.into_iter().zip(books).map(|(s, b)| Destination::start(s, b)).collect();

    let admission = Arc::new(Admission::new(config.limits.memory));
    let table = Table::new(&drains, routes);
    let flows = flows(config, &admission, &guests, &ledger, table, &destinations)?;
    let (stop_sources, stopped) = watch::channel(false);
    let (give_up, given_up) = watch::channel(false);
    let (stop_control, control_stopped) = watch::channel(false);
    let common = ingest::Common {
        record_bytes_max: config.limits.record,
        admission: Arc::clone(&admission),
        shutdown: stopped,
        give_up: given_up,
    };
    let mut sources = Vec::new();
    let mut listening = Vec::new();
    for (index, (source, flow)) in config.sources.iter().zip(flows).enumerate() {
        let id = SourceId(u16::try_from(index).unwrap_or(u16::MAX));
        let book = Arc::clone(&flow.book);
        let Listening { address, task } =
            ingest::listen(source, id, book, Arc::new(flow), &common).await?;
        listening.push((source.name.clone(), source.url.scheme(), address));
        sources.push(task);
    }
    let is_ready = Arc::new(AtomicBool::new(true));
    let control = Control {
        exposition: Exposition { ledger: Arc::clone(&ledger), guests },
        handle: metrics,
        arena_bytes: Box::new(move || admission.used()),
        is_ready: Arc::clone(&is_ready),
        auth_key: config.control.auth_key.clone(),
    };
    let control_task = tokio::spawn(control::serve(control_listener, control, control_stopped));
    Ok(Gateway {
        ledger,
        listening,
        control: control_address,
        sources,
        control_task,
        destinations,
        is_ready,
        stop_sources,
        give_up,
        stop_control,
        shutdown: config.limits.shutdown,
    })
}

impl Gateway {
    /// Stops taking in, delivers what there is within the configured time, gives up the rest, and
    /// counts it. The control listener answers until the end.
    pub async fn shutdown(self) {
        let deadline = tokio::time::Instant::now() + self.shutdown;
        self.is_ready.store(false, Ordering::Relaxed);
        // Without a receiver there is no source left to stop.
        self.stop_sources.send(true).unwrap_or_default();
        for mut source in self.sources {
            // A source may wait for a queue that blocks; at the deadline it gives up its sessions.
            if tokio::time::timeout_at(deadline, &mut source).await.is_err() {
                self.give_up.send(true).unwrap_or_default();
                drop(source.await);
            }
        }
        let all = self.destinations.iter().map(|d| {
            let destination = Arc::clone(d);
            tokio::spawn(async move { destination.shutdown(deadline).await })
        });
        for task in all.collect::<Vec<_>>() {
            drop(task.await);
        }
        for book in self.ledger.sources() {
            let left = usize::try_from(book.in_pipeline.get()).unwrap_or(usize::MAX);
            book.dropped.add(DropReason::Shutdown, left);
            book.in_pipeline.leave(left);
        }
        self.stop_control.send(true).unwrap_or_default();
        let mut control = self.control_task;
        // A request that never ends must not keep the process.
        if tokio::time::timeout(CONTROL_GRACE, &mut control).await.is_err() {
            control.abort();
        }
    }
}

/// The way of a source's records from decoding to the queues.
struct Flow {
    source: Arc<str>,
    book: Arc<SourceBook>,
    pipeline: Option<Arc<Pipeline>>,
    /// Routes that take every record.
    always: Vec<usize>,
    table: Arc<Table>,
    destinations: Arc<[Arc<Destination>]>,
    admission: Arc<Admission>,
}

fn flows(
    config: &Config,
    admission: &Arc<Admission>,
    guests: &[Arc<Guest>],
    ledger: &Ledger,
    table: Table,
    destinations: &[Arc<Destination>],
) -> Result<Vec<Flow>, StartError> {
    let (table, destinations) = (Arc::new(table), Arc::from(destinations.to_vec()));
    let park = Arc::new(Park::new(&config.data));
    let mut pipelines: Vec<(Arc<Pipeline>, &config::Pipeline)> = Vec::new();
    for raw in &config.pipelines {
        let mut slots = Vec::with_capacity(raw.guests.len());
        for index in &raw.guests {
            let (guest, settings) = (&guests[*index], &config.guests[*index]);
            let route_of = route_of(guest, config)?;
            slots.push(Slot::new(Arc::clone(guest), settings.on_fault, route_of));
        }
        let pipeline = Pipeline::new(slots, config.routes.len(), Arc::clone(&park));
        pipelines.push((Arc::new(pipeline), raw));
    }
    let sources = config.sources.iter().zip(ledger.sources()).enumerate();
    let flows = sources.map(|(index, (source, book))| {
        let found = pipelines.iter().find(|(_, raw)| raw.sources.contains(&index));
        Flow {
            source: source.name.as_str().into(),
            book: Arc::clone(book),
            pipeline: found.map(|(pipeline, _)| Arc::clone(pipeline)),
            always: found.map(|(_, raw)| raw.routes.clone()).unwrap_or_default(),
            table: Arc::clone(&table),
            destinations: Arc::clone(&destinations),
            admission: Arc::clone(admission),
        }
    });
    Ok(flows.collect())
}

fn route_of(guest: &Guest, config: &Config) -> Result<Vec<usize>, StartError> {
    let find = |route: &String| {
        config.routes.iter().position(|known| known.name == *route).ok_or_else(|| {
            let names: Vec<&str> = config.routes.iter().map(|r| r.name.as_str()).collect();
            let configured = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            let (guest, route) = (guest.name().to_owned(), route.clone());
            StartError::Route { guest, route, configured }
        })
    };
    guest.manifest().routes.iter().map(find).collect()
}

impl Intake for Flow {
    fn take<'a>(
        &'a self,
        mut batch: Batch,
        permit: Permit,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        let verdicts = match &self.pipeline {
            Some(pipeline) => pipeline.process(&mut batch, &self.book),
            None => logboom_host::Verdicts::new(0),
        };
        let routed = self.table.route(&batch, &verdicts, &self.always);
        let len = batch.len();
        let admission = Arc::clone(&self.admission);
        let done = Box::new(move |batch| {
            admission.recycle(batch);
            drop(permit);
        });
        let parcel = Arc::new(Parcel::new(batch, Arc::clone(&self.source), done));
        Box::pin(async move {
            for (destination, selection) in routed.deliveries {
                let records = selection.count(len);
                self.destinations[destination].push(&parcel, selection).await;
                // Behind the push, so that a session that is aborted while it waits has no entry.
                self.book.copies.add(records);
            }
            self.book.routed.add(routed.routed);
            self.book.dropped.add(DropReason::Unrouted, routed.unrouted);
            self.book.in_pipeline.leave(len);
        })
    }
}

/// Checks a configuration as `start` would, but opens no socket and delivers nothing.
///
/// # Errors
/// [`StartError`] on guests: what the configuration's own check cannot see.
pub fn check(config: &Config) -> Result<(), StartError> {
    let guests = load_guests(config, None)?;
    guests.iter().try_for_each(|guest| route_of(guest, config).map(drop))
}

/// Installs the metrics recorder of the process.
///
/// # Errors
/// [`StartError::Metrics`].
pub fn install_metrics() -> Result<PrometheusHandle, StartError> {
    exposition::install().map_err(StartError::Metrics)
}

/// Reads a configuration, or takes the embedded one.
///
/// # Errors
/// All problems of the file.
pub fn read_config(path: Option<&Path>) -> Result<Config, config::Problems> {
    path.map_or_else(|| Ok(Config::embedded()), Config::load)
}
