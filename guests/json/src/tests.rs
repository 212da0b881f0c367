//! JSON bodies as loggers write them.

use super::*;
use logboom_guest::testkit::{FieldValue, Inputs, Parsed, Trial};

fn parse_with(config: &str, body: &str) -> Parsed {
    let mut trial = Trial::<Json>::start(config).unwrap();
    trial.parse(&Inputs::new([body])).unwrap().remove(0)
}

fn parse(body: &str) -> Parsed {
    parse_with("", body)
}

#[test]
fn members_become_typed_fields() {
    let parsed = parse(
        r#"{"s":"x","e":"a\n\u00e9","i":-7,"f":1.5,"t":true,"n":null,"o":{"a":[1]},"l":[],"":1}"#,
    );
    let expected: Vec<(String, FieldValue)> = [
        ("s", "x".into()),
        ("e", "a\né".into()),
        ("i", (-7).into()),
        ("f", 1.5.into()),
        ("t", true.into()),
        ("n", FieldValue::Null),
        ("o", FieldValue::Json(r#"{"a":[1]}"#.into())),
        ("l", FieldValue::Json("[]".into())),
        ("", 1.into()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec();
    assert_eq!(parsed.fields, expected);
    assert_eq!(parsed.body, None);
}

#[test]
fn heads_go_where_they_belong_and_are_no_fields() {
    let parsed = parse(
        r#"{"level":"WARN","ts":"2026-11-21T05:44:01.5Z","msg":"a \"b\"","message":"second","id":1}"#,
    );
    assert_eq!(parsed.severity, Some(4));
    assert_eq!(parsed.time, Some(1_795_239_841_500_000_000));
    assert_eq!(parsed.body.as_deref(), Some("a \"b\""));
    let expected: [(String, FieldValue); 2] =
        [("message".into(), "second".into()), ("id".into(), 1.into())];
    assert_eq!(parsed.fields, expected);
}

#[test]
fn heads_of_pino_zap_and_docker_are_known() {
    let pino = parse(r#"{"level":50,"time":1795239841000,"pid":1,"msg":"x"}"#);
    assert_eq!((pino.severity, pino.time), (Some(3), Some(1_795_239_841_000_000_000)));
    let zap = parse(r#"{"level":"dpanic","ts":1795239841.25,"msg":"x"}"#);
    assert_eq!((zap.severity, zap.time), (Some(2), Some(1_795_239_841_250_000_000)));
    let docker = parse(r#"{"log":"line\n","stream":"stdout","time":"2026-11-21T05:44:01Z"}"#);
    assert_eq!(docker.body.as_deref(), Some("line\n"));
    assert_eq!(docker.field("stream"), Some(&"stdout".into()));
}

#[test]
fn heads_that_say_nothing_stay_fields() {
    let parsed = parse(r#"{"level":"shouting","time":"noon","msg":{"a":1}}"#);
    assert_eq!((parsed.severity, parsed.time, parsed.body.clone()), (None, None, None));
    assert_eq!(parsed.fields.len(), 3);
}

#[test]
fn keys_of_heads_are_configurable() {
    let parsed = parse_with(
        r#"{"body":["text"],"severity":[],"time":[]}"#,
        r#"{"text":"b","msg":"m","level":"error"}"#,
    );
    assert_eq!(parsed.body.as_deref(), Some("b"));
    assert_eq!(parsed.severity, None);
    assert_eq!(parsed.field("level"), Some(&"error".into()));
    assert_eq!(parsed.field("msg"), Some(&"m".into()));
}

#[test]
fn what_is_no_object_is_left_alone_entirely() {
    for body in [
        "",
        "hello",
        "[1]",
        "{",
        r#"{"a":1"#,
        r#"{"msg":"x","a":}"#,
        r#"{"a":1} tail"#,
        r#"{"level":"error","msg":"x\"}"#,
    ] {
        assert!(parse(body).is_untouched(), "{body}");
    }
}

#[test]
fn escaped_keys_are_names_too() {
    let parsed = parse(r#"{"a\"b":1,"m\u0073g":"body"}"#);
    assert_eq!(parsed.field("a\"b"), Some(&1.into()));
    assert_eq!(parsed.body.as_deref(), Some("body"));
}

#[test]
fn fields_of_one_record_are_limited() {
    let members: Vec<String> = (0..300).map(|i| format!("\"k{i}\":{i}")).collect();
    let parsed = parse(&format!("{{{},\"msg\":\"x\"}}", members.join(",")));
    assert_eq!(parsed.fields.len(), FIELDS_MAX);
    assert_eq!(parsed.body.as_deref(), Some("x"), "heads are looked for to the end");
}

#[test]
fn a_wrong_configuration_is_refused_with_what_is_allowed() {
    assert_eq!(
        Trial::<Json>::start(r#"{"message":["m"]}"#).unwrap_err(),
        "unknown field `message`, expected one of `body`, `severity`, `time`"
    );
}
