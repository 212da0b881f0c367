//! Parked records over HTTP: list, show, forget, replay.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
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
/// What a replay wants to be told.
const ORDERS: &str =
    r#"{"ids": [1, 2]}, {"guest": "NAME"}, {"destination": "URL"} or {"all": true}"#;

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

impl ReplayOrder {
    /// The order that a body is, whatever type the caller gave it: an operator types what `curl -d`
    /// calls a form.
    fn read(body: &[u8]) -> Result<Self, String> {
        // A list would be read as the values of the keys, in their order.
        if !body.trim_ascii_start().starts_with(b"{") {
            return Err(format!("the body is no JSON object; expected {ORDERS}"));
        }
        let order: Self = serde_json::from_slice(body)
            .map_err(|error| format!("the body cannot be used: {error}; expected {ORDERS}"))?;
        let Self { ids, guest, destination, all } = &order;
        if ids.is_empty() && guest.is_none() && destination.is_none() && !all {
            return Err(format!("it is not said what to replay; expected {ORDERS}"));
        }
        Ok(order)
    }
}

fn refused(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}

fn failed(error: &ParkError) -> Response {
    let status = match error {
        ParkError::Stopping(_) => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    refused(status, &error.to_string())
}

/// Lists letters without their images, oldest first.
pub(super) async fn list(
    State(control): State<Arc<Control>>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Response {
    let query = match query {
        Ok(Query(query)) => query,
        Err(error) => return refused(StatusCode::BAD_REQUEST, &error.body_text()),
    };
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
pub(super) async fn show(
    State(control): State<Arc<Control>>,
    id: Result<Path<u64>, PathRejection>,
) -> Response {
    let id = match id {
        Ok(Path(id)) => id,
        Err(error) => return refused(StatusCode::BAD_REQUEST, &error.body_text()),
    };
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
    refused(StatusCode::NOT_FOUND, &format!("no parked record has the id {id}"))
}

/// Takes a letter out for good.
pub(super) async fn forget(
    State(control): State<Arc<Control>>,
    id: Result<Path<u64>, PathRejection>,
) -> Response {
    let id = match id {
        Ok(Path(id)) => id,
        Err(error) => return refused(StatusCode::BAD_REQUEST, &error.body_text()),
    };
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
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let order = match body {
        Ok(body) => ReplayOrder::read(&body),
        Err(error) => return refused(error.status(), &error.body_text()),
    };
    let ReplayOrder { ids, guest, destination, all: _ } = match order {
        Ok(order) => order,
        Err(error) => return refused(StatusCode::BAD_REQUEST, &error),
    };
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

    #[test]
    fn an_order_to_replay_has_the_right_types_or_is_refused() {
        let refused = |body: &str| {
            let error = ReplayOrder::read(body.as_bytes()).unwrap_err();
            assert!(error.ends_with(&format!("; expected {ORDERS}")), "{body}: {error}");
        };
        let texts = ["true", "1", "1.5", "[]", "[\"g\"]", "{}"];
        for (key, wrong) in [
            (
                "ids",
                &["null", "true", "1", "\"1\"", "[\"1\"]", "[-1]", "[1.5]", "[null]", "{}"][..],
            ),
            ("guest", &texts),
            ("destination", &texts),
            ("all", &["null", "1", "\"true\"", "[]", "[true]", "{}"]),
        ] {
            for value in wrong {
                refused(&format!("{{\"{key}\": {value}}}"));
                // What else is said is no excuse.
                let other = if key == "all" { "\"ids\": [1]" } else { "\"all\": true" };
                refused(&format!("{{{other}, \"{key}\": {value}}}"));
            }
        }
        for body in ["", " ", "{", "all", "[]", "[[], \"g\", \"d\", true]", "\"all\"", "null", "{}"]
        {
            refused(body);
        }
        for body in ["\"ids\": []", "\"all\": false", "\"guest\": null", "\"every\": true"] {
            refused(&format!("{{{body}}}"));
        }
        refused("{\"all\": true} {}");
        for body in ["\"ids\": [1]", "\"guest\": \"g\"", "\"destination\": \"d\"", "\"all\": true"]
        {
            ReplayOrder::read(format!("\n {{{body}}}\n").as_bytes()).unwrap();
        }
        // Whose language writes down what is not there means nothing by it.
        ReplayOrder::read(br#"{"ids": [1], "guest": null, "destination": null}"#).unwrap();
    }
}
