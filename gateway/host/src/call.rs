//! A batch through a guest: selection, crossing, bisection of faults, breaker.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use logboom_record::{Batch, FIELD_STRIDE, STRIDE, Selection, Span};
use wasmtime::component::{ComponentType, Func, Lift};

use crate::abi;
use crate::apply::{
    Verdicts, apply_answer, apply_edits, check_answer, check_edits, insert_created,
};
use crate::guest::{Guest, root};
use crate::instance::{Instance, tame};

/// Most calls of one batch that may fail before the rest of it is given up.
const FAULTS_PER_BATCH_MAX: u32 = 64;
/// Most time one batch may spend in failing calls, in deadlines.
const DEADLINES_PER_BATCH_MAX: u32 = 4;
/// Batches in a row without one good call after which the guest is suspended.
const FAILURES_MAX: u32 = 8;
/// How long it is suspended.
const SUSPENSION: Duration = Duration::from_secs(10);
/// A router or meter that wants fewer than one record in this many gets them packed in an arena of
/// their own; otherwise copying the whole arena is cheaper than picking.
const PACK_BELOW: usize = 8;

/// What kind of thing a guest did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    /// It ran longer than its deadline.
    Deadline,
    /// It answered with an error.
    Error,
    /// No instance could be had.
    Instance,
    /// Its answer names records, spans, ids or routes that do not exist.
    Lie,
    /// It was suspended for too many faults and not called.
    Suspended,
    /// It trapped: a panic, memory exhausted, the stack, a forbidden import.
    Trap,
}

impl FaultKind {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::Deadline, Self::Error, Self::Instance, Self::Lie, Self::Suspended, Self::Trap];

    /// The word for it, as metrics have it.
    #[must_use]
    pub fn keyword(self) -> &'static str {
        match self {
            Self::Deadline => "deadline",
            Self::Error => "error",
            Self::Instance => "instance",
            Self::Lie => "lie",
            Self::Suspended => "suspended",
            Self::Trap => "trap",
        }
    }
}

/// One thing a guest did wrong.
#[derive(Clone, Debug)]
pub struct Fault {
    /// What kind of thing.
    pub kind: FaultKind,
    /// The details, for people.
    pub message: String,
}

/// What came of one batch in one guest.
#[derive(Debug, Default)]
pub struct Report {
    /// Records that crossed.
    pub crossed: usize,
    /// Time in the guest and at its border.
    pub elapsed: Duration,
    /// Records it dropped, by index of the manifest's reasons, one entry a record.
    pub dropped: Vec<u32>,
    /// Records it made.
    pub created: usize,
    /// Calls that failed, bisection included.
    pub faults: Vec<Fault>,
    /// The records found guilty: index as before any insertion, and index into `faults`.
    pub guilty: Vec<(u32, usize)>,
}

/// What the guilty records' fate is; told by the caller.
type OnGuilty<'a> = &'a mut dyn FnMut(&Batch, &[(u32, usize)], &[Fault]) -> bool;

impl Guest {
    /// Has the guest parse the batch. `on_guilty` is called once if records were found guilty and
    /// says whether they are to be taken out of the batch.
    pub fn parse(
        &self,
        batch: &mut Batch,
        verdicts: &mut Verdicts,
        on_guilty: OnGuilty<'_>,
    ) -> Report {
        let selection = self.interest.select(batch, verdicts.dead());
        let (arena, reasons) = (batch.arena().len(), self.manifest.reasons.len());
        let check =
            |edits: &abi::Edits, records: usize| check_edits(edits, records, arena, reasons);
        let function = |instance: &Instance| instance.parse;
        let (answers, mut report) = self.drive(batch, selection, false, function, check);
        self.settle(batch, verdicts, &report, on_guilty);
        let mut created: Vec<(u32, Span)> = Vec::new();
        for (selection, edits) in answers {
            let dropped = apply_edits(batch, verdicts, &selection, edits, &mut created);
            report.dropped.extend(dropped);
        }
        report.created = created.len();
        insert_created(batch, verdicts, created);
        report
    }

