//! Every frame of `testdata/wire.txt`, as real senders wrote it.

use super::*;
use crate::framing::{Framer, Framing, Oversize};

const WIRE: &str = include_str!("../../../testdata/wire.txt");

/// The bytes of a line.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next().unwrap() {
            b'n' => b'\n',
            b'\\' => b'\\',
            b'x' => {
                let hex = [rest.next().unwrap(), rest.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&hex).unwrap(), 16).unwrap()
            }
            other => panic!("escape {other}"),
        });
    }
    bytes
}

fn frame(name: &str) -> Vec<u8> {
    let line = WIRE.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('\t'));
    unescape(line.unwrap_or_else(|| panic!("{name} is not in wire.txt")))
}

/// The frames of a sample, as a stream of its own and as a datagram.
fn frames(name: &str) -> Vec<Vec<u8>> {
    let stream = frame(name);
    let mut framer = Framer::new(Framing::Auto, 65_536, Oversize::Truncate);
    let mut frames = Vec::new();
    let consumed = framer.cut(&stream, 0, &mut frames, usize::MAX).unwrap();
    framer.finish(&stream, consumed, &mut frames).unwrap();
    frames.iter().map(|frame| frame.span.of(&stream).to_vec()).collect()
}

/// As `check`, for the whole of a sample; `body` is its beginning and end.
fn check_wire(name: &str, priority: u8, fields: &str, body: (&str, &str), flags: u16) {
    let as_datagram = best(&frame(name));
    let as_stream = frames(name);
    assert_eq!(as_stream.len(), 1, "{name}");
    let seen = best(&as_stream[0]);
    if frame(name)[0] == b'<' {
        assert_eq!(seen, as_datagram, "{name}");
    }
    let nil = |field: &str| if field.is_empty() { "-".to_owned() } else { field.to_owned() };
    let all = [&seen.host, &seen.app, &seen.pid, &seen.msg, &seen.data];
    assert_eq!(all.map(|field| nil(field)).join("|"), fields, "{name}");
    assert_eq!((seen.priority, seen.flags), (priority, flags), "{name}");
    let is_whole = seen.body.starts_with(body.0) && seen.body.ends_with(body.1);
    assert!(is_whole, "{name}: {}", seen.body);
    let has_time = flags & NO_TIME == 0;
    assert!(!has_time || seen.time.starts_with("2026-11-21T06:04:41."), "{name}: {}", seen.time);
}

#[test]
fn nginx_is_read() {
    let get = ("127.0.0.1 - - [21/Nov", "curl/7.88.1\\\"");
    check_wire("nginx", 190, "vm|nginx|-|-|-", get, BSD);
    let error = ("2026/11/21 06:04:41 [error] 12584#12584", "host: \\\"127.0.0.1:36126\\\"");
    check_wire("nginx-nohostname", 187, "-|ngerr|-|-|-", error, BSD);
    let json = ("{\\\"t\\\":\\\"2026", "curl/7.88.1\\\"}");
    check_wire("nginx-json", 182, "vm|nginxj|-|-|-", json, BSD);
}

#[test]
fn haproxy_is_read_with_values_out_of_quotes() {
    let data = r#"-|haproxy|12581|-|[http@32473 m=\"GET\" st=200]"#;
    let body = ("127.0.0.1:48494 [21/Nov", "HTTP/1.1\\\"");
    check_wire("haproxy-5424-datagram", 150, data, body, BROKEN);
    check_wire("haproxy-5424-ring", 158, data, body, BROKEN);
    check_wire("haproxy-3164-datagram", 134, "localhost|haproxy|12581|-|-", body, BSD);
}

#[test]
fn logger_is_read_in_all_its_ways() {
    let quality = r#"[timeQuality tzKnown=\"1\" isSynced=\"0\"]"#;
    check_wire("logger-3164", 13, "vm|l3164|-|-|-", ("plain ", "\\xc3\\xa9"), BSD);
    check_wire("logger-5424", 13, &format!("vm|l5424|-|-|{quality}"), ("five", "five"), OK);
    check_wire("logger-octet", 13, "vm|l5424|-|-|-", ("oct", "oct"), OK);
    let tcp = ("newline framed?", "newline framed?");
    check_wire("logger-tcp", 13, &format!("vm|ltcp|-|-|{quality}"), tcp, OK);
    check_wire("logger-unix", 13, "-|unix|-|-|-", ("devlog", "devlog"), BSD);
}

#[test]
fn python_is_read_with_its_nul_and_its_byte_order_mark() {
    let lines = ("py SysLogHandler\\nsecond line ", "\\xc3\\xa9");
    check_wire("python", 171, "-|-|-|-|-", lines, flags::RFC3164 | NO_TIME);
    let data = r#"[ex@32473 a=\"q\\\"\\]\\\\\"]"#;
    let body = ("rfc5424 ", "\\xc3\\xa9");
    let fields = format!("vm|r5140188480935760|12664|-|{data}");
    check_wire("python-5424-datagram", 11, &fields, body, OK);
    let fields = format!("vm|r5140188480936720|12664|-|{data}");
    check_wire("python-5424-tcp", 11, &fields, body, OK);
}

#[test]
fn no_sample_is_left_out() {
    let names: Vec<&str> = WIRE.lines().filter_map(|line| line.split('\t').next()).collect();
    assert_eq!(names.len(), 14);
    for name in names {
        let seen = best(&frames(name)[0]);
        assert!(!seen.body.is_empty(), "{name}");
    }
}
