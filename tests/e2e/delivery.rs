//! Delivery: what waits for a destination outlives the destination, the queue, and the process.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use logboom_tests::{Gateway, Scratch, free_port, wait_for, wait_until};

fn config(url: &str, more: &str) -> String {
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
{more}
"#
    )
}

/// Sends records numbered from `first` on, of `apps` apps by turns, each some 200 bytes.
fn send(gateway: &Gateway, first: usize, count: usize, apps: usize) {
    let mut text = String::new();
    for number in first..first + count {
        let app = number % apps;
        let line = format!("<14>1 2026-11-21T05:44:01Z host app{app} - - - number {number} ");
        writeln!(text, "{line}{}", "x".repeat(130)).expect("a string takes it");
    }
    let mut stream = TcpStream::connect(gateway.source("tcp")).expect("connected");
    stream.write_all(text.as_bytes()).expect("sent");
}

/// The number of a record in RFC 5424 lines.
fn number(line: &str) -> usize {
    let rest = line.split("number ").nth(1).expect("a number");
    rest.split(' ').next().and_then(|word| word.parse().ok()).expect("digits")
}

/// Takes connections one after the other and reads numbered lines until there are `count` of them.
fn collect(listener: &TcpListener, count: usize) -> Vec<usize> {
    let mut numbers = Vec::new();
    while numbers.len() < count {
        let (stream, _) = listener.accept().expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
        for line in BufReader::new(stream).lines() {
            let Ok(line) = line else { break };
            numbers.push(number(&line));
            if numbers.len() == count {
                break;
            }
        }
    }
    numbers
}

/// True when the numbers of each of the apps ascend.
fn is_ordered(numbers: &[usize], apps: usize) -> bool {
    (0..apps).all(|app| {
        let own: Vec<_> = numbers.iter().filter(|number| *number % apps == app).collect();
        own.is_sorted()
    })
}

#[test]
fn a_destination_that_was_away_gets_all_in_order_from_the_spool() {
    let scratch = Scratch::new("delivery-away");
    let port = free_port();
    let url = format!("syslog+tcp://127.0.0.1:{port}?framing=lf");
    let gateway = Gateway::start(&scratch, &config(&url, ""));
    let count = 20_000;
    send(&gateway, 0, count, 3);
    wait_until("a queue that has spilled into the spool", || {
        let ledger = gateway.ledger();
        ledger.source("tcp", "received") == count as u64
            && ledger.destination("syslog+tcp", "spooled") > 5_000
    });
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port");
    let numbers = collect(&listener, count);
    assert!(is_ordered(&numbers, 3), "order of an app");
    let mut sorted = numbers.clone();
    sorted.sort_unstable();
    assert!(sorted.into_iter().eq(0..count), "all of them once");
    let ledger = gateway.settle("tcp", count as u64);
    assert_eq!(ledger.destination("syslog+tcp", "delivered"), count as u64);
    assert_eq!(ledger.destination("syslog+tcp", "spooled"), 0);
    gateway.shutdown().assert_balanced();
}

#[test]
fn what_shutdown_leaves_is_delivered_by_the_next_start() {
    let scratch = Scratch::new("delivery-restart");
    let port = free_port();
    let url = format!("syslog+tcp://127.0.0.1:{port}?framing=lf");
    let gateway = Gateway::start(&scratch, &config(&url, ""));
    let count = 12_000;
    send(&gateway, 0, count, 2);
    gateway_has(&gateway, count);
    let ledger = gateway.shutdown();
    ledger.assert_balanced();
    assert_eq!(ledger.destination("syslog+tcp", "spooled"), count as u64);

    let second = Gateway::start(&scratch, &config(&url, ""));
    assert_eq!(second.ledger().destination("syslog+tcp", "recovered"), count as u64);
    send(&second, count, 100, 2);
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port");
    let mut numbers = collect(&listener, count + 100);
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..count + 100), "all of them once");
    second.settle("tcp", 100);
    second.shutdown().assert_balanced();
}

fn gateway_has(gateway: &Gateway, count: usize) {
    wait_until("records taken in", || {
        let ledger = gateway.ledger();
        ledger.source("tcp", "received") == count as u64 && ledger.source("tcp", "in_pipeline") == 0
    });
}

#[test]
fn beyond_its_share_of_the_spool_a_destination_loses_its_oldest_and_each_is_counted() {
    let scratch = Scratch::new("delivery-share");
    let url = format!("syslog+tcp://127.0.0.1:{}", free_port());
    let more = "[spool]\nmax = \"64MiB\"\nsegment = \"1MiB\"\nshare = \"2MiB\"";
    let gateway = Gateway::start(&scratch, &config(&url, more));
    let count = 60_000;
    send(&gateway, 0, count, 1);
    let ledger = wait_for("records that were shed", || {
        let ledger = gateway.ledger();
        let is_in = ledger.source("tcp", "received") == count as u64;
        let shed = ledger.destination_drops("syslog+tcp").iter().map(|(_, n)| n).sum::<u64>();
        (is_in && shed > 20_000).then_some(ledger)
    });
    assert!(ledger.destination_drops("syslog+tcp").iter().all(|(reason, _)| reason == "shed"));
    gateway.shutdown().assert_balanced();
}

