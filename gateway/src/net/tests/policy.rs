//! The policy: what is forbidden by itself, and what beats what.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use proptest::prelude::*;

use crate::net::{Cidr, Endpoints, Policy, Rule};

fn cidrs(texts: &[&str]) -> Vec<Endpoints> {
    texts.iter().map(|text| text.parse::<Cidr>().unwrap().into()).collect()
}

fn rule(policy: &Policy, ip: &str) -> Option<String> {
    let address = SocketAddr::new(ip.parse().unwrap(), 514);
    policy.check(address).err().map(|forbidden| {
        assert_eq!(forbidden.address, address);
        forbidden.rule.to_string()
    })
}

#[test]
fn each_kind_of_address_is_forbidden_by_its_rule() {
    let rows = [
        ("0.0.0.0", "unspecified"),
        ("0.1.2.3", "unspecified"),
        ("10.0.0.0", "private"),
        ("10.255.255.255", "private"),
        ("100.64.0.1", "carrier NAT"),
        ("100.127.255.255", "carrier NAT"),
        ("100.100.100.200", "metadata"),
        ("127.0.0.1", "loopback"),
        ("127.255.255.254", "loopback"),
        ("168.63.129.16", "metadata"),
        ("169.254.0.1", "link-local"),
        ("169.254.169.254", "metadata"),
        ("169.254.170.2", "metadata"),
        ("172.16.0.1", "private"),
        ("172.31.255.255", "private"),
        ("192.0.0.8", "reserved"),
        ("192.0.2.1", "documentation"),
        ("192.88.99.1", "reserved"),
        ("192.168.1.1", "private"),
        ("198.18.0.1", "benchmark"),
        ("198.19.255.255", "benchmark"),
        ("198.51.100.1", "documentation"),
        ("203.0.113.1", "documentation"),
        ("224.0.0.1", "multicast"),
        ("239.255.255.255", "multicast"),
        ("240.0.0.1", "reserved"),
        ("255.255.255.255", "broadcast"),
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("fe80::1", "link-local"),
        ("febf::1", "link-local"),
        ("fec0::1", "site-local"),
        ("fc00::1", "private"),
        ("fd12:3456::1", "private"),
        ("fd00:ec2::254", "metadata"),
        ("fd20:ce::254", "metadata"),
        ("ff02::1", "multicast"),
        ("2001:db8::1", "documentation"),
        ("3fff::1", "documentation"),
        ("2001:2::1", "benchmark"),
        ("2001:10::1", "reserved"),
        ("2001:20::1", "reserved"),
        ("100::1", "reserved"),
        ("5f00::1", "reserved"),
        ("4000::1", "reserved"),
        ("64:ff9b:1::808:808", "private"),
        // Those that stand for IPv4.
        ("::ffff:127.0.0.1", "loopback"),
        ("::ffff:10.1.1.1", "private"),
        ("::ffff:169.254.169.254", "metadata"),
        ("::127.0.0.1", "loopback"),
        ("::2", "unspecified"),
        ("::ffff:0:10.0.0.1", "private"),
        ("64:ff9b::127.0.0.1", "loopback"),
        ("64:ff9b::169.254.169.254", "metadata"),
        ("2002:7f00:1::1", "loopback"),
        ("2002:c0a8:101::", "private"),
        // Teredo: the server, then the client with its bits flipped.
        ("2001:0:7f00:1::f7f7:f7f7", "loopback"),
        ("2001:0:808:808::80ff:fffe", "loopback"),
    ];
    for (ip, expected) in rows {
        assert_eq!(rule(&Policy::default(), ip).as_deref(), Some(expected), "{ip}");
    }
}

#[test]
fn public_addresses_are_free_in_every_form() {
    let rows = [
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2606:4700::1111",
        "2000::1",
        "3ffe::1",
        "2001:4860::8888",
        "::ffff:8.8.8.8",
        "::8.8.8.8",
        "64:ff9b::8.8.8.8",
        "2002:808:808::1",
        "2001:0:808:808::f7f7:f7f7",
    ];
    for ip in rows {
        assert_eq!(rule(&Policy::default(), ip), None, "{ip}");
    }
}

#[test]
fn allow_beats_the_rules_and_deny_beats_allow() {
    let allow = cidrs(&["10.0.0.0/8", "fd00::/8", "127.0.0.1/32"]);
    let deny = cidrs(&["10.1.0.0/16", "8.8.8.0/24"]);
    let policy = Policy::new(allow, deny, Vec::new());
    for ip in ["10.0.0.1", "10.2.0.1", "fd12::1", "127.0.0.1", "9.9.9.9", "::ffff:10.0.0.1"] {
        assert_eq!(rule(&policy, ip), None, "{ip}");
    }
    for ip in ["10.1.0.1", "::ffff:10.1.0.1", "64:ff9b::10.1.0.1", "2002:a01:1::"] {
        let denied = Some("denied by the operator: 10.1.0.0/16");
        assert_eq!(rule(&policy, ip).as_deref(), denied, "{ip}");
    }
    assert_eq!(rule(&policy, "8.8.8.8").as_deref(), Some("denied by the operator: 8.8.8.0/24"));
    assert_eq!(rule(&policy, "127.0.0.2").as_deref(), Some("loopback"));
    assert_eq!(rule(&policy, "192.168.0.1").as_deref(), Some("private"));
}

