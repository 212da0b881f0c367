//! A quoted text as it was written, its escapes not yet undone.

/// What stood between two quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text<'a> {
    /// The bytes as they were written.
    pub raw: &'a [u8],
    /// Whether there is a backslash in them. If not, they are the text.
    pub has_escapes: bool,
}

impl<'a> Text<'a> {
    /// A text without escapes.
    #[must_use]
    pub fn plain(raw: &'a [u8]) -> Self {
        Self { raw, has_escapes: false }
    }

    /// Writes the text with its escapes undone. Halves of surrogate pairs that stand alone become
    /// U+FFFD; an escape that JSON does not have stands for the byte behind the backslash.
    pub fn unescape(self, out: &mut Vec<u8>) {
        let mut rest = self.raw;
        while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
            out.extend_from_slice(&rest[..at]);
            rest = escape(&rest[at + 1..], out);
        }
        out.extend_from_slice(rest);
    }
}

/// Writes what the escape stands for; `text` begins behind the backslash, and what is behind the
/// escape is returned.
fn escape<'a>(text: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    let Some((first, rest)) = text.split_first() else { return text };
    out.push(match first {
        b'n' => b'\n',
        b't' => b'\t',
        b'r' => b'\r',
        b'b' => 8,
        b'f' => 12,
        b'u' => return unicode(rest, out),
        other => *other,
    });
    rest
}

fn unicode<'a>(text: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    let Some(first) = hex(text) else {
        out.push(b'u');
        return text;
    };
    let mut rest = text.get(4..).unwrap_or(&[]);
    let mut code = first;
    if (0xd800..0xdc00).contains(&first) {
        let second = rest.strip_prefix(b"\\u").and_then(hex);
        if let Some(second) = second.filter(|second| (0xdc00..0xe000).contains(second)) {
            code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
            rest = rest.get(6..).unwrap_or(&[]);
        }
    }
    let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    rest
}

fn hex(text: &[u8]) -> Option<u32> {
    let digits = text.first_chunk::<4>()?;
    digits.iter().try_fold(0, |sum, digit| Some(sum << 4 | char::from(*digit).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::Text;

    #[test]
    fn escapes_are_undone() {
        for (raw, expected) in [
            (r"", ""),
            (r"plain", "plain"),
            (r#"a\"b\\c\/d"#, "a\"b\\c/d"),
            (r"\n\t\r\b\f", "\n\t\r\u{8}\u{c}"),
            (r"\u00e9\u20ac", "é€"),
            (r"\ud83d\ude00!", "😀!"),
            (r"\ud83d!", "\u{fffd}!"),
            (r"\ud83d\u0041", "\u{fffd}A"),
            (r"\ude00", "\u{fffd}"),
            (r"\u12", "u12"),
            (r"\x", "x"),
            (r"end\", "end"),
        ] {
            let mut out = Vec::new();
            Text { raw: raw.as_bytes(), has_escapes: true }.unescape(&mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{raw}");
        }
    }
}
