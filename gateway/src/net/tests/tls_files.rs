//! The files of TLS: what is wrong with them, and reloading them in use.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::date_time_ymd;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::support::{
    Authority, Folder, NAME, Site, append, assert_echoes, dial_tls, echo, told, with_pair,
};
use crate::net::tls::validity;
use crate::net::{
    ClientAuth, TlsClient, TlsError, TlsFiles, TlsServer, TlsServerFiles, TlsWarning,
};

fn load(ca: Option<&Path>, cert: Option<&Path>, key: Option<&Path>) -> Result<TlsClient, TlsError> {
    let owned = |path: Option<&Path>| path.map(Path::to_path_buf);
    let files =
        TlsFiles { ca: owned(ca), cert: owned(cert), key: owned(key), ..TlsFiles::default() };
    TlsClient::load(&files)
}

#[test]
fn each_fault_of_a_file_is_named_with_its_place() {
    let site = Site::new();
    let (pair, other) = (site.authority.sign(&["a"]), site.authority.sign(&["b"]));
    let (cert, key) = site.write("a", &pair);
    let (_, other_key) = site.write("b", &other);
    let write = |name: &str, text: &str| site.folder.write(name, text);
    let ca = Some(site.ca.as_path());
    let check = |loaded: Result<TlsClient, TlsError>, expected: &str| {
        let said = told(&loaded.unwrap_err());
        let said = said.replace(site.folder.path("").to_str().unwrap(), "");
        assert!(said.starts_with(expected), "{said}\n   instead of {expected}");
    };
    let missing = site.folder.path("none.pem");
    check(load(Some(&missing), None, None), "cannot read none.pem: No such file");
    check(load(Some(&site.folder.path("")), None, None), "cannot read ");
    let empty = write("empty.pem", "");
    check(load(Some(&empty), None, None), "empty.pem: no certificate in this file");
    check(load(Some(&key), None, None), "a.key: no certificate in this file");
    check(load(ca, Some(&cert), None), "`cert` is given but not `key`");
    check(load(ca, None, Some(&key)), "`key` is given but not `cert`");
    check(load(ca, Some(&cert), Some(&cert)), "a.crt: no private key in this file");
    check(
        load(ca, Some(&cert), Some(&other_key)),
        "the private key in b.key does not match the first certificate in a.crt",
    );
    let pem = &site.authority.pem;
    let line = pem.lines().count() + 2;
    let damaged = write("damaged.pem", &format!("{pem}\n{}", pem.replacen('M', "!", 1)));
    check(
        load(Some(&damaged), None, None),
        &format!("damaged.pem:{line}: this PEM section is damaged"),
    );
    let cut = write("cut.pem", pem.trim_end().strip_suffix("-----END CERTIFICATE-----").unwrap());
    check(load(Some(&cut), None, None), "cut.pem:1: this PEM section is damaged");
    let begin = write("begin.pem", &format!("\n\n{}", pem.replacen("CERTIFICATE-----", "C--", 1)));
    check(load(Some(&begin), None, None), "begin.pem:3: this PEM section is damaged");
    let text = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let junk = write("junk.pem", &format!("{pem}{text}"));
    let line = pem.lines().count() + 1;
    check(
        load(Some(&junk), None, None),
        &format!("junk.pem:{line}: this is no usable certificate"),
    );
    check(load(ca, Some(&junk), Some(&key)), "the private key in a.key does not match");
    let junk = write("junk.crt", text);
    check(load(ca, Some(&junk), Some(&key)), "junk.crt:1: this is no usable certificate");
    let text = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let junk = write("junk.key", text);
    check(load(ca, Some(&cert), Some(&junk)), "junk.key: the private key cannot be used");
    let encrypted = text.replace("PRIVATE", "ENCRYPTED PRIVATE");
    let encrypted = write("encrypted.key", &encrypted);
    check(load(ca, Some(&cert), Some(&encrypted)), "encrypted.key: the private key is encrypted");
    let older = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: x\n\nAAAA\n\
                 -----END RSA PRIVATE KEY-----\n";
    let older = write("older.key", older);
    check(load(ca, Some(&cert), Some(&older)), "older.key: the private key is encrypted");
    let large = site.folder.write("large.pem", vec![b'\n'; (1 << 20) + 1]);
    check(load(Some(&large), None, None), "large.pem: more than 1048576 bytes");
    check(load(Some(Path::new("/dev/zero")), None, None), "/dev/zero: more than 1048576 bytes");
    let files = TlsFiles { server_name: Some("no name".into()), ..TlsFiles::default() };
    check(TlsClient::load(&files), "`server_name` \"no name\" is no host name or address");
}

