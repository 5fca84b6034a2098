//! How far the change log was read: the highest id seen, and the ids below it that may still become visible.
//!
//! The engine gives out ids when rows are written, and shows them when they are committed: transaction A takes 5, B
//! takes 6 and commits, the reader sees 6, A commits. A reader that remembers only 6 loses 5. So every id that was
//! passed over is asked for again, until it shows or [`GAP_LIFE`] is over; a transaction that stays open for longer is
//! left to the next full reading.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use directory::Table;

use crate::limits::GAPS_MAX;

/// Entries of the change log that are read at one time; more become a reading of everything.
pub(crate) const LOG_ENTRIES_READ_MAX: usize = 20_000;

/// How long an id that was passed over is asked for.
pub(crate) const GAP_LIFE: Duration = Duration::from_secs(600);
/// How long an entry is kept for other readers after this one has read it: longer than [`GAP_LIFE`].
pub(crate) const ENTRY_LIFE: Duration = Duration::from_secs(900);

/// One entry of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    /// Its number.
    pub(crate) id: u64,
    /// The table, by its name in the reference schema, or one of our own.
    pub(crate) table: String,
    /// The `id` of the row; `None` for any number of rows.
    pub(crate) row_id: Option<Vec<u8>>,
}

/// How far the log was read.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct Position {
    last: u64,
    /// Ids that were passed over, oldest first.
    gaps: VecDeque<Gap>,
    /// When which id was the last, oldest first: what is old enough can be deleted.
    notes: VecDeque<(Instant, u64)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Gap {
    first: u64,
    last: u64,
    seen_at: Instant,
}

/// What entries of the log ask to be read.
#[derive(Default, PartialEq, Eq, Debug)]
pub(crate) struct Wanted {
    /// Rows by table.
    pub(crate) rows: HashMap<Table, Vec<Vec<u8>>>,
    /// Everything of a table.
    pub(crate) all_rows: bool,
}

impl Position {
    /// The position after a full reading in whose snapshot these ids were visible: the highest, at most
    /// [`LOG_ENTRIES_READ_MAX`] of them.
    pub(crate) fn after(mut visible: Vec<u64>, now: Instant) -> Position {
        visible.sort_unstable();
        let mut position = Position::default();
        if visible.len() >= LOG_ENTRIES_READ_MAX {
            // What is below was deleted or read.
            position.last = visible.first().map_or(0, |first| first.saturating_sub(1));
        }
        position.pass(&visible, now);
        position
    }

    /// The highest id that was read; 0 for none.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// The condition that an entry was not read yet.
    pub(crate) fn condition(&self) -> String {
        let mut condition = format!("id > {}", self.last);
        for Gap { first, last, .. } in &self.gaps {
            condition.push_str(&format!(" OR id BETWEEN {first} AND {last}"));
        }
        condition
    }

    /// Takes note that these ids were visible to a reading of everything that meets [`Position::condition`].
    pub(crate) fn pass(&mut self, visible: &[u64], now: Instant) {
        let mut ids = visible.to_vec();
        ids.sort_unstable();
        ids.dedup();
        for id in ids {
            if id > self.last {
                if id - self.last > 1 {
                    self.gaps.push_back(Gap { first: self.last + 1, last: id - 1, seen_at: now });
                }
                self.last = id;
            } else {
                self.close(id);
            }
        }
        self.gaps.retain(|gap| now.saturating_duration_since(gap.seen_at) < GAP_LIFE);
        while self.gaps.len() > GAPS_MAX {
            self.gaps.pop_front();
        }
    }

    /// Notes where the log stands, and says up to which id everybody has had time to read it.
    pub(crate) fn deletable(&mut self, now: Instant) -> Option<u64> {
        self.notes.push_back((now, self.last));
        let mut old = None;
        while let Some(&(at, last)) = self.notes.front() {
            if now.saturating_duration_since(at) < ENTRY_LIFE {
                break;
            }
            old = Some(last);
            self.notes.pop_front();
        }
        old.filter(|&last| last > 0)
    }

    /// Keeps the notes of the position that this one replaces.
    pub(crate) fn with_notes_of(mut self, other: Option<Position>) -> Position {
        self.notes = other.map(|other| other.notes).unwrap_or_default();
        self
    }

    /// Takes an id out of the gap that holds it.
    fn close(&mut self, id: u64) {
        let Some(place) = self.gaps.iter().position(|gap| gap.first <= id && id <= gap.last) else { return };
        let Some(gap) = self.gaps.remove(place) else { return };
        let parts = [(gap.first, id.saturating_sub(1)), (id.saturating_add(1), gap.last)];
        for (first, last) in parts.into_iter().rev().filter(|(first, last)| first <= last) {
            self.gaps.insert(place, Gap { first, last, ..gap });
        }
    }
}

