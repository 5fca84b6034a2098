//! What passes here is told to the capture server, while somebody wants it.

use proxy::{Flow, Listener, Settings};
use telemetry::hep::{Tap, Way};

/// A worker's end of the tap, with the addresses of its listeners.
#[derive(Debug)]
pub(super) struct Capture {
    tap: Option<Tap>,
    /// Listeners are sockets: they are the same for the worker's whole life.
    listeners: Vec<Listener>,
}

impl Capture {
    pub(super) fn new(tap: Option<Tap>, settings: &Settings) -> Capture {
        Capture { tap, listeners: settings.listeners.clone() }
    }

    /// Takes one message. While nothing is captured this is one load.
    pub(super) fn note(&self, way: Way, flow: &Flow, bytes: &[u8]) {
        let Some(tap) = self.tap.as_ref().filter(|tap| tap.is_on()) else { return };
        if let Some(own) = self.listeners.get(usize::from(flow.listener.0)) {
            tap.take(way, own.transport, own.address, flow.remote, bytes);
        }
    }
}
