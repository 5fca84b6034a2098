//! Header names (IANA: SIP Header Fields), long and compact, in any case, and where a header stands.

use crate::limits;
use crate::span::Span;
use core::net::IpAddr;

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
    /// Of Via, Route and Record-Route: the value is one entry, as its count says. Of others it is not known.
    pub(crate) is_single: bool,
}

impl Header {
    /// What stands in a table where no header was found yet.
    pub(crate) const NONE: Header = {
        let nothing = Span { start: 0, end: 0 };
        Header { name: Name::Other, name_span: nothing, value: nothing, line: nothing, is_single: false }
    };
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
        let (first, third) = match *bytes {
            [] => return Name::Other,
            [letter] => return Name::from_compact(letter),
            [first, _] => (first, b':'),
            [first, _, third, ..] => (first, third),
        };
        let name = candidate(bytes.len(), first | 0x20, third | 0x20);
        let long = name.as_str().as_bytes();
        if long == bytes || long.eq_ignore_ascii_case(bytes) { name } else { Name::Other }
    }

    /// Reads a long name of up to fifteen bytes with its colon right behind it, all at once; the length is the name's.
    /// `None` says that [`Name::from_bytes`] must look closer.
    #[inline(always)]
    pub(crate) fn at_start(line: &[u8; 16]) -> Option<(Name, u32)> {
        let whole = u128::from_le_bytes(*line);
        let (low, high) = (low_half(whole), low_half(whole >> 64));
        let mut next = usize::from(FIRST.get(place(low)).copied()?);
        loop {
            let key = KEYS.get(next)?;
            if (low ^ key.low) & key.low_mask | (high ^ key.high) & key.high_mask == 0 {
                return Some((key.name, key.len));
            }
            next = usize::from(key.next);
        }
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

/// Which names occur in a message, and where among its headers each stands first and last. It is kept from message to message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places {
    /// The set of the names, a [`Name::bit`] each. What the others say of a name that is not in it means nothing.
    present: u64,
    first: [u8; PLACED],
    last: [u8; PLACED],
    /// What the scan has seen of the second Via entry.
    pub(crate) second_via: SecondVia,
}

/// The second Via entry of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SecondVia {
    /// There may be one; whoever asks must look.
    Unread,
    /// It is sound, and this is the address in its `received`.
    Usual(Option<IpAddr>),
}

const PLACED: usize = Name::Other as usize + 1;
/// Every place among the headers of a message fits.
const _: () = assert!(limits::HEADERS == 1 << u8::BITS);

impl Places {
    pub(crate) const NONE: Places =
        Places { present: 0, first: [0; PLACED], last: [0; PLACED], second_via: SecondVia::Unread };

    /// Forgets the message before.
    #[inline(always)]
    pub(crate) fn clear(&mut self) {
        self.present = 0;
        self.second_via = SecondVia::Unread;
    }

    /// Adds the header at a place; true when one of its name stands before it.
    #[inline(always)]
    pub(crate) fn add(&mut self, name: Name, place: usize) -> bool {
        let [place, ..] = place.to_le_bytes();
        let is_repeated = self.present & name.bit() != 0;
        if let Some(last) = self.last.get_mut(name as usize) {
            *last = place;
        }
        if !is_repeated {
            self.present |= name.bit();
            if let Some(first) = self.first.get_mut(name as usize) {
                *first = place;
            }
        }
        is_repeated
    }

    /// The first header of a name.
    #[inline(always)]
    pub(crate) fn first<'h>(&self, name: Name, headers: &'h [Header]) -> Option<&'h Header> {
        if self.present & name.bit() == 0 {
            return None;
        }
        headers.get(usize::from(*self.first.get(name as usize)?))
    }

    /// The headers from the first to the last of a name, others among them; none when none has it.
    #[inline(always)]
    pub(crate) fn of<'h>(&self, name: Name, headers: &'h [Header]) -> &'h [Header] {
        if self.present & name.bit() == 0 {
            return &[];
        }
        match (self.first.get(name as usize), self.last.get(name as usize)) {
            (Some(first), Some(last)) => headers.get(usize::from(*first)..=usize::from(*last)).unwrap_or_default(),
            _ => headers,
        }
    }
}

