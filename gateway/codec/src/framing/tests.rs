//! Framing: what streams give, however they are cut. F1 to F9 are inputs that broke other
//! receivers.

use proptest::prelude::*;

use super::*;

/// A frame's bytes, and whether it was cut or broken off.
type Cut = (Vec<u8>, bool, bool);

/// Everything one session gave.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Session {
    frames: Vec<Cut>,
    rejected: u64,
    fault: Option<(CountFault, u8)>,
    /// Most bytes that were not consumed between two reads.
    held_max: usize,
}

/// Runs a session whose reads end at `cuts`, holding what is not consumed as a caller does.
fn run(framer: &mut Framer, stream: &[u8], cuts: &[usize], frames_max: usize) -> Session {
    let mut session = Session { frames: Vec::new(), rejected: 0, fault: None, held_max: 0 };
    let mut buffer = Vec::new();
    let mut last = 0;
    for cut in cuts.iter().copied().chain([stream.len()]) {
        let cut = cut.clamp(last, stream.len());
        buffer.extend_from_slice(&stream[last..cut]);
        last = cut;
        loop {
            let mut frames = Vec::new();
            let result = framer.cut(&buffer, 0, &mut frames, frames_max);
            take(&mut session, &buffer, &frames);
            match result {
                Ok(consumed) => buffer.drain(..consumed),
                Err(error) => {
                    session.fault = Some((error.fault, error.found));
                    assert_eq!(buffer[error.offset], error.found);
                    return session;
                }
            };
            if frames.len() < frames_max {
                break;
            }
        }
        session.held_max = session.held_max.max(buffer.len());
    }
    let mut frames = Vec::new();
    assert_eq!(framer.finish(&buffer, 0, &mut frames), Ok(buffer.len()));
    take(&mut session, &buffer, &frames);
    session.rejected = framer.rejected();
    session
}

fn take(session: &mut Session, buffer: &[u8], frames: &[Frame]) {
    let cut = |f: &Frame| (f.span.of(buffer).to_vec(), f.truncated, f.incomplete);
    session.frames.extend(frames.iter().map(cut));
}

fn session(framing: Framing, stream: &[u8]) -> Session {
    run(&mut Framer::new(framing, 100, Oversize::Truncate), stream, &[], usize::MAX)
}

/// Whole frames only, no fault.
fn check(framing: Framing, stream: &[u8], expected: &[&[u8]]) {
    let got = session(framing, stream);
    let expected: Vec<Cut> = expected.iter().map(|f| (f.to_vec(), false, false)).collect();
    let shown = stream.escape_ascii();
    assert_eq!((got.frames, got.fault), (expected, None), "{framing:?} {shown}");
}

fn check_fault(framing: Framing, stream: &[u8], before: &[&[u8]], fault: CountFault, found: u8) {
    let got = session(framing, stream);
    let frames: Vec<&[u8]> = got.frames.iter().map(|f| f.0.as_slice()).collect();
    let shown = stream.escape_ascii();
    assert_eq!((frames.as_slice(), got.fault), (before, Some((fault, found))), "{shown}");
}

#[test]
fn counted_frames_hold_exactly_their_octets() {
    let check = |stream: &[u8], expected: &[&[u8]]| check(Framing::Octet, stream, expected);
    check(b"", &[]);
    check(b"16 <1>1 - - - - - -", &[b"<1>1 - - - - - -"]);
    check(
        b"16 <1>1 - - - - - -17 <2>12 A B C D E -16 <1>1 - - - - - -",
        &[b"<1>1 - - - - - -", b"<2>12 A B C D E -", b"<1>1 - - - - - -"],
    );
    check("23 <1>1 - - - - - - hellø".as_bytes(), &["<1>1 - - - - - - hellø".as_bytes()]);
    check(b"5 a\nb\0c1 d", &[b"a\nb\0c", b"d"]);
    // A count that includes the line end (rsyslog, syslog-ng): the decoder takes it off.
    check(b"5 <1>a\n5 <1>b\n", &[b"<1>a\n", b"<1>b\n"]);
    // Blank frames are none.
    check(b"1 \n2 \r\n1 \x001 x", &[b"x"]);
}

#[test]
fn line_feeds_between_counted_frames_are_skipped() {
    check(Framing::Octet, b"3 abc\n3 def\n\n3 ghi\n", &[b"abc", b"def", b"ghi"]);
    check_fault(Framing::Octet, b"3 abc\r\n3 def", &[b"abc"], CountFault::Start, b'\r');
    check_fault(Framing::Octet, b"3 abc 3 def", &[b"abc"], CountFault::Start, b' ');
}

