//! Reading a message as far as it is checked: the generator's own eyes, so that no fault of the proxy's parser hides
//! itself.

use crate::text::Id;
use memchr::{memchr, memmem};

/// What a message says. Values are without the name and the blanks around.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Read<'m> {
    pub(crate) start: &'m [u8],
    pub(crate) vias: Few<'m>,
    pub(crate) routes: Few<'m>,
    pub(crate) records: Few<'m>,
    pub(crate) from: &'m [u8],
    pub(crate) to: &'m [u8],
    pub(crate) call_id: &'m [u8],
    pub(crate) cseq: &'m [u8],
    pub(crate) contact: &'m [u8],
    pub(crate) max_forwards: &'m [u8],
    pub(crate) body: &'m [u8],
    /// The method of a request, or the one that a response is about.
    method: &'m [u8],
}

/// The values of a header that may stand more than once, in order; more than four are none.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Few<'m> {
    values: [&'m [u8]; 4],
    len: usize,
}

impl<'m> Few<'m> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &'m [u8]> + '_ {
        self.values.iter().take(self.len).copied()
    }

    pub(crate) fn first(&self) -> &'m [u8] {
        self.values.first().copied().unwrap_or_default()
    }

    fn push(&mut self, value: &'m [u8]) {
        if let Some(place) = self.values.get_mut(self.len) {
            *place = value;
        }
        self.len += 1;
    }
}

impl<'m> Read<'m> {
    /// `None` without an empty line at the end of the headers.
    pub(crate) fn of(bytes: &'m [u8]) -> Option<Read<'m>> {
        let mut read = Read::default();
        let end = memchr(b'\n', bytes)?;
        read.start = bytes.get(..end)?.trim_ascii_end();
        let mut rest = bytes.get(end + 1..)?;
        loop {
            let end = memchr(b'\n', rest)?;
            let (line, after) = (rest.get(..end)?, rest.get(end + 1..)?);
            rest = after;
            match line {
                [] | [b'\r'] => {
                    read.body = rest;
                    return Some(read);
                }
                [line @ .., b'\r'] => read.line(line)?,
                line => read.line(line)?,
            }
        }
    }

    /// As most write them: the name, a colon, a blank. Others are read by their parts.
    fn line(&mut self, line: &'m [u8]) -> Option<()> {
        let (name, value) = match line {
            [b'V', b'i', b'a', b':', b' ', value @ ..] => (&b"Via"[..], value),
            [b'F', b'r', b'o', b'm', b':', b' ', value @ ..] => (&b"From"[..], value),
            [b'T', b'o', b':', b' ', value @ ..] => (&b"To"[..], value),
            [b'C', b'S', b'e', b'q', b':', b' ', value @ ..] => (&b"CSeq"[..], value),
            [b'C', b'a', b'l', b'l', b'-', b'I', b'D', b':', b' ', value @ ..] => (&b"Call-ID"[..], value),
            [b'A', b'l', b'l', b'o', b'w', b':', ..]
            | [b'S', b'u', b'p', b'p', b'o', b'r', b't', b'e', b'd', b':', ..] => {
                return Some(());
            }
            _ => {
                let colon = memchr(b':', line)?;
                (line.get(..colon)?.trim_ascii_end(), line.get(colon + 1..)?)
            }
        };
        let value = match value {
            [b' ', rest @ ..] => rest,
            value => value,
        };
        let is_trimmed =
            !value.first().is_some_and(u8::is_ascii_whitespace) && !value.last().is_some_and(u8::is_ascii_whitespace);
        let value = if is_trimmed { value } else { value.trim_ascii() };
        match name {
            b"Via" => self.vias.push(value),
            b"Route" => self.routes.push(value),
            b"Record-Route" => self.records.push(value),
            b"From" => self.from = value,
            b"To" => self.to = value,
            b"Call-ID" => self.call_id = value,
            b"CSeq" => {
                self.cseq = value;
                self.method = value.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
            }
            b"Contact" => self.contact = value,
            b"Max-Forwards" => self.max_forwards = value,
            _ => {}
        }
        Some(())
    }

    /// The status of a response; `None` for a request.
    pub(crate) fn status(&self) -> Option<u16> {
        status_of(self.start)
    }

    /// The method of a request, or the one that a response is about.
    pub(crate) fn method(&self) -> &'m [u8] {
        self.method
    }

