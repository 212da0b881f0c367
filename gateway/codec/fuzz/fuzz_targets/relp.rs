//! Both sides of a RELP session read the same however the stream is cut, and never hold more than
//! the limit and a header.
//!
//! Input: limit (1 byte), number of cuts (1 byte), the lengths of the reads (1 byte each), then the
//! stream.
#![no_main]

use libfuzzer_sys::fuzz_target;
use logboom_codec::relp::{Client, OVERHEAD_BYTES_MAX, Reply, Request, Server, SessionError};

/// Most data of a response that a client takes.
const REPLY_BYTES_MAX: usize = 8 * 1024;

fuzz_target!(|input: &[u8]| {
    let [limit, cuts, rest @ ..] = input else { return };
    let (lengths, stream) = rest.split_at(rest.len().min(usize::from(*cuts)));
    let limit = usize::from(*limit);
    assert_eq!(serve(stream, &[], limit), serve(stream, lengths, limit));
    assert_eq!(open(stream, &[]), open(stream, lengths));
    assert_eq!(ask(stream, &[]), ask(stream, lengths));
});

/// What a session gave, and why it ended.
type Session = (Vec<String>, Option<String>);

fn serve(stream: &[u8], lengths: &[u8], limit: usize) -> Session {
    let mut server = Server::new(limit);
    let mut got = Vec::new();
    let ended = run(stream, lengths, limit, |buffer| {
        let mut requests = Vec::new();
        let result = server.receive(buffer, 0, &mut requests, usize::MAX);
        let mut out = Vec::new();
        for request in requests {
            got.push(match request {
                Request::Open { txnr } => {
                    server.accept_open(txnr, &mut out);
                    format!("{txnr} {:?}", server.offers())
                }
                Request::Syslog { txnr, data } => {
                    assert!(data.len as usize <= limit);
                    server.ok(txnr, &mut out);
                    format!("{txnr} {}", data.of(buffer).escape_ascii())
                }
                Request::Close { txnr } => {
                    server.ok(txnr, &mut out);
                    format!("{txnr}")
                }
            });
        }
        assert_eq!(server.unanswered(), 0);
        if let Err(error) = &result {
            server.reject(error, &mut out);
        }
        result
    });
    (got, ended)
}

/// What answers an open.
const OPENED: &[u8] = b"1 rsp 37 200 OK\nrelp_version=0\ncommands=syslog\n";

fn open(stream: &[u8], lengths: &[u8]) -> Session {
    replies(Client::open(100, &mut Vec::new()), stream, lengths)
}

fn ask(stream: &[u8], lengths: &[u8]) -> Session {
    let mut out = Vec::new();
    let mut client = Client::open(100, &mut out);
    assert_eq!(client.receive(OPENED, 0, &mut Vec::new()), Ok(OPENED.len()));
    for _ in 0..8 {
        assert!(client.syslog(b"a", &mut out).is_ok());
    }
    client.close(&mut out);
    replies(client, stream, lengths)
}

fn replies(mut client: Client, stream: &[u8], lengths: &[u8]) -> Session {
    let mut got = Vec::new();
    let ended = run(stream, lengths, REPLY_BYTES_MAX, |buffer| {
        let mut replies = Vec::new();
        let result = client.receive(buffer, 0, &mut replies);
        got.extend(replies.iter().map(|reply| match reply {
            Reply::Opened => format!("{:?}", client.offers()),
            Reply::Syslog { txnr, code, text } => {
                format!("{txnr} {code} {}", text.of(buffer).escape_ascii())
            }
            Reply::Closed => "closed".to_owned(),
            Reply::ServerClose => "server closes".to_owned(),
        }));
        result
    });
    (got, ended)
}

/// Gives the stream in reads of these lengths, and the rest of it in one.
fn run(
    stream: &[u8],
    lengths: &[u8],
    limit: usize,
    mut receive: impl FnMut(&[u8]) -> Result<usize, SessionError>,
) -> Option<String> {
    let mut buffer = Vec::new();
    let mut rest = stream;
    for len in lengths.iter().map(|len| usize::from(*len)).chain([stream.len()]) {
        let (read, behind) = rest.split_at(len.min(rest.len()));
        rest = behind;
        buffer.extend_from_slice(read);
        match receive(&buffer) {
            Ok(consumed) => buffer.drain(..consumed),
            Err(error) => return Some(shown(&error)),
        };
        assert!(buffer.len() < limit + OVERHEAD_BYTES_MAX, "{} bytes held", buffer.len());
    }
    None
}

/// What is wrong, without the position, which depends on the cuts.
fn shown(error: &SessionError) -> String {
    let text = match error {
        SessionError::Frame(error) => error.to_string(),
        error => error.to_string(),
    };
    text.split(", at byte").next().unwrap_or_default().to_owned()
}
