//! What drains, a hot or a dead destination, and durability cost, in CPU seconds of the gateway per
//! million records.
//!
//! ```sh
//! cargo build --release -p logboom-gateway
//! cargo bench -p logboom-tests --bench drains -- [--runs 3] [--count 1000000] [--only NAME]
//! ```
//!
//! The path is: sender, TCP on loopback (octet counted, RFC 5424 of 200 bytes), the gateway, TCP on
//! loopback, sinks that count. CPU time is that of all threads of the gateway, by
//! `/proc/PID/task/*/schedstat`, from before the first record is sent until the last one has arrived.
//! Runs of the rows take turns; the table has medians. A row that the binary does not understand is
//! left out, with a message.

use std::fmt::Write as _;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use logboom_gateway::load::{LoadUrl, ReceiveOptions, Receiver, SendOptions, send};
use logboom_tests::{
    Arguments, DEADLINE, Gateway, Scratch, Spread, binary, cpu_nanos, free_port, memory_bytes,
    pause,
};

/// Destinations, in the rows that have several.
const SEVERAL: usize = 10;

/// One row of the table.
#[derive(Clone, Debug)]
struct Row {
    name: &'static str,
    /// Drains, each for an app of its own, dealt out over the sinks.
    drains: usize,
    /// Apps that records are of, from the first drain on.
    apps: usize,
    sinks: usize,
    /// Whether, besides, each of so many apps has a drain to a port where nobody listens.
    dead: usize,
    /// Further configuration.
    keys: &'static str,
}

const fn drains(name: &'static str, drains: usize, apps: usize) -> Row {
    Row { name, drains, apps, sinks: 1, dead: 0, keys: "" }
}

const fn several(name: &'static str, drains: usize, apps: usize) -> Row {
    Row { name, drains, apps, sinks: SEVERAL, dead: 0, keys: "" }
}

const MEMORY: &str = "[[pipeline]]\nsources = [\"in\"]\ndurability = \"memory\"\n";
const DISK: &str = "[[pipeline]]\nsources = [\"in\"]\ndurability = \"disk\"\n";

fn rows() -> Vec<Row> {
    vec![
        drains("1 drain", 1, 1),
        drains("10 drains, 1 app sends", 10, 1),
        drains("1,000 drains, 1 app sends", 1_000, 1),
        drains("100,000 drains, 1 app sends", 100_000, 1),
        drains("10 drains, all send", 10, 10),
        drains("1,000 drains, all send", 1_000, 1_000),
        drains("100,000 drains, 1,000 send", 100_000, 1_000),
        several("10 destinations alike", SEVERAL, SEVERAL),
        several("10 destinations, 1 hot", SEVERAL, 1),
        Row { dead: 1, ..several("10 destinations and 1 dead, of 1 app of 10", SEVERAL, SEVERAL) },
        Row {
            dead: SEVERAL,
            ..several("10 destinations and 1 dead, of all apps", SEVERAL, SEVERAL)
        },
        Row { keys: MEMORY, ..several("durability memory", SEVERAL, SEVERAL) },
        Row { keys: DISK, ..several("durability disk", SEVERAL, SEVERAL) },
    ]
}

#[derive(Clone, Copy, Debug)]
struct Figures {
    cpu: f64,
    per_second: f64,
    memory: u64,
}

struct Options {
    runs: usize,
    count: u64,
    only: String,
}

fn options() -> Options {
    let arguments = Arguments::read(&["runs", "count", "only"]);
    Options {
        runs: arguments.get("runs", 3),
        count: arguments.get("count", 1_000_000),
        only: arguments.get("only", String::new()),
    }
}

