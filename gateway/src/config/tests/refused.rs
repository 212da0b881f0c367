//! What is refused, and how it is said.

use super::*;

/// One bad line in a table that is good otherwise.
fn check_line(table: &str, line: &str, expected: &str) {
    let text = format!("{table}\n{line}\n");
    let at = text.lines().count();
    check(&text, &[&format!("{at}:{expected}")]);
}

const GUEST: &str = "[[guest]]\nname = 'g'\nuse = 'std:json'";
const RELP: &str = "[[source]]\nname = 's'\nurl = 'relp://127.0.0.1:1'";
const ROUTE: &str = "[[route]]\nname = 'r'\nurl = 'syslog://h'";

#[test]
fn unknown_keys_are_refused_with_the_nearest_known_one() {
    const TOP: &str = "allowed: [control], data, [[drain]], [[guest]], [limits], [network], \
                       [parked], [[pipeline]], [[route]], [[source]], [spool]";
    const SOURCE: &str = "allowed: answer_timeout, app, app_attributes, cert, client_auth, \
                          client_ca, compression, format, frame_timeout, framing, \
                          handshake_timeout, idle, key, line, max_body, max_requests, max_sessions, \
                          max_sessions_per_peer, message_bytes_max, mode, name, oversize, password, peer_fields, \
                          proxy_protocol, receive_buffer, sockets, strict, token, tokens, url, \
                          user, window";
    let top = |line: &str, expected: &str| check(line, &[&format!("{expected} {TOP}")]);
    top("daat = 1", "1:1: unknown key \"daat\"; did you mean \"data\"?");
    top("[limit]\nx = 1", "1:2: unknown table \"limit\"; did you mean [limits]?");
    top("[[sources]]", "1:3: unknown table \"sources\"; did you mean [[source]]?");
    top("x = 1", "1:1: unknown key \"x\";");
    top("url = 'x'", "1:1: unknown key \"url\"; it belongs in [[source]];");
    let source =
        |line: &str, expected: &str| check_line(TCP, line, &format!("{expected} {SOURCE}"));
    source(
        "  framming = 'lf'",
        "3: unknown key \"framming\" in [[source]]; did you mean \"framing\"?",
    );
    source("Strict = true", "1: unknown key \"Strict\" in [[source]]; did you mean \"strict\"?");
    source("names_max = 1", "1: unknown key \"names_max\" in [[source]]; it belongs in [[guest]];");
    source("\"\" = 'x'", "1: unknown key \"\" in [[source]];");
    check(
        "[limits]\ndata = 'x'",
        &["2:1: unknown key \"data\" in [limits]; it belongs at the top of the file; \
         allowed: attempt, max_connections, memory, queue, record, shutdown"],
    );
}

#[test]
fn what_is_planned_is_told_from_what_is_unknown() {
    const TOP: &str = "is not supported yet by this build; supported: [control], data, [[drain]], \
                       [[guest]], [limits], [network], [parked], [[pipeline]], [[route]], \
                       [[source]], [spool]";
    check("[store]\nurl = 'file:x'", &[&format!("1:2: [store] {TOP}")]);
    let line = |table, line, expected: &str, supported: &str| {
        let expected =
            format!("{expected} is not supported yet by this build; supported: {supported}");
        check_line(table, line, &expected);
    };
    line(
        "[[guest]]\nname = 'g'",
        "use = 'oci://x'",
        "7: use = \"oci:…\"",
        "use = \"std:…\" and path = \"…\"",
    );
    line(
        "[[route]]\nname = 'r'",
        "url = 'OTLP://h/x'",
        "7: url: scheme \"otlp\"",
        "file, http, https, quic, relp, relps, stdout, syslog, syslog+tcp, syslog+tls, syslog+udp",
    );
}

