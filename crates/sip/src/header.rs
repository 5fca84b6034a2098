//! Header names (IANA: SIP Header Fields), long and compact, in any case, and where a header stands.

use crate::span::Span;

/// One header: its lines, folds included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Which header it is.
    pub name: Name,
    /// The name as it was written.
    pub name_span: Span,
    /// The value without the white space around it; folds inside it stay.
    pub value: Span,
    /// From the first byte of the name to just after the last CRLF.
    pub line: Span,
}

/// The headers that some part of the product looks at; every other one is [`Name::Other`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[expect(missing_docs, reason = "each is the header of its name")]
#[repr(u8)]
pub enum Name {
    Via,
    From,
    To,
    CallId,
    CSeq,
    Contact,
    MaxForwards,
    Route,
    RecordRoute,
    ContentLength,
    ContentType,
    ProxyRequire,
    Require,
    Supported,
    Unsupported,
    ProxyAuthorization,
    ProxyAuthenticate,
    WwwAuthenticate,
    Authorization,
    RetryAfter,
    Timestamp,
    Expires,
    SessionExpires,
    MinSe,
    PAssertedIdentity,
    PPreferredIdentity,
    RemotePartyId,
    Privacy,
    Diversion,
    HistoryInfo,
    Reason,
    UserAgent,
    Server,
    Date,
    ReferTo,
    ReferredBy,
    Event,
    Subject,
    Replaces,
    /// Any other token; its bytes stand in the message.
    Other,
}

impl Name {
    /// Reads a name in any case, long or compact (RFC 3261 7.3.3).
    pub fn from_bytes(bytes: &[u8]) -> Name {
        if let [letter] = bytes {
            return Name::from_compact(*letter);
        }
        let Some(first) = bytes.first() else { return Name::Other };
        let (name, long): (Name, &[u8]) = match (bytes.len(), first | 0x20) {
            (2, b't') => (Name::To, b"To"),
            (3, b'v') => (Name::Via, b"Via"),
            (4, b'c') => (Name::CSeq, b"CSeq"),
            (4, b'd') => (Name::Date, b"Date"),
            (4, b'f') => (Name::From, b"From"),
            (5, b'e') => (Name::Event, b"Event"),
            (5, b'r') => (Name::Route, b"Route"),
            (6, b'm') => (Name::MinSe, b"Min-SE"),
            (6, b'r') => (Name::Reason, b"Reason"),
            (6, b's') => (Name::Server, b"Server"),
            (7, b'c') if bytes.get(1).is_some_and(|byte| byte | 0x20 == b'a') => (Name::CallId, b"Call-ID"),
            (7, b'c') => (Name::Contact, b"Contact"),
            (7, b'e') => (Name::Expires, b"Expires"),
            (7, b'p') => (Name::Privacy, b"Privacy"),
            (7, b'r') => (Name::Require, b"Require"),
            (7, b's') => (Name::Subject, b"Subject"),
            (8, b'r') if bytes.get(2).is_some_and(|byte| byte | 0x20 == b'f') => (Name::ReferTo, b"Refer-To"),
            (8, b'r') => (Name::Replaces, b"Replaces"),
            (9, b'd') => (Name::Diversion, b"Diversion"),
            (9, b's') => (Name::Supported, b"Supported"),
            (9, b't') => (Name::Timestamp, b"Timestamp"),
            (10, b'u') => (Name::UserAgent, b"User-Agent"),
            (11, b'r') if bytes.get(2).is_some_and(|byte| byte | 0x20 == b't') => (Name::RetryAfter, b"Retry-After"),
            (11, b'r') => (Name::ReferredBy, b"Referred-By"),
            (11, b'u') => (Name::Unsupported, b"Unsupported"),
            (12, b'c') => (Name::ContentType, b"Content-Type"),
            (12, b'h') => (Name::HistoryInfo, b"History-Info"),
            (12, b'm') => (Name::MaxForwards, b"Max-Forwards"),
            (12, b'r') => (Name::RecordRoute, b"Record-Route"),
            (13, b'a') => (Name::Authorization, b"Authorization"),
            (13, b'p') => (Name::ProxyRequire, b"Proxy-Require"),
            (14, b'c') => (Name::ContentLength, b"Content-Length"),
            (15, b'r') => (Name::RemotePartyId, b"Remote-Party-ID"),
            (15, b's') => (Name::SessionExpires, b"Session-Expires"),
            (16, b'w') => (Name::WwwAuthenticate, b"WWW-Authenticate"),
            (18, b'p') => (Name::ProxyAuthenticate, b"Proxy-Authenticate"),
            (19, b'p') if bytes.get(1).is_some_and(|byte| byte | 0x20 == b'r') => {
                (Name::ProxyAuthorization, b"Proxy-Authorization")
            }
            (19, b'p') => (Name::PAssertedIdentity, b"P-Asserted-Identity"),
            (20, b'p') => (Name::PPreferredIdentity, b"P-Preferred-Identity"),
            _ => return Name::Other,
        };
        if bytes == long || bytes.eq_ignore_ascii_case(long) { name } else { Name::Other }
    }

