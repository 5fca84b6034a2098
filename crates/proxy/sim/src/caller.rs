//! The caller: dials, acknowledges, gives up, hangs up. Now and then too early, too late or not at all.

use crate::phones::{Ask, Deed, Dialog, target_of};
use crate::wire::Wire;
use crate::world::{Due, World};
use std::rc::Rc;

impl World {
    pub(crate) fn dials(&mut self, call: usize) {
        self.told.calls += 1;
        let Some(known) = self.phones.calls.get(call) else { return };
        let (site, text, key) = (known.caller, Rc::clone(&known.invite), format!("{} INVITE", known.branch));
        self.told.outbound += u64::from(known.is_outbound);
        self.asks(key, Ask { site, text, port: None, connection: 0 });
        let patience_ms = 300 + self.chance.below(25_000);
        if self.chance.percent(25) {
            self.at(self.now_ms + patience_ms, Due::Phone(Deed::GivesUp(call)));
        }
        // A phone that should wait for a provisional response, and does not.
        if self.chance.percent(self.weather.mischief / 8) {
            let soon_ms = self.chance.below(60);
            self.at(self.now_ms + soon_ms, Due::Phone(Deed::GivesUp(call)));
        }
        if self.chance.percent(self.weather.mischief / 4) {
            self.at(self.now_ms + patience_ms, Due::Phone(Deed::HangsUp { call, by_caller: true }));
        }
    }

    pub(crate) fn gives_up(&mut self, call: usize) {
        let may = self.weather.mischief > 0;
        let Some(known) = self.phones.calls.get_mut(call) else { return };
        if known.status >= 200 || known.is_cancelled || !(known.is_ringing || may) {
            return;
        }
        known.is_cancelled = true;
        self.told.cancelled += 1;
        let (site, key) = (known.caller, format!("{} CANCEL", known.branch));
        let mut text = String::new();
        for line in known.invite.split("\r\n").take_while(|line| !line.is_empty()) {
            let name = line.split(':').next().unwrap_or_default();
            match name {
                _ if line.starts_with("INVITE ") => text.push_str(&line.replacen("INVITE", "CANCEL", 1)),
                "CSeq" => text.push_str("CSeq: 1 CANCEL"),
                "Via"
                | "v"
                | "From"
                | "f"
                | "To"
                | "Call-ID"
                | "Max-Forwards"
                | "X-Endpoint"
                | "P-Asserted-Identity"
                | "Privacy" => text.push_str(line),
                _ => continue,
            }
            text.push_str("\r\n");
        }
        text.push_str("Content-Length: 0\r\n\r\n");
        self.asks(key, Ask { site, text: text.into(), port: None, connection: 0 });
    }

    pub(crate) fn hears_response(&mut self, site: usize, wire: &Wire) {
        let key = format!("{} {}", wire.branch(), wire.method());
        if wire.status() >= 200 || wire.method() == "INVITE" {
            self.phones.asks.remove(&key);
        }
        let Some(call) = self.phones.by_call_id.get(wire.call_id()).copied() else { return };
        let Some(known) = self.phones.calls.get(call) else { return };
        let is_own = known.caller == site && known.branch == wire.branch();
        match (wire.method(), wire.status()) {
            ("INVITE", 100..=199) if is_own => self.hears_progress(call, wire),
            ("INVITE", 200..=299) if is_own => self.hears_success(call, wire),
            ("INVITE", 300..) if is_own => self.hears_failure(call, wire),
            ("INVITE", 200..=299) => self.acknowledges_again(call, site, wire),
            _ => {}
        }
    }

    fn hears_progress(&mut self, call: usize, wire: &Wire) {
        let dialog = self.dialog_of(call, wire);
        let known = &mut self.phones.calls[call];
        known.is_ringing = true;
        if wire.status() > 100 && !wire.tag("To").is_empty() {
            known.early.get_or_insert(dialog);
        }
    }

    fn hears_success(&mut self, call: usize, wire: &Wire) {
        let tag = wire.tag("To").to_owned();
        let is_first = self.phones.calls[call].acks.is_empty();
        let dialog = self.dialog_of(call, wire);
        if self.phones.calls[call].is_mute {
            self.phones.calls[call].status = wire.status();
            return;
        }
        if let Some(ack) = self.phones.calls[call].acks.get(&tag).cloned() {
            return self.sends(dialog.site, 0, None, &ack);
        }
        let branch = self.branch();
        let ack: Rc<str> = self.inside(&dialog, "ACK", 1, &branch).into();
        self.sends(dialog.site, 0, None, &ack);
        let known = &mut self.phones.calls[call];
        known.acks.insert(tag.clone(), ack);
        let had_failed = known.status >= 300;
        known.status = wire.status();
        self.told.answered += u64::from(is_first);
        self.told.forks += u64::from(!is_first);
        if tag.is_empty() {
            return;
        }
        known.at_caller.push(dialog);
        let gone = !is_first || had_failed || known.is_cancelled;
        if gone {
            return self.hangs_up_on(call, &tag);
        }
        let ends_ms = self.now_ms + 100 + self.chance.below(30_000);
        let by_caller = self.chance.percent(50);
        self.at(ends_ms, Due::Phone(Deed::HangsUp { call, by_caller }));
        for _ in 0..self.chance.below(3) {
            let at_ms = self.now_ms + self.chance.below(20_000);
            let (by_caller, method) = (self.chance.percent(50), self.chance.pick(&["INVITE", "INFO", "UPDATE"]));
            self.at(at_ms, Due::Phone(Deed::Asks { call, by_caller, method }));
        }
    }

