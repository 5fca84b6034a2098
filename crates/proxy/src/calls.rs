//! The calls: one object for each call that was let in, from its INVITE to its end.
//!
//! A call is found by its [`CallKey`], which every message of its dialog gives, in both directions and after a restart
//! with the same ring of keys. It ends once: with the final response that refuses it, with a BYE of either side, when its
//! session timer runs out (RFC 4028), or when it is older than a call may be. What is counted for it ends with it.

mod counts;
mod limit;
mod look;
mod rate;
mod restored;
mod table;

pub use counts::{Counts, Subject};
pub(crate) use counts::{NoSeat, Permit, Seat};
pub use limit::Limit;
pub use rate::Spent;
pub use restored::RestoredCall;
pub(crate) use table::{CALL_TIMER, Calls};

use crate::deadline::Deadline;
use crate::dispatch::Direction;
use crate::flow::{PartyId, Time};
use crate::keys::{KeyRing, Use};
use crate::limits::CALL_TEXT_BYTES;
use sip::Number;
use std::fmt;
use std::net::SocketAddr;

/// What a call is found by: a keyed hash over its direction, its Call-ID and its first From tag. Nobody outside can make
/// two calls with one key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct CallKey(pub u128);

/// Who or what ended a call that was answered.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum EndedBy {
    /// The caller's BYE.
    Caller,
    /// The callee's BYE.
    Callee,
    /// Its session timer ran out with no refresh (RFC 4028): both sides are gone, or have said BYE where we do not hear.
    Expired,
    /// It reached the longest time that a call is counted for.
    Aged,
}

/// One call in progress. Times are microseconds on the caller's clock, and negative where they lie before its zero: a
/// call outlives the process that began it.
#[derive(Debug)]
pub struct Call {
    pub(crate) key: CallKey,
    pub(crate) direction: Direction,
    pub(crate) from: PartyId,
    pub(crate) toward: PartyId,
    pub(crate) did: Option<Number>,
    pub(crate) texts: Texts,
    pub(crate) began_us: i64,
    pub(crate) answered_us: Option<i64>,
    /// When its session timer runs out.
    pub(crate) expires: Option<Time>,
    /// When it is counted no longer, whatever happens.
    pub(crate) ages: Time,
    /// The callee's tag in the dialog that answered it, hashed: a BYE of another fork ends another dialog.
    pub(crate) dialog: Option<u64>,
    /// INVITEs with this key that have no final yet. An upstream that forks sends more than one.
    pub(crate) setups: u8,
    /// What it holds of the counts.
    pub(crate) permit: Permit,
    /// The gateway that it goes by.
    pub(crate) gateway: Option<SocketAddr>,
    /// No limit refuses it.
    pub(crate) is_free: bool,
    /// The earliest deadline that the wheel knows of.
    pub(crate) armed: Deadline,
}

/// The texts of a call, one behind the other in one buffer, which the next call of its slot uses again.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    bytes: Vec<u8>,
    ends: [u16; 3],
}

/// What a call is opened with: everything that is known at its admission.
#[derive(Debug)]
pub(crate) struct Opening<'a> {
    pub(crate) key: CallKey,
    pub(crate) direction: Direction,
    pub(crate) from: PartyId,
    pub(crate) toward: PartyId,
    pub(crate) did: Option<Number>,
    pub(crate) call_id: &'a [u8],
    pub(crate) called: &'a [u8],
    pub(crate) caller: &'a [u8],
    pub(crate) organisation: &'a [u8],
    pub(crate) gateway: Option<SocketAddr>,
    pub(crate) is_free: bool,
    pub(crate) permit: Permit,
}

