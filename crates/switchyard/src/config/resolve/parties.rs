//! Trunks and environments: their peers, their sources, and who could be taken for whom.

use super::{Named, Resolver};
use crate::config::fault::Key;
use crate::config::settings::{EnvironmentSettings, Settings, TrunkSettings};
use crate::config::{limits, value};
use directory::Environment;
use proxy::settings::{BySize, Source};
use proxy::{InterfaceId, Listener, ListenerId, Party, PartyId, Peer, Role, Transport};
use sip::{Form, Number, Numbering};
use std::net::{IpAddr, SocketAddr};

/// Every trunk and environment, resolved.
#[derive(Default)]
pub(super) struct Sides {
    pub(super) parties: Vec<Party>,
    /// The key of each party's table, in the order of `parties`.
    pub(super) keys: Vec<Key>,
    pub(super) interfaces: Vec<Box<str>>,
    pub(super) fallback_dids: Vec<(PartyId, Number)>,
    pub(super) fallback_owners: Vec<(PartyId, String)>,
}

/// What a trunk and an environment have in common in the file.
pub(super) struct Side<'s> {
    pub(super) key: Key,
    pub(super) name: &'s str,
    pub(super) role: Role,
    /// The key of the list of peers.
    pub(super) peers_name: &'static str,
    pub(super) peers: &'s [String],
    pub(super) sources: Option<&'s [String]>,
    pub(super) interface: Option<&'s str>,
    pub(super) listener: Option<&'s str>,
    pub(super) datagram_bytes_max: Option<u64>,
    pub(super) called_number: Option<&'s str>,
    pub(super) media: &'s [String],
}

/// The table of an environment, if the file has one.
pub(super) fn of_environment(settings: &Settings, environment: Environment) -> Option<&EnvironmentSettings> {
    let tables = &settings.environments;
    match environment {
        Environment::Prod => tables.prod.as_ref(),
        Environment::Staging => tables.staging.as_ref(),
        Environment::Oss => tables.oss.as_ref(),
    }
}

