//! Disks that fail: calls of the binary that return errors, a power loss, a file system of a few
//! megabytes.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{PeerKind, Scratch, binary, is_missing, repository, skip};

/// A library, preloaded into the binary, that makes file operations fail by rules, and notes what has
/// been made durable; `tests/faults/faultfs.c` has the grammar of the rules.
#[derive(Debug)]
pub struct FaultFs {
    library: PathBuf,
    armed: PathBuf,
    log: PathBuf,
}

impl FaultFs {
    /// Compiles the library into the folder; `None`, with a message, where there is no compiler.
    ///
    /// # Panics
    /// When it cannot be compiled, and without a compiler if `CI=true`.
    #[must_use]
    pub fn new(scratch: &Scratch) -> Option<Self> {
        if is_missing(PeerKind::Compiler) {
            return None;
        }
        let library = scratch.join("faultfs.so");
        let mut command = Command::new(PeerKind::Compiler.program().expect("cc"));
        command.args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o"]);
        command.arg(&library).arg(repository().join("tests/faults/faultfs.c"));
        let output = command.args(["-ldl", "-lpthread"]).output().expect("cc starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(Self { library, armed: scratch.join("faults-armed"), log: scratch.join("faults.log") })
    }

    /// A command that runs a program with these rules, which apply once they are armed.
    #[must_use]
    pub fn command(&self, program: &Path, rules: &str) -> Command {
        let mut command = Command::new(program);
        command.env("LD_PRELOAD", &self.library).env("FAULTFS", rules);
        command.env("FAULTFS_ARMED", &self.armed).env("FAULTFS_LOG", &self.log);
        command
    }

    /// From now on the rules apply, and calls are counted for them.
    ///
    /// # Panics
    /// When the folder cannot be written to.
    pub fn arm(&self) {
        std::fs::write(&self.armed, "").expect("armed");
    }

    /// The calls that were made to fail so far, as `CALL PATH`.
    #[must_use]
    pub fn failed(&self) -> Vec<String> {
        self.lines("failed ")
    }

    /// How many syncs of files whose path contains `part` succeeded so far.
    #[must_use]
    pub fn syncs(&self, part: &str) -> usize {
        self.lines("synced ").iter().filter(|line| line.contains(part)).count()
    }

    fn lines(&self, what: &str) -> Vec<String> {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().filter_map(|line| line.strip_prefix(what)).map(str::to_owned).collect()
    }

    /// Does to the files of a folder what a loss of power would: overwrites with zeros what was written
    /// and not made durable since. Right for files that only grow, and only where this library saw all
    /// their syncs. Returns how many bytes of how many files were taken.
    ///
    /// # Panics
    /// When the files cannot be written to.
    pub fn lose_power(&self, folder: &Path) -> (u64, usize) {
        let mut durable = BTreeMap::new();
        for line in self.lines("synced ") {
            let (end, path) = line.split_once(' ').expect("an end and a path");
            let end: u64 = end.parse().expect("a number");
            let entry = durable.entry(PathBuf::from(path)).or_insert(0);
            *entry = end.max(*entry);
        }
        let (mut bytes, mut files) = (0, 0);
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            let length = entry.metadata().expect("metadata").len();
            let from = durable.get(&path).copied().unwrap_or(0);
            // What is only allocated is zeros already.
            let lost = std::fs::read(&path).unwrap_or_default();
            let lost = lost.iter().skip(usize::try_from(from).expect("a size"));
            let lost = lost.filter(|&&byte| byte != 0).count() as u64;
            if lost == 0 {
                continue;
            }
            let mut file = OpenOptions::new().write(true).open(&path).expect("the file");
            file.seek(SeekFrom::Start(from)).expect("a position");
            let rest = usize::try_from(length - from).expect("a size");
            file.write_all(&vec![0; rest]).expect("zeros");
            bytes += lost;
            files += 1;
        }
        (bytes, files)
    }
}

