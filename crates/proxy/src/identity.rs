//! What a message says of its caller, read; and what the other side is shown, written: RFC 3325 and the headers that
//! carriers read beside it. The policy is in [`crate::caller_id`].

mod hidden;

use crate::caller_id::{Claims, Presented, Shown, number_of, profile_of, usable};
use crate::dialog_token::Names;
use crate::flow::PartyId;
use crate::settings::{DisplayRule, HeaderRule, HostRule, Listener, Profile, Settings};
use crate::untagged::Untagged;
use directory::{Directory, OrganisationId};
use hidden::{has_long_run, has_name, hides_number, holds_number, write_params};
use sip::{Header, Message, Name, NameAddr, Number, Uri};

/// What an anonymous From is (RFC 3323 4.1.1.3).
const ANONYMOUS: &[u8] = b"\"Anonymous\" <sip:anonymous@anonymous.invalid>";
/// A longer display name is left out, and a longer host gives way to our address: so both names fit into a token.
const DISPLAY_BYTES: usize = 64;
const HOST_BYTES: usize = 80;

/// How the identity headers of a message leave. What is not named leaves as it came.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct IdentityEdits<'a> {
    /// The header that the PBX sets: it goes, always.
    pub(crate) endpoint_header: Option<&'a [u8]>,
    /// What stands in From; the tag stays.
    pub(crate) from: Option<&'a Untagged>,
    /// The same for To.
    pub(crate) to: Option<&'a Untagged>,
    /// The headers that name a caller, toward a trunk with a profile.
    pub(crate) shown: Option<&'a ShownHeaders>,
    /// Every header that names a caller beside From goes: their sender is not believed, or the receiver
    /// may not see them.
    pub(crate) hides_asserted: bool,
    /// History-Info goes: Privacy withholds it from the receiver (RFC 7044 10.1.2).
    pub(crate) hides_history: bool,
}

/// A request's From, taken apart once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sender<'a> {
    value: &'a [u8],
    display: Option<&'a [u8]>,
    uri: Option<Uri<'a>>,
}

impl<'a> Sender<'a> {
    pub(crate) fn read(message: &Message<'a>) -> Sender<'a> {
        let value = message.from().of(message.bytes());
        let name_addr = NameAddr::parse(value).ok();
        Sender {
            value,
            display: name_addr.and_then(|name_addr| Some(name_addr.display?.of(value))),
            uri: name_addr.and_then(|name_addr| Uri::parse(name_addr.uri.of(value)).ok()),
        }
    }

    fn is_anonymous(&self) -> bool {
        self.uri.is_some_and(|uri| {
            uri.host_bytes().eq_ignore_ascii_case(b"anonymous.invalid")
                || uri.user_bytes().is_some_and(|user| user.eq_ignore_ascii_case(b"anonymous"))
        })
    }
}

/// The headers that name a caller, as one trunk is shown them.
#[derive(Clone, Debug, Default)]
pub(crate) struct ShownHeaders {
    /// P-Asserted-Identity's value; `None`: the header goes.
    pub(crate) asserted: Option<Vec<u8>>,
    /// Lines of P-Preferred-Identity, Remote-Party-ID, Diversion and History-Info that stay, by their place in the
    /// message, with their new value.
    pub(crate) kept: Vec<(u32, Vec<u8>)>,
}

/// One outbound call's identity, ready to be written.
#[derive(Clone, Debug)]
pub(crate) struct Dressed {
    pub(crate) names: Names,
    pub(crate) headers: ShownHeaders,
}

impl Dressed {
    /// The same for a CANCEL or ACK that passes without its INVITE: it names nobody.
    pub(crate) fn unnamed(self) -> Dressed {
        let names = Names { shown: ANONYMOUS.to_vec().into(), ..self.names };
        Dressed { names, headers: ShownHeaders::default() }
    }
}

/// Reads what a request says of its caller.
pub fn claims_of<'a>(settings: &Settings, message: &Message<'a>) -> Claims<'a> {
    claims_from(settings, message, &Sender::read(message))
}

