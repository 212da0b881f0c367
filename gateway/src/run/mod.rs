//! The whole process on one page: where the rooms meet.
//!
//! ```text
//!  source ─▶ framing, decode ─▶ pipeline (guests) ─▶ routing ─▶ queue, lanes ─▶ connector
//!  ingest    logboom-codec      pipeline, host       route      outbound, net
//!                                                                 │  ▲
//!                                                                 ▼  │ logboom-spool
//! ```
//!
//! What stays through reloads is in `Standing`; what a configuration makes is a `Generation`.

mod certificates;
mod flow;
mod generation;
mod guests;
mod operate;
mod reload;
mod replay;
mod unused;

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use logboom_host::LoadError;
use logboom_spool::{Damage, Spool};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::{self, Config, Place};
use crate::control::{self, Control};
use crate::ingest::{self, Admission, Listening};
use crate::marks::Marks;
use crate::net::{Network, TlsError, TlsServer};
use crate::outbound::{self, Common, Losses, MARKS, Marked, SPOOL_GRACE};
use crate::park::Park;
use crate::telemetry::exposition::{self, Exposition};
use crate::telemetry::ledger::{DropReason, Ledger};
use certificates::Certificates;
use flow::{Flow, Inlet};
use generation::{Generation, Known, Plan};
use guests::Loaded;
pub use guests::standard_guest;
use operate::{InForce, Operator};
pub use reload::ReloadError;
use replay::Replays;
use unused::unused;

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
    /// The spool cannot be used.
    #[error("{0}; choose another [spool] path, or set [spool] enabled = false")]
    Spool(#[from] logboom_spool::OpenError),
    /// TLS files cannot be used.
    #[error("{owner}: {cause}")]
    Tls {
        /// The source or the destination that they are for.
        owner: String,
        /// Why not.
        cause: TlsError,
    },
    /// Metrics cannot be recorded.
    #[error("metrics cannot be recorded: {0}")]
    Metrics(String),
}

/// Longest part of a shutdown's time that is kept for writing down what is left.
const WRITING: Duration = Duration::from_secs(1);

/// Time for control to answer what it was asked before the end.
const CONTROL_GRACE: Duration = Duration::from_secs(1);

/// What stays through reloads.
pub(crate) struct Standing {
    ledger: Arc<Ledger>,
    outbound: Arc<Common>,
    ingest: ingest::Common,
    tls: Certificates,
    known: Mutex<Known>,
    /// Destinations that no order names any more, on their way out.
    retiring: Mutex<Vec<(String, JoinHandle<()>)>>,
    control: std::net::SocketAddr,
    shutdown: Duration,
}

/// A source in service, with its way into the gateway.
struct Source {
    listening: Listening,
    inlet: Arc<Inlet>,
}

/// What a reload replaces.
struct Force {
    config: Config,
    guests: Vec<Loaded>,
    generation: Arc<Generation>,
    sources: Vec<Source>,
    /// Sources that were taken out, on their way out.
    leaving: Vec<JoinHandle<()>>,
}

/// A gateway in service.
pub struct Gateway {
    /// The books.
    pub ledger: Arc<Ledger>,
    /// Sources by name and scheme, and where they listen.
    pub listening: Vec<(String, &'static str, Place)>,
    /// Where control listens.
    pub control: std::net::SocketAddr,
    standing: Arc<Standing>,
    /// What is in force; the async lock is held for the length of a reload.
    force: tokio::sync::Mutex<Force>,
    /// The same for those who must not wait for that.
    in_force: Arc<ArcSwap<InForce>>,
    replays: Arc<Replays>,
    exposition: Arc<Exposition>,
    control_task: JoinHandle<()>,
    is_ready: Arc<AtomicBool>,
    give_up: watch::Sender<bool>,
    stop_control: watch::Sender<bool>,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").field("listening", &self.listening).finish_non_exhaustive()
    }
}

