//! What operators see and do by the API: destinations, the spool, parked records.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use logboom_spool::{Spool, State, Stats};

use super::flow::Inlet;
use super::generation::Generation;
use super::replay::{Claimed, Page, Replays};
use super::{Force, Standing};
use crate::control::{Answer, Health, Operate, Replayed, Standpoint};
use crate::outbound::{BreakerState, Destination, Parcel};
use crate::park::{Filter, Letter, ParkError};

/// Letters that are read and claimed at a time.
const PAGE: usize = 500;

/// What of a configuration in force can be looked at while it is being replaced. To hold it is to
/// hold up the end of destinations: never for longer than a record takes to be handed on.
pub(super) struct InForce {
    generation: Arc<Generation>,
    inlets: Vec<Arc<Inlet>>,
}

impl InForce {
    pub(super) fn of(force: &Force) -> Arc<Self> {
        let inlets = force.sources.iter().map(|source| Arc::clone(&source.inlet)).collect();
        Arc::new(Self { generation: Arc::clone(&force.generation), inlets })
    }
}

/// The gateway as the control listener sees it.
#[derive(Clone)]
pub(super) struct Operator {
    pub(super) standing: Arc<Standing>,
    pub(super) in_force: Arc<ArcSwap<InForce>>,
    pub(super) replays: Arc<Replays>,
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

    fn destinations(&self) -> Vec<Standpoint> {
        // Not the generation, for as long as this may take.
        let all = self.in_force.load().generation.destinations.clone();
        all.iter().map(|destination| standpoint(destination)).collect()
    }

    fn letters(&self, filter: Filter) -> Answer<'_, Result<Vec<Letter>, ParkError>> {
        let park = Arc::clone(&self.standing.outbound.park);
        Box::pin(async move {
            let read = tokio::task::spawn_blocking(move || park.letters(&filter)).await;
            Ok(read.map_err(std::io::Error::other)??)
        })
    }

    fn forget(&self, ids: Vec<u64>) -> Answer<'_, Result<(), ParkError>> {
        let park = Arc::clone(&self.standing.outbound.park);
        Box::pin(async move {
            let forgotten = tokio::task::spawn_blocking(move || park.forget(&ids)).await;
            Ok(forgotten.map_err(std::io::Error::other)??)
        })
    }

    fn replay(&self, filter: Filter) -> Answer<'_, Result<Replayed, ParkError>> {
        Box::pin(async move {
            let (operator, replayed) = (self.clone(), Arc::<AtomicUsize>::default());
            let replay = operator.replay_all(filter, Arc::clone(&replayed));
            let ended = self.replays.run(replay).await;
            ended.unwrap_or_else(|| Err(ParkError::Stopping(replayed.load(Ordering::Relaxed))))
        })
    }
}

impl Operator {
    /// Replays what `filter` means, a page at a time. Letters that are parked meanwhile are not looked
    /// at, lest those that fail again go round.
    async fn replay_all(
        self,
        mut filter: Filter,
        replayed: Arc<AtomicUsize>,
    ) -> Result<Replayed, ParkError> {
        let mut done = Replayed::default();
        let park = Arc::clone(&self.standing.outbound.park);
        let end = tokio::task::spawn_blocking(move || park.end()).await;
        filter.before = Some(end.map_err(std::io::Error::other)??);
        filter.limit = PAGE;
        loop {
            let page = self.replays.claim(filter.clone()).await?;
            let Page { claimed, under_way, last } = page;
            done.under_way.extend(under_way);
            for claimed in claimed {
                let id = claimed.letter.id;
                if self.replay_one(claimed).await {
                    done.replayed += 1;
                    replayed.store(done.replayed, Ordering::Relaxed);
                } else {
                    done.left.push(id);
                }
            }
            let Some(last) = last else { return Ok(done) };
            filter.after = last;
        }
    }

    /// Replays a letter: a record that a guest failed at takes the way of its source again, one that
    /// a destination refused goes to that destination. False if there is nowhere to replay it to.
    async fn replay_one(&self, claimed: Claimed) -> bool {
        let letter = &claimed.letter;
        let batch = match letter.batch() {
            Ok(batch) => batch,
            Err(error) => {
                tracing::warn!(%error, "left in the park");
                return false;
            }
        };
        let receipt = Some(Arc::clone(&claimed.receipt));
        let (source, destination) = (letter.text("source"), letter.text("destination"));
        let in_force = self.in_force.load_full();
        if !destination.is_empty() {
            let Some(known) = self.standing.in_force(destination) else { return false };
            let permit = self.standing.ingest.admission.acquire(batch.footprint()).await;
            let done = Box::new(move |_| drop(permit));
            let parcel = Arc::new(Parcel::new(batch, source.into(), receipt, done));
            known.replay(&parcel).await;
        } else {
            let mut flows = in_force.inlets.iter().map(|inlet| inlet.flow());
            let Some(flow) = flows.find(|flow| &*flow.source == source) else { return false };
            let permit = self.standing.ingest.admission.acquire(batch.footprint()).await;
            flow.book.replayed.add(batch.len());
            flow.book.in_pipeline.enter(batch.len());
            let way = flow.route(batch, permit, receipt);
            flow.deliver(way).await;
        }
        claimed.sent();
        true
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