#[test]
fn a_count_in_a_write_of_its_own_waits_for_its_message() {
    // syslog-ng's syslog() driver.
    let stream = b"3 abc115 ";
    let mut framer = Framer::new(Framing::Auto, 200, Oversize::Truncate);
    let mut frames = Vec::new();
    assert_eq!(framer.cut(stream, 0, &mut frames, usize::MAX), Ok(5));
    let rest = [b"115 ".as_slice(), &[b'x'; 115]].concat();
    assert_eq!(framer.cut(&rest, 0, &mut frames, usize::MAX), Ok(119));
    assert_eq!(frames[1].span, Span::new(4, 119));
}

#[test]
fn frames_lie_where_they_are_in_the_arena() {
    let mut framer = Framer::new(Framing::Lf, 100, Oversize::Truncate);
    let mut frames = Vec::new();
    assert_eq!(framer.cut(b"old<1>a\n<1>b\n<1>", 3, &mut frames, usize::MAX), Ok(13));
    let spans: Vec<Span> = frames.iter().map(|frame| frame.span).collect();
    assert_eq!(spans, [Span::new(3, 7), Span::new(8, 12)]);
}

#[test]
fn cutting_stops_when_the_list_is_full() {
    for (framing, stream) in [
        (Framing::Octet, b"1 a1 b1 c1 d".as_slice()),
        (Framing::Lf, b"a\nb\nc\nd\n"),
        (Framing::Nul, b"a\0b\0c\0d\0"),
    ] {
        let mut framer = Framer::new(framing, 100, Oversize::Truncate);
        let mut frames = Vec::new();
        let consumed = framer.cut(stream, 0, &mut frames, 3).unwrap();
        assert_eq!((frames.len(), consumed), (3, stream.len() / 4 * 3));
        assert_eq!(framer.cut(stream, consumed, &mut frames, 3), Ok(consumed));
        assert_eq!(framer.cut(stream, consumed, &mut frames, 4), Ok(stream.len()));
        assert_eq!(frames.len(), 4);
    }
}

#[test]
fn marked_frames_end_at_their_mark_only() {
    check(Framing::Lf, b"<1>a\n<2>b\r\n\n\r\n<3>c", &[b"<1>a", b"<2>b", b"<3>c"]);
    check(Framing::Lf, b"<1>a\0b\n<3>c\r", &[b"<1>a\0b", b"<3>c"]);
    check(Framing::Nul, b"<1>a\nb\0\0<2>c\r\0<3>d", &[b"<1>a\nb", b"<2>c\r", b"<3>d"]);
    check(Framing::Lf, b"3 abc\n", &[b"3 abc"]);
}

#[test]
fn auto_decides_by_what_comes_first() {
    let check = |stream: &[u8], expected: &[&[u8]]| check(Framing::Auto, stream, expected);
    check(b"3 abc3 def", &[b"abc", b"def"]);
    check(b"<1>a\n<1>b\n", &[b"<1>a", b"<1>b"]);
    check(b"<1>a\0<1>b\nc\0", &[b"<1>a", b"<1>b\nc"]);
    check(b"plain\nlines\n", &[b"plain", b"lines"]);
    // Python's SysLogHandler.
    check(
        "<11>py SysLogHandler\nsecond line é\0".as_bytes(),
        &["<11>py SysLogHandler\nsecond line é".as_bytes()],
    );
    // NUL and more text: content.
    check(b"<1>a\0b\n<1>c\n", &[b"<1>a\0b", b"<1>c"]);
    check(b"<1>a\nb\0c\n", &[b"<1>a", b"b\0c"]);
    // A first line end decides, whatever comes in it later.
    check(b"<1>a\n<1>b\0<1>c\n", &[b"<1>a", b"<1>b\0<1>c"]);
    check(b"<1>a\n3 abc\n", &[b"<1>a", b"3 abc"]);
    check(b"<1>alone", &[b"<1>alone"]);
    check(b"\n\n3 abc\n", &[b"3 abc"]);
}

#[test]
fn f1_a_count_has_at_most_ten_digits() {
    let zeros = [&[b'0'; 1000][..], b"200000 <120> x"].concat();
    check_fault(Framing::Octet, &zeros, &[], CountFault::Start, b'0');
    let ones = [&[b'1'; 1000][..], b" <120> x"].concat();
    for framing in [Framing::Octet, Framing::Auto] {
        check_fault(framing, &ones, &[], CountFault::Length, b'1');
        // Nothing is held back while the eleventh is not there.
        assert_eq!(session(framing, &ones[..10]).held_max, 10);
        assert_eq!(session(framing, &ones[..10]).frames, []);
    }
    // Not a count for the automatic: a digit from 1 to 9 opens one. A line, cut at the limit.
    assert!(session(Framing::Auto, &zeros).frames[0].1);
}

