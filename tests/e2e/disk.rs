//! Disks that are full, that fail, that forget: acknowledged is only what is durable.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use logboom_tests::faults::{FaultFs, small_disk};
use logboom_tests::oracle::{
    Collector, Producer, ProducerOptions, Verdict, configuration, judge, judge_at_rest,
};
use logboom_tests::{Gateway, Scratch, binary, free_port, wait_until};

const SEED: u64 = 6;
const APPS: u64 = 4;

/// A gateway from RELP to a collector, durable, and who sends to it.
struct Stage {
    scratch: Scratch,
    collector: Collector,
    address: SocketAddr,
    config: String,
}

impl Stage {
    fn new(name: &str) -> Self {
        let (scratch, collector, relp) =
            (Scratch::new(name), Collector::start(SEED, APPS), free_port());
        let config = configuration(relp, &collector, "disk");
        let config = format!("[limits]\nqueue = \"1MiB\"\n{config}");
        let address = SocketAddr::from(([127, 0, 0, 1], relp));
        Self { scratch, collector, address, config }
    }

    fn start(&self, command: Command) -> Gateway {
        Gateway::start_with(command, &self.scratch, &self.config)
    }

    fn producer(&self, rate: u64) -> Producer {
        let address = self.address;
        Producer::start(ProducerOptions { address, seed: SEED, apps: APPS, window: 256, rate })
    }

    /// Finishes, waits until all that is acknowledged has come and nothing is under way, and judges.
    fn finish(&self, producer: Producer, gateway: Gateway) -> Verdict {
        let sent = producer.finish();
        let verdict = judge_at_rest(&sent, &self.collector);
        assert!(verdict.is_kept(), "{verdict}");
        gateway.settle("relp", 1);
        gateway.shutdown().assert_balanced();
        self.collector.wait_closed();
        judge(&sent, &self.collector.received())
    }
}

/// Waits until no more records are acknowledged although more are sent, and returns how many are.
fn wait_standstill(producer: &Producer) -> u64 {
    let mut seen = (0, Instant::now());
    wait_until("acknowledgements that stop", || {
        let now = producer.acknowledged();
        if now != seen.0 {
            seen = (now, Instant::now());
        }
        seen.0 > 0 && seen.1.elapsed() > Duration::from_secs(2)
    });
    seen.0
}

#[test]
fn a_full_disk_stops_acknowledgements_and_nothing_else() {
    let stage = Stage::new("disk-full");
    let Some(command) = small_disk(&stage.scratch.join("data"), 16) else { return };
    stage.collector.stall();
    let gateway = stage.start(command);
    let producer = stage.producer(0);
    let stopped_at = wait_standstill(&producer);
    let ledger = gateway.ledger();
    assert_eq!(ledger.destination("syslog+tcp", "dropped"), 0, "{ledger:?}");
    let health = || ["/readyz", "/healthz"].map(|path| gateway.get(path).0);
    assert_eq!(health(), [503; 2]);
    // Draining goes on, which makes room, and it goes on by itself.
    stage.collector.resume();
    wait_until("acknowledgements again", || producer.acknowledged() > stopped_at + 10_000);
    wait_until("good health", || health() == [200; 2]);
    let verdict = stage.finish(producer, gateway);
    assert!(verdict.is_kept(), "{verdict}");
    eprintln!("full after {stopped_at} records; {verdict}");
}

/// Runs with these faults, sends on behind them, kills, takes from the disk what was not made durable,
/// and starts again without faults.
fn survives(name: &str, rules: &str) {
    let stage = Stage::new(name);
    let Some(faults) = FaultFs::new(&stage.scratch) else { return };
    // What is acknowledged is nowhere else than on the disk.
    stage.collector.stall();
    let gateway = stage.start(faults.command(&binary(), rules));
    let producer = stage.producer(5_000);
    wait_until("a first sync", || faults.syncs("/spool/") > 0 && producer.acknowledged() > 500);
    faults.arm();
    wait_until("a fault", || !faults.failed().is_empty());
    let at_fault = producer.acknowledged();
    wait_until("acknowledgements behind the fault", || producer.acknowledged() > at_fault + 2_000);
    gateway.kill();
    let (bytes, files) = faults.lose_power(&stage.scratch.join("data/spool"));
    let failed = faults.failed().len();
    eprintln!("{name}: {failed} calls failed; power took {bytes} bytes of {files} files");
    stage.collector.resume();
    stage.collector.wait_closed();
    let second = stage.start(Command::new(binary()));
    let verdict = stage.finish(producer, second);
    assert!(verdict.is_kept(), "{name}: {verdict}");
}

