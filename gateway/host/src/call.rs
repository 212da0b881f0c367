//! A batch through a guest: selection, crossing, bisection of faults, breaker.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use logboom_record::{Batch, FIELD_STRIDE, STRIDE, Selection, Span};
use wasmtime::component::{ComponentType, Func, Lift};

use crate::abi::{self, Held};
use crate::apply::{
    Verdicts, apply_answer, apply_edits, check_answer, check_edits, insert_created,
};
use crate::guest::{Guest, root};
use crate::instance::{ANSWER_BYTES_MAX, Instance, tame};

/// Most calls of one batch that may fail before the search for the guilty ends.
const FAULTS_PER_BATCH_MAX: usize = 64;
/// Most time one batch may spend in failing calls before the search ends: deadlines, and shortest
/// deadlines of retries. One record that spins in a batch of thousands is found within.
const DEADLINES_PER_BATCH_MAX: u32 = 4;
const RETRIES_PER_BATCH_MAX: u32 = 16;
/// Most calls after the search has ended: each part not yet tried gets one, and is guilty as a whole
/// if that fails. Their deadlines together are about one deadline of the guest.
const LAST_CALLS_MAX: u32 = 64;
/// A retry with part of the records has that part of the deadline, but no less than this: some
/// ticks of the clock, so that a busy machine makes no innocent record late.
const RETRY_DEADLINE_MIN: Duration = Duration::from_millis(12);
/// Batches in a row, of two records or more, without one good call after which the guest is suspended.
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

/// How one role is called: by which function, how its answers are checked, and whether records that
/// are few may be packed in an arena of their own.
struct Export<F, C> {
    function: F,
    check: C,
    may_pack: bool,
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
        let (input, reasons) = (&*batch, self.manifest.reasons.len());
        let check = |edits: &abi::Edits, selection: &Selection| {
            check_edits(edits, input, selection, reasons)
        };
        let function = |instance: &Instance| instance.parse;
        let (answers, mut report) =
            self.drive(input, selection, Export { function, check, may_pack: false });
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
        let len = batch.len();
        let check = |answer: &abi::Answer, selection: &Selection| {
            check_answer(answer, selection.count(len), arena, route_of.len(), reasons)
        };
        let function = |instance: &Instance| instance.route;
        let (answers, mut report) =
            self.drive(batch, selection, Export { function, check, may_pack: false });
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
        let check = |updates: &abi::Updates, _: &Selection| self.registry.check(updates);
        let function = |instance: &Instance| instance.measure;
        let (answers, report) =
            self.drive(batch, selection, Export { function, check, may_pack: true });
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
    /// the guilty stand alone or the search has cost too much; then each part not yet tried gets one
    /// more call. Returns the good answers.
    fn drive<R: ComponentType + Lift + Held>(
        &self,
        batch: &Batch,
        selection: Selection,
        export: Export<
            impl Fn(&Instance) -> Option<Func>,
            impl Fn(&R, &Selection) -> Result<(), String>,
        >,
    ) -> (Vec<(Selection, R)>, Report) {
        let mut report = Report { crossed: selection.count(batch.len()), ..Report::default() };
        let mut answers = Vec::new();
        if report.crossed == 0 {
            return (answers, report);
        }
        let started = Instant::now();
        if self.is_suspended() {
            let message = "suspended after too many faults".to_owned();
            report.faults.push(Fault { kind: FaultKind::Suspended, message });
            report.condemn(&selection, batch.len());
            report.elapsed = started.elapsed();
            return (answers, report);
        }
        let deadline = self.settings.deadline;
        let budget = deadline.saturating_mul(DEADLINES_PER_BATCH_MAX)
            + RETRY_DEADLINE_MIN * RETRIES_PER_BATCH_MAX;
        let (mut failing, mut held, mut last_calls) = (Duration::ZERO, 0, 0);
        let mut pending = vec![selection];
        while let Some(selection) = pending.pop() {
            if held > ANSWER_BYTES_MAX || last_calls >= LAST_CALLS_MAX {
                report.give_up(held);
                let rest = std::iter::once(selection).chain(pending);
                rest.for_each(|selection| report.condemn(&selection, batch.len()));
                break;
            }
            let has_ended = report.faults.len() >= FAULTS_PER_BATCH_MAX || failing >= budget;
            last_calls += u32::from(has_ended);
            let share = share(deadline, selection.count(batch.len()), report.crossed);
            let call_started = Instant::now();
            match self.call_once(batch, &selection, share, &export) {
                Ok(answer) => {
                    held += answer.bytes();
                    answers.push((selection, answer));
                }
                Err(fault) => {
                    failing += call_started.elapsed();
                    report.faults.push(fault);
                    if has_ended {
                        report.condemn(&selection, batch.len());
                    } else {
                        split(batch.len(), selection, &mut pending, &mut report);
                    }
                }
            }
        }
        report.guilty.sort_unstable_by_key(|(index, _)| *index);
        self.count_failure(&report, answers.is_empty());
        report.elapsed = started.elapsed();
        (answers, report)
    }

