//! The addresses of records, as texts. A few peers have nearly all calls: theirs are not written out for each.

use crate::calls::Word;
use proxy::Peer;
use std::net::SocketAddr;

/// So many of each are known; with one more all are forgotten.
const KNOWN: usize = 64;

/// What was written out before.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    known: Vec<(SocketAddr, Word)>,
    peers: Vec<(Peer, Word)>,
}

impl Addresses {
    /// An address.
    pub(super) fn of(&mut self, address: SocketAddr) -> Word {
        text_of(&mut self.known, address)
    }

    /// A peer, with its transport.
    pub(super) fn of_peer(&mut self, peer: &Peer) -> Word {
        text_of(&mut self.peers, *peer)
    }
}

fn text_of<T: PartialEq + ToString>(known: &mut Vec<(T, Word)>, thing: T) -> Word {
    if let Some((_, text)) = known.iter().find(|(one, _)| *one == thing) {
        return text.clone();
    }
    if known.len() == KNOWN {
        known.clear();
    }
    let text = Word::from(thing.to_string());
    known.push((thing, text.clone()));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proxy::{ListenerId, Transport};

    #[test]
    fn every_address_is_its_own_however_many_there_are() {
        let mut addresses = Addresses::default();
        for round in 0..2 {
            for port in 1..=2 * u16::try_from(KNOWN).unwrap() + 1 {
                let address = SocketAddr::from(([10, 10, 10, 2], port));
                let listener = ListenerId(0);
                let peer = Peer { transport: Transport::Tcp, address, listener, by_size: None };
                for _ in 0..2 {
                    assert_eq!(addresses.of(address), address.to_string(), "{round}");
                    assert_eq!(addresses.of_peer(&peer), peer.to_string());
                }
            }
        }
        assert!(addresses.known.len() <= KNOWN && addresses.peers.len() <= KNOWN);
    }
}
