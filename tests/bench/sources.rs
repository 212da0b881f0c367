//! What each kind of source costs.
//!
//! ```sh
//! cargo build --release -p logboom-gateway
//! cargo bench -p logboom-tests --bench sources -- [--runs 3] [--count 1000000] [--only NAME]
//! ```
//!
//! The path is: `logboom send`'s sender, the source, the gateway, TCP on loopback, a sink that counts.
//! CPU time is that of all threads of the gateway, by `/proc/PID/task/*/schedstat`, from before the
//! first record is sent until the last one has arrived; the way out is the same for all rows. Runs of
//! the rows take turns; the table has medians.

use std::fmt::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use logboom_gateway::load::{
    LoadUrl, ReceiveOptions, Receiver, SendOptions, TlsOptions, Transport, send,
};
use logboom_tests::{
    Arguments, Certificates, Gateway, Scratch, Spread, cpu_nanos, free_port, pause,
};

const SOURCES: [&str; 8] = [
    "syslog+udp",
    "syslog+tcp",
    "syslog+tls",
    "syslog+unix",
    "syslog+unixgram",
    "relp",
    "http",
    "quic",
];
/// Datagrams do not wait: their pace, in records a second.
const UDP_RATE: u64 = 250_000;
/// A run has ended, with losses, when nothing has arrived for so long.
const QUIET: Duration = Duration::from_secs(3);

#[derive(Clone, Copy, Debug)]
struct Figures {
    cpu: f64,
    per_second: f64,
    lost: u64,
}

fn main() {
    let arguments = Arguments::read(&["runs", "count", "only"]);
    let (runs, count) = (arguments.get("runs", 3), arguments.get("count", 1_000_000));
    let only = arguments.get("only", String::new());
    let mut all: Vec<(&str, Vec<Figures>)> = SOURCES
        .into_iter()
        .filter(|source| source.contains(&only))
        .map(|source| (source, Vec::new()))
        .collect();
    for run in 0..runs {
        for (source, figures) in &mut all {
            let measured = measure(source, count);
            eprintln!("{source} run {}: {measured:?}", run + 1);
            figures.push(measured);
        }
    }
    let mut table = String::from(
        "| source | CPU s per M records (min..max) | records per CPU second | records/s | lost |\n\
         |---|---|---|---|---|\n",
    );
    for (source, figures) in &all {
        let spread = |figure: fn(&Figures) -> f64| Spread::of(figures, figure);
        let Some(Spread { least, median, most }) = spread(|it| it.cpu) else { continue };
        let Some(rate) = spread(|it| it.per_second) else { continue };
        let lost = figures.iter().map(|it| it.lost).sum::<u64>();
        writeln!(
            table,
            "| {source} | **{median:.2}** ({least:.2}..{most:.2}) | {:.1} M | {:.0} | {lost} |",
            1.0 / median,
            rate.median
        )
        .expect("a string");
    }
    println!("{count} records of 200 bytes, {runs} run(s), medians\n\n{table}");
}

fn measure(scheme: &str, count: u64) -> Figures {
    let folder = Scratch::new("bench-sources");
    let certificates = Certificates::new(&folder);
    let any: LoadUrl = "syslog+tcp://127.0.0.1:0".parse().expect("a URL");
    let sink = Receiver::start(&ReceiveOptions {
        count_only: true,
        idle: 0.0,
        ..ReceiveOptions::new(vec![any])
    });
    let sink = sink.expect("a sink");
    let url: LoadUrl = match scheme {
        "syslog+unix" | "syslog+unixgram" => {
            format!("{scheme}://{}", folder.path().join("in.sock").display())
        }
        "http" => format!("http://127.0.0.1:{}/ingest", free_port()),
        _ => format!("{scheme}://127.0.0.1:{}", free_port()),
    }
    .parse()
    .expect("a URL");
    let server = &certificates.server;
    let keys = if url.transport.is_tls() {
        let (cert, key) = (server.certificate.display(), server.key.display());
        format!("cert = \"{cert}\"\nkey = \"{key}\"\n")
    } else {
        String::new()
    };
    let listen = url.to_string().replace("/ingest", "");
    let config = format!(
        "[[source]]\nname = \"in\"\nurl = \"{listen}\"\n{keys}\n[[route]]\nname = \"out\"\n\
         url = \"{}\"\nwhen_full = \"block\"\n\n[[pipeline]]\nsources = [\"in\"]\nroutes = [\"out\"]\n",
        sink.urls()[0]
    );
    let gateway = Gateway::start(&folder, &config);
    let load = |count| SendOptions {
        rate: if url.transport == Transport::Udp { UDP_RATE } else { 0 },
        tls: TlsOptions { ca: Some(certificates.ca.clone()), ..TlsOptions::default() },
        ..SendOptions::new(url.clone(), count)
    };
    // What is made once is made.
    const WARM: u64 = 10_000;
    send(&load(WARM)).expect("sent");
    let warm = arrived(&sink, 0, WARM);
    let before = cpu_nanos(gateway.pid());
    let started = Instant::now();
    let options = load(count);
    let sender = thread::spawn(move || send(&options).expect("sent"));
    let came = arrived(&sink, warm, count);
    let seconds = started.elapsed().as_secs_f64();
    sender.join().expect("the sender");
    let cpu = (cpu_nanos(gateway.pid()) - before) as f64 / 1e9;
    gateway.kill();
    Figures {
        cpu: cpu / (came as f64 / 1e6),
        per_second: came as f64 / seconds,
        lost: count - came.min(count),
    }
}

/// Waits for so many records beyond those from before, or until no more come.
fn arrived(sink: &Receiver, before: u64, count: u64) -> u64 {
    let mut last = (0, Instant::now());
    while last.0 < count && last.1.elapsed() < QUIET {
        let now = sink.received() - before;
        if now != last.0 {
            last = (now, Instant::now());
        }
        pause(Duration::from_millis(1));
    }
    last.0
}