/// The same, where From has been taken apart already.
pub(crate) fn claims_from<'a>(settings: &Settings, message: &Message<'a>, sender: &Sender<'a>) -> Claims<'a> {
    let bytes = message.bytes();
    let mut asserted = message.list(Name::PAssertedIdentity).map(|item| user_of(item.span.of(bytes)));
    Claims {
        endpoint: endpoint_header(settings).and_then(|name| {
            message.headers().iter().find(|header| is_named(message, header, name)).map(|header| message.value(header))
        }),
        asserted: [asserted.next().flatten(), asserted.next().flatten()],
        from_user: sender.uri.and_then(|uri| uri.user_bytes()),
        diverted_by: diverted_by(message),
        anonymous: wants_privacy(message) || sender.is_anonymous(),
        emergency: false,
    }
}

/// The number that calls, by the trust rules of RFC 3325: P-Asserted-Identity's first number of a party that is
/// believed, else From's. A claim all the same: a caller number can be forged.
pub fn caller_of(settings: &Settings, party: PartyId, message: &Message<'_>) -> Option<Number> {
    let bytes = message.bytes();
    let number = |user: Option<&[u8]>| number_of(settings, user?);
    let mut asserted = message.list(Name::PAssertedIdentity).map(|item| user_of(item.span.of(bytes)));
    let believed = if is_untrusted(settings, party) { None } else { asserted.find_map(number) };
    believed.or_else(|| number(user_of(message.from().of(bytes))))
}

/// The name of the header in which a PBX names the calling endpoint.
pub(crate) fn endpoint_header(settings: &Settings) -> Option<&[u8]> {
    settings.caller_id.endpoint_header.as_deref().map(str::as_bytes)
}

/// True when a header line has this name, in any case.
pub(crate) fn is_named(message: &Message<'_>, header: &Header, name: &[u8]) -> bool {
    header.name == Name::Other && header.name_span.of(message.bytes()).eq_ignore_ascii_case(name)
}

/// Privacy: id, or one of the kinds that imply it (RFC 3323 4.2, RFC 3325 9.3).
pub(crate) fn wants_privacy(message: &Message<'_>) -> bool {
    has_privacy(message, &[b"id", b"user", b"header"])
}

/// Privacy: history, or one of the kinds that cover History-Info too (RFC 7044 10.1.2).
pub(crate) fn withholds_history(message: &Message<'_>) -> bool {
    has_privacy(message, &[b"history", b"header", b"session"])
}

fn has_privacy(message: &Message<'_>, wanted: &[&[u8]]) -> bool {
    message.all(Name::Privacy).any(|header| {
        let mut kinds = message.value(header).split(|c| matches!(c, b';' | b',' | b' ' | b'\t' | b'\r' | b'\n'));
        kinds.any(|kind| wanted.iter().any(|wanted| kind.eq_ignore_ascii_case(wanted)))
    })
}

fn user_of(value: &[u8]) -> Option<&[u8]> {
    let name_addr = NameAddr::parse(value).ok()?;
    Uri::parse(name_addr.uri.of(value)).ok()?.user_bytes()
}

/// The number that sent a call on: the first Diversion, else the last but one History-Info.
fn diverted_by<'a>(message: &Message<'a>) -> Option<&'a [u8]> {
    let bytes = message.bytes();
    let diversion = message.list(Name::Diversion).next().and_then(|item| user_of(item.span.of(bytes)));
    diversion.or_else(|| {
        let entries = message.list(Name::HistoryInfo).count();
        message.list(Name::HistoryInfo).nth(entries.checked_sub(2)?).and_then(|item| user_of(item.span.of(bytes)))
    })
}

