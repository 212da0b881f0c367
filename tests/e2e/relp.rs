//! RELP: to rsyslog as a destination, plain and by TLS, and from rsyslog as a source; to a server that
//! dies or refuses under way.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use logboom_tests::oracle::{Producer, ProducerOptions, judge};
use logboom_tests::{
    Certificates, DEADLINE, Gateway, Peer, PeerKind, Scratch, free_port, is_missing, pause,
    peer_configuration, rsyslog, wait_until,
};

use crate::destinations::{MESSAGES, compare, messages, relay_with};
use crate::tls::keys;
use crate::tools::parked;

/// rsyslog as a server of RELP, plain and by TLS, which writes `raw.log`.
fn server(scratch: &Scratch, ports: [u16; 2]) -> Peer {
    let values = [("@IN@", ports[0]), ("@TLS@", ports[1])];
    let config = peer_configuration("rsyslog-relp-in.conf", &values);
    rsyslog(scratch, &config).listening_on(&ports)
}

#[test]
fn rsyslog_gets_all_by_relp_plain_and_by_tls() {
    if is_missing(PeerKind::RsyslogRelp) {
        return;
    }
    for scheme in ["relp", "relps"] {
        let (scratch, ports) = (Scratch::new("to-rsyslog-relp"), [free_port(), free_port()]);
        let all = Certificates::new(&scratch);
        let peer = server(&scratch, ports);
        let is_tls = scheme == "relps";
        let keys = if is_tls { keys(&all.ca, Some(&all.client)) } else { String::new() };
        let url = format!("{scheme}://localhost:{}", ports[usize::from(is_tls)]);
        let messages = messages();
        relay_with(&Scratch::new("relp-gateway"), &url, &keys, &messages);
        wait_until(&format!("{MESSAGES} lines by {url}"), || {
            scratch.lines("raw.log").len() >= MESSAGES
        });
        peer.shutdown();
        compare(&scratch, "raw.log", &messages);
    }
}

/// A gateway from RELP to a file.
fn to_file(scratch: &Scratch, relp: u16) -> Gateway {
    let folder = scratch.path().display();
    Gateway::start(
        scratch,
        &format!(
            r#"
[[source]]
name = "relp"
url = "relp://127.0.0.1:{relp}"

[[route]]
name = "file"
url = "file://{folder}/wire.log?format=rfc5424"
when_full = "block"

[[pipeline]]
sources = ["relp"]
routes = ["file"]
"#
        ),
    )
}

#[test]
fn rsyslog_sends_by_relp_what_arrives_byte_for_byte() {
    if is_missing(PeerKind::RsyslogRelp) {
        return;
    }
    let (scratch, theirs) = (Scratch::new("from-rsyslog-relp"), Scratch::new("rsyslog-relp-out"));
    let (relp, input) = (free_port(), free_port());
    let gateway = to_file(&scratch, relp);
    let values = [("@IN@", input), ("@OUT@", relp)];
    let config = peer_configuration("rsyslog-relp-out.conf", &values);
    let _rsyslog = rsyslog(&theirs, &config).listening_on(&[input]);
    let messages = messages();
    let mut stream = TcpStream::connect(("127.0.0.1", input)).expect("connected");
    for message in &messages {
        write!(stream, "{} {message}", message.len()).expect("sent");
    }
    stream.shutdown(Shutdown::Write).expect("shut down");
    gateway.settle("relp", MESSAGES as u64);
    wait_until("all lines", || scratch.lines("wire.log").len() >= MESSAGES);
    compare(&scratch, "wire.log", &messages);
    gateway.shutdown();
}

