//! What must be true of a message that came through the proxy.

use crate::plan::{Plan, Road};
use crate::read::Read;
use crate::text::{Id, Number, Texts};
use memchr::{memchr, memmem};

/// What is wrong with a message, or with a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// No message, or of no call of ours.
    Unreadable,
    /// An INVITE at another environment than that of its number.
    Environment,
    /// From is not what this end must see.
    Identity,
    /// A tag that the other end did not write.
    Tag,
    /// Record-Route is missing, or stands where there must be none.
    RecordRoute,
    /// A Via too many or too few, or another one.
    Via,
    /// A Route was left.
    Route,
    /// Another request-URI, To or Contact than was sent.
    Address,
    /// Max-Forwards is not one less.
    MaxForwards,
    /// A body that was not sent.
    Body,
    /// A status that nobody sent, or a request where none is due.
    Unexpected,
    /// A call ended at the caller, and its callee knows of no ACK or no BYE.
    LeftOver,
}

/// All faults, in the order of their counters.
pub(crate) const FAULTS: [(Fault, &str); 12] = [
    (Fault::Unreadable, "unreadable"),
    (Fault::Environment, "environment"),
    (Fault::Identity, "identity"),
    (Fault::Tag, "tag"),
    (Fault::RecordRoute, "record_route"),
    (Fault::Via, "via"),
    (Fault::Route, "route"),
    (Fault::Address, "address"),
    (Fault::MaxForwards, "max_forwards"),
    (Fault::Body, "body"),
    (Fault::Unexpected, "unexpected"),
    (Fault::LeftOver, "left_over"),
];

/// What messages are held against.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent<'s> {
    pub(crate) texts: &'s Texts,
    pub(crate) number: &'s Number,
    pub(crate) id: &'s Id,
    /// The end that is called.
    pub(crate) callee: usize,
}

/// A request as it arrived at its callee.
pub(crate) fn request(plan: &Plan, sent: &Sent<'_>, read: &Read<'_>) -> Result<(), Fault> {
    let is_bare = plan.is_bare();
    let is_invite = read.method() == b"INVITE";
    let (vias, forwards): (usize, &[u8]) = if is_bare { (1, b"70") } else { (2, b"69") };
    hold(is_shown(plan, sent, read) && is_tagged(read.from, b'f', sent.id), Fault::Identity)?;
    hold(read.vias.len() == vias && read.vias.iter().next_back().is_some_and(|via| is_own(via, sent)), Fault::Via)?;
    hold(read.max_forwards == forwards, Fault::MaxForwards)?;
    hold(read.routes.len() == 0, Fault::Route)?;
    let uri = read.start.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    if is_invite {
        hold(read.records.len() > 0 || is_bare, Fault::RecordRoute)?;
        hold(user(uri) == user(&sent.number.uri), Fault::Address)?;
        let to = read.to.strip_prefix(b"<").and_then(|to| to.strip_suffix(b">"));
        hold(to == Some(&sent.number.uri), Fault::Address)?;
        return hold(sent.texts.is_sdp(read.body), Fault::Body);
    }
    hold(is_tagged(read.to, b't', sent.id), Fault::Tag)?;
    hold(uri == sent.texts.contact(sent.callee), Fault::Address)?;
    hold(read.body.is_empty(), Fault::Body)
}

/// A response above 100 and below 300 as it arrived at the caller.
pub(crate) fn response(plan: &Plan, sent: &Sent<'_>, read: &Read<'_>) -> Result<(), Fault> {
    let is_invite = read.method() == b"INVITE";
    hold(read.from.starts_with(&sent.number.from) && is_tagged(read.from, b'f', sent.id), Fault::Identity)?;
    hold(is_tagged(read.to, b't', sent.id), Fault::Tag)?;
    hold(read.vias.len() == 1 && is_own(read.vias.first(), sent), Fault::Via)?;
    if is_invite {
        hold(read.records.len() > 0 || plan.is_bare(), Fault::RecordRoute)?;
        let contact = read.contact.strip_prefix(b"<").and_then(|contact| contact.strip_suffix(b">"));
        hold(contact == Some(sent.texts.contact(sent.callee)), Fault::Address)?;
    }
    let has_body = is_invite && read.status() == Some(200);
    hold(if has_body { sent.texts.is_sdp(read.body) } else { read.body.is_empty() }, Fault::Body)
}

/// True when a response is what was sent, without so many of the Vias on top: after the start line, `sent` from there on,
/// and then `end`.
pub(crate) fn is_as_sent(received: &[u8], start: &[u8], sent: &[u8], end: &[u8], vias: usize) -> bool {
    let mut rest = sent;
    for line in 0..=vias {
        let Some((before, after)) = memchr(b'\n', rest).and_then(|at| rest.split_at_checked(at + 1)) else {
            return false;
        };
        if line > 0 && !before.starts_with(b"Via: ") {
            return false;
        }
        rest = after;
    }
    let rest_received = received.strip_prefix(start).and_then(|received| received.strip_suffix(end));
    rest_received == Some(rest)
}

