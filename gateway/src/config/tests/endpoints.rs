//! Which URLs are refused, alone and beside each other.

use super::*;

#[test]
fn destination_urls_are_refused_with_the_part_that_is_wrong() {
    const SCHEMES: &str = "file, http, https, quic, relp, relps, stdout, syslog, syslog+tcp, \
                           syslog+tls, syslog+udp";
    let check = |url: &str, expected: &str| {
        let text = format!("[[drain]]\napp = 'a'\nurl = '{url}'");
        check(&text, &[&format!("3:7: url: {expected}")]);
    };
    check("", &format!("\"\" has no scheme; supported: {SCHEMES}"));
    check("10.0.0.1:514", &format!("\"10.0.0.1:514\" has no scheme; supported: {SCHEMES}"));
    check("u:hunter2@h", &format!("unknown scheme \"u\"; supported: {SCHEMES}"));
    check("1:hunter2@h", &format!("\"h\" has no scheme; supported: {SCHEMES}"));
    check(
        "syslg://h",
        &format!("unknown scheme \"syslg\"; did you mean \"syslog\"? supported: {SCHEMES}"),
    );
    for (written, meant) in
        [("syslogs", "syslog+tls"), ("TLS", "syslog+tls"), ("udp", "syslog+udp")]
    {
        let expected =
            format!("unknown scheme \"{written}\"; did you mean \"{meant}\"? supported: {SCHEMES}");
        check(&format!("{written}://h"), &expected);
    }
    check("syslog://a b", "has the character ' '; allowed: printable ASCII, anything else as %XX");
    check("syslog://ä", "has the character 'ä'; allowed: printable ASCII, anything else as %XX");
    check("syslog:h", "has no host; write syslog://host:port");
    check("syslog://", "has no host; write syslog://host:port");
    check("syslog://:514", "has no host; write syslog://host:port");
    check(
        "syslog+udp://u:hunter2@h",
        "has credentials before the host, which syslog+udp has no use \
          for; allowed: syslog+udp://host:port",
    );
    check("syslog://h/x", "has a path, which syslog has no use for; allowed: syslog://host:port");
    check("syslog://h#x", "has a fragment (#…); allowed: none, and # in a path as %23");
    for port in ["0", "65536", "", "5x", "+5", "-1"] {
        check(
            &format!("syslog://h:{port}"),
            &format!("port \"{port}\" is no port; allowed: 1 to 65535"),
        );
    }
    for host in [
        "127.1",
        "1.2.3.4.5",
        "0x7f.0x1",
        "256.1.1.1",
        "a..b",
        "-a",
        "a%20",
        "::1",
        "[::1",
        "[1.2.3.4]",
        "[fe80::1%eth0]",
        "a.0177",
    ] {
        check(
            &format!("syslog://{host}/"),
            &format!(
                "host {host:?} is no host; allowed: an IP \
              address ([…] around IPv6) or a host name"
            )
            .replace("\"::1\"", "\":\""),
        );
    }
    check("syslog://h?framing=nul", "query framing=\"nul\" is unknown; allowed: octet, lf");
    check(
        "syslog://h?frame=lf",
        "unknown query key \"frame\"; allowed for syslog: format, framing",
    );
    check(
        "syslog+udp://h?framing=lf",
        "unknown query key \"framing\"; allowed for syslog+udp: format, max_bytes",
    );
    check("syslog://h?framing", "query framing=\"\" is unknown; allowed: octet, lf");
    check(
        "syslog://h?format=rfc3164&format=rfc5424",
        "query key \"format\" is there twice; allowed: once",
    );
    for number in ["479", "65508", "", "+500", "1e3"] {
        check(
            &format!("syslog+udp://h?max_bytes={number}"),
            &format!("query max_bytes={number:?} is out of range; allowed: 480 to 65507"),
        );
    }
    check("relp://h?format=json", "unknown query key \"format\"; allowed for relp: none");
    check("relps://h/x", "has a path, which relps has no use for; allowed: relps://host:port");
}

#[test]
fn files_and_the_console_are_refused_with_the_part_that_is_wrong() {
    let check = |url: &str, expected: &str| {
        let text = format!("[[drain]]\napp = 'a'\nurl = '{url}'");
        check(&text, &[&format!("3:7: url: {expected}")]);
    };
    check(
        "stdout:x",
        "has more than a query behind stdout:; allowed: stdout: or stdout:?format=json",
    );
    check("file:", "names no file; allowed: file:///folder/file or file:folder/file");
    check("file:///", "names no file; allowed: file:///folder/file or file:folder/file");
    check("file:///a/", "names no file; allowed: file:///folder/file or file:folder/file");
    check("file:///a/..", "names no file; allowed: file:///folder/file or file:folder/file");
    check(
        "file://h/a",
        "has the host \"h\"; allowed: none (three slashes), as in file:///folder/file",
    );
    for escape in ["%", "%4", "%zz", "%00", "%ff"] {
        check(
            &format!("file:///a{escape}"),
            "has a bad escape in its path; allowed: %XX of UTF-8, not %00",
        );
    }
}

