//! What must have left, held against what did: every difference is told, none is shown twice.

use crate::ladder::{Ladder, Passed};
use crate::pattern::{Captures, matches};
use crate::text::Message;
use crate::wire::{Wire, canonical, hostport_of, latin1, param, params, uri_of, user_of};
use proxy::Listener;
use std::net::SocketAddr;

/// One expectation with what it is held against.
pub(crate) struct Judge<'a> {
    pub(crate) ladder: &'a Ladder,
    /// Our listener that the message must have left from.
    pub(crate) us: Listener,
    /// Every address of ours: leading Routes and Record-Routes with one of them are our own.
    pub(crate) ours: &'a [SocketAddr],
    pub(crate) party: &'a str,
    /// Where the message went.
    pub(crate) to: SocketAddr,
    pub(crate) message: &'a Message,
    pub(crate) got: &'a [u8],
}

/// What the words behind the arrow ask for.
struct Wanted<'a> {
    kind: &'a str,
    method: Option<&'a str>,
    uri: Option<&'a str>,
    reason: Option<String>,
    as_received: bool,
}

impl Judge<'_> {
    /// Differences; none when the message is the expected one.
    pub(crate) fn differences(&self, captures: &mut Captures) -> Result<Vec<String>, String> {
        let words: Vec<&str> = self.message.words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["exactly"] => self.exactly(captures),
            ["again", kind] => self.again(kind),
            _ => {
                let got = Wire::parse(self.got);
                let wanted = Wanted::parse(&words)?;
                let mut out = Vec::new();
                self.start(&wanted, &got, captures, &mut out)?;
                if !out.is_empty() {
                    return Ok(out);
                }
                self.listed(&got, captures, &mut out)?;
                self.by_kind(&wanted, &got, &mut out);
                self.body(&wanted, &got, captures, &mut out)?;
                Ok(out)
            }
        }
    }

    fn exactly(&self, captures: &mut Captures) -> Result<Vec<String>, String> {
        let got = latin1(self.got);
        let mut out = Vec::new();
        let (got, wanted): (Vec<&str>, Vec<String>) = (
            got.split_inclusive("\r\n").collect(),
            self.message.raw.iter().map(|line| format!("{line}\\r\\n")).collect(),
        );
        for at in 0..got.len().max(wanted.len()) {
            let (found, pattern) = (got.get(at).copied().unwrap_or(""), wanted.get(at).map_or("", String::as_str));
            if !matches(pattern, found, captures)? {
                out.push(format!("line {} of the message: found {found:?}, expected {pattern:?}", at + 1));
            }
        }
        Ok(out)
    }

    fn again(&self, kind: &str) -> Result<Vec<String>, String> {
        let before = self.ladder.last(self.party, false, |wire| wire.kind() == kind);
        let before = before.ok_or_else(|| format!("we have sent no {kind} to {} before", self.party))?;
        if before.bytes == self.got {
            return Ok(Vec::new());
        }
        Ok(vec![format!("found other bytes, expected those of the {kind} at {} ms again", before.time.0 / 1_000)])
    }

    fn start(&self, wanted: &Wanted<'_>, got: &Wire, caps: &mut Captures, out: &mut Vec<String>) -> Result<(), String> {
        if got.kind() != wanted.kind {
            out.push(format!("found {:?}, expected {}", got.start, wanted.kind));
            return Ok(());
        }
        if wanted.method.is_some_and(|method| method != got.method()) {
            out.push(format!("found a response to {}, expected one to {:?}", got.method(), wanted.method));
        }
        if let Some(uri) = wanted.uri.filter(|_| !got.is_response())
            && !matches(uri, got.uri(), caps)?
        {
            out.push(format!("request-URI: found {}, expected {uri}", got.uri()));
        }
        if let Some(reason) = &wanted.reason
            && !matches(reason, got.reason(), caps)?
        {
            out.push(format!("reason: found {:?}, expected {reason:?}", got.reason()));
        }
        Ok(())
    }

    /// The headers that the text lists: all values of each listed name, in order.
    fn listed(&self, got: &Wire, captures: &mut Captures, out: &mut Vec<String>) -> Result<(), String> {
        for name in &self.message.without {
            for value in got.values(&canonical(name)) {
                out.push(format!("{name}: found {value:?}, expected none"));
            }
        }
        let mut names: Vec<String> = Vec::new();
        for (name, _) in &self.message.headers {
            if !names.contains(&canonical(name)) {
                names.push(canonical(name));
            }
        }
        for name in names {
            let wanted: Vec<&String> = self
                .message
                .headers
                .iter()
                .filter(|(found, _)| canonical(found) == name)
                .map(|(_, value)| value)
                .collect();
            let found = got.values(&name);
            for at in 0..found.len().max(wanted.len()) {
                match (found.get(at), wanted.get(at)) {
                    (Some(found), Some(wanted)) if matches(wanted, found, captures)? => {}
                    (found, wanted) => out.push(format!("{name} {}: found {found:?}, expected {wanted:?}", at + 1)),
                }
            }
        }
        Ok(())
    }

    fn by_kind(&self, wanted: &Wanted<'_>, got: &Wire, out: &mut Vec<String>) {
        match (wanted.as_received, got.is_response()) {
            (true, false) => match self.source_of_request(got) {
                Some(received) => self.forwarded_request(wanted, received, got, out),
                None => {
                    out.push("expected a request that was received: none has its branch second, or its method".into());
                }
            },
            (true, true) => match self.source_of_response(got) {
                Some(received) => self.forwarded_response(&received.wire, got, out),
                None => {
                    out.push("expected a response that was received: none has its branch second, or its status".into());
                }
            },
            (false, false) => self.own_request(got, out),
            (false, true) => self.own_response(got, out),
        }
    }

    fn source_of_request(&self, got: &Wire) -> Option<&Passed> {
        let branch = got.second_branch();
        self.ladder.all.iter().rev().find(|p| {
            p.arrived && !p.wire.is_response() && p.wire.branch() == branch && p.wire.method() == got.method()
        })
    }

    fn source_of_response(&self, got: &Wire) -> Option<&Passed> {
        let branch = got.branch();
        self.ladder.all.iter().rev().find(|p| {
            p.arrived
                && p.wire.is_response()
                && p.wire.second_branch() == branch
                && p.wire.status() == got.status()
                && p.wire.to_tag() == got.to_tag()
                && p.wire.method() == got.method()
        })
    }

    /// RFC 3261 16.6, item by item, on what the text does not list.
    fn forwarded_request(&self, wanted: &Wanted<'_>, received: &Passed, got: &Wire, out: &mut Vec<String>) {
        let from = &received.wire;
        if wanted.uri.is_none() && user_of(from.uri()) != user_of(got.uri()) {
            out.push(format!("request-URI: found {}, expected the user part of {}", got.uri(), from.uri()));
        }
        if self.is_open("via") {
            self.request_vias(received, got, out);
        }
        if self.is_open("max-forwards") {
            let hops = from.first("max-forwards").parse::<u32>().map_or(70, |hops| hops.saturating_sub(1));
            expect_same("max-forwards", got.values("max-forwards"), [hops.to_string().as_str()], out);
        }
        if self.is_open("record-route") {
            self.record_routes(from, got, out);
        }
        if self.is_open("route") {
            let routes = from.elements("route");
            let foreign: Vec<&String> = routes.iter().skip_while(|route| self.is_own(uri_of(route))).collect();
            expect_same(
                "route",
                got.elements("route").iter().map(String::as_str),
                foreign.into_iter().map(String::as_str),
                out,
            );
        }
        let edited = ["via", "max-forwards", "record-route", "route"];
        self.unedited(from, got, &edited, out);
    }

    fn request_vias(&self, received: &Passed, got: &Wire, out: &mut Vec<String>) {
        let (vias, before) = (got.elements("via"), received.wire.elements("via"));
        let top = vias.first().map_or("", String::as_str);
        let (transport, us) = (self.us.transport.via_token(), self.us.address);
        if !top.starts_with(&format!("SIP/2.0/{transport} {us};")) {
            out.push(format!("via 1: found {top:?}, expected ours, SIP/2.0/{transport} {us}"));
        }
        if vias.len() != before.len() + 1 {
            out.push(format!("via: found {} values, expected {}", vias.len(), before.len() + 1));
        }
        for (at, (found, wanted)) in vias.iter().skip(1).zip(&before).enumerate() {
            if at == 0 {
                sourced_via(found, wanted, received.address, out);
            } else if found != wanted {
                out.push(format!("via {}: found {found:?}, expected {wanted:?}", at + 2));
            }
        }
    }

    fn record_routes(&self, from: &Wire, got: &Wire, out: &mut Vec<String>) {
        let (routes, before) = (got.elements("record-route"), from.elements("record-route"));
        let own = routes.len().saturating_sub(before.len());
        let (ours, rest) = routes.split_at(own.min(routes.len()));
        if rest != before.as_slice() {
            out.push(format!("record-route: found {routes:?}, expected ours above {before:?}"));
        }
        if ours.is_empty() && from.method() == "INVITE" && from.to_tag().is_none() {
            out.push("record-route: found none of ours, expected one".into());
        }
        for route in ours {
            let uri = uri_of(route);
            if !self.is_own(uri) || !params(uri).iter().any(|(name, _)| name == "lr") {
                out.push(format!("record-route: found {route:?}, expected our address with ;lr"));
            }
        }
    }

    /// RFC 3261 16.7 item 3 and 9: our Via goes, and nothing else changes.
    fn forwarded_response(&self, from: &Wire, got: &Wire, out: &mut Vec<String>) {
        if from.start != got.start {
            out.push(format!("found {:?}, expected {:?}", got.start, from.start));
        }
        if self.is_open("via") {
            let (vias, before) = (got.elements("via"), from.elements("via"));
            expect_same("via", vias.iter().map(String::as_str), before.iter().skip(1).map(String::as_str), out);
        }
        self.unedited(from, got, &["via"], out);
    }

    /// Header lines that we have no business with: the same bytes in the same order.
    fn unedited(&self, from: &Wire, got: &Wire, edited: &[&str], out: &mut Vec<String>) {
        let lines = |wire: &Wire| -> Vec<String> {
            let open =
                wire.headers.iter().filter(|line| !edited.contains(&line.name.as_str()) && self.is_open(&line.name));
            open.map(|line| line.raw.clone()).collect()
        };
        let (found, wanted) = (lines(got), lines(from));
        for at in 0..found.len().max(wanted.len()) {
            if found.get(at) != wanted.get(at) {
                out.push(format!(
                    "untouched line {}: found {:?}, expected {:?}",
                    at + 1,
                    found.get(at),
                    wanted.get(at)
                ));
            }
        }
    }

    /// CANCEL and ACK of our own belong to an INVITE that we sent (9.1, 17.1.1.3).
    fn own_request(&self, got: &Wire, out: &mut Vec<String>) {
        let branch = got.branch();
        let invite = self.ladder.last(self.party, false, |wire| wire.kind() == "INVITE" && wire.branch() == branch);
        let Some(invite) = invite.map(|passed| &passed.wire) else {
            out.push(format!("found branch {branch}, expected that of an INVITE that we sent to {}", self.party));
            return;
        };
        if got.uri() != invite.uri() {
            out.push(format!("request-URI: found {}, expected {}", got.uri(), invite.uri()));
        }
        let top = invite.elements("via");
        if self.is_open("via") {
            let top = top.iter().take(1).map(String::as_str);
            expect_same("via", got.elements("via").iter().map(String::as_str), top, out);
        }
        for name in ["call-id", "from", "route"] {
            expect_same(name, got.values(name), invite.values(name), out);
        }
        if got.cseq_number() != invite.cseq_number() || got.first("cseq").split(' ').nth(1) != Some(got.method()) {
            out.push(format!(
                "cseq: found {:?}, expected {} {}",
                got.first("cseq"),
                invite.cseq_number(),
                got.method()
            ));
        }
        let to = match got.method() {
            "ACK" => {
                let is_final = |p: &&Passed| p.arrived && p.wire.branch() == branch && p.wire.status() >= 300;
                self.ladder.all.iter().rev().find(is_final).map_or("", |passed| passed.wire.first("to"))
            }
            _ => invite.first("to"),
        };
        expect_same("to", got.values("to"), [to], out);
        for name in ["require", "proxy-require", "record-route", "contact"] {
            expect_same(name, got.values(name), [], out);
        }
    }

    /// A response made by us: from the request's own bytes (8.2.6).
    fn own_response(&self, got: &Wire, out: &mut Vec<String>) {
        let asked = |passed: &&Passed| {
            let wire = &passed.wire;
            passed.arrived
                && passed.address.ip() == self.to.ip()
                && !wire.is_response()
                && wire.branch() == got.branch()
                && (wire.method() == got.method() || !self.is_open("cseq"))
        };
        let Some(request) = self.ladder.all.iter().rev().find(asked) else {
            out.push(format!("found a response that {} did not ask for", self.to));
            return;
        };
        let (vias, before) = (got.elements("via"), request.wire.elements("via"));
        if vias.len() != before.len() {
            out.push(format!("via: found {vias:?}, expected {before:?}"));
        }
        for (at, (found, wanted)) in vias.iter().zip(&before).enumerate() {
            if at == 0 && self.is_open("via") {
                sourced_via(found, wanted, request.address, out);
            } else if at > 0 && found != wanted {
                out.push(format!("via {}: found {found:?}, expected {wanted:?}", at + 1));
            }
        }
        for name in ["from", "call-id", "cseq"] {
            if self.is_open(name) {
                expect_same(name, got.values(name), request.wire.values(name), out);
            }
        }
        let (to, wanted) = (got.first("to"), request.wire.first("to"));
        let same = request.wire.to_tag().is_some() || got.status() == 100;
        if self.is_open("to") && ((same && to != wanted) || (!same && !to.starts_with(&format!("{wanted};tag=")))) {
            out.push(format!(
                "to: found {to:?}, expected {wanted:?} {}",
                if same { "as it came" } else { "with a tag" }
            ));
        }
    }

    fn body(&self, wanted: &Wanted<'_>, got: &Wire, caps: &mut Captures, out: &mut Vec<String>) -> Result<(), String> {
        if let Some(body) = &self.message.body {
            let pattern: String = body.iter().map(|line| format!("{line}\\r\\n")).collect();
            if !matches(&pattern, &got.body, caps)? {
                out.push(format!("body: found {:?}, expected {pattern:?}", got.body));
            }
            return Ok(());
        }
        let source = if got.is_response() { self.source_of_response(got) } else { self.source_of_request(got) };
        let expected = match source.filter(|_| wanted.as_received) {
            Some(source) => declared_body(&source.wire),
            None => String::new(),
        };
        if got.body != expected {
            out.push(format!("body: found {:?}, expected the same bytes: {expected:?}", got.body));
        }
        Ok(())
    }

    fn is_open(&self, name: &str) -> bool {
        !self.message.headers.iter().any(|(listed, _)| canonical(listed) == name)
            && !self.message.without.iter().any(|listed| canonical(listed) == name)
    }

    fn is_own(&self, uri: &str) -> bool {
        let host = hostport_of(uri);
        self.ours.iter().any(|us| host == us.to_string() || (us.port() == 5060 && host == us.ip().to_string()))
    }
}

