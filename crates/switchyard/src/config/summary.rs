//! What a good file means, in a few lines: the answer of `switchyard check`.

use super::resolve::Configuration;
use super::value;
use proxy::settings::{Source, UnknownDid};
use proxy::{Party, Role};
use std::fmt;
use std::net::SocketAddr;

/// Tells a [`Configuration`] in a few lines; passwords are masked.
pub struct Summary<'c> {
    /// What the file is called.
    pub file: &'c str,
    /// What it means.
    pub configuration: &'c Configuration,
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Configuration { core, workers, database, state_dir, metrics_listen, admin, .. } = self.configuration;
        writeln!(f, "{}: good. This instance is {}.", self.file, core.environment)?;
        let listeners = core.listeners.iter().map(|own| format!("{}:{}", own.transport, own.address));
        writeln!(f, "  listens on   {}", joined(listeners))?;
        if *workers > 1 {
            writeln!(f, "  workers      {workers}")?;
        }
        if !core.own_names.is_empty() {
            writeln!(f, "  is also      {}", joined(core.own_names.iter().map(ToString::to_string)))?;
        }
        for party in &core.parties {
            self.party(f, party)?;
        }
        let Configuration { named, named_sources, .. } = self.configuration;
        if !(named.is_empty() && named_sources.is_empty()) {
            let peers = named.iter().map(|named| format!("{} of {}", named.text, named.party));
            let sources = named_sources.iter().map(|named| format!("{} for who speaks as {}", named.host, named.party));
            writeln!(f, "  looks up     {}", joined(peers.chain(sources)))?;
        }
        let unknown = match core.dispatch.unknown_did {
            UnknownDid::Refuse(status) => status.to_string(),
            UnknownDid::Environment(environment) => environment.to_string(),
        };
        writeln!(f, "  unknown DID  {unknown}; not in service {}", core.dispatch.not_in_service_status)?;
        let (url, interval) = (sync::masked_url(&database.url), value::written(database.poll_interval));
        writeln!(f, "  directory    {url}, asked every {interval}")?;
        if let Some(address) = metrics_listen {
            writeln!(f, "  metrics      http://{address}/metrics")?;
        }
        if let Some(admin) = admin {
            writeln!(f, "  admin        http://{}/admin", admin.listen)?;
        }
        write!(f, "  state        {}", state_dir.display())
    }
}

impl Summary<'_> {
    fn party(&self, f: &mut fmt::Formatter<'_>, party: &Party) -> fmt::Result {
        let core = &self.configuration.core;
        let kind = if party.role == Role::Trunk { "trunk" } else { "environment" };
        writeln!(f, "  {kind} {}", party.name)?;
        let peers = party.peers.iter().map(|peer| {
            let from = core.listener(peer.listener).map(|own| format!(" from {}", own.address)).unwrap_or_default();
            format!("{peer}{from}")
        });
        writeln!(f, "    calls go to   {}", joined(peers))?;
        let has_names = self.configuration.named_sources.iter().any(|named| named.party == party.name);
        match (party.sources.is_empty(), has_names) {
            (true, false) => return writeln!(f, "    calls come    never"),
            (true, true) => return writeln!(f, "    calls come by nobody before DNS names them"),
            (false, _) => {}
        }
        writeln!(f, "    calls come by {}", joined(party.sources.iter().map(|source| self.source(source))))
    }

    fn source(&self, source: &Source) -> String {
        let address = match source.port {
            Some(port) => SocketAddr::new(source.ip, port).to_string(),
            None => source.ip.to_string(),
        };
        let names = &self.configuration.core.interfaces;
        let interface = source.interface.and_then(|id| names.get(usize::from(id.0).wrapping_sub(1)));
        interface.map_or(address.clone(), |name| format!("{address} on {name}"))
    }
}

fn joined(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}
