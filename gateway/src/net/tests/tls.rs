//! TLS connections: who is accepted, who is not, and what is said about it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, IsCa, date_time_ymd};
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::support::{
    Authority, NAME, PATIENCE, Pair, Site, assert_echoes, dial_tls, echo, network, told, with_pair,
};
use crate::net::{
    AcceptError, ClientAuth, DialError, Endpoint, Limits, Network, Stream, TlsFault, dial,
};

async fn refused(
    host: &str,
    address: SocketAddr,
    tls: &Arc<crate::net::TlsClient>,
) -> (&'static str, String) {
    let error = dial_tls(host, address, tls).await.unwrap_err();
    assert!(!error.is_permanent());
    (error.keyword(), told(&error))
}

#[tokio::test]
async fn a_name_and_an_address_in_the_certificate_are_accepted() {
    let site = Site::new();
    let pair = site.authority.sign(&[NAME, "127.0.0.1", "::1"]);
    let (address, mut told) = echo(Some(site.server(&pair, ClientAuth::None))).await;
    let client = site.client_with(|files| files.alpn = vec![b"other", b"syslog"]);
    for host in [NAME, "LOGS.example.COM", "logs.example.com.", "127.0.0.1"] {
        let mut stream = dial_tls(host, address, &client).await.unwrap();
        assert_echoes(&mut stream, &[7; 100_000]).await;
        assert!(stream.is_tls());
        assert_eq!(stream.alpn(), Some(&b"syslog"[..]));
        assert_eq!(told.recv().await.unwrap().unwrap().as_deref(), Some(&b"syslog"[..]));
    }
}

#[tokio::test]
async fn an_ipv6_address_in_brackets_is_verified_as_an_address() {
    let site = Site::new();
    let server = site.server(&site.authority.sign(&["::1"]), ClientAuth::None);
    let Ok(listener) = TcpListener::bind("[::1]:0").await else { return };
    let port = listener.local_addr().unwrap().port();
    let accepted = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        Stream::accept(tcp, Some(&server), PATIENCE).await.unwrap()
    });
    let tls = Some(site.client());
    let endpoint = Endpoint { host: "[::1]".to_owned(), port, tls, guarded: false };
    let stream = dial(&Network::default(), &endpoint).await.unwrap();
    assert_eq!(stream.peer().port(), port);
    drop(accepted.await.unwrap());
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let site = Site::new();
    let pair = site.authority.sign(&["other.example.com", "127.0.0.2"]);
    let (address, mut heard) = echo(Some(site.server(&pair, ClientAuth::None))).await;
    let (keyword, said) = refused(NAME, address, &site.client()).await;
    assert_eq!(keyword, "tls_certificate_name");
    assert!(said.starts_with("the certificate of logs.example.com is for other names"), "{said}");
    assert!(said.contains("other.example.com"), "{said}");
    assert_eq!(refused("127.0.0.1", address, &site.client()).await.0, "tls_certificate_name");
    // The other side is told so.
    let error = heard.recv().await.unwrap().unwrap_err();
    assert!(matches!(error, AcceptError::Tls { .. }), "{error:?}");

    let client = site.client_with(|files| files.server_name = Some("other.example.com".into()));
    assert_echoes(&mut dial_tls(NAME, address, &client).await.unwrap(), b"x").await;
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_refused() {
    let site = Site::new();
    // One of another name, and one of the same name with another key.
    for stranger in [Authority::new("Other CA"), Authority::new("Test CA")] {
        let server = site.server(&stranger.sign(&[NAME]), ClientAuth::None);
        let (address, _heard) = echo(Some(server)).await;
        let (keyword, said) = refused(NAME, address, &site.client()).await;
        assert_eq!(keyword, "tls_certificate_unknown_ca", "{said}");
        let expected = "the certificate of logs.example.com is signed by an unknown authority: \
                        give its CA as `ca`";
        assert!(said.starts_with(expected), "{said}");
    }
}

#[tokio::test]
async fn a_certificate_that_is_out_of_its_time_is_refused() {
    let site = Site::new();
    let expired = site.authority.sign_with(&[NAME], |params| {
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
    });
    let early = site.authority.sign_with(&[NAME], |params| {
        params.not_before = date_time_ymd(2090, 1, 1);
        params.not_after = date_time_ymd(2091, 1, 1);
    });
    for (pair, expected) in [(expired, "has expired"), (early, "is not valid yet")] {
        let (address, _heard) = echo(Some(site.server(&pair, ClientAuth::None))).await;
        let (keyword, said) = refused(NAME, address, &site.client()).await;
        assert_eq!(keyword, "tls_certificate_expired");
        assert!(said.contains(expected), "{said}");
    }
}

