//! Whom a certificate is for.
//!
//! *Source*: RFC 5280 §4.1 for the certificate, RFC 4514 §2 for the text. Only the way to this one
//! field is read; whether the rest is in order, the verifier says.

use std::fmt::Write;

use super::validity::{EXPLICIT_0, Element, SEQUENCE, expect, first};

const SET: u8 = 0x31;
const OBJECT_ID: u8 = 0x06;
/// UTF-8, numeric, printable, teletex and IA5 strings.
const TEXTS: [u8; 5] = [0x0c, 0x12, 0x13, 0x14, 0x16];

/// Longest text in bytes; a longer one is cut.
const TEXT_BYTES_MAX: usize = 1024;

/// Short names of attributes, by their object identifiers. The last is in use, though not in the RFC.
const ATTRIBUTES: [(&[u8], &str); 10] = [
    (&[0x55, 4, 3], "CN"),
    (&[0x55, 4, 6], "C"),
    (&[0x55, 4, 7], "L"),
    (&[0x55, 4, 8], "ST"),
    (&[0x55, 4, 9], "STREET"),
    (&[0x55, 4, 10], "O"),
    (&[0x55, 4, 11], "OU"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1], "UID"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25], "DC"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1], "emailAddress"),
];

/// The subject of a certificate (DER), as `CN=edge-1,O=Example`; at most 1,024 bytes of it. None if
/// this is no certificate.
#[must_use]
pub fn subject(certificate: &[u8]) -> Option<String> {
    let (certificate, _) = expect(certificate, SEQUENCE)?;
    let (mut body, _) = expect(certificate, SEQUENCE)?;
    if let Some((_, rest)) = expect(body, EXPLICIT_0) {
        body = rest;
    }
    // Serial number, signature algorithm, issuer, validity.
    for _ in 0..4 {
        body = first(body)?.rest;
    }
    let (mut names, _) = expect(body, SEQUENCE)?;
    let mut relative = Vec::new();
    while !names.is_empty() {
        let (set, rest) = expect(names, SET)?;
        relative.push(relative_name(set)?);
        names = rest;
    }
    // The most particular comes last in the certificate, and first in the text.
    relative.reverse();
    let mut text = relative.join(",");
    if text.len() > TEXT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
    }
    Some(text)
}

/// The attributes of one level, joined by `+`.
fn relative_name(mut set: &[u8]) -> Option<String> {
    let mut text = String::new();
    while !set.is_empty() {
        let (attribute, rest) = expect(set, SEQUENCE)?;
        set = rest;
        let (id, value) = expect(attribute, OBJECT_ID)?;
        if !text.is_empty() {
            text.push('+');
        }
        match ATTRIBUTES.iter().find(|(known, _)| *known == id) {
            Some((_, name)) => text.push_str(name),
            None => dotted(id, &mut text),
        }
        text.push('=');
        let Element { tag, content, .. } = first(value)?;
        if TEXTS.contains(&tag) {
            escaped(&String::from_utf8_lossy(content), &mut text);
        } else {
            text.push('#');
            value.iter().for_each(|byte| hex(*byte, &mut text));
        }
    }
    Some(text)
}

/// *Source*: RFC 4514 §2.4. Control characters are escaped too, which it allows.
fn escaped(value: &str, text: &mut String) {
    let last = value.chars().count().saturating_sub(1);
    for (index, c) in value.chars().enumerate() {
        let is_edge = (c == ' ' && (index == 0 || index == last)) || (c == '#' && index == 0);
        if c.is_control() {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                text.push('\\');
                hex(byte, text);
            }
            continue;
        }
        if is_edge || "\"+,;<>\\".contains(c) {
            text.push('\\');
        }
        text.push(c);
    }
}

/// An object identifier in numbers. *Source*: X.690 §8.19.
fn dotted(id: &[u8], text: &mut String) {
    let mut number: u64 = 0;
    let mut is_first = true;
    for byte in id {
        number = number.wrapping_shl(7) | u64::from(byte & 0x7f);
        if byte & 0x80 != 0 {
            continue;
        }
        if is_first {
            let root = (number / 40).min(2);
            // Writing to a `String` does not fail.
            write!(text, "{root}.{}", number - 40 * root).unwrap_or_default();
            is_first = false;
        } else {
            write!(text, ".{number}").unwrap_or_default();
        }
        number = 0;
    }
}

fn hex(byte: u8, text: &mut String) {
    // Writing to a `String` does not fail.
    write!(text, "{byte:02x}").unwrap_or_default();
}
