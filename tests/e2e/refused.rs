//! What the binary refuses to run: each time one clear message, and exit code 1 or 2.

use std::net::TcpListener;
use std::path::Path;

use logboom_tests::{Certificates, Scratch, run_to_end};

/// Runs with a configuration that must be refused; `named` are what the message must name.
fn check(scratch: &Scratch, config: &str, named: &[&str]) {
    scratch.write("logboom.toml", config);
    check_run(scratch, &["run", "-c", "logboom.toml"], named);
}

fn check_run(scratch: &Scratch, arguments: &[&str], named: &[&str]) {
    let refusal = run_to_end(arguments, scratch.path());
    let code = refusal.status.code();
    let text = &refusal.stderr;
    assert!(matches!(code, Some(1 | 2)), "{arguments:?}: {code:?}: {text}");
    for part in named {
        assert!(text.contains(part), "{arguments:?} does not name {part:?}: {text}");
    }
    for bad in ["panicked", "RUST_BACKTRACE", "Os {", "Error {", "stack backtrace"] {
        assert!(!text.contains(bad), "{arguments:?}: {bad:?} is nothing for people: {text}");
    }
    let is_ready = text.lines().any(|line| line.trim() == "ready");
    assert!(!is_ready, "{arguments:?}: it said that it was ready: {text}");
    // One problem is one message, and says nothing twice.
    let naming = text.lines().filter(|line| line.contains(named[0])).count();
    assert!(naming <= 2, "{arguments:?}: {naming} lines name {:?}: {text}", named[0]);
    assert!(text.matches("os error").count() <= 1, "{arguments:?}: the cause stands twice: {text}");
}

/// A configuration with one guest.
fn with_guest(guest: &str) -> String {
    format!(
        r#"
data = "data"

[control]
listen = "127.0.0.1:0"

[[source]]
name = "tcp"
url = "syslog+tcp://127.0.0.1:0"

[[guest]]
name = "mine"
{guest}

[[pipeline]]
sources = ["tcp"]
guests = ["mine"]
"#
    )
}

#[test]
fn a_configuration_that_cannot_be_read_is_named() {
    let scratch = Scratch::new("unreadable");
    check_run(&scratch, &["run", "-c", "absent.toml"], &["absent.toml"]);
    check_run(&scratch, &["check", "-c", "absent.toml"], &["absent.toml"]);
    std::fs::create_dir(scratch.join("folder.toml")).expect("a folder");
    check_run(&scratch, &["run", "-c", "folder.toml"], &["folder.toml"]);
    scratch.write("bytes.toml", [0xff, 0xfe, 0x00]);
    check_run(&scratch, &["run", "-c", "bytes.toml"], &["bytes.toml"]);
}

#[test]
fn a_configuration_that_is_wrong_is_named_with_all_its_problems() {
    let scratch = Scratch::new("wrong-config");
    check(
        &scratch,
        "[[source]]\nname = \"a\"\nurl = \"syslog+tcp://127.0.0.1:0\"\nframming = \"lf\"\n\n[limits]\nqueue = 7\n",
        &["framming", "framing", "logboom.toml:4", "queue", "logboom.toml:7"],
    );
    check(&scratch, "[[source\n", &["logboom.toml:1"]);
}

#[test]
fn a_port_in_use_is_named() {
    let scratch = Scratch::new("port");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    check(
        &scratch,
        &format!(
            "data = \"data\"\n[control]\nlisten = \"127.0.0.1:0\"\n[[source]]\nname = \"edge\"\nurl = \"syslog+tcp://{address}\"\n"
        ),
        &[&address, "in use"],
    );
    check(
        &scratch,
        &format!("data = \"data\"\n[control]\nlisten = \"{address}\"\n"),
        &[&address, "in use"],
    );
}

#[test]
fn a_guest_that_is_missing_corrupt_or_of_a_wrong_world_is_named() {
    let scratch = Scratch::new("guest");
    check(&scratch, &with_guest("path = \"absent.wasm\""), &["absent.wasm", "mine"]);
    check(&scratch, &with_guest("use = \"std:acess\""), &["std:acess", "std:access"]);
    // Not WebAssembly, a folder, a component that is cut short, an empty file.
    scratch.write("text.wasm", "this is no component");
    check(&scratch, &with_guest("path = \"text.wasm\""), &["mine", "text.wasm"]);
    scratch.write("empty.wasm", "");
    check(&scratch, &with_guest("path = \"empty.wasm\""), &["mine", "empty.wasm"]);
    scratch.write("short.wasm", b"\0asm\x0d\0\x01\0\x07\xff\xff");
    check(&scratch, &with_guest("path = \"short.wasm\""), &["mine", "short.wasm"]);
    // A valid component that exports nothing, and a valid module that is no component.
    scratch.write("world.wasm", b"\0asm\x0d\0\x01\0");
    check(&scratch, &with_guest("path = \"world.wasm\""), &["mine", "world.wasm", "logboom:guest"]);
    scratch.write("module.wasm", b"\0asm\x01\0\0\0");
    check(&scratch, &with_guest("path = \"module.wasm\""), &["mine", "module.wasm", "component"]);
}

