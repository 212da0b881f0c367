//! Headers of both versions, good and bad, and that nothing behind one is ever touched.

use proptest::prelude::*;

use super::*;

/// Reads as a listener does: exactly what is asked for. Returns the outcome and what was left unread.
fn take(stream: &[u8]) -> (Result<Progress, ProxyError>, &[u8]) {
    let mut taken = 0;
    loop {
        match read(&stream[..taken]) {
            Ok(Progress::More(more)) => {
                assert!(more > 0 && taken + more <= HEADER_BYTES_MAX, "{more} behind {taken}");
                if taken + more > stream.len() {
                    return (Ok(Progress::More(more)), &stream[taken..]);
                }
                taken += more;
            }
            ended => return (ended, &stream[taken..]),
        }
    }
}

/// A header of version 2.
fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [&SIGNATURE[..], &[command, family], &length, block].concat()
}

fn address(text: &str) -> Option<SocketAddr> {
    Some(text.parse().unwrap())
}

#[test]
fn lines_of_version_1_are_read_to_their_end_and_no_further() {
    let longest = format!("PROXY UNKNOWN {}\r\n", "f".repeat(107 - 16));
    for (line, expected) in [
        ("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n", address("192.0.2.1:56324")),
        (
            "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
            address("255.255.255.255:65535"),
        ),
        ("PROXY TCP6 2001:db8::1 ::1 1 0\r\n", address("[2001:db8::1]:1")),
        ("PROXY UNKNOWN\r\n", None),
        ("PROXY UNKNOWN ffff:: ::1 what ever\r\n", None),
        (&longest, None),
    ] {
        let stream = format!("{line}<13>the first record\r\n");
        assert_eq!(
            take(stream.as_bytes()),
            (Ok(Progress::Done(expected)), &b"<13>the first record\r\n"[..]),
            "{line}"
        );
    }
}

#[test]
fn headers_of_version_2_are_read_and_what_follows_the_addresses_is_skipped() {
    let tlv = [0x03, 0x00, 0x04, 0xa9, 0xb8, 0x7e, 0x8f];
    let v4 = [192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 0x04, 0x01, 0xbb];
    let mut v6 = [0; 36];
    (v6[0], v6[1], v6[15], v6[32], v6[33]) = (0x20, 0x01, 0x09, 0x02, 0x02);
    for (header, expected) in [
        (v2(0x21, 0x11, &v4), address("192.0.2.1:56324")),
        (v2(0x21, 0x12, &v4), address("192.0.2.1:56324")),
        (v2(0x21, 0x11, &[&v4[..], &tlv].concat()), address("192.0.2.1:56324")),
        (v2(0x21, 0x21, &v6), address("[2001::9]:514")),
        (v2(0x21, 0x31, &[7; 216]), None),
        (v2(0x21, 0x00, b""), None),
        (v2(0x21, 0x00, &tlv), None),
        // A probe of the proxy itself, whatever it says of addresses.
        (v2(0x20, 0x00, b""), None),
        (v2(0x20, 0x11, &v4), None),
        (v2(0x20, 0xff, &tlv), None),
        (v2(0x21, 0x00, &[0; HEADER_BYTES_MAX - 16]), None),
    ] {
        let stream = [&header[..], b"\x16\x03\x01"].concat();
        let (ended, rest) = take(&stream);
        assert_eq!((ended, rest), (Ok(Progress::Done(expected)), &b"\x16\x03\x01"[..]));
    }
}

