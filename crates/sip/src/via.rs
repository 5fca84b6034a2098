//! Via (RFC 3261 20.42, RFC 3581): which way an answer goes back.

use crate::bytes::{host_name_end, is_named, plain_value_end, skip_lws, token_end, visited};
use crate::error::Fault;
use crate::header::Name;
use crate::host::{host_end, port, short_port};
use crate::list::element_end;
use crate::param::{Next, Parameter, Parameters};
use crate::span::Span;
use crate::uri::ipv4;
use core::net::IpAddr;

/// What a branch of RFC 3261 begins with, compared without case.
const COOKIE: &[u8] = b"z9hG4bK";

/// One Via entry. Spans are places in the message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Via<'a> {
    /// The whole entry, parameters included, without the comma.
    pub span: Span,
    /// `UDP`, `TCP`, .. as it was written.
    pub transport: &'a [u8],
    /// The host of the sent-by; an IPv6 reference with its brackets.
    pub host: &'a [u8],
    /// The port of the sent-by, 1 to 65,535.
    pub port: Option<u16>,
    /// Host and port.
    pub sent_by: Span,
    /// The branch.
    pub branch: Option<&'a [u8]>,
    /// Where the branch stands.
    pub branch_span: Option<Span>,
    /// Whether the sender asked for the port it was seen at (RFC 3581).
    pub rport: Rport,
    /// The value of `received`.
    pub received: Option<Span>,
    /// The address in `received`, with or without brackets; `None` when it is no address.
    pub received_ip: Option<IpAddr>,
    /// The value of `maddr`.
    pub maddr: Option<&'a [u8]>,
    /// The value of `ttl`.
    pub ttl: Option<u8>,
}

/// The `rport` parameter of a Via (RFC 3581 3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rport {
    /// Not there.
    Absent,
    /// Asked for; the span is the word `rport`.
    Requested(Span),
    /// Filled in.
    Filled {
        /// 1 to 65,535.
        port: u16,
        /// Where the digits stand.
        value: Span,
    },
}

/// A Via entry of which at least the sent-by could be read.
pub(crate) struct ReadVia<'a> {
    pub(crate) via: Via<'a>,
    /// False when something in it is malformed: it still shows the way back, and is good for nothing else.
    pub(crate) is_sound: bool,
}

