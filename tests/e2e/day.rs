//! A day of mixed records through the standard guests: the ledger balances to the record, and what
//! the guests counted and routed is what grep and awk count in the same file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Command, Stdio};

use logboom_tests::{Gateway, Scratch, day, wait_until};

const RECORDS: usize = 120_000;

/// Runs a shell pipeline over the day's file and returns its lines as `count name`.
fn count(scratch: &Scratch, pipeline: &str) -> BTreeMap<String, f64> {
    let output = Command::new("sh")
        .args(["-c", &format!("set -e; export LC_ALL=C; {pipeline}")])
        .current_dir(scratch.path())
        .stdin(Stdio::null())
        .output()
        .expect("sh starts");
    assert!(output.status.success(), "{pipeline}: {output:?}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let entry = |line: &str| {
        let (count, name) = line.trim_start().split_once(' ').unwrap_or((line.trim(), ""));
        (name.to_owned(), count.parse().unwrap_or_else(|_| panic!("{pipeline}: {line:?}")))
    };
    text.lines().map(entry).collect()
}

fn configuration(scratch: &Scratch) -> String {
    format!(
        r#"
[[source]]
name = "day"
url = "syslog+tcp://127.0.0.1:0"
framing = "lf"

[[guest]]
name = "k8s"
use = "std:k8s"

[[guest]]
name = "json"
use = "std:json"

[[guest]]
name = "access"
use = "std:access"

[[guest]]
name = "oom"
use = "std:oom"

[[guest]]
name = "count"
use = "std:count"

[guest.config]
metrics = [
  {{ name = "records_total", help = "Records by severity.", kind = "counter", match = {{ all = true }}, labels = {{ severity = "severity" }} }},
  {{ name = "requests_total", help = "Requests by status.", kind = "counter", match = {{ app_name = "nginx" }}, labels = {{ status = "field.status" }} }},
  {{ name = "failed_logins_total", help = "Failed logins.", kind = "counter", match = {{ contains = "Failed password" }}, labels = {{ host = "host" }} }},
  {{ name = "containers_total", help = "Lines of containers.", kind = "counter", match = {{ host = "node-*", app = "*-*", severity = "info", regex = "^request [0-9]+ done" }}, labels = {{ app = "app" }} }},
]

[[guest]]
name = "route"
use = "std:route"

[guest.config]
rules = [
  {{ match = {{ contains = "Failed password" }}, to = ["security"], keep = true }},
  {{ match = {{ field = {{ status = 503 }} }}, to = ["unavailable"], keep = true }},
]
default = "keep"

[[route]]
name = "all"
url = "file://{folder}/all.log?format=raw"
when_full = "block"

[[route]]
name = "security"
url = "file://{folder}/security.log?format=raw"
when_full = "block"

[[route]]
name = "unavailable"
url = "file://{folder}/unavailable.log?format=raw"
when_full = "block"

[[pipeline]]
sources = ["day"]
guests = ["k8s", "json", "access", "oom", "count", "route"]
routes = ["all"]
"#,
        folder = scratch.path().display()
    )
}

/// Sends the file as it stands, as `nc` would.
fn send_file(scratch: &Scratch, gateway: &Gateway) {
    let mut stream = TcpStream::connect(gateway.source("day")).expect("connected");
    let mut file = File::open(scratch.join("day.log")).expect("the day's file");
    io::copy(&mut file, &mut stream).expect("sent");
    stream.flush().expect("flushed");
    stream.shutdown(Shutdown::Write).expect("shut down");
}

#[test]
fn a_day_of_records_balances_and_counts_what_grep_and_awk_count() {
    let scratch = Scratch::new("day");
    scratch.write("day.log", day::lines(RECORDS, 20_261_121));
    let gateway = Gateway::start(&scratch, &configuration(&scratch));
    send_file(&scratch, &gateway);
    let ledger = gateway.settle("day", RECORDS as u64);
    let metrics = gateway.metrics();

    // Independent counts of the same file.
    let total = count(&scratch, "wc -l <day.log")[""];
    let failed = count(&scratch, "grep -c 'Failed password' day.log")[""];
    let statuses = count(
        &scratch,
        r#"awk -F'"' '/ nginx: /{split($3,a," "); print a[1]}' day.log | sort | uniq -c"#,
    );
    let by_host =
        count(&scratch, "grep 'Failed password' day.log | awk '{print $4}' | sort | uniq -c");
    // One kill may be told twice, by the same pid and name.
    let kills = count(
        &scratch,
        r"grep -E 'Kill(ed)? process' day.log \
          | sed -E 's/.*Kill(ed)? process ([0-9]+) \((.*)\)( score|  ?total-vm).*/\2 \3/' \
          | sort -u | cut -d' ' -f2- | sort | uniq -c",
    );
    // Severity is what the priority says, unless a container says by its stream.
    let severities = count(
        &scratch,
        r#"awk 'BEGIN { split("emerg alert crit err warning notice info debug", name, " ") }
          { p = substr($1, 2) + 0; s = p % 8 }
          / k8s - - - / { s = /"stream":"stderr"/ ? 3 : 6 }
          { print name[s + 1] }' day.log | sort | uniq -c"#,
    );
    let containers = count(
        &scratch,
        r#"grep ' k8s - - - ' day.log \
          | sed -E 's/.*"namespace_name":"([a-z]*)".*"container_name":"([a-z]*)".*/\2-\1/' \
          | sort | uniq -c"#,
    );

    assert_eq!(total, RECORDS as f64);
    assert_eq!(ledger.source("day", "received"), RECORDS as u64, "{ledger:?}");
    assert_eq!(ledger.source("day", "routed"), RECORDS as u64, "{ledger:?}");
    assert_eq!(ledger.source("day", "rejected"), 0, "{ledger:?}");
    let delivered = |part| ledger.destination(part, "delivered") as f64;
    assert_eq!(delivered("all.log"), total);
    assert_eq!(delivered("security.log"), failed);
    assert_eq!(delivered("unavailable.log"), statuses["503"]);

    assert_eq!(metrics.by_label("records_total", "severity"), severities);
    assert_eq!(metrics.by_label("requests_total", "status"), statuses);
    assert_eq!(metrics.by_label("failed_logins_total", "host"), by_host);
    assert_eq!(metrics.by_label("oom_kills_total", "process"), kills);
    assert_eq!(metrics.by_label("containers_total", "app"), containers);

    // What stands in the files is what was counted.
    for (file, expected) in
        [("all.log", total), ("security.log", failed), ("unavailable.log", statuses["503"])]
    {
        let lines = || count(&scratch, &format!("wc -l <{file}"))[""];
        wait_until(&format!("{expected} lines in {file}"), || lines() >= expected);
        assert_eq!(lines(), expected, "{file}");
    }
    let failed_there = count(&scratch, "grep -c 'Failed password' security.log")[""];
    assert_eq!(failed_there, failed);
    gateway.shutdown();
}
