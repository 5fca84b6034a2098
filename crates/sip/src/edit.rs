//! Edits: ordered, disjoint splices, streamed over the original bytes. Every byte that is not edited leaves as it came.

use std::fmt;

use crate::Span;

/// A copy of `source` in the making, at the end of a buffer that the caller owns.
///
/// Edits come in the order of their places and do not overlap. One that comes too late, or lies outside the source,
/// spoils the whole: [`Splice::finish`] says so, and the buffer is as it was at [`Splice::new`].
///
/// ```
/// use sip::{Span, Splice};
///
/// let mut out = Vec::new();
/// let mut splice = Splice::new(b"Max-Forwards: 70\r\n", &mut out);
/// splice.replace(Span::new(14, 16), b"69");
/// splice.finish().unwrap();
/// assert_eq!(out, b"Max-Forwards: 69\r\n");
/// ```
#[must_use = "the copy ends where the last edit does until finish() is called"]
#[derive(Debug)]
pub struct Splice<'a, 'o> {
    source: &'a [u8],
    out: &'o mut Vec<u8>,
    /// Length of `out` at the start.
    begun: usize,
    /// Offset in `source` up to which everything was copied or dropped.
    at: usize,
    is_disordered: bool,
}

impl<'a, 'o> Splice<'a, 'o> {
    /// Begins a copy of `source` behind what `out` holds.
    pub fn new(source: &'a [u8], out: &'o mut Vec<u8>) -> Splice<'a, 'o> {
        let begun = out.len();
        Splice { source, out, begun, at: 0, is_disordered: false }
    }

    /// Puts `bytes` in front of the byte at offset `at`.
    pub fn insert(&mut self, at: u32, bytes: &[u8]) {
        self.with(at, at).extend_from_slice(bytes);
    }

    /// Puts `bytes` in the place of `span`.
    pub fn replace(&mut self, span: Span, bytes: &[u8]) {
        self.with(span.start, span.end).extend_from_slice(bytes);
    }

    /// Leaves `span` out.
    pub fn delete(&mut self, span: Span) {
        self.with(span.start, span.end);
    }

    /// Copies up to `at`, leaves out what follows up to `skip_to`, and lends the buffer: what the caller appends stands
    /// in the place of what was left out.
    pub fn with(&mut self, at: u32, skip_to: u32) -> &mut Vec<u8> {
        let range = Span { start: at, end: skip_to }.range();
        match self.source.get(self.at..range.start) {
            Some(untouched) if range.start <= range.end && range.end <= self.source.len() => {
                self.out.extend_from_slice(untouched);
                self.at = range.end;
            }
            _ => self.is_disordered = true,
        }
        self.out
    }

    /// Where in the buffer the source's byte at `at` stands when it has been copied. Every edit before it must have been made.
    #[must_use]
    pub fn place_of(&self, at: u32) -> usize {
        (self.out.len() + Span { start: 0, end: at }.range().end).saturating_sub(self.at)
    }

    /// How many bytes of the source's end have not been copied: as many as the copy ends with, if no further edit comes.
    #[must_use]
    pub fn left(&self) -> usize {
        self.source.len().saturating_sub(self.at)
    }

    /// Copies what is left. On an error the buffer is as it was at [`Splice::new`].
    pub fn finish(self) -> Result<(), Disordered> {
        if self.is_disordered {
            self.out.truncate(self.begun);
            return Err(Disordered);
        }
        self.out.extend_from_slice(self.source.get(self.at..).unwrap_or_default());
        Ok(())
    }
}

/// An edit began before the end of the one in front of it, or lay outside the source. A fault of ours, never a peer's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Disordered;

impl fmt::Display for Disordered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("found an edit out of order or out of range, expected ordered and disjoint ones")
    }
}

impl std::error::Error for Disordered {}

#[cfg(test)]
mod tests {
    use super::*;

    fn spliced(edits: impl FnOnce(&mut Splice<'_, '_>)) -> Result<Vec<u8>, Disordered> {
        let mut out = b">".to_vec();
        let mut splice = Splice::new(b"abcdef", &mut out);
        edits(&mut splice);
        let outcome = splice.finish();
        if outcome.is_err() {
            assert_eq!(out, b">", "a spoiled copy leaves the buffer as it was");
        }
        outcome.map(|()| out)
    }

    #[test]
    fn without_edits_the_copy_is_the_source() {
        assert_eq!(spliced(|_| {}).unwrap(), b">abcdef");
    }

    #[test]
    fn a_place_is_known_before_it_is_copied() {
        let copy = spliced(|splice| {
            splice.replace(Span::new(1, 3), b"-----");
            assert_eq!((splice.place_of(3), splice.place_of(5)), (1 + 6, 1 + 8));
            splice.delete(Span::new(3, 4));
            assert_eq!(splice.place_of(5), 1 + 7);
        });
        assert_eq!(copy.unwrap().get(7..9), Some(b"ef".as_slice()), "`f` stands at 8");
    }

    #[test]
    fn edits_touch_their_bytes_and_no_others() {
        let edited = spliced(|splice| {
            splice.insert(0, b"0");
            splice.replace(Span::new(1, 3), b"--");
            splice.insert(3, b"3");
            splice.delete(Span::new(3, 4));
            splice.with(5, 6).extend_from_slice(b"F");
            splice.insert(6, b"!");
        });
        assert_eq!(edited.unwrap(), b">0a--3eF!");
    }

    #[test]
    fn an_edit_out_of_order_or_range_spoils_the_whole() {
        let disordered: [fn(&mut Splice<'_, '_>); 5] = [
            |splice| {
                splice.delete(Span::new(2, 4));
                splice.insert(3, b"x");
            },
            |splice| splice.insert(7, b"x"),
            |splice| splice.delete(Span::new(4, 7)),
            |splice| splice.delete(Span { start: 4, end: 3 }),
            |splice| splice.replace(Span { start: u32::MAX, end: u32::MAX }, b"x"),
        ];
        for edits in disordered {
            assert_eq!(spliced(edits), Err(Disordered));
        }
    }
}
