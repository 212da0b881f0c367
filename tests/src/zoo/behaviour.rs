//! What the destinations of the zoo say and do not say.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Behaviour, Books, Wire, keeper};
use crate::pause;

/// Takes octet-counted or LF-framed records.
pub(super) fn syslog(
    wire: &mut dyn Wire,
    behaviour: Behaviour,
    books: &Books,
    reset: &dyn Fn() -> io::Result<()>,
) -> io::Result<()> {
    let is_slow = matches!(behaviour, Behaviour::Slow(_));
    let size = if is_slow { super::SMALL } else { 64 * 1024 };
    let mut reader = BufReader::with_capacity(size, wire);
    let mut record = Vec::new();
    let mut count = 0;
    while frame(&mut reader, &mut record)? {
        note(books, &record);
        books.keep("", &record);
        count += 1;
        if behaviour == Behaviour::ResetsEach(count) {
            return reset();
        }
        if let Behaviour::Slow(per_second) = behaviour {
            pause(Duration::from_secs(1) / per_second);
        }
    }
    Ok(())
}

/// Cuts one frame; false at the end.
fn frame(reader: &mut impl BufRead, record: &mut Vec<u8>) -> io::Result<bool> {
    record.clear();
    let Some(&first) = reader.fill_buf()?.first() else { return Ok(false) };
    if first == b'<' {
        reader.read_until(b'\n', record)?;
        return Ok(true);
    }
    reader.read_until(b' ', record)?;
    let count = std::str::from_utf8(record).ok().and_then(|text| text.trim().parse::<usize>().ok());
    record.resize(count.ok_or_else(|| io::Error::other("no octet count"))?, 0);
    reader.read_exact(record)?;
    Ok(true)
}

fn note(books: &Books, record: &[u8]) {
    books.records.fetch_add(1, Ordering::Relaxed);
    if let Some(latency) = keeper::latency(record) {
        books.latencies.lock().expect("books").push(latency);
    }
}

/// Notes a request of HTTP/2 and its records, in frames (logplex) or lines.
pub(super) fn note_body(books: &Books, key: &str, mut body: &[u8]) {
    books.requests.fetch_add(1, Ordering::Relaxed);
    books.keep(key, body);
    let mut record = Vec::new();
    while let Ok(true) = frame(&mut body, &mut record) {
        note(books, &record);
    }
}

/// Takes requests by POST whose body is in frames (logplex) or lines.
pub(super) fn http(wire: &mut dyn Wire, behaviour: Behaviour, books: &Books) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(64 * 1024, wire);
    let mut body = Vec::new();
    while request(&mut reader, &mut body)? {
        books.requests.fetch_add(1, Ordering::Relaxed);
        let wire = reader.get_mut();
        match behaviour {
            Behaviour::HttpStatus(status) => {
                let later = if matches!(status, 429 | 503) { "Retry-After: 1\r\n" } else { "" };
                let text = "not now\n";
                let length = text.len();
                write!(
                    wire,
                    "HTTP/1.1 {status} Zoo\r\n{later}Content-Length: {length}\r\n\r\n{text}"
                )?;
            }
            Behaviour::HttpClosesMidway => {
                return write!(wire, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of");
            }
            Behaviour::HttpEndless => {
                write!(wire, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
                let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
                while !books.is_closed() {
                    wire.write_all(chunk.as_bytes())?;
                }
            }
            Behaviour::HttpSilent => {}
            _ => {
                let mut rest = &*body;
                let mut record = Vec::new();
                while frame(&mut rest, &mut record)? {
                    books.keep("", &record);
                    note(books, &record);
                }
                write!(wire, "HTTP/1.1 204 No Content\r\n\r\n")?;
            }
        }
        reader.get_mut().flush()?;
    }
    Ok(())
}

/// Reads one request with its body; false at the end. Source: RFC 9112 §6.
fn request(reader: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<bool> {
    body.clear();
    let (mut length, mut is_chunked, mut line) = (0, false, String::new());
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(false);
        }
        let header = line.trim_end().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
        is_chunked |= header.starts_with("transfer-encoding:") && header.ends_with("chunked");
    }
    if !is_chunked {
        body.resize(length, 0);
        reader.read_exact(body)?;
        return Ok(true);
    }
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let size = u64::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
        reader.by_ref().take(size).read_to_end(body)?;
        line.clear();
        reader.read_line(&mut line)?;
        if size == 0 {
            return Ok(true);
        }
    }
}
