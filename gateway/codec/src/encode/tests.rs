//! Encoding: what leaves, and that it can be read again as the same.

use std::collections::HashMap;
use std::sync::Arc;

use logboom_record::{Batch, FieldId, Head, Span, UnixNanos, flags};
use proptest::prelude::*;

use super::*;
use crate::decode::{Decoder, Format, Mode};
use crate::framing::{Frame, Framer, Framing, Oversize};

/// 2026-11-21T06:04:42Z.
const RECEIVED: UnixNanos = UnixNanos(1_795_241_082_000_000_000);

/// A batch of one record, decoded.
fn batch(frame: &[u8]) -> Batch {
    let decoder = Decoder::new(Format::Auto, Mode::BestEffort);
    let head = decoder.decode(frame, Span::new(0, frame.len()), RECEIVED).unwrap();
    let mut batch = Batch::new(frame.to_vec(), RECEIVED);
    batch.push(&head);
    batch
}

/// A batch of one record made by hand: host, app name, PROCID, MSGID, structured data, body.
fn made(fields: [&[u8]; 6]) -> Batch {
    let mut batch = Batch::new(Vec::new(), RECEIVED);
    let [host, app_name, proc_id, msg_id, structured_data, body] =
        fields.map(|field| batch.append(field));
    let flags = flags::CREATED;
    let time = RECEIVED.0 + 123_456_000;
    let (severity, facility) = (6, 16);
    batch.push(&Head {
        time,
        host,
        app_name,
        proc_id,
        msg_id,
        structured_data,
        body,
        severity,
        facility,
        flags,
        ..Head::default()
    });
    batch
}

