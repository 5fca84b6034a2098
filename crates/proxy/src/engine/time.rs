//! What time alone brings, and what the network says of what we sent.

use super::{Engine, Turn};
use crate::calls::CALL_TIMER;
use crate::deadline::Deadline;
use crate::flow::{Flow, Time};
use crate::outbox::{Event, FailoverReason, Outbox};
use crate::targets::PROBE_BRANCH;
use crate::transaction::key::Branch;
use crate::transaction::{
    Attempt, Cancel, Client, Context, Server, Why, invite_client, invite_server, plain_client, plain_server,
};
use directory::Directory;
use sip::Method;

impl Engine {
    /// When to call [`Engine::handle_timeout`] next; `None` while nothing is open. It has passed where a panic has left
    /// something that came due. O(1).
    pub fn poll_timeout(&self) -> Option<Time> {
        if self.due.is_empty() { self.timers.next() } else { Some(self.timers.now()) }
    }

    /// Does what has come due at `now`. A panic costs what it happened on: the next call goes on behind that (row H7).
    pub fn handle_timeout(&mut self, now: Time, directory: &Directory, outbox: &mut Outbox) {
        let mut turn = Turn { now, directory, outbox };
        self.timers.expire(now, &mut self.due);
        while let Some(id) = self.due.pop_front() {
            if id.slot & CALL_TIMER != 0 {
                self.on_call_time(&mut turn, id);
            } else if let Some(at) = self.table.rests_until(id, now) {
                self.timers.arm(at, id);
            } else if let Some(mut context) = self.table.take_due(id) {
                context.armed = Deadline::NONE;
                self.on_time(&mut turn, &mut context);
                self.settle(id.slot, context);
            }
        }
    }

    /// Takes the news that `flow.remote` could not be reached: an ICMP error, a refused or broken connection.
    /// `returned` is what was sent, or as much of it as came back: the branch in it names the attempt, so an error about
    /// something else changes nothing. It counts as a 503 (16.9); on a response it counts as nothing.
    pub fn handle_failure(
        &mut self,
        now: Time,
        flow: Flow,
        returned: &[u8],
        directory: &Directory,
        outbox: &mut Outbox,
    ) {
        let mut turn = Turn { now, directory, outbox };
        if returned.starts_with(b"SIP/") {
            return;
        }
        if let Some(branch) = probe_in(returned) {
            let branch = turn.outbox.keep(branch);
            return turn.outbox.event(Event::ProbeRefused { flow, branch });
        }
        let transport = self.settings.transport(flow.listener);
        let streamless = self.note_streamless(&mut turn, flow, transport);
        let found = branch_in(returned).and_then(|branch| Some((branch, self.table.find(branch.key)?)));
        let Some((branch, slot)) = found else {
            return self.send_by_datagram(&mut turn, streamless, returned);
        };
        let Some(mut context) = self.table.take(slot) else { return };
        // An attempt that has gone over to another transport since is none of this one's failures.
        let hit = |attempt: &Attempt| attempt.peer.address == flow.remote && attempt.peer.transport == transport;
        if let Some(at) = context.attempt_of(branch.key, branch.attempt)
            && let Some(attempt) = context.attempts.get(at).filter(|attempt| hit(attempt))
        {
            match (attempt.is_unheard(), streamless) {
                (true, Some(_)) => self.turn_to_datagrams(&mut turn, &mut context, at),
                (true, None) => {
                    self.note_strain(&mut turn, attempt.peer, FailoverReason::Unreachable);
                    self.on_attempt_failed(&mut turn, &mut context, at, FailoverReason::Unreachable);
                }
                (false, Some(_)) => {
                    self.send_by_datagram(&mut turn, streamless, returned);
                    let timers = self.settings.timers;
                    context.attempts.get_mut(at).into_iter().for_each(|it| it.turn_to_datagrams(now, &timers));
                }
                (false, None) => {}
            }
        }
        self.settle(slot, context);
    }

    fn on_time(&mut self, turn: &mut Turn<'_>, context: &mut Context) {
        let timers = self.settings.timers;
        match &mut context.server {
            Server::Invite(server) => {
                if server.on_time(turn.now, &timers) == invite_server::Due::Resend {
                    turn.outbox.event(Event::Retransmitted(Method::Invite));
                    turn.outbox.transmit(context.upstream, &context.reply);
                }
            }
            Server::Plain(server) => {
                if server.on_time(turn.now) == plain_server::Due::Trying {
                    self.answer_open(turn, context, 100, "Trying");
                }
            }
        }
        for at in 0..context.attempts.len() {
            self.on_hop_time(turn, context, at);
            self.on_cancel_time(turn, context, at);
            self.on_client_time(turn, context, at);
        }
    }

