//! The API of parked records, as operators call it.

use logboom_tests::{Gateway, PeerKind, Scratch, is_missing};
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