#[test]
fn values_of_the_wrong_type_name_both_types() {
    check_line(TCP, "strict = 'yes'", "10: strict must be true or false, found a string");
    check_line(TCP, "framing = 3", "11: framing must be a string, found an integer");
    check_line(TCP, "max_sessions = 1.5", "16: max_sessions must be an integer, found a float");
    check_line(
        TCP,
        "idle = 10",
        "8: idle must be a duration in quotes, as in \"250ms\", found an integer",
    );
    check_line(
        "[limits]",
        "memory = 1979-05-27",
        "10: memory must be a size in quotes, as in \"64MiB\", found a date or time",
    );
    check_line(GUEST, "config = []", "10: config must be a table or a string, found a list");
    check_line("", "control = []", "11: control must be a table, once in the file, found a list");
    // The table in single brackets is read all the same, and a key of a wrong type is not missing.
    check(
        "[source]\nname = 1\nurl = 'syslog+tcp://h'",
        &[
            "1:1: source must be a list of tables, each under its own [[…]], found a table",
            "2:8: name must be a string, found an integer",
            "3:7: url: host \"h\" cannot be listened on; allowed: an IP address of this machine, or \
         localhost",
        ],
    );
    check(
        "source = [1]",
        &["1:11: source must be a list of tables, each under its own [[…]], found an integer"],
    );
    check(
        "[[pipeline]]\nsources = 's'",
        &["2:11: sources must be a list of names, as in [\"a\", \"b\"], found a string"],
    );
}

#[test]
fn missing_keys_are_told_with_a_line_that_would_do() {
    check(
        "[[source]]\n[[guest]]\n[[pipeline]]\n[[route]]\n[[drain]]",
        &[
            "1:1: [[source]] has no \"name\"; write for example name = \"edge\"",
            "1:1: [[source]] has no \"url\"; write for example url = \"syslog+tcp://127.0.0.1:5514\"",
            "2:1: [[guest]] has no \"name\"; write for example name = \"access\"",
            "2:1: [[guest]] has no \"use\"; write for example use = \"std:access\", or path = \
         \"mine.wasm\"",
            "3:1: [[pipeline]] has no \"sources\"; write for example sources = [\"udp\", \"tcp\"]",
            "4:1: [[route]] has no \"name\"; write for example name = \"archive\"",
            "4:1: [[route]] has no \"url\"; write for example url = \"file:///var/log/all.log\"",
            "5:1: [[drain]] has no \"app\"; write for example app = \"web-shop\"",
            "5:1: [[drain]] has no \"url\"; write for example url = \
         \"syslog+tcp://logs.example.com:514\"",
        ],
    );
    check_line(
        GUEST,
        "path = 'x'",
        "8: \"use\" and \"path\" exclude each other; allowed: one of them",
    );
}

#[test]
fn words_numbers_and_units_are_told_with_what_is_allowed() {
    check_line(
        TCP,
        "framing = 'oktet'",
        "11: framing = \"oktet\" is unknown; did you mean \"octet\"? allowed: auto, octet, lf, nul",
    );
    check_line(
        TCP,
        "format = 'json'",
        "10: format = \"json\" is unknown; allowed: auto, rfc5424, rfc3164",
    );
    check_line(TCP, "oversize = ''", "12: oversize = \"\" is unknown; allowed: truncate, reject");
    check_line(
        GUEST,
        "on_fault = 'drp'",
        "12: on_fault = \"drp\" is unknown; did you mean \"drop\"? allowed: park, pass, drop",
    );
    check_line(
        ROUTE,
        "when_full = 'wait'",
        "13: when_full = \"wait\" is unknown; allowed: spool, shed, block",
    );
    check_line(
        "[[guest]]\nname = 'g'",
        "use = 'acess'",
        "7: use = \"acess\" is unknown; did you mean \"std:access\"? allowed: std:access, std:count, \
         std:filter, std:json, std:k8s, std:logfmt, std:oom, std:route",
    );
    check_line(
        "[limits]",
        "max_connections = 0",
        "19: max_connections = 0 is out of range; allowed: 1 to 1024",
    );
    check_line(
        "[limits]",
        "max_connections = 0xFFFF_FFFF_FFFF_FFFF",
        "19: max_connections = 0xFFFFFFFFFFFFFFFF is out of range; allowed: -9223372036854775808 to \
         9223372036854775807",
    );
    check_line(
        "[limits]",
        "memory = '64M'",
        "10: memory = \"64M\" is no size; allowed: a whole number and one of B, kB, KiB, MB, MiB, GB, \
         GiB, as in \"64MiB\"",
    );
    check_line(
        "[limits]",
        "shutdown = '10m'",
        "12: shutdown = \"10m\" is no duration; allowed: a whole number and one of ms, s, min, h, d, \
         as in \"250ms\"",
    );
    check_line(
        "[limits]",
        "record = '2MiB'",
        "10: record = \"2MiB\" is out of range; allowed: 480B to 1MiB",
    );
    check_line(
        "[limits]\nmemory = '16MiB'",
        "queue = '32MiB'",
        "9: queue = \"32MiB\" is out of range; allowed: 1MiB to memory, which is 16MiB",
    );
    check_line("", "data = ''", "8: data is no path; allowed: at least one character, and no NUL");
    check_line(
        "",
        "data = \"a\\u0000\"",
        "8: data is no path; allowed: at least one character, and no NUL",
    );
    check_line(
        "[control]",
        "listen = ':5000'",
        "10: listen = \":5000\" is no address; allowed: IP:port, as in \"127.0.0.1:5000\"",
    );
}

