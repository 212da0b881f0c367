//! Scanners that the parsers share: JSON over slices, numbers, points in time, and the keys by
//! which programs give message, time and severity of a record.
//!
//! Nothing here allocates but the undoing of escapes, and nothing recurses.

mod find;
pub mod heads;
pub mod json;
pub mod lanes;
pub mod number;
pub mod text;
pub mod time;

pub use find::find;
pub use heads::{Head, HeadKeys};
pub use number::Number;
pub use text::Text;
