//! Connectors: the code that speaks a destination's protocol.
//!
//! A connector encodes records into its buffer and writes them out; it says how many records are
//! with the destination, so that after a failure only the others are sent again. Over plain TCP
//! "with the destination" means: wholly taken by this machine's kernel.

use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use logboom_codec::encode;
use logboom_record::{Batch, FieldNames, Record, Selection};
use nix::errno::Errno;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use crate::config::{DestinationKind, LineFormat, WireFormat, WireFraming};

/// Bytes encoded before they are written.
const CHUNK_BYTES: usize = 256 << 10;
/// Time for a name to be resolved, and for a connection to one address to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);
/// An idle connection is probed after this long.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Time for a peer to read what it was sent and close.
const FINISH_TIMEOUT: Duration = Duration::from_secs(5);
/// Reads of what a destination says before it counts as broken.
const WASTE_READS_MAX: usize = 64;
/// Largest UDP payload over IPv4.
const UDP_BYTES_MAX: usize = 65_507;
/// How often an open file is compared with its path, to follow rotation.
const FILE_CHECK: Duration = Duration::from_secs(1);

/// What came of a write.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Records that are with the destination.
    pub(super) delivered: usize,
    /// Records that can never be sent this way: too large for a datagram.
    pub(super) too_large: usize,
    /// Bytes written, framing included.
    pub(super) bytes: usize,
    /// Why it stopped before the end.
    pub(super) error: Option<Error>,
}

/// An open way to a destination.
#[derive(Debug)]
pub(super) enum Connector {
    Tcp { stream: TcpStream, format: encode::WireFormat, framing: encode::WireFraming },
    Udp { socket: UdpSocket, format: encode::WireFormat },
    File { file: tokio::fs::File, path: PathBuf, format: LineFormat, checked: Instant },
    Stdout { format: LineFormat },
}

impl Connector {
    /// Opens it; a host name is resolved anew each time, and its addresses tried in turn.
    pub(super) async fn open(kind: &DestinationKind) -> Result<Self, Error> {
        match kind {
            DestinationKind::SyslogTcp { host, port, framing, format } => {
                let stream = connect(host, *port).await?;
                let (format, framing) = (wire_format(*format), wire_framing(*framing));
                Ok(Self::Tcp { stream, format, framing })
            }
            DestinationKind::SyslogUdp { host, port, format } => {
                let address = resolve(host, *port).await?.into_iter().next();
                let address = address.ok_or_else(|| no_address(host))?;
                let local = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                let socket = UdpSocket::bind(local).await?;
                socket.connect(address).await?;
                Ok(Self::Udp { socket, format: wire_format(*format) })
            }
            DestinationKind::File { path, format } => {
                let file = open_file(path).await?;
                let (path, format) = (path.clone(), *format);
                Ok(Self::File { file, path, format, checked: Instant::now() })
            }
            DestinationKind::Stdout { format } => Ok(Self::Stdout { format: *format }),
        }
    }

    /// How many of these a destination of this kind can have: only TCP gains by several.
    pub(super) fn lines_max(kind: &DestinationKind, cap: usize) -> usize {
        match kind {
            DestinationKind::SyslogTcp { .. } => cap.max(1),
            _ => 1,
        }
    }

    /// Whether the other side has closed; asked before anything is written to an idle connection.
    pub(super) fn is_closed(&self) -> bool {
        let Self::Tcp { stream, .. } = self else { return false };
        let mut waste = [0u8; 512];
        for _ in 0..WASTE_READS_MAX {
            match stream.try_read(&mut waste) {
                Ok(0) => return true,
                // What a syslog receiver says is not for us.
                Ok(_) => {}
                Err(error) => return error.kind() != ErrorKind::WouldBlock,
            }
        }
        // One that never stops talking is as good as gone.
        true
    }

