//! What is kept of a request's transactions while nothing happens to them: while a call rings, and after its end for as long
//! as something may be sent again. Calls are in these two states nearly all of their time, and a context has room for what
//! few of them ever need.

use super::{Attempt, Cancel, Client, Context, Server};
use crate::calls::CallKey;
use crate::deadline::Deadline;
use crate::flow::{Flow, InterfaceId, ListenerId, PartyId, Time, Transport};
use crate::rewrite::Stamp;
use crate::settings::{BySize, Peer};
use crate::transaction::key::Key;
use crate::untagged::Untagged;
use sip::Method;
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};

/// A context at rest: one attempt, the first, at one peer, and nobody else to be tried.
#[derive(Debug)]
pub(crate) struct Rest {
    pub(crate) key: Key,
    call: CallKey,
    upstream: Address,
    peer: Address,
    connection: u64,
    server: Server,
    client: Client,
    reply: Vec<u8>,
    /// What is needed only while there is no final response.
    ringing: Option<Box<Ringing>>,
    /// From and To as they came, where they left with other names.
    names: Option<Box<[Untagged; 2]>>,
    armed: Deadline,
    number: u32,
    by_size: Option<(ListenerId, ListenerId, u32)>,
    leftover: Option<u16>,
    pub(crate) party: PartyId,
    pub(crate) toward: PartyId,
    came_by: (ListenerId, InterfaceId),
    goes_by: (ListenerId, Transport),
    method: Method,
    in_dialog: bool,
    sets_up: bool,
    has_rung: bool,
    cancelled: bool,
    given_up: bool,
}

#[derive(Debug)]
struct Ringing {
    /// Less what nothing asks for any more.
    sent: Vec<u8>,
    stamp: Stamp,
    opened: Time,
}

/// A socket's address, small: most are of IPv4.
#[derive(Debug)]
enum Address {
    V4(SocketAddrV4),
    V6(Box<SocketAddrV6>),
}

impl Rest {
    /// True when a context is in a state that this can hold: its only attempt rings, or all that is left of it are the
    /// timers of its end.
    pub(crate) fn suits(context: &Context) -> bool {
        let [attempt] = context.attempts.as_slice() else { return false };
        let rings = || context.has_rung && attempt.is_proceeding();
        let is_done = || context.sent.is_empty() && !context.is_open() && !attempt.is_pending();
        let is_plain = attempt.number == 0
            && attempt.key == context.key
            && attempt.hop_at == Deadline::NONE
            && matches!(attempt.cancel, Cancel::None);
        let has_no_other = context.untried.is_empty()
            && context.fallback.is_none()
            && context.best_status.is_none()
            && context.cancel_reason.is_empty();
        is_plain && has_no_other && (is_done() || rings())
    }

    /// Takes from the request of a context that suits what nothing asks for any more. What has rung is not sent again
    /// (RFC 3261 17.1.1.2), and there is nobody else to be tried: it is only cancelled, acknowledged and answered.
    pub(crate) fn shorten(context: &mut Context) {
        let end = std::mem::take(&mut context.stamp.lines_end) as usize;
        if end > 0 && end < context.sent.len() {
            context.sent.truncate(end);
            context.sent.extend_from_slice(b"\r\n");
        }
    }

    /// Takes what counts out of a context that suits. What `before` has of room is used again.
    pub(crate) fn of(context: &mut Context, attempt: Attempt, before: Option<&mut Rest>) -> Rest {
        let (ringing, names) = before.map_or((None, None), |rest| (rest.ringing.take(), rest.names.take()));
        let Flow { listener, remote, connection, interface } = context.upstream;
        let narrow =
            |size: BySize| (size.datagram, size.stream, u32::try_from(size.datagram_bytes_max).unwrap_or(u32::MAX));
        Rest {
            key: context.key,
            call: context.call,
            upstream: Address::of(remote),
            peer: Address::of(attempt.peer.address),
            connection,
            server: context.server,
            client: attempt.client,
            reply: std::mem::take(&mut context.reply),
            ringing: Ringing::of(context, ringing),
            names: names_of(context, names),
            armed: context.armed,
            number: context.number,
            by_size: attempt.peer.by_size.map(narrow),
            leftover: context.leftover,
            party: context.party,
            toward: context.toward,
            came_by: (listener, interface),
            goes_by: (attempt.peer.listener, attempt.peer.transport),
            method: context.method,
            in_dialog: context.in_dialog,
            sets_up: context.sets_up,
            has_rung: context.has_rung,
            cancelled: context.cancelled,
            given_up: attempt.given_up,
        }
    }

