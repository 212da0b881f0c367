//! Connections to servers that behave, and to servers that do not. H4 are answers that hurt other
//! clients.

use std::future::poll_fn;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::super::answer::{Judgement, judge};
use super::*;

const LIMITS: Limits = Limits { total: Duration::from_secs(30), answer_bytes_max: 64 * 1024 };
/// For servers that leave no time idle, where a clock that stands still would never be moved on.
const SHORT: Limits = Limits { total: Duration::from_millis(200), ..LIMITS };
/// A frame of HTTP/2 that settles nothing.
const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
const NO_CONTENT: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";

async fn pair(version: Version) -> (Connection, DuplexStream) {
    let (near, far) = duplex(16 * 1024);
    (Connection::open(near, version).await.unwrap(), far)
}

async fn post(connection: &mut Connection, limits: Limits) -> Result<Answer, HttpError> {
    post_body(connection, limits, "hello").await
}

async fn post_body(
    connection: &mut Connection,
    limits: Limits,
    body: &'static str,
) -> Result<Answer, HttpError> {
    let target = Target::new(false, "logs.example:8080", "/drain?x=1").unwrap();
    let name = HeaderName::from_static("content-type");
    let headers = [(name, HeaderValue::from_static("text/plain"))];
    let body = Bytes::from_static(body.as_bytes());
    connection.post(Post { target: &target, headers: &headers, body: &body }, limits).await
}

/// Reads a request whose body is `hello`.
async fn request(server: &mut DuplexStream) -> String {
    let mut got = Vec::new();
    while !got.ends_with(b"\r\n\r\nhello") {
        assert_ne!(server.read_buf(&mut got).await.unwrap(), 0, "{}", got.escape_ascii());
    }
    String::from_utf8(got).unwrap()
}

/// Waits for the other end to be closed.
async fn closed(mut server: DuplexStream) {
    let mut rest = Vec::new();
    drop(server.read_to_end(&mut rest).await);
}

/// Answers one request with `bytes`, over and over if `is_endless`, until the client is gone.
async fn answered(bytes: &[u8], is_endless: bool, limits: Limits) -> Result<Answer, HttpError> {
    let (mut connection, mut server) = pair(Version::Http1).await;
    let serving = async {
        request(&mut server).await;
        while server.write_all(bytes).await.is_ok() && is_endless {}
        closed(server).await;
    };
    let asking = async {
        let answer = post(&mut connection, limits).await;
        if answer.as_ref().is_err() || answer.as_ref().is_ok_and(|answer| answer.closes) {
            // Without a drop: what went wrong has closed it.
            connection.tasks.spawner.finished().await;
            assert!(!connection.is_open());
        }
        drop(connection);
        answer
    };
    tokio::join!(asking, serving).0
}