    /// Ready when the other side has something to say, which is mostly that it closes. Cancel safe.
    pub(super) async fn closing(&self) {
        match self {
            Self::Tcp { stream, .. } => {
                // An error is seen again by `is_closed`.
                drop(stream.readable().await);
            }
            _ => std::future::pending().await,
        }
    }

    /// Ends the stream and waits until the peer has closed it too, which it does when it has read
    /// all of it; at most [`FINISH_TIMEOUT`].
    pub(super) async fn finish(self) {
        let Self::Tcp { mut stream, .. } = self else { return };
        let mut waste = [0u8; 512];
        let ended = async {
            stream.shutdown().await?;
            while stream.read(&mut waste).await? > 0 {}
            Ok::<(), Error>(())
        };
        // An error means that the connection is gone, which ends it as well.
        drop(tokio::time::timeout(FINISH_TIMEOUT, ended).await);
    }

    /// Writes the selected records from the `skip`th on. `out` is a buffer to reuse.
    pub(super) async fn write(
        &mut self,
        batch: &Batch,
        source: &str,
        selection: &Selection,
        skip: usize,
        out: &mut Vec<u8>,
    ) -> Written {
        let records = selection.iter(batch.len()).skip(skip).filter_map(|i| batch.record(i));
        match self {
            Self::Tcp { stream, format, framing } => {
                let encode = |record: Record<'_>, out: &mut Vec<u8>| {
                    encode::framed(*format, *framing, &record, out);
                };
                write_chunks(stream, records, out, Torn::Counts, encode).await
            }
            Self::Udp { socket, format } => send_datagrams(socket, *format, records, out).await,
            Self::File { file, path, format, checked } => {
                if checked.elapsed() >= FILE_CHECK {
                    *checked = Instant::now();
                    if let Err(error) = follow(file, path).await {
                        return Written { error: Some(error), ..Written::default() };
                    }
                }
                let format = *format;
                let encode =
                    |record: Record<'_>, out: &mut Vec<u8>| line(format, source, record, out);
                write_file(file, records, out, encode).await
            }
            Self::Stdout { format } => {
                let format = *format;
                let encode =
                    |record: Record<'_>, out: &mut Vec<u8>| line(format, source, record, out);
                write_chunks(&mut tokio::io::stdout(), records, out, Torn::IsLost, encode).await
            }
        }
    }
}

/// What a writer's count of bytes means when it fails within a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Torn {
    /// Those bytes are with the kernel: records that lie within them are delivered.
    Counts,
    /// Nothing: the writer has a buffer of its own. The chunk is written anew.
    IsLost,
}

