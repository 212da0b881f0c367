//! What is kept on disk and for whom: relinquished, released, deleted. One claim each.

use super::model::{Model, Op};
use super::*;
use crate::vfs::sim::Fault;
use crate::vfs::{Access, Vfs};
use crate::{Totals, Waiting};

/// A spool with so many entries of destination `a`, three records each, about seven a segment.
fn with_entries(seed: u64, count: usize, hold: bool) -> (Stepped, DestinationId) {
    let mut spool = Stepped::open(&Sim::new(seed), small());
    let a = spool.shared.destination("a");
    for _ in 0..count {
        spool.append(&[7; 500], &[want(a, 3, hold)], None).unwrap();
        spool.step();
    }
    (spool, a)
}

fn lag(records: u64) -> Waiting {
    let bytes = records * 10;
    Waiting { records, bytes, lag_records: records, lag_bytes: bytes, is_lagging: records > 0 }
}

fn given(spool: &mut Stepped, id: DestinationId) -> Vec<u64> {
    spool.read_all(id).into_iter().map(|(sequence, _)| sequence).collect()
}

#[test]
fn what_is_relinquished_is_given_out_again_whole_and_in_order() {
    let (mut spool, a) = with_entries(21, 20, true);
    spool.shared.done(a, 0, 3);
    spool.shared.done(a, 1, 2);
    spool.shared.done(a, 5, 3);
    assert_eq!(spool.shared.relinquish(a), lag(19 * 3));
    assert_eq!(spool.shared.waiting(a), lag(19 * 3));
    assert_eq!(spool.append(b"x", &[want(a, 3, true)], None).unwrap().held, [false]);
    assert_eq!(given(&mut spool, a), (1..=20).collect::<Vec<u64>>());
    // All of it is held now, and lags again a second time.
    assert_eq!(spool.shared.relinquish(a), lag(20 * 3));
    assert_eq!(given(&mut spool, a).len(), 20);
    (1..=20).for_each(|sequence| spool.shared.done(a, sequence, 3));
    assert_eq!(spool.shared.relinquish(a), Waiting::default());
    assert_eq!(spool.shared.read(a).unwrap(), Read::CaughtUp);
    assert!(spool.told.damaged.lock().unwrap().is_empty());
}

#[test]
fn what_was_shed_behind_a_held_entry_is_counted_when_it_comes_again() {
    let (mut spool, a) = with_entries(22, 50, false);
    let read = |spool: &Stepped| match spool.shared.read(a).unwrap() {
        Read::Entry { sequence, .. } => sequence,
        other => panic!("{other:?}"),
    };
    assert_eq!(read(&spool), 0);
    assert_eq!(spool.shared.shed(a, 40 * 30).records, 9 * 3);
    assert_eq!(read(&spool), 10);
    assert_eq!(spool.shared.shed(a, 20 * 30).records, 19 * 3);
    assert_eq!(spool.shared.shed(a, 19 * 30).records, 3);
    assert_eq!(read(&spool), 31);
    // What was shed before the first held entry is gone for good.
    spool.shared.done(a, 0, 3);
    assert_eq!(spool.shared.relinquish(a), lag(40 * 3));
    assert_eq!(given(&mut spool, a), (10..50).collect::<Vec<u64>>());
    assert!(spool.told.damaged.lock().unwrap().is_empty());
}

#[test]
fn a_segment_that_nobody_needs_is_the_next_one() {
    let (mut spool, a) = with_entries(24, 20, true);
    let old = spool.shared.lock().segments[0].clone();
    (0..20).for_each(|sequence| spool.shared.done(a, sequence, 3));
    spool.step();
    let files = spool.sim.files();
    let (_, spare) = files.iter().find(|(path, _)| path.ends_with("spare.lb")).unwrap();
    assert_eq!(spare.len(), 8192);
    assert!(spare.windows(500).any(|bytes| bytes == [7; 500]), "what it was before");
    assert!(recover::is_gone(&spool.sim, &spool.shared.files, &old));
    // Less than it had before: what is behind does not count.
    for _ in 0..9 {
        spool.append(b"new", &[want(a, 3, true)], None).unwrap();
        spool.step();
        spool.append(&[8; 500], &[want(a, 3, true)], None).unwrap();
        spool.step();
    }
    for disk in [spool.sim.kill(), spool.sim.crash(1)] {
        let mut again = Stepped::open(&disk, small());
        let a = again.shared.destination("a");
        assert_eq!(given(&mut again, a), (20..38).collect::<Vec<u64>>());
        assert_eq!((again.recovery.cut.len(), again.recovery.damaged.len()), (0, 0));
    }
}

