//! Names: severities, facilities, interned field names, and the hash of tenant keys.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, OnceLock, RwLock};

/// Most distinct field names a process will intern; beyond it a name is refused.
const FIELD_NAMES_MAX: usize = 65_536;
/// Longest field name in bytes.
const FIELD_NAME_BYTES_MAX: usize = 256;

/// Severity keywords of RFC 5424 table 2, as every system spells them short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Severity(pub u8);

impl Severity {
    const KEYWORDS: [&'static str; 8] =
        ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];

    /// The keyword; values above 7 read as `debug`.
    #[must_use]
    pub fn keyword(self) -> &'static str {
        Self::KEYWORDS[usize::from(self.0.min(7))]
    }

    /// The severity a keyword names, upper or lower case, common long forms included.
    #[must_use]
    pub fn from_keyword(word: &[u8]) -> Option<Self> {
        let lower = word.to_ascii_lowercase();
        let value = match lower.as_slice() {
            b"emerg" | b"emergency" | b"panic" => 0,
            b"alert" => 1,
            b"crit" | b"critical" | b"fatal" => 2,
            b"err" | b"error" => 3,
            b"warning" | b"warn" => 4,
            b"notice" => 5,
            b"info" | b"informational" | b"information" => 6,
            b"debug" | b"trace" => 7,
            _ => return None,
        };
        Some(Self(value))
    }
}

/// Facility keywords, as Linux and Telegraf spell them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facility(pub u8);

impl Facility {
    const KEYWORDS: [&'static str; 24] = [
        "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron",
        "authpriv", "ftp", "ntp", "security", "console", "cron2", "local0", "local1", "local2",
        "local3", "local4", "local5", "local6", "local7",
    ];

    /// The facility a keyword names, upper or lower case.
    #[must_use]
    pub fn from_keyword(word: &[u8]) -> Option<Self> {
        let is = |known: &&str| known.as_bytes().eq_ignore_ascii_case(word);
        let found = Self::KEYWORDS.iter().position(is)?;
        u8::try_from(found).ok().map(Self)
    }

    /// The keyword; values above 23 read as `local7`.
    #[must_use]
    pub fn keyword(self) -> &'static str {
        Self::KEYWORDS[usize::from(self.0.min(23))]
    }
}

/// An interned field name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FieldId(pub u32);

/// The process-wide table of field names. Ids are dense, from 0, and never reused.
///
/// Concurrency: one lock, held for a look-up only; callers cache the ids they use.
#[derive(Debug, Default)]
pub struct FieldNames {
    table: RwLock<FieldTable>,
}

#[derive(Debug, Default)]
struct FieldTable {
    ids: HashMap<Arc<str>, u32>,
    names: Vec<Arc<str>>,
}

impl FieldNames {
    /// The one table of this process.
    #[must_use]
    pub fn global() -> &'static Self {
        static TABLE: OnceLock<FieldNames> = OnceLock::new();
        TABLE.get_or_init(Self::default)
    }

    /// The id of `name`, interned now if need be; `None` when the name is too long or the table
    /// is full.
    #[must_use]
    pub fn intern(&self, name: &str) -> Option<FieldId> {
        if name.len() > FIELD_NAME_BYTES_MAX {
            return None;
        }
        if let Some(id) = self.find(name) {
            return Some(id);
        }
        let mut table = self.table.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(id) = table.ids.get(name) {
            return Some(FieldId(*id));
        }
        if table.names.len() >= FIELD_NAMES_MAX {
            return None;
        }
        let id = u32::try_from(table.names.len()).ok()?;
        let name: Arc<str> = name.into();
        table.names.push(Arc::clone(&name));
        table.ids.insert(name, id);
        Some(FieldId(id))
    }

    /// The id of `name` if it was interned before.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<FieldId> {
        let table = self.table.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        table.ids.get(name).map(|id| FieldId(*id))
    }

    /// The name behind an id.
    #[must_use]
    pub fn name(&self, id: FieldId) -> Option<Arc<str>> {
        let table = self.table.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        table.names.get(id.0 as usize).cloned()
    }

    /// How many names are interned.
    #[must_use]
    pub fn count(&self) -> usize {
        self.table.read().unwrap_or_else(std::sync::PoisonError::into_inner).names.len()
    }
}

/// Folds eight bytes at a time into a product; seeded per process, so that nobody outside can
/// prepare collisions.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the fold keeps both halves")]
pub(crate) fn hash(bytes: &[u8]) -> u32 {
    const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut state = seed() ^ (bytes.len() as u64).wrapping_mul(MULTIPLIER);
    let (words, tail) = bytes.as_chunks::<8>();
    for word in words {
        state = fold(state ^ u64::from_le_bytes(*word), MULTIPLIER);
    }
    let mut last = 0u64;
    for (shift, byte) in tail.iter().enumerate() {
        last |= u64::from(*byte) << (8 * shift);
    }
    state = fold(state ^ last, MULTIPLIER);
    (state ^ state >> 32) as u32
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the fold keeps both halves")]
fn fold(value: u64, by: u64) -> u64 {
    let wide = u128::from(value).wrapping_mul(u128::from(by));
    wide as u64 ^ (wide >> 64) as u64
}

fn seed() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    *SEED.get_or_init(|| RandomState::new().hash_one(0u8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interning_twice_gives_one_id() {
        let names = FieldNames::default();
        let first = names.intern("status").unwrap();
        assert_eq!(names.intern("status"), Some(first));
        assert_eq!(names.name(first).as_deref(), Some("status"));
        assert_eq!(names.intern(&"x".repeat(FIELD_NAME_BYTES_MAX + 1)), None);
    }

    #[test]
    fn hash_tells_short_keys_apart() {
        let keys: Vec<String> = (0..10_000).map(|i| format!("app-{i}")).collect();
        let mut hashes: Vec<u32> = keys.iter().map(|k| hash(k.as_bytes())).collect();
        hashes.sort_unstable();
        hashes.dedup();
        assert!(hashes.len() > 9_990, "{} of 10000 distinct", hashes.len());
    }
}
