//! What the configuration means: addresses, peers, policy and times, all resolved. The program makes it from the file;
//! the core only reads it.

mod availability;
mod network;
mod quota;

pub use availability::{Availability, AvailabilitySettings, WhenDown};
pub use network::Network;
pub use quota::{LimitSettings, NumberPrefix, Quota};

use crate::flow::{Flow, InterfaceId, ListenerId, PartyId, Time, Transport};
use directory::Environment;
use sip::{Form, Number, Numbering, Uri};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Everything the core is told at its start, and again when the configuration is read anew.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What this instance is. DIDs of other environments go to its own PBX unless it is [`Environment::Prod`].
    pub environment: Environment,
    /// Our sockets, in the configuration's order.
    pub listeners: Vec<Listener>,
    /// Host names that mean us beside the listeners' addresses: lower case, no trailing dot.
    pub own_names: Vec<Box<str>>,
    /// Names of interfaces that peers are tied to; [`InterfaceId`] 1 is the first.
    pub interfaces: Vec<Box<str>>,
    /// Trunks first, in the configuration's order, then environments.
    pub parties: Vec<Party>,
    /// How numbers are read and written.
    pub numbering: Numbering,
    /// What a number without a good row gets.
    pub dispatch: DispatchSettings,
    /// What holds when peers do not answer.
    pub availability: AvailabilitySettings,
    /// Who is shown to whom.
    pub caller_id: CallerIdSettings,
    /// Until when in-dialog requests to our own address without our Route go to the local PBX (calls older than we).
    pub adopt_until: Option<Time>,
    /// RFC 3261's timers, and those that are ours.
    pub timers: TimerSettings,
    /// Numbers on tables.
    pub limits: LimitSettings,
}

/// One socket that we listen on and send from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Listener {
    /// UDP or TCP.
    pub transport: Transport,
    /// The local address: it also stands in our Via and Record-Route.
    pub address: SocketAddr,
}

/// One side that we talk to: a trunk or an environment.
#[derive(Clone, Debug)]
pub struct Party {
    /// The configuration's name: `tata`, `prod`.
    pub name: Box<str>,
    /// What it is, and so which way its calls go.
    pub role: Role,
    /// Who may speak as this party.
    pub sources: Vec<Source>,
    /// Where calls to this party go: gateways or targets, in the order in which they are tried.
    pub peers: Vec<Peer>,
    /// How the called number is written toward this party; `None` leaves it as received.
    pub called_number: Option<Form>,
    /// Whom it may call for, what it is shown, and whether its word on identity counts.
    pub identity: IdentitySettings,
    /// How its peers stand in for each other.
    pub availability: Availability,
    /// Where its media may be; empty when nobody has said so, and then nothing is looked at.
    pub media: Vec<Network>,
    /// How many calls it may have, how fast, and where to.
    pub quota: Quota,
}

/// What a party may say, and is shown, of who calls.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct IdentitySettings {
    /// A trunk: how callers are shown to it; `None` leaves identity alone (`caller_id = "pass"`).
    pub profile: Option<Profile>,
    /// A trunk: the DID that a call gets when no rule yields one.
    pub fallback_did: Option<Number>,
    /// A trunk: the `provider` values of rows whose DIDs came by it.
    pub providers: Vec<Box<str>>,
    /// A trunk: the `trunk_id` values of such rows. Where both columns lead somewhere, this one counts.
    pub trunk_ids: Vec<Box<str>>,
    /// An environment: names or ids of the organisations that it may call for; `None` for all.
    pub organisations: Option<Vec<Box<str>>>,
    /// An environment: emergency and short numbers get 403.
    pub refuses_emergency: bool,
    /// The identity headers of an untrusted party are removed, and it is not shown what Privacy hides (RFC 3325).
    pub is_untrusted: bool,
}

/// How callers are shown to one trunk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Profile {
    /// How a number is written.
    pub number: Form,
    /// From carries the DID.
    pub in_from: bool,
    /// P-Asserted-Identity carries the DID.
    pub in_asserted: bool,
    /// What becomes of P-Preferred-Identity.
    pub preferred: HeaderRule,
    /// What becomes of Remote-Party-ID.
    pub remote_party: HeaderRule,
    /// What becomes of Diversion.
    pub diversion: HeaderRule,
    /// What becomes of History-Info.
    pub history: HeaderRule,
    /// The host beside the number.
    pub host: HostRule,
    /// The display name beside the number.
    pub display: DisplayRule,
    /// `;user=phone` stands behind the host.
    pub user_phone: bool,
    /// A forwarded call shows its first caller in From.
    pub pass_forwarded_caller: bool,
}

