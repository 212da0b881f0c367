//! What a load run found, for people and for programs.

use std::fmt;
use std::io::{self, Write};

use serde::Serialize;

/// What was sent.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SendReport {
    /// Records handed to the kernel.
    pub sent: u64,
    /// Bytes of them, framing included.
    pub bytes: u64,
    /// From the first attempt to connect to the last record, in seconds.
    pub seconds: f64,
    /// Records a second.
    pub rate: f64,
}

impl SendReport {
    /// Writes the report on one line, or as one line of JSON.
    ///
    /// # Errors
    /// What `out` says.
    pub fn write(&self, out: &mut dyn Write, json: bool) -> io::Result<()> {
        write_report(self, out, json)
    }
}

impl fmt::Display for SendReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "sent {} records, {} bytes in {:.3} s: {:.0} records/s",
            self.sent, self.bytes, self.seconds, self.rate
        )
    }
}

/// What came, and what of it is wrong.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ReceiveReport {
    /// Records received, whatever is in them.
    pub received: u64,
    /// Bytes received, framing included.
    pub bytes: u64,
    /// Records that did not come: short of `expected` where that is known, else the holes in the
    /// sequences.
    pub lost: u64,
    /// Records whose number had come before.
    pub duplicated: u64,
    /// Records that came behind a later one of their sequence.
    pub out_of_order: u64,
    /// Records without a sequence number of ours.
    pub unnumbered: u64,
    /// Sessions that were ended because their stream was not framed.
    pub unframed_sessions: u64,
    /// How many records were expected, over all listeners.
    pub expected: Option<u64>,
    /// From the first record to the last, in seconds.
    pub seconds: f64,
    /// Records a second between the two.
    pub rate: f64,
    /// The listeners in the order in which they were given.
    pub listeners: Vec<ListenerReport>,
    /// The sequences with something missing, doubled or late.
    pub faults: Vec<SequenceReport>,
}

/// What came at one listener.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ListenerReport {
    /// Its URL, with the port that it really has.
    pub url: String,
    /// Connections accepted.
    pub sessions: u64,
    /// Records received.
    pub received: u64,
    /// Bytes received.
    pub bytes: u64,
}

/// What is wrong with one sequence.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SequenceReport {
    /// The producer's name.
    pub producer: String,
    /// The app (APP-NAME).
    pub app: String,
    /// Records received.
    pub received: u64,
    /// Numbers missing below the highest received.
    pub missing: u64,
    /// The first few missing stretches, first and last number of each.
    pub first_missing: Vec<(u64, u64)>,
    /// Records whose number had come before.
    pub duplicated: u64,
    /// Records behind a later one.
    pub out_of_order: u64,
}

impl ReceiveReport {
    /// True when nothing is lost, doubled, late or unreadable.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.lost == 0
            && self.duplicated == 0
            && self.out_of_order == 0
            && self.unframed_sessions == 0
    }

    /// Writes the report for people, or as one line of JSON.
    ///
    /// # Errors
    /// What `out` says.
    pub fn write(&self, out: &mut dyn Write, json: bool) -> io::Result<()> {
        write_report(self, out, json)
    }
}

impl fmt::Display for ReceiveReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "received {} records, {} bytes in {:.3} s: {:.0} records/s",
            self.received, self.bytes, self.seconds, self.rate
        )?;
        if let Some(expected) = self.expected {
            write!(formatter, "; expected {expected}")?;
        }
        write!(
            formatter,
            "\nlost {}, duplicated {}, out of order {}, without a number {}",
            self.lost, self.duplicated, self.out_of_order, self.unnumbered
        )?;
        if self.unframed_sessions > 0 {
            write!(formatter, ", sessions without framing {}", self.unframed_sessions)?;
        }
        if self.listeners.len() > 1 {
            for listener in &self.listeners {
                write!(formatter, "\n  {}: {} records", listener.url, listener.received)?;
            }
        }
        for fault in &self.faults {
            write!(
                formatter,
                "\n  producer {} app {}: missing {} {:?}, duplicated {}, out of order {}",
                fault.producer,
                fault.app,
                fault.missing,
                fault.first_missing,
                fault.duplicated,
                fault.out_of_order
            )?;
        }
        Ok(())
    }
}

fn write_report(
    report: &(impl fmt::Display + Serialize),
    out: &mut dyn Write,
    json: bool,
) -> io::Result<()> {
    if json {
        serde_json::to_writer(&mut *out, report)?;
        writeln!(out)
    } else {
        writeln!(out, "{report}")
    }
}
