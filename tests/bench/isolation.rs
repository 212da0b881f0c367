//! What healthy destinations notice of sick ones.
//!
//! ```sh
//! cargo build --release -p logboom-gateway
//! cargo bench -p logboom-tests --bench isolation -- [--runs 3]
//! ```
//!
//! Fifty healthy destinations and some apps more, whose records go to healthy stand-ins first and to
//! one destination of each sick kind then, so that the load is the same: at a steady pace, of which
//! the latency from sender to destination is taken, and as fast as it goes. All of it runs in one
//! process beside the gateway, on the same cores.
//!
//! It exits with 1 where, by the medians of the runs at the steady pace, the healthy ones among the
//! sick keep less than 0.95 of their throughput, or their p99 is beyond 1.2 times what it was alone.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use logboom_tests::zoo::{self, Behaviour, Cage, Keeper, Pace};
use logboom_tests::{Arguments, Certificates, Gateway, Scratch, Spread, binary, pause, wait_until};

const HEALTHY: usize = 50;
/// Connections to a destination at most.
const CAP: usize = 4;
/// Of each app, at the steady pace, in records a second.
const RATE: u64 = 100;
/// How long the pace is kept.
const STEADY: Duration = Duration::from_secs(10);
/// Of each app, as fast as it goes.
const FAST: u64 = 20_000;

/// Least part of the throughput that is to be kept, at the steady pace.
const KEPT_MIN: f64 = 0.95;
/// Most that the p99 may be of what it was alone, at the steady pace.
const P99_MAX: f64 = 1.2;

/// What the healthy ones saw in one phase.
#[derive(Debug)]
struct Seen {
    per_second: f64,
    p50: u32,
    p99: u32,
    fast_per_second: f64,
}

fn main() -> ExitCode {
    let runs = Arguments::read(&["runs"]).get("runs", 3);
    println!("with {}; latencies in milliseconds", binary().display());
    println!(
        "| run | steady pace kept | p50 alone, among | p99 alone, among | p99 | fastest kept |"
    );
    println!("|---|---|---|---|---|---|");
    // Of each run, what was kept of the pace, and how the p99 grew.
    let mut all: Vec<(f64, f64)> = Vec::new();
    for number in 1..=runs {
        let (alone, among) = run();
        let kept = among.per_second / alone.per_second;
        let p99 = f64::from(among.p99) / f64::from(alone.p99);
        all.push((kept, p99));
        println!(
            "| {number} | {kept:.3} | {:.2}, {:.2} | {:.2}, {:.2} | {p99:.2} x | {:.2} |",
            f64::from(alone.p50) / 1e3,
            f64::from(among.p50) / 1e3,
            f64::from(alone.p99) / 1e3,
            f64::from(among.p99) / 1e3,
            among.fast_per_second / alone.fast_per_second,
        );
    }
    let median = |figure: fn(&(f64, f64)) -> f64| Spread::of(&all, figure).expect("a run").median;
    let (kept, p99) = (median(|it| it.0), median(|it| it.1));
    let is_isolated = kept >= KEPT_MIN && p99 <= P99_MAX;
    println!(
        "medians: {kept:.3} of the steady pace kept, {KEPT_MIN} demanded; p99 {p99:.2} x, {P99_MAX} \
         allowed: {}",
        if is_isolated { "held" } else { "NOT HELD" }
    );
    if is_isolated { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run() -> (Seen, Seen) {
    let scratch = Scratch::new("isolation");
    let certificates = Certificates::new(&scratch);
    let sick = zoo::sick(&certificates);
    let healthy: Vec<_> = (0..HEALTHY).map(|_| Cage::new(Behaviour::Healthy)).collect();
    let stand_ins: Vec<_> = sick.iter().map(|_| Cage::new(Behaviour::Healthy)).collect();

    let named = |prefix: &str, cages: &[Cage]| -> Vec<(String, String)> {
        let cages = cages.iter().enumerate();
        cages.map(|(index, cage)| (format!("{prefix}-{index}"), cage.url())).collect()
    };
    let own = named("healthy", &healthy);
    let others = named("stand-in", &stand_ins);
    let ill: Vec<_> = sick.iter().map(|(name, cage)| ((*name).to_owned(), cage.url())).collect();
    let drains = [&*own, &*others, &*ill].concat();
    let gateway =
        Gateway::start(&scratch, &zoo::configuration(&drains, &certificates.trusted(), CAP));

    let apps = |parts: [&[(String, String)]; 2]| -> Vec<String> {
        parts.concat().into_iter().map(|(app, _)| app).collect()
    };
    // The first one opens connections and warms caches.
    let _warm = phase(&gateway, &healthy, &apps([&own, &others]));
    let alone = phase(&gateway, &healthy, &apps([&own, &others]));
    let among = phase(&gateway, &healthy, &apps([&own, &ill]));
    for cage in healthy.iter().chain(sick.iter().map(|(_, cage)| cage)) {
        assert!(cage.most_open() <= CAP, "{} connections, {CAP} allowed", cage.most_open());
    }
    gateway.shutdown().assert_balanced();
    (alone, among)
}

/// Sends to the apps, first at a steady pace and then as fast as it goes, and looks at the healthy ones.
fn phase(gateway: &Gateway, healthy: &[Cage], apps: &[String]) -> Seen {
    let taken = || healthy.iter().map(Cage::records).sum::<u64>();
    let to = gateway.source("tcp");
    let before = taken();
    let started = Instant::now();
    let keeper = Keeper::start(to, apps.to_vec(), Pace::Steady(RATE));
    while started.elapsed() < STEADY {
        pause(Duration::from_millis(50));
    }
    let (sent, _) = keeper.finish();
    let share = sent / apps.len() as u64 * HEALTHY as u64;
    wait_until("the healthy ones to have theirs", || taken() - before >= share);
    let per_second = share as f64 / started.elapsed().as_secs_f64();
    let mut latencies: Vec<_> = healthy.iter().flat_map(Cage::take_latencies).collect();
    latencies.sort_unstable();
    let at = |part: f64| latencies[(latencies.len() as f64 * part) as usize];

    let before = taken();
    let started = Instant::now();
    let keeper = Keeper::start(to, apps.to_vec(), Pace::Fast(FAST));
    let share = FAST * HEALTHY as u64;
    wait_until("the healthy ones to have theirs", || taken() - before >= share);
    let fast_per_second = share as f64 / started.elapsed().as_secs_f64();
    wait_until("a sender that is done", || keeper.is_done());
    // Nobody wants the latencies of a queue that is full.
    healthy.iter().for_each(|cage| drop(cage.take_latencies()));
    Seen { per_second, p50: at(0.5), p99: at(0.99), fast_per_second }
}
