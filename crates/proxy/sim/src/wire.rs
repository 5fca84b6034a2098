//! A message as an end reads it. Not the product's scanner: what is wrong there must not be wrong here as well.

use std::rc::Rc;

/// A message and where its lines are. Bytes are kept as Latin-1.
#[derive(Clone, Debug)]
pub(crate) struct Wire {
    /// All of it.
    pub(crate) text: Rc<str>,
    lines: Vec<Line>,
    body_at: usize,
}

#[derive(Clone, Copy, Debug)]
struct Line {
    name: (usize, usize),
    value: (usize, usize),
}

const COMPACT: [(&str, &str); 8] = [
    ("v", "Via"),
    ("f", "From"),
    ("t", "To"),
    ("i", "Call-ID"),
    ("m", "Contact"),
    ("l", "Content-Length"),
    ("c", "Content-Type"),
    ("k", "Supported"),
];

/// Bytes as text, each byte one character.
pub(crate) fn latin1(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.is_ascii() => text.to_owned(),
        _ => bytes.iter().map(|byte| char::from(*byte)).collect(),
    }
}

impl Wire {
    /// Reads a message; `None` when it has no head or no Via, Call-ID and CSeq.
    pub(crate) fn parse(text: Rc<str>) -> Option<Wire> {
        let head_end = text.find("\r\n\r\n")?;
        let mut lines = Vec::with_capacity(20);
        let mut at = text.find("\r\n")? + 2;
        while at < head_end + 2 {
            let end = text[at..].find("\r\n").map_or(head_end, |len| at + len);
            if let Some(colon) = text[at..end].find(':') {
                let value = &text[at + colon + 1..end];
                let start = at + colon + 1 + (value.len() - value.trim_start().len());
                let name_end = at + text[at..at + colon].trim_end().len();
                lines.push(Line { name: (at, name_end), value: (start, start + value.trim().len()) });
            }
            at = end + 2;
        }
        let wire = Wire { text, lines, body_at: head_end + 4 };
        let whole = !wire.first("Via").is_empty() && !wire.first("Call-ID").is_empty() && wire.cseq().is_some();
        whole.then_some(wire)
    }

    /// Name and value of every header, in order; compact names in their long form.
    pub(crate) fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.lines.iter().map(|line| {
            let name = &self.text[line.name.0..line.name.1];
            let long = COMPACT.iter().find(|(short, _)| name.len() == 1 && name.eq_ignore_ascii_case(short));
            (long.map_or(name, |(_, long)| long), &self.text[line.value.0..line.value.1])
        })
    }

    /// The values of a header, line by line.
    pub(crate) fn all<'w>(&'w self, name: &'w str) -> impl Iterator<Item = &'w str> {
        self.headers().filter(move |(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The first value of a header; empty when it is missing.
    pub(crate) fn first(&self, name: &str) -> &str {
        self.headers().find(|(known, _)| known.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
    }

    /// The start line.
    pub(crate) fn start(&self) -> &str {
        self.text.split("\r\n").next().unwrap_or_default()
    }

    /// True for a response.
    pub(crate) fn is_response(&self) -> bool {
        self.text.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("SIP/2.0 "))
    }

    /// A response's status; 0 for a request.
    pub(crate) fn status(&self) -> u16 {
        if !self.is_response() {
            return 0;
        }
        self.text.get(8..11).and_then(|digits| digits.parse().ok()).unwrap_or(0)
    }

    /// A request's method, or that of the request that a response answers.
    pub(crate) fn method(&self) -> &str {
        match self.is_response() {
            true => self.cseq().map_or("", |(_, method)| method),
            false => self.text.split(' ').next().unwrap_or_default(),
        }
    }

    /// Number and method.
    pub(crate) fn cseq(&self) -> Option<(u32, &str)> {
        let (number, method) = self.first("CSeq").split_once(' ')?;
        Some((number.parse().ok()?, method.trim()))
    }

    /// The CSeq number.
    pub(crate) fn number(&self) -> u32 {
        self.cseq().map_or(0, |(number, _)| number)
    }

    /// The branch of the top Via.
    pub(crate) fn branch(&self) -> &str {
        param(self.first("Via"), "branch")
    }

    /// The branch of the Via below the top.
    pub(crate) fn lower_branch(&self) -> &str {
        self.all("Via").nth(1).map_or("", |via| param(via, "branch"))
    }

    /// The Call-ID.
    pub(crate) fn call_id(&self) -> &str {
        self.first("Call-ID")
    }

    /// Display name and URI of From or To, without its parameters.
    pub(crate) fn name(&self, header: &str) -> &str {
        let value = self.first(header);
        match value.find('>') {
            Some(at) => &value[..=at],
            None => value.split(';').next().unwrap_or_default(),
        }
    }

    /// The tag of From or To; empty without one.
    pub(crate) fn tag(&self, header: &str) -> &str {
        let value = self.first(header);
        param(value.find('>').map_or(value, |at| &value[at..]), "tag")
    }

    /// The body.
    pub(crate) fn body(&self) -> &str {
        self.text.get(self.body_at..).unwrap_or_default()
    }
}

/// A parameter of a value; empty without one.
pub(crate) fn param<'v>(value: &'v str, name: &str) -> &'v str {
    let found = value.split(';').skip(1).find_map(|param| {
        let (key, text) = param.split_once('=').unwrap_or((param, ""));
        key.trim().eq_ignore_ascii_case(name).then_some(text.trim())
    });
    found.unwrap_or_default()
}