impl Spawner {
    /// Waits until no task is left.
    async fn finished(&self) {
        poll_fn(|context| {
            let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            loop {
                match tasks.poll_join_next(context) {
                    std::task::Poll::Ready(Some(_)) => {}
                    std::task::Poll::Ready(None) => return std::task::Poll::Ready(()),
                    std::task::Poll::Pending => return std::task::Poll::Pending,
                }
            }
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_says_where_it_goes_and_how_long_it_is() {
    let (mut connection, mut server) = pair(Version::Http1).await;
    let serving = async {
        let request = request(&mut server).await.to_lowercase();
        server.write_all(NO_CONTENT).await.unwrap();
        request
    };
    let (answer, request) = tokio::join!(post(&mut connection, LIMITS), serving);
    assert_eq!(answer.unwrap().status, 204);
    assert!(request.starts_with("post /drain?x=1 http/1.1\r\n"), "{request}");
    for line in ["host: logs.example:8080", "content-length: 5", "content-type: text/plain"] {
        assert_eq!(request.matches(&format!("\r\n{line}\r\n")).count(), 1, "{request}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_used_again() {
    let (mut connection, mut server) = pair(Version::Http1).await;
    assert!(!connection.can_share() && connection.share().is_none());
    for answer in [NO_CONTENT, b"HTTP/1.1 503 x\r\nretry-after: 7\r\ncontent-length: 2\r\n\r\nno"] {
        let serving = async {
            request(&mut server).await;
            server.write_all(answer).await.unwrap();
        };
        let (answer, ()) = tokio::join!(post(&mut connection, LIMITS), serving);
        let answer = answer.unwrap();
        assert!(!answer.closes && connection.is_open());
        if answer.status == 503 {
            assert_eq!(answer.retry_after, Some(RetryAfter::In(Duration::from_secs(7))));
            assert_eq!(answer.text, "no");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_closes_the_connection_says_so() {
    for head in ["HTTP/1.1 200 OK\r\nConnection: foo, Close", "HTTP/1.0 200 OK"] {
        let answer = format!("{head}\r\nContent-Length: 2\r\n\r\nok");
        let answer = answered(answer.as_bytes(), false, LIMITS).await.unwrap();
        assert_eq!(
            (answer.status.as_u16(), answer.text.as_str(), answer.closes),
            (200, "ok", true)
        );
    }
}

#[tokio::test]
async fn h4_an_endless_body_is_read_up_to_the_limit_and_its_status_counts() {
    let chunk = format!("400\r\n{}\r\n", "a".repeat(1024));
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let (mut connection, mut server) = pair(Version::Http1).await;
    let serving = async {
        request(&mut server).await;
        server.write_all(head.as_bytes()).await.unwrap();
        let mut written = 0;
        while server.write_all(chunk.as_bytes()).await.is_ok() {
            written += chunk.len();
        }
        written
    };
    let (answer, written) = tokio::join!(post(&mut connection, LIMITS), serving);
    let answer = answer.unwrap();
    assert_eq!((answer.status.as_u16(), answer.text.len(), answer.closes), (200, 512, true));
    assert!(written < 4 * LIMITS.answer_bytes_max, "{written}");
}

#[tokio::test(start_paused = true)]
async fn h4_a_body_that_does_not_end_in_time_does_not_take_the_status_back() {
    let answer = b"HTTP/1.1 202 Accepted\r\ncontent-length: 10\r\n\r\nslow";
    let answer = answered(answer, false, LIMITS).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.text.as_str(), answer.closes), (202, "slow", true));
}

#[tokio::test(start_paused = true)]
async fn h4_silence_is_a_timeout_and_closes_the_connection() {
    for answer in ["", "HTTP/1.1 200 OK\r\nx: "] {
        let error = answered(answer.as_bytes(), false, LIMITS).await.unwrap_err();
        assert_eq!(error.to_string(), "no answer within 30 s");
        assert_eq!((error.keyword(), error.may_be_processed()), ("timeout", true));
    }
}

#[tokio::test(start_paused = true)]
async fn h4_a_server_that_does_not_read_keeps_no_task() {
    let body: &'static str = "a".repeat(1 << 20).leak();
    for version in [Version::Http1, Version::Http2] {
        let (mut connection, _server) = pair(version).await;
        // Before the connection is found dead.
        let limits = Limits { total: PING_EVERY / 2, ..LIMITS };
        let error = post_body(&mut connection, limits, body).await.unwrap_err();
        assert_eq!(error.keyword(), "timeout");
        let spawner = connection.tasks.spawner.clone();
        if version == Version::Http2 {
            drop(connection);
        }
        timeout(Duration::from_secs(1), spawner.finished()).await.unwrap();
    }
}

#[tokio::test]
async fn h4_a_flood_of_interim_answers_ends_with_the_time() {
    let flood = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(64);
    let error = answered(&flood, true, SHORT).await.unwrap_err();
    assert_eq!(error.keyword(), "timeout");
}

#[tokio::test]
async fn h4_a_head_without_an_end_is_no_answer() {
    let error = answered(b"HTTP/1.1 200 OK\r\nx: ", false, SHORT).await.unwrap_err();
    assert_eq!(error.keyword(), "timeout");
    let (mut connection, mut server) = pair(Version::Http1).await;
    let serving = async {
        request(&mut server).await;
        server.write_all(b"HTTP/1.1 200 OK\r\nx: ").await.unwrap();
        let mut written = 0_u32;
        while server.write_all(&[b'a'; 1024]).await.is_ok() {
            written += 1024;
        }
        written
    };
    let (error, written) = tokio::join!(post(&mut connection, LIMITS), serving);
    let error = error.unwrap_err();
    assert_eq!((error.keyword(), error.may_be_processed()), ("protocol", true));
    assert!(written <= 4 * HEAD_BYTES_MAX, "{written}");
}

#[tokio::test(start_paused = true)]
async fn h4_too_long_a_head_or_too_many_fields_are_no_answer() {
    let field = format!("x: {}\r\n", "a".repeat(40 * 1024));
    for fields in [field, "x: y\r\n".repeat(HEADERS_MAX + 1)] {
        let answer = format!("HTTP/1.1 200 OK\r\n{fields}content-length: 0\r\n\r\n");
        let error = answered(answer.as_bytes(), false, LIMITS).await.unwrap_err();
        assert_eq!(error.keyword(), "protocol");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_http_is_no_answer() {
    for answer in [
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/1.1 099 x\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        "HTTP/2.0 200\r\n\r\n",
    ] {
        let error = answered(answer.as_bytes(), false, LIMITS).await.unwrap_err();
        assert_eq!((error.keyword(), error.may_be_processed()), ("protocol", true), "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn switching_protocols_is_no_answer_that_delivers() {
    let switch = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
    let answer = answered(switch, false, LIMITS).await;
    let is_delivered = answer.is_ok_and(|answer| judge(answer.status) == Judgement::Delivered);
    assert!(!is_delivered);
}

#[tokio::test(start_paused = true)]
async fn h4_a_redirect_is_told_and_not_followed() {
    let answer =
        b"HTTP/1.1 307 x\r\nlocation: http://169.254.169.254/\x1b\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(answered(answer, false, LIMITS).await.unwrap_err().keyword(), "protocol");
    let answer =
        b"HTTP/1.1 307 x\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n";
    let answer = answered(answer, false, LIMITS).await.unwrap();
    assert_eq!(judge(answer.status), Judgement::Refused);
    assert_eq!(answer.location.as_deref(), Some("http://169.254.169.254/"));
    assert!(!answer.closes);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_ends_before_the_answer_may_have_brought_the_request() {
    for start in [b"".as_slice(), b"HTTP/1.1 200"] {
        let (mut connection, mut server) = pair(Version::Http1).await;
        let serving = async {
            request(&mut server).await;
            server.write_all(start).await.unwrap();
            drop(server);
        };
        let (error, ()) = tokio::join!(post(&mut connection, LIMITS), serving);
        let error = error.unwrap_err();
        assert_eq!((error.keyword(), error.may_be_processed()), ("reset", true));
        assert!(!connection.is_open());
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_on_a_connection_that_was_closed_was_not_sent() {
    for version in [Version::Http1, Version::Http2] {
        let (mut connection, server) = pair(version).await;
        drop(server);
        connection.tasks.spawner.finished().await;
        assert!(!connection.is_open());
        let error = post(&mut connection, LIMITS).await.unwrap_err();
        assert_eq!((error.keyword(), error.may_be_processed()), ("closed", false));
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_ends_when_it_is_dropped() {
    for version in [Version::Http1, Version::Http2] {
        let (connection, server) = pair(version).await;
        drop(connection);
        closed(server).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_an_idle_connection_is_seen() {
    for version in [Version::Http1, Version::Http2] {
        let (connection, server) = pair(version).await;
        drop(server);
        connection.closed().await;
        assert!(!connection.is_open(), "{version:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_given_up_takes_its_connection_with_it() {
    let (mut connection, mut server) = pair(Version::Http1).await;
    tokio::select! {
        biased;
        answer = post(&mut connection, LIMITS) => panic!("{answer:?}"),
        _ = request(&mut server) => {}
    }
    closed(server).await;
    assert!(!connection.is_open());
    assert_eq!(post(&mut connection, LIMITS).await.unwrap_err().keyword(), "closed");
}

/// Serves HTTP/2: each request of a connection is given to `answer` as it comes.
async fn serve_h2(
    server: DuplexStream,
    mut answer: impl FnMut(usize, Request<h2::RecvStream>, h2::server::SendResponse<Bytes>),
) {
    let mut connection = h2::server::handshake(server).await.unwrap();
    let mut count = 0;
    while let Some(Ok((request, response))) = connection.accept().await {
        answer(count, request, response);
        count += 1;
    }
}

fn ok(mut response: h2::server::SendResponse<Bytes>) {
    let head = Response::builder().status(200).body(()).unwrap();
    response.send_response(head, true).unwrap();
}

#[tokio::test(start_paused = true)]
async fn many_requests_share_a_connection_of_http2() {
    let (mut first, server) = pair(Version::Http2).await;
    let mut second = first.share().unwrap();
    let (mut waiting, mut uris) = (Vec::new(), Vec::new());
    let serving = serve_h2(server, |count, request, response| {
        uris.push(request.uri().to_string());
        waiting.push(response);
        if count == 1 {
            // Both are there before one is answered.
            waiting.drain(..).for_each(ok);
        }
    });
    let asking = async {
        let (one, two) = tokio::join!(post(&mut first, LIMITS), post(&mut second, LIMITS));
        assert_eq!((one.unwrap().status.as_u16(), two.unwrap().status.as_u16()), (200, 200));
        assert!(first.can_share());
        drop(first);
        assert!(second.is_open());
        drop(second);
    };
    tokio::join!(asking, serving);
    assert_eq!(uris, ["http://logs.example:8080/drain?x=1"; 2]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_stream_was_not_processed_and_its_connection_goes_on() {
    let (mut connection, server) = pair(Version::Http2).await;
    let serving = serve_h2(server, |count, _, mut response| match count {
        0 => response.send_reset(h2::Reason::REFUSED_STREAM),
        1 => response.send_reset(h2::Reason::INTERNAL_ERROR),
        _ => ok(response),
    });
    let asking = async {
        let error = post(&mut connection, LIMITS).await.unwrap_err();
        assert_eq!((error.keyword(), error.may_be_processed()), ("goaway", false));
        let error = post(&mut connection, LIMITS).await.unwrap_err();
        assert_eq!((error.keyword(), error.may_be_processed()), ("goaway", true));
        assert!(connection.is_open());
        assert_eq!(post(&mut connection, LIMITS).await.unwrap().status, 200);
        drop(connection);
    };
    tokio::join!(asking, serving);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_goes_away_says_whether_it_has_seen_the_request() {
    const GO_AWAY: &[u8] = b"\0\0\x08\x07\0\0\0\0\0";
    const ENHANCE_YOUR_CALM: u8 = 11;
    for (last_stream, keyword) in [(0, "goaway"), (1, "reset")] {
        let (mut connection, mut server) = pair(Version::Http2).await;
        let serving = async {
            server.write_all(SETTINGS).await.unwrap();
            let mut got = Vec::new();
            while !got.ends_with(b"hello") {
                assert_ne!(server.read_buf(&mut got).await.unwrap(), 0);
            }
            let rest = [0, 0, 0, last_stream, 0, 0, 0, ENHANCE_YOUR_CALM];
            server.write_all(&[GO_AWAY, &rest].concat()).await.unwrap();
            server.shutdown().await.unwrap();
            closed(server).await;
        };
        let asking = async {
            let error = post(&mut connection, LIMITS).await.unwrap_err();
            assert_eq!(error.keyword(), keyword, "{error:?}");
            assert_eq!(error.may_be_processed(), last_stream == 1);
            let error = post(&mut connection, LIMITS).await.unwrap_err();
            assert_eq!((error.keyword(), error.may_be_processed()), ("closed", false));
            assert!(!connection.is_open());
        };
        tokio::join!(asking, serving);
    }
}

#[tokio::test]
async fn h4_an_endless_body_over_http2_ends_its_stream_only() {
    let (mut connection, server) = pair(Version::Http2).await;
    let mut bodies = JoinSet::new();
    let serving = serve_h2(server, |count, _, mut response| {
        if count > 0 {
            return ok(response);
        }
        let head = Response::builder().status(200).body(()).unwrap();
        let mut body = response.send_response(head, false).unwrap();
        bodies.spawn(async move {
            body.reserve_capacity(8192);
            while let Some(Ok(room)) = poll_fn(|context| body.poll_capacity(context)).await {
                body.send_data(vec![b'a'; room].into(), false).unwrap();
                body.reserve_capacity(8192);
            }
        });
    });
    let asking = async {
        let answer = post(&mut connection, LIMITS).await.unwrap();
        assert_eq!((answer.text.len(), answer.closes), (512, false));
        assert!(!post(&mut connection, LIMITS).await.unwrap().closes);
        drop(connection);
    };
    tokio::join!(asking, serving);
    // The stream was reset, or its sender would wait for ever.
    bodies.join_next().await.unwrap().unwrap();
}

#[tokio::test]
async fn h4_a_flood_of_interim_answers_over_http2_ends_with_the_time() {
    // :status 100, on stream 1, and another one follows.
    const INTERIM: &[u8] = b"\0\0\x05\x01\x04\0\0\0\x01\x08\x03100";
    let (mut connection, mut server) = pair(Version::Http2).await;
    let serving = async {
        server.write_all(SETTINGS).await.unwrap();
        let mut got = Vec::new();
        while !got.ends_with(b"hello") {
            assert_ne!(server.read_buf(&mut got).await.unwrap(), 0);
        }
        let mut written = 0;
        let flood = INTERIM.repeat(64);
        while server.write_all(&flood).await.is_ok() {
            written += 64;
        }
        written
    };
    let asking = async {
        let error = post(&mut connection, SHORT).await.unwrap_err();
        drop(connection);
        error
    };
    let (error, written) = tokio::join!(asking, serving);
    assert_eq!(error.keyword(), "timeout", "{error:?}");
    assert!(written > 1000, "{written}");
}

#[tokio::test(start_paused = true)]
async fn a_timeout_over_http2_ends_its_stream_only() {
    let (mut connection, server) = pair(Version::Http2).await;
    let mut waiting = Vec::new();
    let serving = serve_h2(server, |count, _, response| match count {
        0 => waiting.push(response),
        _ => ok(response),
    });
    let asking = async {
        assert_eq!(post(&mut connection, LIMITS).await.unwrap_err().keyword(), "timeout");
        assert!(connection.is_open());
        assert_eq!(post(&mut connection, LIMITS).await.unwrap().status, 200);
        drop(connection);
    };
    tokio::join!(asking, serving);
    let reset = poll_fn(|context| waiting[0].poll_reset(context)).await;
    assert_eq!(reset.unwrap(), h2::Reason::CANCEL);
}

#[tokio::test(start_paused = true)]
async fn h4_too_long_a_head_over_http2_is_no_answer() {
    let (mut connection, server) = pair(Version::Http2).await;
    let serving = serve_h2(server, |count, _, mut response| {
        let value = "a".repeat(HEAD_BYTES_MAX as usize - if count == 0 { 1000 } else { 0 });
        let head = Response::builder().status(200).header("x", value).body(()).unwrap();
        response.send_response(head, true).unwrap();
    });
    let asking = async {
        assert_eq!(post(&mut connection, LIMITS).await.unwrap().status, 200);
        let error = post(&mut connection, LIMITS).await.unwrap_err();
        assert_eq!((error.keyword(), error.may_be_processed()), ("protocol", true));
        drop(connection);
    };
    tokio::join!(asking, serving);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_speak_http2_is_no_server() {
    let (mut connection, mut server) = pair(Version::Http2).await;
    server.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    let error = post(&mut connection, LIMITS).await.unwrap_err();
    assert!(matches!(error.keyword(), "protocol" | "closed"), "{error:?}");
    assert!(!connection.is_open());
}

#[test]
fn an_answer_is_the_last_one_if_it_says_so_in_any_way() {
    let is_last = |version, values: &[&'static str]| {
        let mut head = Response::builder().version(version);
        for value in values {
            head = head.header("connection", *value);
        }
        is_last(&head.body(()).unwrap().into_parts().0)
    };
    assert!(is_last(hyper::Version::HTTP_11, &["x", "y, CLOSE "]));
    assert!(is_last(hyper::Version::HTTP_10, &["keep-alive"]));
    assert!(!is_last(hyper::Version::HTTP_11, &["keep-alive", "closer"]));
    assert!(!is_last(hyper::Version::HTTP_11, &[]));
}

#[test]
fn a_target_is_checked() {
    assert!(Target::new(true, "[::1]:443", "/").is_ok());
    for (authority, path) in
        [("a b", "/"), ("a\r\nx: y", "/"), ("", "/"), ("a", "/ x"), ("a", "/\n")]
    {
        assert!(Target::new(true, authority, path).is_err(), "{authority:?} {path:?}");
    }
}
