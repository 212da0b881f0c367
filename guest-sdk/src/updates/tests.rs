//! Updates, by the tables they become.

use super::*;

#[test]
fn additions_to_one_series_cross_once() {
    let mut cache = SeriesCache::new(MetricId(0));
    let mut updates = Updates::new();
    for name in [b"a", b"b", b"a", b"a"] {
        let series = cache.get(&[name]);
        updates.add(series, 1.0);
    }
    let tables = updates.finish();
    assert_eq!(tables.values, [3.0, 1.0]);
    assert_eq!(updates.finish(), UpdateTables::default(), "nothing is told twice");
    updates.add(cache.get(&[b"a"]), 5.0);
    assert_eq!(updates.finish().values, [5.0]);
}

#[test]
fn the_last_value_of_a_gauge_counts_and_every_observation_does() {
    let mut updates = Updates::new();
    let gauge = Series::intern(MetricId(1), &[]);
    let histogram = Series::intern(MetricId(2), &[]);
    updates.set(gauge, 3.0);
    updates.observe(histogram, 0.5);
    updates.set(gauge, 4.0);
    updates.observe(histogram, 0.5);
    assert_eq!(updates.finish().values, [0.5, 0.5, 4.0]);
}

#[test]
fn two_label_sets_of_one_host_id_share_a_sum() {
    let first = Series::intern(MetricId(7), &[b"x"]);
    let again = Series::intern(MetricId(7), &[b"x"]);
    assert_eq!(first, again);
}

#[test]
fn an_expired_series_is_asked_for_anew() {
    let mut cache = SeriesCache::new(MetricId(4));
    let mut updates = Updates::new();
    let series = cache.get(&[b"gone"]);
    cache.expire(&[b"gone"], &mut updates);
    cache.expire(&[b"gone"], &mut updates);
    cache.expire(&[b"never seen"], &mut updates);
    assert_eq!(updates.finish().expired, [series.id]);
    assert_eq!(cache.get(&[b"gone"]).id, series.id);
}

#[test]
fn a_reset_forgets_a_failed_batch() {
    let mut updates = Updates::new();
    let series = Series::intern(MetricId(5), &[]);
    updates.add(series, 1.0);
    updates.observe(series, 1.0);
    updates.reset();
    assert_eq!(updates.finish(), UpdateTables::default());
}
