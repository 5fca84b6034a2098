//! What our Record-Route carries, so that a dialog needs no memory: the two peers, the direction and the environment,
//! under a MAC that is bound to the dialog's Call-ID and initial From tag.
//!
//! The next hop of an in-dialog request is the peer named here, never something that the request says. A token of
//! another dialog, of an unknown key or version, or a changed one, does not verify.

use crate::dispatch::Direction;
use crate::flow::Transport;
use crate::keys::{KeyRing, Use, same_mac};
use crate::limits::TOKEN_BYTES;
use crate::untagged::Untagged;
use directory::Environment;
use std::net::{IpAddr, SocketAddr};

/// The token format's version: its first byte.
const VERSION: u8 = 1;
const MAC_BYTES: usize = 16;
/// The flag of a token that carries the caller's names.
const HAS_NAMES: u8 = 8;
/// The flag of a token whose original has the tag not at its end: the place follows the original.
const HAS_TAG_PLACE: u8 = 16;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Where a peer is reached, as the token keeps it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hop {
    /// How it is spoken to.
    pub transport: Transport,
    /// Where it listens.
    pub address: SocketAddr,
}

/// What a token is bound to: another dialog's requests do not verify it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dialog<'a> {
    /// The dialog's Call-ID.
    pub call_id: &'a [u8],
    /// The From tag of the request that began it; empty where it had none.
    pub from_tag: &'a [u8],
}

/// What a dialog's token says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Token {
    /// Which way the call was set up.
    pub direction: Direction,
    /// The environment on the PBX's side.
    pub environment: Option<Environment>,
    /// The side that sent the first request.
    pub caller: Hop,
    /// The side that received it.
    pub callee: Hop,
}

/// How the caller is named on both sides of a call whose caller ID we changed; never the tag.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Names {
    /// As the caller's side wrote it, with all parameters.
    pub original: Untagged,
    /// As the callee's side was shown it: display name and URI.
    pub shown: Untagged,
}

/// A token that verified in a request or response of its dialog.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verified {
    /// What it says.
    pub token: Token,
    /// Which side the request comes from.
    pub side: Side,
    /// The id of the key that signed it.
    pub key_id: u8,
    /// The caller's two names, where we changed the caller ID.
    pub names: Option<Names>,
}

/// Which side of the dialog a request comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// From the caller's side: it goes to the callee's peer.
    Caller,
    /// From the callee's side: it goes to the caller's peer.
    Callee,
}

impl Token {
    /// Appends the token as a URI's user part: letters, digits, `-` and `_`; 44 bytes for two IPv4 peers, and 4 for each
    /// 3 of the caller's names. An original longer than [`NAME_BYTES`](crate::limits::NAME_BYTES) is left out: it is not restored, and what is shown
    /// still stands in its place toward the callee.
    pub fn write(&self, names: Option<&Names>, keys: &KeyRing, dialog: Dialog<'_>, out: &mut Vec<u8>) {
        let Dialog { call_id, from_tag } = dialog;
        let names = names.filter(|names| names.shown.fits_token());
        let tag_at = names.and_then(Names::tag_place);
        let mut raw = Plain::new();
        let flags = self.flags() | names.map_or(0, |_| HAS_NAMES) | tag_at.map_or(0, |_| HAS_TAG_PLACE);
        raw.push(&[VERSION, keys.active_id(), flags]);
        raw.hop(&self.caller);
        raw.hop(&self.callee);
        if let Some(names) = names {
            raw.name(names.original_kept());
            raw.push(tag_at.as_slice());
            raw.name(&names.shown.text);
        }
        let mac = keys.sign(Use::Token, &[raw.bytes(), call_id, from_tag]);
        raw.push(&mac);
        encode(raw.bytes(), out);
    }

    /// Reads and verifies a token in a request of its dialog; the tag that verifies tells the side. `None`: not ours,
    /// not of this dialog, or changed.
    pub fn verify(text: &[u8], keys: &KeyRing, call_id: &[u8], from_tag: &[u8], to_tag: &[u8]) -> Option<Verified> {
        let mut space = [0; TOKEN_BYTES];
        let raw = decode(text, &mut space)?;
        let (signed, mac) = raw.split_at_checked(raw.len().checked_sub(MAC_BYTES)?)?;
        let mac: &[u8; MAC_BYTES] = mac.try_into().ok()?;
        let (token, names) = Token::read(signed)?;
        let key_id = *signed.get(1)?;
        for (tag, side) in [(from_tag, Side::Caller), (to_tag, Side::Callee)] {
            let wanted = keys.sign_with(key_id, Use::Token, &[signed, call_id, tag])?;
            if same_mac(&wanted, mac) {
                return Some(Verified { token, side, key_id, names });
            }
        }
        None
    }

