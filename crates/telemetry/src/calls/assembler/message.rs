//! What a record needs of a message.

use memchr::memmem;
use sip::{Index, Message, Method, NameAddr, Parsed, Uri};

/// An INVITE, as far as a record needs it.
pub(super) struct Invite {
    pub(super) call_id: String,
    /// The user part of the request-URI.
    pub(super) called: String,
    /// The user part of From; the whole URI where it has none.
    pub(super) caller: String,
    pub(super) in_dialog: bool,
}

impl Invite {
    /// Reads one; `None` for anything else.
    pub(super) fn of(bytes: &[u8], index: &mut Index) -> Option<Invite> {
        let Parsed::Request(request) = sip::parse(bytes, index) else { return None };
        if request.method() != Method::Invite {
            return None;
        }
        Some(Invite {
            call_id: text(request.call_id()),
            called: user_of(request.uri().of(bytes)),
            caller: caller_of(request.message()),
            in_dialog: request.to_tag().is_some(),
        })
    }
}

/// The Call-ID of a message. Nearly every peer writes the long name at the beginning of a line; the others are parsed.
pub(super) fn call_id_of<'b>(bytes: &'b [u8], index: &mut Index) -> Option<&'b [u8]> {
    let head = memmem::find(bytes, b"\r\n\r\n").and_then(|end| bytes.get(..end)).unwrap_or(bytes);
    let Some(at) = memmem::find(head, b"\nCall-ID:") else {
        return match sip::parse(bytes, index) {
            Parsed::Request(request) => find(bytes, request.call_id()),
            Parsed::Response(response) => find(bytes, response.call_id()),
            _ => None,
        };
    };
    let value = head.get(at + b"\nCall-ID:".len()..)?;
    let end = memchr::memchr2(b'\r', b'\n', value).unwrap_or(value.len());
    Some(value.get(..end)?.trim_ascii())
}

/// The same bytes, of the message's own life.
fn find<'b>(bytes: &'b [u8], part: &[u8]) -> Option<&'b [u8]> {
    let at = memmem::find(bytes, part)?;
    bytes.get(at..at + part.len())
}

fn caller_of(message: &Message<'_>) -> String {
    let from = message.from().of(message.bytes());
    NameAddr::parse(from).map(|from| user_of(from.uri_bytes())).unwrap_or_default()
}

fn user_of(uri: &[u8]) -> String {
    match Uri::parse(uri) {
        Ok(read) => read.user_bytes().map_or_else(|| text(uri), text),
        Err(_) => text(uri),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_id_is_found_under_either_name_and_not_in_a_body() {
        let message = |header: &str, body: &str| {
            format!(
                "INVITE sip:918065978000@10.10.10.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.10.10.2;branch=z9hG4bK1\r\n\
                 From: <sip:447700900001@10.10.10.2>;tag=1\r\nTo: <sip:918065978000@10.10.10.1>\r\n{header}\r\n\
                 CSeq: 1 INVITE\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
        };
        let mut index = Index::new();
        for header in ["Call-ID: a1@gw", "Call-ID:a1@gw", "i: a1@gw", "call-id : a1@gw"] {
            let bytes = message(header, "\r\nCall-ID: another\r\n").into_bytes();
            assert_eq!(call_id_of(&bytes, &mut index), Some(b"a1@gw".as_slice()), "{header}");
            let invite = Invite::of(&bytes, &mut index).unwrap();
            assert_eq!((&*invite.called, &*invite.caller), ("918065978000", "447700900001"));
        }
        assert_eq!(call_id_of(b"\r\n\r\n", &mut index), None);
    }
}
