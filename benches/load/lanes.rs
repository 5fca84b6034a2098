//! What an end sends until the next flush: messages of equal length lie one behind the other, and leave as one message that the
//! kernel cuts into datagrams (`UDP_SEGMENT`). It crosses the network's stack once, and arrives as single datagrams.
//!
//! Messages of one call leave in the order in which they were queued. Others may change places.

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, SockaddrIn, sendmmsg, sendmsg};
use std::io::IoSlice;

/// Messages that leave as one: no kernel that knows `UDP_SEGMENT` takes less.
const TOGETHER: usize = 64;
/// Bytes that leave as one: a packet until the kernel cuts it.
const BYTES: usize = 65_000;
/// Single messages that leave with one system call.
const SINGLY: usize = 16;

/// The queue of one end with datagrams.
pub(crate) struct Lanes {
    lanes: Vec<Lane>,
    /// Of them, so many have something.
    used: usize,
    /// Flushes so far, from 1 on.
    round: u32,
    together: usize,
    written: Vec<u8>,
    headers: MultiHeaders<()>,
}

#[derive(Default)]
struct Lane {
    bytes: Vec<u8>,
    /// Bytes of each message.
    each: usize,
}

/// Where the last message of a call waits at one end: the next one must not overtake it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Turn {
    round: u32,
    lane: usize,
}

impl Lanes {
    /// With `singly` each message leaves by itself.
    pub(crate) fn new(singly: bool) -> Lanes {
        let together = if singly { 1 } else { TOGETHER };
        let headers = MultiHeaders::preallocate(SINGLY, None);
        Lanes { lanes: Vec::new(), used: 0, round: 1, together, written: Vec::new(), headers }
    }

    /// Queues what `write` writes.
    pub(crate) fn put(&mut self, turn: &mut Turn, write: impl FnOnce(&mut Vec<u8>)) {
        self.written.clear();
        write(&mut self.written);
        let each = self.written.len();
        let first = if turn.round == self.round { turn.lane } else { 0 };
        let most = self.together;
        let has_room = |lane: &Lane| {
            lane.each == each && lane.bytes.len() + each <= BYTES && lane.bytes.len() < most.saturating_mul(each)
        };
        let used = self.lanes.get(first..self.used).unwrap_or_default();
        let at = used.iter().position(has_room).map_or(self.used, |after| first + after);
        if at == self.used {
            self.used += 1;
            if self.lanes.len() < self.used {
                self.lanes.push(Lane::default());
            }
        }
        if let Some(lane) = self.lanes.get_mut(at) {
            lane.each = each;
            lane.bytes.extend_from_slice(&self.written);
        }
        *turn = Turn { round: self.round, lane: at };
    }

    /// Sends all that is queued; returns how many messages the kernel did not take.
    pub(crate) fn flush(&mut self, fd: i32) -> u64 {
        let Lanes { lanes, used, together, headers, .. } = self;
        if *used == 0 {
            return 0;
        }
        let mut unsent = 0;
        let mut singles = Singles { slices: [[IoSlice::new(&[])]; SINGLY], count: 0, fd, headers };
        for lane in lanes.iter().take(*used) {
            if lane.bytes.len() > lane.each {
                unsent += singles.send();
                match lane.send(fd) {
                    Ok(lost) => {
                        unsent += lost;
                        continue;
                    }
                    // This kernel or this way does not join: from here on each leaves by itself.
                    Err(_) => *together = 1,
                }
            }
            for message in lane.bytes.chunks(lane.each.max(1)) {
                unsent += singles.push(message);
            }
        }
        unsent += singles.send();
        lanes.iter_mut().take(*used).for_each(|lane| lane.bytes.clear());
        *used = 0;
        self.round = self.round.wrapping_add(1).max(1);
        unsent
    }
}

impl Lane {
    /// All of it as one; how many were lost. An error is one that says that they cannot be joined.
    fn send(&self, fd: i32) -> Result<u64, Errno> {
        let Ok(each) = u16::try_from(self.each) else { return Err(Errno::EMSGSIZE) };
        let (slices, joined) = ([IoSlice::new(&self.bytes)], [ControlMessage::UdpGsoSegments(&each)]);
        loop {
            match sendmsg::<SockaddrIn>(fd, &slices, &joined, MsgFlags::MSG_DONTWAIT, None) {
                Ok(_) => return Ok(0),
                // About something sent before, or cut short: the next try tells of this one.
                Err(Errno::ECONNREFUSED | Errno::EINTR) => {}
                Err(error @ (Errno::EINVAL | Errno::EIO | Errno::EMSGSIZE | Errno::ENOPROTOOPT)) => return Err(error),
                Err(_) => return Ok(self.bytes.len().div_ceil(self.each.max(1)) as u64),
            }
        }
    }
}

