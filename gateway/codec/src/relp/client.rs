//! The side of a destination: messages out, replies in.

use std::collections::VecDeque;

use logboom_record::Span;

use super::offers::Offers;
use super::{Frame, OK, Parser, SessionError, after, push_frame};

/// Most data of a response. Those of librelp have less than 300 bytes.
const REPLY_BYTES_MAX: usize = 8 * 1024;
/// Bytes of a refusal's text that are kept in an error.
const TEXT_BYTES_MAX: usize = 255;

/// What a server says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The session is open; what the server offers is in [`Client::offers`].
    Opened,
    /// The answer to a message.
    Syslog {
        /// The number that [`Client::syslog`] gave.
        txnr: u32,
        /// [`OK`]: the server has taken it. Anything else: it has not.
        code: u16,
        /// What the server says about it, in the bytes that were given.
        text: Span,
    },
    /// The answer to [`Client::close`]: close the connection.
    Closed,
    /// The server is about to close the connection; what was not answered will not be.
    ServerClose,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Opening,
    Open,
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Open,
    Syslog,
    Close,
}

/// One session with a server.
#[derive(Clone, Debug)]
pub struct Client {
    parser: Parser,
    data_bytes_max: usize,
    state: State,
    /// The number of the next request.
    pub(super) next: u32,
    /// What waits for an answer, oldest first.
    waiting: VecDeque<(u32, Sent)>,
    offers: Offers,
}

impl Client {
    /// Opens a session, in which a message has at most `data_bytes_max` bytes: appends the
    /// request to `out`. Messages may follow behind [`Reply::Opened`].
    #[must_use]
    pub fn open(data_bytes_max: usize, out: &mut Vec<u8>) -> Self {
        let mut client = Self {
            parser: Parser::new(REPLY_BYTES_MAX),
            data_bytes_max: data_bytes_max.min(super::TXNR_MAX as usize),
            state: State::Opening,
            next: 1,
            waiting: VecDeque::new(),
            offers: Offers::default(),
        };
        let mut offers = Vec::new();
        // What librelp offers and answers; to version 1 it answers with 0.
        Offers::push_ours(0, &mut offers);
        client.send(Sent::Open, &offers, out);
        client
    }

    /// Appends a message to `out`. Returns the number that its reply will have.
    ///
    /// # Errors
    /// [`SessionError::NotReady`] before the session is open and after it was closed;
    /// [`SessionError::MessageTooLong`]. Nothing was appended, the session can go on.
    pub fn syslog(&mut self, message: &[u8], out: &mut Vec<u8>) -> Result<u32, SessionError> {
        let (bytes, bytes_max) = (message.len(), self.data_bytes_max);
        if !self.is_open() {
            return Err(SessionError::NotReady);
        }
        if bytes > bytes_max {
            return Err(SessionError::MessageTooLong { bytes, bytes_max });
        }
        Ok(self.send(Sent::Syslog, message, out))
    }

    /// Appends the request to close the session; no message may follow.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        if self.state != State::Closed {
            self.state = State::Closed;
            self.send(Sent::Close, b"", out);
        }
    }

    fn send(&mut self, sent: Sent, data: &[u8], out: &mut Vec<u8>) -> u32 {
        let txnr = self.next;
        let command = match sent {
            Sent::Open => "open",
            Sent::Syslog => "syslog",
            Sent::Close => "close",
        };
        push_frame(txnr, command, data, out);
        self.next = after(txnr);
        self.waiting.push_back((txnr, sent));
        txnr
    }

    /// Reads replies from `buf`, of which everything from `start` on is not yet consumed, and
    /// pushes them. Returns the position up to which bytes are consumed; the caller keeps the rest
    /// as the head of its next buffer.
    ///
    /// # Errors
    /// [`SessionError`]: the replies pushed so far hold; close the connection.
    pub fn receive(
        &mut self,
        buf: &[u8],
        mut start: usize,
        replies: &mut Vec<Reply>,
    ) -> Result<usize, SessionError> {
        while let Some((frame, end)) = self.parser.cut(buf, start)? {
            replies.extend(self.take(buf, frame)?);
            start = end;
        }
        Ok(start)
    }

    fn take(&mut self, buf: &[u8], frame: Frame) -> Result<Option<Reply>, SessionError> {
        let txnr = frame.txnr;
        match (txnr, frame.command.of(buf)) {
            (0, b"serverclose") => {
                self.state = State::Closed;
                return Ok(Some(Reply::ServerClose));
            }
            // A hint may be passed over.
            (0, command) if command != b"rsp" => return Ok(None),
            (_, b"rsp") => {}
            (_, command) => {
                let command = command.escape_ascii().to_string();
                return Err(SessionError::NoResponse { txnr, command });
            }
        }
        let at = self.waiting.iter().position(|(waiting, _)| *waiting == txnr);
        let Some((_, sent)) = at.and_then(|at| self.waiting.remove(at)) else {
            return Err(SessionError::UnknownTxnr { txnr });
        };
        if sent == Sent::Close {
            // librelp answers it without a code.
            return Ok(Some(Reply::Closed));
        }
        let Some((code, text, offers)) = response(buf, frame.data) else {
            return Err(SessionError::NoCode { txnr });
        };
        if sent == Sent::Syslog {
            return Ok(Some(Reply::Syslog { txnr, code, text }));
        }
        self.opened(txnr, code, text.of(buf), Offers::parse(offers)).map(Some)
    }

    fn opened(
        &mut self,
        txnr: u32,
        code: u16,
        text: &[u8],
        offers: Offers,
    ) -> Result<Reply, SessionError> {
        if code != OK {
            let text = text.get(..TEXT_BYTES_MAX).unwrap_or(text).escape_ascii().to_string();
            return Err(SessionError::OpenRefused { code, text });
        }
        if offers.version.is_none() {
            return Err(SessionError::NoVersion { txnr });
        }
        if !offers.allows("syslog") {
            return Err(SessionError::NoSyslog);
        }
        self.offers = offers;
        if self.state == State::Opening {
            self.state = State::Open;
        }
        Ok(Reply::Opened)
    }

    /// Whether messages may be sent.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// How many requests wait for a reply. How many may is for the caller to say; librelp lets
    /// 128 wait.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.waiting.len()
    }

    /// What the server offered when it opened the session.
    #[must_use]
    pub fn offers(&self) -> &Offers {
        &self.offers
    }
}

/// Takes a response apart: code, text, and what the command adds behind a line feed.
fn response(buf: &[u8], data: Span) -> Option<(u16, Span, &[u8])> {
    let (code, rest) = data.of(buf).split_at_checked(3)?;
    if !code.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let code = code.iter().fold(0, |value, digit| value * 10 + u16::from(digit - b'0'));
    let line_end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
    let text_start = match rest.first() {
        None | Some(b'\n') => 0,
        Some(b' ') => 1,
        Some(_) => return None,
    };
    let at = data.offset as usize + 3;
    let text = Span::new(at + text_start, at + line_end);
    Some((code, text, rest.get(line_end + 1..).unwrap_or_default()))
}
