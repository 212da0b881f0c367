//! A day of a small platform as lines of syslog: kernels with kills for want of memory, sshd, nginx,
//! JSON applications, Kubernetes containers. The same seed gives the same lines.
//!
//! What the lines count to is not known here: tests count them by grep and awk.

use std::fmt::Write;

/// The lines of a day, each with its line feed.
///
/// # Panics
/// Never: writing to a `String` does not fail.
#[must_use]
pub fn lines(records: usize, seed: u64) -> String {
    let mut day = Day { random: Random(seed), second: 0, pid: 1000, out: String::new() };
    let mut written = 0;
    while written < records {
        written += day.step(records - written);
    }
    day.out
}

/// A generator of numbers, the same everywhere. Source: Steele, Lea, Flood: `SplitMix64` (2014).
#[derive(Debug)]
pub struct Random(pub u64);

impl Random {
    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    /// One of several.
    pub fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        let index = self.below(from.len() as u64);
        from[usize::try_from(index).expect("an index")]
    }
}

struct Day {
    random: Random,
    second: u64,
    pid: u64,
    out: String,
}

impl Day {
    /// Writes at least one line and at most `most`; returns how many.
    fn step(&mut self, most: usize) -> usize {
        self.second += self.random.below(2);
        match self.random.below(100) {
            0..3 => return self.kill(most),
            3..15 => self.kernel(),
            15..30 => self.sshd(),
            30..60 => self.nginx(),
            60..80 => self.application(),
            _ => self.kubernetes(),
        }
        1
    }

    fn put(&mut self, line: &str) {
        self.out.push_str(line);
        self.out.push('\n');
    }

    /// `Nov 21 05:44:01`, as RFC 3164 has it.
    fn bsd_time(&self) -> String {
        let (h, m, s) = self.clock();
        format!("Nov 21 {h:02}:{m:02}:{s:02}")
    }

    fn clock(&self) -> (u64, u64, u64) {
        (self.second / 3600 % 24, self.second / 60 % 60, self.second % 60)
    }

    fn iso_time(&mut self) -> String {
        let (h, m, s) = self.clock();
        format!("2026-11-21T{h:02}:{m:02}:{s:02}.{:06}Z", self.random.below(1_000_000))
    }

    fn next_pid(&mut self) -> u64 {
        self.pid += 1 + self.random.below(3);
        self.pid
    }

    /// One kill, in the words of old kernels, of new ones, of a control group, or of those that say
    /// it twice; sometimes with what the reaper says behind it, which is no kill.
    fn kill(&mut self, most: usize) -> usize {
        let name = self.random.pick(&["java", "stress", "node", "chrome (renderer)", "(sd-pam)"]);
        let (pid, time, host) = (self.next_pid(), self.bsd_time(), self.random.below(5));
        let head = format!("{time} node-{host} kernel: [{}.{:06}]", 1000 + self.second, pid);
        let old = format!(
            "<3>{head} Out of memory: Kill process {pid} ({name}) score 958 or sacrifice child"
        );
        let sizes = "total-vm:2048kB, anon-rss:1024kB, file-rss:0kB, shmem-rss:0kB";
        let mut lines = match self.random.below(4) {
            0 => vec![old],
            1 => vec![old, format!("<3>{head} Killed process {pid} ({name}) {sizes}")],
            2 => vec![format!(
                "<3>{head} Out of memory: Killed process {pid} ({name}) {sizes}, UID:0"
            )],
            _ => vec![format!(
                "<3>{head} Memory cgroup out of memory: Killed process {pid} ({name}) {sizes}"
            )],
        };
        if self.random.below(2) == 0 {
            lines.push(format!(
                "<6>{head} oom_reaper: reaped process {pid} ({name}), now anon-rss:0kB"
            ));
        }
        lines.truncate(most);
        for line in &lines {
            self.put(line);
        }
        lines.len()
    }

    fn kernel(&mut self) {
        let (time, host) = (self.bsd_time(), self.random.below(5));
        let what = self.random.pick(&[
            "eth0: link becomes ready",
            "IN=eth0 OUT= SRC=10.0.0.9 DST=10.0.0.1 PROTO=TCP SPT=4711 DPT=22",
            "EXT4-fs (sda1): mounted filesystem with ordered data mode",
            "perf: interrupt took too long (2503 > 2500), lowering rate",
        ]);
        let priority = self.random.pick(&["4", "5", "6"]);
        self.put(&format!(
            "<{priority}>{time} node-{host} kernel: [{}.000001] {what}",
            self.second
        ));
    }

