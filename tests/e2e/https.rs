//! HTTP destinations: behind nginx with TLS, and receivers that answer in odd ways.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use logboom_tests::zoo::{Behaviour, Cage, Keeper, Pace};
use logboom_tests::{Certificates, Gateway, PeerKind, Scratch, free_port, is_missing, wait_until};

use crate::destinations::{MESSAGES, messages, relay_with};
use crate::peers::https;
use crate::tls::keys;

#[test]
fn a_receiver_behind_nginx_gets_all_in_both_versions_of_http() {
    if is_missing(PeerKind::Nginx) {
        return;
    }
    for version in ["1.1", "2"] {
        let (scratch, port) = (Scratch::new("to-nginx"), free_port());
        let all = Certificates::new(&scratch);
        let receiver = Cage::new(Behaviour::HttpHealthy);
        let nginx = https(&scratch, port, &receiver);
        let url = format!("https://localhost:{port}/logs?http={version}");
        let keys = keys(&all.ca, Some(&all.client));
        relay_with(&Scratch::new("https-gateway"), &url, &keys, &messages());
        assert_eq!(receiver.records(), MESSAGES as u64, "HTTP {version}");
        nginx.shutdown();
        let log = String::from_utf8_lossy(&scratch.read("access.log")).into_owned();
        assert!(
            log.contains(&format!("HTTP/{}\" 204", if version == "2" { "2.0" } else { "1.1" })),
            "{log}"
        );
    }
}

/// A gateway with one TCP source whose records all go to `url`.
fn gateway(scratch: &Scratch, url: &str) -> Gateway {
    Gateway::start(
        scratch,
        &format!(
            r#"
[limits]
shutdown = "1s"

[[source]]
name = "tcp"
url = "syslog+tcp://127.0.0.1:0"

[[drain]]
app = "*"
url = "{url}"
when_full = "block"
"#
        ),
    )
}

fn send(gateway: &Gateway, count: usize) {
    let mut stream = TcpStream::connect(gateway.source("tcp")).expect("connected");
    for number in 0..count {
        writeln!(stream, "<14>1 - host app - - - number {number}").expect("sent");
    }
    stream.shutdown(Shutdown::Write).expect("shut down");
}

#[test]
fn answers_that_ask_for_another_attempt_get_one_and_records_are_kept() {
    for behaviour in [
        Behaviour::HttpStatus(500),
        Behaviour::HttpStatus(503),
        Behaviour::HttpStatus(429),
        Behaviour::ClosesAtOnce,
    ] {
        let scratch = Scratch::new("http-retries");
        let receiver = Cage::new(behaviour);
        let url = format!("http://{}/logs", receiver.address());
        let gateway = gateway(&scratch, &url);
        send(&gateway, 10);
        wait_until("two attempts", || receiver.requests() > 1 || receiver.accepted() > 1);
        let ledger = gateway.ledger();
        assert_eq!(ledger.destination("http", "in_flight"), 10, "{behaviour:?}: {ledger:?}");
        assert_eq!(receiver.records(), 0);
        gateway.shutdown().assert_balanced();
    }
}

#[test]
fn a_request_that_is_refused_for_good_is_parked_and_does_not_stop_the_rest() {
    for status in [400, 404, 422] {
        let scratch = Scratch::new("http-refused");
        let receiver = Cage::new(Behaviour::HttpStatus(status));
        let gateway = gateway(&scratch, &receiver.url());
        send(&gateway, 10);
        let ledger = gateway.settle("tcp", 10);
        assert_eq!(ledger.destination("http", "parked"), 10, "{status}: {ledger:?}");
        gateway.shutdown().assert_balanced();
    }
}

#[test]
fn an_answer_without_an_end_costs_neither_memory_nor_the_records() {
    let scratch = Scratch::new("http-endless");
    let receiver = Cage::new(Behaviour::HttpEndless);
    let gateway = gateway(&scratch, &receiver.url());
    let idle = logboom_tests::memory_bytes(gateway.pid()).now;
    let keeper = Keeper::start(gateway.source("tcp"), vec!["app".into()], Pace::Steady(100));
    wait_until("several requests", || receiver.requests() > 3);
    let (sent, _) = keeper.finish();
    assert!(sent > 0);
    let memory = logboom_tests::memory_bytes(gateway.pid()).now;
    assert!(memory < idle + (64 << 20), "from {idle} to {memory} bytes");
    let ledger = gateway.shutdown();
    ledger.assert_balanced();
    assert_eq!(
        ledger.destination_drops("http").iter().map(|it| it.1).sum::<u64>()
            + ledger.destination("http", "delivered"),
        ledger.destination("http", "accepted")
    );
}

