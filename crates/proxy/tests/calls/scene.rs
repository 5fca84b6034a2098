//! Who takes part: the standard topology and what a file's head changes of it.

use crate::rows::Rows;
use crate::text::{Setting, duration};
use directory::Environment;
use proxy::settings::{BySize, DispatchSettings, LimitSettings, Network, TimerSettings, UnknownDid, WhenDown};
use proxy::targets::{Admin, Health, States};
use proxy::{InterfaceId, Listener, ListenerId, Party, PartyId, Peer, Role, Settings, Source, Time, Transport};
use sip::{Form, Numbering};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// Names, addresses, settings and rows of one file.
pub(crate) struct Scene {
    pub(crate) rows_held: Vec<String>,
    pub(crate) settings: Settings,
    pub(crate) states: States,
    pub(crate) parties: BTreeMap<String, Endpoint>,
    /// `us` and further listeners `us.x`.
    pub(crate) listeners: BTreeMap<String, ListenerId>,
    /// `None`: no directory was ever loaded.
    pub(crate) rows: Option<Rows>,
    has_rows: bool,
    has_title: bool,
}

/// A party's address, and where its packets arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    pub(crate) interface: InterfaceId,
}

const STANDARD: [(&str, &str); 5] = [
    ("tata", "10.10.10.2:5060"),
    ("prod", "10.10.10.1:5070"),
    ("staging", "10.10.10.3:5080"),
    ("oss", "10.10.10.4:5080"),
    ("stranger", "203.0.113.9:5060"),
];

const OWN_ADDRESS: &str = "10.10.10.1:5060";

impl Scene {
    /// The standard topology with a head's lines applied in their order. `folder` has the files of rows.
    pub(crate) fn new(head: &[Setting], folder: &Path) -> Result<Scene, String> {
        let mut scene = Scene::standard()?;
        for setting in head {
            scene
                .apply(&setting.key, &setting.value, folder)
                .map_err(|fault| format!("line {}: {}: {fault}", setting.line, setting.key))?;
        }
        if !scene.has_title {
            return Err("found no title, expected `title: ...`".into());
        }
        if scene.rows_held.is_empty() {
            return Err("found no rows, expected `rows: ` with the ids that the text holds".into());
        }
        if !scene.has_rows {
            scene.rows = Some(Rows::read(&folder.join("standard.rows"))?);
        }
        Ok(scene)
    }

    fn standard() -> Result<Scene, String> {
        let mut parties = BTreeMap::new();
        for (name, address) in STANDARD {
            parties.insert(name.to_owned(), Endpoint { address: socket(address)?, interface: InterfaceId::OTHER });
        }
        let listener = Listener { transport: Transport::Udp, address: socket(OWN_ADDRESS)? };
        let mut settings = Settings {
            environment: Environment::Prod,
            listeners: vec![listener],
            own_names: Vec::new(),
            interfaces: Vec::new(),
            parties: Vec::new(),
            numbering: Numbering::default(),
            caller_id: proxy::settings::CallerIdSettings::default(),
            dispatch: DispatchSettings { unknown_did: UnknownDid::Refuse(404), not_in_service_status: 404 },
            adopt_until: None,
            availability: proxy::settings::AvailabilitySettings::default(),
            timers: TimerSettings::default(),
            limits: LimitSettings::default(),
        };
        for (name, address) in STANDARD {
            if let Some(role) = role_of(name) {
                settings.parties.push(party(name, role, socket(address)?));
            }
        }
        Ok(Scene {
            rows_held: Vec::new(),
            settings,
            states: States::default(),
            parties,
            listeners: BTreeMap::from([("us".to_owned(), ListenerId(0))]),
            rows: None,
            has_rows: false,
            has_title: false,
        })
    }

