//! The breaker of a destination: when the next attempt may be made, and by how many at once.
//!
//! ```text
//!            failure                 OPEN_AFTER failures
//!  closed ────────────▶ backing off ─────────────────────▶ open ── wait over ──▶ half open
//!    ▲                      │                                ▲                      │ one probe
//!    └────── success ───────┴────────────────────────────────┴──── failure ◀────────┤
//!    ▲                                                                    success   │
//!    └──────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! All connections of a destination share one breaker, so that a destination that is down is tried
//! by one of them at a time, however many records wait for it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::backoff::Backoff;
use super::http::RETRY_AFTER_MAX;

/// Failures in a row after which only one probe at a time is let through.
const OPEN_AFTER: u32 = 3;

/// How long one that waits for a change goes without a look.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Where a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Attempts are made as there is work.
    Closed,
    /// No attempt is made for now.
    Open,
    /// One attempt is under way, or may be made, to see whether the destination is back.
    HalfOpen,
}

impl BreakerState {
    /// How the API calls it.
    #[must_use]
    pub fn keyword(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// The breaker.
#[derive(Debug)]
pub(super) struct Breaker {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    backoff: Backoff,
    failures: u32,
    /// No attempt before this.
    until: Instant,
    /// When the destination last asked to be left alone.
    asked: Option<Instant>,
    /// Since when it has not been closed.
    opened: Option<Instant>,
    is_probing: bool,
}

/// Leave to make an attempt. Dropped without a word it counts as neither success nor failure.
#[derive(Debug)]
pub(super) struct Admitted<'a> {
    breaker: &'a Breaker,
    is_probe: bool,
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        if self.is_probe {
            self.breaker.lock().is_probing = false;
            self.breaker.changed.notify_waiters();
        }
    }
}

impl Breaker {
    pub(super) fn new(seed: u64) -> Self {
        let state = State {
            backoff: Backoff::new(seed),
            failures: 0,
            until: Instant::now(),
            asked: None,
            opened: None,
            is_probing: false,
        };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until an attempt may be made. Cancel safe.
    pub(super) async fn admit(&self) -> Admitted<'_> {
        loop {
            let changed = self.changed.notified();
            let until = {
                let mut state = self.lock();
                let is_open = state.failures >= OPEN_AFTER;
                if Instant::now() < state.until {
                    Some(state.until)
                } else if is_open && state.is_probing {
                    None
                } else {
                    state.is_probing = is_open;
                    return Admitted { breaker: self, is_probe: is_open };
                }
            };
            match until {
                // A success elsewhere ends the wait.
                Some(until) => tokio::select! {
                    () = tokio::time::sleep_until(until) => {}
                    () = changed => {}
                },
                None => changed.await,
            }
        }
    }

    /// Notes a failure; returns how long to wait. `retry_after` is what the destination asked for.
    pub(super) fn failed(&self, retry_after: Option<Duration>) -> Duration {
        let mut state = self.lock();
        state.failures = state.failures.saturating_add(1);
        let own = state.backoff.next();
        let wait = retry_after.map_or(own, |asked| asked.min(RETRY_AFTER_MAX).max(own));
        let now = Instant::now();
        state.until = state.until.max(now + wait);
        if retry_after.is_some() {
            state.asked = Some(now);
        }
        if state.failures >= OPEN_AFTER {
            state.opened.get_or_insert(now);
        }
        wait
    }

    /// Notes a success of an attempt that was admitted then. One from before the destination asked to be
    /// left alone takes nothing of that back. Says for how long the breaker was open, if it was.
    pub(super) fn succeeded(&self, admitted: Instant) -> Option<Duration> {
        let mut state = self.lock();
        if state.failures == 0 || state.asked.is_some_and(|asked| admitted <= asked) {
            return None;
        }
        let opened = state.opened.take();
        self.reset(&mut state);
        opened.map(|opened| opened.elapsed())
    }

    /// Whatever made the attempts fail may be mended.
    pub(super) fn try_again(&self) {
        self.reset(&mut self.lock());
    }

    fn reset(&self, state: &mut State) {
        (state.failures, state.asked, state.opened) = (0, None, None);
        state.until = Instant::now();
        state.backoff.reset();
        self.changed.notify_waiters();
    }

    /// Ready when it may stand elsewhere. Cancel safe.
    pub(super) async fn change(&self) {
        // Between two successes nothing but time changes it.
        drop(tokio::time::timeout(LOOK_EVERY, self.changed.notified()).await);
    }

    /// Where it stands.
    pub(super) fn state(&self) -> BreakerState {
        let state = self.lock();
        if state.failures < OPEN_AFTER {
            BreakerState::Closed
        } else if Instant::now() < state.until {
            BreakerState::Open
        } else {
            BreakerState::HalfOpen
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test(start_paused = true)]
    async fn an_open_breaker_lets_one_probe_through_at_a_time() {
        let breaker = Arc::new(Breaker::new(7));
        for _ in 0..OPEN_AFTER {
            breaker.failed(None);
        }
        assert_ne!(breaker.state(), BreakerState::Closed);
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let attempts = (0..20).map(|_| {
            let (breaker, now, most) = (Arc::clone(&breaker), Arc::clone(&now), Arc::clone(&most));
            tokio::spawn(async move {
                let admitted = breaker.admit().await;
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(50)).await;
                now.fetch_sub(1, Ordering::SeqCst);
                breaker.failed(None);
                drop(admitted);
            })
        });
        for attempt in attempts.collect::<Vec<_>>() {
            attempt.await.unwrap();
        }
        assert_eq!(most.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_success_lets_everybody_go() {
        let breaker = Arc::new(Breaker::new(7));
        for _ in 0..20 {
            breaker.failed(Some(Duration::from_secs(600)));
        }
        assert_eq!(breaker.state(), BreakerState::Open);
        let waiting = {
            let breaker = Arc::clone(&breaker);
            tokio::spawn(async move { drop(breaker.admit().await) })
        };
        tokio::task::yield_now().await;
        let began = Instant::now();
        breaker.try_again();
        waiting.await.unwrap();
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn an_earlier_request_that_succeeds_takes_nothing_back_of_what_was_asked_for() {
        let breaker = Breaker::new(7);
        let earlier = Instant::now();
        tokio::time::advance(Duration::from_millis(1)).await;
        breaker.failed(None);
        breaker.succeeded(earlier);
        drop(breaker.admit().await);
        assert_eq!(earlier.elapsed(), Duration::from_millis(1), "nothing was asked for");
        breaker.failed(Some(Duration::from_secs(60)));
        breaker.succeeded(earlier);
        drop(breaker.admit().await);
        assert!(earlier.elapsed() > Duration::from_secs(60));
        assert_eq!(breaker.succeeded(Instant::now()), None, "it was never open");
        assert_eq!(breaker.lock().failures, 0);
        for _ in 0..OPEN_AFTER {
            breaker.failed(Some(Duration::from_secs(60)));
        }
        tokio::time::advance(Duration::from_secs(90)).await;
        assert_eq!(breaker.succeeded(Instant::now()), Some(Duration::from_secs(90)));
        assert_eq!(breaker.succeeded(Instant::now()), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_destination_asks_for_is_honoured() {
        let breaker = Breaker::new(7);
        let began = Instant::now();
        assert_eq!(breaker.failed(Some(Duration::from_secs(5))), Duration::from_secs(5));
        drop(breaker.admit().await);
        assert!(began.elapsed() >= Duration::from_secs(5));
        assert_eq!(breaker.failed(Some(Duration::from_secs(1 << 40))), RETRY_AFTER_MAX);
    }
}
