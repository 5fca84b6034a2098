//! Whole calls in the lab: the real program on the node `prod`, SIPp and baresip on the others, real WireGuard between
//! them, and a path in between that does what it is told. Rows W1 to W12 and H1 of the faults to survive.
//!
//! Each test puts up a lab of its own; they run one after the other. They need root's rights.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the lint's leave for tests does not reach the functions they share"
)]

mod calls;
mod doctor;
mod documents;
mod filter;
mod impaired;
mod interfaces;
mod joined;
mod media;
mod pipeline;
mod rehearsal;
mod restart;
mod site;
