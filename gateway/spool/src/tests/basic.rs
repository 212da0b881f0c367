//! One claim each, on a disk that works.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::{AppendError, Spool, Waiting};

fn dir(name: &str) -> std::path::PathBuf {
    let dir = std::env::temp_dir().join(format!("logboom-spool-{}-{name}", std::process::id()));
    drop(std::fs::remove_dir_all(&dir));
    dir
}

#[test]
fn what_is_appended_is_read_after_a_restart_on_a_real_disk() {
    let dir = dir("restart");
    let told = Arc::new(Told::default());
    let (spool, recovery) = Spool::open(&dir, small(), told.clone()).unwrap();
    assert!(recovery.was_clean);
    let a = spool.destination("a");
    let synced = Arc::new(AtomicUsize::new(0));
    for n in 0..100_u32 {
        let synced = Arc::clone(&synced);
        let durable: Durable = Box::new(move |result| {
            result.unwrap();
            synced.fetch_add(1, Ordering::SeqCst);
        });
        let payload = n.to_le_bytes().repeat(50);
        let appended = spool.append(&[&payload, b"!"], &[want(a, 2, true)], Some(durable)).unwrap();
        assert_eq!(appended.held, [true]);
    }
    spool.close();
    assert_eq!(synced.load(Ordering::SeqCst), 100);
    assert_eq!(spool.append(&[b"x"], &[], None), Err(AppendError::Closed));
    let uuid = spool.uuid();
    drop(spool);

    let (spool, recovery) = Spool::open(&dir, small(), told.clone()).unwrap();
    assert!(recovery.was_clean, "{recovery:?}");
    assert_eq!(spool.uuid(), uuid);
    assert_eq!(recovery.next_sequence, 100);
    let waiting =
        Waiting { records: 200, bytes: 2000, lag_records: 200, lag_bytes: 2000, is_lagging: true };
    let a = recovery.destinations[0].destination;
    assert_eq!(spool.waiting(a), waiting);
    for n in 0..100_u32 {
        let Read::Entry { sequence, payload, records, .. } = spool.read(a).unwrap() else {
            panic!("{n} is missing");
        };
        assert_eq!((sequence, records), (n.into(), 2));
        assert_eq!(payload[..payload.len() - 1], n.to_le_bytes().repeat(50));
        spool.done(a, sequence, 2);
    }
    assert_eq!(spool.read(a).unwrap(), Read::CaughtUp);
    assert_eq!(spool.waiting(a), Waiting::default());
    spool.close();
    drop(spool);
    let (spool, recovery) = Spool::open(&dir, small(), told.clone()).unwrap();
    assert!(recovery.destinations.is_empty());
    assert!(spool.stats().segments <= 2, "{:?}", spool.stats());
    drop(spool);
    assert!(told.damaged.lock().unwrap().is_empty());
    // A thread may still write there; what is left is in a folder for temporary files.
    drop(std::fs::remove_dir_all(&dir));
}

#[test]
fn a_second_process_is_refused() {
    let dir = dir("locked");
    let (spool, _) = Spool::open(&dir, small(), Arc::new(Told::default())).unwrap();
    let second = Spool::open(&dir, small(), Arc::new(Told::default()));
    assert!(matches!(second, Err(crate::OpenError::Locked { .. })));
    drop(spool);
    // A thread may still write there; what is left is in a folder for temporary files.
    drop(std::fs::remove_dir_all(&dir));
}