    /// Has the guest route the batch. `route_of` gives the pipeline's index for each route of the
    /// manifest.
    pub fn route(
        &self,
        batch: &mut Batch,
        verdicts: &mut Verdicts,
        route_of: &[usize],
        on_guilty: OnGuilty<'_>,
    ) -> Report {
        let selection = self.interest.select(batch, verdicts.dead());
        let (arena, reasons) = (batch.arena().len(), self.manifest.reasons.len());
        let check = |answer: &abi::Answer, records: usize| {
            check_answer(answer, records, arena, route_of.len(), reasons)
        };
        let function = |instance: &Instance| instance.route;
        let (answers, mut report) = self.drive(batch, selection, false, function, check);
        self.settle(batch, verdicts, &report, on_guilty);
        for (selection, answer) in answers {
            let dropped = apply_answer(batch, verdicts, &selection, &answer, route_of);
            report.dropped.extend(dropped);
        }
        report
    }

    /// Has the guest measure the batch.
    pub fn measure(
        &self,
        batch: &Batch,
        verdicts: &mut Verdicts,
        on_guilty: OnGuilty<'_>,
    ) -> Report {
        let selection = self.interest.select(batch, verdicts.dead());
        let check = |updates: &abi::Updates, _: usize| self.registry.check(updates);
        let function = |instance: &Instance| instance.measure;
        let (answers, report) = self.drive(batch, selection, true, function, check);
        self.settle(batch, verdicts, &report, on_guilty);
        for (_, updates) in &answers {
            self.registry.apply(updates);
        }
        report
    }

    fn settle(
        &self,
        batch: &Batch,
        verdicts: &mut Verdicts,
        report: &Report,
        on_guilty: OnGuilty<'_>,
    ) {
        if report.guilty.is_empty() || !on_guilty(batch, &report.guilty, &report.faults) {
            return;
        }
        for (index, _) in &report.guilty {
            verdicts.kill(*index as usize, batch.len());
        }
    }

    /// Calls the guest with the selected records; where a call fails, with each half of them, until
    /// the guilty stand alone. Returns the good answers.
    fn drive<R: ComponentType + Lift>(
        &self,
        batch: &Batch,
        selection: Selection,
        may_pack: bool,
        function: impl Fn(&Instance) -> Option<Func>,
        check: impl Fn(&R, usize) -> Result<(), String>,
    ) -> (Vec<(Selection, R)>, Report) {
        let mut report = Report { crossed: selection.count(batch.len()), ..Report::default() };
        let mut answers = Vec::new();
        if report.crossed == 0 {
            return (answers, report);
        }
        let started = Instant::now();
        let budget = self.settings.deadline * DEADLINES_PER_BATCH_MAX;
        let suspended = self.is_suspended();
        let mut failing = Duration::ZERO;
        let mut pending = vec![selection];
        while let Some(selection) = pending.pop() {
            let failed = u32::try_from(report.faults.len()).unwrap_or(u32::MAX);
            let given_up = failed >= FAULTS_PER_BATCH_MAX || failing >= budget;
            if suspended || given_up && failed > 0 {
                if suspended && report.faults.is_empty() {
                    let message = "suspended after too many faults".to_owned();
                    report.faults.push(Fault { kind: FaultKind::Suspended, message });
                }
                let fault = report.faults.len() - 1;
                let guilty = selection.iter(batch.len());
                report.guilty.extend(guilty.map(|i| (u32::try_from(i).unwrap_or(0), fault)));
                continue;
            }
            let call_started = Instant::now();
            match self.call_once(batch, &selection, may_pack, &function, &check) {
                Ok(answer) => answers.push((selection, answer)),
                Err(fault) => {
                    failing += call_started.elapsed();
                    report.faults.push(fault);
                    self.split(batch.len(), selection, &mut pending, &mut report);
                }
            }
        }
        report.guilty.sort_unstable_by_key(|(index, _)| *index);
        self.count_failure(suspended, &report, answers.is_empty());
        report.elapsed = started.elapsed();
        (answers, report)
    }

    /// Puts the halves of a failed selection up for another call; a single record is guilty.
    fn split(
        &self,
        len: usize,
        selection: Selection,
        pending: &mut Vec<Selection>,
        report: &mut Report,
    ) {
        let mut list: Vec<u32> = match selection {
            Selection::All => (0u32..).take(len).collect(),
            Selection::Some(list) => list,
        };
        if let [one] = list.as_slice() {
            report.guilty.push((*one, report.faults.len() - 1));
            return;
        }
        let second = list.split_off(list.len() / 2);
        pending.push(Selection::Some(second));
        pending.push(Selection::Some(list));
    }

