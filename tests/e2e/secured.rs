//! Sources with TLS: peers that were not written here get in with their certificates, strangers do
//! not, and new certificates come into force under way.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use logboom_tests::{
    Certificates, Gateway, Peer, PeerKind, Scratch, free_port, is_missing, peer_configuration,
    rsyslog, syslog_ng, wait_until,
};

use crate::destinations::{MESSAGES, compare, messages};
use crate::tls::MANDATORY;

/// A gateway with one source of this scheme, on any port, that asks for a certificate of the
/// authority, and writes what it gets as it came and as JSON.
fn gateway(scratch: &Scratch, certificates: &Scratch, scheme: &str, keys: &str) -> Gateway {
    let (folder, certs) = (scratch.path().display(), certificates.path().display());
    Gateway::start(
        scratch,
        &format!(
            r#"
[[source]]
name = "in"
url = "{scheme}://127.0.0.1:0"
cert = "{certs}/server.pem"
key = "{certs}/server.key"
peer_fields = true
{keys}

[[route]]
name = "wire"
url = "file://{folder}/wire.log?format=rfc5424"
when_full = "block"

[[route]]
name = "json"
url = "file://{folder}/json.log?format=json"
when_full = "block"

[[pipeline]]
sources = ["in"]
routes = ["wire", "json"]
"#
        ),
    )
}

fn client_ca(certificates: &Scratch) -> String {
    format!("client_ca = \"{}\"", certificates.join("ca.pem").display())
}

/// Sends many messages through a peer with a client certificate to a source, and compares.
fn check(scheme: &str, peer: impl FnOnce(&Scratch, &Scratch, [u16; 2]) -> Peer) {
    let (scratch, theirs) = (Scratch::new("secured"), Scratch::new("secured-peer"));
    let certs = Scratch::new("secured-certificates");
    drop(Certificates::new(&certs));
    let gateway = gateway(&scratch, &certs, scheme, &client_ca(&certs));
    let input = free_port();
    let ports = [input, gateway.source("in").port()];
    let peer = peer(&theirs, &certs, ports).listening_on(&[input]);
    let messages = messages();
    let mut stream = TcpStream::connect(("127.0.0.1", input)).expect("connected");
    for message in &messages {
        write!(stream, "{} {message}", message.len()).expect("sent");
    }
    stream.shutdown(Shutdown::Write).expect("shut down");
    gateway.settle("in", MESSAGES as u64);
    compare(&scratch, "wire.log", &messages);
    for record in scratch.wait_json("json.log", MESSAGES) {
        let (subject, address) =
            (&record["fields"]["peer.subject"], &record["fields"]["peer.address"]);
        assert_eq!(subject, "CN=client.example", "{record}");
        assert!(address.as_str().is_some_and(|it| it.starts_with("127.0.0.1:")), "{record}");
    }
    drop(peer);
    gateway.shutdown().assert_balanced();
}

fn configuration(name: &str, certs: &Scratch, ports: [u16; 2]) -> String {
    let text = peer_configuration(name, &[("@IN@", ports[0]), ("@OUT@", ports[1])]);
    text.replace("@CERTS@", &certs.path().display().to_string())
}

#[test]
fn rsyslog_sends_by_tls_with_both_of_its_drivers() {
    if is_missing(PeerKind::RsyslogTls) {
        return;
    }
    for driver in ["gtls", "ossl"] {
        check("syslog+tls", |scratch, certs, ports| {
            let config = configuration("rsyslog-tls-out.conf", certs, ports);
            rsyslog(scratch, &config.replace("@DRIVER@", driver))
        });
    }
}

#[test]
fn rsyslog_sends_by_relp_over_tls() {
    if is_missing(PeerKind::RsyslogRelp) {
        return;
    }
    check("relps", |scratch, certs, ports| {
        rsyslog(scratch, &configuration("rsyslog-relps-out.conf", certs, ports))
    });
}

#[test]
fn syslog_ng_sends_by_tls() {
    if is_missing(PeerKind::SyslogNg) {
        return;
    }
    check("syslog+tls", |scratch, certs, ports| {
        syslog_ng(scratch, &configuration("syslog-ng-tls-out.conf", certs, ports))
    });
}

/// `openssl s_client`, which sends what is written to it until its input is closed.
pub(crate) struct Client(Child);

impl Client {
    pub(crate) fn start(port: u16, ca: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(PeerKind::Openssl.program().expect("openssl"));
        command.args(["s_client", "-quiet", "-no_ign_eof", "-verify_return_error"]);
        command.args(["-verify_hostname", "localhost", "-CAfile"]).arg(ca);
        command.args(["-connect", &format!("127.0.0.1:{port}")]).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        Self(command.spawn().expect("openssl starts"))
    }

    pub(crate) fn send(&mut self, line: &str) {
        // One that was refused may have gone already.
        drop(writeln!(self.0.stdin.as_mut().expect("stdin"), "{line}"));
    }

