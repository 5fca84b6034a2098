//! What people ask of an environment's targets, as a value: two OPTIONS to each, for a number and for one that nobody can
//! have. No socket and no clock of its own; no answer here changes what is known of a peer's health.

use super::message::{self, BRANCH_BYTES};
use super::rounds::Watched;
use crate::worker::Heard;
use admin::api::dids::readiness::{Asked, Replies, Reply};
use admin::limits::{READINESS_AT_ONCE, READINESS_PER_SECOND, READINESS_TIME_MAX};
use proxy::targets::Admin;
use proxy::{Flow, Party, Settings, Time, Transport};
use sip::{Form, Number};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::oneshot;

/// How soon a datagram that has no answer is sent again (RFC 3261 T1).
const AGAIN: Duration = Duration::from_millis(500);
const SECOND: Duration = Duration::from_secs(1);

/// There are too many questions now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TooMany;

/// Where an answer goes.
pub(crate) type Answer = oneshot::Sender<Result<Vec<Replies>, TooMany>>;

/// The questions that are under way.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    open: Vec<Question>,
    /// When the last ones began.
    begun: VecDeque<Time>,
}

#[derive(Debug)]
struct Question {
    targets: Vec<Target>,
    until: Time,
    answer: Answer,
}

/// One target, with the number's OPTIONS and then the impossible one's.
#[derive(Debug)]
struct Target {
    name: String,
    /// A datagram is sent again, a stream delivers by itself.
    is_datagram: bool,
    asked: [Sent; 2],
}

#[derive(Debug)]
struct Sent {
    branch: [u8; BRANCH_BYTES],
    flow: Flow,
    bytes: Vec<u8>,
    /// When it leaves, for the first time or again.
    due: Option<Time>,
    reply: Reply,
}

impl Questions {
    /// Takes a question: its messages leave with the next [`Questions::on_time`]. Disabled targets are left alone.
    pub(crate) fn begin(
        &mut self,
        now: Time,
        settings: &Settings,
        watched: &[Watched],
        asked: Asked,
        mut random: impl FnMut() -> [u8; 16],
        answer: Answer,
    ) {
        while self.begun.front().is_some_and(|begun| now.since(*begun) >= SECOND) {
            self.begun.pop_front();
        }
        if self.open.len() >= READINESS_AT_ONCE || self.begun.len() >= READINESS_PER_SECOND {
            tracing::warn!(environment = asked.environment.as_str(), "limit readiness: a question was refused");
            // Who asked may be gone.
            drop(answer.send(Err(TooMany)));
            return;
        }
        self.begun.push_back(now);
        let name = asked.environment.as_str();
        let party = settings.parties.iter().find(|party| *party.name == *name);
        let targets = watched.iter().filter(|one| *one.party == *name && one.decided.admin() != Admin::Disabled);
        let targets = targets.filter_map(|one| target(now, settings, party?, one, asked, &mut random));
        self.open.push(Question { targets: targets.collect(), until: now + READINESS_TIME_MAX, answer });
    }

    /// When [`Questions::on_time`] has something to do.
    pub(crate) fn next(&self) -> Option<Time> {
        let due = |question: &Question| {
            let sent = question.targets.iter().flat_map(|target| &target.asked);
            sent.filter_map(|sent| sent.due).chain([question.until]).min()
        };
        self.open.iter().filter_map(due).min()
    }

    /// The messages that are due; questions whose time is over are answered with what is known.
    pub(crate) fn on_time(&mut self, now: Time) -> Vec<(Flow, Vec<u8>)> {
        self.answer(now);
        let mut out = Vec::new();
        for target in self.open.iter_mut().flat_map(|question| &mut question.targets) {
            let again = target.is_datagram.then(|| now + AGAIN);
            for sent in target.asked.iter_mut().filter(|sent| sent.due.is_some_and(|due| due <= now)) {
                sent.due = again;
                out.push((sent.flow, sent.bytes.clone()));
            }
        }
        out
    }

    /// Takes what the worker heard, if it is about a question: false when it is not. An answer counts from the target's
    /// own address.
    pub(crate) fn on_heard(&mut self, now: Time, heard: &Heard) -> bool {
        let (branch, from, reply) = match heard {
            Heard::Answered { branch, remote, status } => (branch, Some(remote.ip()), Reply::Status(*status)),
            Heard::Refused { branch } => (branch, None, Reply::Refused),
            Heard::CallFailed { .. } => return false,
        };
        let all = self.open.iter_mut().flat_map(|question| &mut question.targets).flat_map(|target| &mut target.asked);
        let Some(sent) = all.into_iter().find(|sent| sent.branch[..] == **branch) else { return false };
        // A provisional answer is none (RFC 3261 8.1.1.10 has no 1xx for OPTIONS worth waiting for).
        let is_final = !matches!(reply, Reply::Status(..200));
        if is_final && sent.reply == Reply::None && from.is_none_or(|from| from == sent.flow.remote.ip()) {
            (sent.reply, sent.due) = (reply, None);
            self.answer(now);
        }
        true
    }

    /// Answers what is whole or whose time is over.
    fn answer(&mut self, now: Time) {
        let is_over = |question: &Question| {
            let mut all = question.targets.iter().flat_map(|target| &target.asked);
            question.until <= now || all.all(|sent| sent.reply != Reply::None)
        };
        for question in self.open.extract_if(.., |question| is_over(question)) {
            let replies = question.targets.into_iter().map(|target| {
                let [number, impossible] = target.asked.map(|sent| sent.reply);
                Replies { peer: target.name, number, impossible }
            });
            // Who asked may be gone.
            drop(question.answer.send(Ok(replies.collect())));
        }
    }
}

fn target(
    now: Time,
    settings: &Settings,
    party: &Party,
    watched: &Watched,
    asked: Asked,
    random: &mut impl FnMut() -> [u8; 16],
) -> Option<Target> {
    let (peer, own) = (&watched.peer, settings.listener(watched.peer.listener)?.address);
    let mut sent = |number: Number| {
        let branch = message::branch(&random());
        let mut user = Vec::new();
        settings.numbering.write(number, party.called_number.unwrap_or(Form::PlusE164), &mut user);
        user.push(b'@');
        let bytes = message::options_to(peer, &String::from_utf8_lossy(&user), own, &branch);
        let flow = Flow::to(peer.listener, peer.address);
        Sent { branch, flow, bytes, due: Some(now), reply: Reply::None }
    };
    let asked = [sent(asked.number), sent(asked.impossible)];
    Some(Target { name: watched.place(), is_datagram: peer.transport == Transport::Udp, asked })
}

#[cfg(test)]
mod tests;
