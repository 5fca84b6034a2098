//! An API on an SQLite file of made-up rows, and ways to ask it as anyone.
#![allow(dead_code, reason = "each test uses a part of it")]
#![expect(clippy::unwrap_used, reason = "a stage that cannot be built fails the test")]

mod instruments;

use admin::api::dids::readiness::{Asked, Replies, Reply};
use admin::api::limits::{LimitInUse, LimitKind};
use admin::api::peers::AdminOrder;
use admin::{Api, Caller, Client, DirectoryStatus, Kind, PeerStatus, Problem, Role, SOCKET_NAME, Status, Tokens};
use directory::{Environment, Policy};
use sip::Number;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use sync::changes::Writes;
use sync::{Mapping, Migration, Settings, Watcher, schema};
use tempfile::TempDir;
use tokio::net::UnixListener;

/// A directory with reference rows, and our own tables where they were asked for.
pub(crate) struct Stage {
    pub(crate) folder: TempDir,
    pub(crate) watcher: Watcher,
    settings: Settings,
    roles: Vec<TempDir>,
}

pub(crate) fn status() -> Status {
    Status {
        version: "1.2.3".into(),
        environment: "staging".into(),
        uptime_s: 5,
        draining: true,
        drain: None,
        open_transactions: 9,
        directory: DirectoryStatus {
            loaded: false,
            generation: 0,
            dids: 0,
            faults: 0,
            table_age_s: None,
            trouble: None,
            degraded: false,
            from_snapshot: false,
            source: String::new(),
            detection: String::new(),
            held: vec![],
            snapshot_trouble: None,
        },
        listeners: vec![],
        parties: vec![],
        peers: vec![],
        counters: vec![],
    }
}

/// A trunk has used some of its channels.
fn limits(_directory: &directory::Directory) -> Vec<LimitInUse> {
    let kind = LimitKind::TrunkChannels;
    let subject = Some("tata".to_owned());
    vec![LimitInUse { kind, subject, organisation: None, used: Some(3), allowed: Some(30) }]
}

/// One peer is known, and takes any decision.
fn set_peer(order: &AdminOrder) -> Result<Vec<PeerStatus>, Problem> {
    if order.peer != "udp:10.10.10.3:5080" {
        return Err(Problem::new(Kind::NotFound, format!("found {:?}, expected a peer", order.peer)));
    }
    Ok(vec![PeerStatus {
        party: "staging".into(),
        peer: order.peer.clone(),
        admin: order.admin.clone(),
        health: "up".into(),
        standing: "closed".into(),
        reason: order.by.reason.clone(),
        set_by: order.by.who.clone(),
        ..PeerStatus::default()
    }])
}

/// One number has calls up.
fn live_calls(number: Number) -> BTreeMap<String, u32> {
    let up = [("prod".to_owned(), 2), ("oss".to_owned(), 1)];
    if number.digits() == 918_065_978_002 { up.into() } else { BTreeMap::new() }
}

/// The target of staging knows every DID; prod's says yes to everything; oss has none.
fn replies(asked: Asked) -> Vec<Replies> {
    let target = |status| Replies {
        peer: "udp:10.10.10.3:5080".into(),
        number: Reply::Status(200),
        impossible: Reply::Status(status),
    };
    match asked.environment {
        Environment::Staging => vec![target(404)],
        Environment::Prod => vec![target(200)],
        Environment::Oss => vec![],
    }
}

impl Stage {
    /// The reference rows, then these scripts.
    pub(crate) async fn new(scripts: &[&'static str]) -> Stage {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("directory.db");
        schema::run(&path, &[&[schema::SQLITE_TABLES, schema::ROWS], scripts].concat()).await.unwrap();
        let settings = Settings::new(format!("sqlite://{}", path.display()), Policy::default());
        let watcher = sync::start(settings.clone()).await.unwrap();
        Stage { folder, watcher, settings, roles: Vec::new() }
    }

    /// The same, with our own tables.
    pub(crate) async fn migrated() -> Stage {
        let stage = Stage::new(&[]).await;
        let migration = Migration { mapping: Mapping::default(), account: String::new(), has_change_log: false };
        sync::migrate(&stage.settings.url, &migration, |_| {}).await.unwrap();
        stage.watcher.refresh().await.unwrap();
        stage
    }

    /// What anyone but us writes into the database.
    pub(crate) async fn write(&self, script: &'static str) {
        let path: PathBuf = self.folder.path().join("directory.db");
        schema::run(&path, &[script]).await.unwrap();
        self.watcher.refresh().await.unwrap();
    }

    pub(crate) fn api(&self) -> Arc<Api> {
        Arc::new(Api {
            watcher: self.watcher.clone(),
            writes: Arc::new(Writes::new(&self.settings, self.watcher.clone()).unwrap()),
            tokens: Arc::new(Tokens::new(self.folder.path())),
            status: Box::new(status),
            calls: telemetry::calls::Calls::empty(telemetry::calls::JournalBounds { calls: 10, bytes: 1 << 20 }),
            explain: Box::new(|directory, question| match question.called.as_str() {
                "nonsense" => Err("expected a number".to_owned()),
                called => Ok(serde_json::json!({ "called": called, "generation": directory.generation().0 })),
            }),
            limits: Box::new(limits),
            set_peer: Box::new(|order| Box::pin(std::future::ready(set_peer(&order)))),
            live_calls: Box::new(live_calls),
            ask_targets: Box::new(|asked| Box::pin(std::future::ready(Ok(replies(asked))))),
            drain: Box::new(|_| Box::pin(std::future::ready(Ok(())))),
            instruments: Box::new(instruments::Kept::default()),
        })
    }

    /// The way to the API for someone with this role; whatever serves it puts the caller in.
    pub(crate) fn client(&mut self, who: &str, role: Role) -> Client {
        let folder = tempfile::tempdir().unwrap();
        let client = Client::new(folder.path());
        let listener = UnixListener::bind(folder.path().join(SOCKET_NAME)).unwrap();
        let caller = Caller::new(who, role);
        let router = admin::api::router(self.api()).layer(axum::Extension(caller));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        self.roles.push(folder);
        client
    }
}