#[test]
fn a_destination_that_does_not_hold_lags_until_it_has_read_all() {
    let sim = Sim::new(1);
    let mut spool = Stepped::open(&sim, small());
    let a = spool.shared.destination("a");
    let b = spool.shared.destination("b");
    let held = |appended: Option<Appended>| appended.unwrap().held;
    assert_eq!(held(spool.append(b"0", &[want(a, 1, true), want(b, 1, true)], None)), [true; 2]);
    assert_eq!(
        held(spool.append(b"1", &[want(a, 1, false), want(b, 1, true)], None)),
        [false, true]
    );
    assert_eq!(held(spool.append(b"2", &[want(a, 1, true)], None)), [false]);
    assert_eq!(spool.shared.read(a).unwrap(), Read::NotYet);
    assert!(spool.shared.waiting(a).is_lagging);
    assert_eq!(spool.read_all(a), [(1, b"1".to_vec()), (2, b"2".to_vec())]);
    assert_eq!(held(spool.append(b"3", &[want(a, 1, true)], None)), [true]);
    assert_eq!(spool.shared.waiting(a).records, 4);
    assert_eq!(spool.shared.waiting(b).records, 2);
    assert_eq!(spool.shared.read(b).unwrap(), Read::CaughtUp);
}

#[test]
fn segments_go_when_all_is_done_and_not_before() {
    let sim = Sim::new(2);
    let mut spool = Stepped::open(&sim, small());
    let a = spool.shared.destination("a");
    let sequences: Vec<u64> = (0..50)
        .map(|_| {
            let appended = spool.append(&[7; 500], &[want(a, 1, true)], None).unwrap();
            spool.step();
            appended.sequence
        })
        .collect();
    let segments = spool.shared.stats().segments;
    assert!(segments > 5);
    for sequence in &sequences[1..] {
        spool.shared.done(a, *sequence, 1);
    }
    spool.step();
    assert_eq!(spool.shared.stats().segments, segments, "the first entry is not done");
    spool.shared.done(a, 0, 1);
    spool.step();
    assert_eq!(spool.shared.stats().segments, 1);
    let left =
        sim.files().iter().filter(|(path, _)| path.to_str().unwrap().contains("seg")).count();
    assert_eq!(left, 1);
}

#[test]
fn over_the_limit_the_oldest_is_shed_and_counted_exactly() {
    let sim = Sim::new(3);
    let options = Options { bytes_max: 40_000, ..small() };
    let mut spool = Stepped::open(&sim, options);
    let a = spool.shared.destination("a");
    for n in 0..200 {
        spool.append(&[7; 500], &[want(a, 3, false)], None).unwrap();
        spool.step();
        if n == 10 {
            // In the middle of the oldest segment.
            assert!(matches!(spool.shared.read(a), Ok(Read::Entry { .. })));
            assert!(matches!(spool.shared.read(a), Ok(Read::Entry { .. })));
            spool.shared.done(a, 0, 3);
        }
    }
    assert!(spool.shared.stats().bytes <= 40_000);
    let shed: u64 = spool.told.shed.lock().unwrap().iter().map(|(_, records, _)| records).sum();
    assert!(shed > 300, "{shed}");
    // The first two were given out; the second, not done, is no more on disk, but not shed.
    assert_eq!(spool.shared.waiting(a).records + shed + 6, 600);
    assert_eq!(spool.read_all(a).len() as u64 * 3 + shed + 6, 600);
    assert!(spool.told.damaged.lock().unwrap().is_empty());
}

#[test]
fn shedding_passes_the_oldest_and_stops_at_the_share() {
    let sim = Sim::new(4);
    let mut spool = Stepped::open(&sim, small());
    let a = spool.shared.destination("a");
    for n in 0..50_u8 {
        spool.append(&[n; 500], &[want(a, 1, false)], None).unwrap();
        spool.step();
    }
    let first = spool.shared.read(a).unwrap();
    assert!(matches!(first, Read::Entry { sequence: 0, .. }));
    let shed = spool.shared.shed(a, 105);
    assert_eq!((shed.records, shed.bytes), (39, 390));
    assert_eq!(spool.shared.waiting(a).lag_bytes, 100);
    let rest = spool.read_all(a);
    assert_eq!(rest.first().unwrap().0, 40);
    assert_eq!(rest.len(), 10);
}

