//! RELP: to rsyslog as a destination, plain and by TLS, and from rsyslog as a source.

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpStream};

use logboom_tests::oracle::{Producer, ProducerOptions, judge};
use logboom_tests::{
    Certificates, Gateway, Peer, PeerKind, Scratch, free_port, is_missing, peer_configuration,
    rsyslog, wait_until,
};

use crate::destinations::{MESSAGES, compare, messages, relay_with};
use crate::tls::keys;

/// rsyslog as a server of RELP, plain and by TLS, which writes `raw.log`.
fn server(scratch: &Scratch, ports: [u16; 2]) -> Peer {
    let values = [("@IN@", ports[0]), ("@TLS@", ports[1])];
    let config = peer_configuration("rsyslog-relp-in.conf", &values);
    rsyslog(scratch, &config).listening_on(&ports)
}

#[test]
fn rsyslog_gets_all_by_relp_plain_and_by_tls() {
    if is_missing(PeerKind::RsyslogRelp) {
        return;
    }
    for scheme in ["relp", "relps"] {
        let (scratch, ports) = (Scratch::new("to-rsyslog-relp"), [free_port(), free_port()]);
        let all = Certificates::new(&scratch);
        let peer = server(&scratch, ports);
        let is_tls = scheme == "relps";
        let keys = if is_tls { keys(&all.ca, Some(&all.client)) } else { String::new() };
        let url = format!("{scheme}://localhost:{}", ports[usize::from(is_tls)]);
        let messages = messages();
        relay_with(&Scratch::new("relp-gateway"), &url, &keys, &messages);
        wait_until(&format!("{MESSAGES} lines by {url}"), || {
            scratch.lines("raw.log").len() >= MESSAGES
        });
        peer.shutdown();
        compare(&scratch, "raw.log", &messages);
    }
}

/// A gateway from RELP to a file.
fn to_file(scratch: &Scratch, relp: u16) -> Gateway {
    let folder = scratch.path().display();
    Gateway::start(
        scratch,
        &format!(
            r#"
[[source]]
name = "relp"
url = "relp://127.0.0.1:{relp}"

[[route]]
name = "file"
url = "file://{folder}/wire.log?format=rfc5424"
when_full = "block"

[[pipeline]]
sources = ["relp"]
routes = ["file"]
"#
        ),
    )
}

#[test]
fn rsyslog_sends_by_relp_what_arrives_byte_for_byte() {
    if is_missing(PeerKind::RsyslogRelp) {
        return;
    }
    let (scratch, theirs) = (Scratch::new("from-rsyslog-relp"), Scratch::new("rsyslog-relp-out"));
    let (relp, input) = (free_port(), free_port());
    let gateway = to_file(&scratch, relp);
    let values = [("@IN@", input), ("@OUT@", relp)];
    let config = peer_configuration("rsyslog-relp-out.conf", &values);
    let _rsyslog = rsyslog(&theirs, &config).listening_on(&[input]);
    let messages = messages();
    let mut stream = TcpStream::connect(("127.0.0.1", input)).expect("connected");
    for message in &messages {
        write!(stream, "{} {message}", message.len()).expect("sent");
    }
    stream.shutdown(Shutdown::Write).expect("shut down");
    gateway.settle("relp", MESSAGES as u64);
    wait_until("all lines", || scratch.lines("wire.log").len() >= MESSAGES);
    compare(&scratch, "wire.log", &messages);
    gateway.shutdown();
}

#[test]
fn a_restart_of_the_gateway_loses_nothing_that_was_acknowledged() {
    const APPS: u64 = 4;
    let (scratch, relp) = (Scratch::new("relp-restart"), free_port());
    let collector = logboom_tests::oracle::Collector::start(1, APPS);
    let config = format!(
        "[[source]]\nname = \"relp\"\nurl = \"relp://127.0.0.1:{relp}\"\n\n\
         [[drain]]\napp = \"*\"\nurl = \"{}\"\nwhen_full = \"block\"\n",
        collector.url()
    );
    let address = SocketAddr::from(([127, 0, 0, 1], relp));
    let options = ProducerOptions { address, seed: 1, apps: APPS, window: 64, rate: 0 };
    let producer = Producer::start(options);
    for _ in 0..3 {
        let gateway = Gateway::start(&scratch, &config);
        let before = producer.acknowledged();
        wait_until("acknowledgements", || producer.acknowledged() > before + 2_000);
        // In good order: what it has acknowledged, it delivers before it ends.
        gateway.shutdown().assert_balanced();
        collector.wait_closed();
    }
    let gateway = Gateway::start(&scratch, &config);
    let sent = producer.finish();
    gateway.settle("relp", 1);
    gateway.shutdown().assert_balanced();
    collector.wait_closed();
    let verdict = judge(&sent, &collector.received());
    assert!(verdict.is_kept() && sent.refusals.is_empty(), "{verdict}; {:?}", sent.refusals);
}
