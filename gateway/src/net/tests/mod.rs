//! Tests of the room: real sockets on loopback, certificates and name servers made on the spot.

mod cidr;
mod dial;
mod openssl;
mod policy;
mod silence;
mod stream;
mod subject;
pub(super) mod support;
mod tls;
mod tls_files;
