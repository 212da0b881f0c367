//! Which addresses destinations may have: `[network]` after its check.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::report::quote;

/// `[network]`: where records may be sent, and who is asked for addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Where destinations may be although the gateway's own list refuses it.
    pub allow: Vec<Endpoints>,
    /// Where no guarded destination may be, whatever `allow` says.
    pub deny: Vec<Endpoints>,
    /// Which destinations are guarded.
    pub guard: Guard,
    /// Name servers to ask, by address and port; those of the system if there are none.
    pub nameservers: Vec<SocketAddr>,
}

/// Whose destinations are checked against the lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Guard {
    /// Those that come by the API. Who writes the file is trusted.
    Tenants,
    /// Those of the file too.
    All,
}

/// A network, and one port or every port there: `10.0.0.0/8`, `10.0.0.0/8:514`, `[fd00::/8]:514`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Endpoints {
    /// The network.
    pub network: Cidr,
    /// The only port, from 1, if it is not every port.
    pub port: Option<u16>,
}

/// A network: all addresses that share their first bits. *Source*: RFC 4632 section 3.1,
/// RFC 4291 section 2.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    /// Its first address. Never IPv4 in the clothes of IPv6 (`::ffff:0:0/96`).
    pub address: IpAddr,
    /// How many bits are shared: at most 32 with IPv4, 128 with IPv6.
    pub prefix: u8,
}

/// Why a text is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// Neither an address nor one with a prefix.
    #[error(
        "{0} is no network; allowed: an IP address, or one with a prefix, as in \"10.0.0.0/8\" \
         and \"fd00::/8\""
    )]
    Form(String),
    /// None of these with a port either.
    #[error(
        "{0} is no network; allowed: an IP address, or one with a prefix, as in \"10.0.0.0/8\" \
         and \"fd00::/8\", and a port from 1 to 65535 if only that is meant, as in \
         \"10.0.0.0/8:514\" and \"[fd00::/8]:514\""
    )]
    FormOrPort(String),
    /// Bits behind the prefix are set: the address or the prefix was meant otherwise.
    #[error("{written} has bits behind its prefix; the network is \"{network}\"")]
    HostBits {
        /// As written, quoted.
        written: String,
        /// The network around it.
        network: Cidr,
    },
}

impl Endpoints {
    /// Reads a network as [`Cidr::parse`] does, with a port behind it or not. IPv6 is in brackets where a
    /// port follows.
    ///
    /// # Errors
    ///
    /// [`CidrError`].
    pub fn parse(text: &str) -> Result<Self, CidrError> {
        let form = || CidrError::FormOrPort(quote(text));
        let is_ipv6 = |(network, _): &(&str, &str)| network.contains(':');
        let inner = text.strip_prefix('[').and_then(|inner| inner.split_once("]:"));
        let ipv4 = || text.rsplit_once(':').filter(|split| !is_ipv6(split));
        let with_port = inner.filter(is_ipv6).or_else(ipv4);
        let (network, port) = match with_port {
            None => (text, None),
            Some((network, digits)) => {
                let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
                let port = digits.parse().ok().filter(|port| *port > 0 && is_number);
                (network, Some(port.ok_or_else(form)?))
            }
        };
        let network = Cidr::parse(network).map_err(|error| match error {
            CidrError::HostBits { .. } => error,
            CidrError::Form(_) | CidrError::FormOrPort(_) => form(),
        })?;
        Ok(Self { network, port })
    }
}

impl Cidr {
    /// Reads `address/prefix`, or an address alone, which is a network of one.
    ///
    /// # Errors
    ///
    /// [`CidrError`].
    pub fn parse(text: &str) -> Result<Self, CidrError> {
        let form = || CidrError::Form(quote(text));
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| form())?;
        let most = width(address);
        let prefix = match prefix {
            None => most,
            Some(digits) => {
                let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
                let prefix = digits.parse().ok().filter(|prefix| *prefix <= most && is_number);
                prefix.ok_or_else(form)?
            }
        };
        let found = Self { address, prefix };
        let network = Self { address: found.first(), prefix };
        if found != network {
            return Err(CidrError::HostBits { written: quote(text), network });
        }
        Ok(found.unmapped())
    }

    /// Whether an address is in it. IPv4 mapped into IPv6 counts as the IPv4 that it is.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let same_family = address.is_ipv4() == self.address.is_ipv4();
        same_family && Self { address, prefix: self.prefix }.first() == self.address
    }

    /// The address with all bits behind the prefix cleared.
    fn first(&self) -> IpAddr {
        let behind = u32::from(width(self.address)).saturating_sub(u32::from(self.prefix));
        match self.address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(behind).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & mask))
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(behind).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
            }
        }
    }

    /// The IPv4 network that an IPv6 network of mapped addresses is.
    fn unmapped(self) -> Self {
        match (self.address.to_canonical(), self.prefix.checked_sub(96)) {
            (address @ IpAddr::V4(_), Some(prefix)) if self.address.is_ipv6() => {
                Self { address, prefix }
            }
            _ => self,
        }
    }
}

