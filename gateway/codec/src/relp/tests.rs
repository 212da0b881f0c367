//! RELP: both sides against hand-written bytes, against each other, and in pieces. F11 are the
//! inputs that a server must refuse.

use proptest::prelude::*;

use super::*;

const OPEN: &[u8] =
    b"1 open 86 relp_version=0\nrelp_software=librelp,1.11.0,http://librelp.adiscon.com\
                      \ncommands=syslog\n";
const OPENED: &[u8] = b"1 rsp 55 200 OK\nrelp_version=0\nrelp_software=x,1\ncommands=syslog\n";

/// A request as text.
fn show(buf: &[u8], request: Request) -> String {
    match request {
        Request::Open { txnr } => format!("{txnr} open"),
        Request::Syslog { txnr, data } => format!("{txnr} syslog {}", data.of(buf).escape_ascii()),
        Request::Close { txnr } => format!("{txnr} close"),
    }
}

/// Runs a server on reads that end at `cuts`: what it was asked, and what broke the session.
fn serve(server: &mut Server, stream: &[u8], cuts: &[usize]) -> (Vec<String>, Option<String>) {
    let (mut shown, mut buffer, mut last) = (Vec::new(), Vec::new(), 0);
    for cut in cuts.iter().copied().chain([stream.len()]) {
        let cut = cut.clamp(last, stream.len());
        buffer.extend_from_slice(&stream[last..cut]);
        last = cut;
        let mut requests = Vec::new();
        let result = server.receive(&buffer, 0, &mut requests, usize::MAX);
        shown.extend(requests.iter().map(|request| show(&buffer, *request)));
        match result {
            Ok(consumed) => buffer.drain(..consumed),
            Err(error) => return (shown, Some(fault(&error))),
        };
        assert!(buffer.len() < OVERHEAD_BYTES_MAX + 100, "{} bytes held", buffer.len());
    }
    (shown, None)
}

/// What is wrong, without the position in a buffer that depends on how the stream was cut.
fn fault(error: &SessionError) -> String {
    let text = match error {
        SessionError::Frame(error) => error.to_string(),
        error => error.to_string(),
    };
    text.split(", at byte").next().unwrap().to_owned()
}

fn check(stream: &[u8], requests: &[&str]) {
    let (got, error) = serve(&mut Server::new(100), stream, &[]);
    assert_eq!((got, error), (requests.iter().map(|r| (*r).to_owned()).collect(), None));
}

/// The session behind an open breaks with `expected`, after the requests before it.
fn check_fault(stream: &[u8], before: usize, expected: &str) {
    let stream = [OPEN, stream].concat();
    let mut server = Server::new(100);
    let (got, error) = serve(&mut server, &stream, &[]);
    let shown = stream.escape_ascii();
    assert_eq!(error.as_deref(), Some(expected), "{shown}");
    assert_eq!(got.len(), before + 1, "{shown}");
}

/// A client whose session is open.
fn opened() -> Client {
    let mut replies = Vec::new();
    let mut client = Client::open(100, &mut Vec::new());
    assert_eq!(client.receive(OPENED, 0, &mut replies), Ok(OPENED.len()));
    assert_eq!(replies, [Reply::Opened]);
    client
}

fn check_reply_fault(stream: &[u8], expected: &str) {
    let mut client = opened();
    client.syslog(b"a", &mut Vec::new()).unwrap();
    let error = client.receive(stream, 0, &mut Vec::new()).unwrap_err();
    assert_eq!(fault(&error), expected, "{}", stream.escape_ascii());
}

#[test]
fn a_session_of_librelp_is_read() {
    let stream =
        [OPEN, b"2 syslog 7 <13>a b\n3 syslog 6 <13>\n\n\n4 syslog 0\n5 close 0\n"].concat();
    check(&stream, &["1 open", "2 syslog <13>a b", "3 syslog <13>\\n\\n", "4 syslog ", "5 close"]);
    let mut server = Server::new(100);
    serve(&mut server, &stream, &[]);
    assert_eq!(server.offers().version, Some(0));
    assert_eq!(server.offers().software, "librelp,1.11.0,http://librelp.adiscon.com");
    assert!(server.offers().allows("syslog"));
    assert_eq!(server.unanswered(), 5);
}

