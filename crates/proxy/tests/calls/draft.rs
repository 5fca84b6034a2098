//! Short forms written out: what a SIP element of the standard topology would send at this point of the call.

use crate::ladder::{Ladder, Passed};
use crate::pattern::{Captures, expand};
use crate::text::Message;
use crate::wire::{Wire, canonical, to_bytes, uri_of};
use std::net::SocketAddr;

/// A message in the making.
struct Draft {
    start: String,
    headers: Vec<(String, String)>,
    body: String,
}

/// What is needed to write a short form out.
pub(crate) struct Desk<'a> {
    pub(crate) ladder: &'a Ladder,
    pub(crate) captures: &'a Captures,
    /// The name of the call that short forms belong to.
    pub(crate) call: &'a str,
    /// Who speaks, for short forms: its dialogs and transactions are looked up under this name.
    pub(crate) party: &'a str,
    pub(crate) address: SocketAddr,
    /// Our own address, as the party knows it.
    pub(crate) us: SocketAddr,
}

impl Desk<'_> {
    /// The bytes of what a step sends.
    pub(crate) fn write(&self, message: &Message) -> Result<Vec<u8>, String> {
        let words = message.words.iter().map(|word| expand(word, self.captures)).collect::<Result<Vec<_>, _>>()?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let draft = match words.as_slice() {
            ["raw"] => return Ok(to_bytes(&expand(&self.sized(&Message::joined(&message.raw)), self.captures)?)),
            ["again", kind] => return Ok(self.sent(kind)?.bytes.clone()),
            ["copy", "of", kind] => Draft::of(&self.sent(kind)?.wire),
            [status, rest @ ..] if status.parse::<u16>().is_ok() => self.response(status, rest)?,
            ["ACK"] => self.ack()?,
            ["CANCEL"] => self.of_invite("CANCEL", None)?,
            [method] => self.in_dialog(method)?,
            [method, target] => self.first_request(method, target),
            other => return Err(format!("found {other:?}, expected a short form of fixtures/calls/README.md")),
        };
        self.finish(draft, message)
    }

    /// `{length}` in a raw text: the bytes behind its empty line.
    fn sized(&self, raw: &str) -> String {
        let body = raw.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let length = expand(body, self.captures).map_or(0, |body| body.chars().count());
        raw.replace("{length}", &length.to_string())
    }

    fn call_id(&self) -> String {
        format!("call-{}@example.net", self.call)
    }

    fn is_mine(&self, wire: &Wire) -> bool {
        wire.first("call-id") == self.call_id()
    }

    fn sent(&self, kind: &str) -> Result<&Passed, String> {
        let found = self.ladder.last(self.party, true, |wire| self.is_mine(wire) && wire.kind() == kind);
        found.ok_or_else(|| format!("{} has sent no {kind} in call {}", self.party, self.call))
    }

    fn via(&self, number: u32, kind: &str) -> String {
        let branch = format!("z9hG4bK-{}-{}-{number}{kind}", self.party, self.call);
        format!("SIP/2.0/UDP {};branch={branch};rport", self.address)
    }

    fn contact(&self) -> String {
        format!("<sip:{}@{}>", self.party, self.address)
    }

    fn sdp(&self) -> String {
        let ip = self.address.ip();
        format!(
            "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio 10000 RTP/AVP 8\r\n\
             a=rtpmap:8 PCMA/8000\r\n"
        )
    }

    /// CSeq numbers count a party's transactions in a call.
    fn next_number(&self) -> u32 {
        let mine = self.ladder.all.iter().filter(|p| p.arrived && p.party == self.party && self.is_mine(&p.wire));
        let numbers = mine.filter(|p| !p.wire.is_response()).map(|p| p.wire.cseq_number());
        numbers.filter(|n| *n < 1_000_000).max().unwrap_or(0) + 1
    }

    /// A request out of a dialog. `target` is a request-URI, or the user part of one at our address.
    fn first_request(&self, method: &str, target: &str) -> Draft {
        let uri = if target.contains(':') { target.to_owned() } else { format!("sip:{target}@{}", self.us) };
        let number = self.next_number();
        let caller = if self.party == "tata" { "+447700900123" } else { "+918065978001" };
        let mut draft = Draft::new(format!("{method} {uri} SIP/2.0"));
        draft.add("Via", self.via(number, ""));
        draft.add("Max-Forwards", "70");
        draft.add(
            "From",
            format!("\"Asha, Front Desk\" <sip:{caller}@{}>;tag={}-{}", self.address, self.party, self.call),
        );
        draft.add("To", format!("<{}>", uri.split(';').next().unwrap_or(&uri)));
        draft.add("Call-ID", self.call_id());
        draft.add("CSeq", format!("{number} {method}"));
        if has_contact(method) {
            draft.add("Contact", self.contact());
        }
        if method == "INVITE" {
            draft.body(self.sdp());
        }
        draft
    }

    /// A request inside the call's dialog, from what this party sent and received.
    fn in_dialog(&self, method: &str) -> Result<Draft, String> {
        let dialog = self.dialog()?;
        let number = self.next_number();
        let mut draft = self.by_dialog(&dialog, method, number, "");
        if has_contact(method) {
            draft.add("Contact", self.contact());
        }
        if method == "INVITE" {
            draft.body(self.sdp());
        }
        Ok(draft)
    }

    fn by_dialog(&self, dialog: &Dialog, method: &str, number: u32, kind: &str) -> Draft {
        let mut draft = Draft::new(format!("{method} {} SIP/2.0", dialog.target));
        draft.add("Via", self.via(number, kind));
        draft.add("Max-Forwards", "70");
        for route in &dialog.routes {
            draft.add("Route", route.clone());
        }
        draft.add("From", dialog.local.clone());
        draft.add("To", dialog.remote.clone());
        draft.add("Call-ID", self.call_id());
        draft.add("CSeq", format!("{number} {method}"));
        draft
    }

    fn dialog(&self) -> Result<Dialog, String> {
        let first = |wire: &Wire| self.is_mine(wire) && wire.kind() == "INVITE" && wire.to_tag().is_none();
        let answer = |wire: &Wire| {
            self.is_mine(wire)
                && wire.method() == "INVITE"
                && (101..300).contains(&wire.status())
                && wire.to_tag().is_some()
        };
        if let Some(invite) = self.ladder.first(self.party, true, first) {
            let answer = self.ladder.last(self.party, false, answer).ok_or("no answer made a dialog yet")?;
            let mut routes = answer.wire.elements("record-route");
            routes.reverse();
            return Ok(Dialog {
                local: invite.wire.first("from").into(),
                remote: answer.wire.first("to").into(),
                target: uri_of(answer.wire.first("contact")).into(),
                routes,
            });
        }
        let none = || format!("{} has no dialog in call {}: write the request-URI", self.party, self.call);
        let invite = self.ladder.first(self.party, false, first).ok_or_else(none)?;
        let answer = self.ladder.last(self.party, true, answer).ok_or_else(none)?;
        Ok(Dialog {
            local: answer.wire.first("to").into(),
            remote: invite.wire.first("from").into(),
            target: uri_of(invite.wire.first("contact")).into(),
            routes: invite.wire.elements("record-route"),
        })
    }

    /// CANCEL and ACK to a failure: on the branch of the INVITE that this party sent last (9.1, 17.1.1.3).
    fn of_invite(&self, method: &str, to: Option<&str>) -> Result<Draft, String> {
        let invite = &self.sent("INVITE")?.wire;
        let mut draft = Draft::new(format!("{method} {} SIP/2.0", invite.uri()));
        draft.add("Via", invite.elements("via").first().cloned().unwrap_or_default());
        draft.add("Max-Forwards", "70");
        for route in invite.values("route") {
            draft.add("Route", route);
        }
        draft.add("From", invite.first("from"));
        draft.add("To", to.unwrap_or_else(|| invite.first("to")));
        draft.add("Call-ID", invite.first("call-id"));
        draft.add("CSeq", format!("{} {method}", invite.cseq_number()));
        Ok(draft)
    }

    /// To a 2xx inside the dialog, to anything else on the INVITE's branch: by the last final that came.
    fn ack(&self) -> Result<Draft, String> {
        let number = self.sent("INVITE")?.wire.cseq_number();
        let last = self.ladder.last(self.party, false, |wire| {
            self.is_mine(wire) && wire.method() == "INVITE" && wire.cseq_number() == number && wire.status() >= 200
        });
        match last {
            Some(last) if last.wire.status() >= 300 => self.of_invite("ACK", Some(last.wire.first("to"))),
            _ => Ok(self.by_dialog(&self.dialog()?, "ACK", number, "-ack")),
        }
    }

    /// A response to the last request that this party received; `to METHOD` and `tag=x` say more.
    fn response(&self, status: &str, rest: &[&str]) -> Result<Draft, String> {
        let (mut method, mut tag, mut reason) = (None, format!("{}-{}", self.party, self.call), Vec::new());
        let mut words = rest.iter();
        while let Some(word) = words.next() {
            match (*word, word.strip_prefix("tag=")) {
                ("to", _) => method = words.next().copied(),
                (_, Some(value)) => tag = value.to_owned(),
                (word, None) => reason.push(word),
            }
        }
        let wanted = |wire: &Wire| {
            let kind = wire.kind();
            self.is_mine(wire) && !wire.is_response() && method.map_or(kind != "ACK", |method| kind == method)
        };
        let request = self.ladder.last(self.party, false, wanted);
        let request = &request.ok_or_else(|| format!("{} has received no request to answer", self.party))?.wire;
        let reason = if reason.is_empty() { phrase(status).to_owned() } else { reason.join(" ") };
        Ok(self.response_to(request, &format!("SIP/2.0 {status} {reason}"), status, &tag))
    }

    fn response_to(&self, request: &Wire, start: &str, status: &str, tag: &str) -> Draft {
        let mut draft = Draft::new(start.into());
        for via in request.elements("via") {
            draft.add("Via", via);
        }
        draft.add("From", request.first("from"));
        let has_tag = request.to_tag().is_some() || status == "100" || tag.is_empty();
        let to = request.first("to");
        draft.add("To", if has_tag { to.to_owned() } else { format!("{to};tag={tag}") });
        draft.add("Call-ID", request.first("call-id"));
        draft.add("CSeq", request.first("cseq"));
        let makes_dialog = has_contact(request.method()) && ("101".."300").contains(&status);
        if makes_dialog {
            for route in request.values("record-route") {
                draft.add("Record-Route", route);
            }
            draft.add("Contact", self.contact());
        }
        if request.method() == "INVITE" && status == "200" {
            draft.body(self.sdp());
        }
        draft
    }

    /// Applies the lines below the arrow, computes Content-Length, puts CRLF on the wire.
    fn finish(&self, mut draft: Draft, message: &Message) -> Result<Vec<u8>, String> {
        if let Some(body) = &message.body {
            draft.body = expand(&Message::joined(body), self.captures)?;
            draft.headers.retain(|(name, _)| !body.is_empty() || canonical(name) != "content-type");
        }
        let length = draft.body.chars().count().to_string();
        draft.headers.retain(|(name, _)| canonical(name) != "content-length");
        draft.add("Content-Length", length);
        for name in &message.without {
            draft.headers.retain(|(found, _)| canonical(found) != canonical(name));
        }
        let mut replaced: Vec<String> = Vec::new();
        for (name, value) in &message.headers {
            let value = expand(value, self.captures)?;
            draft.replace(name, value, &mut replaced);
        }
        let mut out = format!("{}\r\n", draft.start);
        for (name, value) in &draft.headers {
            out.push_str(&format!("{name}: {value}\r\n"));
        }
        out.push_str("\r\n");
        out.push_str(&draft.body);
        Ok(to_bytes(&out))
    }
}

