//! Whether a request from a configured peer may be served at all: RFC 3261 16.3, in order of cost.

use crate::keys::KeyRing;
use crate::refusal::Refusal;
use crate::route::Way;
use crate::settings::Settings;
use crate::transaction::key::Branch;
use sip::{Message, Method, Name, Request, Scheme, Uri, Via};

/// Checks a request that no transaction knows. ACK and CANCEL are not checked here: the one is never answered, the
/// other follows its INVITE.
pub(crate) fn check(settings: &Settings, request: &Request<'_>, way: &Way<'_>, loop_part: u64) -> Result<(), Refusal> {
    match way.uri.scheme {
        Scheme::Sip | Scheme::Tel => {}
        Scheme::Sips => return Err(Refusal::SecureScheme),
        Scheme::Other => return Err(Refusal::UnknownScheme),
    }
    if request.max_forwards() == Some(0) && request.method() != Method::Options {
        return Err(Refusal::TooManyHops);
    }
    if request.first(Name::ProxyRequire).is_some() {
        return Err(Refusal::BadExtension);
    }
    if has_been_here(settings, request, loop_part) {
        return Err(Refusal::Loop);
    }
    Ok(())
}

/// The loop part of a branch: a hash of all that decides where the request goes, and never of the method (16.6 item 8).
///
/// The To tag counts only where the request is routed by our token, and Proxy-Require and Proxy-Authorization not at
/// all: without effect on the way, they would only keep the ACK to a refusal and the CANCEL from deriving the INVITE's
/// branch. Via never counts (RFC 5393 4.2.1).
pub(crate) fn loop_part(keys: &KeyRing, key_id: Option<u8>, request: &Request<'_>, way: &Way<'_>) -> u64 {
    let bytes = request.bytes();
    let number = request.cseq().number.to_le_bytes();
    let to_tag = if way.token.is_some() { request.to_tag().unwrap_or_default() } else { &[] };
    let mut routes = request.list(Name::Route).map(|item| item.span.of(bytes));
    let (first, last) = (routes.next().unwrap_or_default(), routes.last().unwrap_or_default());
    let from_tag = request.from_tag().unwrap_or_default();
    let parts: [&[u8]; 7] = [request.uri().of(bytes), first, last, from_tag, to_tag, request.call_id(), &number];
    keys.loop_hash(key_id, &parts).unwrap_or_default()
}

/// A Via of ours with the same loop part: the request came back unchanged (16.3 item 4). With another: it spirals.
fn has_been_here(settings: &Settings, request: &Request<'_>, loop_part: u64) -> bool {
    let bytes = request.bytes();
    let is_same = |via: &Via<'_>| {
        let ours = via.branch.and_then(Branch::parse).is_some_and(|branch| branch.loop_part == loop_part);
        ours && is_own_via(settings, via)
    };
    let mut others = request.list(Name::Via).skip(1).filter_map(|item| Via::parse(bytes, item.span).ok());
    is_same(request.via()) || others.any(|via| is_same(&via))
}

/// True when a Via's sent-by is one of our addresses (18.1.2).
pub(crate) fn is_own_via(settings: &Settings, via: &Via<'_>) -> bool {
    settings.is_us_at(via.host, via.port)
}

/// The extensions of Proxy-Require: we have none, so all of them are unsupported.
pub(crate) fn unsupported(request: &Message<'_>) -> Vec<u8> {
    let mut tags = Vec::new();
    for item in request.list(Name::ProxyRequire) {
        if !tags.is_empty() {
            tags.extend_from_slice(b", ");
        }
        tags.extend_from_slice(item.span.of(request.bytes()));
    }
    tags
}

impl Settings {
    /// True when a URI's host and port mean this proxy: a listener's address, or one of our names at a listener's port.
    /// A `maddr` parameter counts in place of the host (16.4).
    pub fn is_us(&self, uri: &Uri<'_>) -> bool {
        let host = uri.param("maddr").flatten().unwrap_or_else(|| uri.host_bytes());
        uri.scheme != Scheme::Tel && self.is_us_at(host, uri.port)
    }

    /// The same for a host and a port as they stand on the wire; no port means 5060.
    pub fn is_us_at(&self, host: &[u8], port: Option<u16>) -> bool {
        let port = port.unwrap_or(5060);
        if let Some(ip) = sip::host_ip(host) {
            return self.is_own_address(ip, port);
        }
        let name = host.strip_suffix(b".").unwrap_or(host);
        self.listeners.iter().any(|listener| listener.address.port() == port)
            && self.own_names.iter().any(|own| own.as_bytes().eq_ignore_ascii_case(name))
    }
}
