//! The messages of a call, as its two ends write them.

use crate::call::Call;
use crate::plan::{Plan, Road, Transport};
use crate::read::{Few, Read};
use benches::dids;
use std::net::SocketAddrV4;

/// Sixteen digits: slot and generation of a call. Its Call-ID, tags and branches are made of them.
pub(crate) type Id = [u8; 16];

/// Of the caller's Via, up to its own part.
const VIA_PARAMETERS: &[u8] = b";rport;branch=z9hG4bK";
/// The starts of responses, and the end of one without a body.
pub(crate) const OK: &[u8] = b"SIP/2.0 200 OK\r\n";
pub(crate) const RINGING: &[u8] = b"SIP/2.0 180 Ringing\r\n";
pub(crate) const NO_BODY: &[u8] = b"Content-Length: 0\r\n\r\n";
const SDP: &str = "v=0\r\no=- 4711 4711 IN IP4 10.10.10.2\r\ns=-\r\nc=IN IP4 10.10.10.2\r\nt=0 0\r\n\
    m=audio 16384 RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n\
    a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\n";

/// What all calls share, written once.
#[derive(Debug)]
pub(crate) struct Texts {
    numbers: Vec<Number>,
    /// `SIP/2.0/UDP address;rport;branch=z9hG4bK`: the caller's Via up to its own part.
    via: Vec<u8>,
    caller_contact: Vec<u8>,
    /// The Contact of each end as a callee.
    contacts: Vec<Vec<u8>>,
    sdp_tail: Vec<u8>,
}

/// What is written about one number.
#[derive(Debug)]
pub(crate) struct Number {
    /// The URI that is called, without brackets.
    pub(crate) uri: Vec<u8>,
    /// From, up to its tag.
    pub(crate) from: Vec<u8>,
    /// What the callee's From must begin with, or hold: the number that is shown.
    pub(crate) shown: Vec<u8>,
}

/// What requests in a dialog are written of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dialog<'d> {
    pub(crate) records: Few<'d>,
    pub(crate) from: &'d [u8],
    /// The parts of To.
    pub(crate) to: [&'d [u8]; 3],
}

impl<'d> Dialog<'d> {
    /// As a success tells its caller.
    pub(crate) fn of_success(success: &Read<'d>) -> Dialog<'d> {
        Dialog { records: success.records, from: success.from, to: [success.to, b"", b""] }
    }

    /// As it will be when a success answers this INVITE, and reaches its caller as it is sent.
    pub(crate) fn of_invite(invite: &Read<'d>, id: &'d Id) -> Dialog<'d> {
        Dialog { records: invite.records, from: invite.from, to: [invite.to, b";tag=t", id] }
    }
}

/// The id of a call.
pub(crate) fn id(slot: usize, generation: u32) -> Id {
    let value = (slot as u64) << 32 | u64::from(generation);
    let mut shift = 64;
    [0; 16].map(|_: u8| {
        shift -= 4;
        let digit = (value >> shift & 0xf) as u8;
        if digit < 10 { b'0' + digit } else { b'a' + digit - 10 }
    })
}

impl Texts {
    /// The texts of a plan, with the addresses that its ends are bound to.
    pub(crate) fn new(plan: &Plan, ends: &[SocketAddrV4]) -> Texts {
        let transport = match plan.transport {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
        };
        let parameter = match plan.transport {
            Transport::Udp => "",
            Transport::Tcp => ";transport=tcp",
        };
        let caller = ends.get(plan.caller()).copied().unwrap_or(plan.gateway);
        let contact = |end: &SocketAddrV4| format!("sip:pbx@{end}{parameter}").into_bytes();
        Texts {
            numbers: (0..plan.dids).map(|place| Number::of(plan, place, caller)).collect(),
            via: [format!("SIP/2.0/{transport} {caller}").as_bytes(), VIA_PARAMETERS].concat(),
            caller_contact: format!("<sip:caller@{caller}{parameter}>").into_bytes(),
            contacts: ends.iter().map(contact).collect(),
            sdp_tail: format!("Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{SDP}", SDP.len())
                .into_bytes(),
        }
    }

    pub(crate) fn number(&self, place: usize) -> Option<&Number> {
        self.numbers.get(place)
    }

    /// The Contact URI of an end as a callee.
    pub(crate) fn contact(&self, end: usize) -> &[u8] {
        self.contacts.get(end).map_or(b"", Vec::as_slice)
    }

    /// `SIP/2.0/UDP address` of the caller.
    pub(crate) fn sent_by(&self) -> &[u8] {
        self.via.strip_suffix(VIA_PARAMETERS).unwrap_or(&self.via)
    }

    /// Bytes of a success from its Content-Type on.
    pub(crate) fn tail_bytes(&self) -> usize {
        self.sdp_tail.len()
    }

    pub(crate) fn is_sdp(&self, body: &[u8]) -> bool {
        body == SDP.as_bytes()
    }

    pub(crate) fn invite(&self, out: &mut Vec<u8>, number: &Number, id: &Id) {
        put(out, &[b"INVITE ", &number.uri, b" SIP/2.0\r\nVia: ", &self.via, b"i", id]);
        put(out, &[b"\r\nMax-Forwards: 70\r\nFrom: ", &number.from, b";tag=f", id, b"\r\nTo: <", &number.uri]);
        put(out, &[b">\r\nCall-ID: ", id, b"@load\r\nCSeq: 1 INVITE\r\nContact: ", &self.caller_contact]);
        out.extend_from_slice(
            b"\r\nUser-Agent: Example Gateway 4.2\r\nAllow: INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO\r\n\
              Supported: 100rel, timer, replaces\r\n",
        );
        out.extend_from_slice(&self.sdp_tail);
    }

