//! The commands for operators: `logboom spool …` and `logboom parked …`.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;

use logboom_guest_artifacts as artifacts;
use logboom_tests::{Gateway, Scratch, binary, free_port, wait_until};
use serde_json::Value;

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

fn command(scratch: &Scratch, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments).current_dir(scratch.path()).env_remove("AUTH_KEY").stdin(Stdio::null());
    command
}

fn run(mut command: Command) -> Ran {
    let output = command.output().expect("the binary runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// `logboom spool COMMAND -c CONFIGURATION …` of the gateway that has run in this folder.
fn spool(scratch: &Scratch, name: &str, arguments: &[&str]) -> Ran {
    let all = [&["spool", name, "-c", "logboom.toml"], arguments].concat();
    run(command(scratch, &all))
}

/// `logboom parked COMMAND --control … …`.
pub(crate) fn parked(scratch: &Scratch, gateway: &Gateway, name: &str, arguments: &[&str]) -> Ran {
    let control = format!("http://{}", gateway.control());
    let all = [&["parked", name, "--control", &control], arguments].concat();
    run(command(scratch, &all))
}

impl Ran {
    /// What it wrote, after a good end.
    fn good(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        assert_eq!(self.err, "");
        self.out
    }

    /// The JSON it wrote, after a good end.
    fn json(self) -> Value {
        serde_json::from_str(&self.good()).expect("JSON")
    }

    /// The JSON on each line it wrote, after a good end.
    pub(crate) fn lines(self) -> Vec<Value> {
        self.good().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// Refused, with these words.
    fn refused(self, words: &str) {
        assert_eq!(self.code, Some(1), "{self:?}");
        assert!(self.err.contains(words), "no {words:?} in {self:?}");
    }
}

fn config(url: &str) -> String {
    format!(
        r#"
[limits]
shutdown = "1s"

[[source]]
name = "tcp"
url = "syslog+tcp://127.0.0.1:0"

[[drain]]
app = "*"
url = "{url}"
when_full = "spool"
"#
    )
}

fn body(number: usize) -> String {
    format!("number {number}.")
}

fn frames(numbers: Range<usize>) -> Vec<u8> {
    let mut frames = Vec::new();
    for number in numbers {
        writeln!(frames, "<14>1 2026-11-21T05:44:01Z host app - - - {}", body(number))
            .expect("a vector takes it");
    }
    frames
}

/// Sends to the source and waits until all of it is taken in.
fn send(gateway: &Gateway, frames: &[u8], count: usize) {
    let mut stream = TcpStream::connect(gateway.source("tcp")).expect("connected");
    stream.write_all(frames).expect("sent");
    wait_until("all records", || gateway.ledger().source("tcp", "received") == count as u64);
}

fn bodies(records: &[Value]) -> Vec<&str> {
    records.iter().map(|record| record["body"].as_str().expect("a body")).collect()
}

#[test]
fn what_a_dead_destination_left_is_listed_shown_and_exported() {
    const COUNT: usize = 50;
    let scratch = Scratch::new("tools-spool");
    let url = format!("syslog+tcp://127.0.0.1:{}", free_port());
    let gateway = Gateway::start(&scratch, &config(&url));
    send(&gateway, &frames(0..COUNT), COUNT);
    spool(&scratch, "ls", &[]).good();
    spool(&scratch, "repair", &[]).refused("stop the gateway");
    let ledger = gateway.shutdown();
    assert_eq!(ledger.destination("syslog+tcp", "spooled"), COUNT as u64);

    let listed = spool(&scratch, "ls", &["--json"]).json();
    let destination = &listed["destinations"][0];
    assert_eq!(destination["destination"], url);
    assert_eq!(destination["records"], COUNT);
    let entries: u64 = listed["segments"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|s| s["entries"].as_u64())
        .sum();
    assert_eq!(destination["entries"], entries);
    // The same by its folder, for people.
    let shown = run(command(&scratch, &["spool", "ls", "--path", "data/spool"])).good();
    let line = shown.lines().find(|line| line.starts_with(&url)).expect("the destination");
    assert!(line.split_whitespace().any(|word| word == "50"), "{shown}");

    let expected: Vec<String> = (0..COUNT).map(body).collect();
    let records = spool(&scratch, "cat", &[]).lines();
    assert!(records.iter().all(|record| record["destinations"] == serde_json::json!([url])));
    let found: Vec<Value> = records.iter().map(|line| line["record"].clone()).collect();
    assert_eq!(bodies(&found), expected);
    assert_eq!(spool(&scratch, "cat", &["--limit", "3", "--json"]).lines(), records[..3]);
    let last = records[COUNT - 1]["sequence"].as_u64().expect("a sequence");
    let behind = (last + 1).to_string();
    assert_eq!(spool(&scratch, "cat", &["--from", &behind]).lines(), [] as [Value; 0]);

    // A URL need not be written as the gateway writes it.
    let other = url.to_uppercase();
    let exported = spool(&scratch, "export", &["--destination", &other]).lines();
    assert_eq!(exported, found);
    let as_json = ["--destination", &url, "--json"];
    assert_eq!(spool(&scratch, "export", &as_json).lines(), found);
    spool(&scratch, "export", &[&as_json[..], &["--format", "syslog"]].concat()).refused("--json");
    let told = spool(&scratch, "export", &[&as_json[..], &["-o", "left.json"]].concat()).json();
    assert_eq!(
        told,
        serde_json::json!({ "destination": url, "records": COUNT, "output": "left.json" })
    );
    assert_eq!(scratch.lines("left.json").len(), COUNT);
    let to_file = ["--destination", &url, "--format", "syslog", "-o", "left.log"];
    assert!(spool(&scratch, "export", &to_file).good().starts_with("50 records"));
    assert_eq!(scratch.read("left.log"), frames(0..COUNT));
    spool(&scratch, "export", &to_file).refused("left.log");
    spool(&scratch, "export", &["--destination", "stdout:"]).refused(&url);
    assert_eq!(spool(&scratch, "export", &[]).code, Some(2));
    spool(&scratch, "verify", &[]).good();
    run(command(&scratch, &["spool", "ls"])).refused("--path");
}

#[test]
fn a_folder_that_is_no_spool_is_refused_and_left_alone() {
    let scratch = Scratch::new("no-spool");
    let folder = scratch.path().join("empty");
    fs::create_dir(&folder).expect("a folder");
    for name in ["ls", "cat", "verify", "repair"] {
        let ran = run(command(&scratch, &["spool", name, "--path", "empty"]));
        ran.refused("cannot find a spool in empty: it has no segments; say where the spool is");
    }
    let left = fs::read_dir(&folder).expect("it is there").count();
    assert_eq!(left, 0);
}

#[test]
fn a_configuration_is_named_with_or_without_an_option() {
    let scratch = Scratch::new("named");
    fs::write(scratch.path().join("logboom.toml"), config("syslog+tcp://127.0.0.1:1")).expect("it");
    let plain = run(command(&scratch, &["check", "logboom.toml"])).good();
    assert_eq!(plain, run(command(&scratch, &["check", "-c", "logboom.toml"])).good());
    let both = run(command(&scratch, &["check", "-c", "logboom.toml", "logboom.toml"]));
    assert_eq!(both.code, Some(2), "{both:?}");
}

#[test]
fn what_check_finds_is_json_for_programs() {
    let scratch = Scratch::new("check-json");
    let check = |config: &str| {
        fs::write(scratch.path().join("logboom.toml"), config).expect("written");
        let ran = run(command(&scratch, &["check", "--json", "logboom.toml"]));
        assert_eq!(ran.err, "");
        (ran.code, serde_json::from_str::<Value>(&ran.out).expect("JSON"))
    };
    let good = config("syslog+tcp://127.0.0.1:1");
    let route = "[[route]]\nname = \"r\"\nurl = \"stdout:\"\n";
    let (code, found) = check(&format!("{good}{route}"));
    let expected = serde_json::json!({
        "file": "logboom.toml", "sources": 1, "guests": 0, "routes": 1, "drains": 1,
        "warnings": ["route \"r\" is named by no pipeline and no router of one"],
    });
    assert_eq!((code, found), (Some(0), expected));

    let (code, found) = check("[limits]\nqueue = 7\nqueu = \"1MiB\"\n");
    let places: Vec<_> = found.as_array().expect("a list").iter().collect();
    assert_eq!((code, places.len()), (Some(1), 2), "{found}");
    for (problem, (line, column, words)) in places.iter().zip([(2, 9, "queue"), (3, 1, "queu")]) {
        assert_eq!((&problem["line"], &problem["column"]), (&line.into(), &column.into()));
        assert!(problem["message"].as_str().is_some_and(|text| text.contains(words)), "{problem}");
        assert_eq!(problem["file"], "logboom.toml");
    }
    // What is wrong with a guest has no place, as what is wrong with the file as a whole.
    let guest = "[[guest]]\nname = \"mine\"\npath = \"absent.wasm\"\n";
    let absent = run(command(&scratch, &["check", "--json", "absent.toml"]));
    let absent = (absent.code, serde_json::from_str(&absent.out).expect("JSON"));
    for ((code, found), file) in [(check(guest), "logboom.toml"), (absent, "absent.toml")] {
        assert_eq!((code, found.as_array().map(Vec::len)), (Some(1), Some(1)), "{found}");
        assert_eq!((&found[0]["file"], &found[0]["line"]), (&file.into(), &Value::Null));
        assert!(found[0]["message"].as_str().is_some_and(|text| text.contains("read")), "{found}");
    }
}

/// Changes a byte in the record with this body, where it is on disk.
fn damage(scratch: &Scratch, body: &str) {
    for file in fs::read_dir(scratch.join("data/spool")).expect("the spool") {
        let path = file.expect("an entry").path();
        if path.extension().is_none_or(|ending| ending != "lb") {
            continue;
        }
        let mut bytes = fs::read(&path).expect("a segment");
        let found = bytes.windows(body.len()).position(|window| window == body.as_bytes());
        if let Some(at) = found {
            bytes[at] ^= 1;
            return fs::write(&path, bytes).expect("written");
        }
    }
    panic!("{body:?} is in no segment");
}

#[test]
fn a_flipped_byte_is_found_and_taken_out_and_the_rest_is_delivered() {
    const COUNT: usize = 10;
    let scratch = Scratch::new("tools-damage");
    // Dead for as long as its folder is missing.
    let url = format!("file://{}/later/all.log?format=raw", scratch.path().display());
    // What a life leaves is not in one frame with what another one does.
    for first in [0, COUNT] {
        let gateway = Gateway::start(&scratch, &config(&url));
        send(&gateway, &frames(first..first + COUNT), COUNT);
        gateway.shutdown().assert_balanced();
    }
    spool(&scratch, "verify", &[]).good();
    damage(&scratch, &body(3));

    let found = spool(&scratch, "verify", &["--json"]);
    assert_eq!(found.code, Some(1));
    let found: Value = serde_json::from_str(&found.out).expect("JSON");
    let lost = &found["damaged"][0]["lost"][0];
    let lost = lost["records"].as_u64().expect("a number");
    assert!((1..=COUNT as u64).contains(&lost), "{found:#}");
    let shown = spool(&scratch, "verify", &[]);
    assert_eq!(shown.code, Some(1));
    assert!(shown.out.contains(&format!("{lost} records of file:")), "{}", shown.out);
    let left = 2 * COUNT as u64 - lost;
    // What can be read is exported all the same, and that it is not all is said.
    let export = spool(&scratch, "export", &["--destination", &url]);
    assert_eq!(export.out.lines().count() as u64, left);
    export.refused("damaged");

    let repaired = spool(&scratch, "repair", &["--json"]).json();
    assert_eq!(repaired["damaged"], found["damaged"]);
    assert_eq!(repaired["rewritten"].as_array().map(Vec::len), Some(1));
    spool(&scratch, "verify", &[]).good();
    spool(&scratch, "export", &["--destination", &url]).good();

    fs::create_dir(scratch.join("later")).expect("a folder");
    let gateway = Gateway::start(&scratch, &config(&url));
    let ledger = gateway.settle("tcp", 0);
    assert_eq!(ledger.destination("all.log", "recovered"), left);
    assert_eq!(ledger.destination("all.log", "delivered"), left);
    gateway.shutdown().assert_balanced();
    let lines = scratch.lines("later/all.log");
    assert_eq!(lines.len() as u64, left);
    assert!(!lines.contains(&body(3).into_bytes()));
    assert_eq!(lines.last(), Some(&body(2 * COUNT - 1).into_bytes()));
}

/// A gateway with two destinations of which one has its folder: what the other one has not, the spool
/// keeps for both. With the URL of the live one.
fn live_and_dead(scratch: &Scratch) -> (String, String) {
    let folder = scratch.path().display();
    let live = format!("file://{folder}/live.log?format=raw");
    let config = format!(
        r#"
[limits]
shutdown = "1s"

[[source]]
name = "tcp"
url = "syslog+tcp://127.0.0.1:0"

[[route]]
name = "live"
url = "{live}"

[[route]]
name = "dead"
url = "file://{folder}/missing/dead.log"

[[pipeline]]
sources = ["tcp"]
routes = ["live", "dead"]
durability = "disk"
"#
    );
    (config, live)
}

#[test]
fn what_is_still_on_disk_is_delivered_again() {
    const COUNT: usize = 30;
    let scratch = Scratch::new("tools-replay");
    let (config, live) = live_and_dead(&scratch);
    let gateway = Gateway::start(&scratch, &config);
    send(&gateway, &frames(0..COUNT), COUNT);
    let once = scratch.wait_lines("live.log", COUNT);
    gateway.shutdown().assert_balanced();
    let is_live = |destination: &&Value| {
        destination["destination"].as_str().is_some_and(|name| name.contains("live"))
    };
    let listed = spool(&scratch, "ls", &["--json"]).json();
    let listed = listed["destinations"].as_array().expect("a list").iter().find(is_live).cloned();
    let listed = listed.expect("the live destination");
    assert_eq!(listed["records"], 0);
    let cursor = listed["cursor"].as_u64().expect("a sequence");
    // Nothing waits, so nothing is exported; what is on disk can be looked at.
    assert_eq!(spool(&scratch, "export", &["--destination", &live]).good(), "");
    assert_eq!(spool(&scratch, "cat", &["--destination", &live]).lines().len(), COUNT);

    let forward = (cursor + 1).to_string();
    spool(&scratch, "replay", &["--destination", &live, "--from", &forward]).refused("not before");
    spool(&scratch, "replay", &["--destination", "stdout:", "--from", "0"])
        .refused(listed["destination"].as_str().expect("a name"));
    let from_start = ["--destination", &live, "--from", "0"];
    let told = spool(&scratch, "replay", &from_start).good();
    assert!(told.contains("30 records wait"), "{told}");

    let gateway = Gateway::start(&scratch, &config);
    let twice = scratch.wait_lines("live.log", 2 * COUNT);
    assert_eq!(twice, [once.clone(), once].concat());
    spool(&scratch, "replay", &from_start).refused("stop the gateway");
    let ledger = gateway.shutdown();
    ledger.assert_balanced();
    assert_eq!(ledger.destination("live", "recovered"), COUNT as u64);
    assert_eq!(ledger.destination("live", "delivered"), COUNT as u64);
}

#[test]
fn what_was_lost_before_a_start_is_in_the_books() {
    const COUNT: usize = 10;
    let scratch = Scratch::new("tools-lost");
    let (config, live) = live_and_dead(&scratch);
    let gateway = Gateway::start(&scratch, &config);
    for first in [0, COUNT, 2 * COUNT] {
        send(&gateway, &frames(first..first + COUNT), first + COUNT);
        // What is written is not in one frame with what comes then.
        wait_until("them on disk", || spool(&scratch, "cat", &[]).lines().len() == first + COUNT);
    }
    assert_eq!(scratch.wait_lines("live.log", 3 * COUNT).len(), 3 * COUNT);
    gateway.shutdown().assert_balanced();

    // One is in the middle of the segment, the other one at its start, and both are before the damage.
    let records = spool(&scratch, "cat", &[]).lines();
    let from = records[COUNT]["sequence"].to_string();
    assert_ne!(from, "0");
    spool(&scratch, "replay", &["--destination", &live, "--from", &from]).good();
    damage(&scratch, &body(2 * COUNT));

    let gateway = Gateway::start(&scratch, &config);
    wait_until("the rest", || gateway.ledger().destination("live", "in_flight") == 0);
    let ledger = gateway.shutdown();
    ledger.assert_balanced();
    let again = scratch.lines("live.log").len() - 3 * COUNT;
    let lost = (2 * COUNT - again) as u64;
    assert!((1..=COUNT as u64).contains(&lost), "{ledger:?}");
    for (destination, left) in [("live", 2 * COUNT), ("dead", 3 * COUNT)] {
        assert_eq!(ledger.destination(destination, "recovered"), left as u64);
        assert_eq!(ledger.destination_drops(destination), [("damaged".to_owned(), lost)]);
    }
}

/// A gateway whose guest fails at `POISON`, where there is one.
pub(crate) fn with_guest(scratch: &Scratch, guests: &str) -> String {
    let component = scratch.write("hostile.wasm", artifacts::HOSTILE);
    format!(
        r#"
[[source]]
name = "tcp"
url = "syslog+tcp://127.0.0.1:0"

[[guest]]
name = "hostile"
path = "{}"
config = {{ behaviour = "trap-on-marker" }}

[[pipeline]]
sources = ["tcp"]
guests = [{guests}]
routes = ["all"]

[[route]]
name = "all"
url = "file://{folder}/all.log?format=raw"

# The guest's manifest names it.
[[route]]
name = "somewhere"
url = "file://{folder}/somewhere.log"
"#,
        component.display(),
        folder = scratch.path().display()
    )
}

/// Sends records at which the guest fails, and waits until they are parked.
pub(crate) fn poison(gateway: &Gateway, numbers: Range<usize>) {
    let mut stream = TcpStream::connect(gateway.source("tcp")).expect("connected");
    for number in numbers.clone() {
        writeln!(stream, "<14>1 2026-11-21T05:44:01Z host app - - - POISON {number}")
            .expect("sent");
    }
    let all = numbers.end as u64;
    wait_until("all to be parked", || gateway.ledger().source("tcp", "parked") == all);
}

#[test]
fn parked_records_are_listed_shown_forgotten_and_replayed() {
    let scratch = Scratch::new("tools-parked");
    let gateway = Gateway::start(&scratch, &with_guest(&scratch, "\"hostile\""));
    // What a terminal would take for commands.
    let commands = "\u{1b}[2J\u{9b}31m";
    let mut frames = Vec::new();
    for number in 0..4 {
        writeln!(frames, "<14>1 2026-11-21T05:44:01Z host app - - - POISON {number} {commands}")
            .expect("a vector takes it");
    }
    send(&gateway, &frames, 4);
    assert_eq!(gateway.settle("tcp", 4).source("tcp", "parked"), 4);

    let all = parked(&scratch, &gateway, "list", &["--json", "--guest", "hostile"]).lines();
    let ids: Vec<String> = all.iter().map(|letter| letter["id"].to_string()).collect();
    assert_eq!(ids.len(), 4);
    assert_eq!(all[3]["record"]["body"], format!("POISON 3 {commands}"));
    assert_eq!(
        parked(&scratch, &gateway, "list", &["--json", "--after", &ids[2]]).lines(),
        all[3..]
    );
    let none = parked(&scratch, &gateway, "list", &["--json", "--destination", "relp://h?&= é"]);
    assert_eq!(none.good(), "");
    let shown = parked(&scratch, &gateway, "list", &["--limit", "2"]).good();
    assert!(
        shown.contains("hostile") && shown.contains("POISON 1 \\u001b[2J\\u009b31m"),
        "{shown}"
    );
    assert!(shown.ends_with(&format!("for more: --after {}\n", ids[1])), "{shown}");
    let one = parked(&scratch, &gateway, "show", &[&ids[0]]).good();
    assert!(one.contains("frame        <14>1 2026-11-21T05:44:01Z host app"), "{one}");
    for text in [&shown, &one] {
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
    }
    let one = parked(&scratch, &gateway, "show", &[&ids[0], "--json"]).json();
    assert_eq!(one["record"], all[0]["record"]);

    parked(&scratch, &gateway, "forget", &[&ids[0]]).good();
    for name in ["show", "forget"] {
        parked(&scratch, &gateway, name, &[&ids[0]]).refused("no parked record has the id");
    }
    assert_eq!(parked(&scratch, &gateway, "replay", &[]).code, Some(2));
    let both = ["--all", "--guest", "hostile"];
    assert_eq!(parked(&scratch, &gateway, "replay", &both).code, Some(2));

    gateway.reload(&scratch, &with_guest(&scratch, ""));
    wait_until("the reload", || gateway.words().contains("configuration in force"));
    let told = parked(&scratch, &gateway, "replay", &[&ids[0], &ids[1]]);
    assert_eq!(told.code, Some(1));
    assert!(told.out.starts_with("1 records are on their way again\n1 of the ids"), "{told:?}");
    let told = parked(&scratch, &gateway, "replay", &["--guest", "hostile", "--json"]).json();
    assert_eq!(told["replayed"], 2);
    let expected: Vec<_> = (1..4).map(|n| format!("POISON {n} {commands}").into_bytes()).collect();
    assert_eq!(scratch.wait_lines("all.log", 3), expected);
    wait_until("replayed records to leave the park", || {
        parked(&scratch, &gateway, "list", &["--json"]).good().is_empty()
    });
    let ledger = gateway.settle("tcp", 4);
    assert_eq!(ledger.source("tcp", "replayed"), 3);
    gateway.shutdown().assert_balanced();
}

/// Answers every request with the status that it is told.
fn answering(status: &Arc<AtomicU16>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let status = Arc::clone(status);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let status = Arc::clone(&status);
            // The gateway ends its connections.
            thread::spawn(move || while answer(&stream, &status).is_some() {});
        }
    });
    address
}

