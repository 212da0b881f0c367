//! The sender of the zoo: records that tell when they were sent, at a steady pace, dealt out over
//! apps.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::pause;

/// Between two portions of a steady pace.
const TICK: Duration = Duration::from_millis(5);

/// How fast to send.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// So many records a second to each app, whatever becomes of them.
    Steady(u64),
    /// So many records to each app, as fast as they are taken.
    Fast(u64),
}

/// A sender by octet-counted TCP.
#[derive(Debug)]
pub struct Keeper {
    shared: Arc<Shared>,
    thread: JoinHandle<io::Result<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    sent: AtomicU64,
    behind: Mutex<Duration>,
}

impl Keeper {
    /// Starts to send records of these apps.
    ///
    /// # Panics
    /// When there is nobody to connect to.
    #[must_use]
    pub fn start(to: SocketAddr, apps: Vec<String>, pace: Pace) -> Self {
        let stream = TcpStream::connect(to).expect("connected");
        stream.set_nodelay(true).expect("an option");
        let shared = Arc::new(Shared::default());
        let thread = thread::spawn({
            let shared = Arc::clone(&shared);
            move || send(stream, &apps, pace, &shared)
        });
        Self { shared, thread }
    }

    /// Records handed over so far, of all apps together.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// True where all was sent that was to be.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.thread.is_finished()
    }

    /// Stops, where it has no end of its own, and returns how many were sent, and by how much it was
    /// late at most, which is the back-pressure that it felt.
    ///
    /// # Panics
    /// When the connection broke.
    #[must_use]
    pub fn finish(self) -> (u64, Duration) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the sender").expect("sent");
        (self.shared.sent.load(Ordering::Relaxed), *self.shared.behind.lock().expect("behind"))
    }
}

fn send(mut stream: TcpStream, apps: &[String], pace: Pace, shared: &Shared) -> io::Result<()> {
    const PORTION: u64 = 16;
    let started = Instant::now();
    let mut rounds = 0;
    let mut out = Vec::new();
    loop {
        let due = match pace {
            Pace::Steady(_) if shared.stop.load(Ordering::Relaxed) => return Ok(()),
            Pace::Steady(rate) => (started.elapsed().as_secs_f64() * rate as f64) as u64,
            Pace::Fast(count) if rounds >= count => return Ok(()),
            Pace::Fast(count) => count.min(rounds + PORTION),
        };
        while rounds < due {
            out.clear();
            for app in apps {
                frame(&mut out, app, rounds);
            }
            stream.write_all(&out)?;
            shared.sent.fetch_add(apps.len() as u64, Ordering::Relaxed);
            rounds += 1;
        }
        if let Pace::Steady(rate) = pace {
            let behind =
                started.elapsed().saturating_sub(Duration::from_secs_f64(due as f64 / rate as f64));
            let mut most = shared.behind.lock().expect("behind");
            *most = behind.max(*most);
            drop(most);
            pause(TICK);
        }
    }
}

/// One record, octet counted; its last word is the time.
fn frame(out: &mut Vec<u8>, app: &str, number: u64) {
    let micros = now_micros();
    let text = format!(
        "<14>1 2026-11-21T05:44:01Z host {app} - - - GET /api/v1/items?page=1 status=200 {number} t={micros:012}"
    );
    out.extend_from_slice(format!("{} {text}", text.len()).as_bytes());
}

/// Microseconds from when a record was sent until now; `None` where it does not say.
pub(super) fn latency(record: &[u8]) -> Option<u32> {
    let text = record.trim_ascii_end();
    let at = text.len().checked_sub(12)?;
    let sent: u64 = std::str::from_utf8(text.get(at..)?).ok()?.parse().ok()?;
    text.get(..at)?.ends_with(b" t=").then_some(())?;
    u32::try_from(now_micros().saturating_sub(sent)).ok()
}

/// Microseconds of a clock that sender and destinations of this process share.
fn now_micros() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let elapsed = START.get_or_init(Instant::now).elapsed();
    u64::try_from(elapsed.as_micros()).expect("some hundred thousand years")
}