/// A receiver that notes the key of each request, by path, and the records of those it has taken.
#[derive(Debug, Default)]
struct Receiver {
    keys: Mutex<BTreeMap<String, Vec<String>>>,
    /// Answers 503 until then.
    is_well: AtomicBool,
    /// Answers 413 to bodies of more lines, where not 0.
    lines_max: usize,
    too_large: AtomicUsize,
    lines: AtomicUsize,
}

impl Receiver {
    fn start(lines_max: usize) -> (SocketAddr, Arc<Self>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let receiver = Arc::new(Self { lines_max, ..Self::default() });
        let shared = Arc::clone(&receiver);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                // The gateway ends its connections.
                thread::spawn(move || while shared.serve(&stream).is_some() {});
            }
        });
        (address, receiver)
    }

    fn serve(&self, mut stream: &TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream);
        let (mut path, mut key, mut length) = (String::new(), String::new(), 0);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            match line.split_once(": ") {
                None => path = line.split(' ').nth(1)?.to_owned(),
                Some(("idempotency-key", value)) => key = value.to_owned(),
                Some(("content-length", value)) => length = value.parse().ok()?,
                Some(_) => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let lines = body.iter().filter(|byte| **byte == b'\n').count();
        self.keys.lock().expect("keys").entry(path).or_default().push(key);
        let status = if !self.is_well.load(Ordering::SeqCst) {
            503
        } else if self.lines_max > 0 && lines > self.lines_max {
            self.too_large.fetch_add(1, Ordering::SeqCst);
            413
        } else {
            self.lines.fetch_add(lines, Ordering::SeqCst);
            200
        };
        write!(stream, "HTTP/1.1 {status} Here\r\nContent-Length: 0\r\n\r\n").ok()
    }

    fn requests(&self) -> Vec<usize> {
        self.keys.lock().expect("keys").values().map(Vec::len).collect()
    }
}

#[test]
fn a_request_keeps_its_key_over_attempts_and_restarts_and_shares_it_with_no_other() {
    let (scratch, (address, receiver)) = (Scratch::new("http-keys"), Receiver::start(0));
    let config = format!(
        r#"
[spool]
segment = "1MiB"
max = "64MiB"

[[source]]
name = "tcp"
url = "syslog+tcp://127.0.0.1:0"

[[route]]
name = "a"
url = "http://{address}/a?format=raw"
when_full = "spool"

[[route]]
name = "b"
url = "http://{address}/b?format=raw"
when_full = "spool"

[[pipeline]]
sources = ["tcp"]
routes = ["a", "b"]
durability = "disk"
"#
    );
    let gateway = Gateway::start(&scratch, &config);
    // One entry of the spool, of which each destination gets the same.
    send(&gateway, 1);
    wait_until("two attempts each", || {
        let requests = receiver.requests();
        requests.len() == 2 && requests.iter().all(|count| *count >= 2)
    });
    gateway.kill();
    let before = receiver.requests();
    let gateway = Gateway::start(&scratch, &config);
    wait_until("another attempt each", || {
        receiver.requests().iter().zip(&before).all(|(now, before)| now > before)
    });
    receiver.is_well.store(true, Ordering::SeqCst);
    wait_until("all taken", || receiver.lines.load(Ordering::SeqCst) == 2);
    gateway.shutdown().assert_balanced();
    let keys = receiver.keys.lock().expect("keys");
    let distinct: Vec<BTreeSet<&String>> = keys.values().map(|all| all.iter().collect()).collect();
    assert!(distinct.iter().all(|keys| keys.len() == 1), "{keys:?}");
    assert_ne!(distinct[0], distinct[1], "{keys:?}");
}

#[test]
fn a_body_that_was_too_large_is_divided_and_the_next_ones_are_smaller_from_the_start() {
    const RECORDS: usize = 20_000;
    let (scratch, (address, receiver)) = (Scratch::new("http-too-large"), Receiver::start(100));
    receiver.is_well.store(true, Ordering::SeqCst);
    let gateway = gateway(&scratch, &format!("http://{address}/logs?format=raw"));
    send(&gateway, RECORDS);
    gateway.settle("tcp", RECORDS as u64);
    let ledger = gateway.shutdown();
    ledger.assert_balanced();
    assert_eq!(receiver.lines.load(Ordering::SeqCst), RECORDS);
    assert_eq!(ledger.destination("http", "delivered"), RECORDS as u64);
    let too_large = receiver.too_large.load(Ordering::SeqCst);
    let all: usize = receiver.requests().iter().sum();
    assert!(too_large > 0 && too_large < all / 4, "{too_large} of {all}");
}
