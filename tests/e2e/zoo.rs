//! Destinations that go wrong, one of each kind, among fifty healthy ones: the healthy ones do not
//! notice, and no destination sees more connections than it is to have.

use std::collections::{BTreeMap, BTreeSet};

use logboom_tests::zoo::{self, Behaviour, Cage, Keeper, Pace};
use logboom_tests::{Certificates, Gateway, Scratch, wait_until};

const HEALTHY: usize = 50;
/// To each app, while the sick ones get theirs.
const RECORDS: u64 = 2_000;
/// Connections to a destination at most.
const CAP: usize = 4;

/// How fast it goes is measured by `make bench-drains`; here all of it must arrive.
#[test]
fn healthy_destinations_get_all_theirs_among_sick_ones() {
    let scratch = Scratch::new("zoo");
    let certificates = Certificates::new(&scratch);
    let healthy: Vec<_> = (0..HEALTHY).map(|_| Cage::new(Behaviour::Healthy)).collect();
    let sick = zoo::sick(&certificates);
    let name = |index: usize| format!("healthy-{index}");
    let mut drains: Vec<_> =
        healthy.iter().enumerate().map(|(index, cage)| (name(index), cage.url())).collect();
    drains.extend(sick.iter().map(|(name, cage)| ((*name).to_owned(), cage.url())));
    let gateway =
        Gateway::start(&scratch, &zoo::configuration(&drains, &certificates.trusted(), CAP));

    let apps: Vec<_> = drains.iter().map(|(app, _)| app.clone()).collect();
    let keeper = Keeper::start(gateway.source("tcp"), apps, Pace::Fast(RECORDS));
    for cage in &healthy {
        wait_until("a healthy one to have all its records", || cage.records() >= RECORDS);
    }
    wait_until("a sender that is done", || keeper.is_done());
    for (name, cage) in &sick {
        let (records, accepted, most) = (cage.records(), cage.accepted(), cage.most_open());
        eprintln!("{name}: {records} records, {accepted} connections, {most} at once");
        assert!(most <= CAP, "{name}: {most} connections at once, {CAP} allowed");
    }
    for cage in &healthy {
        assert!(cage.most_open() <= CAP, "{} connections, {CAP} allowed", cage.most_open());
        let address = cage.address().to_string();
        // It is booked when it is acknowledged, which may be a moment later.
        wait_until("all booked as delivered", || {
            gateway.ledger().destination(&address, "delivered") == RECORDS
        });
        assert_eq!(gateway.ledger().destination(&address, "dropped"), 0, "{address}");
    }
    gateway.shutdown().assert_balanced();
}

#[test]
fn the_cap_holds_through_storms_of_reconnects_and_reloads() {
    const PER_SECOND: u64 = 200;
    let scratch = Scratch::new("cap");
    let kinds = [
        Behaviour::Healthy,
        Behaviour::ResetsEach(100),
        Behaviour::ResetsEach(1),
        Behaviour::ClosesAtOnce,
        Behaviour::Slow(300),
        Behaviour::HttpHealthy,
        Behaviour::HttpClosesMidway,
        Behaviour::Http2GoesAway(10),
    ];
    let cages: Vec<_> = kinds.iter().map(|&kind| Cage::new(kind)).collect();
    // A cap of 1 is the sharpest: the old connection must be gone before the new one is there. Several
    // apps for each destination are lanes that could each have a connection.
    let mut drains = Vec::new();
    for (index, cage) in cages.iter().enumerate() {
        drains.extend((0..8).map(|lane| (format!("app-{index}-{lane}"), cage.url())));
    }
    let apps: Vec<_> = drains.iter().map(|(app, _)| app.clone()).collect();
    let config = zoo::configuration(&drains, "", 1);
    let gateway = Gateway::start(&scratch, &config);
    // For the slow one more than the kernel holds, so that the gateway would want more connections.
    let slow = apps[8 * 4..8 * 5].to_vec();
    let pressing = Keeper::start(gateway.source("tcp"), slow, Pace::Fast(20_000));
    let keeper = Keeper::start(gateway.source("tcp"), apps, Pace::Steady(PER_SECOND));
    for generation in 0..10 {
        // About a second of it.
        let before = keeper.sent();
        wait_until("more records", || keeper.sent() >= before + PER_SECOND * drains.len() as u64);
        // Each other time a destination has left; those that stay keep their connections.
        let drains = if generation % 2 == 0 { &drains[8..] } else { &drains[..] };
        gateway.reload(&scratch, &zoo::configuration(drains, "", 1));
    }
    let (sent, _) = keeper.finish();
    wait_until("the other sender", || pressing.is_done());
    let mut seen = BTreeMap::new();
    for (kind, cage) in kinds.iter().zip(&cages) {
        seen.insert(format!("{kind:?}"), (cage.accepted(), cage.most_open()));
    }
    eprintln!("{sent} records; connections in all and at once: {seen:?}");
    let accepted: u64 = cages.iter().map(Cage::accepted).sum();
    assert!(accepted > 5 * cages.len() as u64, "no storm: {seen:?}");
    for (kind, (_, most)) in &seen {
        assert!(*most <= 1, "{kind}: {most} connections at once, 1 allowed: {seen:?}");
    }
    gateway.shutdown().assert_balanced();
}

