//! Where bytes come from and go to, and when: the small values that the caller and the core exchange.

use std::fmt;
use std::net::SocketAddr;
use std::ops::{Add, Sub};
use std::time::Duration;

/// Microseconds since an instant of the caller's choice. Monotonic: it never goes back, whatever the wall clock does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Time(pub u64);

impl Time {
    /// The time `milliseconds` after the caller's zero.
    pub const fn from_millis(milliseconds: u64) -> Time {
        Time(milliseconds.saturating_mul(1_000))
    }

    /// Whole milliseconds since the caller's zero, rounded down.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000
    }

    /// How long ago `earlier` was; zero when it lies ahead.
    pub const fn since(self, earlier: Time) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Time;
    fn add(self, rhs: Duration) -> Time {
        Time(self.0.saturating_add(u64::try_from(rhs.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Time> for Time {
    type Output = Duration;
    fn sub(self, rhs: Time) -> Duration {
        self.since(rhs)
    }
}

/// What carries a message.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Transport {
    /// Datagrams: the core retransmits.
    Udp,
    /// A stream: nothing is retransmitted by the transaction layer.
    Tcp,
}

impl Transport {
    /// As a Via's transport token writes it (RFC 3261 20.42).
    pub const fn via_token(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
        }
    }

    /// As configuration and URI parameters write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
        }
    }

    /// True where the transport delivers by itself, so that retransmission timers stay off.
    pub const fn is_reliable(self) -> bool {
        matches!(self, Transport::Tcp)
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Position of a listener in [`crate::Settings::listeners`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ListenerId(pub u16);

/// Position of a party in [`crate::Settings::parties`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PartyId(pub u16);

/// The interface that a packet arrived on: one of [`crate::Settings::interfaces`], counted from 1, or
/// [`InterfaceId::OTHER`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct InterfaceId(pub u16);

impl InterfaceId {
    /// An interface that no peer names, or one that the caller does not know.
    pub const OTHER: InterfaceId = InterfaceId(0);
}

/// One way to a neighbour: our socket, its address and, on a stream, the connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Flow {
    /// Our listener: it gives the transport, the local address, and the socket to send from.
    pub listener: ListenerId,
    /// The neighbour's address.
    pub remote: SocketAddr,
    /// The stream connection; 0 on UDP, and where no particular connection is meant.
    pub connection: u64,
    /// Where the packet arrived; [`InterfaceId::OTHER`] for what leaves.
    pub interface: InterfaceId,
}

impl Flow {
    /// A flow for what leaves: no connection yet, no interface.
    pub const fn to(listener: ListenerId, remote: SocketAddr) -> Flow {
        Flow { listener, remote, connection: 0, interface: InterfaceId::OTHER }
    }
}