    /// The context again, as it was; in the room of one that has ended, where there is one.
    pub(crate) fn wake(&mut self, slot: u32, used: Option<Box<Context>>) -> Box<Context> {
        let (listener, interface) = self.came_by;
        let remote = self.upstream.socket();
        let context = Context {
            slot,
            key: self.key,
            method: self.method,
            number: self.number,
            party: self.party,
            upstream: Flow { listener, remote, connection: self.connection, interface },
            opened: Time(0),
            server: self.server,
            sent: Vec::new(),
            stamp: Stamp::default(),
            came_from: Untagged::default(),
            came_to: Untagged::default(),
            reply: std::mem::take(&mut self.reply),
            attempts: Vec::new(),
            untried: Vec::new(),
            fallback: None,
            best: Vec::new(),
            best_status: None,
            toward: self.toward,
            call: self.call,
            sets_up: self.sets_up,
            in_dialog: self.in_dialog,
            has_rung: self.has_rung,
            cancelled: self.cancelled,
            cancel_reason: Vec::new(),
            leftover: self.leftover,
            armed: self.armed,
        };
        let mut context = into_room(context, used);
        context.attempts.reserve_exact(1);
        context.attempts.push(self.attempt());
        if let Some(ringing) = &mut self.ringing {
            context.sent = std::mem::take(&mut ringing.sent);
            (context.stamp, context.opened) = (ringing.stamp, ringing.opened);
        }
        if let Some(names) = &mut self.names {
            [context.came_from, context.came_to] = std::mem::take(&mut **names);
        }
        context
    }

    fn attempt(&self) -> Attempt {
        let (listener, transport) = self.goes_by;
        let wide = |(datagram, stream, bytes): (ListenerId, ListenerId, u32)| BySize {
            datagram,
            stream,
            datagram_bytes_max: usize::try_from(bytes).unwrap_or(usize::MAX),
        };
        Attempt {
            number: 0,
            key: self.key,
            peer: Peer { transport, address: self.peer.socket(), listener, by_size: self.by_size.map(wide) },
            client: self.client,
            hop_at: Deadline::NONE,
            given_up: self.given_up,
            cancel: Cancel::None,
        }
    }

    /// The deadline for which the wheel is to be set again, where nothing is due at `now`: an entry of the wheel may be left
    /// over from a deadline that counts no more.
    pub(crate) fn rests_until(&mut self, now: Time) -> Option<Time> {
        let due = self.server.deadline_with(&self.client);
        let at = due.time().filter(|at| *at > now)?;
        self.armed = due;
        Some(at)
    }

    /// Bytes that it holds, about.
    pub(crate) fn held_bytes(&self) -> usize {
        let of_ringing = |ringing: &Ringing| size_of::<Ringing>() + ringing.sent.capacity();
        let of_name = |name: &Untagged| size_of::<Untagged>() + name.text.capacity();
        let ringing = self.ringing.as_deref().map_or(0, of_ringing);
        let names = self.names.as_deref().map_or(0, |names| names.iter().map(of_name).sum());
        size_of::<Rest>() + super::PLACE_BYTES + self.reply.capacity() + ringing + names
    }
}

impl Ringing {
    /// What a context needs while it rings, in this box if there is one.
    fn of(context: &mut Context, room: Option<Box<Ringing>>) -> Option<Box<Ringing>> {
        if context.sent.is_empty() {
            return None;
        }
        let ringing = Ringing { sent: std::mem::take(&mut context.sent), stamp: context.stamp, opened: context.opened };
        Some(put(ringing, room))
    }
}

