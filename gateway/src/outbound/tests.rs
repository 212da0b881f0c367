//! Destinations, with real sockets and a real spool.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use logboom_record::{Head, Resolution, UnixNanos, app_hash};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::config::DestinationUrl;
use crate::telemetry::ledger::{AttemptOutcome, DestinationBook};

/// How long to wait for what must come.
const DEADLINE: Duration = Duration::from_secs(30);

/// A stage for destinations, with a folder that goes with it.
pub(super) struct Stage {
    pub(super) folder: PathBuf,
    pub(super) common: Arc<Common>,
    book: Arc<DestinationBook>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        // A thread may still write there; what is left is in a folder for temporary files.
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

impl Stage {
    pub(super) fn new(name: &str) -> Self {
        let name = format!("logboom-outbound-{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let losses = Arc::new(Losses::default());
        let (segment_bytes, bytes_max) = (1 << 20, 64 << 20);
        let options = logboom_spool::Options { segment_bytes, bytes_max, ..Default::default() };
        let (spool, _) = Spool::open(&folder.join("spool"), options, losses.clone()).unwrap();
        let park = Arc::new(Park::new(&folder, 256 << 20, Duration::from_secs(60)));
        let network = ArcSwap::from_pointee(Network::default());
        let sender = Some(sender(&folder.join("spool"), spool.uuid()));
        let (spool, marked) = (Some(spool), None);
        let common = Arc::new(Common { network, spool, sender, marked, losses, park });
        Self { folder, common, book: Arc::default() }
    }

    pub(super) fn destination(
        &self,
        url: &str,
        when_full: WhenFull,
        queue: usize,
    ) -> Arc<Destination> {
        let url = DestinationUrl::parse(url).unwrap();
        let settings = DestinationSettings {
            canonical: url.canonical,
            kind: url.kind,
            connections_max: 8,
            queue_bytes_max: queue,
            share: 32 << 20,
            when_full,
            tls: None,
            guarded: false,
            attempt: Duration::from_secs(5),
            idle: IDLE,
        };
        Destination::start(settings, Arc::clone(&self.book), Arc::clone(&self.common))
    }

    fn dropped(&self) -> Vec<(DropReason, u64)> {
        self.book.dropped.iter().filter(|(_, n)| *n > 0).collect()
    }
}

pub(super) fn parcel(apps: &[&str], body_bytes: usize, receipt: Option<Arc<Receipt>>) -> Parcel {
    let mut batch = Batch::new(Vec::new(), UnixNanos(0));
    for app in apps {
        let raw = batch.append(&vec![b'x'; body_bytes]);
        let span = batch.append(app.as_bytes());
        let app_hash = app_hash(app.as_bytes());
        batch.push(&Head { raw, body: raw, app: span, app_hash, ..Head::default() });
    }
    Parcel::new(batch, "test".into(), receipt, Box::new(drop))
}

async fn push(destination: &Arc<Destination>, parcel: Parcel) {
    destination.push(&Arc::new(parcel), Selection::All).await;
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(DEADLINE, wait).await.is_ok(), "not in time: {what}");
}

/// A peer that reads everything, and takes its time to close.
async fn slow_closer() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut buffer = vec![0; 4096];
                while stream.read(&mut buffer).await.unwrap_or(0) > 0 {}
                tokio::time::sleep(Duration::from_millis(300)).await;
            });
        }
    });
    port
}

