//! A call that a simulated party places: INVITE to the end, by RFC 3261, over UDP.

use super::message::{Outgoing, Read, Start};
use super::party::{Followed, PATIENCE, Party, T1};
use sip::Method;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the two talk.
const TALKS_FOR: Duration = Duration::from_millis(80);
/// How long a caller that has given up waits for what becomes of its CANCEL.
const GIVES_UP_WITHIN: Duration = Duration::from_secs(5);

/// What the caller wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wish {
    /// To talk, and then to hang up.
    Talk,
    /// The same, but to give up when nobody has taken the call after this time.
    TalkWithin(Duration),
    /// To listen until the other side hangs up.
    HearOut,
    /// To give up while it rings.
    GiveUp,
}

/// How the call went, as the caller saw it.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) call_id: String,
    /// The final status of the INVITE; `None` when none came.
    pub(super) status: Option<u16>,
    /// From the INVITE to its final response.
    pub(super) after: Duration,
    /// True once the call had an end that both sides agree on: BYE answered, or CANCEL answered, or refused.
    pub(super) is_closed: bool,
}

/// One call under way.
struct Call<'c> {
    party: &'c Arc<Party>,
    followed: Followed,
    uri: String,
    from: String,
    to: String,
    call_id: String,
    branch: String,
    is_cancelled: bool,
}

/// Places a call from `party`: `caller` to `called`, both user parts.
pub(super) async fn place(party: &Arc<Party>, caller: &str, called: &str, wish: Wish) -> Outcome {
    let call_id = format!("{}@{}", party.word(), party.local.ip());
    let mut call = Call {
        party,
        followed: party.follow(&call_id),
        uri: format!("sip:{called}@{}", party.proxy),
        from: format!("<sip:{caller}@{}>;tag={}", party.local.ip(), party.word()),
        to: format!("<sip:{called}@{}>", party.proxy),
        branch: format!("z9hG4bK{}", party.word()),
        call_id: call_id.clone(),
        is_cancelled: false,
    };
    let started = Instant::now();
    let response = call.invite(wish).await;
    let after = started.elapsed();
    let Some(response) = response else { return Outcome { call_id, status: None, after, is_closed: false } };
    let status = response.status();
    let is_closed = match status {
        Some(200..=299) => call.talk(&response, wish).await,
        _ => {
            // The ACK to a refusal belongs to the INVITE: same branch, same URI (17.1.1.3).
            let branch = call.branch.clone();
            call.send("ACK", &branch, 1, &response.to).await;
            true
        }
    };
    Outcome { call_id, status, after, is_closed }
}

impl Call<'_> {
    /// Sends the INVITE until something comes back, and waits for its final response.
    async fn invite(&mut self, wish: Wish) -> Option<Read> {
        let invite = Outgoing { with_offer: true, ..self.outgoing("INVITE", &self.branch, 1, &self.to) }.write();
        let patience = if let Wish::TalkWithin(limit) = wish { limit } else { PATIENCE };
        let mut deadline = tokio::time::Instant::now() + patience;
        let mut interval = T1;
        let mut is_heard = false;
        self.party.send(&invite, self.party.proxy).await;
        loop {
            let repeat = tokio::time::Instant::now() + interval;
            match tokio::time::timeout_at(deadline.min(repeat), self.followed.messages.recv()).await {
                Ok(message) => {
                    let message = message?;
                    if message.cseq_method != Method::Invite.as_str() {
                        continue;
                    }
                    is_heard = true;
                    let status = message.status()?;
                    if status >= 200 {
                        return Some(message);
                    }
                    if wish == Wish::GiveUp && status > 100 && !self.is_cancelled {
                        self.cancel().await;
                    }
                }
                Err(_) if tokio::time::Instant::now() >= deadline => {
                    if !is_heard || self.is_cancelled || !matches!(wish, Wish::TalkWithin(_)) {
                        return None;
                    }
                    deadline += GIVES_UP_WITHIN;
                    self.cancel().await;
                }
                Err(_) if is_heard => {}
                Err(_) => {
                    interval *= 2;
                    self.party.send(&invite, self.party.proxy).await;
                }
            }
        }
    }

    async fn cancel(&mut self) {
        self.is_cancelled = true;
        let (branch, to) = (self.branch.clone(), self.to.clone());
        self.send("CANCEL", &branch, 1, &to).await;
    }

    /// ACK, a few words, BYE. True when the BYE was answered with 200, or the other side hung up as it should.
    async fn talk(&mut self, accepted: &Read, wish: Wish) -> bool {
        // The dialog: the far end's Contact, and the recorded route the other way round (12.1.2).
        self.uri = accepted.contact.clone().unwrap_or_else(|| self.uri.clone());
        let routes: Vec<String> = accepted.record_routes.iter().rev().cloned().collect();
        let branch = format!("z9hG4bK{}", self.party.word());
        let ack = Outgoing { routes: &routes, ..self.outgoing("ACK", &branch, 1, &accepted.to) }.write();
        self.party.send(&ack, self.party.proxy).await;
        let talks_for = if wish == Wish::HearOut { PATIENCE } else { TALKS_FOR };
        let talked_until = tokio::time::Instant::now() + talks_for;
        while let Ok(message) = tokio::time::timeout_at(talked_until, self.followed.messages.recv()).await {
            match message.map(|message| message.start) {
                Some(Start::Request { method: Method::Bye, .. }) => return wish == Wish::HearOut,
                // A 200 that comes again has not seen its ACK (13.2.2.4).
                Some(Start::Response { status: 200..=299, .. }) => self.party.send(&ack, self.party.proxy).await,
                Some(_) => {}
                None => return false,
            }
        }
        let branch = format!("z9hG4bK{}", self.party.word());
        let bye = Outgoing { routes: &routes, ..self.outgoing("BYE", &branch, 2, &accepted.to) }.write();
        self.followed.until_answered(&bye, "BYE").await == Some(200)
    }

    async fn send(&self, method: &str, branch: &str, cseq_number: u32, to: &str) {
        let message = self.outgoing(method, branch, cseq_number, to).write();
        self.party.send(&message, self.party.proxy).await;
    }

    fn outgoing<'a>(&'a self, method: &'a str, branch: &'a str, cseq_number: u32, to: &'a str) -> Outgoing<'a> {
        Outgoing {
            method,
            uri: &self.uri,
            local: self.party.local,
            branch,
            from: &self.from,
            to,
            call_id: &self.call_id,
            cseq_number,
            routes: &[],
            with_offer: false,
        }
    }
}
