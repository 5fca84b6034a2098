//! What is seen at the proxy's door alone: who is sent anything, how much, and how soon.

use super::{Broken, Cause, Invariants, Left, Step, key_of, via_port};

impl Invariants {
    /// I2: no packet to an address outside the configured peers and the source of the request that is answered.
    pub(super) fn i2_nothing_goes_to_nobody(&self, left: &Left) -> Result<(), Broken> {
        let to = left.flow.remote;
        let Some(site) = self.site_at(to) else { return Err(format!("I2: to {to}: {:?}", left.text)) };
        if left.wire.is_none() && left.text.starts_with("SIP/2.0 ") {
            return Ok(());
        }
        let Some(wire) = left.wire.as_ref().filter(|wire| wire.is_response()) else {
            let site = &self.sites[site];
            let fits = site.address == to && site.listener == left.flow.listener;
            return if fits { Ok(()) } else { Err(format!("I2: to {to} on {:?}: {:?}", left.flow, left.text)) };
        };
        let Some(asked) = self.asked.get(&key_of(wire.branch(), wire.method())) else {
            let excused = !self.tainted.is_empty();
            return if excused { Ok(()) } else { Err(format!("I2: an answer to nothing: {:?}", left.text)) };
        };
        if self.is_tainted(wire) {
            return Ok(());
        }
        let ports = [asked.from.port(), via_port(asked.wire.first("Via"))];
        let is_stream = self.sites[site].transport == proxy::Transport::Tcp;
        if asked.from.ip() != to.ip() || !(is_stream || ports.contains(&to.port())) {
            return Err(format!("I2: an answer to {} goes to {to}: {:?}", asked.from, left.text));
        }
        Ok(())
    }

    /// I6: to an address that nobody configured go at most as many bytes as came from it.
    pub(super) fn i6_no_more_out_than_in(&mut self, left: &Left) -> Result<(), Broken> {
        if self.site_at(left.flow.remote).is_some() {
            return Ok(());
        }
        let (came, went) = self.unverified.entry(left.flow.remote.ip()).or_default();
        *went += left.text.len();
        if *went > *came {
            return Err(format!("I6: {went} bytes to {}, which sent {came}", left.flow.remote));
        }
        Ok(())
    }

    /// I9: what is open is bounded by what has arrived, and something open has a deadline.
    pub(super) fn i9_nothing_outlives_its_timers(&self, step: &Step) -> Result<(), Broken> {
        let arrived = self.asked.values().filter(|asked| asked.incarnation == self.incarnation).count();
        if step.open > arrived && self.tainted.is_empty() {
            return Err(format!("I9: {} transactions for {arrived} requests", step.open));
        }
        if step.open > 0 && step.next.is_none() {
            return Err(format!("I9: {} transactions and no deadline", step.open));
        }
        Ok(())
    }

    /// I10: OPTIONS from a configured peer is answered within the step: no time passes.
    pub(super) fn i10_options_are_answered_at_once(&self, step: &Step) -> Result<(), Broken> {
        let Cause::Arrived(arrival) = &step.cause else { return Ok(()) };
        let Some(wire) = arrival.wire.as_ref().filter(|_| arrival.whole && arrival.site.is_some()) else {
            return Ok(());
        };
        if wire.is_response() || wire.method() != "OPTIONS" || !wire.tag("To").is_empty() {
            return Ok(());
        }
        let answers = step.left.iter().filter_map(|left| left.wire.as_ref());
        let answers = answers.filter(|left| matches!(left.status(), 200 | 503) && left.branch() == wire.branch());
        match answers.count() {
            1 => Ok(()),
            count => Err(format!("I10: OPTIONS got {count} answers at once: {:?}", wire.text)),
        }
    }

    /// I12: no response and no ACK is ever answered with a response.
    pub(super) fn i12_no_response_or_ack_is_answered(&self, step: &Step) -> Result<(), Broken> {
        let Cause::Arrived(arrival) = &step.cause else { return Ok(()) };
        let is_response = arrival.text.starts_with("SIP/2.0 ");
        if !is_response && !arrival.text.starts_with("ACK ") {
            return Ok(());
        }
        let answers = step.left.iter().filter(|left| left.text.starts_with("SIP/2.0 "));
        let back = |left: &&Left| !is_response || left.flow.remote.ip() == arrival.from.ip();
        match answers.into_iter().find(back) {
            Some(left) => Err(format!("I12: {:?} was answered: {:?}", arrival.text, left.text)),
            None => Ok(()),
        }
    }
}
