//! What a configuration becomes, and that the documentation says the same.

mod delivery;
mod documented;
mod endpoints;
mod refused;
mod survives;

use super::*;

/// Parses with an environment that has `AUTH_KEY` alone.
fn parse(text: &str) -> Result<Config, Problems> {
    let env = |name: &str| (name == "AUTH_KEY").then(|| "hunter2".to_owned());
    Config::parse(text, "logboom.toml", &env)
}

/// Parses what must be valid.
fn valid(text: &str) -> Config {
    match parse(text) {
        Ok(config) => config,
        Err(problems) => panic!("{problems}\n{text}"),
    }
}

/// The whole report of a text, without the name of the file.
fn check(text: &str, expected: &[&str]) {
    let problems = parse(text).map(|_| ()).unwrap_err().to_string();
    let found: Vec<&str> =
        problems.lines().map(|line| line.strip_prefix("logboom.toml:").unwrap()).collect();
    assert_eq!(found, expected, "{text}");
}

/// A source that has no problem; the names of both are `s`.
const TCP: &str = "[[source]]\nname = 's'\nurl = 'syslog+tcp://127.0.0.1:1'";
const UDP: &str = "[[source]]\nname = 's'\nurl = 'syslog+udp://127.0.0.1:1'";

#[test]
fn an_empty_file_is_all_defaults() {
    let config = valid("");
    assert_eq!(config.control.listen.to_string(), "127.0.0.1:5000");
    assert_eq!(config.control.auth_key, None);
    assert_eq!(
        config.limits,
        Limits {
            max_connections: 40,
            memory: 256 << 20,
            record: 64 << 10,
            queue: 32 << 20,
            shutdown: Duration::from_secs(10),
            attempt: Duration::from_secs(10),
        }
    );
    assert_eq!(
        config.spool,
        Spool {
            enabled: true,
            path: PathBuf::from("logboom-data/spool"),
            max: 10 << 30,
            share: 1 << 30,
            segment: 64 << 20,
        }
    );
    assert_eq!(config.durability, Durability::Memory);
    assert_eq!(config.parked, Parked { max: 1 << 30, age: Duration::from_secs(2_592_000) });
    assert_eq!(
        config.network,
        Network { allow: vec![], deny: vec![], guard: Guard::Tenants, nameservers: vec![] }
    );
    assert_eq!(config.data, Path::new("logboom-data"));
    assert!(config.sources.is_empty() && config.guests.is_empty());
    assert!(config.pipelines.is_empty() && config.routes.is_empty() && config.drains.is_empty());
    for text in ["\u{feff}", "\n\r\n", "# nothing", "[control]\n[limits]\n", "source = []"] {
        assert_eq!(valid(text), config, "{text:?}");
    }
}

#[test]
fn the_embedded_configuration_listens_on_loopback_alone() {
    let config = Config::embedded();
    let urls: Vec<String> = config.sources.iter().map(|source| source.url.to_string()).collect();
    let expected = [
        "syslog+udp://127.0.0.1:5514",
        "syslog+tcp://127.0.0.1:5514",
        "http://127.0.0.1:8080",
        "grpc://127.0.0.1:9001",
    ];
    assert_eq!(urls, expected);
    assert!(config.control.listen.ip().is_loopback());
    let guests: Vec<&Component> = config.guests.iter().map(|guest| &guest.component).collect();
    let standard = |name: &str| Component::Standard(name.to_owned());
    assert_eq!(guests, [&standard("access"), &standard("oom"), &standard("count")]);
    assert_eq!(
        config.pipelines,
        [Pipeline {
            sources: vec![0, 1, 2, 3],
            guests: vec![0, 1, 2],
            routes: vec![0],
            durability: Durability::Memory,
        }]
    );
    let console = &config.routes[0];
    assert_eq!(console.name, "console");
    assert_eq!(console.destination.kind, DestinationKind::Stdout { format: LineFormat::Json });
}

