//! A connection, plain or TLS, that knows how much of what was written the peer has got.
//!
//! Plain syslog has no acknowledgement, but TCP has: what the peer's kernel has acknowledged need
//! not be sent again on the next connection. The kernel counts bytes on the wire, which with TLS
//! are not those that were written. So: write a chunk, flush, and note
//! [`Stream::handed_to_kernel`]. Once [`Stream::acknowledged`] has reached that figure, all of the
//! chunk has arrived.

use std::io;
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::error::DialError;
use super::resolve::bare;
use super::silence::Signs;
use super::tls::{TlsClient, TlsFault, TlsServer, explain_client, subject};

/// How often to look whether a peer is gone whose bytes are not read.
const LOOK_UP: Duration = Duration::from_millis(100);

/// An idle connection is probed after this long.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// A connection, of either side. Reads and writes as any other; with TLS a write is only sure to be
/// with the kernel after a flush.
#[derive(Debug)]
pub struct Stream {
    wire: Wire,
    peer: SocketAddr,
}

#[derive(Debug)]
enum Wire {
    Plain(Counted),
    Tls(Box<TlsStream<Counted>>),
}

impl Stream {
    /// A connection that was accepted; with TLS after its handshake, for which `limit` is given.
    ///
    /// *Cancel safety*: safe; the connection is closed.
    ///
    /// # Errors
    /// The handshake failed or took too long, or the connection is gone.
    pub async fn accept(
        tcp: TcpStream,
        tls: Option<&TlsServer>,
        limit: Duration,
    ) -> Result<Self, AcceptError> {
        let peer = tcp.peer_addr().map_err(AcceptError::Io)?;
        tune(&tcp).map_err(AcceptError::Io)?;
        let Some(tls) = tls else { return Ok(Self::plain(tcp, peer)) };
        let handshake = TlsAcceptor::from(tls.config()).accept(Counted::new(tcp));
        match tokio::time::timeout(limit, handshake).await {
            Ok(Ok(stream)) => Ok(Self { wire: Wire::Tls(Box::new(stream.into())), peer }),
            Ok(Err(source)) => Err(AcceptError::Tls { fault: TlsFault::of(&source), source }),
            Err(_) => Err(AcceptError::Timeout { limit }),
        }
    }

    pub(super) fn plain(tcp: TcpStream, peer: SocketAddr) -> Self {
        Self { wire: Wire::Plain(Counted::new(tcp)), peer }
    }

    /// The client's side of a handshake.
    pub(super) async fn secure(
        tcp: TcpStream,
        peer: SocketAddr,
        tls: &TlsClient,
        host: &str,
        limit: Duration,
    ) -> Result<Self, DialError> {
        let host = bare(host).unwrap_or(host);
        let name = tls.name_for(host).ok_or_else(|| DialError::Tls {
            host: host.to_owned(),
            fault: TlsFault::ServerName,
            source: io::ErrorKind::InvalidInput.into(),
        })?;
        let shown = name.to_str().into_owned();
        let handshake = TlsConnector::from(tls.config()).connect(name, Counted::new(tcp));
        match tokio::time::timeout(limit, handshake).await {
            Ok(Ok(stream)) => Ok(Self { wire: Wire::Tls(Box::new(stream.into())), peer }),
            Ok(Err(source)) => {
                Err(DialError::Tls { host: shown, fault: TlsFault::of(&source), source })
            }
            Err(_) => Err(DialError::TlsTimeout { host: shown, limit }),
        }
    }

    /// Reads what is there without waiting. With TLS, what the protocol itself sends is dealt with
    /// on the way.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if there is nothing; otherwise the connection is gone.
    pub fn try_read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(bytes);
        let mut context = Context::from_waker(Waker::noop());
        match Pin::new(self).poll_read(&mut context, &mut buffer) {
            Poll::Ready(read) => read.map(|()| buffer.filled().len()),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// As [`try_read`](Self::try_read), into the free capacity behind what the buffer has.
    ///
    /// # Errors
    /// As [`try_read`](Self::try_read).
    pub fn try_read_buf(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        match &mut self.wire {
            Wire::Plain(plain) => plain.tcp.try_read_buf(buffer),
            Wire::Tls(tls) => {
                let mut context = Context::from_waker(Waker::noop());
                match std::pin::pin!(tls.read_buf(buffer)).poll(&mut context) {
                    Poll::Ready(read) => read,
                    Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
                }
            }
        }
    }

    /// Ready when the peer has sent something, closed, or reset. With TLS this may be nothing that
    /// a read would return, but a read takes it away. Cancel safe.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn readable(&self) -> io::Result<()> {
        match &self.wire {
            // What was read from the socket and not yet taken is nothing the kernel knows of.
            Wire::Tls(tls) if !tls.get_ref().1.wants_read() => Ok(()),
            wire => wire.counted().tcp.readable().await,
        }
    }

