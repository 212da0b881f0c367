//! Syslog over TLS to peers that were not written here, and what is said of certificates that are no
//! good.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::path::Path;

use logboom_tests::{
    Certificates, Gateway, Pair, Peer, PeerKind, Scratch, free_port, is_missing, openssl_server,
    peer_configuration, syslog_ng, wait_until,
};

use crate::destinations::{MESSAGES, compare, messages, relay_with};
use crate::peers::rsyslog_tls;

/// The keys of a route that trusts `ca`, and shows a certificate where there is one.
pub(crate) fn keys(ca: &Path, client: Option<&Pair>) -> String {
    let mut keys = format!("ca = \"{}\"\n", ca.display());
    if let Some(pair) = client {
        let (certificate, key) = (pair.certificate.display(), pair.key.display());
        keys.push_str(&format!("cert = \"{certificate}\"\nkey = \"{key}\"\n"));
    }
    keys
}

/// For openssl: the suite of TLS 1.2 that RFC 9662 makes mandatory, and no other. A server's key for it
/// is RSA.
pub(crate) const MANDATORY: [&str; 3] = ["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"];

/// Sends many messages to a peer that writes `raw.log`, and compares.
fn check(scratch: &Scratch, peer: Peer, url: &str, keys: &str) {
    let messages = messages();
    // The gateway has a folder of its own beside the peer's.
    relay_with(&Scratch::new("tls-gateway"), url, keys, &messages);
    wait_until(&format!("{MESSAGES} lines by {url}"), || {
        scratch.lines("raw.log").len() >= MESSAGES
    });
    peer.shutdown();
    compare(scratch, "raw.log", &messages);
}

#[test]
fn rsyslog_gets_all_by_both_of_its_tls_drivers() {
    if is_missing(PeerKind::RsyslogTls) {
        return;
    }
    for driver in ["gtls", "ossl"] {
        let (scratch, port) = (Scratch::new("to-rsyslog-tls"), free_port());
        let all = Certificates::new(&scratch);
        let peer = rsyslog_tls(&scratch, port, driver, "anon");
        check(&scratch, peer, &format!("syslog+tls://localhost:{port}"), &keys(&all.ca, None));
    }
}

#[test]
fn rsyslog_gets_all_from_a_gateway_that_shows_its_certificate() {
    if is_missing(PeerKind::RsyslogTls) {
        return;
    }
    let (scratch, port) = (Scratch::new("to-rsyslog-mtls"), free_port());
    let all = Certificates::new(&scratch);
    let peer = rsyslog_tls(&scratch, port, "gtls", "x509/certvalid");
    let keys = keys(&all.ca, Some(&all.client));
    check(&scratch, peer, &format!("syslog+tls://127.0.0.1:{port}"), &keys);
}

#[test]
fn syslog_ng_gets_all_octet_counted_and_in_lines() {
    if is_missing(PeerKind::SyslogNg) {
        return;
    }
    for framing in ["octet", "lf"] {
        let (scratch, ports) = (Scratch::new("to-syslog-ng-tls"), [free_port(), free_port()]);
        let all = Certificates::new(&scratch);
        let names = [("@IN@", ports[0]), ("@LINES@", ports[1])];
        let config = peer_configuration("syslog-ng-tls.conf", &names);
        let peer = syslog_ng(&scratch, &config).listening_on(&ports);
        let port = ports[usize::from(framing == "lf")];
        let url = format!("syslog+tls://localhost:{port}?framing={framing}");
        check(&scratch, peer, &url, &keys(&all.ca, None));
    }
}

/// What the gateway is to say of an `openssl s_server` with this certificate and these arguments.
struct Refused<'a> {
    certificate: &'a Pair,
    arguments: Vec<&'a str>,
    client: Option<&'a Pair>,
    says: &'a str,
}

impl Refused<'_> {
    fn check(&self, ca: &Path, name: &str) {
        let (scratch, port) = (Scratch::new(name), free_port());
        let peer = openssl_server(&scratch, port, self.certificate, &self.arguments);
        let _peer = peer.listening_on(&[port]);
        let keys = keys(ca, self.client);
        let gateway = Gateway::start(
            &scratch,
            &format!(
                r#"
[limits]
shutdown = "1s"

[[source]]
name = "tcp"
url = "syslog+tcp://127.0.0.1:0"

[[drain]]
app = "*"
url = "syslog+tls://localhost:{port}"
when_full = "block"
{keys}"#
            ),
        );
        let mut stream = TcpStream::connect(gateway.source("tcp")).expect("connected");
        writeln!(stream, "<14>1 - host app - - - one").expect("sent");
        stream.shutdown(Shutdown::Write).expect("shut down");
        wait_until(&format!("{name}: {:?} in the log", self.says), || {
            gateway.words().lines().any(|line| line.contains(self.says))
        });
        let ledger = gateway.shutdown();
        ledger.assert_balanced();
        assert_eq!(ledger.destination("syslog+tls", "delivered"), 0, "{name}: {ledger:?}");
    }
}

#[test]
fn a_bad_certificate_is_refused_and_the_log_says_what_is_bad() {
    if is_missing(PeerKind::Openssl) {
        return;
    }
    let scratch = Scratch::new("tls-refused");
    let all = Certificates::new(&scratch);
    let plain = vec!["-rev"];
    let server =
        |certificate, says| Refused { certificate, arguments: plain.clone(), client: None, says };
    server(&all.expired, "has expired").check(&all.ca, "tls-expired");
    server(&all.wrong_name, "is for other names").check(&all.ca, "tls-wrong-name");
    server(&all.stranger, "unknown authority").check(&all.ca, "tls-stranger");
    // A good certificate is a stranger's where another authority is trusted.
    server(&all.server, "unknown authority").check(&all.other_ca, "tls-other-ca");
}

#[test]
fn a_peer_that_refuses_the_gateways_certificate_is_told_apart() {
    if is_missing(PeerKind::Openssl) {
        return;
    }
    let scratch = Scratch::new("tls-client-refused");
    let all = Certificates::new(&scratch);
    let ca = all.ca.to_str().expect("UTF-8");
    // -Verify asks for a certificate, and ends the handshake without a good one.
    for version in ["-tls1_2", "-tls1_3"] {
        for client in [None, Some(&all.stranger_client)] {
            let arguments =
                vec!["-rev", version, "-Verify", "1", "-verify_return_error", "-CAfile", ca];
            Refused { certificate: &all.server, arguments, client, says: "client certificate" }
                .check(&all.ca, "tls-client-refused");
        }
    }
}

#[test]
fn a_server_of_the_mandatory_suite_alone_gets_all() {
    if is_missing(PeerKind::Openssl) {
        return;
    }
    let (scratch, port) = (Scratch::new("tls-rsa"), free_port());
    let (ca, pair) = Certificates::rsa(&scratch);
    let arguments = [&["-rev"], &MANDATORY[..]].concat();
    let peer = openssl_server(&scratch, port, &pair, &arguments).listening_on(&[port]);
    let url = format!("syslog+tls://localhost:{port}");
    relay_with(&Scratch::new("tls-rsa-gateway"), &url, &keys(&ca, None), &messages()[..50]);
    wait_until("the suite in what openssl says", || peer.words().contains(MANDATORY[2]));
}
