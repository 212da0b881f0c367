//! What is kept until it is delivered, where it may go, and over which TLS.

use super::*;

fn drain(app: &str, url: &str, rest: &str) -> String {
    format!("[[drain]]\napp = '{app}'\nurl = '{url}'\n{rest}\n")
}

#[test]
fn the_spool_lies_in_the_data_folder_and_shrinks_with_its_maximum() {
    let spool = valid("data = '/d'\n[spool]\nmax = '64MiB'").spool;
    assert_eq!(spool.path, Path::new("/d/spool"));
    assert_eq!((spool.max, spool.share, spool.segment), (64 << 20, 64 << 20, 16 << 20));
    assert!(spool.enabled && !valid("[spool]\nenabled = false").spool.enabled);
    check(
        "[spool]\nmax = '128MiB'\nsegment = '64MiB'\nshare = '1GiB'",
        &[
            "3:11: segment = \"64MiB\" is out of range; allowed: 1MiB to a quarter of max, which is \
             32MiB",
            "4:9: share = \"1GiB\" is out of range; allowed: 1MiB to max, which is 128MiB",
        ],
    );
    check(
        "[spool]\npath = ''\n[parked]\nage = '999ms'\nmax = '1MiB'",
        &[
            "2:8: path is no path; allowed: at least one character, and no NUL",
            "4:7: age = \"999ms\" is out of range; allowed: 1s to 3650d",
            "5:7: max = \"1MiB\" is out of range; allowed: 16MiB to 1024GiB",
        ],
    );
}

#[test]
fn a_pipeline_is_as_durable_as_it_says_or_as_the_spool_says() {
    let durability = |spool: &str, pipeline: &str| {
        let text = format!(
            "[spool]\n{spool}\n{TCP}\n[[pipeline]]\nsources = ['s']\n{pipeline}\n\
             [[source]]\nname = 'alone'\nurl = 'relp://127.0.0.1:2'"
        );
        let config = valid(&text);
        (config.pipelines[0].durability, config.durability)
    };
    let (disk, memory) = ("durability = 'disk'", "durability = 'memory'");
    assert_eq!(durability("", ""), (Durability::Memory, Durability::Memory));
    assert_eq!(durability("", disk), (Durability::Disk, Durability::Memory));
    assert_eq!(durability(disk, ""), (Durability::Disk, Durability::Disk));
    assert_eq!(durability(disk, memory), (Durability::Memory, Durability::Disk));
    assert_eq!(durability("enabled = false", memory), (Durability::Memory, Durability::Memory));
}

#[test]
fn what_needs_the_spool_is_refused_without_it() {
    let text = format!(
        "[spool]\nenabled = false\ndurability = 'disk'\n{TCP}\n[[pipeline]]\nsources = ['s']\n\
         durability = 'disk'\n{}",
        drain("a", "syslog://h", "when_full = 'spool'")
    );
    let allowed = |what: &str, words: &str| {
        format!(
            "{what} needs the spool, which is turned off on line 2; allowed: {words}, or enabled \
             = true"
        )
    };
    let disk = allowed("durability = \"disk\"", "\"memory\"");
    let spool = allowed("when_full = \"spool\"", "\"shed\", \"block\"");
    check(&text, &[&format!("3:14: {disk}"), &format!("9:14: {disk}"), &format!("13:13: {spool}")]);
    valid(&text.replace("enabled = false", "enabled = true"));
}