impl fmt::Display for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { network, port } = self;
        match port {
            None => write!(f, "{network}"),
            Some(port) if network.address.is_ipv4() => write!(f, "{network}:{port}"),
            Some(port) => write!(f, "[{network}]:{port}"),
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// The bits of an address.
fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_and_written() {
        for (text, expected) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("FD00::/8", "fd00::/8"),
            ("::1", "::1/128"),
            ("::/0", "::/0"),
            ("::ffff:127.0.0.0/104", "127.0.0.0/8"),
            ("::ffff:10.0.0.1", "10.0.0.1/32"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
        ] {
            assert_eq!(Cidr::parse(text).unwrap().to_string(), expected, "{text}");
        }
        for text in ["", "/", "10.0.0.0/", "10.0.0.0/33", "::/129", "10.0.0.0/+8", "10/8"] {
            let error = CidrError::Form(format!("{text:?}"));
            assert_eq!(Cidr::parse(text), Err(error), "{text}");
        }
        for text in ["a.b", "10.0.0.0/8/8", "10.0.0.0 /8", "[::1]", "127.1", "1.2.3.4:5"] {
            assert!(Cidr::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_network_may_have_one_port() {
        for (text, expected) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("fd00::/8", "fd00::/8"),
            ("10.0.0.0/8:514", "10.0.0.0/8:514"),
            ("10.1.2.3:1", "10.1.2.3/32:1"),
            ("[fd00::/8]:65535", "[fd00::/8]:65535"),
            ("[::1]:514", "[::1/128]:514"),
            ("[::ffff:10.0.0.1]:514", "10.0.0.1/32:514"),
        ] {
            assert_eq!(Endpoints::parse(text).unwrap().to_string(), expected, "{text}");
        }
        for text in [
            "",
            ":514",
            "10.0.0.0/8:",
            "10.0.0.0/8:0",
            "10.0.0.0/8:65536",
            "10.0.0.0/8:+5",
            "10.0.0.0:514/8",
            "[10.0.0.0/8]:514",
            "[10.0.0.0/8]",
            "[fd00::/8]",
            "[fd00::/8]:",
            "[fd00::/8:514",
            "[]:514",
            "localhost:514",
        ] {
            let error = CidrError::FormOrPort(format!("{text:?}"));
            assert_eq!(Endpoints::parse(text), Err(error), "{text}");
        }
        let host_bits = Endpoints::parse("10.0.0.1/8:514");
        assert!(matches!(host_bits, Err(CidrError::HostBits { .. })), "{host_bits:?}");
    }

    #[test]
    fn bits_behind_a_prefix_are_told_with_the_network() {
        for (text, network) in [
            ("10.0.0.1/8", "10.0.0.0/8"),
            ("1.2.3.4/0", "0.0.0.0/0"),
            ("10.0.0.1/31", "10.0.0.0/31"),
            ("fd00::1/64", "fd00::/64"),
            ("::1/0", "::/0"),
        ] {
            let network = Cidr::parse(network).unwrap();
            let written = format!("{text:?}");
            assert_eq!(Cidr::parse(text), Err(CidrError::HostBits { written, network }), "{text}");
        }
    }

    #[test]
    fn a_network_holds_its_addresses_and_no_others() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.255.255", "11.0.0.0"),
            ("10.0.0.4/30", "10.0.0.7", "10.0.0.8"),
            ("10.0.0.1", "10.0.0.1", "10.0.0.0"),
            ("10.0.0.0/8", "::ffff:10.0.0.1", "::10.0.0.1"),
            ("::ffff:10.0.0.0/104", "10.9.9.9", "::ffff:11.0.0.0"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("::/0", "ffff::1", "0.0.0.0"),
            ("fe80::/10", "febf::1", "fec0::1"),
        ] {
            let found = Cidr::parse(network).unwrap();
            assert!(found.contains(inside.parse().unwrap()), "{network} {inside}");
            assert!(!found.contains(outside.parse().unwrap()), "{network} {outside}");
        }
    }
}
