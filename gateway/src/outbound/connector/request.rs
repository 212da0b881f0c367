//! HTTP: records in the bodies of requests, each request answered.
//!
//! A request carries what is in hand, so that one waits for the next only while one is in flight.
//! Its records and its id stay together until it is answered for good: a retry is the same request.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

use hyper::StatusCode;
use hyper::header::HeaderValue;
use logboom_record::{FieldNames, UnixNanos};
use tokio::sync::Mutex;

use super::{Failure, Open, connect};
use crate::config::{HttpDestination, HttpFormat, HttpVersion};
use crate::outbound::Destination;
use crate::outbound::hand::{Group, Hand, Outcome, Progress};
use crate::outbound::http::adaptive::{Control, Limit, Outcome as Load};
use crate::outbound::http::body::{Body, Headers, Writer};
use crate::outbound::http::{
    Answer, Connection, HttpError, Judgement, Limits, Post, Target, Version, judge,
};
use crate::telemetry::ledger::AttemptOutcome;

/// Most bytes and records of a body, before compression. The last record goes beyond the bytes; many
/// servers take a MiB.
const BODY_BYTES_MAX: usize = 960 << 10;
const BODY_RECORDS_MAX: usize = 4096;
/// Bytes of an answer's body that are read.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// How long to leave a destination alone that does not accept our credentials.
const DENIED_PAUSE: std::time::Duration = std::time::Duration::from_secs(60);
/// Requests in flight to begin with.
const IN_FLIGHT_START: usize = 2;

/// What the connectors of one destination share: how many requests may be in flight, how many records
/// go into one, and the connection, where it takes several at once.
#[derive(Debug)]
pub(in crate::outbound) struct Pool {
    limit: Arc<Limit>,
    size: Arc<BodySize>,
    /// It lasts for as long as a connector has it.
    shared: Mutex<Weak<Shared>>,
}

#[derive(Debug)]
struct Shared {
    connection: Connection,
    open: Arc<Open>,
    /// It leads to the wrong server: nobody else is to share it.
    is_misdirected: AtomicBool,
}

impl Pool {
    pub(in crate::outbound) fn new(in_flight_max: usize) -> Self {
        let limit = Limit::new(Control::new(IN_FLIGHT_START, in_flight_max));
        Self { limit, size: Arc::default(), shared: Mutex::default() }
    }

    /// Changes how many requests may be in flight at most.
    pub(in crate::outbound) fn change(&self, in_flight_max: usize) {
        self.limit.change(in_flight_max);
    }

    /// How many requests may be in flight, and how many are.
    pub(in crate::outbound) fn in_flight(&self) -> (usize, usize) {
        self.limit.state()
    }
}

/// How many records go into a body: half of those that were too many, and from there slowly more.
#[derive(Debug)]
struct BodySize(AtomicUsize);

impl Default for BodySize {
    fn default() -> Self {
        Self(AtomicUsize::new(BODY_RECORDS_MAX))
    }
}

impl BodySize {
    fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// So many records were too many. Returns how many to try.
    fn was_too_large(&self, records: usize) -> usize {
        let half = (records / 2).max(1);
        self.0.fetch_min(half, Ordering::Relaxed);
        half
    }

    /// So many records were taken.
    fn was_taken(&self, records: usize) {
        let size = self.get();
        // A body that was not full says nothing about a larger one.
        if records >= size && size < BODY_RECORDS_MAX {
            let larger = (size + (size / 16).max(1)).min(BODY_RECORDS_MAX);
            let changed =
                self.0.compare_exchange(size, larger, Ordering::Relaxed, Ordering::Relaxed);
            changed.unwrap_or_else(|newer| newer);
        }
    }
}

/// A connection for requests, or a share of one.
#[derive(Debug)]
pub(in crate::outbound) struct RequestConnector {
    connection: Connection,
    target: Target,
    headers: Headers,
    format: HttpFormat,
    gzip: bool,
    limits: Limits,
    limit: Arc<Limit>,
    size: Arc<BodySize>,
    /// The spool and the destination, of which ids of requests speak.
    scope: String,
    shared: Option<Arc<Shared>>,
}

