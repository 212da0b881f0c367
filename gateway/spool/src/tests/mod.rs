//! Tests of the whole spool. Those on the simulated disk step the writer by hand: no thread, no
//! waiting, the same every time.

mod basic;
mod damage;
mod faults;
mod format;
mod inspect;
mod keep;
mod model;
mod threads;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::state::Shared;
use crate::vfs::sim::Sim;
use crate::writer::Writer;
use crate::{
    Appended, Damage, DestinationId, Durable, Observer, Options, Read, Recovery, State, Want,
    recover,
};

pub(crate) const DIR: &str = "/spool";

/// What an observer was told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) shed: Mutex<Vec<(DestinationId, u64, u64)>>,
    pub(crate) unwritten: Mutex<Vec<(DestinationId, u64, u64)>>,
    pub(crate) damaged: Mutex<Vec<Damage>>,
    pub(crate) states: Mutex<Vec<State>>,
}

impl Observer for Told {
    fn shed(&self, destination: DestinationId, records: u64, bytes: u64) {
        self.shed.lock().unwrap().push((destination, records, bytes));
    }

    fn unwritten(&self, destination: DestinationId, records: u64, bytes: u64) {
        self.unwritten.lock().unwrap().push((destination, records, bytes));
    }

    fn damaged(&self, damage: &Damage) {
        self.damaged.lock().unwrap().push(damage.clone());
    }

    fn state(&self, state: &State) {
        self.states.lock().unwrap().push(state.clone());
    }
}

/// Small segments, so that a few entries fill one.
pub(crate) fn small() -> Options {
    Options {
        segment_bytes: 8192,
        bytes_max: 1 << 30,
        unsynced_bytes_max: 1 << 20,
        cursor_every: Duration::from_millis(100),
    }
}

/// A spool whose writer is stepped by hand.
pub(crate) struct Stepped {
    pub(crate) sim: Sim,
    pub(crate) shared: Arc<Shared>,
    pub(crate) writer: Writer,
    pub(crate) now: Instant,
    pub(crate) told: Arc<Told>,
    pub(crate) recovery: Recovery,
}

impl Stepped {
    pub(crate) fn open(sim: &Sim, options: Options) -> Self {
        let told = Arc::new(Told::default());
        let observer = Arc::clone(&told) as Arc<dyn Observer>;
        let (shared, recovery) =
            recover::open(Arc::new(sim.clone()), Path::new(DIR), options, observer).unwrap();
        let mut writer = Writer::new(Arc::clone(&shared));
        let now = Instant::now();
        writer.work(now);
        Self { sim: sim.clone(), shared, writer, now, told, recovery }
    }

    /// Long enough to notice, to look again, to write and to sync.
    pub(crate) fn step(&mut self) {
        for _ in 0..4 {
            self.now += Duration::from_secs(2);
            self.writer.step(self.now);
        }
    }

    pub(crate) fn close(mut self) {
        self.shared.lock().close();
        self.step();
    }

    pub(crate) fn append(
        &self,
        payload: &[u8],
        wants: &[Want],
        durable: Option<Durable>,
    ) -> Option<Appended> {
        self.shared.append(&[payload], wants, durable, false).ok()
    }

    /// All that a destination lags behind with.
    pub(crate) fn read_all(&mut self, id: DestinationId) -> Vec<(u64, Vec<u8>)> {
        let mut all = Vec::new();
        loop {
            match self.shared.read(id).unwrap() {
                Read::Entry { sequence, payload, .. } => all.push((sequence, payload)),
                Read::NotYet => self.step(),
                Read::CaughtUp => return all,
            }
        }
    }
}

pub(crate) fn want(destination: DestinationId, records: u32, hold: bool) -> Want {
    Want { destination, records, bytes: records * 10, hold }
}
