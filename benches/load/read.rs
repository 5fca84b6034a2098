//! Reading a message as far as it is checked: the generator's own eyes, so that no fault of the proxy's parser hides
//! itself.

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
        let mut rest = bytes;
        loop {
            let end = memchr(b'\n', rest)?;
            let (line, after) = (rest.get(..end)?.trim_ascii_end(), rest.get(end + 1..)?);
            rest = after;
            if line.is_empty() {
                read.body = rest;
                return Some(read);
            }
            if read.start.is_empty() {
                read.start = line;
                continue;
            }
            let colon = memchr(b':', line)?;
            let value = line.get(colon + 1..)?.trim_ascii();
            match line.get(..colon)?.trim_ascii_end() {
                b"Via" => read.vias.push(value),
                b"Route" => read.routes.push(value),
                b"Record-Route" => read.records.push(value),
                b"From" => read.from = value,
                b"To" => read.to = value,
                b"Call-ID" => read.call_id = value,
                b"CSeq" => read.cseq = value,
                b"Contact" => read.contact = value,
                b"Max-Forwards" => read.max_forwards = value,
                _ => {}
            }
        }
    }

    /// The status of a response; `None` for a request.
    pub(crate) fn status(&self) -> Option<u16> {
        let digits = self.start.strip_prefix(b"SIP/2.0 ")?.get(..3)?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    }

    /// The method of a request, or the one that a response is about.
    pub(crate) fn method(&self) -> &'m [u8] {
        self.cseq.rsplit(|byte| *byte == b' ').next().unwrap_or_default()
    }

    /// The call of its Call-ID: slot and generation.
    pub(crate) fn call(&self) -> Option<(usize, u32)> {
        let digits = std::str::from_utf8(self.id()?).ok()?;
        let slot = u32::from_str_radix(digits.get(..8)?, 16).ok()?;
        let generation = u32::from_str_radix(digits.get(8..)?, 16).ok()?;
        Some((usize::try_from(slot).ok()?, generation))
    }

    /// The sixteen digits of its Call-ID, from which tags and branches are made.
    pub(crate) fn id(&self) -> Option<&'m [u8]> {
        self.call_id.strip_suffix(b"@load").filter(|id| id.len() == 16)
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
    }

    #[test]
    fn a_stream_is_cut_by_content_length() {
        let text = b"BYE x SIP/2.0\r\nContent-Length: 3\r\n\r\nabcACK";
        assert_eq!(framed(text), Some(text.len() - 3));
        assert_eq!(framed(&text[..text.len() - 4]), None);
    }
}
