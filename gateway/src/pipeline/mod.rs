//! The pipeline: a batch through its guests in order, inline on the task that read it.
//!
//! * **What enters**: a decoded batch.
//! * **What leaves**: the batch with edits applied, and the [`Verdicts`] of its routers.
//! * **Limits**: each guest's own (`logboom-host`).
//! * **When it fails**: guilty records are parked, passed or dropped by the guest's policy; the
//!   others go on.
//! * **May import**: `telemetry`, `config`, `park`.

use std::sync::Arc;

use logboom_host::{Fault, Guest, Report, Role, Verdicts};
use logboom_record::{Batch, Selection};

use crate::config::OnFault;
use crate::park::{Park, Parked};
use crate::telemetry::ledger::{DropReason, SourceBook};
use crate::telemetry::metric;
use crate::telemetry::throttle::Throttle;

/// One guest in its place in a pipeline.
#[derive(Debug)]
pub struct Slot {
    guest: Arc<Guest>,
    on_fault: OnFault,
    /// The pipeline's route for each route of the guest's manifest.
    route_of: Vec<usize>,
    meters: Vec<RoleMeters>,
    throttle: Throttle,
}

/// Handles of the metrics of one role, looked up once.
#[derive(Clone)]
struct RoleMeters {
    role: Role,
    seconds: metrics::Histogram,
    records: metrics::Histogram,
    crossed: metrics::Counter,
}

impl std::fmt::Debug for RoleMeters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RoleMeters").field("role", &self.role).finish_non_exhaustive()
    }
}

impl Slot {
    /// Places a guest. `route_of` names, for each route of its manifest, the route's index.
    #[must_use]
    pub fn new(guest: Arc<Guest>, on_fault: OnFault, route_of: Vec<usize>) -> Self {
        let meters = guest.roles().iter().map(|role| {
            let labels = [("guest", guest.name().to_owned()), ("role", role.keyword().to_owned())];
            RoleMeters {
                role: *role,
                seconds: metrics::histogram!(metric::GUEST_CALL_SECONDS, &labels),
                records: metrics::histogram!(metric::GUEST_CALL_RECORDS, &labels),
                crossed: metrics::counter!(metric::GUEST_CROSSED, &labels),
            }
        });
        let meters = meters.collect();
        Self { guest, on_fault, route_of, meters, throttle: Throttle::default() }
    }
}

/// Ordered guests between a source and routing.
#[derive(Debug)]
pub struct Pipeline {
    slots: Vec<Slot>,
    routes: usize,
    park: Arc<Park>,
}

impl Pipeline {
    /// A pipeline of these guests, whose routers may name `routes` routes.
    #[must_use]
    pub fn new(slots: Vec<Slot>, routes: usize, park: Arc<Park>) -> Self {
        Self { slots, routes, park }
    }

    /// Takes the batch through every guest. Blocks for as long as guests compute, at most a few
    /// deadlines.
    #[must_use]
    pub fn process(&self, batch: &mut Batch, book: &SourceBook) -> Verdicts {
        let mut verdicts = Verdicts::new(self.routes);
        for slot in &self.slots {
            for meters in &slot.meters {
                let report = self.call(slot, meters.role, batch, &mut verdicts, book);
                account(slot, meters, &report, book);
            }
        }
        verdicts
    }

    fn call(
        &self,
        slot: &Slot,
        role: Role,
        batch: &mut Batch,
        verdicts: &mut Verdicts,
        book: &SourceBook,
    ) -> Report {
        let mut settle = |batch: &Batch, guilty: &[(u32, usize)], faults: &[Fault]| {
            self.settle(slot, batch, guilty, faults, book)
        };
        match role {
            Role::Parser => slot.guest.parse(batch, verdicts, &mut settle),
            Role::Router => slot.guest.route(batch, verdicts, &slot.route_of, &mut settle),
            Role::Meter => slot.guest.measure(batch, verdicts, &mut settle),
        }
    }

    /// Applies the guest's policy to the records at which it failed. Returns whether they leave
    /// the batch.
    fn settle(
        &self,
        slot: &Slot,
        batch: &Batch,
        guilty: &[(u32, usize)],
        faults: &[Fault],
        book: &SourceBook,
    ) -> bool {
        match slot.on_fault {
            OnFault::Pass => false,
            OnFault::Drop => {
                book.dropped.add(DropReason::GuestFault, guilty.len());
                true
            }
            OnFault::Park => {
                let indices = guilty.iter().map(|(index, _)| *index).collect();
                let batch = batch.extract(&Selection::Some(indices));
                let reasons = guilty.iter().map(|(_, fault)| {
                    let fault = &faults[*fault];
                    (fault.kind.keyword(), fault.message.as_str())
                });
                let by = Parked::Guest(slot.guest.name());
                let parked = self.park.take(&batch, &book.name, by, reasons, true);
                book.parked.add(parked);
                book.dropped.add(DropReason::ParkFailed, guilty.len() - parked);
                true
            }
        }
    }
}

/// Enters what a guest did into the books and metrics.
#[expect(clippy::cast_precision_loss, reason = "a batch has at most some thousand records")]
fn account(slot: &Slot, meters: &RoleMeters, report: &Report, book: &SourceBook) {
    if report.crossed == 0 {
        return;
    }
    meters.seconds.record(report.elapsed.as_secs_f64());
    meters.records.record(report.crossed as f64);
    meters.crossed.increment(report.crossed as u64);
    book.created.add(report.created);
    book.in_pipeline.enter(report.created);
    let guest = slot.guest.name();
    if !report.dropped.is_empty() {
        book.dropped.add(DropReason::Filtered, report.dropped.len());
        let reasons = &slot.guest.manifest().reasons;
        for (index, reason) in (0u32..).zip(reasons) {
            let n = report.dropped.iter().filter(|dropped| **dropped == index).count();
            let labels = [("guest", guest.to_owned()), ("reason", reason.clone())];
            metrics::counter!(metric::GUEST_DROPPED, &labels).increment(n as u64);
        }
    }
    if let Some(first) = report.faults.first() {
        let (kind, message, guilty) =
            (first.kind.keyword(), first.message.as_str(), report.guilty.len());
        if let Some(left_out) = slot.throttle.allow() {
            tracing::warn!(guest, kind, message, guilty, left_out, "guest failed");
        }
        for fault in &report.faults {
            let labels = [("guest", guest.to_owned()), ("kind", fault.kind.keyword().to_owned())];
            metrics::counter!(metric::GUEST_FAULTS, &labels).increment(1);
        }
    }
}