#[test]
fn answers_are_frames_and_are_counted() {
    let mut server = Server::new(100);
    serve(&mut server, &[OPEN, b"2 syslog 1 a\n3 syslog 1 b\n"].concat(), &[]);
    let mut out = Vec::new();
    server.accept_open(1, &mut out);
    server.ok(2, &mut out);
    server.refuse(3, REFUSED, "the disk is full\nand more", &mut out);
    server.serverclose(&mut out);
    let own = concat!("relp_software=logboom,", env!("CARGO_PKG_VERSION"));
    let expected = format!(
        "1 rsp {} 200 OK\nrelp_version=0\n{own}\ncommands=syslog\n2 rsp 6 200 OK\n\
         3 rsp 20 500 the disk is full\n0 serverclose 0\n",
        38 + own.len()
    );
    assert_eq!(String::from_utf8(out).unwrap(), expected);
    assert_eq!(server.unanswered(), 0);
}

#[test]
fn a_later_version_is_answered_with_the_one_that_is_spoken() {
    for (offered, answered) in [(0, "=0\n"), (1, "=1\n"), (2, "=1\n"), (999_999_999, "=1\n")] {
        let open = format!("relp_version={offered}");
        let mut server = Server::new(100);
        serve(&mut server, format!("1 open {} {open}\n", open.len()).as_bytes(), &[]);
        let mut out = Vec::new();
        server.accept_open(1, &mut out);
        let out = String::from_utf8(out).unwrap();
        assert!(out.contains(&format!("relp_version{answered}")), "{offered}: {out}");
    }
}

#[test]
fn opening_an_open_session_changes_nothing() {
    let stream = [OPEN, b"2 open 14 relp_version=1\n3 syslog 1 a\n"].concat();
    let mut server = Server::new(100);
    let (got, error) = serve(&mut server, &stream, &[]);
    assert_eq!((got, error), (vec!["1 open".into(), "2 open".into(), "3 syslog a".into()], None));
    assert_eq!(server.offers().version, Some(0));
}

#[test]
fn f11_a_number_that_is_not_the_next_one_ends_the_session() {
    let expected = |found| format!("request has transaction number {found}, expected: 3");
    for found in [0, 1, 2, 4, 999_999_999] {
        let stream = format!("2 syslog 1 a\n{found} syslog 1 b\n");
        check_fault(stream.as_bytes(), 1, &expected(found));
    }
    check_fault(b"0 serverclose 0\n", 0, "request has transaction number 0, expected: 2");
    let (_, error) = serve(&mut Server::new(100), b"2 open 14 relp_version=0\n", &[]);
    assert_eq!(error.unwrap(), "request has transaction number 2, expected: 1");
}

#[test]
fn f11_a_number_of_ten_digits_ends_the_session() {
    let txnr = "transaction number goes on with `0`, allowed: 1 to 9 digits, one space";
    check_fault(b"1000000000 syslog 1 a\n", 0, txnr);
    let len = "length of data goes on with `0`, allowed: 1 to 9 digits, one space, or a line feed \
               behind 0";
    check_fault(b"2 syslog 1000000000 a\n", 0, len);
}

#[test]
fn f11_data_over_the_limit_ends_the_session_before_it_comes() {
    check_fault(b"2 syslog 999999999 ", 0, "frame announces 999999999 bytes of data, allowed: 100");
    check_fault(b"2 syslog 101 ", 0, "frame announces 101 bytes of data, allowed: 100");
    let most = [b"1 syslog 100 ".as_slice(), &[b'a'; 100], b"\n"].concat();
    let cut = Parser::new(100).cut(&most, 0).unwrap();
    assert_eq!(cut.unwrap().1, most.len());
}

#[test]
fn f11_a_wrong_trailer_ends_the_session() {
    check_fault(b"2 syslog 1 ab", 0, "frame ends with `b`, allowed: a line feed");
    check_fault(b"2 syslog 1 a\r\n", 0, "frame ends with `\\r`, allowed: a line feed");
    // Without data there is no space either.
    check_fault(b"2 syslog 0 \n", 0, "frame ends with ` `, allowed: a line feed");
    let len = "length of data goes on with `\\n`, allowed: 1 to 9 digits, one space, or a line \
               feed behind 0";
    check_fault(b"2 syslog 5\nhello\n", 0, len);
}

#[test]
fn f11_a_header_that_is_none_ends_the_session() {
    let txnr = |found| {
        format!("transaction number goes on with `{found}`, allowed: 1 to 9 digits, one space")
    };
    for (stream, found) in
        [("<13>a\n", "<"), (" 2 ", " "), ("-2 ", "-"), ("2\tsyslog", "\\t"), ("2\n", "\\n")]
    {
        check_fault(stream.as_bytes(), 0, &txnr(found));
    }
    let command =
        |found| format!("command goes on with `{found}`, allowed: 1 to 32 letters, one space");
    check_fault(b"2  1 a\n", 0, &command(" "));
    check_fault(b"2 sys-log 1 a\n", 0, &command("-"));
    check_fault(format!("2 {} 1 a\n", "a".repeat(33)).as_bytes(), 0, &command("a"));
}

