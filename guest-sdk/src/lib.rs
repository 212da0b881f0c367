//! # Guests for Logboom
//!
//! Logboom is a log gateway whose processing is done by *guests*: WebAssembly components in
//! sandboxes of their own. A guest has one or more roles:
//!
//! - a [`Parser`] adds typed fields to records and changes their head or body,
//! - a [`Router`] says where each record goes,
//! - a [`Meter`] turns records into metrics,
//!
//! and each guest [describes](Guest::describe) itself first: it reads its configuration and says
//! which records it wants. Records come in batches; each batch crosses into the guest as flat
//! lists by one copy of memory, and this crate shows them as borrowed views. Nothing is allocated
//! per record unless the guest does so.
//!
//! # A guest from end to end
//!
//! This one counts, by program, the records that tell of a time-out, and marks them with a field.
//!
//! ```
//! use logboom_guest::{
//!     Batch, Edits, FieldId, Guest, Interest, Manifest, Meter, Metric, Parser, SeriesCache, Updates,
//! };
//!
//! struct Timeouts {
//!     is_timeout: FieldId,
//!     by_program: SeriesCache,
//! }
//!
//! impl Guest for Timeouts {
//!     fn describe(_config: &str) -> Result<(Self, Manifest), String> {
//!         // The host hands over only records with this text in them; the others cost nothing.
//!         let mut manifest =
//!             Manifest::new("timeouts", "1.0.0").interest(Interest::all().literals(&["timed out"]));
//!         let metric = Metric::counter("timeouts_total", "Records that tell of a time-out.");
//!         let metric = manifest.add_metric(metric.label("program"));
//!         let is_timeout = FieldId::intern("is_timeout");
//!         Ok((Self { is_timeout, by_program: SeriesCache::new(metric) }, manifest))
//!     }
//! }
//!
//! impl Parser for Timeouts {
//!     fn parse(&mut self, batch: &Batch<'_>, edits: &mut Edits<'_>) -> Result<(), String> {
//!         for record in batch.records() {
//!             edits.bool(&record, self.is_timeout, true);
//!         }
//!         Ok(())
//!     }
//! }
//!
//! impl Meter for Timeouts {
//!     fn measure(&mut self, batch: &Batch<'_>, updates: &mut Updates) -> Result<(), String> {
//!         for record in batch.records() {
//!             updates.add(self.by_program.get(&[record.app_name()]), 1.0);
//!         }
//!         Ok(())
//!     }
//! }
//!
//! // Makes the component; does nothing in a native build.
//! logboom_guest::export!(Timeouts: parser + meter);
//!
//! // The test kit runs the same code natively and checks the results as the host does.
//! use logboom_guest::testkit::{Input, Inputs, Trial};
//!
//! let mut trial = Trial::<Timeouts>::start("")?;
//! let inputs = Inputs::new([
//!     Input::body("read timed out after 5 s").app_name("api"),
//!     Input::body("GET / 200").app_name("web"),
//! ]);
//! let parsed = trial.parse(&inputs)?;
//! assert_eq!(parsed[0].field("is_timeout"), Some(&true.into()));
//! assert_eq!(parsed[1].field("is_timeout"), None, "the host does not hand it over");
//!
//! trial.measure(&inputs)?;
//! assert_eq!(trial.value("timeouts_total", &["api"]), Some(1.0));
//! # Ok::<(), String>(())
//! ```
//!
//! # Building
//!
//! ```toml
//! [lib]
//! crate-type = ["cdylib", "rlib"] # the rlib is for native tests
//!
//! [profile.release]
//! lto = true
//! codegen-units = 1
//! panic = "abort"
//! strip = true
//! ```
//! ```sh
//! RUSTFLAGS="-C target-feature=+simd128" cargo build --release --target wasm32-wasip2
//! ```
//!
//! The file `target/wasm32-wasip2/release/<name>.wasm` is the component.
//!
//! # What a guest can do, and what not
//!
//! - **State** lives as long as the instance. The gateway runs several instances of a guest beside
//!   one another and replaces one that has faulted, so state is a cache or a sum, never a promise.
//! - **A panic** ends the instance; its message goes to the gateway's log. The gateway finds the
//!   record that caused it, parks that record, and goes on with a new instance.
//! - **Time**: a batch has a deadline, by default 50 ms.
//! - **Files, sockets, environment, clock** are not there: to call them is a trap. A record has an
//!   event time, a batch a time of receipt. `HashMap` works.
//! - **Speed**: scan by [memchr](https://docs.rs/memchr), not byte by byte. Keep `regex-lite` off
//!   the records. `checked_mul` of 64 bits is a call of a 128-bit multiplication, as WebAssembly has
//!   no flag of overflow: bound the number of digits instead. Structures that a function returns go
//!   through memory: inline what runs for every field, or return numbers.

#[cfg(target_arch = "wasm32")]
mod bindings;
#[cfg(target_arch = "wasm32")]
mod runtime;

