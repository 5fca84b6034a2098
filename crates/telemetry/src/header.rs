//! One header of a message, found without reading the others: what is told of every message needs no more.

/// The value of the header of this name, in lower case, or its compact form; trimmed, and not empty. `None` where it stands
/// nowhere in the head, or on several lines.
pub(crate) fn value<'b>(bytes: &'b [u8], name: &[u8], compact: u8) -> Option<&'b [u8]> {
    let initial = name.first().copied()?;
    for end in memchr::memchr_iter(b'\n', bytes) {
        let rest = bytes.get(end + 1..)?;
        let first = match rest {
            [] | [b'\n', ..] | [b'\r', b'\n', ..] => return None,
            [first, ..] => first.to_ascii_lowercase(),
        };
        if first != initial && first != compact {
            continue;
        }
        let length = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        let line = rest.get(..length)?;
        let Some((found, value)) = memchr::memchr(b':', line).and_then(|colon| line.split_at_checked(colon)) else {
            continue;
        };
        let found = found.trim_ascii_end();
        if found.eq_ignore_ascii_case(name) || found.eq_ignore_ascii_case(&[compact]) {
            let is_folded = matches!(rest.get(length + 1), Some(b' ' | b'\t'));
            let value = value.get(1..).unwrap_or_default().trim_ascii();
            return Some(value).filter(|value| !is_folded && !value.is_empty());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_found_by_either_name_in_the_head_alone() {
        let of = |text: &str| {
            value(text.as_bytes(), b"call-id", b'i').map(|found| String::from_utf8_lossy(found).into_owned())
        };
        for line in ["Call-ID: a1@gw", "CALL-ID:a1@gw", "i: a1@gw", "I :  a1@gw ", "call-id\t: a1@gw"] {
            for text in [
                format!("BYE sip:x SIP/2.0\r\nVia: v\r\nContact: c\r\n{line}\r\nTo: t\r\n\r\n"),
                format!("BYE sip:x SIP/2.0\nInfo-Package: p\n{line}\n\n"),
                format!("BYE sip:x SIP/2.0\r\n{line}"),
            ] {
                assert_eq!(of(&text).as_deref(), Some("a1@gw"), "{text:?}");
            }
        }
        for text in [
            "",
            "Call-ID: start line\r\n",
            "BYE sip:x SIP/2.0\r\n\r\nCall-ID: body\r\n",
            "BYE sip:x SIP/2.0\n\nCall-ID: body\n",
            "BYE sip:x SIP/2.0\r\nCall-ID:\r\n folded\r\n\r\n",
            "BYE sip:x SIP/2.0\r\nCall-ID: a\r\n folded\r\n\r\n",
            "BYE sip:x SIP/2.0\r\nCall-ID \r\nX-Call-ID: a\r\n Call-ID: b\r\n\r\n",
            "BYE sip:x SIP/2.0\r\nCall-ID:  \r\n\r\n",
        ] {
            assert_eq!(of(text), None, "{text:?}");
        }
    }
}