#[test]
fn f11_syslog_before_open_ends_the_session() {
    for stream in [b"1 syslog 1 a\n".as_slice(), b"1 close 0\n"] {
        let mut server = Server::new(100);
        let (got, error) = serve(&mut server, stream, &[]);
        assert_eq!(got, Vec::<String>::new());
        assert_eq!(error.unwrap(), "request 1 while the session is not open");
    }
    check_fault(b"2 close 0\n3 syslog 1 a\n", 1, "request 3 while the session is not open");
}

#[test]
fn f11_an_unknown_command_is_refused_and_ends_the_session() {
    let stream = [OPEN, b"2 starttls 0\n"].concat();
    let mut server = Server::new(100);
    let mut requests = Vec::new();
    let error = server.receive(&stream, 0, &mut requests, usize::MAX).unwrap_err();
    assert_eq!(error, SessionError::UnknownCommand { txnr: 2, command: "starttls".to_owned() });
    let mut out = Vec::new();
    server.reject(&error, &mut out);
    let text = "500 request 2 is `starttls`, known: open, syslog, close";
    let expected = format!("2 rsp {} {text}\n0 serverclose 0\n", text.len());
    assert_eq!(String::from_utf8(out).unwrap(), expected);
    assert_eq!(server.unanswered(), 1, "the open was not answered");
}

#[test]
fn an_open_without_a_version_is_refused() {
    for offers in ["commands=syslog", "relp_version=x", "relp_version=", "relp_version", "="] {
        let stream = format!("1 open {} {offers}\n", offers.len());
        let (_, error) = serve(&mut Server::new(100), stream.as_bytes(), &[]);
        assert_eq!(error.unwrap(), "no relp_version is offered in open 1", "{offers}");
    }
    let (_, error) = serve(&mut Server::new(100), b"1 open 0\n", &[]);
    assert!(error.is_some());
}

#[test]
fn f11_no_more_requests_are_read_than_the_window_has_room_for() {
    let mut server = Server::new(100);
    let stream = [OPEN, b"2 syslog 1 a\n3 syslog 1 b\n4 syslog 1 c\n"].concat();
    let (mut requests, mut out) = (Vec::new(), Vec::new());
    let consumed = server.receive(&stream, 0, &mut requests, 2).unwrap();
    assert_eq!((requests.len(), server.unanswered()), (2, 2));
    server.accept_open(1, &mut out);
    assert_eq!(server.unanswered(), 1);
    requests.clear();
    let consumed = server.receive(&stream, consumed, &mut requests, 1).unwrap();
    assert_eq!(show(&stream, requests[0]), "3 syslog b");
    assert_eq!(&stream[consumed..], b"4 syslog 1 c\n");
}

#[test]
fn hostile_offers_are_cut_and_escaped() {
    let commands =
        ["relp_version=1", "commands=a,,b-c,syslog,", &"x".repeat(33), ",", &",y".repeat(99)];
    let long =
        format!("{}\nrelp_software=\x1b[2J{}\nother\n=\n", commands.join("\n"), "s".repeat(999));
    let long = long.replace("syslog,\n", "syslog,").replace("\n,\n", ",");
    let offers = Offers::parse(long.as_bytes());
    assert_eq!(offers.commands.len(), 16);
    assert_eq!(offers.commands[..3], ["a", "syslog", "y"]);
    assert_eq!(offers.software, format!("\\x1b[2J{}", "s".repeat(251)));
}