/// Drains of so many apps to one destination, and the names of the apps.
fn drains_to(cage: &Cage, apps: usize) -> (Vec<(String, String)>, Vec<String>) {
    let drains: Vec<_> = (0..apps).map(|app| (format!("app-{app}"), cage.url())).collect();
    let apps = drains.iter().map(|(app, _)| app.clone()).collect();
    (drains, apps)
}

/// App and number of each record of a [`Keeper`] in a body, or in a record alone.
fn records_in(bytes: &[u8]) -> Vec<(String, u64)> {
    let text = std::str::from_utf8(bytes).expect("UTF-8");
    let records = text.split(" host ").skip(1).map(|rest| {
        let app = rest.split(' ').next().expect("an app");
        let number = rest.split("status=200 ").nth(1).and_then(|rest| rest.split(' ').next());
        (app.to_owned(), number.and_then(|number| number.parse().ok()).expect("a number"))
    });
    records.collect()
}

/// One connection takes less than is sent, so more of them bring more.
#[test]
fn a_pool_that_grows_and_is_to_shrink_stays_within_its_cap_and_keeps_the_order_of_each_app() {
    const APPS: usize = 64;
    const PER_SECOND: u64 = 150;
    let scratch = Scratch::new("growth");
    let cage = Cage::new(Behaviour::Slow(10_000));
    cage.keep();
    let (drains, apps) = drains_to(&cage, APPS);
    // The queue is small, so that little is in hand when lanes move; the spool has the rest.
    let config = zoo::configuration(&drains, "", CAP)
        .replace("[limits]\n", "[limits]\nqueue = \"1MiB\"\n")
        .replace("\"16MiB\"", "\"192MiB\"");
    let gateway = Gateway::start(&scratch, &config);
    let keeper = Keeper::start(gateway.source("tcp"), apps, Pace::Steady(PER_SECOND));
    wait_until("a second connection", || cage.most_open() > 1);
    // Growth goes on while there is more to send than is taken.
    let before = keeper.sent();
    wait_until("more records", || keeper.sent() >= before + 3 * PER_SECOND * APPS as u64);
    // There is to be one from now on, and what it gets meanwhile stays in order too.
    gateway.reload(
        &scratch,
        &config.replace(&format!("max_connections = {CAP}"), "max_connections = 1"),
    );
    wait_until("one connection", || cage.open_now() == 1);
    let before = keeper.sent();
    wait_until("more records", || keeper.sent() >= before + PER_SECOND * APPS as u64);
    assert_eq!(cage.open_now(), 1);
    let (sent, _) = keeper.finish();
    wait_until("all booked as delivered", || {
        gateway.ledger().destination("syslog+tcp", "delivered") == sent
    });
    // What the kernel has acknowledged is still to be read.
    wait_until("all of them", || cage.records() >= sent);
    let (accepted, most) = (cage.accepted(), cage.most_open());
    eprintln!("{sent} records, {accepted} connections, {most} at once");
    assert!((2..=CAP).contains(&most), "{most} connections at once, {CAP} allowed");
    let mut next: BTreeMap<_, u64> = BTreeMap::new();
    for (_, record) in cage.take_kept() {
        for (app, number) in records_in(&record) {
            let next = next.entry(app.clone()).or_default();
            assert_eq!(number, *next, "{app}: lost, twice or out of order");
            *next += 1;
        }
    }
    assert_eq!(next.values().sum::<u64>(), sent);
    let ledger = gateway.shutdown();
    ledger.assert_balanced();
    assert_eq!(ledger.destination_drops("syslog+tcp"), []);
}

