//! How much the peer has got: the figure after which nothing need be sent again.

use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::support::{NAME, PATIENCE, Site, assert_echoes, dial_tls, echo, until};
use crate::net::{ClientAuth, Endpoint, Network, Stream, dial};

/// A listener whose connections take little.
fn small_listener() -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(8192).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    socket.listen(4).unwrap()
}

/// A plain connection, from both ends.
pub(super) async fn pair() -> (Stream, TcpStream) {
    let listener = small_listener();
    let port = listener.local_addr().unwrap().port();
    let host = "127.0.0.1".to_owned();
    let endpoint = Endpoint { host, port, tls: None, guarded: false };
    let stream = dial(&Network::default(), &endpoint).await.unwrap();
    let (peer, _) = listener.accept().await.unwrap();
    (stream, peer)
}

/// Writes until the kernel takes no more for a while; the count of bytes it took.
pub(super) async fn fill(stream: &mut Stream) -> u64 {
    let before = stream.handed_to_kernel();
    let chunk = vec![b'x'; 16384];
    while let Ok(written) =
        tokio::time::timeout(Duration::from_millis(50), stream.write(&chunk)).await
    {
        written.unwrap();
    }
    stream.handed_to_kernel() - before
}

/// What the peer's kernel holds, unread.
async fn held(peer: &TcpStream) -> u64 {
    let mut all = vec![0; 8 << 20];
    tokio::time::timeout(PATIENCE, peer.peek(&mut all)).await.unwrap().unwrap() as u64
}

/// Waits until nothing moves any more and both sides agree on how much has arrived, of which the
/// peer's application has read so much.
async fn settled(stream: &Stream, peer: &TcpStream, read: u64) -> u64 {
    let (mut last, mut same) = (u64::MAX, 0);
    let settling = async {
        while same < 20 {
            let got = read + held(peer).await;
            let is_same = got == last && stream.acknowledged().unwrap() == got;
            same = if is_same { same + 1 } else { 0 };
            last = got;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, settling).await.is_ok(), "they never agree");
    last
}

/// Resets the connection, whatever is still unread.
fn reset(peer: TcpStream) {
    SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
    drop(peer);
}

async fn assert_broken(stream: &mut Stream) {
    let read = tokio::time::timeout(PATIENCE, stream.read(&mut [0; 1])).await.unwrap();
    assert!(read.is_err(), "{read:?}");
}

#[tokio::test]
async fn what_arrived_is_acknowledged_and_the_end_does_not_count() {
    let (mut stream, mut peer) = pair().await;
    assert_eq!((stream.handed_to_kernel(), stream.acknowledged().unwrap()), (0, 0));
    stream.write_all(b"hel").await.unwrap();
    let slices = [std::io::IoSlice::new(b"l"), std::io::IoSlice::new(b"o")];
    assert_eq!(stream.write_vectored(&slices).await.unwrap(), 2);
    assert_eq!(stream.handed_to_kernel(), 5);
    until("all acknowledged", || stream.acknowledged().unwrap() == 5).await;
    stream.shutdown().await.unwrap();
    assert_eq!((stream.handed_to_kernel(), stream.acknowledged().unwrap()), (5, 5));
    let mut heard = Vec::new();
    peer.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"hello");
    drop(peer);
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
    assert_eq!(stream.acknowledged().unwrap(), 5);
}

#[tokio::test]
async fn a_peer_that_never_reads_has_got_what_its_kernel_holds() {
    let (mut stream, peer) = pair().await;
    let handed = fill(&mut stream).await;
    let held = settled(&stream, &peer, 0).await;
    assert!(0 < held && held < handed, "{held} {handed}");
    // The end waits behind the rest.
    stream.shutdown().await.unwrap();
    assert_eq!(stream.acknowledged().unwrap(), held);
    reset(peer);
    assert_broken(&mut stream).await;
    assert_eq!((stream.handed_to_kernel(), stream.acknowledged().unwrap()), (handed, held));
}

#[tokio::test]
async fn after_a_reset_the_figure_is_what_the_peer_had_got() {
    let (mut stream, mut peer) = pair().await;
    fill(&mut stream).await;
    let mut read = vec![0; 5000];
    peer.read_exact(&mut read).await.unwrap();
    // Reading may have opened the window: wait until both sides agree again.
    fill(&mut stream).await;
    let got = settled(&stream, &peer, 5000).await;
    assert!(got < stream.handed_to_kernel());
    reset(peer);
    assert_broken(&mut stream).await;
    assert_eq!(stream.acknowledged().unwrap(), got);
    // A write that fails changes nothing, nor does an end that goes nowhere.
    assert!(stream.write_all(b"more").await.is_err());
    stream.shutdown().await.unwrap();
    assert_eq!(stream.acknowledged().unwrap(), got);
}

