//! A throttle for lines of the gateway's own log that outsiders can cause: at most one a second, with
//! the number of those left out.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Milliseconds between two lines.
const EVERY_MS: u64 = 1000;

/// One kind of line.
#[derive(Debug, Default)]
pub struct Throttle {
    /// When the next line may be written, in milliseconds of this process; 0 is at once.
    next_ms: AtomicU64,
    left_out: AtomicU64,
}

impl Throttle {
    /// Whether a line may be written now; if so, how many were left out before it.
    #[must_use]
    pub fn allow(&self) -> Option<u64> {
        let now = now_ms();
        let next = self.next_ms.load(Ordering::Relaxed);
        let (new, order) = (now + EVERY_MS, Ordering::Relaxed);
        let is_free = now >= next && self.next_ms.compare_exchange(next, new, order, order).is_ok();
        if !is_free {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.left_out.swap(0, Ordering::Relaxed))
    }
}

fn now_ms() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let elapsed = START.get_or_init(Instant::now).elapsed();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_lines_at_once_one_is_written_and_the_others_counted() {
        let throttle = Throttle::default();
        assert_eq!(throttle.allow(), Some(0));
        for _ in 0..9 {
            assert_eq!(throttle.allow(), None);
        }
        throttle.next_ms.store(0, Ordering::Relaxed);
        assert_eq!(throttle.allow(), Some(9));
    }
}
