//! From and To as far as the scanner reads them: whether they can be read at all, and their tag (RFC 3261 20.20, 20.39).

use crate::bytes::{
    are_outside_uri, find_by, find_of_3, is_named, plain_value_end, quoted_end, skip_lws, value_end, visited,
};
use crate::param::{Next, Parameters};
use crate::span::Span;

/// The tag of a From or To value that stands at `value` in `message`: `Ok(None)` when it has none, `Err` when the value
/// is no name-addr or addr-spec with parameters. Without `<>` every parameter is the header's (RFC 8217).
pub(crate) fn tag(message: &[u8], value: Span) -> Result<Option<Span>, Unreadable> {
    const TAG: &[u8; 5] = b";tag=";
    let bytes = message.get(..value.range().end).ok_or(Unreadable)?;
    let end = address_end(bytes, value.range().start)?;
    let rest = bytes.get(end..).unwrap_or_default();
    // As a rule there is no parameter, or the tag alone.
    if rest.is_empty() {
        return Ok(None);
    }
    let tag_start = end + TAG.len();
    if rest.len() > TAG.len() && rest.starts_with(TAG) && plain_value_end(bytes, tag_start) == bytes.len() {
        return Ok(Some(Span::new(tag_start, bytes.len())));
    }
    odd_tag(bytes, end)
}

/// The same for other parameters, which begin at `at`.
#[inline(never)]
fn odd_tag(bytes: &[u8], at: usize) -> Result<Option<Span>, Unreadable> {
    let mut parameters = Parameters::new(bytes, at);
    let mut tag = None;
    loop {
        match parameters.next() {
            Next::Found(parameter) if is_named(parameter.name.of(bytes), b"tag") => {
                let before = tag.replace(parameter.value.ok_or(Unreadable)?);
                if before.is_some() {
                    return Err(Unreadable);
                }
            }
            Next::Found(_) | Next::Empty => {}
            Next::End if skip_lws(bytes, parameters.at()) == bytes.len() => return Ok(tag),
            Next::End | Next::Broken => return Err(Unreadable),
        }
    }
}

/// A value that cannot be read as an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Unreadable;

/// Where the address that begins at `start` ends and its parameters begin.
fn address_end(bytes: &[u8], start: usize) -> Result<usize, Unreadable> {
    match bytes.get(start) {
        Some(b'<') => return bracketed_end(bytes, start),
        Some(b'"') => return bracketed_end(bytes, skip_lws(bytes, quoted_end(bytes, start).ok_or(Unreadable)?)),
        _ => {}
    }
    let stop = find_of_3(*b"<;\"", bytes, start).unwrap_or(bytes.len());
    let before = bytes.get(start..stop).unwrap_or_default();
    visited(before.len());
    match bytes.get(stop) {
        Some(b'<') if !before.contains(&b',') => bracketed_end(bytes, stop),
        Some(b'<' | b'"') => Err(Unreadable),
        _ => {
            let end = value_end(bytes, start);
            if end > start { Ok(end) } else { Err(Unreadable) }
        }
    }
}

/// Where `<uri>` ends, which must stand at `open`. White space inside it is a fault (RFC 4475 3.1.2.14).
fn bracketed_end(bytes: &[u8], open: usize) -> Result<usize, Unreadable> {
    if bytes.get(open) != Some(&b'<') {
        return Err(Unreadable);
    }
    let close = find_by(bytes, open + 1, are_outside_uri).ok_or(Unreadable)?;
    if close == open + 1 || bytes.get(close) != Some(&b'>') {
        return Err(Unreadable);
    }
    Ok(close + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<&str>, Unreadable> {
        tag(text.as_bytes(), Span::new(0, text.len())).map(|tag| tag.map(|tag| &text[tag.range()]))
    }

    #[test]
    fn tags_stand_outside_quotes_and_brackets() {
        let cases = [
            ("<sip:a@example.com>;tag=1", Some("1")),
            ("sip:a@example.com;tag=1", Some("1")),
            ("sip:vivekg@chair-dnrc.example.com ;   tag    = 1918181833n", Some("1918181833n")),
            ("\"J Rosenberg \\\\\\\"\"       <sip:jdrosen@example.com>\r\n  ;\r\n  tag = 98asjd8", Some("98asjd8")),
            ("\";tag=2<\" <sip:a@example.com;tag=3>", None),
            ("caller<sip:a@example.com>;x=\";tag=2\";TAG=4", Some("4")),
            ("token1~` token2'+_ <sip:m@example.com>;x''=\"\u{440};\";tag=_t~1'", Some("_t~1'")),
            ("<sip:a@example.com>;", None),
            ("sip:a@example.com", None),
            ("isbn:2983792873", None),
        ];
        for (text, tag) in cases {
            assert_eq!(read(text), Ok(tag), "{text}");
        }
    }

    /// Both ways of reading a tag say the same.
    #[test]
    fn what_is_usual_is_read_as_what_is_odd() {
        for tag_text in ["", "1", "as3-f.2_b~9", "a+b", "a=b", "a,b", "a;b", "a b", "\"a\"", "a>", "[::1]", "\u{e9}"] {
            for behind in ["", ";x", ";x=1", " ", ";tag=2", ";", ","] {
                for name in [";tag=", ";TAG=", "; tag=", ";tag", ";tags=", "tag="] {
                    let text = format!("<sip:a@example.com>{name}{tag_text}{behind}");
                    let odd = odd_tag(text.as_bytes(), "<sip:a@example.com>".len());
                    assert_eq!(tag(text.as_bytes(), Span::new(0, text.len())), odd, "{text}");
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_read() {
        for text in [
            "",
            ";tag=1",
            "\"Mr. J. User <sip:j.user@example.com>",
            "\"Watson, Thomas\" < sip:t.watson@example.org >",
            "Bell, Alexander <sip:a.g.bell@example.com>;tag=43",
            "<sip:a@example.com;tag=1",
            "<>;tag=1",
            "\"a\" sip:a@example.com",
            "a \"b\" <sip:a@example.com>",
            "sip:a@example.com b;tag=1",
            "sip:a,b@example.com",
            "<sip:a@example.com>;tag=1;tag=2",
            "<sip:a@example.com>;tag",
            "<sip:a@example.com>;tag=",
            "<sip:a@example.com>;tag=1, <sip:b@example.com>",
            "<sip:a@example.com>tag=1",
            "<sip:a@example.com>;x=\"",
            "sip:a@example.com>;tag=1",
        ] {
            assert_eq!(read(text), Err(Unreadable), "{text}");
        }
    }
}
