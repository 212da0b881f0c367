//! TLS for both sides: from files, reloadable while in use.
//!
//! TLS 1.2 and 1.3 with the suites of the library's default, all ephemeral and authenticated; RFC
//! 9662 wants of syslog no more. Files are read whole and checked before they come into force, and
//! what was in force stays so if they are bad. Connections that exist go on as they are.
//!
//! *Concurrency*: the configuration in force is read without a lock; reloads of the same object
//! wait for each other. `load`, `reload`, and `changed` read files and so may block.

mod client;
mod error;
mod fault;
mod files;
mod server;
mod subject;
mod validity;

pub use client::{TlsClient, TlsFiles};
pub use error::{TlsError, TlsWarning};
pub use fault::TlsFault;
pub use server::{ClientAuth, TlsServer, TlsServerFiles};
pub use subject::subject;

#[cfg(test)]
pub(super) use validity::validity;

use std::sync::{Arc, Once};

use rustls::crypto::{CryptoProvider, aws_lc_rs};

/// Named in each configuration, so that no default of the process is needed.
fn provider() -> Arc<CryptoProvider> {
    static SEED: Once = Once::new();
    let provider = aws_lc_rs::default_provider();
    // The first random byte of a process takes a tenth of a second, in which a handshake would hold up
    // a thread that serves others.
    SEED.call_once(|| {
        // One that fails now fails again, and says so, where it is needed.
        drop(provider.secure_random.fill(&mut [0]));
    });
    Arc::new(provider)
}
