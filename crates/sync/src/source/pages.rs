//! Which rows of an SQLite file can be others than they were, told by the pages of two copies of it, without a row being
//! read.
//!
//! A row stands on one leaf of its table's tree, and a long one goes on along a chain of pages of its own. So a row of a
//! leaf that is the same leaf of the same tree in both copies, with the same bytes there and along its chain, says the
//! same; every other may say something else. [The format](https://www.sqlite.org/fileformat2.html) is SQLite's promise
//! since 2004. Where a copy is not as it says, nothing is told, and all rows have to be compared.

use std::collections::HashSet;

use sqlx::sqlite::SqliteOwnedBuf;

/// Rows that are told one by one; where more can be others, comparing all costs no more.
pub(super) const ROWS_SUSPECTED_MAX: usize = 5_000;

const MAGIC: &[u8] = b"SQLite format 3\0";
const HEADER_BYTES: usize = 100;
/// The least that a page can hold.
const USABLE_BYTES_MIN: usize = 480;
/// Where the schema's tree begins.
const SCHEMA_ROOT: u32 = 1;
/// Kinds of pages in a table's tree, and the length of what stands before their cells' places.
const INTERIOR: (u8, usize) = (0x05, 12);
const LEAF: (u8, usize) = (0x0d, 8);

/// A copy of a file, and where the rows of its tables stand.
#[derive(Debug)]
pub(super) struct Pages {
    file: SqliteOwnedBuf,
    schema: Leaves,
    tables: Vec<Leaves>,
}

/// The leaves of a tree, ascending.
type Leaves = Vec<u32>;

/// A file of pages, all of one length.
#[derive(Clone, Copy)]
struct File<'b> {
    bytes: &'b [u8],
    page_bytes: usize,
    /// What of a page is used; the rest is left to extensions.
    usable: usize,
}

/// A page of a table's tree.
#[derive(Clone, Copy)]
struct Page<'b> {
    bytes: &'b [u8],
    /// Where the tree's part begins; on the first page the file's header stands before it.
    begin: usize,
}

/// A row on a leaf.
struct Row {
    number: i64,
    /// The first page of its chain, and how many there are.
    chain: Option<(u32, usize)>,
}

impl Pages {
    /// A copy whose tables have these roots. `None` where it is not as the format says.
    pub(super) fn of(file: SqliteOwnedBuf, roots: &[u32]) -> Option<Pages> {
        let pages = File::of(&file)?;
        let schema = pages.leaves(SCHEMA_ROOT)?;
        let tables = roots.iter().map(|root| pages.leaves(*root)).collect::<Option<_>>()?;
        Some(Pages { file, schema, tables })
    }

    /// The numbers of the rows of each table, in the order of the roots, that can be others than in an earlier copy, or
    /// stand in one of both alone. `None` where that can be any row.
    pub(super) fn suspected_since(&self, earlier: &Pages) -> Option<Vec<Vec<i64>>> {
        let (now, then) = (File::of(&self.file)?, File::of(&earlier.file)?);
        // What a row's bytes mean is said there.
        if now.format() != then.format() || !now.suspected(&self.schema, then, &earlier.schema)?.is_empty() {
            return None;
        }
        let tables = self.tables.iter().zip(&earlier.tables);
        tables.map(|(leaves, earlier)| now.suspected(leaves, then, earlier)).collect()
    }
}

impl<'b> File<'b> {
    fn of(bytes: &'b [u8]) -> Option<File<'b>> {
        let page_bytes = match be16(bytes, 16)? {
            1 => 65_536,
            length => length,
        };
        let usable = page_bytes.checked_sub(usize::from(*bytes.get(20)?))?;
        let is_one = bytes.starts_with(MAGIC)
            && page_bytes.is_power_of_two()
            && usable >= USABLE_BYTES_MIN
            && bytes.len().is_multiple_of(page_bytes);
        is_one.then_some(File { bytes, page_bytes, usable })
    }

    /// The header, without what every commit changes: its count, and the lengths of the file and of its free list.
    fn format(&self) -> [Option<&'b [u8]>; 2] {
        [self.bytes.get(..24), self.bytes.get(40..92)]
    }

    fn page(&self, number: u32) -> Option<Page<'b>> {
        let begin = usize::try_from(number).ok()?.checked_sub(1)?.checked_mul(self.page_bytes)?;
        let bytes = self.bytes.get(begin..)?.get(..self.page_bytes)?;
        Some(Page { bytes, begin: if number == SCHEMA_ROOT { HEADER_BYTES } else { 0 } })
    }

    /// Whether a page has the same bytes in both.
    fn is_same(&self, other: File<'_>, number: u32) -> bool {
        self.tree(number).is_some_and(|bytes| other.tree(number) == Some(bytes))
    }