impl<'s> Side<'s> {
    fn of_trunk(index: usize, trunk: &'s TrunkSettings) -> Side<'s> {
        Side {
            key: Key::of("trunk").index(index),
            name: &trunk.name,
            role: Role::Trunk,
            peers_name: "gateways",
            peers: &trunk.gateways,
            sources: trunk.sources.as_deref(),
            interface: trunk.interface.as_deref(),
            listener: trunk.listener.as_deref(),
            datagram_bytes_max: trunk.datagram_bytes_max,
            called_number: trunk.called_number.as_deref(),
            media: &trunk.media,
        }
    }

    fn of_environment(environment: Environment, settings: &'s EnvironmentSettings) -> Side<'s> {
        Side {
            key: Key::of("environments").name(environment.as_str()),
            name: environment.as_str(),
            role: Role::Environment(environment),
            peers_name: "targets",
            peers: &settings.targets,
            sources: settings.sources.as_deref(),
            interface: settings.interface.as_deref(),
            listener: settings.listener.as_deref(),
            datagram_bytes_max: settings.datagram_bytes_max,
            called_number: settings.called_number.as_deref(),
            media: &settings.media,
        }
    }

    fn peers_key(&self) -> Key {
        self.key.name(self.peers_name)
    }
}

impl Resolver<'_, '_> {
    /// `listeners` is `None` where they have faults of their own.
    pub(super) fn sides(
        &mut self,
        settings: &Settings,
        mine: Environment,
        listeners: &Option<Vec<Listener>>,
        numbering: Numbering,
    ) -> Sides {
        let mut sides = Sides::default();
        if !(1..=limits::TRUNKS).contains(&settings.trunk.len()) {
            self.refuse(&Key::of("trunk"), "", format!("1 to {} tables [[trunk]]", limits::TRUNKS));
        }
        for (id, (index, trunk)) in (0..=u16::MAX).map(PartyId).zip(settings.trunk.iter().enumerate()) {
            let side = Side::of_trunk(index, trunk);
            self.refuse_trunk_name(&side, settings.trunk.get(..index).unwrap_or_default());
            self.add(&side, listeners.as_deref(), &mut sides);
            let fallback_did = self.fallback_did(&side.key.name("fallback_did"), trunk, numbering);
            sides.fallback_dids.extend(fallback_did.map(|number| (id, number)));
            sides.fallback_owners.extend(trunk.fallback_owner.clone().map(|owner| (id, owner)));
            self.refuse_shared_rows(&side.key, trunk, settings.trunk.get(..index).unwrap_or_default());
            let identity = self.trunk_identity(&side.key, trunk, fallback_did);
            let availability = self.spread(&side, &trunk.weights, &trunk.failover);
            let quota = self.trunk_quota(&side, &trunk.quota);
            if let Some(party) = sides.parties.last_mut() {
                (party.identity, party.availability, party.quota) = (identity, availability, quota);
            }
        }
        for environment in Environment::ALL {
            match of_environment(settings, *environment) {
                Some(table) => {
                    let side = Side::of_environment(*environment, table);
                    self.add(&side, listeners.as_deref(), &mut sides);
                    let identity = self.environment_identity(&side.key, table);
                    let availability = self.spread(&side, &table.weights, &table.failover);
                    let quota = self.environment_quota(&side, &table.quota);
                    if let Some(party) = sides.parties.last_mut() {
                        (party.identity, party.availability, party.quota) = (identity, availability, quota);
                    }
                }
                None if *environment == mine => {
                    let key = Key::of("environments").name(mine.as_str());
                    self.refuse(&key, "", format!("a table [environments.{mine}]: that is what this instance is"));
                }
                None => {}
            }
        }
        self.when_down(settings, listeners.as_deref(), &mut sides);
        sides
    }

    /// Refuses each pair of parties that one packet could come from, at the second one's source.
    pub(super) fn refuse_ambiguities(&mut self, core: &proxy::Settings, keys: &[Key]) {
        let has_tcp = core.listeners.iter().any(|listener| listener.transport == Transport::Tcp);
        for (first, second, ip) in core.ambiguities() {
            let name = |id: PartyId| core.party(id).map_or("", |party| &party.name);
            let Some(key) = keys.get(usize::from(second.0)) else { continue };
            let key = self.source_key(core, second, key, ip);
            let why = match has_tcp {
                true => format!("{} speaks from {ip} too; over TCP a port tells nothing", name(first)),
                false => format!("{} speaks from {ip} too", name(first)),
            };
            let told_apart = if has_tcp { "by address or interface" } else { "by address, port or interface" };
            let expected = format!("sources that tell {} from {} {told_apart}", name(second), name(first));
            self.refuse_since(&key, &ip.to_string(), expected, why);
        }
    }

    /// The key that gives a party this source address: an element of its sources, else of its peers.
    fn source_key(&self, core: &proxy::Settings, id: PartyId, key: &Key, ip: IpAddr) -> Key {
        let Some(party) = core.party(id) else { return key.clone() };
        let written = self.source_keys.iter().find(|(name, source, _)| *name == party.name && *source == ip);
        if let Some((.., key)) = written {
            return key.clone();
        }
        let peers = key.name(if party.role == Role::Trunk { "gateways" } else { "targets" });
        let index = party.peers.iter().position(|peer| peer.address.ip() == ip);
        peers.index(index.unwrap_or_default())
    }

    fn refuse_trunk_name(&mut self, side: &Side<'_>, earlier: &[TrunkSettings]) {
        let key = side.key.name("name");
        let is_word = side.name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if !is_word || !(1..=limits::NAME_BYTES).contains(&side.name.len()) {
            let expected = format!("a name of 1 to {} letters, digits, - and _", limits::NAME_BYTES);
            self.refuse(&key, side.name, expected);
        } else if super::environment_named(side.name).is_some() {
            self.refuse(&key, side.name, "a name that is no environment's");
        } else if earlier.iter().any(|trunk| trunk.name == side.name) {
            self.refuse(&key, side.name, "a name of its own for each trunk");
        }
    }

    pub(super) fn add(&mut self, side: &Side<'_>, listeners: Option<&[Listener]>, sides: &mut Sides) {
        let interface =
            side.interface.map(|name| self.interface(&side.key.name("interface"), name, &mut sides.interfaces));
        let peers = self.peers(side, listeners);
        let sources = self.sources(side, interface, &peers, listeners.unwrap_or_default());
        let called_number =
            side.called_number.and_then(|text| self.called_number(&side.key.name("called_number"), text));
        sides.parties.push(Party {
            name: side.name.into(),
            role: side.role,
            sources,
            peers,
            called_number,
            identity: proxy::settings::IdentitySettings::default(),
            availability: proxy::settings::Availability::default(),
            media: self.media(&side.key.name("media"), side.media),
            quota: proxy::settings::Quota::default(),
        });
        sides.keys.push(side.key.clone());
    }

    fn peers(&mut self, side: &Side<'_>, listeners: Option<&[Listener]>) -> Vec<Peer> {
        let list = side.peers_key();
        if !(1..=proxy::limits::ATTEMPTS).contains(&side.peers.len()) {
            let expected = format!("1 to {} addresses: {}", proxy::limits::ATTEMPTS, value::PEER);
            self.refuse(&list, "", expected);
        }
        let named = side.listener.and_then(|text| self.named_listener(&side.key.name("listener"), text, listeners?));
        let datagram_bytes_max = self.datagram_bytes_max(side);
        let mut peers: Vec<Peer> = Vec::new();
        for (index, text) in side.peers.iter().enumerate() {
            let key = list.index(index);
            let Some((transport, address, is_auto)) = self.address(side, &key, text) else { continue };
            if let Some(why) = value::not_a_host(address.ip()) {
                self.refuse_since(&key, text, "the address of one host", why);
                continue;
            }
            let is_same = |peer: &Peer| peer.transport == transport || peer.by_size.is_some() || is_auto;
            if peers.iter().any(|peer| peer.address == address && is_same(peer)) {
                self.refuse(&key, text, "each address once");
            }
            let listener = listeners.and_then(|known| self.listener(&key, text, (transport, address), named, known));
            let by_size = listener.filter(|_| is_auto).and_then(|datagram| {
                let stream = self.stream_beside(&key, text, datagram, listeners.unwrap_or_default())?;
                Some(BySize { datagram, stream, datagram_bytes_max })
            });
            // Without a listener there is a fault already; any id does for the checks that follow.
            peers.push(Peer { transport, address, listener: listener.unwrap_or(ListenerId(0)), by_size });
            if let (Some(named), true) = (self.named.last_mut(), value::named_peer(text).is_some()) {
                named.peer = peers.last().copied();
            }
        }
        peers
    }

    /// Where a peer is, and whether it goes by size; `None` where it has a fault, or a host name without an address.
    fn address(&mut self, side: &Side<'_>, key: &Key, text: &str) -> Option<(Transport, SocketAddr, bool)> {
        if let Some(written) = value::peer(text) {
            return Some(written);
        }
        let Some((transport, host, port, is_auto)) = value::named_peer(text) else {
            self.refuse(key, text, value::PEER);
            return None;
        };
        let (party, host) = (side.name.into(), host.to_owned());
        let known = self.answers.get(&host);
        let address = known.map(|answer| (transport, SocketAddr::new(answer.address, port), is_auto));
        self.named.push(Named { party, text: text.to_owned(), host, peer: None, stale_since: None });
        address
    }

    /// Where a side's datagrams end and its streams begin.
    fn datagram_bytes_max(&mut self, side: &Side<'_>) -> usize {
        let Some(written) = side.datagram_bytes_max else { return proxy::limits::BY_DATAGRAM_BYTES };
        let key = side.key.name("datagram_bytes_max");
        let (least, most) = (limits::DATAGRAM_BYTES_MIN, limits::DATAGRAM_BYTES_MAX);
        if side.peers.iter().all(|text| !text.starts_with("auto:")) {
            let expected = format!("no such key without an address of transport auto in {}", side.peers_name);
            self.refuse_since(&key, "", expected, "a peer of udp or tcp gets everything by that");
        }
        let bytes = usize::try_from(written).ok().filter(|bytes| (least..=most).contains(bytes));
        if bytes.is_none() {
            self.refuse(&key, "", format!("{least} to {most} bytes"));
        }
        bytes.unwrap_or(proxy::limits::BY_DATAGRAM_BYTES)
    }

    /// The TCP listener at the address of a UDP one, for what is too large for datagrams.
    fn stream_beside(
        &mut self,
        key: &Key,
        text: &str,
        datagram: ListenerId,
        listeners: &[Listener],
    ) -> Option<ListenerId> {
        let address = listeners.get(usize::from(datagram.0))?.address;
        let wanted = Listener { transport: Transport::Tcp, address };
        let found = (0..=u16::MAX).map(ListenerId).zip(listeners).find(|(_, own)| **own == wanted);
        if found.is_none() {
            let why = "what is too large for a datagram leaves from there";
            self.refuse_since(key, text, format!("tcp:{address} in sip.listen too"), why);
        }
        found.map(|(id, _)| id)
    }

    /// The listener that the key `listener` names.
    fn named_listener(&mut self, key: &Key, text: &str, listeners: &[Listener]) -> Option<Listener> {
        let wanted = value::endpoint(text);
        let found = listeners.iter().find(|known| wanted == Some((known.transport, known.address)));
        if found.is_none() {
            let known: Vec<String> =
                listeners.iter().map(|known| format!("{}:{}", known.transport, known.address)).collect();
            self.refuse(key, text, format!("an address of sip.listen: {}", known.join(", ")));
        }
        found.copied()
    }

    /// The listener that a peer's messages leave from: of the peer's transport and address family, and at the address
    /// of the `named` listener where one is named.
    fn listener(
        &mut self,
        key: &Key,
        text: &str,
        (transport, address): (Transport, SocketAddr),
        named: Option<Listener>,
        listeners: &[Listener],
    ) -> Option<ListenerId> {
        if listeners.iter().any(|own| own.address == address) {
            self.refuse_since(
                key,
                text,
                "the address of another server",
                "it is our own listener: a call would come back",
            );
            return None;
        }
        let suits = |own: &Listener| {
            own.transport == transport
                && own.address.is_ipv4() == address.is_ipv4()
                && named.is_none_or(|named| named == *own || own.address.ip() == named.address.ip())
        };
        let mut suiting = (0..=u16::MAX).map(ListenerId).zip(listeners).filter(|(_, own)| suits(own));
        let first = suiting.clone().next();
        let chosen = suiting.find(|(_, own)| named == Some(**own)).or(first);
        if chosen.is_none() {
            let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
            let expected = match named {
                Some(named) => {
                    format!("a peer of the listener's transport, or a {transport} listener at {}", named.address.ip())
                }
                None => format!("a {transport} address over {family} in sip.listen for it to leave from"),
            };
            self.refuse(key, text, expected);
        }
        chosen.map(|(id, _)| id)
    }

    fn interface(&mut self, key: &Key, name: &str, interfaces: &mut Vec<Box<str>>) -> InterfaceId {
        let is_name = name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
        if !is_name || !(1..=limits::INTERFACE_BYTES).contains(&name.len()) {
            self.refuse(key, name, format!("an interface's name of 1 to {} characters", limits::INTERFACE_BYTES));
        }
        let known = interfaces.iter().position(|interface| **interface == *name);
        let position = known.unwrap_or_else(|| {
            interfaces.push(name.into());
            interfaces.len() - 1
        });
        InterfaceId(u16::try_from(position + 1).unwrap_or(u16::MAX))
    }

    fn sources(
        &mut self,
        side: &Side<'_>,
        interface: Option<InterfaceId>,
        peers: &[Peer],
        listeners: &[Listener],
    ) -> Vec<Source> {
        let Some(written) = side.sources else {
            return self.sources_of_peers(side, interface, peers, listeners);
        };
        let list = side.key.name("sources");
        let mut sources: Vec<Source> = Vec::new();
        for (index, text) in written.iter().enumerate() {
            let key = list.index(index);
            for (ip, port) in self.source_addresses(side, &key, text) {
                let is_own = listeners.iter().any(|own| own.address.ip() == ip && Some(own.address.port()) == port);
                if let Some(why) = value::not_a_host(ip) {
                    self.refuse_since(&key, text, "the address of one host", why);
                } else if is_own {
                    self.refuse_since(&key, text, "the address of another server", "it is our own listener");
                } else if value::source(text).is_none() {
                    self.refuse_trust_by_name(side.role, &key, text, ip);
                } else if is_forgeable(side.role, ip, interface, listeners) {
                    self.refuse_forgeable(&key, text);
                }
                // Two names may stand for one machine.
                let source = Source { ip, port, interface };
                if !sources.contains(&source) {
                    sources.push(source);
                    self.source_keys.push((side.name.into(), ip, key.clone()));
                }
            }
        }
        if written.len().max(sources.len()) > limits::SOURCES {
            self.refuse(&list, "", format!("at most {} addresses", limits::SOURCES));
        }
        sources
    }

    fn sources_of_peers(
        &mut self,
        side: &Side<'_>,
        interface: Option<InterfaceId>,
        peers: &[Peer],
        listeners: &[Listener],
    ) -> Vec<Source> {
        let mut sources: Vec<Source> = Vec::new();
        for (index, peer) in peers.iter().enumerate() {
            let ip = peer.address.ip();
            let key = side.peers_key().index(index);
            if self.is_named(side, peer) {
                self.refuse_trust_by_name(side.role, &key, &peer.address.to_string(), ip);
            } else if is_forgeable(side.role, ip, interface, listeners) {
                self.refuse_forgeable(&key, &peer.address.to_string());
            }
            if sources.iter().all(|source| source.ip != ip) {
                sources.push(Source { ip, port: None, interface });
            }
        }
        sources
    }

    fn refuse_forgeable(&mut self, key: &Key, text: &str) {
        let expected = "an address of a private network or a tunnel, or sources = [], or an interface";
        let why = "the source of a datagram from the public network can be forged, and would place calls";
        self.refuse_since(key, text, expected, why);
    }

    fn called_number(&mut self, key: &Key, text: &str) -> Option<Form> {
        match text {
            "as_received" => None,
            "+e164" => Some(Form::PlusE164),
            "e164" => Some(Form::E164),
            "national" => Some(Form::National),
            _ => {
                self.refuse(key, text, "as_received, +e164, e164 or national");
                None
            }
        }
    }

    fn fallback_did(&mut self, key: &Key, trunk: &TrunkSettings, numbering: Numbering) -> Option<Number> {
        let text = trunk.fallback_did.as_deref()?;
        let is_plain = text.strip_prefix('+').is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        let number = numbering.canonical(text.as_bytes()).ok().filter(|_| is_plain);
        if number.is_none() {
            self.refuse(key, text, "a number in E.164: + and up to 15 digits");
        }
        number
    }
}

/// True where anyone could place calls as this party: over UDP, from an address of the public network, on any interface.
fn is_forgeable(role: Role, ip: IpAddr, interface: Option<InterfaceId>, listeners: &[Listener]) -> bool {
    let has_udp = listeners.iter().any(|listener| listener.transport == Transport::Udp);
    matches!(role, Role::Environment(_)) && interface.is_none() && has_udp && !value::is_private(ip)
}
