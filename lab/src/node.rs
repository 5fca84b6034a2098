//! The four machines of the topology.

use std::net::Ipv4Addr;

/// A machine. Each has one network namespace, with its tunnel's interface `wg0` and the outer interface `eth0`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Node {
    /// The gateway's: 10.10.10.2.
    Nuc,
    /// The proxy's and the prod PBX's, and the hub of the tunnels: 10.10.10.1.
    Prod,
    /// The staging PBX's: 10.10.10.3.
    Staging,
    /// The oss PBX's: 10.10.10.4.
    Oss,
}

impl Node {
    /// All of them, the hub first: who knocks before it is there tries again only 5 seconds later.
    pub const ALL: [Node; 4] = [Node::Prod, Node::Nuc, Node::Staging, Node::Oss];
    /// Those that are joined to the hub.
    pub const SPOKES: [Node; 3] = [Node::Nuc, Node::Staging, Node::Oss];

    /// The name in files, namespaces and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Node::Nuc => "nuc",
            Node::Prod => "prod",
            Node::Staging => "staging",
            Node::Oss => "oss",
        }
    }

    /// The node of this name.
    pub fn named(name: &str) -> Option<Node> {
        Node::ALL.into_iter().find(|node| node.name() == name)
    }

    /// The address inside the tunnel.
    pub const fn address(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 10, 10, self.number())
    }

    /// The address on the outer interface `eth0`, of a network that is set aside for measurements (RFC 2544).
    pub const fn outer_address(self) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, self.number(), 2)
    }

    /// The other end of the outer interface's cable, in the namespace `wan`.
    pub const fn wan_address(self) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, self.number(), 1)
    }

    const fn number(self) -> u8 {
        match self {
            Node::Prod => 1,
            Node::Nuc => 2,
            Node::Staging => 3,
            Node::Oss => 4,
        }
    }
}