#[test]
fn an_entry_without_records_between_held_ones_comes_again_with_them() {
    let mut spool = Stepped::open(&Sim::new(23), small());
    let a = spool.shared.destination("a");
    for records in [0, 1, 0, 1] {
        spool.append(b"x", &[want(a, records, true)], None).unwrap();
    }
    assert_eq!(spool.shared.relinquish(a), lag(2));
    assert_eq!(given(&mut spool, a), [1, 2, 3]);
    assert!(spool.told.damaged.lock().unwrap().is_empty());
}

#[test]
fn an_entry_is_held_until_it_is_done_relinquished_or_had_to_go() {
    let sim = Sim::new(24);
    let mut spool = Stepped::open(&sim, Options { bytes_max: 80_000, ..small() });
    let (a, b) = (spool.shared.destination("a"), spool.shared.destination("b"));
    let sequences: Vec<u64> =
        (0..3).map(|_| spool.append(b"x", &[want(a, 2, true)], None).unwrap().sequence).collect();
    let holds = |spool: &Stepped| -> Vec<bool> {
        sequences.iter().map(|sequence| spool.shared.holds(a, *sequence)).collect()
    };
    spool.shared.done(a, 0, 1);
    spool.shared.done(a, 1, 2);
    assert_eq!(holds(&spool), [true, false, true]);
    assert!(!spool.shared.holds(b, 0));
    spool.shared.relinquish(a);
    assert_eq!(holds(&spool), [false; 3]);
    assert_eq!(given(&mut spool, a), sequences);
    assert_eq!(holds(&spool), [true; 3]);
    for _ in 0..200 {
        spool.append(&[7; 500], &[want(b, 1, false)], None).unwrap();
        spool.step();
    }
    assert_eq!(holds(&spool), [false; 3]);
    assert_eq!(spool.shared.waiting(a), Waiting::default());
    assert_eq!(spool.shared.relinquish(a), Waiting::default());
    let shed = spool.told.shed.lock().unwrap();
    assert!(shed.iter().all(|(id, ..)| *id == b), "the caller has what a held: {shed:?}");
}

#[test]
fn what_rots_while_it_is_held_is_reported_when_it_comes_again() {
    let (mut spool, a) = with_entries(25, 10, true);
    let files = spool.sim.files();
    let (path, bytes) =
        files.into_iter().find(|(path, _)| path.to_str().unwrap().contains("seg-")).unwrap();
    let payload = bytes.windows(500).position(|window| window == [7; 500]).unwrap();
    let file = spool.sim.open(&path, Access::Write).unwrap();
    file.pwrite(b"!", payload as u64 + 100).unwrap();
    assert_eq!(spool.shared.relinquish(a), lag(30));
    let given = given(&mut spool, a).len() as u64;
    let damaged = spool.told.damaged.lock().unwrap();
    let [Damage { lost, .. }] = &damaged[..] else { panic!("{damaged:?}") };
    assert_eq!(lost[0].totals, Totals { entries: 1, records: 3, bytes: 30 });
    assert_eq!(given, 9);
}

