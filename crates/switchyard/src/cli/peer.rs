//! `switchyard peer`: the gateways and targets, and what people decide about them.

use super::ask::{EXIT_CODES, Told, Way, ask, segment, table};
use admin::PeerStatus;
use admin::api::peers::{Decided, NewAdmin, Peers};
use clap::{Args, Subcommand, ValueEnum};
use hyper::Method;
use std::io::Write;
use std::process::ExitCode;

#[derive(Args)]
pub(super) struct Options {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// List every gateway and target: what was decided, what was measured, and what counts for a new call.
    #[command(after_help = EXIT_CODES)]
    List(Way),
    /// Say whether a peer takes new calls. It holds over restarts; calls that are up go on.
    #[command(after_help = EXIT_CODES)]
    Set {
        #[command(flatten)]
        way: Way,
        /// A peer as the configuration writes it (udp:10.10.10.3:5080), or a trunk or environment: all of its peers.
        name: String,
        /// What it is to be.
        admin: Word,
        /// Why: it is recorded.
        #[arg(long)]
        reason: String,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Word {
    /// It takes calls when it is healthy.
    Enabled,
    /// No new calls; it is still probed.
    Drain,
    /// No new calls and no probes.
    Disabled,
}

impl Word {
    const fn as_str(self) -> &'static str {
        match self {
            Word::Enabled => "enabled",
            Word::Drain => "drain",
            Word::Disabled => "disabled",
        }
    }
}

pub(super) fn peer(options: Options, out: &mut impl Write, faults: &mut impl Write) -> ExitCode {
    match options.verb {
        Verb::List(way) => ask(&way, out, faults, async |client| {
            let peers: Peers = client.fetch("peers").await?;
            Ok(Told::new(listed(&peers.peers), &peers))
        }),
        Verb::Set { way, name, admin, reason } => ask(&way, out, faults, async |client| {
            let new = NewAdmin { admin: admin.as_str().to_owned(), reason };
            let resource = format!("peers/{}", segment(&name));
            let decided: Decided = client.write(Method::PUT, &resource, None, &new).await?;
            let mut text = listed(&decided.peers);
            if let Some(why) = &decided.not_recorded {
                text += &format!("\nnot in the audit table, the log alone has it: {why}");
            }
            Ok(Told::new(text, &decided))
        }),
    }
}

fn listed(peers: &[PeerStatus]) -> String {
    let row = |peer: &PeerStatus| {
        let PeerStatus { party, peer, admin, health, standing, reason, set_by, evidence, .. } = peer;
        let set = if set_by.is_empty() { reason.clone() } else { format!("{reason} ({set_by})") };
        [party.clone(), peer.clone(), admin.clone(), health.clone(), standing.clone(), evidence.clone(), set]
    };
    let rows: Vec<[String; 7]> = peers.iter().map(row).collect();
    table(["PARTY", "PEER", "ADMIN", "HEALTH", "NEW CALLS", "SEEN", "SET BECAUSE"], &rows)
}
