//! Control: the HTTP listener for operators: health, metrics, the ledger.
//!
//! * **What enters**: HTTP/1.1 requests.
//! * **What leaves**: `/healthz`, `/readyz`, `/metrics`, and under `/v1` the ledger, guests,
//!   destinations, and parked records, which can be replayed.
//! * **Limits**: those of the HTTP library; answers are made from counters, never from records.
//! * **When it fails**: a request gets an error status; records flow on.
//! * **May import**: `telemetry`, `config`, `park`.

mod parked;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use logboom_spool::{State as SpoolState, Stats};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::config::Secret;
use crate::park::{Filter, Letter, ParkError};
use crate::telemetry::exposition::Exposition;

/// The type of the Prometheus text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How often histograms are summed up.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// A boxed future: what operating takes may take its time.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The gateway as an operator sees it.
pub trait Operate: Send + Sync + 'static {
    /// Bytes of batches in flight.
    fn arena_bytes(&self) -> usize;
    /// Whether it can do its work.
    fn health(&self) -> Health;
    /// State and figures of the spool, where there is one.
    fn spool(&self) -> Option<(SpoolState, Stats)>;
    /// Where each destination stands. There may be very many.
    fn destinations(&self) -> Vec<Standpoint>;
    /// Parked records.
    fn letters(&self, filter: Filter) -> Answer<'_, Result<Vec<Letter>, ParkError>>;
    /// Takes parked records out.
    fn forget(&self, ids: Vec<u64>) -> Answer<'_, Result<(), ParkError>>;
    /// Sends parked records on their way again. Each is taken out once it has arrived.
    fn replay(&self, filter: Filter) -> Answer<'_, Result<Replayed, ParkError>>;
}

/// Whether the gateway can do its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It can.
    Good,
    /// It cannot, for this reason.
    Bad(String),
}

/// Where a destination stands, beside its book.
#[derive(Clone, Debug)]
pub struct Standpoint {
    /// Its canonical URL.
    pub destination: String,
    /// `closed`, `open` or `half_open`.
    pub breaker: &'static str,
    /// Whether its breaker is not closed.
    pub is_open: bool,
    /// Its cap of connections.
    pub connections_max: usize,
    /// How many requests may be in flight, and how many are; of use for HTTP.
    pub requests: (usize, usize),
    /// How long the oldest record in its queue has waited.
    pub oldest: Duration,
}

/// What became of letters that were to be replayed.
#[derive(Clone, Debug, Default)]
pub struct Replayed {
    /// How many are on their way.
    pub replayed: usize,
    /// Those that were on their way already.
    pub under_way: Vec<u64>,
    /// Those that stay, because what they would go to is not configured, or their image is broken.
    pub left: Vec<u64>,
}

/// What the listener answers from.
pub struct Control {
    /// The metrics page.
    pub exposition: Arc<Exposition>,
    /// The recorder of the process.
    pub handle: PrometheusHandle,
    /// The gateway.
    pub gateway: Arc<dyn Operate>,
    /// Whether sources listen and shutdown has not begun.
    pub is_ready: Arc<AtomicBool>,
    /// What a caller of `/v1` must show.
    pub auth_key: Option<Secret>,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").finish_non_exhaustive()
    }
}

/// Serves until `shutdown` turns true.
pub async fn serve(listener: TcpListener, control: Control, mut shutdown: watch::Receiver<bool>) {
    let control = Arc::new(control);
    let upkeep = tokio::spawn(keep_up(control.handle.clone()));
    let guarded = Router::new()
        .route("/v1/ledger", get(ledger))
        .route("/v1/guests", get(guests))
        .route("/v1/destinations", get(destinations))
        .route("/v1/parked", get(parked::list))
        .route("/v1/parked/{id}", get(parked::show).delete(parked::forget))
        .route("/v1/parked/replay", post(parked::replay))
        .layer(from_fn_with_state(Arc::clone(&control), authorize));
    let router = Router::new()
        .route("/healthz", get(healthy))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .merge(guarded)
        .with_state(control);
    let stop = async move {
        // An error means that the sender is gone, which ends the server as well.
        drop(shutdown.wait_for(|stop| *stop).await);
    };
    if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stop).await {
        tracing::error!(%error, "control listener ended");
    }
    upkeep.abort();
}

