//! What is known of a call, at its caller and at its callee.

use crate::lanes::Turn;
use crate::wire::Place;
use std::hash::{BuildHasher, RandomState};

/// As most messages fit into.
const MESSAGE_BYTES: usize = 1_024;

/// One call, at both its ends.
#[derive(Debug, Default)]
pub(crate) struct Call {
    pub(crate) generation: u32,
    pub(crate) number: usize,
    pub(crate) callee: Place,
    /// When it was due.
    pub(crate) began_ns: u64,
    pub(crate) caller: Caller,
    pub(crate) called: Called,
    pub(crate) has_rung: bool,
    /// What is sent again: the caller's last request, and the callee's last response.
    pub(crate) request: Vec<u8>,
    pub(crate) ack: Vec<u8>,
    pub(crate) bye: Vec<u8>,
    /// Bytes of the ACK and of the BYE from the name of From on.
    pub(crate) from_on: usize,
    pub(crate) response: Vec<u8>,
    /// The callee's response to the BYE.
    pub(crate) goodbye: Vec<u8>,
    pub(crate) caller_turn: Turn,
    pub(crate) called_turn: Turn,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Caller {
    #[default]
    Unused,
    Calling,
    Proceeding,
    Up,
    Ending,
    /// Its BYE was answered, and its callee waits for an ACK: the 200 comes again, and so must the ACK.
    Over,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Called {
    #[default]
    Idle,
    Ringing,
    Answered,
    Confirmed,
    /// A BYE came, and no ACK yet.
    Unconfirmed,
    Ended,
}

impl Call {
    /// One that has not begun, with room for its messages.
    pub(crate) fn new(generation: u32) -> Call {
        let [request, ack, bye, response, goodbye] = std::array::from_fn(|_| Vec::with_capacity(MESSAGE_BYTES));
        Call { generation, request, ack, bye, response, goodbye, ..Call::default() }
    }

    /// A BYE has reached the callee; true when one had before.
    pub(crate) fn is_bye_again(&mut self) -> bool {
        match self.called {
            Called::Answered => self.called = Called::Unconfirmed,
            Called::Confirmed => self.called = Called::Ended,
            _ => return true,
        }
        false
    }
}

/// Another one for each run: a proxy remembers the branches of the run before for 32 s, and takes an INVITE that repeats
/// one for what it says, a request that it has answered.
pub(crate) fn first_generation() -> u32 {
    RandomState::new().hash_one("load") as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{self, Id};
    use std::collections::HashSet;

    /// The calls of two runs against one proxy have nothing in common.
    #[test]
    fn no_run_begins_where_another_did() {
        let firsts: HashSet<u32> = (0..8).map(|_| first_generation()).collect();
        assert!(firsts.len() >= 7, "{firsts:?}");
        let ids: HashSet<Id> = firsts.iter().map(|first| text::id(0, *first)).collect();
        assert_eq!(ids.len(), firsts.len());
    }
}
