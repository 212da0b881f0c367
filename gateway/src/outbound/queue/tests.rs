//! The queue: order, limits, growth.

use super::*;
use logboom_record::{Batch, Head, SourceId, UnixNanos, app_hash};

fn parcel(apps: &[&str], body_bytes: usize) -> Arc<Parcel> {
    let mut batch = Batch::new(Vec::new(), SourceId(0), UnixNanos(0));
    for app in apps {
        let raw = batch.append(&vec![b'x'; body_bytes]);
        let span = batch.append(app.as_bytes());
        let app_hash = app_hash(app.as_bytes());
        batch.push(&Head { raw, body: raw, app: span, app_hash, ..Head::default() });
    }
    Arc::new(Parcel::new(batch, "test".into(), Box::new(drop)))
}

fn item(queue: &Queue, line: usize) -> Item {
    match queue.pop(line) {
        Popped::Item(item) => item,
        other => panic!("{other:?}"),
    }
}

fn apps(item: &Item) -> Vec<String> {
    let batch = item.parcel.batch();
    let records = item.selection.iter(batch.len()).filter_map(|index| batch.record(index));
    records.map(|r| String::from_utf8_lossy(r.app()).into_owned()).collect()
}

#[test]
fn one_line_keeps_the_order_and_gives_back_what_it_charged() {
    let queue = Queue::new(1 << 20);
    let pushed: isize =
        (0..5).map(|i| queue.push(&parcel(&["a"], i * 10), Selection::All, false).bytes).sum();
    let mut given_back = 0;
    for i in 0..5 {
        let item = item(&queue, 0);
        assert_eq!(item.parcel.batch().record(0).unwrap().raw().len(), i * 10);
        given_back += queue.finish(0, &item);
    }
    assert_eq!(given_back.cast_signed(), pushed);
    assert!(matches!(queue.pop(0), Popped::Empty));
    queue.close();
    assert!(matches!(queue.pop(0), Popped::Closed));
}

#[test]
fn a_full_queue_sheds_its_oldest_and_counts_them() {
    let queue = Queue::new(3000);
    let mut shed = 0;
    for i in 0..10usize {
        let app = format!("app-{i}");
        shed += queue.push(&parcel(&[app.as_str()], 900), Selection::All, true).shed;
    }
    assert_eq!(shed, 8);
    assert_eq!(apps(&item(&queue, 0)), ["app-8"]);
}

fn many_apps() -> Arc<Parcel> {
    let names: Vec<String> = (0..64).map(|i| format!("app-{i}")).collect();
    let refs: Vec<&str> = names.iter().map(String::as_str).collect();
    parcel(&refs, 10)
}

#[test]
fn growing_moves_lanes_only_behind_a_handover() {
    let queue = Queue::new(1 << 20);
    queue.push(&many_apps(), Selection::All, false);
    let in_hand = item(&queue, 0);
    queue.push(&many_apps(), Selection::All, false);
    assert_eq!(queue.grow(8), 1..2);
    queue.push(&many_apps(), Selection::All, false);
    // The new connection may not start before the old one has ended its stream.
    assert!(matches!(queue.pop(1), Popped::Empty));
    queue.finish(0, &in_hand);
    let second = item(&queue, 0);
    assert_eq!(second.records, 64);
    queue.finish(0, &second);
    assert!(matches!(queue.pop(1), Popped::Empty));
    assert!(matches!(queue.pop(0), Popped::Handover));
    assert!(matches!(queue.pop(1), Popped::Empty));
    queue.handed_over(0);
    let (left, right) = (item(&queue, 0), item(&queue, 1));
    assert_eq!(left.records + right.records, 64);
    assert!(right.records > 0);
    let (left_apps, right_apps) = (apps(&left), apps(&right));
    assert!(left_apps.iter().all(|app| !right_apps.contains(app)));
}

#[test]
fn lines_double_and_never_exceed_their_limit() {
    let queue = Queue::new(1 << 20);
    for expected in [1..2, 2..4, 4..8, 0..0] {
        queue.push(&many_apps(), Selection::All, false);
        assert_eq!(queue.grow(10), expected);
    }
}

#[test]
fn a_single_app_gets_no_second_connection() {
    let queue = Queue::new(1 << 20);
    queue.push(&parcel(&["a", "a", "a"], 10), Selection::All, false);
    assert_eq!(queue.grow(8), 0..0);
}

#[test]
fn shrinking_gives_the_lanes_back_when_the_upper_half_is_idle() {
    let queue = Queue::new(1 << 20);
    queue.push(&many_apps(), Selection::All, false);
    assert_eq!(queue.grow(8), 1..2);
    let first = item(&queue, 0);
    queue.finish(0, &first);
    // The barrier is still in the line.
    queue.shrink();
    assert!(matches!(queue.pop(0), Popped::Handover));
    queue.handed_over(0);
    assert!(matches!(queue.pop(1), Popped::Empty));
    queue.shrink();
    assert!(matches!(queue.pop(1), Popped::Closed));
    queue.push(&many_apps(), Selection::All, false);
    assert_eq!(item(&queue, 0).records, 64);
}

#[test]
fn a_few_records_do_not_hold_their_whole_batch() {
    let queue = Queue::new(1 << 20);
    let parcel = parcel(&["a"; 100], 1000);
    queue.push(&parcel, Selection::Some(vec![7]), false);
    let item = item(&queue, 0);
    assert!(item.parcel.batch().arena().len() < 1100);
    assert_eq!(Arc::strong_count(&parcel), 1);
}

#[test]
fn clearing_takes_everything_out() {
    let queue = Queue::new(1 << 20);
    for _ in 0..3 {
        queue.push(&parcel(&["a", "b"], 10), Selection::All, false);
    }
    assert_eq!(queue.clear().0, 6);
    assert!(matches!(queue.pop(0), Popped::Empty));
}
