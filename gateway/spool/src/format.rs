//! The bytes of a segment: frames and what is in them. No I/O.
//!
//! Drawn in `docs/spec/spool.md`; everything is little endian. Frames begin at multiples of [`SECTOR`],
//! so that they can be written past the page cache; what is in them at multiples of 8.

use crate::{Totals, uncached};

/// The version of the format that is written.
pub(crate) const VERSION: u32 = 1;
/// Bytes of a frame before its body.
pub(crate) const HEAD: usize = 32;
/// Where the second copy of the header lies: in another sector than the first.
pub(crate) const HEADER_COPY: u64 = 512;
/// Where the frames begin.
pub(crate) const FRAMES: u64 = 1024;
/// Bytes of the trailer at the end of a sealed segment.
pub(crate) const TRAILER: usize = 32;
/// Bytes of an entry's head without its wants, and of a want.
pub(crate) const ENTRY_HEAD: usize = 8;
pub(crate) const WANT: usize = 12;

/// Frames begin at multiples of this.
pub(crate) const SECTOR: usize = 512;

const MAGIC: [u8; 4] = *b"LBsf";
const MAGIC_TRAILER: [u8; 4] = *b"LBse";
const ALIGN: usize = 8;
const CLOSED: u32 = 1;
const AFTER_SYNC: u8 = 1;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Header,
    /// Destinations: their cursors, and their names where they are new here.
    Table,
    /// The entries of one group commit.
    Group,
    /// The footer.
    Seal,
}

impl Kind {
    fn code(self) -> u8 {
        match self {
            Self::Header => 1,
            Self::Table => 2,
            Self::Group => 3,
            Self::Seal => 4,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        [Self::Header, Self::Table, Self::Group, Self::Seal].into_iter().find(|k| k.code() == code)
    }
}

/// The first [`HEAD`] bytes of a frame, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) kind: Kind,
    /// All before it was synced when it was written: what is missing there was lost afterwards.
    pub(crate) is_after_sync: bool,
    /// Of a group: that of its first entry. Else: one past the last one before it in the segment.
    pub(crate) sequence: u64,
    /// Bytes of the body, without padding.
    pub(crate) len: u32,
    /// Entries of a group, rows of a table.
    pub(crate) count: u32,
    crc: u32,
}

impl Head {
    /// That of a frame whose body is still to be looked at.
    pub(crate) fn new(kind: Kind, sequence: u64, count: usize) -> Self {
        Self { kind, is_after_sync: false, sequence, len: 0, count: small(count), crc: 0 }
    }

    /// The same, in front of which all was synced, or not.
    pub(crate) fn after_sync(self, is_after_sync: bool) -> Self {
        Self { is_after_sync, ..self }
    }

    /// Reads a head; `None` if these bytes are none of a segment with this salt.
    pub(crate) fn read(bytes: &[u8], salt: u64) -> Option<Self> {
        let bytes = bytes.get(..HEAD)?;
        if !bytes.starts_with(&MAGIC) {
            return None;
        }
        let (covered, mut check) = (bytes.get(..HEAD - 4)?, Cut(bytes.get(HEAD - 4..)?));
        if check.u32()? != checksum(salt, covered) {
            return None;
        }
        let mut cut = Cut(bytes.get(4..)?);
        let [kind, flags, ..] = cut.bytes(4)? else { return None };
        let (kind, is_after_sync) = (Kind::from_code(*kind)?, flags & AFTER_SYNC != 0);
        let (sequence, len, count, crc) = (cut.u64()?, cut.u32()?, cut.u32()?, cut.u32()?);
        Some(Self { kind, is_after_sync, sequence, len, count, crc })
    }

    /// Bytes of the frame, with head and padding.
    pub(crate) fn size(&self) -> u64 {
        sectors(HEAD as u64 + u64::from(self.len))
    }

    /// One past the last sequence of a group.
    pub(crate) fn next(&self) -> u64 {
        self.sequence.saturating_add(u64::from(self.count))
    }

