//! What may be wrong with a session.

use std::fmt;

use super::{COMMAND_BYTES_MAX, DIGITS_MAX};

/// A part of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The transaction number.
    Txnr,
    /// The command.
    Command,
    /// The length of the data.
    DataLen,
    /// The line feed behind the data.
    Trailer,
}

/// Bytes that are no frame. Nobody knows where the next one starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// A byte that may not stand where it does.
    Unexpected {
        /// What it stands in, or ends.
        part: Part,
        /// Where it lies in the bytes that were given.
        offset: usize,
        /// The byte.
        found: u8,
    },
    /// More data than the session takes.
    TooLong {
        /// What the frame announces.
        bytes: usize,
        /// What is allowed.
        bytes_max: usize,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (part, offset, found) = match *self {
            Self::TooLong { bytes, bytes_max } => {
                return write!(f, "frame announces {bytes} bytes of data, allowed: {bytes_max}");
            }
            Self::Unexpected { part, offset, found } => (part, offset, found.escape_ascii()),
        };
        match part {
            Part::Txnr => write!(
                f,
                "transaction number goes on with `{found}`, allowed: 1 to {DIGITS_MAX} digits, \
                 one space"
            ),
            Part::Command => write!(
                f,
                "command goes on with `{found}`, allowed: 1 to {COMMAND_BYTES_MAX} letters, one \
                 space"
            ),
            Part::DataLen => write!(
                f,
                "length of data goes on with `{found}`, allowed: 1 to {DIGITS_MAX} digits, one \
                 space, or a line feed behind 0"
            ),
            Part::Trailer => write!(f, "frame ends with `{found}`, allowed: a line feed"),
        }?;
        write!(f, ", at byte {offset} of the buffer")
    }
}

impl std::error::Error for FrameError {}

/// Why a session cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionError {
    /// What came is no frame.
    Frame(FrameError),
    /// A request does not have the number after that of the one before it.
    OutOfOrder {
        /// Its number.
        found: u32,
        /// The number it must have.
        expected: u32,
    },
    /// A request comes before the session was opened or after it was closed.
    NotOpen {
        /// Its number.
        txnr: u32,
    },
    /// A request is none that this server knows.
    UnknownCommand {
        /// Its number.
        txnr: u32,
        /// The command.
        command: String,
    },
    /// A peer opens a session, or answers to it, without a version of the protocol.
    NoVersion {
        /// The number of the transaction.
        txnr: u32,
    },
    /// A server answers what it was not asked, or answers it twice.
    UnknownTxnr {
        /// The number in the answer.
        txnr: u32,
    },
    /// A server sends something else than an answer.
    NoResponse {
        /// The number of the transaction.
        txnr: u32,
        /// The command.
        command: String,
    },
    /// The response does not start with three digits.
    NoCode {
        /// The number of the transaction.
        txnr: u32,
    },
    /// The server does not want the session.
    OpenRefused {
        /// The code it gives.
        code: u16,
        /// What it says, with control characters escaped.
        text: String,
    },
    /// The server does not take syslog.
    NoSyslog,
    /// A message was to be sent while the session is not open, or was closed.
    NotReady,
    /// A message that is to be sent is too long.
    MessageTooLong {
        /// Its length.
        bytes: usize,
        /// What is allowed.
        bytes_max: usize,
    },
}

impl SessionError {
    /// The number of the request that is at fault, if it may be answered.
    pub(super) fn txnr(&self) -> Option<u32> {
        match self {
            Self::NotOpen { txnr }
            | Self::UnknownCommand { txnr, .. }
            | Self::NoVersion { txnr } => Some(*txnr),
            _ => None,
        }
    }
}

impl From<FrameError> for SessionError {
    fn from(error: FrameError) -> Self {
        Self::Frame(error)
    }
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frame(_) => f.write_str("what came is no frame"),
            Self::OutOfOrder { found, expected } => {
                write!(f, "request has transaction number {found}, expected: {expected}")
            }
            Self::NotOpen { txnr } => write!(f, "request {txnr} while the session is not open"),
            Self::UnknownCommand { txnr, command } => {
                write!(f, "request {txnr} is `{command}`, known: open, syslog, close")
            }
            Self::NoVersion { txnr } => write!(f, "no relp_version is offered in open {txnr}"),
            Self::UnknownTxnr { txnr } => write!(f, "response to {txnr}, which waits for none"),
            Self::NoResponse { txnr, command } => {
                write!(f, "server sends `{command}` with number {txnr}, known: rsp")
            }
            Self::NoCode { txnr } => {
                write!(f, "response to {txnr} does not start with a code of three digits")
            }
            Self::OpenRefused { code, text } => {
                write!(f, "server refuses the session: {code} {text}")
            }
            Self::NoSyslog => f.write_str("server does not offer the command syslog"),
            Self::NotReady => f.write_str("the session is not open"),
            Self::MessageTooLong { bytes, bytes_max } => {
                write!(f, "message has {bytes} bytes, allowed: {bytes_max}")
            }
        }
    }
}

impl std::error::Error for SessionError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Frame(error) => Some(error),
            _ => None,
        }
    }
}
