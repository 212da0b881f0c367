//! A generation: the nth configuration in force, with its destinations, table and pipelines.
//!
//! Flows hold their generation; when the last batch that was on its way through an old one is done,
//! the destinations that the new one no longer has are shut down.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::runtime::Handle;
use tokio::time::Instant;

use super::certificates::Certificates;
use super::flow::Flow;
use super::guests::{Loaded, route_of};
use super::{Standing, StartError};
use crate::config::{Config, DestinationUrl, Durability, Guard, TlsFiles, WhenFull};
use crate::net::{self, Cidr, Network, Policy, Resolver, TlsServer};
use crate::outbound::{Common, Destination, DestinationSettings, IDLE};
use crate::pipeline::{Pipeline, Slot};
use crate::route::Table;

/// The smallest queue that a destination is given, however many there are: one batch of a quiet app.
const QUEUE_BYTES_MIN: usize = 16 << 10;

/// A configuration in force.
pub(super) struct Generation {
    pub(super) table: Table,
    pub(super) destinations: Vec<Arc<Destination>>,
    pub(super) outbound: Arc<Common>,
    /// Destinations that the next generation does not have.
    retired: Mutex<Vec<Arc<Destination>>>,
    standing: Arc<Standing>,
    runtime: Handle,
}

impl Generation {
    /// Says which destinations go with this generation.
    pub(super) fn retire(&self, destinations: Vec<Arc<Destination>>) {
        *self.retired.lock().unwrap_or_else(PoisonError::into_inner) = destinations;
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        let retired = self.retired.get_mut().unwrap_or_else(PoisonError::into_inner);
        for destination in std::mem::take(retired) {
            self.standing.retire(destination, &self.runtime);
        }
    }
}

/// What is checked and made before anything of a configuration comes into force.
pub(super) struct Plan {
    pub(super) settings: Vec<DestinationSettings>,
    /// How each source speaks TLS.
    pub(super) servers: Vec<Option<Arc<TlsServer>>>,
    routes: Vec<usize>,
    drains: Vec<(String, usize)>,
    guests: Vec<Loaded>,
    /// For each guest of each pipeline, the index of each route of its manifest.
    routes_of: Vec<Vec<Vec<usize>>>,
}

impl Plan {
    /// Makes what can fail: reads certificates and sees that routers name routes that are there.
    pub(super) fn new(
        config: &Config,
        guests: Vec<Loaded>,
        tls: &Certificates,
    ) -> Result<Self, StartError> {
        let mut routes_of = Vec::with_capacity(config.pipelines.len());
        for pipeline in &config.pipelines {
            let guests = pipeline.guests.iter().map(|index| &guests[*index].guest);
            let routes: Result<_, _> = guests.map(|guest| route_of(guest, config)).collect();
            routes_of.push(routes?);
        }
        let mut endpoints = Endpoints { config, tls, by_name: HashMap::new(), settings: vec![] };
        let mut routes = Vec::with_capacity(config.routes.len());
        for route in &config.routes {
            let order = (route.when_full, route.max_connections, &route.tls);
            routes.push(endpoints.index(&route.destination, order)?);
        }
        let mut drains = Vec::with_capacity(config.drains.len());
        for drain in &config.drains {
            let order = (drain.when_full, drain.max_connections, &drain.tls);
            drains.push((drain.app.clone(), endpoints.index(&drain.destination, order)?));
        }
        endpoints.share_memory(config.limits.memory);
        let servers = config.sources.iter().map(|source| {
            tls.server(source).map_err(|cause| {
                let owner = format!("source {:?}", source.name);
                StartError::Tls { owner, cause }
            })
        });
        let servers = servers.collect::<Result<_, _>>()?;
        Ok(Self { settings: endpoints.settings, servers, routes, drains, guests, routes_of })
    }

