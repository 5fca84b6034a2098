//! Calls that failed at a peer, in a row: kept only for peers that failed their last one.

use crate::limits::STRAINED_PEERS;
use crate::settings::Peer;

/// The peers that failed their last calls.
#[derive(Debug, Default)]
pub(crate) struct Strains {
    all: Vec<(Peer, u32)>,
}

impl Strains {
    /// One more call failed at this peer: how many in a row that makes. `None` when no more peers can be counted.
    pub(crate) fn fail(&mut self, peer: Peer) -> Option<u32> {
        let peer = peer.as_configured();
        if let Some((_, in_row)) = self.all.iter_mut().find(|(known, _)| *known == peer) {
            *in_row = in_row.saturating_add(1);
            return Some(*in_row);
        }
        if self.all.len() == STRAINED_PEERS {
            return None;
        }
        self.all.push((peer, 1));
        Some(1)
    }

    /// The peer answered a call: the row ends.
    pub(crate) fn hear(&mut self, peer: &Peer) {
        if !self.all.is_empty() {
            let peer = peer.as_configured();
            self.all.retain(|(known, _)| *known != peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{ListenerId, Transport};

    fn peer(port: usize) -> Peer {
        let address = ([10, 10, 10, 1], u16::try_from(port).unwrap()).into();
        Peer { transport: Transport::Udp, address, listener: ListenerId(0), by_size: None }
    }

    #[test]
    fn an_answer_ends_the_row_of_its_peer_only() {
        let mut strains = Strains::default();
        assert_eq!([1, 1, 2, 1].map(|port| strains.fail(peer(port))), [Some(1), Some(2), Some(1), Some(3)]);
        strains.hear(&peer(1));
        assert_eq!([1, 2].map(|port| strains.fail(peer(port))), [Some(1), Some(2)]);
    }

    #[test]
    fn more_failing_peers_than_the_limit_are_not_counted() {
        let mut strains = Strains::default();
        for port in 0..STRAINED_PEERS {
            assert_eq!(strains.fail(peer(port)), Some(1));
        }
        assert_eq!(strains.fail(peer(STRAINED_PEERS)), None);
        assert_eq!(strains.fail(peer(0)), Some(2));
        strains.hear(&peer(0));
        assert_eq!(strains.fail(peer(STRAINED_PEERS)), Some(1));
    }
}