fn encoded(batch: &Batch, encode: impl Fn(&Record<'_>, &mut Vec<u8>)) -> Vec<u8> {
    let mut out = b"before".to_vec();
    encode(&batch.record(0).unwrap(), &mut out);
    assert!(out.starts_with(b"before"));
    out.split_off(6)
}

fn check(batch: &Batch, encode: impl Fn(&Record<'_>, &mut Vec<u8>), expected: &[u8]) {
    let got = encoded(batch, encode);
    assert_eq!(got.escape_ascii().to_string(), expected.escape_ascii().to_string());
}

#[test]
fn a_valid_frame_leaves_as_it_came() {
    let frame = "<165>1 2018-10-11T22:14:15.003-07:00 h a - 1 [e x=\"\\]\"] \u{feff}é\nx\0\n";
    let raw = frame.as_bytes().strip_suffix(b"\n").unwrap();
    check(&batch(frame.as_bytes()), rfc5424, raw);
    let octet = |record: &Record<'_>, out: &mut Vec<u8>| {
        framed(WireFormat::Rfc5424, WireFraming::Octet, record, out);
    };
    check(&batch(frame.as_bytes()), octet, &[b"64 ", raw].concat());
}

#[test]
fn an_edited_record_is_written_from_its_head() {
    let mut batch = batch(b"<165>1 2018-10-11T22:14:15.003Z h a - 1 [e x=\"\\]\"] body");
    let host = batch.append(b"other");
    batch.set_span(0, logboom_record::column::HOST, host);
    batch.change_flags(0, flags::EDITED, 0);
    batch.set_severity(0, 3);
    let expected = b"<163>1 2018-10-11T22:14:15.003000Z other a - 1 [e x=\"\\]\"] body";
    check(&batch, rfc5424, expected);
}

#[test]
fn other_formats_are_written_as_valid_rfc5424() {
    let check = |frame: &[u8], expected: &[u8]| check(&batch(frame), rfc5424, expected);
    check(b"<13>Nov 21 06:04:41 vm su[7]: x", b"<13>1 2026-11-21T06:04:41Z vm su 7 - - x");
    check(b"text", b"<13>1 2026-11-21T06:04:42Z - - - - - text");
    check(
        b"<150>1 2026-11-21T06:04:41.503944+01:00 - ha 1 - [h@1 m=\"G\" st=200 p=C:\\x] b",
        b"<150>1 2026-11-21T05:04:41.503944Z - ha 1 - [h@1 m=\"G\" st=\"200\" p=\"C:\\\\x\"] b",
    );
    check(
        b"<1>1 - - - - - [a b=\"C:\\n\" c=\"\\\"\\\\\\]\"] m",
        b"<1>1 2026-11-21T06:04:42Z - - - - [a b=\"C:\\\\n\" c=\"\\\"\\\\\\]\"] m",
    );
    // One SD-ID, one element.
    check(
        b"<1>1 - - - - - [a x=\"1\"][b][a x=\"2\"] m",
        b"<1>1 2026-11-21T06:04:42Z - - - - [a x=\"1\" x=\"2\"][b] m",
    );
    let second = "<1>1 2016-12-31T23:59:60Z h - - - - m";
    check(second.as_bytes(), b"<1>1 2016-12-31T23:59:59.999999Z h - - - - m");
}

/// Found by fuzzing: elements behind the sixteenth were not compared with those before it, and left
/// with an SD-ID that was there already.
#[test]
fn an_id_that_comes_again_far_behind_is_still_joined() {
    let many: String = (0..40).map(|n| format!("[e{n}]")).collect();
    let frame = format!("<1>1 - - - - - [x a=\"1\"][x b=\"2\"]{many}[e0 c=\"3\"][x d=\"4\"] m");
    let written = encoded(&batch(frame.as_bytes()), rfc5424);
    let text = String::from_utf8(written).unwrap();
    assert!(text.contains("[x a=\"1\" b=\"2\" d=\"4\"][e0 c=\"3\"][e1]"), "{text}");
    assert!(text.ends_with("[e39] m"), "{text}");
}

#[test]
fn o1_nothing_in_a_field_can_forge_a_header() {
    let hostile = b"a b\n<0>1 \0]\"=\xc3\xa9";
    let batch = made([hostile, hostile, hostile, hostile, b"[x y=\"\n<0>1 z\"]", b"b\n<0>1 - f"]);
    let name = "a_b__0_1_____=__".replace("__0_", "_<0>");
    let name = name.replace("_____=", "__]\"=");
    let line = format!(
        "<134>1 2026-11-21T06:04:42.123456Z {name} {name} {name} {name} [x y=\"\n<0>1 z\"] \
         b\n<0>1 - f"
    );
    check(&batch, rfc5424, line.as_bytes());
    let lf = |record: &Record<'_>, out: &mut Vec<u8>| {
        framed(WireFormat::Rfc5424, WireFraming::Lf, record, out);
    };
    check(&batch, lf, format!("{}\n", line.replace('\n', "#012")).as_bytes());
    let bsd = b"<134>Nov 21 06:04:42 a_b_<0>1___\"=__ a_b_<0>1___\"=__[a_b_<0>1___\"=__]: b#012<0>1 - f\n";
    let lf = |record: &Record<'_>, out: &mut Vec<u8>| {
        framed(WireFormat::Rfc3164, WireFraming::Lf, record, out);
    };
    let got = encoded(&batch, lf);
    assert_eq!(got.iter().filter(|byte| **byte == b'\n').count(), 1);
    let expected = bsd.escape_ascii().to_string().replacen("1___\\\"", "1__]\\\"", 1);
    assert_eq!(got.escape_ascii().to_string(), expected);
}

#[test]
fn fields_are_cut_to_their_lengths() {
    let long = [b'x'; 300];
    let batch = made([&long, &long, &long, &long, b"[ok]", b""]);
    let x = |len| "x".repeat(len);
    let fields = [x(255), x(48), x(128), x(32)].join(" ");
    let expected = format!("<134>1 2026-11-21T06:04:42.123456Z {fields} [ok]");
    check(&batch, rfc5424, expected.as_bytes());
}

#[test]
fn line_framing_escapes_what_ends_a_line() {
    let frame = b"<1>1 - - - - - [a b=\"\n\"] x\r\ny\0z\tw\x1b";
    for (format, expected) in [
        (WireFormat::Rfc5424, b"<1>1 - - - - - [a b=\"#012\"] x#015#012y#000z\tw\x1b\n".as_slice()),
        (WireFormat::Rfc3164, b"<1>Nov 21 06:04:42 - x#015#012y#000z\tw\x1b\n"),
    ] {
        let lf = |record: &Record<'_>, out: &mut Vec<u8>| {
            framed(format, WireFraming::Lf, record, out);
        };
        check(&batch(frame), lf, expected);
    }
    check(&batch(frame), raw, b"x#015#012y#000z\tw\x1b\n");
}

