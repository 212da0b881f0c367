//! Which addresses a tenant's destination may have.
//!
//! Tenants give URLs; what these resolve to must not be this machine, its neighbours, or a cloud's
//! metadata service. The policy judges addresses, never names, and is asked at every connection.
//!
//! *Source*: the IANA special-purpose address registries (RFC 6890), RFC 6052 and 8215 (NAT64),
//! RFC 3056 (6to4), RFC 4380 (Teredo), RFC 7526, RFC 9637.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::cidr::Cidr;

/// What is allowed and what is not. The operator's `deny` beats the gateway's own listeners, these
/// beat the operator's `allow`, and that beats the rules of [`Rule`].
#[derive(Clone, Debug, Default)]
pub struct Policy {
    allow: Vec<Endpoints>,
    deny: Vec<Endpoints>,
    own: Vec<SocketAddr>,
}

/// A network, and one port or every port there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// The network.
    pub network: Cidr,
    /// The only port, if it is not every port.
    pub port: Option<u16>,
}

impl Endpoints {
    /// Whether these are among them.
    pub fn contains(&self, ip: IpAddr, port: u16) -> bool {
        self.port.is_none_or(|only| only == port) && self.network.contains(ip)
    }
}

impl From<Cidr> for Endpoints {
    fn from(network: Cidr) -> Self {
        Self { network, port: None }
    }
}

impl fmt::Display for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { network, port } = self;
        match port {
            None => write!(f, "{network}"),
            Some(port) if network.is_ipv4() => write!(f, "{network}:{port}"),
            Some(port) => write!(f, "[{network}]:{port}"),
        }
    }
}

impl Policy {
    /// A policy with the operator's exceptions, and the listeners of this process. A listener on
    /// the unspecified address listens on every address of this machine.
    pub fn new(allow: Vec<Endpoints>, deny: Vec<Endpoints>, own: Vec<SocketAddr>) -> Self {
        Self { allow, deny, own }
    }

    /// Whether a connection may be made to this address.
    ///
    /// An IPv6 address that stands for IPv4 ones (mapped, compatible, NAT64, 6to4, Teredo) must
    /// pass as each of them too.
    ///
    /// # Errors
    /// The rule by which it may not.
    pub fn check(&self, address: SocketAddr) -> Result<(), Forbidden> {
        let forbidden = |rule| Err(Forbidden { address, rule });
        let (ip, port) = (address.ip(), address.port());
        let embedded = embedded_v4(ip);
        let forms = || std::iter::once(ip).chain(embedded.into_iter().flatten().map(IpAddr::V4));
        let is_denied = |rule: &&Endpoints| forms().any(|form| rule.contains(form, port));
        if let Some(rule) = self.deny.iter().find(is_denied) {
            return forbidden(Rule::Denied(*rule));
        }
        if port == 0 {
            return forbidden(Rule::PortZero);
        }
        if forms().any(|form| self.is_own(form, port)) {
            return forbidden(Rule::OwnListener);
        }
        if self.allows(ip, port) {
            return Ok(());
        }
        let broken = forms().filter(|form| !self.allows(*form, port)).find_map(default_rule);
        broken.map_or(Ok(()), forbidden)
    }

    fn allows(&self, ip: IpAddr, port: u16) -> bool {
        self.allow.iter().any(|allowed| allowed.contains(ip, port))
    }

    fn is_own(&self, ip: IpAddr, port: u16) -> bool {
        let mut listeners = self.own.iter().filter(|own| own.port() == port);
        listeners.any(|own| {
            let listener = own.ip().to_canonical();
            listener == ip || (listener.is_unspecified() && is_of_this_machine(ip))
                // The kernel takes a connection to the unspecified address as one to loopback.
                || (ip.is_unspecified() && listener.is_loopback())
        })
    }
}

/// An address that a destination may not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{address} is forbidden as a destination ({rule})")]
pub struct Forbidden {
    /// The address.
    pub address: SocketAddr,
    /// Why.
    pub rule: Rule,
}

/// What forbids an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// 198.18.0.0/15 and alike: for tests of network equipment.
    Benchmark,
    /// The limited broadcast address.
    Broadcast,
    /// 100.64.0.0/10: between a provider and its customers.
    CarrierNat,
    /// The operator's list of what is denied.
    Denied(Endpoints),
    /// Addresses for examples.
    Documentation,
    /// Valid on one link only.
    LinkLocal,
    /// This machine.
    Loopback,
    /// A cloud's service that hands out credentials.
    Metadata,
    /// A group of machines.
    Multicast,
    /// A listener of this process.
    OwnListener,
    /// There is no port 0.
    PortZero,
    /// A private network: RFC 1918, unique local, local NAT64.
    Private,
    /// Set aside; not an address of a host in the Internet.
    Reserved,
    /// fec0::/10, the deprecated form of private.
    SiteLocal,
    /// 0.0.0.0/8 and `::`, which reach this machine.
    Unspecified,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Benchmark => "benchmark",
            Self::Broadcast => "broadcast",
            Self::CarrierNat => "carrier NAT",
            Self::Denied(denied) => return write!(f, "denied by the operator: {denied}"),
            Self::Documentation => "documentation",
            Self::LinkLocal => "link-local",
            Self::Loopback => "loopback",
            Self::Metadata => "metadata",
            Self::Multicast => "multicast",
            Self::OwnListener => "own listener",
            Self::PortZero => "port 0",
            Self::Private => "private",
            Self::Reserved => "reserved",
            Self::SiteLocal => "site-local",
            Self::Unspecified => "unspecified",
        })
    }
}

