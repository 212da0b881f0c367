//! Configuration keywords and the error for an unknown one.

use std::fmt;

/// A configuration word that names none of the choices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownKeyword {
    /// What the word was to choose, such as `framing`.
    pub what: &'static str,
    /// The word.
    pub found: String,
    /// The words that are known.
    pub allowed: &'static [&'static str],
}

impl fmt::Display for UnknownKeyword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "unknown {} `{}`, allowed: {}",
            self.what,
            self.found.escape_default(),
            self.allowed.join(", ")
        )
    }
}

impl std::error::Error for UnknownKeyword {}

/// Looks `word` up in two parallel lists.
pub(crate) fn choose<T: Copy>(
    what: &'static str,
    word: &str,
    allowed: &'static [&'static str],
    values: &[T],
) -> Result<T, UnknownKeyword> {
    let position = allowed.iter().position(|known| *known == word);
    position.and_then(|at| values.get(at).copied()).ok_or_else(|| UnknownKeyword {
        what,
        found: word.to_owned(),
        allowed,
    })
}

#[cfg(test)]
mod tests {
    use crate::decode::{Format, Mode};
    use crate::encode::{WireFormat, WireFraming};
    use crate::framing::{Framing, Oversize};

    #[test]
    fn each_keyword_reads_back_as_its_choice() {
        for choice in [Framing::Auto, Framing::Octet, Framing::Lf, Framing::Nul] {
            assert_eq!(choice.keyword().parse(), Ok(choice));
        }
        for choice in [Oversize::Truncate, Oversize::Reject] {
            assert_eq!(choice.keyword().parse(), Ok(choice));
        }
        for choice in [Format::Auto, Format::Rfc5424, Format::Rfc3164] {
            assert_eq!(choice.keyword().parse(), Ok(choice));
        }
        for choice in [Mode::BestEffort, Mode::Strict] {
            assert_eq!(choice.keyword().parse(), Ok(choice));
        }
        for choice in [WireFormat::Rfc5424, WireFormat::Rfc3164] {
            assert_eq!(choice.keyword().parse(), Ok(choice));
        }
        for choice in [WireFraming::Octet, WireFraming::Lf] {
            assert_eq!(choice.keyword().parse(), Ok(choice));
        }
    }

    #[test]
    fn an_unknown_keyword_is_told_with_what_is_allowed() {
        let error = "Octet".parse::<Framing>().unwrap_err();
        assert_eq!(error.to_string(), "unknown framing `Octet`, allowed: auto, octet, lf, nul");
    }
}
