//! The `logboom` command.

use std::cell::Cell;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, Parser, Subcommand};
use logboom_gateway::config::Problems;
use logboom_gateway::load::{ReceiveOptions, SendOptions};
use logboom_gateway::park_tool::{self, ParkedCommand};
use logboom_gateway::run::{self, Gateway};
use logboom_gateway::spool_tool::{self, SpoolCommand};
use logboom_gateway::telemetry::metric::CONFIG_RELOADS;
use logboom_gateway::trial::{self, TestOptions};
use nix::sys::prctl::set_thp_disable;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A WebAssembly-extensible log gateway: syslog and HTTP in, sandboxed guests, capped delivery out.
#[derive(Debug, Parser)]
#[command(name = "logboom", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway; without a configuration, on embedded defaults and loopback addresses
    Run(Configuration),
    /// Check a configuration, its guests included, and say everything that is wrong with it
    Check(CheckOptions),
    /// Send sequence-numbered records
    Send(SendOptions),
    /// Receive records and verify that each came once and in order
    Receive(ReceiveOptions),
    /// Look at guests and try them
    #[command(subcommand)]
    Guest(GuestCommand),
    /// Look at the spool, mend it, deliver from it again
    #[command(subcommand)]
    Spool(SpoolCommand),
    /// Look at the parked records of a running gateway, replay or forget them
    #[command(subcommand)]
    Parked(ParkedCommand),
}

#[derive(Args, Debug)]
struct Configuration {
    /// Configuration file
    #[arg(short, long, value_name = "FILE", conflicts_with = "file")]
    config: Option<PathBuf>,
    /// The same without -c
    file: Option<PathBuf>,
}

#[derive(Args, Debug)]
struct CheckOptions {
    #[command(flatten)]
    configuration: Configuration,
    /// Output for programs, as JSON
    #[arg(long)]
    json: bool,
}

impl Configuration {
    fn path(&self) -> Option<&Path> {
        self.config.as_deref().or(self.file.as_deref())
    }
}

#[derive(Debug, Subcommand)]
enum GuestCommand {
    /// Show a component's roles, interest, routes, metrics, imports and exports
    Inspect {
        /// A component file, or std:NAME
        guest: String,
        /// Configuration for it, as JSON
        #[arg(long, default_value = "")]
        config: String,
    },
    /// Run records through a guest and show what it makes of them, one JSON object a record
    Test(TestOptions),
}

/// How a command ended: 0 well, 1 its input was refused. Clap exits with 2 on wrong usage.
type Ended = anyhow::Result<ExitCode>;

fn main() -> ExitCode {
    let ended = match Arguments::parse().command {
        Command::Run(configuration) => run_gateway(configuration.path()),
        Command::Check(options) => check(options.configuration.path(), options.json),
        Command::Send(options) => {
            options.run(&mut std::io::stdout()).map(|_| ExitCode::SUCCESS).map_err(Into::into)
        }
        Command::Receive(options) => receive(&options),
        Command::Guest(GuestCommand::Inspect { guest, config }) => {
            trial::inspect(&guest, &config, &mut std::io::stdout()).map(|()| ExitCode::SUCCESS)
        }
        Command::Guest(GuestCommand::Test(options)) => {
            trial::test(&options, &mut std::io::stdout())
                .map(|as_expected| ExitCode::from(u8::from(!as_expected)))
        }
        Command::Spool(command) => spool_tool::run(&command, &mut std::io::stdout())
            .map(|is_well| ExitCode::from(u8::from(!is_well))),
        Command::Parked(command) => park_tool::run(&command, &mut std::io::stdout())
            .map(|is_done| ExitCode::from(u8::from(!is_done))),
    };
    ended.unwrap_or_else(|error| {
        complain(&format!("{error:#}"));
        ExitCode::FAILURE
    })
}

/// One message to the operator. If standard error is gone there is nobody left to tell.
fn complain(message: &str) {
    drop(writeln!(std::io::stderr(), "logboom: {message}"));
}

