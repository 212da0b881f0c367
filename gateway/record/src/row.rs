//! The row of one record: fixed words in the layout of the guest contract.

/// Words in a row. Columns are only ever appended; a guest is told the stride with each batch.
pub const STRIDE: usize = 20;

/// Word positions in a row. A span takes two words: offset, then length.
pub mod column {
    /// Event time, Unix nanoseconds as a signed 64-bit value: low word, then high word.
    pub const TIME: usize = 0;
    /// The frame as it came, without its framing.
    pub const RAW: usize = 2;
    /// The message text.
    pub const BODY: usize = 4;
    /// HOSTNAME.
    pub const HOST: usize = 6;
    /// APP-NAME, or the RFC 3164 tag.
    pub const APP_NAME: usize = 8;
    /// PROCID, or the number in brackets behind the tag.
    pub const PROC_ID: usize = 10;
    /// MSGID.
    pub const MSG_ID: usize = 12;
    /// STRUCTURED-DATA as it came, brackets included, escapes kept.
    pub const STRUCTURED_DATA: usize = 14;
    /// The tenant key, `app-space`.
    pub const APP: usize = 16;
    /// Severity in bits 0–7, facility in bits 8–15, [`super::flags`] in bits 16–31.
    pub const META: usize = 18;
    /// [`crate::app_hash`] of the tenant key; of use to the host only.
    pub const APP_HASH: usize = 19;
}

/// What the decoder has to say about a record; the upper half of the meta word.
pub mod flags {
    /// The frame was RFC 5424.
    pub const RFC5424: u16 = 1;
    /// The frame was RFC 3164 or one of its dialects.
    pub const RFC3164: u16 = 1 << 1;
    /// No usable event time was given: the receive time stands in for it.
    pub const TIME_ASSUMED: u16 = 1 << 2;
    /// No usable priority was given: `user.notice` stands in for it.
    pub const PRIORITY_ASSUMED: u16 = 1 << 3;
    /// The frame broke its grammar somewhere; what could be read was kept.
    pub const MALFORMED: u16 = 1 << 4;
    /// The frame was longer than the limit and was cut.
    pub const TRUNCATED: u16 = 1 << 5;
    /// The frame is strictly valid RFC 5424 and may leave as it came.
    pub const VERBATIM: u16 = 1 << 6;
    /// A guest changed a part of the head or the body: it cannot leave as it came.
    pub const EDITED: u16 = 1 << 7;
    /// The record was made by a guest, not received.
    pub const CREATED: u16 = 1 << 8;
    /// The time zone of the event was not given; UTC was taken.
    pub const ZONE_ASSUMED: u16 = 1 << 9;
}

/// A range of the arena in bytes. Length 0 means absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte, from the start of the arena.
    pub offset: u32,
    /// Number of bytes.
    pub len: u32,
}

impl Span {
    /// The absent span.
    pub const NONE: Self = Self { offset: 0, len: 0 };

    /// The span from `start` to `end`. Positions beyond 4 GiB, which no source produces, saturate.
    #[must_use]
    #[inline]
    pub fn new(start: usize, end: usize) -> Self {
        let offset = u32::try_from(start).unwrap_or(u32::MAX);
        let len = u32::try_from(end.saturating_sub(start)).unwrap_or(0);
        Self { offset, len }
    }

    /// Whether there is nothing in it.
    #[must_use]
    #[inline]
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    /// The bytes of the span; empty where it lies outside of `arena`.
    #[must_use]
    #[inline]
    pub fn of(self, arena: &[u8]) -> &[u8] {
        let start = self.offset as usize;
        arena.get(start..start.saturating_add(self.len as usize)).unwrap_or(&[])
    }
}

/// One record's row, unpacked: what a decoder fills in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Event time, Unix nanoseconds.
    pub time: i64,
    /// The frame without its framing.
    pub raw: Span,
    /// The message text.
    pub body: Span,
    /// HOSTNAME.
    pub host: Span,
    /// APP-NAME or tag.
    pub app_name: Span,
    /// PROCID.
    pub proc_id: Span,
    /// MSGID.
    pub msg_id: Span,
    /// STRUCTURED-DATA with its brackets.
    pub structured_data: Span,
    /// The tenant key.
    pub app: Span,
    /// Severity, 0 (emergency) to 7 (debug).
    pub severity: u8,
    /// Facility, 0 (kernel) to 23 (local7).
    pub facility: u8,
    /// A set of [`flags`].
    pub flags: u16,
    /// [`crate::app_hash`] of the tenant key.
    pub app_hash: u32,
}

impl Head {
    /// Packs the row.
    #[must_use]
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the two halves of a 64-bit word")]
    #[expect(clippy::cast_sign_loss, reason = "the bits of the time, read back as signed")]
    pub fn pack(&self) -> [u32; STRIDE] {
        let time = self.time as u64;
        let meta =
            u32::from(self.severity) | u32::from(self.facility) << 8 | u32::from(self.flags) << 16;
        [
            time as u32,
            (time >> 32) as u32,
            self.raw.offset,
            self.raw.len,
            self.body.offset,
            self.body.len,
            self.host.offset,
            self.host.len,
            self.app_name.offset,
            self.app_name.len,
            self.proc_id.offset,
            self.proc_id.len,
            self.msg_id.offset,
            self.msg_id.len,
            self.structured_data.offset,
            self.structured_data.len,
            self.app.offset,
            self.app.len,
            meta,
            self.app_hash,
        ]
    }
}