#[test]
fn over_the_limit_what_was_relinquished_is_shed_and_counted_exactly() {
    let sim = Sim::new(31);
    let mut spool = Stepped::open(&sim, Options { bytes_max: 80_000, ..small() });
    let a = spool.shared.destination("a");
    for n in 0..200 {
        spool.append(&[7; 500], &[want(a, 3, n < 20)], None).unwrap();
        spool.step();
        if n == 30 {
            // In the middle of a segment; two of those behind it are finished too.
            [0, 1, 2, 3, 9, 10].iter().for_each(|sequence| spool.shared.done(a, *sequence, 3));
            assert_eq!(spool.shared.shed(a, 5 * 30).records, 6 * 3);
            assert_eq!(spool.shared.relinquish(a), lag(27 * 3));
        }
    }
    let shed: u64 = spool.told.shed.lock().unwrap().iter().map(|(_, records, _)| records).sum();
    assert!(shed > 300, "{shed}");
    assert_eq!(spool.shared.waiting(a).lag_records + shed, 196 * 3);
    assert_eq!(given(&mut spool, a).len() as u64 * 3 + shed, 196 * 3);
    assert!(spool.told.damaged.lock().unwrap().is_empty());
}

#[test]
fn a_segment_goes_when_the_lag_of_its_last_reader_ends_behind_it() {
    let mut spool = Stepped::open(&Sim::new(26), small());
    let (a, b) = (spool.shared.destination("a"), spool.shared.destination("b"));
    spool.append(b"x", &[want(a, 1, false)], None).unwrap();
    for _ in 0..50 {
        let appended = spool.append(&[7; 500], &[want(b, 1, true)], None).unwrap();
        spool.step();
        spool.shared.done(b, appended.sequence, 1);
    }
    assert_eq!(given(&mut spool, a), [0]);
    spool.step();
    assert!(spool.shared.stats().segments > 5, "the first entry is not done");
    spool.shared.done(a, 0, 1);
    spool.step();
    assert_eq!(spool.shared.stats().segments, 1);
}

#[test]
fn a_segment_goes_when_a_lag_moves_on_after_all_is_done() {
    let mut spool = Stepped::open(&Sim::new(27), small());
    let (a, b) = (spool.shared.destination("a"), spool.shared.destination("b"));
    spool.append(b"x", &[want(a, 1, false)], None).unwrap();
    for _ in 0..50 {
        let appended = spool.append(&[7; 500], &[want(b, 1, true)], None).unwrap();
        spool.step();
        spool.shared.done(b, appended.sequence, 1);
    }
    assert!(matches!(spool.shared.read(a), Ok(Read::Entry { sequence: 0, .. })));
    spool.shared.done(a, 0, 1);
    spool.step();
    assert!(spool.shared.stats().segments > 5, "the lag still begins in the first segment");
    assert_eq!(spool.shared.read(a).unwrap(), Read::CaughtUp);
    spool.step();
    assert_eq!(spool.shared.stats().segments, 1);
}

#[test]
fn finished_entries_behind_one_that_had_to_go_keep_nothing() {
    let sim = Sim::new(28);
    let mut spool = Stepped::open(&sim, Options { bytes_max: 80_000, ..small() });
    let a = spool.shared.destination("a");
    let first = spool.append(b"x", &[want(a, 1, true)], None).unwrap().sequence;
    while spool.shared.holds(a, first) {
        let appended = spool.append(&[7; 500], &[want(a, 1, true)], None).unwrap();
        spool.shared.done(a, appended.sequence, 1);
        spool.step();
    }
    spool.step();
    assert_eq!(spool.shared.stats().segments, 1);
    assert_eq!(spool.shared.waiting(a), Waiting::default());
}

#[test]
fn of_very_many_destinations_the_one_that_keeps_a_segment_is_remembered() {
    let mut spool = Stepped::open(&Sim::new(29), small());
    let ids: Vec<DestinationId> =
        (0..100_000).map(|n| spool.shared.destination(&n.to_string())).collect();
    let (first, last) = (ids[0], ids[99_999]);
    let kept = spool.append(&[7; 500], &[want(last, 1, true)], None).unwrap().sequence;
    for n in 0..50 {
        let appended = spool.append(&[7; 500], &[want(first, 1, true)], None).unwrap();
        spool.step();
        spool.shared.done(first, appended.sequence, 1);
        let inner = spool.shared.lock();
        // What is before it is not looked at again.
        assert!(n < 10 || inner.keeper.1 == last.0, "{:?}", inner.keeper);
    }
    spool.shared.done(last, kept, 1);
    spool.step();
    assert_eq!(spool.shared.stats().segments, 1);
}