#[test]
fn rfc3164_is_written_and_copied() {
    let check = |frame: &[u8], expected: &[u8]| check(&batch(frame), rfc3164, expected);
    // It came like this.
    for frame in [b"<13>Nov 21 06:04:41 vm su[7]: x".as_slice(), b"<13>Nov 21 06:04:41.5 vm x y"] {
        check(frame, frame);
    }
    // No host, or no RFC 3164 at all.
    check(b"<13>Nov 21 06:04:41 su[7]: x", b"<13>Nov 21 06:04:41 - su[7]: x");
    check(b"<13>text", b"<13>Nov 21 06:04:42 - text");
    check(
        b"<165>1 2026-01-02T22:14:15.003-03:00 h a:b[c] 1 m [e x=\"1\"] An event",
        b"<165>Jan  3 01:14:15 h a_b_c_[1]: An event",
    );
    check(b"<165>1 2026-12-31T22:14:15Z h - 1 - - x", b"<165>Dec 31 22:14:15 h -[1]: x");
}

#[test]
fn times_are_written_with_the_digits_asked_for() {
    let text = |nanos: i64, digits| {
        let mut out = Vec::new();
        rfc3339(UnixNanos(nanos), digits, &mut out);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(text(0, 0), "1970-01-01T00:00:00Z");
    assert_eq!(text(-1, 9), "1969-12-31T23:59:59.999999999Z");
    assert_eq!(text(1_795_241_082_000_000_120, 9), "2026-11-21T06:04:42.000000120Z");
    assert_eq!(text(1_795_241_082_120_000_000, 3), "2026-11-21T06:04:42.120Z");
    assert_eq!(text(i64::MAX, 6), "2262-04-11T23:47:16.854775Z");
    assert_eq!(text(i64::MIN, 20), "1677-09-21T00:12:43.145224192Z");
}

fn json_of(batch: &Batch, names: &HashMap<u32, &str>) -> String {
    let mut find = |id: FieldId| names.get(&id.0).map(|name| Arc::from(*name));
    let mut out = Vec::new();
    json(&batch.record(0).unwrap(), "edge", &mut find, &mut out);
    assert!(crate::json::is_json(&out), "{}", out.escape_ascii());
    assert!(!out.contains(&b'\n'));
    String::from_utf8(out).unwrap()
}

#[test]
fn json_has_the_members_that_are_there() {
    let mut batch = batch(
        b"<165>1 2018-10-11T22:14:15.003Z h a 7 id [e@1 x=\"\\]\" x=\"2\" y=\"\xc3\xa9\"][f] b\"\n",
    );
    let app = batch.append(b"a-h");
    batch.set_app(0, app);
    assert_eq!(
        json_of(&batch, &HashMap::new()),
        "{\"time\":\"2018-10-11T22:14:15.003000000Z\",\"received\":\"2026-11-21T06:04:42.000000000Z\",\
         \"source\":\"edge\",\"app\":\"a-h\",\"severity\":\"notice\",\"facility\":\"local4\",\
         \"host\":\"h\",\"app_name\":\"a\",\"proc_id\":\"7\",\"msg_id\":\"id\",\
         \"structured_data\":{\"e@1\":{\"x\":[\"]\",\"2\"],\"y\":\"é\"},\"f\":{}},\
         \"body\":\"b\\\"\"}"
    );
    let minimal = "{\"time\":\"2026-11-21T06:04:42.000000000Z\",\
                   \"received\":\"2026-11-21T06:04:42.000000000Z\",\"source\":\"edge\",\
                   \"severity\":\"notice\",\"facility\":\"user\"}";
    assert_eq!(json_of(&self::batch(b"<13>1 - - - - - -"), &HashMap::new()), minimal);
}

#[test]
fn json_joins_elements_with_one_id() {
    let batch = batch(b"<165>1 - h a 7 id [e x=\"1\"][f][e x=\"2\" y=\"3\"] b");
    let expected = "\"structured_data\":{\"e\":{\"x\":[\"1\",\"2\"],\"y\":\"3\"},\"f\":{}}";
    assert!(json_of(&batch, &HashMap::new()).contains(expected));
}

#[test]
fn json_keeps_long_lists_of_elements_and_parameters() {
    let params: String = (0..40).map(|n| format!(" p{n}=\"{n}\"")).collect();
    let data: String = (0..40).map(|n| format!("[e{n}{params}]")).collect();
    let json = json_of(&batch(format!("<1>1 - - - - - {data} m").as_bytes()), &HashMap::new());
    for n in 0..40 {
        assert_eq!(json.matches(&format!("\"e{n}\":{{\"p0\":\"0\",")).count(), 1);
        assert_eq!(json.matches(&format!("\"p{n}\":\"{n}\"")).count(), 40);
    }
}

#[test]
fn json_escapes_text_and_mends_what_is_not_utf8() {
    let body = b"\"\\/\x08\x1f\t\r\n\0\x7f\xc3\xa9\xff\xf0\x9f\xe2\x80\xa8".as_slice();
    let batch = made([b"", b"", b"", b"", b"[a \"]", body]);
    let json = json_of(&batch, &HashMap::new());
    let expected =
        "\"body\":\"\\\"\\\\/\\u0008\\u001f\\t\\r\\n\\u0000\u{7f}é\u{fffd}\u{fffd}\u{2028}\"}";
    assert!(json.ends_with(expected), "{json}");
    assert!(!json.contains("structured_data"));
}

#[test]
fn json_writes_fields_of_every_kind() {
    let mut batch = made([b"", b"", b"", b"", b"", b"x"]);
    let text = batch.append(b"t\"");
    let nested = batch.append(b"{\"a\":\n[1]}");
    let broken = batch.append(b"{\"a\":");
    let words = |bits: u64| [(bits & 0xffff_ffff) as u32, (bits >> 32) as u32];
    let mut rows = Vec::new();
    for (name, kind, value) in [
        (0, 0, [text.offset, text.len]),
        (1, 1, words((-5i64).cast_unsigned())),
        (2, 2, words(1.5f64.to_bits())),
        (3, 3, words(1)),
        (4, 4, [0, 0]),
        (5, 5, [nested.offset, nested.len]),
        (6, 5, [broken.offset, broken.len]),
        (7, 2, words(f64::NAN.to_bits())),
        (8, 2, words(1e300f64.to_bits())),
        (99, 1, words(1)),
        (1, 1, words(u64::MAX >> 1)),
    ] {
        rows.extend_from_slice(&[0, name, kind, value[0], value[1]]);
    }
    batch.add_fields(rows);
    let names = ["t", "i", "f", "b", "n", "j", "k", "nan", "big"];
    let names = (0..).zip(names).collect();
    let fields = "\"fields\":{\"t\":\"t\\\"\",\"f\":1.5,\"b\":true,\"n\":null,\"j\":{\"a\": [1]},\
                  \"k\":\"{\\\"a\\\":\",\"nan\":null,\"big\":1e300,\"i\":9223372036854775807}";
    assert!(json_of(&batch, &names).contains(fields), "{}", json_of(&batch, &names));
}

/// Field bytes as a guest may set them: anything.
fn any_field() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => "[!-~]{1,40}".prop_map(String::into_bytes),
        1 => Just(Vec::new()),
        1 => proptest::collection::vec(any::<u8>(), 0..300),
    ]
}

