//! What is wrong with a configuration: facts, their places, and how they read.

use std::fmt;

use serde_json::{Value, json};

use super::network::CidrError;
use super::secret::SecretError;
use super::template::TemplateError;
use super::unit::{DURATION_ALLOWED, SIZE_ALLOWED};
use super::url::UrlError;

/// How many names a message lists before it says how many more there are.
const NAMES_LISTED_MAX: usize = 40;

/// How many characters of a value a message shows.
const VALUE_SHOWN_MAX: usize = 60;

/// All that is wrong with one file, by line. Written one problem a line:
/// `logboom.toml:12:9: unknown key …`.
#[derive(Debug)]
pub struct Problems {
    file: String,
    problems: Vec<Problem>,
}

/// One thing that is wrong, and where.
#[derive(Debug)]
pub struct Problem {
    /// Line and column, both from 1, the column in characters; `None` for the file as a whole.
    pub place: Option<(usize, usize)>,
    /// What is wrong.
    pub kind: ProblemKind,
}

/// What is wrong. Each says what was found and what is allowed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProblemKind {
    /// The file could not be opened or read.
    #[error("cannot be read: {0}")]
    Unreadable(#[source] std::io::Error),
    /// The file is larger than what is read.
    #[error("is too large; allowed: at most {most} bytes")]
    FileTooLarge {
        /// In bytes.
        most: u64,
    },
    /// The text is not UTF-8 from here on.
    #[error("this byte is not UTF-8; allowed: UTF-8 text")]
    NotUtf8,
    /// The text is not TOML.
    #[error("not TOML: {0}")]
    Syntax(String),
    /// A key or table that does not exist.
    #[error("unknown {what} {key:?}{}{hint}allowed: {}",
        in_place(.place), list(.allowed))]
    UnknownKey {
        /// `key` or `table`.
        what: &'static str,
        /// As written, shortened.
        key: String,
        /// In which table; empty for the top of the file.
        place: &'static str,
        /// What was probably meant, with the marks around it.
        hint: String,
        /// All keys of that table.
        allowed: Vec<String>,
    },
    /// Something that is planned.
    #[error("{what} is not supported yet by this build; supported: {supported}")]
    NotYet {
        /// The key, table or value.
        what: String,
        /// What there is in its place.
        supported: String,
    },
    /// A key that must be there.
    #[error("{place} has no {key:?}; write for example {example}")]
    Missing {
        /// The table.
        place: &'static str,
        /// The key.
        key: &'static str,
        /// A line that would do.
        example: &'static str,
    },
    /// A value of another type.
    #[error("{key} must be {expected}, found {found}")]
    WrongType {
        /// The key.
        key: String,
        /// What it must be.
        expected: &'static str,
        /// Which type it is.
        found: &'static str,
    },
    /// A word outside of its list.
    #[error("{key} = {value} is unknown{}allowed: {}",
        did_you_mean(.nearest.as_deref()), list(.allowed))]
    UnknownValue {
        /// The key.
        key: &'static str,
        /// As written, shortened and quoted.
        value: String,
        /// What was probably meant.
        nearest: Option<String>,
        /// All that is known.
        allowed: Vec<String>,
    },
    /// Not a size.
    #[error("{key} = {value} is no size; allowed: {SIZE_ALLOWED}")]
    Size {
        /// The key.
        key: &'static str,
        /// As written, shortened and quoted.
        value: String,
    },
    /// Not a duration.
    #[error("{key} = {value} is no duration; allowed: {DURATION_ALLOWED}")]
    Duration {
        /// The key.
        key: &'static str,
        /// As written, shortened and quoted.
        value: String,
    },
    /// A number, size or duration outside of its range.
    #[error("{key} = {value} is out of range; allowed: {least} to {most}")]
    OutOfRange {
        /// The key.
        key: String,
        /// As written.
        value: String,
        /// The smallest allowed.
        least: String,
        /// The largest allowed.
        most: String,
    },
    /// Not a name.
    #[error(
        "name = {value} is no name; allowed: 1 to 64 letters, digits, _ . and -, a letter or digit \
         first"
    )]
    Name {
        /// As written, shortened and quoted.
        value: String,
    },
    /// Something that only one may have.
    #[error("{what} is already used {}; allowed: once", already(*.line))]
    Duplicate {
        /// What is there twice.
        what: String,
        /// Where it is for the first time; `None` for a default.
        line: Option<usize>,
    },
    /// A name that nothing has.
    #[error("unknown {what} {name}{}{}", did_you_mean(.nearest.as_deref()), defined_names(.defined))]
    UnknownReference {
        /// `source`, `guest` or `route`.
        what: &'static str,
        /// As written, shortened and quoted.
        name: String,
        /// What was probably meant.
        nearest: Option<String>,
        /// All names there are.
        defined: Vec<String>,
    },
    /// A list that must name something.
    #[error("{key} is empty; allowed: {allowed}")]
    Empty {
        /// The key.
        key: &'static str,
        /// What it must have.
        allowed: &'static str,
    },
    /// Not a path.
    #[error("{key} is no path; allowed: at least one character, and no NUL")]
    Path {
        /// The key.
        key: &'static str,
    },
    /// An address to listen on that is none.
    #[error("{key} = {value} is no address; allowed: IP:port, as in \"127.0.0.1:5000\"")]
    Address {
        /// The key.
        key: &'static str,
        /// As written, shortened and quoted.
        value: String,
    },
    /// A bad URL.
    #[error("{key}: {error}")]
    Url {
        /// The key.
        key: &'static str,
        /// Why; printed within this message, so it is no source.
        error: UrlError,
    },
    /// A bad network.
    #[error("{key}: {error}")]
    Network {
        /// The key.
        key: &'static str,
        /// Why; printed within this message, so it is no source.
        error: CidrError,
    },
    /// A name for TLS that no certificate can have.
    #[error("server_name = {value} is no host; allowed: a host name or an IP address")]
    ServerName {
        /// As written, shortened and quoted.
        value: String,
    },
    /// The content of a file where its path belongs. Never shows it.
    #[error("{key} holds PEM text; allowed: the path of a file with it")]
    Pem {
        /// The key.
        key: &'static str,
    },
    /// A key that is nothing without another.
    #[error("{key:?} is there without {other:?}; allowed: both or neither")]
    Alone {
        /// The key.
        key: &'static str,
        /// What must stand beside it.
        other: &'static str,
    },
    /// Permissions that are none.
    #[error("mode = {value} is no mode; allowed: \"0000\" to \"0777\", as of chmod")]
    Mode {
        /// As written, shortened and quoted.
        value: String,
    },
    /// Something that the spool is needed for, which is turned off.
    #[error(
        "{what} needs the spool, which is turned off on line {line}; allowed: {allowed}, or \
         enabled = true"
    )]
    NeedsSpool {
        /// What is written here.
        what: &'static str,
        /// Where the spool is turned off.
        line: usize,
        /// What goes without it.
        allowed: &'static str,
    },
    /// A bad `app` of a source.
    #[error("app {0}")]
    Template(TemplateError),
    /// The `app` of a drain is none.
    #[error(
        "app = {value} is no app; allowed: one app, or \"*\" for every app, without whitespace, \
         at most 255 bytes"
    )]
    App {
        /// As written, shortened and quoted.
        value: String,
    },
    /// A secret that cannot be had. Never shows its content.
    #[error("{key} {error}")]
    Secret {
        /// The key.
        key: &'static str,
        /// Why.
        error: SecretError,
    },
    /// `${env:NAME}` where no secret is.
    #[error(
        "{key} holds ${{env:…}}, which only secrets may; allowed there: auth_key, password, token, \
         tokens, and the credentials of http and https destinations"
    )]
    NoSecret {
        /// The key.
        key: String,
    },
    /// Two keys of which one is allowed.
    #[error("{first:?} and {second:?} exclude each other; allowed: one of them")]
    Both {
        /// The first key.
        first: &'static str,
        /// The second key.
        second: &'static str,
    },
    /// A key that would do nothing.
    #[error("{key:?} does nothing on a {scheme} {side}: {reason}; allowed: leave it out")]
    Pointless {
        /// The key.
        key: &'static str,
        /// The scheme of its URL.
        scheme: &'static str,
        /// `source` or `destination`.
        side: &'static str,
        /// Why.
        reason: &'static str,
    },
    /// A value that a guest cannot be given.
    #[error("config: {0}")]
    GuestConfig(String),
    /// Two orders that share a destination and disagree.
    #[error(
        "{found} contradicts {other} on line {line} for the same destination; allowed: one of them"
    )]
    Contradiction {
        /// What is written here.
        found: String,
        /// What is written there.
        other: String,
        /// Where.
        line: usize,
    },
    /// A destination that is an own listener.
    #[error("sends records back into {what} on line {line}; allowed: any other destination")]
    Loop {
        /// Which listener.
        what: String,
        /// Where.
        line: usize,
    },
    /// More of something than there can be.
    #[error("{count} {what}; allowed: at most {most}")]
    TooMany {
        /// What.
        what: &'static str,
        /// How many.
        count: usize,
        /// How many there can be.
        most: usize,
    },
}

