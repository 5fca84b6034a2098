//! Proxies that are wrong in one way each: they show that every invariant can fail.

use crate::invariants::{Cause, Left, Step};
use crate::stage::{STRANGER, Site};
use crate::wire::Wire;
use proxy::{Flow, ListenerId};
use std::rc::Rc;

/// One way to be wrong, by the invariant that must notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// A refused INVITE gets a second, other refusal.
    I1,
    /// An answer goes to another peer as well.
    I2,
    /// Two INVITEs leave on one branch.
    I3,
    /// A body is changed.
    I4,
    /// The caller's name is not restored.
    I5,
    /// A stranger gets an answer.
    I6,
    /// The callee's 100 is passed on.
    I7,
    /// A CANCEL follows its INVITE at once.
    I8,
    /// A transaction stays open.
    I9,
    /// OPTIONS is not answered.
    I10,
    /// A call goes to another environment than its number's.
    I11,
    /// An ACK is answered.
    I12,
    /// A BYE is swallowed.
    Live,
    /// A seat on the trunk is never given back.
    Seats,
    /// Everybody may have one call more than is configured.
    Limits,
}

impl Sabotage {
    /// All of them, each with the name that its failure must begin with.
    pub const ALL: [(Sabotage, &'static str); 15] = [
        (Sabotage::I1, "I1:"),
        (Sabotage::I2, "I2:"),
        (Sabotage::I3, "I3:"),
        (Sabotage::I4, "I4:"),
        (Sabotage::I5, "I5:"),
        (Sabotage::I6, "I6:"),
        (Sabotage::I7, "I7:"),
        (Sabotage::I8, "I8:"),
        (Sabotage::I9, "I9:"),
        (Sabotage::I10, "I10:"),
        (Sabotage::I11, "I11:"),
        (Sabotage::I12, "I12:"),
        (Sabotage::Live, "live:"),
        (Sabotage::Seats, "I9:"),
        (Sabotage::Limits, "limits:"),
    ];

    pub(crate) fn left_open(self) -> usize {
        usize::from(self == Sabotage::I9)
    }

    pub(crate) fn seats_lost(self) -> u32 {
        u32::from(self == Sabotage::Seats)
    }

    /// Makes what left wrong.
    pub(crate) fn spoil(self, step: &mut Step, sites: &[Site]) {
        match self {
            Sabotage::I1 => {
                also(
                    step,
                    |left| left.text.starts_with("SIP/2.0 486"),
                    |text| unsigned(text).replace(" 486 ", " 480 "),
                );
            }
            Sabotage::I2 => answers_another(step, sites),
            Sabotage::I3 => change(
                step,
                |left| left.text.starts_with("INVITE "),
                |wire| wire.text.replacen(wire.branch(), "z9hG4bKalways", 1),
            ),
            Sabotage::I4 => change(
                step,
                |left| left.text.contains("m=audio 4000"),
                |wire| wire.text.replace("m=audio 4000", "m=audio 4002"),
            ),
            Sabotage::I5 => change(
                step,
                |left| left.text.starts_with("SIP/2.0 180"),
                |wire| wire.text.replacen(wire.name("From"), "<sip:+918065080729@10.10.10.2>", 1),
            ),
            Sabotage::I6 => answers_strangers(step),
            Sabotage::I7 => passes_trying(step, sites),
            Sabotage::I8 => also(
                step,
                |left| left.text.starts_with("INVITE "),
                |text| {
                    let mut seen = 0;
                    let text = text.replacen("INVITE", "CANCEL", 1).replace("1 INVITE", "1 CANCEL");
                    let keeps = |line: &&str| {
                        let via = line.starts_with("Via:") || line.starts_with("v:");
                        seen += usize::from(via);
                        !via || seen == 1
                    };
                    text.split("\r\n").filter(keeps).collect::<Vec<_>>().join("\r\n")
                },
            ),
            Sabotage::I9 | Sabotage::Seats | Sabotage::Limits => {}
            Sabotage::I10 => step.left.retain(|left| !left.text.contains(" OPTIONS\r\n")),
            Sabotage::I11 => misroutes(step, sites),
            Sabotage::I12 => answers_acks(step),
            Sabotage::Live => step.left.retain(|left| !left.text.starts_with("BYE ")),
        }
    }
}

fn answers_another(step: &mut Step, sites: &[Site]) {
    let Some(mut copy) = step.left.iter().find(|left| left.text.starts_with("SIP/2.0")).cloned() else { return };
    let other = sites.iter().find(|site| site.address.ip() != copy.flow.remote.ip());
    if let Some(other) = other {
        copy.flow = Flow::to(other.listener, other.address);
        step.left.push(copy);
    }
}

fn answers_strangers(step: &mut Step) {
    let Cause::Arrived(arrival) = &step.cause else { return };
    if arrival.site.is_none() {
        let text: Rc<str> = format!("{}{}", arrival.text, arrival.text).into();
        let flow = Flow::to(ListenerId(0), STRANGER.parse().unwrap());
        step.left.push(Left { flow, wire: Wire::parse(Rc::clone(&text)), text });
    }
}

fn misroutes(step: &mut Step, sites: &[Site]) {
    let Some(trunk) = sites.iter().map(|site| site.party).min() else { return };
    for left in step.left.iter_mut().filter(|left| left.text.starts_with("INVITE ")) {
        let here = |site: &&Site| site.address == left.flow.remote && site.party != trunk;
        let Some(here) = sites.iter().find(here) else { continue };
        let fits = |site: &&Site| site.party != here.party && site.party != trunk && site.listener == here.listener;
        if let Some(other) = sites.iter().find(fits) {
            left.flow.remote = other.address;
        }
    }
}

fn answers_acks(step: &mut Step) {
    let Cause::Arrived(arrival) = &step.cause else { return };
    let ack = arrival.wire.as_ref().filter(|wire| wire.method() == "ACK" && !wire.is_response());
    if let Some(wire) = ack {
        let text: Rc<str> = wire.text.replacen(wire.start(), "SIP/2.0 481 Unknown", 1).into();
        let flow = Flow::to(ListenerId(0), arrival.from);
        step.left.push(Left { flow, wire: Wire::parse(Rc::clone(&text)), text });
    }
}

fn passes_trying(step: &mut Step, sites: &[Site]) {
    let Cause::Arrived(arrival) = &step.cause else { return };
    let Some(wire) = arrival.wire.as_ref().filter(|wire| wire.status() == 100) else { return };
    let via = format!("Via: {}\r\n", wire.first("Via"));
    let text: Rc<str> = wire.text.replacen(&via, "", 1).into();
    let Some(wire) = Wire::parse(Rc::clone(&text)) else { return };
    let sent_by = wire.first("Via").split([' ', ';']).nth(1).unwrap_or_default().to_owned();
    let Some(site) = sites.iter().find(|site| site.address.to_string() == sent_by) else { return };
    step.left.push(Left { flow: Flow::to(site.listener, site.address), text, wire: Some(wire) });
}

/// As if it were the proxy's own.
fn unsigned(text: &str) -> String {
    text.split("\r\n").filter(|line| !line.starts_with("Server:")).collect::<Vec<_>>().join("\r\n")
}

/// Changes what fits.
fn change(step: &mut Step, fits: impl Fn(&Left) -> bool, to: impl Fn(&Wire) -> String) {
    for left in step.left.iter_mut().filter(|left| fits(left)) {
        let Some(wire) = &left.wire else { continue };
        left.text = to(wire).into();
        left.wire = Wire::parse(Rc::clone(&left.text));
    }
}

/// Adds a changed copy of the first that fits.
fn also(step: &mut Step, fits: impl Fn(&Left) -> bool, to: impl Fn(&str) -> String) {
    let Some(found) = step.left.iter().find(|left| fits(left)) else { return };
    let text: Rc<str> = to(&found.text).into();
    step.left.push(Left { flow: found.flow, wire: Wire::parse(Rc::clone(&text)), text });
}
