//! The guests of this repository as components: the standard ones, which the gateway embeds, and
//! those that tests and benches use. Only what is named is linked.

include!(concat!(env!("OUT_DIR"), "/artifacts.rs"));