#[test]
fn what_a_failed_sync_did_not_keep_is_not_acknowledged_or_kept_elsewhere() {
    survives("disk-sync-fails", "fdatasync /spool/ 3 1 EIO");
}

#[test]
fn what_a_failed_write_did_not_keep_is_not_acknowledged_or_kept_elsewhere() {
    survives("disk-write-fails", "pwrite /spool/ 3 1 EIO");
}

#[test]
fn half_a_write_is_finished() {
    survives("disk-short-write", "pwrite /spool/ 3 5 SHORT;pwrite /spool/ 12 1 EINTR");
}

#[test]
fn what_is_acknowledged_survives_a_loss_of_power() {
    // No fault, but much time between what is written and its sync, in which to lose power.
    survives("disk-power", "fdatasync /spool/ 1 0 DELAY");
}

#[test]
fn a_disk_that_fails_for_good_stops_acknowledgements_and_delivery_goes_on() {
    let stage = Stage::new("disk-fails-for-good");
    let Some(faults) = FaultFs::new(&stage.scratch) else { return };
    let gateway = stage.start(faults.command(&binary(), "fdatasync /spool/ 1 0 EIO"));
    let producer = stage.producer(5_000);
    wait_until("a first sync", || faults.syncs("/spool/") > 0 && producer.acknowledged() > 500);
    faults.arm();
    wait_until("a second fault", || faults.failed().len() > 1);
    let stopped_at = wait_standstill(&producer);
    wait_until("a health check that fails", || gateway.get("/readyz").0 != 200);
    gateway.kill();
    faults.lose_power(&stage.scratch.join("data/spool"));
    stage.collector.wait_closed();
    let second = stage.start(Command::new(binary()));
    wait_until("acknowledgements again", || producer.acknowledged() > stopped_at + 500);
    let verdict = stage.finish(producer, second);
    assert!(verdict.is_kept(), "{verdict}");
}

/// A spool whose disk fails as of a shutdown keeps what it had synced, and the books say what it lost.
#[test]
fn what_a_failing_disk_does_not_take_at_a_shutdown_is_in_the_books() {
    const KEPT: u64 = 100;
    const LATER: u64 = 50;
    let scratch = Scratch::new("disk-fails-at-shutdown");
    let Some(faults) = FaultFs::new(&scratch) else { return };
    let config = format!(
        "[limits]\nshutdown = \"1s\"\n\n[[source]]\nname = \"tcp\"\nurl = \"syslog+tcp://127.0.0.1:0\"\n\n\
         [[drain]]\napp = \"*\"\nurl = \"syslog+tcp://127.0.0.1:{}\"\n\n\
         [[pipeline]]\nsources = [\"tcp\"]\ndurability = \"disk\"\n",
        free_port()
    );
    let command = faults.command(&binary(), "pwrite /spool/ 1 0 EIO");
    let first = Gateway::start_with(command, &scratch, &config);
    let mut stream = TcpStream::connect(first.source("tcp")).expect("connected");
    let mut send = |count: u64| {
        let lines: String = (0..count).map(|n| format!("<14>1 - h app - - - {n}\n")).collect();
        stream.write_all(lines.as_bytes()).expect("sent");
    };
    let of_destination =
        |gateway: &Gateway, what: &str| gateway.ledger().destination("syslog+tcp", what);
    send(KEPT);
    let syncs = || first.metrics().sum("logboom_spool_syncs_total", &[]);
    wait_until("records on disk", || of_destination(&first, "accepted") == KEPT && syncs() > 0.0);
    faults.arm();
    send(LATER);
    wait_until("all of it", || of_destination(&first, "accepted") == KEPT + LATER);
    let ledger = first.shutdown();
    ledger.assert_balanced();
    let spooled = ledger.destination("syslog+tcp", "spooled");
    let dropped = ledger.destination("syslog+tcp", "dropped");
    assert_eq!((spooled, dropped), (KEPT, LATER), "{ledger:?}");
    let second = Gateway::start(&scratch, &config);
    assert_eq!(of_destination(&second, "recovered"), spooled);
    second.shutdown().assert_balanced();
}
