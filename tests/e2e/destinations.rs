//! rsyslog and syslog-ng as destinations that write files, compared byte by byte with what was sent;
//! records that are too large for a datagram.

use std::io::{ErrorKind, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};

use logboom_tests::day::Random;
use logboom_tests::{
    DEADLINE, Gateway, Peer, PeerKind, Scratch, free_port, is_missing, rsyslog, syslog_ng,
    wait_until,
};

pub(crate) const MESSAGES: usize = 2_000;

/// RFC 5424 messages of many shapes, as rsyslog itself would write them: times with an offset, so
/// that a peer which prints what it has parsed prints the same.
pub(crate) fn messages() -> Vec<String> {
    let mut random = Random(5424);
    let texts = [
        "plain words",
        "UTF-8: Grüße, 日本語, 🙂",
        "quotes \" and \\ and ] in the text",
        "GET /a?x=1&y=%C3%A9 HTTP/1.1\" 200 3 \"-\" \"curl/7.88.1\"",
        "{\"level\":\"error\",\"msg\":\"no\"}",
        "  two spaces before, one behind ",
        "<34>1 looks like a header",
        "x",
    ];
    let structured = [
        "-",
        "[ex@32473 iut=\"3\" src=\"10.1.2.3\"]",
        "[ex@32473 a=\"q\\\"\\]\\\\\"][other@32473 b=\"é\"]",
        "[empty@32473]",
    ];
    let message = |index: usize| {
        let priority = random.below(192);
        let text = random.pick(&texts);
        let data = random.pick(&structured);
        let (host, app) = (
            random.pick(&["web-1", "db.example.com", "10.0.0.7"]),
            random.pick(&["shop", "cron", "a/b"]),
        );
        let (process, id) = (random.pick(&["-", "77", "worker-3"]), random.pick(&["-", "ID47"]));
        let long = "long ".repeat(if index % 100 == 7 { 1_500 } else { 0 });
        format!(
            "<{priority}>1 2026-11-21T05:{:02}:{:02}.{:06}+00:00 {host} {app} {process} {id} {data} {index} {long}{text}",
            index / 60 % 60,
            index % 60,
            index % 1_000_000,
        )
    };
    (0..MESSAGES).map(message).collect()
}

/// Sends the messages octet counted to a gateway that relays them to `url`, and waits until they are
/// all delivered as far as the gateway is concerned.
fn relay(scratch: &Scratch, url: &str, messages: &[String]) {
    relay_with(scratch, url, "", messages);
}

/// As [`relay`], with further keys of the route.
pub(crate) fn relay_with(scratch: &Scratch, url: &str, keys: &str, messages: &[String]) {
    let gateway = Gateway::start(
        scratch,
        &format!(
            r#"
[[source]]
name = "tcp"
url = "syslog+tcp://127.0.0.1:0"

[[route]]
name = "peer"
url = "{url}"
when_full = "block"
{keys}

[[pipeline]]
sources = ["tcp"]
routes = ["peer"]
"#
        ),
    );
    let mut stream = TcpStream::connect(gateway.source("tcp")).expect("connected");
    for (index, message) in messages.iter().enumerate() {
        write!(stream, "{} {message}", message.len()).expect("sent");
        // Datagrams have no back-pressure: let the peer empty its buffer now and then.
        if url.contains("udp") && index % 50 == 49 {
            gateway.settle("tcp", index as u64 + 1);
        }
    }
    stream.shutdown(Shutdown::Write).expect("shut down");
    let ledger = gateway.settle("tcp", messages.len() as u64);
    assert_eq!(ledger.source("tcp", "received"), messages.len() as u64);
    assert_eq!(ledger.destination("://", "delivered"), messages.len() as u64);
    gateway.shutdown();
}

/// Compares a file line by line with the messages, in order of app for streams with several lanes.
pub(crate) fn compare(scratch: &Scratch, name: &str, messages: &[String]) {
    let mut lines = scratch.wait_lines(name, messages.len());
    let mut expected: Vec<_> =
        messages.iter().map(|message| message.clone().into_bytes()).collect();
    // Order is promised within an app only; that it is kept there is checked before sorting.
    for app in ["shop", "cron", "a/b"] {
        let needle = format!(" {app} ");
        let of_app = |all: &[Vec<u8>]| -> Vec<Vec<u8>> {
            let has =
                |line: &&Vec<u8>| String::from_utf8_lossy(line).split(' ').nth(3) == Some(app);
            all.iter().filter(has).cloned().collect()
        };
        assert!(of_app(&lines) == of_app(&expected), "{name}: order of{needle}is not kept");
    }
    lines.sort();
    expected.sort();
    assert_eq!(lines.len(), expected.len(), "{name}");
    for (line, expected) in lines.iter().zip(&expected) {
        let text = String::from_utf8_lossy(line);
        assert_eq!(text, String::from_utf8_lossy(expected), "{name}");
        assert_eq!(line, expected, "{name}");
    }
}