/// With as many new lines as threads, waiting for the old ones must cost no thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_that_wait_for_a_handover_leave_the_runtime_to_others() {
    let stage = Stage::new("growth");
    let url = format!("syslog+tcp://127.0.0.1:{}", slow_closer().await);
    let destination = stage.destination(&url, WhenFull::Block, 64 << 20);
    let apps: Vec<String> = (0..64).map(|i| format!("app{i}")).collect();
    let apps: Vec<&str> = apps.iter().map(String::as_str).collect();
    for _ in 0..3 {
        for _ in 0..50 {
            push(&destination, parcel(&apps, 200, None)).await;
        }
        for line in destination.queue.grow(8) {
            destination.employ(line);
        }
    }
    push(&destination, parcel(&apps, 200, None)).await;
    let all = stage.book.accepted.get();
    until("all delivered", || stage.book.delivered.get() == all).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_close_and_a_pool_that_grew_is_one_line_again() {
    const QUEUE: usize = 1 << 20;
    let stage = Stage::new("idle");
    let url = format!("syslog+tcp://127.0.0.1:{}", slow_closer().await);
    let destination = stage.destination(&url, WhenFull::Block, QUEUE);
    let apps: Vec<String> = (0..64).map(|i| format!("app{i}")).collect();
    let apps: Vec<&str> = apps.iter().map(String::as_str).collect();
    let book = &stage.book;
    // Each line has its part of a quarter of the queue in hand.
    let has_lines = |count| destination.queue.hand_bytes_max() == QUEUE / 4 / count;

    push(&destination, parcel(&apps, 10, None)).await;
    for line in destination.queue.grow(8) {
        destination.employ(line);
    }
    push(&destination, parcel(&apps, 10, None)).await;
    until("two connections", || book.connections.get() == 2).await;
    assert!(has_lines(2));

    let settings = (*destination.settings()).clone();
    destination.change(DestinationSettings { idle: Duration::from_millis(100), ..settings });
    push(&destination, parcel(&apps, 10, None)).await;
    until("no connection", || book.connections.get() == 0).await;
    until("one line", || has_lines(1)).await;
    assert_eq!(book.delivered.get(), book.accepted.get());

    let before = book.connects.get();
    push(&destination, parcel(&apps, 10, None)).await;
    until("all delivered", || book.delivered.get() == book.accepted.get()).await;
    assert_eq!(book.connects.get(), before + 1);
    assert_eq!((stage.dropped(), book.imbalance()), (vec![], 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_waits_for_the_sync_while_the_destination_lags() {
    let stage = Stage::new("receipt");
    let destination = stage.destination("syslog+tcp://127.0.0.1:1", WhenFull::Spool, 1);
    let spool = stage.common.spool.clone().unwrap();
    for _ in 0..50 {
        // An entry that is not yet written keeps the lag open although there is room again.
        destination.queue.set_bytes_max(0);
        push(&destination, parcel(&["a"], 600, None)).await;
        assert!(destination.lag.is_set());
        destination.queue.set_bytes_max(8 << 20);
        let is_resolved = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&is_resolved);
        let receipt = Receipt::new(move |_| told.store(true, Ordering::SeqCst));
        push(&destination, parcel(&["a"], 600, Some(receipt))).await;
        let is_early = is_resolved.load(Ordering::SeqCst) && spool.stats().unsynced_bytes > 0;
        assert!(!is_early, "nothing is delivered, nothing synced");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_does_not_wait_for_a_destination_that_is_down() {
    let stage = Stage::new("down");
    let destination = stage.destination("syslog+tcp://127.0.0.1:1", WhenFull::Spool, 8 << 20);
    push(&destination, parcel(&["a"], 10, None)).await;
    until("an open breaker", || destination.breaker() != BreakerState::Closed).await;
    let is_resolved = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&is_resolved);
    let receipt = Receipt::new(move |resolution| {
        told.store(resolution == Resolution::Kept, Ordering::SeqCst);
    });
    push(&destination, parcel(&["a"], 10, Some(receipt))).await;
    until("a receipt by the spool", || is_resolved.load(Ordering::SeqCst)).await;
    assert_eq!(stage.book.delivered.get(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_retired_destination_had_in_memory_is_delivered_when_it_is_back() {
    let stage = Stage::new("retired");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("syslog+tcp://127.0.0.1:{port}");
    let source = SourceBook::default();
    let first = stage.destination(&url, WhenFull::Spool, 1 << 20);
    let deliveries = vec![(Arc::clone(&first), Selection::All)];
    let both = parcel(&["a", "b"], 100, None);
    deliver(&stage.common, both, deliveries, Durability::Disk, &source).await;
    first.shutdown(tokio::time::Instant::now() + Duration::from_millis(50)).await;
    assert_eq!((stage.book.spooled.get(), stage.book.imbalance()), (2, 0));
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
    });
    let _second = stage.destination(&url, WhenFull::Spool, 1 << 20);
    until("both delivered", || stage.book.delivered.get() == 2).await;
    assert_eq!((stage.book.spooled.get(), stage.book.imbalance()), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_closes_after_each_answer_is_no_failing_one() {
    let stage = Stage::new("closes");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 65_536];
            let read = stream.read(&mut request).await.unwrap();
            if read > 0 {
                stream.write_all(answer).await.unwrap();
            }
        }
    });
    let url = format!("http://127.0.0.1:{port}/");
    let destination = stage.destination(&url, WhenFull::Shed, 1 << 20);
    for n in 1..=12 {
        push(&destination, parcel(&["a"], 10, None)).await;
        until("delivered", || stage.book.delivered.get() == n).await;
    }
    let failed = stage.book.attempts.iter().filter(|(outcome, n)| {
        *n > 0 && !matches!(outcome, AttemptOutcome::Ok | AttemptOutcome::Closed)
    });
    assert_eq!(failed.count(), 0);
    assert_eq!(destination.breaker(), BreakerState::Closed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_the_disk_takes_at_once_is_left_in_the_spool_at_shutdown() {
    let stage = Stage::new("backlog");
    let destination = stage.destination("syslog+tcp://127.0.0.1:1", WhenFull::Spool, 32 << 20);
    for _ in 0..40 {
        push(&destination, parcel(&["a"], 400_000, None)).await;
    }
    destination.shutdown(tokio::time::Instant::now() + Duration::from_millis(300)).await;
    assert_eq!(stage.dropped(), []);
    assert_eq!((stage.book.spooled.get(), stage.book.imbalance()), (40, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_spills_into_the_spool_and_sheds_nothing() {
    let stage = Stage::new("spills");
    let destination = stage.destination("syslog+tcp://127.0.0.1:1", WhenFull::Spool, 1 << 20);
    for _ in 0..400 {
        push(&destination, parcel(&["a"], 10_000, None)).await;
    }
    assert_eq!(stage.dropped(), []);
    assert!(stage.book.spooled.get() > 200);
    assert_eq!(stage.book.imbalance(), 0);
}

#[tokio::test]
async fn a_shared_connection_ends_with_the_last_that_shares_it_and_its_end_is_seen_by_all() {
    use super::connector::Connector;

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/logs?http=2", listener.local_addr().unwrap());
    let (ended, end) = (Arc::new(AtomicBool::new(false)), Arc::new(tokio::sync::Notify::new()));
    let (server_ended, server_end) = (Arc::clone(&ended), Arc::clone(&end));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let mut connection = h2::server::handshake(stream).await.unwrap();
            tokio::select! {
                _ = connection.accept() => {}
                () = server_end.notified() => {}
            }
            server_ended.store(true, Ordering::SeqCst);
        }
    });
    let stage = Stage::new("shared");
    let destination = stage.destination(&url, WhenFull::Block, 1 << 20);
    let (book, mut progress) = (&stage.book, hand::Progress::default());

    let first = Connector::open(&destination).await.unwrap();
    let second = Connector::open(&destination).await.unwrap();
    assert_eq!((book.connects.get(), book.connections.get()), (1, 1));
    drop(first);
    assert!(!ended.load(Ordering::SeqCst) && book.connections.get() == 1);
    drop(second);
    until("the end of what nobody uses", || ended.load(Ordering::SeqCst)).await;
    assert_eq!(book.connections.get(), 0);

    let mut first = Connector::open(&destination).await.unwrap();
    let mut second = Connector::open(&destination).await.unwrap();
    assert_eq!((book.connects.get(), book.connections.get()), (2, 1));
    end.notify_one();
    for (connector, _) in [&mut first, &mut second] {
        let failure = connector.news(&mut progress).await.unwrap_err();
        assert_eq!(failure.outcome, AttemptOutcome::Closed);
    }
    drop(first);
    let third = Connector::open(&destination).await.unwrap();
    assert_eq!(book.connects.get(), 3, "the old one is over");
    drop((second, third));
    assert_eq!(book.connections.get(), 0);
}

#[tokio::test]
async fn a_batch_that_the_spool_never_takes_is_parked_and_its_sender_is_answered() {
    let stage = Stage::new("too-large");
    let destination = stage.destination("relp://127.0.0.1:1", WhenFull::Spool, 1 << 20);
    let (resolved, resolution) = tokio::sync::oneshot::channel();
    let receipt = Receipt::new(move |resolution| resolved.send(resolution).unwrap());
    // As guests can make one grow.
    let apps = vec!["shop"; 20];
    let parcel = parcel(&apps, 1 << 20, Some(receipt));
    let (deliveries, source) = (vec![(destination, Selection::All)], SourceBook::default());
    deliver(&stage.common, parcel, deliveries, Durability::Disk, &source).await;
    let resolution = tokio::time::timeout(DEADLINE, resolution).await.unwrap();
    assert_eq!(resolution, Ok(Resolution::Kept));
    assert_eq!((source.copies.get(), stage.book.parked.get()), (20, 20));
    assert_eq!((stage.book.in_flight.get(), stage.book.imbalance()), (0, 0));
}

/// A server of HTTP/1.1 that keeps its connections; the first answers with this status, the others take
/// everything. Returns it as a destination, and how many connections there were.
async fn first_answers(
    stage: &Stage,
    status: &'static str,
) -> (Arc<Destination>, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&accepted);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let status = if count.fetch_add(1, Ordering::SeqCst) == 0 { status } else { "200 OK" };
            tokio::spawn(async move {
                let (mut read, mut buffer) = (Vec::new(), vec![0; 4096]);
                loop {
                    let count = stream.read(&mut buffer).await.unwrap_or(0);
                    read.extend_from_slice(&buffer[..count]);
                    if count == 0 {
                        return;
                    }
                    // The one record is an x, and a body ends with it and its line feed.
                    if read.ends_with(b"x\n") {
                        read.clear();
                        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
                        stream.write_all(answer.as_bytes()).await.unwrap();
                    }
                }
            });
        }
    });
    let url = format!("http://127.0.0.1:{port}/?format=raw");
    (stage.destination(&url, WhenFull::Spool, 1 << 20), accepted)
}