/// Collects problems while the text is read and checked.
pub(super) struct Report<'t> {
    text: &'t str,
    /// Where each line begins, in bytes.
    lines: Vec<usize>,
    found: Vec<(usize, ProblemKind)>,
}

impl<'t> Report<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = std::iter::once(0).chain(ends.map(|(offset, _)| offset + 1)).collect();
        Self { text, lines, found: Vec::new() }
    }

    /// Notes a problem at an offset of the text, in bytes.
    pub(super) fn add(&mut self, offset: usize, kind: ProblemKind) {
        self.found.push((offset, kind));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The line of an offset, from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.lines.partition_point(|begin| *begin <= offset)
    }

    /// All problems by line. Where the text is not TOML, what is left of it is still checked, but
    /// problems which the broken lines may have made are left out: those on the lines themselves,
    /// and all that say something is missing. One line is called broken once.
    pub(super) fn finish(self, file: String) -> Problems {
        let is_syntax = |kind: &ProblemKind| matches!(kind, ProblemKind::Syntax(_));
        let syntax = self.found.iter().filter(|(_, kind)| is_syntax(kind));
        let mut broken: Vec<usize> = syntax.map(|(offset, _)| self.line(*offset)).collect();
        broken.sort_unstable();
        let is_doubtful = |offset: usize, kind: &ProblemKind| {
            let is_broken = broken.binary_search(&self.line(offset)).is_ok();
            !broken.is_empty() && !is_syntax(kind) && (is_broken || kind.is_absence())
        };
        let places = self
            .found
            .iter()
            .map(|(offset, kind)| (!is_doubtful(*offset, kind)).then(|| self.place(*offset)));
        let places: Vec<_> = places.collect();
        let found = self.found.into_iter().zip(places);
        let mut problems: Vec<Problem> = found
            .filter_map(|((_, kind), place)| Some(Problem { place: Some(place?), kind }))
            .collect();
        problems.sort_by_key(|problem| problem.place);
        problems.dedup_by(|problem, before| {
            let line = |problem: &Problem| problem.place.map(|(line, _)| line);
            is_syntax(&problem.kind) && is_syntax(&before.kind) && line(problem) == line(before)
        });
        Problems { file, problems }
    }

    /// Line and column of an offset, both from 1, the column in characters.
    fn place(&self, offset: usize) -> (usize, usize) {
        let line = self.line(offset);
        let begin = self.lines.get(line.saturating_sub(1)).copied().unwrap_or_default();
        let before = self.text.get(begin..offset.min(self.text.len())).unwrap_or_default();
        (line, before.chars().count() + 1)
    }
}

