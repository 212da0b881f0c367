//! Kills at random and at named points, under load: nothing that was acknowledged is lost.
//!
//! `LOGBOOM_KILLS` is the number of kills (20), `LOGBOOM_SEED` what chance follows from. Points in the
//! code exist in builds with debug assertions only; in others these lives end by a kill as well.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use logboom_tests::day::Random;
use logboom_tests::oracle::{
    Collector, Producer, ProducerOptions, configuration, judge, judge_at_rest,
};
use logboom_tests::{Gateway, Scratch, binary, free_port, pause, wait_until};

const SEED: u64 = 42;
const APPS: u64 = 8;
const WINDOW: usize = 128;
/// Records a second: what a build without optimisation bears, so that the spool does not overflow.
const RATE: u64 = 10_000;
/// Mean of a life that ends at random, and its longest.
const LIFE: Duration = Duration::from_millis(300);
const LIFE_MAX: Duration = Duration::from_secs(3);
/// Deliveries of so long before a kill may come again: cursors are written ten times a second.
const UNRECORDED: Duration = Duration::from_millis(500);

/// Kills with `durability = "memory"`.
const MEMORY_KILLS: u64 = 8;
/// How long a life stands still.
const STILL: Duration = Duration::from_secs(5);

/// Where the process can be made to end, and at which passing at the latest. Where damage is put away it
/// is tried on a spool with damage.
const POINTS: [(&str, u64); 10] = [
    ("group_written", 50),
    ("group_synced", 50),
    ("durable_called", 50),
    ("segment_created", 2),
    ("seal_written", 2),
    ("seal_synced", 2),
    ("cursors_written", 5),
    ("predelete", 2),
    ("segment_unlinked", 2),
    ("tail_cut", 1),
];
/// SIGABRT.
const ABORTED: i32 = 6;

