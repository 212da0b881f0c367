//! Files, and standard output: a record a line.

use std::fs::File;
use std::io::{ErrorKind, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
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
    file: Arc<File>,
    path: PathBuf,
    format: LineFormat,
    checked: Instant,
}

impl FileConnector {
    pub(super) async fn open(path: &Path, format: LineFormat) -> Result<Self, Failure> {
        let to_open = path.to_owned();
        let file = blocking(move || open(&to_open)).await;
        let file = Arc::new(file.map_err(|error| Failure::io("connect", &error))?);
        Ok(Self { file, path: path.to_owned(), format, checked: Instant::now() })
    }

    /// Writes a chunk.
    pub(super) async fn send(
        &mut self,
        hand: &Hand,
        out: &mut Vec<u8>,
        progress: &mut Progress,
    ) -> Result<usize, Failure> {
        let (sent, must_last) = encode_chunk(self.format, hand, out);
        let is_due = self.checked.elapsed() >= CHECK_EVERY;
        let to_follow = is_due.then(|| self.path.clone());
        let (held, lines) = (Arc::clone(&self.file), std::mem::take(out));
        let written = blocking(move || {
            let file = match to_follow {
                Some(path) => follow(held, &path)?,
                None => held,
            };
            append(&file, &lines, must_last)?;
            Ok((file, lines))
        });
        let (file, lines) = written.await.map_err(|error| Failure::io("write", &error))?;
        (self.file, *out) = (file, lines);
        if is_due {
            self.checked = Instant::now();
        }
        progress.bytes += out.len();
        progress.settle(sent, Outcome::Delivered);
        Ok(sent)
    }
}

/// Does what a disk may make wait.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)?
}

fn open(path: &Path) -> std::io::Result<File> {
    File::options().create(true).append(true).open(path)
}

/// Opens the path anew if it no longer names the open file: it was rotated away.
fn follow(held: Arc<File>, path: &Path) -> std::io::Result<Arc<File>> {
    let open_now = held.metadata()?;
    let is_same = std::fs::metadata(path)
        .is_ok_and(|found| (found.dev(), found.ino()) == (open_now.dev(), open_now.ino()));
    if is_same { Ok(held) } else { open(path).map(Arc::new) }
}

/// Appends all lines. After a failure the part that was written is taken back, so that no torn record
/// stays for the next one to be glued to.
fn append(file: &File, lines: &[u8], must_last: bool) -> std::io::Result<()> {
    let mut torn = Torn::default();
    let written = torn.write(file, lines);
    let kept = written.and_then(|()| if must_last { sync(file) } else { Ok(()) });
    if kept.is_err() {
        // That it was written is the error to tell; where it stays, records come twice.
        torn.take_back(file).unwrap_or_default();
    }
    kept
}

fn sync(file: &File) -> std::io::Result<()> {
    match file.sync_data() {
        // What cannot be synced, such as a pipe, has no disk behind it.
        Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(()),
        synced => synced,
    }
}

/// What was written of a chunk.
#[derive(Debug, Default)]
struct Torn {
    start: Option<u64>,
    bytes: u64,
}

