//! QUIC connections, of both sides.
//!
//! *Source*: RFC 9000 and 9001; what is set here is said in `docs/spec/quic.md` section 2.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use logboom_codec::quic::{Code, Control, RelayError};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, Connection, ConnectionError, IdleTimeout, ReadError, RecvStream, SendStream,
    ServerConfig, TransportConfig, VarInt, WriteError,
};
use rustls_pki_types::CertificateDer;

use super::dial::{ADDRESSES_TRIED_MAX, Endpoint, Network};
use super::error::DialError;
use super::resolve::bare;
use super::tls::{TlsClient, TlsFault, TlsServer, subject};

/// A peer that is not heard of for so long is gone.
const IDLE: Duration = Duration::from_secs(10);
/// A client says something at least this often, so that a server misses it in time, and it the
/// server.
const KEEPALIVE: Duration = Duration::from_secs(3);
/// Bytes that a peer may send on all streams before they are read.
const WINDOW_BYTES: u32 = 2 << 20;
/// Bytes of a handshake that has gaps, and of connections that nobody has accepted yet.
pub(super) const HANDSHAKE_BYTES: usize = 16 << 10;
/// As [`HANDSHAKE_BYTES`], of all connections.
const HANDSHAKES_BYTES: u64 = 4 << 20;
/// Bytes read at a time of a control stream.
const CONTROL_READ_BYTES: usize = 4 << 10;
/// The codes of the errors that TLS makes. *Source*: RFC 9001 section 4.8.
const ALERTS: std::ops::Range<u64> = 0x100..0x200;
/// *Source*: RFC 7301 section 3.2.
const NO_APPLICATION_PROTOCOL: u8 = 120;

/// What both sides set: idle time, windows, no datagrams.
fn transport(streams: u32) -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(IdleTimeout::try_from(IDLE).ok())
        .stream_receive_window(VarInt::from_u32(WINDOW_BYTES / 2))
        .receive_window(VarInt::from_u32(WINDOW_BYTES))
        .send_window(u64::from(WINDOW_BYTES) * 2)
        .crypto_buffer_size(HANDSHAKE_BYTES)
        .datagram_receive_buffer_size(None)
        .max_concurrent_bidi_streams(VarInt::from_u32(u32::from(streams > 0)))
        .max_concurrent_uni_streams(VarInt::from_u32(streams));
    transport
}

/// A client's connection, with the socket it goes over.
#[derive(Debug)]
pub struct QuicConnection {
    /// The socket; of this connection alone.
    pub endpoint: quinn::Endpoint,
    /// The connection.
    pub connection: Connection,
}

/// Connects. The name is resolved anew; if the endpoint is guarded, each of its addresses must pass
/// the policy, and only these are connected to, one after the other.
///
/// *Cancel safety*: safe; a connection half made is closed.
///
/// # Errors
/// If several addresses fail, that of the last one tried. There is no QUIC without TLS: an endpoint
/// without it is one whose name cannot be checked.
pub async fn dial_quic(network: &Network, to: &Endpoint) -> Result<QuicConnection, DialError> {
    let Endpoint { host, port, tls, guarded } = to;
    let addresses = network.addresses(host, *port, *guarded).await?;
    let bare = bare(host).unwrap_or(host);
    let unnamed = || DialError::Tls {
        host: host.clone(),
        fault: TlsFault::ServerName,
        source: io::ErrorKind::InvalidInput.into(),
    };
    let tls = tls.as_deref().ok_or_else(unnamed)?;
    let name = tls.name_for(bare).ok_or_else(unnamed)?.to_str().into_owned();
    let config = client_config(tls).map_err(|source| DialError::Tls {
        host: host.clone(),
        fault: TlsFault::Handshake,
        source,
    })?;
    let mut last = DialError::NoAddress { host: host.clone() };
    for address in addresses.into_iter().take(ADDRESSES_TRIED_MAX) {
        let limit = network.limits.handshake;
        match tokio::time::timeout(limit, connect(host, address, &name, &config)).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => last = error,
            Err(_) => last = DialError::ConnectTimeout { host: host.clone(), address, limit },
        }
    }
    Err(last)
}

fn client_config(tls: &TlsClient) -> io::Result<ClientConfig> {
    let crypto = QuicClientConfig::try_from(tls.config()).map_err(io::Error::other)?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    let mut transport = transport(0);
    transport.keep_alive_interval(Some(KEEPALIVE));
    config.transport_config(Arc::new(transport));
    Ok(config)
}

