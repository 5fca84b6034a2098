//! URIs: sip, sips and tel taken apart (RFC 3261 section 19.1, RFC 3966), any other scheme kept whole.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::Span;
use crate::bytes::{are_outside_uri, find_by, host_name_end, is_host_name, marks};
use crate::escape::Unescaped;
use crate::host::{port, short_port};
use crate::lanes::Lanes;

/// The schemes we tell apart, compared without regard to case.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Scheme {
    /// `sip:`
    Sip,
    /// `sips:`
    Sips,
    /// `tel:`
    Tel,
    /// Any other well-formed scheme: what follows it is opaque.
    Other,
}

/// A URI, taken apart. All spans are into `bytes`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Uri<'a> {
    /// The scheme in front of the first `:`.
    pub scheme: Scheme,
    /// The whole URI, without angle brackets.
    pub bytes: &'a [u8],
    /// The user part as it stands: escapes and user parameters (`;isub=..`) included. For tel: the number part.
    pub user: Option<Span>,
    /// What stands between `:` and `@`, possibly empty.
    pub password: Option<Span>,
    /// Name or address; an IPv6 reference with its brackets. Empty for tel and unknown schemes.
    pub host: Span,
    /// The port, when one is written.
    pub port: Option<u16>,
    /// The digits of the port.
    pub port_span: Option<Span>,
    /// Host, and port with its `:` when there is one.
    pub hostport: Span,
    /// The parameters, each with its `;`, up to `?` or the end. Empty where there are none.
    pub params: Span,
    /// What stands behind `?`.
    pub headers: Option<Span>,
}

/// One parameter of a URI.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Param<'a> {
    /// Its name as written, escapes not resolved.
    pub name: &'a [u8],
    /// What stands behind `=`, as written; `None` without `=`.
    pub value: Option<&'a [u8]>,
    /// The parameter with the `;` in front of it.
    pub span: Span,
}

impl<'a> Uri<'a> {
    /// Takes `bytes` apart. Control characters, space, quotes and angle brackets are refused anywhere in the URI.
    ///
    /// Bytes beyond ASCII pass in the user part and in parameters, where they are opaque.
    pub fn parse(bytes: &'a [u8]) -> Result<Uri<'a>, UriFault> {
        usual(bytes).map_or_else(|| Uri::odd(bytes), Ok)
    }

    #[inline(never)]
    fn odd(bytes: &'a [u8]) -> Result<Uri<'a>, UriFault> {
        if u32::try_from(bytes.len()).is_err() {
            return Err(UriFault::TooLong);
        }
        let (scheme, start) = if bytes.starts_with(b"sip:") {
            (Scheme::Sip, b"sip:".len())
        } else {
            let colon = crate::bytes::find(b':', bytes, 0).ok_or(UriFault::NoScheme)?;
            (scheme(bytes.get(..colon).unwrap_or_default())?, colon + 1)
        };
        if find_by(bytes, 0, are_outside_uri).is_some() {
            return Err(UriFault::BadCharacter);
        }
        match scheme {
            Scheme::Sip | Scheme::Sips => sip(scheme, bytes, start),
            Scheme::Tel => tel(bytes, start),
            Scheme::Other if start == bytes.len() => Err(UriFault::NoHost),
            Scheme::Other => Ok(opaque(scheme, bytes, bytes.len())),
        }
    }

    /// The user part as it stands, user parameters included.
    pub fn user_bytes(&self) -> Option<&'a [u8]> {
        self.user.map(|user| user.of(self.bytes))
    }

    /// The host as it stands; an IPv6 reference with its brackets.
    pub fn host_bytes(&self) -> &'a [u8] {
        self.host.of(self.bytes)
    }

    /// The host's address, when it is one and not a name.
    pub fn host_ip(&self) -> Option<IpAddr> {
        host_ip(self.host_bytes())
    }

    /// The first parameter of that name: its value, or `Some(None)` when it stands without `=`.
    ///
    /// Names are compared without regard to case and with escapes resolved once (RFC 3261 section 19.1.4).
    pub fn param(&self, name: &str) -> Option<Option<&'a [u8]>> {
        self.params().find(|param| same_unescaped(param.name, name.as_bytes())).map(|param| param.value)
    }

    /// The parameters in order; a `;` with nothing behind it is passed over.
    pub fn params(&self) -> impl Iterator<Item = Param<'a>> + use<'a> {
        Params { bytes: self.bytes, at: index(self.params.start), end: index(self.params.end) }
            .filter(|param| !param.name.is_empty() || param.value.is_some())
    }
}

