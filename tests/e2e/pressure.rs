//! Back-pressure: what a destination that does not read does to the rest, by its `when_full`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use logboom_gateway::load::{
    ReceiveOptions, ReceiveReport, Receiver, SendOptions, send, send_counted,
};
use logboom_tests::{Gateway, Scratch, memory_bytes, pause, wait_until};

/// Of 600 bytes each: more than ten times what queue, memory and the kernel's buffers can hold.
const RECORDS: u64 = 400_000;
const SIZE: usize = 600;
/// `limits.memory` in bytes.
const MEMORY: u64 = 32 << 20;
/// What the process may have beyond it and beyond what it had when idle: buffers of sessions, of the
/// allocator, and of the metrics.
const MEMORY_SLACK: u64 = 32 << 20;

/// A receiver that does not read until it is told to, or that reads at once.
fn receiver(stalled: bool) -> Receiver {
    let receiver = Receiver::start(&ReceiveOptions {
        timeout: 120.0,
        idle: 0.0,
        receive_buffer: Some(64 * 1024),
        ..ReceiveOptions::new(vec!["syslog+tcp://127.0.0.1:0".parse().expect("a URL")])
    });
    let receiver = receiver.expect("a receiver");
    if stalled {
        receiver.stall();
    }
    receiver
}

fn gateway(scratch: &Scratch, connections: u32, routes: &[(&str, &Receiver, &str)]) -> Gateway {
    let mut config = format!(
        r#"
[limits]
memory = "32MiB"
queue = "4MiB"
max_connections = {connections}

[[source]]
name = "tcp"
url = "syslog+tcp://127.0.0.1:0"
"#
    );
    for (name, receiver, when_full) in routes {
        let url = &receiver.urls()[0];
        config.push_str(&format!(
            "\n[[route]]\nname = \"{name}\"\nurl = \"{url}\"\nwhen_full = \"{when_full}\"\n"
        ));
    }
    let names: Vec<_> = routes.iter().map(|(name, ..)| format!("\"{name}\"")).collect();
    config.push_str(&format!(
        "\n[[pipeline]]\nsources = [\"tcp\"]\nroutes = [{}]\n",
        names.join(", ")
    ));
    Gateway::start(scratch, &config)
}

/// Watches the resident memory of a process until told to stop; returns the most it saw.
struct Watch {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<u64>,
}

impl Watch {
    fn start(pid: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                let mut most = 0;
                while !stop.load(Ordering::Relaxed) {
                    most = most.max(memory_bytes(pid).now);
                    pause(Duration::from_millis(10));
                }
                most
            }
        });
        Self { stop, thread }
    }

    fn most(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the watch")
    }
}

/// Waits until a counter has stood still for a while, above 0.
fn wait_standstill(what: &str, progress: impl Fn() -> u64) -> u64 {
    let mut seen = (0, Instant::now());
    wait_until(what, || {
        let now = progress();
        if now != seen.0 {
            seen = (now, Instant::now());
        }
        seen.0 > 0 && seen.1.elapsed() > Duration::from_secs(1)
    });
    seen.0
}

#[test]
fn block_stops_the_sender_keeps_memory_and_loses_nothing() {
    let report = block(40);
    assert_eq!((report.lost, report.duplicated), (0, 0), "{report}");
}

#[test]
fn block_keeps_the_order_of_each_app() {
    let report = block(1);
    assert!(report.is_clean(), "{report}");
}