impl Default for Profile {
    fn default() -> Self {
        Profile {
            number: Form::PlusE164,
            in_from: true,
            in_asserted: true,
            preferred: HeaderRule::Remove,
            remote_party: HeaderRule::Remove,
            diversion: HeaderRule::Rewrite,
            history: HeaderRule::Rewrite,
            host: HostRule::AsIs,
            display: DisplayRule::Remove,
            user_phone: false,
            pass_forwarded_caller: false,
        }
    }
}

/// What becomes of a header that names a caller. A number that is not the organisation's own never passes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeaderRule {
    /// It stays as it came when its number is the organisation's own, else it goes.
    Keep,
    /// It names a DID of the organisation in the profile's form, else it goes.
    Rewrite,
    /// It goes.
    Remove,
}

/// The host of a rewritten identity.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HostRule {
    /// As the PBX wrote it in From.
    AsIs,
    /// This domain.
    Domain(Box<str>),
    /// Our address toward the trunk.
    Ours,
}

/// The display name of a rewritten identity.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DisplayRule {
    /// As the PBX wrote it in From.
    Keep,
    /// None.
    Remove,
    /// The organisation's name.
    Organisation,
}

/// What holds for every caller.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CallerIdSettings {
    /// The header in which a PBX names the calling endpoint; removed from everything that we pass on.
    pub endpoint_header: Option<Box<str>>,
    /// What a claim to another organisation's number gets.
    pub on_foreign: OnForeign,
    /// Emergency and short numbers: carried before any other rule.
    pub emergency: Vec<Box<str>>,
}

/// What a claim to another organisation's number gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnForeign {
    /// The chain goes on without it.
    #[default]
    Replace,
    /// 403.
    Reject,
}

/// What a party is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    /// The carrier side: its calls are inbound.
    Trunk,
    /// A PBX side: its calls are outbound.
    Environment(Environment),
}

/// An address that a party speaks from. What is `None` is not looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Source {
    /// The source address.
    pub ip: IpAddr,
    /// The source port; UDP only, since a stream's client port says nothing.
    pub port: Option<u16>,
    /// The arrival interface.
    pub interface: Option<InterfaceId>,
}

/// One SIP server of a party.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peer {
    /// How it is spoken to.
    pub transport: Transport,
    /// Where it listens.
    pub address: SocketAddr,
    /// Which of our listeners its messages leave from.
    pub listener: ListenerId,
    /// A peer of transport `auto`: `transport` is UDP, and what is too large for a datagram goes by a stream.
    pub by_size: Option<BySize>,
}

/// How requests reach a peer of transport `auto`: by datagram up to a size, above it by a stream (RFC 3261 18.1.1).
///
/// Both listeners have one address: so the sent-by in our Via stays, and a request that went both ways is one request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BySize {
    /// The UDP listener.
    pub datagram: ListenerId,
    /// The TCP listener.
    pub stream: ListenerId,
    /// The largest request that goes by datagram, in bytes of SIP.
    pub datagram_bytes_max: usize,
}

/// What a number without a good row gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DispatchSettings {
    /// A number that no row has.
    pub unknown_did: UnknownDid,
    /// Status for a number that has a row and is not in service.
    pub not_in_service_status: u16,
}

/// What a number that no row has gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnknownDid {
    /// Refused with this status.
    Refuse(u16),
    /// Sent to this environment, with a warning.
    Environment(Environment),
}

/// RFC 3261 17's timers and ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimerSettings {
    /// Round-trip estimate; RFC 3261 table 4 derives A, B, D to L from it.
    pub t1: Duration,
    /// Longest interval between retransmissions of non-INVITE requests and INVITE responses.
    pub t2: Duration,
    /// Longest time that a message stays in the network.
    pub t4: Duration,
    /// Longest time between 1xx of an INVITE, more than 3 minutes (16.6 item 11).
    pub timer_c: Duration,
    /// Longest time without any response before the next target is tried; the last target has Timer B.
    pub hop_timeout: Duration,
}