/// Starts the gateway: guests, then destinations, then sources.
///
/// # Errors
/// [`StartError`]; nothing is left running.
pub async fn start(config: Config, metrics: PrometheusHandle) -> Result<Gateway, StartError> {
    let data = |cause| StartError::Data { path: config.data.display().to_string(), cause };
    std::fs::create_dir_all(&config.data).map_err(data)?;
    let guests = guests::load(&config, Some(config.data.join("compiled")), &[])?;
    unused(&config, &guests).iter().for_each(|what| tracing::warn!("{what}"));
    let control_at = config.control.listen;
    let control_fail = |cause| StartError::Control { address: control_at, cause };
    let control_listener = TcpListener::bind(control_at).await.map_err(control_fail)?;
    let control_address = control_listener.local_addr().map_err(control_fail)?;
    let mut bound = Vec::with_capacity(config.sources.len());
    for source in &config.sources {
        bound.push(ingest::bind(source)?);
    }
    let (give_up, given_up) = watch::channel(false);
    let standing = Arc::new(stand(&config, control_address, given_up)?);
    let mut plan = Plan::new(&config, guests.clone(), &standing.tls)?;
    let servers = std::mem::take(&mut plan.servers);

    let (generation, flows) = plan.commit(&config, None, &standing);
    report_orphans(&standing);
    let mut sources = Vec::with_capacity(bound.len());
    let parts = bound.into_iter().zip(flows.into_iter().zip(servers));
    for ((bound, (flow, tls)), source) in parts.zip(&config.sources) {
        sources.push(serve(bound, source, (flow, tls), &standing));
    }
    let listening = sources.iter().map(|source| {
        let named = source.listening.source();
        (named.name.clone(), named.url.scheme(), source.listening.address.clone())
    });
    let listening = listening.collect();
    let is_ready = Arc::new(AtomicBool::new(true));
    let in_force = guests.iter().map(|loaded| Arc::clone(&loaded.guest)).collect::<Vec<_>>();
    let ledger = Arc::clone(&standing.ledger);
    let guests_shown = ArcSwap::from_pointee(in_force);
    let exposition = Arc::new(Exposition { ledger: Arc::clone(&ledger), guests: guests_shown });
    let auth_key = config.control.auth_key.clone();
    let force = Force { config, guests, generation, sources, leaving: Vec::new() };
    let in_force = Arc::new(ArcSwap::new(InForce::of(&force)));
    let replays = Replays::new(Arc::clone(&standing.outbound.park), Handle::current());
    let (stop_control, control_stopped) = watch::channel(false);
    let operator = Operator {
        standing: Arc::clone(&standing),
        in_force: Arc::clone(&in_force),
        replays: Arc::clone(&replays),
    };
    let control = Control {
        exposition: Arc::clone(&exposition),
        handle: metrics,
        gateway: Arc::new(operator),
        is_ready: Arc::clone(&is_ready),
        auth_key,
    };
    let control_task = tokio::spawn(control::serve(control_listener, control, control_stopped));
    Ok(Gateway {
        ledger,
        listening,
        control: control_address,
        standing,
        force: tokio::sync::Mutex::new(force),
        in_force,
        replays,
        exposition,
        control_task,
        is_ready,
        give_up,
        stop_control,
    })
}

/// Opens what stays: the spool, the park, the books.
fn stand(
    config: &Config,
    control: std::net::SocketAddr,
    give_up: watch::Receiver<bool>,
) -> Result<Standing, StartError> {
    let losses = Arc::new(Losses::default());
    let spool = config.spool.enabled.then(|| open_spool(config, &losses)).transpose()?;
    let marks = Arc::<Marks>::default();
    let marked = spool.clone().map(|spool| Marked::recover(spool, &marks));
    let sender = spool.as_ref().map(|spool| outbound::sender(&config.spool.path, spool.uuid()));
    let outbound = Arc::new(Common {
        network: ArcSwap::from_pointee(Network::default()),
        spool,
        sender,
        marked,
        losses,
        park: Arc::new(Park::new(&config.data, config.parked.max, config.parked.age)),
    });
    let ingest = ingest::Common {
        record_bytes_max: config.limits.record,
        admission: Arc::new(Admission::new(config.limits.memory)),
        marks,
        give_up,
    };
    tokio::spawn(Admission::trim(Arc::downgrade(&ingest.admission)));
    let (common, marks) = (Arc::clone(&outbound), Arc::clone(&ingest.marks));
    tokio::spawn(async move {
        if let Some(marked) = &common.marked {
            marked.keep(&marks).await;
        }
    });
    Ok(Standing {
        ledger: Arc::default(),
        outbound,
        ingest,
        tls: Certificates::default(),
        known: Mutex::default(),
        retiring: Mutex::default(),
        control,
        shutdown: config.limits.shutdown,
    })
}

fn open_spool(config: &Config, losses: &Arc<Losses>) -> Result<Spool, StartError> {
    let options = logboom_spool::Options {
        segment_bytes: config.spool.segment,
        bytes_max: config.spool.max,
        ..logboom_spool::Options::default()
    };
    let observer: Arc<dyn logboom_spool::Observer> = losses.clone();
    let (spool, recovery) = Spool::open(&config.spool.path, options, observer)?;
    losses.found(&recovery.damaged);
    for damage in &recovery.damaged {
        let Damage { segment, sequences, lost, .. } = damage;
        tracing::error!(
            ?segment,
            ?sequences,
            ?lost,
            "damage found in the spool, what could be read is kept"
        );
    }
    let cut: u64 = recovery.cut.iter().map(|cut| cut.bytes).sum();
    if cut > 0 {
        tracing::warn!(bytes = cut, "the end of the spool was never finished, and is cut off");
    }
    Ok(spool)
}