async fn connect(
    host: &str,
    address: SocketAddr,
    name: &str,
    config: &ClientConfig,
) -> Result<QuicConnection, DialError> {
    let failed = |source| DialError::Connect { host: host.to_owned(), address, source };
    let any = match address {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let endpoint = quinn::Endpoint::client(SocketAddr::new(any, 0)).map_err(failed)?;
    let connecting = endpoint.connect_with(config.clone(), address, name);
    let connecting = connecting.map_err(|error| failed(io::Error::other(error)))?;
    match connecting.await {
        Ok(connection) => Ok(QuicConnection { endpoint, connection }),
        Err(ConnectionError::TimedOut) => {
            Err(DialError::ConnectTimeout { host: host.to_owned(), address, limit: IDLE })
        }
        Err(error) => Err(match quic_fault(&error) {
            Some(fault) => {
                let source = io::Error::other(error);
                DialError::Tls { host: name.to_owned(), fault, source }
            }
            None => failed(io::Error::other(error)),
        }),
    }
}

/// What an error says about TLS, if it does.
#[must_use]
pub fn quic_fault(error: &ConnectionError) -> Option<TlsFault> {
    let (code, ours) = match error {
        ConnectionError::TransportError(error) => (u64::from(error.code), Some(&error.reason)),
        ConnectionError::ConnectionClosed(close) => (u64::from(close.error_code), None),
        _ => return None,
    };
    let alert = u8::try_from(code.checked_sub(ALERTS.start)?).ok()?;
    Some(match ours {
        _ if alert == NO_APPLICATION_PROTOCOL => TlsFault::Handshake,
        // An alert of this side is about the peer's certificate.
        Some(reason) => TlsFault::of_own_alert(alert, reason),
        None => TlsFault::of_peers_alert(alert),
    })
}

/// How a server takes connections that speak for at most so many producers. To be made for each
/// handshake: certificates may have changed.
///
/// # Errors
/// The certificate cannot be used with TLS 1.3.
pub fn quic_server(tls: &TlsServer, streams: u32) -> io::Result<ServerConfig> {
    let crypto = QuicServerConfig::try_from(tls.config()).map_err(io::Error::other)?;
    Ok(serving(crypto, transport(streams)))
}

/// A server's configuration, in which little is held of peers that nobody has accepted yet.
pub(super) fn serving(crypto: QuicServerConfig, transport: TransportConfig) -> ServerConfig {
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config
        .transport_config(Arc::new(transport))
        .incoming_buffer_size(HANDSHAKE_BYTES as u64)
        .incoming_buffer_size_total(HANDSHAKES_BYTES);
    config
}

/// Whom the peer's certificate is for, if it showed one.
#[must_use]
pub fn quic_subject(connection: &Connection) -> Option<String> {
    let chain = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    subject(chain.first()?)
}

/// The control stream of a connection.
#[derive(Debug)]
pub struct ControlStream {
    send: SendStream,
    recv: RecvStream,
    unread: Vec<u8>,
}

/// Why a control stream cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The connection is over.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The peer does not keep to the protocol.
    #[error(transparent)]
    Relay(#[from] RelayError),
}

impl ControlStream {
    /// Takes both halves of the stream.
    #[must_use]
    pub fn new(send: SendStream, recv: RecvStream) -> Self {
        Self { send, recv, unread: Vec::new() }
    }

    /// Waits for a frame; none if the peer has ended the stream. Cancel safe.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn read(&mut self) -> Result<Option<Control>, ControlError> {
        loop {
            if let Some((frame, len)) = Control::read(&self.unread)? {
                self.unread.drain(..len);
                return Ok(Some(frame));
            }
            match self.recv.read_chunk(CONTROL_READ_BYTES, true).await? {
                Some(chunk) => self.unread.extend_from_slice(&chunk.bytes),
                None => return Ok(None),
            }
        }
    }

    /// Writes frames. Not cancel safe.
    ///
    /// # Errors
    /// The connection is over.
    pub async fn write(&mut self, frames: &[Control]) -> Result<(), WriteError> {
        let mut bytes = Vec::new();
        frames.iter().for_each(|frame| frame.write(&mut bytes));
        self.send.write_all(&bytes).await
    }

    /// Ends this half, and waits until the peer has all of it.
    pub async fn finish(&mut self) {
        // An error means that the connection is gone, which ends it as well.
        if self.send.finish().is_ok() {
            drop(self.send.stopped().await);
        }
    }
}

/// Closes a connection with a code of the protocol.
pub fn quic_close(connection: &Connection, code: Code, reason: &str) {
    connection.close(VarInt::from_u32(code.number()), reason.as_bytes());
}