    pub(crate) fn holds(&self, body: &[u8], salt: u64) -> bool {
        checksum(salt, body) == self.crc
    }
}

/// Fills in the head of a frame whose body stands behind [`HEAD`] free bytes, and pads it.
pub(crate) fn finish(frame: &mut Vec<u8>, head: Head, salt: u64) {
    let body = frame.get(HEAD..).unwrap_or_default();
    let (len, crc) = (small(body.len()), checksum(salt, body));
    write_head(frame, Head { len, crc, ..head }, salt);
    frame.resize(frame.len().next_multiple_of(SECTOR), 0);
}

/// Fills in the head of a group's frame, given the checksum of its body.
pub(crate) fn finish_group(frame: &mut [u8], len: usize, crc: u32, head: Head, salt: u64) {
    write_head(frame, Head { len: small(len), crc, ..head }, salt);
}

fn write_head(frame: &mut [u8], head: Head, salt: u64) {
    let mut bytes = Vec::with_capacity(HEAD);
    bytes.extend_from_slice(&MAGIC);
    let flags = if head.is_after_sync { AFTER_SYNC } else { 0 };
    bytes.extend_from_slice(&[head.kind.code(), flags, 0, 0]);
    bytes.extend_from_slice(&head.sequence.to_le_bytes());
    for word in [head.len, head.count, head.crc] {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    let check = checksum(salt, &bytes);
    bytes.extend_from_slice(&check.to_le_bytes());
    if let Some(free) = frame.get_mut(..HEAD) {
        free.copy_from_slice(&bytes);
    }
}

/// The header of a segment: without it nothing else can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) version: u32,
    pub(crate) uuid: [u8; 16],
    pub(crate) salt: u64,
    pub(crate) first: u64,
}

impl Header {
    /// The [`FRAMES`] bytes before the frames: the header twice.
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut frame = vec![0; HEAD];
        frame.extend_from_slice(&self.version.to_le_bytes());
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(&self.uuid);
        frame.extend_from_slice(&self.salt.to_le_bytes());
        // The salt is not known before the header is read, so it does not cover the header itself.
        finish(&mut frame, Head::new(Kind::Header, self.first, 0), 0);
        let copy = usize::try_from(HEADER_COPY).unwrap_or_default();
        let mut bytes = frame.clone();
        bytes.resize(copy, 0);
        bytes.extend_from_slice(&frame);
        bytes.resize(copy * 2, 0);
        bytes
    }

    /// Reads either copy.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let copy = usize::try_from(HEADER_COPY).unwrap_or_default();
        Self::read_copy(bytes).or_else(|| Self::read_copy(bytes.get(copy..)?))
    }

    fn read_copy(bytes: &[u8]) -> Option<Self> {
        let head = Head::read(bytes, 0).filter(|head| head.kind == Kind::Header)?;
        let body = bytes.get(HEAD..HEAD + index(u64::from(head.len)))?;
        if !head.holds(body, 0) {
            return None;
        }
        let mut cut = Cut(body);
        let version = cut.u32()?;
        cut.u32()?;
        let uuid = cut.bytes(16)?.try_into().ok()?;
        Some(Self { version, uuid, salt: cut.u64()?, first: head.sequence })
    }
}

/// A row of a table: how far a destination got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) id: u32,
    /// `None`: the name stands in an earlier table of the same segment.
    pub(crate) name: Option<String>,
    pub(crate) frontier: u64,
}

impl Row {
    fn write(&self, frame: &mut Vec<u8>) {
        let name = self.name.as_deref().unwrap_or_default();
        frame.extend_from_slice(&self.id.to_le_bytes());
        frame.extend_from_slice(&small(name.len()).to_le_bytes());
        frame.extend_from_slice(&self.frontier.to_le_bytes());
        frame.extend_from_slice(name.as_bytes());
        pad(frame);
    }

    fn read(cut: &mut Cut<'_>) -> Option<Self> {
        let (id, len, frontier) = (cut.u32()?, cut.u32()?, cut.u64()?);
        let name = String::from_utf8_lossy(cut.bytes(index(u64::from(len)))?).into_owned();
        cut.bytes((ALIGN - index(u64::from(len)) % ALIGN) % ALIGN)?;
        Some(Self { id, name: (len > 0).then_some(name), frontier })
    }
}