/// Messages that leave by themselves, many with one system call.
struct Singles<'l, 'h> {
    slices: [[IoSlice<'l>; 1]; SINGLY],
    count: usize,
    fd: i32,
    headers: &'h mut MultiHeaders<()>,
}

impl<'l> Singles<'l, '_> {
    fn push(&mut self, message: &'l [u8]) -> u64 {
        if let Some(slot) = self.slices.get_mut(self.count) {
            *slot = [IoSlice::new(message)];
            self.count += 1;
        }
        if self.count == SINGLY { self.send() } else { 0 }
    }

    /// Returns how many were not taken.
    fn send(&mut self) -> u64 {
        let mut rest = self.slices.get(..self.count).unwrap_or_default();
        self.count = 0;
        while !rest.is_empty() {
            match sendmmsg(self.fd, self.headers, rest.iter(), [None; SINGLY], [], MsgFlags::MSG_DONTWAIT) {
                Ok(sent) => rest = rest.get(sent.count().max(1)..).unwrap_or_default(),
                Err(Errno::ECONNREFUSED | Errno::EINTR) => {}
                Err(_) => return rest.len() as u64,
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd;
    use std::time::Duration;

    /// All messages as they arrive, each a datagram of its own.
    fn arrived(lanes: &mut Lanes, queued: &[(usize, &str)]) -> Vec<String> {
        let [one, other] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        one.connect(other.local_addr().unwrap()).unwrap();
        other.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut turns = [Turn::default(); 300];
        for (call, text) in queued {
            lanes.put(&mut turns[*call], |out| out.extend_from_slice(text.as_bytes()));
        }
        assert_eq!(lanes.flush(one.as_raw_fd()), 0);
        let mut slot = [0; 4_096];
        let mut next = || {
            let len = other.recv(&mut slot).unwrap();
            String::from_utf8(slot[..len].to_vec()).unwrap()
        };
        queued.iter().map(|_| next()).collect()
    }

    #[test]
    fn equal_lengths_leave_together_and_arrive_one_by_one() {
        let mut lanes = Lanes::new(false);
        for _ in 0..2 {
            let queued = [(0, "aaa"), (1, "bbbbb"), (2, "ccc"), (3, "ddddd"), (4, "e")];
            assert_eq!(arrived(&mut lanes, &queued), ["aaa", "ccc", "bbbbb", "ddddd", "e"]);
        }
        let queued = [(0, "aaa"), (1, "bbbbb"), (2, "ccc")];
        assert_eq!(arrived(&mut Lanes::new(true), &queued), ["aaa", "bbbbb", "ccc"]);
    }

    /// A short message behind a long one of its call does not join the short ones before that.
    #[test]
    fn messages_of_a_call_keep_their_order() {
        let queued = [(0, "aaa"), (1, "bbbbb"), (1, "bbb"), (0, "aaaaa"), (0, "aab"), (1, "bbb")];
        assert_eq!(arrived(&mut Lanes::new(false), &queued), ["aaa", "bbbbb", "aaaaa", "bbb", "aab", "bbb"]);
    }

    /// More than a kernel joins is refused, and leaves one by one all the same, there and from then on.
    #[test]
    fn what_the_kernel_does_not_join_leaves_one_by_one() {
        let texts: Vec<String> = (0..200).map(|number| format!("message {number:03}")).collect();
        let queued: Vec<(usize, &str)> = texts.iter().enumerate().map(|(call, text)| (call, text.as_str())).collect();
        let mut lanes = Lanes::new(false);
        lanes.together = 1_000;
        assert_eq!(arrived(&mut lanes, &queued), texts);
        assert_eq!(lanes.together, 1);
        assert_eq!(arrived(&mut lanes, &queued), texts);
        assert_eq!(arrived(&mut Lanes::new(false), &queued), texts, "as many as are joined at most");
    }
}
