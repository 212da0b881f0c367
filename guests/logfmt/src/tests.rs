//! Logfmt as Go and Heroku programs write it.

use super::*;
use logboom_guest::testkit::{FieldValue, Inputs, Parsed, Trial};

fn parse_with(config: &str, body: &str) -> Parsed {
    let mut trial = Trial::<Logfmt>::start(config).unwrap();
    trial.parse(&Inputs::new([body])).unwrap().remove(0)
}

fn parse(body: &str) -> Parsed {
    parse_with("", body)
}

fn fields(parsed: &Parsed) -> Vec<(&str, FieldValue)> {
    parsed.fields.iter().map(|(name, value)| (name.as_str(), value.clone())).collect()
}

#[test]
fn pairs_become_typed_fields() {
    let parsed =
        parse(r#"method=GET status=200 took=1.5 ok=true no=false q="7" e= s="a \"b\"\n" v=1.2.3"#);
    assert_eq!(
        fields(&parsed),
        [
            ("method", "GET".into()),
            ("status", 200.into()),
            ("took", 1.5.into()),
            ("ok", true.into()),
            ("no", false.into()),
            ("q", "7".into()),
            ("e", "".into()),
            ("s", "a \"b\"\n".into()),
            ("v", "1.2.3".into()),
        ]
    );
}

#[test]
fn heads_go_where_they_belong() {
    let parsed = parse("time=2026-11-21T05:44:01Z level=error msg=\"disk full\" path=/var\n");
    assert_eq!(parsed.time, Some(1_795_239_841_000_000_000));
    assert_eq!(parsed.severity, Some(3));
    assert_eq!(parsed.body.as_deref(), Some("disk full"));
    assert_eq!(fields(&parsed), [("path", "/var".into())]);
}

#[test]
fn values_of_the_router_of_heroku_are_whole() {
    let parsed = parse(
        r#"at=info method=GET path="/" host=a.example.com fwd="1.2.3.4,5.6.7.8" dyno=web.1 connect=1ms url=/x?a=b&c=d"#,
    );
    assert_eq!(parsed.field("fwd"), Some(&"1.2.3.4,5.6.7.8".into()));
    assert_eq!(parsed.field("connect"), Some(&"1ms".into()));
    assert_eq!(parsed.field("url"), Some(&"/x?a=b&c=d".into()));
}

#[test]
fn what_is_not_logfmt_is_left_alone_entirely() {
    for body in [
        "",
        " ",
        "hello",
        "hello world",
        "a=1 and then some",
        "=1",
        "a=\"open",
        "a=\"x\"y",
        "a=\"end\\",
        "a=b\"c",
        "GET /x?a=b 200",
        "a==\"b",
        "{\"a\":1}",
        "x=1 \u{1}=2",
    ] {
        assert!(parse(body).is_untouched(), "{body}");
    }
}

#[test]
fn bare_keys_are_true_where_allowed() {
    let parsed = parse_with(r#"{"bare":true}"#, "debug a=1");
    assert_eq!(fields(&parsed), [("debug", true.into()), ("a", 1.into())]);
    assert!(parse_with(r#"{"bare":true}"#, "only words").is_untouched());
}

#[test]
fn types_can_be_turned_off() {
    let parsed = parse_with(r#"{"typed":false}"#, "a=1 b=true");
    assert_eq!(fields(&parsed), [("a", "1".into()), ("b", "true".into())]);
}

#[test]
fn every_cut_of_a_line_is_survived() {
    let line = r#"level=info msg="a \"b\" \\ é" k= x=-1.5e3 ü=1"#;
    for cut in (0..line.len()).filter_map(|end| line.get(..end)) {
        parse(cut);
    }
}
