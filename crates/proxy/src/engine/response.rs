//! The way back: a response finds its attempt by our branch, and goes to the one who asked (RFC 3261 16.7, RFC 6026).

use super::{Engine, Turn};
use crate::admission::is_own_via;
use crate::deadline::Deadline;
use crate::flow::{Flow, PartyId};
use crate::limits::PEER_RETRY_AFTER_SECS;
use crate::outbox::{Absorbed, DropReason, Event, FailoverReason};
use crate::rewrite::write_response;
use crate::targets::PROBE_BRANCH;
use crate::transaction::key::Branch;
use crate::transaction::{Attempt, Cancel, Client, Context, Server, Why, invite_client, plain_client};
use sip::{Method, Name, Response};
use std::net::IpAddr;
use std::time::Duration;

/// Peers that may be paused at one time.
const PAUSED: usize = 64;

impl Engine {
    pub(super) fn on_response(
        &mut self,
        turn: &mut Turn<'_>,
        (flow, party): (Flow, Option<PartyId>),
        response: &Response<'_>,
    ) {
        if let Some(party) = party {
            turn.outbox.event(Event::Response(party, response.status()));
        }
        let via = response.via();
        if !is_own_via(&self.settings, via) {
            return turn.outbox.event(Event::Dropped(DropReason::NotOurVia));
        }
        if let Some(branch) = via.branch.filter(|branch| branch.starts_with(PROBE_BRANCH.as_bytes())) {
            let branch = turn.outbox.keep(branch);
            return turn.outbox.event(Event::ProbeAnswered { flow, branch, status: response.status() });
        }
        let to_our_cancel = response.cseq().method == Method::Cancel;
        if let Err(reason) = check_next_via(response)
            && !(to_our_cancel && reason == DropReason::ForUs)
        {
            return turn.outbox.event(Event::Dropped(reason));
        }
        let Some(branch) = via.branch.and_then(Branch::parse) else {
            return turn.outbox.event(Event::Dropped(DropReason::NoTransaction));
        };
        let Some(slot) = self.table.find(branch.key) else {
            return self.pass_response(turn, flow, response, &branch);
        };
        let Some(mut context) = self.table.take(slot) else { return };
        match attempt_of(&context, &branch, flow, party, response) {
            Ok(at) if response.cseq().method == Method::Cancel => {
                self.on_cancel_response(turn, &mut context, at, response);
            }
            Ok(at) => self.on_attempt_response(turn, &mut context, at, response),
            Err(reason) => turn.outbox.event(Event::Dropped(reason)),
        }
        self.settle(slot, context);
    }

    fn on_cancel_response(&self, turn: &mut Turn<'_>, context: &mut Context, at: usize, response: &Response<'_>) {
        let timers = &self.settings.timers;
        match context.attempts.get_mut(at).map(|attempt| &mut attempt.cancel) {
            Some(Cancel::Sent { client, .. }) => {
                client.on_response(response.status(), turn.now, timers);
            }
            _ => turn.outbox.event(Event::Dropped(DropReason::Useless)),
        }
    }

    fn on_attempt_response(&mut self, turn: &mut Turn<'_>, context: &mut Context, at: usize, response: &Response<'_>) {
        let timers = self.settings.timers;
        let status = response.status();
        let Some(attempt) = context.attempts.get_mut(at) else { return };
        attempt.hop_at = Deadline::NONE;
        if status != 503 {
            self.note_heard(&attempt.peer);
        }
        match &mut attempt.client {
            Client::Invite(client) => match client.on_response(status, turn.now, &timers) {
                invite_client::Heard::Trying => self.on_progress(turn, context, at, None),
                invite_client::Heard::Provisional => self.on_progress(turn, context, at, Some(response)),
                invite_client::Heard::Success => self.on_success(turn, context, response),
                invite_client::Heard::Failure => {
                    self.acknowledge(turn, context, at, response);
                    self.on_failure(turn, context, at, response);
                }
                invite_client::Heard::FailureAgain => {
                    turn.outbox.event(Event::Absorbed(Absorbed::Response));
                    self.acknowledge(turn, context, at, response);
                }
                invite_client::Heard::Useless => turn.outbox.event(Event::Dropped(DropReason::Useless)),
            },
            Client::Plain(client) => match client.on_response(status, turn.now, &timers) {
                plain_client::Heard::Provisional => {}
                plain_client::Heard::Final if !context.is_open() => {
                    turn.outbox.event(Event::Dropped(DropReason::Late));
                }
                plain_client::Heard::Final if attempt_is_spent(context, at) && status >= 300 => {
                    turn.outbox.event(Event::Dropped(DropReason::Useless));
                }
                plain_client::Heard::Final => self.on_final(turn, context, at, response),
                plain_client::Heard::Useless => turn.outbox.event(Event::Absorbed(Absorbed::Response)),
            },
        }
    }