impl Param<'_> {
    /// True when the parameter has that name, compared as [`Uri::param`] does.
    pub fn is(&self, name: &str) -> bool {
        same_unescaped(self.name, name.as_bytes())
    }
}

/// Resolves the escapes of `raw` exactly once into `into`; `None` when an escape is broken or the result does not fit.
pub fn decode_user<'o>(raw: &[u8], into: &'o mut [u8; 64]) -> Option<&'o [u8]> {
    let mut len = 0;
    for byte in Unescaped::new(raw) {
        *into.get_mut(len)? = byte?;
        len += 1;
    }
    into.get(..len)
}

/// Why bytes are no URI.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum UriFault {
    /// No `:`, or something else than a scheme in front of it.
    NoScheme,
    /// A control character, a space, a quote or an angle bracket.
    BadCharacter,
    /// `@` with nothing in front of it, or a tel URI without a number.
    NoUser,
    /// Nothing where the host belongs.
    NoHost,
    /// A host that is neither a name, an IPv4 address nor an IPv6 reference in brackets.
    BadHost,
    /// A port that is not a number from 1 to 65535.
    BadPort,
    /// More bytes than a span can name.
    TooLong,
}

impl fmt::Display for UriFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            UriFault::NoScheme => "found no scheme, expected sip:, sips:, tel: or another one",
            UriFault::BadCharacter => "found a space, a control character, a quote or an angle bracket inside the URI",
            UriFault::NoUser => "found an empty user part, expected a user, or a host without @",
            UriFault::NoHost => "found nothing, expected a host",
            UriFault::BadHost => "found a broken host, expected a name, an IPv4 address or an IPv6 address in brackets",
            UriFault::BadPort => "found a broken port, expected a number from 1 to 65535",
            UriFault::TooLong => "found a URI without end, expected at most 4294967295 bytes",
        })
    }
}

impl std::error::Error for UriFault {}

fn scheme(bytes: &[u8]) -> Result<Scheme, UriFault> {
    let letters = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    if !bytes.first().is_some_and(u8::is_ascii_alphabetic) || !bytes.iter().all(letters) {
        return Err(UriFault::NoScheme);
    }
    Ok(match bytes {
        b if b.eq_ignore_ascii_case(b"sip") => Scheme::Sip,
        b if b.eq_ignore_ascii_case(b"sips") => Scheme::Sips,
        b if b.eq_ignore_ascii_case(b"tel") => Scheme::Tel,
        _ => Scheme::Other,
    })
}

/// A sound `sip:` URI of up to sixty-four bytes behind its scheme, with no password and no IPv6 address; `None` leaves it to
/// [`Uri::odd`].
#[inline(always)]
fn usual(bytes: &[u8]) -> Option<Uri<'_>> {
    const START: u32 = 4;
    let rest = bytes.strip_prefix(b"sip:")?;
    let kinds = |lanes: Lanes| {
        let is_end = lanes.are(b';').or(lanes.are(b'?'));
        [are_outside_uri(lanes), lanes.are(b'@'), lanes.are(b':'), is_end]
    };
    // Places count from behind the scheme, up to where the URI is put together.
    let [outside, ats, colons, ends] = marks(rest, kinds)?;
    let len = u32::try_from(rest.len()).ok()?;
    let (user_end, host_start) = match ats.trailing_zeros() {
        u64::BITS => (None, 0),
        at => (Some(at), at.wrapping_add(1)),
    };
    if outside != 0 || host_start >= len || user_end.is_some_and(|end| end == 0 || colons.trailing_zeros() < end) {
        return None;
    }
    let from_host = u64::MAX.wrapping_shl(host_start);
    let params_start = (ends & from_host).trailing_zeros().min(len).wrapping_add(START);
    let host_end = (colons & from_host).trailing_zeros().wrapping_add(START).min(params_start);
    let (host_start, len) = (host_start.wrapping_add(START), len.wrapping_add(START));
    let user = user_end.map(|end| Span { start: START, end: end.wrapping_add(START) });
    let host = Span { start: host_start, end: host_end };
    if host.is_empty() || host_name_end(bytes, host_start as usize) < host_end as usize {
        return None;
    }
    let digits = (host_end < params_start).then(|| Span { start: host_end.wrapping_add(1), end: params_start });
    let port = match digits {
        Some(digits) => Some(whole_port(digits.of(bytes))?),
        None => None,
    };
    let from_params = bytes.get(params_start as usize..).unwrap_or_default();
    let headers_start = match from_params {
        [] => len,
        _ => Span::new(0, find(bytes, params_start as usize, |lanes| lanes.are(b'?'))).end,
    };
    let params = Span { start: params_start, end: headers_start };
    let headers = (headers_start < len).then(|| Span { start: headers_start.wrapping_add(1), end: len });
    let hostport = Span { start: host_start, end: params_start };
    Some(Uri {
        scheme: Scheme::Sip,
        bytes,
        user,
        password: None,
        host,
        port,
        port_span: digits,
        hostport,
        params,
        headers,
    })
}