/// The names that a context remembers, if any, in this box if there is one.
fn names_of(context: &mut Context, room: Option<Box<[Untagged; 2]>>) -> Option<Box<[Untagged; 2]>> {
    if context.came_from.is_empty() && context.came_to.is_empty() {
        return None;
    }
    let mut names = [std::mem::take(&mut context.came_from), std::mem::take(&mut context.came_to)];
    names.iter_mut().for_each(|name| name.text.shrink_to_fit());
    Some(put(names, room))
}

/// A value in a box, in the one that is there if there is one.
fn put<T>(value: T, room: Option<Box<T>>) -> Box<T> {
    match room {
        Some(mut room) => {
            *room = value;
            room
        }
        None => Box::new(value),
    }
}

/// A context in the box of one that has ended, with its lists.
fn into_room(context: Context, used: Option<Box<Context>>) -> Box<Context> {
    let Some(mut used) = used else { return Box::new(context) };
    let (attempts, untried) = (std::mem::take(&mut used.attempts), std::mem::take(&mut used.untried));
    let cancel_reason = std::mem::take(&mut used.cancel_reason);
    let (came_from, came_to) = (std::mem::take(&mut used.came_from), std::mem::take(&mut used.came_to));
    *used = Context { attempts, untried, cancel_reason, came_from, came_to, ..context };
    used
}

impl Address {
    fn of(address: SocketAddr) -> Address {
        match address {
            SocketAddr::V4(address) => Address::V4(address),
            SocketAddr::V6(address) => Address::V6(Box::new(address)),
        }
    }

