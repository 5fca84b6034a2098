//! The places: gateways, PBXs, the table of numbers, and the settings of the proxy between them.

use crate::chance::Chance;
use crate::quotas::Quotas;
use directory::{DidRow, Directory, Environment, Generation, OrganisationRow, Policy, Rows, UserRow};
use proxy::settings::{
    Availability, AvailabilitySettings, CallerIdSettings, DispatchSettings, DisplayRule, HeaderRule, HostRule,
    IdentitySettings, LimitSettings, OnForeign, Profile, TimerSettings, UnknownDid,
};
use proxy::{Key, KeyRing, Listener, ListenerId, Party, PartyId, Peer, Role, Settings, Source, Transport};
use sip::{Form, Numbering};
use std::net::SocketAddr;

/// Somebody who is not configured.
pub(crate) const STRANGER: &str = "203.0.113.9:5060";
/// The trunk's own number.
pub(crate) const FALLBACK: &str = "918065080729";
/// Our sockets. The third is another address: what passes between it and the first carries two Record-Routes.
pub(crate) const LISTENERS: [(Transport, &str); 3] =
    [(Transport::Udp, "10.10.10.1:5060"), (Transport::Tcp, "10.10.10.1:5060"), (Transport::Udp, "192.168.7.1:5060")];
/// Numbers in the table.
pub(crate) const NUMBERS: usize = 8;
/// The organisations; a DID's place in the table, modulo their count, tells whose it is.
pub(crate) const ORGANISATIONS: [&str; 2] = ["aurora", "borealis"];

/// One address that speaks SIP.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// How it speaks, and is spoken to.
    pub(crate) transport: Transport,
    /// Our listener toward it.
    pub(crate) listener: ListenerId,
    /// Whose it is.
    pub(crate) party: PartyId,
}

/// One number's row.
#[derive(Clone, Debug)]
pub(crate) struct NumberRow {
    /// In digits.
    pub(crate) number: String,
    /// Where its calls go.
    pub(crate) environment: Environment,
    /// Whether they go anywhere.
    pub(crate) in_service: bool,
}

/// The table, as the simulation believes it to be.
#[derive(Clone, Debug)]
pub(crate) struct Numbers {
    /// Counts the changes.
    pub(crate) generation: u64,
    /// The rows.
    pub(crate) rows: Vec<NumberRow>,
    /// How many calls each DID and organisation may have.
    pub(crate) quotas: Quotas,
}

impl Numbers {
    /// A first table.
    pub(crate) fn new(chance: &mut Chance, quotas: Quotas) -> Numbers {
        let rows = (0..NUMBERS).map(|at| NumberRow {
            number: format!("91806597800{at}"),
            environment: chance.pick(Environment::ALL),
            in_service: !chance.percent(5),
        });
        Numbers { generation: 1, rows: rows.collect(), quotas }
    }

    /// Moves one number elsewhere, or takes it out of service, or back.
    pub(crate) fn change(&mut self, chance: &mut Chance) {
        let at = chance.place(NUMBERS);
        self.generation += 1;
        let row = &mut self.rows[at];
        if chance.percent(20) {
            row.in_service = !row.in_service;
        } else {
            row.environment = chance.pick(Environment::ALL);
        }
    }

    /// The party that a call to this number goes to; `None`: it is refused.
    pub(crate) fn party_for(&self, user: &str) -> Option<PartyId> {
        let digits = user.trim_start_matches('+');
        let row = self.rows.iter().find(|row| row.number == digits).filter(|row| row.in_service)?;
        Some(party_of(row.environment))
    }

    /// The table as the proxy reads it.
    pub(crate) fn directory(&self) -> Directory {
        let did = |(at, row): (usize, &NumberRow)| {
            let mut did = DidRow::assigned(&at.to_string(), organisation_of(at), &row.number, row.environment);
            did.call_limit = self.quotas.did.and_then(|most| directory::rows::text(&most.to_string()));
            if !row.in_service {
                did.status = directory::rows::text("inactive");
            }
            did
        };
        let rows = Rows {
            dids: self.rows.iter().enumerate().map(did).collect(),
            users: vec![
                UserRow::active("1", "aurora", "1001", "org_aurora_1001"),
                UserRow::active("2", "borealis", "2001", "org_borealis_2001"),
            ],
            organisations: [("aurora", "Aurora", "org_aurora_"), ("borealis", "Borealis", "org_borealis_")]
                .map(|(id, name, prefix)| {
                    let most = self.quotas.organisation.map(|most| format!("{{\"concurrent_calls\": {most}}}"));
                    let limits = most.and_then(|most| directory::rows::text(&most));
                    OrganisationRow { limits, ..OrganisationRow::active(id, name, prefix) }
                })
                .into(),
            ..Rows::default()
        };
        directory::build(Generation(self.generation), rows, &Policy::default(), None)
    }
}

/// The organisation of a DID by its place in the table.
pub(crate) fn organisation_of(at: usize) -> &'static str {
    ORGANISATIONS[at % ORGANISATIONS.len()]
}