/// What `openssl req -x509` makes by default, given to both sides.
#[tokio::test]
async fn an_authoritys_own_certificate_is_refused_with_what_to_do() {
    let site = Site::new();
    let own = site.authority.sign_with(&[NAME], |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    });
    let (address, _heard) = echo(Some(site.server(&own, ClientAuth::None))).await;
    let (keyword, said) = refused(NAME, address, &site.client()).await;
    assert_eq!(keyword, "tls_handshake");
    assert!(said.contains("without CA:TRUE"), "{said}");
}

#[tokio::test]
async fn a_client_without_the_wanted_certificate_is_told_so() {
    let site = Site::new();
    let pair = site.authority.sign(&[NAME]);
    let auth = ClientAuth::Required(site.ca.clone());
    let (address, mut heard) = echo(Some(site.server(&pair, auth))).await;

    let good = site.write("good", &site.authority.sign(&["client"]));
    let client = site.client_with(|files| with_pair(files, &good));
    let mut stream = dial_tls(NAME, address, &client).await.unwrap();
    assert_echoes(&mut stream, b"let in").await;
    assert!(heard.recv().await.unwrap().is_ok());

    // With TLS 1.3 the client is done before its certificate is judged: the first read tells.
    let bad = site.write("bad", &Authority::new("Test CA").sign(&["client"]));
    for client in [site.client(), site.client_with(|files| with_pair(files, &bad))] {
        let mut stream = dial_tls(NAME, address, &client).await.unwrap();
        let error = tokio::time::timeout(PATIENCE, stream.read_u8()).await.unwrap().unwrap_err();
        assert_eq!(TlsFault::of(&error), TlsFault::ClientCertificate, "{error:?}");
        assert_eq!(TlsFault::of(&error).keyword(), "tls_client_certificate");
        assert!(heard.recv().await.unwrap().is_err());
    }
}

#[tokio::test]
async fn where_a_client_certificate_is_optional_none_is_as_good_but_a_bad_one_is_not() {
    let site = Site::new();
    let auth = ClientAuth::Optional(site.ca.clone());
    let (address, mut heard) = echo(Some(site.server(&site.authority.sign(&[NAME]), auth))).await;
    assert_echoes(&mut dial_tls(NAME, address, &site.client()).await.unwrap(), b"x").await;
    assert!(heard.recv().await.unwrap().is_ok());
    let bad = site.write("bad", &Authority::new("Other CA").sign(&["client"]));
    let client = site.client_with(|files| with_pair(files, &bad));
    drop(dial_tls(NAME, address, &client).await);
    assert!(heard.recv().await.unwrap().is_err());
}

/// A server of one version of the protocol, with the library's own means.
async fn server_of(
    version: &'static SupportedProtocolVersion,
    pair: &Pair,
    client_ca: Option<&str>,
) -> SocketAddr {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[version])
        .unwrap();
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let chain = vec![CertificateDer::from_pem_slice(pair.cert.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(builder.with_single_cert(chain, key).unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let Ok(mut tls) = acceptor.accept(tcp).await else { continue };
            let mut bytes = [0; 64];
            while let Ok(length @ 1..) = tls.read(&mut bytes).await {
                drop(tls.write_all(&bytes[..length]).await);
            }
        }
    });
    address
}

#[tokio::test]
async fn peers_of_either_version_are_served() {
    let site = Site::new();
    let pair = site.authority.sign(&[NAME]);
    for version in [&TLS12, &TLS13] {
        let address = server_of(version, &pair, None).await;
        assert_echoes(&mut dial_tls(NAME, address, &site.client()).await.unwrap(), b"x").await;
    }
}

#[tokio::test]
async fn with_tls_1_2_a_missing_client_certificate_fails_the_dial() {
    let site = Site::new();
    let pair = site.authority.sign(&[NAME]);
    let address = server_of(&TLS12, &pair, Some(&site.authority.pem)).await;
    let good = site.write("good", &site.authority.sign(&["client"]));
    let client = site.client_with(|files| with_pair(files, &good));
    assert_echoes(&mut dial_tls(NAME, address, &client).await.unwrap(), b"x").await;
    let (keyword, said) = refused(NAME, address, &site.client()).await;
    assert_eq!(keyword, "tls_client_certificate");
    assert!(said.contains("give `cert` and `key`"), "{said}");
}

/// Accepts one connection and answers its first bytes with these.
async fn answers(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let mut bytes = [0; 4096];
        let _length = tcp.read(&mut bytes).await.unwrap();
        tcp.write_all(answer).await.unwrap();
        tcp.shutdown().await.unwrap();
        while let Ok(1..) = tcp.read(&mut bytes).await {}
    });
    address
}

