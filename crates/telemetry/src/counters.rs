//! One worker's counters: written by it alone, read by whoever asks.

mod cells;

pub use cells::{Sample, total};

use crate::catalogue::{self, FAMILY_COUNT, Family, OTHER};
use cells::{Cells, Parties};
use metrics::Histogram;
use proxy::dispatch::{Direction, Outcome};
use proxy::{Event, Party, PartyId, Role};
use sip::Method;
use std::time::Duration;

/// All families of the catalogue, at 0 in the beginning.
///
/// Writing is one relaxed addition and no lock. A reader may see one family a moment ahead of another.
pub struct Counters {
    parties: Parties,
    setup_seconds: [Histogram; 2],
    post_dial_delay_seconds: [Histogram; 2],
    calls: Cells,
    decisions: Cells,
    finals: Cells,
    caller_ids: Cells,
    foreign_caller_ids: Cells,
    failovers: Cells,
    fallbacks: Cells,
    probes: Cells,
    peer_failures: Cells,
    warnings: Cells,
    in_dialog: Cells,
    absorbed: Cells,
    retransmitted: Cells,
    dropped: Cells,
    calls_ended: Cells,
    calls_in_progress: Cells,
    journal_lost: Cells,
    open_transactions: Cells,
    limits: Cells,
    received: Cells,
    received_bytes: Cells,
    overflowed: Cells,
    filtered: Cells,
    handed_over: Cells,
    sent: Cells,
    sent_bytes: Cells,
    joined: Cells,
    send_failed: Cells,
    icmp: Cells,
    open_streams: Cells,
    streams_opened: Cells,
    streams_closed: Cells,
    stream_received_bytes: Cells,
    stream_sent_bytes: Cells,
    panics: Cells,
    impossible: Cells,
}

/// Families that each party has for itself.
const BY_PARTY: usize = 5;

impl std::fmt::Debug for Counters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.samples()).finish()
    }
}

