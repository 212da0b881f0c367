//! HTTP destinations: behind nginx with TLS, and receivers that answer in odd ways.

use std::io::Write;
use std::net::{Shutdown, TcpStream};

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
