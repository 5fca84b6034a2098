//! A row as a lookup finds it: where its fields are, and not yet what they are.

use super::layout::Layout;
use super::record::DidFields;

/// The fields of a row of a table.
#[derive(Clone, Copy)]
pub(crate) enum Row<'t> {
    /// Bit by bit, as this layout says.
    Packed(u64, &'t Layout),
    /// Of a row that is written in another way.
    Plain(DidFields),
}

impl Row<'_> {
    /// What they are.
    #[inline]
    pub(crate) fn fields(&self) -> DidFields {
        match self {
            Row::Packed(entry, layout) => layout.fields_of(*entry),
            Row::Plain(fields) => *fields,
        }
    }
}
