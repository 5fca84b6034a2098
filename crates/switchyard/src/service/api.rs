//! What the API shows and changes of the running service.

use super::{DirectoryAccess, Told, drain, instruments, limits};
use crate::call_journal::LiveCalls;
use crate::cli::explain;
use crate::probe::Peers;
use crate::worker::Crew;
use admin::{Api, Tokens};
use std::path::Path;
use std::sync::Arc;
use telemetry::calls::Calls;

/// The API of a service. `calls` are the last ones, and those in progress by number.
pub(super) fn of(
    told: &Arc<Told>,
    access: &DirectoryAccess,
    peers: &Peers,
    commands: &Crew,
    state_dir: &Path,
    (calls, live): (&Calls, &LiveCalls),
) -> Api {
    let (of_status, of_explain, watcher) = (Arc::clone(told), Arc::clone(told), access.watcher.clone());
    let (peers, deciding, asking) = (peers.clone(), peers.clone(), peers.clone());
    let (drain, live) = (drain::Drain::new(Arc::clone(told), commands.clone()), live.clone());
    let of_limits = Arc::clone(told);
    Api {
        watcher: access.watcher.clone(),
        writes: Arc::clone(&access.writes),
        tokens: Arc::new(Tokens::new(state_dir)),
        calls: calls.clone(),
        status: Box::new(move || of_status.status(&watcher, &peers)),
        explain: Box::new(move |directory, question| {
            explain::over_api(&of_explain.settings.load(), of_explain.counted(), directory, question)
        }),
        limits: Box::new(move |directory| limits::read(&of_limits, directory)),
        set_peer: Box::new(move |order| {
            let peers = deciding.clone();
            Box::pin(async move { peers.obey(order).await })
        }),
        live_calls: Box::new(move |number| live.of(number)),
        ask_targets: Box::new(move |asked| {
            let peers = asking.clone();
            Box::pin(async move { peers.ask(asked).await })
        }),
        drain: Box::new(move |order| Box::pin(Arc::clone(&drain).obey(order))),
        instruments: Box::new(instruments::Turned { told: Arc::clone(told) }),
    }
}
