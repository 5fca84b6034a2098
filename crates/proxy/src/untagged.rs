//! A value of From or To less its tag: what the two sides of a call see differently. The tag is the same for both
//! (RFC 3261 12.1), and stays as it arrives.

use crate::limits::NAME_BYTES;
use sip::NameAddr;

/// Display name, URI and parameters of a From or To, without the tag's value.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Untagged {
    /// The value as it was written, less the tag's value; less all of `;tag=`, where that stood at the end.
    pub text: Vec<u8>,
    /// Where in `text` the tag's value belongs; `None`: at the end, behind `;tag=`.
    pub tag_at: Option<usize>,
}

impl Untagged {
    /// What a value is without its tag.
    pub fn of(value: &[u8], tag: Option<&[u8]>) -> Untagged {
        let mut untagged = Untagged::default();
        untagged.take(value, tag);
        untagged
    }

    /// The same, into the room that is there.
    pub(crate) fn take(&mut self, value: &[u8], tag: Option<&[u8]>) {
        self.clear();
        let at_end = |tag: &[u8]| value.strip_suffix(tag)?.strip_suffix(b";tag=");
        let Some(tag) = tag else { return self.text.extend_from_slice(value) };
        if let Some(rest) = at_end(tag) {
            return self.text.extend_from_slice(rest);
        }
        // Elsewhere, in capitals or with white space: it is put back where it stood.
        let tag = NameAddr::parse(value).ok().and_then(|name_addr| name_addr.tag).map(|span| span.range());
        let Some(tag) = tag else { return self.text.extend_from_slice(value) };
        self.text.extend_from_slice(value.get(..tag.start).unwrap_or_default());
        self.text.extend_from_slice(value.get(tag.end..).unwrap_or_default());
        self.tag_at = Some(tag.start);
    }

    /// Appends the value with this tag.
    pub(crate) fn write(&self, tag: Option<&[u8]>, out: &mut Vec<u8>) {
        let (head, tail) = match self.tag_at.and_then(|at| self.text.split_at_checked(at)) {
            Some(parts) => parts,
            None => (self.text.as_slice(), [].as_slice()),
        };
        out.extend_from_slice(head);
        if let Some(tag) = tag {
            if self.tag_at.is_none() {
                out.extend_from_slice(b";tag=");
            }
            out.extend_from_slice(tag);
        }
        out.extend_from_slice(tail);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.tag_at = None;
    }

    /// False for what is longer than a token carries.
    pub(crate) fn fits_token(&self) -> bool {
        self.text.len() <= NAME_BYTES
    }
}

impl From<Vec<u8>> for Untagged {
    fn from(text: Vec<u8>) -> Untagged {
        Untagged { text, tag_at: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_tag_goes_back_to_where_it_stood() {
        for (value, tag, tag_at) in [
            ("<sip:a@x>;tag=1", Some("1"), None),
            ("<sip:a@x>;x=2;tag=1", Some("1"), None),
            ("<sip:a@x>;tag=1;x=2", Some("1"), Some(14)),
            ("<sip:a@x> ; TAG = 1", Some("1"), Some(18)),
            ("sip:a@x;x=\";tag=1\"", None, None),
            ("<sip:a@x>", None, None),
        ] {
            let untagged = Untagged::of(value.as_bytes(), tag.map(str::as_bytes));
            assert_eq!(untagged.tag_at, tag_at, "{value}");
            let mut out = Vec::new();
            untagged.write(tag.map(str::as_bytes), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), value);
        }
    }

    proptest! {
        #[test]
        fn any_value_is_restored(head in "(\"[a-z;= ]{0,9}\" ?)?<sip:[a-z]{1,5}@x>", more in "(;[a-z]=[0-9]{1,3}){0,2}",
            tag in "[a-z0-9]{1,4}", name in "; ?(tag|Tag) ?= ?", tail in "(;[a-z]=[0-9]{1,3}){0,2}"
        ) {
            let value = format!("{head}{more}{name}{tag}{tail}");
            let mut out = Vec::new();
            Untagged::of(value.as_bytes(), Some(tag.as_bytes())).write(Some(tag.as_bytes()), &mut out);
            prop_assert_eq!(String::from_utf8(out).unwrap(), value);
        }
    }
}
