//! The oracle against relays that are known to be good or bad, and against rsyslog.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use super::producer::{Frame, cut};
use super::*;
use crate::scratch::{free_port, wait_until};
use crate::{Peer, PeerKind, Scratch, is_missing, peer_configuration, rsyslog};

const SEED: u64 = 7;
const APPS: u64 = 4;

fn producer(address: SocketAddr, rate: u64) -> Producer {
    Producer::start(ProducerOptions { address, seed: SEED, apps: APPS, window: 64, rate })
}

/// What a relay of the tests does wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Flaw {
    Nothing,
    /// Breaks a connection, after what it took and before the answer, each so many records.
    Breaks(u64),
    /// Acknowledges each so-manieth record and forgets it.
    Forgets(u64),
    /// Delivers what it had not acknowledged, altered.
    Alters,
    /// Delivers each so-manieth record behind the one after the next.
    Swaps(u64),
}

/// A relay from RELP to octet-counted TCP.
fn relay(to: SocketAddr, flaw: Flaw) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        let mut to = TcpStream::connect(to).expect("connected");
        let (mut count, mut held) = (0, None);
        for stream in listener.incoming().flatten() {
            // Ends with the connection; the producer comes again.
            drop(serve(stream, &mut to, flaw, &mut count, &mut held));
        }
    });
    address
}

fn serve(
    mut stream: TcpStream,
    to: &mut TcpStream,
    flaw: Flaw,
    count: &mut u64,
    held: &mut Option<(u64, String)>,
) -> std::io::Result<()> {
    let (mut read, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let received = stream.read(&mut buffer)?;
        if received == 0 {
            return Ok(());
        }
        read.extend_from_slice(&buffer[..received]);
        while let Some(Frame { length, transaction, command, data }) = cut(&read)? {
            read.drain(..length);
            if command == "close" {
                return writeln!(stream, "{transaction} rsp 0\n0 serverclose 0");
            }
            let mut answer = "200 OK".to_owned();
            if command == "open" {
                answer.push_str("\nrelp_version=0\ncommands=syslog");
            } else {
                *count += 1;
                forward(to, flaw, *count, held, data)?;
                if matches!(flaw, Flaw::Breaks(each) if count.is_multiple_of(each)) {
                    return Ok(());
                }
            }
            writeln!(stream, "{transaction} rsp {} {answer}", answer.len())?;
        }
    }
}

fn forward(
    to: &mut TcpStream,
    flaw: Flaw,
    count: u64,
    held: &mut Option<(u64, String)>,
    mut data: String,
) -> std::io::Result<()> {
    match flaw {
        Flaw::Forgets(each) if count.is_multiple_of(each) => return Ok(()),
        Flaw::Alters if count == 100 => data.push('!'),
        Flaw::Swaps(each) if count.is_multiple_of(each) && held.is_none() => {
            *held = Some((count, data));
            return Ok(());
        }
        _ => {}
    }
    write!(to, "{} {data}", data.len())?;
    // Behind the next one of its app.
    if let Some((_, data)) = held.take_if(|(at, _)| count == *at + APPS) {
        write!(to, "{} {data}", data.len())?;
    }
    Ok(())
}

/// Sends at least so many records through a relay, and judges.
fn run(flaw: Flaw, records: u64) -> (Sent, Verdict) {
    let collector = Collector::start(SEED, APPS);
    let producer = producer(relay(collector.address(), flaw), 0);
    wait_until("enough records", || producer.acknowledged() >= records);
    let sent = producer.finish();
    let forgets = matches!(flaw, Flaw::Forgets(_));
    wait_until("arrivals", || collector.received().total() >= sent.issued() || forgets);
    let verdict = judge(&sent, &collector.received());
    (sent, verdict)
}

#[test]
fn a_good_relay_is_found_good() {
    let (sent, verdict) = run(Flaw::Nothing, 5_000);
    assert!(verdict.is_kept() && verdict.issued >= 5_000, "{verdict}");
    assert_eq!((verdict.duplicates, verdict.acknowledged), (0, verdict.issued), "{verdict}");
    assert_eq!((sent.sessions, sent.refusals.len()), (1, 0));
}