impl RequestConnector {
    /// Opens a connection, or shares the one that is open.
    pub(super) async fn open(
        destination: &Destination,
        http: &HttpDestination,
    ) -> Result<(Self, Arc<Open>), Failure> {
        let mut pooled = destination.pool.shared.lock().await;
        let known = pooled.upgrade().filter(|shared| {
            shared.connection.is_open() && !shared.is_misdirected.load(Ordering::Relaxed)
        });
        let known = known.and_then(|shared| {
            Some((shared.connection.share()?, Arc::clone(&shared.open), Some(shared)))
        });
        let (connection, open, shared) = match known {
            Some(known) => known,
            None => {
                let slot = destination.cap.slot().await;
                let stream = connect(destination, &http.host, http.port).await?;
                let is_h2 = stream.alpn() == Some(b"h2") || http.version == HttpVersion::Http2;
                let version = if is_h2 { Version::Http2 } else { Version::Http1 };
                let opened = Connection::open(stream, version).await;
                let connection = opened.map_err(|error| failure("connect", &error))?;
                let open = Arc::new(Open::new(&destination.book, Some(slot)));
                let share = connection.share();
                let shared = share.map(|connection| {
                    let (open, is_misdirected) = (Arc::clone(&open), AtomicBool::new(false));
                    Arc::new(Shared { connection, open, is_misdirected })
                });
                *pooled = shared.as_ref().map(Arc::downgrade).unwrap_or_default();
                (connection, open, shared)
            }
        };
        drop(pooled);
        let invalid = |error: &dyn std::fmt::Display| {
            Failure::new("connect", AttemptOutcome::Protocol, error.to_string())
        };
        let target = Target::new(http.tls, &authority(http), &http.path_and_query);
        let mut headers = Headers::new(http.format, http.gzip);
        if let Some(credentials) = &http.credentials {
            let (user, password) = (&credentials.user, credentials.password.expose());
            headers = headers.basic(user, password).map_err(|error| invalid(&error))?;
        }
        let key = destination.key;
        let token = format!("d.{key:016x}");
        let headers = headers.drain_token(&token).map_err(|error| invalid(&error))?;
        let connector = Self {
            connection,
            target: target.map_err(|error| invalid(&error))?,
            headers,
            format: http.format,
            gzip: http.gzip,
            limits: Limits {
                total: destination.settings().attempt,
                answer_bytes_max: ANSWER_BYTES_MAX,
            },
            limit: Arc::clone(&destination.pool.limit),
            size: Arc::clone(&destination.pool.size),
            scope: match destination.common().sender {
                Some(sender) => format!("{:032x}.{key:016x}", u128::from_be_bytes(sender)),
                // Without a spool no record is held in it.
                None => String::new(),
            },
            shared,
        };
        Ok((connector, open))
    }

    pub(super) fn check(&self) -> Result<(), Failure> {
        if self.connection.is_open() { Ok(()) } else { Err(Failure::closed()) }
    }

    /// Waits until the connection is over. Cancel safe.
    pub(super) async fn news(&self) -> Result<(), Failure> {
        self.connection.closed().await;
        Err(Failure::closed())
    }

    /// Sends one request and waits for its answer.
    pub(super) async fn send(
        &mut self,
        hand: &Hand,
        progress: &mut Progress,
    ) -> Result<usize, Failure> {
        let (body, id) = self.body(hand, progress)?;
        let headers = self.headers.of(&body, &id);
        let permit = self.limit.acquire().await;
        let began = Instant::now();
        let post = Post { target: &self.target, headers: &headers, body: &body.bytes };
        let answered = self.connection.post(post, self.limits).await;
        let load = match &answered {
            Ok(answer) if matches!(answer.status.as_u16(), 429 | 503) => Load::Overloaded,
            Ok(_) => Load::Answered,
            Err(HttpError::Timeout { .. }) => Load::Overloaded,
            Err(_) => Load::Failed,
        };
        permit.finish(load, began.elapsed(), Instant::now());
        let answer = answered.map_err(|error| failure("request", &error))?;
        let outcome = match judge(answer.status) {
            Judgement::Delivered => Outcome::Delivered,
            Judgement::Refused => Outcome::Refused(describe(&answer)),
            Judgement::TooLarge if body.records == 1 => Outcome::Refused(describe(&answer)),
            Judgement::TooLarge => {
                progress.group = Some(Group::new(self.size.was_too_large(body.records)));
                return Ok(0);
            }
            Judgement::Denied => return Err(self.busy(&answer, AttemptOutcome::Rejected)),
            Judgement::Retry => return Err(self.busy(&answer, AttemptOutcome::Busy)),
        };
        progress.proven = true;
        if outcome == Outcome::Delivered {
            self.size.was_taken(body.records);
        }
        progress.group = None;
        progress.bytes += body.bytes.len();
        progress.settle(body.records, outcome);
        Ok(body.records)
    }

