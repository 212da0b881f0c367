//! What destination URLs say, and their one form.

use super::super::Secret;
use super::*;

#[test]
fn one_endpoint_has_one_canonical_form() {
    for (url, expected) in [
        ("syslog://logs.example.com", "syslog+tcp://logs.example.com:514"),
        ("SYSLOG+TCP://Logs.Example.COM:514/", "syslog+tcp://logs.example.com:514"),
        ("syslog://a?framing=octet&format=rfc5424", "syslog+tcp://a:514"),
        ("syslog://a?framing=lf&format=rfc3164", "syslog+tcp://a:514?format=rfc3164&framing=lf"),
        ("syslog://a?format=rfc3164&framing=lf&", "syslog+tcp://a:514?format=rfc3164&framing=lf"),
        ("syslog://[2001:DB8::0:1]:6514", "syslog+tcp://[2001:db8::1]:6514"),
        ("syslog+udp://10.0.0.7", "syslog+udp://10.0.0.7:514"),
        ("syslog+udp://10.0.0.7:0514?format=rfc3164", "syslog+udp://10.0.0.7:514?format=rfc3164"),
        ("syslog://_dmarc.x-y.example.", "syslog+tcp://_dmarc.x-y.example.:514"),
        ("file:///var/log/all.log", "file:///var/log/all.log"),
        ("file://localhost/var//log/./all.log", "file:///var/log/all.log"),
        ("file:out/all.log?format=json", "file:out/all.log?format=json"),
        ("file:./out/all.log", "file:out/all.log"),
        ("file:///a%20b%23", "file:///a%20b%23"),
        ("file:///%61", "file:///a"),
        ("file:///%C3%A9", "file:///%C3%A9"),
        ("stdout:", "stdout:"),
        ("stdout:?format=json", "stdout:"),
        ("stdout:?format=raw", "stdout:?format=raw"),
        ("syslog+tls://A", "syslog+tls://a:6514"),
        ("SSH://a:22?framing=lf", "syslog+tls://a:22?framing=lf"),
        (
            "syslog+tls://a?framing=lf&format=rfc3164",
            "syslog+tls://a:6514?format=rfc3164&framing=lf",
        ),
        ("syslog+udp://a?max_bytes=65507", "syslog+udp://a:514"),
        (
            "syslog+udp://a?max_bytes=01024&format=rfc3164",
            "syslog+udp://a:514?format=rfc3164&max_bytes=1024",
        ),
        ("relp://A/", "relp://a:2514"),
        ("relps://[::1]:1", "relps://[::1]:1"),
        ("QUIC://Hub.Example", "quic://hub.example:6515"),
        ("quic://[::1]:1/", "quic://[::1]:1"),
        ("http://A", "http://a:80/"),
        ("HTTPS://A:443", "https://a:443/"),
        ("http://a?", "http://a:80/"),
        ("http://a/?format=logplex&gzip=false", "http://a:80/"),
        ("http://a/B//c/../d;e=1", "http://a:80/B//c/../d;e=1"),
        ("http://a/%2f?B=%3d&a&&b=", "http://a:80/%2f?B=%3d&a&&b="),
        (
            "http://a/p?http=1.1&x=1&gzip=true&format=raw&y=2",
            "http://a:80/p?x=1&y=2&format=raw&gzip=true&http=1.1",
        ),
        ("http://a?%66ormat=xml&format=json", "http://a:80/?%66ormat=xml&format=json"),
        ("http://a?to=a@b.c", "http://a:80/?to=a@b.c"),
    ] {
        let parsed = DestinationUrl::parse(url).unwrap();
        assert_eq!(parsed.canonical, expected, "{url}");
        // The canonical form says the same as the URL.
        assert_eq!(DestinationUrl::parse(expected).unwrap(), parsed, "{url}");
    }
}

#[test]
fn urls_say_what_they_say() {
    let check = |url: &str, expected| {
        assert_eq!(DestinationUrl::parse(url).unwrap().kind, expected, "{url}");
    };
    check(
        "syslog://[::1]:5514?framing=lf",
        DestinationKind::SyslogTcp {
            host: "::1".to_owned(),
            port: 5514,
            framing: WireFraming::Lf,
            format: WireFormat::Rfc5424,
        },
    );
    check(
        "syslog+udp://A",
        DestinationKind::SyslogUdp {
            host: "a".to_owned(),
            port: 514,
            format: WireFormat::Rfc5424,
            bytes_max: 65_507,
        },
    );
    check(
        "syslog+tls://a?framing=lf",
        DestinationKind::SyslogTls {
            host: "a".to_owned(),
            port: 6514,
            framing: WireFraming::Lf,
            format: WireFormat::Rfc5424,
        },
    );
    check("relps://a", DestinationKind::Relp { host: "a".to_owned(), port: 2514, tls: true });
    check(
        "https://u:p%2Fq:r@A?x=1&http=2&format=ndjson&gzip=true",
        DestinationKind::Http(HttpDestination {
            tls: true,
            host: "a".to_owned(),
            port: 443,
            path_and_query: "/?x=1".to_owned(),
            credentials: Some(Credentials {
                user: "u".to_owned(),
                password: Secret::new("p/q:r".to_owned()),
            }),
            format: HttpFormat::Ndjson,
            gzip: true,
            version: HttpVersion::Http2,
        }),
    );
    check(
        "http://[::1]:81/a?b",
        DestinationKind::Http(HttpDestination {
            tls: false,
            host: "::1".to_owned(),
            port: 81,
            path_and_query: "/a?b".to_owned(),
            credentials: None,
            format: HttpFormat::Logplex,
            gzip: false,
            version: HttpVersion::Auto,
        }),
    );
    check(
        "file:a%20b",
        DestinationKind::File { path: PathBuf::from("a b"), format: LineFormat::Rfc5424 },
    );
    check("stdout:", DestinationKind::Stdout { format: LineFormat::Json });
}

#[test]
fn credentials_are_told_apart_by_a_digest_that_depends_on_the_url() {
    let name = |url: &str| DestinationUrl::parse(url).unwrap().canonical;
    let own = name("https://u:p@h/x?format=json");
    let (base, digest) = own.split_once("#cred=").unwrap();
    assert_eq!(base, "https://h:443/x?format=json");
    assert!(digest.len() == 8 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()), "{digest}");
    // The same, written in another way.
    assert_eq!(name("https://%75:%70@H:443/x?format=json"), own);
    for other in [
        "https://u:q@h/x?format=json",
        "https://u@h/x?format=json",
        "https://up@h/x?format=json",
        "https://:p@h/x?format=json",
        "https://u:p@h/y?format=json",
        "http://u:p@h/x?format=json",
    ] {
        assert!(!name(other).ends_with(digest), "{other}");
    }
}
