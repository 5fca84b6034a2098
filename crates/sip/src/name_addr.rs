//! Name and address: what From, To, Contact, Route and their like hold (RFC 3261 sections 20.10 and 25.1).

use std::borrow::Cow;
use std::fmt;

use crate::Span;
use crate::bytes::{are_outside_uri, find, find_by, find_of_3, is_lws, is_named, quoted_end, run_end, skip_lws, trim};
use crate::lanes::Lanes;
use crate::param::{Next, Parameter, Parameters};

/// A `"name" <uri>;params` or a bare `uri;params`, taken apart. All spans are into `bytes`.
///
/// Behind a URI without angle brackets every `;` begins a parameter of the header, never one of the URI (RFC 8217).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NameAddr<'a> {
    /// The whole element.
    pub bytes: &'a [u8],
    /// The display name as written, quotes included; `None` when there is none.
    pub display: Option<Span>,
    /// The URI without angle brackets.
    pub uri: Span,
    /// True when the URI stands in angle brackets.
    pub bracketed: bool,
    /// Display name and URI with its brackets, the parameters not.
    pub addr: Span,
    /// From the first `;` behind the address to the end; empty where there are no parameters.
    pub params: Span,
    /// The value of the `tag` parameter.
    pub tag: Option<Span>,
}

/// One parameter of a header. Both spans are into [`NameAddr::bytes`] and without the white space around.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeaderParam {
    /// What stands in front of `=`.
    pub name: Span,
    /// What stands behind `=`, quotes included; `None` without `=`.
    pub value: Option<Span>,
    /// The parameter with the `;` in front of it.
    pub span: Span,
}

impl<'a> NameAddr<'a> {
    /// Takes one element apart: a header's value, or one item of its list. Lines may be folded.
    ///
    /// Whether the URI is one is for [`crate::Uri::parse`] to say. White space inside the brackets, an open quote, and a
    /// comma outside quotes and brackets are faults: nothing is guessed (RFC 4475 sections 3.1.2.6, 3.1.2.14, 3.1.2.15).
    pub fn parse(bytes: &'a [u8]) -> Result<NameAddr<'a>, NameAddrFault> {
        NameAddr::usual(bytes).map_or_else(|| NameAddr::odd(bytes), Ok)
    }

    /// A URI in angle brackets and nothing else, as routes are as a rule; `None` leaves it to [`NameAddr::odd`].
    #[inline(always)]
    fn usual(bytes: &'a [u8]) -> Option<NameAddr<'a>> {
        let last = bytes.len().checked_sub(1)?;
        if bytes.first() != Some(&b'<') || last < 2 || find_by(bytes, 1, are_outside_uri) != Some(last) {
            return None;
        }
        if bytes.get(last) != Some(&b'>') {
            return None;
        }
        let end = last + 1;
        Some(NameAddr {
            bytes,
            display: None,
            uri: Span::new(1, last),
            bracketed: true,
            addr: Span::new(0, end),
            params: Span::new(end, end),
            tag: None,
        })
    }

    #[inline(never)]
    fn odd(bytes: &'a [u8]) -> Result<NameAddr<'a>, NameAddrFault> {
        let (start, end) = trim(bytes, 0, bytes.len());
        let bytes = bytes.get(..end).unwrap_or_default();
        let mut found = match opening(bytes, start)? {
            Some(bracket) => bracketed(bytes, start, bracket)?,
            None => bare(bytes, start)?,
        };
        found.tag = sole_tag(&found)?;
        Ok(found)
    }

    /// The URI without angle brackets.
    pub fn uri_bytes(&self) -> &'a [u8] {
        self.uri.of(self.bytes)
    }

    /// The value of the `tag` parameter.
    pub fn tag_bytes(&self) -> Option<&'a [u8]> {
        self.tag.map(|tag| tag.of(self.bytes))
    }

    /// The display name without its quotes, escapes in it resolved. Folds stay as they are.
    pub fn display_text(&self) -> Option<Cow<'a, [u8]>> {
        let display = self.display?.of(self.bytes);
        let [b'"', quoted @ .., b'"'] = display else { return Some(Cow::Borrowed(display)) };
        if !quoted.contains(&b'\\') {
            return Some(Cow::Borrowed(quoted));
        }
        let mut text = Vec::with_capacity(quoted.len());
        let mut bytes = quoted.iter();
        while let Some(&byte) = bytes.next() {
            match byte {
                b'\\' => text.extend(bytes.next()),
                _ => text.push(byte),
            }
        }
        Some(Cow::Owned(text))
    }

    /// The parameters of the header, in order; a `;` with nothing behind it is passed over.
    pub fn params(&self) -> impl Iterator<Item = HeaderParam> + use<'a> {
        HeaderParams { bytes: self.bytes, parameters: Parameters::new(self.bytes, self.params.range().start) }
    }

    /// The first parameter of that name, case not regarded: its value, or `Some(None)` when it stands without `=`.
    pub fn param(&self, name: &str) -> Option<Option<&'a [u8]>> {
        let is_named = |param: &HeaderParam| param.name.of(self.bytes).eq_ignore_ascii_case(name.as_bytes());
        self.params().find(is_named).map(|param| param.value.map(|value| value.of(self.bytes)))
    }
}

/// Why bytes are no name and address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum NameAddrFault {
    /// Nothing where the URI belongs.
    NoUri,
    /// A `"` without its partner.
    OpenQuote,
    /// A `<` without its `>`.
    OpenBracket,
    /// A display name that needs quotes, or something between it and `<`.
    BadDisplay,
    /// White space, `<` or a quote inside the URI.
    BadUri,
    /// Something behind the address that is no parameter.
    Trailing,
    /// A `tag` without a value.
    EmptyTag,
    /// More than one `tag`.
    TwoTags,
}

