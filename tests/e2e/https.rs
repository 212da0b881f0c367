//! HTTP destinations: behind nginx with TLS, and receivers that answer in odd ways.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;
use logboom_tests::zoo::{Behaviour, Cage, Keeper, Pace};
use logboom_tests::{Certificates, Gateway, PeerKind, Scratch, free_port, is_missing, wait_until};

use crate::destinations::{MESSAGES, compare, messages, relay_with};
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
        receiver.keep();
        let nginx = https(&scratch, port, &receiver);
        let url = format!("https://localhost:{port}/logs?http={version}");
        let keys = keys(&all.ca, Some(&all.client));
        relay_with(&Scratch::new("https-gateway"), &url, &keys, &messages());
        assert_eq!(receiver.records(), MESSAGES as u64, "HTTP {version}");
        nginx.shutdown();
        let kept = receiver.take_kept().into_iter().map(|(_, record)| record);
        let lines =
            kept.map(|record| [record.strip_suffix(b"\n").unwrap_or(&record), b"\n"].concat());
        fs::write(scratch.join("kept.log"), lines.collect::<Vec<_>>().concat()).expect("written");
        compare(&scratch, "kept.log", &messages());
        let log = String::from_utf8_lossy(&scratch.read("access.log")).into_owned();
        assert!(
            log.contains(&format!("HTTP/{}\" 204", if version == "2" { "2.0" } else { "1.1" })),
            "{log}"
        );
    }
}

/// One TCP source whose records all go to `url`.
fn config(url: &str) -> String {
    format!(
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
    )
}

fn gateway(scratch: &Scratch, url: &str) -> Gateway {
    Gateway::start(scratch, &config(url))
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

/// A request as it came.
#[derive(Debug)]
struct Request {
    path: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
    at: Instant,
}

impl Request {
    fn read(reader: &mut impl BufRead) -> Option<Self> {
        let (mut path, mut headers) = (String::new(), BTreeMap::new());
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            match line.split_once(": ") {
                None => path = line.split(' ').nth(1)?.to_owned(),
                Some((name, value)) => {
                    let before = headers.insert(name.to_ascii_lowercase(), value.to_owned());
                    assert_eq!(before, None, "{name} twice");
                }
            }
        }
        let length = headers.get("content-length")?.parse().ok()?;
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        Some(Self { path, headers, body, at: Instant::now() })
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name}: {:?}", self.headers))
    }

    fn lines(&self) -> usize {
        self.body.iter().filter(|byte| **byte == b'\n').count()
    }
}

/// A receiver that keeps each request, and counts the lines of those it has taken.
#[derive(Debug, Default)]
struct Receiver {
    requests: Mutex<Vec<Request>>,
    /// Status and further headers of the next answers.
    next: Mutex<VecDeque<&'static str>>,
    /// Answers 503 until then, where it was not told what to answer.
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

