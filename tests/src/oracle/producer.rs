//! A sender by RELP, written from the protocol's specification and from nothing else, which notes
//! what is acknowledged and sends again, on a new connection, what was not.
//!
//! A frame is `TXNR SP COMMAND SP DATALEN [SP DATA] LF`; each command is answered by `rsp` with the
//! same number, whose data starts with a code: 200 takes the record over.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::message;
use crate::scratch::{DEADLINE, pause, wait_until};

/// The highest transaction number; the next is 1.
const TRANSACTION_MAX: u32 = 999_999_999;
/// Between two attempts to connect.
const RECONNECT: Duration = Duration::from_millis(10);
/// How long a read waits before it is looked whether to stop.
const READ: Duration = Duration::from_millis(100);

/// What a producer does.
#[derive(Clone, Debug)]
pub struct ProducerOptions {
    /// Where a server for RELP is, or will be.
    pub address: SocketAddr,
    /// What payloads follow from, besides the id.
    pub seed: u64,
    /// Over how many apps ids are dealt out.
    pub apps: u64,
    /// Frames sent and not yet answered, at most.
    pub window: usize,
    /// Records a second at most; 0 for no limit.
    pub rate: u64,
}

/// What a producer has sent.
#[derive(Clone, Debug, Default)]
pub struct Sent {
    /// For each id that was issued, whether it was acknowledged.
    pub acknowledged: Vec<bool>,
    /// Answers other than 200, by their text; the first few.
    pub refusals: Vec<String>,
    /// Connections that were opened.
    pub sessions: u64,
}

impl Sent {
    /// How many ids were issued.
    #[must_use]
    pub fn issued(&self) -> u64 {
        self.acknowledged.len() as u64
    }
}

/// A running sender. It ends by [`finish`](Self::finish), or at the latest with the process.
#[derive(Debug)]
pub struct Producer {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    acknowledged: AtomicU64,
    sent: Mutex<Sent>,
}

impl Producer {
    /// Starts to send, as soon as there is a server.
    #[must_use]
    pub fn start(options: ProducerOptions) -> Self {
        Self::start_run(options, true)
    }

    /// As [`start`](Self::start), but what is not answered when a connection ends is not sent again:
    /// no record has a reason to come twice.
    #[must_use]
    pub fn start_forgetful(options: ProducerOptions) -> Self {
        Self::start_run(options, false)
    }

    fn start_run(options: ProducerOptions, resends: bool) -> Self {
        let shared = Arc::new(Shared::default());
        let thread = thread::spawn({
            let shared = Arc::clone(&shared);
            move || Run { resends, ..Run::new(options, shared) }.run()
        });
        Self { shared, thread }
    }

    /// How many records are acknowledged so far.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::Relaxed)
    }

    /// Issues no more, sends what is not answered until it is, and returns the books.
    ///
    /// # Panics
    /// When not everything is answered in time.
    #[must_use]
    pub fn finish(self) -> Sent {
        self.shared.stop.store(true, Ordering::Relaxed);
        wait_until("answers to all that was sent", || self.thread.is_finished());
        self.thread.join().expect("the producer");
        std::mem::take(&mut *self.shared.sent.lock().expect("books"))
    }
}

struct Run {
    options: ProducerOptions,
    shared: Arc<Shared>,
    started: Instant,
    issued: u64,
    /// Ids to be sent before any new one, in order.
    again: VecDeque<u64>,
    /// Whether what is not answered is to be sent again.
    resends: bool,
}

impl Run {
    fn new(options: ProducerOptions, shared: Arc<Shared>) -> Self {
        let (started, again) = (Instant::now(), VecDeque::new());
        Self { options, shared, started, issued: 0, again, resends: true }
    }

    fn is_done(&self) -> bool {
        self.shared.stop.load(Ordering::Relaxed) && self.again.is_empty()
    }

    fn run(mut self) {
        let mut last = Instant::now();
        loop {
            let before = self.shared.acknowledged.load(Ordering::Relaxed);
            if let Ok(session) = Session::open(self.options.address) {
                self.shared.sent.lock().expect("books").sessions += 1;
                self.talk(session);
            }
            if self.is_done() {
                return;
            }
            if self.shared.acknowledged.load(Ordering::Relaxed) != before {
                last = Instant::now();
            }
            if self.shared.stop.load(Ordering::Relaxed) && last.elapsed() > DEADLINE {
                // `finish` says so; this only ends the thread.
                return;
            }
            pause(RECONNECT);
        }
    }

    /// Sends and reads answers until the connection ends or all is done; what is not answered then
    /// is to be sent again.
    fn talk(&mut self, mut session: Session) {
        loop {
            let sent = self.fill(&mut session);
            if sent.is_err() || session.unanswered.is_empty() && self.is_done() {
                break;
            }
            if session.unanswered.is_empty() {
                // The pace allows nothing yet.
                pause(Duration::from_millis(1));
                continue;
            }
            match session.answers() {
                Ok(answers) => answers.into_iter().for_each(|(id, refusal)| self.note(id, refusal)),
                Err(_) => break,
            }
        }
        if self.is_done() && session.unanswered.is_empty() {
            session.close();
            return;
        }
        if !self.resends {
            return;
        }
        // In the order in which they were issued: those unanswered are older than those not resent.
        let mut again: Vec<u64> = session.unanswered.iter().map(|&(_, id)| id).collect();
        again.extend(&self.again);
        again.sort_unstable();
        self.again = again.into();
    }

