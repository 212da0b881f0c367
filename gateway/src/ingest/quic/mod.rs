//! The relay protocol's sessions.
//!
//! *Source*: `docs/spec/quic.md`.

mod session;
mod stream;
#[cfg(test)]
mod tests;

pub(super) use session::serve as session;
