//! One match, compiled.

use logboom_guest::{FieldId, Glob, Record, Value};

use crate::config::{Match, Wanted};
use crate::expression::{Expression, required_texts};
use crate::literals::LiteralSet;

/// Keywords of the severities 0 to 7.
pub const SEVERITIES: [&str; 8] =
    ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];

/// The keyword of a severity; values above 7 read as `debug`.
#[must_use]
pub fn severity_keyword(severity: u8) -> &'static str {
    SEVERITIES[usize::from(severity.min(7))]
}

/// One match, compiled: the texts it needs as sets, everything else behind a pointer.
#[derive(Debug)]
pub(crate) struct Condition {
    /// One of these texts is there, unless there are none of them.
    any: LiteralSet,
    /// All of these texts are there.
    all: LiteralSet,
    rest: Option<Box<Rest>>,
}

#[derive(Debug)]
struct Rest {
    severity: u8,
    apps: Vec<Glob>,
    app_names: Vec<Glob>,
    hosts: Vec<Glob>,
    fields: Vec<(FieldId, Test)>,
    regex: Option<Expression>,
    alternatives: Vec<Condition>,
    not: Option<Condition>,
}

#[derive(Debug)]
enum Test {
    Bool(bool),
    Null,
    OneOf(Vec<Self>),
    Range(f64, f64),
    Text(Glob),
}

/// What all matches of a set share while they are compiled.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// The texts by index.
    pub(crate) literals: Vec<String>,
    /// Names of fields that are looked at.
    pub(crate) fields: Vec<String>,
}

impl Condition {
    /// Compiles a match; `place` says where in the configuration it stands.
    pub(crate) fn compile(from: &Match, place: &str, shared: &mut Shared) -> Result<Self, String> {
        if *from == Match::default() {
            return Err(format!("{place} has no condition; `\"all\": true` matches everything"));
        }
        let mut set = |texts: &[String], key: &str| {
            let mut set = LiteralSet::default();
            for text in texts {
                if text.is_empty() {
                    return Err(format!("{place}.{key} has an empty text, which is everywhere"));
                }
                set.insert(position(&mut shared.literals, text));
            }
            Ok(set)
        };
        let mut any = set(&from.contains.0, "contains")?;
        let all = set(&from.contains_all.0, "contains_all")?;
        if any.is_empty() {
            any = set(&regex_texts(from), "regex")?;
        }
        let plain = Match {
            all: from.all,
            contains: from.contains.clone(),
            contains_all: from.contains_all.clone(),
            ..Match::default()
        };
        let rest = if *from == plain { None } else { Some(rest(from, place, shared)?) };
        Ok(Self { any, all, rest: rest.map(Box::new) })
    }

    /// Whether it can only hold where one of its texts is in the body.
    pub(crate) fn needs_literal(&self) -> bool {
        !self.any.is_empty() || !self.all.is_empty()
    }

    #[inline]
    pub(crate) fn holds(&self, record: &Record<'_>, found: &LiteralSet) -> bool {
        (self.any.is_empty() || self.any.meets(found))
            && self.all.is_within(found)
            && self.rest.as_ref().is_none_or(|rest| rest.holds(record, found))
    }

    pub(crate) fn take_regex(&mut self) -> Option<Expression> {
        self.rest.as_mut()?.regex.take()
    }
}

/// What a match's expression needs to find in a body.
pub(crate) fn regex_texts(from: &Match) -> Vec<String> {
    from.regex.as_deref().map(required_texts).unwrap_or_default()
}

impl Rest {
    fn holds(&self, record: &Record<'_>, found: &LiteralSet) -> bool {
        let any = |globs: &[Glob], text: &[u8]| {
            globs.is_empty() || globs.iter().any(|glob| glob.matches(text))
        };
        record.severity() <= self.severity
            && any(&self.apps, record.app())
            && any(&self.app_names, record.app_name())
            && any(&self.hosts, record.host())
            && self.fields.iter().all(|(id, test)| test.passes(record.field(*id)))
            && (self.alternatives.is_empty()
                || self.alternatives.iter().any(|other| other.holds(record, found)))
            && self.not.as_ref().is_none_or(|not| !not.holds(record, found))
            && self.regex.as_ref().is_none_or(|regex| regex.is_match(record.body()))
    }
}

impl Test {
    fn new(from: &Wanted) -> Self {
        match from {
            Wanted::Bool(value) => Self::Bool(*value),
            Wanted::Null => Self::Null,
            Wanted::Number(value) => Self::Range(*value, *value),
            Wanted::OneOf(list) => Self::OneOf(list.iter().map(Self::new).collect()),
            Wanted::Range { min, max } => Self::Range(*min, *max),
            Wanted::Text(glob) => Self::Text(Glob::new(glob)),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "bounds are floats")]
    fn passes(&self, value: Option<Value<'_>>) -> bool {
        let Some(value) = value else { return false };
        match (self, value) {
            (Self::OneOf(tests), value) => tests.iter().any(|test| test.passes(Some(value))),
            (Self::Text(glob), Value::Text(text)) => glob.matches(text),
            (Self::Range(min, max), Value::Integer(number)) => {
                (*min..=*max).contains(&(number as f64))
            }
            (Self::Range(min, max), Value::Float(number)) => (*min..=*max).contains(&number),
            (Self::Bool(wanted), Value::Bool(value)) => *wanted == value,
            (Self::Null, Value::Null) => true,
            _ => false,
        }
    }
}

fn rest(from: &Match, place: &str, shared: &mut Shared) -> Result<Rest, String> {
    let globs = |texts: &[String]| texts.iter().map(|text| Glob::new(text)).collect();
    let mut fields = Vec::new();
    for (name, wanted) in &from.field {
        position(&mut shared.fields, name);
        fields.push((FieldId::intern(name), Test::new(wanted)));
    }
    let regex = from.regex.as_deref().map(Expression::new).transpose();
    let regex = regex.map_err(|error| format!("{place}.regex: {error}"))?;
    let mut alternatives = Vec::new();
    for (index, other) in from.any.iter().enumerate() {
        alternatives.push(Condition::compile(other, &format!("{place}.any[{index}]"), shared)?);
    }
    let not = match &from.not {
        Some(not) => Some(Condition::compile(not, &format!("{place}.not"), shared)?),
        None => None,
    };
    Ok(Rest {
        severity: from.severity.map_or(u8::MAX, |severity| severity.0),
        apps: globs(&from.app.0),
        app_names: globs(&from.app_name.0),
        hosts: globs(&from.host.0),
        fields,
        regex,
        alternatives,
        not,
    })
}

fn position(list: &mut Vec<String>, text: &str) -> usize {
    list.iter().position(|known| known == text).unwrap_or_else(|| {
        list.push(text.to_owned());
        list.len() - 1
    })
}
