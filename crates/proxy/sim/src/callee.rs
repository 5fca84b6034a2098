//! The callee: rings, answers, refuses, is cancelled. Now and then silent, forked, crooked or for ever ringing.

use crate::phones::{Ask, Deed, Dialog, contact_of, target_of};
use crate::wire::Wire;
use crate::world::{Due, World};
use std::rc::Rc;

/// A call as it is at a callee.
#[derive(Debug)]
pub(crate) struct Leg {
    invite: Wire,
    tag: String,
    connection: u64,
    /// What is said when the INVITE comes again.
    last: Option<Rc<str>>,
    is_open: bool,
    on_cancel: OnCancel,
}

/// What a CANCEL brings.
#[derive(Clone, Copy, Debug)]
enum OnCancel {
    /// 200, and 487.
    Proper,
    /// 200, and no 487 ever (RC2).
    NoFinal,
    /// 200, and 200 to the INVITE: it had just been answered (RC1).
    Answered,
    /// Nothing at all.
    Deaf,
}

/// The next thing that a callee does with a call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    /// A provisional response.
    Rings,
    /// 180 each minute, so many times, then nothing (RC10).
    RingsOn(u32),
    /// 200.
    Answers,
    /// 200 by two phones: two To tags (RC4).
    Forks,
    /// A final above 2xx.
    Refuses(&'static str),
    /// A final above 2xx, and 200 afterwards (RC4).
    Relents,
    /// A success without a To tag (RC8).
    Tagless,
    /// Responses that no proxy should take (RC8).
    Crooked,
}

impl World {
    pub(crate) fn hears_request(&mut self, site: usize, connection: u64, wire: Wire) {
        match wire.method() {
            "INVITE" => self.is_called(site, connection, wire),
            "ACK" => self.is_acknowledged(site, &wire),
            "CANCEL" => self.is_cancelled(site, connection, &wire),
            _ => self.is_asked(site, connection, &wire),
        }
    }

    fn is_called(&mut self, site: usize, connection: u64, wire: Wire) {
        let branch = wire.branch().to_owned();
        if let Some(leg) = self.phones.legs.get(&(site, branch.clone())) {
            if let Some(last) = leg.last.clone() {
                self.sends(site, connection, None, &last);
            }
            return;
        }
        let inside = !wire.tag("To").is_empty();
        let tag =
            if inside { wire.tag("To").to_owned() } else { format!("u{}x{}", self.branch().len(), self.branch()) };
        let proper = self.weather.mischief == 0 || self.chance.percent(50);
        let on_cancel = match proper {
            true => OnCancel::Proper,
            false => self.chance.pick(&[OnCancel::NoFinal, OnCancel::Answered, OnCancel::Deaf]),
        };
        let leg = Leg { invite: wire, tag, connection, last: None, is_open: true, on_cancel };
        self.phones.legs.insert((site, branch.clone()), leg);
        if inside {
            return self.goes_on(site, &branch, Act::Answers);
        }
        self.decides(site, &branch);
    }

    /// What becomes of a new call here.
    fn decides(&mut self, site: usize, branch: &str) {
        let mischief = self.chance.percent(self.weather.mischief);
        let at_ms = self.now_ms + self.chance.below(300);
        let later_ms = at_ms + 1 + self.chance.below(9_000);
        let then = |world: &mut World, at_ms: u64, act: Act| {
            world.at(at_ms, Due::Phone(Deed::GoesOn { site, branch: branch.to_owned(), act }));
        };
        if mischief {
            let act = match self.chance.below(8) {
                0 => return,
                1 => return self.says(site, branch, "100 Trying", "", false),
                2 => Act::RingsOn(1 + u32::try_from(self.chance.below(6)).unwrap_or(0)),
                3 => Act::Relents,
                4 => Act::Tagless,
                5 => Act::Crooked,
                _ => Act::Forks,
            };
            return then(self, at_ms, act);
        }
        if self.chance.percent(30) {
            self.says(site, branch, "100 Trying", "", false);
        }
        if self.chance.percent(85) {
            then(self, at_ms, Act::Rings);
        }
        let act = match self.chance.below(20) {
            0..12 => Act::Answers,
            12..15 => Act::Refuses("486 Busy Here"),
            15 => Act::Refuses("603 Decline"),
            16 => Act::Refuses("404 Not Found"),
            17 => Act::Refuses("302 Moved Temporarily"),
            _ => Act::Refuses("503 Service Unavailable"),
        };
        then(self, later_ms, act);
    }

