//! Networks in CIDR notation: `10.0.0.0/8`, `2001:db8::/32`.
//!
//! Only the canonical form is taken: an address with host bits set is more likely a slip than a
//! wish, and refusing it shows the operator what would have been meant.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A network: an address of which the first so many bits count. The others are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    address: IpAddr,
    length: u8,
}

impl Cidr {
    /// The network of this address and prefix length.
    ///
    /// # Errors
    /// The length is more than the address has bits, or bits after the prefix are set.
    pub fn new(address: IpAddr, length: u8) -> Result<Self, CidrError> {
        let bits_max = width(address);
        if length > bits_max {
            return Err(CidrError::Length { length: u32::from(length), bits_max });
        }
        let network = masked(address, length);
        if network != address {
            return Err(CidrError::HostBits { address, meant: Self { address: network, length } });
        }
        Ok(Self { address, length })
    }

    /// Whether it is a network of IPv4.
    pub fn is_ipv4(&self) -> bool {
        self.address.is_ipv4()
    }

    /// Whether the address lies in this network. The two families are disjoint: an IPv4-mapped
    /// address lies in no IPv4 network.
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4() && masked(address, self.length) == self.address
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    /// A bare address is the network of that address alone.
    fn from_str(text: &str) -> Result<Self, CidrError> {
        let syntax = || CidrError::Syntax { text: text.to_owned() };
        let Some((address, length)) = text.split_once('/') else {
            let address: IpAddr = text.parse().map_err(|_| syntax())?;
            return Self::new(address, width(address));
        };
        let address: IpAddr = address.parse().map_err(|_| syntax())?;
        // `parse` alone would take "+8" and "008".
        let is_canonical = length == "0"
            || (length.bytes().all(|b| b.is_ascii_digit()) && !length.starts_with('0'));
        if !is_canonical {
            return Err(syntax());
        }
        let length: u32 = length.parse().map_err(|_| syntax())?;
        let bits_max = width(address);
        let narrow = u8::try_from(length).map_err(|_| CidrError::Length { length, bits_max })?;
        Self::new(address, narrow)
    }
}

/// Why a text or an address with a length is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// The prefix is longer than the address.
    #[error("a prefix length of {length} is more than the {bits_max} bits of the address")]
    Length {
        /// What was given, in bits.
        length: u32,
        /// What an address of this family has.
        bits_max: u8,
    },
    /// Bits after the prefix are set.
    #[error("{address} has bits set after its prefix: write {meant}")]
    HostBits {
        /// What was given.
        address: IpAddr,
        /// The network it lies in.
        meant: Cidr,
    },
    /// Not an address with a prefix length.
    #[error("{text:?} is no network: write an address and a prefix length, as 10.0.0.0/8")]
    Syntax {
        /// What was given.
        text: String,
    },
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The address with all bits after the first `length` cleared.
fn masked(address: IpAddr, length: u8) -> IpAddr {
    let host_bits = u32::from(width(address).saturating_sub(length));
    match address {
        // A shift by the whole width overflows: then no bit counts.
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(host_bits).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}