#[test]
fn networks_and_name_servers_are_told_apart_from_other_text() {
    check(
        "[network]\nallow = ['10.0.0.1/8', 'localhost']\ndeny = ['::1/129', 1]\n\
         guard = 'tenant'\nnameservers = ['10.0.0.53', '10.0.0.53:0', '[::1]:53']",
        &[
            "2:10: allow: \"10.0.0.1/8\" has bits behind its prefix; the network is \"10.0.0.0/8\"",
            "2:24: allow: \"localhost\" is no network; allowed: an IP address, or one with a \
             prefix, as in \"10.0.0.0/8\" and \"fd00::/8\", and a port from 1 to 65535 if only that \
             is meant, as in \"10.0.0.0/8:514\" and \"[fd00::/8]:514\"",
            "3:9: deny: \"::1/129\" is no network; allowed: an IP address, or one with a prefix, \
             as in \"10.0.0.0/8\" and \"fd00::/8\", and a port from 1 to 65535 if only that is \
             meant, as in \"10.0.0.0/8:514\" and \"[fd00::/8]:514\"",
            "3:20: deny must be a list of networks, as in [\"10.0.0.0/8\"], found an integer",
            "4:9: guard = \"tenant\" is unknown; did you mean \"tenants\"? allowed: tenants, all",
            "5:16: nameservers = \"10.0.0.53\" is no address; allowed: IP:port, as in \
             \"127.0.0.1:5000\"",
            "5:29: nameservers = \"10.0.0.53:0\" is no address; allowed: IP:port, as in \
             \"127.0.0.1:5000\"",
        ],
    );
}

#[test]
fn tls_wants_whole_pairs_paths_and_hosts() {
    let line = |rest: &str, expected: &[&str]| check(&drain("a", "relps://h", rest), expected);
    line("cert = 'c'", &["4:8: \"cert\" is there without \"key\"; allowed: both or neither"]);
    line("key = 'k'", &["4:7: \"key\" is there without \"cert\"; allowed: both or neither"]);
    line("ca = ''", &["4:6: ca is no path; allowed: at least one character, and no NUL"]);
    for name in ["", "a b", "*.example.com", "h:1", "1.2.3"] {
        line(
            &format!("server_name = '{name}'"),
            &[&format!(
                "4:15: server_name = {name:?} is no host; allowed: a host name or an IP address"
            )],
        );
    }
    for (name, expected) in [("H.Example", "h.example"), ("::1", "::1"), ("10.0.0.1", "10.0.0.1")] {
        let config = valid(&drain("a", "relps://h", &format!("server_name = '{name}'")));
        assert_eq!(config.drains[0].tls.server_name.as_deref(), Some(expected));
    }
    // A key in the place of its path would show in each message about the file, and here as well.
    let key = "key = '''-----BEGIN PRIVATE KEY-----\nhunter2'''\ncert = 'c'";
    let pem = "key holds PEM text; allowed: the path of a file with it";
    line(key, &[&format!("4:7: {pem}")]);
    let first = drain("a", "relps://h", "key = 'k'\ncert = 'c'");
    check(&format!("{first}{}", drain("b", "relps://h", key)), &[&format!("9:7: {pem}")]);
}

#[test]
fn keys_without_an_effect_on_a_destination_are_refused() {
    for (url, scheme) in [
        ("syslog://h", "syslog+tcp"),
        ("syslog+udp://h", "syslog+udp"),
        ("relp://h", "relp"),
        ("http://h", "http"),
        ("file:x", "file"),
        ("stdout:", "stdout"),
    ] {
        for (key, column) in [("ca", 6), ("cert", 8), ("key", 7), ("server_name", 15)] {
            check(
                &drain("a", url, &format!("{key} = ''")),
                &[&format!(
                    "4:{column}: \"{key}\" does nothing on a {scheme} destination: it has no TLS; \
                     allowed: leave it out"
                )],
            );
        }
        let text = drain("a", url, "max_connections = 2");
        match scheme {
            "syslog+udp" | "file" | "stdout" => check(
                &text,
                &[&format!(
                    "4:19: \"max_connections\" does nothing on a {scheme} destination: there is \
                     one way to it; allowed: leave it out"
                )],
            ),
            _ => assert_eq!(valid(&text).drains[0].max_connections, Some(2)),
        }
    }
    check(
        &drain("a", "relp://h", "max_connections = 0"),
        &["4:19: max_connections = 0 is out of range; allowed: 1 to 1024"],
    );
}

