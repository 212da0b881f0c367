//! RELP, the reliable event logging protocol: syslog over a stream, each record answered.
//!
//! * **What enters**: bytes as a connection gave them; messages and answers to be sent.
//! * **What leaves**: [`Request`]s for a source ([`Server`]), [`Reply`]s for a connector
//!   ([`Client`]), both with spans of those bytes; frames, appended to a buffer.
//! * **Limits**: a transaction number is 1 to [`TXNR_MAX`], a command has at most
//!   [`COMMAND_BYTES_MAX`] letters, data has at most as many bytes as the [`Parser`] was given.
//!   Unanswered requests are counted here; how many there may be is for the caller to say.
//! * **When it fails**: [`SessionError`] ends the session: answer what came before, write what
//!   [`Server::reject`] says, and close.
//! * **May import**: as the rest of the crate. No I/O, no clock.
//!
//! ```text
//! frame = TXNR SP COMMAND SP DATALEN [SP DATA] LF      no SP and no DATA where DATALEN is 0
//!         2 syslog 19 <13>1 - - - - - hi LF
//!         2 rsp 6 200 OK LF
//! ```
//!
//! *Source*: `relp.md` of librelp (version 0.0.1 of 2008, as amended), and what librelp does where
//! that leaves a choice; `docs/spec/relp.md` lists the choices.

mod client;
mod error;
mod offers;
mod server;

use logboom_record::Span;

use crate::encode::push_number;

pub use self::client::{Client, Reply};
pub use self::error::{FrameError, Part, SessionError};
pub use self::offers::Offers;
pub use self::server::{Request, Server};

/// Highest transaction number; the one after it is 1.
pub const TXNR_MAX: u32 = 999_999_999;
/// Most letters of a command.
pub const COMMAND_BYTES_MAX: usize = 32;
/// Most data of a frame where nothing else was agreed upon, as in librelp.
pub const DATA_BYTES_MAX_DEFAULT: usize = 128 * 1024;
/// Most bytes of a frame besides its data.
pub const OVERHEAD_BYTES_MAX: usize = 2 * DIGITS_MAX + COMMAND_BYTES_MAX + 4;
/// The code of a response that says yes.
pub const OK: u16 = 200;
/// The code of a response that says no.
pub const REFUSED: u16 = 500;

/// Most digits of a number.
const DIGITS_MAX: usize = 9;

/// One frame: spans of the bytes it was cut from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Transaction number, 0 to [`TXNR_MAX`]; 0 is a hint, which nobody answers.
    pub txnr: u32,
    /// 1 to [`COMMAND_BYTES_MAX`] ASCII letters.
    pub command: Span,
    /// What the command is about.
    pub data: Span,
}

/// Cuts frames from a stream. Holds no bytes: what is not consumed stays with the caller.
#[derive(Clone, Debug)]
pub struct Parser {
    data_bytes_max: usize,
}

impl Parser {
    /// A parser that takes frames with at most `data_bytes_max` bytes of data.
    #[must_use]
    pub fn new(data_bytes_max: usize) -> Self {
        Self { data_bytes_max }
    }

    /// Cuts the frame that starts at `start` of `buf`: the frame, and where the next one starts.
    /// `None` if it has not all come yet; the rest from `start` on is then shorter than
    /// [`OVERHEAD_BYTES_MAX`] and the limit of the data together.
    ///
    /// # Errors
    /// [`FrameError`] as soon as a byte shows that this is no frame: close the session.
    pub fn cut(&self, buf: &[u8], start: usize) -> Result<Option<(Frame, usize)>, FrameError> {
        let Some((txnr, txnr_end)) = number(Part::Txnr, buf, start)? else { return Ok(None) };
        let command_start = txnr_end + 1;
        let Some(command_end) = command(buf, command_start)? else { return Ok(None) };
        let Some((bytes, len_end)) = number(Part::DataLen, buf, command_end + 1)? else {
            return Ok(None);
        };
        let bytes = bytes as usize;
        if bytes > self.data_bytes_max {
            return Err(FrameError::TooLong { bytes, bytes_max: self.data_bytes_max });
        }
        if bytes > 0 && buf.get(len_end) == Some(&b'\n') {
            let (part, offset, found) = (Part::DataLen, len_end, b'\n');
            return Err(FrameError::Unexpected { part, offset, found });
        }
        let data_start = if bytes == 0 { len_end } else { len_end + 1 };
        let trailer = data_start + bytes;
        match buf.get(trailer).copied() {
            None => Ok(None),
            Some(b'\n') => {
                let command = Span::new(command_start, command_end);
                let data = Span::new(data_start, trailer);
                Ok(Some((Frame { txnr, command, data }, trailer + 1)))
            }
            Some(found) => {
                Err(FrameError::Unexpected { part: Part::Trailer, offset: trailer, found })
            }
        }
    }
}

/// Reads 1 to [`DIGITS_MAX`] digits at `start`: the number, and where the space or, behind a length,
/// the LF lies that ends it.
fn number(part: Part, buf: &[u8], start: usize) -> Result<Option<(u32, usize)>, FrameError> {
    let mut value = 0;
    for digits in 0..=DIGITS_MAX {
        let offset = start + digits;
        let Some(found) = buf.get(offset).copied() else { return Ok(None) };
        match found {
            b' ' if digits > 0 => return Ok(Some((value, offset))),
            b'\n' if digits > 0 && part == Part::DataLen => return Ok(Some((value, offset))),
            // Nine digits stay below 2^32.
            b'0'..=b'9' if digits < DIGITS_MAX => value = value * 10 + u32::from(found - b'0'),
            _ => return Err(FrameError::Unexpected { part, offset, found }),
        }
    }
    Ok(None)
}

/// Passes over 1 to [`COMMAND_BYTES_MAX`] letters: where the space lies that ends them.
fn command(buf: &[u8], start: usize) -> Result<Option<usize>, FrameError> {
    for letters in 0..=COMMAND_BYTES_MAX {
        let offset = start + letters;
        let Some(found) = buf.get(offset).copied() else { return Ok(None) };
        match found {
            b' ' if letters > 0 => return Ok(Some(offset)),
            _ if found.is_ascii_alphabetic() && letters < COMMAND_BYTES_MAX => {}
            _ => return Err(FrameError::Unexpected { part: Part::Command, offset, found }),
        }
    }
    Ok(None)
}

/// Appends a frame.
fn push_frame(txnr: u32, command: &str, data: &[u8], out: &mut Vec<u8>) {
    push_number(u64::from(txnr), out);
    out.push(b' ');
    out.extend_from_slice(command.as_bytes());
    out.push(b' ');
    push_number(data.len() as u64, out);
    if !data.is_empty() {
        out.push(b' ');
        out.extend_from_slice(data);
    }
    out.push(b'\n');
}

/// The transaction number after `txnr`.
fn after(txnr: u32) -> u32 {
    if txnr >= TXNR_MAX { 1 } else { txnr + 1 }
}

#[cfg(test)]
mod tests;
