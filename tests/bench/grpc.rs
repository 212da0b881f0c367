//! What entries of access logs and records of OTLP cost over gRPC.
//!
//! ```sh
//! cargo build --release -p logboom-gateway
//! cargo bench -p logboom-tests --bench grpc -- [--runs 3] [--count 3000000] [--only NAME]
//! ```
//!
//! The path is: `logboom send`'s sender (typical entries of 324 bytes, 52 a message), or an Envoy that
//! answers by itself as fast as `wrk` asks, the source, decoding, routing. `routed` ends there: nobody
//! wants the records; `file` has them written to `/dev/null` as lines. CPU time is that of all threads of
//! the gateway, from before the first entry is sent until the last is settled. Runs of the rows take
//! turns; the table has medians.

use std::fmt::Write as _;
use std::process::Command;
use std::thread;
use std::time::Instant;

use logboom_gateway::load::{LoadUrl, SendOptions, send};
use logboom_tests::{
    Arguments, Gateway, PeerKind, Scratch, Spread, cpu_nanos, envoy, free_port, get, memory_bytes,
    pause, peer_configuration,
};

/// Name of the row, whether OTLP, whether written.
const ROWS: [(&str, bool, bool); 4] = [
    ("ALS, routed", false, false),
    ("ALS, file", false, true),
    ("OTLP, routed", true, false),
    ("OTLP, file", true, true),
];
/// How long Envoy is asked.
const ENVOY_SECONDS: u32 = 10;

#[derive(Clone, Copy, Debug)]
struct Figures {
    /// Seconds.
    cpu: f64,
    per_second: f64,
    /// Bytes, at the most.
    memory: u64,
    dropped: u64,
}

fn main() {
    let arguments = Arguments::read(&["runs", "count", "only"]);
    let (runs, count) = (arguments.get("runs", 3), arguments.get("count", 3_000_000));
    let only = arguments.get("only", String::new());
    let mut all: Vec<(String, Vec<Figures>)> = Vec::new();
    let mut note = |name: &str, figures: Figures| {
        eprintln!("{name}: {figures:?}");
        match all.iter_mut().find(|(known, _)| known == name) {
            Some((_, of_row)) => of_row.push(figures),
            None => all.push((name.to_owned(), vec![figures])),
        }
    };
    for _ in 0..runs {
        for (name, is_otlp, is_written) in ROWS.into_iter().filter(|row| row.0.contains(&only)) {
            note(name, measure(is_otlp, is_written, count));
        }
        if "Envoy".contains(&only) && PeerKind::Envoy.program().is_some() {
            note("Envoy, routed", measure_envoy());
        }
    }
    let mut table = String::from(
        "| | entries per CPU second | CPU s per M (min..max) | entries/s | RSS | dropped by Envoy |\n\
         |---|---|---|---|---|---|\n",
    );
    for (name, figures) in &all {
        let spread = |figure: fn(&Figures) -> f64| Spread::of(figures, figure);
        let Some(Spread { least, median, most }) = spread(|it| it.cpu) else { continue };
        let Some(rate) = spread(|it| it.per_second) else { continue };
        let memory = figures.iter().map(|it| it.memory).max().unwrap_or(0) >> 20;
        let dropped: u64 = figures.iter().map(|it| it.dropped).sum();
        writeln!(
            table,
            "| {name} | **{:.0}** | {median:.2} ({least:.2}..{most:.2}) | {:.0} | {memory} MiB | {dropped} |",
            1e6 / median,
            rate.median
        )
        .expect("a string");
    }
    println!("{count} entries of 324 bytes, {runs} run(s), medians\n\n{table}");
}

/// A gateway with a source of gRPC whose records go nowhere, or to `/dev/null`.
fn gateway(folder: &Scratch, is_written: bool) -> Gateway {
    let rest = "[[route]]\nname = \"out\"\nurl = \"file:///dev/null?format=raw\"\n\
                [[pipeline]]\nsources = [\"in\"]\nroutes = [\"out\"]\n";
    let rest = if is_written { rest } else { "" };
    let config = format!("[[source]]\nname = \"in\"\nurl = \"grpc://127.0.0.1:0\"\n{rest}");
    Gateway::start(folder, &config)
}

/// Waits until so many records came and nothing is on its way.
fn settled(gateway: &Gateway, count: u64) {
    loop {
        let ledger = gateway.ledger();
        if ledger.source("in", "received") >= count && ledger.is_at_rest() {
            return;
        }
        pause(std::time::Duration::from_millis(20));
    }
}

fn measure(is_otlp: bool, is_written: bool, count: u64) -> Figures {
    const WARM: u64 = 20_000;
    let folder = Scratch::new("bench-grpc");
    let gateway = gateway(&folder, is_written);
    let url: LoadUrl = format!("grpc://{}", gateway.source("in")).parse().expect("a URL");
    let load =
        |count| SendOptions { otlp: is_otlp, size: 324, ..SendOptions::new(url.clone(), count) };
    // What is made once is made.
    send(&load(WARM)).expect("sent");
    settled(&gateway, WARM);
    let before = cpu_nanos(gateway.pid());
    let started = Instant::now();
    let options = load(count);
    let sender = thread::spawn(move || send(&options).expect("sent"));
    sender.join().expect("the sender");
    settled(&gateway, WARM + count);
    let seconds = started.elapsed().as_secs_f64();
    let cpu = (cpu_nanos(gateway.pid()) - before) as f64 / 1e9;
    let memory = memory_bytes(gateway.pid()).peak;
    gateway.kill();
    Figures {
        cpu: cpu / (count as f64 / 1e6),
        per_second: count as f64 / seconds,
        memory,
        dropped: 0,
    }
}

/// Envoy at full rate: entries that it wrote, and those that it dropped.
fn measure_envoy() -> Figures {
    let folder = Scratch::new("bench-envoy");
    let gateway = gateway(&folder, false);
    let [admin, http, tcp] = [(); 3].map(|()| free_port());
    let als = gateway.source("in").port();
    let values =
        [("@ADMIN@", admin), ("@HTTP@", http), ("@TCP@", tcp), ("@ALS@", als), ("@UP@", admin)];
    let config = peer_configuration("envoy.yaml", &values);
    let config = config.replace("@OTEL@\n", "").replace("@TLS@\n", "");
    let peer = envoy(&folder, &config).listening_on(&[admin, http]);
    let before = cpu_nanos(gateway.pid());
    let mut wrk = Command::new(PeerKind::Wrk.program().expect("wrk"));
    wrk.args(["-t1", "-c64", "-d", &format!("{ENVOY_SECONDS}s")]);
    wrk.arg(format!("http://127.0.0.1:{http}/direct"));
    assert!(wrk.output().expect("wrk").status.success());
    let stat = |name: &str| -> u64 {
        let (_, text) = get(([127, 0, 0, 1], admin).into(), "/stats");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.and_then(|value| value.trim().parse().ok()).expect("a counter")
    };
    let requests = stat("http.ingress.downstream_rq_total");
    let dropped = stat("access_logs.grpc_access_log.logs_dropped");
    settled(&gateway, requests - dropped);
    let cpu = (cpu_nanos(gateway.pid()) - before) as f64 / 1e9;
    let memory = memory_bytes(gateway.pid()).peak;
    peer.shutdown();
    gateway.kill();
    Figures {
        cpu: cpu / (requests as f64 / 1e6),
        per_second: requests as f64 / f64::from(ENVOY_SECONDS),
        memory,
        dropped,
    }
}