#[test]
fn what_is_forgotten_is_not_given_out() {
    let sim = Sim::new(5);
    let mut spool = Stepped::open(&sim, small());
    let a = spool.shared.destination("a");
    spool.append(b"x", &[want(a, 1, true)], None).unwrap();
    spool.append(b"x", &[want(a, 2, false)], None).unwrap();
    spool.step();
    assert_eq!(spool.shared.lagging()[0].2.records, 3);
    assert_eq!(spool.shared.forget(a).records, 3);
    assert_eq!(spool.shared.read(a).unwrap(), Read::CaughtUp);
    spool.step();
    drop(spool);
    let spool = Stepped::open(&sim.kill(), small());
    assert!(spool.recovery.destinations.is_empty());
}

#[test]
fn a_spool_that_goes_without_being_closed_says_so_to_all_who_wait() {
    let sim = Sim::new(12);
    let spool = Stepped::open(&sim, small());
    let (tell, told) = std::sync::mpsc::channel();
    let durable: Durable = Box::new(move |result| tell.send(result.is_ok()).unwrap());
    spool.append(b"x", &[], Some(durable)).unwrap();
    drop(spool);
    assert_eq!(told.try_iter().collect::<Vec<bool>>(), [false]);
}

#[test]
fn a_sequence_is_never_given_twice() {
    let sim = Sim::new(6);
    let spool = Stepped::open(&sim, small());
    let a = spool.shared.destination("a");
    let first = spool.append(b"never written", &[want(a, 1, true)], None).unwrap();
    drop(spool);
    let spool = Stepped::open(&sim.crash(1), small());
    let second = spool.append(b"x", &[], None).unwrap();
    assert!(second.sequence > first.sequence);
}

#[test]
fn an_append_over_the_backlog_is_refused_until_it_is_synced() {
    let sim = Sim::new(7);
    let options = Options { unsynced_bytes_max: 1000, ..small() };
    let mut spool = Stepped::open(&sim, options);
    assert!(spool.append(&[0; 2000], &[], None).is_some());
    let refused = spool.shared.append(&[b"x"], &[], None, false);
    assert!(matches!(refused, Err(AppendError::Backlog { .. })));
    spool.step();
    assert!(spool.append(b"x", &[], None).is_some());
}

/// Entries of one group each that were appended, held and finished before the writer looked.
fn pass_through(spool: &mut Stepped, a: DestinationId, count: usize) {
    for _ in 0..count {
        let appended = spool.append(&[9; 500], &[want(a, 1, true)], None).unwrap();
        spool.shared.done(a, appended.sequence, 1);
        spool.step();
    }
}

fn has_written(sim: &Sim, payload: &[u8]) -> bool {
    sim.files().iter().any(|(_, bytes)| bytes.windows(payload.len()).any(|at| at == payload))
}

#[test]
fn what_all_are_done_with_before_it_is_written_is_not_written() {
    let mut spool = Stepped::open(&Sim::new(41), small());
    let (a, b) = (spool.shared.destination("a"), spool.shared.destination("b"));
    spool.append(b"first", &[want(b, 1, true)], None).unwrap();
    spool.step();
    // Many segments, if it were written.
    pass_through(&mut spool, a, 100);
    let is_durable = Arc::new(Mutex::new(None));
    let told = Arc::clone(&is_durable);
    let durable: Durable = Box::new(move |result| *told.lock().unwrap() = Some(result.is_ok()));
    let appended = spool.append(&[9; 500], &[want(a, 1, true)], Some(durable)).unwrap();
    spool.shared.done(a, appended.sequence, 1);
    spool.step();
    assert_eq!(*is_durable.lock().unwrap(), Some(true));
    assert!(!has_written(&spool.sim, &[9; 500]));
    let stats = spool.shared.stats();
    assert_eq!((stats.unsynced_bytes, stats.unwritten_entries), (0, 101));
    // One of two that want it is not done.
    let both = spool.append(b"both", &[want(a, 1, true), want(b, 1, true)], None).unwrap();
    spool.shared.done(a, both.sequence, 1);
    spool.step();
    assert!(has_written(&spool.sim, b"both"));
    for disk in [spool.sim.kill(), spool.sim.crash(1)] {
        let mut again = Stepped::open(&disk, small());
        assert!(again.recovery.damaged.is_empty(), "{:?}", again.recovery);
        let (a, b) = (again.shared.destination("a"), again.shared.destination("b"));
        let mut given = |id| -> Vec<u64> {
            again.read_all(id).into_iter().map(|(sequence, _)| sequence).collect()
        };
        assert_eq!(given(b), [0, both.sequence]);
        // Its cursor had passed it.
        assert_eq!(given(a), [0; 0]);
    }
}

