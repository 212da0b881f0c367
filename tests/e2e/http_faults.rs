//! Sources of HTTP in trouble: hostile peers, blocked destinations, kills.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use logboom_tests::{
    DEADLINE, Gateway, PeerKind, Scratch, free_port, is_missing, memory_bytes, wait_until,
};
use serde_json::json;

use crate::http::{curl, gateway, records, rejected};

/// What a session may cost at the most, beside what the gateway had before.
const MEMORY_SLACK: u64 = 64 << 20;

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(DEADLINE)).expect("a limit");
    stream.set_write_timeout(Some(DEADLINE)).expect("a limit");
    stream
}

/// Sends bytes as they are and reads to the end of the session, which must come.
fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = connect(address);
    // The gateway may close before all is written.
    drop(stream.write_all(bytes));
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "no end came"),
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// A request of HTTP/1.1 on a session of its own: status and head.
fn post(address: SocketAddr, path: &str, body: &[u8]) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(DEADLINE)).ok()?;
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: h\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(&[head.as_bytes(), body].concat()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    Some((status, answer))
}

/// A frame of HTTP/2. *Source*: RFC 9113 section 4.1.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a length").to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(crate) const END_HEADERS: u8 = 4;
/// `POST /ingest` by static entries of HPACK. *Source*: RFC 7541 appendix A.
const HEADERS: &[u8] = b"\x83\x86\x04\x07/ingest\x01\x01h";

/// Sends a flood until the gateway closes the session, and reads what it answers.
pub(crate) fn flood(address: SocketAddr, mut next: impl FnMut(u32) -> Vec<u8> + Send) {
    let mut stream = connect(address);
    let settings = frame(4, 0, 0, b"");
    stream.write_all(&[PREFACE, &settings].concat()).expect("sent");
    let mut reader = stream.try_clone().expect("a second handle");
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut answers = Vec::new();
            drop(reader.read_to_end(&mut answers));
        });
        for round in 0..1_000_000 {
            if stream.write_all(&next(round)).is_err() {
                return;
            }
        }
        panic!("the session was not closed");
    });
}

#[test]
fn h1_floods_of_http2_end_their_session_and_nobody_elses() {
    let scratch = Scratch::new("http-floods");
    let (gateway, _) = gateway(&scratch, "http", "");
    let address = gateway.source("web");
    let idle = memory_bytes(gateway.pid()).now;
    let is_over = Arc::new(AtomicBool::new(false));
    let other = thread::spawn({
        let is_over = Arc::clone(&is_over);
        move || {
            let mut sent = 0;
            while !is_over.load(Ordering::Relaxed) {
                assert_eq!(post(address, "/ingest/a", b"x").map(|it| it.0), Some(200));
                sent += 1;
            }
            sent
        }
    });
    // Streams that are reset as soon as they are opened.
    flood(address, |round| {
        let stream = round * 2 + 1;
        let opened = frame(1, END_HEADERS, stream, HEADERS);
        [opened, frame(3, 0, stream, &8u32.to_be_bytes())].concat()
    });
    // Headers that never end.
    let part = [b"\x00\x01a\x7f\x81\x7f".as_slice(), &[b'x'; 16_000]].concat();
    flood(address, |round| match round {
        0 => frame(1, 0, 1, HEADERS),
        _ => frame(9, 0, 1, &part),
    });
    // Data without any, for a stream that is over.
    flood(address, |round| match round {
        0 => frame(1, END_HEADERS | 1, 1, HEADERS),
        _ => frame(0, 0, 1, b""),
    });
    is_over.store(true, Ordering::Relaxed);
    let sent: u64 = other.join().expect("the other sender");
    assert!(sent > 0);
    let now = memory_bytes(gateway.pid()).now;
    assert!(now < idle + MEMORY_SLACK, "from {idle} to {now} bytes");
    gateway.settle("web", sent);
    gateway.shutdown().assert_balanced();
}

