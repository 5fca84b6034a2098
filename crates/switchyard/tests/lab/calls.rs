//! Calls on clean paths: who is called, by which way, and what arrives.

use crate::site::{PROD_DID, SETUP, STAGING_DID, Site, header, received, sip};
use lab::Node;
use lab::process::until;
use lab::sipp::Calls;

#[test]
fn a_staging_did_arrives_through_the_tunnel() {
    let site = Site::up(1);
    let elsewhere = [Node::Prod, Node::Oss].map(|node| site.silence(node));
    let tap = site.capture(Node::Prod, "wg0");
    let callee = site.callee("call", Node::Staging, 1);
    site.caller("call", Node::Nuc, Calls::one(STAGING_DID)).succeeded();
    let messages = callee.succeeded();
    let line = format!("INVITE sip:{STAGING_DID}@10.10.10.3:5080 SIP/2.0");
    assert!(messages.contains(&line), "{line:?} did not arrive:\n{messages}");
    until(
        || "the INVITE on its way through the tunnel".to_owned(),
        SETUP,
        || tap.so_far().packets.iter().any(|p| p.to == sip(Node::Staging) && p.payload.starts_with(line.as_bytes())),
    );
    elsewhere.iter().for_each(lab::silence::Silence::held);
}

#[test]
fn a_prod_did_stays_on_its_machine() {
    let site = Site::up(2);
    let elsewhere = [Node::Staging, Node::Oss].map(|node| site.silence(node));
    let callee = site.callee("call", Node::Prod, 1);
    site.caller("call", Node::Nuc, Calls::one(PROD_DID)).succeeded();
    let messages = callee.succeeded();
    assert!(messages.contains(&format!("INVITE sip:{PROD_DID}@10.10.10.1:5070 SIP/2.0")), "{messages}");
    elsewhere.iter().for_each(lab::silence::Silence::held);
}

/// Issue 5: in the lab.
#[test]
fn a_staging_pbx_calls_out_and_the_gateway_sees_its_organisations_did() {
    let site = Site::up(3);
    let callee = site.callee("call", Node::Nuc, 1);
    let caller = site.caller("endpoint", Node::Staging, Calls::one("+447700900456")).succeeded();
    let messages = callee.succeeded();
    let seen: Vec<_> = received(&messages).collect();
    let invite = seen.iter().find(|text| text.contains("\nINVITE ")).unwrap();
    assert!(invite.contains("\nINVITE sip:+447700900456@10.10.10.2:5060 SIP/2.0"), "{invite}");
    // asha.rao's outbound_did, of the organisation Asha Clinics.
    for name in ["From", "P-Asserted-Identity"] {
        assert!(header(invite, name).contains("sip:+918065978003@"), "{name} in {invite}");
    }
    // The carrier's side never sees the endpoint's name, and the PBX never sees another name than its own.
    assert!(seen.iter().all(|text| !text.contains("org_a1b2c3d4_1001")), "{messages}");
    for response in received(&caller) {
        assert!(header(response, "From").contains("sip:org_a1b2c3d4_1001@"), "{response}");
    }
}

#[test]
fn w11_an_invite_of_1500_bytes_arrives_whole() {
    let site = Site::up(4);
    let callee = site.callee("call", Node::Staging, 1);
    let sent = site.caller("large", Node::Nuc, Calls::one(STAGING_DID)).succeeded();
    let messages = callee.succeeded();
    let of = |messages: &str, part: &str| {
        let found = messages.split("\n-----").find(|text| text.contains(part) && text.contains("\nINVITE ")).unwrap();
        found[found.find("\nINVITE ").unwrap()..].to_owned()
    };
    let (sent, arrived) = (of(&sent, "message sent"), of(&messages, "message received"));
    assert!(arrived.len() >= 1_500, "only {} bytes arrived:\n{arrived}", arrived.len());
    let body = |message: &str| message[message.find("\nv=0").unwrap()..].trim_end().replace('\r', "");
    assert_eq!(body(&sent), body(&arrived));
}

/// A way to look: sngrep reads what tcpdump has captured of a call on all interfaces.
#[test]
fn sngrep_reads_the_labs_capture() {
    let site = Site::up(5);
    let tap = site.capture(Node::Prod, "any");
    let callee = site.callee("call", Node::Prod, 1);
    site.caller("call", Node::Nuc, Calls::one(PROD_DID)).succeeded();
    callee.succeeded();
    until(
        || "the BYE in the capture".to_owned(),
        SETUP,
        || tap.so_far().packets.iter().any(|packet| packet.payload.starts_with(b"BYE ")),
    );
    // Without a terminal, sngrep reads the file, writes the calls that it found, and ends.
    let out = site.lab.path("calls.pcap");
    let arguments = ["-N", "-q", "-I", tap.path().to_str().unwrap(), "-O", out.to_str().unwrap()];
    site.lab.ran(Node::Prod, "sngrep", &arguments).unwrap();
    let read = lab::Capture::read(&out).unwrap();
    assert!(read.packets.iter().any(|packet| packet.payload.starts_with(b"INVITE ")), "{read:?}");
}

/// The PBX beside the proxy, on the tunnel's address: its calls come by the loopback interface, whatever interface has the
/// address, over UDP and over TCP.
#[test]
fn the_pbx_on_the_proxys_own_machine_calls_out() {
    let site = Site::up(12);
    let callee = site.callee("call", Node::Nuc, 2);
    for transport in ["u1", "t1"] {
        let mode = ["-t", transport];
        site.caller("call", Node::Prod, Calls { more: &mode, ..Calls::one("+447700900200") }).succeeded();
    }
    let messages = callee.succeeded();
    let line = "\nINVITE sip:+447700900200@10.10.10.2:5060 SIP/2.0";
    assert_eq!(messages.matches(line).count(), 2, "{messages}");
}