/// What a peer's kernel has acknowledged and its program has not read is lost with the peer: plain TCP
/// cannot do better. Everything behind it comes again, from the very record on.
#[test]
fn plain_tcp_sends_again_exactly_what_the_peers_kernel_did_not_acknowledge() {
    let scratch = Scratch::new("delivery-resend");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("syslog+tcp://{}?framing=lf", listener.local_addr().expect("an address"));
    let gateway = Gateway::start(&scratch, &config(&url, ""));
    let count = 30_000;
    send(&gateway, 0, count, 1);
    let (first, _) = listener.accept().expect("a connection");
    // It reads nothing: in the end its kernel takes nothing more.
    let mut acknowledged = 0;
    wait_until("a kernel that is full", || {
        let before = std::mem::replace(&mut acknowledged, waiting(&first));
        acknowledged > 0 && acknowledged == before && {
            logboom_tests::pause(Duration::from_millis(300));
            waiting(&first) == acknowledged
        }
    });
    let delivered = wait_for("what was acknowledged is delivered", || {
        let delivered = gateway.ledger().destination("syslog+tcp", "delivered");
        (delivered > 0).then_some(delivered)
    });
    // Closed with unread bytes, the connection is reset.
    drop(first);
    let numbers = collect(&listener, count - usize::try_from(delivered).expect("a count"));
    let first_again = numbers[0];
    assert_eq!(first_again as u64, delivered, "the first that comes again");
    assert!(numbers.iter().copied().eq(first_again..count), "all from there on, once");
    let line =
        1 + format!("<14>1 2026-11-21T05:44:01Z host app0 - - - number {first_again} ").len() + 130;
    let edge = (0..first_again).map(|n| line - digits(first_again) + digits(n)).sum::<usize>();
    assert!(edge <= acknowledged && acknowledged < edge + line, "{edge} {acknowledged} {line}");
    gateway.settle("tcp", count as u64);
    gateway.shutdown().assert_balanced();
}

fn digits(number: usize) -> usize {
    number.to_string().len()
}

/// Bytes that wait to be read.
fn waiting(stream: &TcpStream) -> usize {
    usize::try_from(rustix::io::ioctl_fionread(stream).expect("FIONREAD")).expect("a size")
}

#[test]
fn a_guarded_gateway_sends_nothing_to_addresses_inside() {
    let scratch = Scratch::new("delivery-guard");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    listener.set_nonblocking(true).expect("set");
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0"] {
        let url = format!("syslog+tcp://{host}:{port}");
        let gateway = Gateway::start(&scratch, &config(&url, "[network]\nguard = \"all\""));
        send(&gateway, 0, 3, 1);
        wait_until("a refusal", || gateway.words().contains("may not be a destination"));
        assert!(listener.accept().is_err(), "{host} was connected to");
        let ledger = gateway.ledger();
        assert_eq!(ledger.destination("syslog+tcp", "in_flight"), 3, "{host}: {ledger:?}");
        gateway.shutdown().assert_balanced();
    }
    // The operator may allow it.
    let url = format!("syslog+tcp://127.0.0.1:{port}?framing=lf");
    let network = "[network]\nguard = \"all\"\nallow = [\"127.0.0.0/8\"]";
    let scratch = Scratch::new("delivery-allowed");
    let gateway = Gateway::start(&scratch, &config(&url, network));
    send(&gateway, 0, 3, 1);
    listener.set_nonblocking(false).expect("set");
    assert_eq!(collect(&listener, 3), [0, 1, 2]);
    gateway.shutdown().assert_balanced();
}

#[test]
fn a_breaker_opens_and_closes_again_by_itself() {
    let scratch = Scratch::new("delivery-breaker");
    let port = free_port();
    let url = format!("syslog+tcp://127.0.0.1:{port}?framing=lf");
    let gateway = Gateway::start(&scratch, &config(&url, ""));
    send(&gateway, 0, 10, 1);
    let breaker = |wanted: &str| {
        let (status, body) = gateway.get("/v1/destinations");
        assert_eq!(status, 200);
        let all: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        all[0]["breaker"] == wanted
    };
    wait_until("an open breaker", || !breaker("closed"));
    let opened = gateway.metrics().sum("logboom_outbound_breaker_open", &[]);
    assert!(opened > 0.5, "{opened}");
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port");
    let (mut stream, _) = listener.accept().expect("a connection");
    let mut some = [0; 10];
    stream.read_exact(&mut some).expect("records");
    // A connection that has lasted for a second and goes on delivering is a good one.
    let mut sent = 10;
    wait_until("a closed breaker", || {
        send(&gateway, sent, 1, 1);
        sent += 1;
        breaker("closed")
    });
    let attempts =
        gateway.metrics().sum("logboom_outbound_attempts_total", &[("outcome", "refused")]);
    assert!(attempts >= 3.0, "{attempts}");
    gateway.shutdown().assert_balanced();
}

#[test]
fn a_destination_that_only_waits_is_never_called_by_more_than_one_connection() {
    let scratch = Scratch::new("delivery-probe");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address: SocketAddr = listener.local_addr().expect("an address");
    let gateway = Gateway::start(&scratch, &config(&format!("syslog+tcp://{address}"), ""));
    // Closing at once is a failure each time; with many lanes waiting, still one call at a time.
    send(&gateway, 0, 5_000, 50);
    for _ in 0..5 {
        let (stream, _) = listener.accept().expect("a connection");
        listener.set_nonblocking(true).expect("set");
        assert!(listener.accept().is_err(), "a second connection beside the first");
        listener.set_nonblocking(false).expect("set");
        drop(stream);
    }
    gateway.shutdown().assert_balanced();
}