#[test]
fn h2_requests_that_are_none_are_refused_and_closed() {
    let scratch = Scratch::new("http-malformed");
    let (gateway, _) = gateway(&scratch, "http", "");
    let address = gateway.source("web");
    let chunk = format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(1 << 20));
    for (head, body) in [
        ("connection: close", ""),
        ("content-length: -1", ""),
        ("content-length: 1x", "x"),
        ("content-length: 1\r\ncontent-length: 2", "ab"),
        ("content-length: 5\r\ntransfer-encoding: chunked", "0\r\n\r\n"),
        ("transfer-encoding: chunked, identity", "x"),
        ("transfer-encoding: chunked", chunk.as_str()),
        ("transfer-encoding: chunked", "zz\r\n"),
        ("x: a\r\n b: folded\r\ncontent-length: 1", "x"),
        ("x : a\r\ncontent-length: 1", "x"),
    ] {
        let request = format!("POST /ingest/a HTTP/1.1\r\nhost: h\r\n{head}\r\n\r\n{body}");
        let answer = raw(address, request.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 400 "), "{head}: {answer}");
    }
    let long = format!("POST /ingest/a HTTP/1.1\r\nhost: h\r\nx: {}\r\n\r\n", "y".repeat(1 << 20));
    assert!(raw(address, long.as_bytes()).starts_with("HTTP/1.1 431 "));
    let hello = raw(address, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03");
    assert!(hello.starts_with("HTTP/1.1 400 "), "{hello}");
    assert_eq!(post(address, "/ingest/a", b"x").map(|it| it.0), Some(200));
    assert_eq!(records(&scratch, 1).len(), 1);
    gateway.shutdown().assert_balanced();
}

#[test]
fn h3_members_of_any_type_are_taken_or_refused() {
    let scratch = Scratch::new("http-types");
    let (gateway, _) = gateway(&scratch, "http", "");
    let address = gateway.source("web");
    let values = [
        "0",
        "-1",
        "1.5",
        "true",
        "null",
        "{}",
        "[]",
        "\"x\"",
        "1e999",
        "[{}]",
        "9223372036854775808",
    ];
    let members = [
        "time",
        "@timestamp",
        "severity",
        "level",
        "facility",
        "host",
        "app_name",
        "proc_id",
        "msg_id",
        "app",
        "body",
        "message",
        "structured_data",
        "fields",
        "other",
    ];
    let mut sent = 0;
    for member in members {
        let objects: Vec<_> =
            values.iter().map(|value| format!("{{\"{member}\":{value}}}")).collect();
        let body = format!("[{}]", objects.join(","));
        let request = format!(
            "POST /ingest HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        let answer = raw(address, request.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 200 "), "{member}: {answer}");
        assert!(answer.contains("\"accepted\":11,"), "{member}: {answer}");
        sent += values.len();
    }
    for path in ["resourceLogs", "resource_logs"] {
        for value in values {
            let body = format!("{{\"{path}\":{value}}}");
            let request = format!(
                "POST /v1/logs HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\n\
                 content-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            let answer = raw(address, request.as_bytes());
            let is_answer =
                ["HTTP/1.1 200 ", "HTTP/1.1 400 "].iter().any(|it| answer.starts_with(it));
            assert!(is_answer, "{body}: {answer}");
        }
    }
    assert_eq!(records(&scratch, sent).len(), sent);
    gateway.shutdown().assert_balanced();
}

#[test]
fn c2_a_bomb_is_refused_and_costs_little_memory() {
    if is_missing(PeerKind::Curl) || is_missing(PeerKind::Zstd) {
        return;
    }
    let scratch = Scratch::new("http-bombs");
    let (gateway, url) = gateway(&scratch, "http", "");
    let url = format!("{url}/ingest/a");
    let idle = memory_bytes(gateway.pid()).now;
    let shell = |command: &str| {
        let made = std::process::Command::new("sh").args(["-c", command]).output();
        made.expect("sh").stdout
    };
    for (encoding, command) in [
        ("gzip", "head -c 2000000000 /dev/zero | gzip -1"),
        ("zstd", "head -c 2000000000 /dev/zero | zstd -q"),
    ] {
        let (bomb, encoding) = (shell(command), format!("content-encoding: {encoding}"));
        let (status, answer) = curl(&["-H", &encoding, &url], &bomb);
        assert_eq!(status, 413, "{encoding}: {answer}");
    }
    for (encoding, status) in [("gzip, gzip", 415), ("br", 415), ("gzip", 400), ("zstd", 400)] {
        let encoding = format!("content-encoding: {encoding}");
        assert_eq!(curl(&["-H", &encoding, &url], b"no such thing").0, status, "{encoding}");
    }
    let now = memory_bytes(gateway.pid()).now;
    assert!(now < idle + MEMORY_SLACK, "from {idle} to {now} bytes");
    assert_eq!(rejected(&gateway), json!({ "malformed": 2, "oversize": 2, "request": 2 }));
    gateway.shutdown().assert_balanced();
}

#[test]
fn a_body_that_does_not_come_is_answered_408() {
    let scratch = Scratch::new("http-slow");
    let (gateway, _) = gateway(&scratch, "http", "frame_timeout = \"200ms\"");
    let mut stream = connect(gateway.source("web"));
    stream
        .write_all(b"POST /ingest/a HTTP/1.1\r\nhost: h\r\ncontent-length: 100\r\n\r\nsome")
        .expect("sent");
    let mut answer = String::new();
    BufReader::new(&stream).read_line(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    // A head that does not end is no request: the session is closed over it.
    assert_eq!(raw(gateway.source("web"), b"POST /ingest HTTP/1.1\r\nx: "), "");
    assert_eq!(rejected(&gateway), json!({ "timeout": 1 }));
    gateway.shutdown().assert_balanced();
}

#[test]
fn f12_many_slow_peers_do_not_disturb_a_normal_one() {
    const SLOW: usize = 400;
    let scratch = Scratch::new("http-loris");
    let (gateway, _) = gateway(&scratch, "http", "frame_timeout = \"3s\"");
    let address = gateway.source("web");
    let beginnings: [&[u8]; 4] = [
        b"",
        b"POST /ingest/a HT",
        b"POST /ingest/a HTTP/1.1\r\nhost: h\r\ncontent-length: 100\r\n\r\nx",
        PREFACE,
    ];
    let slow: Vec<_> = (0..SLOW)
        .map(|number| {
            let mut stream = connect(address);
            stream.write_all(beginnings[number % 4]).expect("sent");
            stream
        })
        .collect();
    wait_until("all of them", || {
        gateway.metrics().sum("logboom_ingest_sessions", &[("source", "web")]) >= SLOW as f64
    });
    for _ in 0..100 {
        assert_eq!(post(address, "/ingest/a", b"x").map(|it| it.0), Some(200));
    }
    // Those who have begun a request are sent away; the others may stay for as long as they are idle.
    wait_until("their end", || rejected(&gateway)["timeout"] == SLOW / 4);
    assert_eq!(records(&scratch, 100).len(), 100);
    drop(slow);
    gateway.shutdown().assert_balanced();
}

#[test]
fn idle_sessions_of_both_versions_do_not_hold_up_a_shutdown_and_requests_are_answered() {
    let scratch = Scratch::new("http-shutdown");
    let (gateway, _) = gateway(&scratch, "http", "");
    let address = gateway.source("web");
    let mut idle = connect(address);
    idle.write_all(b"POST /ingest/a HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\n\r\nx")
        .expect("sent");
    let mut answer = String::new();
    BufReader::new(&idle).read_line(&mut answer).expect("an answer");
    let mut second = connect(address);
    second.write_all(&[PREFACE, &frame(4, 0, 0, b"")].concat()).expect("sent");
    let mut busy = connect(address);
    let head =
        b"POST /ingest/a HTTP/1.1\r\nhost: h\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n";
    busy.write_all(head).expect("sent");
    let mut answers = BufReader::new(busy.try_clone().expect("a handle"));
    // It is asked for its body once the request has begun.
    for start in ["HTTP/1.1 100 ", "\r\n"] {
        let mut line = String::new();
        answers.read_line(&mut line).expect("a line");
        assert!(line.starts_with(start), "{line}");
    }
    let ending = thread::spawn(move || gateway.shutdown());
    // The listener is closed first.
    wait_until("the beginning of the end", || TcpStream::connect(address).is_err());
    busy.write_all(b"last").expect("sent");
    let mut answer = String::new();
    answers.read_line(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let ledger = ending.join().expect("a ledger");
    ledger.assert_balanced();
    assert_eq!(ledger.source("web", "received"), 2);
    assert!(ledger.source_drops("web").is_empty(), "{ledger:?}");
}

#[test]
fn one_request_more_than_allowed_is_answered_429() {
    let scratch = Scratch::new("http-busy");
    let (gateway, _) = gateway(&scratch, "http", "max_requests = 1");
    let address = gateway.source("web");
    let mut slow = connect(address);
    let head =
        b"POST /ingest/a HTTP/1.1\r\nhost: h\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n";
    slow.write_all(head).expect("sent");
    let (mut answers, mut answer) =
        (BufReader::new(slow.try_clone().expect("a handle")), String::new());
    // It is asked for its body once it has its turn.
    answers.read_line(&mut answer).expect("a word");
    assert!(answer.starts_with("HTTP/1.1 100 "), "{answer}");
    answers.read_line(&mut answer).expect("an empty line");
    answer.clear();
    wait_until("a refusal", || {
        post(address, "/ingest/a", b"x").is_some_and(|(status, head)| {
            status == 429 && head.to_ascii_lowercase().contains("\r\nretry-after: 1\r\n")
        })
    });
    slow.write_all(b"slow").expect("sent");
    answers.read_line(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    wait_until("a turn", || post(address, "/ingest/a", b"x").map(|it| it.0) == Some(200));
    gateway.shutdown().assert_balanced();
}

#[test]
fn a_blocked_destination_is_answered_503_and_nothing_is_lost_when_it_goes_on() {
    let scratch = Scratch::new("http-blocked");
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let config = format!(
        "[limits]\nmemory = \"16MiB\"\nqueue = \"1MiB\"\nmax_connections = 1\n\n\
         [spool]\nenabled = false\n\n\
         [[source]]\nname = \"web\"\nurl = \"http://127.0.0.1:0\"\nanswer_timeout = \"300ms\"\n\n\
         [[drain]]\napp = \"*\"\nurl = \"syslog+tcp://{}\"\nwhen_full = \"block\"\n",
        listener.local_addr().expect("an address")
    );
    let gateway = Gateway::start(&scratch, &config);
    let address = gateway.source("web");
    let body = format!("{}\n", "x".repeat(1000)).repeat(500);
    // Accepted, and not read.
    let (mut answers, mut retry) = (BTreeSet::new(), false);
    let accepted = thread::spawn(move || listener.accept().expect("a connection").0);
    wait_until("no memory, and records that do not arrive", || {
        let (status, head) = post(address, "/ingest/a", body.as_bytes()).expect("an answer");
        answers.insert(status);
        retry |= head.to_ascii_lowercase().contains("\r\nretry-after: ");
        gateway.ledger().source("web", "rejected") > 0
    });
    assert!(answers.is_subset(&[200, 503].into()) && answers.contains(&503), "{answers:?}");
    assert!(retry && rejected(&gateway)["memory"].as_u64() > Some(0));
    let mut stream = accepted.join().expect("a connection");
    thread::spawn(move || std::io::copy(&mut stream, &mut std::io::sink()));
    wait_until("room again", || post(address, "/ingest/a", b"x").map(|it| it.0) == Some(200));
    let ledger = gateway.settle("web", 1);
    assert_eq!(ledger.source("web", "received"), ledger.destination("tcp", "delivered"));
    gateway.shutdown().assert_balanced();
}

/// Reads lines from all who connect.
fn collect(listener: TcpListener) -> Arc<Mutex<BTreeSet<String>>> {
    let lines = Arc::new(Mutex::new(BTreeSet::new()));
    let collected = Arc::clone(&lines);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let lines = Arc::clone(&lines);
            thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let body = line.rsplit(' ').next().unwrap_or_default().to_owned();
                    lines.lock().expect("lines").insert(body);
                }
            });
        }
    });
    collected
}

