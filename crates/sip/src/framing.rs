//! Framing: cuts a stream into messages (RFC 3261 section 18.3, RFC 5626 section 4.4.1). Sans-I/O.
//!
//! What comes out depends on the bytes alone, never on the pieces they arrived in. A stream that says two things about
//! where a message ends is not guessed at: its message is refused and the stream closed, as nothing behind it can be
//! trusted.

use std::fmt;

use crate::bytes::{is_token, trim};
use crate::limits::MESSAGE_BYTES;
use crate::{Fault, Name};

/// How much a stream may make us keep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FramingLimits {
    /// Start line and headers of one message, with the empty line that ends them.
    pub head_bytes: usize,
    /// One message, its body included.
    pub message_bytes: usize,
}

impl Default for FramingLimits {
    /// 32,768 bytes of headers, [`MESSAGE_BYTES`] in all.
    fn default() -> Self {
        FramingLimits { head_bytes: 32_768, message_bytes: MESSAGE_BYTES }
    }
}

/// Capacity that a stream keeps while nothing of a message is there.
const IDLE_BYTES: usize = 4_096;

/// The cutting of one stream. Push what arrives, then take frames until there is none.
///
/// ```
/// use sip::{Frame, Framer, FramingLimits};
///
/// let mut framer = Framer::new(FramingLimits::default());
/// framer.push(b"\r\n\r\nOPTIONS sip:a@example.com SIP/2.0\r\nContent-");
/// assert_eq!(framer.next(), Some(Frame::Ping));
/// assert_eq!(framer.next(), None);
/// framer.push(b"Length: 2\r\n\r\nhi");
/// assert!(matches!(framer.next(), Some(Frame::Message(bytes)) if bytes.ends_with(b"hi")));
/// ```
#[derive(Debug)]
pub struct Framer {
    limits: FramingLimits,
    buffer: Vec<u8>,
    /// Where the frame in the making begins in `buffer`.
    start: usize,
    /// How many bytes from `start` on were searched for the end of the headers.
    searched: usize,
    /// Length of the frame in the making, once its headers are complete.
    frame_len: Option<usize>,
    is_closed: bool,
}

/// What a stream yields.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Frame<'a> {
    /// One whole message, for [`crate::parse_framed`].
    Message(&'a [u8]),
    /// Two CRLFs between messages: answer with one (RFC 5626 section 4.4.1).
    Ping,
    /// A message that must be refused and, after the answer, the stream closed. Nothing comes after it.
    Refuse {
        /// Start line and headers up to the empty line, without a body: read it with [`crate::parse_framed`], and when
        /// that is a request other than ACK answer with `fault`.
        head: &'a [u8],
        /// What to answer.
        fault: Fault,
    },
    /// Nothing can be answered: close the stream. Nothing comes after it.
    Close(CloseReason),
}

/// Why a stream is closed without an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum CloseReason {
    /// Something else than a token where a message begins.
    NotSip,
    /// Headers that do not end within [`FramingLimits::head_bytes`].
    HeadTooLong,
}

impl CloseReason {
    /// Every reason, in order.
    pub const ALL: [CloseReason; 2] = [CloseReason::NotSip, CloseReason::HeadTooLong];

    /// The counter's label.
    pub const fn name(self) -> &'static str {
        match self {
            CloseReason::NotSip => "not_sip",
            CloseReason::HeadTooLong => "head_too_long",
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CloseReason::NotSip => "found something else than SIP, expected a message",
            CloseReason::HeadTooLong => "found headers that do not end, expected an empty line",
        })
    }
}

impl Framer {
    /// A stream of which nothing has arrived yet. It keeps nothing until something does.
    pub const fn new(limits: FramingLimits) -> Framer {
        Framer { limits, buffer: Vec::new(), start: 0, searched: 0, frame_len: None, is_closed: false }
    }