    /// Ready when the peer has reset the connection, or soon after it has ended its side: for those
    /// who do not read what is there. Cancel safe.
    pub async fn broken(&self) {
        let tcp = &self.counted().tcp;
        loop {
            tokio::select! {
                // An error of the poller means that the runtime is going; whoever waits is, too.
                _ = tcp.ready(Interest::ERROR) => return,
                () = tokio::time::sleep(LOOK_UP) => {}
            }
            // The end behind bytes that nobody reads wakes nobody.
            let is_ended = tokio::select! {
                biased;
                ready = tcp.ready(Interest::READABLE) => ready.is_ok_and(|it| it.is_read_closed()),
                () = std::future::ready(()) => false,
            };
            if is_ended {
                return;
            }
        }
    }

    /// The address of the other side.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The protocol that both sides agreed on, if any.
    pub fn alpn(&self) -> Option<&[u8]> {
        match &self.wire {
            Wire::Plain(_) => None,
            Wire::Tls(tls) => tls.get_ref().1.alpn_protocol(),
        }
    }

    /// Whom the peer's certificate is for ([`subject`]), if it showed one.
    pub fn peer_subject(&self) -> Option<String> {
        match &self.wire {
            Wire::Plain(_) => None,
            Wire::Tls(tls) => subject(tls.get_ref().1.peer_certificates()?.first()?),
        }
    }

    /// Whether the connection is secured.
    pub fn is_tls(&self) -> bool {
        matches!(self.wire, Wire::Tls(_))
    }

    /// Bytes on the wire that the kernel has taken so far, a TLS handshake included. After a flush
    /// this is the end of all that was written.
    pub fn handed_to_kernel(&self) -> u64 {
        self.counted().handed
    }

    /// How many of these bytes the peer's kernel has acknowledged. Its application need not have
    /// read them. Right also after the connection was closed or reset, by either side.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub fn acknowledged(&self) -> io::Result<u64> {
        let Counted { tcp, handed, has_ended } = self.counted();
        let unacknowledged = unacknowledged(tcp)?;
        // The end of the stream takes a sequence number too, the last one.
        let end = u64::from(*has_ended && unacknowledged > 0);
        Ok(handed.saturating_sub(unacknowledged - end))
    }

    /// What the kernel knows of the peer's life.
    pub(super) fn signs(&self) -> io::Result<Signs> {
        let told = tcp_info(&self.counted().tcp)?;
        let ago = |millis: u32| Duration::from_millis(millis.into());
        Ok(Signs {
            in_flight: told.tcpi_unacked > 0,
            last_sent: ago(told.tcpi_last_data_sent),
            last_heard: ago(told.tcpi_last_ack_recv),
            retransmits: told.tcpi_retransmits,
            probes: told.tcpi_probes,
        })
    }

    #[cfg(test)]
    pub(super) fn tcp(&self) -> &TcpStream {
        &self.counted().tcp
    }

    fn counted(&self) -> &Counted {
        self.wire.counted()
    }
}