fn main() {
    let options = options();
    let mut all: Vec<(Row, Vec<Figures>)> = rows()
        .into_iter()
        .filter(|row| row.name.contains(&options.only))
        .map(|row| (row, Vec::new()))
        .collect();
    for run in 0..options.runs {
        for (row, figures) in &mut all {
            match measure(row, options.count) {
                Some(measured) => {
                    eprintln!("{} run {}: {measured:?}", row.name, run + 1);
                    figures.push(measured);
                }
                None => eprintln!("SKIPPED: {}: the binary refuses its configuration", row.name),
            }
        }
    }
    let mut table = String::from(
        "| | CPU s per M records (min..max) | records/s | RSS MiB |\n|---|---|---|---|\n",
    );
    for (row, figures) in all.iter().filter(|(_, figures)| !figures.is_empty()) {
        line(&mut table, row, figures);
    }
    println!("{} records of 200 bytes, {} run(s), medians\n\n{table}", options.count, options.runs);
}

fn line(table: &mut String, row: &Row, figures: &[Figures]) {
    let spread = |figure: fn(&Figures) -> f64| Spread::of(figures, figure).expect("a run");
    let Spread { least, median, most } = spread(|it| it.cpu);
    let rate = spread(|it| it.per_second).median;
    let memory = spread(|it| it.memory as f64 / f64::from(1 << 20)).median;
    writeln!(
        table,
        "| {} | **{median:.3}** ({least:.3}..{most:.3}) | {rate:.0} | {memory:.0} |",
        row.name
    )
    .expect("a string");
}

fn configuration(row: &Row, sinks: &Receiver) -> String {
    // As the sender names its apps.
    let width = (row.apps.saturating_sub(1)).to_string().len().max(2);
    let mut config =
        format!("[[source]]\nname = \"in\"\nurl = \"syslog+tcp://127.0.0.1:0\"\n\n{}\n", row.keys);
    for drain in 0..row.drains {
        let url = &sinks.urls()[drain % row.sinks];
        writeln!(
            config,
            "[[drain]]\napp = \"app-{drain:0width$}\"\nurl = \"{url}\"\nwhen_full = \"block\""
        )
        .expect("a string");
    }
    let dead = free_port();
    for drain in 0..row.dead {
        writeln!(
            config,
            "[[drain]]\napp = \"app-{drain:0width$}\"\nurl = \"syslog+tcp://127.0.0.1:{dead}\"\n\
             when_full = \"shed\""
        )
        .expect("a string");
    }
    config
}

fn measure(row: &Row, count: u64) -> Option<Figures> {
    let folder = Scratch::new("bench-drains");
    let any: LoadUrl = "syslog+tcp://127.0.0.1:0".parse().expect("a URL");
    let sinks = Receiver::start(&ReceiveOptions {
        count_only: true,
        idle: 0.0,
        ..ReceiveOptions::new(vec![any; row.sinks])
    });
    let sinks = sinks.expect("sinks");
    let config = configuration(row, &sinks);
    let gateway = Gateway::try_start_with(Command::new(binary()), &folder, &config).ok()?;
    let load = |count| SendOptions { apps: row.apps, ..SendOptions::new(gateway.tcp("in"), count) };

    // Each app once or more: connections are open then.
    let warm = (row.apps as u64 * 2).max(1_000);
    send(&load(warm)).expect("sent");
    wait_arrived(&sinks, warm);
    let before = cpu_nanos(gateway.pid());
    let started = Instant::now();
    let options = load(count);
    let sender = thread::spawn(move || send(&options).expect("sent"));
    wait_arrived(&sinks, warm + count);
    let seconds = started.elapsed().as_secs_f64();
    sender.join().expect("the sender");
    let cpu = (cpu_nanos(gateway.pid()) - before) as f64 / 1e9;
    let memory = memory_bytes(gateway.pid()).now;
    gateway.kill();
    Some(Figures { cpu: cpu / (count as f64 / 1e6), per_second: count as f64 / seconds, memory })
}

fn wait_arrived(sinks: &Receiver, count: u64) {
    let mut last = (0, Instant::now());
    while last.0 < count {
        let now = sinks.received();
        if now != last.0 {
            last = (now, Instant::now());
        }
        assert!(last.1.elapsed() < DEADLINE, "{} of {count} arrived", last.0);
        pause(Duration::from_millis(1));
    }
}
