//! What is needed of a request that has been heard: a CANCEL, an ACK and answers of our own are made of a few of its lines.
//!
//! As a rule they stand before all that others of them are about, and before the body: with what is behind them goes half of
//! an INVITE.

use sip::{Header, Name, Span, Splice};

/// Where the lines end that are needed of a request once it has been heard, while they are written.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lines {
    pub(super) call_id: Span,
    needed: usize,
    /// A length was written: what has it cannot do without its body.
    has_length: bool,
    /// That was before a line that is needed.
    is_whole: bool,
}

impl Lines {
    /// No header has been written; or one has, a length that is not the sender's.
    pub(super) fn new(has_length: bool) -> Lines {
        Lines { has_length, ..Lines::default() }
    }

    /// This header has been written, `base` being where the request begins.
    #[inline]
    pub(super) fn pass(&mut self, header: &Header, splice: &Splice<'_, '_>, base: usize) {
        match header.name {
            Name::Via | Name::From | Name::To | Name::CallId | Name::CSeq | Name::Route => {
                self.needed = splice.place_of(header.line.end) - base;
                self.is_whole |= self.has_length;
                if header.name == Name::CallId {
                    let Span { start, end } = header.value;
                    self.call_id = Span::new(splice.place_of(start) - base, splice.place_of(end) - base);
                }
            }
            Name::ContentLength => self.has_length = true,
            _ => {}
        }
    }

    /// The end of the lines that are needed; 0 where none of the request can go.
    pub(super) fn end(&self) -> u32 {
        if self.is_whole { 0 } else { u32::try_from(self.needed).unwrap_or_default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sip::{Index, Parsed, parse};

    const START: &str = "INVITE sip:918065978001@10.10.10.1 SIP/2.0\r\n";
    const VIA: &str = "Via: SIP/2.0/UDP 10.10.10.2:5060;branch=z9hG4bKa1\r\n";
    const NAMES: &str = "From: <sip:a@x>;tag=1\r\nTo: <sip:b@x>\r\nCSeq: 1 INVITE\r\n";
    const CALL_ID: &str = "Call-ID:  a1@gw \r\n";
    const BODY: &str = "v=0\r\no=- 1 1 IN IP4 10.10.10.2\r\n";

    /// A request as it leaves, and what is left of it once it has been heard.
    fn left_of(text: &str, has_length: bool) -> (String, Option<String>) {
        let mut index = Index::new();
        let Parsed::Request(request) = parse(text.as_bytes(), &mut index) else { panic!("{text}") };
        let mut out = b"before".to_vec();
        let base = out.len();
        let mut splice = Splice::new(request.bytes(), &mut out);
        splice.insert(request.headers_start(), b"Via: SIP/2.0/UDP 10.10.10.1:5060;branch=z9hG4bKb2\r\n");
        let mut lines = Lines::new(has_length);
        for header in request.headers() {
            match header.name {
                Name::MaxForwards => splice.replace(header.value, b"9"),
                Name::To => splice.replace(header.value, b"\"another\" <sip:another@example.net>"),
                Name::UserAgent => splice.delete(header.line),
                _ => {}
            }
            lines.pass(header, &splice, base);
        }
        splice.finish().unwrap();
        let written = String::from_utf8(out.split_off(base)).unwrap();
        assert_eq!(lines.call_id.of(written.as_bytes()), b"a1@gw");
        let end = usize::try_from(lines.end()).unwrap();
        let left = (end > 0).then(|| format!("{}\r\n", &written[..end]));
        (written, left)
    }

    /// What our own messages are made of is left, whatever stands between; the rest is gone.
    #[test]
    fn what_is_left_has_the_lines_that_are_needed() {
        let length = format!("Content-Type: application/sdp\r\nContent-Length: {}\r\n", BODY.len());
        let others = "Max-Forwards: 70\r\nUser-Agent: gone\r\n";
        for text in [
            format!("{START}{VIA}{others}{NAMES}{CALL_ID}Contact: <sip:a@10.10.10.2>\r\n{length}\r\n{BODY}"),
            format!("{START}{CALL_ID}{NAMES}{VIA}Route: <sip:10.10.10.3;lr>\r\n{others}{length}\r\n{BODY}"),
            format!("{START}v: SIP/2.0/UDP 10.10.10.2:5060;branch=z9hG4bKa1\r\n{NAMES}i: a1@gw\r\n{others}\r\n{BODY}"),
        ] {
            let (written, left) = left_of(&text, false);
            let left = left.unwrap();
            assert!(left.len() + 40 < written.len() && !left.contains("v=0"), "{left}");
            let mut indices = [Index::new(), Index::new()];
            let [whole, part] = &mut indices;
            let (Parsed::Request(whole), Parsed::Request(part)) =
                (parse(written.as_bytes(), whole), parse(left.as_bytes(), part))
            else {
                panic!("{left}")
            };
            for name in [Name::Via, Name::From, Name::To, Name::CallId, Name::CSeq, Name::Route] {
                let of = |message: &sip::Message<'_>| {
                    message.all(name).map(|header| message.value(header).to_vec()).collect::<Vec<_>>()
                };
                assert_eq!(of(part.message()), of(whole.message()), "{left}");
            }
            assert_eq!((part.uri(), part.cseq()), (whole.uri(), whole.cseq()));
        }
    }

    /// A message with a length and without its body is none.
    #[test]
    fn a_length_before_a_line_that_is_needed_keeps_the_body() {
        let length = format!("Content-Length: {}\r\n", BODY.len());
        assert!(left_of(&format!("{START}{VIA}{length}{NAMES}{CALL_ID}\r\n{BODY}"), false).1.is_none());
        assert!(left_of(&format!("{START}{VIA}{NAMES}{CALL_ID}\r\n{BODY}"), true).1.is_none(), "one that we put there");
    }
}