impl<'a> Wanted<'a> {
    fn parse(words: &[&'a str]) -> Result<Wanted<'a>, String> {
        let (kind, mut rest) = words.split_first().ok_or("expected a method or a status")?;
        let as_received = rest.ends_with(&["as", "received"]);
        if as_received {
            rest = rest.get(..rest.len() - 2).unwrap_or_default();
        }
        let mut out = Wanted { kind, method: None, uri: None, reason: None, as_received };
        if kind.parse::<u16>().is_ok() {
            if let ["to", method, more @ ..] = rest {
                out.method = Some(method);
                rest = more;
            }
            out.reason = (!rest.is_empty()).then(|| rest.join(" "));
        } else {
            match rest {
                [] => {}
                [uri] => out.uri = Some(uri),
                more => return Err(format!("found {more:?} behind {kind}, expected a request-URI or `as received`")),
            }
        }
        Ok(out)
    }
}

/// The top Via of a request with `received` and `rport` set (18.2.1, RFC 3581 4), its other parts untouched.
fn sourced_via(found: &str, before: &str, source: SocketAddr, out: &mut Vec<String>) {
    let plain = |via: &str| -> (String, Vec<(String, Option<String>)>) {
        let sent = via.split(';').next().unwrap_or_default().trim().to_owned();
        let others = params(via).into_iter().filter(|(name, _)| name != "received" && name != "rport");
        (sent, others.collect())
    };
    if plain(found) != plain(before) {
        out.push(format!("via: found {found:?}, expected {before:?} with received and rport only"));
    }
    let asked = params(before).iter().any(|(name, _)| name == "rport");
    let sent_by = before.split_whitespace().nth(1).and_then(|rest| rest.split(';').next()).unwrap_or_default();
    let host =
        sent_by.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(sent_by, |(host, _)| host);
    let wants_received = asked || host != source.ip().to_string();
    let received = wants_received.then(|| source.ip().to_string());
    if param(found, "received") != received {
        out.push(format!("via received: found {:?}, expected {received:?}", param(found, "received")));
    }
    let rport = asked.then(|| source.port().to_string());
    if param(found, "rport") != rport {
        out.push(format!("via rport: found {:?}, expected {rport:?}", param(found, "rport")));
    }
}

/// The body as Content-Length cuts it; to the end without one (18.3).
fn declared_body(wire: &Wire) -> String {
    match wire.first("content-length").parse::<usize>() {
        Ok(length) => wire.body.chars().take(length).collect(),
        Err(_) => wire.body.clone(),
    }
}

fn expect_same<'a, 'b>(
    name: &str,
    found: impl IntoIterator<Item = &'a str>,
    wanted: impl IntoIterator<Item = &'b str>,
    out: &mut Vec<String>,
) {
    let (found, wanted): (Vec<&str>, Vec<&str>) = (found.into_iter().collect(), wanted.into_iter().collect());
    if found != wanted {
        out.push(format!("{name}: found {found:?}, expected {wanted:?}"));
    }
}