/// A port that is all of `bytes`.
#[inline(always)]
fn whole_port(bytes: &[u8]) -> Option<u16> {
    match short_port(bytes) {
        Some((port, len)) if len == bytes.len() => Some(port),
        _ => port(bytes),
    }
}

/// A URI whose parts are all empty and stand at `end`.
fn opaque(scheme: Scheme, bytes: &[u8], end: usize) -> Uri<'_> {
    let nothing = Span::new(end, end);
    Uri {
        scheme,
        bytes,
        user: None,
        password: None,
        host: nothing,
        port: None,
        port_span: None,
        hostport: nothing,
        params: nothing,
        headers: None,
    }
}

/// The number, then everything from the first `;` on as parameters (RFC 3966 section 3).
fn tel(bytes: &[u8], start: usize) -> Result<Uri<'_>, UriFault> {
    let end = find(bytes, start, |lanes| lanes.are(b';'));
    if end == start {
        return Err(UriFault::NoUser);
    }
    let mut uri = opaque(Scheme::Tel, bytes, end);
    uri.user = Some(Span::new(start, end));
    uri.params = Span::new(end, bytes.len());
    Ok(uri)
}

fn sip(scheme: Scheme, bytes: &[u8], start: usize) -> Result<Uri<'_>, UriFault> {
    let mut uri = opaque(scheme, bytes, bytes.len());
    let mut host_start = start;
    // The user part may hold `;`, `?` and `/`, so it ends at the first `@` and nowhere else.
    let at = crate::bytes::find(b'@', bytes, start).unwrap_or(bytes.len());
    if at < bytes.len() {
        let colon = crate::bytes::find(b':', bytes, start).map_or(at, |colon| colon.min(at));
        if colon == start {
            return Err(UriFault::NoUser);
        }
        uri.user = Some(Span::new(start, colon));
        uri.password = (colon < at).then(|| Span::new(colon + 1, at));
        host_start = at + 1;
    }
    let params_start = find(bytes, host_start, |lanes| lanes.are(b';').or(lanes.are(b'?')));
    let hostport = split_hostport(bytes.get(host_start..params_start).unwrap_or_default())?;
    uri.host = Span::new(host_start, host_start + hostport.host_len);
    uri.hostport = Span::new(host_start, params_start);
    uri.port = hostport.port;
    uri.port_span = hostport.port.map(|_| Span::new(host_start + hostport.host_len + 1, params_start));
    let headers_start = find(bytes, params_start, |lanes| lanes.are(b'?'));
    uri.params = Span::new(params_start, headers_start);
    uri.headers = (headers_start < bytes.len()).then(|| Span::new(headers_start + 1, bytes.len()));
    Ok(uri)
}

struct HostPort {
    host_len: usize,
    port: Option<u16>,
}

fn split_hostport(bytes: &[u8]) -> Result<HostPort, UriFault> {
    let host_len = match bytes.first() {
        None => return Err(UriFault::NoHost),
        Some(b'[') => 1 + bytes.iter().position(|&byte| byte == b']').ok_or(UriFault::BadHost)?,
        Some(_) => bytes.iter().position(|&byte| byte == b':').unwrap_or(bytes.len()),
    };
    let host = bytes.get(..host_len).unwrap_or_default();
    if host.is_empty() {
        return Err(UriFault::NoHost);
    }
    if !is_host(host) {
        return Err(UriFault::BadHost);
    }
    let port = match bytes.get(host_len..) {
        None | Some([]) => None,
        Some([b':', digits @ ..]) => Some(port(digits).ok_or(UriFault::BadPort)?),
        Some(_) => return Err(UriFault::BadHost),
    };
    Ok(HostPort { host_len, port })
}

