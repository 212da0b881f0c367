//! Programs not written here as senders. What is delivered is compared with what a tap saw on the
//! wire.

use std::net::SocketAddr;
use std::process::Command;

use logboom_gateway::load::{LoadUrl, ReceiveOptions, Receiver, SendOptions, send};
use logboom_tests::{
    Gateway, Peer, PeerKind, Scratch, TcpTap, UdpTap, free_port, is_missing, rsyslog, syslog_ng,
    wait_until,
};
use serde_json::Value;

/// A gateway that writes all it gets to two files: as RFC 5424 and as JSON.
fn to_files(scratch: &Scratch) -> Gateway {
    let folder = scratch.path().display();
    Gateway::start(
        scratch,
        &format!(
            r#"
[[source]]
name = "udp"
url = "syslog+udp://127.0.0.1:0"

[[source]]
name = "tcp"
url = "syslog+tcp://127.0.0.1:0"

[[route]]
name = "wire"
url = "file://{folder}/wire.log?format=rfc5424"

[[route]]
name = "json"
url = "file://{folder}/json.log?format=json"

[[pipeline]]
sources = ["udp", "tcp"]
routes = ["wire", "json"]
"#
        ),
    )
}

fn json_lines(scratch: &Scratch, count: usize) -> Vec<Value> {
    let lines = scratch.wait_lines("json.log", count);
    lines.iter().map(|line| serde_json::from_slice(line).expect("a line of JSON")).collect()
}

/// Runs `logger` to an address with further arguments.
fn logger(address: SocketAddr, arguments: &[&str], message: &str) {
    let mut command = Command::new(PeerKind::Logger.program().expect("logger"));
    let port = address.port().to_string();
    command.args(["-n", "127.0.0.1", "-P", &port]).args(arguments).args(["--", message]);
    let status = command.status().expect("logger starts");
    assert!(status.success(), "{command:?}: {status}");
}

/// What a tap saw of sessions that each carried one message, octet counted or ended by LF.
fn messages(tap: &TcpTap, octet: bool) -> Vec<Vec<u8>> {
    let sessions = tap.sessions().into_iter().map(|bytes| {
        if octet {
            let space = bytes.iter().position(|&byte| byte == b' ').expect("a count");
            bytes[space + 1..].to_vec()
        } else {
            bytes.strip_suffix(b"\n").expect("an LF").to_vec()
        }
    });
    sessions.collect()
}

