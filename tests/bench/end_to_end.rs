//! End to end beside real peers: the same load, the same sinks, the same machine, the same run.
//!
//! ```sh
//! cargo build --release -p logboom-gateway
//! cargo bench -p logboom-tests --bench end_to_end -- [--runs 3] [--count 1000000] \
//!     [--connections 1] [--peers logboom,rsyslog,syslog-ng] [--modes relay,route,rules10,udp,curve]
//! ```
//!
//! The path is: sender, TCP on loopback (octet counted; `udp`: datagrams at 250,000 a second), the
//! peer, which parses RFC 5424 of 200 bytes and writes RFC 5424 octet counted over TCP, a sink that
//! counts. What is measured of a peer is the user and system CPU time of its process, all threads,
//! from before the first record is sent until the last one has arrived, by `/proc`. Configurations
//! stand in `tests/peers`. `contains` has no counterpart: it is `route` with a literal.
//!
//! `curve` is `udp` at rising paces: what of the datagrams is lost.
//!
//! Prints a table of medians in Markdown on stdout, and each run on stderr.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use logboom_gateway::load::{
    LoadUrl, ReceiveOptions, Receiver, SendOptions, SendReport, Transport, send,
};
use logboom_tests::{
    Arguments, DEADLINE, Peer, PeerKind, Scratch, Spread, binary, cpu_seconds, free_port,
    memory_bytes, pause, repository, rsyslog, syslog_ng,
};

/// Pace of the datagrams, in records a second: what a datagram socket on one core bears.
const UDP_RATE: u64 = 250_000;
/// Paces of the curve of losses.
const CURVE: [u64; 6] = [50_000, 100_000, 200_000, 300_000, 400_000, 600_000];
/// A run has ended, with losses, when nothing has arrived for so long.
const QUIET: Duration = Duration::from_secs(3);
/// For counters of a peer's CPU time to include its last work. Source: `/proc` ticks, 10 ms.
const TICKS: Duration = Duration::from_millis(100);

struct Options {
    runs: usize,
    count: u64,
    connections: u32,
    peers: Vec<String>,
    modes: Vec<String>,
}

impl Options {
    fn from_arguments() -> Self {
        let arguments = Arguments::read(&["runs", "count", "connections", "peers", "modes"]);
        Self {
            runs: arguments.get("runs", 3),
            count: arguments.get("count", 1_000_000),
            connections: arguments.get("connections", 1),
            peers: arguments.list("peers", "logboom,rsyslog,syslog-ng"),
            modes: arguments.list("modes", "relay,route,contains,rules10,udp,curve"),
        }
    }
}

/// What one run of one peer came to.
#[derive(Clone, Debug)]
struct Figures {
    per_second: f64,
    /// CPU seconds per million records that arrived.
    user: f64,
    system: f64,
    memory_now: u64,
    memory_peak: u64,
    lost: u64,
}

fn main() {
    let options = Options::from_arguments();
    let mut table = String::from(
        "| peer | mode | records/s | CPU s per M records (min..max) | user / sys | RSS after / peak MiB | lost |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for mode in options.modes.iter().filter(|mode| *mode != "curve") {
        let peers: Vec<_> = options.peers.iter().filter(|peer| is_available(peer, mode)).collect();
        let mut all: Vec<Vec<Figures>> = vec![Vec::new(); peers.len()];
        // Peers take turns, so that a change of the machine's mood meets all of them.
        for run in 0..options.runs {
            for (peer, figures) in peers.iter().zip(&mut all) {
                let measured = measure(peer, mode, UDP_RATE, &options);
                eprintln!("{peer} {mode} run {}: {measured:?}", run + 1);
                figures.push(measured);
            }
        }
        for (peer, figures) in peers.iter().zip(&all) {
            row(&mut table, peer, mode, figures);
        }
    }
    println!(
        "{} records of 200 bytes, {} connection(s), {} run(s), medians\n\n{table}",
        options.count, options.connections, options.runs
    );
    if options.modes.iter().any(|mode| mode == "curve") {
        curve(&options);
    }
}

/// What of the datagrams is lost at rising paces, once each.
fn curve(options: &Options) {
    let peers: Vec<_> = options.peers.iter().filter(|peer| is_available(peer, "udp")).collect();
    println!("lost datagrams of {} at a pace in records a second\n", options.count);
    println!("| pace | {} |", peers.iter().map(|it| it.as_str()).collect::<Vec<_>>().join(" | "));
    println!("|---|{}", "---|".repeat(peers.len()));
    for pace in CURVE {
        let lost = peers.iter().map(|peer| {
            let figures = measure(peer, "udp", pace, options);
            eprintln!("{peer} at {pace}: {figures:?}");
            format!("{:.2} %", figures.lost as f64 / options.count as f64 * 100.0)
        });
        println!("| {pace} | {} |", lost.collect::<Vec<_>>().join(" | "));
    }
}

fn configuration(peer: &str, mode: &str) -> PathBuf {
    let kind = if peer == "logboom" { "toml" } else { "conf" };
    repository().join(format!("tests/peers/{peer}-{mode}.{kind}"))
}

fn is_available(peer: &str, mode: &str) -> bool {
    let installed = match peer {
        "logboom" => true,
        "rsyslog" => PeerKind::Rsyslog.program().is_some(),
        "syslog-ng" => PeerKind::SyslogNg.program().is_some(),
        other => panic!("unknown peer {other:?}; allowed: logboom, rsyslog, syslog-ng"),
    };
    if !installed {
        eprintln!("SKIPPED: {peer} is not installed; run tests/setup");
    }
    installed && configuration(peer, mode).is_file()
}