    /// True when `text` has the form of a token, whether it verifies or not.
    pub fn looks_like_one(text: &[u8]) -> bool {
        // As a rule it is a short name.
        if text.len() <= MAC_BYTES {
            return false;
        }
        let mut space = [0; TOKEN_BYTES];
        decode(text, &mut space).is_some_and(|raw| raw.len() > MAC_BYTES && raw.first() == Some(&VERSION))
    }

    /// The hop that a request from `side` goes to.
    pub fn next_hop(&self, side: Side) -> Hop {
        match side {
            Side::Caller => self.callee,
            Side::Callee => self.caller,
        }
    }

    fn flags(&self) -> u8 {
        let direction = u8::from(self.direction == Direction::Outbound);
        let environment = match self.environment {
            None => 0,
            Some(Environment::Prod) => 1,
            Some(Environment::Staging) => 2,
            Some(Environment::Oss) => 3,
        };
        direction | (environment << 1)
    }

    fn read(signed: &[u8]) -> Option<(Token, Option<Names>)> {
        let [version, _, flags, rest @ ..] = signed else { return None };
        if *version != VERSION || *flags > (7 | HAS_NAMES | HAS_TAG_PLACE) {
            return None;
        }
        let (caller, rest) = read_hop(rest)?;
        let (callee, rest) = read_hop(rest)?;
        let (names, rest) = match flags & HAS_NAMES {
            0 => (None, rest),
            _ => {
                let (original, rest) = read_name(rest)?;
                let (tag_at, rest) = match flags & HAS_TAG_PLACE {
                    0 => (None, rest),
                    _ => rest.split_first().map(|(at, rest)| (Some(usize::from(*at)), rest))?,
                };
                let (shown, rest) = read_name(rest)?;
                let original = Untagged { text: original.to_vec(), tag_at };
                (Some(Names { original, shown: shown.to_vec().into() }), rest)
            }
        };
        let token = Token {
            direction: if flags & 1 == 1 { Direction::Outbound } else { Direction::Inbound },
            environment: match (flags & 7) >> 1 {
                1 => Some(Environment::Prod),
                2 => Some(Environment::Staging),
                3 => Some(Environment::Oss),
                _ => None,
            },
            caller,
            callee,
        };
        rest.is_empty().then_some((token, names))
    }
}

impl Names {
    /// The original, or nothing where it is too long for a token.
    fn original_kept(&self) -> &[u8] {
        if self.original.fits_token() { &self.original.text } else { &[] }
    }

    /// Where the original's tag belongs, if not at its end.
    fn tag_place(&self) -> Option<u8> {
        let at = self.original.tag_at.filter(|_| self.original.fits_token())?;
        u8::try_from(at).ok()
    }
}

/// A token's bytes before they become text. Fixed in size: minting allocates nothing.
struct Plain {
    space: [u8; TOKEN_BYTES],
    len: usize,
}

impl Plain {
    fn new() -> Plain {
        Plain { space: [0; TOKEN_BYTES], len: 0 }
    }

    fn push(&mut self, bytes: &[u8]) {
        if let Some(room) = self.space.get_mut(self.len..self.len + bytes.len()) {
            room.copy_from_slice(bytes);
            self.len += bytes.len();
        }
    }

    fn name(&mut self, name: &[u8]) {
        self.push(&[u8::try_from(name.len()).unwrap_or(0)]);
        self.push(name);
    }

    fn hop(&mut self, hop: &Hop) {
        let stream = u8::from(hop.transport == Transport::Tcp);
        match hop.address.ip() {
            IpAddr::V4(ip) => {
                self.push(&[stream]);
                self.push(&ip.octets());
            }
            IpAddr::V6(ip) => {
                self.push(&[stream | 2]);
                self.push(&ip.octets());
            }
        }
        self.push(&hop.address.port().to_be_bytes());
    }

    fn bytes(&self) -> &[u8] {
        self.space.get(..self.len).unwrap_or_default()
    }
}

fn read_name(raw: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = raw.split_first()?;
    rest.split_at_checked(usize::from(*len))
}

