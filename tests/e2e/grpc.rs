//! Sources of gRPC: Google's library, OpenTelemetry's exporter and our own sender as clients; accounts,
//! pressure, bad messages, and the end of streams.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use logboom_gateway::load::{LoadUrl, ReceiveOptions, Receiver, SendOptions, send};
use logboom_tests::{
    Certificates, DEADLINE, Gateway, Scratch, memory_bytes, python_with, repository, wait_until,
};
use serde_json::{Value, json};

use crate::http::rejected;
use crate::http_faults::{END_HEADERS, PREFACE, flood, frame};

const STREAM: &str = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs";
const STREAM_V2: &str = "/envoy.service.accesslog.v2.AccessLogService/StreamAccessLogs";
const EXPORT: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
/// What a hostile peer may cost at the most.
const MEMORY_SLACK: u64 = 64 << 20;

/// A gateway with a source of gRPC, with more keys, whose records go to `out.log` as JSON.
pub(crate) fn gateway(scratch: &Scratch, url: &str, keys: &str) -> Gateway {
    let config = format!(
        "[[source]]\nname = \"web\"\nurl = \"{url}\"\n{keys}\n\
         [[pipeline]]\nsources = [\"web\"]\nroutes = [\"out\"]\n\
         [[route]]\nname = \"out\"\nurl = \"file://{}?format=json\"\n",
        scratch.join("out.log").display()
    );
    Gateway::start(scratch, &config)
}

/// A field of protobuf with bytes.
pub(crate) fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    let mut length = value.len();
    while length >= 0x80 {
        field.push(u8::try_from(length & 0x7f).expect("seven bits") | 0x80);
        length >>= 7;
    }
    field.push(u8::try_from(length).expect("seven bits"));
    field.extend_from_slice(value);
    field
}

/// Who sends: an `Identifier`.
pub(crate) fn identifier(node: &str, log: &str) -> Vec<u8> {
    let node = [field(1, node.as_bytes()), field(2, b"cart.shop")].concat();
    field(1, &[field(1, &node), field(2, log.as_bytes())].concat())
}

/// HTTP entries with these paths.
pub(crate) fn entries(paths: &[&str]) -> Vec<u8> {
    let entries = paths.iter().map(|path| {
        let response = field(4, &field(1, &[8, 200, 1]));
        field(1, &[field(3, &field(5, path.as_bytes())), response].concat())
    });
    field(2, &entries.collect::<Vec<_>>().concat())
}

/// A request of OTLP with a record for each body.
fn otlp(bodies: &[&str]) -> Vec<u8> {
    let records = bodies.iter().map(|body| field(2, &field(5, &field(1, body.as_bytes()))));
    field(1, &field(2, &records.collect::<Vec<_>>().concat()))
}

/// Messages as the client takes them.
fn stream_of(messages: &[Vec<u8>]) -> Vec<u8> {
    let framed = messages.iter().map(|message| {
        let length = u32::try_from(message.len()).expect("a length").to_be_bytes();
        [&length[..], message].concat()
    });
    framed.collect::<Vec<_>>().concat()
}

/// What a Python that has gRPC prints, with this on its stdin.
fn start(python: &Path, address: SocketAddr, arguments: &[&str]) -> Child {
    let mut command = Command::new(python);
    command.arg(repository().join("tests/peers/grpc_client.py"));
    command.arg(address.port().to_string()).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python")
}

fn finish(child: Child) -> Value {
    let output = child.wait_with_output().expect("its end");
    serde_json::from_slice(&output.stdout).expect("a line of JSON")
}

fn client(python: &Path, address: SocketAddr, arguments: &[&str], input: &[u8]) -> Value {
    let mut child = start(python, address, arguments);
    // It may not want it.
    drop(child.stdin.take().expect("its stdin").write_all(input));
    finish(child)
}

