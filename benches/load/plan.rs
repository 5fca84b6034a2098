//! What is asked for on the command line.

use clap::{Parser, ValueEnum};
use std::net::SocketAddrV4;

/// Calls through a proxy at a fixed rate, whatever it answers; checks every message and measures the proxy's process.
#[derive(Clone, Parser)]
#[command(name = "load")]
pub(crate) struct Plan {
    /// The proxy under test.
    #[arg(long, default_value = "127.0.202.1:5060")]
    pub(crate) proxy: SocketAddrV4,
    /// Which way calls go, and what is checked.
    #[arg(long, value_enum, default_value_t = Road::Inbound)]
    pub(crate) road: Road,
    /// How messages travel.
    #[arg(long, value_enum, default_value_t = Transport::Udp)]
    pub(crate) transport: Transport,
    /// Where the gateway stands.
    #[arg(long, default_value = "127.0.202.2:5060")]
    pub(crate) gateway: SocketAddrV4,
    /// Where the PBX of prod stands.
    #[arg(long, default_value = "127.0.202.3:5060")]
    pub(crate) prod: SocketAddrV4,
    /// Where the PBX of staging stands.
    #[arg(long, default_value = "127.0.202.4:5060")]
    pub(crate) staging: SocketAddrV4,
    /// Where the PBX of oss stands.
    #[arg(long, default_value = "127.0.202.5:5060")]
    pub(crate) oss: SocketAddrV4,
    /// Calls that begin in a second.
    #[arg(long, default_value_t = 5_000)]
    pub(crate) rate: u64,
    /// Seconds in which calls begin.
    #[arg(long, default_value_t = 10)]
    pub(crate) seconds: u64,
    /// Seconds that calls have to end after the last one began.
    #[arg(long, default_value_t = 10)]
    pub(crate) settle_seconds: u64,
    /// From the ringing to the answer.
    #[arg(long, default_value_t = 0)]
    pub(crate) ring_ms: u64,
    /// From the answer to the BYE.
    #[arg(long, default_value_t = 0)]
    pub(crate) talk_ms: u64,
    /// Numbers that are called in turn.
    #[arg(long, default_value_t = 10_000)]
    pub(crate) dids: u64,
    /// The process under test: its CPU time and memory, with all its children, are read.
    #[arg(long)]
    pub(crate) pid: Option<u32>,
    /// The core that the generator is tied to.
    #[arg(long)]
    pub(crate) core: Option<usize>,
    /// Looks for the highest rate instead, from `--rate` on; each step takes `--seconds`.
    #[arg(long)]
    pub(crate) find_highest: bool,
    /// Lets this many calls ring at once, reads the memory that they take, and answers them.
    #[arg(long, conflicts_with = "find_highest")]
    pub(crate) hold: Option<u64>,
    /// Lets each datagram leave by itself; else those of equal length leave together.
    #[arg(long)]
    pub(crate) singly: bool,
    /// Exits with 0 although calls failed: for a proxy that is meant to refuse.
    #[arg(long)]
    pub(crate) overload: bool,
}

/// Which way calls go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Road {
    /// From the gateway to the environment of the number.
    Inbound,
    /// From prod's PBX to the gateway, with the caller ID of the calling user.
    Outbound,
    /// From prod's PBX to the gateway, the caller left as it is.
    OutboundPass,
    /// From the gateway to prod's PBX through something that reads nothing.
    Bare,
    /// From the gateway to prod's PBX with nothing between, over UDP: what the generator alone carries on its core.
    Mirror,
}

/// How messages travel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Transport {
    /// One datagram each.
    Udp,
    /// On connections.
    Tcp,
}

/// The ends that the generator plays, as places in [`Plan::ends`].
pub(crate) const GATEWAY: usize = 0;
pub(crate) const PROD: usize = 1;
/// So many ends.
pub(crate) const ENDS: usize = 4;

impl Plan {
    /// The addresses of all ends: the gateway, then the environments.
    pub(crate) fn ends(&self) -> [SocketAddrV4; ENDS] {
        [self.gateway, self.prod, self.staging, self.oss]
    }

    /// Where an end sends.
    pub(crate) fn sends_to(&self, end: usize) -> SocketAddrV4 {
        match (self.road, end) {
            (Road::Mirror, GATEWAY) => self.prod,
            (Road::Mirror, PROD) => self.gateway,
            _ => self.proxy,
        }
    }

    /// True where nothing is between the ends that reads and changes messages.
    pub(crate) fn is_bare(&self) -> bool {
        matches!(self.road, Road::Bare | Road::Mirror)
    }

    /// The end that calls.
    pub(crate) fn caller(&self) -> usize {
        match self.road {
            Road::Inbound | Road::Bare | Road::Mirror => GATEWAY,
            Road::Outbound | Road::OutboundPass => PROD,
        }
    }

    /// The end that must be reached by a call with the number at `place`.
    pub(crate) fn callee(&self, place: u64) -> usize {
        match self.road {
            Road::Inbound => PROD + usize::try_from(benches::dids::environment(place)).unwrap_or(0),
            Road::Bare | Road::Mirror => PROD,
            Road::Outbound | Road::OutboundPass => GATEWAY,
        }
    }
}
