//! The way of a source's records from decoding to the queues, and how a reload changes it under way.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use arc_swap::ArcSwap;
use logboom_host::Verdicts;
use logboom_record::{Batch, Receipt};

use super::generation::Generation;
use crate::config::Durability;
use crate::ingest::{Admission, Intake, Permit};
use crate::outbound::{self, Deliveries, Parcel};
use crate::pipeline::Pipeline;
use crate::telemetry::ledger::{DropReason, SourceBook};

/// Where a source hands its batches: the flow that is in force.
pub(super) struct Inlet(ArcSwap<Flow>);

impl Inlet {
    pub(super) fn new(flow: Arc<Flow>) -> Self {
        Self(ArcSwap::new(flow))
    }

    pub(super) fn change(&self, flow: Arc<Flow>) {
        self.0.store(flow);
    }

    pub(super) fn flow(&self) -> Arc<Flow> {
        self.0.load_full()
    }
}

/// The way of a source's records in one generation.
pub(super) struct Flow {
    pub(super) source: Arc<str>,
    pub(super) book: Arc<SourceBook>,
    pub(super) pipeline: Option<Arc<Pipeline>>,
    /// Routes that take every record.
    pub(super) always: Vec<usize>,
    pub(super) durability: Durability,
    pub(super) generation: Arc<Generation>,
    pub(super) admission: Arc<Admission>,
}

impl Intake for Inlet {
    fn take<'a>(
        &'a self,
        batch: Batch,
        permit: Permit,
        receipt: Option<Arc<Receipt>>,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        let flow = self.flow();
        let way = flow.route(batch, permit, receipt);
        Box::pin(async move { flow.deliver(way).await })
    }
}

/// A batch that has been through its pipeline and routing.
pub(super) struct Routed {
    parcel: Parcel,
    deliveries: Deliveries,
    len: usize,
    routed: usize,
    unrouted: usize,
}

impl Flow {
    /// Takes a batch through the pipeline and routing. Blocks for as long as guests compute.
    pub(super) fn route(
        &self,
        mut batch: Batch,
        permit: Permit,
        receipt: Option<Arc<Receipt>>,
    ) -> Routed {
        let verdicts = match &self.pipeline {
            Some(pipeline) => pipeline.process(&mut batch, &self.book),
            None => Verdicts::new(0),
        };
        let routed = self.generation.table.route(&batch, &verdicts, &self.always);
        let destinations = &self.generation.destinations;
        let deliveries = routed.deliveries.into_iter().map(|(index, selection)| {
            let destination = Arc::clone(&destinations[index]);
            (destination, selection)
        });
        let (deliveries, len) = (deliveries.collect(), batch.len());
        let admission = Arc::clone(&self.admission);
        let done = Box::new(move |batch| {
            admission.recycle(batch);
            drop(permit);
        });
        let parcel = Parcel::new(batch, Arc::clone(&self.source), receipt, done);
        Routed { parcel, deliveries, len, routed: routed.routed, unrouted: routed.unrouted }
    }

    /// Hands it to its destinations.
    pub(super) async fn deliver(&self, way: Routed) {
        let Routed { parcel, deliveries, len, routed, unrouted } = way;
        let common = &self.generation.outbound;
        outbound::deliver(common, parcel, deliveries, self.durability, &self.book).await;
        self.book.routed.add(routed);
        self.book.dropped.add(DropReason::Unrouted, unrouted);
        self.book.in_pipeline.leave(len);
    }
}