impl Default for TimerSettings {
    fn default() -> Self {
        TimerSettings {
            t1: Duration::from_millis(500),
            t2: Duration::from_secs(4),
            t4: Duration::from_secs(5),
            timer_c: Duration::from_secs(181),
            hop_timeout: Duration::from_secs(4),
        }
    }
}

impl TimerSettings {
    /// 64*T1: timers B, F, H, J, L and M.
    pub fn b(&self) -> Duration {
        self.t1 * 64
    }
}

/// What becomes of datagrams that come from no peer. In either case nobody hears an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Strangers {
    /// A filter in the kernel drops them before they take room in a receive buffer. Nobody sees who they were.
    #[default]
    Kernel,
    /// They are received, told to the security log, and dropped before anything is parsed.
    Log,
}

impl Settings {
    /// The listener of an id. Ids come from these settings; an id of older ones may be gone.
    pub fn listener(&self, id: ListenerId) -> Option<&Listener> {
        self.listeners.get(usize::from(id.0))
    }

    /// The transport of a listener; UDP when it is gone.
    pub fn transport(&self, id: ListenerId) -> Transport {
        self.listener(id).map_or(Transport::Udp, |l| l.transport)
    }

    /// The party of an id.
    pub fn party(&self, id: PartyId) -> Option<&Party> {
        self.parties.get(usize::from(id.0))
    }

    /// Who speaks on this flow: the party whose source matches, the most exact source first. `None` is a stranger.
    pub fn party_of(&self, flow: &Flow) -> Option<PartyId> {
        let transport = self.transport(flow.listener);
        let mut best: Option<(u8, usize)> = None;
        for (at, party) in self.parties.iter().enumerate() {
            for source in party.sources.iter().filter(|source| source.matches(flow, transport)) {
                let exactness = u8::from(source.port.is_some()) + u8::from(source.interface.is_some());
                if best.is_none_or(|(found, _)| exactness > found) {
                    best = Some((exactness, at));
                }
            }
        }
        best.and_then(|(_, at)| u16::try_from(at).ok()).map(PartyId)
    }

    /// The party of an environment.
    pub fn environment_party(&self, environment: Environment) -> Option<PartyId> {
        self.position(|party| party.role == Role::Environment(environment))
    }

    /// The trunk that outbound calls take: the first of the configuration.
    pub fn first_trunk(&self) -> Option<PartyId> {
        self.position(|party| party.role == Role::Trunk)
    }

    /// True when `ip` and `port` are one of our listeners.
    pub fn is_own_address(&self, ip: IpAddr, port: u16) -> bool {
        self.listeners.iter().any(|l| l.address.ip() == ip && l.address.port() == port)
    }

    /// True when `ip` belongs to a configured peer or source.
    pub fn is_peer_ip(&self, ip: IpAddr) -> bool {
        self.parties
            .iter()
            .any(|p| p.peers.iter().any(|x| x.address.ip() == ip) || p.sources.iter().any(|s| s.ip == ip))
    }

    /// Pairs of parties that one packet could come from: a configuration with such a pair is refused.
    ///
    /// Over TCP a client's port says nothing, so with a TCP listener two sources of one address cannot be told apart by
    /// port alone.
    pub fn ambiguities(&self) -> Vec<(PartyId, PartyId, IpAddr)> {
        let has_tcp = self.listeners.iter().any(|l| l.transport == Transport::Tcp);
        let sources: Vec<(PartyId, &Source)> = self.sources().collect();
        let mut found = Vec::new();
        for (at, (a, left)) in sources.iter().enumerate() {
            for (b, right) in sources.iter().skip(at + 1) {
                if a != b && left.overlaps(right, has_tcp) && !found.contains(&(*a, *b, left.ip)) {
                    found.push((*a, *b, left.ip));
                }
            }
        }
        found
    }

    fn sources(&self) -> impl Iterator<Item = (PartyId, &Source)> {
        let ids = (0..=u16::MAX).map(PartyId);
        ids.zip(&self.parties).flat_map(|(id, party)| party.sources.iter().map(move |source| (id, source)))
    }

