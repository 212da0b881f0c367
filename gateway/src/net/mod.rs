//! The network: connections with a policy, names, TLS.
//!
//! * *Enters*: a host and a port, how to secure the connection, what the operator allows; on the
//!   other side accepted sockets.
//! * *Leaves*: a [`Stream`], plain or TLS, that knows how much the peer has acknowledged; a [`Silence`]
//!   that knows whether it is gone.
//! * *Limits*: each step has its time ([`Limits`]); 8 addresses of a name are tried; 64 names at
//!   once are with the system's resolver.
//! * *When it fails*: a [`DialError`] that says what to do and has a keyword for metrics. A reload
//!   of TLS files that fails leaves in force what was.
//! * *May import*: nothing.

mod cidr;
mod dial;
mod error;
mod http3;
mod policy;
mod quic;
mod resolve;
mod silence;
mod stream;
mod tls;

#[cfg(test)]
mod tests;

pub use cidr::{Cidr, CidrError};
pub use dial::{Endpoint, Limits, Network, dial};
pub use error::DialError;
pub use http3::http3_server;
pub use policy::{Endpoints, Forbidden, Policy, Rule};
pub use quic::{
    ControlError, ControlStream, QuicConnection, dial_quic, quic_close, quic_fault, quic_server,
    quic_subject,
};
pub use resolve::Resolver;
pub use silence::Silence;
pub use stream::{AcceptError, Stream};
#[cfg(test)]
pub(crate) use tests::support::name_server;
pub use tls::{
    ClientAuth, TlsClient, TlsError, TlsFault, TlsFiles, TlsServer, TlsServerFiles, TlsWarning,
    subject,
};
