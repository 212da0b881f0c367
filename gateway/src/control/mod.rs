//! Control: the HTTP listener for operators: health, metrics, the ledger.
//!
//! * **What enters**: HTTP/1.1 requests.
//! * **What leaves**: `/healthz`, `/readyz`, `/metrics`, `/v1/ledger`, `/v1/guests`.
//! * **Limits**: those of the HTTP library; answers are made from counters, never from records.
//! * **When it fails**: a request gets an error status; records flow on.
//! * **May import**: `telemetry`, `config`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::config::Secret;
use crate::telemetry::exposition::Exposition;

/// The type of the Prometheus text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How often histograms are summed up.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// What the listener answers from.
pub struct Control {
    /// The metrics page.
    pub exposition: Exposition,
    /// The recorder of the process.
    pub handle: PrometheusHandle,
    /// Bytes of batches in flight.
    pub arena_bytes: Box<dyn Fn() -> usize + Send + Sync>,
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
        .layer(from_fn_with_state(Arc::clone(&control), authorize));
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
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

async fn ready(State(control): State<Arc<Control>>) -> (StatusCode, &'static str) {
    if control.is_ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}

async fn metrics(State(control): State<Arc<Control>>) -> impl IntoResponse {
    let page = control.exposition.page(&control.handle, (control.arena_bytes)());
    ([(header::CONTENT_TYPE, TEXT)], page)
}

async fn ledger(State(control): State<Arc<Control>>) -> Json<Value> {
    Json(control.exposition.ledger.to_json())
}

async fn guests(State(control): State<Arc<Control>>) -> Json<Value> {
    let guests = control.exposition.guests.iter().map(|guest| {
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