#[test]
fn a_client_opens_sends_and_closes() {
    let mut out = Vec::new();
    let mut client = Client::open(100, &mut out);
    assert_eq!(client.syslog(b"a", &mut out), Err(SessionError::NotReady));
    let own = concat!("relp_software=logboom,", env!("CARGO_PKG_VERSION"));
    let data = format!("relp_version=0\n{own}\ncommands=syslog");
    assert_eq!(String::from_utf8(out).unwrap(), format!("1 open {} {data}\n", data.len()));
    let mut replies = Vec::new();
    assert_eq!(client.receive(OPENED, 0, &mut replies), Ok(OPENED.len()));
    assert_eq!((client.offers().software.as_str(), client.is_open()), ("x,1", true));
    let mut out = Vec::new();
    assert_eq!(client.syslog(b"<13>a\nb", &mut out), Ok(2));
    assert_eq!(client.syslog(b"", &mut out), Ok(3));
    client.close(&mut out);
    client.close(&mut out);
    assert_eq!(client.syslog(b"a", &mut out), Err(SessionError::NotReady));
    assert_eq!(out.escape_ascii().to_string(), "2 syslog 7 <13>a\\nb\\n3 syslog 0\\n4 close 0\\n");
    assert_eq!(client.unanswered(), 3);
    // The close of librelp has no code.
    let stream = b"2 rsp 6 200 OK\n3 rsp 8 500 no\nx\n4 rsp 0\n0 serverclose 0\n";
    let mut replies = Vec::new();
    assert_eq!(client.receive(stream, 0, &mut replies), Ok(stream.len()));
    let [
        Reply::Syslog { txnr: 2, code: OK, text: ok },
        Reply::Syslog { txnr: 3, code: REFUSED, text: no },
        Reply::Closed,
        Reply::ServerClose,
    ] = replies[..]
    else {
        panic!("{replies:?}")
    };
    assert_eq!((ok.of(stream), no.of(stream)), (b"OK".as_slice(), b"no".as_slice()));
    assert_eq!(client.unanswered(), 0);
}

#[test]
fn replies_may_come_in_any_order() {
    let mut client = opened();
    for _ in 0..3 {
        client.syslog(b"a", &mut Vec::new()).unwrap();
    }
    let (stream, mut replies) = (b"4 rsp 3 200\n2 rsp 4 200 \n3 rsp 4 200\n\n", Vec::new());
    client.receive(stream, 0, &mut replies).unwrap();
    let txnrs: Vec<u32> = replies
        .iter()
        .map(|reply| match reply {
            Reply::Syslog { txnr, code: OK, text } if text.is_empty() => *txnr,
            reply => panic!("{reply:?}"),
        })
        .collect();
    assert_eq!((txnrs, client.unanswered()), (vec![4, 2, 3], 0));
}

#[test]
fn a_reply_that_answers_nothing_ends_the_session() {
    check_reply_fault(b"3 rsp 6 200 OK\n", "response to 3, which waits for none");
    check_reply_fault(b"0 rsp 6 200 OK\n", "response to 0, which waits for none");
    check_reply_fault(b"2 rsp 6 200 OK\n2 rsp 6 200 OK\n", "response to 2, which waits for none");
    check_reply_fault(b"2 syslog 1 a\n", "server sends `syslog` with number 2, known: rsp");
    let code = "response to 2 does not start with a code of three digits";
    for data in ["rsp 0\n", "rsp 2 20\n", "rsp 2 OK\n", "rsp 4 2000\n", "rsp 6 +20 OK\n"] {
        check_reply_fault(format!("2 {data}").as_bytes(), code);
    }
    check_reply_fault(b"2 rsp 8193 ", "frame announces 8193 bytes of data, allowed: 8192");
}

#[test]
fn a_hint_that_is_not_known_is_passed_over_and_serverclose_stops_the_sender() {
    let mut client = opened();
    let (stream, mut replies) = (b"0 hello 2 ab\n0 serverclose 0\n", Vec::new());
    assert_eq!(client.receive(stream, 0, &mut replies), Ok(stream.len()));
    assert_eq!(replies, [Reply::ServerClose]);
    assert_eq!(client.syslog(b"a", &mut Vec::new()), Err(SessionError::NotReady));
}

#[test]
fn a_server_that_will_not_take_syslog_is_told_apart() {
    let open = |response: &str| {
        let mut client = Client::open(100, &mut Vec::new());
        let stream = format!("1 rsp {} {response}\n", response.len());
        let error = client.receive(stream.as_bytes(), 0, &mut Vec::new()).unwrap_err();
        assert!(!client.is_open());
        error
    };
    let text = "not\\x07 today".to_owned();
    assert_eq!(open("500 not\x07 today"), SessionError::OpenRefused { code: REFUSED, text });
    let text = "elsewhere".to_owned();
    assert_eq!(open("302 elsewhere"), SessionError::OpenRefused { code: 302, text });
    assert_eq!(open("200 OK"), SessionError::NoVersion { txnr: 1 });
    assert_eq!(open("200 OK\nrelp_version=0\ncommands=eventlog"), SessionError::NoSyslog);
}