    /// One setting, from the head or from a `set` step.
    pub(crate) fn apply(&mut self, key: &str, value: &str, folder: &Path) -> Result<(), String> {
        match key {
            "title" => self.has_title = true,
            "about" => {}
            "rows" => self.rows_held.extend(value.split_whitespace().map(str::to_owned)),
            "environment" => self.settings.environment = environment(value)?,
            "directory" => self.directory(value, folder)?,
            "row" => self.row(value, folder)?,
            "overlay" => self.overlay(value, folder)?,
            "unknown_did" => self.settings.dispatch.unknown_did = unknown_did(value)?,
            "not_in_service" => self.settings.dispatch.not_in_service_status = number(value)?,
            "adopt_for" => self.settings.adopt_until = Some(Time(0) + duration(value)?),
            "hop_timeout" => self.settings.timers.hop_timeout = duration(value)?,
            "timer_c" => self.settings.timers.timer_c = duration(value)?,
            "transactions" => self.settings.limits.transactions = number(value)?,
            "call_age" => {
                let seconds = duration(value)?.as_secs();
                self.settings.limits.call_age_secs = u32::try_from(seconds).map_err(|fault| fault.to_string())?;
            }
            "requests_per_second" => self.settings.limits.requests_per_second = number(value)?,
            "own_names" => self.settings.own_names = value.split_whitespace().map(Box::from).collect(),
            _ => return self.apply_pair(key, value),
        }
        Ok(())
    }

    /// The settings of the form `key: name = value`.
    fn apply_pair(&mut self, key: &str, value: &str) -> Result<(), String> {
        let (name, value) = value.split_once('=').ok_or("expected a known key, or `key: name = value`")?;
        let (name, value) = (name.trim(), value.trim());
        match key {
            "party" => {
                let endpoint = self.endpoint(value)?;
                self.parties.insert(name.into(), endpoint);
            }
            "listen" => {
                let id = ListenerId(u16::try_from(self.settings.listeners.len()).map_err(|e| e.to_string())?);
                let (transport, address) = match value.strip_prefix("tcp ") {
                    Some(address) => (Transport::Tcp, address),
                    None => (Transport::Udp, value),
                };
                self.settings.listeners.push(Listener { transport, address: socket(address.trim())? });
                self.listeners.insert(name.into(), id);
            }
            "peers" => {
                let peers = value.split_whitespace().map(|peer| self.peer(peer)).collect::<Result<_, _>>()?;
                self.party_mut(name)?.peers = peers;
            }
            "sources" => {
                let sources = value.split(',').map(|source| self.source(source)).collect::<Result<_, _>>()?;
                self.party_mut(name)?.sources = sources;
            }
            "leaves_by" => {
                let id = *self.listeners.get(value).ok_or_else(|| format!("found {value}, expected a listener"))?;
                self.party_mut(name)?.peers.iter_mut().for_each(|peer| peer.listener = id);
            }
            "weights" | "failover" | "when_down" | "when_down_of" => self.availability(key, name, value)?,
            "by_size" => self.by_size(name, value)?,
            "media" => self.party_mut(name)?.media = networks(value)?,
            "quota" => crate::quota::quota(&mut self.party_mut(name)?.quota, value)?,
            "limits" => crate::quota::limits(&mut self.settings.limits, name, value)?,
            "called_number" => self.party_mut(name)?.called_number = form(value)?,
            "trunk" => self.trunk(name, value)?,
            "identity" => crate::profile::identity(&mut self.party_mut(name)?.identity, value)?,
            "caller_id" => crate::profile::caller_id(&mut self.settings.caller_id, name, value)?,
            _ => return Err(format!("found {key:?}, expected a key of fixtures/calls/README.md")),
        }
        Ok(())
    }

    /// `us us.tcp 1300`: by datagram from the first listener, above so many bytes by a stream from the second.
    fn by_size(&mut self, name: &str, value: &str) -> Result<(), String> {
        let words: Vec<&str> = value.split_whitespace().collect();
        let [datagram, stream, bytes] = words.as_slice() else {
            return Err(format!("found {value:?}, expected two listeners and a number of bytes"));
        };
        let listener = |name: &str| self.listeners.get(name).copied().ok_or_else(|| format!("{name} is no listener"));
        let (datagram, stream) = (listener(datagram)?, listener(stream)?);
        let by_size = BySize { datagram, stream, datagram_bytes_max: number(bytes)? };
        for peer in &mut self.party_mut(name)?.peers {
            (peer.listener, peer.by_size) = (datagram, Some(by_size));
        }
        Ok(())
    }