    pub(crate) fn goes_on(&mut self, site: usize, branch: &str, act: Act) {
        let Some(leg) = self.phones.legs.get(&(site, branch.to_owned())).filter(|leg| leg.is_open) else { return };
        let tag = leg.tag.clone();
        match act {
            Act::Rings => {
                let text = self.chance.pick(&["180 Ringing", "183 Session Progress", "199 Early Dialog Terminated"]);
                self.says(site, branch, text, &tag, true);
            }
            Act::RingsOn(times) => {
                self.says(site, branch, "180 Ringing", &tag, true);
                if times > 0 {
                    let act = Act::RingsOn(times - 1);
                    self.at(self.now_ms + 60_000, Due::Phone(Deed::GoesOn { site, branch: branch.to_owned(), act }));
                }
            }
            Act::Answers => self.says_at_last(site, branch, "200 OK", &tag),
            Act::Forks => {
                self.says_at_last(site, branch, "200 OK", &tag);
                self.says_at_last(site, branch, "200 OK", &format!("{tag}f"));
            }
            Act::Refuses(status) => self.says_at_last(site, branch, status, &tag),
            Act::Relents => {
                self.says_at_last(site, branch, "486 Busy Here", &tag);
                self.says(site, branch, "200 OK", &tag, true);
            }
            Act::Tagless => {
                self.says(site, branch, "180 Ringing", "", true);
                self.says_at_last(site, branch, "200 OK", "");
            }
            Act::Crooked => self.says_crooked(site, branch),
        }
    }

    /// A response on a leg; `kept`: it is repeated when the INVITE comes again.
    fn says(&mut self, site: usize, branch: &str, status: &str, tag: &str, kept: bool) {
        let Some(leg) = self.phones.legs.get(&(site, branch.to_owned())) else { return };
        let (connection, text) = (leg.connection, self.answer(site, &leg.invite, status, tag));
        if kept && let Some(leg) = self.phones.legs.get_mut(&(site, branch.to_owned())) {
            leg.last = Some(Rc::clone(&text));
        }
        self.sends(site, connection, None, &text);
    }

    /// A final on a leg, until it is acknowledged.
    fn says_at_last(&mut self, site: usize, branch: &str, status: &str, tag: &str) {
        let Some(leg) = self.phones.legs.get_mut(&(site, branch.to_owned())) else { return };
        leg.is_open = false;
        let (connection, invite) = (leg.connection, leg.invite.clone());
        let text = self.answer(site, &invite, status, tag);
        if let Some(leg) = self.phones.legs.get_mut(&(site, branch.to_owned())) {
            leg.last = Some(Rc::clone(&text));
        }
        if status.starts_with('2') {
            self.stands(site, &invite, tag);
        }
        let key = final_key(site, &invite, tag);
        self.asks(key, Ask { site, text, port: None, connection });
    }

    /// The callee's side of the dialog that its answer makes.
    fn stands(&mut self, site: usize, invite: &Wire, tag: &str) {
        let Some(call) = self.phones.by_call_id.get(invite.call_id()).copied() else { return };
        let dialog = Dialog {
            call_id: invite.call_id().to_owned(),
            site,
            local: invite.name("To").to_owned(),
            local_tag: tag.to_owned(),
            remote: invite.name("From").to_owned(),
            remote_tag: invite.tag("From").to_owned(),
            route: invite.all("Record-Route").map(str::to_owned).collect(),
            target: target_of(invite),
            number: 1_000,
        };
        let known = &mut self.phones.calls[call];
        known.has_answered = true;
        if invite.tag("To").is_empty() && !tag.is_empty() {
            known.at_callee.push(dialog);
        }
    }

    fn is_acknowledged(&mut self, site: usize, wire: &Wire) {
        self.phones.asks.remove(&final_key(site, wire, wire.tag("To")));
    }

