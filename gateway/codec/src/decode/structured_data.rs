//! STRUCTURED-DATA: the scanner that the decoder uses, and a view for everybody else.
//!
//! Both follow one grammar, that of RFC 5424 §6.3 with what best effort adds: values without
//! quotes, a bare `]` within quotes, more blanks, names of any length.

use std::borrow::Cow;
use std::ops::Range;

use super::{Expected, SD_NAME_BYTES_MAX};
use crate::scan::{name_end, value_stop};

/// What stands at a place inside an element.
pub(super) enum Step {
    /// A parameter: its name, its raw value without quotes, whether there were quotes, and where
    /// to go on.
    Param { name: Range<usize>, value: Range<usize>, is_quoted: bool, next: usize },
    /// The closing bracket; the element ends here.
    End(usize),
    /// Neither, from this byte on.
    Broken(usize),
}

/// What a scan noticed besides.
#[derive(Default)]
pub(super) struct Notes {
    /// The first break of the grammar that could be read over.
    pub(super) fault: Option<(usize, Expected)>,
    /// A backslash stands for itself somewhere.
    pub(super) has_bare_backslash: bool,
}

impl Notes {
    #[cold]
    fn fault(&mut self, at: usize, expected: Expected) {
        self.fault.get_or_insert((at, expected));
    }
}

/// Reads `[` and an SD-ID at `at`: where the SD-ID ends.
#[inline]
pub(super) fn open(bytes: &[u8], at: usize, notes: &mut Notes) -> Option<usize> {
    if bytes.get(at) != Some(&b'[') {
        return None;
    }
    let end = name_end(bytes, at + 1);
    if end - at > SD_NAME_BYTES_MAX + 1 {
        notes.fault(at + 1 + SD_NAME_BYTES_MAX, Expected::SdName);
    }
    (end > at + 1).then_some(end)
}

/// Reads what follows an SD-ID or a parameter.
#[inline]
pub(super) fn step(bytes: &[u8], at: usize, notes: &mut Notes) -> Step {
    let mut name = at + 1;
    match bytes.get(at) {
        Some(b' ') => {}
        Some(b']') => return Step::End(at + 1),
        _ => return Step::Broken(at),
    }
    while bytes.get(name) == Some(&b' ') {
        notes.fault(name, Expected::SdName);
        name += 1;
    }
    if bytes.get(name) == Some(&b']') {
        notes.fault(name, Expected::SdName);
        return Step::End(name + 1);
    }
    let end = name_end(bytes, name);
    if end == name || bytes.get(end) != Some(&b'=') {
        return Step::Broken(end);
    }
    if end - name > SD_NAME_BYTES_MAX {
        notes.fault(name + SD_NAME_BYTES_MAX, Expected::SdName);
    }
    let name = name..end;
    if bytes.get(end + 1) == Some(&b'"') {
        return match quoted(bytes, end + 2, notes) {
            Some(close) => {
                Step::Param { name, value: end + 2..close, is_quoted: true, next: close + 1 }
            }
            None => Step::Broken(bytes.len()),
        };
    }
    notes.fault(end + 1, Expected::ParamValue);
    let mut stop = end + 1;
    while bytes.get(stop).is_some_and(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b']')) {
        stop += 1;
    }
    Step::Param { name, value: end + 1..stop, is_quoted: false, next: stop }
}

/// Finds the closing quote of a value that starts at `at`.
#[inline]
fn quoted(bytes: &[u8], mut at: usize, notes: &mut Notes) -> Option<usize> {
    loop {
        at = value_stop(bytes, at)?;
        match bytes[at] {
            b'"' => return Some(at),
            b']' => {
                notes.fault(at, Expected::ParamValue);
                at += 1;
            }
            _ if matches!(bytes.get(at + 1), Some(b'"' | b'\\' | b']')) => at += 2,
            _ => {
                notes.has_bare_backslash = true;
                at += 1;
            }
        }
    }
}

/// The elements of STRUCTURED-DATA as a record's column holds it, brackets included. Stops at what
/// is not an element.
#[must_use]
pub fn structured_data(bytes: &[u8]) -> Elements<'_> {
    Elements { bytes, at: 0 }
}

/// See [`structured_data`].
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        let mut notes = Notes::default();
        let id_end = open(self.bytes, self.at, &mut notes)?;
        let id = &self.bytes[self.at + 1..id_end];
        let mut at = id_end;
        loop {
            match step(self.bytes, at, &mut notes) {
                Step::Param { next, .. } => at = next,
                Step::End(end) => {
                    self.at = end;
                    return Some(Element { id, params: &self.bytes[id_end..end] });
                }
                Step::Broken(_) => {
                    self.at = self.bytes.len();
                    return None;
                }
            }
        }
    }
}

/// One element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element<'a> {
    /// SD-ID.
    pub id: &'a [u8],
    /// Its parameters with the blank before each, and the closing bracket.
    params: &'a [u8],
}

impl<'a> Element<'a> {
    /// The parameters in their order; a name may come more than once.
    #[must_use]
    pub fn params(&self) -> Params<'a> {
        Params { bytes: self.params, at: 0 }
    }
}

/// See [`Element::params`].
#[derive(Clone, Debug)]
pub struct Params<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Params<'a> {
    type Item = Param<'a>;

    fn next(&mut self) -> Option<Param<'a>> {
        match step(self.bytes, self.at, &mut Notes::default()) {
            Step::Param { name, value, is_quoted, next } => {
                self.at = next;
                Some(Param { name: &self.bytes[name], raw: &self.bytes[value], is_quoted })
            }
            Step::End(_) | Step::Broken(_) => None,
        }
    }
}

/// One parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param<'a> {
    /// PARAM-NAME.
    pub name: &'a [u8],
    /// PARAM-VALUE as it came, without the quotes, escapes kept.
    pub raw: &'a [u8],
    /// Whether it stood in quotes.
    pub is_quoted: bool,
}

impl<'a> Param<'a> {
    /// The value in pieces of which none holds an escape; joined they are the value.
    #[must_use]
    pub fn pieces(&self) -> Pieces<'a> {
        let plain = if self.is_quoted { 0 } else { self.raw.len() };
        Pieces { rest: self.raw, plain }
    }

    /// The value without escapes; allocates only if there are some.
    #[must_use]
    pub fn value(&self) -> Cow<'a, [u8]> {
        let mut pieces = self.pieces();
        let first = pieces.next().unwrap_or(&[]);
        match pieces.next() {
            None => Cow::Borrowed(first),
            Some(second) => {
                let mut value = [first, second].concat();
                pieces.for_each(|piece| value.extend_from_slice(piece));
                Cow::Owned(value)
            }
        }
    }
}

/// See [`Param::pieces`].
#[derive(Clone, Debug)]
pub struct Pieces<'a> {
    rest: &'a [u8],
    /// Bytes at the head of `rest` that an escape made plain.
    plain: usize,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let mut at = self.plain;
        while let Some(found) = memchr::memchr(b'\\', self.rest.get(at..)?) {
            at += found;
            if !matches!(self.rest.get(at + 1), Some(b'"' | b'\\' | b']')) {
                at += 1;
                continue;
            }
            let piece = &self.rest[..at];
            (self.rest, self.plain) = (&self.rest[at + 1..], 1);
            if !piece.is_empty() {
                return Some(piece);
            }
            at = 1;
        }
        let piece = std::mem::take(&mut self.rest);
        self.plain = 0;
        (!piece.is_empty()).then_some(piece)
    }
}
