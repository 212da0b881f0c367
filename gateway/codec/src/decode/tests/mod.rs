//! Decoding: vectors of the RFCs and of go-syslog, what real senders write, and the inputs that
//! broke other receivers (F6 to F9).

use logboom_record::Span;

use super::*;

/// 2026-11-21T06:04:42Z.
const RECEIVED: UnixNanos = UnixNanos(1_795_241_082_000_000_000);

/// What a frame turned into, readable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    priority: u8,
    /// RFC 3339 with nanoseconds; empty if the receive time stands in.
    time: String,
    host: String,
    app: String,
    pid: String,
    msg: String,
    data: String,
    body: String,
    flags: u16,
}

fn decode_as(decoder: Decoder, frame: &[u8]) -> Result<Seen, DecodeError> {
    // Other bytes around the frame must not matter.
    let arena = [b"<9>1 ", frame, b"\"]> x"].concat();
    let span = Span::new(5, 5 + frame.len());
    let head = decoder.decode(&arena, span, RECEIVED)?;
    assert_spans_within(&head, span);
    let text = |span: Span| span.of(&arena).escape_ascii().to_string();
    let mut time = Vec::new();
    if head.flags & flags::TIME_ASSUMED == 0 {
        crate::encode::rfc3339(UnixNanos(head.time), 9, &mut time);
    } else {
        assert_eq!(head.time, RECEIVED.0);
    }
    Ok(Seen {
        priority: head.facility * 8 + head.severity,
        time: String::from_utf8(time).unwrap(),
        host: text(head.host),
        app: text(head.app_name),
        pid: text(head.proc_id),
        msg: text(head.msg_id),
        data: text(head.structured_data),
        body: text(head.body),
        flags: head.flags,
    })
}

fn assert_spans_within(head: &Head, frame: Span) {
    let end = frame.offset + frame.len;
    for span in [
        head.raw,
        head.body,
        head.host,
        head.app_name,
        head.proc_id,
        head.msg_id,
        head.structured_data,
    ] {
        let is_within = span.offset >= frame.offset && span.offset + span.len <= end;
        assert!(span == Span::NONE || (is_within && span.len > 0), "{span:?} of {frame:?}");
    }
    assert_eq!((head.app, head.app_hash), (Span::NONE, 0));
}

fn best(frame: &[u8]) -> Seen {
    decode_as(Decoder::new(Format::Auto, Mode::BestEffort), frame).unwrap()
}

fn strict(frame: &[u8]) -> Result<Seen, DecodeError> {
    decode_as(Decoder::new(Format::Auto, Mode::Strict), frame)
}

const OK: u16 = flags::RFC5424 | flags::VERBATIM;
const BROKEN: u16 = flags::RFC5424 | flags::MALFORMED;
const NO_TIME: u16 = flags::TIME_ASSUMED;
const BSD: u16 = flags::RFC3164 | flags::ZONE_ASSUMED;

/// Fields as `host app pid msg data body`, `-` for absent ones, `|` between them.
fn check(frame: &[u8], priority: u8, time: &str, fields: &str, flags: u16) {
    let seen = best(frame);
    let nil = |field: &str| if field.is_empty() { "-".to_owned() } else { field.to_owned() };
    let all = [&seen.host, &seen.app, &seen.pid, &seen.msg, &seen.data, &seen.body];
    let got = all.map(|field| nil(field)).join("|");
    let shown = frame.escape_ascii();
    assert_eq!((seen.priority, seen.time.as_str()), (priority, time), "{shown}");
    assert_eq!((got.as_str(), seen.flags), (fields, flags), "{shown}");
}

/// The fault a strict decoder finds.
fn check_strict(frame: &[u8], offset: usize, expected: Expected) {
    let error = strict(frame).unwrap_err();
    let found = frame.get(offset).copied();
    assert_eq!(error, DecodeError { offset, found, expected }, "{}", frame.escape_ascii());
}