#[test]
fn a_message_over_the_limit_is_not_sent() {
    let (mut client, mut out) = (opened(), Vec::new());
    let error = client.syslog(&[b'a'; 101], &mut out);
    assert_eq!(error, Err(SessionError::MessageTooLong { bytes: 101, bytes_max: 100 }));
    assert!(out.is_empty());
    assert_eq!(client.syslog(&[b'a'; 100], &mut out), Ok(2));
}

#[test]
fn numbers_begin_again_behind_the_last_one() {
    let (mut client, mut out) = (opened(), Vec::new());
    client.next = TXNR_MAX;
    assert_eq!(client.syslog(b"a", &mut out), Ok(TXNR_MAX));
    assert_eq!(client.syslog(b"b", &mut out), Ok(1));
    let mut server = Server::new(100);
    serve(&mut server, OPEN, &[]);
    server.expected = TXNR_MAX;
    let (got, error) = serve(&mut server, &out, &[]);
    assert_eq!((got, error), (vec!["999999999 syslog a".into(), "1 syslog b".into()], None));
}

/// Streams near to what a client sends.
fn near_session() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        6 => (1u32..6, prop::collection::vec(any::<u8>(), 0..20)).prop_map(|(txnr, data)| {
            let mut out = Vec::new();
            push_frame(txnr, "syslog", &data, &mut out);
            out
        }),
        1 => prop::sample::select(vec![
            OPEN.to_vec(), b"2 close 0\n".to_vec(), b"3 syslog 3 ab".to_vec(), b" ".to_vec(),
            b"\n".to_vec(), b"999999999 rsp 101 ".to_vec(), b"2 open 14 relp_version=0\n".to_vec(),
        ]),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec(piece, 0..6).prop_map(|pieces| [OPEN, &pieces.concat()].concat())
}

proptest! {
    #[test]
    fn any_cut_of_a_stream_gives_the_same_requests(
        stream in near_session(),
        mut cuts in prop::collection::vec(0usize..300, 0..12),
    ) {
        cuts.sort_unstable();
        let whole = serve(&mut Server::new(100), &stream, &[]);
        prop_assert_eq!(serve(&mut Server::new(100), &stream, &cuts), whole);
    }

    #[test]
    fn what_a_client_sends_a_server_reads_and_what_it_answers_the_client_reads(
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 0..20),
        refused in any::<u32>(),
    ) {
        let (mut sent, mut answers) = (Vec::new(), Vec::new());
        let mut server = Server::new(100);
        let mut client = Client::open(100, &mut sent);
        serve(&mut server, &sent, &[]);
        server.accept_open(1, &mut answers);
        let mut replies = Vec::new();
        client.receive(&answers, 0, &mut replies).unwrap();
        prop_assert_eq!(client.offers(), server.offers());
        sent.clear();
        for message in &messages {
            client.syslog(message, &mut sent).unwrap();
        }
        client.close(&mut sent);
        let mut requests = Vec::new();
        prop_assert_eq!(server.receive(&sent, 0, &mut requests, usize::MAX), Ok(sent.len()));
        let is_refused = |txnr: u32| refused & (1 << (txnr % 32)) != 0;
        let (mut got, mut expected) = (Vec::new(), Vec::new());
        answers.clear();
        for request in requests {
            match request {
                Request::Syslog { txnr, data } => {
                    got.push(data.of(&sent).to_vec());
                    expected.push((txnr, if is_refused(txnr) { REFUSED } else { OK }));
                    if is_refused(txnr) {
                        server.refuse(txnr, REFUSED, "no", &mut answers);
                    } else {
                        server.ok(txnr, &mut answers);
                    }
                }
                Request::Close { txnr } => server.ok(txnr, &mut answers),
                request @ Request::Open { .. } => panic!("{request:?}"),
            }
        }
        prop_assert_eq!(&got, &messages);
        replies.clear();
        prop_assert_eq!(client.receive(&answers, 0, &mut replies), Ok(answers.len()));
        prop_assert_eq!(replies.pop(), Some(Reply::Closed));
        let replies: Vec<_> = replies.iter().map(|reply| match reply {
            Reply::Syslog { txnr, code, .. } => (*txnr, *code),
            reply => panic!("{reply:?}"),
        }).collect();
        prop_assert_eq!(replies, expected);
        prop_assert_eq!((client.unanswered(), server.unanswered()), (0, 0));
    }

    #[test]
    fn any_bytes_at_all_are_read_without_a_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        serve(&mut Server::new(100), &bytes, &[]);
        let mut client = opened();
        let result = client.receive(&bytes, 0, &mut Vec::new());
        prop_assert!(result.is_err() || result.is_ok_and(|consumed| consumed <= bytes.len()));
    }
}
