//! The parts of an access log line.

use guest_scan::find;

use crate::quoted_end;

/// One line of the common or combined format, taken apart but not judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    pub(crate) client: &'a [u8],
    /// Empty where there is none.
    pub(crate) user: &'a [u8],
    /// Between the brackets.
    pub(crate) time: &'a [u8],
    /// Between the quotes.
    pub(crate) request: &'a [u8],
    pub(crate) status: i64,
    pub(crate) bytes: i64,
    /// Referer and user agent, in the combined format.
    pub(crate) agent: Option<[&'a [u8]; 2]>,
}

impl<'a> Line<'a> {
    #[inline]
    pub(crate) fn split(text: &'a [u8]) -> Option<Self> {
        let blank = find(text, 0, [b' ']);
        let client = text.get(..blank).filter(|client| !client.is_empty())?;
        // The ident is always `-` since the nineties, and so is mostly the user. User names may
        // hold blanks, so it is the bracket that ends them.
        let rest = text.get(blank..)?;
        let (user, rest) = match rest {
            [b' ', b'-', b' ', b'-', b' ', b'[', rest @ ..] => (&rest[..0], rest),
            _ => user(rest)?,
        };
        // The time has a fixed length, so its end is where its start says.
        let close = if rest.get(26) == Some(&b']') { 26 } else { find(rest, 0, [b']']) };
        let time = rest.get(..close)?;
        let rest = rest.get(close..)?.strip_prefix(b"] \"")?;
        let end = quoted_end(rest)?;
        let request = rest.get(..end)?;
        let rest = rest.get(end..)?.strip_prefix(b"\" ")?;
        let (status, rest) = status(rest)?;
        let (bytes, rest) = bytes(rest)?;
        Some(Self { client, user, time, request, status, bytes, agent: agent(rest) })
    }
}

/// The user of ` ident user [`, empty for `-`, and what is behind the bracket.
fn user(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let open = find(text, 0, [b'[']);
    let names = text.get(1..open)?.strip_suffix(b" ")?;
    let user = names.get(find(names, 0, [b' ']) + 1..).filter(|user| !user.is_empty())?;
    let user = if user == b"-" { &[] } else { user };
    Some((user, text.get(open + 1..)?))
}

#[inline(always)]
fn status(text: &[u8]) -> Option<(i64, &[u8])> {
    let [a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', b' ', rest @ ..] = text else {
        return None;
    };
    let digit = |byte: u8| i64::from(byte & 15);
    Some((digit(*a) * 100 + digit(*b) * 10 + digit(*c), rest))
}

#[inline(always)]
fn bytes(text: &[u8]) -> Option<(i64, &[u8])> {
    if let Some(rest) = text.strip_prefix(b"-") {
        return (rest.is_empty() || rest[0] == b' ').then_some((0, rest));
    }
    // Eighteen digits fit; to check each product would be a call of a 128-bit multiplication.
    let mut value = 0i64;
    let mut count = 0;
    while let Some(byte @ b'0'..=b'9') = text.get(count) {
        value = value.wrapping_mul(10).wrapping_add(i64::from(byte & 15));
        count += 1;
    }
    let rest = text.get(count..)?;
    let is_number = (1..=18).contains(&count);
    (is_number && (rest.is_empty() || rest[0] == b' ')).then_some((value, rest))
}

/// Referer and user agent of ` "referer" "user agent"`.
#[inline(always)]
fn agent(text: &[u8]) -> Option<[&[u8]; 2]> {
    let rest = text.strip_prefix(b" \"")?;
    let end = quoted_end(rest)?;
    let referer = rest.get(..end)?;
    let rest = rest.get(end..)?.strip_prefix(b"\" \"")?;
    let user_agent = rest.get(..quoted_end(rest)?)?;
    Some([referer, user_agent])
}
