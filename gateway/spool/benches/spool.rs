//! Appending: what it costs the caller, and what the writer keeps up with.
//!
//! ```text
//! cargo bench -p logboom-spool
//! ```
//!
//! Each sample appends [`ENTRIES`] entries that one destination holds, and ends when the spool has taken
//! them; `durable` also waits for the last one to be synced. The destination finishes them [`BEHIND`] bytes
//! later, so that all are written. The directory is made in `TMPDIR`: on a disk in memory a sync costs
//! nothing.

#![expect(clippy::expect_used, reason = "a bench that cannot be set up must stop")]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, mpsc};
use std::task::{Context, Wake, Waker};
use std::thread::{self, Thread};

use divan::counter::{BytesCount, ItemsCount};
use divan::{AllocProfiler, Bencher};
use logboom_spool::{Damage, DestinationId, Durable, Observer, Options, Spool, State, Want};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

const ENTRIES: usize = 256;
const SIZES: [usize; 2] = [300, 256 * 1024];
const BEHIND: usize = 64 << 20;

fn main() {
    divan::main();
}

struct Nobody;

impl Observer for Nobody {
    fn shed(&self, _: DestinationId, _: u64, _: u64) {}
    fn unwritten(&self, _: DestinationId, _: u64, _: u64) {}
    fn damaged(&self, _: &Damage) {}
    fn state(&self, _: &State) {}
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn wait_for_room(spool: &Spool) {
    let mut room = pin!(spool.room());
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    while room.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
        thread::park();
    }
}

struct Bench {
    spool: Spool,
    want: Want,
    held: RefCell<VecDeque<u64>>,
    dir: PathBuf,
}

impl Bench {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("logboom-bench-{}-{name}", std::process::id()));
        let opened = Spool::open(&dir, Options::default(), Arc::new(Nobody));
        let (spool, _) = opened.expect("a directory for temporary files");
        let destination = spool.destination("only");
        let want = Want { destination, records: 1, bytes: 1, hold: true };
        Self { spool, want, held: RefCell::default(), dir }
    }

    /// Appends one entry and finishes an earlier one, as a destination that is a little behind.
    fn append(&self, payload: &[u8], durable: Option<Durable>) {
        wait_for_room(&self.spool);
        let appended = self.spool.append(&[payload], &[self.want], durable).expect("room");
        let mut held = self.held.borrow_mut();
        held.push_back(appended.sequence);
        if held.len() * payload.len() > BEHIND
            && let Some(first) = held.pop_front()
        {
            self.spool.done(self.want.destination, first, 1);
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.spool.close();
        // What stays is in the directory for temporary files.
        drop(std::fs::remove_dir_all(&self.dir));
    }
}

fn run(bencher: Bencher<'_, '_>, size: usize, is_durable: bool) {
    let bench = Bench::new(&format!("{size}-{is_durable}"));
    let payload = vec![b'x'; size];
    let (tell, told) = mpsc::channel();
    bencher.counter(BytesCount::new(size * ENTRIES)).counter(ItemsCount::new(ENTRIES)).bench_local(
        || {
            for n in 1..=ENTRIES {
                let tell = tell.clone();
                let call: Durable = Box::new(move |result| {
                    if n == ENTRIES {
                        tell.send(result).expect("the bench waits");
                    }
                });
                bench.append(&payload, is_durable.then_some(call));
            }
            if is_durable {
                told.recv().expect("called once").expect("synced");
            }
        },
    );
}

/// Without a promise.
#[divan::bench(args = SIZES)]
fn lazy(bencher: Bencher<'_, '_>, size: usize) {
    run(bencher, size, false);
}

/// Every entry with a call when it is synced; the last one is waited for.
#[divan::bench(args = SIZES)]
fn durable(bencher: Bencher<'_, '_>, size: usize) {
    run(bencher, size, true);
}
