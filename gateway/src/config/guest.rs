//! What runs between sources and routing: `[[guest]]` after its check.

use std::path::PathBuf;
use std::time::Duration;

/// The standard guests, sorted: `use = "std:NAME"`.
pub const STANDARD_GUESTS: [&str; 8] =
    ["access", "count", "filter", "json", "k8s", "logfmt", "oom", "route"];

/// A configured extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guest {
    /// How pipelines and metrics call it.
    pub name: String,
    /// What runs.
    pub component: Component,
    /// What the guest's `describe` is given: JSON text where the file has a table, else the string
    /// as it stands there; empty where there is none.
    pub config: String,
    /// Bytes that one instance may allocate.
    pub memory: usize,
    /// How long one batch may take.
    pub deadline: Duration,
    /// What becomes of a record on which the guest fails.
    pub on_fault: OnFault,
    /// How many series its metrics may have; more go to the overflow series.
    pub series_max: usize,
    /// How many field names it may make.
    pub names_max: usize,
}

/// Where a guest's compiled file comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Component {
    /// `use = "std:NAME"`: one of [`STANDARD_GUESTS`], without `std:`.
    Standard(String),
    /// `path = "…"`: a file, relative to the working directory. Whether it is there is not known
    /// here.
    Path(PathBuf),
}

/// What becomes of a record on which a guest fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OnFault {
    /// It is put aside as a dead letter, with the reason.
    Park,
    /// It goes on as if the guest were not there.
    Pass,
    /// It is dropped, and counted.
    Drop,
}
