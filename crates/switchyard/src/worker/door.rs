//! Who may reach the worker's sockets: the kernel's filters, kept equal to what the core knows.

use super::transports::Transports;
use super::turn::Turns;
use crate::udp::filter::Network;
use proxy::settings::Strangers;

/// The state of the filters.
#[derive(Debug, Default)]
pub(super) struct Door {
    /// The core's count of changes that the filters know of.
    seen: u64,
}

impl Door {
    /// Makes the filters anew, after new settings.
    pub(super) fn renew(&mut self, turns: &mut Turns, transports: &mut Transports) {
        self.seen = turns.engine().neighbours_changed();
        let wanted = (turns.settings().limits.strangers == Strangers::Kernel)
            .then(|| turns.engine().neighbours().map(Network::host).collect::<Vec<_>>());
        for (address, error) in transports.admit(wanted.as_deref()) {
            tracing::warn!(
                %address, %error,
                "the kernel takes no filter for this socket: strangers are dropped here, and may fill its buffer"
            );
        }
    }

    /// The same when the core has met one more address that may speak.
    pub(super) fn follow(&mut self, turns: &mut Turns, transports: &mut Transports) {
        if turns.engine().neighbours_changed() != self.seen {
            self.renew(turns, transports);
        }
    }
}