/// Says for which destinations the spool has records though no order names them.
fn report_orphans(standing: &Standing) {
    let Some(spool) = &standing.outbound.spool else { return };
    let books = standing.ledger.destinations();
    let known: HashSet<&str> = books.iter().map(|book| book.name.as_str()).collect();
    for (_, destination, waiting) in spool.lagging() {
        if !known.contains(destination.as_str()) && destination != MARKS {
            let records = waiting.records;
            tracing::warn!(
                destination,
                records,
                "the spool has records for a destination that is not configured; they are kept"
            );
        }
    }
}

/// Puts a bound source into service.
fn serve(
    bound: ingest::Bound,
    source: &config::Source,
    (flow, tls): (Arc<Flow>, Option<Arc<TlsServer>>),
    standing: &Standing,
) -> Source {
    let book = Arc::clone(&flow.book);
    let inlet = Arc::new(Inlet::new(flow));
    let service = ingest::Service { book, intake: inlet.clone(), tls };
    Source { listening: bound.serve(source, service, &standing.ingest), inlet }
}

impl Gateway {
    /// Stops taking in, delivers what there is within the configured time, leaves the rest in the
    /// spool or gives it up, and counts it. The control listener answers until the end.
    pub async fn shutdown(self) {
        // What is left by then is to be written down.
        let writing = (self.standing.shutdown / 10).min(WRITING);
        let deadline = tokio::time::Instant::now() + self.standing.shutdown - writing;
        // A disk that hangs must not keep the process.
        let last = deadline + writing + SPOOL_GRACE;
        self.is_ready.store(false, Ordering::Relaxed);
        self.replays.stop().await;
        let mut force = self.force.lock().await;
        let sources = std::mem::take(&mut force.sources);
        sources.iter().for_each(|source| source.listening.stop());
        let destinations = force.generation.destinations.clone();
        let leaving = std::mem::take(&mut force.leaving);
        let tasks = sources.into_iter().map(|source| source.listening.task).chain(leaving);
        for mut task in tasks {
            if tokio::time::timeout_at(deadline, &mut task).await.is_ok() {
                continue;
            }
            // It may wait for a queue that blocks: what it has in hand is left in the spool like the rest. Who
            // waits for anything else gives up its sessions.
            destinations.iter().for_each(|destination| destination.stop_blocking());
            if tokio::time::timeout(writing, &mut task).await.is_err() {
                self.give_up.send(true).unwrap_or_default();
                if tokio::time::timeout_at(last, &mut task).await.is_err() {
                    task.abort();
                }
            }
        }
        drop(force);
        let all = destinations
            .into_iter()
            .map(|destination| tokio::spawn(async move { destination.shutdown(deadline).await }));
        for task in all.collect::<Vec<_>>() {
            drop(tokio::time::timeout_at(last, task).await);
        }
        self.standing.retired(deadline).await;
        for book in &*self.ledger.sources() {
            let left = usize::try_from(book.in_pipeline.get()).unwrap_or(usize::MAX);
            book.dropped.add(DropReason::Shutdown, left);
            book.in_pipeline.leave(left);
        }
        if let Some(marked) = &self.standing.outbound.marked {
            let summary = marked.finish(&self.standing.ingest.marks);
            // If it is not written by then, it is when the spool is closed.
            if tokio::time::timeout(WRITING, summary).await.is_err() {
                tracing::warn!("what senders call their batches is not written yet");
            }
        }
        if let Some(spool) = self.standing.outbound.spool.clone() {
            let stats = spool.clone();
            let closing = tokio::task::spawn_blocking(move || spool.close());
            if tokio::time::timeout(SPOOL_GRACE, closing).await.is_err() {
                let bytes = stats.stats().unsynced_bytes;
                tracing::error!(
                    bytes,
                    "the spool could not be closed in time: what its disk has not taken is lost"
                );
            }
        }
        let replays = Arc::clone(&self.replays);
        let finishing = tokio::task::spawn_blocking(move || replays.finish());
        if tokio::time::timeout(WRITING, finishing).await.is_err() {
            tracing::error!("replayed records could not be taken out of the park in time");
        }
        self.stop_control.send(true).unwrap_or_default();
        let mut control = self.control_task;
        // A request that never ends must not keep the process.
        if tokio::time::timeout(CONTROL_GRACE, &mut control).await.is_err() {
            control.abort();
        }
    }
}

impl Standing {
    /// Waits for destinations that are on their way out, at most a little beyond the deadline.
    async fn retired(&self, deadline: tokio::time::Instant) {
        let retiring = {
            let mut retiring = self.retiring.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *retiring)
        };
        for (_, task) in retiring {
            drop(tokio::time::timeout_at(deadline + SPOOL_GRACE, task).await);
        }
    }
}

/// Checks a configuration as `start` would, but opens no socket and delivers nothing. Gives a sentence
/// for each part of it that nothing uses.
///
/// # Errors
/// [`StartError`] on guests and certificates: what the configuration's own check cannot see.
pub fn check(config: &Config) -> Result<Vec<String>, StartError> {
    let loaded = guests::load(config, None, &[])?;
    let unused = unused(config, &loaded);
    generation::check(config, loaded)?;
    Ok(unused)
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
