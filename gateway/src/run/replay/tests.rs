//! Replays: a letter goes once, and stays until it has arrived.

use super::*;
use crate::park::Parked;
use logboom_record::{Batch, Head, UnixNanos};
use std::path::PathBuf;
use std::time::Duration;

struct Scratch(PathBuf);

impl Scratch {
    /// A folder whose park has letters 1, 2 and 3.
    fn new(name: &str) -> (Self, Arc<Replays>) {
        let name = format!("logboom-replay-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        let park = Park::new(&path, 1 << 20, Duration::from_secs(3600));
        let mut batch = Batch::new(Vec::new(), UnixNanos(1));
        for body in ["one", "two", "three"] {
            let raw = batch.append(body.as_bytes());
            batch.push(&Head { raw, body: raw, ..Head::default() });
        }
        let reasons = std::iter::repeat_n(("trap", "no"), 3);
        assert_eq!(park.take(&batch, "edge", Parked::Guest("mine"), reasons, false), 3);
        (Self(path), Replays::new(Arc::new(park), Handle::current()))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A thread may still write there; what is left is in a folder for temporary files.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn parked(replays: &Replays) -> Vec<u64> {
    let letters = replays.park.letters(&Filter::default()).unwrap();
    letters.iter().map(|letter| letter.id).collect()
}

/// Claims all letters; gives the ids of those that are to be sent beside the page.
async fn claim(replays: &Arc<Replays>) -> (Vec<u64>, Page) {
    let page = replays.claim(Filter::default()).await.unwrap();
    (page.claimed.iter().map(|claimed| claimed.letter.id).collect(), page)
}

#[tokio::test]
async fn a_letter_is_forgotten_when_it_has_arrived_and_sent_once_until_then() {
    let (_scratch, replays) = Scratch::new("once");
    let (ids, page) = claim(&replays).await;
    assert_eq!((ids, page.under_way), (vec![1, 2, 3], vec![]));
    let mut on_their_way = Vec::new();
    for claimed in page.claimed {
        on_their_way.push(Arc::clone(&claimed.receipt));
        claimed.sent();
    }
    let (ids, page) = claim(&replays).await;
    assert_eq!((ids, page.under_way), (vec![], vec![1, 2, 3]));
    assert_eq!(parked(&replays), [1, 2, 3]);

    // The second arrives, the third is given up, the first is still on its way.
    on_their_way[2].lose();
    on_their_way.truncate(1);
    replays.settle();
    assert_eq!(parked(&replays), [1, 3]);
    let (ids, page) = claim(&replays).await;
    assert_eq!((ids, page.under_way), (vec![3], vec![1]));
}

#[tokio::test]
async fn a_letter_that_is_not_sent_may_be_claimed_again() {
    let (_scratch, replays) = Scratch::new("unsent");
    drop(claim(&replays).await);
    replays.settle();
    assert_eq!(parked(&replays), [1, 2, 3]);
    assert_eq!(claim(&replays).await.0, [1, 2, 3]);
}

#[tokio::test]
async fn pages_follow_each_other_until_one_is_not_full() {
    let (_scratch, replays) = Scratch::new("pages");
    let two = Filter { limit: 2, ..Filter::default() };
    let page = replays.claim(two.clone()).await.unwrap();
    assert_eq!((page.claimed.len(), page.last), (2, Some(2)));
    let next = replays.claim(Filter { after: 2, ..two }).await.unwrap();
    assert_eq!((next.claimed.len(), next.last), (1, None));
}

#[tokio::test]
async fn shutdown_ends_replays_and_their_letters_stay() {
    let (_scratch, replays) = Scratch::new("stop");
    let (at_it, is_at_it) = oneshot::channel();
    let replay = {
        let replays = Arc::clone(&replays);
        async move {
            let (_, page) = claim(&replays).await;
            at_it.send(()).unwrap();
            std::future::pending::<()>().await;
            drop(page);
        }
    };
    let running = Arc::clone(&replays);
    let running = tokio::spawn(async move { running.run(replay).await });
    is_at_it.await.unwrap();
    replays.stop().await;
    assert_eq!(running.await.unwrap(), None);
    assert_eq!(replays.run(async {}).await, None);
    replays.finish();
    assert_eq!(parked(&replays), [1, 2, 3]);
}

#[tokio::test]
async fn a_replay_goes_on_when_nobody_waits_for_it() {
    let (_scratch, replays) = Scratch::new("alone");
    let (at_it, is_at_it) = oneshot::channel();
    let (go_on, goes_on) = oneshot::channel::<()>();
    let (done, is_done) = oneshot::channel();
    let running = Arc::clone(&replays);
    let asked = tokio::spawn(async move {
        let replay = async move {
            at_it.send(()).unwrap();
            goes_on.await.unwrap();
            done.send(()).unwrap();
        };
        running.run(replay).await
    });
    is_at_it.await.unwrap();
    asked.abort();
    assert!(asked.await.is_err());
    go_on.send(()).unwrap();
    is_done.await.unwrap();
}

#[tokio::test]
async fn what_is_let_go_as_the_process_ends_stays() {
    let (_scratch, replays) = Scratch::new("end");
    let (_, mut page) = claim(&replays).await;
    let mut receipts: Vec<_> = page.claimed.iter().map(|c| Arc::clone(&c.receipt)).collect();
    page.claimed.drain(..).for_each(Claimed::sent);
    receipts.truncate(2);
    replays.finish();
    assert_eq!(parked(&replays), [1, 2]);
    drop(receipts);
    replays.settle();
    assert_eq!(parked(&replays), [1, 2]);
}
