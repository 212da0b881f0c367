//! A process is ended at each named place, on a real disk; the next one finds all that the first
//! had called durable and not done.
//!
//! The child is this test binary again, told by the environment what to do. It writes down what it
//! was told, one line a fact, before it goes on.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use logboom_spool::{
    Damage, DestinationId, Durable, Observer, Options, Read, Recovery, Spool, State, Want,
};

const CHILD: &str = "LOGBOOM_SPOOL_CHILD";

struct Nobody;

impl Observer for Nobody {
    fn shed(&self, _: DestinationId, _: u64, _: u64) {}
    fn unwritten(&self, _: DestinationId, _: u64, _: u64) {}
    fn damaged(&self, _: &Damage) {}
    fn state(&self, _: &State) {}
}

fn open(dir: &Path) -> (Spool, Recovery) {
    let options = Options {
        segment_bytes: 8192,
        bytes_max: 1 << 30,
        unsynced_bytes_max: 1 << 20,
        cursor_every: Duration::ZERO,
    };
    Spool::open(&dir.join("spool"), options, Arc::new(Nobody)).unwrap()
}

fn note(notes: &Mutex<File>, fact: &str, sequence: u64) {
    writeln!(notes.lock().unwrap(), "{fact} {sequence}").unwrap();
}

/// Appends and finishes entries until it is ended, or long enough.
fn child(dir: &Path) {
    let notes = OpenOptions::new().append(true).create(true).open(dir.join("notes")).unwrap();
    let notes = Arc::new(Mutex::new(notes));
    let (spool, _) = open(dir);
    let a = spool.destination("a");
    while let Ok(Read::Entry { .. }) = spool.read(a) {}
    let want = [Want { destination: a, records: 1, bytes: 1, hold: true }];
    let mut open = Vec::new();
    for n in 0..40_u64 {
        let (done, wait) = mpsc::channel();
        let durable: Durable = Box::new(move |result| {
            result.unwrap();
            done.send(()).unwrap();
        });
        let payload = n.to_le_bytes().repeat(120);
        let sequence = spool.append(&[&payload], &want, Some(durable)).unwrap().sequence;
        wait.recv().unwrap();
        note(&notes, "durable", sequence);
        open.push(sequence);
        if open.len() > 3 {
            let oldest = open.remove(0);
            note(&notes, "done", oldest);
            spool.done(a, oldest, 1);
        }
    }
    spool.close();
}

/// Runs a child that ends at a point; says whether it got there.
fn run(dir: &Path, crash_at: &str) -> bool {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "every_named_place_is_a_good_place_to_die"])
        .env(CHILD, dir)
        .env("LOGBOOM_CRASH_AT", crash_at)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    !status.success()
}

fn facts(dir: &Path, fact: &str) -> BTreeSet<u64> {
    let notes = fs::read_to_string(dir.join("notes")).unwrap_or_default();
    let of_fact = notes.lines().filter_map(|line| line.strip_prefix(fact)?.trim().parse().ok());
    of_fact.collect()
}

/// Opens what a child left; says what is missing.
fn missing(dir: &Path) -> BTreeSet<u64> {
    let (spool, _) = open(dir);
    let a = spool.destination("a");
    let mut given = BTreeSet::new();
    while let Read::Entry { sequence, payload, .. } = spool.read(a).unwrap() {
        assert_eq!(payload.len(), 960);
        assert!(given.insert(sequence), "{sequence} twice");
    }
    let durable = facts(dir, "durable");
    let done = facts(dir, "done");
    durable.into_iter().filter(|s| !done.contains(s) && !given.contains(s)).collect()
}

fn fresh(name: &str) -> PathBuf {
    let name = format!("logboom-spool-crash-{}-{name}", std::process::id());
    let dir = std::env::temp_dir().join(name);
    drop(fs::remove_dir_all(&dir));
    fs::create_dir_all(&dir).unwrap();
    dir
}

#[test]
fn every_named_place_is_a_good_place_to_die() {
    if let Some(dir) = std::env::var_os(CHILD) {
        return child(Path::new(&dir));
    }
    let places = [
        "group_written",
        "group_synced",
        "durable_called",
        "segment_created",
        "seal_written",
        "seal_synced",
        "cursors_written",
        "predelete",
        "segment_unlinked",
    ];
    for (place, count) in places.iter().flat_map(|place| [(place, 1), (place, 3)]) {
        let dir = fresh(place);
        assert!(run(&dir, &format!("{place}:{count}")), "{place}:{count} was never passed");
        assert_eq!(missing(&dir), BTreeSet::new(), "{place}:{count}");
        fs::remove_dir_all(&dir).unwrap();
    }
}

#[test]
fn dying_while_recovering_loses_nothing_more() {
    for place in ["tail_cut", "quarantine_copied", "segment_created"] {
        let dir = fresh(&format!("again-{place}"));
        assert!(run(&dir, "group_synced:4"));
        let first = dir.join("spool").join("seg-00000000000000000000.lb");
        let mut bytes = fs::read(&first).unwrap();
        let payload = 1_u64.to_le_bytes().repeat(4);
        let at = bytes.windows(32).position(|window| window == payload).unwrap();
        bytes[at + 400] ^= 1;
        fs::write(&first, bytes).unwrap();
        assert!(run(&dir, &format!("{place}:1")), "{place} was never passed");
        let missing = missing(&dir);
        assert!(missing.len() <= 1, "{place}: {missing:?}");
        fs::remove_dir_all(&dir).unwrap();
    }
}
