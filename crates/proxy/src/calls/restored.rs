//! Calls that were in progress when the process before this one ended.

use super::{Call, CallKey, between, micros};
use crate::dispatch::Direction;
use crate::flow::{PartyId, Time};
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
    /// How long until its session timer runs out, nothing when it has; `None` where it has no such timer.
    pub expires_in: Option<Duration>,
    /// The dialog that answered it, as [`Call::dialog`] has it.
    pub dialog: Option<u64>,
}

impl RestoredCall {
    /// What a journal that misses nothing keeps of a call.
    pub fn of(call: &Call, now: Time) -> RestoredCall {
        let ago = |then_us: i64| Duration::from_micros(between(then_us, micros(now)));
        RestoredCall {
            key: call.key(),
            direction: call.direction(),
            from: call.from(),
            toward: call.toward(),
            did: call.did(),
            call_id: call.call_id().into(),
            called: call.called().into(),
            caller: call.caller().into(),
            organisation: call.organisation().into(),
            gateway: call.gateway(),
            began_ago: ago(call.began_us()),
            answered_ago: call.answered_us().map(ago),
            expires_in: call.expires().map(|expires| expires.since(now)),
            dialog: call.dialog(),
        }
    }
}