/// Every name but [`Name::Other`], in order.
const ALL: [Name; 39] = [
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

/// The one name that a name of `len` bytes with these letters, in lower case, may be. The third byte of `To` is its colon.
#[inline]
fn candidate(len: usize, first: u8, third: u8) -> Name {
    SLOTS.get(slot(len, first, third)).copied().unwrap_or(Name::Other)
}

/// A place among [`SLOTS`] that no two names share.
const fn slot(len: usize, first: u8, third: u8) -> usize {
    (4 * len + 37 * first as usize + third as usize) % SLOTS_MAX
}

const SLOTS_MAX: usize = 128;

static SLOTS: [Name; SLOTS_MAX] = {
    let mut slots = [Name::Other; SLOTS_MAX];
    let mut rest: &mut [Name] = &mut slots;
    let mut at = 0;
    while let Some((first, others)) = rest.split_first_mut() {
        *first = name_in(at);
        at += 1;
        rest = others;
    }
    slots
};

/// The name that belongs into a slot.
const fn name_in(at: usize) -> Name {
    let mut rest: &[Name] = &ALL;
    while let [name, others @ ..] = rest {
        let third = match name.as_str().as_bytes() {
            [_, _, third, ..] => third.to_ascii_lowercase(),
            _ => b':',
        };
        if let [first, ..] = name.as_str().as_bytes()
            && slot(name.as_str().len(), first.to_ascii_lowercase(), third) == at
        {
            return *name;
        }
        rest = others;
    }
    Name::Other
}

/// A name as it stands at the beginning of a line: its bytes in lower case, its colon last, the first one lowest.
struct Key {
    low: u64,
    high: u64,
    /// The bits that count: those of the name and its colon, less the one that tells a letter's case.
    low_mask: u64,
    high_mask: u64,
    len: u32,
    name: Name,
    /// The next one with the same beginning, a place in [`KEYS`]; [`NO_KEY`] after the last.
    next: u8,
}

const NO_KEY: u8 = u8::MAX;
/// Places that names are told apart by at first.
const PLACES: usize = 128;

/// The place of a line's first three bytes in any case: every name has as many, its colon included.
#[inline(always)]
const fn place(low: u64) -> usize {
    let folded = (low | 0x20_2020) & 0xff_ffff;
    let [_, _, _, mixed, ..] = folded.wrapping_mul(0x9e37_79b1).to_le_bytes();
    mixed as usize % PLACES
}

/// The first name of each place.
static FIRST: [u8; PLACES] = {
    let mut firsts = [NO_KEY; PLACES];
    let mut rest: &mut [u8] = &mut firsts;
    let mut at = 0;
    while let Some((first, others)) = rest.split_first_mut() {
        *first = next_at(at, &ALL, 0);
        at += 1;
        rest = others;
    }
    firsts
};

/// Each name of up to fifteen bytes; longer ones stand in no chain.
static KEYS: [Key; ALL.len()] = {
    let mut keys = [const { key(Name::Other) }; ALL.len()];
    let mut rest: &mut [Key] = &mut keys;
    let mut names: &[Name] = &ALL;
    let mut at = 0;
    while let (Some((first, others)), [name, more @ ..]) = (rest.split_first_mut(), names) {
        at += 1;
        *first = key(*name);
        first.next = next_at(place(first.low), more, at);
        rest = others;
        names = more;
    }
    keys
};

/// The first of these names that belongs into a place; `at` is where they begin among [`ALL`].
const fn next_at(wanted: usize, mut names: &[Name], mut at: u8) -> u8 {
    while let [name, more @ ..] = names {
        if name.as_str().len() < 16 && place(key(*name).low) == wanted {
            return at;
        }
        at += 1;
        names = more;
    }
    NO_KEY
}

const fn key(name: Name) -> Key {
    let (mut bytes, mut mask) = (b':' as u128, u8::MAX as u128);
    let mut len = 0;
    let mut rest = name.as_str().as_bytes();
    while let [others @ .., last] = rest {
        bytes = bytes << 8 | last.to_ascii_lowercase() as u128;
        mask = mask << 8 | if last.is_ascii_alphabetic() { 0xdf } else { 0xff };
        len += 1;
        rest = others;
    }
    let (low, high) = (low_half(bytes), low_half(bytes >> 64));
    let (low_mask, high_mask) = (low_half(mask), low_half(mask >> 64));
    Key { low, high, low_mask, high_mask, len, name, next: NO_KEY }
}

#[expect(clippy::cast_possible_truncation, reason = "the other half is not wanted")]
const fn low_half(value: u128) -> u64 {
    value as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_stands_at_its_own_place() {
        for (place, &name) in ALL.iter().enumerate() {
            assert_eq!(name as usize, place, "{name:?}");
            assert!(SLOTS.contains(&name), "{name:?} shares its slot");
        }
        assert_eq!(Name::Other as usize, ALL.len());
    }

    #[test]
    fn every_name_is_read_in_any_case() {
        for &name in &ALL {
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
    fn a_name_at_the_start_of_a_line_is_the_same_name() {
        for &name in &ALL {
            let long = name.as_str();
            for spelling in [long.to_owned(), long.to_lowercase(), long.to_uppercase()] {
                let start = |text: String| Name::at_start(format!("{text:<16}").as_bytes().first_chunk().unwrap());
                let expected = (long.len() < 16).then_some((name, u32::try_from(long.len()).unwrap()));
                assert_eq!(start(format!("{spelling}: x")), expected, "{spelling}");
                assert_eq!(start(format!("{spelling}::")), expected, "{spelling}");
                assert_eq!(start(format!("{spelling} : x")), None);
                assert_eq!(start(format!("{spelling}x:")), None);
                assert_eq!(start(format!(" {spelling}:")), None);
            }
        }
        for line in ["x: a", "call\rid: a", "max\u{b}forwards: a", "vi@: a", ":", "no colon in here"] {
            let padded = format!("{line:<16}");
            assert_eq!(Name::at_start(padded.as_bytes().first_chunk().unwrap()), None, "{line}");
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
        let all = ALL.iter().fold(Name::Other.bit(), |set, name| {
            assert_eq!(set & name.bit(), 0, "{name:?}");
            set | name.bit()
        });
        assert_eq!(all.count_ones() as usize, ALL.len() + 1);
    }
}