fn receive(options: &ReceiveOptions) -> Ended {
    let report = options.run(&mut std::io::stdout(), &mut std::io::stderr())?;
    let failed = options.expect.is_some() && !report.is_clean();
    Ok(ExitCode::from(u8::from(failed)))
}

/// Problems are listed as they are, a line each, without a prefix: editors read them.
fn refuse(problems: &Problems) -> Ended {
    write!(std::io::stderr(), "{problems}")?;
    writeln!(std::io::stderr())?;
    Ok(ExitCode::FAILURE)
}

fn check(path: Option<&Path>, is_json: bool) -> Ended {
    let mut out = std::io::stdout();
    let config = match run::read_config(path) {
        Ok(config) => config,
        Err(problems) if is_json => {
            writeln!(out, "{}", problems.to_json())?;
            return Ok(ExitCode::FAILURE);
        }
        Err(problems) => return refuse(&problems),
    };
    let file = path.map_or_else(|| "embedded defaults".into(), |p| p.display().to_string());
    let warnings = match run::check(&config) {
        Ok(warnings) => warnings,
        Err(error) if is_json => {
            // A guest or a certificate: what its message names says where it is.
            let message = format!("{:#}", anyhow::Error::new(error));
            let problem =
                json!([{ "file": file, "line": null, "column": null, "message": message }]);
            writeln!(out, "{problem}")?;
            return Ok(ExitCode::FAILURE);
        }
        Err(error) => return Err(error.into()),
    };
    let (sources, guests) = (config.sources.len(), config.guests.len());
    let (routes, drains) = (config.routes.len(), config.drains.len());
    if is_json {
        let found = json!({
            "file": file, "sources": sources, "guests": guests, "routes": routes, "drains": drains,
            "warnings": warnings,
        });
        writeln!(out, "{found}")?;
        return Ok(ExitCode::SUCCESS);
    }
    for what in warnings {
        writeln!(std::io::stderr(), "{file}: warning: {what}")?;
    }
    writeln!(
        out,
        "{file}: ok ({sources} sources, {guests} guests, {routes} routes, {drains} drains)"
    )?;
    Ok(ExitCode::SUCCESS)
}

fn run_gateway(path: Option<&Path>) -> Ended {
    let filter = tracing_subscriber::EnvFilter::try_from_env("LOGBOOM_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(is_terminal)
        .with_target(false)
        .init();
    // A kernel that refuses costs memory and nothing else (ADR 0012).
    if let Err(error) = set_thp_disable(true) {
        tracing::debug!(%error, "huge pages stay");
    }
    let config = match run::read_config(path) {
        Ok(config) => config,
        Err(problems) => return refuse(&problems),
    };
    raise_descriptor_limit();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().on_thread_park(collect).build()?;
    let ended = runtime.block_on(async {
        // Before anything else, so that an early signal is not missed.
        let signals = Signals::listen()?;
        let gateway = run::start(config, run::install_metrics()?).await?;
        announce(&gateway, path.is_none())?;
        attend(&gateway, path, signals).await;
        tracing::info!("shutting down");
        let ledger = std::sync::Arc::clone(&gateway.ledger);
        gateway.shutdown().await;
        writeln!(std::io::stderr(), "ledger {}", ledger.to_json())?;
        Ok(ExitCode::SUCCESS)
    });
    // What hangs in the system, such as a name look-up, must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

/// Gives back the memory that this thread has and does not use, now and then: of what other threads free the
/// allocator takes no note before it is asked for as much again (ADR 0014).
fn collect() {
    const EVERY: Duration = Duration::from_secs(1);
    thread_local! {
        static LAST: Cell<Option<Instant>> = const { Cell::new(None) };
    }
    let now = Instant::now();
    if LAST.get().is_none_or(|last| now.duration_since(last) >= EVERY) {
        LAST.set(Some(now));
        #[expect(unsafe_code, reason = "a function of the allocator, which is C")]
        // SAFETY: it takes and returns nothing, and any thread may call it.
        unsafe {
            libmimalloc_sys::mi_collect(false);
        }
    }
}

/// The signals that an operator sends.
struct Signals {
    end: EndSignals,
    hangup: Signal,
    /// Heard, a limit of file sizes is an error of the write; unheard, it ends the process.
    _file_size: Signal,
}

/// The signals that end the gateway.
struct EndSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        let hangup = signal(SignalKind::hangup())?;
        let file_size = signal(SignalKind::from_raw(nix::libc::SIGXFSZ))?;
        Ok(Self { end: EndSignals { terminate, interrupt }, hangup, _file_size: file_size })
    }
}

