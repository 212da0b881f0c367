//! Matches beside records for which they hold and do not.

use super::*;
use logboom_guest::testkit::{Input, Inputs};
use proptest::prelude::*;

fn compile(texts: &[&str]) -> Result<Set, String> {
    let matches: Vec<Match> = texts
        .iter()
        .map(|text| serde_json::from_str(text).map_err(|error| error.to_string()))
        .collect::<Result<_, _>>()?;
    Set::compile(matches.iter().enumerate().map(|(index, from)| (format!("m[{index}]"), from)))
}

/// The record that the checks are about; its fields are handed over as a host would.
fn record() -> Inputs {
    Inputs::new([Input::body("GET /shop status=503 timed out")
        .app("web-shop")
        .app_name("nginx")
        .host("node-1")
        .severity(3)
        .field("status", 503)
        .field("took", 1.5)
        .field("method", "GET")
        .field("ok", false)
        .field("nothing", logboom_guest::testkit::FieldValue::Null)])
}

fn check(text: &str, expected: bool) {
    let set = compile(&[text]).unwrap();
    let inputs = record();
    let record = inputs.batch().unwrap().record(0).unwrap();
    assert_eq!(set.first(&record).is_some(), expected, "{text}");
    assert_eq!(set.holds(0, &record, &set.find(record.body())), expected, "{text}");
}