/// A command that runs the binary with a file system of its own, of so many megabytes, at `folder`;
/// nobody else sees it, and it ends with the process. `None`, with a message, where the kernel does
/// not allow it.
///
/// # Panics
/// In that case with `CI=true`, and when the folder cannot be made.
#[must_use]
pub fn small_disk(folder: &Path, megabytes: u32) -> Option<Command> {
    std::fs::create_dir_all(folder).expect("a folder");
    let mount = format!("mount -t tmpfs -o size={megabytes}m tmpfs \"$0\" && exec \"$@\"");
    // As root without a user namespace, else with one in which we are root.
    let tries: [&[&str]; 2] = [&["--mount"], &["--mount", "--map-root-user"]];
    for arguments in tries {
        let command = |program: &Path| {
            let mut command = Command::new("unshare");
            command.args(arguments).args(["sh", "-c", &mount]).arg(folder).arg(program);
            command
        };
        if command(Path::new("true")).output().is_ok_and(|output| output.status.success()) {
            return Some(command(&binary()));
        }
    }
    skip("no file system can be mounted in a namespace of its own");
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs lines of Python, in which `os` is there, with rules that are armed.
    fn python(faults: &FaultFs, rules: &str, lines: &str, folder: &Scratch) -> String {
        let program = PeerKind::Python.program().expect("python3");
        let mut command = faults.command(&program, rules);
        command.args(["-c", &format!("import os\n{lines}")]).current_dir(folder.path());
        let output = command.output().expect("python starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    const OPEN: &str = "f = os.open('seg-1', os.O_CREAT | os.O_RDWR)\n";

    #[test]
    fn the_call_that_a_rule_names_fails_and_no_other() {
        let scratch = Scratch::new("faultfs");
        if is_missing(PeerKind::Python) {
            return;
        }
        let Some(faults) = FaultFs::new(&scratch) else { return };
        let lines = format!(
            "{OPEN}\nfor i in range(4):\n try: os.fdatasync(f); print('ok')\n except OSError as e: print(e.errno)"
        );
        let rules = "fdatasync /seg- 2 1 EIO;pwrite /seg- 1 0 ENOSPC";
        assert_eq!(python(&faults, rules, &lines, &scratch), "ok\nok\nok\nok", "not armed");
        faults.arm();
        assert_eq!(python(&faults, rules, &lines, &scratch), "ok\n5\nok\nok");
        assert_eq!(faults.failed().len(), 1, "{:?}", faults.failed());
        let other = lines.replace("seg-1", "other");
        assert_eq!(python(&faults, rules, &other, &scratch), "ok\nok\nok\nok");
        let short = format!("{OPEN}print(os.pwrite(f, b'12345678', 0))");
        assert_eq!(python(&faults, "pwrite seg- 1 1 SHORT", &short, &scratch), "4");
    }

    #[test]
    fn power_takes_what_was_not_synced() {
        let scratch = Scratch::new("power");
        if is_missing(PeerKind::Python) {
            return;
        }
        let Some(faults) = FaultFs::new(&scratch) else { return };
        faults.arm();
        let lines = format!(
            "{OPEN}os.pwrite(f, b'kept', 0); os.fdatasync(f)\nos.pwrite(f, b'lost', 4)\n\
             try: os.fdatasync(f)\nexcept OSError: pass\n\
             g = os.open('seg-2', os.O_CREAT | os.O_RDWR); os.write(g, b'all'); os.fsync(g)"
        );
        python(&faults, "fdatasync seg-1 2 1 EIO", &lines, &scratch);
        let spool = scratch.join("spool");
        std::fs::create_dir(&spool).expect("a folder");
        assert_eq!(scratch.read("seg-1"), b"keptlost");
        // Only the files of the spool are looked at otherwise; here the log names others as well.
        std::fs::remove_file(scratch.join("faultfs.so")).expect("removed");
        std::fs::rename(scratch.join("faults.log"), spool.join("log")).expect("moved");
        let faults = FaultFs { log: spool.join("log"), ..faults };
        assert_eq!(faults.lose_power(scratch.path()), (4, 1));
        assert_eq!(scratch.read("seg-1"), b"kept\0\0\0\0");
        assert_eq!(scratch.read("seg-2"), b"all");
    }

    #[test]
    fn a_small_disk_is_small_and_seen_by_nobody_else() {
        let scratch = Scratch::new("small-disk");
        let Some(mut command) = small_disk(&scratch.join("disk"), 1) else { return };
        // In place of the binary: the last argument of the command.
        let mut arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        arguments.pop();
        command = Command::new("unshare");
        command.args(arguments).args(["sh", "-c", "head -c 2000000 /dev/zero >\"$0\"/x"]);
        let output = command.arg(scratch.join("disk")).output().expect("unshare starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains("No space left"), "{said}");
        assert!(scratch.read("disk/x").is_empty());
    }
}
