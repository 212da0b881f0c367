//! Guests that fail while records flow: the policy applies to the guilty record, the others go on,
//! and the ledger has each of them.

use std::io::Write;
use std::net::TcpStream;

use logboom_guest_artifacts as artifacts;
use logboom_tests::{Gateway, Scratch};

/// Records sent; every hundredth makes the hostile guest panic.
const COUNT: usize = 1000;
const GUILTY: usize = COUNT / 100;

/// A gateway whose pipeline is `before`, a hostile guest that panics at `POISON`, and a counter.
fn gateway(scratch: &Scratch, on_fault: &str, behaviour: &str) -> Gateway {
    let component = scratch.write("hostile.wasm", artifacts::HOSTILE);
    Gateway::start(
        scratch,
        &format!(
            r#"
[[source]]
name = "tcp"
url = "syslog+tcp://127.0.0.1:0"

[[guest]]
name = "hostile"
path = "{}"
config = {{ behaviour = "{behaviour}" }}
on_fault = "{on_fault}"

[[guest]]
name = "seen"
use = "std:count"
config = {{ metrics = [{{ name = "seen_total", help = "Records.", kind = "counter", match = {{ all = true }} }}] }}

[[pipeline]]
sources = ["tcp"]
guests = ["hostile", "seen"]
routes = ["all"]

[[route]]
name = "all"
url = "file://{folder}/all.log?format=raw"

# The hostile guest's manifest names it.
[[route]]
name = "somewhere"
url = "file://{folder}/somewhere.log"
"#,
            component.display(),
            folder = scratch.path().display()
        ),
    )
}

fn body(number: usize) -> String {
    let word = if number % 100 == 50 { "POISON" } else { "fine" };
    format!("{word} {number}")
}

fn send(gateway: &Gateway) {
    let mut stream = TcpStream::connect(gateway.source("tcp")).expect("connected");
    let mut frames = Vec::new();
    for number in 0..COUNT {
        writeln!(frames, "<14>1 2026-11-21T05:44:01Z host app - - - {}", body(number))
            .expect("a vector takes it");
    }
    stream.write_all(&frames).expect("sent");
}

#[test]
fn guilty_records_are_parked_with_their_reason_and_the_others_delivered() {
    let scratch = Scratch::new("guest-park");
    let gateway = gateway(&scratch, "park", "trap-on-marker");
    send(&gateway);
    let ledger = gateway.settle("tcp", COUNT as u64);
    assert_eq!(ledger.source("tcp", "parked"), GUILTY as u64);
    assert_eq!(ledger.destination("all.log", "delivered"), (COUNT - GUILTY) as u64);
    let expected: Vec<Vec<u8>> = (0..COUNT)
        .map(|number| body(number).into_bytes())
        .filter(|body| !body.starts_with(b"POISON"))
        .collect();
    assert_eq!(scratch.wait_lines("all.log", COUNT - GUILTY), expected);
    let metrics = gateway.metrics();
    let counted = metrics.sum("seen_total", &[("guest", "seen")]);
    assert!((counted - (COUNT - GUILTY) as f64).abs() < 0.5, "{counted} counted");
    assert!(metrics.sum("logboom_guest_faults_total", &[("guest", "hostile")]) > 0.0);
    let parked = scratch.lines("data/parked/00000000000000000001.ndjson");
    assert_eq!(parked.len(), GUILTY);
    for (line, number) in parked.iter().zip((50..COUNT).step_by(100)) {
        let line: serde_json::Value = serde_json::from_slice(line).expect("a JSON line");
        assert_eq!(line["guest"], "hostile");
        assert_eq!(line["kind"], "trap");
        assert_eq!(line["record"]["body"], body(number));
        assert_eq!(line["record"]["source"], "tcp");
        assert!(line["raw"].as_str().is_some_and(|raw| raw.len() > 40));
    }
    gateway.shutdown();
}

#[test]
fn guilty_records_pass_or_are_dropped_where_the_policy_says_so() {
    for (policy, delivered, dropped) in [("pass", COUNT, 0), ("drop", COUNT - GUILTY, GUILTY)] {
        let scratch = Scratch::new(&format!("guest-{policy}"));
        let gateway = gateway(&scratch, policy, "trap-on-marker");
        send(&gateway);
        let ledger = gateway.settle("tcp", COUNT as u64);
        assert_eq!(ledger.destination("all.log", "delivered"), delivered as u64, "{policy}");
        let drops: u64 = ledger
            .source_drops("tcp")
            .iter()
            .filter(|(reason, _)| reason == "guest_fault")
            .map(|(_, count)| count)
            .sum();
        assert_eq!(drops, dropped as u64, "{policy}");
        gateway.shutdown();
    }
}

#[test]
fn a_guest_that_spins_for_ever_is_suspended_and_records_flow_on() {
    let scratch = Scratch::new("guest-spin");
    let gateway = gateway(&scratch, "pass", "spin");
    send(&gateway);
    let ledger = gateway.settle("tcp", COUNT as u64);
    assert_eq!(ledger.destination("all.log", "delivered"), COUNT as u64);
    let metrics = gateway.metrics();
    assert!(metrics.sum("logboom_guest_faults_total", &[("kind", "deadline")]) > 0.0);
    let (status, _) = gateway.get("/readyz");
    assert_eq!(status, 200);
    gateway.shutdown();
}
