//! The spool against a model of it, on a disk that loses power, fails and rots.
//!
//! The model knows every entry ever appended. After each restart: what was called durable and is
//! not done is given out, exactly, in order; nothing is given out that was not appended, and nothing
//! without what was appended before it; what is
//! missing after a byte was flipped was reported. Sequences are never given twice.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::files::first_of;
use crate::vfs::sim::Fault;

const NAMES: [&str; 3] = ["a", "b", "c"];
const ERRNOS: [i32; 3] = [5, 28, 30];

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Append {
        size: usize,
        wants: u8,
        hold: bool,
        durable: bool,
    },
    /// Finishes one of the entries in the caller's hands.
    Done {
        destination: usize,
        which: usize,
    },
    /// Finishes one record of two of such an entry.
    Begin {
        destination: usize,
        which: usize,
    },
    Read {
        destination: usize,
    },
    Shed {
        destination: usize,
        keep: u64,
    },
    Forget {
        destination: usize,
    },
    Relinquish {
        destination: usize,
    },
    Step {
        ms: u64,
    },
    FailAt {
        nth: u64,
        fault: usize,
    },
    Close,
    Kill,
    Crash {
        seed: u64,
    },
    Flip {
        file: usize,
        at: usize,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct Known {
    payload: Vec<u8>,
    /// Who wanted it, as far as the disk has it.
    wanted: BTreeSet<usize>,
    /// Who wants it still.
    pub(crate) wants: BTreeSet<usize>,
    is_acked: Arc<Mutex<Option<bool>>>,
}

pub(crate) struct Model {
    pub(crate) sim: Sim,
    pub(crate) spool: Option<Stepped>,
    pub(crate) known: BTreeMap<u64, Known>,
    /// In the caller's hands.
    pub(crate) held: Vec<BTreeSet<u64>>,
    /// Destinations and entries in their hands of which one record is finished.
    begun: BTreeSet<(usize, u64)>,
    /// Records reported lost when the spool was opened and read.
    lost: Vec<u64>,
    given: u64,
    flips: u64,
    /// Calls were made to fail: what a sync refused may be read, and lost with the power all the same.
    pub(crate) has_failed: bool,
    options: Options,
}

impl Model {
    pub(crate) fn new(seed: u64) -> Self {
        let sim = Sim::new(seed);
        let options = small();
        let spool = Some(Stepped::open(&sim, options));
        let held = vec![BTreeSet::new(); NAMES.len()];
        let (known, begun) = (BTreeMap::new(), BTreeSet::new());
        let lost = vec![0; NAMES.len()];
        let mut model = Self {
            sim,
            spool,
            known,
            held,
            begun,
            lost,
            given: 0,
            flips: 0,
            has_failed: false,
            options,
        };
        model.register();
        model
    }

    /// The model of a disk with the same entries on it, of which a byte was changed.
    pub(crate) fn changed(&self, sim: Sim) -> Self {
        Self {
            sim,
            spool: None,
            known: self.known.clone(),
            held: self.held.clone(),
            begun: BTreeSet::new(),
            lost: self.lost.clone(),
            given: self.given,
            flips: 1,
            has_failed: self.has_failed,
            options: self.options,
        }
    }

    fn register(&mut self) {
        for name in NAMES {
            self.spool().shared.destination(name);
        }
    }

    pub(crate) fn spool(&mut self) -> &mut Stepped {
        self.spool.as_mut().unwrap()
    }

    fn id(&mut self, destination: usize) -> DestinationId {
        self.spool().shared.destination(NAMES[destination])
    }

    pub(crate) fn play(&mut self, op: &Op) {
        match *op {
            Op::Append { size, wants, hold, durable } => self.append(size, wants, hold, durable),
            Op::Done { destination, which } => {
                let held = &self.held[destination];
                let Some(sequence) = held.iter().nth(which % held.len().max(1)).copied() else {
                    return;
                };
                let id = self.id(destination);
                self.spool().shared.done(id, sequence, 2);
                self.held[destination].remove(&sequence);
                self.known.get_mut(&sequence).unwrap().wants.remove(&destination);
            }
            Op::Begin { destination, which } => self.begin(destination, which),
            Op::Read { destination } => self.read(destination),
            Op::Shed { destination, keep } => {
                let id = self.id(destination);
                let shed = self.spool().shared.shed(id, keep);
                let lagging = self.lagging(destination);
                assert_eq!(shed.records % 2, 0);
                for sequence in lagging.iter().take(usize::try_from(shed.records / 2).unwrap()) {
                    self.known.get_mut(sequence).unwrap().wants.remove(&destination);
                }
            }
            Op::Forget { destination } => {
                let id = self.id(destination);
                self.spool().shared.forget(id);
                self.held[destination].clear();
                for known in self.known.values_mut() {
                    known.wants.remove(&destination);
                }
            }
            Op::Relinquish { destination } => self.relinquish(destination),
            Op::Step { ms } => self.step(ms),
            Op::FailAt { nth, fault } => {
                let fault = ERRNOS.get(fault).map_or(Fault::Short, |errno| Fault::Errno(*errno));
                self.sim.fail_at(nth, fault);
                self.has_failed = true;
            }
            Op::Close => {
                self.sim.break_at(0, None);
                self.spool.take().unwrap().close();
                self.sim = self.sim.kill();
                let first = |d| self.known.iter().find(|(_, known)| known.wants.contains(&d));
                let cursor = |d| first(d).map_or(u64::MAX, |(sequence, _)| *sequence);
                let cursors: Vec<u64> = (0..NAMES.len()).map(cursor).collect();
                self.reopen();
                for (cursor, given) in cursors.iter().zip(&self.held) {
                    let is_behind = given.first().is_none_or(|first| first >= cursor);
                    assert!(self.flips > 0 || is_behind, "done, closed, and given again");
                }
            }
            Op::Kill => {
                self.spool = None;
                self.sim = self.sim.kill();
                self.reopen();
            }
            Op::Crash { seed } => {
                self.spool = None;
                self.sim = self.sim.crash(seed);
                self.reopen();
            }
            Op::Flip { file, at } => {
                self.spool = None;
                self.sim = self.sim.kill();
                self.flip(file, at);
                self.reopen();
            }
        }
    }

    fn begin(&mut self, destination: usize, which: usize) {
        let held = &self.held[destination];
        let sequence = held.iter().nth(which % held.len().max(1)).copied();
        let is_new = |sequence: &u64| self.begun.insert((destination, *sequence));
        if let Some(sequence) = sequence.filter(is_new) {
            let id = self.id(destination);
            self.spool().shared.done(id, sequence, 1);
        }
    }

    fn read(&mut self, destination: usize) {
        let id = self.id(destination);
        match self.spool().shared.read(id) {
            Ok(Read::Entry { sequence, payload, .. }) => {
                self.was_given(destination, sequence, &payload);
            }
            Ok(Read::CaughtUp) if self.flips == 0 => {
                assert_eq!(self.lagging(destination), [0; 0], "never given out");
                assert_eq!(self.lost(id), self.lost[destination], "counted, and not there");
            }
            _ => {}
        }
    }

    fn step(&mut self, ms: u64) {
        let spool = self.spool();
        spool.now += Duration::from_millis(ms);
        spool.writer.step(spool.now);
        let mut inner = spool.shared.lock();
        let (next, frontier) = (inner.segments[0].next, inner.frontier());
        let is_garbage = inner.segments.len() > 1 && next <= frontier;
        assert_eq!(inner.has_garbage(), is_garbage);
        assert!(!is_garbage || inner.state != State::Good, "nobody needs the oldest segment");
    }

    fn append(&mut self, size: usize, wants: u8, hold: bool, durable: bool) {
        let ids: Vec<usize> = (0..NAMES.len()).filter(|d| wants >> d & 1 == 1).collect();
        let wanted: Vec<Want> = ids.iter().map(|d| want(self.id(*d), 2, hold)).collect();
        let is_acked = Arc::new(Mutex::new(None));
        let told = Arc::clone(&is_acked);
        let call: Durable = Box::new(move |result| {
            let before = told.lock().unwrap().replace(result.is_ok());
            assert_eq!(before, None, "called twice");
        });
        let payload = vec![u8::try_from(self.known.len() % 251).unwrap(); size];
        let appended = self.spool().append(&payload, &wanted, durable.then_some(call));
        let Some(appended) = appended else { return };
        for (destination, held) in ids.iter().zip(&appended.held) {
            if *held {
                self.held[*destination].insert(appended.sequence);
            }
        }
        let wants: BTreeSet<usize> = ids.into_iter().collect();
        let known = Known { payload, wanted: wants.clone(), wants, is_acked };
        assert!(self.known.insert(appended.sequence, known).is_none(), "a sequence given twice");
        assert!(appended.sequence >= self.given);
        self.given = appended.sequence + 1;
    }

    /// All from the first held entry on comes again, whole.
    fn relinquish(&mut self, destination: usize) {
        let id = self.id(destination);
        let held = std::mem::take(&mut self.held[destination]);
        self.begun.retain(|(d, _)| *d != destination);
        if let Some(first) = held.first() {
            let again = self.known.range_mut(first..);
            for (_, known) in again.filter(|(_, known)| known.wanted.contains(&destination)) {
                known.wants.insert(destination);
            }
        }
        for sequence in &held {
            assert!(self.spool().shared.holds(id, *sequence));
        }
        let waiting = self.spool().shared.relinquish(id);
        let mut all = self.lagging(destination).len() as u64 * 2;
        if self.flips > 0 {
            all = waiting.records;
        }
        let expected = crate::Waiting {
            records: all,
            bytes: all * 10,
            lag_records: all,
            lag_bytes: all * 10,
            is_lagging: waiting.is_lagging,
        };
        assert_eq!(waiting, expected);
        assert!(waiting.is_lagging || all == 0);
        for sequence in &held {
            assert!(!self.spool().shared.holds(id, *sequence));
        }
    }

    /// What a destination must be given, as far as the model can say in this process.
    fn lagging(&self, destination: usize) -> Vec<u64> {
        let wanted = self.known.iter().filter(|(_, known)| known.wants.contains(&destination));
        let sequences = wanted.map(|(sequence, _)| *sequence);
        sequences.filter(|sequence| !self.held[destination].contains(sequence)).collect()
    }

    fn was_given(&mut self, destination: usize, sequence: u64, payload: &[u8]) {
        let known = self.known.get(&sequence).expect("never appended");
        assert_eq!(known.payload, payload);
        let first = self.lagging(destination).first().copied();
        if self.flips == 0 {
            assert_eq!(first, Some(sequence), "out of order, or not wanted");
        }
        self.held[destination].insert(sequence);
    }

    fn flip(&mut self, file: usize, at: usize) {
        let files = self.sim.files();
        let is_segment =
            |path: &Path| path.file_name().and_then(|name| first_of(name.to_str()?)).is_some();
        let files: Vec<_> = files.into_iter().filter(|(path, _)| is_segment(path)).collect();
        let Some((path, mut bytes)) = files.get(file % files.len().max(1)).cloned() else { return };
        if bytes.is_empty() {
            return;
        }
        let at = at % bytes.len();
        bytes[at] ^= 0x10;
        self.sim.put(&path, bytes);
        self.flips += 1;
    }

    /// Opens the spool again, and checks all that it gives out.
    pub(crate) fn reopen(&mut self) {
        self.spool = Some(Stepped::open(&self.sim, self.options));
        self.register();
        self.begun.clear();
        let next = self.spool().recovery.next_sequence;
        assert!(next >= self.given, "{next} was given before");
        let ids: Vec<DestinationId> = (0..NAMES.len()).map(|d| self.id(d)).collect();
        let shared = Arc::clone(&self.spool().shared);
        let is_damaged = !self.spool().recovery.damaged.is_empty();
        assert!(!is_damaged || self.flips > 0 || self.has_failed, "{:?}", self.spool().recovery);
        let counted: Vec<u64> = ids.iter().map(|id| shared.waiting(*id).records).collect();
        for (destination, counted) in counted.into_iter().enumerate() {
            let id = self.id(destination);
            let given = self.spool().read_all(id);
            let order: Vec<u64> = given.iter().map(|(sequence, _)| *sequence).collect();
            assert!(order.is_sorted_by(|a, b| a < b), "{order:?}");
            for (sequence, payload) in &given {
                assert_eq!(self.known.get(sequence).map(|k| &k.payload), Some(payload));
            }
            let given: BTreeSet<u64> = order.into_iter().collect();
            self.check_missing(destination, &given);
            let lost = self.lost(id);
            self.lost[destination] = lost;
            assert_eq!(counted, given.len() as u64 * 2 + lost, "the books");
            // What was done and came back is in the caller's hands again.
            for (sequence, known) in &mut self.known {
                known.wants.remove(&destination);
                known.wanted.remove(&destination);
                if given.contains(sequence) {
                    known.wants.insert(destination);
                    known.wanted.insert(destination);
                }
            }
            self.held[destination] = given;
        }
    }

    fn lost(&mut self, id: DestinationId) -> u64 {
        let damaged = self.spool().told.damaged.lock().unwrap();
        let lost = damaged.iter().flat_map(|damage| &damage.lost);
        lost.filter(|lost| lost.destination == id).map(|lost| lost.totals.records).sum()
    }

    fn check_missing(&mut self, destination: usize, given: &BTreeSet<u64>) {
        let wanted = self.known.iter().filter(|(_, known)| known.wants.contains(&destination));
        let missing = wanted.map(|(sequence, _)| sequence).find(|it| !given.contains(it));
        let behind = missing.and_then(|missing| given.range(missing..).next());
        let is_sound = self.flips == 0 && !self.has_failed;
        assert!(!is_sound || behind.is_none(), "{behind:?} without {missing:?} before it");
        for (sequence, known) in &self.known {
            let is_acked = *known.is_acked.lock().unwrap() == Some(true);
            if !is_acked || !known.wants.contains(&destination) || given.contains(sequence) {
                continue;
            }
            let spool = self.spool.as_ref().unwrap();
            assert!(
                self.flips > 0 && is_reported(spool, *sequence),
                "{} lost {sequence} without a word: {:?} {:?}",
                NAMES[destination],
                spool.recovery,
                spool.told.damaged.lock().unwrap(),
            );
        }
    }
}

/// Whether damage was reported in which an entry can have been.
pub(crate) fn is_reported(spool: &Stepped, sequence: u64) -> bool {
    let told = spool.told.damaged.lock().unwrap();
    let damaged = spool.recovery.damaged.iter().chain(told.iter());
    let covers = |damage: &Damage| {
        let is_all = damage.is_partial && damage.sequences.is_empty();
        let from = damage.segment.is_some_and(|first| first <= sequence);
        (is_all && from) || damage.sequences.iter().any(|(f, n)| (*f..*n).contains(&sequence))
    };
    let is_cut = spool.recovery.cut.iter().any(|cut| cut.segment <= sequence);
    is_cut || damaged.clone().any(covers)
}

pub(crate) fn op() -> impl Strategy<Value = Op> {
    let sizes = prop_oneof![4 => 0..100_usize, 2 => 100..1500_usize, 1 => 3000..6000_usize];
    prop_oneof![
        12 => (sizes, 0..8_u8, any::<bool>(), any::<bool>())
            .prop_map(|(size, wants, hold, durable)| Op::Append { size, wants, hold, durable }),
        8 => (0..3_usize, 0..9_usize)
            .prop_map(|(destination, which)| Op::Done { destination, which }),
        3 => (0..3_usize, 0..9_usize)
            .prop_map(|(destination, which)| Op::Begin { destination, which }),
        6 => (0..3_usize).prop_map(|destination| Op::Read { destination }),
        1 => (0..3_usize, 0..60_u64).prop_map(|(destination, keep)| Op::Shed { destination, keep }),
        1 => (0..3_usize).prop_map(|destination| Op::Forget { destination }),
        2 => (0..3_usize).prop_map(|destination| Op::Relinquish { destination }),
        10 => prop_oneof![Just(1_u64), Just(20), Just(150), Just(2000)]
            .prop_map(|ms| Op::Step { ms }),
        1 => (0..12_u64, 0..4_usize).prop_map(|(nth, fault)| Op::FailAt { nth, fault }),
        1 => Just(Op::Close),
        1 => Just(Op::Kill),
        2 => any::<u64>().prop_map(|seed| Op::Crash { seed }),
    ]
}

fn rotting() -> impl Strategy<Value = Op> {
    let flip = (any::<usize>(), any::<usize>()).prop_map(|(file, at)| Op::Flip { file, at });
    prop_oneof![30 => op(), 1 => flip]
}

fn cases() -> u32 {
    std::env::var("LOGBOOM_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(500)
}

fn play(seed: u64, ops: &[Op]) {
    let mut model = Model::new(seed);
    for op in ops {
        model.play(op);
    }
    model.play(&Op::Crash { seed });
    model.play(&Op::Close);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn nothing_acknowledged_is_lost(seed: u64, ops in prop::collection::vec(op(), 1..120)) {
        play(seed, &ops);
    }

    #[test]
    fn what_rot_takes_is_reported(seed: u64, ops in prop::collection::vec(rotting(), 1..120)) {
        play(seed, &ops);
    }
}
