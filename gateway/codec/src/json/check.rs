//! Whether bytes are one JSON value: a guest's word for it is not enough to splice them in.
//!
//! RFC 8259, on constant stack: nesting is a stack of bits, at most [`DEPTH_MAX`] deep.

/// Deepest nesting of a value that is taken as it is.
const DEPTH_MAX: u32 = 128;

/// Whether `bytes` are one JSON value in UTF-8, blanks around it allowed.
pub(crate) fn is_json(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok() && Check { bytes, at: 0 }.run().is_some()
}

struct Check<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Check<'_> {
    /// `None` at the first byte that does not fit.
    fn run(&mut self) -> Option<()> {
        // One bit for each open bracket, the innermost lowest: 1 for an object.
        let (mut open, mut depth) = (0u128, 0u32);
        'value: loop {
            self.blanks();
            match self.next()? {
                bracket @ (b'{' | b'[') => {
                    if depth == DEPTH_MAX {
                        return None;
                    }
                    let is_object = bracket == b'{';
                    self.blanks();
                    if self.take(if is_object { b'}' } else { b']' }).is_none() {
                        (open, depth) = (open << 1 | u128::from(is_object), depth + 1);
                        if is_object {
                            self.key()?;
                        }
                        continue 'value;
                    }
                }
                b'"' => self.string()?,
                b't' => self.word(b"rue")?,
                b'f' => self.word(b"alse")?,
                b'n' => self.word(b"ull")?,
                first @ (b'-' | b'0'..=b'9') => self.number(first)?,
                _ => return None,
            }
            // A value has ended: close what closes, until a comma asks for another value.
            loop {
                self.blanks();
                if depth == 0 {
                    return (self.at == self.bytes.len()).then_some(());
                }
                let is_object = open & 1 == 1;
                match self.next()? {
                    b',' if is_object => {
                        self.key()?;
                        continue 'value;
                    }
                    b',' => continue 'value,
                    b'}' if is_object => {}
                    b']' if !is_object => {}
                    _ => return None,
                }
                (open, depth) = (open >> 1, depth - 1);
            }
        }
    }

    fn next(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.bytes.get(self.at) == Some(&byte)).then(|| self.at += 1)
    }

    fn blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    fn word(&mut self, rest: &[u8]) -> Option<()> {
        rest.iter().try_for_each(|byte| self.take(*byte))
    }

    fn key(&mut self) -> Option<()> {
        self.blanks();
        self.take(b'"')?;
        self.string()?;
        self.blanks();
        self.take(b':')
    }

    /// Behind the opening quote.
    fn string(&mut self) -> Option<()> {
        loop {
            match self.next()? {
                b'"' => return Some(()),
                b'\\' => match self.next()? {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                    b'u' => {
                        for _ in 0..4 {
                            self.next().filter(u8::is_ascii_hexdigit)?;
                        }
                    }
                    _ => return None,
                },
                0..0x20 => return None,
                _ => {}
            }
        }
    }

    fn number(&mut self, first: u8) -> Option<()> {
        let lead = if first == b'-' { self.next()? } else { first };
        match lead {
            b'0' => {}
            b'1'..=b'9' => {
                self.digits();
            }
            _ => return None,
        }
        if self.take(b'.').is_some() {
            self.digits().then_some(())?;
        }
        if self.take(b'e').or_else(|| self.take(b'E')).is_some() {
            if self.take(b'+').is_none() {
                self.take(b'-');
            }
            self.digits().then_some(())?;
        }
        Some(())
    }

    /// Whether there was a digit.
    fn digits(&mut self) -> bool {
        let start = self.at;
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        self.at > start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_rfc_8259_are_json() {
        for text in [
            "null",
            " true ",
            "false",
            "0",
            "-0",
            "-0.5e+10",
            "1E5",
            "\"\"",
            "\"a\\u00e9\\n\"",
            "[]",
            "{}",
            "[ ]",
            "{ }",
            "[1,[2,{\"a\":[]}]]",
            "{\"a\":1,\"b\":{\"c\":null}}",
            "\n[\r1\t]\n",
            "\"é\"",
        ] {
            assert!(is_json(text.as_bytes()), "{text}");
        }
        assert!(is_json(["[".repeat(128), "]".repeat(128)].concat().as_bytes()));
    }

    #[test]
    fn anything_else_is_not() {
        for text in [
            "",
            " ",
            "nul",
            "nulll",
            "01",
            "-",
            "1.",
            ".5",
            "1e",
            "+1",
            "'a'",
            "\"a",
            "\"\n\"",
            "\"\\x\"",
            "\"\\u12g4\"",
            "[1,]",
            "[,1]",
            "[1 2]",
            "{\"a\"}",
            "{\"a\":}",
            "{a:1}",
            "{\"a\":1,}",
            "[}",
            "{]",
            "[1]]",
            "1 2",
            "{\"a\":1}\n{\"b\":2}",
            "NaN",
            "[1",
        ] {
            assert!(!is_json(text.as_bytes()), "{text}");
        }
        assert!(!is_json(b"\"\xff\""));
        assert!(!is_json(["[".repeat(129), "]".repeat(129)].concat().as_bytes()));
    }
}