impl Wire {
    fn counted(&self) -> &Counted {
        match self {
            Self::Plain(counted) => counted,
            Self::Tls(tls) => tls.get_ref().0,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().wire {
            Wire::Plain(plain) => Pin::new(plain).poll_read(cx, buffer),
            Wire::Tls(tls) => Pin::new(tls).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().wire {
            Wire::Plain(plain) => Pin::new(plain).poll_write(cx, bytes),
            Wire::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().wire {
            Wire::Plain(plain) => Pin::new(plain).poll_write_vectored(cx, slices),
            Wire::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.wire {
            Wire::Plain(plain) => plain.is_write_vectored(),
            Wire::Tls(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().wire {
            Wire::Plain(plain) => Pin::new(plain).poll_flush(cx),
            Wire::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().wire {
            Wire::Plain(plain) => Pin::new(plain).poll_shutdown(cx),
            Wire::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}

/// Why an accepted connection is not one.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The connection is gone.
    #[error("the connection broke")]
    Io(#[source] io::Error),
    /// The peer does not go on with the handshake.
    #[error("no TLS handshake within {limit:?}")]
    Timeout {
        /// The time given.
        limit: Duration,
    },
    /// The handshake failed.
    #[error("the TLS handshake failed: {}", explain_client(source))]
    Tls {
        /// What kind of failure.
        fault: TlsFault,
        /// What the TLS library or the kernel says.
        source: io::Error,
    },
}

impl AcceptError {
    /// A word of a closed set, for a metric's label.
    pub fn keyword(&self) -> &'static str {
        match self {
            Self::Io(_) => "io",
            Self::Timeout { .. } => "timeout",
            Self::Tls { fault, .. } => fault.keyword(),
        }
    }
}

/// A socket that counts what it hands to the kernel.
#[derive(Debug)]
struct Counted {
    tcp: TcpStream,
    handed: u64,
    /// Whether the end of the stream was handed over after it.
    has_ended: bool,
}

impl Counted {
    fn new(tcp: TcpStream) -> Self {
        Self { tcp, handed: 0, has_ended: false }
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let counted = self.get_mut();
        let taken = ready!(Pin::new(&mut counted.tcp).poll_write(cx, bytes))?;
        counted.handed += taken as u64;
        Poll::Ready(Ok(taken))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let counted = self.get_mut();
        let taken = ready!(Pin::new(&mut counted.tcp).poll_write_vectored(cx, slices))?;
        counted.handed += taken as u64;
        Poll::Ready(Ok(taken))
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let counted = self.get_mut();
        // Not by way of tokio, which hides that there was no connection left to end.
        match SockRef::from(&counted.tcp).shutdown(Shutdown::Write) {
            Ok(()) => counted.has_ended = true,
            Err(error) if error.kind() == io::ErrorKind::NotConnected => {}
            Err(error) => return Poll::Ready(Err(error)),
        }
        Poll::Ready(Ok(()))
    }
}

/// What every connection gets: no delay of small writes, and probes when idle.
pub(super) fn tune(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
    SockRef::from(tcp).set_tcp_keepalive(&keepalive)
}

/// Bytes in the socket's send queue, sent or not. The kernel answers from its sequence numbers,
/// which outlive the connection.
fn unacknowledged(tcp: &TcpStream) -> io::Result<u64> {
    let mut bytes: libc::c_int = 0;
    #[expect(unsafe_code, reason = "no safe wrapper of this ioctl in nix, rustix, or socket2")]
    // SAFETY: the descriptor is open as long as `tcp` is borrowed; on a TCP socket the kernel
    // writes one int, to an int that lives until after the call.
    let result = unsafe { libc::ioctl(tcp.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    Errno::result(result)?;
    u64::try_from(bytes).map_err(io::Error::other)
}

/// What the kernel tells of a connection, in any state of it.
fn tcp_info(tcp: &TcpStream) -> io::Result<libc::tcp_info> {
    let mut told = MaybeUninit::<libc::tcp_info>::zeroed();
    let length = libc::socklen_t::try_from(size_of::<libc::tcp_info>());
    let mut length = length.map_err(io::Error::other)?;
    #[expect(unsafe_code, reason = "no safe wrapper of this option in nix, rustix, or socket2")]
    // SAFETY: the descriptor is open as long as `tcp` is borrowed; the kernel writes at most `length`
    // bytes, the size of what `told` points to. All its fields are numbers, of which zero is one, so
    // that it is initialised also where an old kernel knows fewer of them.
    let (result, told) = unsafe {
        let (level, option) = (libc::IPPROTO_TCP, libc::TCP_INFO);
        let place = told.as_mut_ptr().cast();
        let result = libc::getsockopt(tcp.as_raw_fd(), level, option, place, &raw mut length);
        (result, told.assume_init())
    };
    Errno::result(result)?;
    Ok(told)
}