impl fmt::Display for NameAddrFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NameAddrFault::NoUri => "found nothing, expected a URI",
            NameAddrFault::OpenQuote => "found a quote that does not end",
            NameAddrFault::OpenBracket => "found < without >",
            NameAddrFault::BadDisplay => "found a display name that needs quotes, expected words or a quoted string",
            NameAddrFault::BadUri => "found white space, < or a quote inside the URI",
            NameAddrFault::Trailing => "found something behind the address that is no parameter",
            NameAddrFault::EmptyTag => "found a tag without a value",
            NameAddrFault::TwoTags => "found more than one tag, expected at most one",
        })
    }
}

impl std::error::Error for NameAddrFault {}

/// Offset of the `<` that opens the URI; `None` for a bare URI.
fn opening(bytes: &[u8], start: usize) -> Result<Option<usize>, NameAddrFault> {
    if bytes.get(start) == Some(&b'<') {
        return Ok(Some(start));
    }
    if bytes.get(start) == Some(&b'"') {
        let bracket = skip_lws(bytes, quoted_end(bytes, start).ok_or(NameAddrFault::OpenQuote)?);
        return match bytes.get(bracket) {
            Some(b'<') => Ok(Some(bracket)),
            Some(_) => Err(NameAddrFault::BadDisplay),
            None => Err(NameAddrFault::NoUri),
        };
    }
    let stop = find_of_3(*b"<;\"", bytes, start).unwrap_or(bytes.len());
    let words = bytes.get(start..stop).unwrap_or_default();
    match bytes.get(stop) {
        Some(b'<') if !words.contains(&b',') => Ok(Some(stop)),
        Some(b'<' | b'"') => Err(NameAddrFault::BadDisplay),
        _ => Ok(None),
    }
}

fn bracketed(bytes: &[u8], start: usize, bracket: usize) -> Result<NameAddr<'_>, NameAddrFault> {
    let close = match find_by(bytes, bracket + 1, are_outside_uri) {
        Some(stop) if bytes.get(stop) == Some(&b'>') => stop,
        _ => closing(bytes, bracket)?,
    };
    let uri = Span::new(bracket + 1, close);
    if uri.is_empty() {
        return Err(NameAddrFault::NoUri);
    }
    let (display_start, display_end) = trim(bytes, start, bracket);
    let display = Span::new(display_start, display_end);
    Ok(NameAddr {
        bytes,
        display: (!display.is_empty()).then_some(display),
        uri,
        bracketed: true,
        addr: Span::new(start, close + 1),
        params: params_from(bytes, close + 1),
        tag: None,
    })
}

/// Offset of the `>` that closes a bracket, where something stands before it that is in no URI.
fn closing(bytes: &[u8], bracket: usize) -> Result<usize, NameAddrFault> {
    let close = find(b'>', bytes, bracket).ok_or(NameAddrFault::OpenBracket)?;
    let are_stray = |lanes: Lanes| {
        let line_ends = lanes.are(b'\r').or(lanes.are(b'\n'));
        lanes.are(b' ').or(lanes.are(b'\t')).or(line_ends).or(lanes.are(b'<')).or(lanes.are(b'"'))
    };
    let uri = bytes.get(bracket + 1..close).unwrap_or_default();
    if find_by(uri, 0, are_stray).is_some() { Err(NameAddrFault::BadUri) } else { Ok(close) }
}

fn bare(bytes: &[u8], start: usize) -> Result<NameAddr<'_>, NameAddrFault> {
    let end = run_end(bytes, start, |byte| !is_lws(byte) && !matches!(byte, b';' | b',' | b'>'));
    let uri = Span::new(start, end);
    if uri.is_empty() {
        return Err(NameAddrFault::NoUri);
    }
    let params = params_from(bytes, end);
    Ok(NameAddr { bytes, display: None, uri, bracketed: false, addr: uri, params, tag: None })
}

fn params_from(bytes: &[u8], addr_end: usize) -> Span {
    Span::new(skip_lws(bytes, addr_end), bytes.len())
}

/// Reads all parameters, of which at most one is a tag.
fn sole_tag(found: &NameAddr<'_>) -> Result<Option<Span>, NameAddrFault> {
    let bytes = found.bytes;
    let mut parameters = Parameters::new(bytes, found.params.range().start);
    let mut tag = parameters.usual(b";tag=");
    if parameters.at() == bytes.len() {
        return Ok(tag);
    }
    loop {
        match parameters.next() {
            Next::Found(parameter) if is_named(parameter.name.of(bytes), b"tag") => {
                let before = tag.replace(parameter.value.ok_or(NameAddrFault::EmptyTag)?);
                if before.is_some() {
                    return Err(NameAddrFault::TwoTags);
                }
            }
            Next::Found(_) | Next::Empty => {}
            Next::End if skip_lws(bytes, parameters.at()) == bytes.len() => return Ok(tag),
            Next::End | Next::Broken => return Err(NameAddrFault::Trailing),
        }
    }
}

/// The parameters that have a name.
struct HeaderParams<'a> {
    bytes: &'a [u8],
    parameters: Parameters<'a>,
}

impl Iterator for HeaderParams<'_> {
    type Item = HeaderParam;

    fn next(&mut self) -> Option<HeaderParam> {
        loop {
            let start = skip_lws(self.bytes, self.parameters.at());
            match self.parameters.next() {
                Next::Found(Parameter { name, value }) => {
                    return Some(HeaderParam { name, value, span: Span::new(start, self.parameters.at()) });
                }
                Next::Empty => {}
                Next::End | Next::Broken => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests;
