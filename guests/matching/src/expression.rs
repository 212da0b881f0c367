//! Regular expressions over bytes.
//!
//! Lazy automata decide whether and where; only where groups are asked for does a backtracker run,
//! and only over the part that matched. This is a choice of `regex-automata`'s engines that keeps
//! a component at half the size which its one for all cases would give it. Classes are ASCII for
//! the same reason.

use std::cell::RefCell;

use regex_automata::hybrid::{dfa, regex};
use regex_automata::nfa::thompson::backtrack::{self, BoundedBacktracker};
use regex_automata::nfa::thompson::pikevm::{self, PikeVM};
use regex_automata::nfa::thompson::{self, Compiler, NFA};
use regex_automata::util::prefilter::Prefilter;
use regex_automata::util::primitives::NonMaxUsize;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchKind, PatternID};
use regex_syntax::hir::literal::Extractor;

/// Largest size of a compiled expression, in bytes.
const SIZE_MAX: usize = 1 << 20;
/// A shorter text is in too many bodies to be worth looking for, in bytes.
const REQUIRED_BYTES_MIN: usize = 3;
/// Most texts that are looked for in place of one expression.
const REQUIRED_TEXTS_MAX: usize = 8;

/// An expression, made ready for searching.
#[derive(Debug)]
pub struct Expression {
    regex: regex::Regex,
    /// Of use to one search at a time; there are no threads here.
    cache: RefCell<regex::Cache>,
    nfa: NFA,
}

impl Expression {
    /// Compiles an expression.
    ///
    /// # Errors
    /// What is wrong with it, or that it is too large.
    pub(crate) fn new(pattern: &str) -> Result<Self, String> {
        let syntax = syntax::Config::new().unicode(false).utf8(false);
        let tree = syntax::parse_with(pattern, &syntax).map_err(|error| {
            // The parser draws the place of the error over several lines; its last says what.
            let text = error.to_string();
            let what = text.lines().last().unwrap_or_default();
            format!("{pattern:?}: {}", what.trim_start_matches("error: "))
        })?;
        let compile = |config: thompson::Config| {
            let nfa = Compiler::new().configure(config).build_from_hir(&tree);
            nfa.map_err(|_| format!("{pattern:?} is too large: 1 MiB compiled is allowed"))
        };
        let config = thompson::Config::new().utf8(false).nfa_size_limit(Some(SIZE_MAX));
        let nfa = compile(config.clone())?;
        let captures = thompson::WhichCaptures::None;
        let reverse = compile(config.reverse(true).which_captures(captures))?;
        let automaton = dfa::Config::new().skip_cache_capacity_check(true);
        let forward = dfa::Builder::new()
            .configure(
                automaton
                    .clone()
                    .prefilter(Prefilter::from_hir_prefix(MatchKind::LeftmostFirst, &tree)),
            )
            .build_from_nfa(nfa.clone())
            .map_err(|error| format!("{pattern:?}: {error}"))?;
        let reverse = dfa::Builder::new()
            .configure(automaton.match_kind(MatchKind::All))
            .build_from_nfa(reverse)
            .map_err(|error| format!("{pattern:?}: {error}"))?;
        let regex = regex::Builder::new().build_from_dfas(forward, reverse);
        Ok(Self { cache: RefCell::new(regex.create_cache()), regex, nfa })
    }

    /// Whether it matches somewhere in `text`.
    #[must_use]
    pub fn is_match(&self, text: &[u8]) -> bool {
        self.regex.is_match(&mut self.cache.borrow_mut(), text)
    }

    /// The expression with its groups.
    ///
    /// # Errors
    /// That it is too large for that.
    pub fn groups(self) -> Result<Groups, String> {
        let backtracker = BoundedBacktracker::new_from_nfa(self.nfa.clone());
        let backtracker = backtracker.map_err(|error| error.to_string())?;
        let any_length =
            PikeVM::new_from_nfa(self.nfa.clone()).map_err(|error| error.to_string())?;
        Ok(Groups {
            slots: vec![None; self.nfa.group_info().slot_len()],
            backtracker_cache: backtracker.create_cache(),
            any_length_cache: any_length.create_cache(),
            backtracker,
            any_length,
            expression: self,
        })
    }
}

