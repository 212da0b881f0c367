//! The receipt: the promise that travels with a batch.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::Mark;

/// How a receipt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// Every record is where it was to go: at all its destinations, in the spool and synced, parked,
    /// or dropped because a guest or an order said so.
    Kept,
    /// At least one record was given up: shed, or left behind at shutdown. The sender still has it.
    Lost,
}

type Resolve = Box<dyn FnOnce(Resolution) + Send>;

/// The promise of one batch to the source that took it in. All who hold the batch hold the receipt;
/// it resolves when the last of them lets go.
pub struct Receipt {
    mark: Option<Mark>,
    is_lost: AtomicBool,
    resolve: Mutex<Option<Resolve>>,
}

impl Receipt {
    /// A receipt that tells `resolve` how it ended. `resolve` runs on whichever thread lets go last
    /// and must not block.
    #[must_use]
    pub fn new(resolve: impl FnOnce(Resolution) + Send + 'static) -> Arc<Self> {
        Self::make(None, Box::new(resolve))
    }

    /// The same for a batch that its sender has a name for: whoever makes the batch durable keeps
    /// the mark with it.
    #[must_use]
    pub fn marked(mark: Mark, resolve: impl FnOnce(Resolution) + Send + 'static) -> Arc<Self> {
        Self::make(Some(mark), Box::new(resolve))
    }

    fn make(mark: Option<Mark>, resolve: Resolve) -> Arc<Self> {
        let resolve = Mutex::new(Some(resolve));
        Arc::new(Self { mark, is_lost: AtomicBool::new(false), resolve })
    }

    /// What the sender calls the batch.
    #[must_use]
    pub fn mark(&self) -> Option<Mark> {
        self.mark
    }

    /// Notes that a record of the batch was given up.
    pub fn lose(&self) {
        self.is_lost.store(true, Ordering::Relaxed);
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        let resolve = self.resolve.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let is_lost = self.is_lost.load(Ordering::Relaxed);
        let resolution = if is_lost { Resolution::Lost } else { Resolution::Kept };
        if let Some(resolve) = resolve {
            resolve(resolution);
        }
    }
}

impl std::fmt::Debug for Receipt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receipt").field("is_lost", &self.is_lost).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_receipt_resolves_once_when_the_last_holder_lets_go() {
        let (told, tells) = mpsc::channel();
        let first = Receipt::new(move |resolution| told.send(resolution).unwrap());
        let second = Arc::clone(&first);
        drop(first);
        assert!(tells.try_recv().is_err());
        second.lose();
        drop(second);
        assert_eq!(tells.try_recv(), Ok(Resolution::Lost));
        assert!(tells.try_recv().is_err());
    }
}
