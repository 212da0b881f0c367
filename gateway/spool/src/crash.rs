//! Named places where a test makes the process end, to see what the next one finds.
//!
//! `LOGBOOM_CRASH_AT=group_synced:3` aborts at the third time `group_synced` is passed. Compiled
//! only with debug assertions.

/// Aborts the process if the environment asks for it here.
#[cfg(debug_assertions)]
pub(crate) fn point(name: &'static str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static ARMED: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);

    let armed = ARMED.get_or_init(|| {
        let text = std::env::var("LOGBOOM_CRASH_AT").ok()?;
        let (name, count) = text.split_once(':').unwrap_or((&text, "1"));
        Some((name.to_owned(), count.parse().ok()?))
    });
    let Some((at, count)) = armed else { return };
    if at == name && PASSED.fetch_add(1, Ordering::Relaxed) + 1 == *count {
        std::process::abort();
    }
}

/// Nothing, without debug assertions.
#[cfg(not(debug_assertions))]
pub(crate) fn point(_name: &'static str) {}
