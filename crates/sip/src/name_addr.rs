//! Name and address: what From, To, Contact, Route and their like hold (RFC 3261 sections 20.10 and 25.1).

use std::borrow::Cow;
use std::fmt;

use crate::Span;

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
        let start = skip_blank(bytes, 0);
        let end = bytes.iter().rposition(|&byte| !is_blank(byte)).map_or(start, |last| last + 1);
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
        HeaderParams { bytes: self.bytes, at: self.params.range().start }
            .filter(|param| !param.name.is_empty() || param.value.is_some())
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
    /// White space or `<` inside the URI.
    BadUri,
    /// Something else than parameters behind the address.
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
            NameAddrFault::BadUri => "found white space or < inside the URI",
            NameAddrFault::Trailing => "found something behind the address, expected parameters or nothing",
            NameAddrFault::EmptyTag => "found a tag without a value",
            NameAddrFault::TwoTags => "found more than one tag, expected at most one",
        })
    }
}

impl std::error::Error for NameAddrFault {}

/// Offset of the `<` that opens the URI; `None` for a bare URI.
fn opening(bytes: &[u8], start: usize) -> Result<Option<usize>, NameAddrFault> {
    if bytes.get(start) == Some(&b'"') {
        let bracket = skip_blank(bytes, skip_quoted(bytes, start).ok_or(NameAddrFault::OpenQuote)?);
        return match bytes.get(bracket) {
            Some(b'<') => Ok(Some(bracket)),
            Some(_) => Err(NameAddrFault::BadDisplay),
            None => Err(NameAddrFault::NoUri),
        };
    }
    let rest = bytes.get(start..).unwrap_or_default();
    match rest.iter().position(|byte| matches!(byte, b'<' | b';' | b',' | b'"' | b'\\')) {
        Some(offset) if rest.get(offset) == Some(&b'<') => Ok(Some(start + offset)),
        Some(offset) if rest.get(offset) == Some(&b';') => Ok(None),
        Some(_) => Err(NameAddrFault::BadDisplay),
        None => Ok(None),
    }
}

fn bracketed(bytes: &[u8], start: usize, bracket: usize) -> Result<NameAddr<'_>, NameAddrFault> {
    let uri = bytes.get(bracket + 1..).unwrap_or_default();
    let uri_len = uri.iter().position(|&byte| byte == b'>').ok_or(NameAddrFault::OpenBracket)?;
    let uri = uri.get(..uri_len).unwrap_or_default();
    if uri.is_empty() {
        return Err(NameAddrFault::NoUri);
    }
    if uri.iter().any(|&byte| is_blank(byte) || byte == b'<') {
        return Err(NameAddrFault::BadUri);
    }
    let display = bytes.get(start..bracket).unwrap_or_default();
    let display_len = display.iter().rposition(|&byte| !is_blank(byte)).map_or(0, |last| last + 1);
    let addr_end = bracket + 1 + uri_len + 1;
    Ok(NameAddr {
        bytes,
        display: (display_len > 0).then(|| Span::new(start, start + display_len)),
        uri: Span::new(bracket + 1, bracket + 1 + uri_len),
        bracketed: true,
        addr: Span::new(start, addr_end),
        params: params_from(bytes, addr_end)?,
        tag: None,
    })
}

fn bare(bytes: &[u8], start: usize) -> Result<NameAddr<'_>, NameAddrFault> {
    let rest = bytes.get(start..).unwrap_or_default();
    let len = rest.iter().position(|&byte| byte == b';' || is_blank(byte)).unwrap_or(rest.len());
    if len == 0 {
        return Err(NameAddrFault::NoUri);
    }
    let uri = Span::new(start, start + len);
    let params = params_from(bytes, start + len).map_err(|_| NameAddrFault::BadUri)?;
    Ok(NameAddr { bytes, display: None, uri, bracketed: false, addr: uri, params, tag: None })
}

/// What follows an address: nothing, or parameters whose quotes all end and that hold no comma outside quotes.
fn params_from(bytes: &[u8], addr_end: usize) -> Result<Span, NameAddrFault> {
    let start = skip_blank(bytes, addr_end);
    if !matches!(bytes.get(start), None | Some(b';')) {
        return Err(NameAddrFault::Trailing);
    }
    let mut at = start;
    while let Some(byte) = bytes.get(at) {
        at = match byte {
            b'"' => skip_quoted(bytes, at).ok_or(NameAddrFault::OpenQuote)?,
            b',' => return Err(NameAddrFault::Trailing),
            _ => at + 1,
        };
    }
    Ok(Span::new(start, bytes.len()))
}

fn sole_tag(found: &NameAddr<'_>) -> Result<Option<Span>, NameAddrFault> {
    let is_tag = |param: &HeaderParam| param.name.of(found.bytes).eq_ignore_ascii_case(b"tag");
    let mut tags = found.params().filter(is_tag);
    let Some(first) = tags.next() else { return Ok(None) };
    if tags.next().is_some() {
        return Err(NameAddrFault::TwoTags);
    }
    match first.value {
        Some(value) if !value.is_empty() => Ok(Some(value)),
        _ => Err(NameAddrFault::EmptyTag),
    }
}

/// Offset behind the quoted string that begins at `start`; `None` when it does not end.
fn skip_quoted(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn skip_blank(bytes: &[u8], start: usize) -> usize {
    let rest = bytes.get(start..).unwrap_or_default();
    rest.iter().position(|&byte| !is_blank(byte)).map_or(bytes.len(), |offset| start + offset)
}

/// The pieces between `;` outside quotes, the empty ones too.
struct HeaderParams<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Iterator for HeaderParams<'_> {
    type Item = HeaderParam;

    fn next(&mut self) -> Option<HeaderParam> {
        let start = self.at;
        self.bytes.get(start)?;
        let mut at = start + 1;
        let mut equals = None;
        while let Some(&byte) = self.bytes.get(at) {
            match byte {
                b';' => break,
                b'"' => at = skip_quoted(self.bytes, at).unwrap_or(self.bytes.len()),
                _ => {
                    if byte == b'=' && equals.is_none() {
                        equals = Some(at);
                    }
                    at += 1;
                }
            }
        }
        self.at = at;
        Some(HeaderParam {
            name: trimmed(self.bytes, start + 1, equals.unwrap_or(at)),
            value: equals.map(|equals| trimmed(self.bytes, equals + 1, at)),
            span: Span::new(start, at),
        })
    }
}

/// `start..end` without the white space at both ends.
fn trimmed(bytes: &[u8], start: usize, end: usize) -> Span {
    let start = skip_blank(bytes, start).min(end);
    let text = bytes.get(start..end).unwrap_or_default();
    let len = text.iter().rposition(|&byte| !is_blank(byte)).map_or(0, |last| last + 1);
    Span::new(start, start + len)
}

#[cfg(test)]
mod tests;