    /// The call of its Call-ID: slot and generation.
    pub(crate) fn call(&self) -> Option<(usize, u32)> {
        call_of(self.id()?)
    }

    /// The sixteen digits of its Call-ID, from which tags and branches are made.
    pub(crate) fn id(&self) -> Option<&'m Id> {
        self.call_id.strip_suffix(b"@load")?.try_into().ok()
    }
}

/// The status that a start line tells; `None` for a request.
pub(crate) fn status_of(start: &[u8]) -> Option<u16> {
    let digits = start.strip_prefix(b"SIP/2.0 ")?.get(..3)?;
    digits.iter().try_fold(0, |sum: u16, digit| digit.is_ascii_digit().then(|| sum * 10 + u16::from(digit - b'0')))
}

/// Slot and generation, of which an id is made.
pub(crate) fn call_of(id: &Id) -> Option<(usize, u32)> {
    let mut value = 0_u64;
    for byte in id {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        value = value << 4 | u64::from(digit);
    }
    Some((usize::try_from(value >> 32).ok()?, value as u32))
}

/// Finds the call of a message without reading all of it: the id behind the name `Call-ID` as most write it.
#[derive(Debug)]
pub(crate) struct Finder(memmem::Finder<'static>);

impl Finder {
    pub(crate) fn new() -> Finder {
        Finder(memmem::Finder::new(b"\r\nCall-ID: "))
    }

    /// The id, and what follows its line.
    pub(crate) fn id<'m>(&self, bytes: &'m [u8]) -> Option<(&'m Id, &'m [u8])> {
        let at = self.0.find(bytes)? + self.0.needle().len();
        let (id, rest) = bytes.get(at..)?.split_first_chunk()?;
        Some((id, rest.strip_prefix(b"@load\r\n")?))
    }
}

/// The length of the first whole message on a stream: by its Content-Length, 0 without one.
pub(crate) fn framed(bytes: &[u8]) -> Option<usize> {
    let head = memmem::find(bytes, b"\r\n\r\n")? + 4;
    let lines = bytes.get(..head)?;
    let value = memmem::find(lines, b"\r\nContent-Length:").and_then(|at| lines.get(at + 17..)).unwrap_or(b"0\r");
    let end = memchr(b'\r', value)?;
    let length: usize = std::str::from_utf8(value.get(..end)?).ok()?.trim().parse().ok()?;
    (bytes.len() >= head + length).then_some(head + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_and_half_a_message_is_not() {
        let text =
            b"SIP/2.0 180 Ringing\r\nVia: a\r\nVia: b\r\nCall-ID: 0000000a00000002@load\r\nCSeq: 1 INVITE\r\n\r\n";
        let read = Read::of(text).unwrap();
        assert_eq!((read.status(), read.method(), read.call()), (Some(180), &b"INVITE"[..], Some((10, 2))));
        assert_eq!(read.vias.iter().collect::<Vec<_>>(), [b"a", b"b"]);
        assert!(Read::of(&text[..text.len() - 2]).is_none());
        assert_eq!(Finder::new().id(text), Some((b"0000000a00000002", &b"CSeq: 1 INVITE\r\n\r\n"[..])));
        let unusual = b"SIP/2.0 180 Ringing\nVia : \ta \r\nCall-ID:0000000A00000002@load\nTo:  b\n\nbody";
        let read = Read::of(unusual).unwrap();
        assert_eq!((read.vias.first(), read.to, read.body), (&b"a"[..], &b"b"[..], &b"body"[..]));
        assert_eq!((read.call(), Finder::new().id(unusual)), (None, None), "our ids are in small letters");
        assert_eq!((status_of(b"SIP/2.0 2x0 OK"), status_of(b"INVITE x SIP/2.0")), (None, None));
    }

    #[test]
    fn a_stream_is_cut_by_content_length() {
        let text = b"BYE x SIP/2.0\r\nContent-Length: 3\r\n\r\nabcACK";
        assert_eq!(framed(text), Some(text.len() - 3));
        assert_eq!(framed(&text[..text.len() - 4]), None);
    }
}
