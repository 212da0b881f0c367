//! The park: what goes in comes out again, once.

use super::*;
use logboom_record::Head;

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("logboom-park-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn park(&self) -> Park {
        Park::new(&self.0, 1 << 20, Duration::from_secs(3600))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A thread may still write there; what is left is in a folder for temporary files.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn batch(bodies: &[&str]) -> Batch {
    let mut batch = Batch::new(Vec::new(), UnixNanos(1));
    for body in bodies {
        let raw = batch.append(body.as_bytes());
        batch.push(&Head { raw, body: raw, ..Head::default() });
    }
    batch
}

fn ids(park: &Park, filter: &Filter) -> Vec<u64> {
    park.letters(filter).unwrap().iter().map(|letter| letter.id).collect()
}

fn take(park: &Park, by: Parked<'_>, bodies: &[&str]) -> usize {
    let reasons = std::iter::repeat_n(("trap", "it said \"no\""), bodies.len());
    park.take(&batch(bodies), "edge", by, reasons, true)
}

#[test]
fn letters_are_listed_shown_and_forgotten_even_after_a_restart() {
    let scratch = Scratch::new("letters");
    let park = scratch.park();
    assert_eq!(take(&park, Parked::Guest("mine"), &["one", "two"]), 2);
    assert_eq!(take(&park, Parked::Destination("https://x:443/"), &["three"]), 1);
    let park = scratch.park();
    assert_eq!(take(&park, Parked::Guest("mine"), &["four"]), 1);
    let all = park.letters(&Filter::default()).unwrap();
    assert_eq!(all.iter().map(|letter| letter.id).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(all[2].text("destination"), "https://x:443/");
    assert_eq!(all[0].text("reason"), "it said \"no\"");
    assert_eq!(all[1].batch().unwrap().record(0).unwrap().body(), b"two");
    park.forget(&[2, 3]).unwrap();
    let park = scratch.park();
    let mine = Filter { guest: Some("mine".into()), ..Filter::default() };
    let left = park.letters(&mine).unwrap();
    assert_eq!(left.iter().map(|letter| letter.id).collect::<Vec<_>>(), [1, 4]);
    let next = Filter { after: 1, limit: 1, ..Filter::default() };
    assert_eq!(park.letters(&next).unwrap()[0].id, 4);
}

#[test]
fn a_full_park_takes_nothing_and_says_so() {
    let scratch = Scratch::new("full");
    let park = Park::new(&scratch.0, 2000, Duration::from_secs(3600));
    let long = "x".repeat(400);
    let taken: usize = (0..5).map(|_| take(&park, Parked::Guest("mine"), &[&long])).sum();
    assert_eq!(taken, park.letters(&Filter::default()).unwrap().len());
    assert!(taken < 5);
}

#[test]
fn letters_expire_with_their_file() {
    let scratch = Scratch::new("age");
    let park = Park::new(&scratch.0, 1 << 20, Duration::ZERO);
    take(&park, Parked::Guest("mine"), &["one"]);
    assert_eq!(park.expire().unwrap(), 1);
    assert!(park.letters(&Filter::default()).unwrap().is_empty());
    take(&park, Parked::Guest("mine"), &["two"]);
    assert_eq!(park.letters(&Filter::default()).unwrap()[0].id, 2);
}

#[test]
fn a_file_takes_letters_for_a_part_of_their_age_alone() {
    let scratch = Scratch::new("age-files");
    let parked_in = |name: &str, age: Duration| {
        let folder = scratch.0.join(name);
        let park = Park::new(&folder, 1 << 20, age);
        for body in ["one", "two", "three"] {
            take(&park, Parked::Guest("mine"), &[body]);
        }
        assert_eq!(ids(&park, &Filter::default()), [1, 2, 3]);
        read::files(&folder.join(FOLDER)).unwrap().len()
    };
    // Each letter is a sixteenth of that old when the next one comes, or none is.
    assert_eq!(parked_in("short", Duration::from_nanos(16)), 3);
    assert_eq!(parked_in("long", Duration::from_secs(30 * 24 * 3600)), 1);
}

#[test]
fn forgetting_makes_room_in_a_full_park() {
    let scratch = Scratch::new("room");
    let park = Park::new(&scratch.0, 4000, Duration::from_secs(3600));
    let by = Parked::Guest("mine");
    while take(&park, by, &["x", "y"]) == 2 {}
    let all = ids(&park, &Filter::default());
    assert_eq!(take(&park, by, &["x"; 2]), 0);
    park.forget(&[1]).unwrap();
    assert_eq!(ids(&park, &Filter::default()), all[1..]);
    assert_eq!(take(&park, by, &["x"; 2]), 0, "half of a file makes no room");
    // Twice, and together with some that never were.
    park.forget(&[1, 2, 2, 1000]).unwrap();
    assert_eq!(take(&park, by, &["x"; 2]), 2);
    assert_eq!(ids(&park, &Filter::default())[..all.len() - 2], all[2..]);
}

#[test]
fn a_file_without_letters_is_deleted_and_no_id_is_given_twice() {
    let scratch = Scratch::new("empty");
    let park = scratch.park();
    take(&park, Parked::Guest("mine"), &["one", "two"]);
    park.forget(&[1]).unwrap();
    // The file is still written to: what comes later counts.
    take(&park, Parked::Guest("mine"), &["three"]);
    park.forget(&[2]).unwrap();
    assert_eq!(ids(&park, &Filter::default()), [3]);
    park.forget(&[3]).unwrap();
    let files: Vec<_> = std::fs::read_dir(scratch.0.join(FOLDER)).unwrap().collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let park = scratch.park();
    take(&park, Parked::Guest("mine"), &["four"]);
    assert_eq!(ids(&park, &Filter::default()), [4]);
    assert_eq!(park.end().unwrap(), 5);
}

#[test]
fn what_is_gone_stays_gone_when_a_later_file_goes() {
    let scratch = Scratch::new("gone");
    let park = Park::new(&scratch.0, 16_000, Duration::from_secs(3600));
    let long = "x".repeat(1000);
    for _ in 0..3 {
        take(&park, Parked::Guest("mine"), &[&long, "y"]);
    }
    park.forget(&[1, 4]).unwrap();
    park.forget(&[3, 5, 6]).unwrap();
    assert_eq!(ids(&park, &Filter::default()), [2]);
}

#[test]
fn a_torn_line_spoils_nothing_but_itself() {
    let scratch = Scratch::new("torn");
    let park = scratch.park();
    take(&park, Parked::Guest("mine"), &["one", "two", "three", "four"]);
    park.forget(&[1]).unwrap();
    let folder = scratch.0.join(FOLDER);
    let tear = |name: &str, text: &[u8]| {
        let mut options = File::options();
        let mut file = options.create(true).append(true).open(folder.join(name)).unwrap();
        file.write_all(text).unwrap();
    };
    tear("00000000000000000001.gone", b"{\"gone\":2");
    tear("00000000000000000001.ndjson", b"{\"id\":5,\"pa");
    tear("00000000000000000005.ndjson", b"{\"id\":5,\"pa");
    let park = scratch.park();
    assert_eq!(ids(&park, &Filter::default()), [2, 3, 4]);
    park.forget(&[3]).unwrap();
    assert_eq!(take(&park, Parked::Guest("mine"), &["five"]), 1);
    assert_eq!(ids(&scratch.park(), &Filter::default()), [2, 4, 5]);
}

#[test]
fn only_what_is_asked_for_is_read() {
    let scratch = Scratch::new("early");
    let park = scratch.park();
    take(&park, Parked::Guest("mine"), &["one", "two"]);
    // A folder cannot be read as a file.
    let later = scratch.0.join(FOLDER).join("00000000000000000009.ndjson");
    std::fs::create_dir(&later).unwrap();
    let two = Filter { limit: 2, ..Filter::default() };
    assert_eq!(ids(&park, &two), [1, 2]);
    assert_eq!(ids(&park, &Filter { ids: [2].into(), ..Filter::default() }), [2]);
    assert_eq!(ids(&park, &Filter { before: Some(9), ..Filter::default() }), [1, 2]);
    assert!(park.letters(&Filter::default()).is_err());
    std::fs::remove_dir(&later).unwrap();
    let earlier = scratch.0.join(FOLDER).join("00000000000000000000.ndjson");
    std::fs::create_dir(&earlier).unwrap();
    assert_eq!(ids(&park, &Filter { after: 1, ..Filter::default() }), [2]);
}

#[test]
fn the_newest_file_expires_and_its_ids_are_not_given_again() {
    let scratch = Scratch::new("age-restart");
    let old = || Park::new(&scratch.0, 1 << 20, Duration::ZERO);
    take(&old(), Parked::Guest("mine"), &["one"]);
    assert_eq!(old().expire().unwrap(), 1);
    assert_eq!(old().expire().unwrap(), 0);
    let park = old();
    take(&park, Parked::Guest("mine"), &["two"]);
    assert_eq!(ids(&park, &Filter::default()), [2]);
}