#[test]
fn http_urls_are_refused_with_the_part_that_is_wrong() {
    let check = |url: &str, expected: &str| {
        let text = format!("[[drain]]\napp = 'a'\nurl = '{url}'");
        check(&text, &[&format!("3:7: url: {expected}")]);
    };
    check("http:h", "has no host; write http://host:port");
    check("https:///x", "has no host; write https://host:port");
    check("https://u:p@", "has no host; write https://host:port");
    check("https://h:0/", "port \"0\" is no port; allowed: 1 to 65535");
    check(
        "http://h?format=jsn",
        "query format=\"jsn\" is unknown; did you mean \"json\"? allowed: logplex, ndjson, json, \
         raw",
    );
    check("http://h?gzip", "query gzip=\"\" is unknown; allowed: true, false");
    check("http://h?http=3", "query http=\"3\" is unknown; allowed: 1.1, 2");
    check("http://h?a=1&gzip=true&gzip=true", "query key \"gzip\" is there twice; allowed: once");
    for (target, bad) in [
        ("/<", '<'),
        ("/a\"", '"'),
        ("/[x]", '['),
        ("/?a|b", '|'),
        ("/%", '%'),
        ("/%4", '%'),
        ("/?%zz", '%'),
    ] {
        let expected = format!("has the character {bad:?} in its path or query; write it as %XX");
        check(&format!("http://h{target}"), &expected);
    }
    for userinfo in ["", ":", "a%", "a%3Ab", "a:%0A", "a@b", "%ff", "a|b", "%00"] {
        check(
            &format!("https://{userinfo}@h"),
            "has credentials that cannot be read; allowed: user:password@ before the host, no : in \
             the user, and %XX for any of / ? # @ and %",
        );
    }
}

#[test]
fn source_urls_are_addresses_of_this_machine() {
    let check = |url: &str, expected: &str| {
        let text = format!("[[source]]\nname = 's'\nurl = '{url}'");
        check(&text, &[&format!("3:7: url: {expected}")]);
    };
    check(
        "syslog+tcp://example.com:1",
        "host \"example.com\" cannot be listened on; allowed: an IP \
          address of this machine, or localhost",
    );
    check(
        "syslog://0.0.0.0",
        "unknown scheme \"syslog\"; did you mean \"syslog+tcp\"? supported: grpc, grpcs, http, https, quic, relp, relps, \
         syslog+tcp, syslog+tls, syslog+udp, syslog+unix, syslog+unixgram",
    );
    check(
        "syslog+tcp://0.0.0.0?framing=lf",
        "unknown query key \"framing\"; allowed for syslog+tcp: none",
    );
    check("relp://0.0.0.0?window=9", "unknown query key \"window\"; allowed for relp: none");
    check(
        "grpcs://0.0.0.0/x",
        "has a path, which grpcs has no use for; allowed: grpcs://host:port",
    );
    for path in ["syslog+unix:", "syslog+unix://h/x", "syslog+unix:///", "syslog+unix:x"] {
        check(path, "names no socket; allowed: syslog+unix:///folder/name, of at most 107 bytes");
    }
    let long = format!("syslog+unixgram:///{}", "x".repeat(107));
    let expected = "names no socket; allowed: syslog+unixgram:///folder/name, of at most 107 bytes";
    check(&long, expected);
    check("syslog+tcp://0.0.0.0:70000", "port \"70000\" is no port; allowed: 0 to 65535");
}

