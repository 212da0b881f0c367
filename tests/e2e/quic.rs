//! The relay: an edge and a hub, each killed in turn, over a network that is cut and that changes the
//! edge's address. Every record that the edge acknowledged is at the hub, and none is there twice.
//!
//! The sender does not send again what was not answered when the edge was killed, so nothing but the
//! relay could double a record. The hub's own destination is down until all is over, since a kill may
//! double what is delivered by TCP.
//!
//! `LOGBOOM_ROUNDS` is the number of rounds (1), each of which does everything once.

use std::net::SocketAddr;
use std::time::Duration;

use logboom_gateway::load::{LoadUrl, ReceiveOptions, Receiver, SendOptions, TlsOptions, send};
use logboom_tests::oracle::{Collector, Producer, ProducerOptions, judge_at_rest};
use logboom_tests::{Certificates, Gateway, Pair, Scratch, UdpRelay, free_port, pause, wait_until};

const SEED: u64 = 7;
const APPS: u64 = 4;
const WINDOW: usize = 128;
/// Records a second.
const RATE: u64 = 2_000;
/// Shorter than the time after which a peer is missed.
const SHORT_CUT: Duration = Duration::from_secs(2);
/// Longer than that.
const LONG_CUT: Duration = Duration::from_secs(12);

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// A hub that passes everything on to a destination.
pub(crate) fn hub(port: u16, certificates: &Certificates, out: &str) -> String {
    let (cert, key) = (&certificates.server.certificate, &certificates.server.key);
    let ca = &certificates.ca;
    format!(
        r#"
[spool]
segment = "1MiB"
max = "1GiB"

[[source]]
name = "relay"
url = "quic://127.0.0.1:{port}"
cert = "{}"
key = "{}"
client_ca = "{}"

[[route]]
name = "out"
url = "{out}"

[[pipeline]]
sources = ["relay"]
routes = ["out"]
durability = "disk"
"#,
        cert.display(),
        key.display(),
        ca.display()
    )
}

/// An edge that takes records by RELP and relays them.
fn edge(relp: u16, to: SocketAddr, certificates: &Certificates, durability: &str) -> String {
    let (cert, key) = (&certificates.client.certificate, &certificates.client.key);
    format!(
        r#"
[spool]
segment = "1MiB"
max = "1GiB"

[[source]]
name = "relp"
url = "relp://127.0.0.1:{relp}"

[[route]]
name = "hub"
url = "quic://{to}"
cert = "{}"
key = "{}"
{}
[[pipeline]]
sources = ["relp"]
routes = ["hub"]
durability = "{durability}"
"#,
        cert.display(),
        key.display(),
        certificates.trusted()
    )
}

fn rounds() -> u64 {
    std::env::var("LOGBOOM_ROUNDS").ok().map_or(1, |rounds| rounds.parse().expect("a number"))
}

#[test]
fn every_acknowledged_record_is_at_the_hub_once_through_kills_cuts_and_new_addresses() {
    let (edge_files, hub_files) = (Scratch::new("quic-edge"), Scratch::new("quic-hub"));
    let certificates = Certificates::new(&hub_files);
    let (hub_port, relp, out) = (free_port(), free_port(), free_port());
    let network = UdpRelay::start(local(hub_port));
    let hub_config = hub(hub_port, &certificates, &format!("syslog+tcp://{}", local(out)));
    let edge_config = edge(relp, network.address(), &certificates, "disk");
    let mut hub = Gateway::start(&hub_files, &hub_config);
    let mut edge = Gateway::start(&edge_files, &edge_config);
    let address = local(relp);
    let options = ProducerOptions { address, seed: SEED, apps: APPS, window: WINDOW, rate: RATE };
    let producer = Producer::start_forgetful(options);
    let arrive = |hub: &Gateway, what: &str| {
        let before = hub.ledger().source("relay", "received");
        wait_until(what, || hub.ledger().source("relay", "received") > before + RATE / 4);
    };

    for _ in 0..rounds() {
        arrive(&hub, "records before the hub is killed");
        hub.kill();
        pause(Duration::from_millis(200));
        hub = Gateway::start(&hub_files, &hub_config);
        arrive(&hub, "records behind the kill of the hub");

        edge.kill();
        edge = Gateway::start(&edge_files, &edge_config);
        arrive(&hub, "records behind the kill of the edge");

        let connects = edge.ledger().destination("quic", "connects");
        network.rebind();
        arrive(&hub, "records from another address");
        let after = edge.ledger().destination("quic", "connects");
        assert_eq!(after, connects, "the connection has migrated");
        network.cut();
        pause(SHORT_CUT);
        network.mend();
        arrive(&hub, "records behind a short cut");
        network.cut();
        pause(LONG_CUT);
        network.mend();
        arrive(&hub, "records behind a long cut");

        hub.kill();
        edge.kill();
        hub = Gateway::start(&hub_files, &hub_config);
        edge = Gateway::start(&edge_files, &edge_config);
        arrive(&hub, "records behind the kill of both");
    }

    let sent = producer.finish();
    let collector = Collector::start_at(local(out), SEED, APPS);
    edge.settle("relp", 0);
    let verdict = judge_at_rest(&sent, &collector);
    eprintln!("{} rounds: {verdict}", rounds());
    assert!(verdict.is_kept(), "{verdict}");
    assert_eq!(verdict.duplicates, 0, "{verdict}");
    edge.shutdown().assert_balanced();
    let ledger = hub.settle("relay", 0);
    assert_eq!(ledger.destination("syslog+tcp", "dropped"), 0, "{ledger:?}");
    hub.shutdown().assert_balanced();
}