#[test]
fn valid_rfc5424_is_read_whole_and_may_leave_as_it_came() {
    check(b"<1>1 - - - - - -", 1, "", "-|-|-|-|-|-", OK | NO_TIME);
    check(b"<0>1 - - - - - -", 0, "", "-|-|-|-|-|-", OK | NO_TIME);
    check(b"<191>1 - - - - - - ", 191, "", "-|-|-|-|-|-", OK | NO_TIME);
    check(b"<1>1 - - - - - -  A", 1, "", "-|-|-|-|-| A", OK | NO_TIME);
    check(b"<1>1 - A B C D -", 1, "", "A|B|C|D|-|-", OK | NO_TIME);
    check(b"<1>1 - -- --- - - -", 1, "", "--|---|-|-|-|-", OK | NO_TIME);
    check(
        b"<165>1 2018-10-11T22:14:15.003Z mymach.it e - 1 [ex@32473 iut=\"3\"] An app event...",
        165,
        "2018-10-11T22:14:15.003000000Z",
        "mymach.it|e|-|1|[ex@32473 iut=\\\"3\\\"]|An app event...",
        OK,
    );
    check(
        b"<29>1 2016-02-21T04:32:57+00:00 web1 someservice 2341 2 [origin][meta sequence=\"14\"] x",
        29,
        "2016-02-21T04:32:57.000000000Z",
        "web1|someservice|2341|2|[origin][meta sequence=\\\"14\\\"]|x",
        OK,
    );
    check(b"<1>1 - - - - - - a\nb\r\nc\tx", 1, "", "-|-|-|-|-|a\\nb\\r\\nc\\tx", OK | NO_TIME);
    check(b"<1>1 - - - - - - \xff\xfe", 1, "", "-|-|-|-|-|\\xff\\xfe", OK | NO_TIME);
    check(b"<1>3 - - - - - - A<1>4 - -", 1, "", "-|-|-|-|-|A<1>4 - -", flags::RFC5424 | NO_TIME);
}

#[test]
fn one_line_end_or_nul_at_the_end_is_not_part_of_the_record() {
    for end in ["\n", "\r\n", "\0", "\n\0", "\r\n\0"] {
        let frame = format!("<1>1 - h - - - -{end}");
        check(frame.as_bytes(), 1, "", "h|-|-|-|-|-", OK | NO_TIME);
    }
    for end in ["\n", "\r\n", "\n\0"] {
        let frame = format!("<1>1 - h - - - - a\n{end}");
        check(frame.as_bytes(), 1, "", "h|-|-|-|-|a\\n", OK | NO_TIME);
    }
    check(b"<1>1 - h - - - - a\r", 1, "", "h|-|-|-|-|a\\r", OK | NO_TIME);
}

#[test]
fn the_byte_order_mark_stays_in_the_frame_and_out_of_the_body() {
    check("<1>1 - - - - - - \u{feff}é".as_bytes(), 1, "", "-|-|-|-|-|\\xc3\\xa9", OK | NO_TIME);
    check("<1>1 - - - - - - \u{feff}".as_bytes(), 1, "", "-|-|-|-|-|-", OK | NO_TIME);
}