#[tokio::test]
async fn what_was_sent_to_the_wrong_server_goes_by_another_connection() {
    let stage = Stage::new("misdirected");
    let (destination, accepted) = first_answers(&stage, "421 Misdirected Request").await;
    push(&destination, parcel(&["a"], 1, None)).await;
    until("it is delivered", || stage.book.delivered.get() == 1).await;
    assert_eq!(accepted.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_server_that_refuses_records_is_there() {
    let stage = Stage::new("refusing");
    let (destination, _) = first_answers(&stage, "400 Bad Request").await;
    for _ in 0..3 {
        destination.breaker.failed(None);
    }
    assert_ne!(destination.breaker(), BreakerState::Closed);
    push(&destination, parcel(&["a"], 1, None)).await;
    until("it is parked", || stage.book.parked.get() == 1).await;
    until("the breaker closes", || destination.breaker() == BreakerState::Closed).await;
}

#[tokio::test]
async fn block_stops_senders_also_when_what_waits_is_on_disk() {
    let stage = Stage::new("block");
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let url = format!("syslog+tcp://{free}");
    let destination = stage.destination(&url, WhenFull::Spool, 4 << 10);
    for _ in 0..20 {
        push(&destination, parcel(&["a"], 2000, None)).await;
    }
    until("it lags", || destination.lag.is_set()).await;
    let settings = DestinationSettings::clone(&destination.settings());
    destination.change(DestinationSettings { when_full: WhenFull::Block, ..settings });
    let more = {
        let destination = Arc::clone(&destination);
        tokio::spawn(async move { push(&destination, parcel(&["a"], 2000, None)).await })
    };
    let attempts = || stage.book.attempts.iter().map(|(_, count)| count).sum::<u64>();
    let before = attempts();
    until("the destination is tried twice more", || attempts() >= before + 2).await;
    assert!(!more.is_finished(), "20 records of 2000 bytes wait, twice 4 KiB may");
    let listener = TcpListener::bind(free).await.unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut buffer = vec![0; 4096];
                while stream.read(&mut buffer).await.unwrap_or(0) > 0 {}
            });
        }
    });
    until("all are delivered", || stage.book.delivered.get() == 21).await;
    more.await.unwrap();
    assert_eq!(stage.dropped(), []);
}

#[tokio::test]
async fn what_waits_in_memory_for_a_destination_that_fails_is_stored_and_answered() {
    let stage = Stage::new("secured");
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let url = format!("syslog+tcp://{free}");
    let destination = stage.destination(&url, WhenFull::Spool, 1 << 20);
    let (tell, mut told) = tokio::sync::mpsc::channel(2);
    for app in ["a", "b"] {
        let tell = tell.clone();
        let receipt = Receipt::new(move |resolution| tell.try_send(resolution).unwrap_or_default());
        push(&destination, parcel(&[app], 10, Some(receipt))).await;
    }
    for _ in 0..2 {
        let resolution = tokio::time::timeout(DEADLINE, told.recv()).await.unwrap();
        assert_eq!(resolution, Some(Resolution::Kept));
    }
    assert_eq!(stage.book.delivered.get(), 0);
    let listener = TcpListener::bind(free).await.unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    until("both are delivered", || {
        let mut buffer = vec![0; 4096];
        drop(stream.try_read(&mut buffer));
        stage.book.delivered.get() == 2
    })
    .await;
    drop(stream.shutdown().await);
}