    fn socket(&self) -> SocketAddr {
        match self {
            Address::V4(address) => SocketAddr::V4(*address),
            Address::V6(address) => SocketAddr::V6(**address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::TimerSettings;
    use crate::transaction::invite_client::InviteClient;
    use crate::transaction::invite_server::InviteServer;
    use crate::transaction::plain_client::PlainClient;
    use crate::transaction::plain_server::PlainServer;
    use sip::Span;

    fn context(method: Method, server: Server, client: Client) -> Box<Context> {
        let remote = "[fd00:10::2]:5061".parse().unwrap();
        let by_size = BySize { datagram: ListenerId(0), stream: ListenerId(1), datagram_bytes_max: 1_300 };
        let address = "10.10.10.3:5080".parse().unwrap();
        let peer = Peer { transport: Transport::Tcp, address, listener: ListenerId(1), by_size: Some(by_size) };
        let attempt =
            Attempt { number: 0, key: 7, peer, client, hop_at: Deadline::NONE, given_up: true, cancel: Cancel::None };
        Box::new(Context {
            slot: 3,
            key: 7,
            method,
            number: 42,
            party: PartyId(1),
            upstream: Flow { listener: ListenerId(2), remote, connection: 9, interface: InterfaceId(4) },
            opened: Time(0),
            server,
            sent: Vec::new(),
            stamp: Stamp::default(),
            came_from: Untagged::default(),
            came_to: Untagged::default(),
            reply: b"SIP/2.0 200 OK".to_vec(),
            attempts: vec![attempt],
            untried: Vec::new(),
            fallback: None,
            best: Vec::new(),
            best_status: None,
            toward: PartyId(5),
            call: CallKey(8),
            sets_up: false,
            in_dialog: true,
            has_rung: false,
            cancelled: true,
            cancel_reason: Vec::new(),
            leftover: Some(500),
            armed: Deadline::at(Time(11)),
        })
    }

    fn ringing() -> Box<Context> {
        let (now, timers) = (Time(1), TimerSettings::default());
        let mut client = InviteClient::new(now, &timers, false);
        client.on_response(180, now, &timers);
        let mut context = context(Method::Invite, Server::Invite(InviteServer::new(false)), Client::Invite(client));
        (context.has_rung, context.sets_up, context.opened) = (true, true, Time(10));
        context.sent = b"INVITE sip:a SIP/2.0\r\ni: a1@gw\r\n".to_vec();
        let call_id = Span::new(25, 30);
        context.stamp = Stamp { key_id: 1, loop_part: 2, via: Span::new(3, 4), call_id, ..Stamp::default() };
        context.came_from = Untagged::of(b"\"Asha\" <sip:a@x>;tag=1;x=2", Some(b"1"));
        context
    }

    fn over() -> Box<Context> {
        let (now, timers) = (Time(1), TimerSettings::default());
        let mut client = PlainClient::new(now, &timers, false);
        let mut server = PlainServer::new(now, &timers, false);
        client.on_response(200, now, &timers);
        server.on_final(now, &timers);
        context(Method::Bye, Server::Plain(server), Client::Plain(client))
    }

    /// Whether in a box of its own or in the room of others, what is laid down and wakes is what it was.
    #[test]
    fn a_context_wakes_as_it_was() {
        let (mut room, mut used) = (None, None);
        for make in [ringing, over, over, ringing, ringing] {
            let mut context = make();
            assert!(Rest::suits(&context));
            let attempt = context.attempts.pop().unwrap();
            let mut rest = Rest::of(&mut context, attempt, room.as_mut());
            let mut woken = rest.wake(3, used.take());
            assert_eq!(format!("{woken:?}"), format!("{:?}", make()));
            assert!(woken.deadline() == make().deadline());
            // As the table gives it back.
            woken.attempts.clear();
            (woken.came_from, woken.reply) = (Untagged::default(), Vec::new());
            (room, used) = (Some(rest), Some(woken));
        }
        assert!(
            size_of::<Rest>() <= 224,
            "{}: there are two of them for each call of the last 32 s",
            size_of::<Rest>()
        );
    }

    /// Of the request what its end takes is left, however often it rests; all of it where nobody knows where that ends.
    #[test]
    fn a_request_that_rings_is_shortened_once() {
        let mut context = ringing();
        Rest::shorten(&mut context);
        assert_eq!(context.sent, ringing().sent);
        context.sent.extend_from_slice(b"Contact: <sip:a>\r\n\r\nv=0");
        context.stamp.lines_end = 32;
        for _ in 0..2 {
            Rest::shorten(&mut context);
            assert_eq!(context.sent.escape_ascii().to_string(), "INVITE sip:a SIP/2.0\\r\\ni: a1@gw\\r\\n\\r\\n");
        }
        assert_eq!(context.stamp.call_id.of(&context.sent), b"a1@gw");
    }

    /// Whatever is not of the two states stays a context.
    #[test]
    fn what_may_go_on_elsewhere_does_not_rest() {
        let spoilt: [fn(&mut Context); 8] = [
            |context| context.has_rung = false,
            |context| context.attempts.clear(),
            |context| context.untried.extend(context.attempts.first().map(|attempt| attempt.peer)),
            |context| context.fallback = Some(PartyId(1)),
            |context| context.best_status = Some(404),
            |context| context.cancel_reason.push(b'R'),
            |context| context.attempts.iter_mut().for_each(|attempt| attempt.hop_at = Deadline::at(Time(5))),
            |context| context.attempts.iter_mut().for_each(|attempt| attempt.number = 1),
        ];
        for spoil in spoilt {
            let mut context = ringing();
            spoil(&mut context);
            assert!(!Rest::suits(&context), "{context:?}");
        }
        let mut unanswered = over();
        unanswered.sent.push(b'B');
        assert!(!Rest::suits(&unanswered), "a request that may be sent again");
    }

    /// An entry of the wheel that is left over from a deadline before wakes nobody: the BYE's client transaction is over after
    /// 5 s, its server transaction after 32 s, and the first of these changes nothing.
    #[test]
    fn it_rests_until_something_is_due() {
        let mut context = over();
        assert_eq!(context.deadline().time(), Some(Time::from_millis(32_000) + std::time::Duration::from_micros(1)));
        let attempt = context.attempts.pop().unwrap();
        let mut rest = Rest::of(&mut context, attempt, None);
        assert_eq!(rest.rests_until(Time::from_millis(5_001)), Some(Time(32_000_001)));
        assert_eq!(rest.rests_until(Time(32_000_001)), None);
    }
}
