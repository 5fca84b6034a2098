//! Calls that were in progress when the process before this one ended.

use super::CallKey;
use crate::dispatch::Direction;
use crate::flow::PartyId;
use sip::Number;
use std::net::SocketAddr;
use std::time::Duration;

/// A call in progress, as a journal has kept it over a restart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RestoredCall {
    /// What it is found by.
    pub key: CallKey,
    /// Which way it was set up.
    pub direction: Direction,
    /// Who sent its INVITE.
    pub from: PartyId,
    /// Where it went.
    pub toward: PartyId,
    /// Our DID.
    pub did: Option<Number>,
    /// The Call-ID, as it arrived.
    pub call_id: Box<[u8]>,
    /// The request-URI's user part, as it arrived.
    pub called: Box<[u8]>,
    /// The user part of From, as it arrived.
    pub caller: Box<[u8]>,
    /// The id of the organisation whose call it is; empty when none is known.
    pub organisation: Box<[u8]>,
    /// The gateway that it goes by.
    pub gateway: Option<SocketAddr>,
    /// How long ago its INVITE arrived.
    pub began_ago: Duration,
    /// How long ago its 2xx was passed on; `None` when none was.
    pub answered_ago: Option<Duration>,
}