/// The bodies that were written, sorted.
fn bodies(scratch: &Scratch, count: usize) -> Vec<String> {
    let records = scratch.wait_json("out.log", count);
    let text = |record: &Value| record["body"].as_str().unwrap_or_default().to_owned();
    let mut bodies: Vec<_> = records.iter().map(text).collect();
    bodies.sort();
    bodies
}

fn paths(scratch: &Scratch, count: usize) -> Vec<String> {
    let records = scratch.wait_json("out.log", count);
    let text = |record: &Value| record["fields"]["request.path"].as_str().unwrap_or("-").to_owned();
    records.iter().map(text).collect()
}

fn python() -> Option<std::path::PathBuf> {
    python_with("grpc_health.v1.health_pb2, grpc_reflection.v1alpha")
}

/// Streams of the source `web` that ended so.
fn ended(gateway: &Gateway, outcome: &str) -> f64 {
    let labels = [("source", "web"), ("outcome", outcome)];
    gateway.metrics().sum("logboom_ingest_streams_ended_total", &labels)
}

#[test]
fn googles_library_finds_health_and_services_and_is_told_what_there_is_not() {
    let Some(python) = python() else { return };
    let scratch = Scratch::new("grpc-health");
    let gateway = gateway(&scratch, "grpc://127.0.0.1:0", "");
    let address = gateway.source("web");
    let (als, logs) = (
        "envoy.service.accesslog.v3.AccessLogService",
        "opentelemetry.proto.collector.logs.v1.LogsService",
    );
    let health = client(&python, address, &["health"], b"");
    let expected = json!({ "": "SERVING", als: "SERVING", logs: "SERVING", "none": "NOT_FOUND" });
    assert_eq!(health, expected);
    for version in ["v1", "v1alpha"] {
        let reflected = client(&python, address, &["reflect", version], b"");
        let services = reflected["services"].to_string();
        for service in [als, logs, "envoy.service.accesslog.v2", "grpc.health.v1.Health"] {
            assert!(services.contains(service), "{version}: {services}");
        }
        assert!(reflected["files"].as_u64() > Some(0), "{reflected}");
    }
    let none = client(&python, address, &["call", "/logboom.None/Call"], b"");
    assert_eq!(none["code"], "UNIMPLEMENTED");
    gateway.shutdown().assert_balanced();
}

#[test]
fn opentelemetrys_exporter_is_answered_when_its_records_are_stored() {
    let Some(python) = python_with("opentelemetry.exporter.otlp.proto.grpc") else { return };
    let scratch = Scratch::new("grpc-otlp");
    let gateway = gateway(&scratch, "grpc://127.0.0.1:0", "");
    let sent = client(&python, gateway.source("web"), &["otlp", "1000"], b"");
    assert_eq!(sent, json!({ "sent": 1000 }));
    // It was answered: nothing is on its way any more.
    let records = scratch.wait_json("out.log", 1000);
    assert_eq!(records.len(), 1000);
    let last = records.iter().find(|it| it["body"] == "order 999 failed").expect("the last");
    assert_eq!((&last["app"], &last["severity"]), (&json!("checkout"), &json!("err")));
    assert_eq!(last["fields"]["number"], 999);
    gateway.settle("web", 1000);
    gateway.shutdown().assert_balanced();
}