fn read_hop(raw: &[u8]) -> Option<(Hop, &[u8])> {
    let (kind, rest) = raw.split_first()?;
    let (ip, rest) = match kind {
        0 | 1 => {
            let (octets, rest) = rest.split_first_chunk::<4>()?;
            (IpAddr::from(*octets), rest)
        }
        2 | 3 => {
            let (octets, rest) = rest.split_first_chunk::<16>()?;
            (IpAddr::from(*octets), rest)
        }
        _ => return None,
    };
    let (port, rest) = rest.split_first_chunk::<2>()?;
    let transport = if kind & 1 == 1 { Transport::Tcp } else { Transport::Udp };
    Some((Hop { transport, address: SocketAddr::new(ip, u16::from_be_bytes(*port)) }, rest))
}

/// base64url without padding (RFC 4648 5): every character may stand in a URI's user part unescaped.
fn encode(raw: &[u8], out: &mut Vec<u8>) {
    let letter = |bits: u32, at: u32| ALPHABET.get(((bits >> (18 - 6 * at)) & 63) as usize).copied().unwrap_or(b'A');
    out.reserve(raw.len().div_ceil(3) * 4);
    let (whole, rest) = raw.as_chunks::<3>();
    for [first, second, third] in whole {
        let bits = u32::from_be_bytes([0, *first, *second, *third]);
        out.extend_from_slice(&[letter(bits, 0), letter(bits, 1), letter(bits, 2), letter(bits, 3)]);
    }
    match rest {
        [first, second] => {
            let bits = u32::from_be_bytes([0, *first, *second, 0]);
            out.extend_from_slice(&[letter(bits, 0), letter(bits, 1), letter(bits, 2)]);
        }
        [first] => {
            let bits = u32::from_be_bytes([0, *first, 0, 0]);
            out.extend_from_slice(&[letter(bits, 0), letter(bits, 1)]);
        }
        _ => {}
    }
}

/// Reads base64url into `space`; `None` when it is none, is too long, or has stray bits at its end.
fn decode<'s>(text: &[u8], space: &'s mut [u8; TOKEN_BYTES]) -> Option<&'s [u8]> {
    let (whole, rest) = text.as_chunks::<4>();
    let len = whole.len() * 3;
    // Letters outside the alphabet, and stray bits: looked at once, at the end.
    let (mut wrong, mut is_stray) = (0, false);
    for (letters, place) in whole.iter().zip(space.get_mut(..len)?.as_chunks_mut::<3>().0) {
        let [_, bytes @ ..] = bits_of(*letters, &mut wrong).to_be_bytes();
        *place = bytes;
    }
    let kept = match *rest {
        [] => 0,
        [first, second] => {
            let [_, byte, stray, _] = bits_of([first, second, b'A', b'A'], &mut wrong).to_be_bytes();
            *space.get_mut(len)? = byte;
            is_stray = stray != 0;
            1
        }
        [first, second, third] => {
            let [_, bytes @ .., stray] = bits_of([first, second, third, b'A'], &mut wrong).to_be_bytes();
            space.get_mut(len..len + 2)?.copy_from_slice(&bytes);
            is_stray = stray != 0;
            2
        }
        _ => return None,
    };
    if wrong <= SIX_ONES && !is_stray { space.get(..len + kept) } else { None }
}

/// The 24 bits of four letters; makes `wrong` more than [`SIX_ONES`] where one is none of the alphabet.
#[inline(always)]
fn bits_of(letters: [u8; 4], wrong: &mut u8) -> u32 {
    let [first, second, third, fourth] =
        letters.map(|letter| SIX_BITS.get(usize::from(letter)).copied().unwrap_or(NO_LETTER));
    *wrong |= first | second | third | fourth;
    u32::from(first) << 18 | u32::from(second) << 12 | u32::from(third) << 6 | u32::from(fourth)
}

const NO_LETTER: u8 = 0xFF;
const SIX_ONES: u8 = 63;

