//! The spool from outside: `logboom spool …`.
//!
//! * **What enters**: the folder of a spool, or the configuration that names it.
//! * **What leaves**: what is in it, for people or as JSON; a mended spool; a cursor that is set back.
//! * **When it fails**: nothing is changed, and the error says what to do.
//! * **May import**: every room's library, like [`crate::run`].
//!
//! What only looks takes no lock: it may be used beside a running gateway, and sees a moment of it.

mod records;
mod text;

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use logboom_spool::inspect::{self, DestinationInfo, Report, SegmentInfo};
use logboom_spool::{Damage, OpenError};
use serde_json::{Value, json};

pub use records::{CatOptions, ExportFormat, ExportOptions};
pub(crate) use text::{printable, printable_json, table};

use crate::config::{Config, DestinationUrl};

/// What to do with a spool.
#[derive(Clone, Debug, Subcommand)]
pub enum SpoolCommand {
    /// List segments, and destinations with what waits for them
    Ls(Look),
    /// Write the records on disk as JSON, one object a line
    Cat(CatOptions),
    /// Check every frame; exit 1 where something is damaged
    Verify(Look),
    /// Take damage out, keep what is good; the gateway must be stopped
    Repair(Look),
    /// Write the records that wait for a destination
    Export(ExportOptions),
    /// Have the next start deliver again what is still on disk; the gateway must be stopped
    Replay(ReplayOptions),
}

/// Which spool.
#[derive(Args, Clone, Debug)]
pub struct Place {
    /// Folder of the spool
    #[arg(long, default_value = "logboom-data/spool")]
    path: PathBuf,
    /// Configuration file that says where the spool is
    #[arg(short, long, conflicts_with = "path")]
    config: Option<PathBuf>,
}

/// Which spool, and how to say what is found.
#[derive(Args, Clone, Debug)]
pub struct Look {
    #[command(flatten)]
    place: Place,
    /// Output for programs, as JSON
    #[arg(long)]
    json: bool,
}

/// Options of `logboom spool replay`.
#[derive(Args, Clone, Debug)]
pub struct ReplayOptions {
    #[command(flatten)]
    look: Look,
    /// URL of the destination, as in the configuration or as `ls` lists it
    #[arg(long, value_name = "URL")]
    destination: String,
    /// The first sequence to deliver again; `cat` shows them
    #[arg(long, value_name = "SEQUENCE")]
    from: u64,
}

/// Does it. Returns whether nothing was refused and no damage was found.
///
/// # Errors
/// A spool that cannot be read, or not be changed; output that cannot be written.
pub fn run(command: &SpoolCommand, out: &mut dyn Write) -> anyhow::Result<bool> {
    let mut out = BufWriter::new(out);
    let done = match command {
        SpoolCommand::Ls(look) => list(look, &mut out),
        SpoolCommand::Cat(options) => records::cat(options, &mut out),
        SpoolCommand::Verify(look) => verify(look, &mut out),
        SpoolCommand::Repair(look) => repair(look, &mut out),
        SpoolCommand::Export(options) => records::export(options, &mut out),
        SpoolCommand::Replay(options) => replay(options, &mut out),
    };
    finished(done, &mut out)
}

/// Writes what is left. A reader that has seen enough, such as `head`, is no failure.
pub(crate) fn finished(done: anyhow::Result<bool>, out: &mut dyn Write) -> anyhow::Result<bool> {
    let done = done.and_then(|is_well| {
        out.flush()?;
        Ok(is_well)
    });
    let is_enough = |error: &anyhow::Error| {
        let cause = error.downcast_ref::<io::Error>();
        cause.is_some_and(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
    };
    match done {
        Err(error) if is_enough(&error) => Ok(true),
        done => done,
    }
}

impl Place {
    fn folder(&self) -> anyhow::Result<PathBuf> {
        match &self.config {
            Some(file) => Ok(Config::load(file)?.spool.path),
            None => Ok(self.path.clone()),
        }
    }
}

/// Adds to an error of the spool what to do about it.
fn advised<T>(looked: Result<T, OpenError>) -> anyhow::Result<T> {
    looked.map_err(|error| {
        let advice = match &error {
            OpenError::Locked { .. } => {
                Some("stop the gateway that is running on it, and try again; nothing was changed")
            }
            OpenError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some("say where the spool is by --path FOLDER or -c CONFIGURATION")
            }
            OpenError::Io { .. }
            | OpenError::NewerFormat { .. }
            | OpenError::NoDestination { .. } => None,
        };
        let error = anyhow::Error::new(error);
        match advice {
            Some(advice) => anyhow::anyhow!("{error:#}; {advice}"),
            None => error,
        }
    })
}

