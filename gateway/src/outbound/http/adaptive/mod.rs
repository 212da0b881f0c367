//! How many requests may be in flight at a destination: as many as it answers without getting
//! slower.
//!
//! * It grows by one after each round trip in which all of it was used and answers came as fast as
//!   they usually do. Unused, it stays as it is: nothing was learnt.
//! * It is halved when the destination says that it has too much (429, 503) or does not answer, once
//!   for all requests that were in flight then.
//! * It shrinks by a tenth after a round trip in which answers were much slower than usual.
//!
//! It is never below 1, nor above what it was given. [`Control`] decides and is pure; [`Limit`] makes
//! requests wait.
//!
//! *Concurrency*: one lock around the state, held for a few instructions.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// A round trip is taken to last this long at least.
const ROUND_MIN: Duration = Duration::from_millis(10);
/// Weight of the latest round trip in the average of all.
const AVERAGE_WEIGHT: f64 = 0.2;
/// Weight of one that was slow: the queue that our own requests make must not become the usual,
/// while a destination that has become slower for good must.
const SLOW_WEIGHT: f64 = 0.02;
/// Slower than usual: above the average by so many mean deviations, and by half of it.
const SLOW_DEVIATIONS: f64 = 2.5;
const SLOW_SHARE: f64 = 0.5;

/// How a request went, as far as the load of the destination is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was answered.
    Answered,
    /// It was turned away for there are too many (429, 503), or there was no answer in time.
    Overloaded,
    /// It failed for a reason that says nothing about load.
    Failed,
}

/// Decides how many requests may be in flight.
#[derive(Clone, Debug)]
pub(crate) struct Control {
    limit: usize,
    limit_max: usize,
    in_flight: usize,
    /// Requests that started before the last halving tell nothing new.
    halved_at: Option<Instant>,
    /// Mean time of an answer and its mean deviation, in seconds, over the last round trips.
    usual: Option<(f64, f64)>,
    round: Round,
}

/// What was seen in one round trip.
#[derive(Clone, Copy, Debug, Default)]
struct Round {
    start: Option<Instant>,
    answers: u32,
    seconds: f64,
    /// At some time the limit was reached.
    is_saturated: bool,
}

impl Control {
    /// Starts with a limit of `start`; it will stay between 1 and `limit_max`.
    #[must_use]
    pub(crate) fn new(start: usize, limit_max: usize) -> Self {
        let limit_max = limit_max.max(1);
        Self {
            limit: start.clamp(1, limit_max),
            limit_max,
            in_flight: 0,
            halved_at: None,
            usual: None,
            round: Round::default(),
        }
    }

    /// Changes what the limit can be at most.
    pub(crate) fn change(&mut self, limit_max: usize) {
        self.limit_max = limit_max.max(1);
        self.limit = self.limit.min(self.limit_max);
    }

    /// How many requests may be in flight.
    #[must_use]
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// How many requests are in flight; more than the limit after it has shrunk.
    #[must_use]
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Takes a request in, if there is room.
    pub(crate) fn enter(&mut self) -> bool {
        if self.in_flight >= self.limit {
            self.round.is_saturated = true;
            return false;
        }
        self.in_flight += 1;
        self.round.is_saturated |= self.in_flight == self.limit;
        true
    }

    /// A request is over that tells nothing: it was given up.
    pub(crate) fn leave(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// A request is over that took `latency`.
    pub(crate) fn finish(&mut self, outcome: Outcome, latency: Duration, now: Instant) {
        self.leave();
        match outcome {
            Outcome::Failed => {}
            Outcome::Overloaded => {
                let started = now.checked_sub(latency).unwrap_or(now);
                if self.halved_at.is_none_or(|halved_at| started >= halved_at) {
                    self.limit = (self.limit / 2).max(1);
                    self.halved_at = Some(now);
                    self.round = Round::default();
                }
            }
            Outcome::Answered => self.answered(latency, now),
        }
    }

    fn answered(&mut self, latency: Duration, now: Instant) {
        let round = &mut self.round;
        let start = *round.start.get_or_insert(now);
        round.answers = round.answers.saturating_add(1);
        round.seconds += latency.as_secs_f64();
        let mean = round.seconds / f64::from(round.answers);
        let usual = self.usual.map_or(mean, |(usual, _)| usual);
        let elapsed = now.saturating_duration_since(start);
        if elapsed < ROUND_MIN || elapsed.as_secs_f64() < usual {
            return;
        }
        let is_saturated = round.is_saturated;
        self.round = Round {
            start: Some(now),
            is_saturated: self.in_flight + 1 >= self.limit,
            ..Round::default()
        };
        let (average, deviation) = self.usual.unwrap_or((mean, 0.0));
        let is_slow = mean - average > (SLOW_DEVIATIONS * deviation).max(SLOW_SHARE * average);
        let error = mean - average;
        let weight = if is_slow { SLOW_WEIGHT } else { AVERAGE_WEIGHT };
        let deviation = deviation + weight * (error.abs() - deviation);
        self.usual = Some((average + weight * error, deviation));
        if is_slow {
            self.limit -= (self.limit / 10).max(1).min(self.limit - 1);
        } else if is_saturated {
            self.limit = (self.limit + 1).min(self.limit_max);
        }
    }
}

/// Makes requests wait until there is room for them.
#[derive(Debug)]
pub(crate) struct Limit {
    control: Mutex<Control>,
    /// There is room. One that is told and enters tells the next, if there still is.
    room: Notify,
}

impl Limit {
    /// A limit as `control` decides.
    #[must_use]
    pub(crate) fn new(control: Control) -> Arc<Self> {
        Arc::new(Self { control: Mutex::new(control), room: Notify::new() })
    }

    /// Waits for room. Drop the permit, or better [finish](Permit::finish) it, when the request is
    /// over.
    ///
    /// *Cancel safety*: nothing is taken before it is ready.
    pub(crate) async fn acquire(self: &Arc<Self>) -> Permit {
        loop {
            if self.lock().enter() {
                self.tell();
                return Permit { limit: Arc::clone(self), is_over: false };
            }
            // Told meanwhile, this returns at once.
            self.room.notified().await;
        }
    }

    /// Changes what the limit can be at most.
    pub(crate) fn change(&self, limit_max: usize) {
        self.lock().change(limit_max);
        self.tell();
    }

    /// How many requests may be in flight, and how many are.
    #[must_use]
    pub(crate) fn state(&self) -> (usize, usize) {
        let control = self.lock();
        (control.limit(), control.in_flight())
    }

    fn tell(&self) {
        let control = self.lock();
        if control.in_flight() < control.limit() {
            self.room.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Room for one request.
#[derive(Debug)]
#[must_use = "the room is given back when it is dropped"]
pub(crate) struct Permit {
    limit: Arc<Limit>,
    is_over: bool,
}

impl Permit {
    /// The request is over and took `latency`.
    pub(crate) fn finish(mut self, outcome: Outcome, latency: Duration, now: Instant) {
        self.is_over = true;
        self.limit.lock().finish(outcome, latency, now);
        self.limit.tell();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.is_over {
            self.limit.lock().leave();
            self.limit.tell();
        }
    }
}

#[cfg(test)]
mod tests;