impl Torn {
    fn write(&mut self, mut file: &File, mut lines: &[u8]) -> std::io::Result<()> {
        while !lines.is_empty() {
            match file.write(lines) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => {
                    lines = lines.get(n..).unwrap_or_default();
                    if self.start.is_none() {
                        // Behind what was appended, wherever the end was. A pipe has no position.
                        let end = file.stream_position().ok();
                        self.start = end.and_then(|end| end.checked_sub(n as u64));
                    }
                    self.bytes += n as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Cuts the file back, if what it ends with is all ours: others may append to it as well.
    fn take_back(&self, mut file: &File) -> std::io::Result<()> {
        let Some(start) = self.start else { return Ok(()) };
        let (end, metadata) = (file.stream_position()?, file.metadata()?);
        let is_whole = end == start + self.bytes;
        if metadata.is_file() && is_whole && metadata.len() == end {
            file.set_len(start)?;
        }
        Ok(())
    }
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

/// Encodes a chunk; returns its records, and whether it must last: a source waits for the receipt of
/// one of them, or the spool lets go of one that was synced there.
fn encode_chunk(format: LineFormat, hand: &Hand, out: &mut Vec<u8>) -> (usize, bool) {
    out.clear();
    let (mut sent, mut must_last) = (0, false);
    for (item, record) in hand.unsent_records() {
        line(format, &item.parcel.source, record, out);
        must_last |= item.parcel.receipt.is_some() || item.held.is_some();
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
            encode::framed(format, framing, &record, out);
        }
        LineFormat::Json => {
            encode::json(&record, source, &mut |id| FieldNames::global().name(id), out);
            out.push(b'\n');
        }
        LineFormat::Raw => encode::raw(&record, out),
    }
}

#[cfg(test)]
mod tests {
    use logboom_record::{Batch, Head, UnixNanos};

    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            drop(std::fs::remove_dir_all(&self.0));
        }
    }

    #[test]
    fn what_a_failed_write_left_is_taken_back_unless_others_wrote_behind_or_between() {
        let folder = Folder::new("logboom-torn");
        let path = folder.0.join("log");
        let (own, other) = (open(&path).unwrap(), open(&path).unwrap());
        append(&other, b"before\n", false).unwrap();

        let mut torn = Torn::default();
        torn.write(&own, b"whole\nto").unwrap();
        torn.write(&own, b"rn").unwrap();
        torn.take_back(&own).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"before\n");

        let mut torn = Torn::default();
        torn.write(&own, b"torn").unwrap();
        append(&other, b"behind\n", false).unwrap();
        torn.take_back(&own).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"before\ntornbehind\n");

        let mut torn = Torn::default();
        torn.write(&own, b"to").unwrap();
        append(&other, b"between\n", false).unwrap();
        torn.write(&own, b"rn").unwrap();
        torn.take_back(&own).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"before\ntornbehind\ntobetween\nrn");

        let untouched = Torn::default();
        untouched.take_back(&own).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 30);
    }

    #[test]
    fn a_file_that_was_rotated_away_is_opened_anew() {
        let folder = Folder::new("logboom-rotated");
        let path = folder.0.join("log");
        let held = Arc::new(open(&path).unwrap());
        let same = follow(Arc::clone(&held), &path).unwrap();
        assert!(Arc::ptr_eq(&held, &same));
        std::fs::rename(&path, folder.0.join("log.1")).unwrap();
        let next = follow(held, &path).unwrap();
        append(&next, b"new\n", true).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new\n");
    }

    #[test]
    fn what_has_no_disk_behind_it_need_not_be_synced() {
        append(&open(Path::new("/dev/null")).unwrap(), b"line\n", true).unwrap();
    }

    #[test]
    fn a_full_disk_is_an_error_and_leaves_a_device_alone() {
        let full = File::options().append(true).open("/dev/full").unwrap();
        let error = append(&full, b"line\n", false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
    }

    #[test]
    fn a_record_is_one_line_in_each_format() {
        let mut batch = Batch::new(Vec::new(), UnixNanos(0));
        let body = batch.append(b"a\n<0>1 - forged\r\n\0");
        batch.push(&Head { body, ..Head::default() });
        let line = |format| {
            let mut out = Vec::new();
            line(format, "edge", batch.record(0).unwrap(), &mut out);
            assert_eq!(out.iter().filter(|byte| b"\n\r\0".contains(byte)).count(), 1);
            assert_eq!(out.pop(), Some(b'\n'));
            out
        };
        let escaped = b"a#012<0>1 - forged#015#012#000";
        assert_eq!(line(LineFormat::Raw), escaped);
        assert!(line(LineFormat::Rfc5424).ends_with(escaped));
        assert!(line(LineFormat::Json).ends_with(br#""body":"a\n<0>1 - forged\r\n\u0000"}"#));
    }
}
