//! A destination with a clock of its own.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::*;

/// A destination that serves up to `capacity` requests at a time in `latency` each. More of them
/// share what it can do.
struct Destination {
    control: Control,
    now: Instant,
    capacity: usize,
    latency: Duration,
}

impl Destination {
    fn new(control: Control) -> Self {
        let latency = Duration::from_millis(20);
        Self { control, now: Instant::now(), capacity: 1000, latency }
    }

    /// One round: as many requests as may be, at most `wanted`, all answered at its end.
    fn round(&mut self, wanted: usize, outcome: Outcome) {
        let mut entered = 0;
        while entered < wanted && self.control.enter() {
            entered += 1;
        }
        let load = u32::try_from(entered.div_ceil(self.capacity).max(1)).unwrap();
        let latency = self.latency * load;
        self.now += latency;
        for _ in 0..entered {
            self.control.finish(outcome, latency, self.now);
        }
        assert_eq!(self.control.in_flight(), 0);
        assert!((1..=self.control.limit_max).contains(&self.control.limit()));
    }

    fn rounds(&mut self, count: usize, wanted: usize) {
        for _ in 0..count {
            self.round(wanted, Outcome::Answered);
        }
    }
}

#[test]
fn it_grows_while_saturated_and_fast_up_to_its_maximum() {
    let mut destination = Destination::new(Control::new(1, 10));
    destination.rounds(5, usize::MAX);
    let after_five = destination.control.limit();
    assert!((3..=6).contains(&after_five), "{after_five}");
    destination.rounds(50, usize::MAX);
    assert_eq!(destination.control.limit(), 10);
}

#[test]
fn it_does_not_grow_while_it_is_not_used_up() {
    let mut destination = Destination::new(Control::new(8, 100));
    destination.rounds(100, 7);
    assert_eq!(destination.control.limit(), 8);
    destination.rounds(100, 0);
    assert_eq!(destination.control.limit(), 8);
}

#[test]
fn it_is_halved_once_for_all_requests_that_were_turned_away_together() {
    let mut destination = Destination::new(Control::new(64, 64));
    for expected in [32, 16, 8, 4, 2, 1, 1] {
        destination.round(usize::MAX, Outcome::Overloaded);
        assert_eq!(destination.control.limit(), expected);
    }
}

#[test]
fn a_request_from_before_the_halving_does_not_halve_again() {
    let mut control = Control::new(16, 16);
    let start = Instant::now();
    let at = |millis| start + Duration::from_millis(millis);
    for _ in 0..3 {
        assert!(control.enter());
    }
    control.finish(Outcome::Overloaded, Duration::from_millis(100), at(100));
    control.finish(Outcome::Overloaded, Duration::from_millis(200), at(200));
    assert_eq!(control.limit(), 8);
    control.finish(Outcome::Overloaded, Duration::from_millis(100), at(201));
    assert_eq!(control.limit(), 4);
}

#[test]
fn it_recovers() {
    let mut destination = Destination::new(Control::new(64, 64));
    for _ in 0..6 {
        destination.round(usize::MAX, Outcome::Overloaded);
    }
    assert_eq!(destination.control.limit(), 1);
    destination.rounds(200, usize::MAX);
    assert_eq!(destination.control.limit(), 64);
}

#[test]
fn it_settles_near_what_the_destination_can_do() {
    let mut destination = Destination::new(Control::new(1, 1000));
    destination.capacity = 20;
    destination.rounds(30, usize::MAX);
    for _ in 0..2000 {
        destination.round(usize::MAX, Outcome::Answered);
        let limit = destination.control.limit();
        assert!((15..=25).contains(&limit), "{limit}");
    }
}

#[test]
fn answers_that_are_slower_than_usual_make_it_smaller() {
    let mut destination = Destination::new(Control::new(50, 50));
    destination.rounds(20, usize::MAX);
    destination.latency *= 3;
    destination.rounds(2, usize::MAX);
    assert_eq!(destination.control.limit(), 45);
}

#[test]
fn a_destination_that_has_become_slower_for_good_is_used_as_before_after_a_while() {
    let mut destination = Destination::new(Control::new(50, 50));
    destination.rounds(20, usize::MAX);
    destination.latency *= 3;
    destination.rounds(150, usize::MAX);
    assert_eq!(destination.control.limit(), 50);
}

