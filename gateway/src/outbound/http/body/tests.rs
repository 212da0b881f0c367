//! Bodies, byte by byte.

use std::io::Read as _;

use flate2::read::MultiGzDecoder;
use logboom_record::{Batch, Head, Span, UnixNanos};

use super::*;

/// Records with these bodies.
fn batch(bodies: &[&[u8]]) -> Batch {
    let mut batch = Batch::new(Vec::new(), UnixNanos(0));
    for body in bodies {
        let (host, app_name) = (batch.append(b"web-1"), batch.append(b"nginx"));
        let body = batch.append(body);
        let time = 1_795_259_415_000_000_000;
        let raw = Span::NONE;
        batch.push(&Head {
            time,
            raw,
            body,
            host,
            app_name,
            severity: 6,
            facility: 1,
            ..Head::default()
        });
    }
    batch
}

fn body(format: HttpFormat, bodies: &[&[u8]], gzip: bool) -> Body {
    let mut writer = Writer::new(format);
    for record in batch(bodies).records() {
        let before = writer.bytes();
        writer.push(&record, "edge", &mut |_| None);
        assert!(writer.bytes() > before);
    }
    writer.finish(gzip).unwrap()
}

fn check(format: HttpFormat, bodies: &[&[u8]], expected: &str) {
    let body = body(format, bodies, false);
    assert_eq!(
        body.bytes.escape_ascii().to_string(),
        expected.as_bytes().escape_ascii().to_string()
    );
    assert_eq!(body.records, bodies.len());
}

#[test]
fn logplex_counts_the_line_and_its_line_feed() {
    let head = "<14>1 2026-11-21T11:10:15Z web-1 nginx - - -";
    check(HttpFormat::Logplex, &[], "");
    check(
        HttpFormat::Logplex,
        &[b"one", b"", b"\xc3\xa9"],
        &format!("49 {head} one\n45 {head}\n48 {head} \u{e9}\n"),
    );
}

#[test]
fn nothing_in_a_logplex_line_can_start_another() {
    let head = "<14>1 2026-11-21T11:10:15Z web-1 nginx - - -";
    check(HttpFormat::Logplex, &[b"a\nb\r\nc\0\n"], &format!("54 {head} a b  c  \n"));
}

#[test]
fn a_verbatim_record_is_one_logplex_line_too() {
    let raw = b"<13>1 2026-11-21T05:44:01Z h a p m - two\nlines";
    let mut batch = Batch::new(raw.to_vec(), UnixNanos(0));
    let span = Span::new(0, raw.len());
    let flags = logboom_record::flags::VERBATIM;
    batch.push(&Head { raw: span, body: span, flags, ..Head::default() });
    let record = batch.record(0).unwrap();
    assert!(record.is_verbatim());
    let mut writer = Writer::new(HttpFormat::Logplex);
    writer.push(&record, "", &mut |_| None);
    let expected = b"47 <13>1 2026-11-21T05:44:01Z h a p m - two lines\n";
    assert_eq!(writer.finish(false).unwrap().bytes.as_ref(), expected);
}

#[test]
fn ndjson_has_an_object_a_line_and_json_an_array() {
    let lines = body(HttpFormat::Ndjson, &[b"a\nb", b"\"c"], false).bytes;
    let array = body(HttpFormat::Json, &[b"a\nb", b"\"c"], false).bytes;
    let lines: Vec<serde_json::Value> = lines
        .strip_suffix(b"\n")
        .unwrap()
        .split(|byte| *byte == b'\n')
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    assert_eq!((&lines[0]["body"], &lines[1]["body"]), (&"a\nb".into(), &"\"c".into()));
    assert_eq!(lines[0]["source"], "edge");
    assert_eq!(serde_json::from_slice::<Vec<serde_json::Value>>(&array).unwrap(), lines);
    check(HttpFormat::Json, &[], "[]");
    check(HttpFormat::Ndjson, &[], "");
}

#[test]
fn raw_has_the_bodies_alone() {
    check(HttpFormat::Raw, &[b"one", b"", b"two"], "one\n\ntwo\n");
}

#[test]
fn nothing_in_a_raw_body_can_start_another_line() {
    let bodies: &[&[u8]] = &[b"a\n<0>1 - forged", b"\r\n\0", b"#012 ]\" x"];
    check(HttpFormat::Raw, bodies, "a#012<0>1 - forged\n#015#012#000\n#012 ]\" x\n");
}

#[test]
fn gzip_is_read_back_by_another() {
    let plain = body(HttpFormat::Raw, &[b"one", &[b'x'; 10_000]], false);
    let packed = body(HttpFormat::Raw, &[b"one", &[b'x'; 10_000]], true);
    assert!(packed.bytes.len() < 200 && packed.records == 2);
    let mut unpacked = Vec::new();
    MultiGzDecoder::new(packed.bytes.as_ref()).read_to_end(&mut unpacked).unwrap();
    assert_eq!(unpacked, plain.bytes);
}

/// The headers as text.
fn shown(headers: &Headers, body: &Body) -> Vec<String> {
    let frame = HeaderValue::from_static("spool-7");
    let headers = headers.of(body, &frame);
    headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect()
}

#[test]
fn logplex_headers_name_the_batch_and_the_drain() {
    let headers = Headers::new(HttpFormat::Logplex, true).drain_token("d.1").unwrap();
    let headers = headers.basic("token", "se:cret").unwrap();
    let body = body(HttpFormat::Logplex, &[b"one", b"two"], true);
    assert_eq!(
        shown(&headers, &body),
        [
            "user-agent: Logplex/v72",
            "content-type: application/logplex-1",
            "content-encoding: gzip",
            "logplex-drain-token: d.1",
            "authorization: Basic dG9rZW46c2U6Y3JldA==",
            "idempotency-key: spool-7",
            "logplex-msg-count: 2",
            "logplex-frame-id: spool-7",
        ]
    );
    assert!(!format!("{headers:?}").contains("dG9rZW46"), "a secret in a log");
}

#[test]
fn other_headers_name_the_batch_and_nothing_of_logplex() {
    for (format, content_type) in [
        (HttpFormat::Ndjson, "application/x-ndjson"),
        (HttpFormat::Json, "application/json"),
        (HttpFormat::Raw, "text/plain"),
    ] {
        let headers = Headers::new(format, false).drain_token("d.1").unwrap();
        assert_eq!(
            shown(&headers, &body(format, &[], false)),
            [
                concat!("user-agent: logboom/", env!("CARGO_PKG_VERSION")),
                &format!("content-type: {content_type}"),
                "idempotency-key: spool-7",
            ]
        );
    }
}

#[test]
fn a_token_cannot_add_a_header() {
    assert!(Headers::new(HttpFormat::Logplex, false).drain_token("a\r\nx: y").is_err());
    assert!(Headers::new(HttpFormat::Logplex, false).basic("a\r\n", "\u{1}\u{e9}").is_ok());
}