#[test]
fn exports_are_answered_with_what_was_refused_and_why() {
    let Some(python) = python() else { return };
    let scratch = Scratch::new("grpc-answers");
    let keys = "token = \"all\"\ntokens = { shop = \"one\" }\nmessage_bytes_max = \"128KiB\"";
    let gateway = gateway(&scratch, "grpc://127.0.0.1:0", keys);
    let address = gateway.source("web");
    let call = |options: &Value, message: &[u8]| {
        client(&python, address, &["call", EXPORT, &options.to_string()], message)
    };
    let long = "x".repeat(70_000);
    assert_eq!(call(&json!({}), &otlp(&["a"]))["code"], "UNAUTHENTICATED");
    assert_eq!(call(&json!({ "token": "none" }), &otlp(&["a"]))["code"], "UNAUTHENTICATED");
    let all = json!({ "token": "all" });
    assert_eq!(call(&all, &otlp(&["one", "two"])), json!({ "code": "OK", "answer": "" }));
    let gzip = json!({ "token": "one", "gzip": true });
    assert_eq!(call(&gzip, &otlp(&["packed"]))["code"], "OK");
    // Partial success: a field 1 with a count and a reason.
    let part = call(&all, &otlp(&["good", &long]));
    assert_eq!(part["code"], "OK");
    assert!(part["answer"].as_str().is_some_and(|it| it.starts_with("0a") && it.contains("0801")));
    assert_eq!(call(&all, b"\xff\xff\xff")["code"], "INVALID_ARGUMENT");
    let large = call(&all, &otlp(&[&long, &long]));
    assert_eq!((&large["code"], &large["retry"]), (&json!("RESOURCE_EXHAUSTED"), &Value::Null));
    // Small as it is sent, too large as it is.
    let bomb = json!({ "token": "all", "gzip": true });
    assert_eq!(call(&bomb, &vec![0; 1 << 20])["code"], "RESOURCE_EXHAUSTED");
    assert_eq!(bodies(&scratch, 4), ["good", "one", "packed", "two"]);
    let apps: Vec<_> = scratch.wait_json("out.log", 4).iter().map(|it| it["app"].clone()).collect();
    assert_eq!(apps.iter().filter(|app| **app == "shop").count(), 1, "{apps:?}");
    let stream = client(&python, address, &["stream", STREAM], &stream_of(&[entries(&["/a"])]));
    assert_eq!(stream["code"], "UNAUTHENTICATED");
    assert_eq!(rejected(&gateway), json!({ "auth": 3, "malformed": 1, "oversize": 3 }));
    gateway.shutdown().assert_balanced();
}

#[test]
fn under_pressure_an_export_is_told_when_to_try_again_and_its_deadline_is_kept() {
    let Some(python) = python() else { return };
    let scratch = Scratch::new("grpc-pressure");
    // Nobody listens there, and there is no spool: records wait in the queue for ever.
    let port = logboom_tests::free_port();
    let config = format!(
        "[spool]\nenabled = false\n[[source]]\nname = \"web\"\nurl = \"grpc://127.0.0.1:0\"\n\
         max_requests = 1\n\
         [[pipeline]]\nsources = [\"web\"]\nroutes = [\"out\"]\n\
         [[route]]\nname = \"out\"\nurl = \"syslog+tcp://127.0.0.1:{port}\"\nwhen_full = \"block\"\n"
    );
    let gateway = Gateway::start(&scratch, &config);
    let address = gateway.source("web");
    let hurried = client(&python, address, &["call", EXPORT, "{\"timeout\":1}"], &otlp(&["late"]));
    assert_eq!(hurried["code"], "DEADLINE_EXCEEDED", "{hurried}");
    // A call that has its turn and whose message does not come keeps it.
    let mut open = connect(address);
    open.write_all(&[call_head(EXPORT), frame(0, 0, 1, b"\0")].concat()).expect("sent");
    let refusal = || client(&python, address, &["call", EXPORT, "{\"timeout\":1}"], &otlp(&["b"]));
    wait_until("a refusal", || {
        let refused = refusal();
        refused["code"] == "RESOURCE_EXHAUSTED" && refused["retry"] == 1
    });
    drop(open);
}