    /// A provisional response: a CANCEL that waited for it goes out; 101 to 199 of the attempt that counts pass (16.7
    /// item 5). An attempt that was given up is cancelled.
    fn on_progress(&mut self, turn: &mut Turn<'_>, context: &mut Context, at: usize, response: Option<&Response<'_>>) {
        let Some(attempt) = context.attempts.get(at) else { return };
        let given_up = attempt.given_up;
        let wanted = match attempt.cancel {
            Cancel::Wanted(why) => Some(why),
            _ => given_up.then_some(Why::GivenUp),
        };
        if let Some(why) = wanted {
            self.cancel_attempt(turn, context, at, why);
        }
        match response {
            Some(response) if !given_up && context.is_open() => {
                self.pass_up(turn, context, response, true);
                tell_ringing(turn, context, response);
            }
            Some(_) => turn.outbox.event(Event::Dropped(DropReason::Useless)),
            None => {}
        }
    }

    /// A 2xx to INVITE always passes, the first and every further one (16.7 item 5, RFC 6026 7.1).
    fn on_success(&mut self, turn: &mut Turn<'_>, context: &mut Context, response: &Response<'_>) {
        self.pass_up(turn, context, response, false);
        self.note_final(turn, context, response.status());
        self.note_success(turn, context, response);
        if let Server::Invite(server) = &mut context.server
            && server.on_late_success()
        {
            context.reply.clear();
        }
        // An attempt that failed is acknowledged again from these bytes, and one that is pending cancelled.
        let needs_bytes = |attempt: &Attempt| match &attempt.client {
            Client::Invite(client) => client.is_pending() || client.state == invite_client::State::Completed,
            Client::Plain(_) => true,
        };
        if !context.attempts.iter().any(needs_bytes) {
            self.table.forget_bytes(context);
        }
    }

    /// A final above 2xx of an INVITE's attempt.
    fn on_failure(&mut self, turn: &mut Turn<'_>, context: &mut Context, at: usize, response: &Response<'_>) {
        if attempt_is_spent(context, at) || !context.is_open() {
            return turn.outbox.event(Event::Dropped(DropReason::Useless));
        }
        self.on_final(turn, context, at, response);
    }

    /// The final response of the attempt that counts: 503 and the configured ones lead to the next peer, anything else
    /// to the caller.
    fn on_final(&mut self, turn: &mut Turn<'_>, context: &mut Context, at: usize, response: &Response<'_>) {
        let status = response.status();
        if status == 503 {
            self.pause(turn, context, at, response);
            if let Some(peer) = context.attempts.get(at).map(|attempt| attempt.peer) {
                self.note_strain(turn, peer, FailoverReason::Unavailable);
            }
            return self.on_attempt_failed(turn, context, at, FailoverReason::Unavailable);
        }
        if self.leads_on(context, status) {
            self.keep_best(turn, context, response);
            return self.on_attempt_failed(turn, context, at, FailoverReason::Status);
        }
        if status < 600 && context.best_status.is_some_and(|best| status >= 300 && best / 100 < status / 100) {
            return self.pass_best(turn, context);
        }
        self.pass_up(turn, context, response, status >= 300 || context.method != Method::Invite);
        self.note_final(turn, context, status);
        if status < 300 {
            self.note_refreshed(turn, context, response);
        }
    }

    /// Sends a response on to the one who asked, less our Via. `kept`: it may have to be sent again.
    fn pass_up(&mut self, turn: &mut Turn<'_>, context: &mut Context, response: &Response<'_>, kept: bool) {
        let transport = self.settings.transport(context.upstream.listener);
        let start = turn.outbox.bytes.len();
        let edits = self.edits_back(context);
        let Some(tail) = write_response(response, transport, &edits, &mut turn.outbox.bytes) else {
            return turn.outbox.event(Event::Impossible("a response's spans contradict each other"));
        };
        if response.status() < 200 && !response.body().is_empty() {
            // Who hears ringing or an announcement already is not moved to another target.
            context.untried.clear();
            context.fallback = None;
        }
        let span = turn.outbox.transmit_like(context.upstream, start, tail);
        if kept {
            context.reply.clear();
            context.reply.extend_from_slice(span.of(&turn.outbox.bytes));
        }
        self.note_media(turn, context.toward, context.call, response);
    }

    /// True for a status that is configured to lead to the next peer, while there is one.
    fn leads_on(&self, context: &Context, status: u16) -> bool {
        let has_next = !context.untried.is_empty() || context.fallback.is_some();
        let party = self.settings.party(context.toward).filter(|_| has_next && !context.cancelled);
        party.is_some_and(|party| party.availability.failover_statuses.contains(&status))
    }

