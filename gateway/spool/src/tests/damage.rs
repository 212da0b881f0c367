//! Damage in a sealed segment, and who stands where when it is met. One claim each.

use super::*;
use crate::files::first_of;
use crate::format::Kind;
use crate::vfs::{Access, Vfs};
use crate::walk::Step;

/// Calls within which all that is done here ends; more fail.
const CALLS: u64 = 20_000;

/// A group in a segment.
#[derive(Clone, Copy, Debug)]
struct Place {
    sequence: u64,
    offset: u64,
    size: u64,
}

/// A spool that was closed, with 24 entries of one sealed segment, which `a` wants and of which it is
/// done with those before `done`.
struct Closed {
    sim: Sim,
    path: std::path::PathBuf,
    groups: Vec<Place>,
    points: Vec<u64>,
}

impl Closed {
    fn new(done: u64) -> Self {
        let sim = Sim::new(41);
        let mut spool = Stepped::open(&sim, options());
        let a = spool.shared.destination("a");
        for n in 0..24 {
            spool.append(&[n; 1500], &[want(a, 1, true)], None).unwrap();
            spool.step();
        }
        spool.step();
        (0..done).for_each(|sequence| spool.shared.done(a, sequence, 1));
        let segment = spool.shared.lock().segments[0].clone();
        let mut groups = Vec::new();
        let mut walk = segment.walk(0);
        while let Step::Frame(frame) = walk.step().unwrap() {
            if frame.head.kind == Kind::Group {
                let (sequence, size) = (frame.head.sequence, frame.head.size());
                groups.push(Place { sequence, offset: frame.offset, size });
            }
        }
        spool.close();
        let is_segment = |path: &Path| first_of(path.file_name()?.to_str()?);
        let files = sim.files();
        let (path, _) = files.into_iter().find(|(path, _)| is_segment(path) == Some(0)).unwrap();
        let points = segment.points.iter().map(|(sequence, _)| *sequence).collect();
        Self { sim, path, groups, points }
    }

    /// Three groups that follow each other, of which the second has a point of the index.
    fn around_a_point(&self) -> [Place; 3] {
        let is_it = |groups: &&[Place]| self.points.contains(&groups[1].sequence);
        self.groups.windows(3).skip(4).find(is_it).unwrap().try_into().unwrap()
    }

    fn zero(sim: &Sim, path: &Path, from: u64, to: u64) {
        let zeros = vec![0; usize::try_from(to - from).unwrap()];
        sim.open(path, Access::Write).unwrap().pwrite(&zeros, from).unwrap();
    }

    /// The disk gives the page no more in which the group with an entry begins.
    fn spoil_page_of(&self, sequence: u64) -> std::ops::Range<u64> {
        let group = self.groups.iter().rfind(|group| group.sequence <= sequence).unwrap();
        let page = group.offset / 4096 * 4096..(group.offset / 4096 + 1) * 4096;
        let [from, to] = [page.start, page.end].map(|at| usize::try_from(at).unwrap());
        self.sim.spoil(&self.path, from..to);
        page
    }

    /// The next process, which ends at some time.
    fn open(&self) -> Stepped {
        let sim = self.sim.kill();
        sim.break_at(CALLS, Some(5));
        Stepped::open(&sim, options())
    }
}

fn options() -> Options {
    Options { segment_bytes: 128 << 10, ..small() }
}

/// What `a` is given when it reads on.
fn rest(spool: &mut Stepped) -> Vec<u64> {
    let a = spool.shared.destination("a");
    spool.read_all(a).into_iter().map(|(sequence, _)| sequence).collect()
}

/// Records that were reported lost since the start.
fn lost(spool: &Stepped) -> u64 {
    let damaged = spool.told.damaged.lock().unwrap();
    damaged.iter().flat_map(|d| &d.lost).map(|lost| lost.totals.records).sum()
}

/// A lost block: the end of one group, and the beginning of the next one, at which a reader stands.
fn lose_block(sim: &Sim, closed: &Closed) -> [Place; 3] {
    let [first, second, third] = closed.around_a_point();
    Closed::zero(sim, &closed.path, first.offset + first.size / 2, second.offset + 512);
    [first, second, third]
}