impl CallKey {
    /// The key of a call by the key of `key_id`, or by the active one; `None` when the ring has no such key.
    pub(crate) fn of(
        keys: &KeyRing,
        key_id: Option<u8>,
        direction: Direction,
        call_id: &[u8],
        from_tag: &[u8],
    ) -> Option<CallKey> {
        // A PBX that calls one of our own DIDs may come back with the same Call-ID: that is another call.
        let way: &[u8] = match direction {
            Direction::Inbound => b"in",
            Direction::Outbound => b"out",
        };
        let parts = [way, call_id, from_tag];
        let mac = match key_id {
            Some(id) => keys.sign_with(id, Use::Call, &parts)?,
            None => keys.sign(Use::Call, &parts),
        };
        Some(CallKey(u128::from_le_bytes(mac)))
    }
}

impl Call {
    /// What it is found by.
    pub fn key(&self) -> CallKey {
        self.key
    }

    /// Which way it was set up.
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// Who sent its INVITE.
    pub fn from(&self) -> PartyId {
        self.from
    }

    /// Where it went.
    pub fn toward(&self) -> PartyId {
        self.toward
    }

    /// Our DID: the called one of an inbound call, the shown one of an outbound call, where there is one.
    pub fn did(&self) -> Option<Number> {
        self.did
    }

    /// The Call-ID, as it arrived.
    pub fn call_id(&self) -> &[u8] {
        self.texts.part(0)
    }

    /// The request-URI's user part, as it arrived.
    pub fn called(&self) -> &[u8] {
        self.texts.part(1)
    }

    /// The user part of From, as it arrived.
    pub fn caller(&self) -> &[u8] {
        self.texts.part(2)
    }

    /// The id of the organisation whose call it is; empty when none is known.
    pub fn organisation(&self) -> &[u8] {
        self.texts.part(3)
    }

    /// The gateway that it goes by.
    pub fn gateway(&self) -> Option<SocketAddr> {
        self.gateway
    }

    /// When its INVITE arrived.
    pub fn began_us(&self) -> i64 {
        self.began_us
    }

    /// When its 2xx was passed on; `None` while it is in setup.
    pub fn answered_us(&self) -> Option<i64> {
        self.answered_us
    }

    /// When its session timer runs out; `None` where it has none.
    pub fn expires(&self) -> Option<Time> {
        self.expires
    }

    /// The callee's tag in the dialog that answered it, hashed; `None` while there is none.
    pub fn dialog(&self) -> Option<u64> {
        self.dialog
    }

    /// When there is something to do about it even if nothing arrives.
    pub(crate) fn deadline(&self) -> Time {
        self.expires.map_or(self.ages, |expires| expires.min(self.ages))
    }
}

impl Texts {
    /// Takes these texts into the room that is there; one that is too long is cut.
    pub(crate) fn take(&mut self, parts: [&[u8]; 4]) {
        self.bytes.clear();
        let mut ends = [0; 4];
        for (part, end) in parts.into_iter().zip(&mut ends) {
            self.bytes.extend_from_slice(part.get(..CALL_TEXT_BYTES).unwrap_or(part));
            *end = u16::try_from(self.bytes.len()).unwrap_or(u16::MAX);
        }
        let [first, second, third, _] = ends;
        self.ends = [first, second, third];
    }

    fn part(&self, number: usize) -> &[u8] {
        let end_of = |number: usize| self.ends.get(number).map_or(self.bytes.len(), |end| usize::from(*end));
        let start = number.checked_sub(1).map_or(0, end_of);
        self.bytes.get(start..end_of(number)).unwrap_or_default()
    }
}

impl EndedBy {
    /// The counter's label.
    pub const fn name(self) -> &'static str {
        match self {
            EndedBy::Caller => "caller",
            EndedBy::Callee => "callee",
            EndedBy::Expired => "expired",
            EndedBy::Aged => "aged",
        }
    }
}

/// As 32 hexadecimal digits.
impl fmt::Display for CallKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// A dialog's tag in 64 bits: only to tell two forks of one call apart.
pub(crate) fn hash_of(tag: &[u8]) -> u64 {
    tag.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// A time as calls keep it.
pub(crate) fn micros(time: Time) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

/// The microseconds between two of them.
pub(crate) fn between(earlier: i64, later: i64) -> u64 {
    u64::try_from(later.saturating_sub(earlier)).unwrap_or(0)
}

#[cfg(test)]
mod tests;
