//! Every call fails in turn; every byte is flipped in turn; every file is cut at every length.

use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::model::{Model, Op, is_reported};
use super::*;
use crate::files::first_of;
use crate::vfs::sim::Fault;

const FAULTS: [Fault; 4] = [Fault::Errno(5), Fault::Errno(28), Fault::Errno(4), Fault::Short];

/// About 300 operations that use all of the spool, the same every time.
fn script() -> Vec<Op> {
    let mut ops = Vec::new();
    for n in 0..60_usize {
        let wants = u8::try_from(n % 8).unwrap();
        ops.push(Op::Append { size: n * 37 % 900, wants, hold: n % 5 != 0, durable: n % 3 == 0 });
        ops.push(Op::Step { ms: [1, 20, 150, 1000][n % 4] });
        ops.push(Op::Done { destination: n % 3, which: n % 2 });
        ops.push(Op::Read { destination: (n + 1) % 3 });
        if n % 20 == 19 {
            ops.push(Op::Shed { destination: n % 3, keep: 40 });
        }
        if n % 20 == 10 {
            ops.push(Op::Relinquish { destination: n % 3 });
        }
        if n == 50 {
            ops.push(Op::Forget { destination: 2 });
        }
        ops.push(Op::Begin { destination: n % 3, which: 1 });
        ops.push(Op::Done { destination: (n + 1) % 3, which: 0 });
    }
    ops
}

/// Plays the script with a fault at the `nth` call, then loses power.
fn play_with_fault(nth: u64, fault: Fault) {
    let mut model = Model::new(1);
    model.sim.fail_at(nth, fault);
    model.has_failed = true;
    for op in script() {
        model.play(&op);
    }
    for _ in 0..3 {
        model.play(&Op::Step { ms: 2000 });
    }
    assert_eq!(model.spool().shared.lock().state, State::Good, "call {nth} {fault:?}");
    let unsynced = model.spool().shared.stats().unsynced_bytes;
    assert_eq!(unsynced, 0, "call {nth} {fault:?}");
    assert_eq!(model.sim.touched_after_failure(), 0, "call {nth} {fault:?}");
    model.play(&Op::Crash { seed: nth });
}

#[test]
fn any_one_call_may_fail_and_nothing_acknowledged_is_lost() {
    let calls = {
        let mut model = Model::new(1);
        let before = model.sim.calls();
        script().iter().for_each(|op| model.play(op));
        model.sim.calls() - before
    };
    assert!(calls > 200, "{calls}");
    for nth in 0..calls {
        for fault in FAULTS {
            play_with_fault(nth, fault);
        }
    }
}

#[test]
fn any_one_call_may_fail_while_opening() {
    let mut model = Model::new(2);
    script().iter().for_each(|op| model.play(op));
    let calls = {
        let sim = model.sim.kill();
        let before = sim.calls();
        drop(Stepped::open(&sim, small()));
        sim.calls() - before
    };
    for (nth, fault) in (0..calls).flat_map(|nth| FAULTS.map(|fault| (nth, fault))) {
        let sim = model.sim.kill();
        sim.fail_at(nth, fault);
        let opened =
            recover::open(Arc::new(sim.clone()), Path::new(DIR), small(), Arc::<Told>::default());
        drop(opened);
        let mut after = model.changed(sim.kill());
        after.reopen();
        assert!(after.spool().told.damaged.lock().unwrap().is_empty(), "{nth} {fault:?}");
        assert!(after.spool().recovery.damaged.is_empty(), "{nth} {fault:?}");
    }
}

#[test]
fn a_disk_that_fails_for_good_refuses_and_comes_back() {
    for (errno, is_full) in [(5, false), (28, true)] {
        let mut model = Model::new(3);
        let append = Op::Append { size: 100, wants: 1, hold: true, durable: true };
        model.play(&append);
        model.sim.break_at(0, Some(errno));
        model.play(&Op::Step { ms: 1 });
        let state = model.spool().shared.lock().state.clone();
        assert_eq!(matches!(state, State::Full), is_full);
        assert_eq!(matches!(state, State::Failed(_)), !is_full);
        assert!(model.spool().append(b"refused", &[], None).is_none());
        model.sim.break_at(0, None);
        model.play(&Op::Step { ms: 2000 });
        assert_eq!(model.spool().shared.lock().state, State::Good);
        assert_eq!(model.spool().shared.stats().unsynced_bytes, 0);
        model.play(&append);
        model.play(&Op::Crash { seed: 3 });
        assert_eq!(model.held[0].len(), 1, "the second one was never synced, the first one was");
    }
}