    fn is_cancelled(&mut self, site: usize, connection: u64, wire: &Wire) {
        let key = (site, wire.branch().to_owned());
        let Some(leg) = self.phones.legs.get(&key) else {
            let text = self.answer(site, wire, "481 Call/Transaction Does Not Exist", "none");
            return self.sends(site, connection, None, &text);
        };
        let (on_cancel, is_open, tag) = (leg.on_cancel, leg.is_open, leg.tag.clone());
        if matches!(on_cancel, OnCancel::Deaf) {
            return;
        }
        let text = self.answer(site, wire, "200 OK", &tag);
        self.sends(site, connection, None, &text);
        if !is_open {
            return;
        }
        match on_cancel {
            OnCancel::Proper => self.says_at_last(site, &key.1, "487 Request Terminated", &tag),
            OnCancel::Answered => self.says_at_last(site, &key.1, "200 OK", &tag),
            OnCancel::NoFinal | OnCancel::Deaf => {}
        }
    }

    /// BYE, INFO, UPDATE and the like: answered, and answered again.
    fn is_asked(&mut self, site: usize, connection: u64, wire: &Wire) {
        let key = (site, format!("{} {}", wire.branch(), wire.method()));
        if let Some(text) = self.phones.answers.get(&key).cloned() {
            return self.sends(site, connection, None, &text);
        }
        let text = self.answer(site, wire, "200 OK", wire.tag("To"));
        self.phones.answers.insert(key, Rc::clone(&text));
        self.sends(site, connection, None, &text);
        if wire.method() != "BYE" {
            return;
        }
        let Some(call) = self.phones.by_call_id.get(wire.call_id()).copied() else { return };
        self.told.ended += 1;
        self.phones.calls[call].is_ended = true;
        // A BYE in an early dialog ends the INVITE as well.
        let early = self.phones.legs.iter().find(|((at, _), leg)| {
            *at == site && leg.is_open && leg.invite.call_id() == wire.call_id() && leg.tag == wire.tag("To")
        });
        if let Some(((_, branch), leg)) = early {
            let (branch, tag) = (branch.clone(), leg.tag.clone());
            self.says_at_last(site, &branch, "487 Request Terminated", &tag);
        }
    }

    /// Another branch, our Via gone, a Via too many, another CSeq.
    fn says_crooked(&mut self, site: usize, branch: &str) {
        let Some(leg) = self.phones.legs.get(&(site, branch.to_owned())) else { return };
        let (connection, tag) = (leg.connection, leg.tag.clone());
        let good = self.answer(site, &leg.invite, "200 OK", &tag);
        let via = leg.invite.first("Via").to_owned();
        let crooked = match self.chance.below(4) {
            0 => good.replacen(branch, "z9hG4bKnonsense", 1),
            1 => good.replacen(&format!("Via: {via}\r\n"), "", 1),
            2 => good.replacen("Via: ", "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKextra\r\nVia: ", 1),
            _ => good.replacen("CSeq: 1 ", "CSeq: 2 ", 1),
        };
        self.sends(site, connection, None, &crooked.into());
    }

    /// A response to a request as it came. Every one is signed.
    fn answer(&self, site: usize, request: &Wire, status: &str, tag: &str) -> Rc<str> {
        let mut text = format!("SIP/2.0 {status}\r\n");
        for (name, value) in request.headers() {
            match name {
                "To" if request.tag("To").is_empty() && !tag.is_empty() => {
                    text.push_str(&format!("To: {value};tag={tag}\r\n"));
                }
                "Via" | "From" | "To" | "Call-ID" | "CSeq" => text.push_str(&format!("{name}: {value}\r\n")),
                "Record-Route" if status.starts_with(['1', '2']) => text.push_str(&format!("{name}: {value}\r\n")),
                _ => {}
            }
        }
        let site = &self.sites[site];
        let body = if status.starts_with('2') && request.method() == "INVITE" { "v=0\r\nanswer" } else { "" };
        let is_session = status.starts_with('2') && matches!(request.method(), "INVITE" | "UPDATE");
        if let Some(secs) = self.weather.session_secs.filter(|_| is_session) {
            text.push_str(&format!("Session-Expires: {secs};refresher=uac\r\n"));
        }
        text.push_str(&format!(
            "Contact: <{}>\r\nServer: {}\r\nX-Odd: back\r\nContent-Length: {}\r\n\r\n{body}",
            contact_of(site),
            site.address,
            body.len()
        ));
        text.into()
    }
}

/// What a final waits for: the ACK of this call, number and tag.
fn final_key(site: usize, wire: &Wire, tag: &str) -> String {
    format!("final {site} {} {} {tag}", wire.call_id(), wire.number())
}
