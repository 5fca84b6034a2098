//! Where datagrams may not leave together for a while.

use nix::errno::Errno;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// So many destinations are remembered; one more takes the place of the oldest.
pub const DESTINATIONS: usize = 64;
/// For so long, then it is tried again: a tunnel may have come back with another way.
pub const PERIOD: Duration = Duration::from_secs(10);

/// Destinations to which messages of several datagrams were refused, or that ICMP says cannot be reached: of such a message
/// ICMP names the first datagram alone where it ends on this machine.
#[derive(Debug, Default)]
pub struct Refused {
    /// In the order in which they were refused.
    known: Vec<Refusal>,
}

#[derive(Debug)]
struct Refusal {
    to: IpAddr,
    /// Longer datagrams leave one by one.
    longest: usize,
    until: Instant,
}

/// True for what says that a message of several datagrams cannot leave, where each by itself may: one is longer than what
/// the device carries uncut (`EINVAL`, in later kernels `EMSGSIZE`), or its way computes no checksums or encrypts (`EIO`). Other
/// errors are about the destination, or about a datagram of before.
pub fn refuses_joined(errno: Errno) -> bool {
    matches!(errno, Errno::EINVAL | Errno::EMSGSIZE | Errno::EIO | Errno::EOPNOTSUPP)
}

impl Refused {
    /// From now on datagrams to `to` leave together only where they have no more than `longest` bytes.
    pub fn note(&mut self, to: IpAddr, longest: usize, now: Instant) {
        let before = self.longest(to, now);
        self.known.retain(|refusal| refusal.to != to && refusal.until > now);
        if self.known.len() >= DESTINATIONS {
            self.known.remove(0);
        }
        self.known.push(Refusal { to, longest: longest.min(before), until: now + PERIOD });
    }

    /// How many bytes a datagram may have that leaves together with others.
    pub fn longest(&self, to: IpAddr, now: Instant) -> usize {
        let refusal = self.known.iter().find(|refusal| refusal.to == to && refusal.until > now);
        refusal.map_or(usize::MAX, |refusal| refusal.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Limits DESTINATIONS and PERIOD.
    #[test]
    fn what_was_refused_is_remembered_for_a_while_and_not_for_everybody() {
        let now = Instant::now();
        let at = |number: u8| IpAddr::from([10, 10, 10, number]);
        let mut refused = Refused::default();
        refused.note(at(1), 1_400, now);
        assert_eq!((refused.longest(at(1), now), refused.longest(at(2), now)), (1_400, usize::MAX));
        refused.note(at(1), 1_450, now + PERIOD / 2);
        assert_eq!(refused.longest(at(1), now + PERIOD), 1_400, "a shorter one was refused, and lately");
        assert_eq!(refused.longest(at(1), now + PERIOD + PERIOD / 2), usize::MAX, "tried again");
        refused.note(at(1), 1_450, now + PERIOD * 2);
        assert_eq!(refused.longest(at(1), now + PERIOD * 2), 1_450, "what was before is forgotten");

        let later = now + PERIOD * 4;
        let all: Vec<IpAddr> = (0..=u8::try_from(DESTINATIONS).unwrap()).map(at).collect();
        all.iter().for_each(|to| refused.note(*to, 0, later));
        assert_eq!(refused.known.len(), DESTINATIONS);
        assert_eq!((refused.longest(all[0], later), refused.longest(all[1], later)), (usize::MAX, 0));
    }

    #[test]
    fn an_error_about_the_destination_refuses_nothing() {
        assert!([Errno::EINVAL, Errno::EMSGSIZE, Errno::EIO].into_iter().all(refuses_joined));
        let others = [Errno::ECONNREFUSED, Errno::EPERM, Errno::ENETUNREACH, Errno::EAGAIN, Errno::ENOBUFS];
        assert!(!others.into_iter().any(refuses_joined));
    }
}
