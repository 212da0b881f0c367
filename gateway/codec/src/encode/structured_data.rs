//! Structured data written anew, and the joining of elements with one SD-ID.

use crate::decode::{Elements, Param, Params, SD_NAME_BYTES_MAX, structured_data};
use crate::scan::is_name_byte;

/// Of a list, this many different names are remembered to find those that come again: it bounds
/// the work that a hostile record can make. More than a decoder remembers.
const NAMES_MAX: usize = 16;

/// Appends elements in valid form.
pub(super) fn push_structured_data(data: &[u8], out: &mut Vec<u8>) {
    each_group(data, same_name, |group| {
        out.push(b'[');
        push_name(group.id, out);
        for param in group {
            out.push(b' ');
            push_name(param.name, out);
            out.extend_from_slice(b"=\"");
            push_value(&param, out);
            out.push(b'"');
        }
        out.push(b']');
    });
}

/// Calls `write` for the first element of each SD-ID, with the parameters of all that have it.
pub(super) fn each_group<'a>(data: &'a [u8], is_same: SameName, mut write: impl FnMut(Group<'a>)) {
    let mut elements = structured_data(data);
    let mut ids = Names::of(elements.clone().map(|element| element.id), is_same);
    while let Some(element) = elements.next() {
        let later = match ids.meet(element.id) {
            Meeting::Again => continue,
            Meeting::First => Some(elements.clone()),
            Meeting::Only => None,
        };
        write(Group { id: element.id, is_same, params: element.params(), later });
    }
}

/// Whether two names count as one.
pub(super) type SameName = fn(&[u8], &[u8]) -> bool;

/// How a name of a list stands to the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meeting {
    /// It came before.
    Again,
    /// It comes now, and again later.
    First,
    /// As far as is remembered, it comes only now.
    Only,
}

/// Which names of a list come several times.
pub(super) struct Names<'a> {
    first: [&'a [u8]; NAMES_MAX],
    count: usize,
    is_same: SameName,
    /// A bit for each of the first names that comes again.
    repeated: u32,
    /// A bit for each that was met.
    met: u32,
}

impl<'a> Names<'a> {
    pub(super) fn of(names: impl Iterator<Item = &'a [u8]>, is_same: SameName) -> Self {
        let first: [&[u8]; NAMES_MAX] = [&[]; NAMES_MAX];
        let mut all = Self { first, count: 0, is_same, repeated: 0, met: 0 };
        for name in names {
            if let Some(place) = all.place(name) {
                all.repeated |= 1 << place;
            } else if let Some(slot) = all.first.get_mut(all.count) {
                *slot = name;
                all.count += 1;
            }
        }
        all
    }

    fn place(&self, name: &[u8]) -> Option<usize> {
        self.first.iter().take(self.count).position(|other| (self.is_same)(name, other))
    }

    /// Notes that `name` is written now; the names come in the order in which they were given.
    pub(super) fn meet(&mut self, name: &[u8]) -> Meeting {
        let Some(place) = self.place(name) else { return Meeting::Only };
        let bit = 1 << place;
        let is_met = self.met & bit != 0;
        self.met |= bit;
        match self.repeated & bit {
            0 => Meeting::Only,
            _ if is_met => Meeting::Again,
            _ => Meeting::First,
        }
    }
}

/// The parameters of all elements with one SD-ID.
#[derive(Clone)]
pub(super) struct Group<'a> {
    pub(super) id: &'a [u8],
    is_same: SameName,
    params: Params<'a>,
    /// Elements of which some belong to it.
    later: Option<Elements<'a>>,
}

impl<'a> Iterator for Group<'a> {
    type Item = Param<'a>;

    fn next(&mut self) -> Option<Param<'a>> {
        loop {
            if let Some(param) = self.params.next() {
                return Some(param);
            }
            let (id, is_same) = (self.id, self.is_same);
            self.params = self.later.as_mut()?.find(|other| is_same(id, other.id))?.params();
        }
    }
}

/// Whether two names are the same once they are written.
fn same_name(one: &[u8], other: &[u8]) -> bool {
    written(one).eq(written(other))
}

fn written(name: &[u8]) -> impl Iterator<Item = u8> {
    let kept = name.get(..SD_NAME_BYTES_MAX).unwrap_or(name);
    kept.iter().map(|byte| if is_name_byte(*byte) { *byte } else { b'_' })
}

fn push_name(name: &[u8], out: &mut Vec<u8>) {
    out.extend(written(name));
}

fn push_value(param: &Param<'_>, out: &mut Vec<u8>) {
    // A piece boundary is an escape before an ASCII byte, so no character crosses one.
    for chunk in param.pieces().flat_map(<[u8]>::utf8_chunks) {
        for byte in chunk.valid().bytes() {
            if matches!(byte, b'"' | b'\\' | b']') {
                out.push(b'\\');
            }
            out.push(byte);
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}
