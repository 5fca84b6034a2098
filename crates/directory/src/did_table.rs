//! The table of DIDs by number: a tree of three levels whose parts are shared between the directories that hold them.
//!
//! A change of one row makes one new page, one new branch and one new root; at a million DIDs that is 16 pointers to
//! branches, 256 pages' heads and 256 rows. Numbers are ordered, so blocks of consecutive numbers need no number in
//! memory, and what lies between two directories is found by walking only what they do not share.

mod page;
mod record;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use sip::Number;

use page::{PAGE_RECORDS, Page};
pub(crate) use record::{DidFields, DidRecord, Marks};

/// The most pages in a branch.
const BRANCH_PAGES: usize = 256;
/// A page with fewer rows is joined with a neighbour where both fit into one.
const PAGE_SPARSE: usize = PAGE_RECORDS / 4;

/// DIDs by number.
#[derive(Clone, Default)]
pub(crate) struct DidTable {
    /// The first number of every branch.
    first_numbers: Vec<u64>,
    branches: Vec<Arc<Branch>>,
    len: usize,
}

#[derive(Clone, Default)]
struct Branch {
    /// The first number of every page.
    first_numbers: Vec<u64>,
    pages: Vec<Page>,
}

impl DidTable {
    /// The table of these rows, which come by number, strictly ascending.
    pub(crate) fn from_ascending(rows: impl Iterator<Item = (Number, DidRecord)>) -> DidTable {
        let mut table = DidTable::default();
        let mut rows = rows.map(|(number, record)| (number.digits(), record));
        let mut branch = Branch::default();
        let mut page: Vec<(u64, DidRecord)> = Vec::with_capacity(PAGE_RECORDS);
        loop {
            page.clear();
            page.extend(rows.by_ref().take(PAGE_RECORDS));
            table.len += page.len();
            if let Some(&(first, _)) = page.first() {
                branch.first_numbers.push(first);
                branch.pages.push(Page::new(&page));
            }
            if branch.pages.len() == BRANCH_PAGES || page.is_empty() {
                table.push(std::mem::take(&mut branch));
            }
            if page.is_empty() {
                return table;
            }
        }
    }

    fn push(&mut self, mut branch: Branch) {
        if let Some(&first) = branch.first_numbers.first() {
            branch.first_numbers.shrink_to_fit();
            branch.pages.shrink_to_fit();
            self.first_numbers.push(first);
            self.branches.push(Arc::new(branch));
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// What a lookup needs of this number's row.
    pub(crate) fn find(&self, number: Number) -> Option<DidFields> {
        let (page, place) = self.locate(number.digits())?;
        Some(page.fields(place))
    }

    /// This number's whole row.
    pub(crate) fn record(&self, number: Number) -> Option<DidRecord> {
        let (page, place) = self.locate(number.digits())?;
        Some(page.record(place))
    }

    fn locate(&self, key: u64) -> Option<(&Page, usize)> {
        let branch = self.branches.get(last_at_most(&self.first_numbers, key)?)?;
        let at = last_at_most(&branch.first_numbers, key)?;
        let (page, first) = (branch.pages.get(at)?, branch.first_numbers.get(at)?);
        Some((page, page.find(key - first)?))
    }

    /// Every number and row, by number ascending.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (Number, DidRecord)> + '_ {
        let rows = self.pages(0).flat_map(|(first, page)| page.rows(first));
        rows.filter_map(|(digits, record)| Some((Number::from_digits(digits)?, record)))
    }

    /// Every number and what a lookup needs of its row, by number ascending.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (Number, DidFields)> + '_ {
        let rows = self.pages(0).flat_map(|(first, page)| page.fields_of_all(first));
        rows.filter_map(|(digits, fields)| Some((Number::from_digits(digits)?, fields)))
    }

