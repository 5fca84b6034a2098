//! One call through a proxy that runs, placed by the simulated party of the demonstration from an address of its own.

use super::call::{self, Wish};
use super::ladder::Sightings;
use super::party::Party;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

/// What its sightings call the caller.
const NAME: &str = "smoke";

/// A call to place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Smoke<'a> {
    /// Where the caller speaks from.
    pub(crate) from: SocketAddr,
    /// Where the proxy listens for UDP.
    pub(crate) proxy: SocketAddr,
    /// The user part of From.
    pub(crate) caller: &'a str,
    /// The number that is called.
    pub(crate) called: &'a str,
    /// The time for a final response; after it the caller gives up.
    pub(crate) within: Duration,
}

/// How it went, as the caller saw it.
#[derive(Debug)]
pub(crate) struct Smoked {
    pub(crate) call_id: String,
    /// The final status of the INVITE; `None` when none came.
    pub(crate) status: Option<u16>,
    /// From the INVITE to its final response, or to the end of patience.
    pub(crate) after: Duration,
    /// The call has an end that both sides agree on.
    pub(crate) is_closed: bool,
    /// The messages, each with who sent it, in a few words.
    pub(crate) messages: Vec<String>,
}

/// Places the call: talks for a moment where it is answered, and hangs up.
pub(crate) async fn place(smoke: Smoke<'_>) -> io::Result<Smoked> {
    let sightings = Arc::new(Sightings::default());
    let socket = UdpSocket::bind(smoke.from)?;
    let (party, _ears) = Party::new(NAME, false, socket, smoke.proxy, Arc::clone(&sightings))?;
    let outcome = call::place(&party, smoke.caller, smoke.called, Wish::TalkWithin(smoke.within)).await;
    let seen = sightings.ladder(NAME, &outcome.call_id).sightings;
    let told = |is_sent, summary: &str| format!("{} {summary}", if is_sent { "->" } else { "<-" });
    let messages = seen.iter().map(|sighting| told(sighting.is_sent, &sighting.summary)).collect();
    let call::Outcome { call_id, status, after, is_closed } = outcome;
    Ok(Smoked { call_id, status, after, is_closed, messages })
}