#[test]
fn a_restart_of_the_gateway_loses_nothing_that_was_acknowledged() {
    const APPS: u64 = 4;
    let (scratch, relp) = (Scratch::new("relp-restart"), free_port());
    let collector = logboom_tests::oracle::Collector::start(1, APPS);
    let config = format!(
        "[[source]]\nname = \"relp\"\nurl = \"relp://127.0.0.1:{relp}\"\n\n\
         [[drain]]\napp = \"*\"\nurl = \"{}\"\nwhen_full = \"block\"\n",
        collector.url()
    );
    let address = SocketAddr::from(([127, 0, 0, 1], relp));
    let options = ProducerOptions { address, seed: 1, apps: APPS, window: 64, rate: 0 };
    let producer = Producer::start(options);
    for _ in 0..3 {
        let gateway = Gateway::start(&scratch, &config);
        let before = producer.acknowledged();
        wait_until("acknowledgements", || producer.acknowledged() > before + 2_000);
        // In good order: what it has acknowledged, it delivers before it ends.
        gateway.shutdown().assert_balanced();
        collector.wait_closed();
    }
    let gateway = Gateway::start(&scratch, &config);
    let sent = producer.finish();
    gateway.settle("relp", 1);
    gateway.shutdown().assert_balanced();
    collector.wait_closed();
    let verdict = judge(&sent, &collector.received());
    assert!(verdict.is_kept() && sent.refusals.is_empty(), "{verdict}; {:?}", sent.refusals);
}

/// Reads until so many answers of success have come.
fn read_answers(mut stream: &TcpStream, read: &mut Vec<u8>, count: usize) {
    let mut buffer = [0; 4096];
    while read.windows(6).filter(|window| window == b"200 OK").count() < count {
        let n = stream.read(&mut buffer).expect("an answer");
        assert!(n > 0, "cut off after {}", read.escape_ascii());
        read.extend_from_slice(&buffer[..n]);
    }
}

#[test]
fn a_sender_whose_writes_always_end_inside_a_frame_is_not_cut_off() {
    const LIMIT: Duration = Duration::from_secs(1);
    let scratch = Scratch::new("relp-halves");
    let config = format!(
        "[[source]]\nname = \"relp\"\nurl = \"relp://127.0.0.1:0\"\nframe_timeout = \"{}s\"\n\n\
         [[drain]]\napp = \"*\"\nurl = \"file://{}/out.log\"\nwhen_full = \"block\"\n",
        LIMIT.as_secs(),
        scratch.path().display(),
    );
    let gateway = Gateway::start(&scratch, &config);
    let stream = TcpStream::connect(gateway.source("relp")).expect("connected");
    let record = "<14>1 - host app - - - half";
    let frame = |number: usize| format!("{number} syslog {} {record}\n", record.len());
    let offers = "relp_version=0\nrelp_software=test\ncommands=syslog";
    // Each in one write, which is read as one.
    let send = |text: String| (&stream).write_all(text.as_bytes()).expect("sent");
    send(format!("1 open {} {offers}\n{}", offers.len(), &frame(2)[..10]));
    let (began, mut number, mut read) = (Instant::now(), 2, Vec::new());
    while began.elapsed() < LIMIT * 2 {
        send(format!("{}{}", &frame(number)[10..], &frame(number + 1)[..10]));
        read_answers(&stream, &mut read, number);
        number += 1;
        pause(LIMIT / 20);
    }
    drop(stream);
    let sent = number as u64 - 2;
    assert_eq!(gateway.settle("relp", sent).source("relp", "received"), sent);
    gateway.shutdown().assert_balanced();
}

/// Passes connections on, until they are cut.
struct Cable {
    port: u16,
    ends: Arc<Mutex<Vec<TcpStream>>>,
}

impl Cable {
    fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let port = listener.local_addr().expect("an address").port();
        let ends = Arc::<Mutex<Vec<TcpStream>>>::default();
        let held = Arc::clone(&ends);
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let Ok(far) = TcpStream::connect(target) else { continue };
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let mut from = from.try_clone().expect("a handle");
                    let mut to = to.try_clone().expect("a handle");
                    // Either side may be gone already.
                    thread::spawn(move || drop(std::io::copy(&mut from, &mut to)));
                }
                held.lock().expect("ends").extend([near, far]);
            }
        });
        Self { port, ends }
    }

    /// Cuts all connections there are; returns how many.
    fn cut(&self) -> usize {
        let ends = std::mem::take(&mut *self.ends.lock().expect("ends"));
        for end in &ends {
            // The other side may have been quicker.
            drop(end.shutdown(Shutdown::Both));
        }
        ends.len() / 2
    }
}