#[test]
fn structured_data_is_read_with_escapes_and_any_text() {
    let check = |data: &str| {
        let frame = format!("<1>1 - - - - - {data} m");
        let shown = data.as_bytes().escape_ascii();
        check(frame.as_bytes(), 1, "", &format!("-|-|-|-|{shown}|m"), OK | NO_TIME);
    };
    check(r#"[a b="\"\]\\"]"#);
    check(r#"[a b=""]"#);
    check(r#"[a]"#);
    check(r#"[a][b][c d="e"]"#);
    check(r#"[a b="c" b="d"]"#);
    check("[a b=\"line\nfeed = é [x\"]");
    check(&format!("[{} {}=\"x\"]", "i".repeat(32), "n".repeat(32)));
    check("[a][b][c][d][e][f][g][h]");
}

#[test]
fn more_elements_than_are_compared_are_still_read() {
    let data: String = (0..40).map(|n| format!("[id{n} a=\"{n}\"]")).collect();
    let seen = best(format!("<1>1 - - - - - {data} m").as_bytes());
    assert_eq!((seen.flags, seen.body.as_str()), (OK | NO_TIME, "m"));
    assert_eq!(seen.data.len(), data.as_bytes().escape_ascii().count());
}

#[test]
fn a_second_element_behind_a_space_is_body() {
    let fields = r#"-|-|-|-|[a b=\"c\"]|[d e=\"f\"] m"#;
    check(br#"<1>1 - - - - - [a b="c"] [d e="f"] m"#, 1, "", fields, OK | NO_TIME);
}

#[test]
fn a_bare_backslash_stands_for_itself() {
    let frame = br#"<1>1 - - - - - [a b="C:\new\\x" c="d"] m"#;
    let fields = r#"-|-|-|-|[a b=\"C:\\new\\\\x\" c=\"d\"]|m"#;
    // Valid to read, not to send: it leaves with an escape.
    check(frame, 1, "", fields, flags::RFC5424 | NO_TIME);
    assert!(strict(frame).is_ok());
    let value = structured_data(br#"[a b="C:\new\\x"]"#).next().unwrap();
    assert_eq!(&*value.params().next().unwrap().value(), br"C:\new\x");
}

#[test]
fn what_breaks_structured_data_is_kept() {
    let check = |frame: &str, data: &str, body: &str| {
        let fields = format!("-|-|-|-|{data}|{body}").replace('"', "\\\"");
        check(frame.as_bytes(), 1, "", &fields, BROKEN | NO_TIME);
    };
    let haproxy = r#"[http@32473 m="GET" st=200]"#;
    check(&format!("<1>1 - - - - - {haproxy} m"), haproxy, "m");
    check(r#"<1>1 - - - - - [a b= c="d"] m"#, r#"[a b= c="d"]"#, "m");
    check(r#"<1>1 - - - - - [a b="]"] m"#, r#"[a b="]"]"#, "m");
    check(r#"<1>1 - - - - - [a  b="c" ] m"#, r#"[a  b="c" ]"#, "m");
    check(r#"<1>1 - - - - - [a b="c"][a d="e"] m"#, r#"[a b="c"][a d="e"]"#, "m");
    check(r#"<1>1 - - - - - [a b="c"]m"#, r#"[a b="c"]"#, "m");
    check("<1>1 - - - - - -A", "-", "-A");
    check("<1>1 - - - - - [] m", "-", "[] m");
    check("<1>1 - - - - - [ a] m", "-", "[ a] m");
    check("<1>1 - - - - - [a=b] m", "-", "[a=b] m");
    check("<1>1 - - - - - [a b] m", "-", "[a b] m");
    check(r#"<1>1 - - - - - [a b="c"#, "-", r#"[a b="c"#);
    check(r#"<1>1 - - - - - [a b="c"x] m"#, "-", r#"[a b="c"x] m"#);
    check(r#"<1>1 - - - - - [a][b c m"#, "[a]", "[b c m");
    check("<1>1 - - - - - m", "-", "m");
    check("<1>1 - - - - - ", "-", "-");
    let long = format!("[{}]", "i".repeat(33));
    check(&format!("<1>1 - - - - - {long} m"), &long, "m");
    let long = format!("[a {}=\"\"]", "n".repeat(33));
    check(&format!("<1>1 - - - - - {long} m"), &long, "m");
    let seen = best(b"<1>1 - - - - - [a b=\"\xff\"] m");
    assert_eq!((seen.data.as_str(), seen.flags), ("[a b=\\\"\\xff\\\"]", BROKEN | NO_TIME));
}

#[test]
fn a_header_that_breaks_off_keeps_what_came() {
    let time = "2018-10-11T22:14:15.000000000Z";
    let check = |rest: &str, fields: &str| {
        let frame = format!("<34>1 2018-10-11T22:14:15Z {rest}");
        check(frame.as_bytes(), 34, time, fields, BROKEN);
    };
    check("h", "h|-|-|-|-|-");
    check("h a", "h|a|-|-|-|-");
    check("h a p m", "h|a|p|m|-|-");
    check("h a p", "h|a|p|-|-|-");
    check("", "-|-|-|-|-|-");
    check("h  p m -", "h|-|-|-|-| p m -");
    check("h a\tb p m - x", "h|-|-|-|-|a\\tb p m - x");
    check("é a p m - x", "-|-|-|-|-|\\xc3\\xa9 a p m - x");
    check("h a\np m - x", "h|-|-|-|-|a\\np m - x");
    for (place, limit) in [HOST_BYTES_MAX, 48, 128, 32].into_iter().enumerate() {
        let mut fields = ["-".to_owned(), "-".into(), "-".into(), "-".into()];
        fields[place] = "x".repeat(limit + 1);
        check(&format!("{} - m", fields.join(" ")), &format!("{}|-|m", fields.join("|")));
        fields[place].pop();
        let frame = format!("<1>1 - {} - m", fields.join(" "));
        assert_eq!(best(frame.as_bytes()).flags, OK | NO_TIME);
    }
}

#[test]
fn strict_tells_the_first_fault() {
    use Expected as E;
    for (frame, offset, expected) in [
        (b"".as_slice(), 0, E::Priority),
        (b"<00>1 - - - - - -", 1, E::Priority),
        (b"<192>1 - - - - - -", 1, E::Priority),
        (b"<1>1 - - - - -", 14, E::MsgId),
        (b"<1>1 - - - - - ", 15, E::StructuredData),
        (b"<1>1 - - - - - -A", 16, E::StructuredData),
        (b"<1>1 A B C D E -", 5, E::Timestamp),
        (b"<34>1 2003-08-24T05:14:15.000000003-07:00 h a - - - m", 32, E::Fraction),
        (b"<34>1 2003-02-29T05:14:15Z h a - - - m", 6, E::Timestamp),
        (b"<165>1 2018-10-01:14:15.000Z h a - - - m", 7, E::Timestamp),
        (b"<34>1 2003-08-24t05:14:15Z h a - - - m", 16, E::Timestamp),
        (br#"<1>1 - - - - - [a b="]"] m"#, 21, E::ParamValue),
        (br#"<1>1 - - - - - [a b="c"][a d="e"] m"#, 25, E::UniqueSdId),
        (br#"<1>1 - - - - - [a b="c"]m"#, 24, E::Message),
        (br"<1>1 - - - - - [a b=c] m", 20, E::ParamValue),
        (b"<1>1 - - - - - [a b=\"\xff\"]", 15, E::Utf8),
        ("<1>1 - é - - - -".as_bytes(), 7, E::Hostname),
        (b"<13>no time", 4, E::Timestamp),
        (b"<13>Dec 12 16:31:03 host", 20, E::Hostname),
        (b"<13>Feb 30 16:31:03 host m", 4, E::Timestamp),
    ] {
        check_strict(frame, offset, expected);
    }
    assert_eq!(
        strict(b"<1>1 - h\tx").unwrap_err().to_string(),
        "found `\\t` at byte 8 of the frame, allowed: a host name of 1 to 255 printable ascii \
         bytes or `-`"
    );
    let forced = Decoder::new(Format::Rfc5424, Mode::Strict);
    for (frame, offset) in [(b"<1>0 - - - - - -".as_slice(), 4), (b"<1>1000 - -", 6), (b"<1>2", 4)]
    {
        let error = decode_as(forced, frame).unwrap_err();
        assert_eq!((error.offset, error.expected), (offset, E::Version));
    }
}

#[test]
fn the_format_can_be_fixed() {
    let frame = b"<13>1 - h a p m - x";
    let seen = decode_as(Decoder::new(Format::Rfc3164, Mode::BestEffort), frame).unwrap();
    assert_eq!((seen.body.as_str(), seen.flags), ("1 - h a p m - x", flags::RFC3164 | NO_TIME));
    let seen = decode_as(Decoder::new(Format::Rfc5424, Mode::BestEffort), b"<13>text").unwrap();
    assert_eq!((seen.body.as_str(), seen.flags), ("text", BROKEN | NO_TIME));
}

#[test]
fn f6_a_frame_cut_anywhere_is_read_from_its_own_bytes_only() {
    for whole in [
        b"<189>65536: ".as_slice(),
        b"<189>45: *Mar  1 18:46:11.123 UTC: %SYS-5-CONFIG_I: x",
        b"<13>Aug 20 14:30:51 host tag[1]: m",
        br#"<13>1 2003-08-24T05:14:15.000003-07:00 h a p m [id k="v\]" l="w"][j] body"#,
    ] {
        for len in 0..=whole.len() {
            // `decode_as` puts other bytes behind the frame than these.
            let alone = best(&whole[..len]);
            let span = Span::new(0, len);
            let decoder = Decoder::default();
            let head = decoder.decode(&whole[..len], span, RECEIVED).unwrap();
            assert_eq!(head.body.of(whole).escape_ascii().to_string(), alone.body);
            assert_eq!(head.flags, alone.flags, "{}", whole[..len].escape_ascii());
        }
    }
    check(b"<189>65536: ", 189, "", "-|65536|-|-|-|-", flags::RFC3164 | NO_TIME);
}

#[test]
fn f7_a_priority_is_0_to_191_or_the_frame_is_text() {
    let assumed = flags::PRIORITY_ASSUMED | flags::TIME_ASSUMED | flags::MALFORMED;
    for frame in [
        b"<44444444444444444444<4\xbe\xbe".as_slice(),
        b"<>x",
        b"<192>1 - - - - - -",
        b"<-1>x",
        b"<013>x",
        b"<00>x",
        b"<0",
        b"<13",
        b"<1000>x",
        b"plain text",
        b" <13>x",
        b"",
    ] {
        let shown = frame.escape_ascii().to_string();
        let body = if shown.is_empty() { "-" } else { &shown };
        check(frame, 13, "", &format!("-|-|-|-|-|{body}"), assumed);
    }
}

#[test]
fn f8_a_time_that_does_not_exist_is_never_another_time() {
    for time in [
        "2025-11-31T14:99:16+01:00",
        "2025-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "2025-00-10T00:00:00Z",
        "2025-13-10T00:00:00Z",
        "2025-10-00T00:00:00Z",
        "2025-10-10T24:00:00Z",
        "2025-10-10T00:60:00Z",
        "2025-10-10T00:00:61Z",
        "2025-10-10T12:00:60Z",
        "2025-10-10T00:00:00+24:00",
        "2025-10-10T00:00:00-00:60",
        "2025-10-10T00:00:00+0100",
        "+10000-01-01T00:00:00Z",
        "2025-10-1",
        "2018-10-01:14:15.000Z",
        "2025-10-10T00:00:00.Z",
    ] {
        let frame = format!("<34>1 {time} h a p m - x");
        check(frame.as_bytes(), 34, "", "h|a|p|m|-|x", BROKEN | NO_TIME);
    }
    // Valid, but not to be held in 64 bits of nanoseconds.
    for year in ["0000", "1600", "9999"] {
        let frame = format!("<34>1 {year}-01-01T00:00:00Z h a p m - x");
        check(frame.as_bytes(), 34, "", "h|a|p|m|-|x", OK | NO_TIME);
    }
}

#[test]
fn times_are_read_to_the_nanosecond() {
    let check = |time: &str, read: &str, flags: u16| {
        let frame = format!("<34>1 {time} h a p m - x");
        check(frame.as_bytes(), 34, read, "h|a|p|m|-|x", flags);
    };
    check("2024-02-29T23:59:59Z", "2024-02-29T23:59:59.000000000Z", OK);
    check("2003-08-24T05:14:15.000003-07:00", "2003-08-24T12:14:15.000003000Z", OK);
    check("2026-01-01T00:30:00.5+01:00", "2025-12-31T23:30:00.500000000Z", OK);
    check("2026-01-01T00:30:00.25-00:00", "2026-01-01T00:30:00.250000000Z", OK);
    check("1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999000Z", OK);
    check("2026-01-01T00:00:00.1234567Z", "2026-01-01T00:00:00.123456700Z", BROKEN);
    check("2026-01-01T00:00:00.123456789Z", "2026-01-01T00:00:00.123456789Z", BROKEN);
    let thirty = format!("2026-01-01T00:00:00.{}Z", "9".repeat(30));
    check(&thirty, "2026-01-01T00:00:00.999999999Z", BROKEN);
    check("2026-01-01t00:00:00Z", "2026-01-01T00:00:00.000000000Z", BROKEN);
    check("2026-01-01T00:00:00z", "2026-01-01T00:00:00.000000000Z", BROKEN);
    let local = BROKEN | flags::ZONE_ASSUMED;
    check("2026-01-01T00:00:00", "2026-01-01T00:00:00.000000000Z", local);
    // A leap second ends its UTC day, wherever the clock stands.
    check("2016-12-31T23:59:60Z", "2016-12-31T23:59:59.999999999Z", flags::RFC5424);
    check("2017-01-01T08:59:60.5+09:00", "2016-12-31T23:59:59.999999999Z", flags::RFC5424);
    assert!(strict(b"<34>1 2016-12-31T23:59:60Z h a p m - x").is_ok());
}

#[test]
fn f9_sixteen_mebibytes_of_one_byte_are_a_body() {
    let frame = vec![0x80; 16 << 20];
    let head = Decoder::default().decode(&frame, Span::new(0, frame.len()), RECEIVED).unwrap();
    assert_eq!(head.body, Span::new(0, frame.len()));
    let hostile = ["<1>1 - - - - - ", &"[a]".repeat(1 << 20), &"[b c=\"".repeat(1 << 18)].concat();
    let span = Span::new(0, hostile.len());
    let head = Decoder::default().decode(hostile.as_bytes(), span, RECEIVED).unwrap();
    assert_eq!(head.structured_data.len, 3 << 20);
}

#[test]
fn rfc3164_and_its_dialects_are_read() {
    let at = "2026-11-21T06:04:41.000000000Z";
    let here = |frame: &str, fields: &str| check(frame.as_bytes(), 13, at, fields, BSD);
    here("<13>Nov 21 06:04:41 vm su: 'su root' failed", "vm|su|-|-|-|\\'su root\\' failed");
    here("<13>Nov 21 06:04:41 vm sudo[6040]: ec2", "vm|sudo|6040|-|-|ec2");
    here("<13>Nov 21 06:04:41 vm sudo[6040] ec2", "vm|sudo|6040|-|-|ec2");
    here("<13>Nov 21 06:04:41 vm app[1]:Test", "vm|app|1|-|-|Test");
    here("<13>Nov 21 06:04:41 vm app[]: Test", "vm|app|-|-|-|Test");
    here("<13>Nov 21 06:04:41 vm app:Test", "vm|-|-|-|-|app:Test");
    here("<13>Nov 21 06:04:41 vm app:", "vm|app|-|-|-|-");
    here("<13>Nov 21 06:04:41 vm (sd-pam)[7]: x", "vm|(sd-pam)|7|-|-|x");
    here("<13>Nov 21 06:04:41 vm postfix/smtpd[7]:  x", "vm|postfix/smtpd|7|-|-| x");
    here("<13>Nov 21 06:04:41 vm kernel: [ 12.3] x", "vm|kernel|-|-|-|[ 12.3] x");
    here("<13>Nov 21 06:04:41 10.0.0.99 Use the BFG!", "10.0.0.99|-|-|-|-|Use the BFG!");
    here("<13>Nov 21 06:04:41 fe80::1%eth0 a: x", "fe80::1%eth0|a|-|-|-|x");
    here("<13>Nov 21 06:04:41 - -: x", "-|-|-|-|-|x");
    here("<13>Nov 21 06:04:41 vm {\"a\": 1}", "vm|-|-|-|-|{\\\"a\\\": 1}");
    here("<13>Nov 21 06:04:41 vm k=v: 1", "vm|-|-|-|-|k=v: 1");
    here("<13>Nov 21 06:04:41 vm a\tb\nc\u{7f}", "vm|-|-|-|-|a\\tb\\nc\\x7f");
    // No host.
    here("<13>Nov 21 06:04:41 unix: devlog", "-|unix|-|-|-|devlog");
    here("<13>Nov 21 06:04:41 cron[12]: x", "-|cron|12|-|-|x");
    here("<13>Nov 21 06:04:41 {\"a\": 1} x", "-|-|-|-|-|{\\\"a\\\": 1} x");
    here("<13>Nov 21 06:04:41 host", "-|-|-|-|-|host");
    here("<13>Nov 21 06:04:41", "-|-|-|-|-|-");
    // The year, in either place.
    here("<13>Nov 21 2026 06:04:41 vm a: x", "vm|a|-|-|-|x");
    here("<13>Nov 21 06:04:41 2026 vm a: x", "vm|a|-|-|-|x");
    here("<13>Nov 21 2026 06:04:41: %ASA-6-302013: Built", "-|%ASA-6-302013|-|-|-|Built");
    // Network devices.
    here("<13>45: *Nov 21 06:04:41: %SYS-5-CONFIG_I: x", "-|%SYS-5-CONFIG_I|-|-|-|x");
    here("<13>45: rt1: .Nov 21 06:04:41: %SYS-5-X: x", "rt1|%SYS-5-X|-|-|-|x");
    here("<13>*Nov 21 06:04:41 CET: %SYS-5-X: x", "-|%SYS-5-X|-|-|-|x");
    let utc = |frame: &[u8]| check(frame, 13, at, "-|%S-5-X|-|-|-|x", flags::RFC3164);
    utc(b"<13>000045: *Nov 21 06:04:41 UTC: %S-5-X: x");
    let long = "t".repeat(129);
    here(&format!("<13>Nov 21 06:04:41 vm {long}: x"), &format!("vm|-|-|-|-|{long}: x"));
}

#[test]
fn rfc3164_times_come_in_several_shapes() {
    let check = |time: &str, read: &str, flags: u16| {
        let frame = format!("<13>{time} vm a: x");
        check(frame.as_bytes(), 13, read, "vm|a|-|-|-|x", flags);
    };
    for time in ["Nov  2 06:04:41", "Nov 2 06:04:41", "Nov 02 06:04:41"] {
        check(time, "2026-11-02T06:04:41.000000000Z", BSD);
    }
    check("Nov 21 06:04:41.123456", "2026-11-21T06:04:41.123456000Z", BSD);
    check("2026-11-21T06:04:41.5+01:00", "2026-11-21T05:04:41.500000000Z", flags::RFC3164);
    check("2026-11-21T06:04:41Z", "2026-11-21T06:04:41.000000000Z", flags::RFC3164);
    check("2026-11-21T06:04:41", "2026-11-21T06:04:41.000000000Z", BSD);
    // None: the receive time.
    let broken = BSD | flags::MALFORMED | NO_TIME;
    for time in ["Feb 30 06:04:41", "Nov 31 06:04:41", "Nov 21 24:04:41", "Nov 21 06:60:41"] {
        check(time, "", broken);
    }
    check("Feb 29 2025 06:04:41", "", broken);
    check("2026-02-29T06:04:41Z", "", flags::RFC3164 | flags::MALFORMED | NO_TIME);
}

#[test]
fn without_a_time_there_may_be_a_tag_and_the_rest_is_body() {
    let none = flags::RFC3164 | NO_TIME;
    check("<171>py x\ny é".as_bytes(), 171, "", "-|-|-|-|-|py x\\ny \\xc3\\xa9", none);
    check(b"<13>su: failed", 13, "", "-|su|-|-|-|failed", none);
    check(b"<13>su[9]: failed", 13, "", "-|su|9|-|-|failed", none);
    check(b"<13>Nov 21 06:04 vm a: x", 13, "", "-|-|-|-|-|Nov 21 06:04 vm a: x", none);
    check(b"<13>", 13, "", "-|-|-|-|-|-", none);
    check(b"<1>1000 - - - - - -", 1, "", "-|-|-|-|-|1000 - - - - - -", none);
    check(b"<1>2", 1, "", "-|-|-|-|-|2", none);
    check(b"<1>1 A B C D E -", 1, "", "-|-|-|-|-|A B C D E -", BROKEN | NO_TIME);
}

#[test]
fn a_year_is_the_one_nearest_to_the_receive_time() {
    let frame = |time: &str| format!("<13>{time} vm a: x");
    let at = |received: &str, time: &str| {
        let stamp = timestamp::rfc3339(received.as_bytes(), 0, 0).unwrap();
        let timestamp::Moment::At(received) = stamp.moment else { panic!("{received}") };
        let frame = frame(time);
        let span = Span::new(0, frame.len());
        let decoder = Decoder::default();
        let head = decoder.decode(frame.as_bytes(), span, UnixNanos(received)).unwrap();
        let mut text = Vec::new();
        crate::encode::rfc3339(UnixNanos(head.time), 0, &mut text);
        let is_assumed = head.flags & NO_TIME != 0;
        if is_assumed { "assumed".to_owned() } else { String::from_utf8(text).unwrap() }
    };
    assert_eq!(at("2026-01-01T00:00:05Z", "Dec 31 23:59:59"), "2025-12-31T23:59:59Z");
    assert_eq!(at("2025-12-31T23:59:59Z", "Jan  1 00:00:01"), "2026-01-01T00:00:01Z");
    assert_eq!(at("2026-06-30T00:00:00Z", "Jan  1 00:00:01"), "2026-01-01T00:00:01Z");
    assert_eq!(at("2026-11-21T00:00:00Z", "Apr  1 00:00:00"), "2027-04-01T00:00:00Z");
    assert_eq!(at("2024-03-01T00:00:00Z", "Feb 29 12:00:00"), "2024-02-29T12:00:00Z");
    assert_eq!(at("2025-01-05T00:00:00Z", "Feb 29 12:00:00"), "2024-02-29T12:00:00Z");
    assert_eq!(at("2026-03-01T00:00:00Z", "Feb 29 12:00:00"), "assumed");
    assert_eq!(at("1970-01-01T00:00:00Z", "Dec 31 23:59:59"), "1969-12-31T23:59:59Z");
}

#[test]
fn a_zone_can_be_given_for_times_that_have_none() {
    let decoder = Decoder { zone_offset_seconds: 3600, ..Decoder::default() };
    let seen = decode_as(decoder, b"<13>Nov 21 07:04:41 vm a: x").unwrap();
    assert_eq!(seen.time, "2026-11-21T06:04:41.000000000Z");
    assert_eq!(seen.flags, BSD);
    let seen = decode_as(decoder, b"<13>2026-11-21T07:04:41Z vm a: x").unwrap();
    assert_eq!(seen.time, "2026-11-21T07:04:41.000000000Z");
}

mod property;
mod wire;
