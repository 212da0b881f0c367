//! What operators see and do by the API: destinations, the spool, parked records.

use std::sync::Arc;

use logboom_spool::{Spool, State, Stats};

use super::{Force, Standing};
use crate::control::{Answer, Health, Operate, Replayed, Standpoint};
use crate::outbound::{BreakerState, Destination, Parcel};
use crate::park::{Filter, Letter, ParkError};

/// The gateway as the control listener sees it.
pub(super) struct Operator {
    pub(super) standing: Arc<Standing>,
    pub(super) force: Arc<tokio::sync::Mutex<Force>>,
}

impl Operate for Operator {
    fn arena_bytes(&self) -> usize {
        self.standing.ingest.admission.used()
    }

    fn health(&self) -> Health {
        match self.standing.outbound.spool.as_ref().map(Spool::state) {
            None | Some(State::Good) => Health::Good,
            Some(State::Full) => Health::Bad("the spool's disk is full".into()),
            Some(State::Failed(why)) => Health::Bad(format!("the spool's disk fails: {why}")),
        }
    }

    fn spool(&self) -> Option<(State, Stats)> {
        let spool = self.standing.outbound.spool.as_ref()?;
        Some((spool.state(), spool.stats()))
    }

    fn destinations(&self) -> Answer<'_, Vec<Standpoint>> {
        Box::pin(async {
            let all = self.all().await;
            all.iter().map(|destination| standpoint(destination)).collect()
        })
    }

    fn letters(&self, filter: Filter) -> Answer<'_, Result<Vec<Letter>, ParkError>> {
        let park = Arc::clone(&self.standing.outbound.park);
        Box::pin(async move {
            let read = tokio::task::spawn_blocking(move || park.letters(&filter)).await;
            Ok(read.map_err(std::io::Error::other)??)
        })
    }

    fn forget(&self, ids: Vec<u64>) -> Answer<'_, Result<(), ParkError>> {
        Box::pin(async move { Ok(self.standing.outbound.park.forget(&ids)?) })
    }

    fn replay(&self, letters: Vec<Letter>) -> Answer<'_, Result<Replayed, ParkError>> {
        Box::pin(async move {
            let mut replayed = Replayed::default();
            for letter in letters {
                if self.replay_one(&letter).await? {
                    self.standing.outbound.park.forget(&[letter.id])?;
                    replayed.replayed += 1;
                } else {
                    replayed.left.push(letter.id);
                }
            }
            Ok(replayed)
        })
    }
}

impl Operator {
    async fn all(&self) -> Vec<Arc<Destination>> {
        self.force.lock().await.generation.destinations.clone()
    }

    /// Replays a letter: a record that a guest failed at takes the way of its source again, one that
    /// a destination refused goes to that destination. False if there is nowhere to replay it to.
    async fn replay_one(&self, letter: &Letter) -> Result<bool, ParkError> {
        let batch = letter.batch()?;
        let (source, destination) = (letter.text("source"), letter.text("destination"));
        if !destination.is_empty() {
            let known = self.all().await;
            let Some(known) = known.iter().find(|known| known.name() == destination) else {
                return Ok(false);
            };
            let parcel = Parcel::new(batch, source.into(), None, Box::new(drop));
            known.replay(&Arc::new(parcel)).await;
            return Ok(true);
        }
        let flow = {
            let force = self.force.lock().await;
            let mut sources = force.sources.iter();
            sources.find(|s| s.listening.source().name == source).map(|s| s.inlet.flow())
        };
        let Some(flow) = flow else { return Ok(false) };
        flow.book.replayed.add(batch.len());
        flow.book.in_pipeline.enter(batch.len());
        let permit = self.standing.ingest.admission.acquire(batch.footprint()).await;
        let way = flow.route(batch, permit, None);
        flow.deliver(way).await;
        Ok(true)
    }
}

fn standpoint(destination: &Destination) -> Standpoint {
    Standpoint {
        destination: destination.name().to_owned(),
        breaker: destination.breaker().keyword(),
        is_open: destination.breaker() != BreakerState::Closed,
        connections_max: destination.settings().connections_max,
        requests: destination.requests(),
        oldest: destination.oldest(),
    }
}
