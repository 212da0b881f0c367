//! Trying a guest without a gateway: `logboom guest inspect` and `logboom guest test`.
//!
//! * **What enters**: a component, its configuration, lines of syslog or plain text.
//! * **What leaves**: what the guest says of itself; for each line what became of it.
//! * **May import**: every room's library, like [`crate::run`].

use std::fmt::Write as _;
use std::io::{BufRead, Write};
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use logboom_codec::decode::{Decoder, Format, Mode};
use logboom_codec::encode;
use logboom_host::{Engine, EngineLimits, Fault, Guest, Report, Role, Sample, Settings, Verdicts};
use logboom_record::{Batch, FieldNames, Head, Span, UnixNanos, app_hash};
use serde_json::json;

use crate::run::standard_guest;

/// Records that cross together, unless told otherwise.
const BATCH_RECORDS: usize = 256;

/// Options of `logboom guest test`.
#[derive(Args, Clone, Debug)]
pub struct TestOptions {
    /// A component file, or std:NAME
    pub guest: String,
    /// Configuration for it, as JSON
    #[arg(long, default_value = "")]
    pub config: String,
    /// File with one record a line, syslog or plain text; standard input unless given
    #[arg(long)]
    pub input: Option<PathBuf>,
    /// File with the output that is expected; exit 1 where it differs
    #[arg(long)]
    pub expect: Option<PathBuf>,
    /// App of the records, as routers see it; their app name unless given
    #[arg(long)]
    pub app: Option<String>,
    /// Receive time of the records in Unix seconds, so that output does not change with the day
    #[arg(long, default_value_t = 0)]
    pub received: i64,
}

fn load(engine: &Engine, guest: &str, config: &str) -> anyhow::Result<Guest> {
    let mut settings = Settings::new(guest);
    config.clone_into(&mut settings.config);
    let bytes = component(guest)?;
    Ok(Guest::load(engine, &bytes, settings)?)
}

fn component(guest: &str) -> anyhow::Result<Vec<u8>> {
    let Some(name) = guest.strip_prefix("std:") else {
        return std::fs::read(guest).with_context(|| format!("guest file {guest}"));
    };
    let known = || {
        let names = logboom_guest_artifacts::STANDARD.iter().map(|(name, _)| *name);
        names.collect::<Vec<_>>().join(", std:")
    };
    let found = standard_guest(name).map(<[u8]>::to_vec);
    found.with_context(|| format!("there is no standard guest {guest}; there are std:{}", known()))
}

/// Writes what a component says of itself.
///
/// # Errors
/// A component that cannot be read or loaded; output that cannot be written.
pub fn inspect(guest: &str, config: &str, out: &mut dyn Write) -> anyhow::Result<()> {
    let engine = Engine::new(EngineLimits::default(), None)?;
    let bytes = component(guest)?;
    let inspection = Guest::inspect(&engine, guest, &bytes)?;
    let loaded = load(&engine, guest, config)?;
    let manifest = loaded.manifest();
    let roles: Vec<_> = loaded.roles().iter().map(|role| role.keyword()).collect();
    writeln!(out, "component  {} {} ({} bytes)", manifest.name, manifest.version, bytes.len())?;
    writeln!(out, "roles      {}", roles.join(", "))?;
    writeln!(out, "interest   {}", loaded.interest())?;
    for (what, list) in [
        ("routes    ", &manifest.routes),
        ("reasons   ", &manifest.reasons),
        ("metrics   ", &manifest.metrics),
        ("exports   ", &inspection.exports),
        ("imports   ", &inspection.imports),
    ] {
        let text = if list.is_empty() { "none".to_owned() } else { list.join("\n           ") };
        writeln!(out, "{what} {text}")?;
    }
    Ok(())
}

/// Runs the input through the guest and writes what became of it. Returns whether it is as
/// expected.
///
/// # Errors
/// A component, input or expectation that cannot be read; output that cannot be written.
pub fn test(options: &TestOptions, out: &mut dyn Write) -> anyhow::Result<bool> {
    let engine = Engine::new(EngineLimits::default(), None)?;
    let guest = load(&engine, &options.guest, &options.config)?;
    let reader: Box<dyn BufRead> = match &options.input {
        Some(path) => {
            let file =
                std::fs::File::open(path).with_context(|| format!("input {}", path.display()))?;
            Box::new(std::io::BufReader::new(file))
        }
        None => Box::new(std::io::stdin().lock()),
    };
    let mut text = String::new();
    let mut lines = Vec::new();
    for line in reader.split(b'\n') {
        lines.push(line?);
        if lines.len() == BATCH_RECORDS {
            run_batch(&guest, &lines, options, &mut text)?;
            lines.clear();
        }
    }
    run_batch(&guest, &lines, options, &mut text)?;
    guest.for_each_series(|view| {
        let labels = view.label_names.iter().zip(view.label_values);
        let labels: serde_json::Map<_, _> =
            labels.map(|(k, v)| (k.clone(), v.clone().into())).collect();
        let value = match view.sample {
            Sample::Number(value) => json!(value),
            Sample::Histogram { buckets, sum, count } => {
                json!({"buckets": buckets, "sum": sum, "count": count})
            }
        };
        let series = json!({"metric": view.metric, "labels": labels, "value": value});
        // Writing to a string does not fail.
        writeln!(text, "{series}").unwrap_or_default();
    });
    let Some(path) = &options.expect else {
        out.write_all(text.as_bytes())?;
        return Ok(true);
    };
    let expected =
        std::fs::read_to_string(path).with_context(|| format!("expectation {}", path.display()))?;
    compare(&expected, &text, out)
}