#[test]
fn what_is_no_header_is_refused_as_soon_as_that_is_certain() {
    let v4 = [0; 11];
    for (stream, error) in [
        (b"<13>1 - host app - - - no header".to_vec(), ProxyError::Missing),
        (b"PROXX TCP4 1.2.3.4 1.2.3.4 1 1\r\n".to_vec(), ProxyError::Missing),
        (b"\r\n\r\n\0\r\nQUIT\r\n\r\n\r\n".to_vec(), ProxyError::Missing),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n".to_vec(), ProxyError::Line),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 01 1\r\n".to_vec(), ProxyError::Line),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 +1 1\r\n".to_vec(), ProxyError::Line),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n".to_vec(), ProxyError::Line),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 1 1\r\n".to_vec(), ProxyError::Line),
        (b"PROXY TCP4 ::1 ::1 1 1\r\n".to_vec(), ProxyError::Line),
        (b"PROXY TCP5 1.2.3.4 1.2.3.4 1 1\r\n".to_vec(), ProxyError::Line),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 1\n".to_vec(), ProxyError::Line),
        (b"PROXY TCP4 1.2.3.4\n1.2.3.4 1 1\r\n".to_vec(), ProxyError::Line),
        (b"PROXY TCP4 1.2.3.\xff 1.2.3.4 1 1\r\n".to_vec(), ProxyError::Line),
        // A line that never ends.
        (format!("PROXY {}", "x".repeat(1000)).into_bytes(), ProxyError::Line),
        (v2(0x11, 0x11, &v4), ProxyError::Command(0x11)),
        (v2(0x22, 0x11, &v4), ProxyError::Command(0x22)),
        (v2(0x21, 0x41, &v4), ProxyError::Family(0x41)),
        (v2(0x21, 0x11, &v4), ProxyError::Length(11)),
        (v2(0x21, 0x21, &[0; 35]), ProxyError::Length(35)),
        // Nothing of what it announces is waited for.
        (v2(0x21, 0x11, &[0; 65_535])[..16].to_vec(), ProxyError::Length(65_535)),
        (v2(0x20, 0x00, &[0; HEADER_BYTES_MAX - 15])[..16].to_vec(), ProxyError::Length(4081)),
    ] {
        assert_eq!(take(&stream).0, Err(error), "{}", stream.escape_ascii());
    }
}

#[test]
fn a_header_cut_anywhere_waits_for_the_rest() {
    let v4 = [192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 0x04, 0x01, 0xbb];
    let line = b"PROXY TCP6 2001:db8::1 ::1 1 0\r\n".to_vec();
    for whole in [line, v2(0x21, 0x11, &v4)] {
        for end in 0..whole.len() {
            assert!(matches!(take(&whole[..end]).0, Ok(Progress::More(_))), "{end}");
        }
    }
}

proptest! {
    #[test]
    fn bytes_of_any_kind_end_within_the_limit(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        start in 0..3usize,
    ) {
        let start: &[u8] = [&b""[..], WORD, SIGNATURE][start];
        let stream = [start, &bytes].concat();
        // The limit is asserted where it is read.
        let (_, rest) = take(&stream);
        prop_assert!(stream.ends_with(rest));
    }

    #[test]
    fn what_is_written_is_read(
        ip in any::<IpAddr>(),
        port in any::<u16>(),
        is_line in any::<bool>(),
        extra in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let header = match (is_line, ip) {
            (true, IpAddr::V4(ip)) => format!("PROXY TCP4 {ip} 1.2.3.4 {port} 514\r\n").into_bytes(),
            (true, IpAddr::V6(ip)) => format!("PROXY TCP6 {ip} ::1 {port} 514\r\n").into_bytes(),
            (false, IpAddr::V4(ip)) => {
                let block = [&ip.octets()[..], &[9; 4], &port.to_be_bytes(), &[2, 2], &extra];
                v2(0x21, 0x11, &block.concat())
            }
            (false, IpAddr::V6(ip)) => {
                let block = [&ip.octets()[..], &[9; 16], &port.to_be_bytes(), &[2, 2], &extra];
                v2(0x21, 0x21, &block.concat())
            }
        };
        let stream = [&header[..], &extra].concat();
        let (ended, rest) = take(&stream);
        prop_assert_eq!(ended, Ok(Progress::Done(Some(SocketAddr::new(ip, port)))));
        prop_assert_eq!(rest, &extra[..]);
    }
}
