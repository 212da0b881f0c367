//! What rsyslog sends compressed, and what only looks so.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};

use logboom_tests::{
    Gateway, PeerKind, Scratch, TcpTap, UdpTap, free_port, is_missing, memory_bytes,
    peer_configuration, rsyslog, wait_until,
};

use crate::destinations::{compare, messages};

fn gateway(scratch: &Scratch, keys: &str) -> Gateway {
    let folder = scratch.path().display();
    Gateway::start(
        scratch,
        &format!(
            r#"
[[source]]
name = "tcp"
url = "syslog+tcp://127.0.0.1:0"
{keys}

[[source]]
name = "udp"
url = "syslog+udp://127.0.0.1:0"
{keys}

[[drain]]
app = "*"
url = "file://{folder}/wire.log?format=rfc5424"
when_full = "block"
"#
        ),
    )
}

#[test]
fn rsyslog_sends_streams_and_messages_compressed() {
    if is_missing(PeerKind::Rsyslog) {
        return;
    }
    for (source, options) in [
        ("tcp", r#"protocol="tcp" TCP_Framing="octet-counted" compression.mode="stream:always""#),
        ("tcp", r#"protocol="tcp" TCP_Framing="traditional" compression.mode="stream:always""#),
        (
            "tcp",
            r#"protocol="tcp" TCP_Framing="octet-counted" compression.mode="single" ZipLevel="6""#,
        ),
        ("udp", r#"protocol="udp" compression.mode="single" ZipLevel="9""#),
    ] {
        let (scratch, theirs) = (Scratch::new("compressed"), Scratch::new("compressed-peer"));
        let (gateway, input) = (gateway(&scratch, ""), free_port());
        let (tcp, udp) =
            (TcpTap::start(gateway.source("tcp")), UdpTap::start(gateway.source("udp")));
        let tap = if source == "tcp" { tcp.address() } else { udp.address() };
        let ports = [("@IN@", input), ("@OUT@", tap.port())];
        let config = peer_configuration("rsyslog-compressed-out.conf", &ports);
        let peer = rsyslog(&theirs, &config.replace("@OPTIONS@", options)).listening_on(&[input]);
        let mut messages = messages();
        if source == "udp" {
            // What a socket's buffer bears.
            messages.truncate(200);
        }
        let mut stream = TcpStream::connect(("127.0.0.1", input)).expect("connected");
        for message in &messages {
            write!(stream, "{} {message}", message.len()).expect("sent");
        }
        stream.shutdown(Shutdown::Write).expect("shut down");
        let ledger = gateway.settle(source, messages.len() as u64);
        // Of single messages only those are compressed that become shorter.
        let is_compressed = if options.contains("stream") {
            tcp.sessions().iter().any(|bytes| bytes.first() == Some(&0x78))
        } else {
            let has = |bytes: &Vec<u8>| bytes.windows(2).any(|window| window == b"zx");
            tcp.sessions().iter().any(has) || udp.datagrams().iter().any(has)
        };
        assert!(is_compressed, "{options}");
        assert_eq!(ledger.source(source, "rejected"), 0, "{options}");
        compare(&scratch, "wire.log", &messages);
        peer.shutdown();
        gateway.shutdown().assert_balanced();
    }
}

/// A zlib stream of zeros, as many as `count` times 32 KiB: one block, over and over.
fn zeros(count: usize) -> Vec<u8> {
    use flate2::{Compress, Compression, FlushCompress};
    let mut stream = Compress::new(Compression::best(), true);
    let mut out = Vec::with_capacity(count * 64 + (1 << 16));
    for _ in 0..count {
        stream.compress_vec(&[0; 32 << 10], &mut out, FlushCompress::None).expect("compressed");
    }
    stream.compress_vec(&[], &mut out, FlushCompress::Finish).expect("compressed");
    out
}

#[test]
fn c2_bombs_are_refused_and_cost_no_memory() {
    let scratch = Scratch::new("bombs");
    let gateway = gateway(&scratch, "");
    let before = memory_bytes(gateway.pid());
    let (bomb, message) = (zeros(8_192), [b"z".to_vec(), zeros(64)].concat());
    // A session that is one.
    let mut stream = TcpStream::connect(gateway.source("tcp")).expect("connected");
    // It is closed under way.
    drop(stream.write_all(&bomb));
    drop(stream.read(&mut [0; 16]));
    wait_until("the refusal", || gateway.ledger().rejected("tcp", "compression") == 1);
    // Messages that become 2 MiB each, of which a record may have 64 KiB.
    let mut stream = TcpStream::connect(gateway.source("tcp")).expect("connected");
    for _ in 0..500 {
        write!(stream, "{} ", message.len()).expect("sent");
        stream.write_all(&message).expect("sent");
    }
    stream.shutdown(Shutdown::Write).expect("shut down");
    gateway.settle("tcp", 500);
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    udp.send_to(&message, gateway.source("udp")).expect("sent");
    udp.send_to(&message[..8], gateway.source("udp")).expect("sent");
    gateway.settle("udp", 1);
    wait_until("the refusal", || gateway.ledger().rejected("udp", "compression") == 1);
    let after = memory_bytes(gateway.pid());
    let grown = after.peak.saturating_sub(before.peak);
    assert!(grown < 128 << 20, "{grown} bytes more");
    gateway.shutdown().assert_balanced();
}

#[test]
fn without_compression_it_is_all_text() {
    let scratch = Scratch::new("uncompressed");
    let gateway = gateway(&scratch, "compression = \"none\"");
    let mut stream = TcpStream::connect(gateway.source("tcp")).expect("connected");
    stream.write_all(b"x^ is how a zlib stream begins\n").expect("sent");
    gateway.settle("tcp", 1);
    assert_eq!(gateway.ledger().source("tcp", "rejected"), 0);
    drop(stream);
    gateway.shutdown().assert_balanced();
}
