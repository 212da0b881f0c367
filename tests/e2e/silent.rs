//! Peers of syslog over TCP that say nothing more: those that are gone, and those that are slow.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;

use logboom_tests::{DEADLINE, Gateway, Scratch, wait_for, wait_until};
use socket2::{SockFilter, SockRef};

/// As many records of 200 bytes as no buffers between two programs hold.
const MANY: usize = 100_000;

const CONFIG: &str = r#"
[limits]
queue = "1MiB"
"#;

fn lane(name: &str, port: u16) -> String {
    format!(
        r#"
[[source]]
name = "{name}"
url = "syslog+tcp://127.0.0.1:0"

[[route]]
name = "{name}"
url = "syslog+tcp://127.0.0.1:{port}?framing=lf"

[[pipeline]]
sources = ["{name}"]
routes = ["{name}"]
"#
    )
}

/// A destination, as the test plays it.
struct Peer {
    name: &'static str,
    listener: TcpListener,
}

impl Peer {
    fn new(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("set");
        Self { name, listener }
    }

    fn port(&self) -> u16 {
        self.listener.local_addr().expect("an address").port()
    }

    fn url(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    fn send(&self, gateway: &Gateway, first: usize, count: usize) {
        let mut text = String::new();
        for number in first..first + count {
            let line = format!("<14>1 2026-11-21T05:44:01Z host app - - - number {number} ");
            writeln!(text, "{line}{}", "x".repeat(140)).expect("a string takes it");
        }
        let mut stream = TcpStream::connect(gateway.source(self.name)).expect("connected");
        stream.write_all(text.as_bytes()).expect("sent");
    }

    /// Accepts a connection; it is waited for no longer than anything else.
    fn accept(&self) -> Connection {
        let (stream, _) = wait_for("a connection", || self.listener.accept().ok());
        stream.set_nonblocking(false).expect("set");
        stream.set_read_timeout(Some(DEADLINE)).expect("set");
        Connection(BufReader::with_capacity(1 << 10, stream))
    }

    /// Attempts that failed, by the clock.
    fn timeouts(&self, gateway: &Gateway) -> f64 {
        let destination = format!("syslog+tcp://{}?framing=lf", self.url());
        let labels = [("destination", destination.as_str()), ("outcome", "timeout")];
        gateway.metrics().sum("logboom_outbound_attempts_total", &labels)
    }

    fn breaker(&self, gateway: &Gateway) -> String {
        let (status, body) = gateway.get("/v1/destinations");
        assert_eq!(status, 200, "{body}");
        let all: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        let is_own = |it: &&serde_json::Value| it.to_string().contains(&self.url());
        let own = all.as_array().and_then(|all| all.iter().find(is_own)).expect("the destination");
        own["breaker"].as_str().expect("a breaker").to_owned()
    }
}

struct Connection(BufReader<TcpStream>);

impl Connection {
    /// The numbers of the next records.
    fn read(&mut self, count: usize) -> Vec<usize> {
        let numbers = (0..count).map(|_| {
            let mut line = String::new();
            self.0.read_line(&mut line).expect("a record");
            let rest = line.split("number ").nth(1).expect("a number");
            rest.split(' ').next().and_then(|word| word.parse().ok()).expect("digits")
        });
        numbers.collect()
    }
}

/// From now on the kernel drops what comes to the socket, without a word: as if its cable were cut.
fn cut<'a>(socket: impl Into<SockRef<'a>>) {
    // BPF_RET | BPF_K: take 0 bytes of it.
    let filter = [SockFilter::new(0x06, 0, 0, 0)];
    socket.into().attach_filter(&filter).expect("a filter");
}

/// One is cut off while much is sent to it, one while hardly anything is, and one reads nothing all
/// that time.
#[test]
fn a_peer_that_is_gone_is_given_up_and_one_that_is_slow_is_not() {
    let scratch = Scratch::new("silent");
    let (busy, calm, slow) = (Peer::new("busy"), Peer::new("calm"), Peer::new("slow"));
    let all = [&busy, &calm, &slow];
    let lanes = all.map(|peer| lane(peer.name, peer.port())).concat();
    let gateway = Gateway::start(&scratch, &format!("{CONFIG}{lanes}"));
    let mut connections = all.map(|peer| {
        peer.send(&gateway, 0, 1);
        let mut connection = peer.accept();
        assert_eq!(connection.read(1), [0]);
        connection
    });
    for peer in all {
        gateway.settle(peer.name, 1);
    }
    for (peer, connection) in [&busy, &calm].into_iter().zip(&connections) {
        cut(connection.0.get_ref());
        cut(&peer.listener);
    }
    for (peer, count) in [(&busy, MANY), (&slow, MANY), (&calm, 1)] {
        peer.send(&gateway, 1, count);
    }
    for peer in [&busy, &calm] {
        wait_until("the silence counted", || peer.timeouts(&gateway) >= 1.0);
    }
    assert!(gateway.words().contains("no sign of life for 30s"), "what was found");
    for peer in [&busy, &calm] {
        wait_until("the breaker open", || peer.breaker(&gateway) != "closed");
        assert_eq!(gateway.ledger().destination(&peer.url(), "delivered"), 1, "{}", peer.name);
        SockRef::from(&peer.listener).detach_filter().expect("no filter");
    }
    // The old connections stay cut. What they had not brought comes over new ones, and nothing else.
    let reading = thread::spawn(move || {
        let numbers = [(&busy, MANY), (&calm, 1)].map(|(peer, count)| peer.accept().read(count));
        assert!(numbers[0].iter().copied().eq(1..=MANY), "{} of the busy one", numbers[0].len());
        assert_eq!(numbers[1], [1]);
    });
    // All that time the slow one was waited for, on the connection that it has.
    let taken = gateway.ledger().destination(&slow.url(), "delivered");
    assert!(taken < MANY as u64, "its window never closed");
    assert_eq!(gateway.ledger().failures(&slow.url()), 0);
    assert_eq!(slow.breaker(&gateway), "closed");
    assert!(connections[2].read(MANY).into_iter().eq(1..=MANY), "what the slow one got");
    reading.join().expect("all records");
    for (name, count) in [("busy", MANY + 1), ("calm", 2), ("slow", MANY + 1)] {
        gateway.settle(name, count as u64);
    }
    assert_eq!(gateway.ledger().failures(&slow.url()), 0);
    gateway.shutdown().assert_balanced();
}
