//! Networks: what is taken, what is not, and who lies in them.

use std::net::IpAddr;

use proptest::prelude::*;

use crate::net::{Cidr, CidrError};

#[test]
fn a_network_reads_as_it_is_written() {
    for text in ["0.0.0.0/0", "10.0.0.0/8", "192.0.2.1/32", "::/0", "2001:db8::/32", "::1/128"] {
        assert_eq!(text.parse::<Cidr>().unwrap().to_string(), text);
    }
    assert_eq!("192.0.2.1".parse::<Cidr>().unwrap().to_string(), "192.0.2.1/32");
    assert_eq!("::1".parse::<Cidr>().unwrap().to_string(), "::1/128");
}

#[test]
fn what_is_no_network_is_refused_with_what_to_write() {
    let syntax = [
        "",
        "/",
        "10.0.0.0/",
        "/8",
        "10.0.0.0/8/8",
        "10.0.0.0/+8",
        "10.0.0.0/08",
        "10.0.0.0/ 8",
        "10.0.0/8",
        "10.0.0.0/-1",
        "localhost/8",
        "10.0.0.0/8 ",
        "fe80::%1/64",
        "[::1]/128",
        "10.0.0.0/٨",
        "10.0.0.0/4294967304",
    ];
    for text in syntax {
        let error = text.parse::<Cidr>().unwrap_err();
        assert!(matches!(error, CidrError::Syntax { .. }), "{text}: {error}");
    }
    for text in ["10.0.0.0/33", "::/129", "::/256", "10.0.0.0/264"] {
        let error = text.parse::<Cidr>().unwrap_err();
        assert!(matches!(error, CidrError::Length { .. }), "{text}: {error}");
    }
    let error = "10.1.2.3/8".parse::<Cidr>().unwrap_err();
    assert_eq!(error.to_string(), "10.1.2.3 has bits set after its prefix: write 10.0.0.0/8");
    assert!(matches!("2001:db8::1/64".parse::<Cidr>(), Err(CidrError::HostBits { .. })));
}

/// All bits of an address, the first one first.
fn bits(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(v4) => v4.octets().map(|octet| format!("{octet:08b}")).concat(),
        IpAddr::V6(v6) => v6.octets().map(|octet| format!("{octet:08b}")).concat(),
    }
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<u32>().prop_map(|bits| IpAddr::V4(bits.into())),
        any::<u128>().prop_map(|bits| IpAddr::V6(bits.into())),
    ]
}

proptest! {
    #[test]
    fn an_address_lies_in_a_network_if_the_first_bits_are_equal(
        network in address(),
        other in address(),
        length in 0u8..=128,
        shared in 0u32..=128,
    ) {
        // Mostly an address that shares some of the first bits.
        let other = match (network, other) {
            (IpAddr::V4(network), IpAddr::V4(other)) => {
                let keep = u32::MAX.checked_shr(shared).unwrap_or(0);
                IpAddr::V4(((network.to_bits() & !keep) | (other.to_bits() & keep)).into())
            }
            (IpAddr::V6(network), IpAddr::V6(other)) => {
                let keep = u128::MAX.checked_shr(shared).unwrap_or(0);
                IpAddr::V6(((network.to_bits() & !keep) | (other.to_bits() & keep)).into())
            }
            _ => other,
        };
        let prefix = bits(network).get(..usize::from(length)).map(str::to_owned);
        match (Cidr::new(network, length), prefix) {
            (Err(CidrError::Length { .. }), None) => {}
            (Err(CidrError::HostBits { meant, .. }), Some(prefix)) => {
                prop_assert!(bits(network).bytes().skip(prefix.len()).any(|bit| bit == b'1'));
                prop_assert!(meant.contains(network));
            }
            (Ok(cidr), Some(prefix)) => {
                prop_assert!(!bits(network).bytes().skip(prefix.len()).any(|bit| bit == b'1'));
                prop_assert_eq!(cidr.to_string().parse::<Cidr>(), Ok(cidr));
            }
            (made, prefix) => prop_assert!(false, "{made:?} {prefix:?}"),
        }
        // The network that the address lies in.
        let Some(prefix) = bits(network).get(..usize::from(length)).map(str::to_owned) else {
            return Ok(());
        };
        let cidr = match Cidr::new(network, length) {
            Ok(cidr) => cidr,
            Err(CidrError::HostBits { meant, .. }) => meant,
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
        };
        let is_same = network.is_ipv4() == other.is_ipv4() && bits(other).starts_with(&prefix);
        prop_assert_eq!(cidr.contains(other), is_same);
    }

    #[test]
    fn no_text_breaks_the_parser(text in "[0-9a-f:./+% ]{0,24}") {
        if let Ok(cidr) = text.parse::<Cidr>() {
            prop_assert_eq!(cidr.to_string().parse::<Cidr>(), Ok(cidr));
        }
    }
}
