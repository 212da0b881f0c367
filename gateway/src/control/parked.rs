//! Parked records over HTTP: list, show, forget, replay.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Control, Replayed};
use crate::park::{Filter, ParkError};

/// Letters that a list has where nothing else is asked for, and at most.
const LIMIT: usize = 100;
const LIMIT_MAX: usize = 10_000;
/// Letters read at a time, with their images.
const PAGE: usize = 500;

/// What a list is to have.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    guest: Option<String>,
    destination: Option<String>,
    #[serde(default)]
    after: u64,
    limit: Option<usize>,
}

/// What is to be replayed: the letters of these ids, or all that a guest or destination has there, or
/// all.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReplayOrder {
    #[serde(default)]
    ids: Vec<u64>,
    guest: Option<String>,
    destination: Option<String>,
    #[serde(default)]
    all: bool,
}

fn failed(error: &ParkError) -> Response {
    let status = match error {
        ParkError::Stopping(_) => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, Json(json!({ "error": error.to_string() }))).into_response()
}

/// Lists letters without their images, oldest first.
pub(super) async fn list(
    State(control): State<Arc<Control>>,
    Query(query): Query<ListQuery>,
) -> Response {
    let limit = query.limit.unwrap_or(LIMIT).clamp(1, LIMIT_MAX);
    let ListQuery { guest, destination, after, .. } = query;
    let mut filter = Filter { guest, destination, after, ..Filter::default() };
    let mut all: Vec<Value> = Vec::new();
    loop {
        filter.limit = PAGE.min(limit - all.len());
        let letters = match control.gateway.letters(filter.clone()).await {
            Ok(letters) => letters,
            Err(error) => return failed(&error),
        };
        all.extend(letters.iter().map(super::Letter::summary));
        match letters.last() {
            Some(last) if letters.len() == filter.limit && all.len() < limit => {
                filter.after = last.id;
            }
            _ => return Json(json!({ "parked": all })).into_response(),
        }
    }
}

/// Shows a letter as it stands.
pub(super) async fn show(State(control): State<Arc<Control>>, Path(id): Path<u64>) -> Response {
    let filter = Filter { ids: [id].into(), limit: 1, ..Filter::default() };
    match control.gateway.letters(filter).await {
        Ok(letters) => match letters.into_iter().next() {
            Some(letter) => Json(letter.line).into_response(),
            None => not_found(id),
        },
        Err(error) => failed(&error),
    }
}

fn not_found(id: u64) -> Response {
    let body = json!({ "error": format!("no parked record has the id {id}") });
    (StatusCode::NOT_FOUND, Json(body)).into_response()
}

/// Takes a letter out for good.
pub(super) async fn forget(State(control): State<Arc<Control>>, Path(id): Path<u64>) -> Response {
    let filter = Filter { ids: [id].into(), limit: 1, ..Filter::default() };
    match control.gateway.letters(filter).await {
        Ok(letters) if letters.is_empty() => not_found(id),
        Ok(_) => match control.gateway.forget(vec![id]).await {
            Ok(()) => StatusCode::NO_CONTENT.into_response(),
            Err(error) => failed(&error),
        },
        Err(error) => failed(&error),
    }
}

/// Sends letters on their way again.
pub(super) async fn replay(
    State(control): State<Arc<Control>>,
    Json(order): Json<ReplayOrder>,
) -> Response {
    let ReplayOrder { ids, guest, destination, all } = order;
    if ids.is_empty() && guest.is_none() && destination.is_none() && !all {
        let error = "say what to replay: \"ids\", \"guest\", \"destination\", or \"all\": true";
        return (StatusCode::BAD_REQUEST, Json(json!({ "error": error }))).into_response();
    }
    let filter = Filter { ids: ids.into_iter().collect(), guest, destination, ..Filter::default() };
    match control.gateway.replay(filter).await {
        Ok(done) => {
            let Replayed { replayed, under_way, left } = done;
            Json(json!({ "replayed": replayed, "under_way": under_way, "left": left }))
                .into_response()
        }
        Err(error) => failed(&error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_that_stops_is_unavailable_for_replays() {
        assert_eq!(failed(&ParkError::Stopping(1)).status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(failed(&ParkError::Image(1)).status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
}