#[test]
fn failures_that_are_not_of_load_change_nothing() {
    let mut destination = Destination::new(Control::new(8, 16));
    for _ in 0..10 {
        destination.round(usize::MAX, Outcome::Failed);
    }
    assert_eq!(destination.control.limit(), 8);
}

fn poll(future: impl Future<Output = Permit>) -> Option<Permit> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(permit) => Some(permit),
        Poll::Pending => None,
    }
}

#[test]
fn a_shrunken_limit_lets_nobody_in_until_enough_have_left() {
    let limit = Limit::new(Control::new(4, 4));
    let mut permits: Vec<_> = (0..4).map(|_| poll(limit.acquire()).unwrap()).collect();
    assert!(poll(limit.acquire()).is_none());
    permits.pop().unwrap().finish(Outcome::Overloaded, Duration::ZERO, Instant::now());
    assert_eq!(limit.state(), (2, 3));
    assert!(poll(limit.acquire()).is_none());
    permits.pop();
    assert_eq!(limit.state(), (2, 2));
    assert!(poll(limit.acquire()).is_none());
    permits.pop();
    assert!(poll(limit.acquire()).is_some());
}

#[test]
fn waiting_can_be_given_up_without_taking_room_from_another() {
    let limit = Limit::new(Control::new(1, 1));
    let permit = poll(limit.acquire()).unwrap();
    let mut context = Context::from_waker(Waker::noop());
    let mut first = Box::pin(limit.acquire());
    let mut second = Box::pin(limit.acquire());
    assert!(first.as_mut().poll(&mut context).is_pending());
    assert!(second.as_mut().poll(&mut context).is_pending());
    drop(permit);
    // The first was told, and goes away.
    drop(first);
    assert!(second.as_mut().poll(&mut context).is_ready());
}

#[test]
fn room_for_two_is_told_to_two() {
    let limit = Limit::new(Control::new(1, 2));
    let start = Instant::now();
    let latency = Duration::from_millis(10);
    poll(limit.acquire()).unwrap().finish(Outcome::Answered, latency, start);
    let permit = poll(limit.acquire()).unwrap();
    let mut context = Context::from_waker(Waker::noop());
    let mut first = Box::pin(limit.acquire());
    let mut second = Box::pin(limit.acquire());
    assert!(first.as_mut().poll(&mut context).is_pending());
    assert!(second.as_mut().poll(&mut context).is_pending());
    // It leaves, and the limit grows.
    permit.finish(Outcome::Answered, latency, start + 2 * latency);
    assert_eq!(limit.state(), (2, 0));
    let permits = [first.as_mut().poll(&mut context), second.as_mut().poll(&mut context)];
    assert!(permits.iter().all(Poll::is_ready));
    assert_eq!(limit.state(), (2, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_wait_get_their_turn_and_never_more_at_once_than_the_limit() {
    let limit = Limit::new(Control::new(3, 3));
    let mut tasks = tokio::task::JoinSet::new();
    for index in 0..200_u32 {
        let limit = Arc::clone(&limit);
        tasks.spawn(async move {
            let permit = limit.acquire().await;
            assert!(limit.state().1 <= 3);
            tokio::task::yield_now().await;
            if index % 3 == 0 {
                drop(permit);
            } else {
                permit.finish(Outcome::Failed, Duration::ZERO, Instant::now());
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    assert_eq!(limit.state(), (3, 0));
}

#[test]
fn a_lower_most_holds_at_once_and_a_higher_one_lets_it_grow() {
    let limit = Limit::new(Control::new(4, 4));
    let permits: Vec<_> = (0..4).map(|_| poll(limit.acquire()).unwrap()).collect();
    limit.change(2);
    assert_eq!(limit.state(), (2, 4));
    drop(permits);
    let _two = [poll(limit.acquire()).unwrap(), poll(limit.acquire()).unwrap()];
    assert!(poll(limit.acquire()).is_none());
    limit.change(8);
    assert_eq!(limit.state(), (2, 2), "what it can be is to be found out");
}
