//! What is on the wire: scans what arrived, splices what leaves. No I/O, clock, randomness or policy.

mod number;
mod span;

pub use number::{Form, Number, NumberFault, Numbering};
pub use span::Span;