fn start(peer: &str, mode: &str, folder: &Scratch, ports: &[(&str, u16)]) -> Peer {
    let file = configuration(peer, mode);
    let mut config = std::fs::read_to_string(&file).expect("a configuration");
    for (name, port) in ports {
        config = config.replace(name, &port.to_string());
    }
    match peer {
        "rsyslog" => rsyslog(folder, &config),
        "syslog-ng" => syslog_ng(folder, &config),
        _ => {
            let config = config.replace("@DIR@", &folder.path().display().to_string());
            let file = folder.write("logboom.toml", config);
            let mut command = Command::new(binary());
            command.args(["run", "-c"]).arg(file);
            Peer::start(command, "logboom", folder)
        }
    }
}

fn measure(peer: &str, mode: &str, pace: u64, options: &Options) -> Figures {
    let folder = Scratch::new(&format!("bench-{peer}-{mode}"));
    let any: LoadUrl = "syslog+tcp://127.0.0.1:0".parse().expect("a URL");
    let sinks = Receiver::start(&ReceiveOptions {
        count_only: true,
        ..ReceiveOptions::new(vec![any.clone(), any])
    });
    let sinks = sinks.expect("sinks");
    let port_of = |index: usize| sinks.urls()[index].resolve().expect("an address").port();
    let input = free_port();
    let ports = [
        ("@IN@", input),
        ("@OUT@", port_of(0)),
        ("@OUT2@", port_of(1)),
        ("@CONTROL@", free_port()),
    ];
    let process = start(peer, mode, &folder, &ports);
    let is_udp = mode == "udp";
    let url = LoadUrl {
        transport: if is_udp { Transport::Udp } else { Transport::Tcp },
        ..LoadUrl::tcp(([127, 0, 0, 1], input).into())
    };
    warm_up(&url, &sinks);

    let (before, second_before) = (sinks.received(), sinks.received_at(1));
    let (user, system) = cpu_seconds(process.pid());
    let started = Instant::now();
    let load = SendOptions {
        connections: options.connections,
        rate: if is_udp { pace } else { 0 },
        ..SendOptions::new(url, options.count)
    };
    let sender = std::thread::spawn(move || send(&load));
    let (arrived, seconds) = wait_arrived(&sinks, before, options.count, started, &sender);
    let sent = sender.join().expect("the sender").expect("sent");
    pause(TICKS);
    let (user_after, system_after) = cpu_seconds(process.pid());
    let memory = memory_bytes(process.pid());
    if arrived == options.count && mode != "relay" && !is_udp {
        // A peer that does not route has nothing to be compared with.
        let second = sinks.received_at(1) - second_before;
        assert_eq!(second, options.count / 10, "{peer} {mode}: a tenth goes to the second output");
    }
    let millions = arrived as f64 / 1e6;
    Figures {
        per_second: arrived as f64 / seconds,
        user: (user_after - user) / millions,
        system: (system_after - system) / millions,
        memory_now: memory.now,
        memory_peak: memory.peak,
        lost: sent.sent.saturating_sub(arrived),
    }
}

/// Sends some records until both the way in and the way out are open, and then until the peer has
/// nothing of it left.
fn warm_up(url: &LoadUrl, sinks: &Receiver) {
    let started = Instant::now();
    while sinks.received() == 0 {
        assert!(started.elapsed() < DEADLINE, "no record came through the peer");
        let probe = SendOptions { wait: 30, rate: 1_000, ..SendOptions::new(url.clone(), 20) };
        // A peer that is not there yet refuses; the loop tries again.
        drop(send(&probe));
        let sent = Instant::now();
        while sinks.received() == 0 && sent.elapsed() < Duration::from_secs(2) {
            pause(Duration::from_millis(10));
        }
    }
    let mut seen = (sinks.received(), Instant::now());
    while seen.1.elapsed() < Duration::from_millis(1_500) {
        pause(Duration::from_millis(20));
        if sinks.received() != seen.0 {
            seen = (sinks.received(), Instant::now());
        }
    }
}

/// Waits for all records, or until no more come; returns how many did, and in which time.
fn wait_arrived(
    sinks: &Receiver,
    before: u64,
    count: u64,
    started: Instant,
    sender: &std::thread::JoinHandle<Result<SendReport, logboom_gateway::load::LoadError>>,
) -> (u64, f64) {
    let mut last = (0, started);
    loop {
        let arrived = sinks.received() - before;
        if arrived != last.0 {
            last = (arrived, Instant::now());
        }
        let quiet = last.1.elapsed() >= QUIET && sender.is_finished();
        if arrived >= count || quiet {
            return (arrived, (last.1 - started).as_secs_f64());
        }
        pause(Duration::from_millis(1));
    }
}

fn row(table: &mut String, peer: &str, mode: &str, figures: &[Figures]) {
    let spread = |figure: fn(&Figures) -> f64| Spread::of(figures, figure).expect("a run");
    let cpu = spread(|it| it.user + it.system);
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    writeln!(
        table,
        "| {peer} | {mode} | {:.0} | **{:.2}** ({:.2}..{:.2}) | {:.2} / {:.2} | {:.0} / {:.0} | {} |",
        spread(|it| it.per_second).median,
        cpu.median,
        cpu.least,
        cpu.most,
        spread(|it| it.user).median,
        spread(|it| it.system).median,
        mib(spread(|it| it.memory_now as f64).median),
        mib(spread(|it| it.memory_peak as f64).median),
        figures.iter().map(|it| it.lost).sum::<u64>(),
    )
    .expect("a string");
}
