//! Rules, and where they send records.

use super::*;
use logboom_guest::testkit::{Input, Inputs, Routed, Trial};

fn route(config: &str, input: impl Into<Input>) -> Routed {
    let mut trial = Trial::<Route>::start(config).unwrap();
    trial.route(&Inputs::new([input.into()])).unwrap().remove(0)
}

fn routed(is_kept: bool, routes: &[&str]) -> Routed {
    let routes = routes.iter().map(|route| (*route).to_owned()).collect();
    Routed { is_kept, routes, ..Routed::default() }
}

const ERRORS: &str = r#"{"rules":[{"match":{"contains":" status=5"},"to":["errors"]}]}"#;

#[test]
fn what_matches_goes_to_its_routes_and_the_rest_is_kept() {
    assert_eq!(route(ERRORS, "GET / status=503"), routed(false, &["errors"]));
    assert_eq!(route(ERRORS, "GET / status=200"), routed(true, &[]));
}

#[test]
fn keep_is_said_or_follows_from_the_routes() {
    let rule = |rest: &str| format!(r#"{{"rules":[{{"match":{{"all":true}},{rest}}}]}}"#);
    assert_eq!(route(&rule(r#""to":["a","b"]"#), "x"), routed(false, &["a", "b"]));
    assert_eq!(route(&rule(r#""to":["a"],"keep":true"#), "x"), routed(true, &["a"]));
    let renamed = route(&rule(r#""set_app":"new""#), "x");
    assert_eq!(renamed, Routed { app: Some("new".into()), ..routed(true, &[]) });
}

const TWO: &str = r#"{"rules":[
    {"match":{"contains":"a"},"to":["first"],"set_app":"one"},
    {"match":{"contains":"b"},"to":["second","first"],"keep":true},
    {"match":{"contains":"c"},"set_app":"two"}]"#;

#[test]
fn the_first_rule_that_holds_decides() {
    let config = format!("{TWO}}}");
    assert_eq!(
        route(&config, "b a"),
        Routed { app: Some("one".into()), ..routed(false, &["first"]) }
    );
    assert_eq!(route(&config, "b c"), routed(true, &["first", "second"]));
}

#[test]
fn all_rules_that_hold_add_up_where_asked() {
    let config = format!("{TWO},\"all\":true}}");
    let all = route(&config, "a b c");
    assert_eq!(all, Routed { app: Some("two".into()), ..routed(true, &["first", "second"]) });
    let one = route(&config, "a");
    assert_eq!(one, Routed { app: Some("one".into()), ..routed(false, &["first"]) });
    assert_eq!(route(&config, "x"), routed(true, &[]));
}

#[test]
fn what_no_rule_matches_is_dropped_where_asked() {
    let config = ERRORS.replace("]}]}", "]}],\"default\":\"drop\"}");
    let dropped = Routed { dropped: Some("unmatched".into()), ..routed(false, &[]) };
    assert_eq!(route(&config, "status=200"), dropped);
    assert_eq!(route(&config, "x status=500"), routed(false, &["errors"]));
    let all = config.replace("\"default\"", "\"all\":true,\"default\"");
    assert_eq!(route(&all, "status=200"), dropped);
}

#[test]
fn fields_are_asked_for_and_matched() {
    let config = r#"{"rules":[{"match":{"field":{"status":{"min":500}}},"to":["errors"]}]}"#;
    assert_eq!(route(config, Input::body("x").field("status", 503)), routed(false, &["errors"]));
    assert_eq!(route(config, Input::body("x").field("status", 200)), routed(true, &[]));
    let trial = Trial::<Route>::start(config).unwrap();
    assert_eq!(trial.manifest().interest.fields, ["status"]);
}

#[test]
fn interest_is_narrow_only_where_the_rest_is_kept() {
    let trial = Trial::<Route>::start(ERRORS).unwrap();
    assert_eq!(trial.manifest().interest.literals, [" status=5"]);
    let config = ERRORS.replace("]}]}", "]}],\"default\":\"drop\"}");
    let trial = Trial::<Route>::start(&config).unwrap();
    assert!(trial.manifest().interest.literals.is_empty());
}

#[test]
fn more_than_thirty_routes_work() {
    let rules: Vec<String> =
        (0..40).map(|i| format!(r#"{{"match":{{"contains":"<{i}>"}},"to":["r{i}"]}}"#)).collect();
    let config = format!(r#"{{"rules":[{}]}}"#, rules.join(","));
    for i in [0, 29, 30, 39] {
        assert_eq!(route(&config, &*format!("x <{i}>")), routed(false, &[&format!("r{i}")]));
    }
}

#[test]
fn a_wrong_configuration_is_refused_with_what_is_allowed() {
    for (config, expected) in [
        ("", "there is no rule; `rules` needs one at least"),
        (r#"{"rule":[]}"#, "unknown field `rule`, expected one of `rules`, `default`, `all`"),
        (r#"{"rules":[{"to":["a"]}]}"#, "missing field `match`"),
        (
            r#"{"rules":[{"match":{},"to":["a"]}]}"#,
            "rules[0].match has no condition; `\"all\": true` matches everything",
        ),
        (
            r#"{"rules":[{"match":{"all":true},"keep":false}]}"#,
            "rules[0] sends its records nowhere; give `to`, or drop them by std:filter",
        ),
        (r#"{"rules":[{"match":{"all":true},"set_app":""}]}"#, "rules[0].set_app is empty"),
        (r#"{"rules":[{"match":{"all":true},"to":[""]}]}"#, "rules[0].to has an empty name"),
        (r#"{"rules":[],"default":"pass"}"#, "unknown variant `pass`, expected `keep` or `drop`"),
    ] {
        assert_eq!(Trial::<Route>::start(config).unwrap_err(), expected, "{config}");
    }
}
