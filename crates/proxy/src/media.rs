//! What an SDP body says of the way that media takes (RFC 8866): read, and never changed.
//!
//! One pass over the body, nothing allocated: the address of each stream is that of its own `c=`, else of the session's.
//! `o=` names who made the description and is not looked at; a stream with port 0 is refused (RFC 3264 6) and 0.0.0.0 is
//! a hold of old (RFC 3264 8.4): neither says where media goes.

use crate::settings::Network;
use sip::{Message, Name};
use std::net::IpAddr;

/// The first media address of the message's SDP that lies outside `networks`. A host name is no address, and passes.
pub fn stray_address(message: &Message<'_>, networks: &[Network]) -> Option<IpAddr> {
    if networks.is_empty() || message.body().is_empty() {
        return None;
    }
    let body = message.body().of(message.bytes());
    let content_type = message.value(message.first(Name::ContentType)?);
    if is_type(content_type, b"application/sdp") {
        let mut description = Description::new(networks);
        return lines(body).find_map(|line| description.line(line)).or_else(|| description.end());
    }
    let is_multipart = content_type.get(..10).is_some_and(|start| start.eq_ignore_ascii_case(b"multipart/"));
    is_multipart.then(|| in_parts(body, boundary(content_type)?, networks)).flatten()
}

/// What one line of a multipart body belongs to (RFC 2046 5.1).
#[derive(Clone, Copy)]
enum Part {
    /// The headers of a part; whether they have said that it is SDP.
    Head { is_sdp: bool },
    /// A body that is SDP.
    Sdp,
    /// Anything else.
    Other,
}

fn in_parts(body: &[u8], boundary: &[u8], networks: &[Network]) -> Option<IpAddr> {
    let mut description = Description::new(networks);
    let mut part = Part::Other;
    for line in lines(body) {
        let delimiter = line.strip_prefix(b"--").and_then(|line| line.strip_prefix(boundary));
        if let Some(rest) = delimiter.map(<[u8]>::trim_ascii).filter(|rest| rest.is_empty() || *rest == b"--") {
            if let Some(stray) = description.end() {
                return Some(stray);
            }
            part = if rest.is_empty() { Part::Head { is_sdp: false } } else { Part::Other };
            continue;
        }
        match part {
            Part::Head { is_sdp } if line.is_empty() => {
                description = Description::new(networks);
                part = if is_sdp { Part::Sdp } else { Part::Other };
            }
            Part::Head { is_sdp } => part = Part::Head { is_sdp: is_sdp || says_sdp(line) },
            Part::Sdp => {
                if let Some(stray) = description.line(line) {
                    return Some(stray);
                }
            }
            Part::Other => {}
        }
    }
    description.end()
}

/// One description, read line by line.
struct Description<'n> {
    networks: &'n [Network],
    /// The session's address, where it lies outside.
    session: Option<IpAddr>,
    stream: Stream,
}

/// The stream that is being read.
#[derive(Clone, Copy)]
enum Stream {
    /// None yet: lines are the session's.
    None,
    /// One that is refused.
    Refused,
    /// One with no address of its own so far.
    Open,
    /// One with an address of its own.
    Addressed,
}

impl<'n> Description<'n> {
    fn new(networks: &'n [Network]) -> Description<'n> {
        Description { networks, session: None, stream: Stream::None }
    }

    fn line(&mut self, line: &[u8]) -> Option<IpAddr> {
        match line {
            [b'c', b'=', connection @ ..] => {
                let stray = self.stray(connection);
                match self.stream {
                    Stream::None => self.session = stray,
                    Stream::Refused => {}
                    Stream::Open | Stream::Addressed => {
                        self.stream = Stream::Addressed;
                        return stray;
                    }
                }
                None
            }
            [b'm', b'=', media @ ..] => {
                let stray = self.end();
                let port = media.split(|byte| *byte == b' ').nth(1).and_then(|port| port.split(|c| *c == b'/').next());
                let is_refused = port.is_none_or(|port| port.iter().all(|digit| *digit == b'0'));
                self.stream = if is_refused { Stream::Refused } else { Stream::Open };
                stray
            }
            _ => None,
        }
    }

    /// The stream is over: without an address of its own it has the session's.
    fn end(&mut self) -> Option<IpAddr> {
        let is_open = matches!(self.stream, Stream::Open);
        self.stream = Stream::Refused;
        self.session.filter(|_| is_open)
    }

    /// The address of `IN IP4 224.2.1.1/127`, where it lies outside.
    fn stray(&self, connection: &[u8]) -> Option<IpAddr> {
        let address = connection.trim_ascii().split(|byte| *byte == b' ').nth(2)?.split(|byte| *byte == b'/').next()?;
        let ip: IpAddr = str::from_utf8(address).ok()?.parse().ok()?;
        let is_known = ip.is_unspecified() || self.networks.iter().any(|network| network.has(ip));
        (!is_known).then_some(ip)
    }
}

fn lines(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    body.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

/// Whether a Content-Type is of this media type, whatever its parameters.
fn is_type(value: &[u8], wanted: &[u8]) -> bool {
    let end = value.iter().position(|byte| *byte == b';').unwrap_or(value.len());
    value.get(..end).is_some_and(|kind| kind.trim_ascii().eq_ignore_ascii_case(wanted))
}

/// Whether a header line of a part says that the part is SDP.
fn says_sdp(line: &[u8]) -> bool {
    let Some(colon) = line.iter().position(|byte| *byte == b':') else { return false };
    let (name, value) = line.split_at(colon);
    name.trim_ascii().eq_ignore_ascii_case(b"content-type")
        && value.get(1..).is_some_and(|value| is_type(value, b"application/sdp"))
}

/// The boundary of a multipart type, without its quotes.
fn boundary(content_type: &[u8]) -> Option<&[u8]> {
    const NAME: &[u8] = b"boundary=";
    let at = content_type.windows(NAME.len()).position(|word| word.eq_ignore_ascii_case(NAME))?;
    let value = content_type.get(at + NAME.len()..)?;
    match value.strip_prefix(b"\"") {
        Some(quoted) => quoted.split(|byte| *byte == b'"').next(),
        None => value.split(|byte| *byte == b';' || byte.is_ascii_whitespace()).next(),
    }
    .filter(|boundary| !boundary.is_empty())
}

#[cfg(test)]
mod tests;