/// First address, prefix length, rule; the first that fits counts.
const RULES_V4: [(Ipv4Addr, u8, Rule); 22] = [
    (Ipv4Addr::new(169, 254, 169, 254), 32, Rule::Metadata),
    // Credentials of containers and pods.
    (Ipv4Addr::new(169, 254, 170, 2), 32, Rule::Metadata),
    (Ipv4Addr::new(169, 254, 170, 23), 32, Rule::Metadata),
    (Ipv4Addr::new(100, 100, 100, 200), 32, Rule::Metadata),
    (Ipv4Addr::new(168, 63, 129, 16), 32, Rule::Metadata),
    (Ipv4Addr::new(192, 0, 0, 192), 32, Rule::Metadata),
    (Ipv4Addr::new(0, 0, 0, 0), 8, Rule::Unspecified),
    (Ipv4Addr::new(10, 0, 0, 0), 8, Rule::Private),
    (Ipv4Addr::new(100, 64, 0, 0), 10, Rule::CarrierNat),
    (Ipv4Addr::new(127, 0, 0, 0), 8, Rule::Loopback),
    (Ipv4Addr::new(169, 254, 0, 0), 16, Rule::LinkLocal),
    (Ipv4Addr::new(172, 16, 0, 0), 12, Rule::Private),
    (Ipv4Addr::new(192, 0, 0, 0), 24, Rule::Reserved),
    (Ipv4Addr::new(192, 0, 2, 0), 24, Rule::Documentation),
    (Ipv4Addr::new(192, 88, 99, 0), 24, Rule::Reserved),
    (Ipv4Addr::new(192, 168, 0, 0), 16, Rule::Private),
    (Ipv4Addr::new(198, 18, 0, 0), 15, Rule::Benchmark),
    (Ipv4Addr::new(198, 51, 100, 0), 24, Rule::Documentation),
    (Ipv4Addr::new(203, 0, 113, 0), 24, Rule::Documentation),
    (Ipv4Addr::new(224, 0, 0, 0), 4, Rule::Multicast),
    (Ipv4Addr::new(255, 255, 255, 255), 32, Rule::Broadcast),
    (Ipv4Addr::new(240, 0, 0, 0), 4, Rule::Reserved),
];

/// As [`RULES_V4`]. What lies outside of 2000::/3 and is named nowhere is reserved.
const RULES_V6: [(Ipv6Addr, u8, Rule); 15] = [
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), 128, Rule::Metadata),
    (Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), 128, Rule::Metadata),
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23), 128, Rule::Metadata),
    (Ipv6Addr::UNSPECIFIED, 128, Rule::Unspecified),
    (Ipv6Addr::LOCALHOST, 128, Rule::Loopback),
    (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48, Rule::Private),
    (Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 0), 48, Rule::Benchmark),
    (Ipv6Addr::new(0x2001, 0x10, 0, 0, 0, 0, 0, 0), 28, Rule::Reserved),
    (Ipv6Addr::new(0x2001, 0x20, 0, 0, 0, 0, 0, 0), 28, Rule::Reserved),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, Rule::Documentation),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, Rule::Documentation),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, Rule::Private),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, Rule::LinkLocal),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, Rule::SiteLocal),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, Rule::Multicast),
];

fn default_rule(ip: IpAddr) -> Option<Rule> {
    match ip {
        IpAddr::V4(v4) => RULES_V4
            .iter()
            .find(|(first, length, _)| is_within_v4(v4, *first, *length))
            .map(|(_, _, rule)| *rule),
        IpAddr::V6(v6) => RULES_V6
            .iter()
            .find(|(first, length, _)| is_within_v6(v6, *first, *length))
            .map(|(_, _, rule)| *rule)
            .or_else(|| {
                let is_global = v6.segments()[0] & 0xe000 == 0x2000;
                (!is_global && embedded_v4(ip)[0].is_none()).then_some(Rule::Reserved)
            }),
    }
}

fn is_within_v4(address: Ipv4Addr, first: Ipv4Addr, length: u8) -> bool {
    let apart = address.to_bits() ^ first.to_bits();
    apart.leading_zeros() >= u32::from(length)
}

fn is_within_v6(address: Ipv6Addr, first: Ipv6Addr, length: u8) -> bool {
    let apart = address.to_bits() ^ first.to_bits();
    apart.leading_zeros() >= u32::from(length)
}

/// The IPv4 addresses that a packet to this IPv6 address may end up at; the first is there if any.
fn embedded_v4(ip: IpAddr) -> [Option<Ipv4Addr>; 2] {
    let IpAddr::V6(v6) = ip else { return [None, None] };
    let join =
        |high: u16, low: u16| Some(Ipv4Addr::from_bits((u32::from(high) << 16) | u32::from(low)));
    match v6.segments() {
        // `::` and `::1` are addresses of their own.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => [None, None],
        // Compatible, mapped, translated (RFC 2765), NAT64.
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => [join(high, low), None],
        // 6to4.
        [0x2002, high, low, ..] => [join(high, low), None],
        // Teredo: its server, and its client with all bits flipped.
        [0x2001, 0, server_high, server_low, _, _, high, low] => {
            [join(server_high, server_low), join(!high, !low)]
        }
        _ => [None, None],
    }
}

fn is_of_this_machine(ip: IpAddr) -> bool {
    if ip.is_loopback() || ip.is_unspecified() {
        return true;
    }
    // Asked anew each time: addresses come and go.
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else {
        // Unknown: better a destination refused than this machine opened.
        return true;
    };
    interfaces.filter_map(|interface| interface.address).any(|address| {
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        let v6 = address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip()));
        v4.or(v6) == Some(ip)
    })
}
