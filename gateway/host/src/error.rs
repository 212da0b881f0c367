//! Why a guest cannot be taken into service.

use std::path::PathBuf;

/// Why a guest could not be loaded. Each message names the guest and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The engine could not be built: the machine lacks something it needs.
    #[error("the WebAssembly engine cannot start: {0}")]
    Engine(String),
    /// The file is not a component.
    #[error(
        "guest \"{guest}\": not a WebAssembly component: {cause}; build it with `cargo build --target wasm32-wasip2`"
    )]
    NotAComponent {
        /// Name in the configuration.
        guest: String,
        /// What the compiler found.
        cause: String,
    },
    /// It exports no role of the contract.
    #[error(
        "guest \"{guest}\": exports no role of logboom:guest@0.1.0 (control and at least one of parser, router, meter); it exports: {exports}"
    )]
    WrongWorld {
        /// Name in the configuration.
        guest: String,
        /// What it exports, comma-separated.
        exports: String,
    },
    /// An export has another signature than the contract.
    #[error(
        "guest \"{guest}\": {export} does not have the signature of logboom:guest@0.1.0: {cause}"
    )]
    WrongSignature {
        /// Name in the configuration.
        guest: String,
        /// The export.
        export: String,
        /// Where they differ.
        cause: String,
    },
    /// No instance could be made of it.
    #[error("guest \"{guest}\": cannot be instantiated: {cause}")]
    Instantiate {
        /// Name in the configuration.
        guest: String,
        /// What failed.
        cause: String,
    },
    /// It refused its configuration.
    #[error("guest \"{guest}\": refuses its configuration: {message}")]
    Refused {
        /// Name in the configuration.
        guest: String,
        /// The guest's own words.
        message: String,
    },
    /// `describe` trapped or overran its deadline.
    #[error("guest \"{guest}\": describe failed: {cause}")]
    Describe {
        /// Name in the configuration.
        guest: String,
        /// The trap.
        cause: String,
    },
    /// Its manifest breaks a rule.
    #[error("guest \"{guest}\": its manifest is invalid: {rule}")]
    Manifest {
        /// Name in the configuration.
        guest: String,
        /// The rule.
        rule: String,
    },
    /// The cache of compiled components cannot be used.
    #[error("the cache of compiled guests at {path} cannot be used: {cause}")]
    Cache {
        /// The folder.
        path: PathBuf,
        /// Why.
        cause: String,
    },
}