#[test]
fn a_certificate_and_its_key_may_share_a_file_with_other_text() {
    let site = Site::new();
    let pair = site.authority.sign(&["a"]);
    let text = format!("# the site's\r\n{}\nsubject=CN = a\n{}", pair.key, pair.cert);
    let both = site.folder.write("both.pem", text.replace('\n', "\r\n"));
    let client = load(Some(&site.ca), Some(&both), Some(&both)).unwrap();
    assert_eq!(client.warnings(), []);
    let shown = format!("{client:?}");
    assert!(shown.contains("both.pem") && shown.len() < 1000, "{shown}");
}

#[test]
fn a_certificate_out_of_its_time_warns() {
    let site = Site::new();
    let expired = site.authority.sign_with(&["a"], |params| {
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
    });
    let (cert, key) = site.write("a", &expired);
    // Both certificates of the chain are looked at.
    append(&cert, &site.authority.pem);
    let client = load(Some(&site.ca), Some(&cert), Some(&key)).unwrap();
    let until = SystemTime::UNIX_EPOCH + Duration::from_secs(1_009_843_200);
    assert_eq!(client.warnings(), [TlsWarning::Expired { path: cert.clone(), line: 1, until }]);
    assert!(client.warnings()[0].to_string().ends_with("a.crt:1: this certificate has expired"));

    let early = site.authority.sign_with(&["a"], |params| {
        params.not_before = date_time_ymd(2090, 3, 1);
        params.not_after = date_time_ymd(2091, 1, 1);
    });
    let (cert, key) = site.write("a", &early);
    let files = TlsServerFiles { cert, key, client_auth: ClientAuth::None, alpn: Vec::new() };
    let warnings = TlsServer::load(&files).unwrap().warnings();
    assert!(matches!(warnings[..], [TlsWarning::NotYetValid { .. }]), "{warnings:?}");
}

#[test]
fn the_time_of_a_certificate_is_read_as_it_was_written() {
    let authority = Authority::new("Test CA");
    let rows = [
        ((1970, 1, 1), (1970, 1, 2)),
        ((1950, 1, 1), (2049, 12, 31)),
        ((1969, 12, 31), (2050, 1, 1)),
        ((1999, 12, 31), (2000, 2, 29)),
        ((2024, 2, 29), (2100, 3, 1)),
        ((2000, 3, 1), (9999, 12, 31)),
    ];
    for (from, until) in rows {
        let date = |(year, month, day)| date_time_ymd(year, month, day);
        let pair = authority.sign_with(&["a"], |params| {
            params.not_before = date(from);
            params.not_after = date(until);
        });
        let der = CertificateDer::from_pem_slice(pair.cert.as_bytes()).unwrap();
        let expected = (SystemTime::from(date(from)), SystemTime::from(date(until)));
        assert_eq!(validity(&der), Some(expected));
        // Cut anywhere it is no certificate, and nothing breaks.
        for length in 0..der.len() {
            assert_eq!(validity(&der[..length]), None);
        }
        for at in 0..der.len().min(200) {
            for bits in [0x01, 0x80, 0xff] {
                let mut other = der.to_vec();
                other[at] ^= bits;
                let _any = validity(&other);
            }
        }
    }
}

/// A machine may have no authorities at all, as a container often does.
#[tokio::test]
async fn without_a_ca_only_the_systems_authorities_are_trusted() {
    let site = Site::new();
    let server = site.server(&site.authority.sign(&[NAME]), ClientAuth::None);
    let (address, _told) = echo(Some(server)).await;
    match load(None, None, None) {
        Ok(client) => {
            let error = dial_tls(NAME, address, &Arc::new(client)).await.unwrap_err();
            assert_eq!(error.keyword(), "tls_certificate_unknown_ca", "{error:?}");
        }
        Err(error) => assert!(matches!(error, TlsError::NoRoots), "{error:?}"),
    }
}

fn point(link: &Path, target: &str) {
    let new = link.with_file_name("new");
    std::os::unix::fs::symlink(target, &new).unwrap();
    std::fs::rename(new, link).unwrap();
}

