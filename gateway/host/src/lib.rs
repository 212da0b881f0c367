//! Guests: sandboxed WebAssembly components that parse, route and meter records.
//!
//! * **What enters**: a component's bytes with its [`Settings`]; then batches.
//! * **What leaves**: the batch with its edits applied, [`Verdicts`], changed series, and for each
//!   call a [`Report`] of what was dropped, what faulted, and which records were guilty.
//! * **Limits**: memory, a deadline per call, field names, series, and lines of log per guest.
//! * **When it fails**: a call that traps, overruns or lies costs its instance, never the host. The
//!   batch is bisected until the guilty records stand alone, so innocent ones pass.
//! * **May import**: `logboom-record`. No type of the runtime leaves this room.
//!
//! One crossing a batch: the arena and the rows are copied into the guest by two memory copies,
//! and what comes back is checked word for word before it is used (`apply.rs`).

mod abi;
mod apply;
mod call;
mod engine;
mod error;
mod glob;
mod guest;
mod instance;
mod interest;
mod manifest;
mod series;

pub use apply::Verdicts;
pub use call::{Fault, FaultKind, Report};
pub use engine::{Engine, EngineLimits};
pub use error::LoadError;
pub use glob::Glob;
pub use guest::{Guest, Inspection, Role, Settings};
pub use interest::Interest;
pub use manifest::Manifest;
pub use series::{MetricKind, Sample, SeriesView};
