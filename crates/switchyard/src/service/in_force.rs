//! What is in force in a running service: the settings, those of a file that was read again or of a name that has another
//! address, and the calls.

use super::Told;
use crate::worker::{Command, Crew};
use proxy::settings::BySize;
use proxy::{Counts, KeyRing, Listener, ListenerId, Settings, Time, Transport};
use std::sync::Arc;

/// The way to put settings in force while the service runs.
#[derive(Clone, Debug)]
pub(crate) struct InForce {
    told: Arc<Told>,
    commands: Crew,
}

impl InForce {
    pub(super) fn new(told: &Arc<Told>, commands: &Crew) -> InForce {
        InForce { told: Arc::clone(told), commands: commands.clone() }
    }

    /// Listeners are sockets: they stay as they are.
    pub(crate) async fn put(&self, mut core: Settings, keys: Arc<KeyRing>) {
        if core.listeners != self.told.listeners {
            keep_listeners(&mut core, &self.told.listeners);
        }
        let settings = Arc::new(core);
        self.told.settings.store(Arc::clone(&settings));
        if !self.commands.tell(&Command::Apply(settings, keys)).await {
            tracing::error!("a worker has ended and takes no command");
        }
    }
}

impl Told {
    /// The calls in progress, now.
    pub(super) fn counted(&self) -> (&Counts, Time) {
        (&self.counts, self.clock.now())
    }
}

/// Peers name their listener by its place; with the old sockets they get the old place of the same address.
fn keep_listeners(settings: &mut Settings, old: &[Listener]) {
    let new = std::mem::replace(&mut settings.listeners, old.to_vec());
    let place = |is_it: &dyn Fn(&Listener) -> bool| {
        old.iter().position(is_it).and_then(|place| u16::try_from(place).ok()).map(ListenerId)
    };
    for peer in settings.parties.iter_mut().flat_map(|party| party.peers.iter_mut()) {
        let wanted = new.get(usize::from(peer.listener.0));
        let same = place(&|listener| Some(listener) == wanted);
        let fit = same.or_else(|| place(&|listener| listener.transport == peer.transport));
        peer.listener = fit.unwrap_or_default();
        // A peer of transport auto needs both listeners at one address; without the pair it is one of UDP.
        peer.by_size = peer.by_size.and_then(|by_size| {
            let address = old.get(usize::from(peer.listener.0))?.address;
            let stream = place(&|listener| *listener == Listener { transport: Transport::Tcp, address })?;
            Some(BySize { datagram: peer.listener, stream, ..by_size })
        });
    }
}
