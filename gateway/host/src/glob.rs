//! Globs over tenant keys and program names: `*` any run of bytes, `?` one byte.

/// One glob. Matching is linear in the text for one `*`, and bounded by text × pattern in all.
#[derive(Clone, PartialEq, Eq)]
pub struct Glob {
    pattern: Vec<u8>,
    is_literal: bool,
}

impl std::fmt::Debug for Glob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.pattern))
    }
}

impl Glob {
    /// Takes any text; there is no invalid glob.
    #[must_use]
    pub fn new(pattern: &str) -> Self {
        let is_literal = !pattern.contains(['*', '?']);
        Self { pattern: pattern.as_bytes().to_vec(), is_literal }
    }

    /// Whether the whole of `text` matches.
    #[must_use]
    pub fn matches(&self, text: &[u8]) -> bool {
        if self.is_literal {
            return self.pattern == text;
        }
        let (mut at, mut in_pattern) = (0, 0);
        let mut star: Option<(usize, usize)> = None;
        while at < text.len() {
            match self.pattern.get(in_pattern) {
                Some(b'*') => {
                    star = Some((in_pattern, at));
                    in_pattern += 1;
                }
                Some(byte) if *byte == b'?' || *byte == text[at] => {
                    at += 1;
                    in_pattern += 1;
                }
                _ => {
                    let Some((star_at, taken)) = star else { return false };
                    star = Some((star_at, taken + 1));
                    (at, in_pattern) = (taken + 1, star_at + 1);
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
    fn stars_and_marks_match_as_in_a_shell() {
        for (pattern, text, expected) in [
            ("web", "web", true),
            ("web", "web2", false),
            ("*", "", true),
            ("web-*", "web-shop", true),
            ("*-shop", "web-shop", true),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b*", "xxbxxaxx", false),
            ("w?b", "web", true),
            ("w?b", "wb", false),
            ("**", "anything", true),
            ("a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaa", false),
        ] {
            assert_eq!(Glob::new(pattern).matches(text.as_bytes()), expected, "{pattern} {text}");
        }
    }
}
