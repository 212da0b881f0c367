//! Reload: another configuration comes into force, wholly or not at all.
//!
//! Everything that can fail is done first: reading, guests, certificates, binding. Then sources whose
//! name and URL stay keep their listener and sessions, destinations whose URL stays keep what waits
//! for them, guests that are the same keep what they have counted.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::generation::Plan;
use super::guests;
use super::unused::unused;
use super::{Force, Gateway, InForce, Source, Standing, StartError, serve};
use crate::config::{Config, Problems};
use crate::ingest;

/// Why a configuration did not come into force; the one before stays.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// It has problems.
    #[error("{0}")]
    Problems(#[from] Problems),
    /// It cannot be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The thread that loads guests ended; please report it.
    #[error("the guests could not be loaded: {0}; please report it")]
    Guests(#[source] tokio::task::JoinError),
    /// A source would listen where another one does until the reload is done.
    #[error(
        "source \"{new}\" is to listen on the address of source \"{old}\": give it the same name, or \
         restart"
    )]
    Address {
        /// The one to be.
        new: String,
        /// The one that is.
        old: String,
    },
}

impl Gateway {
    /// Puts another configuration into force.
    ///
    /// # Errors
    /// [`ReloadError`]; then nothing has changed.
    pub async fn reload(&self, config: Config) -> Result<(), ReloadError> {
        let mut force = self.force.lock().await;
        let force = &mut *force;
        let standing = &self.standing;
        let cache = Some(force.config.data.join("compiled"));
        let loading = (config.clone(), force.guests.clone());
        // Compiling takes its time.
        let loaded =
            tokio::task::spawn_blocking(move || guests::load(&loading.0, cache, &loading.1));
        let loaded = loaded.await.map_err(ReloadError::Guests)??;
        unused(&config, &loaded).iter().for_each(|what| tracing::warn!("{what}"));
        let mut plan = Plan::new(&config, loaded.clone(), &standing.tls)?;
        let servers = std::mem::take(&mut plan.servers);
        let mut bound = bind_new(&config, force)?;
        let names = plan.settings.iter().map(|settings| settings.canonical.as_str());
        standing.wait_for_return(names.collect()).await;

        let (generation, flows) = plan.commit(&config, Some(&force.generation), standing);
        force.generation = generation;
        let mut old: HashMap<String, Source> = HashMap::new();
        for source in std::mem::take(&mut force.sources) {
            old.insert(source.listening.source().name.clone(), source);
        }
        for (source, (flow, tls)) in config.sources.iter().zip(flows.into_iter().zip(servers)) {
            let known = old.remove(&source.name);
            if let Some(bound) = bound.remove(&source.name) {
                force.sources.push(serve(bound, source, (flow, tls), standing));
                force.leaving.extend(known.map(dismiss));
            } else if let Some(mut known) = known {
                let book = Arc::clone(&flow.book);
                known.listening.change(source, book, tls, &standing.ingest);
                known.inlet.change(flow);
                force.sources.push(known);
            }
        }
        // What a source that is gone still has on its way goes the old way to its end.
        force.leaving.extend(old.into_values().map(dismiss));
        force.leaving.retain(|task| !task.is_finished());
        let shown = loaded.iter().map(|loaded| Arc::clone(&loaded.guest)).collect();
        self.exposition.guests.store(Arc::new(shown));
        self.in_force.store(InForce::of(force));
        note_what_needs_a_restart(&force.config, &config);
        force.guests = loaded;
        force.config = config;
        Ok(())
    }

    /// Reads certificates again that have changed. Connections keep what they have.
    pub async fn refresh_certificates(&self) {
        for client in &self.standing.tls.refresh() {
            tracing::info!("certificates for destinations read again");
            for destination in &self.force.lock().await.generation.destinations {
                destination.try_again(client);
            }
        }
    }

    /// How often parked records are to be looked at for their age.
    pub fn expire_parked_every(&self) -> Duration {
        self.standing.outbound.park.look_every()
    }

    /// Lets go of parked records that are too old.
    pub async fn expire_parked(&self) {
        let park = Arc::clone(&self.standing.outbound.park);
        let expired = tokio::task::spawn_blocking(move || park.expire()).await;
        match expired.unwrap_or(Ok(0)) {
            Ok(0) => {}
            Ok(files) => tracing::info!(files, "parked records expired"),
            Err(error) => tracing::error!(%error, "parked records could not be expired"),
        }
    }
}

/// Binds the sources that are not there yet in the same place.
fn bind_new(config: &Config, force: &Force) -> Result<HashMap<String, ingest::Bound>, ReloadError> {
    let mut bound = HashMap::new();
    for source in &config.sources {
        let known = |other: &&Source| {
            let other = other.listening.source();
            other.name == source.name && other.url == source.url
        };
        if force.sources.iter().any(|other| known(&other)) {
            continue;
        }
        let same = force.sources.iter().find(|other| {
            let other = other.listening.source();
            let is_any = other.url.place().address().is_some_and(|address| address.port() == 0);
            !is_any && other.url == source.url
        });
        if let Some(other) = same {
            let (new, old) = (source.name.clone(), other.listening.source().name.clone());
            return Err(ReloadError::Address { new, old });
        }
        let socket = ingest::bind(source).map_err(StartError::from)?;
        bound.insert(source.name.clone(), socket);
    }
    Ok(bound)
}

/// Stops a source; returns what to wait for.
fn dismiss(source: Source) -> tokio::task::JoinHandle<()> {
    source.listening.stop();
    source.listening.task
}

fn note_what_needs_a_restart(before: &Config, after: &Config) {
    // A destination's share of the spool is its own, and takes effect at once.
    let spool = crate::config::Spool { share: after.spool.share, ..before.spool.clone() };
    let changed = [
        ("data", before.data != after.data),
        ("[control]", before.control != after.control),
        ("[spool]", spool != after.spool),
        ("[parked]", before.parked != after.parked),
        ("[limits] memory", before.limits.memory != after.limits.memory),
        ("[limits] record", before.limits.record != after.limits.record),
        ("[limits] shutdown", before.limits.shutdown != after.limits.shutdown),
    ];
    for (key, _) in changed.iter().filter(|(_, changed)| *changed) {
        tracing::warn!(key, "this change takes effect with the next start");
    }
}

impl Standing {
    /// Waits for destinations that are on their way out and are wanted again.
    async fn wait_for_return(&self, names: Vec<&str>) {
        let returning: Vec<_> = {
            let mut retiring = self.retiring.lock().unwrap_or_else(PoisonError::into_inner);
            retiring.extract_if(.., |(name, _)| names.contains(&name.as_str())).collect()
        };
        for (_, task) in returning {
            drop(task.await);
        }
    }
}