/// Some requests are answered and followed by a GOAWAY, some are taken and get a GOAWAY for an answer.
#[test]
fn what_a_goaway_leaves_without_an_answer_comes_again_under_its_key() {
    const APPS: usize = 16;
    const GOAWAYS: u64 = 6;
    let scratch = Scratch::new("goaway");
    let cage = Cage::new(Behaviour::Http2GoesAway(100));
    cage.keep();
    let (drains, apps) = drains_to(&cage, APPS);
    let gateway = Gateway::start(&scratch, &zoo::configuration(&drains, "", CAP));
    let keeper = Keeper::start(gateway.source("tcp"), apps, Pace::Steady(200));
    wait_until("connections that were left", || cage.goaways() >= GOAWAYS);
    let (sent, _) = keeper.finish();
    wait_until("all booked as delivered", || {
        gateway.ledger().destination("http", "delivered") == sent
    });
    assert!(cage.most_open() <= CAP, "{} connections, {CAP} allowed", cage.most_open());
    let kept = cage.take_kept();
    let (mut by_key, mut seen, mut again) = (BTreeMap::new(), BTreeSet::new(), 0);
    for (key, body) in &kept {
        assert!(!key.is_empty(), "a request without a key");
        match by_key.insert(key, body) {
            Some(first) => {
                assert!(first == body, "two requests with the key {key}");
                again += 1;
            }
            None => {
                for record in records_in(body) {
                    assert!(seen.insert(record.clone()), "{record:?} came under two keys");
                }
            }
        }
    }
    assert_eq!(seen.len() as u64, sent, "records that came");
    let (requests, goaways) = (kept.len(), cage.goaways());
    eprintln!("{sent} records, {requests} requests, {again} of them again, {goaways} GOAWAYs");
    assert!(again >= GOAWAYS / 2, "{again} requests came again");
    let ledger = gateway.shutdown();
    ledger.assert_balanced();
    assert_eq!(ledger.destination_drops("http"), []);
}

#[test]
fn a_window_of_nothing_is_attempts_that_time_out_and_harms_nobody() {
    let scratch = Scratch::new("window");
    let kinds = [Behaviour::Healthy, Behaviour::HttpHealthy, Behaviour::Http2NoWindow];
    let cages = kinds.map(Cage::new);
    let [healthy @ .., shut] = &cages;
    let drains: Vec<_> =
        cages.iter().enumerate().map(|(app, cage)| (format!("app-{app}"), cage.url())).collect();
    let apps: Vec<_> = drains.iter().map(|(app, _)| app.clone()).collect();
    let limits = "[limits]\nattempt = \"300ms\"\nshutdown = \"1s\"\n";
    let config = zoo::configuration(&drains, "", CAP).replace("[limits]\n", limits);
    let gateway = Gateway::start(&scratch, &config);
    let keeper = Keeper::start(gateway.source("tcp"), apps, Pace::Fast(RECORDS));
    wait_until("attempts that time out", || {
        let timed_out = [("outcome", "timeout")];
        gateway.metrics().sum("logboom_outbound_attempts_total", &timed_out) >= 3.0
    });
    for cage in healthy {
        let address = cage.address().to_string();
        wait_until("all booked as delivered", || {
            gateway.ledger().destination(&address, "delivered") == RECORDS
        });
        assert_eq!((cage.records(), gateway.ledger().failures(&address)), (RECORDS, 0));
    }
    assert_eq!(keeper.finish().0, RECORDS * cages.len() as u64);
    assert_eq!(shut.requests(), 0, "a body came through");
    assert!(shut.most_open() <= CAP, "{} connections, {CAP} allowed", shut.most_open());
    let ledger = gateway.shutdown();
    ledger.assert_balanced();
    let address = shut.address().to_string();
    assert_eq!(ledger.destination(&address, "spooled"), RECORDS);
    assert_eq!(ledger.destination(&address, "delivered"), 0);
}