/// A destination's URL as it is written in the spool and in the park.
pub(crate) fn canonical(url: &str) -> String {
    DestinationUrl::parse(url).map_or_else(|_| url.to_owned(), |read| read.canonical)
}

/// The destination of that name, or of that URL.
fn find(place: &std::path::Path, wanted: &str) -> anyhow::Result<DestinationInfo> {
    let canonical = canonical(wanted);
    let known = advised(inspect::destinations(place))?;
    let found = known.iter().find(|d| d.name == wanted || d.name == canonical);
    if let Some(found) = found {
        return Ok(found.clone());
    }
    let names: Vec<&str> = known.iter().map(|d| d.name.as_str()).collect();
    let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    bail!("the spool {} has no destination {wanted}; it has: {names}", place.display())
}

fn list(look: &Look, out: &mut dyn Write) -> anyhow::Result<bool> {
    let folder = look.place.folder()?;
    let segments = advised(inspect::segments(&folder))?;
    let destinations = advised(inspect::destinations(&folder))?;
    if look.json {
        let segments: Vec<Value> = segments.iter().map(segment_json).collect();
        let destinations: Vec<Value> = destinations.iter().map(destination_json).collect();
        writeln!(out, "{}", json!({ "segments": segments, "destinations": destinations }))?;
        return Ok(true);
    }
    let rows = segments.iter().map(|segment| {
        let numbers = [
            segment.first,
            segment.next.saturating_sub(segment.first),
            segment.bytes,
            segment.used_bytes,
            segment.damaged as u64,
        ];
        numbers.map(|number| number.to_string())
    });
    table(["SEGMENT", "ENTRIES", "BYTES", "USED", "DAMAGED"], rows, out)?;
    writeln!(out)?;
    let rows = destinations.iter().map(|destination| {
        let waiting = destination.waiting;
        [
            printable(&destination.name),
            destination.cursor.to_string(),
            waiting.records.to_string(),
            waiting.entries.to_string(),
            waiting.bytes.to_string(),
        ]
    });
    table(["DESTINATION", "CURSOR", "WAITING RECORDS", "IN ENTRIES", "BYTES"], rows, out)?;
    Ok(true)
}

fn segment_json(segment: &SegmentInfo) -> Value {
    let SegmentInfo { first, next, bytes, used_bytes, damaged, .. } = segment;
    let destinations = segment.destinations.iter().map(|(name, totals)| {
        let totals = json!({
            "entries": totals.entries, "records": totals.records, "bytes": totals.bytes,
        });
        (name.clone(), totals)
    });
    let destinations: serde_json::Map<_, _> = destinations.collect();
    json!({
        "first": first, "next": next, "entries": next.saturating_sub(*first), "bytes": bytes,
        "used_bytes": used_bytes, "damaged": damaged, "destinations": destinations,
    })
}

fn destination_json(destination: &DestinationInfo) -> Value {
    let DestinationInfo { name, cursor, waiting } = destination;
    json!({
        "destination": name, "cursor": cursor, "entries": waiting.entries,
        "records": waiting.records, "bytes": waiting.bytes,
    })
}

fn verify(look: &Look, out: &mut dyn Write) -> anyhow::Result<bool> {
    let folder = look.place.folder()?;
    let report = advised(inspect::verify(&folder))?;
    let is_whole = report.damaged.is_empty();
    if look.json {
        writeln!(out, "{}", report_json(&report))?;
        return Ok(is_whole);
    }
    tell(&report, out)?;
    let sentence = if is_whole {
        "nothing is damaged"
    } else {
        "damaged: a gateway passes it over and delivers the rest; `logboom spool repair` takes it out"
    };
    writeln!(out, "{sentence}")?;
    Ok(is_whole)
}