    /// Takes what arrived. Take all frames before the next push: what is kept is one unfinished message and this.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.is_closed {
            return;
        }
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
            if self.buffer.is_empty() {
                self.buffer.shrink_to(IDLE_BYTES);
            }
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next frame, `None` until more arrives.
    #[expect(clippy::should_implement_trait, reason = "a frame borrows the framer, which an Iterator cannot say")]
    pub fn next(&mut self) -> Option<Frame<'_>> {
        if self.is_closed {
            return None;
        }
        if self.frame_len.is_none() {
            match self.between_messages() {
                Between::Begins => {}
                Between::Open => return None,
                Between::Ping => return Some(Frame::Ping),
                Between::NotSip => return self.close(CloseReason::NotSip),
            }
            let head_len = match self.head_len() {
                Head::Open => return None,
                Head::TooLong => return self.close(CloseReason::HeadTooLong),
                Head::Ends(len) => len,
            };
            let head = self.unframed().get(..head_len).unwrap_or_default();
            match body_len(head, self.limits.message_bytes) {
                Ok(body_len) => self.frame_len = Some(head_len + body_len),
                Err(fault) => return self.refuse(head_len, fault),
            }
        }
        let len = self.frame_len.filter(|&len| len <= self.unframed().len())?;
        self.frame_len = None;
        self.searched = 0;
        let start = self.start;
        self.start += len;
        self.buffer.get(start..self.start).map(Frame::Message)
    }

    /// Bytes of the message in the making: a stream that stays above 0 is waiting for its peer.
    pub fn pending(&self) -> usize {
        if self.is_closed { 0 } else { self.unframed().len() }
    }

    /// True once a frame said that the stream is to be closed.
    pub const fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Passes over CRLFs in front of a message.
    fn between_messages(&mut self) -> Between {
        if self.searched > 0 {
            return Between::Begins;
        }
        let (passed, between) = match *self.unframed() {
            [b'\r', b'\n', b'\r', b'\n', ..] => (4, Between::Ping),
            [] | [b'\r'] | [b'\r', b'\n'] | [b'\r', b'\n', b'\r'] => (0, Between::Open),
            [b'\r', b'\n', first, ..] if is_token(first) => (2, Between::Begins),
            [first, ..] if is_token(first) => (0, Between::Begins),
            _ => (0, Between::NotSip),
        };
        self.start += passed;
        between
    }

    /// Looks for the empty line, once over every byte.
    fn head_len(&mut self) -> Head {
        let limit = self.limits.head_bytes;
        let unframed = self.unframed();
        let within = unframed.get(..limit).unwrap_or(unframed);
        // The empty line may have begun in what was searched before.
        let from = self.searched.saturating_sub(3);
        let found = memchr::memmem::find(within.get(from..).unwrap_or_default(), b"\r\n\r\n");
        match found {
            Some(offset) => Head::Ends(from + offset + 4),
            None if within.len() == limit => Head::TooLong,
            None => {
                self.searched = within.len();
                Head::Open
            }
        }
    }

    fn unframed(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    fn refuse(&mut self, head_len: usize, fault: Fault) -> Option<Frame<'_>> {
        self.is_closed = true;
        let head = self.unframed().get(..head_len)?;
        Some(Frame::Refuse { head, fault })
    }

    fn close(&mut self, reason: CloseReason) -> Option<Frame<'_>> {
        self.is_closed = true;
        self.buffer = Vec::new();
        self.start = 0;
        Some(Frame::Close(reason))
    }
}

enum Between {
    /// A message begins.
    Begins,
    /// What comes next has not arrived.
    Open,
    Ping,
    NotSip,
}

enum Head {
    /// The empty line has not arrived.
    Open,
    TooLong,
    /// Length, with the empty line.
    Ends(usize),
}

/// What the one Content-Length of `head` says, when the message stays within `message_bytes`.
fn body_len(head: &[u8], message_bytes: usize) -> Result<usize, Fault> {
    if !has_whole_line_ends(head) {
        return Err(Fault::LineEnd);
    }
    let mut found = None;
    for line in Lines::new(head).skip(1) {
        if let Some(value) = content_length(line) {
            if found.is_some() {
                return Err(Fault::Repeated(Name::ContentLength));
            }
            found = Some(value);
        }
    }
    let value = found.ok_or(Fault::Missing(Name::ContentLength))?;
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Fault::Malformed(Name::ContentLength));
    }
    // A value beyond the limit stays beyond it whatever follows, so saturation loses nothing.
    let len = value.iter().fold(0_usize, |len, digit| len.saturating_mul(10).saturating_add(usize::from(digit - b'0')));
    if len > message_bytes.saturating_sub(head.len()) { Err(Fault::TooLarge) } else { Ok(len) }
}

/// The value of a Content-Length header, folds and white space around it cut off.
fn content_length(line: &[u8]) -> Option<&[u8]> {
    let colon = memchr::memchr(b':', line)?;
    let name = line.get(..colon)?;
    let name_len = name.iter().rposition(|byte| !matches!(byte, b' ' | b'\t')).map_or(0, |last| last + 1);
    let name = name.get(..name_len)?;
    if !name.eq_ignore_ascii_case(b"content-length") && !name.eq_ignore_ascii_case(b"l") {
        return None;
    }
    let (start, end) = trim(line, colon + 1, line.len());
    line.get(start..end)
}

/// True when every CR is followed by LF and every LF preceded by CR.
fn has_whole_line_ends(head: &[u8]) -> bool {
    memchr::memchr2_iter(b'\r', b'\n', head).all(|at| match head.get(at) {
        Some(b'\r') => head.get(at + 1) == Some(&b'\n'),
        _ => at > 0 && head.get(at - 1) == Some(&b'\r'),
    })
}

/// The lines of a head, each with its folds, without the CRLF at its end.
struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Lines<'a> {
    const fn new(head: &'a [u8]) -> Lines<'a> {
        Lines { rest: head }
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let mut from = 0;
        loop {
            let rest = self.rest;
            let end = from + memchr::memmem::find(rest.get(from..)?, b"\r\n")?;
            if !matches!(rest.get(end + 2), Some(b' ' | b'\t')) {
                self.rest = rest.get(end + 2..).unwrap_or_default();
                return rest.get(..end);
            }
            from = end + 2;
        }
    }
}

#[cfg(test)]
mod tests;