    /// From the page of `from` on, the rows of pages in which a row may name this organisation; `organisation` is a
    /// place plus one.
    pub(crate) fn fields_naming(&self, organisation: u32, from: u64) -> impl Iterator<Item = (Number, DidFields)> + '_ {
        let pages = self.pages(from).filter(move |(_, page)| page.may_name(organisation));
        let rows = pages.flat_map(|(first, page)| page.fields_of_all(first));
        rows.filter_map(move |(digits, fields)| {
            (digits >= from && fields.organisation == organisation).then_some((Number::from_digits(digits)?, fields))
        })
    }

    /// Every page with its first number, beginning with the one in which `from` would be.
    fn pages(&self, from: u64) -> impl Iterator<Item = (u64, &Page)> {
        let start = last_at_most(&self.first_numbers, from).unwrap_or(0);
        self.branches.iter().skip(start).flat_map(move |branch| {
            let start = last_at_most(&branch.first_numbers, from).unwrap_or(0);
            branch.first_numbers.iter().copied().zip(&branch.pages).skip(start)
        })
    }

    /// Puts a number's row in place, or takes it away.
    pub(crate) fn set(&mut self, number: Number, record: Option<DidRecord>) {
        let key = number.digits();
        let at = last_at_most(&self.first_numbers, key).unwrap_or(0);
        if self.branches.is_empty() {
            if let Some(record) = record {
                *self = DidTable::from_ascending(std::iter::once((number, record)));
            }
            return;
        }
        let Some(branch) = self.branches.get_mut(at).map(Arc::make_mut) else { return };
        let grown = branch.set(key, record);
        self.len = self.len.saturating_add_signed(grown);
        match branch.first_numbers.first() {
            Some(&first) => {
                if let Some(slot) = self.first_numbers.get_mut(at) {
                    *slot = first;
                }
            }
            None => {
                self.branches.remove(at);
                self.first_numbers.remove(at);
                return;
            }
        }
        if branch.pages.len() > BRANCH_PAGES {
            let upper = branch.split();
            let first = upper.first_numbers.first().copied().unwrap_or_default();
            self.first_numbers.insert(at + 1, first);
            self.branches.insert(at + 1, Arc::new(upper));
        }
    }

    /// Calls `visit` with every number and its rows in both tables, except for those in pages that the tables share.
    pub(crate) fn compare(
        &self,
        other: &DidTable,
        mut visit: impl FnMut(Number, Option<DidRecord>, Option<DidRecord>),
    ) {
        let mut visit = |digits: u64, ours: Option<DidRecord>, theirs: Option<DidRecord>| {
            if let Some(number) = Number::from_digits(digits) {
                visit(number, ours, theirs);
            }
        };
        let (mut left, mut right) = (Walk::new(self), Walk::new(other));
        loop {
            left.skip_shared(&mut right);
            match (left.peek(), right.peek()) {
                (None, None) => return,
                (Some(a), Some(b)) if a.0 == b.0 => {
                    visit(a.0, Some(a.1), Some(b.1));
                    left.advance();
                    right.advance();
                }
                (Some(a), b) if b.is_none_or(|b| a.0 < b.0) => {
                    visit(a.0, Some(a.1), None);
                    left.advance();
                }
                (_, Some(b)) => {
                    visit(b.0, None, Some(b.1));
                    right.advance();
                }
                (Some(_), None) => return,
            }
        }
    }
}

impl Branch {
    /// Puts a row in place or takes it away. Returns by how many rows the branch grew.
    fn set(&mut self, key: u64, record: Option<DidRecord>) -> isize {
        let at = last_at_most(&self.first_numbers, key).unwrap_or(0);
        let (Some(page), Some(&first)) = (self.pages.get(at), self.first_numbers.get(at)) else { return 0 };
        let mut rows: Vec<(u64, DidRecord)> = page.rows(first).collect();
        let grown = match (rows.binary_search_by_key(&key, |row| row.0), record) {
            (Ok(place), Some(record)) => {
                if let Some(slot) = rows.get_mut(place) {
                    slot.1 = record;
                }
                0
            }
            (Ok(place), None) => {
                rows.remove(place);
                -1
            }
            (Err(place), Some(record)) => {
                rows.insert(place, (key, record));
                1
            }
            (Err(_), None) => return 0,
        };
        self.replace(at, rows);
        grown
    }

