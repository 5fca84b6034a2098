//! One worker's counters: written by it alone, read by whoever asks.

use crate::catalogue::{self, FAMILY_COUNT, Family, OTHER};
use proxy::Event;
use proxy::dispatch::Direction;
use sip::Method;
use std::sync::atomic::{AtomicU64, Ordering};

/// All families of the catalogue, at 0 in the beginning.
///
/// Writing is one relaxed addition and no lock. A reader may see one family a moment ahead of another.
#[derive(Debug)]
pub struct Counters {
    calls: Cells,
    decisions: Cells,
    finals: Cells,
    refused: Cells,
    caller_ids: Cells,
    foreign_caller_ids: Cells,
    failovers: Cells,
    warnings: Cells,
    requests: Cells,
    responses: Cells,
    in_dialog: Cells,
    absorbed: Cells,
    retransmitted: Cells,
    dropped: Cells,
    open_transactions: Cells,
    limits: Cells,
    received: Cells,
    received_bytes: Cells,
    overflowed: Cells,
    sent: Cells,
    sent_bytes: Cells,
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
    },
    /// Datagrams that the kernel dropped for want of room.
    Overflowed(u64),
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
    /// How many transactions are open now.
    OpenTransactions(u64),
}

/// One value of one family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sample {
    /// What is measured.
    pub family: &'static Family,
    /// The label's value; empty when the family has no label.
    pub label_value: &'static str,
    /// The value.
    pub value: u64,
}

/// One family's values: one for each label value, and one for `other`.
#[derive(Debug)]
struct Cells {
    family: &'static Family,
    values: Vec<AtomicU64>,
}

impl Counters {
    /// All at 0.
    pub fn new() -> Counters {
        Counters {
            calls: Cells::new(&catalogue::CALLS),
            decisions: Cells::new(&catalogue::DECISIONS),
            finals: Cells::new(&catalogue::FINALS),
            refused: Cells::new(&catalogue::REFUSED),
            caller_ids: Cells::new(&catalogue::CALLER_IDS),
            foreign_caller_ids: Cells::new(&catalogue::FOREIGN_CALLER_IDS),
            failovers: Cells::new(&catalogue::FAILOVERS),
            warnings: Cells::new(&catalogue::WARNINGS),
            requests: Cells::new(&catalogue::REQUESTS),
            responses: Cells::new(&catalogue::RESPONSES),
            in_dialog: Cells::new(&catalogue::IN_DIALOG),
            absorbed: Cells::new(&catalogue::ABSORBED),
            retransmitted: Cells::new(&catalogue::RETRANSMITTED),
            dropped: Cells::new(&catalogue::DROPPED),
            open_transactions: Cells::new(&catalogue::OPEN_TRANSACTIONS),
            limits: Cells::new(&catalogue::LIMITS),
            received: Cells::new(&catalogue::RECEIVED),
            received_bytes: Cells::new(&catalogue::RECEIVED_BYTES),
            overflowed: Cells::new(&catalogue::OVERFLOWED),
            sent: Cells::new(&catalogue::SENT),
            sent_bytes: Cells::new(&catalogue::SENT_BYTES),
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
            Event::Request(_, method) => self.requests.add(method_label(*method), 1),
            Event::Response(_, status) => self.responses.add(class(*status), 1),
            Event::Dropped(reason) => self.dropped.add(reason.name(), 1),
            Event::Refused(_, refusal) => self.refused.add(refusal.name(), 1),
            Event::Decided { method, decision, .. } => {
                let rule = decision.trace.deciding().map_or(OTHER, |step| step.rule());
                self.decisions.add(rule, 1);
                if *method == Method::Invite {
                    self.calls.add(direction_label(decision.direction), 1);
                }
            }
            Event::Final { status, .. } => self.finals.add(class(*status), 1),
            Event::InDialog(_, method) => self.in_dialog.add(method_label(*method), 1),
            Event::Absorbed(absorbed) => self.absorbed.add(absorbed.name(), 1),
            Event::Retransmitted(method) => self.retransmitted.add(method_label(*method), 1),
            Event::Shown(_, rule) => self.caller_ids.add(rule.name(), 1),
            Event::Foreign { .. } => self.foreign_caller_ids.add("", 1),
            Event::Failover(_, reason) => self.failovers.add(reason.name(), 1),
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
            Fact::Sent { datagrams, bytes } => {
                self.sent.add("", datagrams);
                self.sent_bytes.add("", bytes);
            }
            Fact::Overflowed(datagrams) => self.overflowed.add("", datagrams),
            Fact::SendFailed(reason) => self.send_failed.add(reason, 1),
            Fact::StreamReceived { bytes } => self.stream_received_bytes.add("", bytes),
            Fact::StreamSent { bytes } => self.stream_sent_bytes.add("", bytes),
            Fact::StreamOpened(by) => self.streams_opened.add(by, 1),
            Fact::StreamClosed(reason) => self.streams_closed.add(reason, 1),
            Fact::OpenStreams(open) => self.open_streams.set(open),
            Fact::Unreachable => self.icmp.add("", 1),
            Fact::Panicked => self.panics.add("", 1),
            Fact::OpenTransactions(open) => self.open_transactions.set(open),
        }
    }