/// Stalls the only destination, sees the sender stand still, lets it go on, and returns what came.
fn block(connections: u32) -> ReceiveReport {
    let scratch = Scratch::new("block");
    let slow = receiver(true);
    let gateway = gateway(&scratch, connections, &[("slow", &slow, "block")]);
    let idle = memory_bytes(gateway.pid()).now;
    let watch = Watch::start(gateway.pid());
    let progress = Arc::new(AtomicU64::new(0));
    let options = SendOptions { size: SIZE, ..SendOptions::new(gateway.tcp("tcp"), RECORDS) };
    let sender = thread::spawn({
        let progress = Arc::clone(&progress);
        move || send_counted(&options, &progress).expect("sent")
    });

    let sent = wait_standstill("a sender that stands still", || progress.load(Ordering::Relaxed));
    assert!(sent < RECORDS / 2, "{sent} of {RECORDS} were taken although nobody read them");
    assert_eq!(slow.received(), 0);
    let ledger = gateway.ledger();
    assert_eq!(ledger.source("tcp", "dropped"), 0, "{ledger:?}");
    assert_eq!(ledger.destination("syslog+tcp", "dropped"), 0, "{ledger:?}");
    // The rest of the gateway lives meanwhile.
    assert_eq!(gateway.get("/healthz").0, 200);

    slow.resume();
    assert_eq!(sender.join().expect("the sender").sent, RECORDS);
    wait_until("all records", || slow.received() >= RECORDS);
    let ledger = gateway.settle("tcp", RECORDS);
    assert_eq!(ledger.destination("syslog+tcp", "delivered"), RECORDS);
    let most = watch.most();
    assert!(
        most < idle + MEMORY + MEMORY_SLACK,
        "resident memory went from {idle} to {most} bytes with a limit of {MEMORY}"
    );
    gateway.shutdown();
    let report = slow.finish().expect("a report");
    assert_eq!(report.received, RECORDS, "{report}");
    report
}

#[test]
fn shed_loses_the_oldest_counts_each_and_slows_nobody() {
    let scratch = Scratch::new("shed");
    let (stuck, quick) = (receiver(true), receiver(false));
    let gateway = gateway(&scratch, 40, &[("stuck", &stuck, "shed"), ("quick", &quick, "block")]);
    let stuck_url = stuck.urls()[0].authority.clone();
    let idle = memory_bytes(gateway.pid()).now;
    let watch = Watch::start(gateway.pid());
    let options = SendOptions { size: SIZE, ..SendOptions::new(gateway.tcp("tcp"), RECORDS) };
    send(&options).expect("sent");
    // The other destination has everything while this one still does not read.
    wait_until("all records at the quick one", || quick.received() >= RECORDS);
    assert_eq!(stuck.received(), 0);
    let shed = gateway.ledger().destination(&stuck_url, "dropped");
    assert!(shed > RECORDS / 2, "only {shed} of {RECORDS} were shed");

    stuck.resume();
    let ledger = gateway.settle("tcp", RECORDS);
    let most = watch.most();
    assert!(
        most < idle + MEMORY + MEMORY_SLACK,
        "resident memory went from {idle} to {most} bytes with a limit of {MEMORY}"
    );
    let delivered = ledger.destination(&stuck_url, "delivered");
    let dropped = ledger.destination(&stuck_url, "dropped");
    assert_eq!(ledger.destination(&stuck_url, "accepted"), RECORDS);
    assert_eq!(delivered + dropped, RECORDS, "{ledger:?}");
    let reasons = ledger.destination_drops(&stuck_url);
    let shed: u64 = reasons.iter().filter(|(reason, _)| reason == "shed").map(|it| it.1).sum();
    assert_eq!(shed, dropped, "dropped for another reason: {reasons:?}");
    wait_until("what was not shed", || stuck.received() >= delivered);
    gateway.shutdown();

    let report = quick.finish().expect("a report");
    assert!(report.is_clean() && report.received == RECORDS, "{report}");
    let report = stuck.finish().expect("a report");
    // Without a number to expect, lost are the holes below the newest record of each app: that they
    // are all that was shed says that the newest came through, and so that the oldest went.
    assert_eq!((report.received, report.lost), (delivered, dropped), "{report}");
    assert_eq!(report.duplicated, 0, "{report}");
}

#[test]
fn a_destination_that_is_not_there_costs_only_itself() {
    let scratch = Scratch::new("absent");
    let (absent, quick) = (receiver(false), receiver(false));
    // Its port is free again, and nobody listens there.
    let gateway = {
        let config_of = [("absent", &absent, "shed"), ("quick", &quick, "block")];
        let gateway = gateway(&scratch, 40, &config_of);
        drop(absent);
        gateway
    };
    let records = 100_000;
    send(&SendOptions::new(gateway.tcp("tcp"), records)).expect("sent");
    wait_until("all records at the quick one", || quick.received() >= records);
    let report = quick.finish().expect("a report");
    assert!(report.is_clean(), "{report}");
    assert_eq!(gateway.get("/healthz").0, 200);
    // Records for the absent one wait or were shed; asked to, the gateway ends all the same.
    gateway.shutdown();
}