#[test]
fn every_key_holds_when_it_should() {
    for (text, expected) in [
        (r#"{"all":true}"#, true),
        (r#"{"contains":"timed out"}"#, true),
        (r#"{"contains":"timed in"}"#, false),
        (r#"{"contains":["x","status=5"]}"#, true),
        (r#"{"contains_all":["shop","status=5"]}"#, true),
        (r#"{"contains_all":["shop","status=2"]}"#, false),
        (r#"{"app":"web-*"}"#, true),
        (r#"{"app":["api-*","web-sh?p"]}"#, true),
        (r#"{"app":"web"}"#, false),
        (r#"{"app_name":"nginx"}"#, true),
        (r#"{"app_name":"ngin"}"#, false),
        (r#"{"host":"node-*"}"#, true),
        (r#"{"host":"edge-*"}"#, false),
        (r#"{"severity":"err"}"#, true),
        (r#"{"severity":"error"}"#, true),
        (r#"{"severity":"crit"}"#, false),
        (r#"{"severity":7}"#, true),
        (r#"{"regex":"status=5\\d\\d"}"#, true),
        (r#"{"regex":"^status"}"#, false),
        (r#"{"regex":"(?i)TIMED"}"#, true),
        (r#"{"field":{"status":503}}"#, true),
        (r#"{"field":{"status":503.5}}"#, false),
        (r#"{"field":{"status":{"min":500,"max":599}}}"#, true),
        (r#"{"field":{"status":{"min":504}}}"#, false),
        (r#"{"field":{"took":{"max":1.5}}}"#, true),
        (r#"{"field":{"method":"G*","ok":false}}"#, true),
        (r#"{"field":{"method":["PUT","GET"]}}"#, true),
        (r#"{"field":{"method":"GET","ok":true}}"#, false),
        (r#"{"field":{"nothing":null}}"#, true),
        (r#"{"field":{"status":"503"}}"#, false),
        (r#"{"field":{"absent":null}}"#, false),
        (r#"{"any":[{"app":"x"},{"contains":"timed"}]}"#, true),
        (r#"{"any":[{"app":"x"},{"contains":"nope"}]}"#, false),
        (r#"{"not":{"contains":"nope"}}"#, true),
        (r#"{"not":{"contains":"timed"}}"#, false),
        (r#"{"contains":"timed","app":"web-*","severity":3}"#, true),
        (r#"{"contains":"timed","app":"web-*","severity":2}"#, false),
    ] {
        check(text, expected);
    }
}

#[test]
fn the_first_match_that_holds_is_told() {
    let set = compile(&[
        r#"{"contains":"nope"}"#,
        r#"{"app":"web-*","contains":"status=5"}"#,
        r#"{"all":true}"#,
    ])
    .unwrap();
    let inputs = record();
    assert_eq!(set.first(&inputs.batch().unwrap().record(0).unwrap()), Some(1));
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    for (text, expected) in [
        ("{}", "m[0] has no condition; `\"all\": true` matches everything"),
        (r#"{"contains":[]}"#, "m[0] has no condition; `\"all\": true` matches everything"),
        (r#"{"contains":["a",""]}"#, "m[0].contains has an empty text, which is everywhere"),
        (r#"{"regex":"("}"#, "m[0].regex: \"(\": unclosed group"),
        (
            r#"{"regex":"a{1000}{1000}"}"#,
            "m[0].regex: \"a{1000}{1000}\" is too large: 1 MiB compiled is allowed",
        ),
        (
            r#"{"not":{"any":[{}]}}"#,
            "m[0].not.any[0] has no condition; `\"all\": true` matches everything",
        ),
    ] {
        assert_eq!(compile(&[text]).unwrap_err(), expected, "{text}");
    }
    for (text, expected) in [
        (r#"{"contain":"x"}"#, "unknown field `contain`, expected one of `all`, `contains`, "),
        (r#"{"contains":5}"#, "invalid type: integer `5`, expected a text or a list of texts"),
        (r#"{"severity":8}"#, "invalid value: integer `8`, expected a severity: emerg, alert,"),
        (r#"{"severity":"bad"}"#, "invalid value: string \"bad\", expected a severity: emerg,"),
        (r#"{"field":{"a":{"mni":1}}}"#, "unknown field `mni`, expected `min` or `max`"),
    ] {
        let error = compile(&[text]).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn too_many_texts_are_refused() {
    let texts: Vec<String> = (0..257).map(|i| format!("\"text-{i}\"")).collect();
    let error = compile(&[&format!("{{\"contains\":[{}]}}", texts.join(","))]).unwrap_err();
    assert_eq!(error, "257 different texts to contain; 256 are allowed");
}

fn interest_of(texts: &[&str]) -> Interest {
    let matches: Vec<Match> =
        texts.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    interest(&matches)
}

#[test]
fn an_interest_is_as_narrow_as_all_matches_allow() {
    let narrow = interest_of(&[
        r#"{"contains":["a","b"],"severity":3,"app":"x-*"}"#,
        r#"{"contains_all":["c","long"],"severity":4,"app":"y-*","app_name":"n"}"#,
        r#"{"any":[{"contains":"d"},{"contains":"a"}],"severity":0,"app":"x-*"}"#,
    ]);
    assert_eq!(narrow.literals, ["a", "b", "long", "d"]);
    assert_eq!(narrow.severity, 4);
    assert_eq!(narrow.apps, ["x-*", "y-*"]);
    assert!(narrow.app_names.is_empty());
    let wide = interest_of(&[r#"{"contains":"a"}"#, r#"{"any":[{"contains":"b"},{"app":"x"}]}"#]);
    assert_eq!(wide, Interest::all());
    assert_eq!(interest_of(&[r#"{"not":{"contains":"a"}}"#]), Interest::all());
}

proptest! {
    /// No record for which a match holds is outside of the interest.
    #[test]
    fn an_interest_never_excludes_a_match(
        literals in prop::collection::vec("[ab]{1,3}", 1..4),
        body in "[abc]{0,12}",
        severity in 0u8..8,
        limit in 0u8..8,
    ) {
        let text = serde_json::json!({
            "any": [{"contains": literals}, {"contains_all": literals}],
            "severity": limit,
        });
        let from: Match = serde_json::from_value(text).unwrap();
        let set = Set::compile([("m".to_owned(), &from)]).unwrap();
        let inputs = Inputs::new([Input::body(&body).severity(severity)]);
        let batch = inputs.batch().unwrap();
        let interest = interest([&from]);
        if set.first(&batch.record(0).unwrap()).is_some() {
            prop_assert!(severity <= interest.severity);
            prop_assert!(interest.literals.iter().any(|literal| body.contains(literal)));
        }
    }
}

#[test]
fn an_expression_lends_its_beginning_to_the_search() {
    for (pattern, expected) in [
        (" status=5[0-9][0-9] ", &[" status=5"][..]),
        ("(?:Accepted|Failed) password", &["Accepted password", "Failed password"]),
        ("[0-9]+ms", &[]),
        ("(?i)error", &[]),
        ("a|b", &[]),
        ("", &[]),
        ("x*longer", &[]),
    ] {
        let texts = crate::expression::required_texts(pattern);
        assert!(
            texts.iter().all(|text| text.len() >= 3) && texts.len() == expected.len(),
            "{pattern}: {texts:?}"
        );
        for (text, expected) in texts.iter().zip(expected) {
            assert!(expected.starts_with(text.as_str()), "{pattern}: {texts:?}");
        }
    }
}

#[test]
fn expressions_hold_for_the_same_bodies_with_and_without_their_texts() {
    let bodies =
        ["x status=503 y", " status=5 ", "status=503 ", "a status=599 status=5", "Failed password"];
    for pattern in [" status=5[0-9][0-9] ", "(?:Accepted|Failed) password", "^x", "[0-9]{3}"] {
        let from = Match { regex: Some(pattern.to_owned()), ..Match::default() };
        let set = Set::compile([("m".to_owned(), &from)]).unwrap();
        let plain = Expression::new(pattern).unwrap();
        for body in bodies {
            let inputs = Inputs::new([body]);
            let batch = inputs.batch().unwrap();
            let record = batch.records().next().unwrap();
            assert_eq!(
                set.first(&record).is_some(),
                plain.is_match(body.as_bytes()),
                "{pattern} {body}"
            );
        }
    }
}

#[test]
fn an_interest_names_no_text_that_another_implies() {
    let from = |text: &str| Match { regex: Some(text.to_owned()), ..Match::default() };
    let matches = [from(" status=50[0-9] code=0"), from(" status=5[0-9]{2} "), from("oom-kill")];
    assert_eq!(interest(&matches).literals, [" status=5", "oom-kill"]);
}
