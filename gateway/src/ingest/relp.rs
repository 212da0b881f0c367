//! RELP sessions: every record answered, and only when its receipt says so.
//!
//! ```text
//!  read ─▶ requests ─▶ batch, with a receipt ─▶ … ─▶ receipt resolves ─▶ answers, in order
//! ```
//!
//! Answered are the requests of a whole read at once. Records that were given up are not answered:
//! the session is closed, and the sender, which still has them, sends them again.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::time::Duration;

use logboom_codec::framing::{Frame, trim};
use logboom_codec::relp::{Request, Server};
use logboom_record::{Receipt, Resolution, Span};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::entrance::Entrance;
use super::listener::stopping;
use super::peer::{Peer, Senders};
use crate::net::Stream;
use crate::telemetry::ledger::RejectReason;

/// Bytes read at a time.
const READ_BYTES: usize = 64 << 10;
/// Bytes of a frame beside its data.
const FRAME_OVERHEAD: usize = 64;

/// Serves a session until one of the sides ends it.
pub(super) async fn session(stream: Stream, peer: &Peer, entrance: &Entrance) {
    // A group has a request at least, and the window limits those that are not answered.
    let (resolved, resolutions) = mpsc::channel(entrance.window + 1);
    let mut session = Session {
        server: Server::new(entrance.record_bytes_max),
        stream,
        buffer: Vec::new(),
        requests: Vec::new(),
        groups: VecDeque::new(),
        next_group: 0,
        resolved,
        resolutions,
        out: Vec::new(),
        peer,
        entrance,
    };
    let ended = session.run().await;
    let source = entrance.name.as_str();
    match ended {
        End::Peer | End::Idle | End::Shutdown => tracing::debug!(source, %peer, "session ended"),
        End::Broken(error) => tracing::debug!(source, %peer, %error, "session broke"),
        End::Lost => {
            if let Some(left_out) = entrance.throttle.allow() {
                let what = "session closed, records it sent were given up and not acknowledged";
                tracing::warn!(source, %peer, left_out, "{what}");
            }
        }
        End::Frame => entrance.note_late_frame(peer),
        End::Protocol(error) => {
            entrance.book.reject(RejectReason::Framing, 1);
            if let Some(left_out) = entrance.throttle.allow() {
                tracing::warn!(source, %peer, error, left_out, "session closed, it is no RELP");
            }
        }
    }
}

/// Why a session ended.
enum End {
    Peer,
    Shutdown,
    Idle,
    /// A frame did not end in time.
    Frame,
    /// Records were given up.
    Lost,
    Protocol(String),
    Broken(std::io::Error),
}

/// Requests of one read, to be answered together.
struct Group {
    number: u64,
    requests: Vec<Request>,
    is_resolved: bool,
}

struct Session<'a> {
    server: Server,
    stream: Stream,
    /// Bytes not yet consumed.
    buffer: Vec<u8>,
    requests: Vec<Request>,
    /// What is not answered yet, oldest first.
    groups: VecDeque<Group>,
    next_group: u64,
    resolved: mpsc::Sender<(u64, Resolution)>,
    resolutions: mpsc::Receiver<(u64, Resolution)>,
    out: Vec<u8>,
    peer: &'a Peer,
    entrance: &'a Entrance,
}

/// What a session waits for.
enum Turn {
    Readable(std::io::Result<()>),
    /// There is memory for what can be read.
    Room,
    Resolved(u64, Resolution),
    Late,
    Stop,
}