    fn note(&mut self, id: u64, refusal: Option<String>) {
        let mut sent = self.shared.sent.lock().expect("books");
        match refusal {
            None => {
                let index = usize::try_from(id).expect("an index");
                sent.acknowledged[index] = true;
                self.shared.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Some(text) => {
                self.again.push_back(id);
                if sent.refusals.len() < 10 {
                    sent.refusals.push(text);
                }
            }
        }
    }

    /// Sends until the window is full, as far as the pace allows.
    fn fill(&mut self, session: &mut Session) -> io::Result<()> {
        let ProducerOptions { seed, apps, window, rate, .. } = self.options;
        while session.unanswered.len() < window {
            let id = if let Some(id) = self.again.pop_front() {
                id
            } else {
                let due = self.started.elapsed().as_secs_f64() * rate as f64;
                let is_early = rate > 0 && self.issued as f64 >= due;
                if self.shared.stop.load(Ordering::Relaxed) || is_early {
                    break;
                }
                self.issued += 1;
                self.shared.sent.lock().expect("books").acknowledged.push(false);
                self.issued - 1
            };
            session.queue(id, &message(seed, apps, id));
        }
        session.flush()
    }
}

/// One connection.
struct Session {
    stream: TcpStream,
    transaction: u32,
    /// Sent, by number and id, in order.
    unanswered: VecDeque<(u32, u64)>,
    out: Vec<u8>,
    read: Vec<u8>,
}

impl Session {
    fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(READ))?;
        let (out, read) = (Vec::new(), Vec::new());
        let mut session = Self { stream, transaction: 0, unanswered: VecDeque::new(), out, read };
        let offers = "relp_version=0\nrelp_software=logboom-oracle\ncommands=syslog";
        let opened = session.frame("open", offers);
        session.flush()?;
        let asked = Instant::now();
        while asked.elapsed() < DEADLINE {
            if let Some((transaction, answer)) = session.receive()?.into_iter().next() {
                if transaction == opened && answer.starts_with("200") {
                    return Ok(session);
                }
                return Err(io::Error::other(format!("answer to open: {answer}")));
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    fn frame(&mut self, command: &str, data: &str) -> u32 {
        self.transaction =
            if self.transaction == TRANSACTION_MAX { 1 } else { self.transaction + 1 };
        let gap = if data.is_empty() { "" } else { " " };
        let frame = format!("{} {command} {}{gap}{data}\n", self.transaction, data.len());
        self.out.extend_from_slice(frame.as_bytes());
        self.transaction
    }

    fn queue(&mut self, id: u64, message: &str) {
        let transaction = self.frame("syslog", message);
        self.unanswered.push_back((transaction, id));
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.stream.write_all(&self.out);
        self.out.clear();
        result
    }

    /// Waits a moment for answers; the ids they are for, and the text where it is not 200.
    fn answers(&mut self) -> io::Result<Vec<(u64, Option<String>)>> {
        let mut answers = Vec::new();
        for (transaction, text) in self.receive()? {
            let at = self.unanswered.iter().position(|&(sent, _)| sent == transaction);
            let at = at.ok_or_else(|| io::Error::other(format!("{transaction} was not sent")))?;
            let (_, id) = self.unanswered.remove(at).expect("just found");
            let is_taken = text.split([' ', '\n']).next() == Some("200");
            answers.push((id, (!is_taken).then_some(text)));
        }
        Ok(answers)
    }

    /// The data of answers by their numbers; none where none came in a moment.
    fn receive(&mut self) -> io::Result<Vec<(u32, String)>> {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => self.read.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Vec::new()),
            Err(error) => return Err(error),
        }
        let mut answers = Vec::new();
        while let Some(frame) = cut(&self.read)? {
            match frame.command.as_str() {
                "rsp" => answers.push((frame.transaction, frame.data)),
                // The server is about to go: what came before still counts.
                "serverclose" if answers.is_empty() => {
                    return Err(io::ErrorKind::ConnectionAborted.into());
                }
                "serverclose" => return Ok(answers),
                other => return Err(io::Error::other(format!("a server does not say {other}"))),
            }
            self.read.drain(..frame.length);
        }
        Ok(answers)
    }

    fn close(mut self) {
        self.frame("close", "");
        // Out of courtesy; nothing depends on it.
        drop(self.flush());
        drop(self.receive());
    }
}

/// A frame as it stands at the front of what was read.
pub(super) struct Frame {
    /// Its length, all in all.
    pub(super) length: usize,
    pub(super) transaction: u32,
    pub(super) command: String,
    pub(super) data: String,
}

/// The frame at the front; none where it has not come whole.
pub(super) fn cut(bytes: &[u8]) -> io::Result<Option<Frame>> {
    let wrong = || io::Error::other(format!("no frame: {:?}", String::from_utf8_lossy(bytes)));
    let mut words = bytes.splitn(3, |&byte| byte == b' ');
    let (Some(transaction), Some(command), Some(rest)) = (words.next(), words.next(), words.next())
    else {
        return Ok(None);
    };
    let Some(digits) = rest.iter().position(|byte| !byte.is_ascii_digit()) else { return Ok(None) };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let size: usize = text(&rest[..digits]).parse().map_err(|_| wrong())?;
    let transaction = text(transaction).parse().map_err(|_| wrong())?;
    // A length of 0 may be followed by the end at once.
    let data_at = digits + usize::from(rest[digits] == b' ');
    let Some(&end) = rest.get(data_at + size) else { return Ok(None) };
    if end != b'\n' {
        return Err(wrong());
    }
    let length = bytes.len() - rest.len() + data_at + size + 1;
    let data = text(&rest[data_at..data_at + size]);
    Ok(Some(Frame { length, transaction, command: text(command), data }))
}
