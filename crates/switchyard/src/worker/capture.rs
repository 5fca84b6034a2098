//! What passes here is told to the capture server, while somebody wants it.

use proxy::{Flow, Listener, Settings, Time};
use telemetry::hep::{Feed, Tap, Way};

/// A worker's feed of the tap, with the addresses of its listeners.
#[derive(Debug)]
pub(super) struct Capture {
    feed: Option<Feed>,
    /// Listeners are sockets: they are the same for the worker's whole life.
    listeners: Vec<Listener>,
}

impl Capture {
    pub(super) fn new(tap: Option<Tap>, settings: &Settings) -> Capture {
        Capture { feed: tap.map(|tap| tap.feed()), listeners: settings.listeners.clone() }
    }

    /// Takes one message. While nothing is captured this is one load.
    pub(super) fn note(&mut self, way: Way, flow: &Flow, bytes: &[u8]) {
        let Some(feed) = self.feed.as_mut().filter(|feed| feed.is_on()) else { return };
        if let Some(own) = self.listeners.get(usize::from(flow.listener.0)) {
            feed.take(way, own.transport, own.address, flow.remote, bytes);
        }
    }

    /// The turn is over.
    pub(super) fn end_turn(&mut self, now: Time) {
        if let Some(feed) = &mut self.feed {
            feed.end_turn(now);
        }
    }

    /// When [`Capture::end_turn`] is to be called even if nothing happens.
    pub(super) fn due(&self) -> Option<Time> {
        self.feed.as_ref().and_then(Feed::due)
    }
}