    fn availability(&mut self, key: &str, name: &str, value: &str) -> Result<(), String> {
        let numbers = || value.split_whitespace().map(number).collect::<Result<Vec<u16>, _>>();
        match key {
            "weights" => self.party_mut(name)?.availability.weights = numbers()?,
            "failover" => self.party_mut(name)?.availability.failover_statuses = numbers()?,
            "when_down" => self.party_mut(name)?.availability.when_down = self.when_down(value)?,
            _ => {
                let did = self.settings.numbering.canonical(name.as_bytes()).map_err(|fault| fault.to_string())?;
                let own = (did, self.when_down(value)?);
                self.settings.availability.when_down_of.push(own);
                self.settings.availability.when_down_of.sort_by_key(|(did, _)| *did);
            }
        }
        Ok(())
    }

    /// `reject`, a status, an environment, or `announcement PARTY`: a party without calls of its own.
    fn when_down(&mut self, value: &str) -> Result<WhenDown, String> {
        match value.split_once(' ') {
            None if value == "reject" => Ok(WhenDown::Reject),
            None => match value.parse() {
                Ok(status) => Ok(WhenDown::Refuse(status)),
                Err(_) => environment(value).map(WhenDown::Environment),
            },
            Some(("announcement", name)) => {
                let id = u16::try_from(self.settings.parties.len()).map_err(|fault| fault.to_string())?;
                let role = Role::Environment(self.settings.environment);
                self.settings.parties.push(party(name, role, self.endpoint_of(name)?.address));
                Ok(WhenDown::Announcement(PartyId(id)))
            }
            Some(_) => Err(format!("found {value:?}, expected reject, a status, an environment or announcement PARTY")),
        }
    }

    /// `prod down`, `prod2 drain`: what people or probes say of a peer from now on.
    pub(crate) fn set_state(&mut self, name: &str, word: &str) -> Result<(), String> {
        let address = self.endpoint_of(name)?.address;
        let peers = self.settings.parties.iter().flat_map(|party| &party.peers);
        let peer = *peers.clone().find(|peer| peer.address == address).ok_or("expected a configured peer")?;
        let mut state = self.states.of(&peer);
        let healths = [Health::Unknown, Health::Up, Health::Degraded, Health::Down];
        match (Admin::from_word(word), healths.into_iter().find(|health| health.as_str() == word)) {
            (Some(admin), _) => state.admin = admin,
            (None, Some(health)) => state.health = health,
            (None, None) => return Err(format!("found {word:?}, expected a word of docs/reference/peer-states.md")),
        }
        self.states.set(&peer, state);
        Ok(())
    }

    /// A further trunk: it comes before the environments, as in a configuration.
    fn trunk(&mut self, name: &str, value: &str) -> Result<(), String> {
        let endpoint = self.endpoint(value)?;
        self.parties.insert(name.into(), endpoint);
        let trunks = self.settings.parties.iter().take_while(|party| party.role == Role::Trunk).count();
        self.settings.parties.insert(trunks, party(name, Role::Trunk, endpoint.address));
        Ok(())
    }

    fn directory(&mut self, value: &str, folder: &Path) -> Result<(), String> {
        self.has_rows = true;
        self.rows = match value {
            "none" => None,
            name => Some(Rows::read(&folder.join(format!("{name}.rows")))?),
        };
        Ok(())
    }

    /// Something that lies over the rows from the start.
    fn overlay(&mut self, value: &str, folder: &Path) -> Result<(), String> {
        if !self.has_rows {
            self.directory("standard", folder)?;
        }
        self.rows.get_or_insert_default().overlay(value)
    }

    /// A row beside those of the directory.
    fn row(&mut self, value: &str, folder: &Path) -> Result<(), String> {
        if !self.has_rows {
            self.directory("standard", folder)?;
        }
        self.rows.get_or_insert_default().line(value)
    }

    /// An address by a party's name or written out.
    pub(crate) fn endpoint_of(&self, name: &str) -> Result<Endpoint, String> {
        match self.parties.get(name) {
            Some(endpoint) => Ok(*endpoint),
            None => self.endpoint(name).map_err(|_| format!("found {name:?}, expected a party or an address")),
        }
    }

    /// A name for an address, for the ladder.
    pub(crate) fn name_of(&self, address: SocketAddr) -> String {
        let found = self.parties.iter().find(|(_, endpoint)| endpoint.address == address);
        found.map_or_else(|| address.to_string(), |(name, _)| name.clone())
    }

