//! Verdicts, by the words they become.

use super::*;
use crate::testkit::Inputs;

fn words(say: impl Fn(&mut Verdicts<'_>, &Record<'_>)) -> VerdictTables {
    let inputs = Inputs::new(["first", "second"]);
    let batch = inputs.batch().unwrap();
    let mut verdicts = Verdicts::new(batch);
    say(&mut verdicts, &batch.record(1).unwrap());
    let tables = verdicts.finish();
    assert_eq!(tables.words[0], KEEP, "the other record stays kept");
    tables
}

#[test]
fn what_is_said_adds_up() {
    assert_eq!(words(|_, _| {}).words[1], KEEP);
    assert_eq!(words(|v, r| v.route(r, Route(3))).words[1], KEEP | 1 << 3);
    assert_eq!(words(|v, r| v.clear(r)).words[1], 0);
    assert_eq!(words(|v, r| v.drop(r, Reason(2))).words[1], DROP | 2);
    let diverted = words(|v, r| {
        v.clear(r);
        v.route(r, Route(0));
        v.route(r, Route(29));
    });
    assert_eq!(diverted.words[1], 1 | 1 << 29);
    let dropped_then_routed = words(|v, r| {
        v.drop(r, Reason(2));
        v.route(r, Route(1));
    });
    assert_eq!(dropped_then_routed.words[1], 1 << 1);
    let dropped_then_kept = words(|v, r| {
        v.drop(r, Reason(2));
        v.keep(r);
    });
    assert_eq!(dropped_then_kept.words[1], KEEP);
}

#[test]
fn routes_beyond_the_bits_go_to_their_own_table() {
    let tables = words(|v, r| v.route(r, Route(30)));
    assert_eq!((tables.words[1], tables.more.as_slice()), (KEEP, [1, 30].as_slice()));
    let tables = words(|v, r| {
        v.route(r, Route(30));
        v.drop(r, Reason(0));
    });
    assert!(tables.more.is_empty(), "a dropped record goes nowhere");
}

#[test]
fn tables_are_sorted_by_record() {
    let inputs = Inputs::new(["first", "second"]);
    let batch = inputs.batch().unwrap();
    let mut verdicts = Verdicts::new(batch);
    for index in [1, 0] {
        let record = batch.record(index).unwrap();
        verdicts.route(&record, Route(40));
        verdicts.set_app(&record, b"new-app");
    }
    let tables = verdicts.finish();
    assert_eq!(tables.more, [0, 40, 1, 40]);
    assert_eq!(tables.apps, [0, OWN | 7, 7, 1, OWN, 7]);
    assert_eq!(tables.arena, b"new-appnew-app");
}
