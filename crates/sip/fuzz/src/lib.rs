//! What each fuzz target does with its input. The crate's tests replay `fixtures/corpus` through the same functions.
//!
//! A target prints or visits everything it parsed, and asserts what must hold for any input whatever.

pub mod datagram;
pub mod edit_round_trip;
pub mod framing;
pub mod local_reply;
pub mod uri_number;
