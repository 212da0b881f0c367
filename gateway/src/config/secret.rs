//! Values that no log, no error and no `Debug` may show.

use std::fmt;

/// A secret text. Its content leaves only by [`Secret::expose`].
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Holds a text from now on.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The content, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether this is the secret. The time it takes tells only the length of what was shown.
    #[must_use]
    pub fn matches(&self, shown: &[u8]) -> bool {
        let secret = self.0.as_bytes();
        // Walks over what was shown, whatever the secret's length, and never stops early.
        let difference = shown.iter().enumerate().fold(0u8, |difference, (index, byte)| {
            let own = secret.get(index % secret.len().max(1)).copied().unwrap_or_default();
            std::hint::black_box(difference | (own ^ byte))
        });
        (difference == 0) & (shown.len() == secret.len())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Why a text with `${env:NAME}` in it gave no secret. None of these shows any of its content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The text, or the variable it names, is empty.
    #[error("is empty; leave the key out to have no secret")]
    Empty,
    /// The environment has no such variable, or its value is not UTF-8.
    #[error("needs the environment variable {0}, which is not set")]
    NotSet(String),
    /// A reference that does not end, or whose name is no name.
    #[error(
        "has a reference that cannot be read; allowed: ${{env:NAME}}, NAME of letters, digits and _"
    )]
    Reference,
}

/// Puts the environment's values in the place of each `${env:NAME}`.
pub(super) fn expand(
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Secret, SecretError> {
    let mut value = String::new();
    let mut rest = text;
    while let Some((before, from)) = rest.split_once("${") {
        value.push_str(before);
        let name = from.strip_prefix("env:").and_then(|from| from.split_once('}'));
        let Some((name, after)) = name else { return Err(SecretError::Reference) };
        let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && name.starts_with(|c: char| !c.is_ascii_digit());
        if !is_name {
            return Err(SecretError::Reference);
        }
        let found = env(name).ok_or_else(|| SecretError::NotSet(name.to_owned()))?;
        if found.is_empty() {
            return Err(SecretError::Empty);
        }
        value.push_str(&found);
        rest = after;
    }
    value.push_str(rest);
    if value.is_empty() { Err(SecretError::Empty) } else { Ok(Secret(value)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "KEY" => Some("s3cret".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn references_are_replaced_and_all_else_is_kept() {
        let check = |text: &str, expected: Result<&str, SecretError>| {
            let found = expand(text, &env);
            assert_eq!(found.as_ref().map(Secret::expose), expected.as_ref().copied(), "{text}");
        };
        check("${env:KEY}", Ok("s3cret"));
        check("a-${env:KEY}-${env:KEY}$", Ok("a-s3cret-s3cret$"));
        check("plain", Ok("plain"));
        check("", Err(SecretError::Empty));
        check("${env:EMPTY}", Err(SecretError::Empty));
        check("a${env:EMPTY}", Err(SecretError::Empty));
        check("${env:OTHER}", Err(SecretError::NotSet("OTHER".to_owned())));
        check("${env:KEY", Err(SecretError::Reference));
        check("${env:}", Err(SecretError::Reference));
        check("${env:1A}", Err(SecretError::Reference));
        check("${KEY}", Err(SecretError::Reference));
    }

    #[test]
    fn a_secret_is_matched_whole_and_never_shown() {
        let secret = Secret::new("s3cret".to_owned());
        assert!(secret.matches(b"s3cret"));
        for shown in [&b""[..], b"s", b"s3cres", b"s3crets3cret", b"S3CRET"] {
            assert!(!secret.matches(shown), "{shown:?}");
        }
        assert!(!Secret::new(String::new()).matches(b"x"));
        assert!(!format!("{secret:?}").contains("s3cret"));
    }
}
