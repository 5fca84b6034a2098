//! The table of DIDs by number: a tree of three levels whose parts are shared between the directories that hold it.
//!
//! A change of one row makes one new page, one new branch and one new root; at a million DIDs that is ten pointers to
//! branches, 256 pages' heads and some 400 rows. Numbers are ordered, so blocks of consecutive numbers need no number in
//! memory, and what lies between two directories is found by walking only what they do not share. Lookups do not go down
//! the tree: one guide leads to all pages, and is made anew only where pages come, go or begin elsewhere.

mod guide;
mod identity;
mod layout;
mod page;
mod record;
mod row;
#[cfg(test)]
mod tests;
mod units;

use std::sync::Arc;

use sip::Number;

use guide::{BRANCH_PAGES, Guide, PageAt};
use layout::{Layout, PAGE_RECORDS};
use page::{Page, first_mixed_page, first_page};
pub(crate) use record::{DidFields, DidRecord, Marks};
pub(crate) use row::Row;

/// A page with fewer rows is joined with the next where both have at most [`JOINED_RECORDS`].
const PAGE_SPARSE: usize = 64;
const JOINED_RECORDS: usize = 256;

/// DIDs by number.
#[derive(Clone, Default)]
pub(crate) struct DidTable {
    /// Leads to the page of a number.
    guide: Guide,
    /// None of them is without pages, and none has more than [`BRANCH_PAGES`].
    branches: Vec<Arc<Branch>>,
    len: usize,
}

#[derive(Clone, Default)]
struct Branch {
    pages: Vec<Page>,
}

/// What became of the pages when a row was put in place or taken away.
struct Outcome {
    /// By how many rows the branch grew.
    grown: isize,
    /// Whether each page stands where it stood.
    are_pages_there: bool,
}

impl DidTable {
    /// The table of these rows, which come by number, strictly ascending.
    ///
    /// What lookups read is allocated first and together: the rest would spread it over many times more pages of the
    /// machine's memory, and a lookup of a large table costs as much as the machine takes to find such a page.
    pub(crate) fn from_ascending(rows: &[(Number, DidRecord)]) -> DidTable {
        let mut branches: Vec<Branch> = Vec::new();
        let mut pages = Vec::new();
        let mut cut = Cut::new(rows);
        while let Some((rows, layout)) = cut.next_page() {
            pages.push(Page::new(rows, layout));
            if pages.len() == BRANCH_PAGES {
                branches.push(Branch { pages: std::mem::take(&mut pages) });
            }
        }
        pages.shrink_to_fit();
        branches.extend((!pages.is_empty()).then_some(Branch { pages }));
        let mut rest = rows.iter().map(|(number, record)| (number.digits(), *record));
        let mut page_rows = Vec::new();
        for page in branches.iter_mut().flat_map(|branch| &mut branch.pages) {
            page_rows.clear();
            page_rows.extend(rest.by_ref().take(page.len()));
            page.identify(&page_rows);
        }
        let mut table = DidTable { len: rows.len(), ..DidTable::default() };
        table.branches = branches.into_iter().map(Arc::new).collect();
        table.lead();
        table
    }

    /// Makes the guide anew.
    fn lead(&mut self) {
        let branches = self.branches.iter().enumerate();
        let pages = branches.flat_map(|(at, branch)| {
            let pages = branch.pages.iter().enumerate();
            pages.map(move |(place, page)| (page.first(), PageAt::new(at, place)))
        });
        let last = self.branches.last().and_then(|branch| branch.pages.last());
        self.guide = Guide::of(&pages.collect::<Vec<_>>(), last.map_or(0, Page::last));
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of what lookups read, and of what says which row each is.
    pub(crate) fn bytes(&self) -> (usize, usize) {
        let pages = self.branches.iter().flat_map(|branch| &branch.pages);
        let (lines, identity) = pages.map(Page::bytes).fold((0, 0), |sum, page| (sum.0 + page.0, sum.1 + page.1));
        let branch =
            |branch: &Arc<Branch>| size_of::<Arc<Branch>>() + size_of::<Branch>() + size_of_val(&*branch.pages);
        (lines + self.guide.bytes() + self.branches.iter().map(branch).sum::<usize>(), identity)
    }

    /// What a lookup needs of this number's row.
    pub(crate) fn find(&self, number: Number) -> Option<DidFields> {
        self.row(number).map(|row| row.fields())
    }

    /// This number's row.
    pub(crate) fn row(&self, number: Number) -> Option<Row<'_>> {
        let key = number.digits();
        self.row_within(key).or_else(|| {
            let page = self.page(key)?;
            Some(Row::Plain(page.fields(page.find(key)?)))
        })
    }