/// A request in a dialog that came as it was sent, but for so many Vias more on top, Max-Forwards less by as many, and no Route.
pub(crate) struct InDialog<'m> {
    /// The lines of its Vias.
    pub(crate) vias: &'m [u8],
    /// From the name of From on.
    pub(crate) rest: &'m [u8],
}

impl<'m> InDialog<'m> {
    /// `None` for any other. `from_on` bytes at the end of `sent` begin with the name of From.
    pub(crate) fn of(
        received: &'m [u8],
        request: &[u8],
        from_on: usize,
        vias: usize,
        sent: &Sent<'_>,
    ) -> Option<InDialog<'m>> {
        let start = memchr(b'\n', request).and_then(|at| request.get(..=at))?;
        let mut after = received.strip_prefix(start)?;
        let all = after;
        let mut last: &[u8] = b"";
        for _ in 0..=vias {
            let (line, rest) = memchr(b'\n', after).and_then(|at| after.split_at_checked(at + 1))?;
            (last, after) = (line.strip_prefix(b"Via: ")?.strip_suffix(b"\r\n")?, rest);
        }
        let forwards: &[u8] = if vias == 0 { b"Max-Forwards: 70\r\n" } else { b"Max-Forwards: 69\r\n" };
        let rest = after.strip_prefix(forwards)?;
        let tail = request.len().checked_sub(from_on).and_then(|at| request.get(at..))?;
        let vias = all.get(..all.len() - after.len())?;
        (is_own(last, sent) && rest == tail).then_some(InDialog { vias, rest })
    }
}

fn hold(is_true: bool, fault: Fault) -> Result<(), Fault> {
    if is_true { Ok(()) } else { Err(fault) }
}

fn is_shown(plan: &Plan, sent: &Sent<'_>, read: &Read<'_>) -> bool {
    match plan.road {
        Road::Outbound => memmem::find(read.from, &sent.number.shown).is_some(),
        _ => read.from.starts_with(&sent.number.shown),
    }
}

/// True when a From or To ends with the tag of this call's end.
fn is_tagged(value: &[u8], end: u8, id: &Id) -> bool {
    let before = value.strip_suffix(id).and_then(|before| before.strip_suffix(&[end]));
    before.is_some_and(|before| before.ends_with(b";tag="))
}

/// True for the caller's Via, whatever its `rport` was filled with.
fn is_own(via: &[u8], sent: &Sent<'_>) -> bool {
    via.starts_with(sent.texts.sent_by()) && (via.ends_with(sent.id) || memmem::find(via, sent.id).is_some())
}