#[test]
fn a_port_may_be_allowed_or_denied_alone() {
    let at = |text: &str, port| Endpoints { network: text.parse().unwrap(), port: Some(port) };
    let allow = vec![at("10.0.0.0/8", 6514), at("fd00::/8", 443)];
    let deny = vec![at("8.8.8.0/24", 25), at("2001:db9::/32", 25)];
    let policy = Policy::new(allow, deny, Vec::new());
    for (address, expected) in [
        ("10.0.0.1:6514", None),
        ("10.0.0.1:6515", Some("private")),
        ("[::ffff:10.0.0.1]:6514", None),
        ("[fd00::1]:443", None),
        ("[fd00::1]:6514", Some("private")),
        ("8.8.8.8:53", None),
        ("8.8.8.8:25", Some("denied by the operator: 8.8.8.0/24:25")),
        ("[64:ff9b::8.8.8.8]:25", Some("denied by the operator: 8.8.8.0/24:25")),
        ("[2001:db9::1]:25", Some("denied by the operator: [2001:db9::/32]:25")),
        ("[2001:db9::1]:26", None),
    ] {
        let found = policy.check(address.parse().unwrap()).err();
        let rule = found.map(|forbidden| forbidden.rule.to_string());
        assert_eq!(rule.as_deref(), expected, "{address}");
    }
}

/// Teredo has two addresses in it; that one of them is allowed must not open the other.
#[test]
fn an_allowed_network_opens_no_other_address_that_hides_beside_it() {
    let policy = Policy::new(cidrs(&["10.0.0.0/8"]), Vec::new(), Vec::new());
    assert_eq!(rule(&policy, "2001:0:a00:1::80ff:fffe").as_deref(), Some("loopback"));
    assert_eq!(rule(&policy, "2001:0:7f00:1::f5ff:fffe").as_deref(), Some("loopback"));
    assert_eq!(rule(&policy, "2001:0:a00:1::f5ff:fffe"), None);
    // Who allows the outer form by name wants all of it.
    let policy = Policy::new(cidrs(&["64:ff9b::/96"]), Vec::new(), Vec::new());
    assert_eq!(rule(&policy, "64:ff9b::10.0.0.1"), None);
}

#[test]
fn own_listeners_stay_closed_even_where_their_network_is_allowed() {
    let allow = cidrs(&["0.0.0.0/0", "::/0"]);
    let own = ["127.0.0.1:5000", "0.0.0.0:514", "[::1]:6000", "8.8.8.8:80"];
    let own = own.map(|own| own.parse().unwrap()).to_vec();
    let policy = Policy::new(allow, Vec::new(), own);
    let rows = [
        ("127.0.0.1:5000", true),
        ("[::ffff:127.0.0.1]:5000", true),
        ("0.0.0.0:5000", true),
        ("127.0.0.2:5000", false),
        ("127.0.0.1:5001", false),
        ("127.9.9.9:514", true),
        ("[::1]:514", true),
        ("[::]:514", true),
        ("0.0.0.0:514", true),
        ("9.9.9.9:514", false),
        ("[::1]:6000", true),
        ("[::]:6000", true),
        ("[::1]:6001", false),
        ("8.8.8.8:80", true),
        ("[64:ff9b::8.8.8.8]:80", true),
    ];
    for (address, is_own) in rows {
        let address: SocketAddr = address.parse().unwrap();
        let found = policy.check(address).err().map(|forbidden| forbidden.rule);
        assert_eq!(found, is_own.then_some(Rule::OwnListener), "{address}");
    }
}

/// Whatever addresses this machine has besides loopback: a wildcard listener is at each of them.
#[test]
fn a_wildcard_listener_is_at_every_address_of_the_machine() {
    let policy =
        Policy::new(cidrs(&["0.0.0.0/0"]), Vec::new(), vec!["0.0.0.0:514".parse().unwrap()]);
    for interface in nix::ifaddrs::getifaddrs().unwrap() {
        let Some(address) = interface.address else { continue };
        let Some(v4) = address.as_sockaddr_in() else { continue };
        let found = policy.check(SocketAddr::new(v4.ip().into(), 514));
        assert_eq!(found.unwrap_err().rule, Rule::OwnListener, "{v4}");
    }
}

#[test]
fn there_is_no_port_0() {
    let policy = Policy::new(cidrs(&["0.0.0.0/0"]), Vec::new(), Vec::new());
    let forbidden = policy.check("8.8.8.8:0".parse().unwrap()).unwrap_err();
    assert_eq!(forbidden.to_string(), "8.8.8.8:0 is forbidden as a destination (port 0)");
}