    /// Closes its input and returns whether it ended well.
    fn finish(mut self) -> bool {
        drop(self.0.stdin.take());
        self.0.wait().expect("its end").success()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn clients_without_a_good_certificate_are_refused_and_the_log_says_why() {
    if is_missing(PeerKind::Openssl) {
        return;
    }
    let (scratch, certs) = (Scratch::new("secured-refused"), Scratch::new("secured-certificates"));
    let all = Certificates::new(&certs);
    let gateway = gateway(&scratch, &certs, "syslog+tls", &client_ca(&certs));
    let port = gateway.source("in").port();
    let stranger = [&all.stranger_client.certificate, &all.stranger_client.key];
    let expired = [&all.expired.certificate, &all.expired.key];
    for (pair, says) in [
        (None, "showed no certificate"),
        (Some(stranger), "unknown authority"),
        (Some(expired), "has expired"),
    ] {
        for version in ["-tls1_2", "-tls1_3"] {
            let mut arguments = vec![version];
            if let Some(pair) = pair {
                let [certificate, key] = pair.map(|path| path.to_str().expect("UTF-8"));
                arguments.extend(["-cert", certificate, "-key", key]);
            }
            let before = gateway.ledger().rejected("in", "handshake");
            let is_said = || {
                let words = gateway.words();
                words.lines().any(|line| line.contains("session refused") && line.contains(says))
            };
            // Of many refusals in one second one is said.
            wait_until(&format!("{version}: {says:?} in the log"), || {
                let mut client = Client::start(port, &all.ca, &arguments);
                client.send("<14>1 - host app - - - never");
                wait_until(version, || client.0.try_wait().expect("its end").is_some());
                is_said() && gateway.ledger().rejected("in", "handshake") > before
            });
        }
    }
    // Who has a good one is served as if nothing had been.
    let pair = [&all.client.certificate, &all.client.key].map(|path| path.to_str().expect("UTF-8"));
    let mut client = Client::start(port, &all.ca, &["-cert", pair[0], "-key", pair[1]]);
    client.send("<14>1 - host app - - - welcome");
    let record = scratch.wait_json("json.log", 1).remove(0);
    assert_eq!(
        [&record["body"], &record["fields"]["peer.subject"]],
        ["welcome", "CN=client.example"]
    );
    assert!(client.finish());
    let ledger = gateway.shutdown();
    ledger.assert_balanced();
    assert_eq!(ledger.source("in", "received"), 1);
}

#[test]
fn a_client_may_come_without_a_certificate_where_they_are_optional() {
    if is_missing(PeerKind::Openssl) {
        return;
    }
    let (scratch, certs) = (Scratch::new("secured-optional"), Scratch::new("secured-certificates"));
    let all = Certificates::new(&certs);
    let keys = format!("{}\nclient_auth = \"optional\"", client_ca(&certs));
    let gateway = gateway(&scratch, &certs, "syslog+tls", &keys);
    let mut client = Client::start(gateway.source("in").port(), &all.ca, &[]);
    client.send("<14>1 - host app - - - anybody");
    let record = scratch.wait_json("json.log", 1).remove(0);
    assert_eq!(record["body"], "anybody");
    assert_eq!(record["fields"].get("peer.subject"), None, "{record}");
    drop(client);
    gateway.shutdown().assert_balanced();
}

#[test]
fn a_client_of_the_mandatory_suite_alone_is_served() {
    if is_missing(PeerKind::Openssl) {
        return;
    }
    let (scratch, certs) = (Scratch::new("secured-rsa"), Scratch::new("secured-certificates"));
    let (ca, _) = Certificates::rsa(&certs);
    let gateway = gateway(&scratch, &certs, "syslog+tls", "");
    let mut client = Client::start(gateway.source("in").port(), &ca, &MANDATORY);
    client.send("<14>1 - host app - - - by RSA");
    assert_eq!(scratch.wait_json("json.log", 1)[0]["body"], "by RSA");
    assert!(client.finish());
    gateway.shutdown().assert_balanced();
}

#[test]
fn new_certificates_are_for_new_sessions_and_open_ones_go_on() {
    if is_missing(PeerKind::Openssl) {
        return;
    }
    let (scratch, certs) = (Scratch::new("secured-reload"), Scratch::new("secured-certificates"));
    let (first, other) = (Scratch::new("secured-first"), Scratch::new("secured-second"));
    let (before, after) = (Certificates::new(&first), Certificates::new(&other));
    let put = |all: &Certificates| {
        certs.write("server.key", std::fs::read(&all.server.key).expect("a key"));
        certs.write("server.pem", std::fs::read(&all.server.certificate).expect("a certificate"));
    };
    put(&before);
    let gateway = gateway(&scratch, &certs, "syslog+tls", "");
    let port = gateway.source("in").port();
    let mut old = Client::start(port, &before.ca, &[]);
    old.send("<14>1 - host app - - - before");
    assert_eq!(scratch.wait_json("json.log", 1)[0]["body"], "before");

    put(&after);
    wait_until("new certificates", || {
        gateway.words().contains("certificates for sources read again")
    });
    let mut new = Client::start(port, &after.ca, &[]);
    new.send("<14>1 - host app - - - by the new one");
    assert_eq!(scratch.wait_json("json.log", 2)[1]["body"], "by the new one");
    old.send("<14>1 - host app - - - still there");
    assert_eq!(scratch.wait_json("json.log", 3)[2]["body"], "still there");
    // Who trusts only the old authority does not get on any more.
    let mut distrusting = Client::start(port, &before.ca, &[]);
    distrusting.send("<14>1 - host app - - - never");
    assert!(!distrusting.finish());
    assert!(old.finish() && new.finish());

    // Files that are no good leave in force what is, and are complained of.
    certs.write("server.pem", "no certificate");
    wait_until("a complaint", || gateway.words().contains("changed certificates are not taken"));
    let mut last = Client::start(port, &after.ca, &[]);
    last.send("<14>1 - host app - - - as before");
    assert_eq!(scratch.wait_json("json.log", 4)[3]["body"], "as before");
    drop(last);
    gateway.shutdown().assert_balanced();
}