#[test]
fn streams_keep_who_sends_and_go_on_over_messages_that_cannot_be_read() {
    let Some(python) = python() else { return };
    let scratch = Scratch::new("grpc-streams");
    let gateway = gateway(&scratch, "grpc://127.0.0.1:0", "");
    let address = gateway.source("web");
    let first = [identifier("node-1", "first"), entries(&["/1", "/2"])].concat();
    let second = [identifier("node-1", "second"), entries(&["/4"])].concat();
    let messages = [first, b"\xff\xff\xff".to_vec(), entries(&["/3"]), second, entries(&["/5"])];
    let answer = client(&python, address, &["stream", STREAM], &stream_of(&messages));
    assert_eq!(answer, json!({ "code": "OK", "answer": "" }));
    // The other version, compressed, and without a word on who sends.
    let bare = stream_of(&[entries(&["/6"]), entries(&["/7"])]);
    let options = ["stream", STREAM_V2, "{\"gzip\":true}"];
    assert_eq!(client(&python, address, &options, &bare)["code"], "OK");
    assert_eq!(paths(&scratch, 7), ["/1", "/2", "/3", "/4", "/5", "/6", "/7"]);
    let records = scratch.wait_json("out.log", 7);
    let logs: Vec<_> = records.iter().map(|it| it["fields"]["log_name"].clone()).collect();
    assert_eq!(json!(logs[..5]), json!(["first", "first", "first", "second", "second"]));
    assert_eq!(json!(logs[5..]), json!([null, null]));
    assert_eq!(records[2]["fields"]["node.id"], "node-1");
    assert_eq!((&records[2]["app"], &records[6]["app"]), (&json!("cart-shop"), &Value::Null));
    assert_eq!(rejected(&gateway), json!({ "malformed": 1 }));
    let metrics = gateway.metrics();
    let sum = |name: &str| metrics.sum(name, &[("source", "web")]);
    assert_eq!(sum("logboom_ingest_stream_messages_total"), 7.0);
    assert_eq!(sum("logboom_ingest_stream_entries_total"), 7.0);
    assert_eq!(sum("logboom_ingest_streams"), 0.0);
    assert_eq!(ended(&gateway, "ended"), 2.0);
    gateway.shutdown().assert_balanced();
}

fn connect(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(DEADLINE)).expect("a limit");
    stream.set_write_timeout(Some(DEADLINE)).expect("a limit");
    stream.write_all(&[PREFACE, &frame(4, 0, 0, b"")].concat()).expect("sent");
    stream
}

/// The head of a call on stream 1, all of it literal. *Source*: RFC 7541 section 6.2.2.
fn call_head(path: &str) -> Vec<u8> {
    let literal = |name: &str, value: &str| {
        let length = |text: &str| u8::try_from(text.len()).expect("a short one");
        [&[0, length(name)], name.as_bytes(), &[length(value)], value.as_bytes()].concat()
    };
    let mut block = b"\x83\x86\x01\x01h".to_vec();
    block.extend([4, u8::try_from(path.len()).expect("a short one")]);
    block.extend_from_slice(path.as_bytes());
    block.extend(literal("content-type", "application/grpc"));
    frame(1, END_HEADERS, 1, &block)
}

/// A message behind its prefix, in frames of DATA on stream 1.
fn data(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("a length").to_be_bytes();
    let bytes = [&[0][..], &length, message].concat();
    bytes.chunks(16_384).map(|part| frame(0, 0, 1, part)).collect::<Vec<_>>().concat()
}

/// The next frame: its kind, its stream, its payload.
fn read_frame(stream: &mut TcpStream) -> Option<(u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; usize::try_from(length).expect("a length")];
    stream.read_exact(&mut payload).ok()?;
    Some((head[3], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload))
}

