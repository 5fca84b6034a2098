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
/// Pages in a step: a lookup compares the first numbers of all steps, and then of all pages in one of them.
const STEP_PAGES: usize = 16;
/// Steps in a branch.
const BRANCH_STEPS: usize = BRANCH_PAGES / STEP_PAGES;
/// A run of consecutive numbers from which on it gets a page of its own.
const RUN_RECORDS: usize = 64;
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
    /// Their distances from the first of them in units of two to the power of `unit_bits`, so that they fit into 32 bits
    /// and the processor compares several at once.
    distances: [[i32; STEP_PAGES]; BRANCH_STEPS],
    unit_bits: u32,
    /// The first distance of every step.
    steps: [i32; BRANCH_STEPS],
    pages: Vec<Page>,
}

impl DidTable {
    /// The table of these rows, which come by number, strictly ascending.
    ///
    /// What lookups read is allocated first and together: the rest would spread it over many times more pages of the
    /// machine's memory, and a lookup of a large table costs as much as the machine takes to find such a page.
    pub(crate) fn from_ascending(rows: &[(Number, DidRecord)]) -> DidTable {
        let mut table = DidTable { len: rows.len(), ..DidTable::default() };
        let mut page_rows: Vec<(u64, DidRecord)> = Vec::with_capacity(PAGE_RECORDS);
        let mut branches = Vec::new();
        let mut branch = Branch::default();
        for page in pages_of(rows) {
            page_rows.clear();
            page_rows.extend(page.iter().map(|(number, record)| (number.digits(), *record)));
            branch.first_numbers.extend(page_rows.first().map(|row| row.0));
            branch.pages.push(Page::new(&page_rows));
            if branch.pages.len() == BRANCH_PAGES {
                branches.push(std::mem::take(&mut branch));
            }
        }
        branches.push(branch);
        let mut pages = pages_of(rows);
        for mut branch in branches {
            for (page, rows) in branch.pages.iter_mut().zip(pages.by_ref()) {
                page_rows.clear();
                page_rows.extend(rows.iter().map(|(number, record)| (number.digits(), *record)));
                page.identify(&page_rows);
            }
            table.push(branch);
        }
        table
    }

    fn push(&mut self, mut branch: Branch) {
        if let Some(&first) = branch.first_numbers.first() {
            branch.first_numbers.shrink_to_fit();
            branch.pages.shrink_to_fit();
            branch.note_steps();
            self.first_numbers.push(first);
            self.branches.push(Arc::new(branch));
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of what lookups read, and of what says which row each is.
    pub(crate) fn bytes(&self) -> (usize, usize) {
        let pages = || self.branches.iter().flat_map(|branch| &branch.pages);
        let heads = pages().count() * (size_of::<Page>() + size_of::<u64>());
        let branches = self.branches.len() * (size_of::<Branch>() + size_of::<u64>());
        let (lookup, identity) = pages().map(Page::bytes).fold((0, 0), |sum, page| (sum.0 + page.0, sum.1 + page.1));
        (lookup + heads + branches, identity)
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
        let at = branch.locate(key)?;
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
                *self = DidTable::from_ascending(&[(number, record)]);
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
    /// The place of the page in which this number would be. It compares more than it has to, and never has to guess.
    fn locate(&self, key: u64) -> Option<usize> {
        let units = key.checked_sub(*self.first_numbers.first()?)?.wrapping_shr(self.unit_bits);
        // A page that is not there is at the greatest distance, and nothing that is looked for is.
        let units = i32::try_from(units).unwrap_or(i32::MAX).min(i32::MAX - 1);
        let not_above = |distances: &[i32; 16]| {
            // Unchecked, as every lookup does this twice.
            distances.iter().fold(0_i32, |count, distance| count.wrapping_add(i32::from(*distance <= units)))
        };
        let place = |count: i32| usize::try_from(count).ok()?.checked_sub(1);
        let step = place(not_above(&self.steps))?;
        let pages = self.distances.get(step)?;
        let mut at = step.wrapping_mul(STEP_PAGES).wrapping_add(place(not_above(pages))?);
        // Pages that begin within one unit look alike until here.
        while self.first_numbers.get(at).is_some_and(|&first| first > key) {
            at = at.checked_sub(1)?;
        }
        Some(at)
    }

    /// To be called when [`Branch::first_numbers`] has changed.
    fn note_steps(&mut self) {
        let first = self.first_numbers.first().copied().unwrap_or_default();
        let span = self.first_numbers.last().map_or(0, |last| last - first);
        self.unit_bits = (u64::BITS - span.leading_zeros()).saturating_sub(i32::BITS - 2);
        let distance = |number: &u64| i32::try_from((number - first) >> self.unit_bits).unwrap_or(i32::MAX);
        self.distances = [[i32::MAX; STEP_PAGES]; BRANCH_STEPS];
        self.steps = [i32::MAX; BRANCH_STEPS];
        let slots = self.distances.iter_mut().flatten().zip(&self.first_numbers);
        slots.for_each(|(slot, number)| *slot = distance(number));
        for (slot, pages) in self.steps.iter_mut().zip(&self.distances) {
            *slot = pages.first().copied().unwrap_or(i32::MAX);
        }
    }

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
        self.note_steps();
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
                let mut page = Page::new(&rows);
                page.identify(&rows);
                self.first_numbers.insert(at, first);
                self.pages.insert(at, page);
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
        let mut upper = Branch { first_numbers: self.first_numbers.split_off(at), ..Branch::default() };
        upper.pages = self.pages.split_off(at);
        upper.note_steps();
        self.note_steps();
        upper
    }
}

/// Cuts rows into pages. Where a page would begin with a long run of consecutive numbers and go on with others, it ends
/// with the run, as a page without gaps keeps no numbers.
fn pages_of(rows: &[(Number, DidRecord)]) -> impl Iterator<Item = &[(Number, DidRecord)]> {
    let mut rest = rows;
    std::iter::from_fn(move || {
        let most = rest.get(..PAGE_RECORDS).unwrap_or(rest);
        let run = most.chunk_by(|a, b| a.0.digits() + 1 == b.0.digits()).next().map_or(0, <[_]>::len);
        let len = if run >= RUN_RECORDS { run } else { most.len() };
        let (page, after) = rest.split_at(len);
        rest = after;
        (!page.is_empty()).then_some(page)
    })
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