    /// The same for nearly all numbers that have a row.
    fn row_within(&self, key: u64) -> Option<Row<'_>> {
        let at = self.guide.within(key, self.guide.find(key)?)?;
        self.branches.get(at.branch())?.pages.get(at.page())?.find_soon(key)
    }

    /// The same for nearly all numbers that have a row, unless many pages begin near it; `None` is for [`DidTable::row`] to
    /// say.
    ///
    /// A lookup waits for memory. The fewer instructions it has, the more of the next lookup the processor begins
    /// meanwhile; so the few that the rare cases take are not here.
    #[inline(always)]
    pub(crate) fn row_soon(&self, number: Number) -> Option<Row<'_>> {
        let key = number.digits();
        let at = self.guide.find(key)?;
        self.branches.get(at.branch())?.pages.get(at.page())?.find_soon(key)
    }

    /// This number's whole row.
    pub(crate) fn record(&self, number: Number) -> Option<DidRecord> {
        let page = self.page(number.digits())?;
        Some(page.record(page.find(number.digits())?))
    }

    /// The page in which this number would be.
    fn page(&self, key: u64) -> Option<&Page> {
        let (branch, page) = self.nearest(key);
        self.branches.get(branch)?.pages.get(page)
    }

    /// The branch and the page in which this number is to be put: those of the last page that does not begin behind it, or
    /// the first of all.
    fn nearest(&self, key: u64) -> (usize, usize) {
        let branch = self.branches.partition_point(|branch| branch.first() <= key).saturating_sub(1);
        (branch, self.branches.get(branch).map_or(0, |branch| branch.nearest(key)))
    }

    /// Every number and row, by number ascending.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (Number, DidRecord)> + '_ {
        let rows = self.pages(0).flat_map(Page::rows);
        rows.filter_map(|(digits, record)| Some((Number::from_digits(digits)?, record)))
    }

    /// Every number and what a lookup needs of its row, by number ascending.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (Number, DidFields)> + '_ {
        let rows = self.pages(0).flat_map(Page::fields_of_all);
        rows.filter_map(|(digits, fields)| Some((Number::from_digits(digits)?, fields)))
    }

    /// From the page of `from` on, the rows of pages in which a row may name this organisation; `organisation` is a
    /// place plus one.
    pub(crate) fn fields_naming(&self, organisation: u32, from: u64) -> impl Iterator<Item = (Number, DidFields)> + '_ {
        let pages = self.pages(from).filter(move |page| page.may_name(organisation));
        let rows = pages.flat_map(Page::fields_of_all);
        rows.filter_map(move |(digits, fields)| {
            (digits >= from && fields.organisation == organisation).then_some((Number::from_digits(digits)?, fields))
        })
    }

    /// Every page, beginning with the one in which `from` would be.
    fn pages(&self, from: u64) -> impl Iterator<Item = &Page> {
        let (start, _) = self.nearest(from);
        self.branches.iter().skip(start).flat_map(move |branch| branch.pages.iter().skip(branch.nearest(from)))
    }

    /// Puts a number's row in place, or takes it away.
    pub(crate) fn set(&mut self, number: Number, record: Option<DidRecord>) {
        let key = number.digits();
        let (at, page) = self.nearest(key);
        let Some(branch) = self.branches.get_mut(at).map(Arc::make_mut) else {
            if let Some(record) = record {
                *self = DidTable::from_ascending(&[(number, record)]);
            }
            return;
        };
        let outcome = branch.set(page, key, record);
        self.len = self.len.saturating_add_signed(outcome.grown);
        if branch.pages.is_empty() {
            self.branches.remove(at);
        } else if branch.pages.len() > BRANCH_PAGES {
            let upper = branch.split();
            self.branches.insert(at + 1, Arc::new(upper));
        }
        // A page that begins later than it did may be left to what leads to it; a row has to be where its number leads.
        let led = self.guide.find(key).and_then(|found| self.guide.within(key, found));
        let is_led = record.is_none() || led == Some(PageAt::new(at, page));
        if !outcome.are_pages_there || !is_led {
            self.lead();
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
    /// Its first number.
    fn first(&self) -> u64 {
        self.pages.first().map_or(0, Page::first)
    }

    /// The last page that does not begin behind a number, or the first.
    fn nearest(&self, key: u64) -> usize {
        self.pages.partition_point(|page| page.first() <= key).saturating_sub(1)
    }

    /// Puts a row in place in a page, or takes it away.
    fn set(&mut self, at: usize, key: u64, record: Option<DidRecord>) -> Outcome {
        let nothing = Outcome { grown: 0, are_pages_there: true };
        let Some(page) = self.pages.get(at) else { return nothing };
        let mut rows: Vec<(u64, DidRecord)> = page.rows().collect();
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
            (Err(_), None) => return nothing,
        };
        Outcome { grown, are_pages_there: self.replace(at, rows) }
    }

    /// Replaces the page at `at` by as many as these rows take, or by none. What is left of them for the last page is
    /// joined with the next page where both are small: once, so that a change ends where rows are cut at the same gaps again.
    /// Returns whether one page took the place of one.
    fn replace(&mut self, at: usize, mut rows: Vec<(u64, DidRecord)>) -> bool {
        self.pages.remove(at);
        let (mut place, mut may_join) = (at, true);
        while !rows.is_empty() {
            let is_sparse = may_join && rows.len() < PAGE_SPARSE;
            let next = self.pages.get(place).filter(|next| is_sparse && next.len() + rows.len() <= JOINED_RECORDS);
            if let Some(next) = next {
                rows.extend(next.rows());
                self.pages.remove(place);
                may_join = false;
            }
            let (mut ours, mut layout) = first_mixed_page(&rows);
            let mut upper = Vec::new();
            while ours.len() < rows.len() {
                // Both halves of what is too much have room for more.
                let len = ours.len().min(rows.len().div_ceil(2));
                upper.splice(..0, rows.drain(len..));
                (ours, layout) = first_mixed_page(&rows);
            }
            let mut page = Page::new(ours, layout);
            page.identify(ours);
            self.pages.insert(place, page);
            rows = upper;
            place += 1;
        }
        may_join && place == at + 1
    }

    /// Splits off the upper half of the pages.
    fn split(&mut self) -> Branch {
        Branch { pages: self.pages.split_off(self.pages.len() / 2) }
    }
}

/// Cuts ascending rows into pages.
struct Cut<'r> {
    rows: &'r [(Number, DidRecord)],
    /// The rows of the page before, and behind them some that were looked at for it.
    looked_at: Vec<(u64, DidRecord)>,
    len: usize,
}

impl<'r> Cut<'r> {
    fn new(rows: &'r [(Number, DidRecord)]) -> Cut<'r> {
        Cut { rows, looked_at: Vec::new(), len: 0 }
    }

    /// The rows of the next page, and how it lays them out.
    fn next_page(&mut self) -> Option<(&[(u64, DidRecord)], Layout)> {
        self.looked_at.drain(..self.len);
        let more = PAGE_RECORDS.saturating_sub(self.looked_at.len()).min(self.rows.len());
        let (rows, rest) = self.rows.split_at(more);
        self.rows = rest;
        self.looked_at.extend(rows.iter().map(|(number, record)| (number.digits(), *record)));
        let (rows, layout) = first_page(&self.looked_at);
        self.len = rows.len();
        (!rows.is_empty()).then_some((rows, layout))
    }
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
            self.rows.extend(self.branch()?.pages.get(self.page)?.rows());
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