/// Slow, and written from the registries in other words than the policy: by the standard library's
/// predicates and text.
fn is_forbidden_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let text = ip.to_string();
    ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_broadcast()
        || ip.is_documentation()
        || ip.is_multicast()
        || a == 0
        || a >= 240
        || (a == 100 && b / 64 == 1)
        || (a == 198 && (b == 18 || b == 19))
        || (a, b, c) == (192, 0, 0)
        || (a, b, c) == (192, 88, 99)
        || text == "168.63.129.16"
}

fn is_forbidden_v6(ip: Ipv6Addr) -> bool {
    let hex: String = ip.octets().iter().map(|octet| format!("{octet:02x}")).collect();
    // The address that begins at this hexadecimal digit.
    let v4 = |from: usize| {
        let bits = hex.get(from..from + 8).unwrap();
        Ipv4Addr::from(u32::from_str_radix(bits, 16).unwrap())
    };
    if ip == Ipv6Addr::LOCALHOST || ip == Ipv6Addr::UNSPECIFIED {
        return true;
    }
    let last = [
        "000000000000000000000000",
        "00000000000000000000ffff",
        "0000000000000000ffff0000",
        "0064ff9b0000000000000000",
    ];
    if last.iter().any(|prefix| hex.starts_with(prefix)) {
        return is_forbidden_v4(v4(24));
    }
    if hex.starts_with("2002") {
        return is_forbidden_v4(v4(4));
    }
    if hex.starts_with("20010000") {
        let flipped = v4(24).octets().map(|octet| 255 - octet);
        return is_forbidden_v4(v4(8)) || is_forbidden_v4(flipped.into());
    }
    let special = ["20010db8", "3fff0", "200100020000", "2001001", "2001002"];
    !(hex.starts_with('2') || hex.starts_with('3'))
        || special.iter().any(|prefix| hex.starts_with(prefix))
}

/// Addresses near the edges of the networks of the rules, and others.
fn address() -> impl Strategy<Value = IpAddr> {
    let v4_heads = prop_oneof![
        Just(0u32),
        Just(0x0a00_0000),
        Just(0x6440_0000),
        Just(0x7f00_0000),
        Just(0xa9fe_0000),
        Just(0xac10_0000),
        Just(0xc000_0000),
        Just(0xc000_0200),
        Just(0xc058_6300),
        Just(0xc0a8_0000),
        Just(0xc612_0000),
        Just(0xc633_6400),
        Just(0xcb00_7100),
        Just(0xe000_0000),
        Just(0xf000_0000),
        Just(0xffff_ffff),
        Just(0xa83f_8110),
        any::<u32>(),
    ];
    let v4 = (v4_heads, 0u32..33, any::<u32>())
        .prop_map(|(head, keep, noise)| head ^ noise.checked_shr(keep).unwrap_or(0));
    let v6_heads = prop_oneof![
        Just(0u128),
        Just(0xffff_0000_0000),
        Just(0xffff_0000_0000_0000),
        Just(0x64_ff9b << 96),
        Just(0x64_ff9b_0001 << 80),
        Just(0x2002 << 112),
        Just(0x2001_0000 << 96),
        Just(0x2001_0002 << 96),
        Just(0x2001_0010 << 96),
        Just(0x2001_0020 << 96),
        Just(0x2001_0db8 << 96),
        Just(0x3fff << 112),
        Just(0xfc00 << 112),
        Just(0xfe80 << 112),
        Just(0xfec0 << 112),
        Just(0xff00 << 112),
        any::<u128>(),
    ];
    let v6 = (v6_heads, 0u32..129, any::<u128>(), v4.clone(), 0u32..97, any::<bool>()).prop_map(
        |(head, keep, noise, v4, at, has_v4)| {
            let v6 = head ^ noise.checked_shr(keep).unwrap_or(0);
            if has_v4 { head ^ (u128::from(v4) << (at / 16 * 16)) } else { v6 }
        },
    );
    prop_oneof![
        v4.prop_map(|bits| IpAddr::V4(bits.into())),
        v6.prop_map(|bits| IpAddr::V6(bits.into())),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn the_rules_agree_with_a_slow_reference(ip in address()) {
        let expected = match ip {
            IpAddr::V4(v4) => is_forbidden_v4(v4),
            IpAddr::V6(v6) => is_forbidden_v6(v6),
        };
        let found = Policy::default().check(SocketAddr::new(ip, 514));
        prop_assert_eq!(found.is_err(), expected, "{} {:?}", ip, found);
    }

    #[test]
    fn what_is_denied_is_forbidden_whatever_is_allowed(ip in address(), length in 0u8..=32) {
        let everything = cidrs(&["0.0.0.0/0", "::/0"]);
        let deny = match Cidr::new(ip, length) {
            Err(crate::net::CidrError::HostBits { meant, .. }) => meant,
            other => other.unwrap(),
        };
        let deny = Endpoints::from(deny);
        let policy = Policy::new(everything.clone(), vec![deny], Vec::new());
        let found = policy.check(SocketAddr::new(ip, 514)).unwrap_err();
        prop_assert_eq!(found.rule, Rule::Denied(deny));
        let policy = Policy::new(everything, Vec::new(), Vec::new());
        prop_assert!(policy.check(SocketAddr::new(ip, 514)).is_ok());
    }
}
