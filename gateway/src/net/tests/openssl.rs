//! The same with another implementation at the other end: `openssl`, where it is installed. With
//! `CI=true` it must be.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::support::{NAME, PATIENCE, Site, dial_tls, told, until, with_pair};
use crate::net::{ClientAuth, Stream, TlsFault};

/// A process that ends with its test.
struct Running(Child);

impl Running {
    fn new(arguments: &[&str]) -> Option<Self> {
        let mut command = Command::new("openssl");
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        match command.spawn() {
            Ok(child) => Some(Self(child)),
            Err(error) => {
                let why = format!("openssl cannot be run, nothing is tested: {error}");
                assert!(std::env::var("CI").as_deref() != Ok("true"), "{why}");
                eprintln!("SKIPPED: {why}");
                None
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Starts `openssl s_server`; where it listens, and what it prints from then on.
async fn server(
    site: &Site,
    options: &[&str],
) -> Option<(Running, SocketAddr, BufReader<std::process::ChildStdout>)> {
    let (cert, key) = site.write("openssl", &site.authority.sign(&[NAME]));
    let mut arguments = vec!["s_server", "-accept", "127.0.0.1:0", "-cert"];
    arguments.extend([cert.to_str().unwrap(), "-key", key.to_str().unwrap()]);
    arguments.extend(["-CAfile", site.ca.to_str().unwrap()]);
    arguments.extend(options);
    let mut running = Running::new(&arguments)?;
    let mut out = BufReader::new(running.0.stdout.take().unwrap());
    let found = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        while out.read_line(&mut line).unwrap() > 0 {
            if let Some(address) = line.trim().strip_prefix("ACCEPT ") {
                return (address.parse().unwrap(), out);
            }
            line.clear();
        }
        panic!("openssl s_server listens nowhere");
    });
    let (address, out) = found.await.unwrap();
    Some((running, address, out))
}

#[tokio::test]
async fn openssl_reads_what_is_sent_to_it_in_both_versions() {
    let site = Site::new();
    let client = site.write("client", &site.authority.sign(&["client"]));
    let client = site.client_with(|files| with_pair(files, &client));
    for version in ["-tls1_2", "-tls1_3"] {
        let options = ["-Verify", "2", "-verify_return_error", version];
        let Some((_running, address, mut out)) = server(&site, &options).await else { return };
        let mut stream = dial_tls(NAME, address, &client).await.unwrap();
        stream.write_all(b"<13>1 a line for openssl\n").await.unwrap();
        stream.flush().await.unwrap();
        let end = stream.handed_to_kernel();
        let heard = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            while out.read_line(&mut line).unwrap() > 0 {
                if line.contains("a line for openssl") {
                    return true;
                }
                line.clear();
            }
            false
        });
        assert!(heard.await.unwrap(), "{version}");
        until(version, || stream.acknowledged().unwrap() == end).await;
    }
}

#[tokio::test]
async fn openssl_that_misses_a_client_certificate_is_understood() {
    let site = Site::new();
    let options = ["-Verify", "2", "-verify_return_error"];
    let Some((_running, address, _out)) =
        server(&site, &[&options[..], &["-tls1_3"]].concat()).await
    else {
        return;
    };
    let mut stream = dial_tls(NAME, address, &site.client()).await.unwrap();
    let error = tokio::time::timeout(PATIENCE, stream.read_u8()).await.unwrap().unwrap_err();
    assert_eq!(TlsFault::of(&error), TlsFault::ClientCertificate, "{error:?}");

    // With TLS 1.2 it only says that the handshake failed.
    let Some((_running, address, _out)) =
        server(&site, &[&options[..], &["-tls1_2"]].concat()).await
    else {
        return;
    };
    let error = dial_tls(NAME, address, &site.client()).await.unwrap_err();
    assert!(matches!(error.keyword(), "tls_handshake" | "tls_client_certificate"), "{error:?}");
    assert!(told(&error).contains("HandshakeFailure"), "{}", told(&error));
}

#[tokio::test]
async fn openssl_without_a_common_suite_or_version_is_refused() {
    let site = Site::new();
    let rows = [
        &["-tls1_2", "-cipher", "AES128-SHA:@SECLEVEL=0"][..],
        &["-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0"][..],
    ];
    for options in rows {
        let Some((_running, address, _out)) = server(&site, options).await else { return };
        let error = dial_tls(NAME, address, &site.client()).await.unwrap_err();
        assert_eq!(error.keyword(), "tls_handshake", "{options:?} {error:?}");
    }
}

#[tokio::test]
async fn openssl_as_a_client_is_let_in_with_its_certificate_only() {
    let site = Site::new();
    let (cert, key) = site.write("client", &site.authority.sign(&["client"]));
    let auth = ClientAuth::Required(site.ca.clone());
    let server = site.server(&site.authority.sign(&[NAME]), auth);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    for (version, has_certificate) in
        [("-tls1_2", true), ("-tls1_3", true), ("-tls1_2", false), ("-tls1_3", false)]
    {
        let mut arguments = vec!["s_client", "-quiet", "-connect", &address, version];
        arguments.extend(["-servername", NAME, "-verify_hostname", NAME]);
        arguments.extend(["-verify_return_error", "-CAfile", site.ca.to_str().unwrap()]);
        if has_certificate {
            arguments.extend(["-cert", cert.to_str().unwrap(), "-key", key.to_str().unwrap()]);
        }
        let Some(mut running) = Running::new(&arguments) else { return };
        let (tcp, _) = listener.accept().await.unwrap();
        let accepted = Stream::accept(tcp, Some(&server), PATIENCE).await;
        if !has_certificate {
            assert_eq!(accepted.unwrap_err().keyword(), "tls_client_certificate", "{version}");
            continue;
        }
        let mut stream = accepted.unwrap();
        running.0.stdin.as_mut().unwrap().write_all(b"from openssl\n").unwrap();
        let mut heard = [0; 13];
        let read = tokio::time::timeout(PATIENCE, stream.read_exact(&mut heard)).await.unwrap();
        read.unwrap();
        assert_eq!(&heard, b"from openssl\n", "{version}");
        stream.write_all(b"to openssl\n").await.unwrap();
        stream.shutdown().await.unwrap();
        drop(stream);
        let mut out = running.0.stdout.take().unwrap();
        let heard = tokio::task::spawn_blocking(move || {
            let mut text = String::new();
            out.read_to_string(&mut text).unwrap();
            text
        });
        assert!(heard.await.unwrap().contains("to openssl"), "{version}");
    }
}