impl Wanted {
    /// What these entries ask for; each row once.
    pub(crate) fn of(entries: &[Entry]) -> Wanted {
        let mut wanted = Wanted::default();
        let mut seen = HashSet::new();
        for entry in entries {
            let Some(&table) = Table::ALL.iter().find(|table| table.name() == entry.table) else { continue };
            match &entry.row_id {
                Some(id) if seen.insert((table, id)) => wanted.rows.entry(table).or_default().push(id.clone()),
                Some(_) => {}
                None => wanted.all_rows = true,
            }
        }
        wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the traps: A takes 5, B takes 6 and commits, the reader passes, A commits: nothing is lost.
    #[test]
    fn an_id_that_becomes_visible_late_is_asked_for() {
        let now = Instant::now();
        let mut position = Position::after(vec![3, 4], now);
        assert_eq!(position.condition(), "id > 4 OR id BETWEEN 1 AND 2");
        position.pass(&[6], now);
        assert_eq!(position.condition(), "id > 6 OR id BETWEEN 1 AND 2 OR id BETWEEN 5 AND 5");
        position.pass(&[5], now);
        assert_eq!(position.condition(), "id > 6 OR id BETWEEN 1 AND 2");
    }

    #[test]
    fn a_gap_closes_from_within_and_is_forgotten_in_time() {
        let now = Instant::now();
        let mut position = Position::default();
        position.pass(&[10], now);
        position.pass(&[5, 9, 1], now);
        assert_eq!(position.condition(), "id > 10 OR id BETWEEN 2 AND 4 OR id BETWEEN 6 AND 8");
        position.pass(&[], now + GAP_LIFE);
        assert_eq!(position.condition(), "id > 10");
    }

    /// Every id is asked for until it was seen, in whatever order transactions take and commit them.
    #[test]
    fn no_order_of_commits_loses_an_id() {
        let now = Instant::now();
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut chance = move |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        for _ in 0..200 {
            let (mut position, mut hidden, mut seen) = (Position::default(), Vec::new(), HashSet::new());
            let mut visible: Vec<u64> = Vec::new();
            for next in 1..=60 {
                let side = if chance(3) == 0 { &mut hidden } else { &mut visible };
                side.push(next);
                if !hidden.is_empty() && chance(4) == 0 {
                    let place = usize::try_from(chance(hidden.len() as u64)).unwrap();
                    visible.push(hidden.swap_remove(place));
                }
                if chance(2) == 0 {
                    read(&mut position, &visible, &mut seen, now);
                }
            }
            visible.append(&mut hidden);
            read(&mut position, &visible, &mut seen, now);
            assert_eq!(seen.len(), 60);
            assert_eq!(position.condition(), "id > 60");
        }
    }

    fn read(position: &mut Position, visible: &[u64], seen: &mut HashSet<u64>, now: Instant) {
        let asked: Vec<u64> = visible
            .iter()
            .copied()
            .filter(|&id| id > position.last || position.gaps.iter().any(|gap| gap.first <= id && id <= gap.last))
            .collect();
        position.pass(&asked, now);
        seen.extend(asked);
    }

    #[test]
    fn there_are_never_more_gaps_than_the_limit() {
        let now = Instant::now();
        let mut position = Position::default();
        let ids: Vec<u64> = (1..=2 * GAPS_MAX as u64 + 50).map(|id| id * 2).collect();
        position.pass(&ids, now);
        assert_eq!(position.gaps.len(), GAPS_MAX);
    }

    #[test]
    fn what_everybody_has_read_can_be_deleted() {
        let now = Instant::now();
        let mut position = Position::after(vec![7], now);
        assert_eq!(position.deletable(now), None);
        position.pass(&[8], now);
        assert_eq!(position.deletable(now + ENTRY_LIFE / 2), None);
        assert_eq!(position.deletable(now + ENTRY_LIFE), Some(7));
        assert_eq!(position.deletable(now + ENTRY_LIFE * 2), Some(8));
    }

    #[test]
    fn each_row_is_read_once() {
        let entry = |id, table: &str, row: Option<&str>| Entry {
            id,
            table: table.to_owned(),
            row_id: row.map(|row| row.as_bytes().to_vec()),
        };
        let wanted = Wanted::of(&[
            entry(1, "users", Some("a")),
            entry(2, "users", Some("a")),
            entry(3, "did_numbers", Some("a")),
            entry(4, "switchyard_leases", None),
        ]);
        assert_eq!(wanted.rows[&Table::Users], [b"a".to_vec()]);
        assert_eq!((wanted.rows.len(), wanted.all_rows), (2, false));
        assert!(Wanted::of(&[entry(1, "users", None)]).all_rows);
    }
}
