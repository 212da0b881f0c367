//! Lies are refused by the test kit as they are by hosts; what can only be survived by a sandbox is
//! not tried here.

use super::*;
use logboom_guest::testkit::{Inputs, Trial};

fn inputs() -> Inputs {
    Inputs::new(["first", "second", "third"])
}

fn start(behaviour: &str) -> Trial<Hostile> {
    Trial::start(&format!(r#"{{"behaviour":"{behaviour}"}}"#)).unwrap()
}

#[test]
fn without_a_behaviour_it_is_correct() {
    for config in ["", r#"{"behaviour":"none"}"#] {
        let mut trial = Trial::<Hostile>::start(config).unwrap();
        assert!(trial.parse(&inputs()).unwrap().iter().all(|parsed| parsed.is_untouched()));
        assert!(trial.route(&inputs()).unwrap().iter().all(|routed| routed.is_kept));
        trial.measure(&inputs()).unwrap();
        assert_eq!(trial.value("hostile_records_total", &["all"]), Some(3.0));
    }
}

#[test]
fn every_lie_of_a_parser_is_refused() {
    for (behaviour, expected) in [
        ("bad-column", "column 3 cannot be changed"),
        ("bad-field", "field id 2147483632 was never interned"),
        ("bad-kind", "field kind 77 does not exist"),
        ("bad-reason", "reason 99 is none of the manifest's 1"),
        ("bad-severity", "severity 9 is above 7"),
        ("error", "i fail, as configured"),
        ("lie-count", "table `fields` has 3 words, which 5 do not divide"),
        ("lie-field-span", "lies outside of the batch's arena"),
        ("lie-record-index", "table `fields` names record 3 of 3"),
        ("lie-unsorted", "table `fields` is not sorted by record"),
    ] {
        let error = start(behaviour).parse(&inputs()).unwrap_err();
        assert!(error.contains(expected), "{behaviour}: {error}");
    }
}

#[test]
fn every_lie_of_a_router_is_refused() {
    for (behaviour, expected) in [
        ("bad-reason", "reason 99 is none of the manifest's 1"),
        ("bad-route", "route 29 is none of the manifest's 1"),
        ("lie-count", "2 verdicts for 3 records"),
        ("lie-count-many", "4 verdicts for 3 records"),
        ("lie-field-span", "lies outside of the batch's arena"),
        ("lie-record-index", "table `apps` names record 3 of 3"),
        ("lie-unsorted", "table `more` is not sorted by record"),
    ] {
        let error = start(behaviour).route(&inputs()).unwrap_err();
        assert!(error.contains(expected), "{behaviour}: {error}");
    }
}

#[test]
fn every_lie_of_a_meter_is_refused() {
    for (behaviour, expected) in [
        ("bad-series", "series 2147483632 was never interned"),
        ("lie-count", "2 series but 1 values"),
    ] {
        let error = start(behaviour).measure(&inputs()).unwrap_err();
        assert!(error.contains(expected), "{behaviour}: {error}");
    }
}

#[test]
fn markers_and_thousandths_are_found() {
    assert!(harm::has_marker(b"xxPOISONxx"));
    assert!(!harm::has_marker(b"POISO"));
    let cursed = (0..100_000).filter(|i| harm::is_thousandth(format!("{i}").as_bytes())).count();
    assert!((60..140).contains(&cursed), "{cursed} of 100000");
}

#[test]
fn describe_refuses_where_configured() {
    let refused = Trial::<Hostile>::start(r#"{"behaviour":"refuse"}"#).unwrap_err();
    assert_eq!(refused, "i refuse, as configured");
    let unknown = Trial::<Hostile>::start(r#"{"behaviour":"smile"}"#).unwrap_err();
    assert!(
        unknown.starts_with("unknown variant `smile`, expected one of `allocate`"),
        "{unknown}"
    );
}