#[test]
fn names_are_names_and_there_once() {
    const ALLOWED: &str = "is no name; allowed: 1 to 64 letters, digits, _ . and -, a letter or \
                           digit first";
    for name in ["a b", "", "-a", "ä", "a\"b", &"x".repeat(65)] {
        let text = format!("[[guest]]\nname = '{name}'\nuse = 'std:json'");
        let shown: String = name.chars().take(60).collect();
        let cut = if name.len() > 60 { "…" } else { "" };
        check(&text, &[&format!("2:8: name = {:?} {ALLOWED}", format!("{shown}{cut}"))]);
    }
    check(
        &format!("{GUEST}\n{GUEST}\n"),
        &["5:8: guest name \"g\" is already used on line 2; allowed: once"],
    );
    // A source and a guest may have the same name.
    valid(&format!("{TCP}\n[[guest]]\nname = 's'\nuse = 'std:json'\n"));
}

#[test]
fn references_must_name_something() {
    let text = format!(
        "{UDP}\n{GUEST}\n{ROUTE}\n[[pipeline]]\nsources = ['S']\nguests = ['g', 'g']\n\
         routes = ['x']\n[[pipeline]]\nsources = ['s', 's']\n[[pipeline]]\nsources = ['s']\n\
         [[pipeline]]\nsources = []\n"
    );
    check(
        &text,
        &[
            "11:12: unknown source \"S\"; did you mean \"s\"? defined: s",
            "12:16: \"g\" in these guests is already used on line 12; allowed: once",
            "13:11: unknown route \"x\"; defined: r",
            "15:17: source \"s\" in a pipeline is already used on line 15; allowed: once",
            "17:12: source \"s\" in a pipeline is already used on line 15; allowed: once",
            "19:11: sources is empty; allowed: at least one source",
        ],
    );
    check("[[pipeline]]\nsources = ['s']", &["2:12: unknown source \"s\"; none is defined"]);
    // The name of a table that has a problem of its own is still a name.
    check(
        "[[pipeline]]\nsources = ['s']\n[[source]]\nname = 's'",
        &[
            "3:1: [[source]] has no \"url\"; write for example url = \"syslog+tcp://127.0.0.1:5514\"",
        ],
    );
}

#[test]
fn keys_without_an_effect_are_refused() {
    let check = |table, line, expected: &str| {
        check_line(table, line, &format!("{expected}; allowed: leave it out"));
    };
    check(
        UDP,
        "framing = 'lf'",
        "11: \"framing\" does nothing on a syslog+udp source: each datagram is one frame",
    );
    check(
        UDP,
        "frame_timeout = '5s'",
        "17: \"frame_timeout\" does nothing on a syslog+udp source: each datagram is one frame",
    );
    check(
        UDP,
        "idle = '5s'",
        "8: \"idle\" does nothing on a syslog+udp source: datagrams have no sessions",
    );
    check(
        UDP,
        "max_sessions = 5",
        "16: \"max_sessions\" does nothing on a syslog+udp source: datagrams have no sessions",
    );
    check(
        TCP,
        "receive_buffer = '1MiB'",
        "18: \"receive_buffer\" does nothing on a syslog+tcp source: a stream waits at its sender",
    );
    check(
        TCP,
        "window = 1",
        "10: \"window\" does nothing on a syslog+tcp source: records are not answered",
    );
    check(
        UDP,
        "window = 1",
        "10: \"window\" does nothing on a syslog+udp source: records are not answered",
    );
    check(
        RELP,
        "framing = 'octet'",
        "11: \"framing\" does nothing on a relp source: RELP has its own",
    );
    check(
        RELP,
        "receive_buffer = '1MiB'",
        "18: \"receive_buffer\" does nothing on a relp source: a stream waits at its sender",
    );
}