    fn call_once<R: ComponentType + Lift>(
        &self,
        batch: &Batch,
        selection: &Selection,
        may_pack: bool,
        function: &impl Fn(&Instance) -> Option<Func>,
        check: &impl Fn(&R, usize) -> Result<(), String>,
    ) -> Result<R, Fault> {
        let fault = |kind, message| Fault { kind, message };
        let mut instance =
            self.take_instance().map_err(|message| fault(FaultKind::Instance, message))?;
        let Some(function) = function(&instance) else {
            return Err(fault(FaultKind::Instance, "the role is not exported".to_owned()));
        };
        let records = selection.count(batch.len());
        let packed;
        let (input, rows);
        let rows: &[u32] = match selection {
            Selection::All => {
                input = batch;
                batch.rows()
            }
            Selection::Some(_) if may_pack && records < batch.len() / PACK_BELOW => {
                packed = batch.extract(selection);
                input = &packed;
                packed.rows()
            }
            Selection::Some(list) => {
                input = batch;
                rows = pick_rows(batch, list);
                &rows
            }
        };
        let fields = self.pick_fields(input, batch, selection);
        let crossing = abi::Batch {
            arena: input.arena(),
            stride: u32::try_from(STRIDE).unwrap_or(0),
            rows,
            fields: &fields,
            received: batch.received().0.cast_unsigned(),
        };
        let deadline = self.settings.deadline;
        let answer = match instance.call::<R>(&self.engine, function, crossing, deadline) {
            Err(error) => return Err(fault(kind_of(&error), root(&error))),
            Ok(Err(message)) => Err(fault(FaultKind::Error, tame(&message))),
            Ok(Ok(answer)) => match check(&answer, records) {
                // An instance that lies is not used again.
                Err(message) => return Err(fault(FaultKind::Lie, message)),
                Ok(()) => Ok(answer),
            },
        };
        self.give_back(instance);
        answer
    }

    /// The rows of the fields that the guest reads, numbered as its records are.
    fn pick_fields(&self, input: &Batch, batch: &Batch, selection: &Selection) -> Vec<u32> {
        let wanted = &self.interest.fields;
        if wanted.is_empty() || input.field_rows().is_empty() {
            return Vec::new();
        }
        let mut rows = Vec::new();
        let indices: Vec<usize> = if std::ptr::eq(input, batch) {
            selection.iter(batch.len()).collect()
        } else {
            (0..input.len()).collect()
        };
        for (number, index) in (0u32..).zip(indices) {
            let Some(record) = input.record(index) else { continue };
            for row in record.field_rows() {
                if wanted.iter().any(|name| name.0 == row[1]) {
                    rows.push(number);
                    rows.extend_from_slice(&row[1..FIELD_STRIDE]);
                }
            }
        }
        rows
    }

    fn is_suspended(&self) -> bool {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        now < self.suspended_until.load(Ordering::Relaxed)
    }

    fn count_failure(&self, suspended: bool, report: &Report, without_answer: bool) {
        if suspended {
            return;
        }
        if report.faults.is_empty() || !without_answer {
            self.failures.store(0, Ordering::Relaxed);
            return;
        }
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if failures >= FAILURES_MAX {
            self.failures.store(0, Ordering::Relaxed);
            let until = self.started.elapsed() + SUSPENSION;
            let until = u64::try_from(until.as_millis()).unwrap_or(u64::MAX);
            self.suspended_until.store(until, Ordering::Relaxed);
            tracing::warn!(guest = self.name(), ?SUSPENSION, "guest suspended after faults");
        }
    }
}

fn kind_of(error: &wasmtime::Error) -> FaultKind {
    match error.downcast_ref::<wasmtime::Trap>() {
        Some(wasmtime::Trap::Interrupt) => FaultKind::Deadline,
        _ => FaultKind::Trap,
    }
}

fn pick_rows(batch: &Batch, list: &[u32]) -> Vec<u32> {
    let mut rows = Vec::with_capacity(list.len() * STRIDE);
    for index in list {
        let start = *index as usize * STRIDE;
        rows.extend_from_slice(batch.rows().get(start..start + STRIDE).unwrap_or(&[]));
    }
    rows
}