#[test]
fn who_stands_inside_damage_is_given_what_is_behind_it() {
    let closed = Closed::new(0);
    let mut spool = closed.open();
    let a = spool.shared.destination("a");
    let [first, second, third] = closed.around_a_point();
    for sequence in 0..second.sequence {
        let read = spool.shared.read(a).unwrap();
        assert!(matches!(read, Read::Entry { sequence: given, .. } if given == sequence));
    }
    lose_block(&spool.sim, &closed);
    assert_eq!(rest(&mut spool), (third.sequence..24).collect::<Vec<u64>>());
    let sequences = spool.told.damaged.lock().unwrap()[0].sequences.clone();
    assert_eq!(sequences, [(first.sequence, third.sequence)]);
    // It was given the first of the two, so what it loses is known when it has caught up.
    assert_eq!(lost(&spool), 1);
}

#[test]
fn who_stands_inside_damage_sheds_what_is_behind_it() {
    let closed = Closed::new(0);
    let mut spool = closed.open();
    let a = spool.shared.destination("a");
    let [_, second, _] = closed.around_a_point();
    (0..second.sequence).for_each(|_| drop(spool.shared.read(a).unwrap()));
    lose_block(&spool.sim, &closed);
    let shed = spool.shared.shed(a, 30).records;
    assert!(shed > 0);
    // What is lost lags until it is missed.
    assert_eq!(rest(&mut spool), [22, 23]);
    assert_eq!(shed + 1 + 2, 24 - second.sequence);
    assert_eq!(lost(&spool), 1);
}

#[test]
fn at_a_start_what_waits_behind_damage_is_counted_by_who_stands_inside_it() {
    let second = Closed::new(0).around_a_point()[1];
    let closed = Closed::new(second.sequence);
    let [_, _, third] = lose_block(&closed.sim, &closed);
    let mut spool = closed.open();
    assert_eq!(spool.recovery.damaged.len(), 1);
    let a = spool.shared.destination("a");
    assert_eq!(spool.shared.waiting(a).lag_records, 24 - third.sequence);
    assert_eq!(rest(&mut spool), (third.sequence..24).collect::<Vec<u64>>());
}

#[test]
fn at_a_start_what_the_disk_does_not_give_is_damage_and_the_rest_waits() {
    let closed = Closed::new(5);
    closed.spoil_page_of(12);
    let mut spool = closed.open();
    let [damage] = &spool.recovery.damaged[..] else { panic!("{:?}", spool.recovery) };
    assert!(damage.sequences.iter().any(|(first, next)| (*first..*next).contains(&12)));
    let lost: u64 = damage.lost.iter().map(|lost| lost.totals.records).sum();
    let a = spool.shared.destination("a");
    let waiting = spool.shared.waiting(a).lag_records;
    assert_eq!(waiting + lost, 24 - 5);
    let given = rest(&mut spool);
    assert_eq!(given.len() as u64, waiting);
    assert_eq!((given.first(), given.last()), (Some(&5), Some(&23)));
}

#[test]
fn of_what_the_disk_does_not_give_only_the_frames_in_it_are_lost() {
    let closed = Closed::new(5);
    let page = closed.spoil_page_of(12);
    let mut spool = closed.open();
    let is_lost = |sequence: &u64| {
        let group = closed.groups.iter().rfind(|group| group.sequence <= *sequence).unwrap();
        group.offset < page.end && page.start < group.offset + group.size
    };
    let expected: Vec<u64> = (5..24).filter(|sequence| !is_lost(sequence)).collect();
    assert_eq!(expected.len(), 24 - 5 - 2);
    // Nothing is refused: what the disk does not give is known, and who reads beside it need not ask.
    assert_eq!(rest(&mut spool), expected);
}

#[test]
fn who_reads_meets_what_the_disk_does_not_give_and_loses_only_the_frames_in_it() {
    let closed = Closed::new(0);
    closed.spoil_page_of(12);
    let spool = closed.open();
    let a = spool.shared.destination("a");
    let (mut given, mut refused) = (Vec::new(), 0);
    loop {
        match spool.shared.read(a) {
            Ok(Read::Entry { sequence, .. }) => given.push(sequence),
            Ok(_) => break,
            Err(_) => refused += 1,
        }
    }
    assert_eq!(given, (0..11).chain(13..24).collect::<Vec<u64>>());
    assert_eq!((lost(&spool), refused), (2, 3));
}
