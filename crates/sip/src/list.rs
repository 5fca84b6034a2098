//! Comma-separated lists: one entry after the other, over all header lines of a name (RFC 3261 7.3.1).

use crate::bytes::{find, find_of_3, is_lws, quoted_end, run_end, trim, visited};
use crate::header::{Header, Name};
use crate::span::Span;

/// One entry of a list.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    /// The header it stands in.
    pub header: &'a Header,
    /// The entry, without the white space around it.
    pub span: Span,
    /// No entry stands before it in its header.
    pub first_in_line: bool,
    /// No entry stands after it in its header.
    pub last_in_line: bool,
}

impl Item<'_> {
    /// What to delete from `message` to remove the entry: its header when it is alone there, else the entry and what
    /// parts it from its neighbour.
    pub fn removal(&self, message: &[u8]) -> Span {
        let parts = |byte: u8| is_lws(byte) || byte == b',';
        let (start, end) = (self.span.range().start, self.span.range().end);
        match (self.first_in_line, self.last_in_line) {
            (true, true) => self.header.line,
            (_, false) => Span::new(start, run_end(message, end, parts)),
            (false, true) => {
                let before = message.get(self.header.value.range().start..start).unwrap_or_default();
                let gap = before.iter().rev().take_while(|&&byte| parts(byte)).count();
                Span::new(start - gap, self.header.value.range().end)
            }
        }
    }
}

/// Iterates over the entries of all headers of one name. Commas inside `<>` and quoted strings part nothing, and
/// entries of no byte are passed over.
#[derive(Clone, Debug)]
pub struct List<'a> {
    bytes: &'a [u8],
    name: Name,
    headers: core::slice::Iter<'a, Header>,
    line: Option<Line<'a>>,
}

/// Where the iteration stands inside a header.
#[derive(Clone, Copy, Debug)]
struct Line<'a> {
    header: &'a Header,
    at: usize,
    is_first: bool,
}

impl<'a> List<'a> {
    /// The entries of the headers of `name`; `headers` stand in `bytes`.
    pub(crate) fn new(bytes: &'a [u8], headers: &'a [Header], name: Name) -> List<'a> {
        List { bytes, name, headers: headers.iter(), line: None }
    }

    fn next_in(&mut self, line: Line<'a>) -> Option<Item<'a>> {
        let Header { value: span, is_single, .. } = *line.header;
        if is_single {
            let item = Item { header: line.header, span, first_in_line: true, last_in_line: true };
            return (!span.is_empty()).then_some(item);
        }
        let value = self.bytes.get(..line.header.value.range().end)?;
        let start = entry_start(value, line.at);
        if start == value.len() {
            return None;
        }
        let end = element_end(value, start).end;
        let next = entry_start(value, end);
        let last_in_line = next == value.len();
        if !last_in_line {
            self.line = Some(Line { at: next, is_first: false, ..line });
        }
        let (_, end) = trim(value, start, end);
        Some(Item { header: line.header, span: Span::new(start, end), first_in_line: line.is_first, last_in_line })
    }
}

impl<'a> Iterator for List<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        loop {
            if let Some(item) = self.line.take().and_then(|line| self.next_in(line)) {
                return Some(item);
            }
            let header = self.headers.find(|header| header.name == self.name)?;
            self.line = Some(Line { header, at: header.value.range().start, is_first: true });
        }
    }
}

/// The first byte of an entry from `at` on, past commas and white space.
fn entry_start(value: &[u8], at: usize) -> usize {
    run_end(value, at, |byte| is_lws(byte) || byte == b',')
}

/// Where an entry ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ElementEnd {
    /// The comma after it, or the end of the value.
    pub(crate) end: usize,
    /// False when a quoted string or a `<` in it does not end.
    pub(crate) is_closed: bool,
}

/// The end of the entry that begins at `at`, in a value that ends where `bytes` ends.
pub(crate) fn element_end(bytes: &[u8], mut at: usize) -> ElementEnd {
    loop {
        let Some(stop) = find_of_3(*b",\"<", bytes, at) else {
            return ElementEnd { end: bytes.len(), is_closed: true };
        };
        let past = match bytes.get(stop) {
            Some(b'"') => quoted_end(bytes, stop),
            Some(b'<') => find(b'>', bytes, stop).map(|close| close + 1),
            _ => return ElementEnd { end: stop, is_closed: true },
        };
        match past {
            Some(past) => at = past,
            None => return ElementEnd { end: bytes.len(), is_closed: false },
        }
    }
}

/// The count of entries of a value, empty ones included; `None` when a quoted string or a `<` does not end.
pub(crate) fn count(message: &[u8], value: Span) -> Option<usize> {
    let bytes = message.get(..value.range().end)?;
    let mut at = value.range().start;
    let mut entries = 1;
    loop {
        let element = element_end(bytes, at);
        visited(1);
        if !element.is_closed {
            return None;
        }
        if element.end == bytes.len() {
            return Some(entries);
        }
        entries += 1;
        at = element.end + 1;
    }
}

#[cfg(test)]
mod tests;
