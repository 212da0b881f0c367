//! The relay protocol over QUIC: control frames and batches as bytes. No I/O.
//!
//! ```text
//!  control stream  HELLO ─▶        ◀─ WELCOME, ACK, ACK, …, GOAWAY
//!  one stream for each producer    index │ batch │ batch │ …            ─▶
//! ```
//!
//! *Source*: `docs/spec/quic.md`, which has drawings and test vectors; all numbers are big endian.

mod error;
#[cfg(test)]
mod tests;

use std::ops::Range;

use logboom_record::{POSITION_BYTES, Position, ProducerId};

pub use error::{Code, RelayError};

/// The protocol's name in the TLS handshake.
pub const ALPN: &[u8] = b"logboom/1";
/// The version spoken here.
pub const VERSION: u16 = 1;
/// Producers a connection may speak for.
pub const PRODUCERS_MAX: usize = 64;
/// Bytes of a control frame's body.
pub const CONTROL_BYTES_MAX: usize = 4096;
/// What every server takes: bytes of a batch's records.
pub const BATCH_BYTES_LEAST: u32 = 1 << 20;
/// What every server takes: records of a batch.
pub const BATCH_RECORDS_LEAST: u32 = 1024;
/// Bytes of a batch's head.
pub const BATCH_HEAD_BYTES: usize = 20;
/// Bytes at the front of a producer's stream.
pub const STREAM_HEAD_BYTES: usize = 2;

/// Bytes of a control frame before its body.
const FRAME_HEAD_BYTES: usize = 3;
/// Bytes that a record needs at least: `1 x`, and the space between.
const RECORD_BYTES_LEAST: u32 = 3;

const HELLO: u8 = 1;
const WELCOME: u8 = 2;
const ACK: u8 = 3;
const GOAWAY: u8 = 4;

/// What a client opens with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The versions it speaks, lowest and highest.
    pub versions: (u16, u16),
    /// Whom it speaks for; the place in this list is the producer's index on the connection.
    pub producers: Vec<ProducerId>,
}

/// What a server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The version that is spoken from here on.
    pub version: u16,
    /// What a batch may have.
    pub limits: Limits,
    /// Up to where it has each producer's records, in the order of the producers.
    pub positions: Vec<Position>,
}

/// What a batch may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of its records, at least [`BATCH_BYTES_LEAST`].
    pub bytes: u32,
    /// Records, at least [`BATCH_RECORDS_LEAST`].
    pub records: u32,
}

/// A frame of the control stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// Client to server, first of all.
    Hello(Hello),
    /// Server to client, first of all.
    Welcome(Welcome),
    /// Server to client: all of a producer up to here is kept.
    Ack {
        /// Its index.
        producer: u16,
        /// Up to where.
        position: Position,
    },
    /// Server to client: send no more here.
    GoAway,
    /// Of a later version; to be passed over.
    Unknown(u8),
}

impl Control {
    /// Writes the frame.
    pub fn write(&self, out: &mut Vec<u8>) {
        let begin = out.len();
        out.extend_from_slice(&[0; FRAME_HEAD_BYTES]);
        let kind = match self {
            Self::Hello(hello) => {
                out.extend_from_slice(&hello.versions.0.to_be_bytes());
                out.extend_from_slice(&hello.versions.1.to_be_bytes());
                out.extend_from_slice(&small(hello.producers.len()).to_be_bytes());
                hello.producers.iter().for_each(|id| out.extend_from_slice(&id.0));
                HELLO
            }
            Self::Welcome(welcome) => {
                out.extend_from_slice(&welcome.version.to_be_bytes());
                out.extend_from_slice(&welcome.limits.bytes.to_be_bytes());
                out.extend_from_slice(&welcome.limits.records.to_be_bytes());
                out.extend_from_slice(&small(welcome.positions.len()).to_be_bytes());
                for position in &welcome.positions {
                    out.extend_from_slice(&position.to_bytes());
                }
                WELCOME
            }
            Self::Ack { producer, position } => {
                out.extend_from_slice(&producer.to_be_bytes());
                out.extend_from_slice(&position.to_bytes());
                ACK
            }
            Self::GoAway => GOAWAY,
            Self::Unknown(kind) => *kind,
        };
        let [high, low] = small(out.len() - begin - FRAME_HEAD_BYTES).to_be_bytes();
        if let Some(head) = out.get_mut(begin..begin + FRAME_HEAD_BYTES) {
            head.copy_from_slice(&[kind, high, low]);
        }
    }

    /// Reads the frame at the front of `bytes`, and says how many bytes it has; none if it has not
    /// all come. What a body has beyond what is known is passed over.
    ///
    /// # Errors
    /// [`RelayError`].
    pub fn read(bytes: &[u8]) -> Result<Option<(Self, usize)>, RelayError> {
        let Some((&[kind, high, low], rest)) = bytes.split_first_chunk::<FRAME_HEAD_BYTES>() else {
            return Ok(None);
        };
        let len = usize::from(u16::from_be_bytes([high, low]));
        if len > CONTROL_BYTES_MAX {
            return Err(RelayError::FrameBytes(len));
        }
        let Some(body) = rest.get(..len) else { return Ok(None) };
        let mut body = Body { rest: body, kind };
        let control = match kind {
            HELLO => Self::Hello(body.hello()?),
            WELCOME => Self::Welcome(body.welcome()?),
            ACK => Self::Ack { producer: body.u16()?, position: body.position()? },
            GOAWAY => Self::GoAway,
            other => Self::Unknown(other),
        };
        Ok(Some((control, FRAME_HEAD_BYTES + len)))
    }

