//! Who is asked what a host name stands for: /etc/hosts, then the servers in their order, by hickory's resolver. It asks by
//! UDP, and over TCP for what was truncated. Nothing is kept here: [`super::Names`] keeps what is known.

use crate::config::Dns;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{Query, ResponseCode};
use hickory_resolver::proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_resolver::{Hosts, Resolver, TokioResolver, system_conf};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Servers of the system that are asked.
const SYSTEM_SERVERS: usize = 3;
const DNS_PORT: u16 = 53;
/// How long a line of /etc/hosts counts: people edit it, and it costs nothing to read.
const HOSTS_FOR: Duration = Duration::from_secs(10);

/// What a look-up found: addresses, and how long they count.
pub(super) type Found = Result<(Vec<IpAddr>, Duration), String>;

/// Everybody who is asked.
pub(super) struct Resolvers {
    hosts: Hosts,
    /// One for each server: hickory takes a server's failure for the answer of all, and a name that the first one does not
    /// know may well be one of the second's.
    servers: Vec<(SocketAddr, TokioResolver)>,
    timeout: Duration,
}

impl Resolvers {
    /// Those of the configuration or else of the system, as its files name them now.
    pub(super) fn now(dns: &Dns) -> Resolvers {
        let servers = if dns.servers.is_empty() { system_servers() } else { dns.servers.clone() };
        Resolvers::of(Hosts::from_system().unwrap_or_default(), &servers, dns.timeout)
    }

    fn of(hosts: Hosts, servers: &[SocketAddr], timeout: Duration) -> Resolvers {
        let built = servers.iter().filter_map(|server| match resolver(*server, timeout) {
            Ok(resolver) => Some((*server, resolver)),
            Err(error) => {
                tracing::error!(%server, %error, "a DNS server cannot be asked");
                None
            }
        });
        Resolvers { hosts, servers: built.collect(), timeout }
    }

    /// Asks one after the other for A records; the first that knows an address has the word. The error is what the last one
    /// said. AAAA and SRV records would be asked for here.
    pub(super) async fn look_up(&self, host: &str) -> Found {
        // With the dot the name is a full one: no domain of the system is tried behind it.
        let name = Name::from_ascii(format!("{host}.")).map_err(|error| error.to_string())?;
        if let Some(lines) = self.hosts.lookup_static_host(&Query::query(name.clone(), RecordType::A)) {
            return found(&name, lines.answers()).map(|(addresses, _)| (addresses, HOSTS_FOR));
        }
        let mut last = Err("no DNS server is known".to_owned());
        for (server, resolver) in &self.servers {
            let asked = resolver.lookup(name.clone(), RecordType::A);
            last = match tokio::time::timeout(self.timeout, asked).await {
                Ok(Ok(answer)) => found(&name, answer.answers()),
                Ok(Err(error)) => Err(told(&error)),
                Err(_) => Err(told(&NetError::Timeout)),
            }
            .map_err(|why| format!("{server}: {why}"));
            if last.is_ok() {
                break;
            }
        }
        last
    }
}

/// The servers that the system asks.
fn system_servers() -> Vec<SocketAddr> {
    match system_conf::read_system_conf() {
        Ok((system, _)) => {
            let servers = system.name_servers().iter().map(|server| SocketAddr::new(server.ip, DNS_PORT));
            servers.take(SYSTEM_SERVERS).collect()
        }
        Err(error) => {
            tracing::debug!(%error, "the system names no DNS server");
            Vec::new()
        }
    }
}

/// Asks one server, by UDP and TCP at one port. It keeps nothing and tries nothing again: both are its caller's.
fn resolver(server: SocketAddr, timeout: Duration) -> Result<TokioResolver, NetError> {
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut connections {
        connection.port = server.port();
    }
    let server = NameServerConfig::new(server.ip(), true, connections);
    let alone = ResolverConfig::from_name_servers(vec![server]);
    let mut builder = Resolver::builder_with_config(alone, TokioRuntimeProvider::default());
    let options = builder.options_mut();
    (options.timeout, options.attempts, options.cache_size) = (timeout, 0, 0);
    options.use_hosts_file = ResolveHosts::Never;
    builder.build()
}

/// The addresses among records, and the shortest time that one of those counts which lead to them. Records of a name that was
/// not asked for, and that no alias leads to, are passed over.
fn found(name: &Name, records: &[Record]) -> Found {
    let (mut names, mut addresses, mut ttl_s) = (vec![name], Vec::new(), u32::MAX);
    for record in records.iter().filter(|record| record.dns_class == DNSClass::IN) {
        if !names.contains(&&record.name) {
            continue;
        }
        match &record.data {
            RData::CNAME(alias) => names.push(&alias.0),
            RData::A(address) => addresses.push(IpAddr::V4(address.0)),
            _ => continue,
        }
        ttl_s = ttl_s.min(record.ttl);
    }
    if addresses.is_empty() {
        return Err("no address in the answer".to_owned());
    }
    Ok((addresses, Duration::from_secs(ttl_s.into())))
}

/// Why there is no answer, in words that a search finds.
fn told(error: &NetError) -> String {
    match error {
        NetError::Timeout => "no answer in time".to_owned(),
        NetError::Dns(DnsError::NoRecordsFound(none)) if none.response_code == ResponseCode::NXDomain => {
            "there is no such name (NXDOMAIN)".to_owned()
        }
        NetError::Dns(DnsError::NoRecordsFound(_)) => "no address in the answer".to_owned(),
        NetError::Dns(DnsError::ResponseCode(ResponseCode::ServFail)) => "the server has failed (SERVFAIL)".to_owned(),
        NetError::Dns(DnsError::ResponseCode(ResponseCode::Refused)) => "the server refuses (REFUSED)".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