/// Runs the test with a peer that writes files and listens on two ports: one for octet counted
/// streams and for datagrams, one for lines.
fn check(name: &str, files: &[&str], start: impl Fn(&Scratch, [u16; 2]) -> Peer) {
    let messages = messages();
    for (transport, options) in [("tcp", "?framing=octet"), ("tcp", "?framing=lf"), ("udp", "")] {
        let scratch = Scratch::new(name);
        let ports = [free_port(), free_port()];
        let peer = start(&scratch, ports).listening_on(&ports);
        let port = ports[usize::from(options.ends_with("lf"))];
        relay(&scratch, &format!("syslog+{transport}://127.0.0.1:{port}{options}"), &messages);
        for file in files {
            wait_until(&format!("{MESSAGES} lines in {file} by {transport}{options}"), || {
                scratch.lines(file).len() >= MESSAGES
            });
        }
        peer.shutdown();
        for file in files {
            compare(&scratch, file, &messages);
        }
    }
}

#[test]
fn rsyslog_writes_exactly_what_was_sent() {
    if is_missing(PeerKind::Rsyslog) {
        return;
    }
    check("to-rsyslog", &["raw.log", "parsed.log"], |scratch, [octet, lines]| {
        rsyslog(
            scratch,
            &format!(
                r#"global(workDirectory="@DIR@" maxMessageSize="64k" parser.escapeControlCharactersOnReceive="off")
module(load="imtcp") module(load="imudp")
template(name="raw" type="string" string="%rawmsg%\n")
input(type="imtcp" address="127.0.0.1" port="{octet}" ruleset="files")
input(type="imtcp" address="127.0.0.1" port="{lines}" ruleset="files")
input(type="imudp" address="127.0.0.1" port="{octet}" ruleset="files" rcvbufSize="8m")
ruleset(name="files") {{
  action(type="omfile" file="@DIR@/raw.log" template="raw")
  action(type="omfile" file="@DIR@/parsed.log" template="RSYSLOG_SyslogProtocol23Format")
}}
"#
            ),
        )
    });
}

#[test]
fn syslog_ng_writes_exactly_what_was_sent() {
    if is_missing(PeerKind::SyslogNg) {
        return;
    }
    check("to-syslog-ng", &["raw.log"], |scratch, [octet, lines]| {
        // syslog() takes octet counted streams only, network() lines.
        syslog_ng(
            scratch,
            &format!(
                r#"@version: 3.38
options {{ stats-freq(0); keep-hostname(yes); use-dns(no); log-msg-size(65536); }};
source in {{
  syslog(ip("127.0.0.1") port({octet}) transport("tcp") flags(store-raw-message));
  network(ip("127.0.0.1") port({lines}) transport("tcp") flags(syslog-protocol, store-raw-message));
  network(ip("127.0.0.1") port({octet}) transport("udp") flags(syslog-protocol, store-raw-message) so-rcvbuf(8388608));
}};
destination raw {{ file("@DIR@/raw.log" template("${{RAWMSG}}\n")); }};
log {{ source(in); destination(raw); }};
"#
            ),
        )
    });
}

#[test]
fn a_record_too_large_for_a_datagram_is_dropped_by_its_reason_and_never_cut() {
    const BYTES_MAX: usize = 480;
    let scratch = Scratch::new("udp-too-large");
    let receiver = UdpSocket::bind("127.0.0.1:0").expect("a port");
    receiver.set_read_timeout(Some(DEADLINE)).expect("set");
    let address = receiver.local_addr().expect("an address");
    let gateway = Gateway::start(
        &scratch,
        &format!(
            r#"
[[source]]
name = "tcp"
url = "syslog+tcp://127.0.0.1:0"

[[drain]]
app = "*"
url = "syslog+udp://{address}?max_bytes={BYTES_MAX}"
"#
        ),
    );
    let head = "<14>1 2026-11-21T05:44:01Z host app - - - ";
    let sizes = [100, BYTES_MAX, BYTES_MAX + 1, 1_000, 101];
    let records = sizes.map(|size| format!("{head}{}", "x".repeat(size - head.len())));
    let mut stream = TcpStream::connect(gateway.source("tcp")).expect("connected");
    for record in &records {
        write!(stream, "{} {record}", record.len()).expect("sent");
    }
    let ledger = gateway.settle("tcp", records.len() as u64);
    assert_eq!(ledger.destination("syslog+udp", "delivered"), 3);
    assert_eq!(ledger.destination_drops("syslog+udp"), [("too_large".to_owned(), 2)]);
    let mut buffer = vec![0; 65_536];
    for record in records.iter().filter(|record| record.len() <= BYTES_MAX) {
        let read = receiver.recv(&mut buffer).expect("a datagram");
        assert_eq!(String::from_utf8_lossy(&buffer[..read]), *record);
    }
    gateway.shutdown().assert_balanced();
    receiver.set_nonblocking(true).expect("set");
    let end = receiver.recv(&mut buffer).map_err(|error| error.kind());
    assert_eq!(end, Err(ErrorKind::WouldBlock), "a datagram too many");
}