    /// The peer has said nothing for the hop's time, and there is another one.
    fn on_hop_time(&mut self, turn: &mut Turn<'_>, context: &mut Context, at: usize) {
        let Some(attempt) = context.attempts.get_mut(at) else { return };
        if attempt.hop_at.is_due(turn.now) {
            attempt.hop_at = Deadline::NONE;
            let peer = attempt.peer;
            self.note_strain(turn, peer, FailoverReason::Timeout);
            self.on_attempt_failed(turn, context, at, FailoverReason::Timeout);
        }
    }

    /// A CANCEL is sent again, and after 64*T1 without a final the attempt is as good as cancelled (9.1).
    fn on_cancel_time(&mut self, turn: &mut Turn<'_>, context: &mut Context, at: usize) {
        let timers = self.settings.timers;
        let Some(attempt) = context.attempts.get_mut(at) else { return };
        if !attempt.is_pending() {
            return;
        }
        let Cancel::Sent { client, over_at, why } = &mut attempt.cancel else { return };
        let why = *why;
        if *over_at <= turn.now {
            attempt.end();
            return self.on_attempt_failed_or_spent(turn, context, at);
        }
        if client.on_time(turn.now, &timers) == plain_client::Due::Resend {
            turn.outbox.event(Event::Retransmitted(Method::Cancel));
            self.send_cancel(turn, context, at, why);
        }
    }

    fn on_client_time(&mut self, turn: &mut Turn<'_>, context: &mut Context, at: usize) {
        let timers = self.settings.timers;
        let Some(attempt) = context.attempts.get_mut(at) else { return };
        let flow = Flow::to(attempt.peer.listener, attempt.peer.address);
        match &mut attempt.client {
            Client::Invite(client) => match client.on_time(turn.now) {
                invite_client::Due::Resend => {
                    turn.outbox.event(Event::Retransmitted(Method::Invite));
                    turn.outbox.transmit(flow, &context.sent);
                }
                invite_client::Due::TimedOut => {
                    let peer = attempt.peer;
                    if !attempt.given_up {
                        self.note_strain(turn, peer, FailoverReason::Timeout);
                    }
                    self.on_attempt_failed_or_spent(turn, context, at);
                }
                invite_client::Due::RangTooLong => {
                    context.leftover = Some(408);
                    self.cancel_attempt(turn, context, at, Why::GivenUp);
                }
                invite_client::Due::Ended | invite_client::Due::Nothing => {}
            },
            Client::Plain(client) => match client.on_time(turn.now, &timers) {
                plain_client::Due::Resend => {
                    turn.outbox.event(Event::Retransmitted(context.method));
                    turn.outbox.transmit(flow, &context.sent);
                }
                plain_client::Due::TimedOut => self.on_attempt_failed_or_spent(turn, context, at),
                plain_client::Due::Ended | plain_client::Due::Nothing => {}
            },
        }
    }

    /// An attempt is over without a final. One that counted leads on; one that was given up has nothing left to say.
    fn on_attempt_failed_or_spent(&mut self, turn: &mut Turn<'_>, context: &mut Context, at: usize) {
        if context.attempts.get(at).is_some_and(|attempt| !attempt.given_up) {
            self.on_attempt_failed(turn, context, at, FailoverReason::Timeout);
        }
    }
}

/// The branch of a probe in a piece of it.
fn probe_in(piece: &[u8]) -> Option<&[u8]> {
    let mark = PROBE_BRANCH.as_bytes();
    let at = piece.starts_with(b"OPTIONS ").then(|| piece.windows(mark.len()).position(|window| window == mark))??;
    piece.get(at..)?.split(|byte| matches!(byte, b';' | b'\r')).next()
}

/// The branch of the first Via in a piece of a message of ours.
fn branch_in(piece: &[u8]) -> Option<Branch> {
    const MARK: &[u8] = b";branch=";
    let at = piece.windows(MARK.len()).position(|window| window == MARK)?;
    let rest = piece.get(at + MARK.len()..)?;
    Branch::parse(rest.get(..crate::transaction::key::BRANCH_BYTES)?)
}