    fn call_once<R: ComponentType + Lift>(
        &self,
        batch: &Batch,
        selection: &Selection,
        deadline: Duration,
        export: &Export<
            impl Fn(&Instance) -> Option<Func>,
            impl Fn(&R, &Selection) -> Result<(), String>,
        >,
    ) -> Result<R, Fault> {
        let fault = |kind, message| Fault { kind, message };
        let mut instance =
            self.take_instance().map_err(|message| fault(FaultKind::Instance, message))?;
        let Some(function) = (export.function)(&instance) else {
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
            Selection::Some(_) if export.may_pack && records < batch.len() / PACK_BELOW => {
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
        let answer = match instance.call::<R>(&self.engine, function, crossing, deadline) {
            Err(error) => return Err(fault(kind_of(&error), root(&error))),
            Ok(Err(message)) => Err(fault(FaultKind::Error, tame(&message))),
            Ok(Ok(answer)) => match (export.check)(&answer, selection) {
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

    /// Counts batches in a row in which nothing succeeded. A single record that fails says nothing
    /// of the guest, unless no instance was to be had.
    fn count_failure(&self, report: &Report, without_answer: bool) {
        if report.faults.is_empty() || !without_answer {
            self.failures.store(0, Ordering::Relaxed);
            return;
        }
        if report.crossed < 2 && report.faults.iter().all(|f| f.kind != FaultKind::Instance) {
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

impl Report {
    /// All records of a selection are guilty of the last fault.
    fn condemn(&mut self, selection: &Selection, len: usize) {
        let Some(fault) = self.faults.len().checked_sub(1) else { return };
        let guilty = selection.iter(len).filter_map(|index| u32::try_from(index).ok());
        self.guilty.extend(guilty.map(|index| (index, fault)));
    }

    /// Says why the parts that are left are not called, when it is for what the answers hold.
    fn give_up(&mut self, held: usize) {
        if held > ANSWER_BYTES_MAX {
            let limit = format!("at most {ANSWER_BYTES_MAX} are taken");
            let message = format!("its answers to one batch hold {held} bytes; {limit}");
            self.faults.push(Fault { kind: FaultKind::Lie, message });
        }
    }
}

/// The deadline of a call with some of the records that crossed.
fn share(deadline: Duration, records: usize, crossed: usize) -> Duration {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let part = deadline.saturating_mul(count(records)) / count(crossed).max(1);
    part.max(RETRY_DEADLINE_MIN).min(deadline)
}

/// Puts the halves of a failed selection up for another call; a single record is guilty.
fn split(len: usize, selection: Selection, pending: &mut Vec<Selection>, report: &mut Report) {
    let mut list: Vec<u32> = match selection {
        Selection::All => (0u32..).take(len).collect(),
        Selection::Some(list) => list,
    };
    if list.len() <= 1 {
        report.condemn(&Selection::Some(list), len);
        return;
    }
    let second = list.split_off(list.len() / 2);
    pending.push(Selection::Some(second));
    pending.push(Selection::Some(list));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_has_its_share_of_the_deadline_and_enough_for_a_busy_machine() {
        let share = |records| share(Duration::from_millis(100), records, 1000).as_millis();
        assert_eq!([share(1000), share(500), share(121), share(1)], [100, 50, 12, 12]);
        let short = Duration::from_millis(5);
        assert_eq!(super::share(short, 1, 1000), short);
    }

    #[test]
    fn a_guest_given_up_for_its_answers_is_told_so() {
        let mut report = Report::default();
        report.give_up(ANSWER_BYTES_MAX);
        assert!(report.faults.is_empty());
        report.give_up(ANSWER_BYTES_MAX + 1);
        report.condemn(&Selection::Some(vec![3, 5]), 9);
        assert_eq!(report.faults[0].kind, FaultKind::Lie);
        assert_eq!(report.guilty, [(3, 0), (5, 0)]);
    }
}