fn any_data() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        1 => Just(Vec::new()),
        3 => "(\\[[a-c]{1,3}( [a-c]{1,2}=\"([a-z é\n]|\\\\[\\]\"\\\\n]){0,9}\")*\\]){1,30}".prop_map(String::into_bytes),
        2 => "(\\[[a-c=]{1,40}( [a-c\"]{1,40}=\"?[a-z \\]\\\\]{0,9}\"?)*\\]){1,5}".prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 0..60),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_valid_and_reads_back_as_the_same(
        fields in [any_field(), any_field(), any_field(), any_field()],
        data in any_data(),
        body in any_field(),
    ) {
        let [host, app_name, proc_id, msg_id] = &fields;
        let batch = made([host, app_name, proc_id, msg_id, &data, &body]);
        let written = encoded(&batch, rfc5424);
        let ends_open = matches!(written.last(), Some(b'\n' | 0));
        let head = Decoder::new(Format::Rfc5424, Mode::Strict)
            .decode(&written, Span::new(0, written.len()), UnixNanos(0))
            .unwrap();
        let mut again = Batch::new(written.clone(), UnixNanos(0));
        again.push(&head);
        let (one, two) = (batch.record(0).unwrap(), again.record(0).unwrap());
        prop_assert!(two.is_verbatim());
        prop_assert_eq!((one.time(), one.severity(), one.facility()), (two.time(), two.severity(), two.facility()));
        if !ends_open {
            prop_assert_eq!(one.body().escape_ascii().to_string(), two.body().escape_ascii().to_string());
        }
        for (before, after, len_max) in [
            (one.host(), two.host(), 255),
            (one.app_name(), two.app_name(), 48),
            (one.proc_id(), two.proc_id(), 128),
            (one.msg_id(), two.msg_id(), 32),
        ] {
            let is_plain = before.len() <= len_max && before.iter().all(u8::is_ascii_graphic);
            if is_plain && before != b"-" {
                prop_assert_eq!(before, after);
            }
        }
        // Written again, it is the same to the byte.
        again.change_flags(0, flags::EDITED, 0);
        let head_only = encoded(&again, rfc5424);
        if !ends_open {
            prop_assert_eq!(head_only.escape_ascii().to_string(), written.escape_ascii().to_string());
        }
    }

    #[test]
    fn decode_then_encode_is_the_identity_on_valid_frames(
        body in "[ -~é\n]{0,60}[!-~]",
        data in "(\\[[a-c]{2}( [a-c]{1,2}=\"([a-z é]|\\\\[\\]\"\\\\]){0,9}\")*\\])",
        priority in 0u8..192,
        micros in 1u32..1_000_000,
        fields in ["[!-,.-~]{1,40}", "[!-,.-~]{1,40}", "[!-,.-~]{1,40}", "[!-,.-~]{1,30}"],
    ) {
        let fields = fields.join(" ");
        let frame = format!("<{priority}>1 2026-11-21T06:04:41.{micros:06}Z {fields} {data} {body}");
        let mut batch = batch(frame.as_bytes());
        prop_assert!(batch.record(0).unwrap().is_verbatim());
        prop_assert_eq!(&encoded(&batch, rfc5424), frame.as_bytes());
        // From the head alone, too.
        batch.change_flags(0, flags::EDITED, 0);
        prop_assert_eq!(String::from_utf8(encoded(&batch, rfc5424)).unwrap(), frame);
    }

    #[test]
    fn a_stream_of_frames_gives_the_records_back(
        bodies in proptest::collection::vec(any_field(), 1..8),
        is_octet in any::<bool>(),
        is_5424 in any::<bool>(),
    ) {
        let framing = if is_octet { WireFraming::Octet } else { WireFraming::Lf };
        let format = if is_5424 { WireFormat::Rfc5424 } else { WireFormat::Rfc3164 };
        let mut stream = Vec::new();
        for body in &bodies {
            let batch = made([b"h", b"a", b"1", b"", b"", body]);
            framed(format, framing, &batch.record(0).unwrap(), &mut stream);
        }
        let mut framer = Framer::new(Framing::Auto, 65_536, Oversize::Reject);
        let mut frames: Vec<Frame> = Vec::new();
        prop_assert_eq!(framer.cut(&stream, 0, &mut frames, usize::MAX), Ok(stream.len()));
        prop_assert_eq!(frames.len(), bodies.len());
        for (frame, body) in frames.iter().zip(&bodies) {
            let decoder = Decoder::new(Format::Auto, Mode::BestEffort);
            let head = decoder.decode(&stream, frame.span, RECEIVED).unwrap();
            prop_assert_eq!(head.host.of(&stream), b"h");
            if !body.iter().any(|byte| matches!(byte, b'\n' | b'\r' | 0)) && is_5424 {
                prop_assert_eq!(head.body.of(&stream), body.as_slice());
            }
        }
    }

    #[test]
    fn json_is_json_whatever_the_record_holds(
        fields in [any_field(), any_field(), any_field(), any_field()],
        data in any_data(),
        body in any_field(),
    ) {
        let [host, app_name, proc_id, msg_id] = &fields;
        json_of(&made([host, app_name, proc_id, msg_id, &data, &body]), &HashMap::new());
    }
}
