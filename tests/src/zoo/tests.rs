//! The zoo looked at by clients that are not the gateway.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use super::*;
use crate::{Certificates, PeerKind, Scratch, is_missing, wait_until};

fn send(cage: &Cage, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(cage.address()).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("an option");
    write!(stream, "{text}").expect("sent");
    stream
}

fn frames(count: usize) -> String {
    "34 <14>1 - host app - - - some record".repeat(count)
}

#[test]
fn the_healthy_count_records_and_their_latency() {
    let cage = Cage::new(Behaviour::Healthy);
    let keeper = Keeper::start(cage.address(), vec!["a".into(), "b".into()], Pace::Fast(500));
    wait_until("all records", || cage.records() == 1_000);
    assert_eq!(keeper.finish().0, 1_000);
    assert_eq!(cage.take_latencies().len(), 1_000);
    assert_eq!((cage.accepted(), cage.most_open()), (1, 1));
    let keeper = Keeper::start(cage.address(), vec!["a".into()], Pace::Steady(1_000));
    wait_until("more records", || cage.records() >= 1_200);
    assert!(keeper.finish().0 >= 200);
}

#[test]
fn connections_are_counted_as_the_kernel_has_them() {
    let cage = Cage::new(Behaviour::Healthy);
    for _ in 0..200 {
        // Closed before the next one opens: never two at once.
        drop(send(&cage, &frames(1)));
    }
    wait_until("all connections", || cage.accepted() == 200);
    assert_eq!(cage.most_open(), 1);
    let open: Vec<_> = (0..7).map(|_| send(&cage, &frames(1))).collect();
    wait_until("seven at once", || cage.most_open() == 7);
    drop(open);
}

#[test]
fn those_that_never_read_or_accept_stop_their_client() {
    let deaf = Cage::new(Behaviour::NeverReads);
    let mut stream = TcpStream::connect(deaf.address()).expect("connected");
    stream.set_write_timeout(Some(Duration::from_secs(1))).expect("an option");
    let chunk = frames(1_000);
    let stuck = (0..1_000).find(|_| stream.write_all(chunk.as_bytes()).is_err());
    assert!(stuck.is_some(), "34 MB were taken");
    let shut = Cage::new(Behaviour::NeverAccepts);
    let answer = TcpStream::connect_timeout(&shut.address(), Duration::from_millis(500));
    assert!(answer.is_err(), "connected");
}

#[test]
fn those_that_end_connections_do() {
    let mut end = [0; 1];
    let resets = Cage::new(Behaviour::ResetsEach(3));
    let error = send(&resets, &frames(3)).read(&mut end).expect_err("a reset");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(resets.records(), 3);
    let closes = Cage::new(Behaviour::ClosesAtOnce);
    let mut stream = TcpStream::connect(closes.address()).expect("connected");
    assert_eq!(stream.read(&mut end).expect("an end"), 0);
}

#[test]
fn a_slow_one_takes_what_it_said_on_each_connection() {
    let slow = Cage::new(Behaviour::Slow(20));
    let started = std::time::Instant::now();
    let _two = [send(&slow, &frames(100)), send(&slow, &frames(100))];
    wait_until("twenty each", || slow.records() >= 40);
    assert!(started.elapsed() > Duration::from_millis(900), "{:?}", started.elapsed());
}

#[test]
fn a_flapping_one_refuses_and_comes_back_on_its_port() {
    let mut cage = Cage::new(Behaviour::Healthy);
    let mut stream = send(&cage, &frames(1));
    wait_until("a record", || cage.records() == 1);
    cage.close();
    assert_eq!(stream.read(&mut [0]).expect("an end"), 0);
    let error = TcpStream::connect(cage.address()).expect_err("refused");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    cage.reopen();
    let _stream = send(&cage, &frames(2));
    wait_until("records again", || cage.records() == 2);
}