#[test]
fn what_one_order_says_of_a_destination_holds_for_all() {
    let terms = "when_full = 'block'\nmax_connections = 3\nca = 'ca'\nserver_name = 'n'";
    let text = format!(
        "[[route]]\nname = 'r'\nurl = 'syslog+tls://H'\n{}{}{}",
        drain("a", "syslog+tls://h:6514", terms),
        drain("b", "ssh://h", "cert = 'c'\nkey = 'k'"),
        drain("b", "syslog+tls://other", ""),
    );
    let config = valid(&text);
    let path = |text: &str| Some(PathBuf::from(text));
    let tls = TlsFiles {
        ca: path("ca"),
        cert: path("c"),
        key: path("k"),
        server_name: Some("n".to_owned()),
    };
    let route = &config.routes[0];
    assert_eq!((route.when_full, route.max_connections), (Some(WhenFull::Block), Some(3)));
    assert_eq!(route.tls, tls);
    for drain in &config.drains[..2] {
        assert_eq!((drain.when_full, drain.max_connections), (Some(WhenFull::Block), Some(3)));
        assert_eq!(drain.tls, tls);
    }
    let other = &config.drains[2];
    assert_eq!((other.when_full, other.max_connections), (None, None));
    assert_eq!(other.tls, TlsFiles::default());
}

#[test]
fn orders_that_share_a_destination_do_not_differ_in_any_key() {
    let long = "x".repeat(80);
    for (key, first, second) in [
        ("max_connections", "2", "3"),
        ("when_full", "'spool'", "'shed'"),
        ("ca", "'a'", "'b'"),
        ("server_name", "'a'", "'b'"),
        // Not in what a message shows of them.
        ("ca", &format!("'{long}a'"), &format!("'{long}b'")),
    ] {
        let order = |app, value| drain(app, "https://h/", &format!("{key} = {value}"));
        let problems = parse(&[order("a", first), order("b", second)].concat()).unwrap_err();
        let column = key.len() + 4;
        let text = problems.to_string();
        let start = format!("logboom.toml:8:{column}: {key} = ");
        let end = " on line 4 for the same destination; allowed: one of them";
        assert!(text.starts_with(&start) && text.ends_with(end), "{text}");
        assert!(text.contains(" contradicts ") && problems.list().len() == 1, "{text}");
        valid(&[order("a", first), order("b", first)].concat());
        valid(&[order("a", first), order("b", second).replace("//h/", "//h/2")].concat());
    }
}

#[test]
fn credentials_are_part_of_a_destination_and_never_shown() {
    let config = valid(
        &[
            drain("a", "https://user:hunter2@h", ""),
            drain("b", "https://user:hunter2@H:443/", ""),
            drain("b", "https://user:hunter3@h", ""),
            drain("b", "https://h", ""),
        ]
        .concat(),
    );
    let names: Vec<&str> = config.drains.iter().map(|d| &*d.destination.canonical).collect();
    assert_eq!(names[0], names[1]);
    assert!(names[0] != names[2] && names[0] != names[3] && names[2] != names[3], "{names:?}");
    for shown in [format!("{config:?}"), names.concat()] {
        assert!(!shown.contains("hunter") && !shown.contains("user"), "{shown}");
    }
    // Nor by a problem with the rest of the URL, wherever a password cuts it in two.
    for url in [
        "https://u:hunter2@h:0",
        "https://u:hunter2@h/<",
        "https://u:hunter2@h?gzip=1",
        "https://hunter2%@h",
        "https://u:hun@ter2@h",
        "https://u:hunter2/x@h",
        "https://u:hunter2?x@h",
        "https://u:hunter2#x@h",
        "https://u:1?gzip=hunter2@h",
        "https://hunter2:%00@h",
        "http://u:hunter2 @h",
        "syslog://u:hunter2/x@h",
        "syslog+tls://u:1?hunter2@h",
        "syslog+tls://u:1?framing=hunter2@h",
        "relp://u:hunter2@h",
    ] {
        let problems = parse(&drain("a", url, "")).unwrap_err();
        assert!(!format!("{problems} {problems:?}").contains("hunter"), "{problems}");
    }
}