#[test]
fn a_guest_that_refuses_its_configuration_is_named_with_its_words() {
    let scratch = Scratch::new("guest-config");
    check(
        &scratch,
        &with_guest("use = \"std:access\"\nconfig = { format = \"combinde\" }"),
        &["mine", "combinde"],
    );
    check(
        &scratch,
        &with_guest("use = \"std:access\"\nconfig = { formatt = \"combined\" }"),
        &["mine", "formatt", "format"],
    );
}

#[test]
fn usage_that_is_wrong_exits_with_2() {
    let scratch = Scratch::new("usage");
    for arguments in [&["rn"][..], &["run", "--no-such-flag"], &["send"], &["send", "nonsense"]] {
        let refusal = run_to_end(arguments, scratch.path());
        assert_eq!(refusal.status.code(), Some(2), "{arguments:?}: {}", refusal.stderr);
        assert!(refusal.stderr.contains("--help"), "{}", refusal.stderr);
    }
}

#[test]
fn load_that_arrives_incomplete_exits_with_1() {
    let scratch = Scratch::new("load");
    let arguments = ["receive", "syslog+tcp://127.0.0.1:0", "--expect", "5", "--timeout", "0.5"];
    let refusal = run_to_end(&arguments, scratch.path());
    assert_eq!(refusal.status.code(), Some(1), "{}", refusal.stderr);
    assert!(refusal.stderr.contains("listening url=syslog+tcp://127.0.0.1:"), "{}", refusal.stderr);
    let nobody = ["send", "syslog+tcp://127.0.0.1:1", "--wait", "0", "--count", "1"];
    let refusal = run_to_end(&nobody, scratch.path());
    assert_eq!(refusal.status.code(), Some(1), "{}", refusal.stderr);
    assert!(refusal.stderr.contains("cannot connect to 127.0.0.1:1"), "{}", refusal.stderr);
}

#[test]
fn certificates_of_a_source_that_cannot_be_used_are_named_by_run_and_check() {
    let scratch = Scratch::new("refused-tls");
    let all = Certificates::new(&scratch);
    let config = |cert: &Path, key: &Path| {
        format!(
            "data = \"data\"\n[control]\nlisten = \"127.0.0.1:0\"\n[[source]]\nname = \"tls\"\n\
             url = \"syslog+tls://127.0.0.1:0\"\ncert = \"{}\"\nkey = \"{}\"\n",
            cert.display(),
            key.display(),
        )
    };
    for (cert, key, named) in [
        (Path::new("nowhere.pem"), all.server.key.as_path(), "nowhere.pem"),
        (&all.server.certificate, &all.client.key, "does not match"),
        (&all.server.key, &all.server.key, "no certificate"),
    ] {
        scratch.write("logboom.toml", config(cert, key));
        for command in ["run", "check"] {
            check_run(&scratch, &[command, "-c", "logboom.toml"], &["source \"tls\"", named]);
        }
    }
}

#[test]
fn what_nothing_uses_is_named() {
    let scratch = Scratch::new("unused");
    let source = "data = \"data\"\n[[source]]\nname = \"in\"\nurl = \"syslog+udp://127.0.0.1:0\"\n";
    let guest = "[[guest]]\nname = \"to\"\nuse = \"std:route\"\n\
                 config = '{\"rules\": [{\"match\": {\"app\": \"*\"}, \"to\": [\"out\"]}]}'\n";
    let route = "[[route]]\nname = \"out\"\nurl = \"stdout:\"\n";
    let pipeline = "[[pipeline]]\nsources = [\"in\"]\n";
    let warnings = |config: String| -> usize {
        scratch.write("logboom.toml", config);
        let ended = run_to_end(&["check", "-c", "logboom.toml"], scratch.path());
        assert!(ended.status.success(), "{}", ended.stderr);
        ended.stderr.lines().filter(|line| line.contains("warning: ")).count()
    };
    // The source and the route, and the guest too.
    assert_eq!(warnings(format!("{source}{route}")), 2);
    assert_eq!(warnings(format!("{source}{route}{guest}")), 3);
    assert_eq!(warnings(format!("{source}{route}{pipeline}routes = [\"out\"]\n")), 0);
    // A router's route is used.
    assert_eq!(warnings(format!("{source}{route}{guest}{pipeline}guests = [\"to\"]\n")), 0);
    assert_eq!(warnings(format!("{source}[[drain]]\napp = \"*\"\nurl = \"stdout:\"\n")), 0);
}