    /// Puts destinations into service, those that `before` has with what waits for them, and makes
    /// the flow of each source.
    pub(super) fn commit(
        self,
        config: &Config,
        before: Option<&Generation>,
        standing: &Arc<Standing>,
    ) -> (Arc<Generation>, Vec<Arc<Flow>>) {
        let outbound = &standing.outbound;
        outbound.network.store(Arc::new(network(config, standing.control)));
        let mut old: HashMap<&str, &Arc<Destination>> = HashMap::new();
        for destination in before.into_iter().flat_map(|before| &before.destinations) {
            old.insert(destination.name(), destination);
        }
        let names: Vec<String> = self.settings.iter().map(|s| s.canonical.clone()).collect();
        let books = standing.ledger.open_destinations(&names);
        let destinations = self.settings.into_iter().zip(books).map(|(settings, book)| {
            let held = old.remove(settings.canonical.as_str()).cloned();
            // One that was taken out a while ago may still be waiting for its last batch.
            if let Some(known) = held.or_else(|| standing.find(&settings.canonical)) {
                known.change(settings);
                return known;
            }
            Destination::start(settings, book, Arc::clone(outbound))
        });
        let destinations: Vec<Arc<Destination>> = destinations.collect();
        standing.note_in_force(&destinations);
        let generation = Arc::new(Generation {
            destinations,
            table: Table::new(&self.drains, self.routes),
            outbound: Arc::clone(outbound),
            retired: Mutex::default(),
            standing: Arc::clone(standing),
            runtime: Handle::current(),
        });
        if let Some(before) = before {
            before.retire(old.into_values().cloned().collect());
        }
        let pipelines = pipelines(config, &self.guests, self.routes_of, standing);
        let flows = flows(config, &pipelines, standing, &generation);
        (generation, flows)
    }
}

/// What [`Plan::new`] would find wrong.
pub(super) fn check(config: &Config, guests: Vec<Loaded>) -> Result<(), StartError> {
    Plan::new(config, guests, &Certificates::default()).map(drop)
}

/// Destinations as they are shared: each URL once.
struct Endpoints<'a> {
    config: &'a Config,
    tls: &'a Certificates,
    by_name: HashMap<String, usize>,
    settings: Vec<DestinationSettings>,
}

impl Endpoints<'_> {
    /// The index of the destination of an order. Orders that share one agree on how it is set up: the
    /// check of the configuration sees to it.
    fn index(
        &mut self,
        url: &DestinationUrl,
        (when_full, max_connections, tls): (Option<WhenFull>, Option<u16>, &TlsFiles),
    ) -> Result<usize, StartError> {
        let (config, next) = (self.config, self.settings.len());
        let index = *self.by_name.entry(url.canonical.clone()).or_insert(next);
        if index == next {
            let default = if config.spool.enabled { WhenFull::Spool } else { WhenFull::Shed };
            let connections = max_connections.unwrap_or(config.limits.max_connections);
            let canonical = url.canonical.clone();
            let tls = self.tls.client(&url.kind, tls).map_err(|cause| {
                let owner = format!("destination {canonical}");
                StartError::Tls { owner, cause }
            })?;
            self.settings.push(DestinationSettings {
                canonical,
                tls,
                kind: url.kind.clone(),
                connections_max: usize::from(connections),
                queue_bytes_max: config.limits.queue,
                share: config.spool.share,
                when_full: when_full.unwrap_or(default),
                guarded: config.network.guard == Guard::All,
                attempt: config.limits.attempt,
                idle: IDLE,
            });
        }
        Ok(index)
    }

    /// Cuts the queues so that all of them together hold at most half of the memory: what waits for
    /// dead destinations must never stop the sources of the living.
    fn share_memory(&mut self, memory: usize) {
        let share = memory / 2 / self.settings.len().max(1);
        for settings in &mut self.settings {
            settings.queue_bytes_max = settings.queue_bytes_max.min(share.max(QUEUE_BYTES_MIN));
        }
    }
}

