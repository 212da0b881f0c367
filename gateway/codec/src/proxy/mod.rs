//! The header that a proxy puts before the bytes of a connection: who the client is.
//!
//! *Source*: the PROXY protocol, versions 1 and 2, as of its specification by HAProxy. Narrower: of
//! version 2 a header of at most [`HEADER_BYTES_MAX`] bytes is taken; what follows the addresses is
//! skipped unread.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

#[cfg(test)]
mod tests;

/// What version 2 begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// What version 1 begins with.
const WORD: &[u8] = b"PROXY ";
/// The shortest header: `PROXY UNKNOWN` and its line end.
const LEAST: usize = 15;
/// A line of version 1 with its end.
const LINE_BYTES_MAX: usize = 107;
/// The fixed part of version 2.
const FIXED: usize = 16;
/// Longest header in bytes: the addresses take 216 at most, the rest is for extensions.
pub const HEADER_BYTES_MAX: usize = 4096;

/// How far a header has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// So many bytes more are a part of the header for sure; there may be others behind them.
    More(usize),
    /// It is whole. The client's address; none if the proxy speaks for itself (a probe), or the
    /// client has no address of IP.
    Done(Option<SocketAddr>),
}

/// Why these bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyError {
    /// They begin neither as version 1 nor as version 2.
    Missing,
    /// A line of version 1 that cannot be read, or has no end.
    Line,
    /// Another version than 2 behind the signature of version 2, or an unknown command.
    Command(u8),
    /// A family and transport that do not exist.
    Family(u8),
    /// Too short for the addresses of its family, or too long to be taken.
    Length(usize),
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("it does not begin with a PROXY header"),
            Self::Line => f.write_str("its PROXY line cannot be read"),
            Self::Command(byte) => {
                write!(f, "its PROXY header has version and command {byte:#04x}; known: 0x20, 0x21")
            }
            Self::Family(byte) => write!(f, "its PROXY header has the unknown family {byte:#04x}"),
            Self::Length(length) => write!(
                f,
                "its PROXY header has {length} bytes behind the first {FIXED}, too few for its \
                 addresses or more than {}",
                HEADER_BYTES_MAX - FIXED
            ),
        }
    }
}

impl std::error::Error for ProxyError {}

/// Reads a header from the first bytes of a connection. To be called with no bytes, then with as many
/// more as it asks for, until it is done: nothing behind the header is ever asked for.
///
/// # Errors
/// [`ProxyError`], as soon as it is certain.
pub fn read(bytes: &[u8]) -> Result<Progress, ProxyError> {
    let begins = |with: &[u8]| {
        let known = bytes.len().min(with.len());
        bytes.get(..known) == with.get(..known)
    };
    if begins(SIGNATURE) {
        return match bytes.first_chunk::<FIXED>() {
            Some(fixed) => version_2(fixed, bytes.get(FIXED..).unwrap_or_default()),
            None if bytes.len() < LEAST => Ok(Progress::More(LEAST - bytes.len())),
            None => Ok(Progress::More(FIXED - bytes.len())),
        };
    }
    if begins(WORD) { version_1(bytes) } else { Err(ProxyError::Missing) }
}

fn version_1(bytes: &[u8]) -> Result<Progress, ProxyError> {
    if bytes.len() < LEAST {
        return Ok(Progress::More(LEAST - bytes.len()));
    }
    let line = match bytes {
        [line @ .., b'\r', b'\n'] => line,
        _ if bytes.contains(&b'\n') => return Err(ProxyError::Line),
        [.., b'\r'] if bytes.len() < LINE_BYTES_MAX => return Ok(Progress::More(1)),
        // Both bytes of the end are to come.
        _ if bytes.len() + 2 <= LINE_BYTES_MAX => return Ok(Progress::More(2)),
        _ => return Err(ProxyError::Line),
    };
    let text = std::str::from_utf8(line).map_err(|_| ProxyError::Line)?;
    let mut words = text.split(' ').skip(1);
    let family = words.next();
    if family == Some("UNKNOWN") {
        return Ok(Progress::Done(None));
    }
    let (Some(source), Some(_), Some(port), Some(own_port), None) =
        (words.next(), words.next(), words.next(), words.next(), words.next())
    else {
        return Err(ProxyError::Line);
    };
    let address = match family {
        Some("TCP4") => source.parse().map(IpAddr::V4).ok(),
        Some("TCP6") => source.parse().map(IpAddr::V6).ok(),
        _ => None,
    };
    match (address, port_of(port), port_of(own_port)) {
        (Some(ip), Some(port), Some(_)) => Ok(Progress::Done(Some(SocketAddr::new(ip, port)))),
        _ => Err(ProxyError::Line),
    }
}

/// A port in decimal digits, without a sign or zeros before it.
fn port_of(text: &str) -> Option<u16> {
    let is_plain =
        text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain)
}

fn version_2(fixed: &[u8; FIXED], rest: &[u8]) -> Result<Progress, ProxyError> {
    let [.., command, family, high, low] = *fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    // What a local connection says of its addresses is not looked at.
    let least = match (command, family) {
        (0x20, _) | (0x21, 0x00) => 0,
        (0x21, 0x11 | 0x12) => 12,
        (0x21, 0x21 | 0x22) => 36,
        (0x21, 0x31 | 0x32) => 216,
        (0x21, _) => return Err(ProxyError::Family(family)),
        _ => return Err(ProxyError::Command(command)),
    };
    if length < least || length > HEADER_BYTES_MAX - FIXED {
        return Err(ProxyError::Length(length));
    }
    if rest.len() < length {
        return Ok(Progress::More(length - rest.len()));
    }
    let source = match (command, family) {
        (0x21, 0x11 | 0x12) => ipv4(rest),
        (0x21, 0x21 | 0x22) => ipv6(rest),
        _ => None,
    };
    Ok(Progress::Done(source))
}

/// The source of a block of IPv4: two addresses, two ports.
fn ipv4(block: &[u8]) -> Option<SocketAddr> {
    let (ip, rest) = block.split_first_chunk::<4>()?;
    let port = rest.get(4..)?.first_chunk::<2>()?;
    Some(SocketAddr::new(Ipv4Addr::from(*ip).into(), u16::from_be_bytes(*port)))
}

/// The same of IPv6.
fn ipv6(block: &[u8]) -> Option<SocketAddr> {
    let (ip, rest) = block.split_first_chunk::<16>()?;
    let port = rest.get(16..)?.first_chunk::<2>()?;
    Some(SocketAddr::new(Ipv6Addr::from(*ip).into(), u16::from_be_bytes(*port)))
}
