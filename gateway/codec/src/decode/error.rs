//! What was wrong with a frame.

use std::fmt;

/// The first place at which a frame broke its grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// Where, in bytes from the start of the frame.
    pub offset: usize,
    /// The byte there; `None` at the end of the frame.
    pub found: Option<u8>,
    /// What should have stood there.
    pub expected: Expected,
}

/// What a decoder looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// `<0>` to `<191>`.
    Priority,
    /// A version and a space.
    Version,
    /// A timestamp and what must follow it.
    Timestamp,
    /// At most six digits of a fraction.
    Fraction,
    /// HOSTNAME.
    Hostname,
    /// APP-NAME.
    AppName,
    /// PROCID.
    ProcId,
    /// MSGID.
    MsgId,
    /// STRUCTURED-DATA.
    StructuredData,
    /// An SD-ID or PARAM-NAME of allowed bytes and length.
    SdName,
    /// An SD-ID that was not there before.
    UniqueSdId,
    /// A quoted parameter value with `"`, `\` and `]` escaped.
    ParamValue,
    /// UTF-8 in parameter values.
    Utf8,
    /// A space before the message.
    Message,
}

impl Expected {
    /// The allowed, for people.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::Priority => "a priority from <0> to <191>",
            Self::Version => "a version from 1 to 999 and a space",
            Self::Timestamp => "a valid timestamp or `-`",
            Self::Fraction => "at most 6 digits of a second's fraction",
            Self::Hostname => "a host name of 1 to 255 printable ascii bytes or `-`",
            Self::AppName => "an app name of 1 to 48 printable ascii bytes or `-`",
            Self::ProcId => "a process id of 1 to 128 printable ascii bytes or `-`",
            Self::MsgId => "a message id of 1 to 32 printable ascii bytes or `-`",
            Self::StructuredData => "structured data in brackets or `-`",
            Self::SdName => "a name of 1 to 32 printable ascii bytes without `=`, `]`, `\"`",
            Self::UniqueSdId => "an sd-id that was not used before",
            Self::ParamValue => "a quoted value with `\"`, `\\` and `]` escaped",
            Self::Utf8 => "utf-8 in parameter values",
            Self::Message => "a space before the message",
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.found {
            Some(byte) => write!(f, "found `{}`", byte.escape_ascii()),
            None => write!(f, "found the end"),
        }?;
        write!(f, " at byte {} of the frame, allowed: {}", self.offset, self.expected.describe())
    }
}

impl std::error::Error for DecodeError {}
