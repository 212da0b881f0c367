//! Delivery: what waits for a destination outlives the destination, the queue, and the process; what
//! metrics say of it.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

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

/// What a metric says of the destination whose name has this part.
fn of_destination(gateway: &Gateway, name: &str, part: &str) -> f64 {
    let all = gateway.metrics().by_label(&format!("logboom_outbound_{name}"), "destination");
    let found: Vec<_> = all.iter().filter(|(destination, _)| destination.contains(part)).collect();
    assert_eq!(found.len(), 1, "{name} of {part}: {all:?}");
    *found[0].1
}

#[test]
fn metrics_tell_what_waits_for_a_destination_that_is_down_and_that_nothing_does_after() {
    const BYTES: f64 = 180.0;
    let scratch = Scratch::new("delivery-metrics");
    let port = free_port();
    let url = format!("syslog+tcp://127.0.0.1:{port}?framing=lf");
    // One that is well, beside it.
    let more =
        format!("\n[[drain]]\napp = \"*\"\nurl = \"file://{}\"", scratch.join("well").display());
    let gateway = Gateway::start(&scratch, &config(&url, &more));
    let down = |name: &str| of_destination(&gateway, name, "syslog+tcp");
    let well = |name: &str| of_destination(&gateway, name, "file:");
    let began = Instant::now();
    send(&gateway, 0, 10, 1);
    gateway_has(&gateway, 10);
    wait_until("an open breaker", || down("breaker_open") > 0.5);
    let (first, age) = (down("queue_bytes"), down("oldest_seconds"));
    assert!(first >= 10.0 * BYTES, "{first} bytes of ten records");
    assert!(age > 0.0 && age <= began.elapsed().as_secs_f64(), "the oldest has waited {age} s");
    wait_until("its age to grow", || down("oldest_seconds") >= age + 0.1);
    send(&gateway, 10, 10, 1);
    gateway_has(&gateway, 20);
    let both = down("queue_bytes");
    assert!(both >= first + 10.0 * BYTES, "{first} bytes, then {both}");
    assert_eq!([down("connections"), down("connects_total")], [0.0, 0.0]);
    assert_eq!(down("records_in_flight"), 20.0);
    let ledger = gateway.ledger();
    let (breaker, oldest) = ledger.standing("syslog+tcp");
    assert!(["open", "half_open"].contains(&breaker) && oldest >= age, "{breaker} {oldest}");
    assert_eq!(ledger.standing("file:"), ("closed", 0.0));
    let failed = ledger.failures("syslog+tcp");
    assert!(failed >= 3 && down("attempts_total") >= failed as f64, "{failed} attempts");
    let wells = ["breaker_open", "oldest_seconds", "queue_bytes", "records_in_flight"];
    wait_until("the other one to have all", || well("records_delivered_total") == 20.0);
    assert_eq!(wells.map(well), [0.0; 4], "{wells:?}");

    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port");
    let (stream, _) = listener.accept().expect("a connection");
    let mut reader = stream.try_clone().expect("a handle");
    let read = thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
    // It closes when a connection has lasted for a second and goes on delivering.
    let mut sent = 20;
    wait_until("a closed breaker", || {
        send(&gateway, sent, 1, 1);
        sent += 1;
        down("breaker_open") < 0.5
    });
    let ledger = gateway.settle("tcp", sent as u64);
    assert_eq!(ledger.standing("syslog+tcp"), ("closed", 0.0));
    assert!(gateway.words().contains("back again"), "{}", gateway.words());
    assert_eq!(wells.map(down), [0.0; 4], "{wells:?}");
    assert_eq!([down("connections"), down("connects_total")], [1.0, 1.0]);
    stream.shutdown(Shutdown::Both).expect("shut down");
    read.join().expect("a reader").expect("read");
    wait_until("its end to be seen", || down("connections") == 0.0);
    gateway.shutdown().assert_balanced();
}

#[test]
fn metrics_tell_what_waits_in_the_spool_and_that_nothing_does_after() {
    const COUNT: usize = 20_000;
    const SEGMENT: f64 = (1 << 20) as f64;
    let scratch = Scratch::new("delivery-spool-metrics");
    let port = free_port();
    let url = format!("syslog+tcp://127.0.0.1:{port}?framing=lf");
    let more = "[spool]\nmax = \"64MiB\"\nsegment = \"1MiB\"";
    let gateway = Gateway::start(&scratch, &config(&url, more));
    let of = |name: &str| gateway.metrics().sum(&format!("logboom_{name}"), &[]);
    send(&gateway, 0, COUNT, 1);
    gateway_has(&gateway, COUNT);
    let spooled = wait_for("records that are on disk alone", || {
        let (spooled, bytes) = (of("outbound_records_spooled"), of("outbound_queue_bytes"));
        // What is read from the spool into the queue meanwhile is in both for a moment.
        let in_memory = (COUNT as f64 - spooled) * 180.0;
        (spooled > 5_000.0 && bytes >= in_memory).then_some(spooled)
    });
    let queued = of("outbound_queue_bytes");
    assert!(queued < 2.0 * SEGMENT, "{queued} bytes in a queue of 1 MiB");
    // What was handed to the spool counts as spooled before it is written.
    wait_until("all that is spooled to be written", || of("spool_bytes") >= spooled * 180.0);
    let (bytes, segments) = (of("spool_bytes"), of("spool_segments"));
    assert!(bytes <= segments * SEGMENT, "{bytes} of {segments}");
    assert!(segments >= 2.0 && bytes > SEGMENT, "{bytes} of {segments}");
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port");
    assert_eq!(collect(&listener, COUNT).len(), COUNT);
    gateway.settle("tcp", COUNT as u64);
    let names = ["outbound_records_spooled", "outbound_queue_bytes", "outbound_oldest_seconds"];
    assert_eq!(names.map(of), [0.0; 3], "{names:?}");
    wait_until("a spool of one segment", || {
        of("spool_segments") <= 1.0 && of("spool_bytes") <= SEGMENT
    });
    gateway.shutdown().assert_balanced();
}
