//! Why a request has no answer.

use std::error::Error as _;
use std::time::Duration;

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    /// The two ends could not agree to speak HTTP.
    #[error("the server does not open an HTTP session")]
    Connect {
        /// What went wrong.
        #[source]
        source: hyper::Error,
    },
    /// The time for the session to open ran out.
    #[error("the server did not open an HTTP session within {} s", .after.as_secs_f64())]
    ConnectTimeout {
        /// The time.
        after: Duration,
    },
    /// The connection was closed before the request was sent.
    #[error("the connection was closed before the request was sent")]
    Closed {
        /// What went wrong.
        #[source]
        source: hyper::Error,
    },
    /// The connection ended while the request was under way.
    #[error("the connection ended before there was an answer")]
    Reset {
        /// What went wrong.
        #[source]
        source: hyper::Error,
    },
    /// The server ended this request, or all of the connection, by a frame of HTTP/2.
    #[error("the server gave the request up")]
    GoAway {
        /// What went wrong.
        #[source]
        source: hyper::Error,
        /// It says that it has not looked at the request.
        is_refused: bool,
    },
    /// What came is no answer.
    #[error("what came is no HTTP answer")]
    Protocol {
        /// What went wrong.
        #[source]
        source: hyper::Error,
    },
    /// There was no answer in time.
    #[error("no answer within {} s", .after.as_secs_f64())]
    Timeout {
        /// The time.
        after: Duration,
    },
}

impl HttpError {
    /// The word for it in metrics.
    #[must_use]
    pub(crate) fn keyword(&self) -> &'static str {
        match self {
            Self::Connect { .. } | Self::ConnectTimeout { .. } => "connect",
            Self::Closed { .. } => "closed",
            Self::Reset { .. } => "reset",
            Self::GoAway { .. } => "goaway",
            Self::Protocol { .. } => "protocol",
            Self::Timeout { .. } => "timeout",
        }
    }

    /// Whether the server may have acted on the request, so that sending it again may repeat it.
    #[must_use]
    pub(crate) fn may_be_processed(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::ConnectTimeout { .. } | Self::Closed { .. } => false,
            Self::GoAway { is_refused, .. } => !is_refused,
            Self::Reset { .. } | Self::Protocol { .. } | Self::Timeout { .. } => true,
        }
    }

    /// What an error of a request that was on its way means.
    pub(super) fn of_request(source: hyper::Error) -> Self {
        let h2 = source.source().and_then(|cause| cause.downcast_ref::<h2::Error>());
        if let Some(error) = h2 {
            if error.is_io() {
                return Self::Reset { source };
            }
            if !error.is_remote() {
                return Self::Protocol { source };
            }
            // Of GOAWAY, h2 tells only the streams that it does not cover. Source: RFC 9113, 8.7.
            let is_refused_stream = error.reason() == Some(h2::Reason::REFUSED_STREAM);
            let is_refused = error.is_go_away() || is_refused_stream;
            return Self::GoAway { source, is_refused };
        }
        if source.is_parse() { Self::Protocol { source } } else { Self::Reset { source } }
    }
}
