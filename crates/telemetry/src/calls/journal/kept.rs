//! What others see of a call in the journal.

use super::Slot;
use super::messages::Messages;
use crate::calls::record::{CallRecord, Word};
use proxy::Listener;
use proxy::dispatch::Step;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sip::Number;
use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

/// One call with its messages.
#[derive(Clone, Copy, Debug)]
pub struct KeptCall<'j> {
    /// What is written down of it. The sinks have the same once it is over.
    pub record: &'j Arc<CallRecord>,
    /// Messages that found no room.
    pub left_out: u32,
    pub(super) slot: &'j Slot,
    pub(super) messages: &'j Messages,
}

/// One message of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeptMessage {
    /// When, in microseconds since 1970.
    pub at_us: u64,
    /// It left; else it arrived.
    pub is_sent: bool,
    /// The other end.
    pub remote: SocketAddr,
    /// Our end.
    pub local: Listener,
}

/// One rule of a past decision, and what it found.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct ToldRule {
    /// Its name.
    pub rule: Word,
    /// What it found, in words.
    pub told: String,
}

impl<'j> KeptCall<'j> {
    /// The number of ours that it is to, or that it showed.
    pub fn did(&self) -> Option<Number> {
        self.slot.did
    }

    /// Its messages in order, with their bytes.
    pub fn messages(&self) -> impl Iterator<Item = (KeptMessage, Cow<'j, [u8]>)> {
        self.messages.of(&self.slot.messages)
    }

    /// Every rule of its decision, with what it found; empty for a call that was never dispatched here.
    pub fn told(&self) -> Vec<ToldRule> {
        let Some(settings) = &self.slot.settings else { return Vec::new() };
        let told = |step: &Step| ToldRule { rule: step.rule().into(), told: step.told(settings).to_string() };
        self.slot.steps.iter().map(told).collect()
    }
}

impl KeptMessage {
    /// A message without its bytes.
    pub(in crate::calls) fn new(at_us: u64, is_sent: bool, remote: SocketAddr, local: Listener) -> KeptMessage {
        KeptMessage { at_us, is_sent, remote, local }
    }
}
