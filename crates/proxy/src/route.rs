//! Route preprocessing: RFC 3261 16.4. What a request says of its way, before anything is believed.

use crate::dialog_token::Token;
use crate::limits::OWN_ROUTES;
use crate::settings::Settings;
use sip::{Name, NameAddr, Request, Scheme, Uri};

/// A request's way, read and not yet believed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way<'a> {
    /// The request-URI; where a strict router put ours there, the one that it displaced.
    pub(crate) uri: Uri<'a>,
    /// The dialog token in our Route, or in our request-URI.
    pub(crate) token: Option<&'a [u8]>,
    /// Our own Route values on top.
    pub(crate) skip_first: usize,
    /// The last Route value, when it became the request-URI.
    pub(crate) skip_last: usize,
    /// The first Route value that is left: its URI, as it stands on the wire.
    pub(crate) next: Option<&'a [u8]>,
    /// That value names a strict router: no `lr`.
    pub(crate) next_is_strict: bool,
}

impl Way<'_> {
    /// True when its Route or request-URI carries what looks like a token of ours: it belongs to a dialog, even where a
    /// caller of RFC 2543 without tags leaves none in To.
    pub(crate) fn has_token(&self) -> bool {
        self.token.is_some_and(Token::looks_like_one)
    }
}

/// Reads a request's way. `None`: its request-URI, or a Route that counts, cannot be read.
pub(crate) fn read<'a>(settings: &Settings, request: &Request<'a>) -> Option<Way<'a>> {
    let bytes = request.bytes();
    let mut way =
        Way { uri: request.target(), token: None, skip_first: 0, skip_last: 0, next: None, next_is_strict: false };
    let mut routes = request.list(Name::Route);
    let Some(top) = routes.next() else { return Some(way) };
    let total = 1 + routes.count();
    let route = |at: usize| {
        let item = if at == 0 { top } else { request.list(Name::Route).nth(at)? };
        let value = item.span.of(bytes);
        let name_addr = NameAddr::parse(value).ok()?;
        Some(name_addr.uri.of(value))
    };
    if is_our_record(settings, &way.uri) {
        way.token = way.uri.user_bytes();
        way.uri = Uri::parse(route(total - 1)?).ok()?;
        way.skip_last = 1;
    }
    let mut ours: Option<&[u8]> = None;
    while way.skip_first < OWN_ROUTES && way.skip_first + way.skip_last < total {
        let uri = Uri::parse(route(way.skip_first)?).ok()?;
        if !settings.is_us(&uri) {
            break;
        }
        let user = uri.user_bytes().unwrap_or_default();
        // Of a pair one carries the token; in the calls of an earlier release both do. Two tokens are a spiral's.
        match ours {
            Some(first) if first != user && !first.is_empty() && !user.is_empty() => break,
            Some(first) if !first.is_empty() => {}
            _ => ours = Some(user),
        }
        way.skip_first += 1;
    }
    if way.token.is_none() {
        way.token = ours.filter(|user| !user.is_empty());
    }
    if way.skip_first + way.skip_last < total {
        let next = route(way.skip_first)?;
        way.next = Some(next);
        way.next_is_strict = Uri::parse(next).ok()?.param("lr").is_none();
    }
    Some(way)
}

/// A URI that we put into a Record-Route: our address, with a token as its user, or as the one of a pair that has none.
fn is_our_record(settings: &Settings, uri: &Uri<'_>) -> bool {
    let is_record = || uri.user_bytes().map_or_else(|| uri.param("lr").is_some(), Token::looks_like_one);
    uri.scheme == Scheme::Sip && is_record() && settings.is_us(uri)
}