#[tokio::test]
async fn a_peer_that_does_not_speak_tls_is_named_as_such() {
    let site = Site::new();
    let rows: [(&[u8], TlsFault); 5] = [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", TlsFault::NotTls),
        (b"220 mail.example.com ESMTP\r\n", TlsFault::NotTls),
        (&[0xff; 300], TlsFault::NotTls),
        (b"", TlsFault::Closed),
        // An alert: handshake failure.
        (&[0x15, 3, 3, 0, 2, 2, 40], TlsFault::Handshake),
    ];
    for (answer, expected) in rows {
        let error = dial_tls(NAME, answers(answer).await, &site.client()).await.unwrap_err();
        let DialError::Tls { fault, .. } = &error else { panic!("{error:?}") };
        assert_eq!(*fault, expected, "{answer:?}: {error:?}");
        assert_eq!(error.keyword(), "tls_handshake");
    }
}

#[tokio::test]
async fn a_peer_that_is_silent_after_accepting_is_not_waited_for() {
    let site = Site::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let limits = Limits { handshake: Duration::from_millis(50), ..Limits::default() };
    let network = Network { limits, ..network().await };
    let endpoint =
        Endpoint { host: NAME.to_owned(), port, tls: Some(site.client()), guarded: false };
    let dialled = tokio::time::timeout(PATIENCE, dial(&network, &endpoint)).await.unwrap();
    let error = dialled.unwrap_err();
    assert_eq!(error.keyword(), "timeout");
    assert!(error.to_string().contains("does it speak TLS on this port?"), "{error}");
}

#[tokio::test]
async fn a_host_that_no_certificate_can_have_is_told_so() {
    let site = Site::new();
    let (address, _told) = echo(None).await;
    let error = dial_tls("under_score.127.1", address, &site.client()).await.unwrap_err();
    assert_eq!(error.keyword(), "tls_certificate_name", "{error:?}");
    assert!(error.to_string().contains("`server_name`"), "{error}");
}

/// Accepts one connection of a client that is not one.
async fn accepted(
    limit: Duration,
) -> (TcpStream, tokio::task::JoinHandle<Result<Stream, AcceptError>>) {
    let site = Site::new();
    let server = site.server(&site.authority.sign(&[NAME]), ClientAuth::None);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (other, _) = listener.accept().await.unwrap();
    (tcp, tokio::spawn(async move { Stream::accept(other, Some(&server), limit).await }))
}

/// A ClientHello, as records of a whole handshake message.
fn client_hello() -> Vec<u8> {
    let config = Site::new().client().config();
    let name = NAME.try_into().unwrap();
    let mut hello = Vec::new();
    rustls::ClientConnection::new(config, name).unwrap().write_tls(&mut hello).unwrap();
    hello
}

/// The table T1 (CVE-2024-11738): the hello in records of one byte each.
#[tokio::test]
async fn a_hello_in_records_of_one_byte_neither_panics_nor_spins() {
    let (mut tcp, accepting) = accepted(PATIENCE).await;
    let hello = client_hello();
    let records: Vec<u8> = hello[5..].iter().flat_map(|byte| [0x16, 3, 1, 0, 1, *byte]).collect();
    tcp.write_all(&records).await.unwrap();
    let mut answer = [0; 5];
    tokio::time::timeout(PATIENCE, tcp.read_exact(&mut answer)).await.unwrap().unwrap();
    // A handshake record, or an alert.
    assert!(matches!(answer[0], 0x16 | 0x15), "{answer:?}");
    drop(tcp);
    assert!(accepting.await.unwrap().is_err());
}

#[tokio::test]
async fn a_close_notify_within_the_handshake_ends_it() {
    let hello = client_hello();
    for sent in [0, 3, 5, hello.len() / 2, hello.len()] {
        let (mut tcp, accepting) = accepted(PATIENCE).await;
        tcp.write_all(&hello[..sent]).await.unwrap();
        tcp.write_all(&[0x15, 3, 3, 0, 2, 1, 0]).await.unwrap();
        tcp.shutdown().await.unwrap();
        let error = tokio::time::timeout(PATIENCE, accepting).await.unwrap().unwrap().unwrap_err();
        assert!(matches!(error, AcceptError::Tls { .. }), "{sent}: {error:?}");
    }
}

#[tokio::test]
async fn plain_text_and_silence_do_not_pass_the_handshake() {
    let (mut tcp, accepting) = accepted(PATIENCE).await;
    tcp.write_all(b"<13>1 - - - - - - plain syslog on the TLS port\n").await.unwrap();
    let error = accepting.await.unwrap().unwrap_err();
    assert_eq!(error.keyword(), "tls_handshake");
    assert!(matches!(error, AcceptError::Tls { fault: TlsFault::NotTls, .. }), "{error:?}");

    let (_tcp, accepting) = accepted(Duration::from_millis(50)).await;
    let error = tokio::time::timeout(PATIENCE, accepting).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(error, AcceptError::Timeout { .. }), "{error:?}");
}