    /// Replaces the page at `at` by one of these rows, by two when they are too many for one, or by none.
    fn replace(&mut self, at: usize, mut rows: Vec<(u64, DidRecord)>) {
        self.take(at);
        let is_sparse = rows.len() < PAGE_SPARSE;
        let next = self.pages.get(at).filter(|next| is_sparse && next.len() + rows.len() <= PAGE_RECORDS);
        if let Some(next) = next {
            let first = self.first_numbers.get(at).copied().unwrap_or_default();
            rows.extend(next.rows(first));
            self.take(at);
        }
        let upper = if rows.len() > PAGE_RECORDS { rows.split_off(rows.len() / 2) } else { Vec::new() };
        for rows in [upper, rows] {
            if let Some(&(first, _)) = rows.first() {
                self.first_numbers.insert(at, first);
                self.pages.insert(at, Page::new(&rows));
            }
        }
    }

    fn take(&mut self, at: usize) {
        self.first_numbers.remove(at);
        self.pages.remove(at);
    }

    /// Splits off the upper half of the pages.
    fn split(&mut self) -> Branch {
        let at = self.pages.len() / 2;
        Branch { first_numbers: self.first_numbers.split_off(at), pages: self.pages.split_off(at) }
    }
}

/// The place of the last of these ascending numbers that is not above `key`.
fn last_at_most(numbers: &[u64], key: u64) -> Option<usize> {
    numbers.partition_point(|&number| number <= key).checked_sub(1)
}

/// A walk through all rows of a table, page by page.
struct Walk<'t> {
    table: &'t DidTable,
    branch: usize,
    page: usize,
    row: usize,
    /// The rows of the current page, once one of them was asked for.
    rows: Vec<(u64, DidRecord)>,
}

impl<'t> Walk<'t> {
    fn new(table: &'t DidTable) -> Walk<'t> {
        Walk { table, branch: 0, page: 0, row: 0, rows: Vec::new() }
    }

    /// Steps over branches and pages that both walks have before them and share.
    fn skip_shared(&mut self, other: &mut Walk<'t>) {
        while self.row == 0 && other.row == 0 {
            let (Some(ours), Some(theirs)) = (self.branch(), other.branch()) else { return };
            if self.page == 0 && other.page == 0 && Arc::ptr_eq(ours, theirs) {
                self.branch += 1;
                other.branch += 1;
                self.rows.clear();
                other.rows.clear();
                continue;
            }
            match (ours.pages.get(self.page), theirs.pages.get(other.page)) {
                (Some(our_page), Some(their_page)) if our_page.is_same(their_page) => {
                    self.next_page();
                    other.next_page();
                }
                _ => return,
            }
        }
    }

    fn branch(&self) -> Option<&'t Arc<Branch>> {
        self.table.branches.get(self.branch)
    }

    fn next_page(&mut self) {
        self.rows.clear();
        self.row = 0;
        self.page += 1;
        if self.branch().is_none_or(|branch| self.page >= branch.pages.len()) {
            self.page = 0;
            self.branch += 1;
        }
    }

    fn peek(&mut self) -> Option<(u64, DidRecord)> {
        if self.rows.is_empty() {
            let branch = self.branch()?;
            let first = branch.first_numbers.get(self.page)?;
            self.rows.extend(branch.pages.get(self.page)?.rows(*first));
        }
        self.rows.get(self.row).copied()
    }

    fn advance(&mut self) {
        self.row += 1;
        if self.row >= self.rows.len() {
            self.next_page();
        }
    }
}
