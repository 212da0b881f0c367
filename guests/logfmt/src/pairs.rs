//! The words of a logfmt text.

use guest_scan::{Text, find};

/// One word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pair<'a> {
    pub(crate) key: &'a [u8],
    /// `None` for a key without `=`.
    pub(crate) value: Option<Text<'a>>,
    pub(crate) is_quoted: bool,
}

/// The words of a text in order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pairs<'a> {
    rest: &'a [u8],
}

impl<'a> Pairs<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self { rest: text }
    }

    /// The next word, `Some(None)` behind the last; `None` where the text is not logfmt.
    #[inline]
    #[expect(clippy::option_option, reason = "not logfmt, no more, one more")]
    pub(crate) fn next(&mut self) -> Option<Option<Pair<'a>>> {
        while let [b' ' | b'\t' | b'\n' | b'\r', rest @ ..] = self.rest {
            self.rest = rest;
        }
        if self.rest.is_empty() {
            return Some(None);
        }
        let (key, rest) = self.rest.split_at(key_len(self.rest));
        if key.is_empty() {
            return None;
        }
        self.rest = rest;
        match rest {
            [] | [b' ' | b'\t' | b'\n' | b'\r', ..] => {
                Some(Some(Pair { key, value: None, is_quoted: false }))
            }
            [b'=', b'"', rest @ ..] => {
                let (text, rest) = quoted(rest)?;
                self.rest = rest;
                Some(Some(Pair { key, value: Some(text), is_quoted: true }))
            }
            [b'=', rest @ ..] => {
                let end = find(rest, 0, [b' ', b'"']);
                let (raw, rest) = rest.split_at(end);
                if rest.first() == Some(&b'"') {
                    return None;
                }
                self.rest = rest;
                let raw = raw.trim_ascii_end();
                Some(Some(Pair { key, value: Some(Text::plain(raw)), is_quoted: false }))
            }
            _ => None,
        }
    }
}

/// The length of the key at the start of a text: up to `=`, a blank, or a byte that is in no key.
#[inline]
fn key_len(text: &[u8]) -> usize {
    text.iter().take_while(|byte| IN_KEY[usize::from(**byte)]).count()
}

/// Which bytes keys are made of: letters, digits, some signs, and all that is not ASCII.
const IN_KEY: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0u8;
    loop {
        table[byte as usize] = byte.is_ascii_alphanumeric()
            || byte >= 0x80
            || matches!(
                byte,
                b'_' | b'-'
                    | b'.'
                    | b'/'
                    | b'@'
                    | b'%'
                    | b':'
                    | b'+'
                    | b'#'
                    | b'$'
                    | b'*'
                    | b'['
                    | b']'
            );
        if byte == u8::MAX {
            break table;
        }
        byte += 1;
    }
};

/// What is in quotes, and what is behind; `text` begins behind the first quote. A word must end
/// there.
#[inline]
fn quoted(text: &[u8]) -> Option<(Text<'_>, &[u8])> {
    let mut at = find(text, 0, [b'"', b'\\']);
    let mut has_escapes = false;
    while *text.get(at)? == b'\\' {
        has_escapes = true;
        at = find(text, at + 2, [b'"', b'\\']);
    }
    let (raw, rest) = text.split_at_checked(at)?;
    let rest = rest.get(1..)?;
    let is_end = matches!(rest.first(), None | Some(b' ' | b'\t' | b'\n' | b'\r'));
    is_end.then_some((Text { raw, has_escapes }, rest))
}
