//! The side of a source: requests in, answers out.

use logboom_record::Span;

use super::offers::Offers;
use super::{OK, Parser, REFUSED, SessionError, after, push_frame, push_number};

/// Bytes of text in a refusal.
const TEXT_BYTES_MAX: usize = 80;

/// What a client asks. Each has to be answered, in the order in which they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// It opens the session; what it offers is in [`Server::offers`]. Answer with
    /// [`Server::accept_open`] or [`Server::refuse`].
    Open {
        /// Transaction number.
        txnr: u32,
    },
    /// A record. Answer with [`Server::ok`] when it is safe, or with [`Server::refuse`].
    Syslog {
        /// Transaction number.
        txnr: u32,
        /// Where it lies in the bytes that were given; a line end behind it may be part of it.
        data: Span,
    },
    /// The client is done. Answer with [`Server::ok`], then close the connection.
    Close {
        /// Transaction number.
        txnr: u32,
    },
}

impl Request {
    /// Where the record lies that it brings, if it does.
    #[must_use]
    pub fn data(&self) -> Option<Span> {
        match self {
            Self::Syslog { data, .. } => Some(*data),
            Self::Open { .. } | Self::Close { .. } => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    New,
    Open,
    Closed,
}

/// One session with a client.
#[derive(Clone, Debug)]
pub struct Server {
    parser: Parser,
    state: State,
    /// The number that the next request must have.
    pub(super) expected: u32,
    unanswered: usize,
    offers: Offers,
}

impl Server {
    /// A new session, in which a request has at most `data_bytes_max` bytes.
    #[must_use]
    pub fn new(data_bytes_max: usize) -> Self {
        Self {
            parser: Parser::new(data_bytes_max),
            state: State::New,
            expected: 1,
            unanswered: 0,
            offers: Offers::default(),
        }
    }

    /// Reads requests from `buf`, of which everything from `start` on is not yet consumed. They
    /// are pushed with spans of `buf`, until there are none or `requests` holds `requests_max`.
    /// Returns the position up to which bytes are consumed; the caller keeps the rest as the head
    /// of its next buffer. A window is kept by a small `requests_max` and by not calling while
    /// [`Server::unanswered`] is as large as the window.
    ///
    /// # Errors
    /// [`SessionError`]: answer the requests pushed so far and those before them, then send what
    /// [`Server::reject`] writes and close the connection.
    pub fn receive(
        &mut self,
        buf: &[u8],
        mut start: usize,
        requests: &mut Vec<Request>,
        requests_max: usize,
    ) -> Result<usize, SessionError> {
        while requests.len() < requests_max {
            let Some((frame, end)) = self.parser.cut(buf, start)? else { break };
            requests.push(self.take(buf, frame)?);
            start = end;
        }
        Ok(start)
    }

    fn take(&mut self, buf: &[u8], frame: super::Frame) -> Result<Request, SessionError> {
        let txnr = frame.txnr;
        // Holds for 0 as well: a client has no hints to give.
        if txnr != self.expected {
            return Err(SessionError::OutOfOrder { found: txnr, expected: self.expected });
        }
        let request = match (frame.command.of(buf), self.state) {
            (b"open", State::New) => {
                self.offers = Offers::parse(frame.data.of(buf));
                if self.offers.version.is_none() {
                    return Err(SessionError::NoVersion { txnr });
                }
                self.state = State::Open;
                Request::Open { txnr }
            }
            // librelp opens open sessions at times. As in its own server, that changes nothing.
            (b"open", State::Open) => Request::Open { txnr },
            (b"syslog", State::Open) => Request::Syslog { txnr, data: frame.data },
            (b"close", State::Open) => {
                self.state = State::Closed;
                Request::Close { txnr }
            }
            (b"open" | b"syslog" | b"close", _) => return Err(SessionError::NotOpen { txnr }),
            (command, _) => {
                let command = command.escape_ascii().to_string();
                return Err(SessionError::UnknownCommand { txnr, command });
            }
        };
        self.expected = after(txnr);
        self.unanswered += 1;
        Ok(request)
    }

    /// What the client offered when it opened the session.
    #[must_use]
    pub fn offers(&self) -> &Offers {
        &self.offers
    }

    /// How many requests were received and not answered.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.unanswered
    }

    /// Appends the answer that opens the session.
    pub fn accept_open(&mut self, txnr: u32, out: &mut Vec<u8>) {
        let mut data = b"200 OK\n".to_vec();
        Offers::push_ours(self.offers.version.unwrap_or_default(), &mut data);
        self.answer(txnr, &data, out);
    }

    /// Appends the answer that says yes.
    pub fn ok(&mut self, txnr: u32, out: &mut Vec<u8>) {
        self.answer(txnr, b"200 OK", out);
    }

    /// Appends an answer that says no, with the first line of `text`. `code` is [`REFUSED`] or
    /// another of three digits; [`OK`] would say yes. A record that is refused is gone: librelp does
    /// not send it again, as it does with those that were not answered when the session ended.
    pub fn refuse(&mut self, txnr: u32, code: u16, text: &str, out: &mut Vec<u8>) {
        let mut data = Vec::new();
        push_number(u64::from(code.clamp(100, 999)), &mut data);
        debug_assert_ne!(code, OK, "a refusal that says yes");
        let text = text.as_bytes();
        let text = text.get(..TEXT_BYTES_MAX).unwrap_or(text);
        data.push(b' ');
        data.extend(text.iter().take_while(|byte| **byte != b'\n'));
        self.answer(txnr, &data, out);
    }

    /// Appends what to send before the connection is closed because of `error`.
    pub fn reject(&mut self, error: &SessionError, out: &mut Vec<u8>) {
        if let Some(txnr) = error.txnr() {
            self.unanswered += 1;
            self.refuse(txnr, REFUSED, &error.to_string(), out);
        }
        self.serverclose(out);
    }

    /// Appends the hint that the connection is about to be closed.
    pub fn serverclose(&self, out: &mut Vec<u8>) {
        push_frame(0, "serverclose", b"", out);
    }

    fn answer(&mut self, txnr: u32, data: &[u8], out: &mut Vec<u8>) {
        debug_assert!(self.unanswered > 0, "an answer to {txnr}, which was answered before");
        self.unanswered = self.unanswered.saturating_sub(1);
        push_frame(txnr, "rsp", data, out);
    }
}
