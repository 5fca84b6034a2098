//! Peers that are given by a host name: what is known of them, and who is asked.

use super::Resolver;
use crate::config::fault::{Faults, Key};
use crate::config::settings::DnsSettings;
use crate::config::value;
use proxy::Peer;
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// The address of each host name that has one.
pub type Answers = BTreeMap<String, IpAddr>;

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
        crate::config::read_with(&self.file, &self.text, &|name| std::env::var(name).ok(), answers)
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

    /// True for a peer that has an address: its own, or that of its name.
    pub(super) fn has_address(&self, text: &str) -> bool {
        value::named_peer(text).is_none_or(|(_, host, ..)| self.answers.contains_key(host))
    }
}
