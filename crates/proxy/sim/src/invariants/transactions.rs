//! What holds for each transaction: its finals, its CANCEL, its table.

use super::{B_MS, Broken, Invariants, Left, Step, key_of};
use crate::wire::Wire;
use proxy::Transport;
use std::rc::Rc;

/// A request is sent at 0, 0.5, 1.5, 3.5 s and then every 4 s until 32 s: eleven times.
const SENDS: u32 = 11;

impl Invariants {
    /// I1: one final above 2xx, or successes. A success that comes too late passes all the same (16.7 item 5, RC4); a
    /// failure after a success never.
    pub(super) fn i1_one_final_for_each_invite(&mut self, step: &Step, wire: &Wire) -> Result<(), Broken> {
        if wire.method() != "INVITE" || wire.status() < 200 || self.is_tainted(wire) {
            return Ok(());
        }
        let key = key_of(wire.branch(), "INVITE");
        self.waiting.remove(&key);
        let Some(asked) = self.asked.get_mut(&key) else { return Ok(()) };
        let is_over = asked.failure.is_some_and(|(_, over_ms)| step.now_ms >= over_ms);
        if step.stateless && (self.incarnation > 0 || is_over || asked.success) {
            return Ok(());
        }
        if wire.status() < 300 {
            asked.success = true;
            return Ok(());
        }
        if asked.success {
            return Err(format!("I1: a failure after a success: {:?}", wire.text));
        }
        match asked.failure {
            Some((status, _)) if status != wire.status() => Err(format!("I1: {status}, and now {:?}", wire.text)),
            Some(_) => Ok(()),
            None => {
                asked.failure = Some((wire.status(), step.now_ms + B_MS));
                Ok(())
            }
        }
    }

    /// I1, in time: a final leaves within Timer C and 64*T1 of the last attempt and the last 101 to 199.
    pub(super) fn i1_no_invite_waits_too_long(&self, step: &Step) -> Result<(), Broken> {
        let late = self.waiting.iter().find(|(_, until_ms)| step.now_ms > **until_ms);
        match late.filter(|(key, _)| self.asked.get(*key).is_some_and(|asked| !self.is_tainted(&asked.wire))) {
            Some((key, until_ms)) => Err(format!("I1: {key} has no final response by {until_ms} ms")),
            None => Ok(()),
        }
    }

    /// I8: a CANCEL of ours leaves only after a 1xx, and once but for its retransmissions.
    pub(super) fn i8_cancel_after_a_1xx_once(&mut self, step: &Step, left: &Left, wire: &Wire) -> Result<(), Broken> {
        if wire.method() != "CANCEL" || self.is_tainted(wire) {
            return Ok(());
        }
        if wire.all("Via").nth(1).is_some() {
            let open = self.asked.get(&key_of(wire.lower_branch(), "INVITE")).is_some_and(|asked| {
                let over = asked.success || asked.failure.is_some_and(|(_, over_ms)| step.now_ms >= over_ms);
                asked.incarnation == self.incarnation && !over
            });
            let fits = step.stateless && !open;
            return if fits { Ok(()) } else { Err(format!("I8: passed while its INVITE is open: {:?}", wire.text)) };
        }
        let Some(branch) = self.branches.get_mut(wire.branch()) else {
            return Err(format!("I8: for nothing: {:?}", wire.text));
        };
        if !branch.progressed {
            return Err(format!("I8: before any 1xx: {:?}", wire.text));
        }
        branch.cancels += 1;
        let first = branch.cancel.get_or_insert_with(|| Rc::clone(&wire.text));
        let stream = self.sites.iter().any(|site| site.address == left.flow.remote && site.transport == Transport::Tcp);
        let most = if stream { 1 } else { SENDS };
        if *first != wire.text || branch.cancels > most * (1 + self.incarnation) {
            return Err(format!("I8: CANCEL number {} of its branch: {:?}", branch.cancels, wire.text));
        }
        Ok(())
    }

    /// I11: an INVITE goes where the table said when it came, however often the table changes afterwards.
    pub(super) fn i11_one_table_for_each_transaction(&self, left: &Left, wire: &Wire) -> Result<(), Broken> {
        if wire.method() != "INVITE" || !wire.tag("To").is_empty() || self.is_tainted(wire) {
            return Ok(());
        }
        let asked = self.asked.get(&key_of(wire.lower_branch(), "INVITE"));
        let Some(expected) = asked.and_then(|asked| asked.expected) else { return Ok(()) };
        let party = self.site_at(left.flow.remote).map(|site| self.sites[site].party);
        if expected.is_none() || expected != party {
            return Err(format!("I11: expected {expected:?}, went to {party:?}: {:?}", wire.text));
        }
        Ok(())
    }
}
