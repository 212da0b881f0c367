//! Backoff: how long to wait before the next attempt. Pure policy.

use std::time::Duration;

/// The first ceiling.
const FIRST: Duration = Duration::from_millis(100);
/// The last ceiling.
const LAST: Duration = Duration::from_secs(30);

/// Exponential backoff with full jitter: the nth wait is uniform between 0 and `FIRST`·2ⁿ, at
/// most `LAST`, so that many clients of one destination do not come back at once.
#[derive(Debug)]
pub(super) struct Backoff {
    failures: u32,
    random: u64,
}

impl Backoff {
    pub(super) fn new(seed: u64) -> Self {
        Self { failures: 0, random: seed | 1 }
    }

    /// The wait before the next attempt.
    pub(super) fn next(&mut self) -> Duration {
        let ceiling = FIRST.saturating_mul(1u32 << self.failures.min(16)).min(LAST);
        self.failures = self.failures.saturating_add(1);
        // xorshift64: enough to spread clients.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let share = (self.random >> 32) as u32;
        ceiling.mul_f64(f64::from(share) / f64::from(u32::MAX))
    }

    /// Forgets failures after a success.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_stay_below_the_ceiling_and_differ() {
        let mut backoff = Backoff::new(42);
        let waits: Vec<_> = (0..40).map(|_| backoff.next()).collect();
        assert!(waits[0] <= FIRST);
        assert!(waits.iter().all(|wait| *wait <= LAST));
        assert!(waits[20..].iter().max().unwrap() > &(LAST / 4));
        let distinct: std::collections::HashSet<_> = waits.iter().collect();
        assert!(distinct.len() > 30);
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }
}
