//! Interest: which records a guest wants, decided natively so that the others never cross.

use aho_corasick::AhoCorasick;
use logboom_record::{Batch, FieldId, Record, STRIDE, Selection, column};
use memchr::memmem;

use crate::glob::Glob;

/// A guest's interest, compiled.
#[derive(Debug)]
pub struct Interest {
    severity: u8,
    apps: Vec<Glob>,
    app_names: Vec<Glob>,
    literals: Literals,
    /// Fields whose rows cross with the records.
    pub(crate) fields: Vec<FieldId>,
}

#[derive(Debug)]
enum Literals {
    Any,
    One(Box<memmem::Finder<'static>>),
    Several(Box<AhoCorasick>),
}

impl std::fmt::Display for Interest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.is_all() {
            return f.write_str("every record");
        }
        let mut conditions = Vec::new();
        if self.severity < 7 {
            conditions.push(format!("severity {} or worse", self.severity));
        }
        for (what, globs) in [("app", &self.apps), ("app name", &self.app_names)] {
            if !globs.is_empty() {
                conditions.push(format!("{what} one of {globs:?}"));
            }
        }
        match &self.literals {
            Literals::Any => {}
            Literals::One(finder) => {
                let text = String::from_utf8_lossy(finder.needle()).into_owned();
                conditions.push(format!("body contains {text:?}"));
            }
            Literals::Several(finder) => {
                conditions.push(format!("body contains one of {} texts", finder.patterns_len()));
            }
        }
        f.write_str(&conditions.join(", "))
    }
}

impl Interest {
    /// Compiles the conditions.
    ///
    /// # Errors
    /// A sentence on what is wrong: a severity above 7, an empty literal, or too many of them.
    pub(crate) fn compile(
        severity: u8,
        apps: &[String],
        app_names: &[String],
        literals: &[String],
        fields: Vec<FieldId>,
    ) -> Result<Self, String> {
        if severity > 7 {
            return Err(format!("interest.severity is {severity}; 0 to 7 are allowed"));
        }
        if literals.iter().any(String::is_empty) {
            return Err("interest.literals holds an empty text, which would match all".into());
        }
        let literals = match literals {
            [] => Literals::Any,
            [one] => Literals::One(Box::new(memmem::Finder::new(one.as_bytes()).into_owned())),
            several => Literals::Several(Box::new(
                AhoCorasick::new(several).map_err(|e| format!("interest.literals: {e}"))?,
            )),
        };
        let globs = |list: &[String]| list.iter().map(|p| Glob::new(p)).collect();
        Ok(Self { severity, apps: globs(apps), app_names: globs(app_names), literals, fields })
    }

    /// Whether every record is wanted.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.has_no_head_condition() && matches!(self.literals, Literals::Any)
    }

    fn has_no_head_condition(&self) -> bool {
        self.severity == 7 && self.apps.is_empty() && self.app_names.is_empty()
    }

    /// The records of `batch` that are wanted, of those that `dead` does not mark.
    #[must_use]
    pub fn select(&self, batch: &Batch, dead: &[bool]) -> Selection {
        let is_dead = |index: usize| dead.get(index).copied().unwrap_or(false);
        if self.is_all() && dead.is_empty() {
            return Selection::All;
        }
        let wanted: Vec<u32> = match &self.literals {
            Literals::Any => (0u32..)
                .zip(batch.records())
                .filter(|(index, record)| !is_dead(*index as usize) && self.wants_head(*record))
                .map(|(index, _)| index)
                .collect(),
            literals => {
                let mut hits = literals.find(batch);
                hits.retain(|index| {
                    !is_dead(*index as usize)
                        && batch.record(*index as usize).is_some_and(|r| self.wants_head(r))
                });
                hits
            }
        };
        if wanted.len() == batch.len() { Selection::All } else { Selection::Some(wanted) }
    }

    #[inline]
    fn wants_head(&self, record: Record<'_>) -> bool {
        self.has_no_head_condition()
            || record.severity().0 <= self.severity
                && (self.apps.is_empty() || self.apps.iter().any(|g| g.matches(record.app())))
                && (self.app_names.is_empty()
                    || self.app_names.iter().any(|g| g.matches(record.app_name())))
    }
}

