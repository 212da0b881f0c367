//! Several matches that are tried together.

use logboom_guest::{Interest, Record};

use crate::condition::{Condition, Shared, regex_texts};
use crate::config::Match;
use crate::expression::Expression;
use crate::literals::{LITERALS_MAX, LiteralSet, Literals};

/// Matches by index, with one search for the texts of all of them.
#[derive(Debug)]
pub struct Set {
    literals: Literals,
    conditions: Vec<Condition>,
    fields: Vec<String>,
    /// Whether none of them can hold without one of its texts.
    needs_literal: bool,
}

/// Which texts of a [`Set`] are in one body.
#[derive(Clone, Copy, Debug)]
pub struct Found(LiteralSet);

impl Set {
    /// Compiles matches, each with the place in the configuration where it stands, such as
    /// `rules[0].match`.
    ///
    /// # Errors
    /// Which place is wrong, and how.
    pub fn compile<'a>(
        matches: impl IntoIterator<Item = (String, &'a Match)>,
    ) -> Result<Self, String> {
        let mut shared = Shared::default();
        let mut conditions = Vec::new();
        for (place, from) in matches {
            conditions.push(Condition::compile(from, &place, &mut shared)?);
        }
        let count = shared.literals.len();
        if count > LITERALS_MAX {
            return Err(format!("{count} different texts to contain; {LITERALS_MAX} are allowed"));
        }
        Ok(Self {
            literals: Literals::new(&shared.literals)?,
            needs_literal: conditions.iter().all(Condition::needs_literal),
            conditions,
            fields: shared.fields,
        })
    }

    /// The first match that holds.
    #[inline]
    #[must_use]
    pub fn first(&self, record: &Record<'_>) -> Option<usize> {
        let found = self.find(record.body());
        if self.needs_literal && found.0.is_empty() {
            return None;
        }
        self.conditions.iter().position(|condition| condition.holds(record, &found.0))
    }

    /// Looks for the texts of all matches, for [`Set::holds`].
    #[inline]
    #[must_use]
    pub fn find(&self, body: &[u8]) -> Found {
        Found(self.literals.find(body))
    }

    /// Whether the match at `index` holds, given what was found in the record's body.
    #[inline]
    #[must_use]
    pub fn holds(&self, index: usize, record: &Record<'_>, found: &Found) -> bool {
        self.conditions.get(index).is_some_and(|condition| condition.holds(record, &found.0))
    }

    /// Takes the expression out of the match at `index`: it holds without, and the caller applies
    /// the expression, to have its groups.
    pub fn take_regex(&mut self, index: usize) -> Option<Expression> {
        self.conditions.get_mut(index)?.take_regex()
    }

    /// Names of the fields that the matches look at.
    #[must_use]
    pub fn fields(&self) -> &[String] {
        &self.fields
    }
}

/// The interest that takes in all records for which one of `matches` can hold, and as few others
/// as an interest can say. It has no fields.
#[must_use]
pub fn interest<'a>(matches: impl IntoIterator<Item = &'a Match> + Clone) -> Interest {
    let union = |needed: fn(&Match) -> Option<Vec<String>>| {
        let mut union: Vec<String> = Vec::new();
        for from in matches.clone() {
            for text in needed(from)? {
                if !union.contains(&text) {
                    union.push(text);
                }
            }
        }
        Some(union)
    };
    let severities = matches.clone().into_iter().map(|from| severity(from).unwrap_or(7));
    Interest {
        severity: severities.max().unwrap_or(7),
        apps: union(|from| listed(&from.app.0)).unwrap_or_default(),
        app_names: union(|from| listed(&from.app_name.0)).unwrap_or_default(),
        literals: union(literals).map(without_longer).unwrap_or_default(),
        fields: Vec::new(),
    }
}

/// Leaves out texts that another of them is a part of: where they are, so is that one.
fn without_longer(texts: Vec<String>) -> Vec<String> {
    let is_needed =
        |text: &&String| !texts.iter().any(|other| other != *text && text.contains(other.as_str()));
    texts.iter().filter(is_needed).cloned().collect()
}

fn severity(from: &Match) -> Option<u8> {
    from.severity.map(|severity| severity.0)
}

fn listed(globs: &[String]) -> Option<Vec<String>> {
    (!globs.is_empty()).then(|| globs.to_vec())
}

/// Texts of which one is in the body of every record for which the match holds.
fn literals(from: &Match) -> Option<Vec<String>> {
    if let Some(longest) = from.contains_all.0.iter().max_by_key(|text| text.len()) {
        return Some(vec![longest.clone()]);
    }
    if !from.contains.0.is_empty() {
        return Some(from.contains.0.clone());
    }
    let of_regex = regex_texts(from);
    if !of_regex.is_empty() {
        return Some(of_regex);
    }
    if from.any.is_empty() {
        return None;
    }
    let each: Option<Vec<Vec<String>>> = from.any.iter().map(literals).collect();
    each.map(|lists| lists.concat())
}

#[cfg(test)]
mod tests;
