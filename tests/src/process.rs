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

/// CPU time of a process in nanoseconds, of those of its threads that are alive; finer than
/// [`cpu_seconds`].
///
/// # Panics
/// When there is no such process.
#[must_use]
pub fn cpu_nanos(pid: u32) -> u64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("/proc/PID/task");
    threads
        .flatten()
        // A thread may end meanwhile.
        .filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok())
        .filter_map(|text| text.split(' ').next()?.parse::<u64>().ok())
        .sum()
}

/// How many file descriptors a process has.
///
/// # Panics
/// When there is no such process.
#[must_use]
pub fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("/proc/PID/fd").count()
}

/// State of a connection in `/proc/net/tcp`.
const ESTABLISHED: &str = "01";
/// The same, ended by its peer and not closed here.
const CLOSE_WAIT: &str = "08";

/// How many TCP connections of this network namespace are established from others to a local port,
/// those included that have not been accepted yet. Those that the other side has closed are not among
/// them, even where the server has not read up to their end.
///
/// # Panics
/// Without procfs.
#[must_use]
pub fn established(port: u16) -> usize {
    connections(port, &[ESTABLISHED])
}

/// As [`established`], with those that have ended and are not read to their end.
pub(crate) fn unread(port: u16) -> usize {
    connections(port, &[ESTABLISHED, CLOSE_WAIT])
}

fn connections(port: u16, states: &[&str]) -> usize {
    let table = fs::read_to_string("/proc/net/tcp").expect("/proc/net/tcp");
    let local = format!(":{port:04X}");
    let rows = table.lines().skip(1).filter(|row| {
        let mut fields = row.split_whitespace().skip(1);
        let is_local = fields.next().is_some_and(|address| address.ends_with(&local));
        is_local && fields.nth(1).is_some_and(|state| states.contains(&state))
    });
    rows.count()
}
