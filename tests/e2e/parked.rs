//! Parked records: their API, as operators call it, and their age.

use std::time::{Duration, Instant};

use logboom_tests::{Gateway, PeerKind, Scratch, is_missing, wait_until};
use serde_json::Value;

use crate::http::curl;
use crate::tools::{poison, with_guest};

#[test]
fn what_the_api_cannot_use_is_a_bad_request_in_json_and_a_type_is_not_asked_for() {
    if is_missing(PeerKind::Curl) {
        return;
    }
    let scratch = Scratch::new("parked-api");
    let gateway = Gateway::start(&scratch, &with_guest(&scratch, "\"hostile\""));
    poison(&gateway, 0..2);
    let ask = |arguments: &[&str], path: &str, body: &[u8]| -> (u16, Value) {
        let url = format!("http://{}/v1/parked{path}", gateway.control());
        let (status, answer) = curl(&[arguments, &[&url]].concat(), body);
        let Ok(answer) = serde_json::from_str(&answer) else {
            panic!("{arguments:?} {path}: {status} {answer}")
        };
        (status, answer)
    };
    let refused = |arguments: &[&str], path: &str, body: &[u8], status: u16, words: &str| {
        let (found, answer) = ask(arguments, path, body);
        let error = answer["error"].as_str().unwrap_or_default();
        assert!(found == status && error.contains(words), "{path}: {found} {answer}");
    };
    let bodies = ["", "all=true", "[1]", r#"{"ids": "1"}"#, r#"{"guest": 1}"#, r#"{"all": 1}"#];
    for body in bodies {
        for content_type in ["content-type:", "content-type: application/json"] {
            let header = ["-H", content_type];
            refused(&header, "/replay", body.as_bytes(), 400, r#"expected {"ids": [1, 2]}"#);
        }
    }
    refused(&["-H", "expect:"], "/replay", &vec![b' '; (2 << 20) + 1], 413, "limit");
    for query in ["?limit=many", "?after=-1", "?guests=hostile"] {
        refused(&["-X", "GET"], query, b"", 400, "query string");
    }
    for method in ["GET", "DELETE"] {
        refused(&["-X", method], "/one", b"", 400, "one");
        refused(&["-X", method], "/99", b"", 404, "no parked record has the id 99");
    }
    // Nothing of that has moved a record, and what curl calls a form does.
    assert_eq!(gateway.ledger().source("tcp", "replayed"), 0);
    let (status, answer) = ask(&[], "/replay", br#"{"ids": [1]}"#);
    assert_eq!((status, &answer["replayed"]), (200, &1.into()));
    let (status, answer) = ask(&["-H", "content-type:"], "/replay", br#"{"ids": [2]}"#);
    assert_eq!((status, &answer["replayed"]), (200, &1.into()));
    gateway.settle("tcp", 2);
    assert_eq!(gateway.shutdown().source("tcp", "replayed"), 2);
}

#[test]
fn parked_records_go_when_they_are_too_old_while_younger_ones_come_and_stay() {
    let scratch = Scratch::new("parked-age");
    let config = format!("[parked]\nage = \"2s\"\n{}", with_guest(&scratch, "\"hostile\""));
    let gateway = Gateway::start(&scratch, &config);
    let listed = || -> Vec<u64> {
        let (status, list) = gateway.get("/v1/parked?limit=10000");
        assert_eq!(status, 200, "{list}");
        let list: Value = serde_json::from_str(&list).expect("JSON");
        let letters = list["parked"].as_array().expect("a list");
        letters.iter().filter_map(|letter| letter["id"].as_u64()).collect()
    };
    let (began, mut count) = (Instant::now(), 0);
    wait_until("the first to go alone", || {
        poison(&gateway, count..count + 1);
        count += 1;
        let ids = listed();
        // On a machine that is busy for seconds they may all be too old at once.
        ids.first().is_some_and(|first| *first > 1) && ids.last() == Some(&(count as u64))
    });
    assert!(began.elapsed() > Duration::from_secs(2), "it went before its time");
    // Without any that come, the last of them goes too.
    wait_until("all to go", || listed().is_empty());
    let ledger = gateway.settle("tcp", count as u64);
    assert_eq!(ledger.source("tcp", "parked"), count as u64);
    gateway.shutdown().assert_balanced();
}