    fn hears_failure(&mut self, call: usize, wire: &Wire) {
        let known = &mut self.phones.calls[call];
        self.told.refused += u64::from(known.status < 200);
        known.status = known.status.max(wire.status());
        if known.is_mute {
            return;
        }
        let via = known.invite.split("\r\n").nth(1).unwrap_or_default();
        let uri = known.invite.split(' ').nth(1).unwrap_or_default();
        let text = format!(
            "ACK {uri} SIP/2.0\r\n{via}\r\nMax-Forwards: 70\r\nFrom: {};tag={}\r\nTo: {}\r\nCall-ID: {}\r\n\
             CSeq: 1 ACK\r\nContent-Length: 0\r\n\r\n",
            known.names.0,
            known.tag,
            wire.first("To"),
            known.call_id
        );
        let site = known.caller;
        self.sends(site, 0, None, &text.into());
    }

    /// A 2xx to a re-INVITE of either end.
    fn acknowledges_again(&mut self, call: usize, site: usize, wire: &Wire) {
        let key = format!("{} {}", wire.branch(), wire.number());
        if let Some(ack) = self.phones.calls[call].acks.get(&key).cloned() {
            return self.sends(site, 0, None, &ack);
        }
        let known = &self.phones.calls[call];
        let mut all = known.at_caller.iter().chain(&known.at_callee);
        let dialog = all.find(|dialog| {
            dialog.site == site && dialog.local_tag == wire.tag("From") && dialog.remote_tag == wire.tag("To")
        });
        let Some(dialog) = dialog.cloned() else { return };
        let branch = self.branch();
        let ack: Rc<str> = self.inside(&dialog, "ACK", wire.number(), &branch).into();
        self.sends(site, 0, None, &ack);
        self.phones.calls[call].acks.insert(key, ack);
    }

    /// The dialog that a response makes, as the caller keeps it.
    fn dialog_of(&self, call: usize, wire: &Wire) -> Dialog {
        let known = &self.phones.calls[call];
        let mut route: Vec<String> = wire.all("Record-Route").map(str::to_owned).collect();
        route.reverse();
        Dialog {
            call_id: known.call_id.clone(),
            site: known.caller,
            local: known.names.0.clone(),
            local_tag: known.tag.clone(),
            remote: known.names.1.clone(),
            remote_tag: wire.tag("To").to_owned(),
            route,
            target: target_of(wire),
            number: 1,
        }
    }

    pub(crate) fn hangs_up(&mut self, call: usize, by_caller: bool) {
        let Some(known) = self.phones.calls.get_mut(call) else { return };
        let dialogs = if by_caller { &known.at_caller } else { &known.at_callee };
        let early = known.early.clone().filter(|_| by_caller && known.status < 200 && !known.is_cancelled);
        let Some(mut dialog) = dialogs.first().cloned().or(early) else { return };
        if known.is_hung_up {
            return;
        }
        known.is_hung_up = true;
        // A request of this end may be out: numbers only rise.
        dialog.number += 100;
        self.asks_in(&mut dialog, "BYE");
    }

    /// A fork that nobody wants, or an answer that came too late.
    fn hangs_up_on(&mut self, call: usize, tag: &str) {
        let found = self.phones.calls[call].at_caller.iter().find(|dialog| dialog.remote_tag == tag).cloned();
        if let Some(mut dialog) = found {
            dialog.number += 100;
            self.asks_in(&mut dialog, "BYE");
        }
    }

    pub(crate) fn asks_inside(&mut self, call: usize, by_caller: bool, method: &'static str) {
        let Some(known) = self.phones.calls.get_mut(call) else { return };
        if known.is_hung_up {
            return;
        }
        let dialogs = if by_caller { &known.at_caller } else { &known.at_callee };
        let Some(mut dialog) = dialogs.first().cloned() else { return };
        self.asks_in(&mut dialog, method);
        let known = &mut self.phones.calls[call];
        let dialogs = if by_caller { &mut known.at_caller } else { &mut known.at_callee };
        if let Some(kept) = dialogs.first_mut() {
            kept.number = dialog.number;
        }
    }
}
