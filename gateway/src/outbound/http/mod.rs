//! HTTP: the client of `http(s)` destinations.
//!
//! * **What enters**: records, as the body of a request; connected streams, made elsewhere.
//! * **What leaves**: requests with method POST; [`Answer`]s, and what they mean ([`judge`]).
//! * **Limits**: one request at a time on a connection of HTTP/1.1, as many as the server allows
//!   on one of HTTP/2; of an answer at most [`Limits::answer_bytes_max`] bytes are read, and no
//!   longer than [`Limits::total`]; its head has at most [`connection::HEAD_BYTES_MAX`] bytes.
//!   Redirects are never followed. [`adaptive::Limit`] says how many requests may be in flight.
//! * **When it fails**: [`HttpError`] says why, and whether the server may have got the request.
//! * **May import**: `logboom-record`, `logboom-codec`, `config`.

pub(crate) mod adaptive;
pub(crate) mod answer;
pub(crate) mod body;
pub(crate) mod connection;
mod error;

pub(crate) use answer::{Answer, Judgement, RETRY_AFTER_MAX, judge};
pub(crate) use connection::{Connection, Limits, Post, Target, Version};
pub(crate) use error::HttpError;
