//! The tour of the README, run as it stands.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use logboom_tests::{Scratch, binary, repository, wait_for};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};

/// The contents of the blocks that are marked as ```` ```sh tour ````, in their order.
fn tour_blocks(markdown: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = markdown.lines();
    while let Some(line) = lines.next() {
        if line.trim_end() == "```sh tour" {
            let block: Vec<_> =
                lines.by_ref().take_while(|line| !line.starts_with("```")).collect();
            blocks.push(block.join("\n"));
        }
    }
    blocks
}

#[test]
fn tour_blocks_are_found_in_order() {
    let text = "a\n```sh tour\nx\ny\n```\n```sh\nno\n```\n```sh tour\nz\n```\n";
    assert_eq!(tour_blocks(text), ["x\ny", "z"]);
}

#[test]
fn every_command_of_the_tour_works() {
    let readme = fs::read_to_string(repository().join("README.md")).expect("README.md");
    let blocks = tour_blocks(&readme);
    assert!(!blocks.is_empty(), "README.md has no block that is marked as ```sh tour");
    let scratch = Scratch::new("tour");
    // One shell for all blocks, as one reader has: what runs in the background goes on.
    let script = scratch.write("tour.sh", format!("set -eu\n{}\n", blocks.join("\n")));
    let log = fs::File::create(scratch.join("tour.log")).expect("a log");
    let folder = binary().parent().expect("a folder").display().to_string();
    let path = std::env::var("PATH").unwrap_or_default();
    let mut shell = Command::new("bash")
        .args(["-x".as_ref(), script.as_os_str()])
        .current_dir(scratch.path())
        .env("PATH", format!("{folder}:{path}"))
        .env("REPOSITORY", repository())
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a second handle"))
        .stderr(log)
        // A group of its own, so that what it leaves running can be ended with it.
        .process_group(0)
        .spawn()
        .expect("bash starts");
    let group = Pid::from_raw(i32::try_from(shell.id()).expect("a pid")).expect("not 0");
    let guard = GroupGuard(group);
    let status = wait_for("the end of the tour", || shell.try_wait().expect("try_wait"));
    drop(guard);
    let log = String::from_utf8_lossy(&scratch.read("tour.log")).into_owned();
    assert!(status.success(), "the tour ended with {status}:\n{log}");
}

/// Ends the processes of a group that this test made.
struct GroupGuard(Pid);

impl Drop for GroupGuard {
    fn drop(&mut self) {
        match kill_process_group(self.0, Signal::TERM) {
            // Where nothing is left there is nothing to end.
            Ok(()) | Err(Errno::SRCH) => {}
            Err(error) => eprintln!("what the tour left running goes on: {error}"),
        }
    }
}