    /// `10.10.10.2:5060` or `10.10.10.2:5060 on wg0`; between quotes of the arrow `10.10.10.2:5060%wg0`.
    fn endpoint(&self, text: &str) -> Result<Endpoint, String> {
        let (address, interface) = match text.split_once('%') {
            Some((address, interface)) => (address, Some(interface)),
            None => text.split_once(" on ").map_or((text, None), |(address, name)| (address, Some(name))),
        };
        let interface = interface.map_or(InterfaceId::OTHER, |name| self.interface(name.trim()));
        Ok(Endpoint { address: socket(address.trim())?, interface })
    }

    fn source(&self, text: &str) -> Result<Source, String> {
        let (address, interface) = match text.trim().split_once(" on ") {
            Some((address, name)) => (address, Some(self.interface(name.trim()))),
            None => (text.trim(), None),
        };
        match (address.parse::<IpAddr>(), address.parse::<SocketAddr>()) {
            (Ok(ip), _) => Ok(Source { ip, port: None, interface }),
            (_, Ok(socket)) => Ok(Source { ip: socket.ip(), port: Some(socket.port()), interface }),
            _ => Err(format!("found {text:?}, expected an address with or without a port")),
        }
    }

    /// The id of a name, as [`Settings::interfaces`] has them. `wg0` and `eth0` are known everywhere.
    fn interface(&self, name: &str) -> InterfaceId {
        let at = INTERFACES.iter().position(|known| *known == name);
        at.and_then(|at| u16::try_from(at + 1).ok()).map_or(InterfaceId::OTHER, InterfaceId)
    }

    fn peer(&self, name: &str) -> Result<Peer, String> {
        let address = self.parties.get(name).ok_or_else(|| format!("found {name:?}, expected a party"))?.address;
        Ok(Peer { transport: Transport::Udp, address, listener: ListenerId(0), by_size: None })
    }

    fn party_mut(&mut self, name: &str) -> Result<&mut Party, String> {
        let parties = &mut self.settings.parties;
        parties.iter_mut().find(|party| &*party.name == name).ok_or_else(|| format!("found {name:?}, expected a party"))
    }
}

const INTERFACES: [&str; 2] = ["wg0", "eth0"];

fn role_of(name: &str) -> Option<Role> {
    match name {
        "tata" => Some(Role::Trunk),
        other => environment(other).ok().map(Role::Environment),
    }
}

fn party(name: &str, role: Role, address: SocketAddr) -> Party {
    Party {
        name: name.into(),
        role,
        sources: vec![Source { ip: address.ip(), port: None, interface: None }],
        peers: vec![Peer { transport: Transport::Udp, address, listener: ListenerId(0), by_size: None }],
        called_number: None,
        identity: proxy::settings::IdentitySettings::default(),
        availability: proxy::settings::Availability::default(),
        media: Vec::new(),
        quota: proxy::settings::Quota::default(),
    }
}

/// `10.10.10.0/24 10.20.0.0/16`
fn networks(value: &str) -> Result<Vec<Network>, String> {
    let network = |text: &str| {
        let (ip, bits) = text.split_once('/').ok_or_else(|| format!("found {text}, expected IP/BITS"))?;
        let ip = ip.parse().map_err(|fault| format!("{text}: {fault}"))?;
        Ok(Network { ip, bits: number(bits)? })
    };
    value.split_whitespace().map(network).collect()
}

pub(crate) fn environment(name: &str) -> Result<Environment, String> {
    match name {
        "prod" => Ok(Environment::Prod),
        "staging" => Ok(Environment::Staging),
        "oss" => Ok(Environment::Oss),
        _ => Err(format!("found {name:?}, expected prod, staging or oss")),
    }
}

fn unknown_did(value: &str) -> Result<UnknownDid, String> {
    match value.parse() {
        Ok(status) => Ok(UnknownDid::Refuse(status)),
        Err(_) => environment(value).map(UnknownDid::Environment),
    }
}

fn form(value: &str) -> Result<Option<Form>, String> {
    match value {
        "as_received" => Ok(None),
        "+e164" => Ok(Some(Form::PlusE164)),
        "e164" => Ok(Some(Form::E164)),
        "national" => Ok(Some(Form::National)),
        _ => Err(format!("found {value:?}, expected as_received, +e164, e164 or national")),
    }
}

fn number<T: std::str::FromStr>(value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("found {value:?}, expected a number"))
}

fn socket(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("found {text:?}, expected address:port"))
}
