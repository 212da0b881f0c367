//! End to end: the binary as an operator runs it, with senders and receivers that were not written
//! here. One executable, so that it is linked once; the modules are topics.

mod bad_input;
mod crash;
mod day;
mod delivery;
mod destinations;
mod disk;
mod guests;
mod https;
mod peers;
mod pressure;
mod quic;
mod quic_client;
mod refused;
mod reload;
mod relp;
mod senders;
mod shutdown;
mod tls;
mod tools;
mod tour;
mod zoo;
