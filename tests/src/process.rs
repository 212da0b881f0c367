//! What the kernel says of a process. Source: proc(5).

use std::fs;

/// Clock ticks a second in `/proc/PID/stat`; 100 on every Linux that this runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// User and system CPU seconds of a process, all its threads together.
///
/// # Panics
/// When there is no such process.
#[must_use]
pub fn cpu_seconds(pid: u32) -> (f64, f64) {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("/proc/PID/stat");
    // The name in parentheses may hold anything: what is behind the last one is regular.
    let (_, rest) = stat.rsplit_once(") ").expect("a name in parentheses");
    let ticks = |index: usize| -> f64 {
        let field = rest.split(' ').nth(index).expect("enough fields");
        field.parse().expect("a number")
    };
    (ticks(11) / TICKS_PER_SECOND, ticks(12) / TICKS_PER_SECOND)
}

/// Resident memory of a process in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Now.
    pub now: u64,
    /// The most that it ever was.
    pub peak: u64,
}

/// The resident memory of a process.
///
/// # Panics
/// When there is no such process.
#[must_use]
pub fn memory_bytes(pid: u32) -> Memory {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("/proc/PID/status");
    let field = |name: &str| -> u64 {
        let line = status.lines().find(|line| line.starts_with(name)).expect("the field");
        let kib: u64 = line.split_whitespace().nth(1).expect("a value").parse().expect("a number");
        kib * 1024
    };
    Memory { now: field("VmRSS:"), peak: field("VmHWM:") }
}