#[test]
fn f2_a_count_never_wraps_around() {
    for count in ["18446744073709551610", "18446744073709551616", "18446744073709551619"] {
        let stream = format!("3 abc{count} <13>x");
        check_fault(Framing::Octet, stream.as_bytes(), &[b"abc"], CountFault::Length, b'3');
    }
    // Ten digits are a count: beyond the limit, so the frame is cut and the rest passed over.
    let stream = [b"9999999999 ".as_slice(), &[b'x'; 500]].concat();
    let got = session(Framing::Octet, &stream);
    assert_eq!(got.frames, [(vec![b'x'; 100], true, false)]);
}

#[test]
fn f3_one_rule_holds_for_what_looks_like_a_count() {
    let strict = [
        (b"0 <13>a".as_slice(), CountFault::Start, b'0'),
        (b"-5 x", CountFault::Start, b'-'),
        (b"+5 x", CountFault::Start, b'+'),
        (b"05 hello", CountFault::Start, b'0'),
        (b"5\thello", CountFault::End, b'\t'),
        (b"5hello", CountFault::End, b'h'),
        (b"<1>1", CountFault::Start, b'<'),
    ];
    for (stream, fault, found) in strict {
        check_fault(Framing::Octet, stream, &[], fault, found);
        if stream[0] == b'5' {
            check_fault(Framing::Auto, stream, &[], fault, found);
        } else {
            check(Framing::Auto, stream, &[stream]);
        }
    }
    // Two spaces: the second is the first octet.
    check(Framing::Octet, b"5  hell", &[b" hell"]);
    // Once counted, always counted.
    check_fault(Framing::Auto, b"3 abc<13>line\n", &[b"abc"], CountFault::Start, b'<');
}

#[test]
fn f4_nothing_inside_a_long_frame_is_taken_for_a_frame() {
    let forged = b"\n134 <13>forged\n16 <1>1 - - - - - -";
    let body = [&[b'x'; 900][..], forged].concat();
    let body = [body.as_slice(), &vec![b'y'; 1005 - body.len()]].concat();
    let stream = [b"1005 ".as_slice(), &body, b"3 end"].concat();
    for chunk in [1, 7, 100, 101, 2000] {
        let cuts: Vec<usize> = (1..stream.len()).step_by(chunk).collect();
        let mut framer = Framer::new(Framing::Octet, 100, Oversize::Truncate);
        let got = run(&mut framer, &stream, &cuts, usize::MAX);
        let end = (b"end".to_vec(), false, false);
        assert_eq!(got.frames, [(body[..100].to_vec(), true, false), end.clone()]);
        assert!(got.held_max <= 100 + 5, "{} held", got.held_max);

        let mut framer = Framer::new(Framing::Octet, 100, Oversize::Reject);
        let got = run(&mut framer, &stream, &cuts, usize::MAX);
        assert_eq!((got.frames, got.rejected), (vec![end], 1));
        assert!(got.held_max <= 5, "{} held", got.held_max);
    }
}

#[test]
fn f5_a_mark_right_behind_a_long_frame_is_no_underflow() {
    // The long part is read alone, then a read starts with the mark.
    for (framing, mark) in [(Framing::Lf, b'\n'), (Framing::Nul, 0)] {
        let stream = [&[b'x'; 500][..], &[mark, mark, b'a', mark]].concat();
        for oversize in [Oversize::Truncate, Oversize::Reject] {
            let mut framer = Framer::new(framing, 100, oversize);
            let got = run(&mut framer, &stream, &[500], usize::MAX);
            assert_eq!(got.frames.last(), Some(&(b"a".to_vec(), false, false)));
            assert_eq!(got.rejected, u64::from(oversize == Oversize::Reject));
            assert_eq!(got.frames.len(), 1 + usize::from(oversize == Oversize::Truncate));
        }
    }
}

#[test]
fn f9_sixteen_mebibytes_without_a_mark_are_not_held() {
    let stream = vec![0x80; 16 << 20];
    let mut framer = Framer::new(Framing::Auto, 65_536, Oversize::Truncate);
    let cuts: Vec<usize> = (0..stream.len()).step_by(60_000).collect();
    let got = run(&mut framer, &stream, &cuts, usize::MAX);
    assert_eq!(got.frames, [(vec![0x80; 65_536], true, false)]);
    assert!(got.held_max <= 65_536);
}

