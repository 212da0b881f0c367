//! The peers by themselves, without the gateway: that their configurations do what the other tests
//! take for granted.

use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use logboom_tests::zoo::{Behaviour, Cage};
use logboom_tests::{
    Certificates, Peer, PeerKind, Scratch, free_port, is_missing, nginx, openssl_server,
    peer_configuration, rsyslog, syslog_ng, wait_until,
};

const MESSAGE: &str = "<14>1 2026-11-21T05:44:01.000001Z host app 1 ID [x@32473 k=\"v\"] by hand";

/// rsyslog with TLS by one of its drivers.
pub(crate) fn rsyslog_tls(scratch: &Scratch, port: u16, driver: &str, auth: &str) -> Peer {
    let config = peer_configuration("rsyslog-tls.conf", &[("@IN@", port)]);
    let config = config.replace("@DRIVER@", driver).replace("@AUTH@", auth);
    rsyslog(scratch, &config).listening_on(&[port])
}

/// Sends text through `openssl s_client` and returns what it says.
fn s_client(port: u16, ca: &Path, arguments: &[&str], text: &str) -> String {
    let mut command = Command::new(PeerKind::Openssl.program().expect("openssl"));
    command.args(["s_client", "-connect", &format!("127.0.0.1:{port}"), "-CAfile"]).arg(ca);
    command.args(["-verify_return_error", "-verify_hostname", "localhost"]).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("openssl starts");
    // One that has refused the certificate may have gone already.
    drop(child.stdin.take().expect("stdin").write_all(text.as_bytes()));
    let output = child.wait_with_output().expect("its end");
    let both = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&both).into_owned()
}

fn octet(message: &str) -> String {
    format!("{} {message}", message.len())
}

#[test]
fn rsyslog_takes_tls_by_both_drivers() {
    if is_missing(PeerKind::RsyslogTls) || is_missing(PeerKind::Openssl) {
        return;
    }
    for driver in ["gtls", "ossl"] {
        let (scratch, port) = (Scratch::new("peer-rsyslog-tls"), free_port());
        let all = Certificates::new(&scratch);
        let _peer = rsyslog_tls(&scratch, port, driver, "anon");
        let said = s_client(port, &all.ca, &[], &octet(MESSAGE));
        assert!(said.contains("Verify return code: 0"), "{driver}: {said}");
        let lines = scratch.wait_lines("raw.log", 1);
        assert_eq!(String::from_utf8_lossy(&lines[0]), MESSAGE, "{driver}");
    }
}

#[test]
fn rsyslog_asks_for_a_client_certificate_where_told_to() {
    if is_missing(PeerKind::RsyslogTls) || is_missing(PeerKind::Openssl) {
        return;
    }
    let (scratch, port) = (Scratch::new("peer-rsyslog-mtls"), free_port());
    let all = Certificates::new(&scratch);
    let _peer = rsyslog_tls(&scratch, port, "gtls", "x509/certvalid");
    drop(s_client(port, &all.ca, &[], &octet(&MESSAGE.replace("hand", "nobody"))));
    let pair = [&all.client.certificate, &all.client.key].map(|path| path.to_str().expect("UTF-8"));
    let with = ["-cert", pair[0], "-key", pair[1]];
    drop(s_client(port, &all.ca, &with, &octet(MESSAGE)));
    let lines = scratch.wait_lines("raw.log", 1);
    assert_eq!(String::from_utf8_lossy(&lines[0]), MESSAGE);
}

#[test]
fn syslog_ng_takes_tls_octet_counted_and_in_lines() {
    if is_missing(PeerKind::SyslogNg) || is_missing(PeerKind::Openssl) {
        return;
    }
    let (scratch, ports) = (Scratch::new("peer-syslog-ng-tls"), [free_port(), free_port()]);
    let all = Certificates::new(&scratch);
    let names = [("@IN@", ports[0]), ("@LINES@", ports[1])];
    let _peer = syslog_ng(&scratch, &peer_configuration("syslog-ng-tls.conf", &names));
    for (count, (port, text)) in
        [(ports[0], octet(MESSAGE)), (ports[1], format!("{MESSAGE}\n"))].iter().enumerate()
    {
        wait_until("a peer", || TcpStream::connect(("127.0.0.1", *port)).is_ok());
        drop(s_client(*port, &all.ca, &[], text));
        let lines = scratch.wait_lines("raw.log", count + 1);
        assert_eq!(String::from_utf8_lossy(&lines[count]), MESSAGE);
    }
}

#[test]
fn rsyslog_relays_by_relp_to_rsyslog() {
    if is_missing(PeerKind::RsyslogRelp) {
        return;
    }
    let (to, from) = (Scratch::new("peer-relp-in"), Scratch::new("peer-relp-out"));
    let (input, relp, tls) = (free_port(), free_port(), free_port());
    drop(Certificates::new(&to));
    let values = [("@IN@", relp), ("@TLS@", tls)];
    let _to = rsyslog(&to, &peer_configuration("rsyslog-relp-in.conf", &values))
        .listening_on(&[relp, tls]);
    let values = [("@IN@", input), ("@OUT@", relp)];
    let _from = rsyslog(&from, &peer_configuration("rsyslog-relp-out.conf", &values))
        .listening_on(&[input]);
    let mut stream = TcpStream::connect(("127.0.0.1", input)).expect("connected");
    write!(stream, "{}", octet(MESSAGE)).expect("sent");
    let lines = to.wait_lines("raw.log", 1);
    assert_eq!(String::from_utf8_lossy(&lines[0]), MESSAGE);
}

/// nginx with TLS before a receiver for HTTP.
pub(crate) fn https(scratch: &Scratch, port: u16, receiver: &Cage) -> Peer {
    let values = [("@IN@", port), ("@OUT@", receiver.address().port())];
    nginx(scratch, &peer_configuration("nginx-https.conf", &values)).listening_on(&[port])
}

#[test]
fn nginx_passes_https_on_in_both_versions() {
    if is_missing(PeerKind::Nginx) || is_missing(PeerKind::Curl) {
        return;
    }
    let (scratch, port) = (Scratch::new("peer-nginx"), free_port());
    let all = Certificates::new(&scratch);
    let receiver = Cage::new(Behaviour::HttpHealthy);
    let _peer = https(&scratch, port, &receiver);
    for (version, count) in [("--http1.1", 1), ("--http2", 2)] {
        let mut command = Command::new(PeerKind::Curl.program().expect("curl"));
        command.args(["--silent", "--show-error", "--fail", version, "--cacert"]).arg(&all.ca);
        command.args(["--data-binary", &octet(MESSAGE)]);
        let output = command.arg(format!("https://localhost:{port}/logs")).output();
        let output = output.expect("curl starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(receiver.records(), count);
    }
}

#[test]
fn openssl_serves_each_bad_certificate_and_a_client_sees_what_is_bad() {
    if is_missing(PeerKind::Openssl) {
        return;
    }
    let scratch = Scratch::new("peer-openssl");
    let all = Certificates::new(&scratch);
    for (pair, error) in [
        (&all.server, "Verify return code: 0"),
        (&all.expired, "certificate has expired"),
        (&all.wrong_name, "hostname mismatch"),
        (&all.stranger, "unable to get local issuer certificate"),
    ] {
        let port = free_port();
        let _peer = openssl_server(&scratch, port, pair, &["-rev"]).listening_on(&[port]);
        let said = s_client(port, &all.ca, &[], "some text\n");
        assert!(said.to_lowercase().contains(&error.to_lowercase()), "{error}: {said}");
    }
}
