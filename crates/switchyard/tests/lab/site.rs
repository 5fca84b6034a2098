//! A lab with the program in it.

use lab::process::{PATIENCE, Place};
use lab::program::{CONFIGURATION, Program};
use lab::silence::Silence;
use lab::sipp::{Calls, Party};
use lab::tap::Tap;
use lab::{Lab, Node};
use std::net::{SocketAddrV4, UdpSocket};
use std::path::Path;
use std::time::Duration;

/// DIDs of these environments in the made-up directory.
pub(crate) const STAGING_DID: &str = "+918065978021";
pub(crate) const PROD_DID: &str = "+918065978000";

/// Above all that SIP waits for: Timer B is 32 s.
pub(crate) const SETUP: Duration = Duration::from_secs(40);

/// A lab, and the proxy on its node `prod`.
pub(crate) struct Site {
    pub(crate) program: Program,
    /// Last: the program ends before its node goes.
    pub(crate) lab: Lab,
}

impl Site {
    /// Everything up, paths clean.
    pub(crate) fn up(seed: u64) -> Site {
        Site::with(seed, CONFIGURATION)
    }

    /// The same with another configuration.
    pub(crate) fn with(seed: u64, configuration: &str) -> Site {
        let lab = Lab::up(seed).unwrap();
        let place = lab.place(Node::Prod).unwrap();
        let program = Program::start(&place, Path::new(env!("CARGO_BIN_EXE_switchyard")), configuration);
        Site { program, lab }
    }

    pub(crate) fn place(&self, node: Node) -> Place {
        self.lab.place(node).unwrap()
    }

    /// SIPp as the PBX of `environment`, or as the gateway.
    pub(crate) fn callee(&self, scenario: &str, node: Node, calls: u32) -> Party {
        Party::callee(&self.place(node), scenario, sip(node), calls)
    }

    /// SIPp as a caller on `node` to a number, by way of the proxy.
    pub(crate) fn caller(&self, scenario: &str, node: Node, calls: Calls<'_>) -> Party {
        Party::caller(&self.place(node), scenario, sip(node), PROXY, calls)
    }

    /// Nothing may arrive where `node` takes its calls.
    pub(crate) fn silence(&self, node: Node) -> Silence {
        Silence::at(self.socket(node, sip(node)))
    }

    /// A socket on `node`.
    pub(crate) fn socket(&self, node: Node, address: SocketAddrV4) -> UdpSocket {
        let socket = self.lab.inside(Some(node), move || UdpSocket::bind(address)).unwrap().unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    /// Captures what passes an interface of `node`, from now on.
    pub(crate) fn capture(&self, node: Node, interface: &str) -> Tap {
        Tap::start(&self.lab, node, interface)
    }
}

/// Where the proxy listens.
pub(crate) const PROXY: SocketAddrV4 = SocketAddrV4::new(Node::Prod.address(), 5060);

/// Where a node's gateway or PBX speaks SIP.
pub(crate) const fn sip(node: Node) -> SocketAddrV4 {
    let port = match node {
        Node::Nuc => 5060,
        Node::Prod => 5070,
        Node::Staging | Node::Oss => 5080,
    };
    SocketAddrV4::new(node.address(), port)
}

/// The messages that SIPp has received.
pub(crate) fn received(messages: &str) -> impl Iterator<Item = &str> {
    messages.split("\n-----").filter(|text| text.contains("message received"))
}

/// The value of a header of a message in SIPp's file; of the first line with that name.
pub(crate) fn header<'a>(message: &'a str, name: &str) -> &'a str {
    let line = message.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_default().trim()
}