#[test]
fn a_full_disk_refuses_goes_on_draining_and_takes_again() {
    let sim = Sim::new(4);
    let mut spool = Stepped::open(&sim, small());
    let a = spool.shared.destination("a");
    sim.set_room(Some(12 * 4096));
    let mut appended = Vec::new();
    while let Some(entry) = spool.append(&[9; 700], &[want(a, 1, true)], None) {
        appended.push(entry.sequence);
        spool.step();
    }
    assert_eq!(spool.shared.lock().state, State::Full);
    assert!(appended.len() > 10);
    appended.iter().for_each(|sequence| spool.shared.done(a, *sequence, 1));
    spool.step();
    spool.step();
    assert_eq!(spool.shared.lock().state, State::Good);
    assert!(spool.append(b"taken", &[want(a, 1, true)], None).is_some());
}

#[test]
fn a_full_disk_takes_again_only_with_room_for_a_segment() {
    let sim = Sim::new(15);
    let mut spool = Stepped::open(&sim, small());
    let (a, room) = (spool.shared.destination("a"), 12 * 4096);
    sim.set_room(Some(room));
    while spool.append(&[9; 700], &[want(a, 1, true)], None).is_some() {
        spool.step();
    }
    for (more, state) in [(1, State::Full), (4096, State::Full), (8192, State::Good)] {
        sim.set_room(Some(room + more));
        spool.step();
        assert_eq!(spool.shared.lock().state, state, "{more}");
    }
}

#[test]
fn what_a_start_reads_of_sealed_segments_does_not_grow_with_their_entries() {
    let calls = [(1_u8, 20), (2, 700)].map(|(seed, bytes)| {
        let sim = Sim::new(u64::from(seed));
        let mut spool = Stepped::open(&sim, small());
        let a = spool.shared.destination("a");
        let mut entries = 0;
        while spool.shared.stats().segments < 6 {
            spool.append(&vec![seed; bytes], &[want(a, 1, false)], None).unwrap();
            spool.step();
            entries += 1;
        }
        spool.close();
        let sim = sim.kill();
        let before = sim.calls();
        let spool = Stepped::open(&sim, small());
        assert_eq!(spool.shared.waiting(a).lag_records, entries);
        (entries, sim.calls() - before)
    });
    let [(many, of_many), (few, of_few)] = calls;
    assert!(many >= 2 * few, "{many}, {few}");
    assert_eq!(of_many, of_few);
}

type Files = Vec<(PathBuf, Vec<u8>)>;

/// The segments of a small spool: entries of one group each, some in sealed segments.
fn small_spool() -> (Model, Files) {
    let mut model = Model::new(5);
    for n in 0..24_usize {
        let wants = u8::try_from(n % 7 + 1).unwrap();
        model.play(&Op::Append { size: n * 53 % 400, wants, hold: n % 3 != 0, durable: true });
        model.play(&Op::Step { ms: 150 });
        if n == 15 {
            model.play(&Op::Close);
        }
    }
    model.play(&Op::Done { destination: 0, which: 0 });
    model.play(&Op::Step { ms: 150 });
    let files = model.sim.files();
    let is_segment = |path: &Path| first_of(path.file_name().unwrap().to_str().unwrap()).is_some();
    let files = files.into_iter().filter(|(path, _)| is_segment(path)).collect();
    (model, files)
}

fn with(files: &Files, at: usize, bytes: Vec<u8>) -> Sim {
    let sim = Sim::new(6);
    for (n, (path, content)) in files.iter().enumerate() {
        sim.put(path, if n == at { bytes.clone() } else { content.clone() });
    }
    sim
}

