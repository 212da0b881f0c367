//! Field names met in records, with their ids kept at hand.

use crate::FieldId;
use crate::interner::Interner;

/// Most names one cache keeps. A name beyond it gets no id.
const NAMES_MAX: usize = 4096;

/// Ids of field names that only the records tell, for parsers of JSON and the like. A name that
/// was seen before costs a hash, a new one a call of the host.
#[derive(Clone, Debug)]
pub struct FieldNames {
    ids: Interner,
}

impl FieldNames {
    /// An empty cache.
    #[must_use]
    pub fn new() -> Self {
        Self { ids: Interner::new(NAMES_MAX) }
    }

    /// The id of a name; `None` when it is not UTF-8, when the host refuses it, or beyond 4,096
    /// names.
    #[inline]
    pub fn id(&mut self, name: &[u8]) -> Option<FieldId> {
        let id = match self.ids.find_next(name) {
            Some(id) => FieldId(id),
            None => self.learn(name)?,
        };
        (id != FieldId::REFUSED).then_some(id)
    }

    #[cold]
    fn learn(&mut self, name: &[u8]) -> Option<FieldId> {
        // Room is made sure of first, so that a flood of names does not become a flood of calls.
        if !self.ids.insert(&[name], FieldId::REFUSED.0) {
            return None;
        }
        let id = FieldId::intern(str::from_utf8(name).ok()?);
        self.ids.insert(&[name], id.0).then_some(id)
    }
}

impl Default for FieldNames {
    fn default() -> Self {
        Self::new()
    }
}
