//! What a record needs of a message.

use super::text;
use crate::calls::Word;
use memchr::memmem;
use sip::{Index, Message, Method, Name, NameAddr, Parsed, Uri};

/// Reads messages that the core has let pass: by the lines that nearly every peer writes, and whole where one does not.
pub(super) struct Reader {
    index: Index,
}

/// Names as nearly every peer writes them.
const CALL_ID: &[u8] = b"Call-ID:";
const FROM: &[u8] = b"From:";
/// A name as a line may begin, in any case.
const ASSERTED: &[u8] = b"P-Asserted-Identity";

/// An INVITE that was refused before dispatch, as far as a record needs it.
pub(super) struct Invite {
    pub(super) call_id: Word,
    /// The user part of the request-URI.
    pub(super) called: Word,
    /// The user part of From; the whole URI where it has none.
    pub(super) caller: Word,
    pub(super) in_dialog: bool,
}

impl Reader {
    pub(super) fn new() -> Reader {
        Reader { index: Index::new() }
    }

    /// The Call-ID of a message.
    pub(super) fn call_id<'b>(&mut self, bytes: &'b [u8]) -> Option<&'b [u8]> {
        if let Some(value) = line(CALL_ID, bytes) {
            return Some(value);
        }
        match sip::parse(bytes, &mut self.index) {
            Parsed::Request(request) => find(bytes, request.call_id()),
            Parsed::Response(response) => find(bytes, response.call_id()),
            _ => None,
        }
    }

    /// The user part of From; the whole URI where it has none. With the place of From's value, if it stands on one line.
    pub(super) fn caller(&mut self, bytes: &[u8]) -> Option<(Word, Option<usize>)> {
        match line(FROM, bytes) {
            Some(from) => {
                let caller = user_of(NameAddr::parse(from).ok()?.uri_bytes());
                let place = from.as_ptr().addr().checked_sub(bytes.as_ptr().addr());
                Some((caller, place))
            }
            None => self.invite(bytes).map(|invite| (invite.caller, None)),
        }
    }

    /// The same of a message that nearly always has this caller: then its URI is not read.
    pub(super) fn caller_like(&mut self, bytes: &[u8], known: &Word) -> Option<Word> {
        let is_known = |from: &[u8]| from.strip_prefix(b"<").is_some_and(|uri| has_user(uri, known));
        match line(FROM, bytes) {
            Some(from) if is_known(from) => Some(known.clone()),
            _ => self.caller(bytes).map(|(caller, _)| caller),
        }
    }

    /// The user part of an INVITE's request-URI, which is nearly always this one.
    pub(super) fn called_like(bytes: &[u8], known: &Word) -> Option<Word> {
        match bytes.strip_prefix(b"INVITE ") {
            Some(uri) if has_user(uri, known) => Some(known.clone()),
            _ => Reader::called(bytes),
        }
    }

    /// The user part of an INVITE's request-URI.
    fn called(bytes: &[u8]) -> Option<Word> {
        let uri = bytes.strip_prefix(b"INVITE ")?;
        Some(user_of(uri.get(..memchr::memchr(b' ', uri)?)?))
    }

    /// The user part of the first P-Asserted-Identity (RFC 3325), the whole URI where it has none. A message that has no such
    /// line is not read.
    pub(super) fn asserted(&mut self, bytes: &[u8]) -> Option<Word> {
        let is_one = |at: usize| bytes.get(at + 1..).is_some_and(|line| has_name(line, ASSERTED));
        memchr::memchr_iter(b'\n', bytes).find(|at| is_one(*at))?;
        let Parsed::Request(request) = sip::parse(bytes, &mut self.index) else { return None };
        let value = request.list(Name::PAssertedIdentity).next()?.span.of(request.message().bytes());
        NameAddr::parse(value).ok().map(|asserted| user_of(asserted.uri_bytes()))
    }

    /// Reads an INVITE; `None` for anything else.
    pub(super) fn invite(&mut self, bytes: &[u8]) -> Option<Invite> {
        let Parsed::Request(request) = sip::parse(bytes, &mut self.index) else { return None };
        if request.method() != Method::Invite {
            return None;
        }
        Some(Invite {
            call_id: text(request.call_id()),
            called: user_of(request.uri().of(request.message().bytes())),
            caller: caller_of(request.message()),
            in_dialog: request.to_tag().is_some(),
        })
    }
}

/// The value of the header line that begins with this name, when it stands on one line. A look at each line's first byte costs
/// less than a search for the name, which is nearly always one of the first ten.
fn line<'b>(name: &[u8], bytes: &'b [u8]) -> Option<&'b [u8]> {
    let mut rest = bytes;
    loop {
        rest = rest.get(memchr::memchr(b'\n', rest)? + 1..)?;
        let first = rest.first();
        if first == name.first()
            && let Some(value) = rest.strip_prefix(name)
        {
            let end = memchr::memchr2(b'\r', b'\n', value).unwrap_or(value.len());
            let is_folded = matches!(value.get(end + 2), Some(b' ' | b'\t'));
            return Some(value.get(..end)?.trim_ascii()).filter(|_| !is_folded);
        }
        if matches!(first, Some(b'\r' | b'\n') | None) {
            // The head ends.
            return None;
        }
    }
}