/// Writes to a file; after a failure it is cut back to the last whole chunk, so that no torn record
/// stays for the next one to be glued to.
async fn write_file(
    file: &mut tokio::fs::File,
    records: impl Iterator<Item = Record<'_>>,
    out: &mut Vec<u8>,
    encode: impl FnMut(Record<'_>, &mut Vec<u8>),
) -> Written {
    let start = match file.metadata().await {
        Ok(found) => found.len(),
        Err(error) => return Written { error: Some(error), ..Written::default() },
    };
    let mut written = write_chunks(file, records, out, Torn::IsLost, encode).await;
    if written.error.is_some()
        && let Err(error) = file.set_len(start + written.bytes as u64).await
    {
        written.error = Some(error);
    }
    written
}

/// Encodes and writes in chunks, each of which is flushed. After a failure the next attempt starts
/// with the first record that is not delivered.
async fn write_chunks<W: tokio::io::AsyncWrite + Unpin>(
    writer: &mut W,
    records: impl Iterator<Item = Record<'_>>,
    out: &mut Vec<u8>,
    torn: Torn,
    mut encode: impl FnMut(Record<'_>, &mut Vec<u8>),
) -> Written {
    let mut written = Written::default();
    let mut records = records.peekable();
    let mut ends: Vec<usize> = Vec::new();
    while records.peek().is_some() {
        out.clear();
        ends.clear();
        while out.len() < CHUNK_BYTES
            && let Some(record) = records.next()
        {
            encode(record, out);
            ends.push(out.len());
        }
        let (taken, mut error) = write_all(writer, out).await;
        if error.is_none() {
            error = writer.flush().await.err();
        }
        if error.is_some() {
            if torn == Torn::Counts {
                written.bytes += taken;
                written.delivered += ends.partition_point(|end| *end <= taken);
            }
            written.error = error;
            return written;
        }
        written.bytes += taken;
        written.delivered += ends.len();
    }
    written
}

/// Writes until done or failed; says how many bytes were taken.
async fn write_all<W: tokio::io::AsyncWrite + Unpin>(
    writer: &mut W,
    bytes: &[u8],
) -> (usize, Option<Error>) {
    let mut taken = 0;
    while let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) {
        match writer.write(rest).await {
            Ok(0) => return (taken, Some(ErrorKind::WriteZero.into())),
            Ok(n) => taken += n,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return (taken, Some(error)),
        }
    }
    (taken, None)
}

async fn send_datagrams(
    socket: &UdpSocket,
    format: encode::WireFormat,
    records: impl Iterator<Item = Record<'_>>,
    out: &mut Vec<u8>,
) -> Written {
    let mut written = Written::default();
    for record in records {
        out.clear();
        match format {
            encode::WireFormat::Rfc5424 => encode::rfc5424(&record, out),
            encode::WireFormat::Rfc3164 => encode::rfc3164(&record, out),
        }
        if out.len() > UDP_BYTES_MAX {
            written.too_large += 1;
            continue;
        }
        match socket.send(out).await {
            Ok(n) => {
                written.delivered += 1;
                written.bytes += n;
            }
            // The way to this destination takes less than a datagram can have.
            Err(error) if error.raw_os_error() == Some(Errno::EMSGSIZE as i32) => {
                written.too_large += 1;
            }
            Err(error) => {
                written.error = Some(error);
                return written;
            }
        }
    }
    written
}

fn line(format: LineFormat, source: &str, record: Record<'_>, out: &mut Vec<u8>) {
    match format {
        LineFormat::Rfc5424 => {
            let (format, framing) = (encode::WireFormat::Rfc5424, encode::WireFraming::Lf);
            return encode::framed(format, framing, &record, out);
        }
        LineFormat::Json => {
            encode::json(&record, source, &mut |id| FieldNames::global().name(id), out);
        }
        LineFormat::Raw => out.extend_from_slice(record.body()),
    }
    out.push(b'\n');
}

fn wire_format(format: WireFormat) -> encode::WireFormat {
    match format {
        WireFormat::Rfc5424 => encode::WireFormat::Rfc5424,
        WireFormat::Rfc3164 => encode::WireFormat::Rfc3164,
    }
}

fn wire_framing(framing: WireFraming) -> encode::WireFraming {
    match framing {
        WireFraming::Octet => encode::WireFraming::Octet,
        WireFraming::Lf => encode::WireFraming::Lf,
    }
}

fn no_address(host: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("{host} has no address"))
}

async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, Error> {
    within(CONNECT_TIMEOUT, async { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
        .await
}

async fn connect(host: &str, port: u16) -> Result<TcpStream, Error> {
    let mut last = no_address(host);
    for address in resolve(host, port).await? {
        match within(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
                SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let late = || Error::new(ErrorKind::TimedOut, format!("nothing within {limit:?}"));
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(late()))
}

async fn open_file(path: &Path) -> Result<tokio::fs::File, Error> {
    tokio::fs::OpenOptions::new().create(true).append(true).open(path).await
}

/// Opens the path anew if it no longer names the open file: it was rotated away.
async fn follow(file: &mut tokio::fs::File, path: &Path) -> Result<(), Error> {
    let held = file.metadata().await?;
    let same = tokio::fs::metadata(path)
        .await
        .is_ok_and(|found| (found.dev(), found.ino()) == (held.dev(), held.ino()));
    if !same {
        *file = open_file(path).await?;
    }
    Ok(())
}
