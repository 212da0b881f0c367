//! One kill as the kernel tells of it, and the kills told of lately.

use std::collections::VecDeque;

use memchr::memmem;

/// What a kernel before 5.0 says before the kill.
pub(crate) const ANNOUNCED: &str = "Kill process ";
/// What every kernel says of the kill itself.
pub(crate) const DONE: &str = "Killed process ";

/// Two lines of one kill are at most this far apart, in nanoseconds of event time.
const TOGETHER: u64 = 60 * 1_000_000_000;
/// Kills remembered at most.
const RECENT_MAX: usize = 64;

/// Which of the two lines it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Announced,
    Done,
}

/// A line that tells of a kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kill<'a> {
    pub(crate) line: Line,
    pub(crate) pid: u64,
    pub(crate) process: &'a [u8],
}

impl<'a> Kill<'a> {
    /// The kill that `body` tells of, if it does.
    pub(crate) fn find(body: &'a [u8]) -> Option<Self> {
        let behind = |text: &str| {
            let at = memmem::find(body, text.as_bytes())?;
            body.get(at + text.len()..)
        };
        if let Some(rest) = behind(ANNOUNCED) {
            let (pid, rest) = number(rest)?;
            let process = in_parentheses(rest.strip_prefix(b" ")?, &[b") score "])?;
            return Some(Self { line: Line::Announced, pid, process });
        }
        let (pid, rest) = number(behind(DONE)?)?;
        // Kernels of RHEL 6 have the user id before the name.
        let rest = match rest.strip_prefix(b", UID ") {
            Some(rest) => number(rest)?.1.strip_prefix(b",")?,
            None => rest,
        };
        let ends: [&[u8]; 3] = [b") total-vm:", b"), UID ", b") vsz:"];
        let process = in_parentheses(rest.strip_prefix(b" ")?, &ends)?;
        Some(Self { line: Line::Done, pid, process })
    }
}

/// The name in parentheses, which may hold blanks and parentheses itself: it ends at the last of
/// what may stand behind it.
fn in_parentheses<'a>(text: &'a [u8], ends: &[&[u8]]) -> Option<&'a [u8]> {
    let text = text.strip_prefix(b"(")?;
    let end = ends.iter().filter_map(|end| memmem::rfind(text, end)).max()?;
    text.get(..end).filter(|name| !name.is_empty())
}

fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at(count);
    Some((str::from_utf8(digits).ok()?.parse().ok()?, rest))
}

/// Kills told of lately and by one line only.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    kills: VecDeque<Told>,
}

#[derive(Debug)]
struct Told {
    host: Vec<u8>,
    time: i64,
    line: Line,
    pid: u64,
}

impl Recent {
    /// Whether this is the first line of its kill.
    pub(crate) fn is_new(&mut self, host: &[u8], time: i64, kill: &Kill<'_>) -> bool {
        let told = self.kills.iter().position(|told| {
            told.pid == kill.pid
                && told.line != kill.line
                && told.time.abs_diff(time) <= TOGETHER
                && told.host == host
        });
        if let Some(told) = told {
            self.kills.remove(told);
            return false;
        }
        if self.kills.len() >= RECENT_MAX {
            self.kills.pop_front();
        }
        let told = Told { host: host.to_vec(), time, line: kill.line, pid: kill.pid };
        self.kills.push_back(told);
        true
    }
}