fn number(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

/// A duration with this mean, as between chance occurrences.
fn chance(random: &mut Random, mean: Duration) -> Duration {
    let uniform = (random.below(1 << 20) + 1) as f64 / f64::from(1 << 20);
    mean.mul_f64(-uniform.ln()).min(LIFE_MAX)
}

/// How a life ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    /// Killed while it worked.
    Killed,
    /// Stopped for a while, as by a debugger or a host that moves it, and killed when it went on.
    KilledAfterStop,
    /// Killed while it started.
    KilledEarly,
    /// By itself, at a point.
    At(&'static str),
    /// Killed, since it had not come to its point.
    NotAt(&'static str),
}

/// Starts the gateway and sees it end, by a kill.
fn live_until_killed(scratch: &Scratch, config: &str, life: u64, random: &mut Random) -> End {
    match life % 8 {
        2 | 6 => {
            // As little after its start as chance has it: while it recovers.
            start_and_kill(scratch, chance(random, LIFE / 10));
            End::KilledEarly
        }
        4 => {
            let gateway = Gateway::start(scratch, config);
            pause(chance(random, LIFE));
            gateway.stand_still(STILL);
            pause(chance(random, LIFE));
            gateway.kill();
            End::KilledAfterStop
        }
        _ => {
            let gateway = Gateway::start(scratch, config);
            pause(chance(random, LIFE));
            gateway.kill();
            End::Killed
        }
    }
}

/// Starts the gateway and sees it end: each second time by a kill, else at a point.
fn live(scratch: &Scratch, config: &str, life: u64, random: &mut Random) -> End {
    if life.is_multiple_of(2) {
        return live_until_killed(scratch, config, life, random);
    }
    let (name, at_most) = POINTS[usize::try_from(life / 2).expect("an index") % POINTS.len()];
    let passing = 1 + random.below(at_most);
    let mut command = Command::new(binary());
    command.env("LOGBOOM_CRASH_AT", format!("{name}:{passing}"));
    let mut gateway = match Gateway::try_start_with(command, scratch, config) {
        Ok(gateway) => gateway,
        Err(ended) => {
            assert_eq!(ended.status.signal(), Some(ABORTED), "{}", ended.stderr);
            return End::At(name);
        }
    };
    let started = Instant::now();
    while started.elapsed() < LIFE_MAX {
        if let Some(status) = gateway.ended() {
            assert_eq!(status.signal(), Some(ABORTED), "{}", gateway.words());
            return End::At(name);
        }
        pause(Duration::from_millis(2));
    }
    gateway.kill();
    End::NotAt(name)
}

fn start_and_kill(scratch: &Scratch, after: Duration) {
    let mut command = Command::new(binary());
    command.args(["run", "-c"]).arg(scratch.join("logboom.toml")).current_dir(scratch.path());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().expect("the binary starts");
    pause(after);
    child.kill().expect("killed");
    child.wait().expect("its end");
}

#[test]
fn what_was_acknowledged_survives_kills_at_any_time() {
    let kills = number("LOGBOOM_KILLS", 20);
    let ends = survive(kills, "disk", live);
    // All come in time in a long run, some in any. Builds without debug assertions have none.
    let points = if kills < 100 { &POINTS[..3] } else { &POINTS[..] };
    for (name, _) in points.iter().filter(|_| cfg!(debug_assertions)) {
        assert!(ends.contains_key(&End::At(name)), "{name}: {ends:?}");
    }
}

#[test]
fn what_was_acknowledged_from_memory_survives_kills() {
    survive(MEMORY_KILLS, "memory", live_until_killed);
}

/// Lets a gateway end so many times under load, and judges what came; says how it ended.
fn survive(
    kills: u64,
    durability: &str,
    live: impl Fn(&Scratch, &str, u64, &mut Random) -> End,
) -> BTreeMap<End, u64> {
    let seed = number("LOGBOOM_SEED", SEED);
    let scratch = Scratch::new(&format!("crash-{durability}"));
    let collector = Collector::start(seed, APPS);
    let relp = free_port();
    let config = configuration(relp, &collector, durability);
    let address = SocketAddr::from(([127, 0, 0, 1], relp));
    let options = ProducerOptions { address, seed, apps: APPS, window: WINDOW, rate: RATE };
    let producer = Producer::start(options);

    let mut random = Random(seed);
    let mut ends: BTreeMap<End, u64> = BTreeMap::new();
    let mut bound = 0;
    for life in 0..kills {
        // Now and then nothing is delivered, so that what is acknowledged is in the spool alone.
        if life % 3 == 2 {
            collector.stall();
        }
        let end = live(&scratch, &config, life, &mut random);
        collector.resume();
        *ends.entry(end).or_default() += 1;
        bound += collector.received().within(UNRECORDED) + WINDOW as u64;
        // What this life has sent lies in the kernel; the next is not to overtake it.
        collector.wait_closed();
    }

    let last = Gateway::start(&scratch, &config);
    // Alive after all that: it takes more than was under way.
    let before = producer.acknowledged();
    wait_until("new acknowledgements", || producer.acknowledged() > before + 1_000);
    let sent = producer.finish();
    let verdict = judge_at_rest(&sent, &collector);
    assert!(verdict.is_kept(), "seed {seed}: {verdict}; ends: {ends:?}");
    let ledger = last.settle("relp", 1);
    assert_eq!(ledger.destination("syslog+tcp", "dropped"), 0, "{ledger:?}");
    last.shutdown().assert_balanced();
    collector.wait_closed();

    let verdict = judge(&sent, &collector.received());
    eprintln!("seed {seed}: {kills} kills: {verdict}, {bound} duplicates allowed; ends: {ends:?}");
    assert!(verdict.is_kept(), "seed {seed}: {verdict}; refused: {:?}", sent.refusals);
    assert!(verdict.duplicates <= bound, "seed {seed}: {verdict}, {bound} duplicates allowed");
    ends
}