#[test]
fn what_rsyslog_sends_again_after_a_cut_is_stored_once() {
    const COUNT: usize = 100;
    if is_missing(PeerKind::RsyslogRelp) {
        return;
    }
    let (scratch, theirs) = (Scratch::new("relp-cut"), Scratch::new("relp-cut-rsyslog"));
    let collector = free_port();
    let config = format!(
        "[[source]]\nname = \"relp\"\nurl = \"relp://127.0.0.1:0\"\n\n\
         [[drain]]\napp = \"*\"\nurl = \"syslog+tcp://127.0.0.1:{collector}?framing=lf\"\n\
         when_full = \"block\"\n"
    );
    let gateway = Gateway::start(&scratch, &config);
    let cable = Cable::to(gateway.source("relp"));
    let input = free_port();
    let values = [("@IN@", input), ("@OUT@", cable.port)];
    let config = peer_configuration("rsyslog-relp-out.conf", &values);
    let _rsyslog = rsyslog(&theirs, &config).listening_on(&[input]);
    let messages: Vec<_> = messages().into_iter().take(COUNT + 1).collect();
    let mut stream = TcpStream::connect(("127.0.0.1", input)).expect("connected");
    for message in &messages[..COUNT] {
        write!(stream, "{} {message}", message.len()).expect("sent");
    }
    // Nobody takes them from the gateway, so it cannot answer.
    wait_until("all of them", || gateway.ledger().source("relp", "received") == COUNT as u64);
    assert_eq!(cable.cut(), 1);
    // It notices when it has something to send, and then waits for the same answers as before.
    write!(stream, "{} {}", messages[COUNT].len(), messages[COUNT]).expect("sent");
    wait_until("a second session", || cable.ends.lock().expect("ends").len() == 2);
    let listener = TcpListener::bind(("127.0.0.1", collector)).expect("a collector");
    let lines = thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a connection");
        let lines = BufReader::new(stream).lines().map(|line| line.expect("a line"));
        lines.take(COUNT + 1).collect::<Vec<_>>()
    });
    let mut lines = lines.join().expect("lines");
    wait_until("the rest of the answers", || {
        gateway.ledger().rejected("relp", "duplicate") == COUNT as u64
    });
    let ledger = gateway.settle("relp", COUNT as u64 + 1);
    assert_eq!(ledger.source("relp", "received"), COUNT as u64 + 1);
    lines.sort();
    let mut expected = messages;
    expected.sort();
    assert_eq!(lines, expected);
    gateway.shutdown().assert_balanced();
}

/// The server's side of a session.
struct Session {
    reader: BufReader<TcpStream>,
}

impl Session {
    /// Takes a session and opens it.
    fn accept(listener: &TcpListener) -> Self {
        let (stream, _) = listener.accept().expect("a connection");
        stream.set_read_timeout(Some(DEADLINE)).expect("set");
        let mut session = Self { reader: BufReader::new(stream) };
        let (number, command, offers) = session.frame();
        assert_eq!(command, "open", "{offers}");
        session.answer(&number, "200 OK\nrelp_version=0\nrelp_software=test\ncommands=syslog");
        session
    }

    /// The next word of a frame's header, and what it ended with.
    fn word(&mut self) -> (String, u8) {
        let mut word = String::new();
        loop {
            let mut byte = [0];
            self.reader.read_exact(&mut byte).expect("a frame");
            match byte[0] {
                end @ (b' ' | b'\n') => return (word, end),
                byte => word.push(char::from(byte)),
            }
        }
    }

    /// The next frame: its number, its command, its data.
    fn frame(&mut self) -> (String, String, String) {
        let ((number, _), (command, _), (length, end)) = (self.word(), self.word(), self.word());
        let mut data = vec![0; length.parse().expect("a length")];
        if end == b' ' {
            self.reader.read_exact(&mut data).expect("data");
            assert_eq!(self.word(), (String::new(), b'\n'), "the end of frame {number}");
        }
        (number, command, String::from_utf8(data).expect("UTF-8"))
    }

