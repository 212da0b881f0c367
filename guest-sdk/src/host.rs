//! What a guest may ask of its host. Outside of WebAssembly the test kit answers instead.

pub use imp::log;
pub(crate) use imp::{intern_field, intern_series};

/// How much a line of a guest's own log matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something is lost.
    Error,
    /// Something works less well than it should; nothing is lost.
    Warn,
    /// For the operator to know.
    Info,
    /// For the guest's author to know.
    Debug,
}

#[cfg(target_arch = "wasm32")]
mod imp {
    use super::Level;
    use crate::FieldId;
    use crate::bindings::control::logboom::guest::host;

    /// Says something in the gateway's own log, limited in rate. Never record bodies.
    pub fn log(level: Level, text: &str) {
        let level = match level {
            Level::Error => host::Level::Error,
            Level::Warn => host::Level::Warn,
            Level::Info => host::Level::Info,
            Level::Debug => host::Level::Debug,
        };
        host::log(level, text);
    }

    pub(crate) fn intern_field(name: &str) -> FieldId {
        FieldId(host::intern_field(name))
    }

    pub(crate) fn intern_series(metric: u32, labels: &[String]) -> u32 {
        host::intern_series(metric, labels)
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod imp {
    use super::Level;
    use crate::{FieldId, testkit};

    /// Says something in the gateway's own log, limited in rate. Never record bodies.
    pub fn log(level: Level, text: &str) {
        testkit::host::log(level, text);
    }

    pub(crate) fn intern_field(name: &str) -> FieldId {
        testkit::host::intern_field(name)
    }

    pub(crate) fn intern_series(metric: u32, labels: &[String]) -> u32 {
        testkit::host::intern_series(metric, labels)
    }
}
