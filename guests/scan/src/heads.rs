//! The keys by which programs give what belongs in a record's head: message, time, severity.

use logboom_guest::{Edits, Record};

use crate::{Number, Text, time};

/// Which part of the head a key gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// The message text.
    Body,
    /// The severity.
    Severity,
    /// The event time.
    Time,
}

/// A member's value, as far as heads are concerned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum HeadValue<'a> {
    /// A number.
    Number(Number),
    /// A text.
    Text(Text<'a>),
}

/// Lists of keys by part of the head. Where a record has several keys of one list, the first in
/// the record is taken and the others stay fields. An empty list turns the part off.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HeadKeys {
    /// Keys of the message.
    pub body: Vec<String>,
    /// Keys of the severity: a keyword, a syslog severity 0 to 7, or a level 10 to 60 as pino and
    /// bunyan have it.
    pub severity: Vec<String>,
    /// Keys of the time: RFC 3339, or a number of seconds, milli-, micro- or nanoseconds.
    pub time: Vec<String>,
}

impl Default for HeadKeys {
    fn default() -> Self {
        let list = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
        Self {
            body: list(&["message", "msg", "log"]),
            severity: list(&["level", "severity", "lvl"]),
            time: list(&["time", "ts", "timestamp", "@timestamp"]),
        }
    }
}

impl HeadKeys {
    /// The table for looking keys up.
    #[must_use]
    pub fn table(&self) -> HeadTable {
        let mut table = HeadTable { keys: Vec::new(), shapes: 0 };
        let lists =
            [(&self.body, Head::Body), (&self.severity, Head::Severity), (&self.time, Head::Time)];
        for (list, head) in lists {
            for key in list {
                table.shapes |= shape(key.as_bytes());
                table.keys.push((key.as_bytes().to_vec(), head));
            }
        }
        table
    }
}

/// [`HeadKeys`] made fast: most keys of a record are none of them.
#[derive(Clone, Debug)]
pub struct HeadTable {
    keys: Vec<(Vec<u8>, Head)>,
    /// A bit for each pair of length and first byte that occurs, folded into 64.
    shapes: u64,
}

impl HeadTable {
    /// The part of the head that `key` gives.
    #[must_use]
    #[inline]
    pub fn find(&self, key: &[u8]) -> Option<Head> {
        if self.shapes & shape(key) == 0 {
            return None;
        }
        self.keys.iter().find(|(known, _)| known == key).map(|(_, head)| *head)
    }
}

#[inline]
fn shape(key: &[u8]) -> u64 {
    let first = key.first().map_or(0, |byte| usize::from(*byte));
    1 << ((first + key.len() * 11) % 64)
}

/// What of one record's head was set already.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadsSet {
    body: bool,
    severity: bool,
    time: bool,
}

impl HeadsSet {
    /// Sets a part of the head from a member's value; `false` where the value does not say it or
    /// it was set before: then the member is a field.
    #[inline]
    pub fn set(
        &mut self,
        head: Head,
        value: HeadValue<'_>,
        record: &Record<'_>,
        edits: &mut Edits<'_>,
    ) -> bool {
        match head {
            Head::Body => {
                let HeadValue::Text(text) = value else { return false };
                if self.body || text.raw.is_empty() {
                    return false;
                }
                if text.has_escapes {
                    edits.set_with(record, logboom_guest::Column::Body, |out| text.unescape(out));
                } else {
                    edits.set_body(record, text.raw);
                }
                self.body = true;
            }
            Head::Severity => {
                let Some(found) = severity(value).filter(|_| !self.severity) else { return false };
                edits.set_severity(record, found);
                self.severity = true;
            }
            Head::Time => {
                let found = match value {
                    HeadValue::Number(number) => time::epoch(number),
                    HeadValue::Text(text) => time::rfc3339(text.raw)
                        .or_else(|| Number::parse(text.raw).and_then(time::epoch)),
                };
                let Some(nanos) = found.filter(|_| !self.time) else { return false };
                edits.set_time(record, nanos);
                self.time = true;
            }
        }
        true
    }
}

fn severity(value: HeadValue<'_>) -> Option<u8> {
    match value {
        HeadValue::Number(Number::Integer(level)) => level_severity(level),
        HeadValue::Number(Number::Float(_)) => None,
        HeadValue::Text(text) => keyword_severity(text.raw).or_else(|| {
            let Some(Number::Integer(level)) = Number::parse(text.raw) else { return None };
            level_severity(level)
        }),
    }
}

fn level_severity(level: i64) -> Option<u8> {
    match level {
        0..=7 => u8::try_from(level).ok(),
        10 | 20 => Some(7),
        30 => Some(6),
        40 => Some(4),
        50 => Some(3),
        60 => Some(2),
        _ => None,
    }
}

/// The severity that a keyword of any of the common loggers means, in either case.
#[must_use]
pub fn keyword_severity(word: &[u8]) -> Option<u8> {
    const LONGEST: usize = 13;
    let mut lower = [0; LONGEST];
    let lower = lower.get_mut(..word.len())?;
    lower.copy_from_slice(word);
    lower.make_ascii_lowercase();
    Some(match &*lower {
        b"emerg" | b"emergency" | b"panic" => 0,
        b"alert" => 1,
        b"crit" | b"critical" | b"fatal" | b"dpanic" => 2,
        b"err" | b"error" | b"severe" => 3,
        b"warn" | b"warning" => 4,
        b"notice" => 5,
        b"info" | b"information" | b"informational" => 6,
        b"debug" | b"trace" | b"verbose" | b"fine" => 7,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_found_and_no_other() {
        let table = HeadKeys::default().table();
        assert_eq!(table.find(b"message"), Some(Head::Body));
        assert_eq!(table.find(b"@timestamp"), Some(Head::Time));
        assert_eq!(table.find(b"lvl"), Some(Head::Severity));
        for key in [b"massage".as_slice(), b"", b"t", b"levels"] {
            assert_eq!(table.find(key), None);
        }
    }

    #[test]
    fn severities_are_known_by_word_and_by_number() {
        let word = |word: &'static str| severity(HeadValue::Text(Text::plain(word.as_bytes())));
        for (text, expected) in [
            ("INFO", Some(6)),
            ("Warning", Some(4)),
            ("informational", Some(6)),
            ("fatal", Some(2)),
            ("3", Some(3)),
            ("50", Some(3)),
            ("8", None),
            ("", None),
            ("informationally", None),
        ] {
            assert_eq!(word(text), expected, "{text}");
        }
    }
}