impl<'a> Via<'a> {
    /// Reads one entry of a Via list; `element` is where it stands in `message`.
    pub fn parse(message: &'a [u8], element: Span) -> Result<Via<'a>, Fault> {
        if let Some(via) = Via::usual(message, element) {
            return Ok(via);
        }
        Via::odd(message, element).filter(|read| read.is_sound).map(|read| read.via).ok_or(Fault::Malformed(Name::Via))
    }

    /// True when the branch begins with the cookie of RFC 3261 (8.1.1.7) and goes on after it.
    pub fn has_cookie(&self) -> bool {
        self.branch
            .and_then(|branch| branch.split_at_checked(COOKIE.len()))
            .is_some_and(|(cookie, rest)| cookie.eq_ignore_ascii_case(COOKIE) && !rest.is_empty())
    }

    /// Reads the first entry in `list`, however much of it can be read. `None` when the sent-by cannot.
    #[inline(always)]
    pub(crate) fn read(message: &'a [u8], list: Span) -> Option<ReadVia<'a>> {
        match Via::usual(message, list) {
            Some(via) => Some(ReadVia { via, is_sound: true }),
            None => Via::odd(message, list),
        }
    }

    /// Reads a sound list of one entry, spelled as it is as a rule; `None` leaves it to [`Via::odd`].
    #[inline]
    pub(crate) fn usual(message: &'a [u8], list: Span) -> Option<Via<'a>> {
        let bytes = message.get(..list.end as usize)?;
        let (protocol, after) = bytes.get(list.start as usize..)?.split_first_chunk::<{ USUAL.len() + 4 }>()?;
        if protocol != b"SIP/2.0/UDP " && protocol != b"SIP/2.0/TCP " {
            return None;
        }
        let host_start = bytes.len() - after.len();
        let mut at = host_name_end(bytes, host_start);
        visited(protocol.len());
        let host = bytes.get(host_start..at).filter(|host| !host.is_empty())?;
        let mut port = None;
        if let Some(digits) = bytes.get(at..)?.strip_prefix(b":") {
            let (number, len) = short_port(digits)?;
            port = Some(number);
            at += 1 + len;
        }
        let sent_by = Span::new(host_start, at);
        let (before, at) = usual_rport(bytes, at)?;
        let (branch_span, at) = usual_value(bytes, at, b";branch=")?;
        let (behind, at) = usual_rport(bytes, at)?;
        let (received, at) = usual_value(bytes, at, b";received=")?;
        let rport = match (before, behind) {
            (rport, Rport::Absent) | (Rport::Absent, rport) => rport,
            _ => return None,
        };
        if at != bytes.len() {
            return None;
        }
        let branch = branch_span.map(|branch| branch.of(bytes));
        let received_ip = received.and_then(|received| ip(received.of(bytes)));
        let transport = protocol.get(USUAL.len()..USUAL.len() + 3)?;
        let (maddr, ttl) = (None, None);
        Some(Via {
            span: list,
            transport,
            host,
            port,
            sent_by,
            branch,
            branch_span,
            rport,
            received,
            received_ip,
            maddr,
            ttl,
        })
    }

    #[inline(never)]
    fn odd(message: &'a [u8], list: Span) -> Option<ReadVia<'a>> {
        let bytes = message.get(..list.range().end)?;
        let (transport, sent_by) = protocol(bytes, list.range().start)?;
        let host_stop = host_end(bytes, sent_by)?;
        let mut via = Via {
            span: list,
            transport: transport.of(bytes),
            host: bytes.get(sent_by..host_stop)?,
            port: None,
            sent_by: Span::new(sent_by, host_stop),
            branch: None,
            branch_span: None,
            rport: Rport::Absent,
            received: None,
            received_ip: None,
            maddr: None,
            ttl: None,
        };
        let end = via.read_port(bytes, host_stop).and_then(|at| via.read_parameters(bytes, at));
        let is_sound = end.is_some();
        let end = end.unwrap_or_else(|| element_end(bytes, list.range().start).end);
        via.span = Span::new(list.range().start, end);
        Some(ReadVia { via, is_sound })
    }

    /// Returns where the sent-by ends; `None` for a port that is none.
    fn read_port(&mut self, bytes: &[u8], host_stop: usize) -> Option<usize> {
        let colon = skip_lws(bytes, host_stop);
        if bytes.get(colon) != Some(&b':') {
            return Some(host_stop);
        }
        let start = skip_lws(bytes, colon + 1);
        let end = token_end(bytes, start);
        self.port = Some(port(bytes.get(start..end)?)?);
        self.sent_by = Span::new(self.sent_by.range().start, end);
        Some(end)
    }

    /// Returns where the last parameter ends; `None` for what is no parameter, and for one of ours that is malformed.
    fn read_parameters(&mut self, bytes: &'a [u8], at: usize) -> Option<usize> {
        let mut parameters = Parameters::new(bytes, at);
        loop {
            if self.branch.is_none()
                && let Some(branch) = parameters.usual(b";branch=")
            {
                self.branch_span = Some(branch);
                self.branch = Some(branch.of(bytes));
                continue;
            }
            match parameters.next() {
                Next::Found(parameter) => self.set(bytes, &parameter)?,
                Next::End => return Some(parameters.at()),
                Next::Empty | Next::Broken => return None,
            }
        }
    }

    /// Takes over a parameter that says where answers go, once.
    fn set(&mut self, bytes: &'a [u8], &Parameter { name, value }: &Parameter) -> Option<()> {
        let name_bytes = name.of(bytes);
        let text = value.map(|value| value.of(bytes));
        match name_bytes {
            name if is_named(name, b"branch") => {
                self.branch_span = once(self.branch_span, value?)?;
                self.branch = text;
            }
            word if is_named(word, b"rport") => {
                if self.rport != Rport::Absent {
                    return None;
                }
                self.rport = match (value, text) {
                    (Some(value), Some(text)) => Rport::Filled { port: port(text)?, value },
                    _ => Rport::Requested(name),
                };
            }
            name if is_named(name, b"received") => {
                self.received = once(self.received, value?)?;
                self.received_ip = ip(text?);
            }
            name if is_named(name, b"maddr") => self.maddr = once(self.maddr, text?)?,
            name if is_named(name, b"ttl") => {
                let ttl = crate::bytes::digits(text?).and_then(|ttl| u8::try_from(ttl).ok())?;
                self.ttl = once(self.ttl, ttl)?;
            }
            _ => {}
        }
        Some(())
    }
}

/// The value of the parameter that is `spelled` so, if it stands at `at`, and where it ends; `None` says to look closer.
#[inline(always)]
fn usual_value<const LEN: usize>(bytes: &[u8], at: usize, spelled: &[u8; LEN]) -> Option<(Option<Span>, usize)> {
    if !bytes.get(at..)?.starts_with(spelled) {
        return Some((None, at));
    }
    let start = at + LEN;
    let end = plain_value_end(bytes, start);
    (end > start).then_some((Some(Span::new(start, end)), end))
}

/// The same for `rport`.
#[inline(always)]
fn usual_rport(bytes: &[u8], at: usize) -> Option<(Rport, usize)> {
    let Some(rest) = bytes.get(at..)?.strip_prefix(b";rport") else { return Some((Rport::Absent, at)) };
    let name_end = at + b";rport".len();
    match rest {
        [] | [b';', ..] => Some((Rport::Requested(Span::new(at + 1, name_end)), name_end)),
        [b'=', digits @ ..] => {
            let (port, len) = short_port(digits)?;
            let value = Span::new(name_end + 1, name_end + 1 + len);
            Some((Rport::Filled { port, value }, name_end + 1 + len))
        }
        _ => None,
    }
}

/// A parameter that may stand there once.
fn once<T: Copy>(before: Option<T>, value: T) -> Option<Option<T>> {
    before.is_none().then_some(Some(value))
}

/// What a Via begins with as a rule.
const USUAL: &[u8] = b"SIP/2.0/";

/// The transport's span, and where the sent-by begins: `SIP / 2.0 / UDP LWS`.
fn protocol(bytes: &[u8], start: usize) -> Option<(Span, usize)> {
    let rest = bytes.get(start..)?;
    let transport = if rest.starts_with(USUAL) {
        skip_lws(bytes, start + USUAL.len())
    } else {
        let version = after_slash(bytes, start)?;
        after_slash(bytes, version)?
    };
    let end = token_end(bytes, transport);
    let sent_by = skip_lws(bytes, end);
    (end > transport && sent_by > end).then(|| (Span::new(transport, end), sent_by))
}

/// Where the part after a token and its slash begins.
fn after_slash(bytes: &[u8], token: usize) -> Option<usize> {
    let end = token_end(bytes, token);
    let slash = skip_lws(bytes, end);
    (end > token && bytes.get(slash) == Some(&b'/')).then(|| skip_lws(bytes, slash + 1))
}

/// The address in a `received`, with or without brackets.
fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let bare = bytes.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")).unwrap_or(bytes);
    let text = || core::str::from_utf8(bare).ok()?.parse().ok();
    ipv4(bare).map(IpAddr::V4).or_else(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Via<'_>, Fault> {
        Via::parse(text.as_bytes(), Span::new(0, text.len()))
    }

    fn text_of(text: &str, span: Span) -> &str {
        &text[span.range()]
    }

    #[test]
    fn a_via_of_today() {
        let text = "SIP/2.0/UDP 10.10.10.2:5060;rport;branch=z9hG4bKnashds7, SIP/2.0/UDP far";
        let via = parse(text).unwrap();
        assert_eq!((via.transport, via.host, via.port), (&b"UDP"[..], &b"10.10.10.2"[..], Some(5060)));
        assert_eq!(via.branch, Some(&b"z9hG4bKnashds7"[..]));
        assert_eq!(text_of(text, via.branch_span.unwrap()), "z9hG4bKnashds7");
        assert_eq!(text_of(text, via.sent_by), "10.10.10.2:5060");
        assert_eq!(text_of(text, via.span), "SIP/2.0/UDP 10.10.10.2:5060;rport;branch=z9hG4bKnashds7");
        let Rport::Requested(word) = via.rport else { panic!("{via:?}") };
        assert_eq!(text_of(text, word), "rport");
        assert!(via.has_cookie());
    }

    #[test]
    fn white_space_wherever_the_grammar_has_it() {
        let text =
            "SIP  /    2.0\r\n  / UDP  192.168.255.111 : 5070   ; branch=\r\n z9hG4bK30239 ; ttl = 16 ;maddr=[::1]";
        let via = parse(text).unwrap();
        assert_eq!((via.transport, via.host, via.port), (&b"UDP"[..], &b"192.168.255.111"[..], Some(5070)));
        assert_eq!(via.branch, Some(&b"z9hG4bK30239"[..]));
        assert_eq!((via.ttl, via.maddr), (Some(16), Some(&b"[::1]"[..])));
        assert_eq!(text_of(text, via.span), text);
    }

    #[test]
    fn addresses_of_both_families() {
        let text = "SIP/2.0/TCP [2001:db8::9:1]:6050;received=[2001:db8::9:255];rport=4040;branch=z9hG4bKas3";
        let via = parse(text).unwrap();
        assert_eq!((via.host, via.port), (&b"[2001:db8::9:1]"[..], Some(6050)));
        assert_eq!(via.received_ip, "2001:db8::9:255".parse().ok());
        let Rport::Filled { port, value } = via.rport else { panic!("{via:?}") };
        assert_eq!((port, text_of(text, value)), (4040, "4040"));
        let text = "SIP/2.0/UDP pbx;received=192.0.2.5";
        assert_eq!(parse(text).unwrap().received_ip, "192.0.2.5".parse().ok());
        let via = parse("SIP/2.0/UDP pbx;received=elsewhere.example.com").unwrap();
        assert!(via.received.is_some() && via.received_ip.is_none());
    }

    /// Both ways of reading one say the same.
    #[test]
    fn what_is_usual_is_read_as_what_is_odd() {
        let protocols = ["SIP/2.0/UDP ", "SIP/2.0/TCP ", "SIP/2.0/TLS ", "SIP / 2.0 / UDP  ", "SIP/2.0/UDP"];
        let hosts = ["10.10.10.2", "pbx", "[::1]", "", "a_b!"];
        let ports = ["", ":5060", ":0", ":65536", ":005060", ": 5060", ":", ":50a"];
        let parameters = [
            "",
            ";branch=z9hG4bK1",
            ";branch=",
            ";branch=\"a\"",
            ";rport",
            ";rport=5060",
            ";rport=0",
            ";rport=5a",
            ";rports",
            ";received=10.10.10.2",
            ";received=[::1]",
            ";received=",
            ";RPORT",
            ";ttl=1",
            ";maddr=h",
            ";x",
            " ;x=1",
            ",SIP/2.0/UDP far",
        ];
        let mut usual = 0;
        for start in protocols.iter().flat_map(|protocol| hosts.map(|host| format!("{protocol}{host}"))) {
            for start in ports.map(|port| format!("{start}{port}")) {
                for first in parameters {
                    for text in parameters.map(|second| format!("{start}{first}{second}")) {
                        let span = Span::new(0, text.len());
                        let odd = Via::odd(text.as_bytes(), span).map(|read| (read.via, read.is_sound));
                        if let Some(via) = Via::usual(text.as_bytes(), span) {
                            assert_eq!(Some((via, true)), odd, "{text}");
                            usual += 1;
                        }
                    }
                }
            }
        }
        assert!(usual > 80, "{usual}");
    }

    #[test]
    fn the_cookie_needs_something_behind_it() {
        for (branch, has_cookie) in
            [("z9hG4bKa", true), ("Z9HG4BKa", true), ("z9hG4bK", false), ("z9hG4b", false), ("390skdjuw", false)]
        {
            let text = format!("SIP/2.0/UDP h;branch={branch}");
            assert_eq!(parse(&text).unwrap().has_cookie(), has_cookie, "{branch}");
        }
        assert!(!parse("SIP/2.0/UDP h").unwrap().has_cookie());
    }

    #[test]
    fn a_malformed_via_shows_the_way_back_where_it_can() {
        for text in [
            "SIP/2.0/UDP h;;",
            "SIP/2.0/UDP h;branch",
            "SIP/2.0/UDP h;branch=",
            "SIP/2.0/UDP h;branch=a;branch=b",
            "SIP/2.0/UDP h;rport=0",
            "SIP/2.0/UDP h;rport=65536",
            "SIP/2.0/UDP h;rport;rport",
            "SIP/2.0/UDP h;received=a;received=b",
            "SIP/2.0/UDP h;maddr",
            "SIP/2.0/UDP h;ttl=256",
            "SIP/2.0/UDP h:70000",
            "SIP/2.0/UDP h:",
            "SIP/2.0/UDP h i",
            "SIP/2.0/UDP 2001:db8::1",
            "SIP/2.0/UDP h;x=\"",
        ] {
            assert_eq!(parse(text), Err(Fault::Malformed(Name::Via)), "{text}");
            let read = Via::read(text.as_bytes(), Span::new(0, text.len()));
            assert!(read.is_some_and(|read| !read.is_sound), "{text}");
        }
        for text in
            ["", "SIP/2.0/UDP", "SIP/2.0/UDP ", "SIP/2.0 h", "SIP/2.0/UDP ;branch=x", "SIP/2.0/UDP [::1", "/2.0/UDP h"]
        {
            assert!(Via::read(text.as_bytes(), Span::new(0, text.len())).is_none(), "{text}");
        }
    }

    /// RFC 4475 3.1.2.1: of a broken list the first entry is what stands before its comma.
    #[test]
    fn a_broken_entry_ends_at_its_comma() {
        let text = "SIP/2.0/UDP 192.0.2.15;;,;,,";
        let read = Via::read(text.as_bytes(), Span::new(0, text.len())).unwrap();
        assert_eq!(text_of(text, read.via.span), "SIP/2.0/UDP 192.0.2.15;;");
    }
}
