//! What is measured and kept: counters fed by the core's events.
//!
//! The core leaves facts in its outbox and counts nothing. Here every fact has its place: [`catalogue`] lists what is
//! measured, with help and label values; [`Counters`] is one worker's set of them, [`Counters::record`] feeds it, and
//! [`Counters::samples`] reads it, for `switchyard status` as for an exporter. A label is always one word out of a list
//! that the program holds: no number, no address and no Call-ID ever becomes one.
//!
//! [`calls`] keeps a record of each call and the journal of the last ones. [`join`] is what the sender of captures has in
//! common with the worker's sockets: which datagrams leave together.

pub mod calls;
pub mod catalogue;
mod counters;
mod exporter;
mod header;
pub mod hep;
pub mod join;
pub mod limits;
mod pace;
mod peer;

pub use catalogue::{Family, Kind, Label};
pub use counters::{Counters, Fact, Sample, total};
pub use exporter::{Exporter, Reading};
pub use pace::Paced;
pub use peer::PeerAddress;