impl Problems {
    /// One problem of the file as a whole.
    pub(super) fn whole_file(file: String, kind: ProblemKind) -> Self {
        Self { file, problems: vec![Problem { place: None, kind }] }
    }

    /// The file, as it was named.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// All problems, sorted by line and column; at least one.
    #[must_use]
    pub fn list(&self) -> &[Problem] {
        &self.problems
    }

    /// The same for programs: a list of objects. `line` and `column` are `null` for the file as a whole.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let problems = self.problems.iter().map(|Problem { place, kind }| {
            let (line, column) = place.unzip();
            let message = kind.to_string();
            json!({ "file": self.file, "line": line, "column": column, "message": message })
        });
        problems.collect()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            f.write_str(&self.file)?;
            if let Some((line, column)) = problem.place {
                write!(f, ":{line}:{column}")?;
            }
            write!(f, ": {}", problem.kind)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl ProblemKind {
    /// Whether it says that something is not there, which a line that cannot be read may have
    /// brought about.
    fn is_absence(&self) -> bool {
        matches!(self, Self::Missing { .. } | Self::UnknownReference { .. } | Self::Empty { .. })
    }
}

/// A value as a message shows it: quoted, escaped, and cut when it is long.
pub(super) fn quote(value: &str) -> String {
    if value.chars().count() <= VALUE_SHOWN_MAX {
        return format!("{value:?}");
    }
    let start: String = value.chars().take(VALUE_SHOWN_MAX).collect();
    format!("{:?}", format!("{start}…"))
}