/// A fact of the transport: what the core does not see.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fact {
    /// Datagrams that arrived, with their bytes.
    Received {
        /// How many.
        datagrams: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// Datagrams that left, with their bytes.
    Sent {
        /// How many.
        datagrams: u64,
        /// Their bytes.
        bytes: u64,
        /// How many of them left together with others.
        joined: u64,
    },
    /// Datagrams that the kernel dropped for want of room.
    Overflowed(u64),
    /// Strangers' datagrams that the filter of a socket dropped.
    Filtered(u64),
    /// A datagram that another worker has taken over.
    HandedOver,
    /// A message that did not leave: one of the values of [`catalogue::SEND_FAILED`].
    SendFailed(&'static str),
    /// Bytes that arrived on a TCP connection.
    StreamReceived {
        /// How many.
        bytes: u64,
    },
    /// Bytes that left on a TCP connection.
    StreamSent {
        /// How many.
        bytes: u64,
    },
    /// A TCP connection began: one of the values of [`catalogue::STREAMS_OPENED`].
    StreamOpened(&'static str),
    /// A TCP connection ended: one of the values of [`catalogue::STREAMS_CLOSED`].
    StreamClosed(&'static str),
    /// How many TCP connections are open now.
    OpenStreams(u64),
    /// An ICMP error about a destination.
    Unreachable,
    /// The core panicked on a message, and was kept from ending the service.
    Panicked,
    /// How many calls are in progress now.
    CallsInProgress(u64),
    /// The journal of calls had no room for an entry.
    JournalLost,
    /// How many transactions are open now.
    OpenTransactions(u64),
}

impl Counters {
    /// All at 0.
    pub fn new() -> Counters {
        Counters {
            parties: Parties::default(),
            setup_seconds: [const { Histogram::noop() }; 2],
            post_dial_delay_seconds: [const { Histogram::noop() }; 2],
            calls: Cells::new(&catalogue::CALLS),
            decisions: Cells::new(&catalogue::DECISIONS),
            finals: Cells::new(&catalogue::FINALS),
            caller_ids: Cells::new(&catalogue::CALLER_IDS),
            foreign_caller_ids: Cells::new(&catalogue::FOREIGN_CALLER_IDS),
            failovers: Cells::new(&catalogue::FAILOVERS),
            fallbacks: Cells::new(&catalogue::FALLBACKS),
            probes: Cells::new(&catalogue::PROBES),
            peer_failures: Cells::new(&catalogue::PEER_FAILURES),
            warnings: Cells::new(&catalogue::WARNINGS),
            in_dialog: Cells::new(&catalogue::IN_DIALOG),
            absorbed: Cells::new(&catalogue::ABSORBED),
            retransmitted: Cells::new(&catalogue::RETRANSMITTED),
            dropped: Cells::new(&catalogue::DROPPED),
            calls_ended: Cells::new(&catalogue::CALLS_ENDED),
            calls_in_progress: Cells::new(&catalogue::CALLS_IN_PROGRESS),
            journal_lost: Cells::new(&catalogue::JOURNAL_LOST),
            open_transactions: Cells::new(&catalogue::OPEN_TRANSACTIONS),
            limits: Cells::new(&catalogue::LIMITS),
            received: Cells::new(&catalogue::RECEIVED),
            received_bytes: Cells::new(&catalogue::RECEIVED_BYTES),
            overflowed: Cells::new(&catalogue::OVERFLOWED),
            filtered: Cells::new(&catalogue::FILTERED),
            handed_over: Cells::new(&catalogue::HANDED_OVER),
            sent: Cells::new(&catalogue::SENT),
            sent_bytes: Cells::new(&catalogue::SENT_BYTES),
            joined: Cells::new(&catalogue::JOINED),
            send_failed: Cells::new(&catalogue::SEND_FAILED),
            icmp: Cells::new(&catalogue::ICMP),
            open_streams: Cells::new(&catalogue::OPEN_STREAMS),
            streams_opened: Cells::new(&catalogue::STREAMS_OPENED),
            streams_closed: Cells::new(&catalogue::STREAMS_CLOSED),
            stream_received_bytes: Cells::new(&catalogue::STREAM_RECEIVED_BYTES),
            stream_sent_bytes: Cells::new(&catalogue::STREAM_SENT_BYTES),
            panics: Cells::new(&catalogue::PANICS),
            impossible: Cells::new(&catalogue::IMPOSSIBLE),
        }
    }

    /// Counts one event of the core.
    pub fn record(&self, event: &Event) {
        match event {
            Event::Request(party, method) => {
                self.parties.with(*party, |cells| cells.requests.add(method_label(*method), 1));
            }
            Event::Response(party, status) => self.parties.with(*party, |cells| cells.responses.add(class(*status), 1)),
            Event::Dropped(reason) => self.dropped.add(reason.name(), 1),
            // The drop beside it is counted.
            Event::Suspected(..) => {}
            Event::Refused(party, refusal) => {
                self.parties.with(*party, |cells| cells.refused.add(refusal.name(), 1));
            }
            Event::Decided { from, method, decision, .. } => {
                let rule = decision.trace.deciding().map_or(OTHER, |step| step.rule());
                self.decisions.add(rule, 1);
                if *method == Method::Invite {
                    self.calls.add(direction_label(decision.direction), 1);
                    if let Outcome::Refuse(_) = decision.outcome {
                        self.note_setup(*from, *from, "refused");
                    }
                }
            }
            Event::Final { from, toward, in_dialog, status, after_us, .. } => {
                self.finals.add(class(*status), 1);
                if !in_dialog {
                    let outcome = outcome(*status);
                    self.note_setup(*from, *toward, outcome);
                    if outcome == "answered" {
                        self.time(&self.setup_seconds, *from, *after_us);
                    }
                }
            }
            Event::Ended { by, .. } => self.calls_ended.add(by.name(), 1),
            Event::StrayMedia { from, .. } => self.parties.with(*from, |cells| cells.stray_media.add("", 1)),
            Event::Ringing { from, after_us, .. } => self.time(&self.post_dial_delay_seconds, *from, *after_us),
            Event::InDialog(_, method) => self.in_dialog.add(method_label(*method), 1),
            Event::Absorbed(absorbed) => self.absorbed.add(absorbed.name(), 1),
            Event::Retransmitted(method) => self.retransmitted.add(method_label(*method), 1),
            Event::Shown(_, rule, _) => self.caller_ids.add(rule.name(), 1),
            Event::Foreign { .. } => self.foreign_caller_ids.add("", 1),
            Event::Failover(_, reason) => self.failovers.add(reason.name(), 1),
            // What ended it was counted, or was another process's call.
            Event::EndedUnseen { .. } | Event::Attempt { .. } | Event::Owned(_) => {}
            Event::Refreshed { .. } | Event::Spent { .. } => {}
            Event::FellBack(_) => self.fallbacks.add("", 1),
            Event::ProbeAnswered { .. } => self.probes.add("answered", 1),
            Event::ProbeRefused { .. } => self.probes.add("refused", 1),
            Event::PeerFailed { reason, .. } => self.peer_failures.add(reason.name(), 1),
            Event::Warned(warning) => self.warnings.add(warning.name(), 1),
            Event::LimitReached(limit) => self.limits.add(limit, 1),
            Event::Impossible(_) => self.impossible.add("", 1),
        }
    }

    /// Counts one fact of the transport.
    pub fn note(&self, fact: Fact) {
        match fact {
            Fact::Received { datagrams, bytes } => {
                self.received.add("", datagrams);
                self.received_bytes.add("", bytes);
            }
            Fact::Sent { datagrams, bytes, joined } => {
                self.sent.add("", datagrams);
                self.sent_bytes.add("", bytes);
                if joined > 0 {
                    self.joined.add("", joined);
                }
            }
            Fact::Overflowed(datagrams) => self.overflowed.add("", datagrams),
            Fact::Filtered(datagrams) => self.filtered.add("", datagrams),
            Fact::HandedOver => self.handed_over.add("", 1),
            Fact::SendFailed(reason) => self.send_failed.add(reason, 1),
            Fact::StreamReceived { bytes } => self.stream_received_bytes.add("", bytes),
            Fact::StreamSent { bytes } => self.stream_sent_bytes.add("", bytes),
            Fact::StreamOpened(by) => self.streams_opened.add(by, 1),
            Fact::StreamClosed(reason) => self.streams_closed.add(reason, 1),
            Fact::OpenStreams(open) => self.open_streams.set(open),
            Fact::Unreachable => self.icmp.add("", 1),
            Fact::Panicked => self.panics.add("", 1),
            Fact::CallsInProgress(calls) => self.calls_in_progress.set(calls),
            Fact::JournalLost => self.journal_lost.add("", 1),
            Fact::OpenTransactions(open) => self.open_transactions.set(open),
        }
    }

    /// Every value, in the catalogue's order, zeros included; `other` only where something was counted there.
    pub fn samples(&self) -> Vec<Sample> {
        let parties = self.parties.all();
        let mut samples = Vec::new();
        for family in catalogue::FAMILIES {
            if family.by_party {
                samples.extend(parties.iter().flat_map(|party| party.samples(family)));
            } else {
                let same = self.all().into_iter().filter(|cells| cells.is_of(family));
                samples.extend(same.flat_map(|cells| cells.samples(None)));
            }
        }
        samples
    }

    /// One value, over all parties; 0 for a word that the family does not have.
    pub fn value(&self, family: &Family, label_value: &str) -> u64 {
        let is_asked = |sample: &&Sample| {
            sample.family.name == family.name && [sample.label_value, sample.second_value].contains(&label_value)
        };
        self.samples().iter().filter(is_asked).map(|sample| sample.value).sum()
    }

    /// The parties that events name from now on, by their place. A name that was there before counts on.
    pub fn set_parties(&self, parties: &[Party]) {
        self.parties.set(parties.iter().map(|party| (&*party.name, matches!(party.role, Role::Environment(_)))));
    }

    /// Sends the times of calls to these histograms: inbound, outbound.
    #[must_use]
    pub fn with_histograms(
        mut self,
        setup_seconds: [Histogram; 2],
        post_dial_delay_seconds: [Histogram; 2],
    ) -> Counters {
        self.setup_seconds = setup_seconds;
        self.post_dial_delay_seconds = post_dial_delay_seconds;
        self
    }

    /// A call's setup has ended: counted under its environment.
    fn note_setup(&self, from: PartyId, toward: PartyId, outcome: &'static str) {
        let is_outbound = self.parties.is_environment(from);
        let environment = if is_outbound { from } else { toward };
        let direction = if is_outbound { "outbound" } else { "inbound" };
        self.parties.with(environment, |cells| cells.setups.add_pair(direction, outcome, 1));
    }

    fn time(&self, histograms: &[Histogram; 2], from: PartyId, after_us: u64) {
        let [inbound, outbound] = histograms;
        let histogram = if self.parties.is_environment(from) { outbound } else { inbound };
        histogram.record(Duration::from_micros(after_us));
    }

    /// The families without a party.
    fn all(&self) -> [&Cells; FAMILY_COUNT - BY_PARTY] {
        [
            &self.calls,
            &self.decisions,
            &self.finals,
            &self.caller_ids,
            &self.foreign_caller_ids,
            &self.failovers,
            &self.fallbacks,
            &self.probes,
            &self.peer_failures,
            &self.warnings,
            &self.in_dialog,
            &self.absorbed,
            &self.retransmitted,
            &self.dropped,
            &self.calls_ended,
            &self.calls_in_progress,
            &self.journal_lost,
            &self.open_transactions,
            &self.limits,
            &self.received,
            &self.received_bytes,
            &self.overflowed,
            &self.filtered,
            &self.handed_over,
            &self.sent,
            &self.sent_bytes,
            &self.joined,
            &self.send_failed,
            &self.icmp,
            &self.open_streams,
            &self.streams_opened,
            &self.streams_closed,
            &self.stream_received_bytes,
            &self.stream_sent_bytes,
            &self.panics,
            &self.impossible,
        ]
    }
}

impl Default for Counters {
    fn default() -> Self {
        Counters::new()
    }
}

/// Unknown methods have no name of their own: what a peer invents is no label.
fn method_label(method: Method) -> &'static str {
    match method {
        Method::Other => OTHER,
        known => known.as_str(),
    }
}

fn direction_label(direction: Direction) -> &'static str {
    match direction {
        Direction::Inbound => "inbound",
        Direction::Outbound => "outbound",
    }
}

/// How a setup ended, by the status that the caller got (RFC 3261 21).
fn outcome(status: u16) -> &'static str {
    match status {
        ..300 => "answered",
        486 | 600 | 603 => "busy",
        487 => "cancelled",
        404 | 410 | 484 | 604 => "not_found",
        408 | 480 | 503 | 504 => "unavailable",
        _ => "failed",
    }
}

fn class(status: u16) -> &'static str {
    match status / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        5 => "5xx",
        6 => "6xx",
        _ => OTHER,
    }
}

#[cfg(test)]
pub(crate) mod tests;