/// Writes an outbound call's identity in the trunk's form. `None` where the trunk leaves identity alone.
pub(crate) fn dress(
    settings: &Settings,
    directory: &Directory,
    message: &Message<'_>,
    sender: &Sender<'_>,
    presented: &Presented<'_>,
    leaves: &Listener,
) -> Option<Dressed> {
    let trunk = presented.trunk?;
    let profile = profile_of(settings, trunk)?;
    let original = Untagged::of(sender.value, message.from_tag());
    let (did, in_from) = match presented.shown {
        Shown::Did(did, _) => (did, did),
        Shown::Forwarded { caller, did, .. } => (did, caller),
        Shown::Nobody => {
            let names = Names { original, shown: ANONYMOUS.to_vec().into() };
            return Some(Dressed { names, headers: ShownHeaders::default() });
        }
        Shown::Pass | Shown::Refuse(_) => return None,
    };
    let anonymous = wants_privacy(message) || sender.is_anonymous();
    let untrusted = is_untrusted(settings, trunk);
    let organisation = presented.organisation;
    let writer = Writer { settings, directory, profile, leaves, sender, organisation, untrusted };
    let shown = match (anonymous, profile.in_from) {
        (true, _) => ANONYMOUS.to_vec(),
        (false, true) => writer.name_addr(in_from),
        (false, false) => writer.name_addr_without_number(),
    };
    let is_same = !anonymous && profile.in_from && did == in_from;
    let hides = anonymous && untrusted;
    let headers = match hides {
        true => ShownHeaders::default(),
        false => ShownHeaders {
            // As a rule both headers name the same: it is written once.
            asserted: profile.in_asserted.then(|| if is_same { shown.clone() } else { writer.name_addr(did) }),
            kept: writer.kept(message, did),
        },
    };
    Some(Dressed { names: Names { original, shown: shown.into() }, headers })
}

/// The identity headers of a request inside a dialog toward a trunk: what the dialog's token says the callee was shown,
/// where the request names a caller at all.
pub(crate) fn dress_in_dialog(
    settings: &Settings,
    trunk: PartyId,
    message: &Message<'_>,
    shown: &[u8],
) -> ShownHeaders {
    // What stands in From may be a first caller's number, or none at all: neither is ours to assert.
    let is_did = |profile: &Profile| profile.in_from && profile.in_asserted && !profile.pass_forwarded_caller;
    let asserts = profile_of(settings, trunk).is_some_and(is_did)
        && message.first(Name::PAssertedIdentity).is_some()
        && shown != ANONYMOUS;
    ShownHeaders { asserted: asserts.then(|| shown.to_vec()), ..ShownHeaders::default() }
}

/// True for a party whose word on identity does not count.
pub(crate) fn is_untrusted(settings: &Settings, party: PartyId) -> bool {
    settings.party(party).is_some_and(|party| party.identity.is_untrusted)
}

/// Writes numbers as one trunk wants them.
struct Writer<'a> {
    settings: &'a Settings,
    directory: &'a Directory,
    profile: &'a Profile,
    leaves: &'a Listener,
    /// The received From, whose display name and host may stay.
    sender: &'a Sender<'a>,
    organisation: Option<OrganisationId>,
    /// The trunk is not told what Privacy withholds.
    untrusted: bool,
}

