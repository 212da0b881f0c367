//! Conditions on records, as the configurations of `route`, `filter` and `count` have them.
//!
//! ```json
//! {"contains": ["timed out", "refused"], "app": "web-*", "severity": "err"}
//! ```
//! All keys of one match must hold:
//!
//! | key | holds when |
//! |---|---|
//! | `all` | `true`: always |
//! | `contains` | the body has this text, or one of these |
//! | `contains_all` | the body has all of these |
//! | `app`, `app_name`, `host` | a glob, or one of several, matches (`*` any run of bytes, `?` one) |
//! | `severity` | the record is this severe or worse: a keyword or 0 to 7 |
//! | `regex` | the expression matches somewhere in the body (bytes; classes are ASCII) |
//! | `field` | each field named has its value: a text (a glob), number, truth value or `null`, one of a list of them, or a number within `{"min": …, "max": …}` |
//! | `any` | one of these matches holds |
//! | `not` | this match does not hold |
//!
//! A match without any key is refused: nobody means it. The texts of all matches of a [`Set`] are
//! looked for in one pass over the body.

mod condition;
mod config;
mod expression;
mod literals;
mod set;

pub use condition::{SEVERITIES, severity_keyword};
pub use config::{Match, Texts};
pub use expression::{Expression, Groups};
pub use set::{Found, Set, interest};
