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
        std::fs::remove_dir_all(&self.0).unwrap();
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

fn take(park: &Park, by: Parked<'_>, bodies: &[&str]) -> usize {
    let reasons = std::iter::repeat_n(("trap", "it said \"no\""), bodies.len());
    park.take(&batch(bodies), "edge", by, reasons)
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
