//! The queue: order, limits, growth.

use super::*;
use crate::outbound::Parcel;

fn parcel(apps: &[&str], body_bytes: usize) -> Arc<Parcel> {
    Arc::new(crate::outbound::tests::parcel(apps, body_bytes, None))
}

const FIRST: LineKey = LineKey { number: 0, id: 0 };

fn push(queue: &Queue, parcel: &Arc<Parcel>, selection: Selection, sheds: bool) -> Pushed {
    queue.push(Item::new(parcel, selection, None), sheds)
}

fn item(queue: &Queue, line: LineKey) -> Item {
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
        (0..5).map(|i| push(&queue, &parcel(&["a"], i * 10), Selection::All, false).bytes).sum();
    let mut given_back = 0;
    for i in 0..5 {
        let item = item(&queue, FIRST);
        assert_eq!(item.parcel.batch().record(0).unwrap().raw().len(), i * 10);
        given_back += queue.finish(FIRST, &item);
    }
    assert_eq!(given_back.cast_signed(), pushed);
    assert!(matches!(queue.pop(FIRST), Popped::Empty));
    queue.close();
    assert!(matches!(queue.pop(FIRST), Popped::Closed));
}

#[test]
fn a_full_queue_sheds_its_oldest_and_counts_them() {
    let one = push(&Queue::new(1 << 20), &parcel(&["app-0"], 900), Selection::All, true).bytes;
    let queue = Queue::new(one.cast_unsigned() * 5 / 2);
    let mut shed = 0;
    for i in 0..10usize {
        let app = format!("app-{i}");
        shed += push(&queue, &parcel(&[app.as_str()], 900), Selection::All, true).shed.len();
    }
    assert_eq!(shed, 8);
    assert_eq!(apps(&item(&queue, FIRST)), ["app-8"]);
}

#[test]
fn what_is_in_hand_is_the_oldest_until_it_is_done_with() {
    let queue = Queue::new(1 << 20);
    assert_eq!(queue.oldest(), Duration::ZERO);
    push(&queue, &parcel(&["a"], 10), Selection::All, false);
    let age = queue.oldest();
    assert!(age > Duration::ZERO);
    let in_hand = item(&queue, FIRST);
    assert!(queue.oldest() >= age);
    queue.finish(FIRST, &in_hand);
    assert_eq!(queue.oldest(), Duration::ZERO);
}

fn many_apps() -> Arc<Parcel> {
    let names: Vec<String> = (0..64).map(|i| format!("app-{i}")).collect();
    let refs: Vec<&str> = names.iter().map(String::as_str).collect();
    parcel(&refs, 10)
}

#[test]
fn growing_moves_lanes_only_behind_a_handover() {
    let queue = Queue::new(1 << 20);
    push(&queue, &many_apps(), Selection::All, false);
    let in_hand = item(&queue, FIRST);
    push(&queue, &many_apps(), Selection::All, false);
    let second_line = queue.grow(8)[0];
    push(&queue, &many_apps(), Selection::All, false);
    // The new connection may not start before the old one has ended its stream.
    assert!(matches!(queue.pop(second_line), Popped::Empty));
    queue.finish(FIRST, &in_hand);
    let second = item(&queue, FIRST);
    assert_eq!(second.records, 64);
    queue.finish(FIRST, &second);
    assert!(matches!(queue.pop(second_line), Popped::Empty));
    assert!(matches!(queue.pop(FIRST), Popped::Handover));
    assert!(matches!(queue.pop(second_line), Popped::Empty));
    queue.handed_over(FIRST);
    let (left, right) = (item(&queue, FIRST), item(&queue, second_line));
    assert_eq!(left.records + right.records, 64);
    assert!(right.records > 0);
    let (left_apps, right_apps) = (apps(&left), apps(&right));
    assert!(left_apps.iter().all(|app| !right_apps.contains(app)));
}

#[test]
fn folding_moves_lanes_only_behind_a_handover_and_the_other_lines_end() {
    let queue = Queue::new(1 << 20);
    push(&queue, &many_apps(), Selection::All, false);
    let first = item(&queue, FIRST);
    queue.finish(FIRST, &first);
    let second_line = queue.grow(8)[0];
    assert!(matches!(queue.pop(FIRST), Popped::Handover));
    queue.handed_over(FIRST);
    push(&queue, &many_apps(), Selection::All, false);
    let in_hand = item(&queue, second_line);
    push(&queue, &many_apps(), Selection::All, false);
    queue.fold(1);
    push(&queue, &many_apps(), Selection::All, false);
    for _ in 0..2 {
        let left = item(&queue, FIRST);
        assert!(left.records < 64);
        queue.finish(FIRST, &left);
    }
    assert!(matches!(queue.pop(FIRST), Popped::Empty), "the other has some in hand");
    assert_eq!(queue.grow(8), [], "not before that is over");
    queue.finish(second_line, &in_hand);
    let right = item(&queue, second_line);
    queue.finish(second_line, &right);
    assert!(matches!(queue.pop(FIRST), Popped::Empty), "the peer may not have read it");
    assert!(matches!(queue.pop(second_line), Popped::Handover));
    queue.handed_over(second_line);
    assert!(matches!(queue.pop(second_line), Popped::Closed));
    assert_eq!(item(&queue, FIRST).records, 64);
    assert_eq!(queue.grow(8)[0].number, second_line.number);
}