#[test]
fn an_edge_without_a_certificate_is_kept_out_until_it_has_one() {
    let (edge_files, hub_files) = (Scratch::new("quic-mtls-edge"), Scratch::new("quic-mtls-hub"));
    let certificates = Certificates::new(&hub_files);
    let out = hub_files.join("out.log");
    let hub = hub(0, &certificates, &format!("file:{}?format=raw", out.display()));
    let hub = Gateway::start(&hub_files, &hub);
    let relp = free_port();
    let good = edge(relp, hub.source("relay"), &certificates, "disk");
    let is_own = |line: &&str| line.starts_with("cert = ") || line.starts_with("key = ");
    let bad: Vec<&str> = good.lines().filter(|line| !is_own(line)).collect();
    let edge = Gateway::start(&edge_files, &bad.join("\n"));
    let address = local(relp);
    let options = ProducerOptions { address, seed: SEED, apps: APPS, window: WINDOW, rate: 100 };
    let producer = Producer::start(options);
    wait_until("refusals", || {
        edge.metrics().sum("logboom_outbound_attempts_total", &[("outcome", "tls")]) >= 2.0
    });
    let refused = || hub.metrics().sum("logboom_ingest_rejected_total", &[("reason", "handshake")]);
    wait_until("the hub's word", || refused() >= 2.0);
    assert_eq!(hub.ledger().source("relay", "received"), 0);
    edge.reload(&edge_files, &good);
    wait_until("records", || hub.ledger().source("relay", "received") > 0);
    let sent = producer.finish();
    let ledger = hub.settle("relay", sent.issued());
    assert_eq!(ledger.source("relay", "received"), sent.issued(), "{ledger:?}");
    edge.shutdown().assert_balanced();
    hub.shutdown().assert_balanced();
}

#[test]
fn send_and_receive_speak_the_relay_and_see_every_record_once() {
    const COUNT: u64 = 30_000;
    for durability in ["memory", "disk"] {
        let scratch = Scratch::new("quic-load");
        let certificates = Certificates::new(&scratch);
        let (server, client) = (&certificates.server, &certificates.client);
        let url =
            |address: &str| -> LoadUrl { format!("quic://{address}").parse().expect("a URL") };
        let tls = |pair: &Pair| TlsOptions {
            ca: Some(certificates.ca.clone()),
            cert: Some(pair.certificate.clone()),
            key: Some(pair.key.clone()),
        };
        let options = ReceiveOptions {
            expect: Some(COUNT),
            idle: 30.0,
            tls: tls(server),
            ..ReceiveOptions::new(vec![url("127.0.0.1:0")])
        };
        let receiver = Receiver::start(&options).expect("a receiver");
        let out = receiver.urls()[0].authority.clone();
        let config = hub(0, &certificates, &format!("quic://{out}"))
            .replace("name = \"out\"", &format!("name = \"out\"\n{}", certificates.trusted()))
            .replace("\"disk\"", &format!("\"{durability}\""));
        let gateway = Gateway::start(&scratch, &config);
        let address = gateway.source("relay").to_string();
        let load = SendOptions { tls: tls(client), ..SendOptions::new(url(&address), COUNT) };
        let sent = send(&load).expect("sent");
        assert_eq!(sent.sent, COUNT);
        receiver.wait();
        let report = receiver.finish().expect("a report");
        assert!(report.is_clean(), "{report:?}");
        let ledger = gateway.settle("relay", COUNT);
        assert_eq!(ledger.destination("quic", "delivered"), COUNT, "{ledger:?}");
        gateway.shutdown().assert_balanced();
    }
}
