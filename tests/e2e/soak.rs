//! Hours in a minute: what comes and goes again and again leaves nothing behind. The long run, with
//! slopes, is `make soak`.

use logboom_tests::zoo::{self, Behaviour, Cage, Keeper, Pace};
use logboom_tests::{Gateway, Scratch, descriptors, memory_bytes, wait_until};

const DESTINATIONS: usize = 10;
/// Of each app, in records a second.
const RATE: u64 = 500;
/// How often a destination goes and comes back, and the configuration is loaded anew.
const ROUNDS: usize = 12;
/// After so many of them all is there that ever will be.
const WARM_UP: usize = 4;
/// What an allocator may spread out by. A batch or a connection leaked with each round is more.
const MEBIBYTES_MOST: u64 = 16;

#[test]
fn flaps_and_reloads_leave_no_descriptors_and_no_memory_behind() {
    let scratch = Scratch::new("soak");
    let mut cages: Vec<_> = (0..DESTINATIONS).map(|_| Cage::new(Behaviour::Healthy)).collect();
    let apps: Vec<_> = (0..DESTINATIONS).map(|index| format!("app-{index}")).collect();
    let drains: Vec<_> = apps.iter().cloned().zip(cages.iter().map(Cage::url)).collect();
    let gateway = Gateway::start(&scratch, &zoo::configuration(&drains, "", 4));
    let keeper = Keeper::start(gateway.source("tcp"), apps, Pace::Steady(RATE));
    let mut before = (0, 0);
    for round in 0..ROUNDS {
        cages[0].close();
        let seen = cages[1].records();
        wait_until("a second's records elsewhere", || cages[1].records() > seen + RATE);
        cages[0].reopen();
        wait_until("what waited, and more", || cages[0].records() > RATE * 2);
        gateway.reload(&scratch, &zoo::configuration(&drains, "", 4 + round % 2));
        if round + 1 == WARM_UP {
            before = (descriptors(gateway.pid()), memory_bytes(gateway.pid()).now);
        }
    }
    wait_until("as many descriptors as before", || descriptors(gateway.pid()) <= before.0);
    let grown = memory_bytes(gateway.pid()).now.saturating_sub(before.1) >> 20;
    assert!(grown <= MEBIBYTES_MOST, "grown by {grown} MiB over {} MiB", before.1 >> 20);
    let (sent, _) = keeper.finish();
    let share = sent / DESTINATIONS as u64;
    // The one that flaps has new books each time it comes back.
    wait_until("all that was sent", || cages[1..].iter().all(|cage| cage.records() >= share));
    gateway.shutdown().assert_balanced();
}