#[test]
fn folding_again_and_again_ends_all_lines_but_one() {
    let queue = Queue::new(1 << 20);
    let mut lines = vec![FIRST];
    while let grown = {
        push(&queue, &many_apps(), Selection::All, false);
        queue.grow(8)
    } && !grown.is_empty()
    {
        lines.extend(grown);
    }
    assert_eq!(lines.len(), 8);
    queue.fold(4);
    queue.fold(1);
    push(&queue, &many_apps(), Selection::All, false);
    let mut records = 0;
    // Whoever can goes on, as workers do.
    for _ in 0..100 {
        for line in &lines {
            match queue.pop(*line) {
                Popped::Item(item) => {
                    records += item.records;
                    queue.finish(*line, &item);
                }
                Popped::Handover => queue.handed_over(*line),
                Popped::Empty | Popped::Closed => {}
            }
        }
    }
    assert_eq!(records, 5 * 64);
    assert!(queue.is_empty());
    assert_eq!(queue.inner().lines.len(), 1);
}

#[test]
fn lines_double_and_never_exceed_their_limit() {
    let queue = Queue::new(1 << 20);
    for expected in [vec![1], vec![2, 3], vec![4, 5, 6, 7], vec![]] {
        push(&queue, &many_apps(), Selection::All, false);
        let grown: Vec<usize> = queue.grow(10).iter().map(|line| line.number).collect();
        assert_eq!(grown, expected);
    }
}

#[test]
fn a_single_app_gets_no_second_connection() {
    let queue = Queue::new(1 << 20);
    push(&queue, &parcel(&["a", "a", "a"], 10), Selection::All, false);
    assert_eq!(queue.grow(8), []);
}

#[test]
fn shrinking_gives_the_lanes_back_when_the_upper_half_is_idle() {
    let queue = Queue::new(1 << 20);
    push(&queue, &many_apps(), Selection::All, false);
    let second_line = queue.grow(8)[0];
    let first = item(&queue, FIRST);
    queue.finish(FIRST, &first);
    // The barrier is still in the line.
    queue.shrink(Duration::ZERO);
    assert!(matches!(queue.pop(FIRST), Popped::Handover));
    queue.handed_over(FIRST);
    assert!(matches!(queue.pop(second_line), Popped::Empty));
    queue.shrink(Duration::from_secs(60));
    assert!(matches!(queue.pop(second_line), Popped::Empty), "it has not been idle for long");
    queue.shrink(Duration::ZERO);
    assert!(matches!(queue.pop(second_line), Popped::Closed));
    push(&queue, &many_apps(), Selection::All, false);
    assert_eq!(item(&queue, FIRST).records, 64);
    // Whoever served the old second line does not serve a new one of its number.
    assert_eq!(queue.grow(8)[0].number, second_line.number);
    assert!(matches!(queue.pop(second_line), Popped::Closed));
}

#[test]
fn a_few_records_do_not_hold_their_whole_batch() {
    let queue = Queue::new(1 << 20);
    let parcel = parcel(&["a"; 100], 1000);
    push(&queue, &parcel, Selection::Some(vec![7]), false);
    let item = item(&queue, FIRST);
    assert!(item.parcel.batch().arena().len() < 1100);
    assert_eq!(Arc::strong_count(&parcel), 1);
}

#[test]
fn clearing_takes_everything_out() {
    let queue = Queue::new(1 << 20);
    for _ in 0..3 {
        push(&queue, &parcel(&["a", "b"], 10), Selection::All, false);
    }
    assert_eq!(queue.clear().iter().map(|item| item.records).sum::<usize>(), 6);
    assert!(matches!(queue.pop(FIRST), Popped::Empty));
}

#[test]
fn a_line_is_served_by_one_worker_that_may_leave_when_it_is_empty() {
    let queue = Queue::new(1 << 20);
    let some = parcel(&["a"], 10);
    assert_eq!(push(&queue, &some, Selection::All, false).unserved, [FIRST]);
    assert_eq!(push(&queue, &some, Selection::All, false).unserved, []);
    assert!(!queue.leave(FIRST), "there is work");
    for _ in 0..2 {
        let item = item(&queue, FIRST);
        queue.finish(FIRST, &item);
    }
    assert!(queue.leave(FIRST));
    assert_eq!(push(&queue, &some, Selection::All, false).unserved, [FIRST]);
}

#[test]
fn what_a_stopped_worker_had_in_hand_comes_first_again_without_what_was_done() {
    let queue = Queue::new(1 << 20);
    for app in ["a", "b", "c"] {
        push(&queue, &parcel(&[app, "tail"], 10), Selection::All, false);
    }
    let (mut first, second) = (item(&queue, FIRST), item(&queue, FIRST));
    first.skip(1);
    queue.put_back(FIRST, [first, second].into_iter());
    let left: Vec<Vec<String>> = (0..3).map(|_| apps(&item(&queue, FIRST))).collect();
    assert_eq!(left, [vec!["tail"], vec!["b", "tail"], vec!["c", "tail"]]);
}