#[test]
fn a_frame_of_just_the_limit_is_whole() {
    let whole = vec![b'x'; 100];
    for (framing, stream) in [
        (Framing::Octet, [b"100 ".as_slice(), &whole].concat()),
        (Framing::Lf, [whole.as_slice(), b"\n"].concat()),
        (Framing::Lf, whole.clone()),
        (Framing::Nul, [whole.as_slice(), b"\0"].concat()),
    ] {
        check(framing, &stream, &[&whole]);
    }
}

#[test]
fn the_end_of_a_stream_delivers_what_is_left() {
    let partial = |stream: &[u8]| session(Framing::Octet, stream).frames;
    assert_eq!(partial(b"16 <1>1"), [(b"<1>1".to_vec(), false, true)]);
    assert_eq!(partial(b"3 abc\n16 <1>1")[1], (b"<1>1".to_vec(), false, true));
    assert_eq!(partial(b"500 <1>1"), [(b"<1>1".to_vec(), false, true)]);
    assert_eq!(partial(b"16 "), []);
    assert_eq!(partial(b"16"), []);
    let mut framer = Framer::new(Framing::Octet, 100, Oversize::Reject);
    let got = run(&mut framer, b"500 <1>1", &[], usize::MAX);
    assert_eq!((got.frames.len(), got.rejected), (0, 1));
    assert_eq!(framer.rejected(), 0, "the count is taken");
}

#[test]
fn errors_name_the_byte_and_what_is_allowed() {
    let mut framer = Framer::new(Framing::Octet, 100, Oversize::Truncate);
    let error = framer.cut(b"3 abc5\thello", 0, &mut Vec::new(), usize::MAX).unwrap_err();
    assert_eq!(
        error.to_string(),
        "octet count ends with `\\t`, allowed: one space, at byte 6 of the buffer"
    );
}

fn streams() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        4 => Just(b'\n'), 2 => Just(0u8), 2 => Just(b'\r'), 3 => b'0'..=b'9',
        3 => Just(b' '), 2 => Just(b'<'), 3 => any::<u8>(),
    ];
    let frame = proptest::collection::vec(any::<u8>(), 0..40)
        .prop_map(|body| [format!("{} ", body.len()).as_bytes(), &body].concat());
    prop_oneof![
        proptest::collection::vec(byte, 0..300),
        proptest::collection::vec(frame, 0..12).prop_map(|frames| frames.concat()),
    ]
}

proptest! {
    #[test]
    fn any_cut_of_a_stream_with_nuls_gives_the_same_frames(
        bodies in proptest::collection::vec("<1>[a-z\n]{0,9}[a-z]", 1..8),
        cuts in proptest::collection::vec(0usize..100, 0..20),
    ) {
        let stream = bodies.iter().fold(String::new(), |stream, body| stream + body + "\0");
        let mut cuts = cuts;
        // The first read has the first frame.
        cuts.push(bodies[0].len() + 1);
        cuts.retain(|cut| *cut > bodies[0].len());
        cuts.sort_unstable();
        let mut framer = Framer::new(Framing::Auto, 40, Oversize::Truncate);
        let got = run(&mut framer, stream.as_bytes(), &cuts, usize::MAX);
        let frames: Vec<Cut> =
            bodies.iter().map(|body| (body.clone().into_bytes(), false, false)).collect();
        prop_assert_eq!(got.frames, frames);
    }

    #[test]
    fn any_cut_of_a_stream_gives_the_same_frames(
        stream in streams(),
        cuts in proptest::collection::vec(0usize..300, 0..20),
        framing in prop_oneof![Just(Framing::Octet), Just(Framing::Lf), Just(Framing::Nul), Just(Framing::Auto)],
        oversize in prop_oneof![Just(Oversize::Truncate), Just(Oversize::Reject)],
        limit in 1usize..40,
        frames_max in 1usize..5,
    ) {
        let framer = Framer::new(framing, limit, oversize);
        let (mut stream, mut cuts) = (stream, cuts);
        cuts.sort_unstable();
        if framing == Framing::Auto {
            // What a NUL means is decided by the first read that shows a mark.
            stream.retain(|byte| *byte != 0);
        }
        let mut whole = run(&mut framer.clone(), &stream, &[], usize::MAX);
        let mut parts = run(&mut framer.clone(), &stream, &cuts, frames_max);
        let held_max = limit + COUNT_DIGITS_MAX + 1;
        prop_assert!(parts.held_max <= held_max, "{} held", parts.held_max);
        (whole.held_max, parts.held_max) = (0, 0);
        if whole.fault.is_some() {
            // A faulty session is not asked for its count.
            (whole.rejected, parts.rejected) = (0, 0);
        }
        prop_assert_eq!(whole, parts);
    }
}
