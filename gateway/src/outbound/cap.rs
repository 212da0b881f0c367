//! The cap: how many connections to a destination are open at a time, however they come about.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The cap of one destination.
#[derive(Debug)]
pub(super) struct Cap {
    state: Mutex<State>,
    freed: Notify,
    /// Somebody has begun to wait.
    wanted: Notify,
}

#[derive(Debug)]
struct State {
    open: usize,
    most: usize,
    waiting: usize,
}

/// Leave to have a connection open, given back when dropped.
#[derive(Debug)]
pub(super) struct Slot(Arc<Cap>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.lock().open -= 1;
        self.0.freed.notify_waiters();
    }
}

/// One that waits, counted until it is dropped.
struct Waiter<'a>(&'a Cap);

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.lock().waiting -= 1;
    }
}

impl Cap {
    /// At most `most` connections, and at least one.
    pub(super) fn new(most: usize) -> Arc<Self> {
        let state = State { open: 0, most: most.max(1), waiting: 0 };
        Arc::new(Self { state: Mutex::new(state), freed: Notify::new(), wanted: Notify::new() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the cap. What is open beyond a lower one stays open until what it has in hand is done with.
    pub(super) fn change(&self, most: usize) {
        self.lock().most = most.max(1);
        self.freed.notify_waiters();
    }

    /// Waits for leave to open a connection. Cancel safe.
    pub(super) async fn slot(self: &Arc<Self>) -> Slot {
        let mut waiter = None;
        loop {
            let freed = self.freed.notified();
            {
                let mut state = self.lock();
                if state.open < state.most {
                    state.open += 1;
                    return Slot(Arc::clone(self));
                }
                // Only who finds none waits for one: others end theirs for it.
                waiter.get_or_insert_with(|| {
                    state.waiting += 1;
                    self.wanted.notify_waiters();
                    Waiter(self)
                });
            }
            freed.await;
        }
    }

    /// Whether somebody waits for leave: who does not need a connection now should end it.
    pub(super) fn is_wanted(&self) -> bool {
        self.lock().waiting > 0
    }

    /// Ready when somebody waits for leave. Cancel safe.
    pub(super) async fn wanted(&self) {
        loop {
            let wanted = self.wanted.notified();
            if self.is_wanted() {
                return;
            }
            wanted.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_more_are_open_than_the_cap_says_even_after_it_was_lowered() {
        let cap = Cap::new(3);
        let mut slots = vec![cap.slot().await, cap.slot().await, cap.slot().await];
        let waiting = {
            let cap = Arc::clone(&cap);
            tokio::spawn(async move { cap.slot().await })
        };
        while !cap.is_wanted() {
            tokio::task::yield_now().await;
        }
        cap.change(2);
        slots.pop();
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished(), "two are open still");
        slots.pop();
        drop(waiting.await.unwrap());
        assert!(!cap.is_wanted());
        assert_eq!(cap.lock().open, 1);
    }
}