#[test]
fn any_one_byte_may_flip_and_only_its_group_is_lost() {
    let (model, files) = small_spool();
    assert!(files.len() > 2);
    for (file, (path, content)) in files.iter().enumerate() {
        let used = content.iter().rposition(|byte| *byte != 0).unwrap() + 64;
        for at in 0..used.min(content.len()) {
            let mut bytes = content.clone();
            bytes[at] ^= 0x04;
            let mut after = model.changed(with(&files, file, bytes));
            after.reopen();
            let wanted = |d: usize| model.known.iter().filter(move |(_, k)| k.wants.contains(&d));
            let mut missing = BTreeSet::<u64>::new();
            for destination in 0..3 {
                let given = &after.held[destination];
                missing.extend(wanted(destination).map(|(s, _)| *s).filter(|s| !given.contains(s)));
            }
            assert!(missing.len() <= 1, "{} {at}: {missing:?}", path.display());
        }
    }
}

#[test]
fn a_file_may_be_cut_anywhere_and_what_is_before_the_cut_stays() {
    let (model, files) = small_spool();
    for (file, (path, content)) in files.iter().enumerate() {
        let is_last = file + 1 == files.len();
        let mut least = 0;
        for len in 0..content.len() {
            let sim = with(&files, file, content[..len].to_vec());
            let mut spool = Stepped::open(&sim, small());
            let mut given = BTreeSet::new();
            for name in ["a", "b", "c"] {
                let id = spool.shared.destination(name);
                given.extend(spool.read_all(id).into_iter().map(|(sequence, _)| sequence));
            }
            let missing =
                model.known.iter().filter(|(s, k)| !k.wants.is_empty() && !given.contains(s));
            for (sequence, _) in missing {
                let is_reported = is_last || is_reported(&spool, *sequence);
                assert!(is_reported, "{} cut at {len}: {sequence} is gone", path.display());
            }
            let kept = model.known.iter().filter(|(s, k)| !k.wants.is_empty() && given.contains(s));
            let kept = kept.count();
            assert!(kept >= least, "{} cut at {len}: a shorter file has more", path.display());
            least = kept;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_may_be_a_segment(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        let sim = Sim::new(7);
        sim.put(&Path::new(DIR).join("seg-00000000000000000005.lb"), bytes);
        let mut spool = Stepped::open(&sim, small());
        let a = spool.shared.destination("a");
        prop_assert!(spool.append(b"x", &[want(a, 1, true)], None).is_some());
        spool.step();
        prop_assert_eq!(spool.shared.lock().state.clone(), State::Good);
    }

    #[test]
    fn any_mixture_of_segments_may_be_one(
        cuts in prop::collection::vec((any::<usize>(), any::<usize>(), any::<usize>()), 1..6),
    ) {
        let (_, files) = small_spool();
        let mut bytes = files[0].1.clone();
        for (file, from, to) in cuts {
            let source = &files[file % files.len()].1;
            let from = from % source.len() / 8 * 8;
            let part = &source[from..source.len().min(from + 600)];
            let to = to % bytes.len() / 8 * 8;
            let end = bytes.len().min(to + part.len());
            bytes[to..end].copy_from_slice(&part[..end - to]);
        }
        let mut spool = Stepped::open(&with(&files, 0, bytes), small());
        for name in ["a", "b", "c"] {
            let id = spool.shared.destination(name);
            let given = spool.read_all(id);
            prop_assert!(given.is_sorted_by(|a, b| a.0 < b.0));
        }
    }
}

#[test]
fn what_is_written_again_after_an_error_is_counted_once() {
    // The second sync of the first segment fails: its first entry is durable there, the second is
    // written again into another segment, and the third one follows.
    let sim = Sim::new(8);
    let mut spool = Stepped::open(&sim, small());
    let a = spool.shared.destination("a");
    for n in 0..3 {
        let durable: Durable = Box::new(|result| result.unwrap());
        spool.append(&[n; 100], &[want(a, 1, false)], Some(durable)).unwrap();
        if n == 1 {
            // Behind the write of the group.
            sim.fail_at(1, Fault::Errno(5));
        }
        spool.step();
        assert_eq!(spool.shared.stats().poisoned, u64::from(n >= 1), "entry {n}");
    }
    let shed = spool.shared.shed(a, 10);
    assert_eq!((shed.records, spool.shared.waiting(a).lag_records), (2, 1));
    assert_eq!(spool.read_all(a), [(2, vec![2; 100])]);
}