#[test]
fn broken_and_cancelled_streams_are_counted_and_so_are_those_that_begin_again() {
    let scratch = Scratch::new("grpc-gaps");
    let gateway = gateway(&scratch, "grpc://127.0.0.1:0", "");
    let address = gateway.source("web");
    let sum = |name: &str| gateway.metrics().sum(name, &[("source", "web")]);
    let begin = |path: &str, log: &str| {
        let mut stream = connect(address);
        let message = [identifier("node-1", log), entries(&[path])].concat();
        stream.write_all(&[call_head(STREAM), data(&message)].concat()).expect("sent");
        stream
    };
    // What was sent before a reset or a loss is taken.
    let mut reset = begin("/1", "a");
    reset.write_all(&frame(3, 0, 1, &8u32.to_be_bytes())).expect("sent");
    wait_until("a cancelled stream", || ended(&gateway, "cancelled") == 1.0);
    let mut lost = begin("/2", "b");
    wait_until("its entry", || sum("logboom_ingest_stream_entries_total") == 2.0);
    lost.write_all(&frame(0, 0, 1, &[0, 0, 0, 0, 9, 1])).expect("sent");
    // Not dropped: a reset would overtake what was sent.
    lost.shutdown(Shutdown::Write).expect("shut down");
    wait_until("a broken stream", || ended(&gateway, "broken") == 1.0);
    assert_eq!(sum("logboom_ingest_stream_gaps_total"), 0.0);
    let other = begin("/4", "c");
    wait_until("another log", || sum("logboom_ingest_stream_entries_total") == 3.0);
    assert_eq!(sum("logboom_ingest_stream_gaps_total"), 0.0);
    let again = [begin("/5", "a"), begin("/6", "b")];
    wait_until("two gaps", || sum("logboom_ingest_stream_gaps_total") == 2.0);
    wait_until("their entries", || sum("logboom_ingest_stream_entries_total") == 5.0);
    assert_eq!(sum("logboom_ingest_streams"), 3.0);
    assert_eq!(rejected(&gateway), json!({ "framing": 1 }));
    drop((other, again));
    gateway.shutdown().assert_balanced();
}

#[test]
fn a_shutdown_takes_what_has_come_and_tells_the_sender() {
    let scratch = Scratch::new("grpc-shutdown");
    let gateway = gateway(&scratch, "grpc://127.0.0.1:0", "");
    let address = gateway.source("web");
    let mut stream = connect(address);
    stream.write_all(&[call_head(STREAM), data(&entries(&["/1"]))].concat()).expect("sent");
    let received =
        |count: u64| wait_until("records", || gateway.ledger().source("web", "received") >= count);
    received(1);
    let ending = thread::spawn(move || gateway.shutdown());
    // The end of the call comes, and GOAWAY; what was sent before they are heard is taken.
    let (mut is_told, mut is_away) = (false, false);
    while !(is_told && is_away) {
        let (kind, of, _) = read_frame(&mut stream).expect("a frame");
        is_told |= kind == 1 && of == 1;
        is_away |= kind == 7;
    }
    stream.write_all(&data(&entries(&["/2", "/3"]))).expect("sent");
    stream.write_all(&frame(3, 0, 1, &0u32.to_be_bytes())).expect("sent");
    let ledger = ending.join().expect("a ledger");
    ledger.assert_balanced();
    assert_eq!(ledger.source("web", "received"), 3, "{ledger:?}");
    assert!(ledger.source_drops("web").is_empty(), "{ledger:?}");
}

#[test]
fn p10_lengths_without_bytes_end_their_call_and_cost_little() {
    const STREAMS: usize = 200;
    let scratch = Scratch::new("grpc-lengths");
    let gateway = gateway(&scratch, "grpc://127.0.0.1:0", "frame_timeout = \"1s\"");
    let address = gateway.source("web");
    let idle = memory_bytes(gateway.pid()).now;
    for (path, prefix) in [
        (STREAM, b"\0\xff\xff\xff\xff"),
        (EXPORT, b"\0\xff\xff\xff\xff"),
        (STREAM, b"\x01\0\0\0\0"),
    ] {
        let mut stream = connect(address);
        stream.write_all(&[call_head(path), frame(0, 0, 1, prefix)].concat()).expect("sent");
        // Its status comes on the stream, and the session goes on.
        while read_frame(&mut stream).is_none_or(|(kind, of, _)| (kind, of) != (1, 1)) {}
        stream.write_all(&frame(6, 0, 0, &[7; 8])).expect("sent");
        while read_frame(&mut stream).expect("a frame").0 != 6 {}
    }
    let silent: Vec<_> = (0..STREAMS)
        .map(|_| {
            let mut stream = connect(address);
            let announced = frame(0, 0, 1, b"\0\x00\x3f\xff\xff");
            stream.write_all(&[call_head(STREAM), announced].concat()).expect("sent");
            stream
        })
        .collect();
    wait_until("their end", || rejected(&gateway)["timeout"] == STREAMS);
    let now = memory_bytes(gateway.pid()).now;
    assert!(now < idle + MEMORY_SLACK, "from {idle} to {now} bytes");
    assert_eq!(rejected(&gateway), json!({ "framing": 1, "oversize": 2, "timeout": STREAMS }));
    drop(silent);
    gateway.shutdown().assert_balanced();
}

