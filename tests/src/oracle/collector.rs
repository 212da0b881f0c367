//! The destination of the oracle: a listener for octet-counted or LF-framed syslog by TCP that notes
//! what arrives, in the order in which it does.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::{app_of, id_of, message};
use crate::process::unread;
use crate::scratch::{pause, wait_until};

/// Small enough that a collector that does not read stops its sender soon.
const RECEIVE_BUFFER: usize = 64 * 1024;
/// Examples of what arrived altered.
const ALTERED_MAX: usize = 10;

/// What has arrived.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// How often each id came.
    pub counts: Vec<u8>,
    /// What was not the message of an id; the first few.
    pub altered: Vec<String>,
    /// Ids that came first behind a later one of their app.
    pub out_of_order: Vec<u64>,
    newest: BTreeMap<String, u64>,
    arrivals: Vec<(Instant, u64)>,
    total: u64,
}

impl Received {
    /// Arrivals in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Arrivals in the last while.
    #[must_use]
    pub fn within(&self, last: Duration) -> u64 {
        let now = Instant::now();
        let recent = self.arrivals.iter().rev();
        recent.take_while(|(at, _)| now.duration_since(*at) < last).map(|(_, count)| count).sum()
    }

    pub(super) fn note(&mut self, seed: u64, apps: u64, text: &str) {
        self.total += 1;
        let id = id_of(text).filter(|&id| message(seed, apps, id) == text);
        // A wild id is not to fill the memory.
        let Some(id) = id.filter(|&id| id < 1 << 32) else {
            if self.altered.len() < ALTERED_MAX {
                self.altered.push(text.to_owned());
            }
            return;
        };
        let index = usize::try_from(id).expect("an index");
        if self.counts.len() <= index {
            self.counts.resize(index + 1, 0);
        }
        self.counts[index] = self.counts[index].saturating_add(1);
        if self.counts[index] > 1 {
            return;
        }
        let newest = self.newest.entry(app_of(id, apps)).or_default();
        if id < *newest {
            self.out_of_order.push(id);
        }
        *newest = id.max(*newest);
    }

    fn tick(&mut self, count: u64) {
        const STEP: Duration = Duration::from_millis(10);
        match self.arrivals.last_mut() {
            Some((at, total)) if at.elapsed() < STEP => *total += count,
            _ => self.arrivals.push((Instant::now(), count)),
        }
    }
}

/// A listener. Its threads end with the connections, the last with the process.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    received: Mutex<Received>,
    open: AtomicUsize,
    stalled: AtomicBool,
}

impl Collector {
    /// Listens for what a producer of the same seed and number of apps has issued.
    ///
    /// # Panics
    /// When there is no port to listen on.
    #[must_use]
    pub fn start(seed: u64, apps: u64) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), seed, apps)
    }

    /// As [`start`](Self::start), at an address.
    ///
    /// # Panics
    /// When it is taken.
    #[must_use]
    pub fn start_at(address: SocketAddr, seed: u64, apps: u64) -> Self {
        let listener = TcpListener::bind(address).expect("a port");
        SockRef::from(&listener).set_recv_buffer_size(RECEIVE_BUFFER).expect("a small buffer");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared::default());
        thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                for stream in listener.incoming().flatten() {
                    shared.open.fetch_add(1, Ordering::SeqCst);
                    let shared = Arc::clone(&shared);
                    thread::spawn(move || {
                        shared.collect(stream, seed, apps);
                        shared.open.fetch_sub(1, Ordering::SeqCst);
                    });
                }
            }
        });
        Self { address, shared }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// As a destination, octet counted.
    #[must_use]
    pub fn url(&self) -> String {
        format!("syslog+tcp://{}", self.address)
    }

    /// What has come so far, to look at; nothing more is noted meanwhile.
    ///
    /// # Panics
    /// When a thread of it did.
    pub fn received(&self) -> MutexGuard<'_, Received> {
        self.shared.received.lock().expect("books")
    }

    /// Reads no more until [`resume`](Self::resume).
    pub fn stall(&self) {
        self.shared.stalled.store(true, Ordering::SeqCst);
    }

    /// Reads again.
    pub fn resume(&self) {
        self.shared.stalled.store(false, Ordering::SeqCst);
    }

    /// Waits until all connections have been read to their end, as after the death of the sender: what
    /// a new one brings then comes behind them.
    ///
    /// # Panics
    /// When one stays open.
    pub fn wait_closed(&self) {
        wait_until("the end of all connections", || {
            let open = self.shared.open.load(Ordering::SeqCst);
            unread(self.address.port()) == 0 && open == 0
        });
    }
}

impl Shared {
    fn collect(&self, stream: TcpStream, seed: u64, apps: u64) {
        let mut reader = BufReader::with_capacity(RECEIVE_BUFFER, stream);
        let mut messages = Vec::new();
        loop {
            while self.stalled.load(Ordering::SeqCst) {
                pause(Duration::from_millis(5));
            }
            messages.clear();
            // One has to be waited for; the others are those that came with it.
            let mut is_open = next(&mut reader, &mut messages);
            while is_open && holds_whole(reader.buffer()) {
                is_open = next(&mut reader, &mut messages);
            }
            let mut received = self.received.lock().expect("books");
            for message in &messages {
                received.note(seed, apps, message);
            }
            received.tick(messages.len() as u64);
            if !is_open {
                return;
            }
        }
    }
}

/// True where a buffer starts with a whole octet-counted frame.
fn holds_whole(buffer: &[u8]) -> bool {
    let Some(space) = buffer.iter().position(|&byte| byte == b' ') else { return false };
    let count = std::str::from_utf8(&buffer[..space]).ok().and_then(|it| it.parse::<usize>().ok());
    count.is_some_and(|count| buffer.len() - space > count)
}

/// Reads one frame, octet counted or ended by LF; false where the connection has ended. Half a frame
/// at the end of a connection is none: its sender has died over it.
fn next(reader: &mut impl BufRead, messages: &mut Vec<String>) -> bool {
    let Ok(&[first, ..]) = reader.fill_buf() else { return false };
    let mut bytes = Vec::new();
    if first == b'<' {
        if reader.read_until(b'\n', &mut bytes).is_err() || bytes.pop() != Some(b'\n') {
            return false;
        }
    } else {
        if reader.read_until(b' ', &mut bytes).is_err() || bytes.pop() != Some(b' ') {
            return false;
        }
        let count = String::from_utf8_lossy(&bytes).parse::<usize>();
        let Ok(count) = count else {
            messages.push(format!("no octet count: {:?}", String::from_utf8_lossy(&bytes)));
            return false;
        };
        bytes.resize(count, 0);
        if reader.read_exact(&mut bytes).is_err() {
            return false;
        }
        // Some senders count a line feed at the end in.
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
    }
    messages.push(String::from_utf8_lossy(&bytes).into_owned());
    true
}