fn compare(expected: &str, found: &str, out: &mut dyn Write) -> anyhow::Result<bool> {
    let (mut expected_lines, mut found_lines) = (expected.lines(), found.lines());
    let mut differences = 0;
    for number in 1.. {
        let (want, have) = (expected_lines.next(), found_lines.next());
        if want.is_none() && have.is_none() {
            break;
        }
        if want != have {
            differences += 1;
            writeln!(out, "line {number}")?;
            writeln!(out, "- {}", want.unwrap_or("(nothing)"))?;
            writeln!(out, "+ {}", have.unwrap_or("(nothing)"))?;
        }
    }
    writeln!(out, "{differences} lines differ")?;
    Ok(differences == 0)
}

fn batch(lines: &[Vec<u8>], options: &TestOptions) -> Batch {
    let mut batch =
        Batch::new(Vec::new(), UnixNanos(options.received.saturating_mul(1_000_000_000)));
    let decoder = Decoder::new(Format::Auto, Mode::BestEffort);
    for line in lines {
        let raw = batch.append(line);
        let mut head: Head =
            decoder.decode(batch.arena(), raw, batch.received()).unwrap_or_default();
        if !line.starts_with(b"<") {
            // Plain text is a body, whatever it looks like.
            let head_only = Head { raw, body: raw, ..Head::default() };
            let (severity, facility) = (head.severity, head.facility);
            head = Head { severity, facility, time: batch.received().0, ..head_only };
        }
        head.app = match &options.app {
            Some(app) => batch.append(app.as_bytes()),
            None => head.app_name,
        };
        head.app_hash = app_hash(Span::of(head.app, batch.arena()));
        batch.push(&head);
    }
    batch
}

fn run_batch(
    guest: &Guest,
    lines: &[Vec<u8>],
    options: &TestOptions,
    text: &mut String,
) -> anyhow::Result<()> {
    let mut batch = batch(lines, options);
    let manifest = guest.manifest().clone();
    let routes: Vec<usize> = (0..manifest.routes.len()).collect();
    let mut verdicts = Verdicts::new(routes.len());
    let mut report = |report: Report, role: Role| {
        for reason in &report.dropped {
            let reason = manifest.reasons.get(*reason as usize);
            let dropped = json!({"role": role.keyword(), "dropped": reason});
            writeln!(text, "{dropped}").unwrap_or_default();
        }
        for (record, fault) in &report.guilty {
            let fault = &report.faults[*fault];
            let fault = json!({"role": role.keyword(), "guilty": record, "fault": fault.kind.keyword(), "message": fault.message});
            writeln!(text, "{fault}").unwrap_or_default();
        }
    };
    let mut keep = |_: &Batch, _: &[(u32, usize)], _: &[Fault]| true;
    for role in guest.roles() {
        let came = match role {
            Role::Parser => guest.parse(&mut batch, &mut verdicts, &mut keep),
            Role::Router => guest.route(&mut batch, &mut verdicts, &routes, &mut keep),
            Role::Meter => guest.measure(&batch, &mut verdicts, &mut keep),
        };
        report(came, *role);
    }
    let sent: Vec<Vec<u32>> = routes.iter().map(|route| verdicts.sent_to(*route)).collect();
    for (number, record) in (0u32..).zip(batch.records()) {
        let index = record.index();
        let mut line = Vec::new();
        encode::json(&record, "test", &mut |id| FieldNames::global().name(id), &mut line);
        let line = String::from_utf8(line).context("the JSON rendering is UTF-8")?;
        let names = manifest.routes.iter().zip(&sent).filter(|(_, list)| list.contains(&number));
        let names: Vec<_> = names.map(|(name, _)| name).collect();
        let fate = json!({"dropped": verdicts.is_dead(index), "kept": verdicts.is_kept(index), "routes": names});
        writeln!(text, "{{\"fate\":{fate},\"record\":{line}}}").unwrap_or_default();
    }
    Ok(())
}
