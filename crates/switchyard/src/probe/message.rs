//! What a probe looks like on the wire: one OPTIONS, sent once.

use proxy::Peer;
use proxy::targets::PROBE_BRANCH;
use std::io::Write;
use std::net::SocketAddr;

/// Bytes of a probe's branch.
pub(super) const BRANCH_BYTES: usize = PROBE_BRANCH.len() + 32;

/// A branch of this chance: 128 bits, in hexadecimal.
pub(super) fn branch(chance: &[u8; 16]) -> [u8; BRANCH_BYTES] {
    let mut branch = [0; BRANCH_BYTES];
    let mut rest = branch.as_mut_slice();
    // There is room for all of it: the length is counted above.
    let _written = write!(rest, "{PROBE_BRANCH}{:032x}", u128::from_be_bytes(*chance));
    branch
}

/// The OPTIONS to a peer from our socket at `own` (RFC 3261 11.1).
pub(super) fn options(peer: &Peer, own: SocketAddr, branch: &[u8; BRANCH_BYTES]) -> Vec<u8> {
    options_to(peer, "", own, branch)
}

/// The same for a number there. `user` is the number as it is written toward the peer, and an `@` behind it.
pub(super) fn options_to(peer: &Peer, user: &str, own: SocketAddr, branch: &[u8; BRANCH_BYTES]) -> Vec<u8> {
    let branch = String::from_utf8_lossy(branch);
    let call_id = branch.strip_prefix(PROBE_BRANCH).unwrap_or_default();
    let tag = call_id.get(..8).unwrap_or_default();
    let (to, transport) = (peer.address, peer.transport.via_token());
    format!(
        "OPTIONS sip:{user}{to} SIP/2.0\r\n\
         Via: SIP/2.0/{transport} {own};branch={branch};rport\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:switchyard@{own}>;tag={tag}\r\n\
         To: <sip:{user}{to}>\r\n\
         Call-ID: {call_id}@{}\r\n\
         CSeq: 1 OPTIONS\r\n\
         User-Agent: Switchyard\r\n\
         Content-Length: 0\r\n\r\n",
        own.ip()
    )
    .into_bytes()
}

/// The OPTIONS to a peer from our socket at `own`, with a header in it that makes it so many bytes long, where it is shorter.
pub(crate) fn probe_of_bytes(peer: &Peer, own: SocketAddr, chance: &[u8; 16], bytes: usize) -> Vec<u8> {
    let plain = options(peer, own, &branch(chance));
    let (name, end) = ("Subject: ", "\r\n");
    let missing = bytes.saturating_sub(plain.len() + name.len() + end.len());
    let text = String::from_utf8_lossy(&plain);
    let (head, rest) = text.split_once("Content-Length:").unwrap_or((&text, ""));
    format!("{head}{name}{}{end}Content-Length:{rest}", "-".repeat(missing)).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proxy::{ListenerId, Transport};
    use rsip::prelude::{HeadersExt, UntypedHeader};

    /// Held against another parser than ours.
    #[test]
    fn a_probe_is_a_well_formed_options() {
        for (address, own) in [("10.10.10.3:5080", "10.10.10.1:5060"), ("[fd00:10::3]:5080", "[fd00:10::1]:5060")] {
            let peer = Peer {
                transport: Transport::Tcp,
                address: address.parse().unwrap(),
                listener: ListenerId(0),
                by_size: None,
            };
            let branch = branch(&[0xab; 16]);
            let bytes = options(&peer, own.parse().unwrap(), &branch);
            let mut index = sip::Index::default();
            let sip::Parsed::Request(request) = sip::parse(&bytes, &mut index) else { panic!("it does not parse") };
            assert_eq!(request.via().branch, Some(&branch[..]));
            assert_eq!(request.max_forwards(), Some(70));
            if address.starts_with('1') {
                let other = rsip::Request::try_from(bytes.clone()).unwrap();
                assert_eq!(other.method, rsip::Method::Options);
                assert_eq!(other.cseq_header().unwrap().value(), "1 OPTIONS");
                assert_eq!(other.uri.to_string(), format!("sip:{address}"));
            }
            let bytes = options_to(&peer, "+918065978002@", own.parse().unwrap(), &branch);
            let sip::Parsed::Request(request) = sip::parse(&bytes, &mut index) else { panic!("it does not parse") };
            assert!(bytes.starts_with(format!("OPTIONS sip:+918065978002@{address} SIP/2.0").as_bytes()));
            assert_eq!(request.via().branch, Some(&branch[..]));
        }
    }
}
