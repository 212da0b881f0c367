//! The end: what can be delivered is, what cannot is counted, and nothing keeps the process.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use logboom_tests::zoo::{Behaviour, Cage};
use logboom_tests::{Gateway, Scratch, free_port, wait_until};

/// A gateway with one TCP source whose records all go to `url`.
fn gateway(scratch: &Scratch, url: &str, when_full: &str) -> Gateway {
    Gateway::start(scratch, &config(url, when_full))
}

fn config(url: &str, when_full: &str) -> String {
    format!(
        r#"
[limits]
shutdown = "1s"
queue = "1MiB"

[[source]]
name = "tcp"
url = "syslog+tcp://127.0.0.1:0"

[[drain]]
app = "*"
url = "{url}"
when_full = "{when_full}"
"#
    )
}

fn frames(count: usize) -> Vec<u8> {
    let mut frames = Vec::new();
    for number in 0..count {
        writeln!(frames, "<14>1 2026-11-21T05:44:01Z host app - - - number {number}")
            .expect("a vector takes it");
    }
    frames
}

#[test]
fn a_blocked_destination_leaves_a_ledger_that_balances() {
    let scratch = Scratch::new("shutdown-blocked");
    let gateway = gateway(&scratch, &format!("syslog+tcp://127.0.0.1:{}", free_port()), "block");
    let mut stream = TcpStream::connect(gateway.source("tcp")).expect("connected");
    stream.set_nonblocking(true).expect("set");
    let frames = frames(200_000);
    let mut sent = 0;
    // Until the destination's queue is full and the gateway reads no more.
    wait_until("the sender blocked", || match stream.write(&frames[sent..]) {
        Ok(n) => {
            sent += n;
            assert!(sent < frames.len(), "everything was taken");
            false
        }
        Err(_) => gateway.ledger().source("tcp", "in_pipeline") > 0,
    });
    let ledger = gateway.shutdown();
    ledger.assert_balanced();
    let accepted = ledger.destination("syslog+tcp", "accepted");
    assert_eq!(ledger.destination("syslog+tcp", "spooled"), accepted);
    assert_eq!(ledger.destination_drops("syslog+tcp"), []);
}

#[test]
fn a_destination_that_never_reads_ends_with_the_deadline_and_what_is_left_is_in_the_spool() {
    const RECORDS: u64 = 20_000;
    /// `limits.shutdown` and what is allowed beyond it for the spool.
    const DEADLINE: Duration = Duration::from_secs(1 + 5);
    /// For a machine that has other things to do.
    const SLACK: Duration = Duration::from_secs(15);
    let scratch = Scratch::new("shutdown-never-reads");
    let mut cage = Cage::new(Behaviour::NeverReads);
    let config = config(&cage.url(), "spool");
    let first = Gateway::start(&scratch, &config);
    let mut stream = TcpStream::connect(first.source("tcp")).expect("connected");
    // More than the kernel takes for a peer that does not read, so that a write is under way.
    let pad = "x".repeat(500);
    for number in 0..RECORDS {
        writeln!(stream, "<14>1 2026-11-21T05:44:01Z host app - - - number {number} {pad}")
            .expect("sent");
    }
    wait_until("a queue that has spilled into the spool", || {
        let ledger = first.ledger();
        ledger.source("tcp", "received") == RECORDS
            && ledger.source("tcp", "in_pipeline") == 0
            && ledger.destination("syslog+tcp", "spooled") > 0
    });
    assert_eq!(cage.accepted(), 1);
    let began = Instant::now();
    let ledger = first.shutdown();
    let took = began.elapsed();
    assert!(took < DEADLINE + SLACK, "shutdown took {took:?}");
    ledger.assert_balanced();
    assert_eq!(ledger.destination_drops("syslog+tcp"), []);
    // What the peer's kernel has acknowledged is delivered, by the word of plain TCP.
    let delivered = ledger.destination("syslog+tcp", "delivered");
    let spooled = ledger.destination("syslog+tcp", "spooled");
    assert_eq!(delivered + spooled, RECORDS);
    assert!(
        delivered < RECORDS / 2,
        "{delivered} of {RECORDS} were taken although nobody read them"
    );

    cage.close();
    cage.reopen_as(Behaviour::Healthy);
    cage.keep();
    let second = Gateway::start(&scratch, &config);
    wait_until("all that was left", || {
        second.ledger().destination("syslog+tcp", "delivered") == spooled
    });
    wait_until("all of it read", || cage.records() >= spooled);
    let numbers = cage.take_kept().into_iter().map(|(_, record)| {
        let text = String::from_utf8(record).expect("UTF-8");
        let number = text.split("number ").nth(1).and_then(|rest| rest.split(' ').next());
        number.and_then(|number| number.parse().ok()).expect("a number")
    });
    let mut numbers: Vec<u64> = numbers.collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(delivered..RECORDS), "not all of it, each once");
    let ledger = second.shutdown();
    ledger.assert_balanced();
    assert_eq!(ledger.destination("syslog+tcp", "recovered"), spooled);
}

#[test]
fn what_the_kernel_holds_when_shutdown_begins_is_delivered() {
    let scratch = Scratch::new("shutdown-rest");
    let url = format!("file://{}/all.log?format=raw", scratch.path().display());
    let gateway = gateway(&scratch, &url, "block");
    let mut stream = TcpStream::connect(gateway.source("tcp")).expect("connected");
    let count = 20_000;
    stream.write_all(&frames(count)).expect("sent");
    let ledger = gateway.shutdown();
    ledger.assert_balanced();
    assert_eq!(ledger.source("tcp", "received"), count as u64);
    assert_eq!(scratch.lines("all.log").len(), count);
}

#[test]
fn what_a_full_disk_does_not_take_is_left_in_the_spool() {
    let scratch = Scratch::new("full-disk");
    let gateway = gateway(&scratch, "file:///dev/full", "block");
    let mut stream = TcpStream::connect(gateway.source("tcp")).expect("connected");
    stream.write_all(&frames(3)).expect("sent");
    wait_until("a failed write", || gateway.ledger().failures("/dev/full") > 0);
    let ledger = gateway.shutdown();
    ledger.assert_balanced();
    assert_eq!(ledger.destination("/dev/full", "delivered"), 0);
    assert_eq!(ledger.destination("/dev/full", "spooled"), 3);
}

#[test]
fn without_a_spool_what_cannot_be_delivered_is_given_up_and_counted() {
    let scratch = Scratch::new("shutdown-no-spool");
    let config = config("file:///dev/full", "block") + "\n[spool]\nenabled = false\n";
    let gateway = Gateway::start(&scratch, &config);
    let mut stream = TcpStream::connect(gateway.source("tcp")).expect("connected");
    stream.write_all(&frames(3)).expect("sent");
    wait_until("a failed write", || gateway.ledger().failures("/dev/full") > 0);
    let ledger = gateway.shutdown();
    ledger.assert_balanced();
    assert_eq!(ledger.destination_drops("/dev/full"), [("shutdown".to_owned(), 3)]);
}

#[test]
fn half_a_request_does_not_keep_the_process() {
    let scratch = Scratch::new("half-request");
    let gateway = gateway(&scratch, "file:///dev/null", "block");
    let mut half = TcpStream::connect(gateway.control()).expect("connected");
    half.write_all(b"GET / HT").expect("sent");
    gateway.shutdown().assert_balanced();
}
