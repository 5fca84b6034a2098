//! Everything that stands on the stage: the real proxy on a temporary directory, and four simulated neighbours.

use super::ladder::Sightings;
use super::party::{Ears, Party};
use super::scene::ANNOUNCING;
use crate::config;
use crate::keys_file;
use crate::service::Service;
use crate::worker::Seen;
use anyhow::Context;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

/// Facts that may wait to be shown.
const SEEN_WAITING: usize = 1_024;
const PROXY: (Ipv4Addr, u16) = (Ipv4Addr::new(127, 0, 0, 10), 5060);
const METRICS: (Ipv4Addr, u16) = (Ipv4Addr::new(127, 0, 0, 10), 9160);
const GATEWAY: (Ipv4Addr, u16) = (Ipv4Addr::new(127, 0, 0, 2), 5060);
const PROD: (Ipv4Addr, u16) = (Ipv4Addr::new(127, 0, 0, 11), 5070);
const STAGING: (Ipv4Addr, u16) = (Ipv4Addr::new(127, 0, 0, 13), 5080);
const OSS: (Ipv4Addr, u16) = (Ipv4Addr::new(127, 0, 0, 14), 5080);

/// The stage. Dropping it removes every file.
pub(super) struct Stage {
    pub(super) service: Service,
    /// What the proxy is told, to tell its decisions by.
    pub(super) settings: proxy::Settings,
    pub(super) proxy: SocketAddr,
    /// Where `/metrics` is served.
    pub(super) metrics: SocketAddr,
    pub(super) parties: Vec<Arc<Party>>,
    pub(super) sightings: Arc<Sightings>,
    pub(super) seen: Receiver<Seen>,
    folder: tempfile::TempDir,
    _ears: Vec<Ears>,
}

impl Stage {
    /// Builds it all, within a runtime.
    pub(super) async fn build() -> anyhow::Result<Stage> {
        let folder = tempfile::Builder::new().prefix("switchyard-demo-").tempdir()?;
        let scripts = [sync::schema::SQLITE_TABLES, sync::schema::ROWS];
        sync::schema::run(&folder.path().join("directory.db"), &scripts).await?;

        let proxy = free_address(PROXY)?;
        let sightings = Arc::new(Sightings::default());
        let mut parties = Vec::new();
        let mut ears = Vec::new();
        for (name, wanted) in [("gateway", GATEWAY), ("prod", PROD), ("staging", STAGING), ("oss", OSS)] {
            let (party, ear) = Party::new(name, name == ANNOUNCING, bind(wanted)?, proxy, Arc::clone(&sightings))?;
            parties.push(party);
            ears.push(ear);
        }
        let metrics = free_port(METRICS)?;
        let text = configuration(folder.path(), proxy, metrics, &parties);
        let file = folder.path().join("switchyard.toml");
        std::fs::write(&file, text)?;
        std::fs::write(folder.path().join("call.xml"), include_str!("call.xml"))?;
        let configuration = config::load(&file).map_err(|faults| anyhow::anyhow!("{faults}"))?;
        let settings = configuration.core.clone();
        let keys = keys_file::open(&configuration.state_dir)?;
        let (watch, seen) = sync_channel(SEEN_WAITING);
        let service = Service::start(configuration, keys, Some(watch)).await?;
        Ok(Stage { service, settings, proxy, metrics, parties, sightings, seen, folder, _ears: ears })
    }

    /// The party of this name.
    pub(super) fn party(&self, name: &str) -> anyhow::Result<&Arc<Party>> {
        self.parties.iter().find(|party| party.name == name).with_context(|| format!("no party {name}"))
    }

    /// A file on the stage.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs one statement in the directory's database, as another program would.
    pub(super) async fn change(&self, statement: &'static str) -> anyhow::Result<()> {
        Ok(sync::schema::run(&self.file("directory.db"), &[statement]).await?)
    }

    /// Ends the proxy and removes every file.
    pub(super) async fn clear(self) -> anyhow::Result<()> {
        self.service.stop().await;
        Ok(self.folder.close()?)
    }
}

fn configuration(folder: &Path, proxy: SocketAddr, metrics: SocketAddr, parties: &[Arc<Party>]) -> String {
    let address = |name: &str| parties.iter().find(|p| p.name == name).map_or(proxy, |party| party.local);
    let (gateway, prod, staging, oss) = (address("gateway"), address("prod"), address("staging"), address("oss"));
    let (state, trunk) = (folder.display(), gateway.ip());
    format!(
        r#"# The demonstration: every party has an address of its own on loopback.
environment = "prod"
state_dir = "{state}"

[sip]
listen = ["udp:{proxy}"]

[[trunk]]
name = "tata"
gateways = ["udp:{gateway}"]
sources = ["{trunk}"]
fallback_did = "+918065080728"

[probe]
interval = "0s"

[environments.prod]
targets = ["udp:{prod}"]

[environments.staging]
targets = ["udp:{staging}"]

[environments.oss]
targets = ["udp:{oss}"]

[metrics]
listen = "{metrics}"

[database]
url = "sqlite://{state}/directory.db"
"#
    )
}

/// The same for TCP.
fn free_port((ip, port): (Ipv4Addr, u16)) -> anyhow::Result<SocketAddr> {
    let bound = TcpListener::bind((ip, port)).or_else(|_| TcpListener::bind((ip, 0)));
    Ok(bound.with_context(|| format!("no port of {ip} can be bound"))?.local_addr()?)
}

/// The wanted address, or the same with a port that is free.
fn bind((ip, port): (Ipv4Addr, u16)) -> anyhow::Result<UdpSocket> {
    let bound = match UdpSocket::bind((ip, port)) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => UdpSocket::bind((ip, 0)),
        bound => bound,
    };
    bound.with_context(|| format!("no port of {ip} can be bound"))
}

/// An address that the proxy can bind itself in a moment.
fn free_address(wanted: (Ipv4Addr, u16)) -> anyhow::Result<SocketAddr> {
    Ok(bind(wanted)?.local_addr()?)
}