/// The frame of a table.
pub(crate) fn table(rows: &[Row], sequence: u64, is_after_sync: bool, salt: u64) -> Vec<u8> {
    let mut frame = vec![0; HEAD];
    rows.iter().for_each(|row| row.write(&mut frame));
    let head = Head::new(Kind::Table, sequence, rows.len()).after_sync(is_after_sync);
    finish(&mut frame, head, salt);
    frame
}

/// The rows of a table's body.
pub(crate) fn rows(body: &[u8]) -> Vec<Row> {
    let mut cut = Cut(body);
    std::iter::from_fn(|| Row::read(&mut cut)).collect()
}

/// Damaged bytes of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Where they begin.
    pub offset: u64,
    /// How many they are.
    pub len: u64,
}

/// The footer of a segment: what a reader need not scan for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seal {
    /// The spool was closed behind it.
    pub(crate) closed: bool,
    /// One past the last sequence in the segment; where the spool was closed, past the last one given.
    pub(crate) next: u64,
    /// Every destination known then: cursor, name, and what it wants in this segment.
    pub(crate) rows: Vec<(Row, Totals)>,
    /// Damage that was reported before.
    pub(crate) known: Vec<Span>,
    /// Some (sequence, offset) of groups, to start a search at.
    pub(crate) points: Vec<(u64, u64)>,
}

impl Seal {
    /// The seal and its trailer, to stand at `offset`.
    pub(crate) fn write(&self, offset: u64, salt: u64) -> Vec<u8> {
        let mut frame = vec![0; HEAD];
        let flags = if self.closed { CLOSED } else { 0 };
        for word in [flags, small(self.rows.len()), small(self.known.len())] {
            frame.extend_from_slice(&word.to_le_bytes());
        }
        frame.extend_from_slice(&small(self.points.len()).to_le_bytes());
        frame.extend_from_slice(&self.next.to_le_bytes());
        for (row, totals) in &self.rows {
            for word in [totals.entries, totals.records, totals.bytes] {
                frame.extend_from_slice(&word.to_le_bytes());
            }
            row.write(&mut frame);
        }
        let spans = self.known.iter().map(|span| (span.offset, span.len));
        for (first, second) in spans.chain(self.points.iter().copied()) {
            frame.extend_from_slice(&first.to_le_bytes());
            frame.extend_from_slice(&second.to_le_bytes());
        }
        finish(&mut frame, Head::new(Kind::Seal, self.next, self.rows.len()), salt);
        let mut trailer = Vec::with_capacity(TRAILER);
        trailer.extend_from_slice(&MAGIC_TRAILER);
        trailer.extend_from_slice(&[0; 4]);
        trailer.extend_from_slice(&offset.to_le_bytes());
        trailer.extend_from_slice(&salt.to_le_bytes());
        let check = checksum(0, &trailer);
        trailer.extend_from_slice(&check.to_le_bytes());
        trailer.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(&trailer);
        frame
    }

    /// Reads the body of a seal.
    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        let mut cut = Cut(body);
        let (flags, rows) = (cut.u32()?, cut.u32()?);
        let (known, points) = (cut.u32()?, cut.u32()?);
        let mut seal = Self { closed: flags & CLOSED != 0, next: cut.u64()?, ..Self::default() };
        for _ in 0..rows {
            let totals = Totals { entries: cut.u64()?, records: cut.u64()?, bytes: cut.u64()? };
            seal.rows.push((Row::read(&mut cut)?, totals));
        }
        for _ in 0..known {
            seal.known.push(Span { offset: cut.u64()?, len: cut.u64()? });
        }
        for _ in 0..points {
            seal.points.push((cut.u64()?, cut.u64()?));
        }
        Some(seal)
    }
}

