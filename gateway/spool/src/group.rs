//! Entries that are written together.

use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::format::{self, Entries, Entry, HEAD, Head, Kind, SECTOR, Wanted, index, sectors};
use crate::{Durable, SpoolFailed, Totals, crash};

/// Bytes of a group, about: the next entry begins another one.
pub(crate) const GROUP_BYTES: usize = 2 << 20;
/// Room for an entry beyond that.
const CAPACITY: usize = GROUP_BYTES + (128 << 10);
/// Room of a small one: large buffers with little in them cost whole huge pages.
const SMALL_CAPACITY: usize = 16 << 10;
/// A frame that is to go past the page cache begins at a multiple of this in memory.
const ALIGN: usize = 4096;

/// Entries on their way to the disk.
pub(crate) struct Group {
    /// The bytes. Whoever appends takes the body of the open group while all that changes is locked, and
    /// copies into it when that is not any more; the writer waits for who is still copying.
    body: Arc<Mutex<Body>>,
    /// Bytes of the frame, also of what is still being copied; 0 without entries.
    bytes: usize,
    pub(crate) first: u64,
    pub(crate) count: u32,
    /// One call for each entry that has one.
    pub(crate) durables: Vec<Durable>,
    /// What each destination wants here.
    pub(crate) totals: Vec<(u32, Totals)>,
    /// How many of these are done with all of it, from the first on.
    pub(crate) done: usize,
    /// The writer saw it, and left it for a while: perhaps it need not be written.
    pub(crate) was_seen: bool,
}

/// The body of a frame behind room for its head.
pub(crate) struct Body {
    buffer: Vec<u8>,
    /// Where the frame begins in the buffer, and where its body ends.
    start: usize,
    end: usize,
    /// The checksum of the body with this salt, reckoned while its bytes are near.
    crc: u32,
    salt: u64,
}

impl Group {
    /// An empty group, most likely for the segment with this salt, in an old buffer if there is one, with
    /// room for as much as the last one had: one that grows would cost more in fresh pages than in copying.
    pub(crate) fn new(buffer: Option<Vec<u8>>, last: usize, salt: u64) -> Self {
        let room = if last > SMALL_CAPACITY { CAPACITY } else { SMALL_CAPACITY };
        let buffer = buffer.unwrap_or_else(|| Vec::with_capacity(room + ALIGN));
        Self {
            body: Arc::new(Mutex::new(Body::new(buffer, salt))),
            bytes: 0,
            first: 0,
            count: 0,
            durables: Vec::new(),
            totals: Vec::new(),
            done: 0,
            was_seen: false,
        }
    }

    /// Its buffer, for the next one.
    pub(crate) fn take_buffer(&self) -> Vec<u8> {
        std::mem::take(&mut self.lock().buffer)
    }

    /// The frame, as [`Body::finish`] makes it.
    pub(crate) fn frame(&self, is_after_sync: bool, salt: u64) -> Frame<'_> {
        let head = Head::new(Kind::Group, self.first, index(self.count.into()));
        let mut body = self.lock();
        body.finish(head.after_sync(is_after_sync), salt);
        Frame(body)
    }

    fn lock(&self) -> MutexGuard<'_, Body> {
        crate::lock(&self.body)
    }

    /// The body, for who appends.
    pub(crate) fn body(&self) -> Arc<Mutex<Body>> {
        Arc::clone(&self.body)
    }

    /// Whether somebody is copying into the body.
    pub(crate) fn is_busy(&self) -> bool {
        self.body.try_lock().is_err()
    }

    /// There is an entry of so many bytes more, which its owner pushes into the body.
    pub(crate) fn add(&mut self, sequence: u64, bytes: usize, durable: Option<Durable>) {
        if self.count == 0 {
            (self.first, self.bytes) = (sequence, HEAD);
        }
        self.count += 1;
        self.bytes += bytes;
        self.durables.extend(durable);
    }

    /// Calls for each entry, with its sequence.
    pub(crate) fn for_each(&self, mut call: impl FnMut(u64, Entry<'_>)) {
        let body = self.lock();
        let entries = body.buffer.get(body.start + HEAD..body.end).unwrap_or_default();
        (self.first..)
            .zip(Entries::new(entries))
            .for_each(|(sequence, entry)| call(sequence, entry));
    }

    /// Tells all who wait for it, once.
    pub(crate) fn tell(&mut self, result: &Result<(), SpoolFailed>) {
        for durable in std::mem::take(&mut self.durables) {
            let call = AssertUnwindSafe(|| durable(result.clone()));
            // A panic of theirs is not ours.
            drop(catch_unwind(call));
            crash::point("durable_called");
        }
    }

    pub(crate) fn next(&self) -> u64 {
        self.first + u64::from(self.count)
    }

    /// Bytes of the frame, before it is made whole sectors.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Body {
    fn new(mut buffer: Vec<u8>, salt: u64) -> Self {
        buffer.clear();
        // One that outgrows its buffer moves, and is written through the page cache.
        let start = buffer.as_ptr().align_offset(ALIGN);
        let start = if start < ALIGN { start } else { 0 };
        Self { buffer, start, end: start, crc: format::checksum(salt, b""), salt }
    }

    /// Copies an entry behind those before.
    pub(crate) fn push(&mut self, wants: impl ExactSizeIterator<Item = Wanted>, payload: &[&[u8]]) {
        self.buffer.resize(self.end.max(self.start + HEAD), 0);
        self.crc = format::push_entry(&mut self.buffer, self.crc, wants, payload);
        self.end = self.buffer.len();
    }

    /// Makes it the frame that stands in a segment with this salt, and behind it a sector of zeros. Nothing
    /// is pushed any more.
    fn finish(&mut self, head: Head, salt: u64) {
        let size = index(sectors((self.end - self.start) as u64));
        self.buffer.resize(self.start + size + SECTOR, 0);
        let frame = self.buffer.get_mut(self.start..).unwrap_or_default();
        let len = (self.end - self.start).saturating_sub(HEAD);
        let crc = if salt == self.salt {
            self.crc
        } else {
            format::checksum(salt, frame.get(HEAD..HEAD + len).unwrap_or_default())
        };
        format::finish_group(frame, len, crc, head, salt);
    }
}

/// A frame, and behind it a sector of zeros.
pub(crate) struct Frame<'a>(MutexGuard<'a, Body>);

impl Deref for Frame<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.buffer.get(self.0.start..).unwrap_or_default()
    }
}

/// Whoever waits for a group that goes without being synced must not take that for a success.
impl Drop for Group {
    fn drop(&mut self) {
        if !self.durables.is_empty() {
            self.tell(&Err(SpoolFailed { reason: "it was not closed".to_owned() }));
        }
    }
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { first, count, .. } = self;
        f.debug_struct("Group").field("first", first).field("count", count).finish_non_exhaustive()
    }
}