    /// One that takes everything behind these answers.
    fn after(answers: &[&'static str]) -> (SocketAddr, Arc<Self>) {
        let (address, receiver) = Self::start(0);
        receiver.is_well.store(true, Ordering::SeqCst);
        receiver.next.lock().expect("answers").extend(answers);
        (address, receiver)
    }

    fn serve(&self, mut stream: &TcpStream) -> Option<()> {
        let request = Request::read(&mut BufReader::new(stream))?;
        let lines = request.lines();
        self.requests.lock().expect("requests").push(request);
        let told = self.next.lock().expect("answers").pop_front();
        let answer = if let Some(told) = told {
            told
        } else if !self.is_well.load(Ordering::SeqCst) {
            "503 Not yet"
        } else if self.lines_max > 0 && lines > self.lines_max {
            self.too_large.fetch_add(1, Ordering::SeqCst);
            "413 Too large"
        } else {
            self.lines.fetch_add(lines, Ordering::SeqCst);
            "200 Here"
        };
        write!(stream, "HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n").ok()
    }

    /// The keys of the requests, by path.
    fn keys(&self) -> BTreeMap<String, Vec<String>> {
        let mut keys = BTreeMap::<_, Vec<_>>::new();
        for request in &*self.requests.lock().expect("requests") {
            let key = request.header("idempotency-key").to_owned();
            keys.entry(request.path.clone()).or_default().push(key);
        }
        keys
    }

    fn requests(&self) -> Vec<usize> {
        self.keys().values().map(Vec::len).collect()
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
    let syncs = || gateway.metrics().sum("logboom_spool_syncs_total", &[]);
    wait_until("it to be on disk", || syncs() > 0.0);
    gateway.kill();
    let before = receiver.requests();
    let gateway = Gateway::start(&scratch, &config);
    wait_until("another attempt each", || {
        receiver.requests().iter().zip(&before).all(|(now, before)| now > before)
    });
    receiver.is_well.store(true, Ordering::SeqCst);
    wait_until("all taken", || receiver.lines.load(Ordering::SeqCst) == 2);
    gateway.shutdown().assert_balanced();
    let keys = receiver.keys();
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

/// What is sent to the gateway for [`frames`]: records in frames of their own, one with a line feed.
fn logplex_records() -> String {
    let texts = ["one", "two\nlines", "Gr\u{fc}\u{df}e", "four"];
    let records = texts.map(|text| format!("<14>1 2026-11-21T05:44:01Z web-1 app 7 ID - {text}"));
    records.map(|record| format!("{} {record}", record.len())).concat()
}

/// The same as Logplex writes it: the length says how long a line is with its line feed, of which there
/// is no other.
fn frames() -> Vec<String> {
    let texts = ["one", "two lines", "Gr\u{fc}\u{df}e", "four"];
    let lines = texts.map(|text| format!("<14>1 2026-11-21T05:44:01Z web-1 app 7 ID - {text}\n"));
    lines.map(|line| format!("{} {line}", line.len())).into()
}

/// Checks what was taken of the records above, in however many requests.
fn check_logplex(taken: &[Request], unpack: impl Fn(&[u8]) -> Vec<u8>) {
    let mut frames = frames().into_iter();
    for request in taken {
        assert_eq!(request.path, "/logs?tenant=7");
        for (name, value) in [
            ("content-type", "application/logplex-1"),
            ("user-agent", "Logplex/v72"),
            ("logplex-frame-id", request.header("idempotency-key")),
        ] {
            assert_eq!(request.header(name), value, "{name}");
        }
        let count = request.header("logplex-msg-count").parse().expect("a number");
        let expected: String = frames.by_ref().take(count).collect();
        assert_eq!(String::from_utf8(unpack(&request.body)).expect("UTF-8"), expected);
    }
    assert_eq!(frames.next(), None, "not all of them came");
    let distinct = |name| taken.iter().map(|it| it.header(name)).collect::<BTreeSet<_>>().len();
    assert_eq!(distinct("logplex-frame-id"), taken.len(), "each request has its own");
    assert_eq!(distinct("logplex-drain-token"), 1, "all have the drain's");
}

fn send_logplex(gateway: &Gateway) {
    let mut stream = TcpStream::connect(gateway.source("tcp")).expect("connected");
    stream.write_all(logplex_records().as_bytes()).expect("sent");
}

#[test]
fn logplex_is_sent_again_as_it_was_no_sooner_than_the_receiver_asks() {
    const AFTER: Duration = Duration::from_secs(2);
    let scratch = Scratch::new("http-logplex");
    let (address, receiver) = Receiver::after(&["503 Busy\r\nRetry-After: 2"]);
    let url = format!("http://user:p%40ss@{address}/logs?tenant=7");
    let gateway = gateway(&scratch, &url);
    send_logplex(&gateway);
    let ledger = gateway.settle("tcp", frames().len() as u64);
    assert_eq!(ledger.destination("http", "delivered"), frames().len() as u64);
    let busy = gateway.metrics().sum("logboom_outbound_attempts_total", &[("outcome", "busy")]);
    assert_eq!(busy, 1.0);
    let words = gateway.words();
    assert!(!words.contains("p@ss") && !words.contains("p%40ss"), "a secret is shown: {words}");
    gateway.shutdown().assert_balanced();
    let requests = receiver.requests.lock().expect("requests");
    let [first, second, ..] = &requests[..] else { panic!("{requests:?}") };
    assert_eq!((&second.headers, &second.body), (&first.headers, &first.body), "a retry");
    assert!(second.at - first.at >= AFTER, "{:?}", second.at - first.at);
    check_logplex(&requests[1..], <[u8]>::to_vec);
    for request in &*requests {
        // `user:p@ss`, in Base64.
        assert_eq!(request.header("authorization"), "Basic dXNlcjpwQHNz");
    }
}

#[test]
fn logplex_is_compressed_where_the_url_says_so() {
    let scratch = Scratch::new("http-logplex-gzip");
    let (address, receiver) = Receiver::after(&[]);
    let gateway = gateway(&scratch, &format!("http://{address}/logs?gzip=true&tenant=7"));
    send_logplex(&gateway);
    gateway.settle("tcp", frames().len() as u64);
    gateway.shutdown().assert_balanced();
    let requests = receiver.requests.lock().expect("requests");
    assert!(requests.iter().all(|it| it.header("content-encoding") == "gzip"), "{requests:?}");
    check_logplex(&requests, |body| {
        let mut unpacked = Vec::new();
        GzDecoder::new(body).read_to_end(&mut unpacked).expect("gzip");
        unpacked
    });
}

/// Credentials are for an operator to put right, so the records wait. That they are tried again each
/// minute is not waited for here; a reload tries at once.
#[test]
fn credentials_that_are_refused_cost_no_record() {
    const COUNT: usize = 10;
    for answer in ["401 Who", "403 No", "407 Not by me"] {
        let scratch = Scratch::new("http-denied");
        let (address, receiver) = Receiver::after(&[answer]);
        let url = format!("http://user:wrong@{address}/logs");
        let gateway = gateway(&scratch, &url);
        send(&gateway, COUNT);
        let outcome = |outcome: &str| {
            let labels = [("outcome", outcome)];
            gateway.metrics().sum("logboom_outbound_attempts_total", &labels)
        };
        wait_until("an attempt that was refused", || {
            gateway.ledger().source("tcp", "received") == COUNT as u64 && outcome("rejected") > 0.0
        });
        let ledger = gateway.ledger();
        assert_eq!(ledger.destination("http", "in_flight"), COUNT as u64, "{answer}: {ledger:?}");
        wait_until(&format!("{answer} in the log, and how long it is left alone"), || {
            let is_said = |line: &str| line.contains(&answer[..3]) && line.contains("wait=60s");
            gateway.words().lines().any(is_said)
        });
        assert_eq!(receiver.requests(), [1], "{answer}");

        gateway.reload(&scratch, &config(&url));
        let ledger = gateway.settle("tcp", COUNT as u64);
        assert_eq!(ledger.destination("http", "delivered"), COUNT as u64, "{answer}: {ledger:?}");
        assert_eq!(receiver.lines.load(Ordering::SeqCst), COUNT, "{answer}");
        assert_eq!(outcome("rejected"), 1.0, "{answer}");
        gateway.shutdown().assert_balanced();
        let requests = receiver.requests.lock().expect("requests");
        assert_eq!(requests[0].headers, requests[1].headers, "{answer}: a retry");
    }
}