#[tokio::test]
async fn a_reset_after_all_was_read_leaves_all_acknowledged() {
    let (mut stream, mut peer) = pair().await;
    stream.write_all(&[1; 4000]).await.unwrap();
    peer.read_exact(&mut [0; 4000]).await.unwrap();
    until("all acknowledged", || stream.acknowledged().unwrap() == 4000).await;
    reset(peer);
    assert_broken(&mut stream).await;
    assert_eq!(stream.acknowledged().unwrap(), 4000);
}

/// Each chunk's end on the wire is noted after its flush; at each step the peer has read exactly
/// the chunks whose ends are acknowledged.
#[tokio::test]
async fn with_tls_the_end_of_a_flushed_chunk_is_acknowledged_once_it_arrived() {
    let site = Site::new();
    let server = site.server(&site.authority.sign(&[NAME]), ClientAuth::None);
    let listener = small_listener();
    let address = listener.local_addr().unwrap();
    let accepting = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        Stream::accept(tcp, Some(&server), PATIENCE).await.unwrap()
    });
    let mut stream = dial_tls(NAME, address, &site.client()).await.unwrap();
    let mut peer = accepting.await.unwrap();
    // The handshake is on the wire too.
    let start = stream.handed_to_kernel();
    assert!(start > 0);
    until("the handshake", || stream.acknowledged().unwrap() == start).await;

    let chunk = vec![b'x'; 3000];
    let mut ends = Vec::new();
    let flush = async |stream: &mut Stream| {
        stream.write_all(&chunk).await?;
        stream.flush().await
    };
    while let Ok(flushed) =
        tokio::time::timeout(Duration::from_millis(50), flush(&mut stream)).await
    {
        flushed.unwrap();
        let overhead = stream.handed_to_kernel() - ends.last().unwrap_or(&start) - 3000;
        assert!((1..100).contains(&overhead), "{overhead}");
        ends.push(stream.handed_to_kernel());
    }
    let acknowledged = stream.acknowledged().unwrap();
    let arrived = ends.partition_point(|end| *end <= acknowledged);
    assert!(arrived < ends.len(), "it all fits");
    // All of those can be read although no more is let through: the wire is cut.
    let mut all = vec![0; arrived * 3000];
    let read = tokio::time::timeout(PATIENCE, peer.read_exact(&mut all)).await.unwrap();
    read.unwrap();
    SockRef::from(peer.tcp()).set_linger(Some(Duration::ZERO)).unwrap();
    drop(peer);
    assert_broken(&mut stream).await;
    assert!(stream.acknowledged().unwrap() >= acknowledged);
    assert!(stream.acknowledged().unwrap() < stream.handed_to_kernel());
}

/// Were session tickets sent, they would lie unread when a client that only writes closes, and its
/// kernel would reset the connection instead of ending it.
#[tokio::test]
async fn an_accepting_side_sends_nothing_of_its_own_after_the_handshake() {
    let site = Site::new();
    let server = site.server(&site.authority.sign(&[NAME]), ClientAuth::None);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepting = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        Stream::accept(tcp, Some(&server), PATIENCE).await.unwrap()
    });
    let stream = dial_tls(NAME, address, &site.client()).await.unwrap();
    let mut accepted = accepting.await.unwrap();
    let start = accepted.handed_to_kernel();
    assert!(start > 0);
    until("the handshake", || accepted.acknowledged().unwrap() == start).await;
    accepted.write_all(b"x").await.unwrap();
    accepted.flush().await.unwrap();
    // A head, the byte, its kind, a tag: all there is to read.
    let record = 5 + 1 + 1 + 16;
    assert_eq!(accepted.handed_to_kernel(), start + record);
    until("the record", || accepted.acknowledged().unwrap() == start + record).await;
    assert_eq!(held(stream.tcp()).await, record);
}

#[tokio::test]
async fn what_is_read_without_waiting_is_what_is_there() {
    let (mut stream, mut peer) = pair().await;
    let mut bytes = [0; 16];
    let error = stream.try_read(&mut bytes).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    peer.write_all(b"hello").await.unwrap();
    stream.readable().await.unwrap();
    assert_eq!(stream.try_read(&mut bytes).unwrap(), 5);
    drop(peer);
    stream.readable().await.unwrap();
    assert_eq!(stream.try_read(&mut bytes).unwrap(), 0);
}

#[tokio::test]
async fn with_tls_the_peers_end_is_seen_without_waiting() {
    let site = Site::new();
    let server = site.server(&site.authority.sign(&[NAME]), ClientAuth::None);
    let (address, _told) = echo(Some(server)).await;
    let mut stream = dial_tls(NAME, address, &site.client()).await.unwrap();
    assert_echoes(&mut stream, b"x").await;
    let mut bytes = [0; 16];
    let error = stream.try_read(&mut bytes).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    // It ends when we do.
    stream.shutdown().await.unwrap();
    let ended = async {
        loop {
            stream.readable().await.unwrap();
            match stream.try_read(&mut bytes) {
                Ok(length) => return length,
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
            }
        }
    };
    assert_eq!(tokio::time::timeout(PATIENCE, ended).await.unwrap(), 0);
}