    /// Its type on the wire.
    #[must_use]
    pub fn kind(&self) -> u8 {
        match self {
            Self::Hello(_) => HELLO,
            Self::Welcome(_) => WELCOME,
            Self::Ack { .. } => ACK,
            Self::GoAway => GOAWAY,
            Self::Unknown(kind) => *kind,
        }
    }
}

/// The body of a control frame.
struct Body<'a> {
    rest: &'a [u8],
    kind: u8,
}

impl Body<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], RelayError> {
        let (taken, rest) =
            self.rest.split_first_chunk::<N>().ok_or(RelayError::Frame(self.kind))?;
        self.rest = rest;
        Ok(*taken)
    }

    fn u16(&mut self) -> Result<u16, RelayError> {
        self.take().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, RelayError> {
        self.take().map(u32::from_be_bytes)
    }

    fn position(&mut self) -> Result<Position, RelayError> {
        self.take::<POSITION_BYTES>().map(Position::of_bytes)
    }

    fn count(&mut self) -> Result<usize, RelayError> {
        let count = usize::from(self.u16()?);
        if count == 0 || count > PRODUCERS_MAX {
            return Err(RelayError::Producers(count));
        }
        Ok(count)
    }

    fn hello(&mut self) -> Result<Hello, RelayError> {
        let versions = (self.u16()?, self.u16()?);
        // What follows may be otherwise in a version that is not known.
        if !(versions.0..=versions.1).contains(&VERSION) {
            return Err(RelayError::Version(versions.0, versions.1));
        }
        let mut producers: Vec<ProducerId> = Vec::new();
        for _ in 0..self.count()? {
            let id = ProducerId(self.take()?);
            if producers.contains(&id) {
                return Err(RelayError::Frame(self.kind));
            }
            producers.push(id);
        }
        Ok(Hello { versions, producers })
    }

    fn welcome(&mut self) -> Result<Welcome, RelayError> {
        let version = self.u16()?;
        if version != VERSION {
            return Err(RelayError::Version(version, version));
        }
        let limits = Limits { bytes: self.u32()?, records: self.u32()? };
        if limits.bytes < BATCH_BYTES_LEAST || limits.records < BATCH_RECORDS_LEAST {
            return Err(RelayError::Frame(self.kind));
        }
        let count = self.count()?;
        let positions = (0..count).map(|_| self.position()).collect::<Result<_, _>>()?;
        Ok(Welcome { version, limits, positions })
    }
}

/// The head of a batch; its records follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHead {
    /// Behind its last record.
    pub position: Position,
    /// Its records.
    pub records: u32,
    /// Bytes of these, with their counts.
    pub bytes: u32,
}

impl BatchHead {
    /// The head as bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; BATCH_HEAD_BYTES] {
        let mut bytes = [0; BATCH_HEAD_BYTES];
        let (position, rest) = bytes.split_at_mut(POSITION_BYTES);
        let (records, length) = rest.split_at_mut(4);
        position.copy_from_slice(&self.position.to_bytes());
        records.copy_from_slice(&self.records.to_be_bytes());
        length.copy_from_slice(&self.bytes.to_be_bytes());
        bytes
    }

    /// Reads a head; `limits` are those of the `WELCOME`, `last` is the position of the batch before
    /// it on the same stream.
    ///
    /// # Errors
    /// [`RelayError`]: the batch is too large, or not behind the last one.
    pub fn read(
        bytes: [u8; BATCH_HEAD_BYTES],
        limits: Limits,
        last: Position,
    ) -> Result<Self, RelayError> {
        let [position @ .., r0, r1, r2, r3, b0, b1, b2, b3] = bytes;
        let head = Self {
            position: Position::of_bytes(position),
            records: u32::from_be_bytes([r0, r1, r2, r3]),
            bytes: u32::from_be_bytes([b0, b1, b2, b3]),
        };
        if head.records == 0 || head.records > limits.records {
            return Err(RelayError::BatchRecords(head.records));
        }
        if head.bytes > limits.bytes || head.bytes / RECORD_BYTES_LEAST < head.records {
            return Err(RelayError::BatchBytes(head.bytes));
        }
        if head.position <= last {
            return Err(RelayError::Order);
        }
        Ok(head)
    }

    /// Where each record lies in the bytes behind the head.
    ///
    /// # Errors
    /// [`RelayError::Framing`]: they are not as many, not as long, or not counted as they should be.
    ///
    /// *Source*: RFC 6587 section 3.4.1; a count has no leading zero.
    pub fn records(&self, body: &[u8]) -> Result<Vec<Range<usize>>, RelayError> {
        let mut records = Vec::with_capacity(body.len().min(self.records as usize));
        let mut at = 0;
        while at < body.len() {
            let record = next(body, at).ok_or(RelayError::Framing(at))?;
            at = record.end;
            records.push(record);
        }
        if records.len() != self.records as usize || body.len() != self.bytes as usize {
            return Err(RelayError::Framing(at));
        }
        Ok(records)
    }
}

/// The record that is counted at a place.
fn next(body: &[u8], mut at: usize) -> Option<Range<usize>> {
    let mut count: usize = 0;
    loop {
        match body.get(at)? {
            b' ' if count > 0 => break,
            b'0' if count == 0 => return None,
            digit @ b'0'..=b'9' => {
                count = count.checked_mul(10)?.checked_add(usize::from(digit - b'0'))?;
            }
            _ => return None,
        }
        at += 1;
    }
    let begin = at + 1;
    let end = begin.checked_add(count)?;
    (end <= body.len()).then_some(begin..end)
}

/// Appends a record to the body of a batch.
pub fn push_record(message: &[u8], body: &mut Vec<u8>) {
    body.extend_from_slice(message.len().to_string().as_bytes());
    body.push(b' ');
    body.extend_from_slice(message);
}

/// Counts on the wire have 16 bits; none here is larger.
fn small(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}
