//! Who sends: what the gateway itself knows of a peer, for its log and for the records' fields.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use logboom_record::{Batch, FieldNames};

/// A peer of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    /// Where it sends from. IPv4 in the clothes of IPv6 counts as the IPv4 that it is.
    pub(super) address: SocketAddr,
    /// Whom its certificate is for, if it showed one.
    pub(super) subject: Option<String>,
}

impl Peer {
    /// A peer of which nothing is known but its address.
    pub(super) fn at(address: SocketAddr) -> Self {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        Self { address, subject: None }
    }

    /// What limits for one peer go by.
    pub(super) fn ip(&self) -> IpAddr {
        self.address.ip()
    }

    /// The fields that say who it is: names and values.
    fn fields(&self) -> impl Iterator<Item = (&'static str, String)> {
        let address = Some(("peer.address", self.address.to_string()));
        let subject = self.subject.clone().map(|subject| ("peer.subject", subject));
        [address, subject].into_iter().flatten()
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)?;
        match &self.subject {
            Some(subject) => write!(f, " ({subject})"),
            None => Ok(()),
        }
    }
}

/// Who sent the frames of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) enum Senders<'a> {
    /// One peer all of them.
    One(&'a Peer),
    /// A peer each, in the order of the frames.
    Each(&'a [Peer]),
}

/// Writes the sender of each record into its fields. `frames` has the number of the frame that each
/// record was.
pub(super) fn sign(batch: &mut Batch, senders: Senders<'_>, frames: &[u32]) {
    let mut rows = Vec::new();
    let mut last: Option<(&Peer, Vec<[u32; 4]>)> = None;
    for (record, frame) in (0u32..).zip(frames) {
        let peer = match senders {
            Senders::One(peer) => Some(peer),
            Senders::Each(peers) => peers.get(*frame as usize),
        };
        let Some(peer) = peer else { continue };
        // Records of one peer in a row share their values.
        if last.as_ref().is_none_or(|(known, _)| *known != peer) {
            last = Some((peer, values(batch, peer)));
        }
        for value in last.iter().flat_map(|(_, values)| values) {
            rows.push(record);
            rows.extend_from_slice(value);
        }
    }
    batch.add_fields(rows);
}

/// The fields of a peer as rows without their first word, the values in the arena.
fn values(batch: &mut Batch, peer: &Peer) -> Vec<[u32; 4]> {
    let fields = peer.fields().filter_map(|(name, value)| {
        let name = FieldNames::global().intern(name)?;
        let span = batch.append(value.as_bytes());
        // Kind 0: a text.
        Some([name.0, 0, span.offset, span.len])
    });
    fields.collect()
}