/// Names with commas between them, not more than a reader wants.
pub(super) fn list<T: AsRef<str>>(names: &[T]) -> String {
    let shown: Vec<&str> = names.iter().take(NAMES_LISTED_MAX).map(AsRef::as_ref).collect();
    let more = names.len() - shown.len();
    match more {
        0 => shown.join(", "),
        _ => format!("{} and {more} more", shown.join(", ")),
    }
}

/// The joint between what was found and what is allowed, with the nearest of it if there is one.
pub(super) fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map_or_else(|| "; ".to_owned(), |name| format!("; did you mean {name:?}? "))
}

fn already(line: Option<usize>) -> String {
    line.map_or_else(|| "by a default".to_owned(), |line| format!("on line {line}"))
}

fn in_place(place: &str) -> String {
    if place.is_empty() { String::new() } else { format!(" in {place}") }
}

fn defined_names(names: &[String]) -> String {
    if names.is_empty() {
        "none is defined".to_owned()
    } else {
        format!("defined: {}", list(names))
    }
}

/// The candidate that differs least from what was written, if it is close enough to have been
/// meant: one slip in a short word, one in three letters of a longer one. Otherwise one whose first word it
/// is, as `syslog` is of `syslog+tcp`. Case never counts.
pub(super) fn nearest<'a>(
    written: &str,
    candidates: impl Iterator<Item = &'a str> + Clone,
) -> Option<&'a str> {
    // What is longer than any name cannot be close to one, and must not cost time.
    if written.len() > 256 {
        return None;
    }
    let letters: Vec<char> = written.to_lowercase().chars().collect();
    let slips_max = (letters.len() / 3).max(1);
    let distances = candidates.clone().map(|candidate| (distance(&letters, candidate), candidate));
    let (slips, candidate) = distances.min_by_key(|(slips, _)| *slips)?;
    if slips <= slips_max && slips < letters.len() {
        return Some(candidate);
    }
    let begins = |candidate: &&str| {
        let (first, rest) = candidate.split_at_checked(written.len()).unwrap_or_default();
        first.eq_ignore_ascii_case(written) && rest.starts_with(['+', '_'])
    };
    candidates.into_iter().find(begins).filter(|_| !written.is_empty())
}

/// How many letters must be put in, taken out, changed or swapped with their neighbour.
fn distance(written: &[char], candidate: &str) -> usize {
    let candidate: Vec<char> = candidate.to_lowercase().chars().collect();
    if written.len().abs_diff(candidate.len()) > written.len() / 3 + 1 {
        return usize::MAX;
    }
    let width = candidate.len() + 1;
    let mut before: Vec<usize> = vec![0; width];
    let mut last: Vec<usize> = (0..width).collect();
    for (row, letter) in written.iter().enumerate() {
        let mut current = vec![row + 1; width];
        for (column, other) in candidate.iter().enumerate() {
            let changed = last[column] + usize::from(letter != other);
            let mut least = changed.min(last[column + 1] + 1).min(current[column] + 1);
            let is_swap = row > 0
                && column > 0
                && *letter == candidate[column - 1]
                && written[row - 1] == *other;
            if is_swap {
                least = least.min(before[column - 1] + 1);
            }
            current[column + 1] = least;
        }
        before = std::mem::replace(&mut last, current);
    }
    last[width - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_only_if_it_is_near() {
        let names = ["framing", "format", "strict", "idle", "url"];
        for (written, expected) in [
            ("framming", Some("framing")),
            ("Framing", Some("framing")),
            ("framign", Some("framing")),
            ("ulr", Some("url")),
            ("uri", Some("url")),
            ("formatting", None),
            ("x", None),
            ("", None),
            ("password", None),
        ] {
            assert_eq!(nearest(written, names.into_iter()), expected, "{written}");
        }
        assert_eq!(nearest(&"x".repeat(1 << 20), names.into_iter()), None);
    }

    #[test]
    fn places_count_lines_and_characters_from_one() {
        let report = Report::new("ä = 1\n\nüü = x");
        assert_eq!(report.place(0), (1, 1));
        assert_eq!(report.place(5), (1, 5));
        assert_eq!(report.place(7), (2, 1));
        assert_eq!(report.place(8), (3, 1));
        assert_eq!(report.place(15), (3, 6));
        assert_eq!(report.place(900), (3, 7));
    }

    #[test]
    fn long_values_and_lists_are_cut() {
        assert_eq!(quote("a\nb"), r#""a\nb""#);
        assert_eq!(quote(&"x".repeat(70)).chars().count(), 63);
        let names: Vec<String> = (0..46).map(|index| format!("n{index}")).collect();
        assert!(list(&names).ends_with("n39 and 6 more"));
    }
}
