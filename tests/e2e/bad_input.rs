//! Peers that are wrong, slow or hostile: only they are worse off for it.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use logboom_tests::{
    DEADLINE, Gateway, Scratch, binary, memory_bytes, pause, wait_for, wait_until,
};
use socket2::SockRef;

/// A gateway with one TCP and one UDP source, with further keys, which writes to `all.log`.
fn gateway(scratch: &Scratch, command: Command, keys: &str, limits: &str) -> Gateway {
    Gateway::start_with(
        command,
        scratch,
        &format!(
            r#"
[limits]
{limits}

[[source]]
name = "tcp"
url = "syslog+tcp://127.0.0.1:0"
{keys}

[[source]]
name = "udp"
url = "syslog+udp://127.0.0.1:0"

[[route]]
name = "all"
url = "file://{}/all.log?format=raw"

[[pipeline]]
sources = ["tcp", "udp"]
routes = ["all"]
"#,
            scratch.path().display()
        ),
    )
}

fn plain(scratch: &Scratch, keys: &str) -> Gateway {
    gateway(scratch, Command::new(binary()), keys, "")
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    stream
}

/// Sends one good record on a connection of its own and waits until it is delivered.
fn deliver_one(scratch: &Scratch, gateway: &Gateway, text: &str) {
    let mut stream = connect(gateway.source("tcp"));
    let message = format!("<13>1 2026-11-21T05:44:01Z host app - - - {text}");
    write!(stream, "{} {message}", message.len()).expect("sent");
    wait_until(&format!("the good record {text:?} delivered"), || has_line(scratch, text));
}

fn has_line(scratch: &Scratch, text: &str) -> bool {
    scratch.lines("all.log").iter().any(|line| line == text.as_bytes())
}

/// Waits until the peer closes or resets.
fn wait_closed(stream: &mut TcpStream, why: &str) {
    let mut byte = [0; 1];
    match stream.read(&mut byte) {
        Ok(0) => {}
        Err(error)
            if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {}
        other => panic!("{why}: not closed within {DEADLINE:?} but {other:?}"),
    }
}

#[test]
fn impossible_counts_close_the_session_and_nothing_else() {
    let scratch = Scratch::new("counts");
    let gateway = plain(&scratch, "framing = \"octet\"");
    let zeros = format!("{}200000 <120>x", "0".repeat(1000));
    let rejected = || gateway.ledger().source("tcp", "rejected");
    for (index, bytes) in [
        // rsyslog CVE-2022-24903: digits without end.
        zeros.as_str(),
        // Fluent Bit 992a4e5c8: counts around 2^64.
        "18446744073709551610 <13>x",
        "18446744073709551616 <13>x",
        "18446744073709551619 <13>x",
        "99999999999999999999999999999999 <13>x",
        // Not counts, in a session that began as counted.
        "5 hello0 <13>a",
        "5 hello05 hello",
        "5 hello5hello",
        "5 hello-5 x",
    ]
    .iter()
    .enumerate()
    {
        let before = rejected();
        let mut stream = connect(gateway.source("tcp"));
        stream.write_all(bytes.as_bytes()).expect("sent");
        wait_closed(&mut stream, bytes);
        assert!(rejected() > before, "not counted: {bytes:?}");
        deliver_one(&scratch, &gateway, &format!("after {index}"));
    }
    let memory = memory_bytes(gateway.pid()).peak;
    assert!(memory < 400 << 20, "{memory} bytes resident");
    gateway.shutdown();
}

#[test]
fn an_oversize_frame_is_passed_over_to_the_byte() {
    let scratch = Scratch::new("oversize");
    let keys = "oversize = \"reject\"\nframing = \"octet\"";
    let gateway = gateway(&scratch, Command::new(binary()), keys, "record = \"1KiB\"");
    // Datadog #49742: a frame that would be cut in the middle holds what looks like another frame.
    let forged = "\n134 <13>1 2026-11-21T05:44:01Z h a - - - forged";
    let body = format!("<120>{}{forged}{}", "x".repeat(1024 - 5), "y".repeat(3000));
    let mut stream = connect(gateway.source("tcp"));
    write!(stream, "{} {body}", body.len()).expect("sent");
    let good = "<13>1 2026-11-21T05:44:01Z host app - - - behind it";
    write!(stream, "{} {good}", good.len()).expect("sent");
    wait_until("the record behind", || has_line(&scratch, "behind it"));
    let ledger = gateway.settle("tcp", 1);
    assert_eq!(ledger.source("tcp", "received"), 1, "{ledger:?}");
    assert_eq!(ledger.source("tcp", "rejected"), 1, "{ledger:?}");
    let all = String::from_utf8_lossy(&scratch.read("all.log")).into_owned();
    assert!(!all.contains("forged"), "{all}");
    gateway.shutdown();
}