#[test]
fn listeners_do_not_want_the_same_address() {
    let second = "[[source]]\nname = 't'\nurl = 'syslog+tcp://localhost:1'";
    check(
        &format!("{TCP}\n{second}\n"),
        &["6:7: address 127.0.0.1:1 is already used on line 3; allowed: once"],
    );
    valid(&format!("{UDP}\n{second}\n"));
    check(
        &format!("{TCP}\n{}\n", second.replace("syslog+tcp", "relp")),
        &["6:7: address 127.0.0.1:1 is already used on line 3; allowed: once"],
    );
    check(
        "[[source]]\nname = 't'\nurl = 'syslog+tcp://127.0.0.1:5000'",
        &[
            "3:7: address 127.0.0.1:5000, that of [control], is already used by a default; allowed: once",
        ],
    );
    check(
        &format!("[control]\nlisten = 'localhost:1'\n{TCP}\n"),
        &["5:7: address 127.0.0.1:1, that of [control], is already used on line 2; allowed: once"],
    );
    let all = "[[source]]\nname = 't'\nurl = 'http://0.0.0.0:1'";
    check(
        &format!("{TCP}\n{all}\n"),
        &[
            "6:7: address 0.0.0.0:1, which overlaps 127.0.0.1:1, is already used on line 3; allowed: once",
        ],
    );
    valid(&format!("{UDP}\n{all}\n"));
    valid(&format!("{TCP}\n{}\n", all.replace("0.0.0.0", "[::]")));
    // Any free port is never the same.
    let any =
        |name: &str| format!("[[source]]\nname = '{name}'\nurl = 'syslog+tcp://127.0.0.1:0'\n");
    valid(&format!("[control]\nlisten = '127.0.0.1:0'\n{}{}", any("a"), any("b")));
}

#[test]
fn orders_do_not_contradict_each_other() {
    let drain = |app: &str, rest: &str| format!("[[drain]]\napp = '{app}'\n{rest}\n");
    let block = drain("a", "url = 'syslog://h'\nwhen_full = 'block'");
    check(
        &format!("{block}{}", drain("b", "url = 'syslog+tcp://H:514'\nwhen_full = 'shed'")),
        &["8:13: when_full = \"shed\" contradicts \"block\" on line 4 for the same destination; \
         allowed: one of them"],
    );
    valid(&format!("{block}{}", drain("b", "url = 'syslog://h'")));
    valid(&format!("{block}{}", drain("b", "url = 'syslog://h2'\nwhen_full = 'shed'")));
    check(
        &format!("{block}{block}"),
        &[
            "5:1: the drain of \"a\" to \"syslog+tcp://h:514\" is already used on line 1; allowed: once",
        ],
    );
    let files = [drain("a", "url = 'file:x'"), drain("b", "url = 'file:./x?format=raw'")];
    check(
        &files.concat(),
        &["6:7: \"file:x?format=raw\" contradicts \"file:x\" on line 3 for the same destination; \
         allowed: one of them"],
    );
    for app in ["", "web-*", "**", "a b", "a\u{1}"] {
        let text =
            format!("[[drain]]\napp = {app:?}\nurl = 'stdout:'").replace("\\u{1}", "\\u0001");
        check(
            &text,
            &[&format!(
                "2:7: app = {app:?} is no app; allowed: one app, or \"*\" for every app, without \
             whitespace, at most 255 bytes"
            )],
        );
    }
}

#[test]
fn records_do_not_go_round_for_ever() {
    let order = |source: &str, destination: &str| {
        let text = format!(
            "[[source]]\nname = 's'\nurl = '{source}'\n[[drain]]\napp = '*'\nurl = '{destination}'"
        );
        parse(&text).map(|_| ()).map_err(|problems| problems.to_string())
    };
    let expected = "logboom.toml:6:7: sends records back into source \"s\" on line 1; allowed: any \
                    other destination";
    for (source, destination) in [
        ("syslog+tcp://127.0.0.1:9", "syslog://127.0.0.1:9"),
        ("syslog+tcp://127.0.0.1:9", "syslog://localhost:9?framing=lf"),
        ("syslog+udp://0.0.0.0:9", "syslog+udp://127.0.0.2:9"),
        ("syslog+tcp://[::]:9", "syslog://[::1]:9"),
        ("syslog+tcp://[::]:9", "syslog://127.0.0.1:9"),
        ("relp://127.0.0.1:9", "relp://127.0.0.1:9"),
        // What is no syslog comes in as lines of something else.
        ("syslog+tcp://127.0.0.1:9", "http://u:p@localhost:9/x"),
        ("syslog+tcp://127.0.0.1:9", "syslog+tls://127.0.0.1:9"),
    ] {
        assert_eq!(order(source, destination), Err(expected.to_owned()), "{source} {destination}");
    }
    for (source, destination) in [
        ("syslog+tcp://127.0.0.1:9", "syslog+udp://127.0.0.1:9"),
        ("syslog+tcp://127.0.0.1:9", "syslog://127.0.0.1:10"),
        ("syslog+tcp://127.0.0.1:9", "syslog://127.0.0.2:9"),
        ("syslog+tcp://0.0.0.0:9", "syslog://[::1]:9"),
        ("syslog+tcp://0.0.0.0:9", "syslog://10.0.0.1:9"),
    ] {
        assert_eq!(order(source, destination), Ok(()), "{source} {destination}");
    }
}
