//! The response context of one request (RFC 3261 16.7): its server transaction and the client transactions of its
//! attempts. One state machine per file; the table holds them all.

pub(crate) mod invite_client;
pub(crate) mod invite_server;
pub(crate) mod key;
pub(crate) mod plain_client;
pub(crate) mod plain_server;
mod rest;
pub(crate) mod table;

use crate::calls::CallKey;
use crate::deadline::Deadline;
use crate::flow::{Flow, PartyId, Time, Transport};
use crate::identity::IdentityEdits;
use crate::rewrite::Stamp;
use crate::settings::{Peer, TimerSettings};
use crate::untagged::Untagged;
use invite_client::InviteClient;
use invite_server::InviteServer;
use key::Key;
use plain_client::PlainClient;
use plain_server::PlainServer;
use sip::{Message, Method};

/// Bytes of a context's slot, of its key in the index and of its entries in the wheel, with the spare room of each.
const PLACE_BYTES: usize = 96;

/// One request that we carry, from its arrival to the end of its last transaction.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) slot: u32,
    pub(crate) key: Key,
    pub(crate) method: Method,
    /// The CSeq number.
    pub(crate) number: u32,
    /// Who sent the request.
    pub(crate) party: PartyId,
    /// Where its responses go.
    pub(crate) upstream: Flow,
    pub(crate) opened: Time,
    pub(crate) server: Server,
    /// The request as it was last forwarded: the one owned copy. Empty again once nothing can ask for it.
    pub(crate) sent: Vec<u8>,
    pub(crate) stamp: Stamp,
    /// What From and To were when the request came, where they left with other names; empty where they did not.
    pub(crate) came_from: Untagged,
    pub(crate) came_to: Untagged,
    /// The last response sent upstream.
    pub(crate) reply: Vec<u8>,
    pub(crate) attempts: Vec<Attempt>,
    /// Peers not tried yet, the next one last.
    pub(crate) untried: Vec<Peer>,
    /// Whose peers are tried when these did not take the call.
    pub(crate) fallback: Option<PartyId>,
    /// The best final response so far of attempts that led on, as it would go upstream, and its status.
    pub(crate) best: Vec<u8>,
    pub(crate) best_status: Option<u16>,
    /// Where the attempts go.
    pub(crate) toward: PartyId,
    /// The call that the request belongs to.
    pub(crate) call: CallKey,
    /// The call is in setup by this request: its final response says whether it stands.
    pub(crate) sets_up: bool,
    /// The request had a To tag: a re-INVITE is no new call.
    pub(crate) in_dialog: bool,
    /// A response from 180 to 189 was passed on.
    pub(crate) has_rung: bool,
    /// The caller has given up.
    pub(crate) cancelled: bool,
    /// The Reason lines that our CANCELs carry (RFC 3326).
    pub(crate) cancel_reason: Vec<u8>,
    /// What an attempt without a usable final left: the best of them is answered when no attempt is left.
    pub(crate) leftover: Option<u16>,
    /// The earliest deadline that the wheel knows of.
    pub(crate) armed: Deadline,
}

/// The side toward the one who asked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Server {
    Invite(InviteServer),
    Plain(PlainServer),
}

/// The request at one peer: a branch (RFC 3261 16.6).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    pub(crate) number: u8,
    pub(crate) key: Key,
    pub(crate) peer: Peer,
    pub(crate) client: Client,
    /// When the next peer is tried, if this one has said nothing.
    pub(crate) hop_at: Deadline,
    /// The next peer was tried: this attempt stays a branch, but its failures do not count any more.
    pub(crate) given_up: bool,
    pub(crate) cancel: Cancel,
}

/// The side toward a peer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Client {
    Invite(InviteClient),
    Plain(PlainClient),
}

/// The CANCEL of an attempt: never before a provisional response, and once (RFC 3261 9.1).
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cancel {
    None,
    /// To be sent with the first provisional response.
    Wanted(Why),
    /// Sent; when its time is over the attempt is as good as cancelled.
    Sent {
        client: PlainClient,
        over_at: Time,
        /// Whatever happens meanwhile, it is sent again as it was.
        why: Why,
    },
}

/// Why an attempt is cancelled: its Reason (RFC 3326).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Why {
    /// Nobody waits for it any more: no Reason.
    GivenUp,
    /// The caller has given up: the Reason of the CANCEL that came.
    Caller,
    /// Another attempt took the call.
    Elsewhere,
}

impl Context {
    /// Bytes that it holds, about: its own, its place in the table, and its larger buffers.
    pub(crate) fn held_bytes(&self) -> usize {
        let buffers = [&self.sent, &self.reply, &self.best, &self.came_from.text, &self.came_to.text];
        let attempts = self.attempts.capacity() * size_of::<Attempt>();
        size_of::<Context>() + PLACE_BYTES + attempts + buffers.iter().map(|buffer| buffer.capacity()).sum::<usize>()
    }

    /// No final response has been sent upstream.
    pub(crate) fn is_open(&self) -> bool {
        self.server.is_open()
    }

