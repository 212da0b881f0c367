//! Guests of a configuration, loaded; those that are as before are kept with all they have counted.

use std::path::PathBuf;
use std::sync::Arc;

use logboom_host::{Engine, EngineLimits, Guest, LoadError, Settings};
use sha2::{Digest, Sha256};

use super::StartError;
use crate::config::{self, Component, Config};

/// A guest in service, and what it was made of.
#[derive(Clone, Debug)]
pub(super) struct Loaded {
    pub(super) guest: Arc<Guest>,
    settings: config::Guest,
    digest: [u8; 32],
}

/// The standard guest of that name, as it is embedded.
#[must_use]
pub fn standard_guest(name: &str) -> Option<&'static [u8]> {
    let found = logboom_guest_artifacts::STANDARD.iter().find(|(known, _)| *known == name);
    found.map(|(_, bytes)| *bytes)
}

/// Loads the guests of a configuration in their order; compiled ones are kept in `cache`. Those that
/// `before` has in the same form are taken from there.
pub(super) fn load(
    config: &Config,
    cache: Option<PathBuf>,
    before: &[Loaded],
) -> Result<Vec<Loaded>, StartError> {
    let mut engine = None;
    let load = |settings: &config::Guest| {
        let bytes = read(settings)?;
        let digest: [u8; 32] = Sha256::digest(&bytes).into();
        let same = before.iter().find(|old| old.settings == *settings && old.digest == digest);
        if let Some(same) = same {
            return Ok(same.clone());
        }
        let engine = match &engine {
            Some(engine) => engine,
            None => engine.insert(start_engine(config, cache.clone())?),
        };
        let guest = Arc::new(start(engine, settings, &bytes)?);
        Ok(Loaded { guest, settings: settings.clone(), digest })
    };
    config.guests.iter().map(load).collect()
}

fn start_engine(config: &Config, cache: Option<PathBuf>) -> Result<Engine, StartError> {
    let memory_max = config.guests.iter().map(|guest| guest.memory).max().unwrap_or(0);
    let limits = EngineLimits::for_guests(memory_max, config.guests.len());
    match Engine::new(limits, cache) {
        // Without a cache guests are compiled at each start, which only takes time.
        Err(error @ LoadError::Cache { .. }) => {
            tracing::warn!(%error, "compiled guests are not kept");
            Ok(Engine::new(limits, None)?)
        }
        started => Ok(started?),
    }
}

fn read(guest: &config::Guest) -> Result<Vec<u8>, StartError> {
    match &guest.component {
        Component::Standard(name) => Ok(standard_guest(name).unwrap_or_default().to_vec()),
        Component::Path(path) => std::fs::read(path).map_err(|cause| StartError::GuestFile {
            guest: guest.name.clone(),
            path: path.display().to_string(),
            cause,
        }),
    }
}

fn start(engine: &Engine, guest: &config::Guest, bytes: &[u8]) -> Result<Guest, StartError> {
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
    Guest::load(engine, bytes, settings)
        .map_err(|cause| StartError::Guest { component: component(), cause })
}

/// The index of each route of a guest's manifest among those of the configuration.
pub(super) fn route_of(guest: &Guest, config: &Config) -> Result<Vec<usize>, StartError> {
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
