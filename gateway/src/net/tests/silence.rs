//! Which peers are gone, and which are slow.

use std::time::{Duration, Instant};

use socket2::{SockFilter, SockRef};
use tokio::io::AsyncWriteExt;

use super::stream::{fill, pair};
use super::support::{PATIENCE, until};
use crate::net::silence::{Signs, Silence};

const SILENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_secs(3);

/// A connection on which all is acknowledged.
const QUIET: Signs = Signs {
    in_flight: false,
    last_sent: Duration::from_secs(10),
    last_heard: Duration::from_secs(10),
    retransmits: 0,
    probes: 0,
};

/// What is found by looks at these signs, [`LOOK`] apart; the time of the look that finds it dead. Times in
/// the signs are seconds before the look.
fn death(signs: impl Fn(Duration) -> Signs) -> Option<Duration> {
    let mut silence = Silence::new(SILENCE);
    let began = Instant::now();
    let times = (1..400).map(|look| LOOK * look);
    times.into_iter().find(|time| silence.is_dead(began + *time, signs(*time)))
}

/// Seconds since something that happens all `period` seconds, at first after that time.
fn since_last(now: Duration, period: u64) -> Duration {
    Duration::from_secs(now.as_secs() % period)
}

#[test]
fn what_was_sent_and_sent_again_without_an_ack_is_a_death() {
    // The last ACK came at 5 s; what was sent before it is sent again from then on.
    let signs = |now: Duration| Signs {
        in_flight: true,
        last_sent: now.saturating_sub(Duration::from_secs(6)).min(Duration::from_secs(2)),
        last_heard: now.checked_sub(Duration::from_secs(5)).unwrap_or_default(),
        ..QUIET
    };
    let died = death(signs).unwrap();
    assert!((Duration::from_secs(35)..=Duration::from_secs(42)).contains(&died), "{died:?}");
}

#[test]
fn what_cannot_be_sent_again_for_want_of_a_route_is_a_death() {
    // Only the counter says that it was tried.
    let signs = |now: Duration| Signs {
        in_flight: true,
        last_sent: now,
        last_heard: now.checked_sub(Duration::from_secs(5)).unwrap_or_default(),
        retransmits: u8::try_from(now.as_secs().ilog2()).unwrap(),
        ..QUIET
    };
    assert!(death(signs).unwrap() < Duration::from_secs(60));
}

#[test]
fn probes_without_an_answer_are_a_death() {
    let signs = |now: Duration| Signs {
        last_heard: now,
        last_sent: now,
        probes: u8::try_from(now.as_secs().ilog2()).unwrap(),
        ..QUIET
    };
    assert!(death(signs).unwrap() < Duration::from_secs(60));
}

#[test]
fn a_closed_window_is_no_death_however_far_apart_its_probes_are() {
    // Each is answered within four seconds; the one that was just sent has no answer yet.
    let signs = |now: Duration| Signs {
        last_sent: now,
        last_heard: since_last(now, 120).checked_sub(Duration::from_secs(4)).unwrap_or(now),
        probes: u8::from(since_last(now, 120) < Duration::from_secs(4)),
        ..QUIET
    };
    assert_eq!(death(signs), None);
    // Nor is one whose probe got lost, on its way or back.
    let signs = |now: Duration| Signs {
        last_sent: now,
        last_heard: since_last(now, 360),
        probes: u8::try_from(since_last(now, 360).as_secs() / 120).unwrap(),
        ..QUIET
    };
    assert_eq!(death(signs), None);
}

#[test]
fn a_window_closed_on_what_was_on_its_way_is_no_death() {
    // It is sent again, and an ACK says no; the counter stands where it was.
    let signs = |now: Duration| Signs {
        in_flight: true,
        last_sent: since_last(now, 100),
        last_heard: since_last(now, 100),
        retransmits: 2,
        ..QUIET
    };
    assert_eq!(death(signs), None);
}

#[test]
fn a_connection_that_was_quiet_for_long_is_not_dead_when_it_sends_again() {
    let signs = |_| Signs {
        // On its way at each look, and each time for an instant only.
        in_flight: true,
        last_sent: Duration::ZERO,
        last_heard: Duration::from_secs(1),
        ..QUIET
    };
    assert_eq!(death(signs), None);
    let mut silence = Silence::new(SILENCE);
    let began = Instant::now() + LOOK;
    let sent = Signs { in_flight: true, last_sent: Duration::ZERO, ..QUIET };
    assert!(!silence.is_dead(began, sent));
    // The answer came right behind that look; nobody looked until now.
    let later = Duration::from_secs(600);
    let last_heard = later - Duration::from_millis(1);
    assert!(!silence.is_dead(began + later, Signs { last_heard, ..sent }));
}

/// Long enough for the kernel's first probes of a closed window, short enough to wait for.
const SHORT: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_peer_that_reads_nothing_is_left_alone_while_its_kernel_answers() {
    let (mut stream, peer) = pair().await;
    fill(&mut stream).await;
    let mut silence = Silence::new(SHORT);
    let began = Instant::now();
    until("several times the silence", || {
        silence.look(&stream).unwrap();
        began.elapsed() > SHORT * 5
    })
    .await;
    drop(peer);
}

/// From now on the peer's kernel drops whatever comes, without a word.
fn cut(peer: &tokio::net::TcpStream) {
    // BPF_RET | BPF_K: take 0 bytes of it.
    SockRef::from(peer).attach_filter(&[SockFilter::new(0x06, 0, 0, 0)]).unwrap();
}

async fn assert_dies(stream: &crate::net::Stream) {
    let mut silence = Silence::new(SHORT);
    let dying = async {
        loop {
            if let Err(error) = silence.look(stream) {
                return error;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    // Each probe takes twice as long as the one before it.
    let error = tokio::time::timeout(PATIENCE * 6, dying).await.unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    assert_eq!(error.to_string(), "no sign of life for 1s");
}

#[tokio::test]
async fn a_peer_that_is_cut_off_is_gone() {
    let (mut stream, peer) = pair().await;
    cut(&peer);
    stream.write_all(b"anybody there?").await.unwrap();
    assert_dies(&stream).await;
    assert_eq!(stream.acknowledged().unwrap(), 0);
}

#[tokio::test]
async fn a_peer_that_is_cut_off_while_its_window_is_closed_is_gone() {
    let (mut stream, peer) = pair().await;
    fill(&mut stream).await;
    cut(&peer);
    assert_dies(&stream).await;
}
