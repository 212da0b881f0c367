//! Destinations of the zoo that speak HTTP/2: they say GOAWAY, or let no body through.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use h2::RecvStream;
use h2::server::{Builder, SendResponse};
use tokio::sync::mpsc;

use super::{Behaviour, Books, behaviour};

/// What bodies of answers are made of.
type Bytes = &'static [u8];

/// Takes requests until the connection is over.
pub(super) fn http2(stream: TcpStream, behaviour: Behaviour, books: &Arc<Books>) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::from_std(stream)?;
        connection(stream, behaviour, books).await.map_err(io::Error::other)
    })
}

/// How a connection says GOAWAY.
enum Leave {
    /// What is under way is answered.
    Politely,
    /// What is under way gets no answer.
    AtOnce,
}

async fn connection(
    stream: tokio::net::TcpStream,
    behaviour: Behaviour,
    books: &Arc<Books>,
) -> Result<(), h2::Error> {
    let mut builder = Builder::new();
    if behaviour == Behaviour::Http2NoWindow {
        builder.initial_window_size(0);
    }
    let mut connection = builder.handshake::<_, Bytes>(stream).await?;
    // It is said once.
    let (leave, mut left) = mpsc::channel(1);
    let taken = Arc::new(AtomicU64::new(0));
    loop {
        let accepted = tokio::select! {
            accepted = connection.accept() => accepted,
            Some(leave) = left.recv() => {
                match leave {
                    Leave::Politely => connection.graceful_shutdown(),
                    Leave::AtOnce => connection.abrupt_shutdown(h2::Reason::NO_ERROR),
                }
                continue;
            }
        };
        let Some((request, answer)) = accepted.transpose()? else { return Ok(()) };
        let key = request.headers().get("idempotency-key").map_or(&b""[..], |key| key.as_bytes());
        let (key, body) = (String::from_utf8_lossy(key).into_owned(), request.into_body());
        let (books, taken, leave) = (Arc::clone(books), Arc::clone(&taken), leave.clone());
        tokio::spawn(async move {
            if behaviour == Behaviour::Http2NoWindow {
                // What was sent before the client knew of the window is not read either.
                let _held = (body, answer);
                return std::future::pending().await;
            }
            // Not all of it comes where the client gives up.
            let Ok(body) = whole(body).await else { return };
            behaviour::note_body(&books, &key, &body);
            let number = taken.fetch_add(1, Ordering::Relaxed) + 1;
            let is_last = behaviour == Behaviour::Http2GoesAway(number);
            if is_last && books.goaways.fetch_add(1, Ordering::Relaxed) % 2 == 1 {
                drop(leave.try_send(Leave::AtOnce));
                // Without an answer, until the connection and this task with it are over.
                return std::future::pending().await;
            }
            respond(answer);
            if is_last {
                drop(leave.try_send(Leave::Politely));
            }
        });
    }
}

/// The whole body of a request, as fast as it comes.
async fn whole(mut body: RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut all = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        all.extend_from_slice(&chunk);
    }
    Ok(all)
}

/// Answers 200, which is what an answer is if nothing else is said.
fn respond(mut answer: SendResponse<Bytes>) {
    // Whoever is gone needs none.
    drop(answer.send_response(Default::default(), true));
}
