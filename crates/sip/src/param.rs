//! `;name[=value]`, as it stands behind a Via's sent-by and behind a name-addr (RFC 3261 25.1).

use crate::bytes::{quoted_end, skip_lws, token_end, value_end, visited};
use crate::span::Span;

/// One parameter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Parameter {
    pub(crate) name: Span,
    /// With its quotes when it is a quoted string; `None` without a `=`.
    pub(crate) value: Option<Span>,
}

/// Reads parameters one by one, from just after what they belong to up to the comma or the end behind them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parameters<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// What [`Parameters::next`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Next {
    Found(Parameter),
    /// `;` with nothing behind it.
    Empty,
    /// Nothing follows, or a comma.
    End,
    /// What follows is no parameter.
    Broken,
}

impl<'a> Parameters<'a> {
    /// The parameters of `bytes`, from `at` on.
    pub(crate) const fn new(bytes: &'a [u8], at: usize) -> Parameters<'a> {
        Parameters { bytes, at }
    }

    /// Just after the last parameter that was found.
    pub(crate) const fn at(&self) -> usize {
        self.at
    }

    /// The bare value of the parameter that stands right here, where it is `spelled` as it is as a rule: `;name=` in lower
    /// case and without white space. `None` leaves it to [`Parameters::next`].
    #[inline(always)]
    pub(crate) fn usual<const LEN: usize>(&mut self, spelled: &[u8; LEN]) -> Option<Span> {
        let start = self.at + LEN;
        if self.bytes.get(self.at..start)? != spelled {
            return None;
        }
        visited(LEN);
        let end = value_end(self.bytes, start);
        if end == start {
            return None;
        }
        self.at = end;
        Some(Span::new(start, end))
    }

    pub(crate) fn next(&mut self) -> Next {
        let semicolon = skip_lws(self.bytes, self.at);
        match self.bytes.get(semicolon) {
            None | Some(b',') => return Next::End,
            Some(b';') => {}
            Some(_) => return Next::Broken,
        }
        let start = skip_lws(self.bytes, semicolon + 1);
        let name_end = token_end(self.bytes, start);
        if name_end == start {
            return self.nameless(start);
        }
        let name = Span::new(start, name_end);
        let equals = skip_lws(self.bytes, name_end);
        if self.bytes.get(equals) != Some(&b'=') {
            self.at = name_end;
            return Next::Found(Parameter { name, value: None });
        }
        let value_start = skip_lws(self.bytes, equals + 1);
        let value_end = if self.bytes.get(value_start) == Some(&b'"') {
            quoted_end(self.bytes, value_start)
        } else {
            Some(value_end(self.bytes, value_start))
        };
        match value_end {
            Some(end) if end > value_start => {
                self.at = end;
                Next::Found(Parameter { name, value: Some(Span::new(value_start, end)) })
            }
            _ => Next::Broken,
        }
    }

    fn nameless(&mut self, at: usize) -> Next {
        match self.bytes.get(at) {
            None | Some(b';' | b',') => {
                self.at = at;
                Next::Empty
            }
            Some(_) => Next::Broken,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> (Vec<(&str, Option<&str>)>, Next) {
        let mut parameters = Parameters::new(text.as_bytes(), 0);
        let mut found = Vec::new();
        let text_of = |span: Span| &text[span.range()];
        loop {
            match parameters.next() {
                Next::Found(parameter) => found.push((text_of(parameter.name), parameter.value.map(text_of))),
                end => return (found, end),
            }
        }
    }

    #[test]
    fn parameters_in_every_shape() {
        let (found, end) = all(" ; a ;b=1;\r\n c = [2001:db8::1]:5 ;d=\"x;\\\",\" ;e=%3b , next");
        assert_eq!(end, Next::End);
        let expected = [
            ("a", None),
            ("b", Some("1")),
            ("c", Some("[2001:db8::1]:5")),
            ("d", Some("\"x;\\\",\"")),
            ("e", Some("%3b")),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_no_parameter() {
        for (text, end) in [
            ("", Next::End),
            (";", Next::Empty),
            (";;a", Next::Empty),
            (";,", Next::Empty),
            (";a=", Next::Broken),
            (";a=;b", Next::Broken),
            (";a=\"b", Next::Broken),
            (";=b", Next::Broken),
            (";a b", Next::Broken),
            (";a=b c", Next::Broken),
            ("a", Next::Broken),
        ] {
            assert_eq!(all(text).1, end, "{text}");
        }
    }
}