#[test]
fn an_oversize_frame_is_truncated_where_asked_and_nothing_is_forged() {
    let scratch = Scratch::new("truncate");
    let gateway = gateway(&scratch, Command::new(binary()), "", "record = \"1KiB\"");
    let body = format!("<120>{}\n134 <13>forged{}", "x".repeat(2000), "y".repeat(100_000));
    let mut stream = connect(gateway.source("tcp"));
    write!(stream, "{} {body}", body.len()).expect("sent");
    let good = "<13>1 2026-11-21T05:44:01Z host app - - - behind it";
    write!(stream, "{} {good}", good.len()).expect("sent");
    wait_until("the record behind", || has_line(&scratch, "behind it"));
    let ledger = gateway.settle("tcp", 2);
    assert_eq!(ledger.source("tcp", "received"), 2, "{ledger:?}");
    let lines = scratch.lines("all.log");
    assert!(lines.len() == 2 && lines[0].len() <= 1024, "{} lines", lines.len());
    assert!(!String::from_utf8_lossy(&scratch.read("all.log")).contains("forged"));
    gateway.shutdown();
}

#[test]
fn peers_that_drip_bytes_are_bounded_and_closed() {
    let scratch = Scratch::new("slowloris");
    let gateway = plain(&scratch, "frame_timeout = \"1s\"");
    let before = memory_bytes(gateway.pid()).now;
    let mut peers: Vec<_> = (0..1_000).map(|_| connect(gateway.source("tcp"))).collect();
    for (index, peer) in peers.iter_mut().enumerate() {
        peer.write_all(if index % 2 == 0 { b"9000 <13>1 " } else { b"<13>1 " }).expect("begun");
    }
    // While they drip, others are served at once.
    let started = Instant::now();
    deliver_one(&scratch, &gateway, "in between");
    assert!(started.elapsed() < Duration::from_secs(5), "took {:?}", started.elapsed());
    let mut open = peers.len();
    wait_until("all that drip closed", || {
        for peer in &mut peers {
            // One byte at a time does not count as a frame that goes on.
            drop(peer.write_all(b"x"));
        }
        peers.retain_mut(|peer| {
            peer.set_nonblocking(true).expect("non-blocking");
            let closed =
                !matches!(peer.read(&mut [0]), Err(e) if e.kind() == ErrorKind::WouldBlock);
            !closed
        });
        open = peers.len();
        peers.is_empty()
    });
    assert_eq!(open, 0);
    let grown = memory_bytes(gateway.pid()).peak.saturating_sub(before);
    // 64 KiB each would be 64 MiB.
    assert!(grown < 48 << 20, "{grown} bytes for a thousand peers that sent next to nothing");
    deliver_one(&scratch, &gateway, "afterwards");
    gateway.ledger().assert_balanced();
    gateway.shutdown();
}

/// The clock of `frame_timeout` belongs to one frame: a sender whose writes always end in the middle
/// of a frame, but which completes each in time, is not slow.
#[test]
fn a_sender_that_always_ends_in_half_a_frame_is_not_slow() {
    let scratch = Scratch::new("halves");
    let gateway = plain(&scratch, "frame_timeout = \"500ms\"");
    let mut stream = connect(gateway.source("tcp"));
    let message = "<13>1 2026-11-21T05:44:01Z host app - - - half by half";
    let frame = format!("{} {message}", message.len());
    let (head, tail) = frame.split_at(20);
    stream.write_all(head.as_bytes()).expect("sent");
    let started = Instant::now();
    let mut sent = 0;
    while started.elapsed() < Duration::from_millis(2_500) {
        // The end of one frame and the head of the next, in one write.
        stream.write_all(format!("{tail}{head}").as_bytes()).expect("the session is still open");
        sent += 1;
        pause(Duration::from_millis(50));
    }
    stream.write_all(tail.as_bytes()).expect("the session is still open");
    let ledger = gateway.settle("tcp", sent + 1);
    assert_eq!(ledger.source("tcp", "rejected"), 0, "{ledger:?}");
    gateway.shutdown();
}

#[test]
fn a_thousand_resets_do_not_end_the_accept_loop() {
    let scratch = Scratch::new("resets");
    let gateway = plain(&scratch, "");
    for index in 0..1_000 {
        let mut stream = connect(gateway.source("tcp"));
        if index % 3 == 0 {
            drop(stream.write_all(b"100 <13>1 half a fr"));
        }
        // Zero lingering makes the close a reset.
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("linger");
        drop(stream);
    }
    deliver_one(&scratch, &gateway, "still here");
    gateway.shutdown();
}

#[test]
fn running_out_of_descriptors_does_not_end_the_accept_loop() {
    let scratch = Scratch::new("descriptors");
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 64; exec \"$0\" \"$@\""]).arg(binary());
    let gateway = gateway(&scratch, command, "", "");
    // The kernel completes connections that nobody can accept: connecting does not fail.
    let crowd: Vec<_> = (0..150).map(|_| connect(gateway.source("tcp"))).collect();
    pause(Duration::from_millis(200));
    drop(crowd);
    deliver_one(&scratch, &gateway, "room again");
    gateway.shutdown();
}