/// The party of an environment: the trunk is the first.
pub(crate) fn party_of(environment: Environment) -> PartyId {
    match environment {
        Environment::Prod => PartyId(1),
        Environment::Staging => PartyId(2),
        Environment::Oss => PartyId(3),
    }
}

/// The trunk.
pub(crate) const TRUNK: PartyId = PartyId(0);

/// The sites of one seed: one gateway or two, one staging target or two, each over UDP or TCP.
pub(crate) fn sites(chance: &mut Chance, tcp_percent: u64) -> Vec<Site> {
    let mut sites = Vec::new();
    let mut add = |chance: &mut Chance, address: &str, party: u16, other_listener: bool| {
        let transport = if chance.percent(tcp_percent) { Transport::Tcp } else { Transport::Udp };
        let listener = match transport {
            Transport::Tcp => ListenerId(1),
            _ if other_listener => ListenerId(2),
            _ => ListenerId(0),
        };
        let address = address.parse().unwrap();
        sites.push(Site { address, transport, listener, party: PartyId(party) });
    };
    add(chance, "10.10.10.2:5060", 0, false);
    if chance.percent(40) {
        add(chance, "10.10.10.12:5060", 0, false);
    }
    add(chance, "10.10.10.1:5070", 1, false);
    add(chance, "10.10.10.3:5080", 2, false);
    if chance.percent(50) {
        add(chance, "10.10.10.13:5080", 2, false);
    }
    let other = chance.percent(50);
    add(chance, "192.168.7.4:5080", 3, other);
    sites
}

/// What the proxy is told. `rewrites`: callers are shown to the trunk by a profile.
pub(crate) fn settings(chance: &mut Chance, sites: &[Site], rewrites: bool, quotas: &Quotas) -> Settings {
    let roles = [
        ("tata", Role::Trunk),
        ("prod", Role::Environment(Environment::Prod)),
        ("staging", Role::Environment(Environment::Staging)),
        ("oss", Role::Environment(Environment::Oss)),
    ];
    let party = |(at, (name, role)): (usize, (&str, Role))| {
        let own = || sites.iter().filter(move |site| usize::from(site.party.0) == at);
        Party {
            name: name.into(),
            role,
            sources: own().map(|site| Source { ip: site.address.ip(), port: None, interface: None }).collect(),
            peers: own()
                .map(|site| Peer {
                    transport: site.transport,
                    address: site.address,
                    listener: site.listener,
                    by_size: None,
                })
                .collect(),
            called_number: None,
            identity: IdentitySettings::default(),
            availability: Availability::default(),
            media: Vec::new(),
            quota: proxy::settings::Quota::default(),
        }
    };
    let mut parties: Vec<Party> = roles.into_iter().enumerate().map(party).collect();
    quotas.set(&mut parties);
    if rewrites {
        parties[0].identity = IdentitySettings {
            profile: Some(profile(chance)),
            fallback_did: Numbering::default().canonical(FALLBACK.as_bytes()).ok(),
            ..IdentitySettings::default()
        };
    }
    Settings {
        environment: Environment::Prod,
        listeners: LISTENERS
            .iter()
            .map(|(transport, address)| Listener { transport: *transport, address: address.parse().unwrap() })
            .collect(),
        own_names: Vec::new(),
        interfaces: Vec::new(),
        parties,
        numbering: Numbering::default(),
        dispatch: DispatchSettings { unknown_did: UnknownDid::Refuse(404), not_in_service_status: 404 },
        caller_id: CallerIdSettings {
            endpoint_header: Some("X-Endpoint".into()),
            on_foreign: OnForeign::Replace,
            emergency: vec!["112".into()],
        },
        availability: AvailabilitySettings::default(),
        adopt_until: None,
        timers: TimerSettings::default(),
        limits: LimitSettings::default(),
    }
}

fn profile(chance: &mut Chance) -> Profile {
    let rules = [HeaderRule::Keep, HeaderRule::Rewrite, HeaderRule::Remove];
    Profile {
        number: chance.pick(&[Form::PlusE164, Form::E164, Form::National, Form::ZeroZeroE164]),
        in_from: !chance.percent(10),
        in_asserted: !chance.percent(20),
        preferred: chance.pick(&rules),
        remote_party: chance.pick(&rules),
        diversion: chance.pick(&rules),
        history: chance.pick(&rules),
        host: match chance.below(3) {
            0 => HostRule::AsIs,
            1 => HostRule::Ours,
            _ => HostRule::Domain("ims.example.net".into()),
        },
        display: chance.pick(&[DisplayRule::Keep, DisplayRule::Remove, DisplayRule::Organisation]),
        user_phone: chance.percent(30),
        pass_forwarded_caller: false,
    }
}

/// A ring whose newest key has this id; all older ones still verify.
pub(crate) fn ring(newest: u8) -> KeyRing {
    let key = |id: u8| Key { id, secret: [id; 32] };
    let retired: Vec<Key> = (1..newest).map(key).collect();
    KeyRing::new(&key(newest), &retired)
}