    /// Keeps a final response that leads on, if it is the best so far: the lowest class, the first of it (16.7 item 6).
    fn keep_best(&mut self, turn: &mut Turn<'_>, context: &mut Context, response: &Response<'_>) {
        let status = response.status();
        if context.best_status.is_some_and(|best| best / 100 <= status / 100) {
            return;
        }
        let transport = self.settings.transport(context.upstream.listener);
        let edits = self.edits_back(context);
        let mut best = Vec::new();
        if write_response(response, transport, &edits, &mut best).is_none() {
            return turn.outbox.event(Event::Impossible("a response's spans contradict each other"));
        }
        context.best = best;
        context.best_status = Some(status);
    }

    /// Sends the best final response of the attempts that led on.
    pub(super) fn pass_best(&mut self, turn: &mut Turn<'_>, context: &mut Context) {
        let Some(status) = context.best_status.take() else { return };
        turn.outbox.transmit(context.upstream, &context.best);
        context.reply.clear();
        context.reply.extend_from_slice(&context.best);
        self.note_final(turn, context, status);
    }

    /// The ACK that a final above 2xx is owed, hop by hop (17.1.1.3).
    fn acknowledge(&mut self, turn: &mut Turn<'_>, context: &Context, at: usize, response: &Response<'_>) {
        let to = response.to().of(response.bytes());
        self.send_hop_by_hop(turn, context, at, |message, out| message.write_ack(to, out));
    }

    /// A peer that answers 503 with Retry-After is tried last for that time (21.5.4): capped, and garbage counts as
    /// nothing said.
    fn pause(&mut self, turn: &mut Turn<'_>, context: &Context, at: usize, response: &Response<'_>) {
        let (Some(header), Some(attempt)) = (response.first(Name::RetryAfter), context.attempts.get(at)) else {
            return;
        };
        let digits: &[u8] = response.value(header).split(|c| !c.is_ascii_digit()).next().unwrap_or_default();
        let Some(seconds) = std::str::from_utf8(digits).ok().and_then(|text| text.parse::<u64>().ok()) else {
            return;
        };
        let now = turn.now;
        let until = now + Duration::from_secs(seconds.min(u64::from(PEER_RETRY_AFTER_SECS)));
        let address = attempt.peer.address;
        self.paused.retain(|(paused, end)| *paused != address && now < *end);
        if self.paused.len() < PAUSED {
            self.paused.push((address, until));
        } else {
            turn.outbox.event(Event::LimitReached("paused_peers"));
        }
    }
}

/// Tells the first ring of a call; an early answer in a dialog is none.
fn tell_ringing(turn: &mut Turn<'_>, context: &mut Context, response: &Response<'_>) {
    let status = response.status();
    if context.has_rung || context.in_dialog || context.method != Method::Invite || !(180..190).contains(&status) {
        return;
    }
    context.has_rung = true;
    let call_id = turn.outbox.keep(response.call_id());
    let after_us = turn.now.0.saturating_sub(context.opened.0);
    turn.outbox.event(Event::Ringing { call_id, from: context.party, status, after_us });
}

/// The attempt that a response belongs to: our branch, the peer that we asked, and the request's own CSeq.
fn attempt_of(
    context: &Context,
    branch: &Branch,
    flow: Flow,
    party: Option<PartyId>,
    response: &Response<'_>,
) -> Result<usize, DropReason> {
    let at = context.attempt_of(branch.key, branch.attempt).ok_or(DropReason::NoTransaction)?;
    let attempt = context.attempts.get(at).ok_or(DropReason::NoTransaction)?;
    let same_host = attempt.peer.address.ip() == flow.remote.ip() && party.is_none();
    if attempt.peer.address != flow.remote && !same_host && party != Some(context.toward) {
        return Err(DropReason::WrongSource);
    }
    let cseq = response.cseq();
    let is_cancel = context.method == Method::Invite && cseq.method == Method::Cancel;
    if cseq.number != context.number || (cseq.method != context.method && !is_cancel) {
        return Err(DropReason::Useless);
    }
    Ok(at)
}

/// A response needs a Via below ours, and one that names an address that a response may go to.
pub(super) fn check_next_via(response: &Response<'_>) -> Result<(), DropReason> {
    let received = response.second_received().map_err(|_| DropReason::BadVia)?.ok_or(DropReason::ForUs)?;
    let nowhere = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.is_broadcast() || ip.is_multicast() || ip.is_unspecified(),
        IpAddr::V6(ip) => ip.is_multicast() || ip.is_unspecified(),
    };
    if received.is_some_and(nowhere) { Err(DropReason::BadVia) } else { Ok(()) }
}

fn attempt_is_spent(context: &Context, at: usize) -> bool {
    context.attempts.get(at).is_none_or(|attempt| attempt.given_up)
}
