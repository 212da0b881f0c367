//! Files, and standard output: a record a line.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use logboom_codec::encode;
use logboom_record::{FieldNames, Record};
use tokio::io::AsyncWriteExt;

use super::{CHUNK_BYTES, Failure};
use crate::config::LineFormat;
use crate::outbound::hand::{Hand, Outcome, Progress};

/// How often an open file is compared with its path, to follow rotation.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// A file that is appended to.
#[derive(Debug)]
pub(in crate::outbound) struct FileConnector {
    file: tokio::fs::File,
    path: PathBuf,
    format: LineFormat,
    checked: Instant,
}

impl FileConnector {
    pub(super) async fn open(path: &Path, format: LineFormat) -> Result<Self, Failure> {
        let file = open(path).await.map_err(|error| Failure::io("connect", &error))?;
        Ok(Self { file, path: path.to_owned(), format, checked: Instant::now() })
    }

    /// Writes a chunk; after a failure the file is cut back to its end before, so that no torn record
    /// stays for the next one to be glued to.
    pub(super) async fn send(
        &mut self,
        hand: &Hand,
        out: &mut Vec<u8>,
        progress: &mut Progress,
    ) -> Result<usize, Failure> {
        let (sent, must_last) = encode_chunk(self.format, hand, out);
        let written = self.append(out, must_last).await;
        written.map_err(|error| Failure::io("write", &error))?;
        progress.bytes += out.len();
        progress.settle(sent, Outcome::Delivered);
        Ok(sent)
    }

    async fn append(&mut self, lines: &[u8], must_last: bool) -> std::io::Result<()> {
        if self.checked.elapsed() >= CHECK_EVERY {
            self.checked = Instant::now();
            self.follow().await?;
        }
        let start = self.file.metadata().await?.len();
        let written = async {
            self.file.write_all(lines).await?;
            self.file.flush().await?;
            if must_last { self.file.sync_data().await } else { Ok(()) }
        };
        if let Err(error) = written.await {
            self.file.set_len(start).await?;
            return Err(error);
        }
        Ok(())
    }

    /// Opens the path anew if it no longer names the open file: it was rotated away.
    async fn follow(&mut self) -> std::io::Result<()> {
        let held = self.file.metadata().await?;
        let same = tokio::fs::metadata(&self.path)
            .await
            .is_ok_and(|found| (found.dev(), found.ino()) == (held.dev(), held.ino()));
        if !same {
            self.file = open(&self.path).await?;
        }
        Ok(())
    }
}

async fn open(path: &Path) -> std::io::Result<tokio::fs::File> {
    tokio::fs::OpenOptions::new().create(true).append(true).open(path).await
}

pub(super) async fn send_stdout(
    format: LineFormat,
    hand: &Hand,
    out: &mut Vec<u8>,
    progress: &mut Progress,
) -> Result<usize, Failure> {
    let (sent, _) = encode_chunk(format, hand, out);
    let mut stdout = tokio::io::stdout();
    let written = async {
        stdout.write_all(out).await?;
        stdout.flush().await
    };
    written.await.map_err(|error| Failure::io("write", &error))?;
    progress.bytes += out.len();
    progress.settle(sent, Outcome::Delivered);
    Ok(sent)
}

/// Encodes a chunk; returns its records, and whether a source waits for the receipt of one of them.
fn encode_chunk(format: LineFormat, hand: &Hand, out: &mut Vec<u8>) -> (usize, bool) {
    out.clear();
    let (mut sent, mut must_last) = (0, false);
    for (item, record) in hand.unsent_records() {
        line(format, &item.parcel.source, record, out);
        must_last |= item.parcel.receipt.is_some();
        sent += 1;
        if out.len() >= CHUNK_BYTES {
            break;
        }
    }
    (sent, must_last)
}

fn line(format: LineFormat, source: &str, record: Record<'_>, out: &mut Vec<u8>) {
    match format {
        LineFormat::Rfc5424 => {
            let (format, framing) = (encode::WireFormat::Rfc5424, encode::WireFraming::Lf);
            return encode::framed(format, framing, &record, out);
        }
        LineFormat::Json => {
            encode::json(&record, source, &mut |id| FieldNames::global().name(id), out);
        }
        LineFormat::Raw => out.extend_from_slice(record.body()),
    }
    out.push(b'\n');
}
