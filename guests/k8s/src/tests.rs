//! Records of containers as fluentd, fluent-bit and containerd hand them on.

use super::*;
use logboom_guest::testkit::{Inputs, Parsed, Trial};

fn parse(body: &str) -> Parsed {
    let mut trial = Trial::<K8s>::start("").unwrap();
    trial.parse(&Inputs::new([body])).unwrap().remove(0)
}

const RECORD: &str = r#"{"log":"GET / 200\n","stream":"stdout","time":"2026-11-21T05:44:01.123456789Z","docker":{"container_id":"abc"},"kubernetes":{"namespace_name":"shop","pod_id":"1-2","pod_name":"web--worker-1050769379-6ktnc","container_name":"web--worker","labels":{"name":"web","pod-template-hash":"1050769379"},"host":"ip-10-1-2-3"},"topic":"shop-prod","tag":"x"}"#;

#[test]
fn a_record_gives_head_and_fields() {
    let parsed = parse(RECORD);
    assert_eq!(parsed.body.as_deref(), Some("GET / 200"));
    assert_eq!(parsed.time, Some(1_795_239_841_123_456_789));
    assert_eq!(parsed.severity, Some(6));
    assert_eq!(parsed.host.as_deref(), Some("ip-10-1-2-3"));
    assert_eq!(parsed.app.as_deref(), Some("web-shop-prod"));
    assert_eq!(parsed.app_name.as_deref(), Some("web--worker"));
    assert_eq!(parsed.proc_id.as_deref(), Some("web--worker-1050769379-6ktnc"));
    for (field, value) in [
        ("namespace", "shop"),
        ("pod", "web--worker-1050769379-6ktnc"),
        ("container", "web--worker"),
        ("stream", "stdout"),
    ] {
        assert_eq!(parsed.field(field), Some(&value.into()), "{field}");
    }
}

#[test]
fn the_namespace_stands_in_for_a_missing_topic() {
    let parsed = parse(&RECORD.replace(r#""topic":"shop-prod","#, ""));
    assert_eq!(parsed.app.as_deref(), Some("web-shop"));
}

#[test]
fn an_app_needs_both_its_halves() {
    let parsed = parse(&RECORD.replace("container_name", "x"));
    assert_eq!((parsed.app, parsed.app_name), (None, None));
    let parsed = parse(&RECORD.replace("namespace_name", "x").replace("\"topic\"", "\"y\""));
    assert_eq!(parsed.app, None);
}

#[test]
fn standard_error_is_an_error() {
    assert_eq!(parse(&RECORD.replace("stdout", "stderr")).severity, Some(3));
    assert_eq!(parse("2026-11-21T05:44:01Z stderr F x").severity, Some(3));
}

#[test]
fn one_line_end_is_cut_and_escapes_are_undone() {
    for (log, body) in [
        (r"plain", "plain"),
        (r"plain\n", "plain"),
        (r"two\n\n", "two\n"),
        (r"not an end\\n", r"not an end\n"),
        (r"an end\\\n", r"an end\"),
        (r#"say \"x\"\n"#, "say \"x\""),
    ] {
        let parsed = parse(&format!(r#"{{"log":"{log}","stream":"stdout"}}"#));
        assert_eq!(parsed.body.as_deref(), Some(body), "{log}");
    }
    assert_eq!(parse(r#"{"log":"\n","stream":"stdout"}"#).body.as_deref(), Some(""));
}

#[test]
fn lines_of_the_runtime_give_text_time_and_stream() {
    let parsed = parse("2026-11-21T05:44:01.123456789Z stdout F hello  world\n");
    assert_eq!(parsed.body.as_deref(), Some("hello  world"));
    assert_eq!(parsed.time, Some(1_795_239_841_123_456_789));
    assert_eq!((parsed.severity, parsed.app.clone()), (Some(6), None));
    assert_eq!(parsed.field("stream"), Some(&"stdout".into()));
    assert_eq!(parsed.field("partial"), None);
    let parsed = parse("2026-11-21T06:44:01+01:00 stdout P:x hel");
    assert_eq!(parsed.field("partial"), Some(&true.into()));
    assert_eq!(parse("2026-11-21T05:44:01Z stdout F").body.as_deref(), Some(""));
}

#[test]
fn what_is_neither_is_left_alone() {
    for body in [
        "",
        "hello",
        "{}",
        r#"{"log":"x"}"#,
        r#"{"log":5,"stream":"stdout"}"#,
        r#"{"msg":"x","kubernetes":{}}"#,
        r#"{"log":"x","kubernetes":[]}"#,
        r#"{"log":"x","stream":"stdout""#,
        "2026-11-21T05:44:01Z stdout X text",
        "2026-11-21T05:44:01Z stdin F text",
        "2026-11-21 stdout F text",
        "2026-11-21T05:44:01Z",
    ] {
        assert!(parse(body).is_untouched(), "{body}");
    }
}

#[test]
fn any_configuration_is_refused() {
    let error = Trial::<K8s>::start(r#"{"x":1}"#).unwrap_err();
    assert_eq!(error, "unknown field `x`, there are no fields");
}