#[test]
fn sessions_beyond_the_limit_are_refused_and_counted() {
    let scratch = Scratch::new("sessions");
    let gateway = plain(&scratch, "max_sessions = 5");
    let crowd: Vec<_> = (0..5).map(|_| connect(gateway.source("tcp"))).collect();
    let mut sixth = connect(gateway.source("tcp"));
    wait_closed(&mut sixth, "a session too many");
    assert!(gateway.ledger().source("tcp", "rejected") >= 1);
    drop(crowd);
    // As soon as one is gone there is room; until the gateway has noticed, try again.
    wait_for("room for a session", || {
        let mut stream = connect(gateway.source("tcp"));
        drop(stream.write_all(b"<13>1 2026-11-21T05:44:01Z h a - - - room\n"));
        has_line(&scratch, "room").then_some(())
    });
    gateway.shutdown();
}

/// A hundred messages that break one rule or another of RFC 5424 and RFC 3164.
fn malformed() -> Vec<Vec<u8>> {
    let good = "<165>1 2026-11-21T05:44:01.123456Z host app 77 ID47 [ex@32473 a=\"b\"] text";
    let mut all: Vec<Vec<u8>> = [
        "<",
        "<>",
        "<0",
        "<192>x",
        "<-1>x",
        "<013>x",
        "<44444444444444444444<4\u{fffd}",
        "no priority",
        "<13>",
        "<13>1",
        "<13>1 ",
        "<13>1 -",
        "<13>2 - - - - - -",
        "<13>1 - - - - - [",
        "<13>1 - - - - - [x",
        "<13>1 - - - - - [x y",
        "<13>1 - - - - - [x y=",
        "<13>1 - - - - - [x y=\"",
        "<13>1 - - - - - [x y=\"z",
        "<13>1 - - - - - [x y=\"z\"",
        "<13>1 - - - - - []",
        "<13>1 - - - - - [x y=z] a",
        "<13>1 - - - - - ]",
        "<13>1 2025-11-31T14:59:16+01:00 h a - - - x",
        "<13>1 2025-11-30T14:99:16Z h a - - - x",
        "<13>1 0000-01-01T00:00:00Z h a - - - x",
        "<13>1 +10000-01-01T00:00:00Z h a - - - x",
        "<13>1 2025-11-30T14:59:16+24:00 h a - - - x",
        "<13>1 2023-02-29T14:59:16Z h a - - - x",
        "<13>1 2025-11-30T14:59:16.123456789012345678901234567890Z h a - - - x",
        "<13>Aug 20 14:30:51",
        "<13>Aug 20 14:30:51:",
        "<13>Aug 32 14:30:51 h a: x",
        "<13>Foo 20 14:30:51 h a: x",
        "<189>65536: ",
        "<189>65536",
        "<13>\u{7f}\u{1}\u{2}",
        "\u{feff}<13>1 - - - - - - x",
        "999 not a count\u{0}",
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    // Bytes that are no text.
    all.push([b"<13>1 - h a - - - ".as_slice(), &[0x80; 300]].concat());
    all.push(vec![0xff; 100]);
    // A good message cut short at every place, until there are a hundred.
    let cuts = 1..good.len();
    all.extend(cuts.map(|end| good.as_bytes()[..end].to_vec()));
    all.truncate(100);
    assert_eq!(all.len(), 100);
    all
}

#[test]
fn a_hundred_malformed_messages_are_each_in_the_ledger() {
    for (keys, strict) in [("", false), ("strict = true\nformat = \"rfc5424\"", true)] {
        let scratch = Scratch::new("malformed");
        let gateway = plain(&scratch, keys);
        let mut stream = connect(gateway.source("tcp"));
        // The count of a first good one settles the framing, so that each bad one arrives whole.
        let good = b"<13>1 2026-11-21T05:44:01Z h a - - - good".to_vec();
        for message in std::iter::once(&good).chain(&malformed()) {
            write!(stream, "{} ", message.len()).expect("sent");
            stream.write_all(message).expect("sent");
        }
        let total = wait_for("101 in the ledger", || {
            let ledger = gateway.ledger();
            let total = ledger.source("tcp", "received") + ledger.source("tcp", "rejected");
            (total >= 101).then_some(total)
        });
        assert_eq!(total, 101);
        let received = gateway.ledger().source("tcp", "received");
        let ledger = gateway.settle("tcp", received);
        if strict {
            // Cuts within the text are good; hardly anything else is.
            assert!(ledger.source("tcp", "rejected") > 80, "{ledger:?}");
        } else {
            assert_eq!(received, 101, "{ledger:?}");
        }
        assert_eq!(ledger.destination("all.log", "delivered"), received);
        gateway.shutdown();
    }
}

#[test]
fn malformed_datagrams_are_taken_as_they_are() {
    let scratch = Scratch::new("datagrams");
    let gateway = plain(&scratch, "");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let messages = malformed();
    for message in &messages {
        socket.send_to(message, gateway.source("udp")).expect("sent");
    }
    let ledger = gateway.settle("udp", messages.len() as u64);
    assert_eq!(ledger.source("udp", "received"), messages.len() as u64, "{ledger:?}");
    gateway.shutdown();
}
