//! Sound, end to end through the tunnels.

use crate::site::{PROXY, STAGING_DID, Site, sip};
use lab::Node;
use lab::phone::Phone;
use lab::process::{PATIENCE, until};

#[test]
fn gateway_and_staging_hear_each_other_through_prod() {
    let site = Site::up(10);
    let tap = site.capture(Node::Prod, "wg0");
    let callee = Phone::start(&site.place(Node::Staging), sip(Node::Staging), STAGING_DID, 880, None);
    let number = format!("sip:{STAGING_DID}@{PROXY}");
    let mut caller = Phone::start(&site.place(Node::Nuc), sip(Node::Nuc), "+447700900123", 440, Some(&number));
    let heard = (callee.heard_hz(), caller.heard_hz());
    assert!((435..=445).contains(&heard.0), "the callee heard {} Hz instead of 440\n{}", heard.0, callee.log());
    assert!((875..=885).contains(&heard.1), "the caller heard {} Hz instead of 880\n{}", heard.1, caller.log());

    // RTP goes from end to end, by way of prod's tunnels: each packet is seen there coming and going.
    let rtp = |from: Node, to: Node| {
        let of = |ip, node: Node, port: u16| ip == node.address() && (10_000..10_020).contains(&port);
        let capture = tap.so_far();
        let packets = capture.packets.iter();
        let alike = packets.filter(|p| of(*p.from.ip(), from, p.from.port()) && of(*p.to.ip(), to, p.to.port()));
        // Version 2, payload type 8 (PCMA): 20 ms of sound in each.
        alike.filter(|p| matches!(p.payload.as_slice(), [0x80, 8 | 0x88, ..]) && p.payload.len() == 172).count() / 2
    };
    let flown = || (rtp(Node::Nuc, Node::Staging), rtp(Node::Staging, Node::Nuc));
    until(|| format!("50 RTP packets each way: {:?}", flown()), PATIENCE, || flown().0 >= 50 && flown().1 >= 50);

    caller.hang_up();
    until(
        || format!("the callee to see the end of the call\n{}", callee.log()),
        PATIENCE,
        || callee.log().contains("session closed"),
    );
}
