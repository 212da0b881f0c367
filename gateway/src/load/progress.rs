//! What the threads of a receiver share: counters, the tally, the gate, and when it is the end.
//!
//! *Concurrency*: sessions take the lock of the tally once a read, and bump atomic counters. The
//! gate of `--stall-after` is a lock of its own. No thread holds two of these locks.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::tally::Tally;
use super::{ListenerReport, LoadUrl, ReceiveOptions, ReceiveReport, STOP_CHECK};

/// After the last expected record, how long to wait for what should not come.
const SURPLUS_WAIT: Duration = Duration::from_millis(300);

/// What the threads of a receiver share.
#[derive(Debug)]
pub(super) struct Progress {
    pub(super) options: ReceiveOptions,
    started: Instant,
    /// Nanoseconds after `started` of the first and of the last record; 0 is none yet.
    first_at: AtomicU64,
    last_at: AtomicU64,
    stop: AtomicBool,
    listeners: Vec<Counts>,
    pub(super) unframed_sessions: AtomicU64,
    /// One for all listeners, or with `--each` one for each.
    tallies: Vec<Mutex<Tally>>,
    gate: Mutex<Gate>,
    gate_moved: Condvar,
    has_stalled: AtomicBool,
    pub(super) sessions: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Counts {
    sessions: AtomicU64,
    received: AtomicU64,
    bytes: AtomicU64,
}

/// Whether sessions may read.
#[derive(Clone, Copy, Debug)]
enum Gate {
    Open,
    Shut { until: Option<Instant> },
}

impl Progress {
    pub(super) fn new(options: &ReceiveOptions) -> Self {
        let tallies = if options.each { options.urls.len() } else { 1 };
        Self {
            options: options.clone(),
            started: Instant::now(),
            first_at: AtomicU64::new(0),
            last_at: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            listeners: options.urls.iter().map(|_| Counts::default()).collect(),
            unframed_sessions: AtomicU64::new(0),
            tallies: (0..tallies).map(|_| Mutex::new(Tally::new(options.first))).collect(),
            gate: Mutex::new(Gate::Open),
            gate_moved: Condvar::new(),
            has_stalled: AtomicBool::new(false),
            sessions: Mutex::new(Vec::new()),
        }
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        lock(&self.gate)
    }

    pub(super) fn tally(&self, listener: usize) -> Option<MutexGuard<'_, Tally>> {
        let index = if self.options.each { listener } else { 0 };
        self.tallies.get(index).map(lock)
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.gate_moved.notify_all();
    }

    /// Keeps sessions from reading until the gate is opened again.
    pub(super) fn shut_gate(&self) {
        *self.gate() = Gate::Shut { until: None };
    }

    pub(super) fn open_gate(&self) {
        *self.gate() = Gate::Open;
        self.gate_moved.notify_all();
    }

    pub(super) fn begin_session(&self, listener: usize) {
        if let Some(counts) = self.listeners.get(listener) {
            counts.sessions.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn received_at(&self, listener: usize) -> u64 {
        self.listeners.get(listener).map_or(0, |it| it.received.load(Ordering::Relaxed))
    }

    pub(super) fn received(&self) -> u64 {
        self.listeners.iter().map(|it| it.received.load(Ordering::Relaxed)).sum()
    }

    /// Books the outcome of one read.
    pub(super) fn count(&self, listener: usize, records: u64, bytes: usize) {
        let Some(counts) = self.listeners.get(listener) else { return };
        counts.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        if records == 0 {
            return;
        }
        let now = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1);
        if self.first_at.load(Ordering::Relaxed) == 0 {
            // Of several first ones any will do.
            self.first_at.store(now, Ordering::Relaxed);
        }
        self.last_at.store(now, Ordering::Relaxed);
        counts.received.fetch_add(records, Ordering::Relaxed);
        let stall = self.options.stall_after.is_some_and(|after| self.received() >= after);
        if stall && !self.has_stalled.swap(true, Ordering::SeqCst) {
            let resume = self.options.resume_after.map(Duration::from_secs_f64);
            *self.gate() = Gate::Shut { until: resume.map(|after| Instant::now() + after) };
        }
    }

    /// Waits while the gate is shut; false when it is time to stop.
    pub(super) fn pass_gate(&self) -> bool {
        let mut gate = self.gate();
        loop {
            if self.is_stopped() {
                return false;
            }
            match *gate {
                Gate::Open => return true,
                Gate::Shut { until: Some(until) } if until <= Instant::now() => *gate = Gate::Open,
                Gate::Shut { .. } => {
                    let waited = self.gate_moved.wait_timeout(gate, STOP_CHECK);
                    gate = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }

    /// Records that count towards what is expected: no number twice where numbers are looked at.
    fn progress(&self) -> u64 {
        if self.options.count_only {
            return self.received();
        }
        self.tallies.iter().map(lock).map(|tally| tally.distinct + tally.unnumbered).sum()
    }

    pub(super) fn is_at_end(&self) -> bool {
        let options = &self.options;
        let elapsed = self.started.elapsed();
        if options.timeout > 0.0 && elapsed.as_secs_f64() >= options.timeout {
            return true;
        }
        let last_at = self.last_at.load(Ordering::Relaxed);
        if last_at == 0 {
            return options.expect == Some(0) && elapsed >= SURPLUS_WAIT;
        }
        let quiet = elapsed.saturating_sub(Duration::from_nanos(last_at));
        let is_stalled = matches!(*self.gate(), Gate::Shut { .. });
        let is_complete = options.expected().is_some_and(|expected| self.progress() >= expected);
        (is_complete && (options.count_only || quiet >= SURPLUS_WAIT))
            || (options.idle > 0.0 && !is_stalled && quiet.as_secs_f64() >= options.idle)
    }

    pub(super) fn report(&self, urls: &[LoadUrl]) -> ReceiveReport {
        let mut report = ReceiveReport {
            received: self.received(),
            unframed_sessions: self.unframed_sessions.load(Ordering::Relaxed),
            expected: self.options.expected(),
            ..ReceiveReport::default()
        };
        let (mut missing, mut distinct) = (0, 0);
        for tally in self.tallies.iter().map(lock) {
            report.duplicated += tally.duplicated;
            report.out_of_order += tally.out_of_order;
            report.unnumbered += tally.unnumbered;
            report.faults.extend(tally.faults());
            missing += tally.missing();
            distinct += tally.distinct + tally.unnumbered;
        }
        if self.options.count_only {
            distinct = report.received;
        }
        report.lost = report.expected.map_or(missing, |expected| expected.saturating_sub(distinct));
        for (url, counts) in urls.iter().zip(&self.listeners) {
            let bytes = counts.bytes.load(Ordering::Relaxed);
            report.bytes += bytes;
            report.listeners.push(ListenerReport {
                url: url.to_string(),
                sessions: counts.sessions.load(Ordering::Relaxed),
                received: counts.received.load(Ordering::Relaxed),
                bytes,
            });
        }
        let (first, last) =
            (self.first_at.load(Ordering::Relaxed), self.last_at.load(Ordering::Relaxed));
        report.seconds = Duration::from_nanos(last.saturating_sub(first)).as_secs_f64();
        report.rate = report.received as f64 / report.seconds.max(1e-9);
        report
    }
}

/// Locks; a thread that panicked while holding the lock leaves counters that are still true.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