    /// The body of the next request, and its id.
    fn body(&self, hand: &Hand, progress: &mut Progress) -> Result<(Body, HeaderValue), Failure> {
        let most = progress.group.as_ref().map_or_else(|| self.size.get(), Group::records);
        let mut writer = Writer::new(self.format);
        let mut records = 0;
        for (item, record) in hand.unsent_records().take(most) {
            let source = &item.parcel.source;
            writer.push(&record, source, &mut |id| FieldNames::global().name(id));
            records += 1;
            if writer.bytes() >= BODY_BYTES_MAX && progress.group.is_none() {
                break;
            }
        }
        let group = progress.group.get_or_insert_with(|| Group::new(records));
        let invalid = |error: &dyn std::fmt::Display| {
            Failure::new("request", AttemptOutcome::Protocol, error.to_string())
        };
        let id =
            HeaderValue::from_str(group.id(hand, &self.scope)).map_err(|error| invalid(&error))?;
        Ok((writer.finish(self.gzip).map_err(|error| invalid(&error))?, id))
    }

    fn busy(&self, answer: &Answer, outcome: AttemptOutcome) -> Failure {
        let asked = answer.retry_after.map(|after| after.wait(UnixNanos::now()));
        let pause = (outcome == AttemptOutcome::Rejected).then_some(DENIED_PAUSE);
        // Another connection may lead to the right server.
        let is_misdirected = answer.status == StatusCode::MISDIRECTED_REQUEST;
        if let Some(shared) = self.shared.as_ref().filter(|_| is_misdirected) {
            shared.is_misdirected.store(true, Ordering::Relaxed);
        }
        Failure {
            retry_after: asked.or(pause),
            keeps_connection: !answer.closes && !is_misdirected && self.connection.is_open(),
            ..Failure::new("request", outcome, describe(answer))
        }
    }
}

fn failure(attempt: &'static str, error: &HttpError) -> Failure {
    let outcome = match error.keyword() {
        "connect" => AttemptOutcome::Protocol,
        "goaway" => AttemptOutcome::Closed,
        keyword => AttemptOutcome::of_keyword(keyword),
    };
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    let doubt =
        if error.may_be_processed() { " (the destination may have the records)" } else { "" };
    Failure::new(attempt, outcome, format!("{error}{}{doubt}", cause.unwrap_or_default()))
}

/// What a destination answered, for the log and the park.
fn describe(answer: &Answer) -> String {
    let mut text = format!("it answered {}", answer.status);
    if let Some(location) = &answer.location {
        text.push_str(&format!(" to {location} (redirects are not followed)"));
    }
    if !answer.text.is_empty() {
        text.push_str(&format!(": {}", answer.text));
    }
    text
}

/// Host, and port where it is not the scheme's own, as `Host` has them.
fn authority(http: &HttpDestination) -> String {
    let host = if http.host.contains(':') { format!("[{}]", http.host) } else { http.host.clone() };
    let default = if http.tls { 443 } else { 80 };
    if http.port == default { host } else { format!("{host}:{}", http.port) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_that_was_too_large_is_not_tried_again_at_once() {
        let size = BodySize::default();
        assert_eq!(size.was_too_large(4096), 2048);
        assert_eq!(size.was_too_large(2048), 1024);
        size.was_taken(1023);
        assert_eq!(size.get(), 1024, "it was not full");
        size.was_taken(1024);
        assert!((1025..=1280).contains(&size.get()), "{}", size.get());
        assert_eq!(size.was_too_large(1), 1);
        for _ in 0..1000 {
            size.was_taken(size.get());
        }
        assert_eq!(size.get(), BODY_RECORDS_MAX);
    }
}