#[test]
fn h1_floods_end_their_session_and_nobody_elses() {
    let scratch = Scratch::new("grpc-floods");
    let gateway = gateway(&scratch, "grpc://127.0.0.1:0", "");
    let address = gateway.source("web");
    let idle = memory_bytes(gateway.pid()).now;
    let mut other = connect(address);
    let message = data(&entries(&["/other"]));
    other.write_all(&[call_head(STREAM), message.clone()].concat()).expect("sent");
    let head = call_head(STREAM);
    // Streams that are reset as soon as they are opened.
    flood(address, |round| {
        let stream = round * 2 + 1;
        let opened = frame(1, END_HEADERS, stream, &head[9..]);
        [opened, frame(3, 0, stream, &8u32.to_be_bytes())].concat()
    });
    // Headers that never end.
    let part = [b"\x00\x01a\x7f\x81\x7f".as_slice(), &[b'x'; 16_000]].concat();
    flood(address, |round| match round {
        0 => frame(1, 0, 1, &head[9..]),
        _ => frame(9, 0, 1, &part),
    });
    // Data without any, for a stream that is over.
    flood(address, |round| match round {
        0 => frame(1, END_HEADERS | 1, 1, &head[9..]),
        _ => frame(0, 0, 1, b""),
    });
    // What has to be answered, and is not read as long as it is not.
    let mut asking = connect(address);
    let mut answers = asking.try_clone().expect("a second handle");
    let reader = thread::spawn(move || while read_frame(&mut answers).is_some() {});
    let ask = [frame(6, 0, 0, &[7; 8]), frame(4, 0, 0, b"\0\x01\0\0\0\0")].concat().repeat(100);
    for _ in 0..1000 {
        if asking.write_all(&ask).is_err() {
            break;
        }
    }
    drop(asking.shutdown(Shutdown::Both));
    reader.join().expect("a reader");
    let sent = 100;
    for _ in 1..sent {
        other.write_all(&message).expect("the other stream goes on");
    }
    gateway.settle("web", sent);
    let now = memory_bytes(gateway.pid()).now;
    assert!(now < idle + MEMORY_SLACK, "from {idle} to {now} bytes");
    drop(other);
    gateway.shutdown().assert_balanced();
}