    fn position(&self, wanted: impl Fn(&Party) -> bool) -> Option<PartyId> {
        (0..=u16::MAX).map(PartyId).zip(&self.parties).find(|(_, party)| wanted(party)).map(|(id, _)| id)
    }
}

impl Source {
    fn matches(&self, flow: &Flow, transport: Transport) -> bool {
        self.ip == flow.remote.ip()
            && (transport == Transport::Tcp || self.port.is_none_or(|port| port == flow.remote.port()))
            && self.interface.is_none_or(|interface| interface == flow.interface)
    }

    fn overlaps(&self, other: &Source, has_tcp: bool) -> bool {
        let same = |a: Option<u16>, b: Option<u16>| a.is_none() || b.is_none() || a == b;
        let interface = |source: &Source| source.interface.map(|i| i.0);
        self.ip == other.ip && (has_tcp || same(self.port, other.port)) && same(interface(self), interface(other))
    }
}

impl Party {
    /// The configured peer that a source belongs to: the same address and port, else the same address, else the first.
    pub fn peer_at(&self, source: SocketAddr) -> Option<&Peer> {
        let exact = self.peers.iter().find(|peer| peer.address == source);
        let same_ip = || self.peers.iter().find(|peer| peer.address.ip() == source.ip());
        exact.or_else(same_ip).or_else(|| self.peers.first())
    }
}

impl Peer {
    /// The peer as a dialog token keeps it.
    pub fn hop(&self) -> crate::dialog_token::Hop {
        crate::dialog_token::Hop { transport: self.named_transport(), address: self.address }
    }

    /// The transport that URIs name: a stream that is taken for its size alone is not named.
    pub fn named_transport(&self) -> Transport {
        if self.by_size.is_some() { Transport::Udp } else { self.transport }
    }

    /// The peer as the configuration has it, whatever carries one request to it.
    pub fn as_configured(&self) -> Peer {
        self.reached_by(Transport::Udp)
    }

    /// A peer of transport `auto` as it is reached by this transport; any other is what it is.
    pub fn reached_by(&self, transport: Transport) -> Peer {
        match (self.by_size, transport) {
            (Some(by_size), Transport::Udp) => Peer { transport, listener: by_size.datagram, ..*self },
            (Some(by_size), Transport::Tcp) => Peer { transport, listener: by_size.stream, ..*self },
            (None, _) => *self,
        }
    }
}

/// As the configuration writes it: `udp:10.10.10.3:5080`.
impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let transport = if self.by_size.is_some() { "auto" } else { self.transport.as_str() };
        write!(f, "{transport}:{}", self.address)
    }
}

impl Settings {
    /// True when the flow's remote end is a configured peer, address and port.
    pub fn is_peer_address(&self, flow: &Flow) -> bool {
        let transport = self.transport(flow.listener);
        self.parties.iter().flat_map(|party| &party.peers).any(|peer| {
            peer.address.ip() == flow.remote.ip()
                && (transport == Transport::Tcp || peer.address.port() == flow.remote.port())
        })
    }

    /// The configured peer at an address, with its party.
    pub fn peer_of(&self, transport: Transport, address: SocketAddr) -> Option<(Peer, PartyId)> {
        let parties = (0..=u16::MAX).map(PartyId).zip(&self.parties);
        parties
            .flat_map(|(id, party)| party.peers.iter().map(move |peer| (*peer, id)))
            .find(|(peer, _)| (peer.transport == transport || peer.by_size.is_some()) && peer.address == address)
    }

    /// The peer of transport `auto` at an address.
    pub fn peer_by_size(&self, address: SocketAddr) -> Option<(&Peer, BySize)> {
        let mut peers = self.parties.iter().flat_map(|party| &party.peers);
        peers.find_map(|peer| Some((peer, peer.by_size.filter(|_| peer.address == address)?)))
    }

    /// The configured peer that a URI's host names: address and port, else the first at that address.
    pub fn peer_named(&self, uri: &Uri<'_>) -> Option<&Peer> {
        let ip = uri.host_ip()?;
        let port = uri.port.unwrap_or(5060);
        let at = || self.parties.iter().flat_map(|party| &party.peers).filter(move |peer| peer.address.ip() == ip);
        at().find(|peer| peer.address.port() == port).or_else(|| at().next())
    }
}
