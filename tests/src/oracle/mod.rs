//! An oracle on delivery: it knows what was issued, what was acknowledged and what arrived, and judges
//! whether that is what was promised.
//!
//! A [`Producer`] issues records by RELP, each with an id, counted from 0, and a payload that follows
//! from (seed, id). A [`Collector`] is the destination. [`judge`] holds one against the other:
//!
//! * what was acknowledged has been received;
//! * what was received has been issued, and its payload is that of its id;
//! * the first arrivals of each app are in order;
//! * what came more than once is counted.

mod collector;
mod producer;

/// A configuration from RELP to the collector, with this `durability`.
#[must_use]
pub fn configuration(relp: u16, collector: &Collector, durability: &str) -> String {
    format!(
        r#"
[spool]
segment = "1MiB"
max = "64MiB"

[[source]]
name = "relp"
url = "relp://127.0.0.1:{relp}"

[[route]]
name = "out"
url = "{}"
when_full = "spool"

[[pipeline]]
sources = ["relp"]
routes = ["out"]
durability = "{durability}"
"#,
        collector.url()
    )
}

#[cfg(test)]
mod tests;

use std::fmt;
use std::time::{Duration, Instant};

pub use collector::{Collector, Received};
pub use producer::{Producer, ProducerOptions, Sent};

use crate::day::Random;
use crate::pause;

/// The app of an id; ids are dealt out in turn.
#[must_use]
pub fn app_of(id: u64, apps: u64) -> String {
    format!("oracle-{}", id % apps)
}

/// The whole message of an id, RFC 5424 without framing: from 60 bytes to about a kilobyte.
#[must_use]
pub fn message(seed: u64, apps: u64, id: u64) -> String {
    let mut random = Random(seed ^ id.wrapping_mul(0x2545_f491_4f6c_dd1d));
    // Most are short, some long, as log lines are.
    let words = if random.below(16) == 0 { random.below(60) } else { random.below(8) };
    let mut message = format!("<14>1 2026-11-21T05:44:01Z host {} - - - id={id}", app_of(id, apps));
    for _ in 0..=words {
        message.push_str(&format!(" {:016x}", random.below(u64::MAX)));
    }
    message
}

/// The id that a message of [`message`] has.
fn id_of(message: &str) -> Option<u64> {
    let (_, rest) = message.split_once(" - - - id=")?;
    rest.split(' ').next()?.parse().ok()
}

/// What the oracle found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Records that were issued.
    pub issued: u64,
    /// Of them, acknowledged.
    pub acknowledged: u64,
    /// Of them, received at least once.
    pub received: u64,
    /// Acknowledged and not received.
    pub lost: Vec<u64>,
    /// Received and not issued.
    pub invented: Vec<u64>,
    /// What arrived that is no message of any id, or not that of its id; the first few.
    pub altered: Vec<String>,
    /// Ids whose first arrival came behind that of a later one of its app.
    pub out_of_order: Vec<u64>,
    /// Arrivals beyond the first of an id.
    pub duplicates: u64,
}

impl Verdict {
    /// True where everything that was promised holds.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.lost.is_empty()
            && self.invented.is_empty()
            && self.altered.is_empty()
            && self.out_of_order.is_empty()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { issued, acknowledged, received, duplicates, .. } = self;
        write!(
            out,
            "{issued} issued, {acknowledged} acknowledged, {received} received, {duplicates} \
             duplicates"
        )?;
        let ids = [
            ("lost", &self.lost),
            ("invented", &self.invented),
            ("out of order", &self.out_of_order),
        ];
        for (what, ids) in ids.into_iter().filter(|(_, ids)| !ids.is_empty()) {
            write!(out, "; {} {what}, first: {:?}", ids.len(), &ids[..ids.len().min(10)])?;
        }
        if let Some(first) = self.altered.first() {
            write!(out, "; {} altered, first: {first:?}", self.altered.len())?;
        }
        Ok(())
    }
}

/// Waits until all that was acknowledged has come, or nothing comes any more, and judges.
#[must_use]
pub fn judge_at_rest(sent: &Sent, collector: &Collector) -> Verdict {
    const QUIET: Duration = Duration::from_secs(10);
    let mut last = (0, Instant::now());
    loop {
        let received = collector.received();
        let total = received.total();
        if total != last.0 {
            last = (total, Instant::now());
        }
        let verdict = judge(sent, &received);
        drop(received);
        if verdict.lost.is_empty() || last.1.elapsed() > QUIET {
            return verdict;
        }
        pause(Duration::from_millis(20));
    }
}

/// Holds what was sent against what came.
#[must_use]
pub fn judge(sent: &Sent, received: &Received) -> Verdict {
    let ids = |flags: &[bool]| flags.iter().filter(|&&flag| flag).count() as u64;
    let came = |id: usize| received.counts.get(id).is_some_and(|&count| count > 0);
    let lost =
        |(id, &acknowledged): (usize, &bool)| (acknowledged && !came(id)).then_some(id as u64);
    let beyond = (sent.issued()..received.counts.len() as u64).filter(|&id| {
        let id = usize::try_from(id).expect("an index");
        received.counts[id] > 0
    });
    let arrivals: u64 = received.counts.iter().map(|&count| u64::from(count)).sum();
    let distinct = received.counts.iter().filter(|&&count| count > 0).count() as u64;
    Verdict {
        issued: sent.issued(),
        acknowledged: ids(&sent.acknowledged),
        received: distinct,
        lost: sent.acknowledged.iter().enumerate().filter_map(lost).collect(),
        invented: beyond.collect(),
        altered: received.altered.clone(),
        out_of_order: received.out_of_order.clone(),
        duplicates: arrivals - distinct,
    }
}
