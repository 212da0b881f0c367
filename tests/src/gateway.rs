//! The binary under test, as a process.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use logboom_gateway::load::LoadUrl;
use rustix::process::{Pid, Signal, kill_process};

use crate::scratch::{Scratch, profile_folder, wait_for};
use crate::{Ledger, Metrics, http, pause};

/// The binary under test: `LOGBOOM_BIN`, or the one that stands beside this executable.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn binary() -> PathBuf {
    let path = match std::env::var_os("LOGBOOM_BIN") {
        Some(path) => PathBuf::from(path),
        None => profile_folder().join("logboom"),
    };
    assert!(
        path.is_file(),
        "{} is not there: build it by `cargo build -p logboom-gateway` in the same profile, or set \
         LOGBOOM_BIN",
        path.display()
    );
    path
}

/// A running gateway. Dropping it kills it.
#[derive(Debug)]
pub struct Gateway {
    child: Child,
    words: Words,
    sources: BTreeMap<String, SocketAddr>,
    control: SocketAddr,
}

impl Gateway {
    /// Starts the binary with a configuration, to which a control listener on any port and a data
    /// folder in `scratch` are added.
    ///
    /// # Panics
    /// When it does not become ready.
    #[must_use]
    pub fn start(scratch: &Scratch, config: &str) -> Self {
        Self::start_with(Command::new(binary()), scratch, config)
    }

    /// As [`start`](Self::start), through a command that starts the binary in some other way, such
    /// as with limits; `run -c FILE` is added to it.
    ///
    /// # Panics
    /// When it does not become ready.
    #[must_use]
    pub fn start_with(command: Command, scratch: &Scratch, config: &str) -> Self {
        Self::try_start_with(command, scratch, config).unwrap_or_else(|ended| {
            panic!("the gateway ended with {}, of:\n{config}\n{}", ended.status, ended.stderr)
        })
    }

    /// As [`start_with`](Self::start_with), for runs that may end before they are ready.
    ///
    /// # Errors
    /// How it ended.
    ///
    /// # Panics
    /// When it neither ends nor becomes ready in time.
    pub fn try_start_with(
        mut command: Command,
        scratch: &Scratch,
        config: &str,
    ) -> Result<Self, Refusal> {
        let file = scratch.write("logboom.toml", complete(scratch, config));
        command.arg("run").arg("-c").arg(file).current_dir(scratch.path());
        command.env("NO_COLOR", "1").stdin(Stdio::null());
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let words = Words::of(&mut child);
        // From here on the guard ends it, whatever happens.
        let nowhere = SocketAddr::from(([0; 4], 0));
        let mut gateway = Self { child, words, sources: BTreeMap::new(), control: nowhere };
        let ended = wait_for("gateway ready", || {
            let ended = gateway.child.try_wait().expect("try_wait");
            let is_ready = gateway.words().lines().any(|line| line.trim() == "ready");
            (ended.is_some() || is_ready).then_some(ended)
        });
        if let Some(status) = ended {
            return Err(Refusal { status, stderr: gateway.words() });
        }
        for line in gateway.words().lines() {
            if let Some((name, address)) = listening_source(line) {
                gateway.sources.insert(name, address);
            } else if let Some((_, rest)) = line.split_once("listening control=http://") {
                let address = rest.split_whitespace().next().and_then(|it| it.parse().ok());
                gateway.control = address.expect("the address of the control listener");
            }
        }
        assert_ne!(gateway.control, nowhere, "it does not say where its control listener is");
        Ok(gateway)
    }

    /// Writes another configuration and tells it by SIGHUP to take it.
    ///
    /// # Panics
    /// When it has ended.
    pub fn reload(&self, scratch: &Scratch, config: &str) {
        self.rewrite(scratch, config);
        signal(self.pid(), Signal::HUP);
    }

    /// Writes another configuration, which it is to notice by itself.
    pub fn rewrite(&self, scratch: &Scratch, config: &str) {
        scratch.write("logboom.toml", complete(scratch, config));
    }

    /// Stops it for so long, and lets it go on.
    pub fn stand_still(&self, time: Duration) {
        signal(self.pid(), Signal::STOP);
        pause(time);
        signal(self.pid(), Signal::CONT);
    }

