//! Whether the peer of a connection has gone without a word: its cable cut, its power off.
//!
//! By itself the kernel goes on for a quarter of an hour before it gives such a connection up. A peer
//! that is merely slow must be left alone, however long it takes: its window is closed, and its kernel
//! answers each probe of it. But these probes may be two minutes apart, so time since the last ACK says
//! nothing by itself, and what has no answer yet may have been sent just now. So silence counts from
//! when we first see that something is unanswered, and any ACK begins it anew. (`TCP_USER_TIMEOUT` ends
//! the connections of slow peers as well.)

use std::io;
use std::time::{Duration, Instant};

use super::stream::Stream;

/// Probes of a closed window without an answer, from which on they count: two in a row may be lost.
const PROBES_LOST: u8 = 3;
/// The kernel counts time in ticks, of at most this length.
const TICK: Duration = Duration::from_millis(10);
/// How many looks there are at a silence that is complete.
const LOOKS: u32 = 10;

/// What the kernel knows of a peer's life.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signs {
    /// Whether data is on its way.
    pub(super) in_flight: bool,
    /// How long ago data was sent, or sent again.
    pub(super) last_sent: Duration,
    /// How long ago an ACK came, of data or not.
    pub(super) last_heard: Duration,
    /// How often in a row data was sent again because no ACK of it came; each new ACK sets it to 0,
    /// one that says nothing new does not.
    pub(super) retransmits: u8,
    /// Probes since the last ACK.
    pub(super) probes: u8,
}

/// Looks after one connection.
#[derive(Debug)]
pub struct Silence {
    after: Duration,
    looked: Instant,
    /// Since when something is known to be unanswered.
    unanswered: Option<Instant>,
    /// Those of before the last ACK.
    retransmits: u8,
}

impl Silence {
    /// A connection is dead after so long without an answer.
    #[must_use]
    pub fn new(after: Duration) -> Self {
        Self { after, looked: Instant::now(), unanswered: None, retransmits: 0 }
    }

    /// How often to look.
    #[must_use]
    pub fn pace(&self) -> Duration {
        self.after / LOOKS
    }

    /// Looks, if it is time to. To be asked again and again while anything is unacknowledged.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`]: the peer is gone.
    pub fn look(&mut self, stream: &Stream) -> io::Result<()> {
        let now = Instant::now();
        if now.duration_since(self.looked) < self.pace() {
            return Ok(());
        }
        // Where the kernel does not tell, it ends the connection by itself some time.
        let is_dead = stream.signs().is_ok_and(|signs| self.is_dead(now, signs));
        if is_dead {
            let message = format!("no sign of life for {:?}", self.after);
            return Err(io::Error::new(io::ErrorKind::TimedOut, message));
        }
        Ok(())
    }

    pub(super) fn is_dead(&mut self, now: Instant, signs: Signs) -> bool {
        let heard = signs.last_heard <= now.duration_since(self.looked) + TICK;
        self.looked = now;
        if heard {
            (self.unanswered, self.retransmits) = (None, signs.retransmits);
        }
        // What cannot even be sent again, for want of a route, is counted and leaves no time.
        let has_asked = signs.last_sent < signs.last_heard || signs.retransmits > self.retransmits;
        if !(signs.in_flight && has_asked || signs.probes >= PROBES_LOST) {
            self.unanswered = None;
            return false;
        }
        now.duration_since(*self.unanswered.get_or_insert(now)) >= self.after
    }
}
