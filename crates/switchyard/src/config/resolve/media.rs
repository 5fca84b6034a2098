//! Where a party's media may be.

use super::Resolver;
use crate::config::fault::Key;
use crate::config::{limits, value};
use proxy::settings::Network;

impl Resolver<'_, '_> {
    pub(super) fn media(&mut self, key: &Key, written: &[String]) -> Vec<Network> {
        if written.len() > limits::MEDIA_NETWORKS {
            self.refuse(key, "", format!("at most {} networks", limits::MEDIA_NETWORKS));
        }
        let mut networks = Vec::new();
        for (index, text) in written.iter().enumerate() {
            match value::network(text) {
                Some(network) => networks.push(network),
                None => self.refuse(&key.index(index), text, value::NETWORK),
            }
        }
        networks
    }
}
