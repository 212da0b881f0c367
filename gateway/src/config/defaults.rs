//! What a key means when it is left out, in which range it may be, and why.
//!
//! "Ours" marks a choice that no measurement or document forced: it can change.

use std::time::Duration;

/// A default and its range, both ends allowed.
pub(super) struct Bounds<T> {
    pub(super) default: T,
    pub(super) least: T,
    pub(super) most: T,
}

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const GIB: usize = 1 << 30;

/// The API is for this machine until the operator says otherwise.
pub(super) const CONTROL_LISTEN: &str = "127.0.0.1:5000";

/// Visible in the working directory, so that nobody has to look for it.
pub(super) const DATA: &str = "logboom-data";

/// Forty is the cap of logshuttle, whose place the gateway takes. At 1024 one destination would use
/// up a usual limit of open files alone.
pub(super) const MAX_CONNECTIONS: Bounds<usize> = Bounds { default: 40, least: 1, most: 1024 };

/// A quarter of a small machine (1 GiB). Less than 16 MiB would not hold one batch a worker.
pub(super) const MEMORY: Bounds<usize> =
    Bounds { default: 256 * MIB, least: 16 * MIB, most: 1024 * GIB };

/// 64 KiB holds the largest UDP datagram (65,507 bytes). At least 480 octets must be taken (RFC
/// 5424 section 6.1); a batch holds 1 MiB.
pub(super) const RECORD: Bounds<usize> = Bounds { default: 64 * KIB, least: 480, most: MIB };

/// An eighth of the default memory: eight dead destinations before sources feel it; all of a
/// smaller memory. Less than 1 MiB would not hold one batch.
pub(super) const QUEUE: Bounds<usize> = Bounds { default: 32 * MIB, least: MIB, most: 1024 * GIB };

/// A third of what Kubernetes grants before it kills (30 s). Ours.
pub(super) const SHUTDOWN: Bounds<Duration> = Bounds {
    default: Duration::from_secs(10),
    least: Duration::from_millis(100),
    most: Duration::from_secs(600),
};

/// A healthy receiver answers within a second; one that takes ten times as long is as good as down.
/// Ours.
pub(super) const ATTEMPT: Bounds<Duration> = Bounds {
    default: Duration::from_secs(10),
    least: Duration::from_millis(100),
    most: Duration::from_secs(600),
};

/// The folder of the spool, in that of the data.
pub(super) const SPOOL: &str = "spool";

/// Half an hour at 20,000 records a second of 300 bytes. Less than 64 MiB would not hold what the
/// queues of two destinations push over at once.
pub(super) const SPOOL_MAX: Bounds<usize> =
    Bounds { default: 10 * GIB, least: 64 * MIB, most: 65_536 * GIB };

/// A tenth of the spool, so that one dead destination does not cost the others theirs. A batch is 1
/// MiB.
pub(super) const SPOOL_SHARE: Bounds<usize> =
    Bounds { default: GIB, least: MIB, most: SPOOL_MAX.most };

/// A file that is given up as a whole: small against a share, large against the cost of a new file.
/// A batch is 1 MiB.
pub(super) const SPOOL_SEGMENT: Bounds<usize> = Bounds { default: 64 * MIB, least: MIB, most: GIB };

/// With fewer, giving one up would cost most of what is kept.
pub(super) const SPOOL_SEGMENTS_LEAST: usize = 4;

/// As much as one destination may have in the spool. Less than 16 MiB would not hold the records of
/// one batch in the form in which they are parked.
pub(super) const PARKED_MAX: Bounds<usize> =
    Bounds { default: GIB, least: 16 * MIB, most: 1024 * GIB };

/// A month: what nobody has asked for by then, nobody will. Ours. A second, to see it work.
pub(super) const PARKED_AGE: Bounds<Duration> = Bounds {
    default: Duration::from_secs(30 * 24 * 3600),
    least: Duration::from_secs(1),
    most: Duration::from_secs(3650 * 24 * 3600),
};

/// The window of librelp's sender: less would make it wait, more it does not use.
pub(super) const WINDOW: Bounds<usize> = Bounds { default: 128, least: 1, most: 10_000 };

/// A session costs some KiB while it is idle, so 10,000 stay below the default memory. Ours.
pub(super) const MAX_SESSIONS: Bounds<usize> =
    Bounds { default: 10_000, least: 1, most: 1_000_000 };

/// No limit: behind a balancer, all sessions have one address. Ours.
pub(super) const MAX_SESSIONS_PER_PEER: Bounds<usize> =
    Bounds { default: 0, least: 0, most: MAX_SESSIONS.most };