impl Session<'_> {
    async fn run(&mut self) -> End {
        let mut shutdown = self.entrance.shutdown.clone();
        let mut is_last = false;
        let mut frame_deadline: Option<Instant> = None;
        // Since when there is something to read.
        let mut readable: Option<Instant> = None;
        loop {
            if is_last && self.groups.is_empty() {
                return self.say_goodbye().await;
            }
            let wait = frame_deadline.unwrap_or_else(|| Instant::now() + self.entrance.idle);
            let has_window = self.server.unanswered() < self.entrance.window && !is_last;
            let (listens, wants_room) =
                (has_window && readable.is_none(), has_window && readable.is_some());
            // All of them are cancel safe.
            let turn = tokio::select! {
                biased;
                Some((group, resolution)) = self.resolutions.recv() => {
                    Turn::Resolved(group, resolution)
                }
                () = stopping(&mut shutdown), if !is_last => Turn::Stop,
                ready = self.stream.readable(), if listens => Turn::Readable(ready),
                () = self.entrance.admission.room(), if wants_room => Turn::Room,
                () = tokio::time::sleep_until(wait), if listens => Turn::Late,
            };
            let taken = match turn {
                Turn::Resolved(_, Resolution::Lost) => Err(End::Lost),
                Turn::Resolved(group, Resolution::Kept) => self.go_on(group, is_last).await,
                Turn::Readable(Ok(())) => {
                    readable = Some(Instant::now());
                    Ok(false)
                }
                Turn::Readable(Err(error)) => Err(End::Broken(error)),
                Turn::Room => {
                    // The peer is not to blame for the gateway's want of memory.
                    let waited = readable.take().map_or(Duration::ZERO, |since| since.elapsed());
                    frame_deadline = frame_deadline.map(|deadline| deadline + waited);
                    self.read().await
                }
                Turn::Late if frame_deadline.is_some() => Err(End::Frame),
                Turn::Late if self.groups.is_empty() => Err(End::Idle),
                Turn::Late => Ok(false),
                Turn::Stop => {
                    is_last = true;
                    Ok(false)
                }
            };
            let has_taken = match taken {
                Ok(has_taken) => has_taken,
                Err(end) => return end,
            };
            if self.buffer.is_empty() {
                // An idle session holds no buffer.
                self.buffer = Vec::new();
                frame_deadline = None;
            } else if has_taken || frame_deadline.is_none() {
                // The frame at the front began with this read.
                frame_deadline = Some(Instant::now() + self.entrance.frame_timeout);
            }
            if self.server.unanswered() >= self.entrance.window {
                // Not the peer is late, but the gateway.
                frame_deadline = None;
            }
        }
    }

    /// Reads what there is. Returns whether requests were taken.
    async fn read(&mut self) -> Result<bool, End> {
        self.buffer.reserve(READ_BYTES);
        match self.stream.try_read_buf(&mut self.buffer) {
            Ok(0) => Err(End::Peer),
            Ok(_) => self.take().await,
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(End::Broken(error)),
        }
    }

    /// Answers what is resolved; then there is room for what was read before and did not fit. Returns
    /// whether requests were taken.
    async fn go_on(&mut self, group: u64, is_last: bool) -> Result<bool, End> {
        self.answer(group).await?;
        if is_last || self.buffer.is_empty() { Ok(false) } else { self.take().await }
    }

    /// Takes the requests that the buffer has, as far as the window allows. Returns whether there were
    /// any.
    async fn take(&mut self) -> Result<bool, End> {
        let mut has_taken = false;
        loop {
            self.requests.clear();
            let room = self.entrance.window.saturating_sub(self.server.unanswered());
            let received = self.server.receive(&self.buffer, 0, &mut self.requests, room);
            let taken = !self.requests.is_empty();
            has_taken |= taken;
            if let Ok(consumed) = received {
                self.take_requests(consumed).await?;
                if !taken || consumed == 0 {
                    break;
                }
            } else if let Err(error) = received {
                let end = self.requests.iter().map(|request| match request {
                    Request::Syslog { data, .. } => (data.offset + data.len) as usize,
                    Request::Open { .. } | Request::Close { .. } => 0,
                });
                self.take_requests(end.max().unwrap_or(0)).await?;
                self.out.clear();
                self.server.reject(&error, &mut self.out);
                // The peer may be gone, which ends the session as well.
                drop(self.write().await);
                return Err(End::Protocol(error.to_string()));
            }
        }
        // A frame larger than the record's limit never completes.
        let most = self.entrance.record_bytes_max + FRAME_OVERHEAD + READ_BYTES;
        let is_stuck = self.buffer.len() > most && self.server.unanswered() == 0;
        if is_stuck {
            Err(End::Protocol("a frame is longer than it may be".into()))
        } else {
            Ok(has_taken)
        }
    }

    /// Makes a batch of the requests in hand, which lie in the first `consumed` bytes.
    async fn take_requests(&mut self, consumed: usize) -> Result<(), End> {
        if self.requests.is_empty() {
            return Ok(());
        }
        let requests = std::mem::take(&mut self.requests);
        let number = self.next_group;
        self.next_group += 1;
        let frames: Vec<Frame> = requests.iter().filter_map(|r| frame(r, &self.buffer)).collect();
        self.groups.push_back(Group { number, requests, is_resolved: frames.is_empty() });
        let rest = self.buffer.get(consumed..).unwrap_or_default().to_vec();
        let mut arena = std::mem::replace(&mut self.buffer, rest);
        arena.truncate(consumed);
        if frames.is_empty() {
            return self.answer(number).await;
        }
        let resolved = self.resolved.clone();
        let receipt = Receipt::new(move |resolution| {
            // The session may be over; then nobody waits.
            resolved.try_send((number, resolution)).unwrap_or_default();
        });
        let batch = self.entrance.decode(arena, &frames, Senders::One(self.peer));
        // Strict sources refuse what is malformed; that is decided, and counted, and answered as such.
        self.entrance.offer(batch, Some(receipt)).await;
        Ok(())
    }

    /// Notes that a group is resolved, and answers all at the front that are.
    async fn answer(&mut self, number: u64) -> Result<(), End> {
        if let Some(group) = self.groups.iter_mut().find(|group| group.number == number) {
            group.is_resolved = true;
        }
        self.out.clear();
        let mut is_over = false;
        while self.groups.front().is_some_and(|group| group.is_resolved) {
            for request in self.groups.pop_front().into_iter().flat_map(|group| group.requests) {
                match request {
                    Request::Open { txnr } => self.server.accept_open(txnr, &mut self.out),
                    Request::Syslog { txnr, .. } => self.server.ok(txnr, &mut self.out),
                    Request::Close { txnr } => {
                        self.server.ok(txnr, &mut self.out);
                        is_over = true;
                    }
                }
            }
        }
        self.write().await.map_err(End::Broken)?;
        if is_over { Err(End::Peer) } else { Ok(()) }
    }

    /// Writes what is to go out; with TLS it is on its way only after the flush.
    async fn write(&mut self) -> std::io::Result<()> {
        self.stream.write_all(&self.out).await?;
        self.stream.flush().await
    }

    async fn say_goodbye(&mut self) -> End {
        self.out.clear();
        self.server.serverclose(&mut self.out);
        drop(self.write().await);
        End::Shutdown
    }
}