/// A name of letters, digits, `-`, `.` and the `_` that private networks use, or an IPv6 reference.
fn is_host(host: &[u8]) -> bool {
    match host {
        [b'[', ..] => host_ip(host).is_some(),
        _ => host.iter().copied().all(is_host_name),
    }
}

/// The address that `host` is; an IPv6 one stands in brackets.
pub fn host_ip(host: &[u8]) -> Option<IpAddr> {
    let text = |bytes| std::str::from_utf8(bytes).ok();
    match host {
        [b'[', address @ .., b']'] => ipv6(text(address)?).map(IpAddr::V6),
        _ => ipv4(host).map(IpAddr::V4),
    }
}

/// An IPv4 address, as the standard library reads one: four numbers up to 255 without leading zeros.
pub(crate) fn ipv4(host: &[u8]) -> Option<Ipv4Addr> {
    let (first, rest) = octet(host)?;
    let (second, rest) = octet(rest.strip_prefix(b".")?)?;
    let (third, rest) = octet(rest.strip_prefix(b".")?)?;
    let (fourth, rest) = octet(rest.strip_prefix(b".")?)?;
    rest.is_empty().then(|| Ipv4Addr::new(first, second, third, fourth))
}

/// The number up to 255 that `bytes` begin with, without leading zeros, and what follows its digits.
#[inline(always)]
fn octet(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let digit = |byte: &u8| byte.wrapping_sub(b'0');
    let (first, rest) = bytes.split_first().filter(|(first, _)| digit(first) < 10)?;
    let Some((second, others)) = rest.split_first().filter(|(second, _)| digit(second) < 10) else {
        return Some((digit(first), rest));
    };
    let two = digit(first).wrapping_mul(10).wrapping_add(digit(second));
    if two < 10 {
        return None;
    }
    let Some((third, others)) = others.split_first().filter(|(third, _)| digit(third) < 10) else {
        return Some((two, others));
    };
    let value = u8::try_from(u32::from(two) * 10 + u32::from(digit(third))).ok()?;
    Some((value, others))
}

/// An IPv6 address. The grammar of RFC 3261 puts a third colon in front of an IPv4 part that follows `::`; it is read as
/// if it were not there (RFC 5118 section 4.10).
fn ipv6(text: &str) -> Option<Ipv6Addr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let colons = text.find(":::")?;
    let ipv4: Ipv4Addr = text.get(colons + 3..)?.parse().ok()?;
    let bits = text.get(..colons + 2)?.parse::<Ipv6Addr>().ok()?.to_bits();
    (bits & u128::from(u32::MAX) == 0).then(|| Ipv6Addr::from_bits(bits | u128::from(ipv4.to_bits())))
}

/// Offset of the first byte from `start` on that `wanted` takes, else the length.
fn find(bytes: &[u8], start: usize, wanted: impl Fn(Lanes) -> Lanes) -> usize {
    find_by(bytes, start, wanted).unwrap_or(bytes.len())
}

/// An offset that came out of a slice's length.
fn index(offset: u32) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

/// The pieces between `;`, the empty ones too.
struct Params<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Iterator for Params<'a> {
    type Item = Param<'a>;

    fn next(&mut self) -> Option<Param<'a>> {
        if self.at >= self.end {
            return None;
        }
        let start = self.at;
        let bytes = self.bytes.get(..self.end).unwrap_or_default();
        self.at = find(bytes, start + 1, |lanes| lanes.are(b';'));
        let text = bytes.get(start + 1..self.at).unwrap_or_default();
        let mut halves = text.splitn(2, |&byte| byte == b'=');
        let name = halves.next().unwrap_or_default();
        Some(Param { name, value: halves.next(), span: Span::new(start, self.at) })
    }
}

/// True when `raw`, its escapes resolved once, is `plain`, case not regarded. A broken escape is like nothing.
fn same_unescaped(raw: &[u8], plain: &[u8]) -> bool {
    let mut plain = plain.iter();
    let all = Unescaped::new(raw)
        .all(|byte| byte.zip(plain.next()).is_some_and(|(byte, plain)| byte.eq_ignore_ascii_case(plain)));
    all && plain.next().is_none()
}

#[cfg(test)]
mod tests;
