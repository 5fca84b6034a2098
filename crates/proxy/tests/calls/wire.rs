//! Messages as the texts see them: one byte is one character, so nothing on the wire is lost or mended.
//!
//! This is a second reading of SIP on purpose. It shares nothing with the `sip` crate, so that a fault there cannot hide
//! itself here.

/// Bytes as text, one character a byte.
pub(crate) fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// The way back of [`latin1`].
pub(crate) fn to_bytes(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect()
}

/// A message cut into start line, header lines and body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wire {
    pub(crate) start: String,
    pub(crate) headers: Vec<Line>,
    pub(crate) body: String,
}

/// One header line, folds included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// In lower case, the compact form written out.
    pub(crate) name: String,
    /// Trimmed.
    pub(crate) value: String,
    /// As it stood, without its last line end.
    pub(crate) raw: String,
}

impl Wire {
    pub(crate) fn parse(bytes: &[u8]) -> Wire {
        let text = latin1(bytes);
        let text = text.trim_start_matches("\r\n");
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let mut lines = head.split("\r\n");
        let mut wire = Wire { start: lines.next().unwrap_or_default().into(), ..Wire::default() };
        for line in lines {
            match wire.headers.last_mut() {
                Some(last) if line.starts_with([' ', '\t']) => last.fold(line),
                _ => wire.headers.push(Line::parse(line)),
            }
        }
        wire.body = body.into();
        wire
    }

    pub(crate) fn is_response(&self) -> bool {
        self.start.starts_with("SIP/2.0 ")
    }

    /// The method of a request; that of CSeq in a response.
    pub(crate) fn method(&self) -> &str {
        if self.is_response() {
            self.first("cseq").split_whitespace().nth(1).unwrap_or_default()
        } else {
            self.start.split(' ').next().unwrap_or_default()
        }
    }

    /// 0 for a request.
    pub(crate) fn status(&self) -> u16 {
        if !self.is_response() {
            return 0;
        }
        self.start.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
    }

    pub(crate) fn reason(&self) -> &str {
        self.start.splitn(3, ' ').nth(2).unwrap_or_default()
    }

    pub(crate) fn uri(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    pub(crate) fn first(&self, name: &str) -> &str {
        self.headers.iter().find(|line| line.name == name).map_or("", |line| &line.value)
    }

    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|line| line.name == name).map(|line| line.value.as_str()).collect()
    }

    /// Comma-separated elements over all lines of the name.
    pub(crate) fn elements(&self, name: &str) -> Vec<String> {
        self.values(name).into_iter().flat_map(split_list).collect()
    }

    pub(crate) fn branch(&self) -> String {
        self.elements("via").first().and_then(|via| param(via, "branch")).unwrap_or_default()
    }

    pub(crate) fn second_branch(&self) -> String {
        self.elements("via").get(1).and_then(|via| param(via, "branch")).unwrap_or_default()
    }

    pub(crate) fn cseq_number(&self) -> u32 {
        self.first("cseq").split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or_default()
    }

    pub(crate) fn to_tag(&self) -> Option<String> {
        param(self.first("to"), "tag")
    }

    /// `INVITE` or `180`: what `again` and the ladder call it.
    pub(crate) fn kind(&self) -> String {
        if self.is_response() { self.status().to_string() } else { self.method().to_owned() }
    }

    /// One line for the ladder.
    pub(crate) fn summary(&self) -> String {
        if self.is_response() { format!("{} ({})", self.start, self.first("cseq")) } else { self.start.clone() }
    }
}

impl Line {
    fn parse(raw: &str) -> Line {
        let (name, value) = raw.split_once(':').unwrap_or((raw, ""));
        Line { name: canonical(name), value: value.trim().into(), raw: raw.into() }
    }

    fn fold(&mut self, more: &str) {
        self.raw.push_str("\r\n");
        self.raw.push_str(more);
        self.value = format!("{} {}", self.value, more.trim()).trim().into();
    }
}

/// A header's name in lower case, its compact form written out (the IANA table).
pub(crate) fn canonical(name: &str) -> String {
    let name = name.trim().to_ascii_lowercase();
    match name.as_str() {
        "v" => "via",
        "f" => "from",
        "t" => "to",
        "i" => "call-id",
        "m" => "contact",
        "l" => "content-length",
        "c" => "content-type",
        "e" => "content-encoding",
        "k" => "supported",
        "s" => "subject",
        "r" => "refer-to",
        "b" => "referred-by",
        "o" => "event",
        "u" => "allow-events",
        "x" => "session-expires",
        long => long,
    }
    .into()
}

/// Cuts a list at its commas; those in quotes and angle brackets do not count.
pub(crate) fn split_list(value: &str) -> Vec<String> {
    let (mut out, mut item) = (Vec::new(), String::new());
    let (mut quoted, mut angled, mut escaped) = (false, false, false);
    for c in value.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '<' if !quoted => angled = true,
            '>' if !quoted => angled = false,
            ',' if !quoted && !angled => {
                out.push(item.trim().to_owned());
                item.clear();
                continue;
            }
            _ => {}
        }
        item.push(c);
    }
    out.push(item.trim().to_owned());
    out
}

/// The parameters behind an element: after the `>` if there is one.
pub(crate) fn params(element: &str) -> Vec<(String, Option<String>)> {
    let tail = element.rfind('>').and_then(|at| element.get(at + 1..)).unwrap_or(element);
    tail.split(';')
        .skip(1)
        .map(|part| match part.split_once('=') {
            Some((name, value)) => (name.trim().to_ascii_lowercase(), Some(value.trim().to_owned())),
            None => (part.trim().to_ascii_lowercase(), None),
        })
        .collect()
}

pub(crate) fn param(element: &str, name: &str) -> Option<String> {
    params(element).into_iter().find(|(found, _)| found == name).and_then(|(_, value)| value)
}

/// The URI of a name-addr or addr-spec value.
pub(crate) fn uri_of(value: &str) -> &str {
    match value.split_once('<').and_then(|(_, rest)| rest.split_once('>')) {
        Some((uri, _)) => uri,
        None => value.split(';').next().unwrap_or_default().trim(),
    }
}

/// The user part of a SIP URI, the number of a `tel:` one.
pub(crate) fn user_of(uri: &str) -> &str {
    let rest = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    rest.split_once('@').map_or(if uri.starts_with("tel:") { rest } else { "" }, |(user, _)| user)
}

/// Host and port of a SIP URI.
pub(crate) fn hostport_of(uri: &str) -> &str {
    let rest = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    host.split([';', '?']).next().unwrap_or_default()
}