fn repair(look: &Look, out: &mut dyn Write) -> anyhow::Result<bool> {
    let folder = look.place.folder()?;
    let report = advised(inspect::repair(&folder))?;
    if look.json {
        writeln!(out, "{}", report_json(&report))?;
        return Ok(true);
    }
    tell(&report, out)?;
    let (rewritten, bytes) = (report.rewritten.len(), report.quarantined_bytes);
    let quarantine = folder.join("quarantine");
    writeln!(
        out,
        "{rewritten} segments written anew, {bytes} bytes put into {}",
        quarantine.display()
    )?;
    Ok(true)
}

fn tell(report: &Report, out: &mut dyn Write) -> anyhow::Result<()> {
    let Report { segments, entries, payload_bytes, .. } = report;
    writeln!(out, "{segments} segments, {entries} entries of {payload_bytes} bytes can be read")?;
    for damage in &report.damaged {
        match damage.segment {
            Some(first) => writeln!(out, "segment {first}")?,
            None => writeln!(out, "a count that did not come out")?,
        }
        for span in &damage.spans {
            writeln!(out, "  damaged  bytes {} to {}", span.offset, span.offset + span.len)?;
        }
        for (first, next) in &damage.sequences {
            writeln!(out, "  missing  entries {first} to {}", next.saturating_sub(1))?;
        }
        for lost in &damage.lost {
            writeln!(
                out,
                "  lost     {} records of {}",
                lost.totals.records,
                printable(&lost.name)
            )?;
        }
        if damage.is_partial {
            writeln!(out, "  lost     perhaps more")?;
        }
    }
    for cut in &report.torn {
        let (first, bytes) = (cut.segment, cut.bytes);
        writeln!(out, "segment {first}\n  unfinished  {bytes} bytes at its end, or being written")?;
    }
    Ok(())
}

fn report_json(report: &Report) -> Value {
    let damaged: Vec<Value> = report.damaged.iter().map(damage_json).collect();
    let torn = report.torn.iter().map(|cut| json!({ "segment": cut.segment, "bytes": cut.bytes }));
    json!({
        "segments": report.segments,
        "entries": report.entries,
        "payload_bytes": report.payload_bytes,
        "damaged": damaged,
        "unfinished": torn.collect::<Vec<_>>(),
        "quarantined_bytes": report.quarantined_bytes,
        "rewritten": report.rewritten,
    })
}

fn damage_json(damage: &Damage) -> Value {
    let spans = damage.spans.iter().map(|span| json!({ "offset": span.offset, "bytes": span.len }));
    let missing =
        damage.sequences.iter().map(|(first, next)| json!({ "first": first, "next": next }));
    let lost = damage.lost.iter().map(|lost| {
        json!({
            "destination": lost.name, "entries": lost.totals.entries,
            "records": lost.totals.records, "bytes": lost.totals.bytes,
        })
    });
    json!({
        "segment": damage.segment,
        "spans": spans.collect::<Vec<_>>(),
        "missing": missing.collect::<Vec<_>>(),
        "lost": lost.collect::<Vec<_>>(),
        "lost_is_partial": damage.is_partial,
    })
}

fn replay(options: &ReplayOptions, out: &mut dyn Write) -> anyhow::Result<bool> {
    let folder = options.look.place.folder()?;
    let found = find(&folder, &options.destination)?;
    if options.from > found.cursor {
        // Forward would give records up.
        let (name, cursor, from) = (&found.name, found.cursor, options.from);
        bail!("the cursor of {name} is at {cursor}: --from {from} is not before it");
    }
    advised(inspect::rewind(&folder, &found.name, options.from))?;
    let now = find(&folder, &found.name).context("the cursor is set, what waits cannot be read")?;
    if options.look.json {
        writeln!(out, "{}", destination_json(&now))?;
        return Ok(true);
    }
    let (name, cursor, records) = (printable(&now.name), now.cursor, now.waiting.records);
    writeln!(out, "{name}: the cursor is at {cursor}, it was at {}", found.cursor)?;
    if cursor > options.from {
        writeln!(out, "entries before {cursor} are no longer on disk")?;
    }
    writeln!(out, "{records} records wait, the next start delivers them")?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_leaves_is_no_failure() {
        let left = || anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(finished(Err(left()), &mut io::sink()).unwrap());
        assert!(finished(Err(io::Error::other("disk").into()), &mut io::sink()).is_err());
        assert!(!finished(Ok(false), &mut io::sink()).unwrap());
    }
}