fn user(uri: &[u8]) -> &[u8] {
    uri.split(|byte| *byte == b'@').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text;
    use clap::Parser;

    /// An ACK as it is forwarded is taken at a glance; spoilt, it is not, and the whole check tells why.
    #[test]
    fn a_request_in_a_dialog_is_taken_at_a_glance_only_when_nothing_is_wrong() {
        let plan = Plan::parse_from(["load", "--dids", "9"]);
        let texts = Texts::new(&plan, &plan.ends());
        let (number, id) = (texts.number(1).unwrap(), text::id(5, 7));
        let sent = Sent { texts: &texts, number, id: &id, callee: 2 };
        let mut invite = Vec::new();
        texts.invite(&mut invite, number, &id);
        let invite = String::from_utf8(invite).unwrap().replacen("\r\nVia", "\r\nRecord-Route: <sip:p;lr>\r\nVia", 1);
        let read = Read::of(invite.as_bytes()).unwrap();
        let (mut ack, mut other) = (Vec::new(), Vec::new());
        let from_on = texts.in_dialog(&mut ack, "ACK", &text::Dialog::of_invite(&read, &id), 2, &id);
        let mut success = Vec::new();
        texts.response(&mut success, "200 OK", &read, 2);
        texts.in_dialog(&mut other, "ACK", &text::Dialog::of_success(&Read::of(&success).unwrap()), 2, &id);
        assert_eq!(ack, other, "both ends know the same dialog");
        let sent_text = String::from_utf8(ack.clone()).unwrap();
        let forwarded = sent_text
            .replace("Forwards: 70", "Forwards: 69")
            .replace("Route: <sip:p;lr>\r\n", "")
            .replacen("Via: ", "Via: SIP/2.0/UDP p;branch=z9hG4bKx\r\nVia: ", 1)
            .replacen(";rport;", ";rport=5060;received=127.0.202.2;", 1);
        let glance = |text: &str| InDialog::of(text.as_bytes(), &ack, from_on, 1, &sent).is_some();
        let told = |text: &str| request(&plan, &sent, &Read::of(text.as_bytes()).unwrap());
        assert_eq!((glance(&forwarded), told(&forwarded)), (true, Ok(())));
        assert!(!glance(&sent_text));
        for (from, to, fault) in [
            ("ACK sip:pbx@127.0.202.4", "ACK sip:pbx@127.0.202.5", Fault::Address),
            ("branch=z9hG4bKa0", "branch=z9hG4bKa1", Fault::Via),
            ("Via: SIP/2.0/UDP p;branch=z9hG4bKx\r\n", "", Fault::Via),
            ("Max-Forwards: 69", "Max-Forwards: 68", Fault::MaxForwards),
            ("Max-Forwards", "Route: <sip:p;lr>\r\nMax-Forwards", Fault::Route),
            ("From: <sip:+44", "From: <sip:+45", Fault::Identity),
            (";tag=t", ";tag=u", Fault::Tag),
            ("Length: 0\r\n\r\n", "Length: 1\r\n\r\nx", Fault::Body),
        ] {
            let spoilt = forwarded.replacen(from, to, 1);
            assert_ne!(spoilt, forwarded, "{from} is not there");
            assert_eq!((glance(&spoilt), told(&spoilt)), (false, Err(fault)), "{from} became {to}");
        }
    }

    /// Every check fails for a message that is spoilt in its place, and for no other.
    #[test]
    fn each_spoilt_message_is_told_by_its_fault() {
        let plan = Plan::parse_from(["load", "--dids", "9"]);
        let texts = Texts::new(&plan, &plan.ends());
        let (number, id) = (texts.number(1).unwrap(), text::id(5, 7));
        let sent = Sent { texts: &texts, number, id: &id, callee: 2 };
        let mut invite = Vec::new();
        texts.invite(&mut invite, number, &id);
        let forwarded = String::from_utf8(invite).unwrap().replace("Forwards: 70", "Forwards: 69").replacen(
            "\r\nVia",
            "\r\nRecord-Route: <sip:p;lr>\r\nVia: SIP/2.0/UDP p;branch=z9hG4bKx\r\nVia",
            1,
        );
        let told = |text: &str| request(&plan, &sent, &Read::of(text.as_bytes()).unwrap());
        assert_eq!(told(&forwarded), Ok(()));
        for (from, to, fault) in [
            ("From: <sip:+44", "From: <sip:+45", Fault::Identity),
            (";tag=f", ";tag=g", Fault::Identity),
            ("Record-Route: <sip:p;lr>\r\n", "", Fault::RecordRoute),
            ("Via: SIP/2.0/UDP p;branch=z9hG4bKx\r\n", "", Fault::Via),
            ("Max-Forwards: 69", "Max-Forwards: 70", Fault::MaxForwards),
            ("To: <sip:+91", "To: <sip:+92", Fault::Address),
            ("INVITE sip:+91", "INVITE sip:91", Fault::Address),
            ("Call-ID", "Route: <sip:p;lr>\r\nCall-ID", Fault::Route),
            ("ptime:20", "ptime:30", Fault::Body),
        ] {
            let spoilt = forwarded.replacen(from, to, 1);
            assert_ne!(spoilt, forwarded, "{from} is not there");
            assert_eq!(told(&spoilt), Err(fault), "{from} became {to}");
        }
        let mut ringing = Vec::new();
        texts.response(&mut ringing, "180 Ringing", &Read::of(forwarded.as_bytes()).unwrap(), 2);
        let back = String::from_utf8(ringing).unwrap().replacen("Via: SIP/2.0/UDP p;branch=z9hG4bKx\r\n", "", 1);
        let told = |text: &str| response(&plan, &sent, &Read::of(text.as_bytes()).unwrap());
        assert_eq!(told(&back), Ok(()));
        let mut success = Vec::new();
        texts.response(&mut success, "200 OK", &Read::of(forwarded.as_bytes()).unwrap(), 2);
        let shared = &success[..success.len() - texts.tail_bytes()];
        let is_same = |text: &str| is_as_sent(text.as_bytes(), text::RINGING, shared, text::NO_BODY, 1);
        assert!(is_same(&back) && !is_as_sent(back.as_bytes(), text::RINGING, shared, text::NO_BODY, 0));
        for (from, to, fault) in [
            (";tag=t", ";tag=u", Fault::Tag),
            ("From: <sip:+44", "From: <sip:+45", Fault::Identity),
            ("Record-Route: <sip:p;lr>\r\n", "", Fault::RecordRoute),
            ("Contact: <sip:pbx", "Contact: <sip:p", Fault::Address),
            ("branch=z9hG4bKi0", "branch=z9hG4bKi1", Fault::Via),
        ] {
            let spoilt = back.replacen(from, to, 1);
            assert_eq!((told(&spoilt), is_same(&spoilt)), (Err(fault), false), "{from} became {to}");
        }
    }
}