    const fn from_compact(letter: u8) -> Name {
        match letter | 0x20 {
            b'v' => Name::Via,
            b'f' => Name::From,
            b't' => Name::To,
            b'i' => Name::CallId,
            b'm' => Name::Contact,
            b'l' => Name::ContentLength,
            b'c' => Name::ContentType,
            b'k' => Name::Supported,
            b's' => Name::Subject,
            b'x' => Name::SessionExpires,
            b'b' => Name::ReferredBy,
            b'r' => Name::ReferTo,
            b'o' => Name::Event,
            _ => Name::Other,
        }
    }

    /// The long name; empty for [`Name::Other`].
    pub const fn as_str(self) -> &'static str {
        match self {
            Name::Via => "Via",
            Name::From => "From",
            Name::To => "To",
            Name::CallId => "Call-ID",
            Name::CSeq => "CSeq",
            Name::Contact => "Contact",
            Name::MaxForwards => "Max-Forwards",
            Name::Route => "Route",
            Name::RecordRoute => "Record-Route",
            Name::ContentLength => "Content-Length",
            Name::ContentType => "Content-Type",
            Name::ProxyRequire => "Proxy-Require",
            Name::Require => "Require",
            Name::Supported => "Supported",
            Name::Unsupported => "Unsupported",
            Name::ProxyAuthorization => "Proxy-Authorization",
            Name::ProxyAuthenticate => "Proxy-Authenticate",
            Name::WwwAuthenticate => "WWW-Authenticate",
            Name::Authorization => "Authorization",
            Name::RetryAfter => "Retry-After",
            Name::Timestamp => "Timestamp",
            Name::Expires => "Expires",
            Name::SessionExpires => "Session-Expires",
            Name::MinSe => "Min-SE",
            Name::PAssertedIdentity => "P-Asserted-Identity",
            Name::PPreferredIdentity => "P-Preferred-Identity",
            Name::RemotePartyId => "Remote-Party-ID",
            Name::Privacy => "Privacy",
            Name::Diversion => "Diversion",
            Name::HistoryInfo => "History-Info",
            Name::Reason => "Reason",
            Name::UserAgent => "User-Agent",
            Name::Server => "Server",
            Name::Date => "Date",
            Name::ReferTo => "Refer-To",
            Name::ReferredBy => "Referred-By",
            Name::Event => "Event",
            Name::Subject => "Subject",
            Name::Replaces => "Replaces",
            Name::Other => "",
        }
    }

    /// One bit of a set of names.
    pub(crate) const fn bit(self) -> u64 {
        1 << self as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &[Name] = &[
        Name::Via,
        Name::From,
        Name::To,
        Name::CallId,
        Name::CSeq,
        Name::Contact,
        Name::MaxForwards,
        Name::Route,
        Name::RecordRoute,
        Name::ContentLength,
        Name::ContentType,
        Name::ProxyRequire,
        Name::Require,
        Name::Supported,
        Name::Unsupported,
        Name::ProxyAuthorization,
        Name::ProxyAuthenticate,
        Name::WwwAuthenticate,
        Name::Authorization,
        Name::RetryAfter,
        Name::Timestamp,
        Name::Expires,
        Name::SessionExpires,
        Name::MinSe,
        Name::PAssertedIdentity,
        Name::PPreferredIdentity,
        Name::RemotePartyId,
        Name::Privacy,
        Name::Diversion,
        Name::HistoryInfo,
        Name::Reason,
        Name::UserAgent,
        Name::Server,
        Name::Date,
        Name::ReferTo,
        Name::ReferredBy,
        Name::Event,
        Name::Subject,
        Name::Replaces,
    ];

    #[test]
    fn every_name_is_read_in_any_case() {
        for &name in NAMES {
            let long = name.as_str();
            for spelling in [long.to_owned(), long.to_lowercase(), long.to_uppercase()] {
                assert_eq!(Name::from_bytes(spelling.as_bytes()), name, "{spelling}");
            }
            assert_eq!(Name::from_bytes(format!("{long}x").as_bytes()), Name::Other);
            assert_eq!(Name::from_bytes(&long.as_bytes()[..long.len().max(3) - 1]) == name, long.len() < 3, "{long}");
            assert_eq!(Name::from_bytes(long.replacen(|c: char| c != '-', "!", 1).as_bytes()), Name::Other);
        }
    }

    #[test]
    fn compact_names_are_those_of_the_registry() {
        let table = [
            (b'v', Name::Via),
            (b'f', Name::From),
            (b't', Name::To),
            (b'i', Name::CallId),
            (b'm', Name::Contact),
            (b'l', Name::ContentLength),
            (b'c', Name::ContentType),
            (b'k', Name::Supported),
            (b's', Name::Subject),
            (b'x', Name::SessionExpires),
            (b'b', Name::ReferredBy),
            (b'r', Name::ReferTo),
            (b'o', Name::Event),
        ];
        for (letter, name) in table {
            assert_eq!(Name::from_bytes(&[letter]), name);
            assert_eq!(Name::from_bytes(&[letter.to_ascii_uppercase()]), name);
        }
        for letter in 0..=u8::MAX {
            let known = table.iter().any(|(compact, _)| letter.eq_ignore_ascii_case(compact));
            assert_eq!(Name::from_bytes(&[letter]) != Name::Other, known, "{letter}");
        }
    }

    #[test]
    fn every_name_has_a_bit_of_its_own() {
        let all = NAMES.iter().fold(Name::Other.bit(), |set, name| {
            assert_eq!(set & name.bit(), 0, "{name:?}");
            set | name.bit()
        });
        assert_eq!(all.count_ones() as usize, NAMES.len() + 1);
    }
}