/// What the `[network]` of a configuration allows.
fn network(config: &Config, control: SocketAddr) -> Network {
    // Checked when the configuration was read.
    let endpoints = |list: &[crate::config::Endpoints]| -> Vec<net::Endpoints> {
        let known = list.iter().filter_map(|endpoints| {
            let network = Cidr::new(endpoints.network.address, endpoints.network.prefix).ok()?;
            Some(net::Endpoints { network, port: endpoints.port })
        });
        known.collect()
    };
    let (allow, deny) = (endpoints(&config.network.allow), endpoints(&config.network.deny));
    let places = config.sources.iter().map(|source| source.url.place());
    let mut own: Vec<_> = places.filter_map(|place| place.address()).collect();
    own.push(control);
    let resolver = match config.network.nameservers.as_slice() {
        [] => Resolver::System,
        servers => Resolver::Servers(servers.to_vec()),
    };
    Network { policy: Policy::new(allow, deny, own), resolver, ..Network::default() }
}

/// The pipelines of a configuration, in its order.
fn pipelines(
    config: &Config,
    guests: &[Loaded],
    routes_of: Vec<Vec<Vec<usize>>>,
    standing: &Standing,
) -> Vec<Arc<Pipeline>> {
    let pipelines = config.pipelines.iter().zip(routes_of).map(|(raw, routes_of)| {
        let slots = raw.guests.iter().zip(routes_of).map(|(index, route_of)| {
            let guest = Arc::clone(&guests[*index].guest);
            Slot::new(guest, config.guests[*index].on_fault, route_of)
        });
        let park = Arc::clone(&standing.outbound.park);
        Arc::new(Pipeline::new(slots.collect(), config.routes.len(), park))
    });
    pipelines.collect()
}

/// The flow of each source of a configuration, in its order.
fn flows(
    config: &Config,
    pipelines: &[Arc<Pipeline>],
    standing: &Arc<Standing>,
    generation: &Arc<Generation>,
) -> Vec<Arc<Flow>> {
    let names: Vec<String> = config.sources.iter().map(|source| source.name.clone()).collect();
    let books = standing.ledger.open_sources(&names);
    let flows = config.sources.iter().zip(books).enumerate().map(|(index, (source, book))| {
        let mut all = pipelines.iter().zip(&config.pipelines);
        let found = all.find(|(_, raw)| raw.sources.contains(&index));
        let durability = found.map_or(config.durability, |(_, raw)| raw.durability);
        Arc::new(Flow {
            source: source.name.as_str().into(),
            book,
            pipeline: found.map(|(pipeline, _)| Arc::clone(pipeline)),
            always: found.map(|(_, raw)| raw.routes.clone()).unwrap_or_default(),
            durability: if config.spool.enabled { durability } else { Durability::Memory },
            generation: Arc::clone(generation),
            admission: Arc::clone(&standing.ingest.admission),
        })
    });
    flows.collect()
}

/// Destinations that are in service, in force or not.
#[derive(Default)]
pub(super) struct Known {
    by_name: HashMap<String, Weak<Destination>>,
    /// Names that the newest generation has.
    in_force: HashSet<String>,
}

impl Standing {
    /// The destination of that name, if it is in service.
    fn find(&self, name: &str) -> Option<Arc<Destination>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.by_name.get(name).and_then(Weak::upgrade)
    }

    /// The destination of that name, if the newest generation has it.
    pub(super) fn in_force(&self, name: &str) -> Option<Arc<Destination>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known.in_force.contains(name).then(|| known.by_name.get(name))?;
        found.and_then(Weak::upgrade)
    }

    /// Notes the destinations of the newest generation.
    fn note_in_force(&self, destinations: &[Arc<Destination>]) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.in_force = destinations.iter().map(|d| d.name().to_owned()).collect();
        for destination in destinations {
            known.by_name.insert(destination.name().to_owned(), Arc::downgrade(destination));
        }
    }

    /// Shuts a destination down that no order names any more.
    fn retire(self: &Arc<Self>, destination: Arc<Destination>, runtime: &Handle) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.in_force.contains(destination.name()) {
            return;
        }
        // From here on it cannot come back, only be made anew.
        known.by_name.remove(destination.name());
        drop(known);
        let deadline = Instant::now() + self.shutdown;
        let name = destination.name().to_owned();
        let task = runtime.spawn(async move { destination.shutdown(deadline).await });
        let mut retiring = self.retiring.lock().unwrap_or_else(PoisonError::into_inner);
        retiring.retain(|(_, task)| !task.is_finished());
        retiring.push((name, task));
    }
}