/// Whether a line begins with this name, in any case.
fn has_name(line: &[u8], name: &[u8]) -> bool {
    line.get(..name.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(name))
}

/// Whether a URI that begins here is spelled as usual and has this user part, as it reads in it.
fn has_user(uri: &[u8], user: &Word) -> bool {
    let behind = uri.strip_prefix(b"sip:").and_then(|uri| uri.strip_prefix(user.as_bytes()));
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+';
    !user.is_empty() && user.bytes().all(is_plain) && behind.is_some_and(|rest| rest.starts_with(b"@"))
}

/// The same bytes, of the message's own life.
fn find<'b>(bytes: &'b [u8], part: &[u8]) -> Option<&'b [u8]> {
    let at = memmem::find(bytes, part)?;
    bytes.get(at..at + part.len())
}

fn caller_of(message: &Message<'_>) -> Word {
    let from = message.from().of(message.bytes());
    NameAddr::parse(from).map(|from| user_of(from.uri_bytes())).unwrap_or_default()
}

fn user_of(uri: &[u8]) -> Word {
    match Uri::parse(uri) {
        Ok(read) => read.user_bytes().map_or_else(|| text(uri), text),
        Err(_) => text(uri),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(headers: &str, body: &str) -> Vec<u8> {
        let text = format!(
            "INVITE sip:918065978000@10.10.10.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.10.10.2;branch=z9hG4bK1\r\n\
             To: <sip:918065978000@10.10.10.1>\r\n{headers}\r\nCSeq: 1 INVITE\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        text.into_bytes()
    }

    #[test]
    fn a_call_id_is_found_under_either_name_and_not_in_a_body() {
        const FROM: &str = "From: \"a\" <sip:447700900001@10.10.10.2>;tag=1";
        let mut reader = Reader::new();
        for header in ["Call-ID: a1@gw", "Call-ID:a1@gw", "i: a1@gw", "call-id : a1@gw"] {
            for body in ["\r\nCall-ID: another\r\n", "\nCall-ID: another\r\n", "Call-ID: another\r\n"] {
                let bytes = message(&format!("{FROM}\r\n{header}"), body);
                assert_eq!(reader.call_id(&bytes), Some(b"a1@gw".as_slice()), "{header}");
                for before in [&b""[..], b"\r\n\r\n"] {
                    let invite = reader.invite(&[before, &bytes].concat()).unwrap();
                    assert_eq!((&*invite.called, &*invite.caller), ("918065978000", "447700900001"));
                }
            }
        }
        assert_eq!(reader.call_id(b"\r\n\r\n"), None);
    }

    fn caller(reader: &mut Reader, bytes: &[u8]) -> Option<Word> {
        reader.caller(bytes).map(|(caller, _)| caller)
    }

    #[test]
    fn both_ends_are_read_as_a_parser_reads_them() {
        let mut reader = Reader::new();
        for from in [
            "From: \"Asha\" <sip:447700900001@10.10.10.2>;tag=1",
            "From:<sip:447700900001@10.10.10.2>;tag=1",
            "f: sip:447700900001@10.10.10.2;tag=1",
            "FROM: <sip:447700900001@10.10.10.2>;tag=1",
            "From: \"A long name\"\r\n <sip:447700900001@10.10.10.2>;tag=1",
        ] {
            let bytes = message(&format!("{from}\r\nCall-ID: a1@gw"), "From: <sip:1@x>\r\n");
            assert_eq!(caller(&mut reader, &bytes).as_deref(), Some("447700900001"), "{from}");
            for known in ["447700900001", "44770090000", "4477009000012", "", "sip:447700900001"] {
                assert_eq!(reader.caller_like(&bytes, &known.into()), caller(&mut reader, &bytes), "{from} {known}");
            }
            for known in ["918065978000", "91806597800", "", "918065978000@10.10.10.1 SIP/2.0"] {
                assert_eq!(Reader::called_like(&bytes, &known.into()), Reader::called(&bytes), "{known}");
            }
            assert_eq!(Reader::called(&bytes).as_deref(), Some("918065978000"));
        }
        let password = message("From: <sip:sip:anonymous.invalid@x>;tag=1\r\nCall-ID: a1@gw", "");
        assert_eq!(reader.caller_like(&password, &"sip:anonymous.invalid".into()), caller(&mut reader, &password));
        let anonymous = message("From: <sip:anonymous.invalid>;tag=1\r\nCall-ID: a1@gw", "");
        assert_eq!(caller(&mut reader, &anonymous).as_deref(), Some("sip:anonymous.invalid"));
    }
}