    /// Every transaction of it has ended.
    pub(crate) fn is_over(&self) -> bool {
        let server = match &self.server {
            Server::Invite(server) => server.state == invite_server::State::Terminated,
            Server::Plain(server) => server.state == plain_server::State::Terminated,
        };
        server && self.attempts.iter().all(Attempt::is_over)
    }

    /// The earliest deadline of all its transactions.
    pub(crate) fn deadline(&self) -> Deadline {
        self.attempts.iter().fold(self.server.deadline(), |least, attempt| attempt.deadline_after(&self.server, least))
    }

    /// The request arrived again: there is a response to send again.
    pub(crate) fn wants_reply_again(&self) -> bool {
        let wants = match &self.server {
            Server::Invite(server) => server.on_invite() == invite_server::Heard::Resend,
            Server::Plain(server) => server.on_request(),
        };
        wants && !self.reply.is_empty()
    }

    /// Keeps what From and To were, where they leave with other names: the answers go back with these.
    pub(crate) fn remember_names(&mut self, request: &Message<'_>, identity: &IdentityEdits<'_>) {
        let bytes = request.bytes();
        if identity.from.is_some() {
            self.came_from.take(request.from().of(bytes), request.from_tag());
        }
        if identity.to.is_some() {
            self.came_to.take(request.to().of(bytes), request.to_tag());
        }
    }

    /// The attempt that a branch names.
    pub(crate) fn attempt_of(&self, key: Key, number: u8) -> Option<usize> {
        self.attempts.iter().position(|attempt| attempt.key == key && attempt.number == number)
    }
}

impl Server {
    fn deadline(&self) -> Deadline {
        match self {
            Server::Invite(server) => server.deadline(),
            Server::Plain(server) => server.deadline(),
        }
    }

    /// No final response has been sent upstream.
    fn is_open(&self) -> bool {
        match self {
            Server::Invite(server) => server.state == invite_server::State::Proceeding,
            Server::Plain(server) => server.is_open(),
        }
    }

    /// The earliest deadline of it and of one client transaction.
    fn deadline_with(&self, client: &Client) -> Deadline {
        let own = self.deadline();
        if self.outlasts(client) { own } else { own.min(client.deadline()) }
    }

    /// True when a client transaction has no end of its own to wait for: it has its final response, and whether it absorbs
    /// further ones or is over makes no difference while this one lingers.
    fn outlasts(&self, client: &Client) -> bool {
        let is_completed = matches!(client, Client::Plain(client) if client.state == plain_client::State::Completed);
        is_completed && !self.is_open() && self.deadline() != Deadline::NONE
    }
}

impl Client {
    fn deadline(&self) -> Deadline {
        match self {
            Client::Invite(client) => client.deadline(),
            Client::Plain(client) => client.deadline(),
        }
    }
}

impl Attempt {
    pub(crate) fn is_pending(&self) -> bool {
        match &self.client {
            Client::Invite(client) => client.is_pending(),
            Client::Plain(client) => client.is_pending(),
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        match &self.client {
            Client::Invite(client) => client.state == invite_client::State::Terminated,
            Client::Plain(client) => client.state == plain_client::State::Terminated,
        }
    }

    /// It has heard a provisional response to INVITE, and no final.
    fn is_proceeding(&self) -> bool {
        matches!(&self.client, Client::Invite(client) if client.is_proceeding())
    }

    /// It has heard nothing at all.
    pub(crate) fn is_unheard(&self) -> bool {
        match &self.client {
            Client::Invite(client) => client.state == invite_client::State::Calling,
            Client::Plain(client) => client.state == plain_client::State::Trying,
        }
    }

    /// Nothing is sent again; a late response is still recognised.
    pub(crate) fn stop_resending(&mut self) {
        self.hop_at = Deadline::NONE;
        match &mut self.client {
            Client::Invite(client) => client.stop_resending(),
            Client::Plain(client) => client.stop_resending(),
        }
    }

    /// From now on its peer is reached by datagram.
    pub(crate) fn turn_to_datagrams(&mut self, now: Time, timers: &TimerSettings) {
        self.peer = self.peer.reached_by(Transport::Udp);
        match &mut self.client {
            Client::Invite(client) => client.turn_to_datagrams(now, timers),
            Client::Plain(client) => client.turn_to_datagrams(now, timers),
        }
        if let Cancel::Sent { client, .. } = &mut self.cancel {
            client.turn_to_datagrams(now, timers);
        }
    }

    pub(crate) fn end(&mut self) {
        self.hop_at = Deadline::NONE;
        self.cancel = Cancel::None;
        match &mut self.client {
            Client::Invite(client) => client.end(),
            Client::Plain(client) => client.end(),
        }
    }

    /// Its earliest deadline, or `least` where that is earlier.
    fn deadline_after(&self, server: &Server, least: Deadline) -> Deadline {
        if server.outlasts(&self.client) {
            return least.min(self.hop_at);
        }
        let cancel = match &self.cancel {
            Cancel::Sent { client, over_at, .. } if self.is_pending() => client.deadline().min(Deadline::at(*over_at)),
            _ => Deadline::NONE,
        };
        self.client.deadline().min(self.hop_at).min(cancel).min(least)
    }
}
