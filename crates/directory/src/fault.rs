//! What is wrong with the data: every fault, with where it stands, what was found and what was expected.

use std::fmt::{self, Write};
use std::sync::Arc;

use crate::limits::{FAULTS_LISTED_MAX, FOUND_BYTES_MAX};
use crate::ordered::Ordered;
use crate::row_key::RowKey;
use crate::rows::Cell;

/// One fault of one row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// The table.
    pub table: Table,
    /// The row's `id`, shortened and escaped; `NULL` when it has none.
    pub key: String,
    /// The column.
    pub column: &'static str,
    /// What stood there, shortened and escaped, so that it is fit for a log and a terminal.
    pub found: String,
    /// What would have been good.
    pub expected: String,
    /// The kind of fault, for counting.
    pub reason: Reason,
    /// What was done about it.
    pub effect: Effect,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { table, key, column, found, expected, reason, effect } = self;
        write!(f, "{table} {key}: {column}: found {found}, expected {expected} ({reason}; {effect})")
    }
}

macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum $name { $($(#[$variant_doc])* $variant),+ }

        impl $name {
            /// Every value, in order.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// A short name for counters, reports and the table of the reference schema.
            pub const fn name(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }
    };
}

named! {
    /// The four tables.
    Table {
        /// `did_numbers`
        Dids = "did_numbers",
        /// `users`
        Users = "users",
        /// `organizations`
        Organisations = "organizations",
        /// `sip_trunks`
        Trunks = "sip_trunks",
    }
}

named! {
    /// The kinds of fault.
    Reason {
        /// NULL where a value matters.
        Null = "null",
        /// Bytes that are not UTF-8.
        NotUtf8 = "not_utf8",
        /// More bytes than the column can sensibly hold.
        TooLong = "too_long",
        /// A word that is none of the column's.
        UnknownWord = "unknown_word",
        /// No telephone number.
        BadNumber = "bad_number",
        /// No whole number, or one out of range.
        BadInteger = "bad_integer",
        /// Neither yes nor no.
        BadBoolean = "bad_boolean",
        /// No date and time.
        BadTime = "bad_time",
        /// No JSON object, or a limit in it that is no whole number.
        BadLimits = "bad_limits",
        /// Two rows with one key, number, endpoint or extension.
        Duplicate = "duplicate",
        /// No organisation where one matters.
        NoOrganisation = "no_organisation",
        /// An organisation that has no good row.
        UnknownOrganisation = "unknown_organisation",
        /// More than one default DID in one organisation.
        TwoDefaults = "two_defaults",
        /// An `outbound_did` that another organisation has.
        ForeignDid = "foreign_did",
        /// An `outbound_did` that is not in the table.
        UnknownDid = "unknown_did",
        /// More different values than the directory can tell apart.
        TooMany = "too_many",
    }
}

named! {
    /// What was done about a fault.
    Effect {
        /// The row is as if it were not there.
        RowAbsent = "row set aside",
        /// The row's last good value stays in effect.
        LastGoodKept = "last good value kept",
        /// Another row of the same key is in effect.
        OtherRowInEffect = "another row in effect",
        /// The row is in effect without this value.
        ValueIgnored = "value ignored",
        /// The row is in effect as it is.
        Noted = "in effect as it is",
    }
}

/// What is wrong with one cell, before it is known whose.
#[derive(Debug)]
pub(crate) struct CellFault {
    pub(crate) column: &'static str,
    pub(crate) found: String,
    pub(crate) expected: String,
    pub(crate) reason: Reason,
}

/// A fault that was found when a row was read. What a fault says of several rows is found when it is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct RowFault {
    pub(crate) table: Table,
    pub(crate) key: RowKey,
    pub(crate) column: &'static str,
    pub(crate) reason: Reason,
    /// What was done about it; `None` when the row could not be read, and what was done depends on other rows.
    pub(crate) effect: Option<Effect>,
    /// `None` beyond [`FAULTS_LISTED_MAX`].
    pub(crate) text: Option<FaultText>,
}

/// The part of a fault that is for people.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct FaultText {
    pub(crate) id: Box<str>,
    pub(crate) found: Box<str>,
    pub(crate) expected: Box<str>,
}

impl RowFault {
    fn order(&self) -> impl Ord + '_ {
        (self.table, self.key, self.column, self.reason, &self.text)
    }
}

/// The faults of all rows, each found when its row was read: all counted, the first [`FAULTS_LISTED_MAX`] with texts.
#[derive(Clone, Default, Debug)]
pub(crate) struct RowFaults {
    /// By table and key of the row.
    faults: Ordered<Arc<RowFault>>,
    counts: [u32; Reason::ALL.len()],
    texts: usize,
}

