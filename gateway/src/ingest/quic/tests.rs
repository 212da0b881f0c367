//! Sessions against a client by hand.