#[test]
fn without_room_for_cursors_what_nobody_needs_goes_all_the_same() {
    let (mut spool, a) = with_entries(30, 50, true);
    (0..50).for_each(|sequence| spool.shared.done(a, sequence, 3));
    let segments = spool.shared.stats().segments;
    // The disk refuses the first write, of the cursors, and no other.
    spool.sim.fail_at(0, Fault::Errno(28));
    spool.step();
    assert!(spool.shared.stats().segments < segments);
    assert_eq!(spool.shared.lock().state, State::Good);
}

#[test]
fn a_name_that_comes_with_a_cursor_stands_twice() {
    let mut spool = Stepped::open(&Sim::new(32), small());
    let a = spool.shared.destination("only here");
    // A cursor that moved, of a destination that no entry named before.
    spool.shared.forget(a);
    spool.step();
    let files = spool.sim.files();
    let (_, bytes) =
        files.iter().find(|(path, _)| path.to_str().unwrap().contains("seg-")).unwrap();
    let names = bytes.windows(9).filter(|window| window == b"only here").count();
    assert_eq!(names, 2);
}

#[test]
fn what_is_done_in_a_segment_that_cannot_be_deleted_does_not_come_again() {
    let mut model = Model::new(33);
    for op in [
        Op::Append { size: 0, wants: 2, hold: false, durable: true },
        Op::Step { ms: 1 },
        Op::Close,
        Op::Done { destination: 1, which: 0 },
        // The cursor is written and synced; then deleting fails.
        Op::FailAt { nth: 2, fault: 0 },
        Op::Step { ms: 1 },
        // This asserts it.
        Op::Close,
    ] {
        model.play(&op);
    }
    assert!(model.held[1].is_empty());
}

/// Lets so much time pass, with a step whenever the writer says that one is due.
fn run(spool: &mut Stepped, ms: u64) {
    let until = spool.now + Duration::from_millis(ms);
    while let Some(due) = spool.writer.step(spool.now).filter(|due| *due <= until) {
        spool.now = due.max(spool.now);
    }
    spool.now = until;
}

#[test]
fn a_cursor_is_synced_within_about_a_second_though_nothing_is_appended() {
    let (mut spool, a) = with_entries(34, 6, true);
    run(&mut spool, 2000);
    (0..5).for_each(|sequence| spool.shared.done(a, sequence, 3));
    run(&mut spool, 1200);
    let syncs = spool.shared.stats().syncs;
    for seed in 0..20 {
        let mut after = Stepped::open(&spool.sim.kill().crash(seed), small());
        let a = after.shared.destination("a");
        assert_eq!(given(&mut after, a), [5], "seed {seed}");
    }
    // Nothing moves any more, and nothing is to be synced.
    run(&mut spool, 60_000);
    assert_eq!(spool.shared.stats().syncs, syncs);
    assert_eq!(spool.writer.step(spool.now), None);
}

#[test]
fn cursors_that_move_all_the_time_are_synced_once_a_second() {
    let mut spool = Stepped::open(&Sim::new(35), Options { segment_bytes: 1 << 20, ..small() });
    let a = spool.shared.destination("a");
    (0..100).for_each(|_| drop(spool.append(b"x", &[want(a, 1, true)], None).unwrap()));
    run(&mut spool, 2000);
    let before = spool.shared.stats().syncs;
    for sequence in 0..100 {
        spool.shared.done(a, sequence, 1);
        run(&mut spool, 100);
    }
    let syncs = spool.shared.stats().syncs - before;
    assert!((8..=10).contains(&syncs), "{syncs}");
}