/// Where the seal lies, and the salt, from the last [`TRAILER`] bytes of a file.
pub(crate) fn trailer(bytes: &[u8]) -> Option<(u64, u64)> {
    let mut check = Cut(bytes.get(24..28)?);
    if !bytes.starts_with(&MAGIC_TRAILER) || check.u32()? != checksum(0, bytes.get(..24)?) {
        return None;
    }
    let mut cut = Cut(bytes.get(8..24)?);
    Some((cut.u64()?, cut.u64()?))
}

/// A want as it stands in an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) id: u32,
    pub(crate) records: u32,
    pub(crate) bytes: u32,
}

/// Puts an entry at the end of a group's body, and carries on its checksum.
pub(crate) fn push_entry(
    group: &mut Vec<u8>,
    crc: u32,
    wants: impl ExactSizeIterator<Item = Wanted>,
    payload: &[&[u8]],
) -> u32 {
    let start = group.len();
    let len: usize = payload.iter().map(|part| part.len()).sum();
    group.extend_from_slice(&small(len).to_le_bytes());
    group.extend_from_slice(&small(wants.len()).to_le_bytes());
    for want in wants {
        for word in [want.id, want.records, want.bytes] {
            group.extend_from_slice(&word.to_le_bytes());
        }
    }
    let mut crc = crc32c::crc32c_append(crc, group.get(start..).unwrap_or_default());
    for part in payload {
        crc = crc32c::crc32c_append(crc, part);
        uncached::extend(group, part);
    }
    let start = group.len();
    pad(group);
    crc32c::crc32c_append(crc, group.get(start..).unwrap_or_default())
}

/// An entry of a group's body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    wants: &'a [u8],
    pub(crate) payload: &'a [u8],
}

impl Entry<'_> {
    pub(crate) fn wants(&self) -> impl Iterator<Item = Wanted> {
        let mut cut = Cut(self.wants);
        std::iter::from_fn(move || {
            Some(Wanted { id: cut.u32()?, records: cut.u32()?, bytes: cut.u32()? })
        })
    }
}

/// The entries of a group's body, in order of sequence.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entries<'a>(Cut<'a>);

impl<'a> Entries<'a> {
    pub(crate) fn new(body: &'a [u8]) -> Self {
        Self(Cut(body))
    }

    /// Bytes that were not gone through yet.
    pub(crate) fn rest(&self) -> usize {
        self.0.0.len()
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        let cut = &mut self.0;
        let (len, count) = (index(cut.u32()?.into()), index(cut.u32()?.into()));
        let wants = cut.bytes(count.checked_mul(WANT)?)?;
        let payload = cut.bytes(len)?;
        // The body ends behind the payload of the last entry or behind its padding.
        let odd = (ENTRY_HEAD + wants.len() + len) % ALIGN;
        cut.bytes(((ALIGN - odd) % ALIGN).min(cut.0.len()))?;
        Some(Entry { wants, payload })
    }
}

/// Bytes of an entry in a group's body.
pub(crate) fn entry_size(payload: usize, wants: usize) -> usize {
    let len = (ENTRY_HEAD + wants.saturating_mul(WANT)).saturating_add(payload);
    len.checked_next_multiple_of(ALIGN).unwrap_or(usize::MAX)
}

/// The next multiple of [`SECTOR`].
pub(crate) fn sectors(len: u64) -> u64 {
    len.saturating_add(SECTOR as u64 - 1) & !(SECTOR as u64 - 1)
}

/// A length that a limit keeps below 4 GiB, as it stands in a file.
pub(crate) fn small(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// A number from a file as an index; one that no memory has becomes one past every slice.
pub(crate) fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(ALIGN), 0);
}

/// The checksum of the salt and of bytes behind it.
pub(crate) fn checksum(salt: u64, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&salt.to_le_bytes()), bytes)
}

/// Bytes from which numbers are cut off.
#[derive(Clone, Copy, Debug)]
struct Cut<'a>(&'a [u8]);

impl<'a> Cut<'a> {
    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (cut, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(cut)
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.bytes(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.bytes(8)?.try_into().ok()?))
    }
}
