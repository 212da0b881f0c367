//! Decompression of what peers send, within limits: sessions and messages of syslog as rsyslog
//! compresses them, and the bodies of requests.

pub mod body;
pub mod session;