    /// Ends it by SIGKILL, which leaves it no time for anything.
    ///
    /// # Panics
    /// When that is not possible.
    pub fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("its end");
    }

    /// How it ended, where it has by itself.
    ///
    /// # Panics
    /// When the system does not say.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("try_wait")
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where its API is.
    #[must_use]
    pub fn control(&self) -> SocketAddr {
        self.control
    }

    /// Where a source listens.
    ///
    /// # Panics
    /// When it did not say so.
    #[must_use]
    pub fn source(&self, name: &str) -> SocketAddr {
        *self.sources.get(name).unwrap_or_else(|| {
            panic!("no source {name:?} is listening:\n{}", self.words.text());
        })
    }

    /// A source as a URL to send load to by TCP.
    #[must_use]
    pub fn tcp(&self, source: &str) -> LoadUrl {
        LoadUrl::tcp(self.source(source))
    }

    /// A source as a URL to send load to by UDP.
    #[must_use]
    pub fn udp(&self, source: &str) -> LoadUrl {
        LoadUrl::udp(self.source(source))
    }

    /// Status and body of a request to its API.
    #[must_use]
    pub fn get(&self, path: &str) -> (u16, String) {
        http::get(self.control, path)
    }

    /// Its ledger.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        let (status, body) = self.get("/v1/ledger");
        assert_eq!(status, 200, "/v1/ledger: {body}\n{}", self.words.text());
        Ledger::parse(&body)
    }

    /// Its metrics.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let (status, body) = self.get("/metrics");
        assert_eq!(status, 200, "/metrics: {body}\n{}", self.words.text());
        Metrics::parse(&body)
    }

    /// Waits until a source has received `count` records and nothing is on its way any more; returns
    /// the ledger, which balances.
    ///
    /// # Panics
    /// When it does not come to rest in time, or does not balance.
    pub fn settle(&self, source: &str, count: u64) -> Ledger {
        let mut last = None;
        let ledger = wait_for(&format!("{count} records through source {source}"), || {
            let ledger = self.ledger();
            let is_done = ledger.source(source, "received") >= count && ledger.is_at_rest();
            last = Some(ledger.clone());
            is_done.then_some(ledger)
        });
        ledger.assert_balanced();
        ledger
    }

    /// What it wrote to stderr and stdout so far.
    #[must_use]
    pub fn words(&self) -> String {
        self.words.text()
    }

    /// Asks it to shut down and waits for its end; returns the ledger that it leaves.
    ///
    /// # Panics
    /// When it does not end in time, not with exit code 0, or does not write its ledger.
    pub fn shutdown(mut self) -> Ledger {
        terminate(self.pid());
        let child = &mut self.child;
        let status = wait_for("the end of the gateway", || child.try_wait().expect("try_wait"));
        assert!(status.success(), "the gateway ended with {status}:\n{}", self.words.text());
        wait_for("the last ledger", || {
            let words = self.words.text();
            let ledger = words.lines().rev().find_map(|line| line.strip_prefix("ledger "))?;
            Some(Ledger::parse(ledger))
        })
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended already, which is an error here that says nothing.
        drop(self.child.kill());
        drop(self.child.wait());
        if thread::panicking() {
            eprintln!("last words of the gateway:\n{}", self.words.last(40));
        }
    }
}

/// A configuration with what every gateway of a test has.
fn complete(scratch: &Scratch, config: &str) -> String {
    let data = scratch.join("data");
    format!("data = \"{}\"\n\n[control]\nlisten = \"127.0.0.1:0\"\n\n{config}", data.display())
}

/// Sends SIGTERM to a process that this one started.
///
/// # Panics
/// When there is no such process.
pub(crate) fn terminate(pid: u32) {
    signal(pid, Signal::TERM);
}

/// Sends a signal to a process that this one started.
///
/// # Panics
/// When there is no such process.
pub(crate) fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("not 0");
    kill_process(pid, signal).expect("signal");
}

/// `listening source=NAME url=SCHEME://ADDRESS`, with anything before it.
fn listening_source(line: &str) -> Option<(String, SocketAddr)> {
    let (_, rest) = line.split_once("listening source=")?;
    let (name, rest) = rest.split_once(" url=")?;
    let (_, address) = rest.split_whitespace().next()?.split_once("://")?;
    let address = address.split(['?', '/']).next()?;
    Some((name.trim_matches('"').to_owned(), address.parse().ok()?))
}

/// How the binary ended, for runs that are to be refused.
#[derive(Debug)]
pub struct Refusal {
    /// Its exit status.
    pub status: ExitStatus,
    /// All that it wrote to stderr.
    pub stderr: String,
}

/// Runs the binary with arguments to its end, which must come by itself.
///
/// # Panics
/// When it does not.
#[must_use]
pub fn run_to_end(arguments: &[&str], folder: &Path) -> Refusal {
    let mut child = Command::new(binary())
        .args(arguments)
        .current_dir(folder)
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let words = Words::of(&mut child);
    let mut guard = Guard(child);
    let status = wait_for(&format!("the end of logboom {arguments:?}"), || {
        guard.0.try_wait().expect("try_wait")
    });
    Refusal { status, stderr: words.finish() }
}

struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// What a child writes, collected by threads that end with it.
#[derive(Debug)]
struct Words {
    text: Arc<Mutex<String>>,
    threads: Vec<JoinHandle<()>>,
}

impl Words {
    fn of(child: &mut Child) -> Self {
        let text = Arc::new(Mutex::new(String::new()));
        let mut threads = Vec::new();
        if let Some(stderr) = child.stderr.take() {
            threads.push(collect(stderr, &text));
        }
        if let Some(stdout) = child.stdout.take() {
            threads.push(collect(stdout, &text));
        }
        Self { text, threads }
    }

    fn text(&self) -> String {
        self.text.lock().expect("words").clone()
    }

    fn last(&self, lines: usize) -> String {
        let text = self.text();
        let all: Vec<_> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    fn finish(self) -> String {
        for thread in self.threads {
            thread.join().expect("a collecting thread");
        }
        self.text.lock().expect("words").clone()
    }
}

fn collect(from: impl Read + Send + 'static, to: &Arc<Mutex<String>>) -> JoinHandle<()> {
    let to = Arc::clone(to);
    thread::spawn(move || {
        let mut lines = BufReader::new(from);
        let mut line = Vec::new();
        while let Ok(1..) = lines.read_until(b'\n', &mut line) {
            to.lock().expect("words").push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    })
}
