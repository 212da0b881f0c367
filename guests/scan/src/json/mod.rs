//! JSON over slices (RFC 8259): the members of an object one by one, nested values as their text.
//!
//! What is nested is checked as strictly as what is not, without recursion.

use std::num::NonZeroUsize;

use crate::find::find_or_control;
use crate::{Number, Text};

/// Objects and arrays nested deeper than this are refused.
pub const DEPTH_MAX: u32 = 64;

/// A value of a member.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// An array as its text, brackets included.
    Array(&'a [u8]),
    /// True or false.
    Bool(bool),
    /// `null`.
    Null,
    /// A number.
    Number(Number),
    /// An object as its text, braces included.
    Object(&'a [u8]),
    /// A string.
    String(Text<'a>),
}

/// The text is not a JSON object, or nested too deeply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid;

/// The members of one object in order.
#[derive(Clone, Debug)]
pub struct Members<'a> {
    scanner: Scanner<'a>,
    is_first: bool,
}

impl<'a> Members<'a> {
    /// Begins with the members of the object that `text` is, white space around it aside.
    ///
    /// # Errors
    /// When `text` does not begin like an object.
    #[inline]
    pub fn new(text: &'a [u8]) -> Result<Self, Invalid> {
        let mut scanner = Scanner { text, at: 0 };
        scanner.skip_space();
        scanner.take(b'{')?;
        Ok(Self { scanner, is_first: true })
    }

    /// The next member; `None` behind the last, once the rest of the text has proved to be white
    /// space.
    ///
    /// # Errors
    /// Where the text is no JSON object; all members that were seen before are then void, too.
    #[inline(always)]
    #[expect(clippy::should_implement_trait, reason = "an iterator could not end with an error")]
    pub fn next(&mut self) -> Result<Option<(Text<'a>, Value<'a>)>, Invalid> {
        let mut scanner = self.scanner;
        scanner.skip_space();
        if scanner.peek() == Some(b'}') {
            scanner.at += 1;
            scanner.skip_space();
            return if scanner.at == scanner.text.len() { Ok(None) } else { Err(Invalid) };
        }
        if !self.is_first {
            scanner.take(b',')?;
            scanner.skip_space();
        }
        self.is_first = false;
        let member = (scanner.key()?, scanner.value()?);
        self.scanner = scanner;
        Ok(Some(member))
    }
}

/// A place in a text. What is on the way of every member is inlined and keeps this in registers;
/// what is called takes and gives numbers, as structures would go through memory.
#[derive(Clone, Copy, Debug)]
struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    #[inline(always)]
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    #[inline(always)]
    fn take(&mut self, byte: u8) -> Result<(), Invalid> {
        if self.peek() != Some(byte) {
            return Err(Invalid);
        }
        self.at += 1;
        Ok(())
    }

    #[inline(always)]
    fn skip_space(&mut self) {
        if let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at = space_end(self.text, self.at);
        }
    }

    /// A key with its colon and the space around that.
    #[inline(always)]
    fn key(&mut self) -> Result<Text<'a>, Invalid> {
        let key = self.string()?;
        self.skip_space();
        self.take(b':')?;
        self.skip_space();
        Ok(key)
    }

    #[inline(always)]
    fn string(&mut self) -> Result<Text<'a>, Invalid> {
        self.take(b'"')?;
        let start = self.at;
        let end = string_end(self.text, start).ok_or(Invalid)?;
        let (end, has_escapes) = (end.get() >> 1, end.get() & 1 != 0);
        let raw = self.text.get(start..end).ok_or(Invalid)?;
        self.at = end + 1;
        Ok(Text { raw, has_escapes })
    }

    #[inline(always)]
    fn value(&mut self) -> Result<Value<'a>, Invalid> {
        match self.peek() {
            Some(b'"') => Ok(Value::String(self.string()?)),
            Some(b'{') => Ok(Value::Object(self.nested()?)),
            Some(b'[') => Ok(Value::Array(self.nested()?)),
            Some(b't') => self.word(b"true").map(|()| Value::Bool(true)),
            Some(b'f') => self.word(b"false").map(|()| Value::Bool(false)),
            Some(b'n') => self.word(b"null").map(|()| Value::Null),
            _ => {
                let rest = self.text.get(self.at..).unwrap_or(&[]);
                let (number, len) = Number::leading(rest).ok_or(Invalid)?;
                self.at += len;
                Ok(Value::Number(number))
            }
        }
    }

    #[inline(always)]
    fn nested(&mut self) -> Result<&'a [u8], Invalid> {
        let start = self.at;
        self.at = nested_end(self.text, start).ok_or(Invalid)?.get();
        self.text.get(start..self.at).ok_or(Invalid)
    }

    #[inline]
    fn word(&mut self, word: &[u8]) -> Result<(), Invalid> {
        let rest = self.text.get(self.at..).unwrap_or(&[]);
        if !rest.starts_with(word) {
            return Err(Invalid);
        }
        self.at += word.len();
        Ok(())
    }

    #[inline]
    fn is_closed(&self, levels: u64) -> bool {
        self.peek() == Some(if levels & 1 != 0 { b'}' } else { b']' })
    }
}