#[test]
fn every_key_of_the_process_reaches_its_field() {
    let config = valid(include_str!("every_key.toml"));
    assert_eq!(config.data, Path::new("d"));
    assert_eq!(config.control.listen.to_string(), "[::1]:81");
    assert_eq!(config.control.auth_key.map(|key| key.matches(b"k-hunter2")), Some(true));
    assert_eq!(
        config.limits,
        Limits {
            max_connections: 7,
            memory: 64 << 20,
            record: 1000,
            queue: 2 << 20,
            shutdown: Duration::from_millis(1500),
            attempt: Duration::from_secs(3),
        }
    );
    assert_eq!(
        config.spool,
        Spool {
            enabled: true,
            path: PathBuf::from("spools"),
            max: 1 << 30,
            share: 2 << 20,
            segment: 1 << 20,
        }
    );
    assert_eq!(config.durability, Durability::Disk);
    assert_eq!(config.parked, Parked { max: 16 << 20, age: Duration::from_secs(2 * 86_400) });
    let endpoints = |text| Endpoints::parse(text).unwrap();
    assert_eq!(
        config.network,
        Network {
            allow: vec![endpoints("127.0.0.1"), endpoints("[fd00::/8]:6514")],
            deny: vec![endpoints("10.0.0.0/8")],
            guard: Guard::All,
            nameservers: ["10.0.0.53:53", "[::1]:5353"].map(|text| text.parse().unwrap()).into(),
        }
    );
}

#[test]
fn every_key_of_sources_of_syslog_reaches_its_field() {
    let config = valid(include_str!("every_key.toml"));
    let udp = &config.sources[0];
    assert_eq!(udp.url, SourceUrl::SyslogUdp(SocketAddr::from(([0, 0, 0, 0], 514))));
    assert_eq!((udp.format, udp.receive_buffer, udp.sockets), (Format::Rfc3164, 4096, 3));
    assert_eq!(
        config.sources[1],
        Source {
            name: "tcp".to_owned(),
            url: SourceUrl::SyslogTcp(SocketAddr::from(([127, 0, 0, 1], 601))),
            app: AppTemplate::parse("a-{hostname}").unwrap(),
            framing: Framing::Nul,
            compression: Compression::None,
            format: Format::Rfc5424,
            strict: true,
            oversize: Oversize::Reject,
            max_sessions: 3,
            max_sessions_per_peer: 2,
            handshake_timeout: Duration::from_secs(4),
            proxy_protocol: ["10.0.0.0/8", "::1"].map(|text| Cidr::parse(text).unwrap()).into(),
            peer_fields: true,
            tls: None,
            idle: Duration::from_secs(60),
            frame_timeout: Duration::from_secs(2),
            receive_buffer: 8 << 20,
            sockets: defaults::sockets().default,
            mode: 0o666,
            window: 128,
            http: None,
            grpc: None,
        }
    );
}

#[test]
fn every_key_of_other_sources_guests_and_pipelines_reaches_its_field() {
    let config = valid(include_str!("every_key.toml"));
    let relp = &config.sources[2];
    assert_eq!(relp.url, SourceUrl::Relp(SocketAddr::from(([127, 0, 0, 1], 2514))));
    assert_eq!((relp.window, relp.max_sessions), (9, 4));
    assert_eq!((relp.idle, relp.frame_timeout), (Duration::from_secs(3), Duration::from_secs(1)));
    assert_eq!(
        config.sources[3].tls,
        Some(SourceTls {
            cert: "own.pem".into(),
            key: "own.key".into(),
            clients: Clients::Optional("ca.pem".into()),
        })
    );
    let unix = &config.sources[4];
    assert_eq!((&unix.url, unix.mode), (&SourceUrl::SyslogUnix("/run/log".into()), 0o640));
    let secret = |text: &str| Secret::new(text.to_owned());
    assert_eq!(
        config.sources[5].http,
        Some(SourceHttp {
            accounts: Accounts {
                token: Some(secret("t-hunter2")),
                user: Some(("u".to_owned(), secret("p"))),
                apps: vec![("a".to_owned(), secret("x")), ("b-c".to_owned(), secret("y"))],
            },
            body_max: 1 << 20,
            requests_max: 7,
            answer_timeout: Duration::from_secs(2),
            app_attributes: vec!["service.name".to_owned()],
        })
    );
    let grpc = &config.sources[6];
    assert_eq!(grpc.url, SourceUrl::Grpc(SocketAddr::from(([127, 0, 0, 1], 9001))));
    assert_eq!(grpc.grpc, Some(SourceGrpc { line: AccessLine::Logshuttle }));
    assert_eq!(grpc.http.as_ref().map(|http| http.body_max), Some(1 << 20));
    assert_eq!(
        config.guests[0],
        Guest {
            name: "mine".to_owned(),
            component: Component::Path(PathBuf::from("mine.wasm")),
            config: "as it stands".to_owned(),
            memory: 1 << 20,
            deadline: Duration::from_millis(1),
            on_fault: OnFault::Drop,
            series_max: 5,
            names_max: 6,
        }
    );
    assert_eq!(config.guests[1].component, Component::Standard("k8s".to_owned()));
    assert_eq!(
        config.pipelines,
        [
            Pipeline {
                sources: vec![1],
                guests: vec![1, 0],
                routes: vec![1, 0],
                durability: Durability::Memory,
            },
            Pipeline {
                sources: vec![0],
                guests: vec![0],
                routes: vec![],
                durability: Durability::Disk,
            },
        ]
    );
}

