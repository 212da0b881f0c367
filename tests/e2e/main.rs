//! End to end: the binary as an operator runs it, with senders and receivers that were not written
//! here. One executable, so that it is linked once; the modules are topics.

mod bad_input;
mod day;
mod destinations;
mod guests;
mod pressure;
mod refused;
mod senders;
mod shutdown;
mod tour;
