//! QUIC as HTTP/3 needs it, the accepting side.
//!
//! *Source*: RFC 9000, 9001 and 9114.

use std::io;
use std::time::Duration;

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{IdleTimeout, ServerConfig, TransportConfig, VarInt};

use super::quic::{HANDSHAKE_BYTES, serving};
use super::tls::TlsServer;

/// *Source*: RFC 9114 section 3.1.
const ALPN: &[u8] = b"h3";
/// Requests of a connection at a time.
const REQUESTS_MAX: u32 = 100;
/// Streams of the protocol itself: control, and two for compression of headers; some to spare.
const OWN_STREAMS_MAX: u32 = 8;
/// Bytes that a peer may send of one request, and of all, before they are read.
const STREAM_WINDOW: u32 = 128 << 10;
const WINDOW: u32 = 256 << 10;
/// A peer that is not heard of for so long is gone.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// How a server takes connections of HTTP/3, none of them with early data. To be made for each
/// handshake: certificates may have changed.
///
/// # Errors
/// The certificate cannot be used with TLS 1.3.
pub fn http3_server(tls: &TlsServer, idle: Duration) -> io::Result<ServerConfig> {
    let mut crypto = rustls::ServerConfig::clone(&tls.config());
    crypto.alpn_protocols = vec![ALPN.to_vec()];
    let crypto = QuicServerConfig::try_from(crypto).map_err(io::Error::other)?;
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(IdleTimeout::try_from(idle.min(SILENCE_MAX)).ok())
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(WINDOW))
        .send_window(u64::from(WINDOW))
        .crypto_buffer_size(HANDSHAKE_BYTES)
        .datagram_receive_buffer_size(None)
        .max_concurrent_bidi_streams(VarInt::from_u32(REQUESTS_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(OWN_STREAMS_MAX));
    Ok(serving(crypto, transport))
}