/// Texts of which one must be in whatever an expression matches, as the expression's beginning
/// tells; none where that says too little. Looking for them first spares most searches.
#[must_use]
pub(crate) fn required_texts(pattern: &str) -> Vec<String> {
    let syntax = syntax::Config::new().unicode(false).utf8(false);
    let Ok(tree) = syntax::parse_with(pattern, &syntax) else { return Vec::new() };
    let prefixes = Extractor::new().extract(&tree);
    let text = |bytes: &[u8]| {
        let text = std::str::from_utf8(bytes).ok()?;
        (text.len() >= REQUIRED_BYTES_MIN).then(|| text.to_owned())
    };
    if let Some(common) = prefixes.longest_common_prefix().and_then(text) {
        return vec![common];
    }
    let Some(all) = prefixes.literals().filter(|all| all.len() <= REQUIRED_TEXTS_MAX) else {
        return Vec::new();
    };
    all.iter().map(|literal| text(literal.as_bytes())).collect::<Option<_>>().unwrap_or_default()
}

/// An expression with the groups of its last match.
#[derive(Debug)]
pub struct Groups {
    expression: Expression,
    backtracker: BoundedBacktracker,
    backtracker_cache: backtrack::Cache,
    /// For matches that are longer than the backtracker takes.
    any_length: PikeVM,
    any_length_cache: pikevm::Cache,
    slots: Vec<Option<NonMaxUsize>>,
}

impl Groups {
    /// Whether the expression matches somewhere in `text`; if so, the groups are set.
    #[must_use]
    pub fn find(&mut self, text: &[u8]) -> bool {
        let cache = &mut self.expression.cache.borrow_mut();
        let Some(found) = self.expression.regex.find(cache, text) else { return false };
        let input = Input::new(text).range(found.range()).anchored(Anchored::Yes);
        let slots = &mut self.slots;
        let short = self.backtracker.try_search_slots(&mut self.backtracker_cache, &input, slots);
        if short.is_err() {
            self.any_length.search_slots(&mut self.any_length_cache, &input, slots);
        }
        true
    }

    /// A group of the last match; empty where it took no part in it.
    #[must_use]
    pub fn text<'a>(&self, index: usize, text: &'a [u8]) -> &'a [u8] {
        let slot = |at: usize| self.slots.get(at).copied().flatten().map(NonMaxUsize::get);
        let span = slot(index * 2).zip(slot(index * 2 + 1));
        span.and_then(|(start, end)| text.get(start..end)).unwrap_or(&[])
    }

    /// The index of a group by its name or number.
    #[must_use]
    pub fn index(&self, name: &str) -> Option<usize> {
        let info = self.expression.nfa.group_info();
        let count = info.group_len(PatternID::ZERO);
        info.to_index(PatternID::ZERO, name)
            .or_else(|| name.parse().ok().filter(|index| *index < count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(pattern: &str, text: &str) -> Option<Vec<String>> {
        let mut groups = Expression::new(pattern).unwrap().groups().unwrap();
        let count = groups.expression.nfa.group_info().group_len(PatternID::ZERO);
        groups.find(text.as_bytes()).then(|| {
            let text = |index| String::from_utf8_lossy(groups.text(index, text.as_bytes())).into();
            (0..count).map(text).collect()
        })
    }

    #[test]
    fn groups_are_those_of_the_leftmost_match() {
        let found = |list: &[&str]| Some(list.iter().map(|text| (*text).to_owned()).collect());
        assert_eq!(groups(r"(\w+)=(\d+)", "x a=1 b=22"), found(&["a=1", "a", "1"]));
        assert_eq!(groups(r"(a)|(b)", "xb"), found(&["b", "", "b"]));
        assert_eq!(groups(r"(a|ab)(c|bcd)?", "abcd"), found(&["abcd", "a", "bcd"]));
        assert_eq!(groups(r"^(x)", "yx"), None);
        assert_eq!(groups(r"(?-u:\xff)|(é)", "é"), found(&["é", "é"]));
    }

    #[test]
    fn matches_of_any_length_have_groups() {
        let long = format!("<{}>", "x".repeat(1 << 20));
        let found = groups("<(x+)>", &long).unwrap();
        assert_eq!(found[1].len(), 1 << 20);
    }

    #[test]
    fn edges_and_cases_are_respected() {
        for (pattern, text, expected) in [
            (r"\bkill\b", "to kill it", true),
            (r"\bkill\b", "skills", false),
            (r"^a.*z$", "a to z", true),
            (r"^a.*z$", "a to zz!", false),
            (r"(?i)ERROR", "an Error", true),
            (r"a\nb", "a\nb", true),
            ("", "", true),
        ] {
            let expression = Expression::new(pattern).unwrap();
            assert_eq!(expression.is_match(text.as_bytes()), expected, "{pattern} {text}");
        }
    }
}
