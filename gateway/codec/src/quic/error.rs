//! Why a connection is closed.

/// What ends a connection, as the application error code of its `CONNECTION_CLOSE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// All is well: whoever closes has nothing more to say.
    None,
    /// The closing side has a mistake.
    Internal,
    /// A frame that cannot be read, or one that does not belong there.
    Protocol,
    /// No version in common.
    Version,
    /// Something is larger than was agreed on.
    Limit,
    /// The records of a batch do not add up to it.
    Framing,
    /// A batch is not behind the one before it.
    Order,
    /// Something that had begun did not end in time.
    Timeout,
    /// The server can take no more now.
    Busy,
    /// A batch was given up: it is to be sent again.
    Lost,
    /// Another connection speaks for a producer of this one.
    Superseded,
    /// Nothing has come for too long.
    Idle,
}

impl Code {
    /// Every code, by its number.
    pub const ALL: [Self; 12] = [
        Self::None,
        Self::Internal,
        Self::Protocol,
        Self::Version,
        Self::Limit,
        Self::Framing,
        Self::Order,
        Self::Timeout,
        Self::Busy,
        Self::Lost,
        Self::Superseded,
        Self::Idle,
    ];

    /// Its number on the wire.
    #[must_use]
    pub fn number(self) -> u32 {
        self as u32
    }

    /// The code of that number.
    #[must_use]
    pub fn of(number: u64) -> Option<Self> {
        usize::try_from(number).ok().and_then(|number| Self::ALL.get(number)).copied()
    }
}

/// Why what came cannot be followed. The connection is closed with [`Self::code`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayError {
    /// A control frame of that type has a body that is too short, or says something impossible.
    Frame(u8),
    /// A control frame of that type does not belong there.
    Unexpected(u8),
    /// A control frame is longer than the limit.
    FrameBytes(usize),
    /// The peer speaks versions of which none is known: the lowest and the highest.
    Version(u16, u16),
    /// More or fewer producers than allowed.
    Producers(usize),
    /// A stream is for a producer that was not named, or that has one already.
    Stream(u16),
    /// A batch has more bytes than allowed, or fewer than its records need.
    BatchBytes(u32),
    /// A batch has more records than allowed, or none.
    BatchRecords(u32),
    /// The records of a batch do not add up to it; the byte where that shows.
    Framing(usize),
    /// A batch is not behind the one before it.
    Order,
}

impl RelayError {
    /// What the connection is closed with.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Frame(_) | Self::Unexpected(_) | Self::Stream(_) => Code::Protocol,
            Self::Version(..) => Code::Version,
            Self::FrameBytes(_)
            | Self::Producers(_)
            | Self::BatchBytes(_)
            | Self::BatchRecords(_) => Code::Limit,
            Self::Framing(_) => Code::Framing,
            Self::Order => Code::Order,
        }
    }
}

impl std::fmt::Display for RelayError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Frame(kind) => write!(f, "a control frame of type {kind} cannot be read"),
            Self::Unexpected(kind) => {
                write!(f, "a control frame of type {kind} does not belong here")
            }
            Self::FrameBytes(bytes) => {
                write!(f, "a control frame of {bytes} bytes, allowed: {}", super::CONTROL_BYTES_MAX)
            }
            Self::Version(low, high) => {
                write!(f, "versions {low} to {high}, known: {}", super::VERSION)
            }
            Self::Producers(count) => {
                write!(f, "{count} producers, allowed: 1 to {}", super::PRODUCERS_MAX)
            }
            Self::Stream(producer) => {
                write!(f, "a stream for producer {producer}, which was not named or has one")
            }
            Self::BatchBytes(bytes) => write!(f, "a batch of {bytes} bytes is not allowed"),
            Self::BatchRecords(records) => {
                write!(f, "a batch of {records} records is not allowed")
            }
            Self::Framing(at) => {
                write!(f, "the records of a batch do not add up to it, at byte {at}")
            }
            Self::Order => write!(f, "a batch is not behind the one before it"),
        }
    }
}

impl std::error::Error for RelayError {}
