//! With the writer's thread, on a real disk.

use std::pin::pin;
use std::sync::mpsc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use super::*;
use crate::{AppendError, Spool};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a future on this thread.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

fn open(name: &str, options: Options) -> (Spool, std::path::PathBuf) {
    let name = format!("logboom-spool-threads-{}-{name}", std::process::id());
    let dir = std::env::temp_dir().join(name);
    drop(std::fs::remove_dir_all(&dir));
    let (spool, _) = Spool::open(&dir, options, Arc::new(Told::default())).unwrap();
    (spool, dir)
}

#[test]
fn appends_from_many_threads_are_called_durable_in_order() {
    let (spool, dir) = open("order", Options { segment_bytes: 1 << 16, ..small() });
    let a = spool.destination("a");
    let order = Arc::new(Mutex::new(Vec::new()));
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..4 {
            let (spool, order, tell) = (spool.clone(), Arc::clone(&order), tell.clone());
            scope.spawn(move || {
                for _ in 0..200 {
                    let (order, tell) = (Arc::clone(&order), tell.clone());
                    let (give, take) = mpsc::channel::<u64>();
                    let durable: Durable = Box::new(move |result| {
                        result.unwrap();
                        order.lock().unwrap().push(take.recv().unwrap());
                        tell.send(()).unwrap();
                    });
                    block_on(spool.room());
                    let appended = spool.append(&[&[1; 300]], &[want(a, 1, true)], Some(durable));
                    give.send(appended.unwrap().sequence).unwrap();
                }
            });
        }
    });
    told.iter().take(800).for_each(drop);
    let order = order.lock().unwrap().clone();
    assert_eq!(order, (0..800).collect::<Vec<u64>>());
    drop(spool);
    // A thread may still write there; what is left is in a folder for temporary files.
    drop(std::fs::remove_dir_all(dir));
}

#[test]
fn what_many_threads_append_at_once_is_read_as_it_was_given() {
    let (spool, dir) = open("copies", Options { segment_bytes: 1 << 18, ..small() });
    let a = spool.destination("a");
    let append = |payload: &[u8]| loop {
        block_on(spool.room());
        match spool.append(&[payload], &[want(a, 1, false)], None) {
            Ok(appended) => return appended.sequence,
            // Another thread was there first.
            Err(AppendError::Backlog { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    };
    let all = |id: u8| {
        let payloads =
            (0..100_u8).map(|n| [vec![id, n], vec![id ^ n; 500 * usize::from(n)]].concat());
        payloads.map(|payload| (append(&payload), payload)).collect::<Vec<_>>()
    };
    let mut given = thread::scope(|scope| {
        let threads = [0, 1, 2, 3].map(|id| scope.spawn(move || all(id)));
        threads.map(|thread| thread.join().unwrap()).concat()
    });
    given.sort();
    spool.close();
    for (sequence, payload) in given {
        match spool.read(a).unwrap() {
            Read::Entry { sequence: read, payload: bytes, .. } => {
                assert_eq!((read, bytes == payload), (sequence, true));
            }
            other => panic!("{sequence}: {other:?}"),
        }
    }
    assert_eq!(spool.read(a).unwrap(), Read::CaughtUp);
    drop(spool);
    drop(std::fs::remove_dir_all(dir));
}

#[test]
fn a_reader_follows_a_writer_and_catches_up() {
    let (spool, dir) = open("follow", Options { segment_bytes: 1 << 15, ..small() });
    let a = spool.destination("a");
    spool.append(&[b"first"], &[want(a, 1, false)], None).unwrap();
    let reader = {
        let spool = spool.clone();
        thread::spawn(move || {
            let mut read = Vec::new();
            loop {
                let written = spool.written();
                match spool.read(a).unwrap() {
                    Read::Entry { sequence, .. } => {
                        read.push(sequence);
                        spool.done(a, sequence, 1);
                    }
                    Read::NotYet => block_on(written),
                    Read::CaughtUp => return read,
                }
            }
        })
    };
    // Held or lagging, each is seen once: by the reader, or here.
    let mut held = Vec::new();
    for n in 0..2000_u64 {
        block_on(spool.room());
        let hold = n % 7 != 0 || n > 1500;
        let appended = spool.append(&[&n.to_le_bytes()], &[want(a, 1, hold)], None).unwrap();
        if appended.held[0] {
            held.push(appended.sequence);
        }
        if reader.is_finished() {
            break;
        }
    }
    let mut seen = reader.join().unwrap();
    while let Read::Entry { sequence, .. } = spool.read(a).unwrap() {
        seen.push(sequence);
    }
    assert!(seen.is_sorted());
    assert_eq!(
        spool.waiting(a).lag_records + seen.len() as u64 + held.len() as u64,
        spool.stats().appended_entries
    );
    drop(spool);
    // A thread may still write there; what is left is in a folder for temporary files.
    drop(std::fs::remove_dir_all(dir));
}

#[test]
fn the_writer_hears_of_appends_after_a_lag_is_over() {
    let (spool, dir) = open("after", small());
    let a = spool.destination("a");
    let synced = |hold: bool| {
        let (tell, told) = mpsc::channel();
        let durable: Durable = Box::new(move |result| tell.send(result).unwrap());
        spool.append(&[b"x"], &[want(a, 1, hold)], Some(durable)).unwrap();
        // The limit only ends a test that would hang.
        assert_eq!(told.recv_timeout(Duration::from_secs(60)), Ok(Ok(())), "nobody heard");
    };
    for _ in 0..10 {
        // The writer has nothing to do when the lag ends.
        synced(false);
        assert!(matches!(spool.read(a), Ok(Read::Entry { .. })));
        assert_eq!(spool.read(a).unwrap(), Read::CaughtUp);
        synced(true);
    }
    drop(spool);
    // A thread may still write there; what is left is in a folder for temporary files.
    drop(std::fs::remove_dir_all(dir));
}

#[test]
fn a_panic_in_a_call_stops_nothing() {
    let (spool, dir) = open("panic", small());
    let (tell, told) = mpsc::channel();
    let durable: Durable = Box::new(|_| panic!("as the test wants"));
    spool.append(&[b"x"], &[], Some(durable)).unwrap();
    let durable: Durable = Box::new(move |result| tell.send(result).unwrap());
    spool.append(&[b"y"], &[], Some(durable)).unwrap();
    assert_eq!(told.recv_timeout(Duration::from_secs(60)), Ok(Ok(())));
    drop(spool);
    // A thread may still write there; what is left is in a folder for temporary files.
    drop(std::fs::remove_dir_all(dir));
}

#[test]
fn room_is_ready_when_the_backlog_is_synced_and_when_the_spool_is_closed() {
    let (spool, dir) = open("room", Options { unsynced_bytes_max: 4096, ..small() });
    for _ in 0..200 {
        block_on(spool.room());
        spool.append(&[&[0; 5000]], &[], None).unwrap();
    }
    spool.close();
    block_on(spool.room());
    assert_eq!(spool.append(&[b"x"], &[], None), Err(AppendError::Closed));
    drop(spool);
    // A thread may still write there; what is left is in a folder for temporary files.
    drop(std::fs::remove_dir_all(dir));
}
