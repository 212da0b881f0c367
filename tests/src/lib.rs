//! The harness of the end-to-end tests: starts the real binary and real peers, and looks at what
//! they do from outside.
//!
//! * **What enters**: configuration text, peers that `tests/setup` installed.
//! * **What leaves**: a running [`Gateway`], running [`Peer`]s, their books and figures.
//! * **Limits**: everything waits for a condition with a deadline ([`wait_until`]); nothing sleeps
//!   for a guessed time.
//! * **When it fails**: it panics, with what was waited for and the last words of the process.
//! * **May import**: `load` of the gateway, as sender and receiver; nothing else of it.
//!
//! A guard ends only the process that it started, by its id. A peer that is missing makes a test
//! say so and pass; with `CI=true` it fails.

mod arguments;
mod certificates;
pub mod day;
pub mod faults;
mod gateway;
mod http;
mod ledger;
mod metrics;
pub mod oracle;
mod peer;
mod process;
mod scratch;
mod script;
mod spread;
mod tap;
mod udp_relay;
pub mod zoo;

pub use arguments::Arguments;
pub use certificates::{Certificates, Pair};
pub use gateway::{Gateway, Refusal, binary, run_to_end};
pub use http::get;
pub use ledger::Ledger;
pub use metrics::Metrics;
pub use peer::{
    Peer, PeerKind, envoy, haproxy, is_missing, nginx, openssl_server, peer_configuration,
    python_with, rsyslog, skip, syslog_ng,
};
pub use process::{Memory, cpu_nanos, cpu_seconds, descriptors, established, memory_bytes};
pub use scratch::{DEADLINE, Scratch, free_port, pause, repository, wait_for, wait_until};
pub use script::Script;
pub use spread::Spread;
pub use tap::{TcpTap, UdpTap};
pub use udp_relay::UdpRelay;
