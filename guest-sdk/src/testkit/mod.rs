//! Runs guests natively in tests and benches: no WebAssembly, no host.
//!
//! [`Inputs`] builds a batch from readable records, [`Trial`] runs a guest over it and checks what
//! comes back as the host does: a span outside of its arena, a table out of order, an index or id
//! that does not exist is an error, and so is a route, reason or metric that the manifest does not
//! have. Records that the guest's interest excludes are not handed over.

mod check;
pub(crate) mod host;
mod input;
mod trial;

pub use host::{logged, take_log};
pub use input::{Input, Inputs};
pub use trial::{FieldValue, Parsed, Routed, Trial};