#[test]
fn logger_in_rfc_5424_is_delivered_byte_for_byte() {
    if is_missing(PeerKind::Logger) {
        return;
    }
    let scratch = Scratch::new("logger-5424");
    let gateway = to_files(&scratch);
    let udp = UdpTap::start(gateway.source("udp"));
    let lf = TcpTap::start(gateway.source("tcp"));
    let octet = TcpTap::start(gateway.source("tcp"));
    let new = ["--rfc5424", "-t", "tag-1", "-p", "local3.warning"];
    for (index, text) in ["plain", "with \"quotes\" é", "[not] structured", "x"].iter().enumerate()
    {
        // One after the other, so that the order is known.
        let arguments = |more: &[&'static str]| [more, &new[..]].concat();
        logger(udp.address(), &arguments(&["--udp"]), text);
        wait_until("by UDP", || scratch.lines("wire.log").len() > index * 4);
        logger(lf.address(), &arguments(&["--tcp"]), text);
        wait_until("by TCP", || scratch.lines("wire.log").len() > index * 4 + 1);
        logger(octet.address(), &arguments(&["--tcp", "--octet-count"]), text);
        wait_until("octet counted", || scratch.lines("wire.log").len() > index * 4 + 2);
        let structured = ["--sd-id", "zoo@32473", "--sd-param", "tiger=\"hungry\""];
        logger(udp.address(), &[&["--udp"], &new[..], &structured].concat(), text);
        wait_until("with data", || scratch.lines("wire.log").len() > index * 4 + 3);
    }
    let lines = scratch.wait_lines("wire.log", 16);
    let (udp, lf, octet) = (udp.datagrams(), messages(&lf, false), messages(&octet, true));
    for index in 0..4 {
        assert_eq!(lines[index * 4], udp[index * 2], "UDP");
        assert_eq!(lines[index * 4 + 1], lf[index], "TCP");
        assert_eq!(lines[index * 4 + 2], octet[index], "octet counted");
        assert_eq!(lines[index * 4 + 3], udp[index * 2 + 1], "with structured data");
    }
    let json = json_lines(&scratch, 16);
    let first = &json[0];
    assert_eq!(
        [&first["severity"], &first["facility"], &first["app_name"], &first["body"]],
        ["warning", "local3", "tag-1", "plain"],
        "{first}"
    );
    assert_eq!(json[3]["structured_data"]["zoo@32473"]["tiger"], "hungry", "{}", json[3]);
    gateway.settle("udp", 8);
    gateway.settle("tcp", 8);
    gateway.shutdown();
}

#[test]
fn logger_in_rfc_3164_is_understood() {
    if is_missing(PeerKind::Logger) {
        return;
    }
    let scratch = Scratch::new("logger-3164");
    let gateway = to_files(&scratch);
    let old = ["--rfc3164", "-t", "cron", "-i", "-p", "daemon.err"];
    let ways: [&[&str]; 3] = [&["--udp"], &["--tcp"], &["--tcp", "--octet-count"]];
    for (index, way) in ways.iter().enumerate() {
        let source = if way[0] == "--udp" { "udp" } else { "tcp" };
        logger(gateway.source(source), &[way, &old[..]].concat(), &format!("run {index}: done"));
        wait_until("a record", || scratch.lines("json.log").len() > index);
    }
    for (index, record) in json_lines(&scratch, 3).iter().enumerate() {
        assert_eq!(
            [&record["severity"], &record["facility"], &record["app_name"]],
            ["err", "daemon", "cron"],
            "{record}"
        );
        assert_eq!(record["body"], format!("run {index}: done"), "{record}");
        let pid = record["proc_id"].as_str().expect("a pid");
        assert!(pid.parse::<u32>().is_ok(), "{record}");
        assert!(record["host"].as_str().is_some_and(|host| !host.is_empty()), "{record}");
    }
    gateway.shutdown();
}

#[test]
fn python_syslog_handler_is_understood_by_udp_and_tcp() {
    if is_missing(PeerKind::Python) {
        return;
    }
    let scratch = Scratch::new("python");
    let gateway = to_files(&scratch);
    let script = scratch.write(
        "send.py",
        r#"
import logging, logging.handlers, socket, sys
kind = socket.SOCK_DGRAM if sys.argv[1] == "udp" else socket.SOCK_STREAM
handler = logging.handlers.SysLogHandler(("127.0.0.1", int(sys.argv[2])),
    facility=logging.handlers.SysLogHandler.LOG_LOCAL5, socktype=kind)
log = logging.getLogger("x")
log.addHandler(handler)
log.error("first line\nsecond line \u00e9")
for n in range(1, 20):
    log.warning("message %d", n)
handler.close()
"#,
    );
    for (index, way) in ["udp", "tcp"].into_iter().enumerate() {
        let port = gateway.source(way).port().to_string();
        let mut command = Command::new(PeerKind::Python.program().expect("python3"));
        command.arg(&script).args([way, port.as_str()]);
        assert!(command.status().expect("python starts").success());
        let records = json_lines(&scratch, (index + 1) * 20).split_off(index * 20);
        assert_eq!(records.len(), 20, "{way}");
        // No time, no host, an LF inside, a NUL at the end: all of the text is still there.
        assert_eq!(records[0]["facility"], "local5", "{}", records[0]);
        assert_eq!(records[0]["severity"], "err", "{}", records[0]);
        let whole = records[0].to_string();
        assert!(whole.contains("second line é") && !whole.contains("\\u0000"), "{whole}");
        for (number, record) in records.iter().enumerate().skip(1) {
            let text = record.to_string();
            assert_eq!(record["severity"], "warning", "{way} {text}");
            assert!(
                record["body"].as_str().is_some_and(|body| body.ends_with(&number.to_string())),
                "{way} {text}"
            );
        }
    }
    gateway.settle("udp", 20);
    gateway.settle("tcp", 20);
    gateway.shutdown();
}

/// A gateway that relays all it gets to a receiver which verifies numbers.
fn relay(scratch: &Scratch, expect: u64) -> (Gateway, Receiver) {
    let urls = vec!["syslog+tcp://127.0.0.1:0".parse().expect("a URL")];
    let receiver = Receiver::start(&ReceiveOptions {
        expect: Some(expect),
        timeout: 60.0,
        idle: 20.0,
        ..ReceiveOptions::new(urls)
    });
    let receiver = receiver.expect("a receiver");
    let gateway = Gateway::start(
        scratch,
        &format!(
            r#"
[[source]]
name = "udp"
url = "syslog+udp://127.0.0.1:0"

[[source]]
name = "tcp"
url = "syslog+tcp://127.0.0.1:0"

[[route]]
name = "out"
url = "{}"
when_full = "block"

[[pipeline]]
sources = ["udp", "tcp"]
routes = ["out"]
"#,
            receiver.urls()[0]
        ),
    );
    (gateway, receiver)
}

/// Sends numbered records through a peer to the gateway and on to a receiver: none may be missing,
/// doubled or out of order.
fn through(
    scratch: &Scratch,
    peer: impl FnOnce(&Gateway, u16) -> Peer,
    source: &str,
    records: u64,
) {
    let (gateway, receiver) = relay(scratch, records);
    let port = free_port();
    let peer = peer(&gateway, port).listening_on(&[port]);
    let url = LoadUrl::tcp(([127, 0, 0, 1], port).into());
    // A pace that a datagram socket's buffer bears.
    let rate = if source == "udp" { 5_000 } else { 0 };
    send(&SendOptions { rate, ..SendOptions::new(url, records) }).expect("sent to the peer");
    receiver.wait();
    let report = receiver.finish().expect("a report");
    assert!(report.is_clean() && report.unnumbered == 0, "{report}");
    assert_eq!(report.received, records, "{report}");
    let ledger = gateway.settle(source, records);
    assert_eq!(ledger.source(source, "received"), records);
    assert_eq!(ledger.destination("syslog+tcp", "delivered"), records);
    drop(peer);
    gateway.shutdown();
}

#[test]
fn rsyslog_forwards_by_udp_and_by_tcp_in_both_framings() {
    if is_missing(PeerKind::Rsyslog) {
        return;
    }
    for (source, options) in [
        ("tcp", r#"protocol="tcp" TCP_Framing="octet-counted""#),
        ("tcp", r#"protocol="tcp" TCP_Framing="traditional""#),
        ("udp", r#"protocol="udp""#),
    ] {
        let scratch = Scratch::new("rsyslog-sends");
        let peer = |gateway: &Gateway, port: u16| {
            let to = gateway.source(source).port();
            rsyslog(
                &scratch,
                &format!(
                    r#"global(workDirectory="@DIR@" maxMessageSize="64k")
module(load="imtcp")
input(type="imtcp" address="127.0.0.1" port="{port}" ruleset="out")
ruleset(name="out") {{
  action(type="omfwd" target="127.0.0.1" port="{to}" {options} template="RSYSLOG_SyslogProtocol23Format")
}}
"#
                ),
            )
        };
        through(&scratch, peer, source, if source == "udp" { 2_000 } else { 20_000 });
    }
}

#[test]
fn rsyslog_in_its_traditional_format_is_understood() {
    if is_missing(PeerKind::Rsyslog) {
        return;
    }
    let scratch = Scratch::new("rsyslog-traditional");
    let gateway = to_files(&scratch);
    let port = free_port();
    let peer = rsyslog(
        &scratch,
        &format!(
            r#"global(workDirectory="@DIR@")
module(load="imtcp")
input(type="imtcp" address="127.0.0.1" port="{port}" ruleset="out")
ruleset(name="out") {{
  action(type="omfwd" target="127.0.0.1" port="{}" protocol="tcp" template="RSYSLOG_TraditionalForwardFormat")
}}
"#,
            gateway.source("tcp").port()
        ),
    );
    let _peer = peer.listening_on(&[port]);
    let url = LoadUrl::tcp(([127, 0, 0, 1], port).into());
    send(&SendOptions::new(url, 700)).expect("sent to the peer");
    let records = json_lines(&scratch, 700);
    assert_eq!(records.len(), 700);
    for (index, record) in records.iter().enumerate() {
        assert_eq!(record["app_name"], format!("app-{:02}", index % 7), "{record}");
        assert_eq!(record["host"], format!("host-{:02}", index % 20), "{record}");
        assert_eq!(record["proc_id"], (4000 + index % 100).to_string(), "{record}");
        let body = record["body"].as_str().expect("a body");
        assert!(body.starts_with(&format!("GET /api/v1/items/{index:06} ")), "{record}");
    }
    gateway.shutdown();
}

#[test]
fn syslog_ng_forwards_by_udp_and_by_tcp_in_both_framings() {
    if is_missing(PeerKind::SyslogNg) {
        return;
    }
    for (source, driver) in [
        ("tcp", r#"syslog("127.0.0.1" port(@TO@) transport("tcp"))"#),
        ("tcp", r#"network("127.0.0.1" port(@TO@) transport("tcp") flags(syslog-protocol))"#),
        ("udp", r#"syslog("127.0.0.1" port(@TO@) transport("udp"))"#),
    ] {
        let scratch = Scratch::new("syslog-ng-sends");
        let peer = |gateway: &Gateway, port: u16| {
            let driver = driver.replace("@TO@", &gateway.source(source).port().to_string());
            syslog_ng(
                &scratch,
                &format!(
                    r#"@version: 3.38
options {{ stats-freq(0); keep-hostname(yes); use-dns(no); time-reopen(1); frac-digits(6); log-fifo-size(100000); }};
source in {{ syslog(ip("127.0.0.1") port({port}) transport("tcp")); }};
destination out {{ {driver}; }};
log {{ source(in); destination(out); flags(flow-control); }};
"#
                ),
            )
        };
        through(&scratch, peer, source, if source == "udp" { 2_000 } else { 20_000 });
    }
}