mod batch;
#[cfg(feature = "config")]
pub mod config;
mod edits;
mod glob;
pub mod host;
mod interner;
mod manifest;
mod names;
mod running;
#[cfg(not(target_arch = "wasm32"))]
pub mod testkit;
mod updates;
mod verdicts;

pub use batch::{Batch, FIELD_STRIDE, FieldId, Record, Records, STRIDE, Value, flags};
pub use edits::{Checkpoint, Column, EditTables, Edits};
pub use glob::Glob;
pub use manifest::{Interest, Manifest, Metric, MetricKind};
pub use names::FieldNames;
pub use updates::{MetricId, Series, SeriesCache, UpdateTables, Updates};
pub use verdicts::{Reason, Route, VerdictTables, Verdicts};

/// What every guest does: describe itself.
pub trait Guest: Sized + 'static {
    /// Takes the configuration text (JSON made from the operator's TOML table; empty where there
    /// is none) and answers with the guest and its manifest. Called once per instance, before all
    /// else.
    ///
    /// # Errors
    /// What is wrong with the configuration, for the operator to read: the key, what it is, what
    /// is allowed.
    fn describe(config: &str) -> Result<(Self, Manifest), String>;
}

/// The role that adds fields to records and changes them.
pub trait Parser: Guest {
    /// Looks at each record of `batch` and writes to `edits` what shall change. A record it does
    /// not understand it leaves alone.
    ///
    /// # Errors
    /// That the whole batch could not be handled; the gateway applies its policy of faults.
    fn parse(&mut self, batch: &Batch<'_>, edits: &mut Edits<'_>) -> Result<(), String>;
}

/// The role that says where records go.
pub trait Router: Guest {
    /// Looks at each record of `batch` and writes its verdict. What it does not mention is kept.
    ///
    /// # Errors
    /// That the whole batch could not be handled; the gateway applies its policy of faults.
    fn route(&mut self, batch: &Batch<'_>, verdicts: &mut Verdicts<'_>) -> Result<(), String>;
}

/// The role that makes metrics.
pub trait Meter: Guest {
    /// Looks at each record of `batch` and updates the guest's series.
    ///
    /// # Errors
    /// That the whole batch could not be handled: its updates are discarded, and the gateway
    /// applies its policy of faults.
    fn measure(&mut self, batch: &Batch<'_>, updates: &mut Updates) -> Result<(), String>;
}

/// Makes a component of a guest: `export!(Type: parser)`, `export!(Type: router + meter)`, any of
/// the roles `parser`, `router`, `meter`, of which the type must have the traits. Once per crate.
/// In a native build it does nothing.
#[macro_export]
macro_rules! export {
    ($guest:ty: $role:ident $(+ $more:ident)*) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            ::std::thread_local! {
                static STATE: $crate::__inside::State<$guest> =
                    const { $crate::__inside::State::new() };
            }
            struct Exported;
            $crate::__export_role!(control);
            $crate::__export_role!($role);
            $($crate::__export_role!($more);)*
        };
    };
}

/// One role of [`export!`]; expects `Exported` and `STATE` in scope.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_role {
    (control) => {
        impl $crate::__inside::control::exports::logboom::guest::control::Guest for Exported {
            fn describe(
                config: String,
            ) -> Result<$crate::__inside::types::Manifest, String> {
                STATE.with(|state| state.describe(&config))
            }
        }
        $crate::__inside::control::export!(Exported with_types_in $crate::__inside::control);
    };
    (parser) => {
        impl $crate::__inside::parser::exports::logboom::guest::parser::Guest for Exported {
            fn parse(
                input: $crate::__inside::types::Batch,
            ) -> Result<$crate::__inside::types::Edits, String> {
                STATE.with(|state| state.parse(&input))
            }
        }
        $crate::__inside::parser::export!(Exported with_types_in $crate::__inside::parser);
    };
    (router) => {
        impl $crate::__inside::router::exports::logboom::guest::router::Guest for Exported {
            fn route(
                input: $crate::__inside::types::Batch,
            ) -> Result<$crate::__inside::types::Verdicts, String> {
                STATE.with(|state| state.route(&input))
            }
        }
        $crate::__inside::router::export!(Exported with_types_in $crate::__inside::router);
    };
    (meter) => {
        impl $crate::__inside::meter::exports::logboom::guest::meter::Guest for Exported {
            fn measure(
                input: $crate::__inside::types::Batch,
            ) -> Result<$crate::__inside::types::Updates, String> {
                STATE.with(|state| state.measure(&input))
            }
        }
        $crate::__inside::meter::export!(Exported with_types_in $crate::__inside::meter);
    };
}

/// What the macro needs; not for use by hand.
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod __inside {
    pub use crate::bindings::control::logboom::guest::types;
    pub use crate::bindings::{control, meter, parser, router};
    pub use crate::runtime::State;
}

/// The example in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