#[test]
fn what_was_answered_200_survives_kills() {
    const SENDERS: usize = 4;
    const LIVES: usize = 3;
    let (scratch, web, port) = (Scratch::new("http-kills"), free_port(), free_port());
    let config = format!(
        "[spool]\nenabled = true\ndurability = \"disk\"\n\n\
         [[source]]\nname = \"web\"\nurl = \"http://127.0.0.1:{web}\"\n\n\
         [[drain]]\napp = \"*\"\nurl = \"syslog+tcp://127.0.0.1:{port}?framing=lf\"\n"
    );
    let address = SocketAddr::from(([127, 0, 0, 1], web));
    let kept = Arc::new(Mutex::new(BTreeSet::new()));
    let is_over = Arc::new(AtomicBool::new(false));
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let (kept, is_over) = (Arc::clone(&kept), Arc::clone(&is_over));
            thread::spawn(move || {
                let mut number = 0;
                while !is_over.load(Ordering::Relaxed) {
                    let lines: Vec<_> =
                        (0..10).map(|line| format!("{sender}-{number}-{line}")).collect();
                    let sent = post(address, "/ingest/a", lines.join("\n").as_bytes());
                    if sent.is_some_and(|(status, _)| status == 200) {
                        kept.lock().expect("kept").extend(lines);
                        number += 1;
                    } else {
                        // It is dead: not to be asked as fast as it goes.
                        thread::park_timeout(Duration::from_millis(5));
                    }
                }
            })
        })
        .collect();
    for _ in 0..LIVES {
        let gateway = Gateway::start(&scratch, &config);
        let before = kept.lock().expect("kept").len();
        wait_until("records that are kept", || kept.lock().expect("kept").len() > before + 200);
        gateway.kill();
    }
    is_over.store(true, Ordering::Relaxed);
    senders.into_iter().for_each(|sender| sender.join().expect("a sender"));
    let arrived = collect(TcpListener::bind(("127.0.0.1", port)).expect("bound"));
    let gateway = Gateway::start(&scratch, &config);
    let kept = kept.lock().expect("kept").clone();
    wait_until("all that was kept", || {
        let arrived = arrived.lock().expect("lines");
        kept.iter().all(|line| arrived.contains(line))
    });
    assert!(kept.len() > LIVES * 200);
    gateway.shutdown().assert_balanced();
}
