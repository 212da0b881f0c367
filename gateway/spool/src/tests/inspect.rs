//! Looking from outside, and mending.

use std::path::PathBuf;

use super::*;
use crate::inspect::{Filter, destinations, entries, repair, rewind, segments, verify};
use crate::{OpenError, Spool};

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let name = format!("logboom-spool-inspect-{}-{name}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        drop(std::fs::remove_dir_all(&dir));
        Self(dir)
    }

    fn open(&self) -> (Spool, Recovery) {
        Spool::open(&self.0, small(), Arc::new(Told::default())).unwrap()
    }

    /// Ten segments or so: a wants all, b every other one.
    fn filled(name: &str) -> Self {
        let dir = Self::new(name);
        let (spool, _) = dir.open();
        let (a, b) = (spool.destination("a"), spool.destination("b"));
        for n in 0..60_u8 {
            let wants = [want(a, 1, false), want(b, 2, false)];
            let wants = if n % 2 == 0 { &wants[..] } else { &wants[..1] };
            let (written, told) = std::sync::mpsc::channel();
            let durable: Durable = Box::new(move |_| written.send(()).unwrap());
            spool.append(&[&[n; 500]], wants, Some(durable)).unwrap();
            told.recv().unwrap();
        }
        spool.close();
        dir
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

#[test]
fn a_look_from_outside_sees_all_and_changes_nothing() {
    let dir = Dir::filled("look");
    let (spool, _) = dir.open();
    let listing = || {
        let files = std::fs::read_dir(&dir.0).unwrap().map(|entry| entry.unwrap());
        let files = files.map(|file| (file.file_name(), file.metadata().unwrap().len()));
        files.collect::<BTreeSet<_>>()
    };
    let before = listing();
    let all: Vec<_> = entries(&dir.0, Filter::default()).unwrap().collect();
    assert_eq!(all.len(), 60);
    assert_eq!(all[2].wants, [("a".to_owned(), 1, 10), ("b".to_owned(), 2, 20)]);
    assert_eq!(all[2].payload, [2; 500]);
    let filter = Filter { destination: Some("b".to_owned()), from: 10, to: 20 };
    let some: Vec<u64> = entries(&dir.0, filter).unwrap().map(|entry| entry.sequence).collect();
    assert_eq!(some, [10, 12, 14, 16, 18]);
    let segments = segments(&dir.0).unwrap();
    assert!(segments.len() > 5);
    let of_b: u64 =
        segments.iter().filter_map(|s| s.destinations.get("b")).map(|t| t.records).sum();
    assert_eq!(of_b, 60);
    let destinations = destinations(&dir.0).unwrap();
    assert_eq!(destinations[1].name, "b");
    assert_eq!((destinations[1].cursor, destinations[1].waiting.records), (0, 60));
    let report = verify(&dir.0).unwrap();
    assert_eq!((report.entries, report.payload_bytes), (60, 30_000));
    assert!(report.damaged.is_empty() && report.torn.is_empty());
    assert_eq!(listing(), before);
    assert!(matches!(repair(&dir.0), Err(OpenError::Locked { .. })));
    drop(spool);
}

#[test]
fn a_cursor_can_be_moved_back_and_forward() {
    let dir = Dir::filled("rewind");
    let lagging = || {
        let (spool, recovery) = dir.open();
        drop(spool);
        recovery.destinations.iter().find(|d| d.name == "b").map(|d| d.waiting.records)
    };
    assert_eq!(rewind(&dir.0, "b", 31).unwrap(), 31);
    assert_eq!(lagging(), Some(28));
    assert_eq!(rewind(&dir.0, "b", 7).unwrap(), 7);
    assert_eq!(lagging(), Some(52));
    assert_eq!(rewind(&dir.0, "b", u64::MAX).unwrap(), 60);
    assert_eq!(lagging(), None);
    assert_eq!(rewind(&dir.0, "b", 0).unwrap(), 0);
    assert_eq!(lagging(), Some(60));
    let unknown = rewind(&dir.0, "nobody", 0);
    assert!(matches!(unknown, Err(OpenError::NoDestination { .. })));
}

#[test]
fn repair_writes_what_is_good_anew() {
    let dir = Dir::filled("repair");
    let damaged = segments(&dir.0).unwrap()[2].clone();
    let path = dir.0.join(format!("seg-{:020}.lb", damaged.first));
    let mut bytes = std::fs::read(&path).unwrap();
    let at = usize::try_from(damaged.used_bytes / 2).unwrap();
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();

    let found = verify(&dir.0).unwrap();
    assert_eq!(found.entries, 59);
    assert_eq!(found.damaged.len(), 1);
    let lost: Vec<_> = found.damaged[0].lost.iter().map(|l| (&*l.name, l.totals.records)).collect();
    assert_eq!(lost[0], ("a", 1));
    let (first, next) = found.damaged[0].sequences[0];
    assert_eq!(next - first, 1);

    let report = repair(&dir.0).unwrap();
    assert_eq!(report.rewritten, [damaged.first]);
    assert_eq!(report.damaged, found.damaged);
    assert!(report.quarantined_bytes >= 500);
    assert_eq!(std::fs::read_dir(dir.0.join("quarantine")).unwrap().count(), 1);
    let after = verify(&dir.0).unwrap();
    assert_eq!((after.entries, after.damaged.len()), (59, 0));

    let (spool, recovery) = dir.open();
    assert_eq!(recovery.damaged, []);
    let a = spool.destination("a");
    for n in (0..60).filter(|n| *n != first) {
        let read = spool.read(a).unwrap();
        assert!(matches!(read, Read::Entry { sequence, .. } if sequence == n), "{n} {read:?}");
    }
    assert_eq!(spool.read(a).unwrap(), Read::CaughtUp);
}

#[test]
fn a_newer_format_is_refused_with_its_version() {
    let dir = Dir::new("newer");
    std::fs::create_dir_all(&dir.0).unwrap();
    let header = crate::format::Header { version: 9, uuid: [1; 16], salt: 3, first: 0 };
    std::fs::write(dir.0.join("seg-00000000000000000000.lb"), header.write()).unwrap();
    let opened = Spool::open(&dir.0, small(), Arc::new(Told::default()));
    assert!(matches!(opened, Err(OpenError::NewerFormat { version: 9, max: 1, .. })));
}