/// A handshake is a few small messages; ten seconds cover a slow peer and end one that drips.
pub(super) const HANDSHAKE_TIMEOUT: Bounds<Duration> = Bounds {
    default: Duration::from_secs(10),
    least: Duration::from_millis(100),
    most: Duration::from_secs(300),
};

/// What a collector sends at once is some MiB; sixteen of these use up the default memory. Ours.
pub(super) const MAX_BODY: Bounds<usize> = Bounds { default: 16 * MIB, least: KIB, most: GIB };

/// As gRPC has it by default; the first message of an Envoy has some 78 KiB.
pub(super) const MESSAGE_BYTES_MAX: Bounds<usize> =
    Bounds { default: 4 * MIB, least: 128 * KIB, most: 64 * MIB };

/// Some hundred senders with a few requests each. Ours.
pub(super) const MAX_REQUESTS: Bounds<usize> = Bounds { default: 1000, least: 1, most: 100_000 };

/// As long as senders usually wait for an answer. Ours.
pub(super) const ANSWER_TIMEOUT: Bounds<Duration> = Bounds {
    default: Duration::from_secs(30),
    least: Duration::from_millis(100),
    most: Duration::from_secs(600),
};

/// Longer than the keep-alive marks of common senders, short enough that half-open sessions go.
/// Ours.
pub(super) const IDLE: Bounds<Duration> = Bounds {
    default: Duration::from_secs(600),
    least: Duration::from_secs(1),
    most: Duration::from_secs(24 * 3600),
};

/// A frame comes in one write; half a minute covers a stalled network, and ends a peer that drips
/// bytes to hold memory. Ours.
pub(super) const FRAME_TIMEOUT: Bounds<Duration> = Bounds {
    default: Duration::from_secs(30),
    least: Duration::from_millis(100),
    most: Duration::from_secs(3600),
};

/// Datagrams have no back-pressure: 8 MiB bridge a pause of 100 ms at 250,000 records a second of
/// 300 bytes. The kernel may grant less (`net.core.rmem_max`).
pub(super) const RECEIVE_BUFFER: Bounds<usize> =
    Bounds { default: 8 * MIB, least: 4 * KIB, most: GIB };

/// More sockets than cores do not take more in. The default is what the process may use of them.
pub(super) fn sockets() -> Bounds<usize> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Bounds { default: cores.min(SOCKETS_MOST), least: 1, most: SOCKETS_MOST }
}

const SOCKETS_MOST: usize = 256;

/// Everybody may log: so is `/dev/log` on every system.
pub(super) const MODE: u32 = 0o666;

/// Room for a batch (1 MiB), what is made of it, and tables of a guest's own. Ours. An instance
/// does not start in less than 1 MiB; wasm ends at 4 GiB, and nobody wants that times the workers.
pub(super) const GUEST_MEMORY: Bounds<usize> = Bounds { default: 64 * MIB, least: MIB, most: GIB };

/// A thousand times what a batch takes in a good guest. Ours.
pub(super) const GUEST_DEADLINE: Bounds<Duration> = Bounds {
    default: Duration::from_millis(50),
    least: Duration::from_millis(1),
    most: Duration::from_secs(10),
};

/// What one scrape of Prometheus takes from one target without pain. Ours.
pub(super) const SERIES_MAX: Bounds<usize> = Bounds { default: 10_000, least: 1, most: 1_000_000 };

/// Field names come from programs, not from data; who makes more has a bug. Ours.
pub(super) const NAMES_MAX: Bounds<usize> = Bounds { default: 1024, least: 1, most: 65_536 };

// A destination's queue is part of the memory.
const _: () = assert!(QUEUE.default <= MEMORY.default && QUEUE.least <= MEMORY.least);
// A record fits in a queue and in a guest.
const _: () = assert!(RECORD.most <= QUEUE.least && RECORD.most <= GUEST_MEMORY.least);
// The smallest spool has room for its segments, and a destination's share for one of the smallest.
const _: () = assert!(SPOOL_SEGMENT.least * SPOOL_SEGMENTS_LEAST <= SPOOL_MAX.least);
const _: () = assert!(SPOOL_SEGMENT.default * SPOOL_SEGMENTS_LEAST <= SPOOL_MAX.default);
const _: () = assert!(SPOOL_SHARE.default <= SPOOL_MAX.default);
const _: () = assert!(SPOOL_SHARE.least <= SPOOL_MAX.least);
// A session that has begun a frame is closed for the frame, not for being idle.
const _: () = assert!(FRAME_TIMEOUT.default.as_millis() < IDLE.default.as_millis());
// A shutdown can outlast a guest's batch.
const _: () = assert!(GUEST_DEADLINE.default.as_millis() < SHUTDOWN.least.as_millis());