    /// A page without the file's header.
    fn tree(&self, number: u32) -> Option<&'b [u8]> {
        let page = self.page(number)?;
        page.bytes.get(page.begin..)
    }

    fn pages(&self) -> usize {
        self.bytes.len() / self.page_bytes
    }

    /// The leaves of the tree that begins there.
    fn leaves(&self, root: u32) -> Option<Leaves> {
        let (mut leaves, mut waiting, mut seen) = (Leaves::new(), vec![root], 0);
        while let Some(number) = waiting.pop() {
            seen += 1;
            if seen > self.pages() {
                return None;
            }
            let page = self.page(number)?;
            if page.kind()? == LEAF.0 {
                leaves.push(number);
                continue;
            }
            if page.kind()? != INTERIOR.0 {
                return None;
            }
            for cell in page.cells(INTERIOR.1) {
                waiting.push(be32(page.bytes, cell?)?);
            }
            waiting.push(be32(page.bytes, page.begin + 8)?);
        }
        leaves.sort_unstable();
        leaves.is_sorted_by(|one, next| one < next).then_some(leaves)
    }

    /// The numbers of rows that can be others than on these leaves of an earlier file, ascending.
    fn suspected(&self, leaves: &[u32], earlier: File<'_>, earlier_leaves: &[u32]) -> Option<Vec<i64>> {
        let (mut rows, mut changed, mut chained) = (Vec::new(), HashSet::new(), 0);
        for &number in leaves {
            let is_kept = earlier_leaves.binary_search(&number).is_ok() && self.is_same(earlier, number);
            if !is_kept {
                changed.insert(number);
            }
            for row in self.rows(number)? {
                let row = row?;
                if !is_kept || !self.has_same_chain(earlier, &row, &mut chained)? {
                    rows.push(row.number);
                }
            }
        }
        for &number in earlier_leaves {
            if changed.contains(&number) || leaves.binary_search(&number).is_err() {
                for row in earlier.rows(number)? {
                    rows.push(row?.number);
                }
            }
        }
        rows.sort_unstable();
        rows.dedup();
        (rows.len() <= ROWS_SUSPECTED_MAX).then_some(rows)
    }

    /// Whether the pages on which a row goes on are the same. All rows together have no more of them than there are.
    fn has_same_chain(&self, earlier: File<'_>, row: &Row, chained: &mut usize) -> Option<bool> {
        let Some((mut number, pages)) = row.chain else { return Some(true) };
        *chained = chained.checked_add(pages).filter(|chained| *chained <= self.pages())?;
        let mut is_same = true;
        for _ in 0..pages {
            is_same &= self.is_same(earlier, number);
            number = be32(self.page(number)?.bytes, 0)?;
        }
        Some(is_same)
    }

    fn rows(&self, number: u32) -> Option<impl Iterator<Item = Option<Row>>> {
        let (page, file) = (self.page(number)?, *self);
        Some(page.cells(LEAF.1).map(move |cell| file.row(page, cell?)))
    }

    /// The row whose cell begins there: the length of its record, its number, and as much of the record as stays here.
    fn row(&self, page: Page<'b>, cell: usize) -> Option<Row> {
        let (length, behind) = varint(page.bytes, cell)?;
        let (number, content) = varint(page.bytes, behind)?;
        let (length, most) = (usize::try_from(length).ok()?, self.usable - 35);
        let chain = if length <= most {
            None
        } else {
            let (least, on_a_page) = ((self.usable - 12) * 32 / 255 - 23, self.usable - 4);
            let fitted = least + (length - least) % on_a_page;
            let here = if fitted <= most { fitted } else { least };
            Some((be32(page.bytes, content + here)?, (length - here).div_ceil(on_a_page)))
        };
        Some(Row { number: number.cast_signed(), chain })
    }
}

impl<'b> Page<'b> {
    fn kind(&self) -> Option<u8> {
        self.bytes.get(self.begin).copied()
    }

    /// Where the cells begin, whose places stand behind so much.
    fn cells(self, header: usize) -> impl Iterator<Item = Option<usize>> + use<'b> {
        let count = be16(self.bytes, self.begin + 3).unwrap_or_default();
        (0..count).map(move |place| be16(self.bytes, self.begin + header + 2 * place))
    }
}

fn be16(bytes: &[u8], at: usize) -> Option<usize> {
    let two = bytes.get(at..)?.first_chunk()?;
    Some(usize::from(u16::from_be_bytes(*two)))
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|four| u32::from_be_bytes(*four))
}

/// A number of one to nine bytes, and what stands behind it: seven bits in each byte, the ninth whole.
fn varint(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut number = 0_u64;
    for (place, byte) in bytes.get(at..)?.iter().take(9).enumerate() {
        if place == 8 {
            return Some((number << 8 | u64::from(*byte), at + 9));
        }
        number = number << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((number, at + place + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests;
