//! Metrics, and what records make of them.

use super::*;
use logboom_guest::testkit::{Input, Inputs, Trial};

fn measure(metric: &str, inputs: Vec<Input>) -> Trial<Count> {
    let mut trial = Trial::<Count>::start(&format!(r#"{{"metrics":[{metric}]}}"#)).unwrap();
    trial.measure(&Inputs::new(inputs)).unwrap();
    trial
}

#[test]
fn records_are_counted_by_their_labels() {
    let trial = measure(
        r#"{"name":"n_total","match":{"contains":"GET"},
            "labels":{"app":"app","host":"host","level":"severity","what":"facility","p":"proc_id","m":"msg_id","prog":"app_name"}}"#,
        vec![
            Input::body("GET")
                .app("a")
                .host("h")
                .severity(3)
                .facility(16)
                .proc_id("1")
                .msg_id("M")
                .app_name("x"),
            Input::body("GET")
                .app("a")
                .host("h")
                .severity(3)
                .facility(16)
                .proc_id("1")
                .msg_id("M")
                .app_name("x"),
            Input::body("GET"),
            Input::body("PUT"),
        ],
    );
    // Labels are in the order of their names.
    assert_eq!(trial.value("n_total", &["a", "h", "err", "M", "1", "x", "local0"]), Some(2.0));
    assert_eq!(trial.value("n_total", &["", "", "info", "", "", "", "user"]), Some(1.0));
    assert_eq!(trial.series_count(), 2);
}

#[test]
fn fields_are_labels_whatever_their_kind() {
    let trial = measure(
        r#"{"name":"n_total","match":{"all":true},"labels":{"a":"field.status","b":"field.took","c":"field.ok","d":"field.s","e":"field.none"}}"#,
        vec![
            Input::body("x")
                .field("status", 503)
                .field("took", 1.5)
                .field("ok", true)
                .field("s", "t"),
        ],
    );
    assert_eq!(trial.value("n_total", &["503", "1.5", "true", "t", ""]), Some(1.0));
}

#[test]
fn groups_of_the_expression_are_labels_and_values() {
    let metric = r#"{"name":"took","kind":"histogram","match":{"regex":"took=(?<took>[0-9.]+)s by (\\w+)"},
        "labels":{"who":"match.2"},"value":"match.took","buckets":[1,2]}"#;
    let trial = measure(
        metric,
        vec![
            Input::body("took=1.5s by ann"),
            Input::body("took=2s by ann"),
            Input::body("took=1.2.3s by ann"),
            Input::body("took=xs by ann"),
        ],
    );
    assert_eq!(trial.observations("took", &["ann"]), Some([1.5, 2.0].as_slice()));
    assert_eq!(trial.manifest().metrics[0].buckets, [1.0, 2.0]);
}

#[test]
fn counters_add_their_value_and_gauges_are_set() {
    let inputs = || {
        vec![
            Input::body("x").field("bytes", 10),
            Input::body("x").field("bytes", -5),
            Input::body("x").field("bytes", 2.5),
            Input::body("x").field("bytes", "7"),
            Input::body("x").field("bytes", "many"),
            Input::body("x"),
        ]
    };
    let metric = |kind: &str| {
        format!(r#"{{"name":"b","kind":"{kind}","match":{{"all":true}},"value":"field.bytes"}}"#)
    };
    assert_eq!(measure(&metric("counter"), inputs()).value("b", &[]), Some(19.5));
    assert_eq!(measure(&metric("gauge"), inputs()).value("b", &[]), Some(7.0));
    let histogram = measure(&metric("histogram"), inputs());
    assert_eq!(histogram.observations("b", &[]), Some([10.0, -5.0, 2.5, 7.0].as_slice()));
    assert_eq!(histogram.manifest().metrics[0].buckets.len(), 11);
}

#[test]
fn several_metrics_are_independent() {
    let trial = measure(
        r#"{"name":"a_total","match":{"contains":"a"}},{"name":"b_total","match":{"contains":"b"}}"#,
        vec![Input::body("a"), Input::body("b"), Input::body("ab"), Input::body("c")],
    );
    assert_eq!(trial.value("a_total", &[]), Some(2.0));
    assert_eq!(trial.value("b_total", &[]), Some(2.0));
    assert_eq!(trial.manifest().interest.literals, ["a", "b"]);
}

#[test]
fn a_wrong_configuration_is_refused_with_what_is_allowed() {
    let metric =
        |rest: &str| format!(r#"{{"metrics":[{{"name":"n","match":{{"all":true}}{rest}}}]}}"#);
    for (config, expected) in [
        (String::new(), "there is no metric; `metrics` needs one at least"),
        (
            metric(r#","kind":"summary""#),
            "unknown variant `summary`, expected one of `counter`, `gauge`, `histogram`",
        ),
        (metric(r#","kind":"gauge""#), "metrics[0].value is missing; only a counter goes without"),
        (metric(r#","buckets":[1]"#), "metrics[0].buckets is for histograms only"),
        (
            metric(r#","kind":"histogram","value":"field.x","buckets":[2,1]"#),
            "metrics[0].buckets must be bounds in ascending order, one at least",
        ),
        (
            metric(r#","labels":{"a":"body"}"#),
            "metrics[0].labels.a: \"body\" is unknown; app, app_name, host, proc_id, msg_id, severity, facility, field.NAME and match.GROUP are allowed",
        ),
        (
            metric(r#","labels":{"a":"match.x"}"#),
            "metrics[0].labels.a: \"match.x\" needs a `regex` in the metric's match",
        ),
        (
            r#"{"metrics":[{"name":"n","match":{"regex":"(a)"},"value":"match.2"}]}"#.to_owned(),
            "metrics[0].value: the expression has no group \"2\"",
        ),
        (
            r#"{"metrics":[{"name":"n","match":{"all":true}},{"name":"n","match":{"all":true}}]}"#
                .to_owned(),
            "metrics[1].name \"n\" is taken already",
        ),
    ] {
        assert_eq!(Trial::<Count>::start(&config).unwrap_err(), expected, "{config}");
    }
    for name in ["", "1a", "a-b", "ü"] {
        let config = format!(r#"{{"metrics":[{{"name":"{name}","match":{{"all":true}}}}]}}"#);
        assert!(
            Trial::<Count>::start(&config).unwrap_err().contains("no name of a metric"),
            "{name}"
        );
    }
    for name in ["", "1a", "a:b", "__a", "le"] {
        let error = Trial::<Count>::start(&metric(&format!(r#","labels":{{"{name}":"app"}}"#)));
        assert!(error.unwrap_err().contains("no name of a label"), "{name}");
    }
}