fn answer(mut stream: &TcpStream, status: &AtomicU16) -> Option<()> {
    let (mut reader, mut length) = (BufReader::new(stream), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        match line.trim_end().split_once(": ") {
            Some(("content-length", value)) => length = value.parse().ok()?,
            None if line == "\r\n" => break,
            _ => {}
        }
    }
    reader.read_exact(&mut vec![0; length]).ok()?;
    let status = status.load(Ordering::SeqCst);
    write!(stream, "HTTP/1.1 {status} So\r\nContent-Length: 0\r\n\r\n").ok()
}

#[test]
fn a_replayed_record_stays_parked_until_its_destination_has_it() {
    let (scratch, status) = (Scratch::new("tools-replay"), Arc::new(AtomicU16::new(400)));
    let url = format!("http://{}/logs", answering(&status));
    // So that it does not go to the spool, which would be as good.
    let config = config(&url).replace("\"spool\"", "\"block\"");
    let gateway = Gateway::start(&scratch, &config);
    send(&gateway, b"<14>1 - host app - - - one\n<14>1 - host app - - - two\n", 2);
    assert_eq!(gateway.settle("tcp", 2).destination("http", "parked"), 2);
    let replay = |gateway: &Gateway| {
        let told = parked(&scratch, gateway, "replay", &["--destination", &url, "--json"]).json();
        told["replayed"].as_u64().expect("a number")
    };
    let listed = |gateway: &Gateway| parked(&scratch, gateway, "list", &["--json"]).lines().len();

    // Refused once more: parked again, and the letters before that are gone.
    assert_eq!(replay(&gateway), 2);
    wait_until("the first letters to go", || {
        let letters = parked(&scratch, &gateway, "list", &["--json"]).lines();
        letters.iter().map(|letter| letter["id"].as_u64()).eq([Some(3), Some(4)])
    });
    // On their way: listed still, and not sent twice.
    status.store(503, Ordering::SeqCst);
    assert_eq!(replay(&gateway), 2);
    assert_eq!(replay(&gateway), 0);
    assert_eq!(listed(&gateway), 2);
    assert_eq!(gateway.ledger().destination("http", "in_flight"), 2);
    status.store(204, Ordering::SeqCst);
    wait_until("the letters to arrive", || listed(&gateway) == 0);
    let ledger = gateway.shutdown();
    ledger.assert_balanced();
    assert_eq!(ledger.destination("http", "replayed"), 4);
    assert_eq!(ledger.destination("http", "delivered"), 2);
}