impl EndSignals {
    /// Ready when one of them comes. Cancel safe.
    async fn come(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// How often the configuration file and certificates are looked at. Polling sees what notifications
/// miss: network file systems, and the links that Kubernetes swaps.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Minds the gateway until it is to end: reloads its configuration when the file changes or SIGHUP
/// comes, and certificates when their files change.
async fn attend(gateway: &Gateway, path: Option<&Path>, mut signals: Signals) {
    let mut look = tokio::time::interval(LOOK_EVERY);
    let mut expire = tokio::time::interval(gateway.expire_parked_every());
    let mut seen = path.and_then(Seen::of);
    let mut last = seen;
    loop {
        // All of them are cancel safe.
        let why = tokio::select! {
            () = signals.end.come() => return,
            _ = expire.tick() => {
                gateway.expire_parked().await;
                continue;
            }
            _ = look.tick() => {
                gateway.refresh_certificates().await;
                let now = path.and_then(Seen::of);
                let is_at_rest = std::mem::replace(&mut last, now) == now;
                // A file that is gone for a moment is being replaced, one that changes is being written.
                if now.is_none() || now == seen || !is_at_rest {
                    continue;
                }
                seen = now;
                "the file has changed"
            }
            _ = signals.hangup.recv() => {
                gateway.refresh_certificates().await;
                seen = path.and_then(Seen::of);
                "SIGHUP"
            }
        };
        // Until it comes into force, which is one step, a reload can be given up.
        tokio::select! {
            () = reload(gateway, path, why) => {}
            () = signals.end.come() => return,
        }
    }
}

/// What a file was when it was last looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    modified: (i64, i64),
    bytes: u64,
    inode: u64,
}

impl Seen {
    fn of(path: &Path) -> Option<Self> {
        let found = std::fs::metadata(path).ok()?;
        let modified = (found.mtime(), found.mtime_nsec());
        Some(Self { modified, bytes: found.len(), inode: found.ino() })
    }
}

async fn reload(gateway: &Gateway, path: Option<&Path>, why: &'static str) {
    let reloaded = match run::read_config(path) {
        Ok(config) => gateway.reload(config).await,
        Err(problems) => Err(problems.into()),
    };
    let outcome = if reloaded.is_ok() { "ok" } else { "refused" };
    metrics::counter!(CONFIG_RELOADS, "outcome" => outcome).increment(1);
    match reloaded {
        Ok(()) => tracing::info!(why, "configuration in force"),
        Err(error) => {
            tracing::error!(
                why,
                "the changed configuration is refused, the one before stays:\n{error}"
            );
        }
    }
}

/// Sessions and connections need descriptors: takes as many as the system allows.
fn raise_descriptor_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
}

/// Says where it listens and, on the defaults, what to try.
fn announce(gateway: &Gateway, is_default: bool) -> std::io::Result<()> {
    let mut out = std::io::stderr().lock();
    for (name, scheme, address) in &gateway.listening {
        writeln!(out, "listening source={name} url={scheme}://{address}")?;
    }
    writeln!(out, "listening control=http://{}", gateway.control)?;
    if is_default {
        let first = gateway.listening.first().and_then(|(_, _, place)| place.address());
        let port = first.map_or(0, |address| address.port());
        writeln!(out, "try: logger -n 127.0.0.1 -P {port} -d --rfc5424 \"hello\"")?;
        writeln!(out, "     curl -s http://{}/metrics", gateway.control)?;
        writeln!(out, "     curl -s http://{}/v1/ledger", gateway.control)?;
    }
    writeln!(out, "ready")
}