#[test]
fn what_was_not_answered_is_sent_again_in_order_and_counted_as_duplicate() {
    let (sent, verdict) = run(Flaw::Breaks(500), 5_000);
    assert!(verdict.is_kept(), "{verdict}");
    assert_eq!(verdict.acknowledged, verdict.issued, "{verdict}");
    assert!(verdict.duplicates > 0 && sent.sessions > 5, "{verdict}, {} sessions", sent.sessions);
}

#[test]
fn a_relay_that_forgets_what_it_acknowledged_is_found_out() {
    let (_, verdict) = run(Flaw::Forgets(100), 5_000);
    assert!(!verdict.is_kept() && verdict.lost.contains(&99), "{verdict}");
}

#[test]
fn a_relay_that_alters_a_record_is_found_out() {
    let (_, verdict) = run(Flaw::Alters, 1_000);
    assert_eq!((verdict.altered.len(), verdict.lost), (1, vec![99]));
}

#[test]
fn a_relay_that_swaps_two_records_of_an_app_is_found_out() {
    let (_, verdict) = run(Flaw::Swaps(1_000), 3_000);
    assert!(verdict.out_of_order.contains(&999) && verdict.lost.is_empty(), "{verdict}");
}

#[test]
fn what_nobody_issued_is_found_out() {
    let mut received = Received::default();
    for id in [0, 1, 5] {
        received.note(SEED, APPS, &message(SEED, APPS, id));
    }
    received.note(SEED, APPS, &message(SEED, APPS, 1));
    let sent = Sent { acknowledged: vec![true, true, true], ..Sent::default() };
    let verdict = judge(&sent, &received);
    assert_eq!((verdict.invented, verdict.lost, verdict.duplicates), (vec![5], vec![2], 1));
}

fn start_rsyslog(scratch: &Scratch, port: u16, collector: &Collector) -> Peer {
    let config = peer_configuration(
        "rsyslog-relp-relay.conf",
        &[("@IN@", port), ("@OUT@", collector.address().port())],
    );
    rsyslog(scratch, &config).listening_on(&[port])
}

#[test]
fn rsyslog_is_found_good_while_it_lives() {
    if is_missing(PeerKind::RsyslogRelp) {
        return;
    }
    let scratch = Scratch::new("oracle-rsyslog");
    let (collector, port) = (Collector::start(SEED, APPS), free_port());
    let _rsyslog = start_rsyslog(&scratch, port, &collector);
    let producer = producer(([127, 0, 0, 1], port).into(), 0);
    wait_until("enough records", || producer.acknowledged() >= 5_000);
    let sent = producer.finish();
    wait_until("arrivals", || collector.received().total() >= sent.issued());
    let verdict = judge(&sent, &collector.received());
    assert!(verdict.is_kept() && verdict.duplicates == 0, "{verdict}");
}

/// rsyslog acknowledges what it holds in memory, so this must be found.
#[test]
fn what_rsyslog_loses_when_it_is_killed_is_found() {
    if is_missing(PeerKind::RsyslogRelp) {
        return;
    }
    let scratch = Scratch::new("oracle-rsyslog-killed");
    let (collector, port) = (Collector::start(SEED, APPS), free_port());
    let first = start_rsyslog(&scratch, port, &collector);
    let producer = producer(([127, 0, 0, 1], port).into(), 20_000);
    wait_until("some records", || collector.received().total() >= 1_000);
    collector.stall();
    // More than the kernel holds for a collector that does not read.
    let acknowledged = producer.acknowledged();
    wait_until("more records", || producer.acknowledged() >= acknowledged + 60_000);
    drop(first);
    collector.resume();
    collector.wait_closed();
    let _second = start_rsyslog(&scratch, port, &collector);
    let sent = producer.finish();
    let mut last = 0;
    wait_until("no more arrivals", || {
        pause(Duration::from_millis(500));
        let now = collector.received().total();
        std::mem::replace(&mut last, now) == now
    });
    let verdict = judge(&sent, &collector.received());
    assert!(!verdict.lost.is_empty() && verdict.altered.is_empty(), "{verdict}");
    eprintln!("rsyslog with its queue in memory, killed once: {} lost", verdict.lost.len());
}