#[test]
fn the_api_is_asked_with_its_key_and_it_is_said_where_nobody_answers() {
    let scratch = Scratch::new("tools-key");
    // `[control]` is the table that the test's configuration begins with.
    let config = format!("auth_key = \"s3cret\"\n{}", config("file:///dev/null"));
    let gateway = Gateway::start(&scratch, &config);
    parked(&scratch, &gateway, "list", &[]).refused("AUTH_KEY");
    parked(&scratch, &gateway, "list", &["--auth-key-env", "NOT_SET"]).refused("NOT_SET");
    let control = format!("http://{}", gateway.control());
    let with_key = |variable: &str, key: &str, arguments: &[&str]| {
        let list = ["parked", "list", "--json", "--control", &control];
        let mut command = command(&scratch, &[&list, arguments].concat());
        command.env(variable, key);
        run(command)
    };
    assert_eq!(with_key("AUTH_KEY", "s3cret", &[]).good(), "");
    assert_eq!(with_key("KEY", "s3cret", &["--auth-key-env", "KEY"]).good(), "");
    with_key("AUTH_KEY", "other", &[]).refused("AUTH_KEY");
    gateway.shutdown();
    with_key("AUTH_KEY", "s3cret", &[]).refused("no gateway answers");
    let other = ["parked", "list", "--control", "https://127.0.0.1:1"];
    run(command(&scratch, &other)).refused("http://HOST:PORT");
}