impl Writer<'_> {
    /// `"Name" <sip:NUMBER@HOST;user=phone>`, by the profile.
    fn name_addr(&self, number: Number) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        self.display(&mut out);
        self.uri(number, &mut out);
        out
    }

    /// `<sip:NUMBER@HOST;user=phone>`
    fn uri(&self, number: Number, out: &mut Vec<u8>) {
        out.extend_from_slice(b"<sip:");
        self.settings.numbering.write(number, self.profile.number, out);
        out.push(b'@');
        self.host(out);
        if self.profile.user_phone {
            out.extend_from_slice(b";user=phone");
        }
        out.push(b'>');
    }

    /// From of a profile that shows no number there.
    fn name_addr_without_number(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(48);
        self.display(&mut out);
        out.extend_from_slice(b"<sip:");
        self.host(&mut out);
        out.push(b'>');
        out
    }

    fn display(&self, out: &mut Vec<u8>) {
        match self.profile.display {
            DisplayRule::Remove => {}
            DisplayRule::Keep => {
                let fits = |display: &&[u8]| display.len() <= DISPLAY_BYTES && !holds_number(display);
                if let Some(display) = self.sender.display.filter(fits) {
                    out.extend_from_slice(display);
                    out.push(b' ');
                }
            }
            DisplayRule::Organisation => {
                let name = self.organisation.map(|id| self.directory.organisation(id).name);
                if let Some(name) = name.filter(|name| name.len() * 2 <= DISPLAY_BYTES) {
                    quote(name, out);
                    out.push(b' ');
                }
            }
        }
    }

    fn host(&self, out: &mut Vec<u8>) {
        match &self.profile.host {
            HostRule::Ours => sip::write_address(self.leaves.address, out),
            HostRule::Domain(domain) => out.extend_from_slice(domain.as_bytes()),
            HostRule::AsIs => {
                let uri = self.sender.uri.filter(|uri| !uri.host.is_empty());
                let says = |uri: &Uri<'_>| {
                    let is_nowhere = uri.host_bytes().eq_ignore_ascii_case(b"anonymous.invalid");
                    let host = uri.hostport.of(uri.bytes);
                    !is_nowhere && host.len() <= HOST_BYTES && !has_long_run(host)
                };
                match uri.filter(says) {
                    Some(uri) => out.extend_from_slice(uri.hostport.of(uri.bytes)),
                    None => sip::write_address(self.leaves.address, out),
                }
            }
        }
    }

    /// The other headers that name a caller, by the profile: what names a DID of the organisation may stay.
    fn kept(&self, message: &Message<'_>, did: Number) -> Vec<(u32, Vec<u8>)> {
        let bytes = message.bytes();
        let profile = self.profile;
        let mut kept = Vec::new();
        for (name, rule) in [
            (Name::PPreferredIdentity, profile.preferred),
            (Name::RemotePartyId, profile.remote_party),
            (Name::Diversion, profile.diversion),
            (Name::HistoryInfo, profile.history),
        ] {
            let names_caller = matches!(name, Name::PPreferredIdentity | Name::RemotePartyId);
            let mut written_once = false;
            for header in message.all(name).filter(|_| rule != HeaderRule::Remove) {
                let line = header.line;
                let items = message.list(name).filter(|item| item.header.line == line);
                let mut value: Vec<u8> = Vec::new();
                for element in items.map(|item| item.span.of(bytes)) {
                    let written = match (rule, names_caller) {
                        (HeaderRule::Rewrite, true) if written_once => None,
                        (HeaderRule::Rewrite, true) => Some(self.naming(element, did)),
                        _ => self.own(element, rule, did),
                    };
                    let Some(written) = written else { continue };
                    written_once = true;
                    if !value.is_empty() {
                        value.extend_from_slice(b", ");
                    }
                    value.extend_from_slice(&written);
                }
                if !value.is_empty() {
                    kept.push((line.start, value));
                }
            }
        }
        kept
    }

    /// The caller's DID in the place of whatever number the element names; its parameters stay.
    fn naming(&self, element: &[u8], did: Number) -> Vec<u8> {
        let mut out = self.name_addr(did);
        if let Ok(name_addr) = NameAddr::parse(element) {
            write_params(name_addr.params.of(element), &mut out);
        }
        out
    }

    /// An identity whose number is the organisation's own, or the DID that is shown; `None` for any other.
    fn own(&self, element: &[u8], rule: HeaderRule, did: Number) -> Option<Vec<u8>> {
        let name_addr = NameAddr::parse(element).ok()?;
        let uri = Uri::parse(name_addr.uri.of(element)).ok()?;
        let user = uri.user_bytes()?;
        let number = number_of(self.settings, user)?;
        let own = self.organisation.is_some_and(|id| usable(self.directory, id, number).is_ok());
        if !own && number != did {
            return None;
        }
        let asks_privacy = has_name(element, b"privacy");
        if asks_privacy && self.untrusted {
            return None;
        }
        let at = element.windows(user.len()).position(|window| window == user)?;
        let (head, tail) = (element.get(..at)?, element.get(at + user.len()..)?);
        let params = user.iter().position(|c| *c == b';').and_then(|at| user.get(at..)).unwrap_or_default();
        let hides = |text: &[u8]| has_long_run(text) || hides_number(text, uri.hostport.of(uri.bytes));
        if rule == HeaderRule::Keep && !holds_number(head) && !holds_number(params) && !hides(tail) {
            return Some(element.to_vec());
        }
        // What is written anew has no headers in its URI, and so would no longer ask.
        if asks_privacy {
            return None;
        }
        let mut out = Vec::with_capacity(element.len());
        self.uri(number, &mut out);
        write_params(name_addr.params.of(element), &mut out);
        Some(out)
    }
}