#[cold]
fn space_end(text: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\t' | b'\n' | b'\r') = text.get(at) {
        at += 1;
    }
    at
}

/// Where the string ends of which the text begins at `at`: twice the position of the closing quote,
/// plus one if there are escapes. `None` when it has no end, or an escape or byte that JSON does
/// not allow.
#[inline(always)]
fn string_end(text: &[u8], at: usize) -> Option<NonZeroUsize> {
    let end = find_or_control(text, at, [b'"', b'\\']);
    match text.get(end) {
        Some(b'"') => NonZeroUsize::new(end << 1),
        Some(b'\\') => escaped_end(text, end),
        _ => None,
    }
}

/// The same from the first escape on.
#[inline(never)]
fn escaped_end(text: &[u8], mut at: usize) -> Option<NonZeroUsize> {
    loop {
        match text.get(at)? {
            b'"' => return NonZeroUsize::new(at << 1 | 1),
            b'\\' => at += escape_len(text.get(at + 1..)?)?.get(),
            _ => return None,
        }
        at = find_or_control(text, at, [b'"', b'\\']);
    }
}

/// The length of an escape with its backslash; `text` begins behind that.
fn escape_len(text: &[u8]) -> Option<NonZeroUsize> {
    match text {
        [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => NonZeroUsize::new(2),
        [b'u', a, b, c, d, ..] if [a, b, c, d].iter().all(|digit| digit.is_ascii_hexdigit()) => {
            NonZeroUsize::new(6)
        }
        _ => None,
    }
}

/// Where the object or array ends that begins at `at`; `None` when it is none or goes too deep.
#[inline(never)]
fn nested_end(text: &[u8], at: usize) -> Option<NonZeroUsize> {
    let mut scanner = Scanner { text, at };
    // One bit a level: set where the level is an object.
    let (mut levels, mut depth) = (0u64, 0);
    loop {
        match scanner.peek() {
            Some(open @ (b'{' | b'[')) => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return None;
                }
                levels = levels << 1 | u64::from(open == b'{');
                scanner.at += 1;
                scanner.skip_space();
                if !scanner.is_closed(levels) {
                    if levels & 1 != 0 {
                        scanner.key().ok()?;
                    }
                    continue;
                }
            }
            _ => drop(scanner.value().ok()?),
        }
        loop {
            scanner.skip_space();
            if !scanner.is_closed(levels) {
                break;
            }
            scanner.at += 1;
            levels >>= 1;
            depth -= 1;
            if depth == 0 {
                return NonZeroUsize::new(scanner.at);
            }
        }
        scanner.take(b',').ok()?;
        scanner.skip_space();
        if levels & 1 != 0 {
            scanner.key().ok()?;
        }
    }
}

#[cfg(test)]
mod tests;