    /// The next record, behind the number of its frame.
    fn record(&mut self) -> (String, String) {
        let (number, command, record) = self.frame();
        assert_eq!(command, "syslog", "{record}");
        (number, record)
    }

    fn answer(&mut self, number: &str, words: &str) {
        writeln!(self.reader.get_mut(), "{number} rsp {} {words}", words.len()).expect("sent");
    }
}

/// A gateway whose records all go to a server of the test.
fn to_server(scratch: &Scratch) -> (Gateway, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let config = format!(
        "[limits]\nshutdown = \"1s\"\n\n\
         [[source]]\nname = \"tcp\"\nurl = \"syslog+tcp://127.0.0.1:0\"\n\n\
         [[drain]]\napp = \"*\"\nurl = \"relp://{}\"\nwhen_full = \"block\"\n",
        listener.local_addr().expect("an address")
    );
    (Gateway::start(scratch, &config), listener)
}

/// Sends numbered records and returns them.
fn send_numbered(gateway: &Gateway, count: usize) -> Vec<String> {
    let record = |number| format!("<14>1 2026-11-21T05:44:01Z host app - - - number {number}");
    let records: Vec<_> = (0..count).map(record).collect();
    let mut stream = TcpStream::connect(gateway.source("tcp")).expect("connected");
    stream.write_all((records.join("\n") + "\n").as_bytes()).expect("sent");
    records
}

#[test]
fn what_a_server_had_answered_when_it_died_is_not_sent_again_and_all_the_rest_is() {
    const COUNT: usize = 100;
    const READ: usize = 60;
    const ANSWERED: usize = 40;
    let scratch = Scratch::new("relp-dies");
    let (gateway, listener) = to_server(&scratch);
    let records = send_numbered(&gateway, COUNT);
    let mut session = Session::accept(&listener);
    let read: Vec<_> = (0..READ).map(|_| session.record()).collect();
    assert!(read.iter().map(|(_, record)| record).eq(&records[..READ]));
    for (number, _) in &read[..ANSWERED] {
        session.answer(number, "200 OK");
    }
    wait_until("the answers to be taken", || {
        gateway.ledger().destination("relp", "delivered") == ANSWERED as u64
    });
    // In the middle of what it was sent.
    drop(session);

    let mut session = Session::accept(&listener);
    for expected in &records[ANSWERED..] {
        let (number, record) = session.record();
        assert_eq!(record, *expected);
        session.answer(&number, "200 OK");
    }
    let ledger = gateway.settle("tcp", COUNT as u64);
    assert_eq!(ledger.destination("relp", "delivered"), COUNT as u64);
    gateway.shutdown().assert_balanced();
    assert_eq!(session.frame().1, "close", "a record came that was answered");
}

#[test]
fn a_record_that_a_server_refuses_is_parked_with_its_words_and_the_others_go_on() {
    const COUNT: usize = 5;
    const REFUSED: usize = 2;
    let scratch = Scratch::new("relp-refuses");
    let (gateway, listener) = to_server(&scratch);
    let records = send_numbered(&gateway, COUNT);
    let mut session = Session::accept(&listener);
    for (index, expected) in records.iter().enumerate() {
        let (number, record) = session.record();
        assert_eq!(record, *expected);
        session.answer(&number, if index == REFUSED { "500 no, thanks" } else { "200 OK" });
    }
    let ledger = gateway.settle("tcp", COUNT as u64);
    assert_eq!(ledger.destination("relp", "delivered"), COUNT as u64 - 1);
    assert_eq!(ledger.destination("relp", "parked"), 1);
    let letters = parked(&scratch, &gateway, "list", &["--json"]).lines();
    let [letter] = &letters[..] else { panic!("{letters:?}") };
    assert_eq!(letter["record"]["body"], format!("number {REFUSED}"));
    assert_eq!(letter["kind"], "refused");
    let reason = letter["reason"].as_str().expect("a reason");
    assert!(reason.contains("500 no, thanks"), "{letter}");
    gateway.shutdown().assert_balanced();
    assert_eq!(session.frame().1, "close", "the same session went on to the end");
}
