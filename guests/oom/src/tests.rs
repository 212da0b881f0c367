//! Lines of kernels old and new.

use super::*;
use logboom_guest::testkit::{Input, Inputs, Trial};

const SECOND: i64 = 1_000_000_000;

fn kernel(body: &str) -> Input {
    Input::body(body).app_name("kernel").host("node-1")
}

fn measured(inputs: Vec<Input>) -> Trial<Oom> {
    let mut trial = Trial::<Oom>::start("").unwrap();
    trial.measure(&Inputs::new(inputs)).unwrap();
    trial
}

fn check(body: &str, process: &str) {
    let trial = measured(vec![kernel(body)]);
    assert_eq!(trial.value("oom_kills_total", &[process]), Some(1.0), "{body}");
}

#[test]
fn every_kernels_line_counts_by_process() {
    check(
        "Memory cgroup out of memory: Kill process 13012 (stress) score 1958 or sacrifice child",
        "stress",
    );
    check("[1.2] Out of memory: Kill process 7 (java) score 900 or sacrifice child", "java");
    check(
        "Out of memory: Killed process 123 (name) total-vm:1kB, anon-rss:2kB, file-rss:0kB, \
         shmem-rss:0kB, UID:0 pgtables:1kB oom_score_adj:0",
        "name",
    );
    check("Memory cgroup out of memory: Killed process 9 (x) total-vm:1kB", "x");
    check("Killed process 8 (y), UID 0, total-vm:1kB", "y");
    check("Killed process 8, UID 48, (httpd) total-vm:1kB, anon-rss:2kB", "httpd");
}

#[test]
fn names_may_hold_blanks_and_parentheses() {
    check("Out of memory: Killed process 1 (Web Content) total-vm:1kB", "Web Content");
    check("Out of memory: Killed process 1 ((sd-pam)) total-vm:1kB", "(sd-pam)");
    check("Kill process 1 (a) score (b) score 5 or sacrifice child", "a) score (b");
}

#[test]
fn what_only_sounds_like_a_kill_does_not_count() {
    for body in [
        "oom_reaper: reaped process 123 (name), now anon-rss:0kB, file-rss:0kB, shmem-rss:0kB",
        "Kill process 1 () score 5 or sacrifice child",
        "Kill process x (a) score 5",
        "Kill process 1 (a)",
        "Killed process 1 a total-vm:1kB",
        "Killed process 99999999999999999999999 (a) total-vm:1kB",
        "Killed process 1, UID x (a) total-vm:1kB",
        "Killed process ",
        "stress invoked oom-killer: gfp_mask=0x24201ca",
    ] {
        assert_eq!(measured(vec![kernel(body)]).series_count(), 0, "{body}");
    }
}

const ANNOUNCED: &str = "Out of memory: Kill process 42 (stress) score 9 or sacrifice child";
const DONE: &str = "Killed process 42 (stress) total-vm:1kB, anon-rss:2kB";

#[test]
fn a_kill_that_is_told_twice_counts_once() {
    let time = 1_795_239_841 * SECOND;
    let both = vec![kernel(ANNOUNCED).time(time), kernel(DONE).time(time + SECOND)];
    assert_eq!(measured(both).value("oom_kills_total", &["stress"]), Some(1.0));
    let swapped = vec![kernel(DONE).time(time), kernel(ANNOUNCED).time(time)];
    assert_eq!(measured(swapped).value("oom_kills_total", &["stress"]), Some(1.0));
}

#[test]
fn different_kills_are_told_apart_by_host_process_id_and_time() {
    let time = 1_795_239_841 * SECOND;
    let first = || kernel(ANNOUNCED).time(time);
    for second in [
        kernel(DONE).time(time).host("node-2"),
        kernel(&DONE.replace("42", "43")).time(time),
        kernel(DONE).time(time + 61 * SECOND),
        kernel(ANNOUNCED).time(time),
    ] {
        let trial = measured(vec![first(), second]);
        assert_eq!(trial.value("oom_kills_total", &["stress"]), Some(2.0));
    }
    // Two complete tales of one process id are two kills.
    let trial = measured(vec![first(), kernel(DONE), first(), kernel(DONE)]);
    assert_eq!(trial.value("oom_kills_total", &["stress"]), Some(2.0));
}

#[test]
fn only_the_kernel_is_believed() {
    let counted = |config: &str, input: Input| {
        let mut trial = Trial::<Oom>::start(config).unwrap();
        trial.measure(&Inputs::new([input])).unwrap();
        trial.value("oom_kills_total", &["stress"])
    };
    assert_eq!(counted("", Input::body(DONE).app_name("bash")), None);
    assert_eq!(counted("", Input::body(DONE)), Some(1.0), "the program is not known");
    assert_eq!(counted(r#"{"app_names":[]}"#, Input::body(DONE).app_name("bash")), Some(1.0));
    let other = r#"{"app_names":["bash"]}"#;
    assert_eq!(counted(other, Input::body(DONE).app_name("bash")), Some(1.0));
    assert_eq!(counted(other, Input::body(DONE).app_name("kernel")), None);
}

#[test]
fn memory_of_kills_is_bounded() {
    let mut trial = Trial::<Oom>::start("").unwrap();
    for pid in 0..10_000 {
        let body = format!("Killed process {pid} (a) total-vm:1kB");
        trial.measure(&Inputs::new([kernel(&body)])).unwrap();
    }
    assert_eq!(trial.value("oom_kills_total", &["a"]), Some(10_000.0));
}

#[test]
fn a_wrong_configuration_is_refused_with_what_is_allowed() {
    assert_eq!(
        Trial::<Oom>::start(r#"{"app":"x"}"#).unwrap_err(),
        "unknown field `app`, expected `app_names`"
    );
}
