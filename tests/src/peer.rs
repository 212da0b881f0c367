//! Programs not written here, as processes with a guard.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::{fs, thread};

use crate::gateway::terminate;
use crate::scratch::{Scratch, repository, wait_until};

/// Where Debian keeps daemons, which is not on everybody's path.
const DAEMON_FOLDERS: [&str; 2] = ["/usr/sbin", "/sbin"];

/// The peers that tests ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerKind {
    /// util-linux's `logger`.
    Logger,
    /// Python 3, for its `logging.handlers`.
    Python,
    /// rsyslog.
    Rsyslog,
    /// syslog-ng, unpacked by `tests/setup`.
    SyslogNg,
}

impl PeerKind {
    /// The program, where it is installed.
    #[must_use]
    pub fn program(self) -> Option<PathBuf> {
        match self {
            Self::Logger => on_path("logger"),
            Self::Python => on_path("python3"),
            Self::Rsyslog => on_path("rsyslogd"),
            Self::SyslogNg => {
                Some(syslog_ng_root().join("usr/sbin/syslog-ng")).filter(|path| path.is_file())
            }
        }
    }
}

/// True, with a message, where a peer is not installed, so that the test can only be skipped.
///
/// # Panics
/// Then, with `CI=true`: there nothing may be skipped.
#[must_use]
pub fn is_missing(peer: PeerKind) -> bool {
    if peer.program().is_some() {
        return false;
    }
    let message = format!("{peer:?} is not installed; run tests/setup");
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{message}");
    eprintln!("SKIPPED: {message}");
    true
}

/// A running peer. Dropping it kills it, and only it.
#[derive(Debug)]
pub struct Peer {
    child: Child,
    log: PathBuf,
}

impl Peer {
    /// Starts a command; what it writes goes to `NAME.log` in the folder.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(mut command: Command, name: &str, folder: &Scratch) -> Self {
        let log = folder.join(&format!("{name}.log"));
        let file = fs::File::create(&log).expect("a log file");
        let both = file.try_clone().expect("a second handle");
        let child = command
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(both)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child, log }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it accepts connections on all of these TCP ports.
    ///
    /// # Panics
    /// When it does not in time, or ends.
    #[must_use]
    pub fn listening_on(mut self, ports: &[u16]) -> Self {
        for &port in ports {
            let (child, log) = (&mut self.child, &self.log);
            wait_until(&format!("a peer listening on port {port}"), || {
                if let Ok(Some(status)) = child.try_wait() {
                    panic!("the peer ended with {status}: {}", read(log));
                }
                TcpStream::connect(("127.0.0.1", port)).is_ok()
            });
        }
        self
    }

    /// Asks it to end, so that it writes what it holds, and waits until it has.
    ///
    /// # Panics
    /// When it does not in time.
    pub fn shutdown(mut self) {
        terminate(self.pid());
        let child = &mut self.child;
        wait_until("the end of a peer", || child.try_wait().expect("try_wait").is_some());
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if thread::panicking() {
            eprintln!("what the peer wrote: {}", read(&self.log));
        }
    }
}

/// rsyslogd with a configuration in which `@DIR@` stands for the folder.
///
/// # Panics
/// When it is not installed or cannot be started.
#[must_use]
pub fn rsyslog(folder: &Scratch, config: &str) -> Peer {
    let file = configuration(folder, "rsyslog.conf", config);
    let mut command = Command::new(PeerKind::Rsyslog.program().expect("rsyslogd"));
    command.args(["-n", "-iNONE", "-f"]).arg(file);
    Peer::start(command, "rsyslog", folder)
}

/// syslog-ng with a configuration in which `@DIR@` stands for the folder.
///
/// # Panics
/// When it is not installed or cannot be started.
#[must_use]
pub fn syslog_ng(folder: &Scratch, config: &str) -> Peer {
    let file = configuration(folder, "syslog-ng.conf", config);
    let root = syslog_ng_root();
    let modules = root.join("usr/lib/syslog-ng/3.38");
    let mut command = Command::new(PeerKind::SyslogNg.program().expect("syslog-ng"));
    command
        .env("LD_LIBRARY_PATH", root.join("usr/lib/syslog-ng"))
        .args(["-F", "--no-caps", "-f"])
        .arg(file)
        .arg(format!("--module-path={}", modules.display()))
        .arg("-R")
        .arg(folder.join("persist"))
        .arg("-p")
        .arg(folder.join("pid"))
        .arg("-c")
        .arg(folder.join("ctl"));
    Peer::start(command, "syslog-ng", folder)
}

fn configuration(folder: &Scratch, name: &str, config: &str) -> PathBuf {
    folder.write(name, config.replace("@DIR@", &folder.path().display().to_string()))
}

fn syslog_ng_root() -> PathBuf {
    repository().join(".peers/syslog-ng")
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<_> = std::env::split_paths(&path).collect();
    folders.extend(DAEMON_FOLDERS.iter().map(PathBuf::from));
    folders.into_iter().map(|folder| folder.join(program)).find(|path| path.is_file())
}

fn read(log: &Path) -> String {
    fs::read_to_string(log).unwrap_or_default()
}
