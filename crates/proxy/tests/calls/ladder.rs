//! Everything that crossed the wire so far, in order: the memory behind short forms, `again` and the ladder.

use crate::scene::Endpoint;
use crate::wire::Wire;
use proxy::Time;
use std::fmt::Write;
use std::net::SocketAddr;

/// One message with its way and time.
#[derive(Clone, Debug)]
pub(crate) struct Passed {
    pub(crate) time: Time,
    /// The neighbour's name, or its address when it has none.
    pub(crate) party: String,
    pub(crate) address: SocketAddr,
    /// True when it came to us.
    pub(crate) arrived: bool,
    pub(crate) bytes: Vec<u8>,
    pub(crate) wire: Wire,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Ladder {
    pub(crate) all: Vec<Passed>,
}

impl Ladder {
    pub(crate) fn add(&mut self, time: Time, party: &str, endpoint: Endpoint, arrived: bool, bytes: &[u8]) {
        let wire = Wire::parse(bytes);
        let (party, address, bytes) = (party.to_owned(), endpoint.address, bytes.to_vec());
        self.all.push(Passed { time, party, address, arrived, bytes, wire });
    }

    /// The last message to or from a party that the test accepts.
    pub(crate) fn last(&self, party: &str, arrived: bool, wanted: impl Fn(&Wire) -> bool) -> Option<&Passed> {
        self.all.iter().rev().find(|p| p.party == party && p.arrived == arrived && wanted(&p.wire))
    }

    /// The first such message.
    pub(crate) fn first(&self, party: &str, arrived: bool, wanted: impl Fn(&Wire) -> bool) -> Option<&Passed> {
        self.all.iter().find(|p| p.party == party && p.arrived == arrived && wanted(&p.wire))
    }

    /// The picture for a failure.
    pub(crate) fn drawn(&self) -> String {
        let mut out = String::new();
        for passed in &self.all {
            let way = if passed.arrived {
                format!("{:>10} -> us", passed.party)
            } else {
                format!("        us -> {}", passed.party)
            };
            let ms = passed.time.0 / 1_000;
            let _ = writeln!(out, "    {ms:>8} ms  {way:<26} {}", passed.wire.summary());
        }
        out
    }
}