/// The frame of a record, without the line end that some senders leave behind it.
fn frame(request: &Request, buffer: &[u8]) -> Option<Frame> {
    let Request::Syslog { data, .. } = request else { return None };
    let trimmed = trim(data.of(buffer));
    if trimmed.is_empty() {
        return None;
    }
    let start = data.offset as usize;
    let span = Span::new(start, start + trimmed.len());
    Some(Frame { span, truncated: false, incomplete: false })
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::Pin;
    use std::sync::Arc;
    use std::time::Duration;

    use logboom_record::Batch;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpStream;
    use tokio::sync::watch;

    use super::super::{Admission, Common, Intake, Permit, Service, bind};
    use super::*;
    use crate::config::{Config, Source};
    use crate::telemetry::ledger::SourceBook;

    /// How long to wait for what must come.
    const DEADLINE: Duration = Duration::from_secs(30);

    /// Gives what it takes to the test.
    struct Hands(mpsc::Sender<(Permit, Option<Arc<Receipt>>)>);

    impl Intake for Hands {
        fn take<'a>(
            &'a self,
            _: Batch,
            permit: Permit,
            receipt: Option<Arc<Receipt>>,
        ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
            self.0.try_send((permit, receipt)).unwrap();
            Box::pin(std::future::ready(()))
        }
    }

    fn source() -> Source {
        let text = "[[source]]\nname = 'relp'\nurl = 'relp://127.0.0.1:0'\nwindow = 64";
        Config::parse(text, "test", &|_| None).unwrap().sources.remove(0)
    }

    async fn answer(stream: &mut TcpStream, expected: &str) {
        let mut read = Vec::new();
        let reading = async {
            while !read.ends_with(b"\n") || !read.starts_with(expected.as_bytes()) {
                assert_ne!(stream.read_buf(&mut read).await.unwrap(), 0, "{}", read.escape_ascii());
            }
        };
        assert!(tokio::time::timeout(DEADLINE, reading).await.is_ok(), "no {expected}");
    }

    #[tokio::test]
    async fn answers_and_the_stop_do_not_wait_for_memory() {
        let admission = Arc::new(Admission::new(256));
        let (_give_up, give_up) = watch::channel(false);
        let marks = Arc::default();
        let common = Common { record_bytes_max: 1 << 16, admission, marks, give_up };
        let (to_test, mut taken) = mpsc::channel(4);
        let (source, book) = (source(), Arc::new(SourceBook::default()));
        let service = Service { book, intake: Arc::new(Hands(to_test)), tls: None };
        let listening = bind(&source).unwrap().serve(&source, service, &common);
        let address = listening.address.address().unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let offers = "relp_version=0\ncommands=syslog";
        let record = |number| format!("{number} syslog 19 <14>1 - - - - - - x\n");
        let opening = format!("1 open {} {offers}\n", offers.len());
        stream.write_all(opening.as_bytes()).await.unwrap();
        answer(&mut stream, "1 rsp").await;
        stream.write_all(record(2).as_bytes()).await.unwrap();
        let (permit, receipt) = taken.recv().await.unwrap();
        // All memory is in use, and there is more to read.
        stream.write_all(record(3).as_bytes()).await.unwrap();
        drop(receipt);
        answer(&mut stream, "2 rsp 6 200 OK").await;
        drop(permit);
        let (permit, receipt) = taken.recv().await.unwrap();
        stream.write_all(record(4).as_bytes()).await.unwrap();
        listening.stop();
        drop(receipt);
        answer(&mut stream, "3 rsp 6 200 OK\n0 serverclose").await;
        listening.task.await.unwrap();
        drop(permit);
    }
}
