//! Globs as the host's interest has them: `*` matches any run of bytes, `?` one byte.

/// One glob. Any text is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    pattern: Vec<u8>,
    is_literal: bool,
}

impl Glob {
    /// Takes the pattern.
    #[must_use]
    pub fn new(pattern: &str) -> Self {
        Self { pattern: pattern.as_bytes().to_vec(), is_literal: !pattern.contains(['*', '?']) }
    }

    /// Whether the whole of `text` matches.
    #[must_use]
    #[inline]
    pub fn matches(&self, text: &[u8]) -> bool {
        if self.is_literal { self.pattern == text } else { self.matches_wild(text) }
    }

    fn matches_wild(&self, text: &[u8]) -> bool {
        let (mut at, mut in_pattern) = (0, 0);
        let mut star: Option<(usize, usize)> = None;
        while let Some(byte) = text.get(at) {
            match self.pattern.get(in_pattern) {
                Some(b'*') => {
                    star = Some((in_pattern + 1, at));
                    in_pattern += 1;
                }
                Some(wanted) if *wanted == b'?' || wanted == byte => {
                    at += 1;
                    in_pattern += 1;
                }
                _ => {
                    // The last star takes one byte more.
                    let Some((behind_star, taken)) = star else { return false };
                    star = Some((behind_star, taken + 1));
                    (at, in_pattern) = (taken + 1, behind_star);
                }
            }
        }
        self.pattern.get(in_pattern..).unwrap_or(&[]).iter().all(|byte| *byte == b'*')
    }
}

#[cfg(test)]
mod tests {
    use super::Glob;

    #[test]
    fn globs_match_as_in_a_shell() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "x", false),
            ("web", "web", true),
            ("web", "web-1", false),
            ("web*", "web-1", true),
            ("*", "", true),
            ("*-shop", "web-shop", true),
            ("a*b*c", "a--b--b--c", true),
            ("a*b*c", "a--c--b", false),
            ("?", "", false),
            ("w?b", "wXb", true),
            ("*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
        ] {
            assert_eq!(Glob::new(pattern).matches(text.as_bytes()), expected, "{pattern} {text}");
        }
    }
}
