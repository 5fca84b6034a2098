//! The links between the proxy and the sites: datagrams that are lost, doubled, late and overtaken; streams that keep
//! their order and break.

use crate::invariants::Left;
use crate::wire::Wire;
use crate::world::{Due, World};
use proxy::{Flow, InterfaceId, ListenerId, Transport};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;

/// The proxy's TCP listener.
const STREAMS: ListenerId = ListenerId(1);
/// The first port of a site's own connections.
const CLIENT_PORT: u16 = 30_000;

/// One stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connection {
    site: usize,
    /// The site's end.
    remote: SocketAddr,
    /// Until when the last message in each direction is under way: the next one arrives later.
    to_proxy_ms: u64,
    to_site_ms: u64,
}

/// All streams, and the sites that cannot be reached.
#[derive(Debug)]
pub(crate) struct Links {
    /// Open streams by their number.
    pub(crate) connections: BTreeMap<u64, Connection>,
    next: u64,
    /// Sites that are gone; `true`: the network says so.
    pub(crate) out: Vec<Option<bool>>,
}

impl Links {
    pub(crate) fn new(sites: usize) -> Links {
        Links { connections: BTreeMap::new(), next: 1, out: vec![None; sites] }
    }

    fn open(&mut self, site: usize, remote: SocketAddr) -> u64 {
        let id = self.next;
        self.next += 1;
        self.connections.insert(id, Connection { site, remote, to_proxy_ms: 0, to_site_ms: 0 });
        id
    }

    fn by_remote(&self, remote: SocketAddr) -> Option<u64> {
        self.connections.iter().find(|(_, known)| known.remote == remote).map(|(id, _)| *id)
    }
}

impl World {
    /// A site sends to the proxy; `port`: from another source port than its own; `connection`: the one it prefers.
    pub(crate) fn sends(&mut self, site: usize, connection: u64, port: Option<u16>, text: &Rc<str>) {
        if self.links.out[site].is_some() {
            return;
        }
        let Some(place) = self.sites.get(site).cloned() else { return };
        if place.transport == Transport::Tcp {
            return self.sends_on_stream(site, connection, text);
        }
        let mut remote = place.address;
        if let Some(port) = port {
            remote.set_port(port);
        }
        let flow = Flow::to(place.listener, remote);
        for delay_ms in self.delays() {
            let due = Due::ToProxy { site: Some(site), flow, text: Rc::clone(text), whole: true };
            self.at(self.now_ms + delay_ms, due);
        }
    }

    fn sends_on_stream(&mut self, site: usize, preferred: u64, text: &Rc<str>) {
        let own = |known: &Connection| known.site == site;
        let connection = match self.links.connections.get(&preferred) {
            Some(_) => preferred,
            None => match self.links.connections.iter().find(|(_, known)| own(known)) {
                Some((id, _)) => *id,
                None => {
                    let port = CLIENT_PORT + u16::try_from(self.links.next % 30_000).unwrap_or(0);
                    let remote = SocketAddr::new(self.sites[site].address.ip(), port);
                    self.links.open(site, remote)
                }
            },
        };
        if self.breaks(connection) {
            return;
        }
        let latency_ms = 1 + self.chance.below(30);
        let now_ms = self.now_ms;
        let Some(known) = self.links.connections.get_mut(&connection) else { return };
        known.to_proxy_ms = known.to_proxy_ms.max(now_ms + latency_ms);
        let (at_ms, remote) = (known.to_proxy_ms, known.remote);
        let flow = Flow { listener: STREAMS, remote, connection, interface: InterfaceId::OTHER };
        self.at(at_ms, Due::ToProxy { site: Some(site), flow, text: Rc::clone(text), whole: true });
    }

    /// The proxy has sent something.
    pub(crate) fn leaves_proxy(&mut self, left: Left) {
        let Some(site) = self.sites.iter().position(|site| site.address.ip() == left.flow.remote.ip()) else { return };
        if left.flow.listener == STREAMS {
            return self.leaves_on_stream(site, left);
        }
        if let Some(is_told) = self.links.out[site] {
            if is_told {
                let due = Due::Undelivered { flow: left.flow, text: left.text };
                self.at(self.now_ms + 1, due);
            }
            return;
        }
        for delay_ms in self.delays() {
            self.at(self.now_ms + delay_ms, Due::ToSite { site, connection: 0, text: Rc::clone(&left.text) });
        }
    }

    /// As the program's hub does it: a response goes by its request's connection, else to the Via's port; a request over
    /// any connection to that address; and where there is none, one is opened.
    fn leaves_on_stream(&mut self, site: usize, left: Left) {
        let known = Some(left.flow.connection).filter(|id| self.links.connections.contains_key(id));
        let mut remote = left.flow.remote;
        if let Some(via) = left.wire.as_ref().filter(|wire| wire.is_response()).map(|wire| wire.first("Via")) {
            let sent_by = via.split(';').next().unwrap_or_default();
            remote.set_port(sent_by.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or(5060));
        }
        let known = known.or_else(|| self.links.by_remote(left.flow.remote)).or_else(|| self.links.by_remote(remote));
        let connection = match (known, self.links.out[site]) {
            (Some(connection), None) => connection,
            (None, None) => self.links.open(site, remote),
            (_, Some(is_told)) => {
                // Refused at once, or not answered until the connect gives up.
                let after_ms = if is_told { 1 } else { 5_000 };
                let due = Due::Undelivered { flow: Flow { remote, ..left.flow }, text: left.text };
                return self.at(self.now_ms + after_ms, due);
            }
        };
        if self.breaks(connection) {
            return;
        }
        let latency_ms = 1 + self.chance.below(30);
        let now_ms = self.now_ms;
        let Some(known) = self.links.connections.get_mut(&connection) else { return };
        known.to_site_ms = known.to_site_ms.max(now_ms + latency_ms);
        let at_ms = known.to_site_ms;
        self.at(at_ms, Due::ToSite { site, connection, text: left.text });
    }

    /// A message reaches a site, if the site and its stream are still there.
    pub(crate) fn reaches_site(&mut self, site: usize, connection: u64, text: Rc<str>) {
        let stream = self.sites[site].transport == Transport::Tcp;
        if self.links.out[site].is_some() || (stream && !self.links.connections.contains_key(&connection)) {
            return;
        }
        let Some(wire) = Wire::parse(text) else { return };
        self.hears(site, connection, wire);
    }

    /// Chance may break a stream: what is under way on it is lost.
    fn breaks(&mut self, connection: u64) -> bool {
        let breaks = self.chance.percent(self.weather.reset);
        if breaks {
            self.links.connections.remove(&connection);
            self.told.resets += 1;
            self.note(|| format!("    network: connection {connection} is reset"));
        }
        breaks
    }

    pub(crate) fn breaks_connections_of(&mut self, site: usize) {
        self.links.connections.retain(|_, known| known.site != site);
    }

    /// A datagram's copies, and how long each takes.
    fn delays(&mut self) -> Vec<u64> {
        if self.chance.percent(self.weather.loss) {
            return Vec::new();
        }
        let copies = 1 + u64::from(self.chance.percent(self.weather.double));
        let slow = self.weather.slow;
        let slow_ms = self.weather.slow_ms;
        (0..copies)
            .map(|_| {
                let most_ms = if self.chance.percent(slow) { slow_ms } else { 40 };
                1 + self.chance.below(most_ms)
            })
            .collect()
    }
}