/// Histograms hold single observations until they are summed: do so even if nobody scrapes.
async fn keep_up(handle: PrometheusHandle) {
    let mut every = tokio::time::interval(UPKEEP_EVERY);
    loop {
        every.tick().await;
        handle.run_upkeep();
    }
}

async fn authorize(State(control): State<Arc<Control>>, request: Request, next: Next) -> Response {
    if let Some(key) = &control.auth_key {
        let shown = request.headers().get(header::AUTHORIZATION).map(|value| value.as_bytes());
        if !key.matches(shown.unwrap_or_default()) {
            return StatusCode::UNAUTHORIZED.into_response();
        }
    }
    next.run(request).await
}

async fn healthy(State(control): State<Arc<Control>>) -> (StatusCode, String) {
    match control.gateway.health() {
        Health::Good => (StatusCode::OK, "ok\n".into()),
        Health::Bad(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

async fn ready(State(control): State<Arc<Control>>) -> (StatusCode, String) {
    if !control.is_ready.load(Ordering::Relaxed) {
        return (StatusCode::SERVICE_UNAVAILABLE, "not ready\n".into());
    }
    match control.gateway.health() {
        Health::Good => (StatusCode::OK, "ready\n".into()),
        Health::Bad(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

/// Answers with what is made of many destinations, which must not hold up those who deliver.
async fn aside<T: IntoResponse + Send + 'static>(
    control: Arc<Control>,
    make: impl FnOnce(&Control) -> T + Send + 'static,
) -> Response {
    match tokio::task::spawn_blocking(move || make(&control)).await {
        Ok(made) => made.into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn metrics(State(control): State<Arc<Control>>) -> Response {
    aside(control, |control| {
        let exposition = &control.exposition;
        exposition.publish_process(control.gateway.arena_bytes());
        if let Some((state, stats)) = control.gateway.spool() {
            exposition.publish_spool(&state, &stats);
        }
        for destination in control.gateway.destinations() {
            let Standpoint { destination, is_open, oldest, .. } = destination;
            exposition.publish_standpoint(&destination, is_open, oldest);
        }
        ([(header::CONTENT_TYPE, TEXT)], exposition.page(&control.handle))
    })
    .await
}

async fn destinations(State(control): State<Arc<Control>>) -> Response {
    aside(control, |control| {
        let ledger = control.exposition.ledger.to_json();
        let all = control.gateway.destinations().into_iter().map(|stands| {
            let name = stands.destination;
            let book = ledger.get("destinations").and_then(|books| books.get(&name)).cloned();
            json!({
                "destination": name,
                "breaker": stands.breaker,
                "max_connections": stands.connections_max,
                "requests": { "limit": stands.requests.0, "in_flight": stands.requests.1 },
                "oldest_seconds": stands.oldest.as_secs_f64(),
                "book": book,
            })
        });
        Json(all.collect::<Value>())
    })
    .await
}

/// The books, and where each destination stands.
async fn ledger(State(control): State<Arc<Control>>) -> Response {
    aside(control, |control| {
        let mut ledger = control.exposition.ledger.to_json();
        let mut books = ledger.get_mut("destinations").and_then(Value::as_object_mut);
        for stands in control.gateway.destinations() {
            let book = books.as_mut().and_then(|books| books.get_mut(&stands.destination));
            if let Some(book) = book.and_then(Value::as_object_mut) {
                book.insert("breaker".into(), stands.breaker.into());
                book.insert("oldest_seconds".into(), stands.oldest.as_secs_f64().into());
            }
        }
        Json(ledger)
    })
    .await
}

async fn guests(State(control): State<Arc<Control>>) -> Json<Value> {
    let guests = control.exposition.guests.load_full();
    let guests = guests.iter().map(|guest| {
        let manifest = guest.manifest();
        let roles: Vec<_> = guest.roles().iter().map(|role| role.keyword()).collect();
        json!({
            "name": guest.name(),
            "component": manifest.name,
            "version": manifest.version,
            "roles": roles,
            "routes": manifest.routes,
            "reasons": manifest.reasons,
            "metrics": manifest.metrics,
        })
    });
    Json(guests.collect())
}