/// The six bits of each letter.
static SIX_BITS: [u8; 256] = {
    let mut table = [NO_LETTER; 256];
    let mut rest: &mut [u8] = &mut table;
    let mut letter: u8 = 0;
    while let Some((first, others)) = rest.split_first_mut() {
        *first = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => NO_LETTER,
        };
        letter = letter.wrapping_add(1);
        rest = others;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Key;
    use crate::limits::NAME_BYTES;
    use proptest::prelude::*;

    fn ring(id: u8) -> KeyRing {
        KeyRing::new(&Key { id, secret: [id; 32] }, &[])
    }

    fn token() -> Token {
        Token {
            direction: Direction::Inbound,
            environment: Some(Environment::Staging),
            caller: Hop { transport: Transport::Udp, address: "10.10.10.2:5060".parse().unwrap() },
            callee: Hop { transport: Transport::Tcp, address: "10.10.10.3:5080".parse().unwrap() },
        }
    }

    fn text() -> Vec<u8> {
        let mut out = Vec::new();
        token().write(None, &ring(1), Dialog { call_id: b"call", from_tag: b"tag" }, &mut out);
        out
    }

    #[test]
    fn the_tag_that_verifies_tells_the_side() {
        let text = text();
        assert_eq!(text.len(), 44);
        let seen = |from: &[u8], to: &[u8]| Token::verify(&text, &ring(1), b"call", from, to);
        assert_eq!(seen(b"tag", b"other"), verified(token(), Side::Caller, None));
        assert_eq!(seen(b"other", b"tag"), verified(token(), Side::Callee, None));
    }

    fn verified(token: Token, side: Side, names: Option<Names>) -> Option<Verified> {
        Some(Verified { token, side, key_id: 1, names })
    }

    #[test]
    fn names_are_carried_by_value_and_left_out_when_too_long() {
        let names = Names {
            original: b"\"Asha\" <sip:org_1_1001@10.10.10.1>".to_vec().into(),
            shown: b"<sip:+918065978002@x>".to_vec().into(),
        };
        let mut out = Vec::new();
        let dialog = Dialog { call_id: b"call", from_tag: b"tag" };
        token().write(Some(&names), &ring(1), dialog, &mut out);
        assert_eq!(
            Token::verify(&out, &ring(1), b"call", b"tag", b""),
            verified(token(), Side::Caller, Some(names.clone()))
        );
        let kept = Some(Names { original: Untagged::default(), ..names.clone() });
        let long = Names { original: vec![b'x'; NAME_BYTES + 1].into(), ..names };
        let mut out = Vec::new();
        token().write(Some(&long), &ring(1), dialog, &mut out);
        assert_eq!(Token::verify(&out, &ring(1), b"call", b"tag", b""), verified(token(), Side::Caller, kept));
        let original = Untagged { text: vec![b'x'; NAME_BYTES], tag_at: Some(NAME_BYTES) };
        let longest = Names { original, shown: vec![b'y'; NAME_BYTES].into() };
        let hop = Hop { transport: Transport::Tcp, address: "[2001:db8::1]:5060".parse().unwrap() };
        let token = Token { caller: hop, callee: hop, ..token() };
        let mut out = Vec::new();
        token.write(Some(&longest), &ring(1), dialog, &mut out);
        assert_eq!(Token::verify(&out, &ring(1), b"call", b"tag", b""), verified(token, Side::Caller, Some(longest)));
    }

    /// Row SX17: changed, replayed from another dialog, of an unknown key.
    #[test]
    fn a_token_of_elsewhere_does_not_verify() {
        let text = text();
        assert_eq!(Token::verify(&text, &ring(1), b"another call", b"tag", b""), None);
        assert_eq!(Token::verify(&text, &ring(1), b"call", b"x", b"y"), None);
        assert_eq!(Token::verify(&text, &ring(2), b"call", b"tag", b""), None);
        for at in 0..text.len() {
            let mut changed = text.clone();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(Token::verify(&changed, &ring(1), b"call", b"tag", b""), None, "byte {at}");
        }
    }

    #[test]
    fn a_token_of_two_ipv6_peers_reads_back() {
        let hop =
            |port| Hop { transport: Transport::Udp, address: SocketAddr::new("2001:db8::1".parse().unwrap(), port) };
        let token = Token { caller: hop(1), callee: hop(2), environment: None, direction: Direction::Outbound };
        let mut out = Vec::new();
        token.write(None, &ring(1), Dialog { call_id: b"c", from_tag: b"" }, &mut out);
        assert_eq!(Token::verify(&out, &ring(1), b"c", b"", b"t"), verified(token, Side::Caller, None));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_harm(raw in proptest::collection::vec(any::<u8>(), 0..800)) {
            prop_assert_eq!(Token::verify(&raw, &ring(1), b"call", b"tag", b""), None);
        }

        /// One text for one value: a changed letter, or stray bits at the end, is another value or none.
        #[test]
        fn base64url_has_one_spelling(text in "[A-Za-z0-9_-]{0,40}") {
            let mut space = [0; TOKEN_BYTES];
            if let Some(raw) = decode(text.as_bytes(), &mut space) {
                let mut again = Vec::new();
                encode(raw, &mut again);
                prop_assert_eq!(again, text.into_bytes());
            }
        }

        #[test]
        fn base64url_reads_back(raw in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut text = Vec::new();
            encode(&raw, &mut text);
            let mut space = [0; TOKEN_BYTES];
            prop_assert_eq!(decode(&text, &mut space), Some(raw.as_slice()));
        }
    }
}