impl Literals {
    /// Indices of the records in whose body a literal occurs.
    ///
    /// Where bodies stand in the arena in the order of their records, as after decoding, one
    /// search runs over the arena and each hit is given to its record; it is the search's start-up
    /// that costs, not its bytes. Otherwise each body is searched by itself.
    fn find(&self, batch: &Batch) -> Vec<u32> {
        let mut hits = Vec::new();
        let arena = batch.arena();
        let Some((first, last)) = body_range(batch) else { return self.find_each(batch) };
        let mut at = first;
        let mut index = 0;
        while let Some((start, end)) = self.next(&arena[at..last]).map(|(s, e)| (at + s, at + e)) {
            index += batch.rows()[index * STRIDE..]
                .chunks_exact(STRIDE)
                .take_while(|row| body_end(row) <= start)
                .count();
            let Some(row) = batch.rows().get(index * STRIDE..(index + 1) * STRIDE) else { break };
            let (body_start, body_end) = (row[column::BODY] as usize, body_end(row));
            if start >= body_start && end <= body_end {
                hits.push(u32::try_from(index).unwrap_or(u32::MAX));
                at = body_end;
                index += 1;
            } else {
                at = start + 1;
            }
        }
        hits
    }

    fn find_each(&self, batch: &Batch) -> Vec<u32> {
        (0u32..)
            .zip(batch.records())
            .filter(|(_, record)| self.next(record.body()).is_some())
            .map(|(index, _)| index)
            .collect()
    }

    #[inline]
    fn next(&self, haystack: &[u8]) -> Option<(usize, usize)> {
        match self {
            Self::Any => Some((0, 0)),
            Self::One(finder) => finder.find(haystack).map(|at| (at, at + finder.needle().len())),
            Self::Several(finder) => finder.find(haystack).map(|m| (m.start(), m.end())),
        }
    }
}

fn body_end(row: &[u32]) -> usize {
    row[column::BODY] as usize + row[column::BODY + 1] as usize
}

/// First and last byte of all bodies, if they stand in order without overlap and inside the arena.
fn body_range(batch: &Batch) -> Option<(usize, usize)> {
    let mut rows = batch.rows().chunks_exact(STRIDE);
    let first = rows.next()?;
    let start = first[column::BODY] as usize;
    let mut end = body_end(first);
    for row in rows {
        let body = row[column::BODY] as usize;
        if body < end {
            return None;
        }
        end = body_end(row);
    }
    (end <= batch.arena().len() && start <= end).then_some((start, end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use logboom_record::{Head, Span, UnixNanos};

    fn batch(records: &[(&str, &str, u8)]) -> Batch {
        let mut batch = Batch::new(Vec::new(), UnixNanos(0));
        for (app, body, severity) in records {
            let app = batch.append(app.as_bytes());
            let body = batch.append(body.as_bytes());
            batch.push(&Head {
                app,
                app_name: app,
                raw: body,
                body,
                severity: *severity,
                ..Head::default()
            });
        }
        batch
    }

    fn select(interest: (u8, &[&str], &[&str]), records: &[(&str, &str, u8)]) -> Vec<usize> {
        let own = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        let interest =
            Interest::compile(interest.0, &own(interest.1), &[], &own(interest.2), vec![]).unwrap();
        let batch = batch(records);
        interest.select(&batch, &[]).iter(batch.len()).collect()
    }

    #[test]
    fn each_condition_narrows_and_all_must_hold() {
        let records = [
            ("web-a", "kill it", 3),
            ("web-b", "oom kill", 6),
            ("db-a", "kill kill", 2),
            ("x", "", 0),
        ];
        assert_eq!(select((7, &[], &[]), &records), [0, 1, 2, 3]);
        assert_eq!(select((3, &[], &[]), &records), [0, 2, 3]);
        assert_eq!(select((7, &["web-*"], &[]), &records), [0, 1]);
        assert_eq!(select((7, &[], &["kill"]), &records), [0, 1, 2]);
        assert_eq!(select((7, &[], &["kill kill", "oom"]), &records), [1, 2]);
        assert_eq!(select((3, &["web-*"], &["kill"]), &records), [0]);
    }

    #[test]
    fn a_literal_across_two_bodies_or_in_the_head_is_no_match() {
        assert_eq!(select((7, &[], &["killer"]), &[("a", "kill", 6), ("b", "er", 6)]), [0; 0]);
        assert_eq!(select((7, &[], &["web"]), &[("web", "x", 6), ("b", "web", 6)]), [1]);
        assert_eq!(select((7, &[], &["aa"]), &[("a", "a", 6), ("aa", "xaa", 6)]), [1]);
    }

    #[test]
    fn bodies_out_of_order_are_searched_one_by_one() {
        let mut batch = batch(&[("a", "kill", 6), ("b", "none", 6)]);
        batch.set_span(1, column::BODY, Span { offset: 1, len: 4 });
        let interest = Interest::compile(7, &[], &[], &["kill".into()], vec![]).unwrap();
        assert_eq!(interest.select(&batch, &[]), Selection::All);
        assert_eq!(interest.select(&batch, &[true, false]), Selection::Some(vec![1]));
    }
}
