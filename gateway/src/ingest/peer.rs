//! Who sends: what the gateway itself knows of a peer, for its log and for the records' fields.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use logboom_record::{Batch, FieldNames};

/// A peer of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) origin: Origin,
    /// Whom its certificate is for, if it showed one.
    pub(super) subject: Option<String>,
}

/// Where a peer sends from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// From there. IPv4 in the clothes of IPv6 counts as the IPv4 that it is.
    Address(SocketAddr),
    /// From this machine, as the kernel says.
    Process {
        /// The process; none if it is of another namespace.
        pid: Option<i32>,
        /// Its user.
        uid: u32,
    },
}

impl Peer {
    /// A peer of which nothing is known but its address.
    pub(super) fn at(address: SocketAddr) -> Self {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        Self { origin: Origin::Address(address), subject: None }
    }

    /// A process of this machine.
    pub(super) fn process(pid: Option<i32>, uid: u32) -> Self {
        Self { origin: Origin::Process { pid: pid.filter(|pid| *pid > 0), uid }, subject: None }
    }

    /// The address without the port, if it has one.
    pub(super) fn ip(&self) -> Option<IpAddr> {
        match self.origin {
            Origin::Address(address) => Some(address.ip()),
            Origin::Process { .. } => None,
        }
    }

    /// The fields that say who it is: names and values.
    fn fields(&self) -> impl Iterator<Item = (&'static str, String)> {
        let origin = match self.origin {
            Origin::Address(address) => [Some(("peer.address", address.to_string())), None],
            Origin::Process { pid, uid } => {
                [pid.map(|pid| ("peer.pid", pid.to_string())), Some(("peer.uid", uid.to_string()))]
            }
        };
        let subject = self.subject.clone().map(|subject| ("peer.subject", subject));
        origin.into_iter().flatten().chain(subject)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.origin {
            Origin::Address(address) => address.fmt(f)?,
            Origin::Process { pid: Some(pid), uid } => write!(f, "process {pid} of user {uid}")?,
            Origin::Process { pid: None, uid } => write!(f, "a process of user {uid}")?,
        }
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