#[test]
fn cursors_alone_do_not_make_a_segment_longer_than_it_may_be() {
    let mut spool = Stepped::open(&Sim::new(44), small());
    let a = spool.shared.destination("a");
    pass_through(&mut spool, a, 100);
    let bytes = spool.shared.stats().bytes;
    assert!(bytes <= small().segment_bytes + 2 * 512, "{bytes}");
    // Nor with entries before them.
    let b = spool.shared.destination("b");
    spool.append(b"x", &[want(b, 1, true)], None).unwrap();
    spool.step();
    pass_through(&mut spool, a, 100);
    let stats = spool.shared.stats();
    assert!(stats.bytes <= 2 * (small().segment_bytes + 2 * 512), "{stats:?}");
    assert_eq!(stats.segments, 2);
    let mut again = Stepped::open(&spool.sim.crash(1), small());
    assert!(again.recovery.damaged.is_empty(), "{:?}", again.recovery);
    let b = again.shared.destination("b");
    assert_eq!(again.read_all(b).len(), 1);
}

#[test]
fn what_could_not_be_written_when_it_was_closed_is_told_exactly() {
    could_not_be_written(false);
    could_not_be_written(true);
}

fn could_not_be_written(is_relinquished: bool) {
    let mut spool = Stepped::open(&Sim::new(45), small());
    let (a, b) = (spool.shared.destination("a"), spool.shared.destination("b"));
    spool.append(b"written", &[want(a, 9, true)], None).unwrap();
    spool.step();
    let (sim, told) = (spool.sim.clone(), Arc::clone(&spool.told));
    sim.break_at(0, Some(5));
    let begun = spool.append(b"begun", &[want(a, 3, true)], None).unwrap();
    spool.shared.done(a, begun.sequence, 1);
    let done = spool.append(b"done", &[want(a, 2, true)], None).unwrap();
    spool.shared.done(a, done.sequence, 2);
    spool.append(b"lags", &[want(b, 4, false)], None).unwrap();
    spool.append(b"both", &[want(a, 1, true), want(b, 1, true)], None).unwrap();
    if is_relinquished {
        spool.shared.relinquish(a);
        spool.shared.relinquish(b);
    }
    spool.close();
    assert_eq!(*told.unwritten.lock().unwrap(), [(a, 2 + 1, 40), (b, 4 + 1, 50)]);
    sim.break_at(0, None);
    let again = Stepped::open(&sim.kill(), small());
    let waiting: Vec<u64> =
        again.recovery.destinations.iter().map(|it| it.waiting.records).collect();
    assert_eq!(waiting, [9]);
}

#[test]
fn a_spool_in_which_nothing_was_written_gives_no_sequence_twice() {
    let mut spool = Stepped::open(&Sim::new(42), small());
    let a = spool.shared.destination("a");
    pass_through(&mut spool, a, 3);
    let sim = spool.sim.clone();
    spool.close();
    let again = Stepped::open(&sim.kill(), small());
    assert_eq!((again.recovery.was_clean, again.recovery.next_sequence), (true, 3));
    assert_eq!(again.recovery.damaged.len(), 0);
}

#[test]
fn segments_have_no_gap_between_them_though_what_is_between_was_not_written() {
    let mut spool = Stepped::open(&Sim::new(43), small());
    let (a, b) = (spool.shared.destination("a"), spool.shared.destination("b"));
    let mut kept = Vec::new();
    for _ in 0..30 {
        kept.push(spool.append(&[7; 500], &[want(b, 1, false)], None).unwrap().sequence);
        spool.step();
        pass_through(&mut spool, a, 2);
    }
    let nexts: Vec<(u64, u64)> =
        spool.shared.lock().segments.iter().map(|segment| (segment.first, segment.next)).collect();
    assert!(nexts.len() > 3 && nexts.windows(2).all(|pair| pair[0].1 == pair[1].0), "{nexts:?}");
    let mut again = Stepped::open(&spool.sim.kill(), small());
    assert!(again.recovery.damaged.is_empty());
    let b = again.shared.destination("b");
    let given: Vec<u64> = again.read_all(b).into_iter().map(|(sequence, _)| sequence).collect();
    assert_eq!(given, kept);
}