    /// Every value, in the catalogue's order, zeros included; `other` only where something was counted there.
    pub fn samples(&self) -> impl Iterator<Item = Sample> + '_ {
        self.all().into_iter().flat_map(Cells::samples)
    }

    /// One value; 0 for a word that the family does not have.
    pub fn value(&self, family: &Family, label_value: &str) -> u64 {
        let cells = self.all().into_iter().filter(|cells| cells.family.name == family.name);
        cells
            .flat_map(Cells::samples)
            .filter(|sample| sample.label_value == label_value)
            .map(|sample| sample.value)
            .sum()
    }

    fn all(&self) -> [&Cells; FAMILY_COUNT] {
        [
            &self.calls,
            &self.decisions,
            &self.finals,
            &self.refused,
            &self.caller_ids,
            &self.foreign_caller_ids,
            &self.failovers,
            &self.warnings,
            &self.requests,
            &self.responses,
            &self.in_dialog,
            &self.absorbed,
            &self.retransmitted,
            &self.dropped,
            &self.open_transactions,
            &self.limits,
            &self.received,
            &self.received_bytes,
            &self.overflowed,
            &self.sent,
            &self.sent_bytes,
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

/// Adds up the counters of several workers, sample by sample.
pub fn total<'c>(all: impl IntoIterator<Item = &'c Counters>) -> Vec<Sample> {
    let mut sum: Vec<Sample> = Vec::new();
    for counters in all {
        for sample in counters.samples() {
            let same =
                |seen: &&mut Sample| seen.family.name == sample.family.name && seen.label_value == sample.label_value;
            match sum.iter_mut().find(same) {
                Some(seen) => seen.value += sample.value,
                None => sum.push(sample),
            }
        }
    }
    sum
}

impl Cells {
    fn new(family: &'static Family) -> Cells {
        Cells { family, values: (0..=family.values.len()).map(|_| AtomicU64::new(0)).collect() }
    }

    fn add(&self, label_value: &str, count: u64) {
        if let Some(cell) = self.values.get(self.position(label_value)) {
            cell.fetch_add(count, Ordering::Relaxed);
        }
    }

    fn set(&self, value: u64) {
        if let Some(cell) = self.values.first() {
            cell.store(value, Ordering::Relaxed);
        }
    }

    /// A word that the catalogue does not list has the last place.
    fn position(&self, label_value: &str) -> usize {
        let values = self.family.values;
        values.iter().position(|value| *value == label_value).unwrap_or(values.len())
    }

    fn samples(&self) -> impl Iterator<Item = Sample> + '_ {
        let family = self.family;
        let last = if family.label.is_empty() { "" } else { OTHER };
        let labels = family.values.iter().copied().chain([last]);
        labels.zip(&self.values).filter_map(move |(label_value, value)| {
            let value = value.load(Ordering::Relaxed);
            (label_value != OTHER || value > 0).then_some(Sample { family, label_value, value })
        })
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
mod tests;