    /// The 180 of a call, from its 200: all of it but the status and the body.
    pub(crate) fn ringing(&self, out: &mut Vec<u8>, success: &[u8]) {
        let all_but_body = success.len().saturating_sub(self.sdp_tail.len());
        let shared = success.get(OK.len()..all_but_body).unwrap_or_default();
        put(out, &[RINGING, shared, NO_BODY]);
    }

    /// ACK to a 200, or BYE: in the dialog of which these are the Record-Routes, From and To. Returns how long the part from
    /// the name of From on is.
    pub(crate) fn in_dialog(&self, out: &mut Vec<u8>, method: &str, of: &Dialog<'_>, callee: usize, id: &Id) -> usize {
        let (part, number): (&[u8], &[u8]) = if method == "ACK" { (b"a", b"1 ") } else { (b"b", b"2 ") };
        put(out, &[method.as_bytes(), b" ", self.contact(callee), b" SIP/2.0\r\nVia: ", &self.via, part, id]);
        for route in of.records.iter().rev() {
            put(out, &[b"\r\nRoute: ", route]);
        }
        out.extend_from_slice(b"\r\nMax-Forwards: 70\r\n");
        let head = out.len();
        put(out, &[b"From: ", of.from]);
        let [to, before_tag, tag] = of.to;
        put(out, &[b"\r\nTo: ", to, before_tag, tag, b"\r\nCall-ID: ", id]);
        put(out, &[b"@load\r\nCSeq: ", number, method.as_bytes(), b"\r\n", NO_BODY]);
        out.len() - head
    }

    /// ACK and BYE of a call.
    pub(crate) fn write_dialog(&self, call: &mut Call, of: &Dialog<'_>, id: &Id) {
        call.ack.clear();
        call.bye.clear();
        self.in_dialog(&mut call.ack, "ACK", of, call.callee.end, id);
        call.from_on = self.in_dialog(&mut call.bye, "BYE", of, call.callee.end, id);
    }

    /// ACK to a refusal: a part of the INVITE's transaction.
    pub(crate) fn ack_refusal(&self, out: &mut Vec<u8>, number: &Number, refusal: &Read<'_>, id: &Id) {
        put(out, &[b"ACK ", &number.uri, b" SIP/2.0\r\nVia: ", &self.via, b"i", id, b"\r\nMax-Forwards: 70\r\nFrom: "]);
        put(out, &[&number.from, b";tag=f", id, b"\r\nTo: ", refusal.to, b"\r\nCall-ID: ", id]);
        out.extend_from_slice(b"@load\r\nCSeq: 1 ACK\r\nContent-Length: 0\r\n\r\n");
    }

    /// A response of the end `callee`. A 200 to an INVITE has a body, every response to one above 100 a Contact and our tag.
    pub(crate) fn response(&self, out: &mut Vec<u8>, status: &str, request: &Read<'_>, callee: usize) {
        put(out, &[b"SIP/2.0 ", status.as_bytes()]);
        lines(out, b"\r\nVia: ", &request.vias);
        lines(out, b"\r\nRecord-Route: ", &request.records);
        put(out, &[b"\r\nFrom: ", request.from, b"\r\nTo: ", request.to]);
        let is_invite = request.method() == b"INVITE";
        if is_invite && !status.starts_with("100") {
            put(out, &[b";tag=t", request.id().map_or(&[], Id::as_slice)]);
        }
        put(out, &[b"\r\nCall-ID: ", request.call_id, b"\r\nCSeq: ", request.cseq]);
        if is_invite && !status.starts_with("100") {
            put(out, &[b"\r\nContact: <", self.contact(callee), b">\r\nServer: Example PBX 20"]);
        }
        out.extend_from_slice(b"\r\n");
        if is_invite && status.starts_with("200") {
            out.extend_from_slice(&self.sdp_tail);
        } else {
            out.extend_from_slice(NO_BODY);
        }
    }
}

impl Number {
    fn of(plan: &Plan, place: u64, caller: SocketAddrV4) -> Number {
        let proxy = plan.proxy;
        let pstn = 447_700_900_000 + place % 1_000;
        let is_inbound = matches!(plan.road, Road::Inbound | Road::Bare | Road::Mirror);
        let called = if is_inbound { dids::dialled(place) } else { format!("+{pstn}") };
        let from = if is_inbound {
            format!("<sip:+{pstn}@{}>", caller.ip())
        } else {
            format!("\"Asha\" <sip:{}@{}>", dids::endpoint(place), caller.ip())
        };
        let shown = match plan.road {
            Road::Outbound => format!("sip:+91{}@", dids::national(place)),
            _ => from.clone(),
        };
        Number { uri: format!("sip:{called}@{proxy}").into_bytes(), from: from.into_bytes(), shown: shown.into_bytes() }
    }
}

fn put(out: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        out.extend_from_slice(part);
    }
}

fn lines(out: &mut Vec<u8>, name: &[u8], values: &Few<'_>) {
    for value in values.iter() {
        put(out, &[name, value]);
    }
}