/// Sends by our own sender through a gateway to our own receiver, which knows what is missing.
fn send_through(name: &str, scheme: &str, otlp: bool) {
    let scratch = Scratch::new(name);
    let receiver = Receiver::start(&ReceiveOptions {
        expect: Some(10_000),
        ..ReceiveOptions::new(vec![LoadUrl::tcp(SocketAddr::from(([127, 0, 0, 1], 0)))])
    })
    .expect("a receiver");
    let to = receiver.urls()[0].clone();
    let all = Certificates::new(&scratch);
    let keys = format!(
        "cert = \"{}\"\nkey = \"{}\"\nclient_ca = \"{}\"\npeer_fields = true",
        all.server.certificate.display(),
        all.server.key.display(),
        all.ca.display()
    );
    let keys = if scheme == "grpcs" { keys.as_str() } else { "" };
    let config = format!(
        "[[source]]\nname = \"web\"\nurl = \"{scheme}://127.0.0.1:0\"\n{keys}\n\
         [[pipeline]]\nsources = [\"web\"]\nroutes = [\"out\"]\n\
         [[route]]\nname = \"out\"\nurl = \"{to}\"\n"
    );
    let gateway = Gateway::start(&scratch, &config);
    let url = format!("{scheme}://{}", gateway.source("web")).parse().expect("a URL");
    let mut options =
        SendOptions { otlp, size: 330, connections: 2, ..SendOptions::new(url, 10_000) };
    options.tls.ca = Some(all.ca.clone());
    options.tls.cert = Some(all.client.certificate.clone());
    options.tls.key = Some(all.client.key);
    let report = send(&options).expect("sent");
    assert_eq!(report.sent, 10_000);
    receiver.wait();
    let report = receiver.finish().expect("a report");
    // Requests of OTLP that are under way at once have no order.
    assert!(report.is_clean() || otlp, "{report:?}");
    assert_eq!((report.received, report.lost, report.duplicated), (10_000, 0, 0), "{report:?}");
    gateway.settle("web", 10_000);
    gateway.shutdown().assert_balanced();
}

#[test]
fn our_own_sender_sends_access_logs_and_none_is_missing() {
    send_through("grpc-send", "grpc", false);
}

#[test]
fn our_own_sender_sends_access_logs_over_tls_with_a_certificate() {
    send_through("grpcs-send", "grpcs", false);
}

#[test]
fn our_own_sender_sends_otlp_and_none_is_missing() {
    send_through("grpc-send-otlp", "grpc", true);
}

#[test]
fn a_blocked_destination_holds_streams_up_and_nothing_is_lost_when_it_goes_on() {
    const COUNT: u64 = 100_000;
    let scratch = Scratch::new("grpc-blocked");
    let any = LoadUrl::tcp(SocketAddr::from(([127, 0, 0, 1], 0)));
    let receiver =
        Receiver::start(&ReceiveOptions { expect: Some(COUNT), ..ReceiveOptions::new(vec![any]) });
    let receiver = receiver.expect("a receiver");
    receiver.stall();
    let config = format!(
        "[limits]\nmemory = \"16MiB\"\nqueue = \"1MiB\"\nmax_connections = 1\n\n\
         [[source]]\nname = \"web\"\nurl = \"grpc://127.0.0.1:0\"\nframe_timeout = \"1s\"\n\
         [[pipeline]]\nsources = [\"web\"]\nroutes = [\"out\"]\n\
         [[route]]\nname = \"out\"\nurl = \"{}\"\nwhen_full = \"block\"\n",
        receiver.urls()[0]
    );
    let gateway = Gateway::start(&scratch, &config);
    let url = format!("grpc://{}", gateway.source("web")).parse().expect("a URL");
    let options = SendOptions { size: 330, connections: 4, ..SendOptions::new(url, COUNT) };
    let sender = thread::spawn(move || send(&options).expect("sent"));
    // What is held up is not late, however long that takes.
    let received = || gateway.ledger().source("web", "received");
    let mut last = (0, Instant::now());
    wait_until("a standstill of some seconds", || {
        let now = received();
        if now != last.0 {
            last = (now, Instant::now());
        }
        now > 0 && last.1.elapsed() > Duration::from_secs(3)
    });
    assert!(last.0 < COUNT, "{}", last.0);
    let memory = memory_bytes(gateway.pid()).now;
    assert!(memory < 160 << 20, "{memory} bytes");
    receiver.resume();
    assert_eq!(sender.join().expect("the sender").sent, COUNT);
    receiver.wait();
    let report = receiver.finish().expect("a report");
    assert!(report.is_clean(), "{report:?}");
    gateway.settle("web", COUNT);
    assert_eq!((ended(&gateway, "ended"), rejected(&gateway)), (4.0, json!({})));
    gateway.shutdown().assert_balanced();
}
