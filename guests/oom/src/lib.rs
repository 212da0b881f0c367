//! `std:oom`: counts the kills of the kernel's out-of-memory killer, by process.
//!
//! ```text
//! Memory cgroup out of memory: Kill process 13012 (stress) score 1958 or sacrifice child   (before 5.0)
//! Killed process 13012 (stress) total-vm:8186236kB, anon-rss:…                             (before 5.0)
//! Out of memory: Killed process 123 (name) total-vm:…, anon-rss:… UID:0 …                  (since 5.0)
//! ```
//! Metric: `oom_kills_total{process}`. A kernel that prints both of the first two lines for one
//! kill is counted once: the second line is known by its host and process id for 60 seconds of
//! event time. `oom_reaper: reaped process …` tells of a kill that was counted before.
//!
//! Configuration: `{"app_names": ["kernel"]}`, the programs whose records may be the kernel's;
//! records without a program always may. An empty list takes the records of every program.

use logboom_guest::{
    Batch, Guest, Interest, Manifest, Meter, Metric, Record, SeriesCache, Updates, config,
};

mod kill;

use kill::{Kill, Recent};

/// The guest.
#[derive(Debug)]
pub struct Oom {
    app_names: Vec<String>,
    by_process: SeriesCache,
    recent: Recent,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    app_names: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self { app_names: vec!["kernel".to_owned()] }
    }
}

impl Guest for Oom {
    fn describe(config: &str) -> Result<(Self, Manifest), String> {
        let Config { app_names } = config::read(config)?;
        let interest = Interest::all().literals(&[kill::ANNOUNCED, kill::DONE]);
        let mut manifest = Manifest::new("oom", env!("CARGO_PKG_VERSION")).interest(interest);
        let help = "Processes killed by the kernel because memory was short.";
        let metric = Metric::counter("oom_kills_total", help).label("process");
        let by_process = SeriesCache::new(manifest.add_metric(metric));
        Ok((Self { app_names, by_process, recent: Recent::default() }, manifest))
    }
}

impl Meter for Oom {
    fn measure(&mut self, batch: &Batch<'_>, updates: &mut Updates) -> Result<(), String> {
        for record in batch.records() {
            let Some(kill) = Kill::find(record.body()) else { continue };
            if self.may_be_kernel(&record)
                && self.recent.is_new(record.host(), record.time(), &kill)
            {
                updates.add(self.by_process.get(&[kill.process]), 1.0);
            }
        }
        Ok(())
    }
}

impl Oom {
    fn may_be_kernel(&self, record: &Record<'_>) -> bool {
        let name = record.app_name();
        name.is_empty()
            || self.app_names.is_empty()
            || self.app_names.iter().any(|allowed| allowed.as_bytes() == name)
    }
}

logboom_guest::export!(Oom: meter);

#[cfg(test)]
mod tests;
