//! Peers and sources that are given by a host name: what is known of them, and who is asked.

use super::Resolver;
use super::parties::Side;
use crate::config::fault::{Faults, Key};
use crate::config::settings::DnsSettings;
use crate::config::value;
use proxy::{Peer, Role};
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// What is known of each host name that has an address.
pub type Answers = BTreeMap<String, Answer>;

/// What a host name stands for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// Where a peer of this name is: one of the addresses.
    pub address: IpAddr,
    /// Where a source of this name may speak from: all of them, in order.
    pub addresses: Vec<IpAddr>,
}

/// A peer that is given by a host name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Named {
    /// Its trunk or environment.
    pub party: Box<str>,
    /// The peer as the file writes it: `udp:pbx.example.net:5060`.
    pub text: String,
    /// The host name.
    pub host: String,
    /// The peer at the name's address; none while there is no address.
    pub peer: Option<Peer>,
    /// When DNS last confirmed the address, where it does not do so now. A configuration does not know: who asks DNS says it.
    pub stale_since: Option<SystemTime>,
}

/// A source that is given by a host name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamedSource {
    /// Its trunk or environment.
    pub party: Box<str>,
    /// The host name.
    pub host: String,
    /// True while the name has an address.
    pub is_known: bool,
}

impl Named {
    /// True for the peer's own name, and for its party's.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        *self.party == *name || self.text == name
    }
}

/// Who is asked for the addresses of host names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dns {
    /// The servers; none: those of the system.
    pub servers: Vec<SocketAddr>,
    /// How long one may take to answer.
    pub timeout: Duration,
}

/// A file as it was read, to be resolved again with other addresses. It may hold a password: it prints as `(masked)`.
#[derive(Clone, Default)]
pub struct Written {
    pub(in crate::config) file: String,
    pub(in crate::config) text: String,
}

impl Written {
    /// What the file means with these addresses of host names.
    pub fn with(&self, answers: &Answers) -> Result<super::Configuration, Faults> {
        crate::config::read_with(&self.file, &self.text, &crate::config::variables(Path::new(&self.file)), answers)
    }
}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(masked)")
    }
}

impl Resolver<'_, '_> {
    pub(super) fn dns(&mut self, settings: &DnsSettings) -> Dns {
        let table = Key::of("dns");
        let list = table.name("servers");
        let mut servers = Vec::new();
        for (index, text) in settings.servers.iter().enumerate() {
            match text.parse::<SocketAddr>().ok().filter(|server| server.port() != 0) {
                Some(server) => servers.push(server),
                None => self.refuse(&list.index(index), text, "an address with its port, such as 10.10.10.1:53"),
            }
        }
        let range = Duration::from_millis(100)..=Duration::from_secs(30);
        Dns { servers, timeout: self.duration(&table.name("timeout"), &settings.timeout, range) }
    }

    /// The addresses and the port of one element of `sources`: none for a fault, and for a host name without an address.
    pub(super) fn source_addresses(&mut self, side: &Side<'_>, key: &Key, text: &str) -> Vec<(IpAddr, Option<u16>)> {
        if let Some(one) = value::source(text) {
            return vec![one];
        }
        let Some((host, port)) = value::named_source(text) else {
            self.refuse(key, text, value::SOURCE);
            return Vec::new();
        };
        let known = self.answers.get(host);
        let named = NamedSource { party: side.name.into(), host: host.to_owned(), is_known: known.is_some() };
        self.named_sources.push(named);
        let addresses = known.map(|answer| answer.addresses.clone()).unwrap_or_default();
        addresses.into_iter().map(|ip| (ip, port)).collect()
    }

    /// A name gives the right to place calls to private addresses alone, whatever the interface and the transport: else
    /// whoever can answer for the name could say who calls at our expense, and DNS proves nothing.
    pub(super) fn refuse_trust_by_name(&mut self, role: Role, key: &Key, text: &str, ip: IpAddr) {
        if matches!(role, Role::Environment(_)) && !value::is_private(ip) {
            let why = format!("{ip} is what DNS says, and DNS must not say who of the public network places calls");
            let expected = "a name of private addresses, or sources that are written as addresses, or sources = []";
            self.refuse_since(key, text, expected, why);
        }
    }

    /// True for a peer that was given by a name.
    pub(super) fn is_named(&self, side: &Side<'_>, peer: &Peer) -> bool {
        self.named.iter().any(|named| *named.party == *side.name && named.peer == Some(*peer))
    }

    /// True for a peer that has an address: its own, or that of its name.
    pub(super) fn has_address(&self, text: &str) -> bool {
        value::named_peer(text).is_none_or(|(_, host, ..)| self.answers.contains_key(host))
    }
}