/// How a secret is mounted by Kubernetes: files are links through a folder that is swapped.
#[tokio::test]
async fn a_swapped_folder_of_links_is_a_change_and_reloads_in_use() {
    let site = Site::new();
    let folder = Folder::new();
    for (name, pair) in
        [("1", site.authority.sign(&[NAME])), ("2", site.authority.sign(&["second.example.com"]))]
    {
        std::fs::create_dir(folder.path(name)).unwrap();
        folder.write(&format!("{name}/tls.crt"), &pair.cert);
        folder.write(&format!("{name}/tls.key"), &pair.key);
    }
    point(&folder.path("..data"), "1");
    for name in ["tls.crt", "tls.key"] {
        point(&folder.path(name), &format!("..data/{name}"));
    }
    let (cert, key) = (folder.path("tls.crt"), folder.path("tls.key"));
    let files = TlsServerFiles { cert, key, client_auth: ClientAuth::None, alpn: Vec::new() };
    let server = Arc::new(TlsServer::load(&files).unwrap());
    let (address, _told) = echo(Some(Arc::clone(&server))).await;
    let client = site.client();
    let mut first = dial_tls(NAME, address, &client).await.unwrap();
    assert!(!server.changed());

    point(&folder.path("..data"), "2");
    assert!(server.changed());
    // Until it is reloaded, the old one is in force.
    drop(dial_tls(NAME, address, &client).await.unwrap());
    server.reload().unwrap();
    assert!(!server.changed());
    assert!(dial_tls(NAME, address, &client).await.is_err());
    drop(dial_tls("second.example.com", address, &client).await.unwrap());
    assert_echoes(&mut first, b"still here").await;
}

#[tokio::test]
async fn a_bad_reload_keeps_what_was_in_force_and_complains_once() {
    let site = Site::new();
    let server = site.server(&site.authority.sign(&[NAME]), ClientAuth::None);
    let (address, _told) = echo(Some(Arc::clone(&server))).await;
    let client = site.client();
    let (cert, key): (PathBuf, PathBuf) =
        (site.folder.path("server.crt"), site.folder.path("server.key"));
    let next = site.authority.sign(&["next.example.com"]);

    // Between the two writes they do not match.
    std::fs::write(&cert, &next.cert).unwrap();
    assert!(server.changed());
    assert!(matches!(server.reload(), Err(TlsError::KeyMismatch { .. })));
    assert!(!server.changed());
    drop(dial_tls(NAME, address, &client).await.unwrap());
    std::fs::write(&key, &next.key).unwrap();
    assert!(server.changed());
    server.reload().unwrap();
    drop(dial_tls("next.example.com", address, &client).await.unwrap());

    std::fs::remove_file(&cert).unwrap();
    assert!(server.changed());
    assert!(matches!(server.reload(), Err(TlsError::Read { .. })));
    assert!(!server.changed());
    drop(dial_tls("next.example.com", address, &client).await.unwrap());
    std::fs::write(&cert, &next.cert).unwrap();
    assert!(server.changed());
    server.reload().unwrap();
}

#[tokio::test]
async fn another_client_authority_comes_into_force_for_the_next_handshake() {
    let site = Site::new();
    let clients = Authority::new("Clients");
    let ca = site.folder.write("clients.pem", &clients.pem);
    let auth = ClientAuth::Required(ca.clone());
    let server = site.server(&site.authority.sign(&[NAME]), auth);
    let (address, mut heard) = echo(Some(Arc::clone(&server))).await;
    let pair = site.write("client", &clients.sign(&["client"]));
    let client = site.client_with(|files| with_pair(files, &pair));
    let mut stream = dial_tls(NAME, address, &client).await.unwrap();
    assert_echoes(&mut stream, b"x").await;
    assert!(heard.recv().await.unwrap().is_ok());

    std::fs::write(&ca, &Authority::new("Others").pem).unwrap();
    assert!(server.changed());
    server.reload().unwrap();
    // The same client has nothing left of its first session that would let it in.
    drop(dial_tls(NAME, address, &client).await);
    assert!(heard.recv().await.unwrap().is_err());
    assert_echoes(&mut stream, b"still here").await;
}

#[tokio::test]
async fn a_client_takes_up_its_new_certificate_and_its_new_authority() {
    let site = Site::new();
    let auth = ClientAuth::Required(site.ca.clone());
    let (address, mut heard) = echo(Some(site.server(&site.authority.sign(&[NAME]), auth))).await;
    let strange = Authority::new("Strange");
    let pair = site.write("client", &strange.sign(&["client"]));
    let ca = site.folder.write("trusted.pem", &strange.pem);
    let client = site.client_with(|files| {
        with_pair(files, &pair);
        files.ca = Some(ca.clone());
    });
    let error = dial_tls(NAME, address, &client).await.unwrap_err();
    assert_eq!(error.keyword(), "tls_certificate_unknown_ca");
    assert!(heard.recv().await.unwrap().is_err());

    std::fs::write(&ca, &site.authority.pem).unwrap();
    site.write("client", &site.authority.sign(&["client"]));
    assert!(client.changed());
    client.reload().unwrap();
    assert!(!client.changed());
    let mut stream = dial_tls(NAME, address, &client).await.unwrap();
    assert_echoes(&mut stream, b"x").await;
}