#[test]
fn every_key_of_orders_reaches_its_field() {
    let config = valid(include_str!("every_key.toml"));
    let orders = config.routes.iter().map(|route| (&*route.name, &*route.destination.canonical));
    let orders: Vec<_> = orders.collect();
    assert_eq!(orders, [("file", "file:///a/b?format=raw"), ("peer", "syslog+tcp://h:514")]);
    assert_eq!(config.routes[1].when_full, Some(WhenFull::Block));
    let drains = config.drains.iter().map(|drain| (&*drain.app, drain.when_full));
    let drains: Vec<_> = drains.take(3).collect();
    assert_eq!(
        drains,
        [("*", None), ("web-shop", Some(WhenFull::Shed)), ("web-shop", Some(WhenFull::Spool))]
    );
    let tls = &config.drains[2];
    assert_eq!(tls.max_connections, Some(2));
    assert_eq!(
        tls.tls,
        TlsFiles {
            ca: Some(PathBuf::from("ca.pem")),
            cert: Some(PathBuf::from("own.pem")),
            key: Some(PathBuf::from("own.key")),
            server_name: Some("logs.example.com".to_owned()),
        }
    );
    assert_eq!(
        (&config.drains[0].tls, config.drains[0].max_connections),
        (&TlsFiles::default(), None)
    );
}

#[test]
fn a_guests_table_crosses_as_the_same_json() {
    let text = r#"
[[guest]]
name = "g"
use = "std:json"
[guest.config]
text = "a\"b\\c\nd\te\u0000é\u007f"
integers = [0, -1, 0xff, 9223372036854775807, 1_000]
floats = [0.1, 1e300, -2.0, 5e-324]
flag = true
time = 2026-11-21T05:44:01Z
empty = {}
nested.deep."dotted.key" = [[], [{ a = 1 }]]
"#;
    let config = valid(text).guests.remove(0).config;
    let found: serde_json::Value = serde_json::from_str(&config).unwrap();
    let expected = serde_json::json!({
        "text": "a\"b\\c\nd\te\0é\u{7f}",
        "integers": [0, -1, 255, i64::MAX, 1000],
        "floats": [0.1, 1e300, -2.0, 5e-324],
        "flag": true,
        "time": "2026-11-21T05:44:01Z",
        "empty": {},
        "nested": { "deep": { "dotted.key": [[], [{ "a": 1 }]] } },
    });
    assert_eq!(found, expected);
}

#[test]
fn a_small_memory_bounds_the_queue_that_is_not_written() {
    let limits = valid("[limits]\nmemory = \"16MiB\"").limits;
    assert_eq!((limits.memory, limits.queue), (16 << 20, 16 << 20));
}

#[test]
fn a_file_is_read_with_the_environment_of_the_process() {
    let folder = std::env::temp_dir().join(format!("logboom-config-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("good.toml");
    // Cargo sets this one for tests.
    std::fs::write(&path, "[control]\nauth_key = \"${env:CARGO_PKG_NAME}\"").unwrap();
    let key = Config::load(&path).unwrap().control.auth_key.unwrap();
    assert_eq!(key.expose(), env!("CARGO_PKG_NAME"));

    let check = |name: &str, content: Option<&[u8]>, expected: &str| {
        let path = folder.join(name);
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let found = Config::load(&path).unwrap_err().to_string();
        assert_eq!(found, format!("{}{expected}", path.display()));
    };
    check("missing", None, ": cannot be read: No such file or directory (os error 2)");
    check("", None, ": cannot be read: Is a directory (os error 21)");
    let latin1 = &b"data = 'x'\n# caf\xe9\n"[..];
    check("latin1", Some(latin1), ":2:6: this byte is not UTF-8; allowed: UTF-8 text");
    // A thread may still write there; what is left is in a folder for temporary files.
    drop(std::fs::remove_dir_all(&folder));
}

#[test]
fn a_file_that_never_ends_is_refused() {
    let expected = "/dev/zero: is too large; allowed: at most 67108864 bytes";
    assert_eq!(Config::load(Path::new("/dev/zero")).unwrap_err().to_string(), expected);
}
