//! The text of matches.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};

/// One match as configured; see the crate's documentation.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Match {
    /// Holds always.
    pub all: bool,
    /// Texts of which one is in the body.
    pub contains: Texts,
    /// Texts which are all in the body.
    pub contains_all: Texts,
    /// Globs of apps.
    pub app: Texts,
    /// Globs of programs.
    pub app_name: Texts,
    /// Globs of hosts.
    pub host: Texts,
    /// The mildest severity.
    pub severity: Option<Severity>,
    /// An expression that the body matches.
    pub regex: Option<String>,
    /// Values of fields by name.
    pub field: BTreeMap<String, Wanted>,
    /// Matches of which one holds.
    pub any: Vec<Self>,
    /// A match that does not hold.
    pub not: Option<Box<Self>>,
}

/// One text or a list of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts(pub Vec<String>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Texts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Texts, E> {
                Ok(Texts(vec![text.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Texts, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = list.next_element()? {
                    texts.push(text);
                }
                Ok(Texts(texts))
            }
        }
        deserializer.deserialize_any(Visit)
    }
}

/// A severity by keyword or number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Severity(pub u8);

impl<'de> Deserialize<'de> for Severity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl Visitor<'_> for Visit {
            type Value = Severity;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a severity: emerg, alert, crit, err, warning, notice, info, debug, or 0 to 7",
                )
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Severity, E> {
                let known = crate::SEVERITIES.iter().position(|keyword| *keyword == text);
                let known = known.or(match text {
                    "emergency" | "panic" => Some(0),
                    "critical" | "fatal" => Some(2),
                    "error" => Some(3),
                    "warn" => Some(4),
                    "information" | "informational" => Some(6),
                    _ => None,
                });
                let known = known.and_then(|index| u8::try_from(index).ok());
                known
                    .map(Severity)
                    .ok_or_else(|| de::Error::invalid_value(de::Unexpected::Str(text), &self))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Severity, E> {
                match u8::try_from(value) {
                    Ok(value) if value <= 7 => Ok(Severity(value)),
                    _ => Err(de::Error::invalid_value(de::Unexpected::Unsigned(value), &self)),
                }
            }
        }
        deserializer.deserialize_any(Visit)
    }
}

/// What a field must be.
#[derive(Clone, Debug, PartialEq)]
pub enum Wanted {
    /// True or false.
    Bool(bool),
    /// There, without a value.
    Null,
    /// This number, whole or not.
    Number(f64),
    /// One of these.
    OneOf(Vec<Self>),
    /// A number within these bounds, themselves included.
    Range {
        /// Not smaller than this.
        min: f64,
        /// Not larger than this.
        max: f64,
    },
    /// A text that this glob matches.
    Text(String),
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Bound {
    Min,
    Max,
}

impl<'de> Deserialize<'de> for Wanted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WantedVisit)
    }
}

struct WantedVisit;

impl<'de> Visitor<'de> for WantedVisit {
    type Value = Wanted;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, number, truth value, null, a list of these, or {\"min\", \"max\"}")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Wanted, E> {
        Ok(Wanted::Text(text.to_owned()))
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Wanted, E> {
        Ok(Wanted::Bool(value))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Wanted, E> {
        Ok(Wanted::Null)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Wanted, E> {
        Ok(Wanted::Number(value))
    }

    #[expect(clippy::cast_precision_loss, reason = "compared with floats as such")]
    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Wanted, E> {
        Ok(Wanted::Number(value as f64))
    }

    #[expect(clippy::cast_precision_loss, reason = "compared with floats as such")]
    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Wanted, E> {
        Ok(Wanted::Number(value as f64))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Wanted, A::Error> {
        let mut all = Vec::new();
        while let Some(wanted) = list.next_element()? {
            all.push(wanted);
        }
        Ok(Wanted::OneOf(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Wanted, A::Error> {
        let (mut min, mut max) = (f64::NEG_INFINITY, f64::INFINITY);
        while let Some(bound) = map.next_key()? {
            match bound {
                Bound::Min => min = map.next_value()?,
                Bound::Max => max = map.next_value()?,
            }
        }
        Ok(Wanted::Range { min, max })
    }
}