#[test]
fn secrets_come_from_the_environment_and_never_show() {
    check_line(
        "[control]",
        "auth_key = '${env:OTHER}'",
        "12: auth_key needs the environment variable OTHER, which is not set",
    );
    check_line(
        "[control]",
        "auth_key = ''",
        "12: auth_key is empty; leave the key out to have no secret",
    );
    check_line(
        "[control]",
        "auth_key = 'hunter2${env:'",
        "12: auth_key has a reference that cannot be read; allowed: ${env:NAME}, NAME of letters, \
         digits and _",
    );
    check_line(
        "[control]",
        "auth_key = ['hunter2']",
        "12: auth_key must be a string, found a list",
    );
    check_line(
        "[control]",
        "auth_key = hunter2",
        "12: not TOML: string values must be quoted, expected literal string",
    );
    check_line(
        "[[route]]\nname = 'r'",
        "url = 'syslog://${env:AUTH_KEY}'",
        "7: url holds ${env:…}, which only secrets may; allowed there: auth_key, password, \
         token, tokens, and the credentials of http and https destinations",
    );
    let config = valid("[control]\nauth_key = '${env:AUTH_KEY}'");
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn credentials_of_destinations_come_from_the_environment_and_from_nowhere_else_in_a_url() {
    let parse = |url: &str, value: &str| {
        let text = format!("[[route]]\nname = 'r'\nurl = '{url}'");
        let env = |name: &str| (name == "KEY").then(|| value.to_owned());
        Config::parse(&text, "logboom.toml", &env)
    };
    // Whatever is in it, it is the password and nothing else.
    for value in ["hunter2", "a:b@c/d?e#f%41 ü", "${env:KEY}"] {
        let config = parse("https://me:${env:KEY}@a.example:8443/x?y=@z", value).unwrap();
        let DestinationKind::Http(http) = &config.routes[0].destination.kind else { panic!() };
        let credentials = http.credentials.as_ref().unwrap();
        assert_eq!((&*credentials.user, credentials.password.expose()), ("me", value));
        assert_eq!((&*http.host, http.port, &*http.path_and_query), ("a.example", 8443, "/x?y=@z"));
        assert!(!format!("{config:?}").contains(value));
    }
    let config = parse("http://${env:KEY}@a.example", "token").unwrap();
    let DestinationKind::Http(http) = &config.routes[0].destination.kind else { panic!() };
    assert_eq!(http.credentials.as_ref().unwrap().user, "token");
    for (url, problem) in [
        ("https://me:${env:OTHER}@a.example", "url needs the environment variable OTHER"),
        ("https://me:${env:@a.example", "url has a reference that cannot be read"),
        ("https://${env:KEY}/x", "url holds ${env:…}, which only secrets may"),
        ("https://a.example/${env:KEY}@x", "url holds ${env:…}, which only secrets may"),
        ("https://me@a.example/${env:KEY}", "url holds ${env:…}, which only secrets may"),
        ("https://me:${env:KEY}@${env:KEY}", "url holds ${env:…}, which only secrets may"),
        ("relp://me:${env:KEY}@a.example", "url holds ${env:…}, which only secrets may"),
    ] {
        let problems = parse(url, "hunter2").unwrap_err().to_string();
        assert!(problems.contains(problem) && !problems.contains("hunter2"), "{url}: {problems}");
    }
}

#[test]
fn guests_are_not_given_what_json_cannot_hold() {
    const FLOAT: &str = "config: a float that is infinite or no number cannot cross to a guest; \
                         allowed: what JSON can hold";
    let config = "config = { a = nan, b = [-inf], c = 99999999999999999999 }";
    check(
        &format!("{GUEST}\n{config}"),
        &[
            &format!("4:16: {FLOAT}"),
            &format!("4:26: {FLOAT}"),
            "4:37: config: an integer of more than 64 bits cannot cross to a guest; allowed: what JSON \
         can hold",
        ],
    );
}

#[test]
fn what_is_left_of_broken_toml_is_checked_without_false_alarms() {
    // The broken header takes the route's keys with it, so "has no url" or "unknown route" would
    // send the reader to the wrong place.
    check(
        "[[pipeline]]\nsources = ['s']\nroutes = ['r']\n[[route\nname = 'r'\n[[guest]]\nnme = 'g'",
        &[
            "4:8: not TOML: unclosed array table, expected `]]`",
            "7:1: unknown key \"nme\" in [[guest]]; did you mean \"name\"? allowed: config, deadline, \
         memory, name, names_max, on_fault, path, series_max, use",
        ],
    );
    check(
        "data = 'a'\ndata = 'b'\n[limits]\nrecord = 5k\nmemory = '1'",
        &[
            "2:1: not TOML: duplicate key",
            "4:10: not TOML: string values must be quoted, expected literal string",
            "5:10: memory = \"1\" is no size; allowed: a whole number and one of B, kB, KiB, MB, MiB, \
         GB, GiB, as in \"64MiB\"",
        ],
    );
    check("data = \"never closed\n", &["1:21: not TOML: invalid basic string, expected `\"`"]);
}

#[test]
fn more_sources_than_indices_are_refused() {
    let source = |index| format!("[[source]]\nname='{index}'\nurl='syslog+tcp://127.0.0.1:0'\n");
    let text: String = (0..=SOURCES_MAX).map(source).collect();
    check(&text, &["196606:1: 65536 sources; allowed: at most 65535"]);
}

/// As many as 16 bits count.
const SOURCES_MAX: usize = 65_535;

#[test]
fn keys_of_other_sources_are_refused() {
    const UNIX: &str = "[[source]]\nname = 's'\nurl = 'syslog+unix:///run/s'";
    const UNIXGRAM: &str = "[[source]]\nname = 's'\nurl = 'syslog+unixgram:///run/s'";
    for (table, scheme, key, value, reason) in [
        (TCP, "syslog+tcp", "cert", "'c'", "it has no TLS"),
        (RELP, "relp", "client_auth", "'optional'", "it has no TLS"),
        (RELP, "relp", "compression", "'auto'", "only syslog is compressed that way"),
        (UDP, "syslog+udp", "proxy_protocol", "[]", "proxies speak it over TCP"),
        (UNIX, "syslog+unix", "proxy_protocol", "[]", "proxies speak it over TCP"),
        (UDP, "syslog+udp", "handshake_timeout", "'1s'", "it has no handshake"),
        (UDP, "syslog+udp", "max_sessions_per_peer", "1", "datagrams have no sessions"),
        (UNIX, "syslog+unix", "max_sessions_per_peer", "1", "its peers have no addresses"),
        (UNIXGRAM, "syslog+unixgram", "idle", "'1s'", "datagrams have no sessions"),
        (UNIXGRAM, "syslog+unixgram", "sockets", "2", "one socket takes all"),
        (TCP, "syslog+tcp", "sockets", "2", "one socket takes all"),
        (TCP, "syslog+tcp", "mode", "'0600'", "it is not in the file system"),
    ] {
        let at = key.len() + 4;
        let expected = format!("{at}: {key:?} does nothing on a {scheme} source: {reason}");
        let line = format!("{key} = {value}");
        check_line(table, &line, &format!("{expected}; allowed: leave it out"));
    }
}

#[test]
fn a_source_with_tls_says_who_it_is() {
    const TLS: &str = "[[source]]\nname = 's'\nurl = 'syslog+tls://127.0.0.1:1'";
    let missing = |key: &str, example: &str| {
        format!("1:1: [[source]] with TLS has no {key:?}; write for example {key} = {example:?}")
    };
    let (cert, key) = (missing("cert", "gateway.pem"), missing("key", "gateway.key"));
    check(TLS, &[&cert, &key]);
    check(&format!("{TLS}\ncert = 'c'"), &[&key]);
    let whole = format!("{TLS}\ncert = 'c'\nkey = 'k'");
    valid(&whole);
    check_line(
        &whole,
        "client_auth = 'required'",
        "15: \"client_auth\" does nothing on a syslog+tls source: without client_ca no client is asked \
         for a certificate; allowed: leave it out",
    );
    check_line(
        &whole,
        "client_ca = '-----BEGIN CERTIFICATE-----'",
        "13: client_ca holds PEM text; allowed: the path of a file with it",
    );
    for mode in ["", "66", "0888", "1777", "rw-", "00666", "+666"] {
        let table = "[[source]]\nname = 's'\nurl = 'syslog+unix:///run/s'";
        let expected =
            format!("8: mode = {mode:?} is no mode; allowed: \"0000\" to \"0777\", as of chmod");
        check_line(table, &format!("mode = '{mode}'"), &expected);
    }
}
