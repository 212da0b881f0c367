//! The gateway: the rooms between a source's bytes and a destination's, wired in [`run`].
//!
//! | room | what it does |
//! |---|---|
//! | [`config`] | one TOML file to types without invalid state |
//! | [`ingest`] | listeners, sessions, admission; bytes to batches |
//! | [`pipeline`] | batches through guests |
//! | [`route`] | which destinations a record goes to |
//! | [`outbound`] | queues, lanes, connections, connectors |
//! | [`net`] | connections with a policy, names, TLS |
//! | [`park`] | records that nobody could do with |
//! | [`control`] | health, metrics, the ledger, parked records over HTTP |
//! | [`telemetry`] | the ledger and the metrics page |
//! | [`load`] | `logboom send` and `logboom receive` |
//!
//! `config`, `telemetry`, `net` and `park` are the floor; other rooms import these, never each other.

pub mod config;
pub mod control;
pub mod ingest;
pub mod load;
pub mod marks;
pub mod net;
pub mod outbound;
pub mod park;
pub mod park_tool;
pub mod pipeline;
pub mod route;
pub mod run;
pub mod spool_tool;
pub mod telemetry;
pub mod trial;