/// curl's exit code and what it wrote, of a POST.
fn curl(cage: &Cage, arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(PeerKind::Curl.program().expect("curl"));
    command.args(["--silent", "--max-time", "2", "--dump-header", "-"]).args(arguments);
    command.args(["--max-filesize", "1000000", "--output", "/dev/null"]);
    let output = command.args(["--data-binary", &frames(4)]).arg(cage.url()).output();
    let output = output.expect("curl starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code().expect("no signal"), text)
}

#[test]
fn curl_sees_what_the_http_ones_do() {
    if is_missing(PeerKind::Curl) {
        return;
    }
    let healthy = Cage::new(Behaviour::HttpHealthy);
    assert!(curl(&healthy, &[]).1.starts_with("HTTP/1.1 204"));
    let chunked = curl(&healthy, &["--header", "Transfer-Encoding: chunked"]);
    assert!(chunked.0 == 0 && chunked.1.starts_with("HTTP/1.1 204"), "{chunked:?}");
    assert_eq!((healthy.records(), healthy.requests()), (8, 2));
    let (_, head) = curl(&Cage::new(Behaviour::HttpStatus(429)), &[]);
    assert!(head.starts_with("HTTP/1.1 429") && head.contains("Retry-After: 1"), "{head}");
    assert!(!curl(&Cage::new(Behaviour::HttpStatus(500)), &[]).1.contains("Retry-After"));
    // curl(1), exit codes: 18 a partial file, 28 time is up, 63 too large, 56 failure to receive.
    assert_eq!(curl(&Cage::new(Behaviour::HttpClosesMidway), &[]).0, 18);
    assert!(matches!(curl(&Cage::new(Behaviour::HttpEndless), &[]).0, 28 | 63));
    assert_eq!(curl(&Cage::new(Behaviour::HttpSilent), &[]).0, 28);
}

#[test]
fn curl_sees_what_the_http2_ones_do() {
    if is_missing(PeerKind::Curl) {
        return;
    }
    let known = ["--http2-prior-knowledge"];
    let leaves = Cage::new(Behaviour::Http2GoesAway(1));
    leaves.keep();
    let (code, head) =
        curl(&leaves, &["--http2-prior-knowledge", "--header", "Idempotency-Key: a"]);
    assert!(code == 0 && head.starts_with("HTTP/2 200"), "{code}: {head}");
    assert_ne!(curl(&leaves, &known).0, 0, "there was an answer");
    assert_eq!((leaves.goaways(), leaves.requests(), leaves.records()), (2, 2, 8));
    let kept = leaves.take_kept();
    let keys: Vec<_> = kept.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["a", ""]);
    assert!(kept.iter().all(|(_, body)| body == frames(4).as_bytes()));

    let shut = Cage::new(Behaviour::Http2NoWindow);
    assert_eq!(curl(&shut, &known).0, 28);
    assert_eq!((shut.accepted(), shut.requests(), shut.records()), (1, 0, 0));
}

#[test]
fn curl_takes_a_good_certificate_and_refuses_the_bad() {
    if is_missing(PeerKind::Curl) {
        return;
    }
    let scratch = Scratch::new("zoo-tls");
    let all = Certificates::new(&scratch);
    let ca = all.ca.to_str().expect("UTF-8");
    let good = Cage::with_tls(Behaviour::HttpHealthy, &all.server);
    assert!(curl(&good, &["--cacert", ca]).1.starts_with("HTTP/1.1 204"));
    assert_eq!((good.records(), good.failed_handshakes()), (4, 0));
    // curl looks at the name only when the handshake is over.
    for (pair, in_handshake) in [(&all.expired, 1), (&all.wrong_name, 0), (&all.stranger, 1)] {
        let bad = Cage::with_tls(Behaviour::HttpHealthy, pair);
        // curl(1), exit code 60: the peer's certificate is not to be trusted.
        assert_eq!(curl(&bad, &["--cacert", ca]).0, 60, "{pair:?}");
        wait_until("a failed handshake", || bad.failed_handshakes() == in_handshake);
        assert_eq!((bad.accepted(), bad.records()), (1, 0));
    }
}
