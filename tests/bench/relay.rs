//! From gateway to gateway: QUIC beside TLS over TCP, on loopback.
//!
//! ```sh
//! cargo build --release -p logboom-gateway
//! cargo bench -p logboom-tests --bench relay -- [--runs 3] [--count 1000000] \
//!     [--ways syslog+tls,relps,quic] [--durability memory,disk]
//! ```
//!
//! The path is: sender, TCP, edge, the way under test, hub, TCP, a sink that counts. What is measured
//! is the CPU time of edge and hub, all threads, by `/proc`, and the records a second.
//!
//! Prints a table of medians in Markdown on stdout, and each run on stderr.

use std::time::{Duration, Instant};

use logboom_gateway::load::{LoadUrl, ReceiveOptions, Receiver, SendOptions, send};
use logboom_tests::{
    Arguments, Certificates, DEADLINE, Gateway, Scratch, Spread, cpu_seconds, free_port, pause,
    wait_until,
};

/// Records that show that the way is open.
const PROBE: u64 = 100;
/// For counters of a process's CPU time to include its last work. Source: `/proc` ticks, 10 ms.
const TICKS: Duration = Duration::from_millis(100);

/// Records a second, and CPU seconds per million records at edge and hub.
type Figures = (f64, f64, f64);

fn main() {
    let arguments = Arguments::read(&["runs", "count", "ways", "durability"]);
    let (runs, count) = (arguments.get("runs", 3), arguments.get("count", 1_000_000));
    let ways = arguments.list("ways", "syslog+tls,relps,quic");
    let durabilities = arguments.list("durability", "memory");
    println!("{count} records of 200 bytes, {runs} run(s), medians\n");
    println!("| way | durability | records/s | CPU s per M records: edge | hub |");
    println!("|---|---|---|---|---|");
    for durability in &durabilities {
        for way in &ways {
            let mut figures: Vec<Figures> = Vec::new();
            for run in 0..runs {
                let measured = measure(way, durability, count);
                eprintln!("{way} {durability} run {}: {measured:?}", run + 1);
                figures.push(measured);
            }
            let median = |figure: fn(&Figures) -> f64| {
                Spread::of(&figures, figure).map_or(0.0, |spread| spread.median)
            };
            println!(
                "| {way} | {durability} | {:.0} | {:.2} | {:.2} |",
                median(|it| it.0),
                median(|it| it.1),
                median(|it| it.2)
            );
        }
    }
}

fn measure(way: &str, durability: &str, count: u64) -> Figures {
    let (edge_files, hub_files) = (Scratch::new("bench-edge"), Scratch::new("bench-hub"));
    let certificates = Certificates::new(&hub_files);
    let any: LoadUrl = "syslog+tcp://127.0.0.1:0".parse().expect("a URL");
    let options = ReceiveOptions { count_only: true, ..ReceiveOptions::new(vec![any]) };
    let sink = Receiver::start(&options).expect("a sink");
    let (relay, out) = (free_port(), &sink.urls()[0]);
    let (server, ca) = (&certificates.server, certificates.trusted());
    let hub = format!(
        "[[source]]\nname = \"in\"\nurl = \"{way}://127.0.0.1:{relay}\"\ncert = \"{}\"\n\
         key = \"{}\"\n\n[[route]]\nname = \"out\"\nurl = \"{out}\"\nwhen_full = \"block\"\n",
        server.certificate.display(),
        server.key.display()
    );
    let edge = format!(
        "[[source]]\nname = \"in\"\nurl = \"syslog+tcp://127.0.0.1:0\"\n\n\
         [[route]]\nname = \"out\"\nurl = \"{way}://127.0.0.1:{relay}\"\nwhen_full = \"block\"\n{ca}"
    );
    let pipeline = format!(
        "\n[[pipeline]]\nsources = [\"in\"]\nroutes = [\"out\"]\ndurability = \"{durability}\"\n"
    );
    let hub = Gateway::start(&hub_files, &(hub + &pipeline));
    let edge = Gateway::start(&edge_files, &(edge + &pipeline));
    send(&SendOptions::new(edge.tcp("in"), PROBE)).expect("a probe");
    wait_until("a way through", || sink.received() >= PROBE);

    let cpu = |gateway: &Gateway| {
        let (user, system) = cpu_seconds(gateway.pid());
        user + system
    };
    let before = (cpu(&edge), cpu(&hub));
    let started = Instant::now();
    send(&SendOptions::new(edge.tcp("in"), count)).expect("sent");
    let mut last = (sink.received(), Instant::now());
    while sink.received() < PROBE + count {
        if sink.received() != last.0 {
            last = (sink.received(), Instant::now());
        }
        assert!(last.1.elapsed() < DEADLINE, "{way}: {} records came", last.0);
        pause(Duration::from_millis(1));
    }
    let seconds = started.elapsed().as_secs_f64();
    pause(TICKS);
    let millions = count as f64 / 1e6;
    let spent = |after: f64, before: f64| (after - before) / millions;
    (count as f64 / seconds, spent(cpu(&edge), before.0), spent(cpu(&hub), before.1))
}