impl RowFaults {
    /// Takes a fault in, with its text while there is room for one more.
    pub(crate) fn push(&mut self, table: Table, row: (RowKey, &Cell), fault: CellFault, effect: Option<Effect>) {
        let (key, id) = row;
        let CellFault { column, found, expected, reason } = fault;
        let text = FaultText { id: shown_id(id.as_deref()).into(), found: found.into(), expected: expected.into() };
        self.insert(RowFault { table, key, column, reason, effect, text: Some(text) });
    }

    pub(crate) fn insert(&mut self, mut fault: RowFault) {
        fault.text = fault.text.filter(|_| self.texts < FAULTS_LISTED_MAX);
        self.texts += usize::from(fault.text.is_some());
        if let Some(count) = self.counts.get_mut(fault.reason as usize) {
            *count = count.saturating_add(1);
        }
        let fault = Arc::new(fault);
        self.faults.insert(Arc::clone(&fault), |other| other.order().cmp(&fault.order()));
    }

    /// Forgets the faults of a row.
    pub(crate) fn remove_row(&mut self, table: Table, key: RowKey) {
        while let Some(fault) = self.faults.remove(|other| (other.table, other.key).cmp(&(table, key))) {
            self.texts -= usize::from(fault.text.is_some());
            if let Some(count) = self.counts.get_mut(fault.reason as usize) {
                *count = count.saturating_sub(1);
            }
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &RowFault> {
        self.faults.iter().map(|fault| &**fault)
    }

    pub(crate) fn len(&self) -> usize {
        self.faults.len()
    }

    pub(crate) fn count(&self, reason: Reason) -> u32 {
        self.counts.get(reason as usize).copied().unwrap_or_default()
    }
}

/// A cell's bytes as they may be shown, in quotes.
pub(crate) fn shown(cell: Option<&[u8]>) -> String {
    let Some(bytes) = cell else { return "NULL".to_owned() };
    let (text, is_whole) = escaped(bytes);
    if is_whole { format!("\"{text}\"") } else { format!("\"{text}\"... ({} bytes)", bytes.len()) }
}

/// An id as it may be shown, without quotes.
pub(crate) fn shown_id(cell: Option<&[u8]>) -> String {
    cell.map_or_else(|| "NULL".to_owned(), |bytes| escaped(bytes).0)
}

/// The first bytes with everything escaped that a terminal or a log could take amiss, and whether they are all.
fn escaped(bytes: &[u8]) -> (String, bool) {
    let head = bytes.get(..FOUND_BYTES_MAX).unwrap_or(bytes);
    let mut out = String::with_capacity(head.len());
    for chunk in head.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '"' | '\\' => out.extend(['\\', letter]),
                ' '..='~' => out.push(letter),
                letter if letter.is_alphanumeric() => out.push(letter),
                letter => out.extend(letter.escape_unicode()),
            }
        }
        for byte in chunk.invalid() {
            // Writing to a string cannot fail.
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    (out, head.len() == bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Row SX11 of the faults, on the side of the data: nothing that is shown can steer a terminal or a log.
    #[test]
    fn sx11_what_was_found_is_escaped_and_short() {
        assert_eq!(shown(None), "NULL");
        assert_eq!(shown(Some(b"prod")), "\"prod\"");
        assert_eq!(shown(Some("M\u{fc}ller".as_bytes())), "\"M\u{fc}ller\"");
        assert_eq!(shown(Some(b"a\x1b[31m\"\\\n\0")), r#""a\u{1b}[31m\"\\\u{a}\u{0}""#);
        assert_eq!(shown(Some(b"\xff\xfe")), r#""\xff\xfe""#);
        assert_eq!(shown(Some("\u{202e}".as_bytes())), r#""\u{202e}""#);
        let long = shown(Some(&vec![b'9'; 1 << 20]));
        assert!(long.len() < 100 && long.ends_with("... (1048576 bytes)"), "{long}");
    }

    #[test]
    fn beyond_the_limit_faults_are_only_counted() {
        let mut faults = RowFaults::default();
        for place in 0..FAULTS_LISTED_MAX + 10 {
            let fault = CellFault { column: "id", found: String::new(), expected: String::new(), reason: Reason::Null };
            faults.push(Table::Dids, (RowKey::from_bits(place as u128), &None), fault, None);
        }
        assert_eq!(faults.iter().filter(|fault| fault.text.is_some()).count(), FAULTS_LISTED_MAX);
        assert_eq!(faults.count(Reason::Null) as usize, FAULTS_LISTED_MAX + 10);
        for place in 0..FAULTS_LISTED_MAX + 10 {
            faults.remove_row(Table::Dids, RowKey::from_bits(place as u128));
        }
        assert_eq!((faults.count(Reason::Null), faults.texts, faults.iter().count()), (0, 0, 0));
    }
}