struct Dialog {
    local: String,
    remote: String,
    target: String,
    routes: Vec<String>,
}

impl Draft {
    fn new(start: String) -> Draft {
        Draft { start, headers: Vec::new(), body: String::new() }
    }

    fn of(wire: &Wire) -> Draft {
        let headers = wire.headers.iter().map(|line| {
            let name = line.raw.split(':').next().unwrap_or_default();
            (name.to_owned(), line.value.clone())
        });
        Draft { start: wire.start.clone(), headers: headers.collect(), body: wire.body.clone() }
    }

    fn add(&mut self, name: &str, value: impl Into<String>) {
        self.headers.push((name.into(), value.into()));
    }

    fn body(&mut self, body: String) {
        self.add("Content-Type", "application/sdp");
        self.body = body;
    }

    /// The first line of a name takes the place of all that were there; further lines of it follow. A new name goes
    /// before the body's headers.
    fn replace(&mut self, name: &str, value: String, replaced: &mut Vec<String>) {
        let key = canonical(name);
        let of_name = |(found, _): &(String, String)| canonical(found) == key;
        let at = if replaced.contains(&key) {
            self.headers.iter().rposition(of_name).map(|at| at + 1)
        } else {
            let at = self.headers.iter().position(of_name);
            self.headers.retain(|header| !of_name(header));
            at
        };
        let end = self.headers.iter().position(|(found, _)| canonical(found).starts_with("content-"));
        let at = at.or(end).unwrap_or(self.headers.len()).min(self.headers.len());
        self.headers.insert(at, (name.into(), value));
        replaced.push(key);
    }
}

fn has_contact(method: &str) -> bool {
    matches!(method, "INVITE" | "UPDATE" | "SUBSCRIBE" | "NOTIFY" | "REFER" | "REGISTER")
}

fn phrase(status: &str) -> &'static str {
    match status {
        "100" => "Trying",
        "180" => "Ringing",
        "183" => "Session Progress",
        "200" => "OK",
        "202" => "Accepted",
        "302" => "Moved Temporarily",
        "401" => "Unauthorized",
        "404" => "Not Found",
        "407" => "Proxy Authentication Required",
        "408" => "Request Timeout",
        "422" => "Session Interval Too Small",
        "480" => "Temporarily Unavailable",
        "481" => "Call/Transaction Does Not Exist",
        "486" => "Busy Here",
        "487" => "Request Terminated",
        "488" => "Not Acceptable Here",
        "491" => "Request Pending",
        "500" => "Server Internal Error",
        "503" => "Service Unavailable",
        "603" => "Decline",
        _ => "Whatever",
    }
}