#[test]
fn what_is_to_be_held_or_not_at_all_is_not_appended_behind_a_lag() {
    let sim = Sim::new(12);
    let spool = Stepped::open(&sim, small());
    let a = spool.shared.destination("a");
    let held = |hold| spool.shared.append(&[b"x"], &[want(a, 1, hold)], None, true);
    assert_eq!(held(true).unwrap().held, [true]);
    assert_eq!(held(false).unwrap_err(), AppendError::Lagging(a.0));
    spool.append(b"y", &[want(a, 1, false)], None).unwrap();
    assert_eq!(held(true).unwrap_err(), AppendError::Lagging(a.0));
    assert_eq!(spool.shared.waiting(a).records, 2);
}

#[test]
fn a_segment_that_replaces_an_empty_one_keeps_its_cursors() {
    let sim = Sim::new(11);
    let mut spool = Stepped::open(&sim, small());
    let (a, b) = (spool.shared.destination("a"), spool.shared.destination("b"));
    spool.append(b"x", &[want(a, 1, false), want(b, 1, false)], None).unwrap();
    spool.step();
    spool.close();
    // This one finishes it for a, and writes that into a segment with no entries.
    let mut spool = Stepped::open(&sim.kill(), small());
    let sim = Sim::clone(&spool.sim);
    let a = spool.shared.destination("a");
    spool.read_all(a);
    spool.shared.done(a, 0, 1);
    spool.close();
    // This one begins a segment of the same name, and is killed.
    let sim = sim.kill();
    drop(Stepped::open(&sim, small()));
    let spool = Stepped::open(&sim.kill(), small());
    let names: Vec<&str> = spool.recovery.destinations.iter().map(|d| &*d.name).collect();
    assert_eq!(names, ["b"]);
}

#[test]
fn while_one_copies_the_next_goes_into_another_group() {
    let sim = Sim::new(13);
    let mut spool = Stepped::open(&sim, small());
    let a = spool.shared.destination("a");
    spool.append(b"first", &[want(a, 1, false)], None).unwrap();
    let body = spool.shared.lock().open.body();
    let copying = body.lock().unwrap();
    spool.append(b"second", &[want(a, 1, false)], None).unwrap();
    assert_eq!(spool.shared.lock().queue.len(), 1);
    drop(copying);
    assert_eq!(spool.read_all(a), [(0, b"first".to_vec()), (1, b"second".to_vec())]);
}

#[test]
fn the_writer_is_woken_for_a_segment_that_can_go_and_for_no_other() {
    let sim = Sim::new(14);
    let mut spool = Stepped::open(&sim, small());
    let [a, b] = ["a", "b"].map(|name| spool.shared.destination(name));
    let wants = [want(a, 1, true), want(b, 1, true)];
    let wakes = |spool: &Stepped, id, sequence| {
        spool.shared.lock().wake = false;
        spool.shared.done(id, sequence, 1);
        spool.shared.lock().wake
    };
    for _ in 0..2 {
        spool.append(b"x", &wants, None).unwrap();
        spool.step();
    }
    assert!(wakes(&spool, a, 0), "a cursor is to be written");
    assert!(!wakes(&spool, a, 1), "the segment stays");
    assert!(!wakes(&spool, b, 0), "the segment stays");
    spool.append(&[0; 5500], &wants, None).unwrap();
    spool.step();
    assert_eq!(spool.shared.stats().segments, 2);
    assert!(wakes(&spool, b, 1), "nobody needs the first segment");
    spool.step();
    assert_eq!(spool.shared.stats().segments, 1);
}
