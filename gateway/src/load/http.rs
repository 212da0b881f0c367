//! As much of HTTP/1.1 as load takes: requests one after the other on a session, whose bodies are
//! octet-counted records (`application/logplex-1`).
//!
//! This is deliberately not the gateway's own HTTP. Bodies have a length; chunked ones are refused.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::STOP_CHECK;
use super::cut::Cutter;
use super::progress::Progress;

/// Bytes of a head.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a body that is received.
const BODY_BYTES_MAX: usize = 64 << 20;
/// How long an answer may take.
const ANSWER_WAIT: Duration = Duration::from_secs(60);

/// A session that sends.
#[derive(Debug)]
pub(super) struct Client {
    stream: TcpStream,
    head: String,
    buffer: Vec<u8>,
}

impl Client {
    /// A session to `authority`, whose requests go to `path`.
    pub(super) fn new(stream: TcpStream, authority: &str, path: &str) -> io::Result<Self> {
        stream.set_read_timeout(Some(ANSWER_WAIT))?;
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {authority}\r\nContent-Type: application/logplex-1\r\n"
        );
        Ok(Self { stream, head, buffer: Vec::new() })
    }

    /// Sends records and waits until they are acknowledged.
    pub(super) fn send(&mut self, records: &[u8]) -> io::Result<()> {
        self.buffer.clear();
        write!(self.buffer, "{}Content-Length: {}\r\n\r\n", self.head, records.len())?;
        self.buffer.extend_from_slice(records);
        self.stream.write_all(&self.buffer)?;
        self.buffer.clear();
        let head = read_head(&mut self.stream, &mut self.buffer, || true)?;
        let head = head.ok_or(ErrorKind::UnexpectedEof)?;
        read_body(&mut self.stream, &mut self.buffer, head.length, || true)?;
        if head.first.split(' ').nth(1).is_some_and(|status| status.starts_with('2')) {
            return Ok(());
        }
        let answer = String::from_utf8_lossy(&self.buffer);
        Err(io::Error::other(format!("answered {:?}: {}", head.first, answer.trim())))
    }
}

/// The first line of a head, and the length of the body behind it.
struct Head {
    first: String,
    length: usize,
}

/// Reads a head into `buffer`, of which what is behind the head stays; `None` where the session ends
/// before one begins, or `goes_on` says so.
fn read_head(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    goes_on: impl Fn() -> bool,
) -> io::Result<Option<Head>> {
    let end = loop {
        if let Some(at) = memchr::memmem::find(buffer, b"\r\n\r\n") {
            break at;
        }
        if buffer.len() > HEAD_BYTES_MAX {
            return Err(ErrorKind::InvalidData.into());
        }
        if !goes_on() || !fill(stream, buffer)? {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(buffer.get(..end).unwrap_or_default()).into_owned();
    buffer.drain(..end + 4);
    let mut lines = head.split("\r\n");
    let first = lines.next().unwrap_or_default().to_owned();
    let mut length = 0;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().map_err(|_| ErrorKind::InvalidData)?;
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(ErrorKind::InvalidData.into());
        }
    }
    if length > BODY_BYTES_MAX {
        Err(ErrorKind::InvalidData.into())
    } else {
        Ok(Some(Head { first, length }))
    }
}

/// Reads until `buffer` has the whole body.
fn read_body(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    length: usize,
    goes_on: impl Fn() -> bool,
) -> io::Result<()> {
    while buffer.len() < length {
        if !goes_on() || !fill(stream, buffer)? {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

/// Reads what there is; false at the end of the session. A time-out reads nothing.
fn fill(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<bool> {
    let mut chunk = [0; 16 * 1024];
    match stream.read(&mut chunk) {
        Ok(0) => Ok(false),
        Ok(read) => {
            buffer.extend_from_slice(chunk.get(..read).unwrap_or_default());
            Ok(true)
        }
        Err(error)
            if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
                && stream.read_timeout()? == Some(STOP_CHECK) =>
        {
            Ok(true)
        }
        Err(error) if error.kind() == ErrorKind::Interrupted => Ok(true),
        Err(error) => Err(error),
    }
}

/// Answers the requests of a session to its end.
pub(super) fn serve(mut stream: TcpStream, shared: &Progress, listener: usize) {
    if stream.set_read_timeout(Some(STOP_CHECK)).is_err() || stream.set_nodelay(true).is_err() {
        return;
    }
    let mut buffer = Vec::new();
    let goes_on = || shared.pass_gate();
    // Whatever breaks a session, its records so far are booked.
    while let Ok(Some(head)) = read_head(&mut stream, &mut buffer, goes_on) {
        if read_body(&mut stream, &mut buffer, head.length, goes_on).is_err() {
            return;
        }
        let body: Vec<u8> = buffer.drain(..head.length).collect();
        let answer = match book(&body, shared, listener) {
            Some(records) => {
                shared.count(listener, records, body.len());
                "204 No Content\r\n"
            }
            None => {
                shared.unframed_sessions.fetch_add(1, Ordering::Relaxed);
                "400 Bad Request\r\nContent-Length: 0\r\n"
            }
        };
        if stream.write_all(format!("HTTP/1.1 {answer}\r\n").as_bytes()).is_err() {
            return;
        }
    }
}

/// Books the records of a body; `None` where it is not made of records to its end.
fn book(body: &[u8], shared: &Progress, listener: usize) -> Option<u64> {
    let mut tally = shared.tally(listener)?;
    let mut records = 0;
    let cut = Cutter::default().cut(body, |message| {
        if !shared.options.count_only {
            tally.record(listener, message);
        }
        records += 1;
    });
    cut.ok().filter(|used| *used == body.len()).map(|_| records)
}
