//! Records of the spool: `logboom spool cat` and `logboom spool export`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use logboom_codec::encode::{self, WireFormat, WireFraming};
use logboom_record::{FieldNames, Record, Selection};
use logboom_spool::inspect::{self, EntryInfo, Filter};
use serde_json::json;

use super::{Look, advised, find, printable, printable_json};
use crate::outbound::{Entry, EntryError, MARKS, destination_key};

/// Options of `logboom spool cat`.
#[derive(Args, Clone, Debug)]
pub struct CatOptions {
    #[command(flatten)]
    look: Look,
    /// Only records for this destination
    #[arg(long, value_name = "URL")]
    destination: Option<String>,
    /// Only entries from this sequence on
    #[arg(long, value_name = "SEQUENCE", default_value_t = 0)]
    from: u64,
    /// At most so many records
    #[arg(long, value_name = "RECORDS")]
    limit: Option<usize>,
}

/// Options of `logboom spool export`.
#[derive(Args, Clone, Debug)]
pub struct ExportOptions {
    #[command(flatten)]
    look: Look,
    /// URL of the destination, as in the configuration or as `ls` lists it
    #[arg(long, value_name = "URL")]
    destination: String,
    /// How to write them
    #[arg(long, value_enum, default_value_t = ExportFormat::Ndjson)]
    format: ExportFormat,
    /// A file, which must not be there yet; standard output unless given
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// How records are exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// A JSON object a line
    Ndjson,
    /// An RFC 5424 message a line
    Syslog,
}

/// An entry that could be read.
struct Decoded {
    sequence: u64,
    entry: Entry,
    wants: Vec<(String, Selection)>,
}

impl Decoded {
    /// Reads an entry, and who gets what of it: all that want it, or one.
    fn read(info: EntryInfo, only: Option<&str>) -> Result<Self, EntryError> {
        let entry = Entry::read(info.payload)?;
        let mut wants = Vec::new();
        for (name, ..) in info.wants {
            // Of a destination that the spool cannot name nobody can be told; marks are no records.
            let has_records = !name.is_empty() && name != MARKS;
            if has_records && only.is_none_or(|only| only == name) {
                let selection = entry.selection(destination_key(&name))?;
                wants.push((name, selection));
            }
        }
        Ok(Self { sequence: info.sequence, entry, wants })
    }

    /// The records that somebody gets, each with the names of those.
    fn records(&self) -> impl Iterator<Item = (Record<'_>, Vec<&str>)> {
        let batch = &self.entry.batch;
        let mut wanted = BTreeMap::<usize, Vec<&str>>::new();
        for (name, selection) in &self.wants {
            for index in selection.iter(batch.len()) {
                wanted.entry(index).or_default().push(name);
            }
        }
        let records = wanted.into_iter();
        records.filter_map(|(index, names)| Some((batch.record(index)?, names)))
    }

    fn json(&self, record: &Record<'_>, line: &mut Vec<u8>) {
        encode::json(record, &self.entry.source, &mut |id| FieldNames::global().name(id), line);
    }
}

/// What it writes is JSON with and without `--json`.
pub(super) fn cat(options: &CatOptions, out: &mut dyn Write) -> anyhow::Result<bool> {
    let folder = options.look.place.folder()?;
    let only = options.destination.as_deref();
    let only = only.map(|wanted| find(&folder, wanted)).transpose()?.map(|found| found.name);
    let filter = Filter { destination: only.clone(), from: options.from, ..Filter::default() };
    let mut left = options.limit.unwrap_or(usize::MAX);
    let mut is_whole = true;
    for info in advised(inspect::entries(&folder, filter))? {
        if left == 0 {
            break;
        }
        let sequence = info.sequence;
        let decoded = match Decoded::read(info, only.as_deref()) {
            Ok(decoded) => decoded,
            Err(error) => {
                is_whole = false;
                writeln!(out, "{}", json!({ "sequence": sequence, "error": error.to_string() }))?;
                continue;
            }
        };
        for (record, names) in decoded.records().take(left) {
            left -= 1;
            let head = json!({ "sequence": decoded.sequence, "destinations": names }).to_string();
            let mut line = head.trim_end_matches('}').as_bytes().to_vec();
            line.extend_from_slice(b",\"record\":");
            decoded.json(&record, &mut line);
            line.push(b'}');
            writeln!(out, "{}", printable_json(&String::from_utf8_lossy(&line)))?;
        }
    }
    Ok(is_whole)
}

pub(super) fn export(options: &ExportOptions, out: &mut dyn Write) -> anyhow::Result<bool> {
    let is_json = options.look.json;
    if is_json && options.format == ExportFormat::Syslog {
        bail!("syslog is no JSON: leave out --json, or --format syslog");
    }
    let folder = options.look.place.folder()?;
    let destination = find(&folder, &options.destination)?;
    let name = destination.name.as_str();
    let filter = Filter {
        destination: Some(name.to_owned()),
        from: destination.cursor,
        ..Filter::default()
    };
    let entries = advised(inspect::entries(&folder, filter))?;
    let (mut written, mut broken) = (0, None);
    let write = |to: &mut dyn Write, is_terminal: bool| -> anyhow::Result<()> {
        for info in entries {
            let sequence = info.sequence;
            match Decoded::read(info, Some(name)) {
                Ok(decoded) => written += write_all(&decoded, options.format, is_terminal, to)?,
                Err(error) => broken = Some((sequence, error)),
            }
        }
        Ok(to.flush()?)
    };
    match &options.output {
        None => write(out, io::stdout().is_terminal())?,
        Some(path) => {
            // It holds what records say: for the owner alone.
            let file = File::options().write(true).create_new(true).mode(0o600).open(path);
            let file = file.with_context(|| format!("output {}", path.display()))?;
            write(&mut BufWriter::new(&file), false)?;
            file.sync_all().with_context(|| format!("output {}", path.display()))?;
        }
    }
    if let Some((sequence, error)) = broken {
        bail!("entry {sequence} cannot be read: {error}; {written} records are written");
    }
    let expected = destination.waiting.records;
    // Fewer may have been delivered meanwhile.
    if written < expected && !advised(inspect::verify(&folder))?.damaged.is_empty() {
        bail!(
            "{written} of {expected} records are written, the spool is damaged: `logboom spool verify` \
             says where"
        );
    }
    if let Some(path) = &options.output {
        let output = path.display().to_string();
        if is_json {
            let told = json!({ "destination": name, "records": written, "output": output });
            writeln!(out, "{}", printable_json(&told.to_string()))?;
        } else {
            writeln!(out, "{written} records of {} in {output}", printable(name))?;
        }
    }
    Ok(true)
}

/// Writes the records of an entry; says how many.
fn write_all(
    decoded: &Decoded,
    format: ExportFormat,
    is_terminal: bool,
    out: &mut dyn Write,
) -> io::Result<u64> {
    let mut line = Vec::new();
    let mut written = 0;
    for (record, _) in decoded.records() {
        line.clear();
        match format {
            ExportFormat::Ndjson => {
                decoded.json(&record, &mut line);
                let text = printable_json(&String::from_utf8_lossy(&line));
                writeln!(out, "{text}")?;
            }
            ExportFormat::Syslog => {
                encode::framed(WireFormat::Rfc5424, WireFraming::Lf, &record, &mut line);
                if is_terminal {
                    let text = String::from_utf8_lossy(&line);
                    writeln!(out, "{}", printable(text.trim_end_matches('\n')))?;
                } else {
                    out.write_all(&line)?;
                }
            }
        }
        written += 1;
    }
    Ok(written)
}