/// A quoted string of RFC 3261 25.1.
fn quote(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for c in text.chars().filter(|c| !c.is_control()) {
        if matches!(c, '"' | '\\') {
            out.push(b'\\');
        }
        let mut buffer = [0; 4];
        out.extend_from_slice(c.encode_utf8(&mut buffer).as_bytes());
    }
    out.push(b'"');
}

/// What becomes of one header line.
pub(crate) enum Line<'a> {
    /// It stays.
    Keep,
    /// It goes.
    Remove,
    /// All of it but the tag is replaced.
    Name(&'a Untagged),
    /// Its value is replaced.
    Value(&'a [u8]),
}

impl<'a> IdentityEdits<'a> {
    /// What becomes of this header line. `seen` keeps which headers of one value have been written already.
    pub(crate) fn line(&self, message: &Message<'_>, header: &Header, seen: &mut Seen) -> Line<'a> {
        match header.name {
            Name::From => self.from.map_or(Line::Keep, Line::Name),
            Name::To => self.to.map_or(Line::Keep, Line::Name),
            Name::PAssertedIdentity => self.asserted(&mut seen.asserted),
            Name::HistoryInfo if self.hides_history => Line::Remove,
            // Whoever had the call transferred is no caller of ours to name.
            Name::ReferredBy if self.shown.is_some() || self.hides_asserted => Line::Remove,
            Name::PPreferredIdentity | Name::RemotePartyId | Name::Diversion | Name::HistoryInfo => match self.shown {
                None if self.hides_asserted => Line::Remove,
                None => Line::Keep,
                Some(shown) => {
                    let kept = shown.kept.iter().find(|(at, _)| *at == header.line.start);
                    kept.map_or(Line::Remove, |(_, value)| Line::Value(value))
                }
            },
            Name::Other if self.endpoint_header.is_some_and(|name| is_named(message, header, name)) => Line::Remove,
            _ => Line::Keep,
        }
    }

    fn asserted(&self, seen: &mut bool) -> Line<'a> {
        let Some(shown) = self.shown else {
            return if self.hides_asserted { Line::Remove } else { Line::Keep };
        };
        let first = !std::mem::replace(seen, true);
        match shown.asserted.as_deref().filter(|_| first) {
            Some(value) => Line::Value(value),
            None => Line::Remove,
        }
    }

    /// The headers that the message did not have and the receiver is to see.
    pub(crate) fn write_missing(&self, message: &Message<'_>, out: &mut Vec<u8>) {
        let asserted = self.shown.and_then(|shown| shown.asserted.as_deref());
        if let Some(value) = asserted.filter(|_| message.first(Name::PAssertedIdentity).is_none()) {
            out.extend_from_slice(b"P-Asserted-Identity: ");
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        }
    }

    /// True when nothing changes, whatever headers come.
    pub(crate) fn is_empty(&self) -> bool {
        self.endpoint_header.is_none()
            && self.from.is_none()
            && self.to.is_none()
            && self.shown.is_none()
            && !self.hides_asserted
            && !self.hides_history
    }
}

/// Which headers of one value have been written.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    asserted: bool,
}