    fn sshd(&mut self) {
        let (time, host, pid) = (self.bsd_time(), self.random.below(5), self.next_pid());
        let (address, port) = (self.random.below(250), 30_000 + self.random.below(30_000));
        let user = self.random.pick(&["root", "deploy", "invalid user admin", "git"]);
        let what = match self.random.below(5) {
            0 => format!("Accepted publickey for {user} from 10.1.2.{address} port {port} ssh2"),
            1 => format!("Connection closed by 10.1.2.{address} port {port} [preauth]"),
            _ => format!("Failed password for {user} from 10.1.2.{address} port {port} ssh2"),
        };
        let priority = if what.starts_with("Failed") { 85 } else { 86 };
        self.put(&format!("<{priority}>{time} node-{host} sshd[{pid}]: {what}"));
    }

    fn nginx(&mut self) {
        let (h, m, s) = self.clock();
        let time = self.bsd_time();
        let status = self.random.pick(&["200", "200", "200", "200", "304", "404", "500", "503"]);
        let method = self.random.pick(&["GET", "GET", "GET", "POST", "HEAD"]);
        let agent = self.random.pick(&["curl/7.88.1", "Mozilla/5.0 (X11; \\\"Linux\\\")", "-"]);
        let (host, client) = (self.random.below(3), self.random.below(250));
        let (item, bytes) = (self.random.below(10_000), self.random.below(100_000));
        self.put(&format!(
            "<190>{time} web-{host} nginx: 10.9.8.{client} - - [21/Nov/2026:{h:02}:{m:02}:{s:02} +0000] \
             \"{method} /api/v1/items/{item}?q=a%20b HTTP/1.1\" {status} {bytes} \"-\" \"{agent}\""
        ));
    }

    fn application(&mut self) {
        let time = self.iso_time();
        let (level, priority) = match self.random.below(10) {
            0 => ("error", 131),
            1 | 2 => ("warn", 132),
            _ => ("info", 134),
        };
        let message = self.random.pick(&[
            "payment accepted",
            "payment \\\"late\\\"",
            "cart opened \\u00e9",
            "status=503 from upstream",
        ]);
        let (order, millis, pid) =
            (self.random.below(1_000_000), self.random.below(5_000), self.next_pid());
        self.put(&format!(
            "<{priority}>1 {time} app-1 shop {pid} order [meta@32473 region=\"eu\"] \
             {{\"level\":\"{level}\",\"msg\":\"{message}\",\"order\":{order},\"millis\":{millis}.5,\
             \"user\":{{\"id\":{pid},\"tags\":[1,2]}}}}"
        ));
    }

    fn kubernetes(&mut self) {
        let time = self.iso_time();
        let stream = if self.random.below(4) == 0 { "stderr" } else { "stdout" };
        let container = self.random.pick(&["cart", "catalog", "mail"]);
        let namespace = self.random.pick(&["prod", "staging"]);
        let (node, pod) = (self.random.below(5), self.random.below(10));
        let mut text = String::new();
        write!(text, "request {} done", self.random.below(100_000)).expect("a string");
        self.put(&format!(
            "<134>1 {time} node-{node} k8s - - - {{\"log\":\"{text}\\n\",\"stream\":\"{stream}\",\
             \"time\":\"{time}\",\"kubernetes\":{{\"namespace_name\":\"{namespace}\",\
             \"pod_name\":\"{container}-{pod}\",\"container_name\":\"{container}\",\
             \"host\":\"node-{node}\"}}}}"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_day_of_exactly_as_many_lines() {
        let day = lines(5_000, 7);
        assert_eq!(day, lines(5_000, 7));
        assert_ne!(day, lines(5_000, 8));
        assert_eq!(day.lines().count(), 5_000);
        for part in ["Killed process", "sshd[", "\" 503 ", "\"level\":\"error\"", "stderr"] {
            assert!(day.contains(part), "{part}");
        }
    }
}
