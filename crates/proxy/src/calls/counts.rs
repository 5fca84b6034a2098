//! What is counted: how many calls each DID, organisation, environment, trunk and gateway has now, and how fast they came.
//!
//! All workers share one [`Counts`]. It is a table of atomic cells and takes no lock: a cell belongs to the subject whose
//! tag stands in it. A count is held by a [`Permit`], which gives it back when it is dropped, so the counts are the sum of
//! the calls that live.

use super::rate::{Bucket, Budget, Spent, day_of};
use crate::flow::Time;
use crate::limits::{COUNTED_PARTIES, COUNTED_SUBJECTS};
use sip::Number;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Cells that one subject may stand in, one behind the other.
const PROBES: usize = 16;
/// The bits of a cell's word that count; the others tag the subject.
const COUNT_BITS: u32 = 24;
/// The bit of a word whose cell is asked for: nobody counts in it, until it is sure that its subject has no other.
const ASKED: u64 = 1 << (COUNT_BITS - 1);
const COUNT_MASK: u64 = ASKED - 1;
/// The place of what is not counted.
const NOWHERE: u32 = u32::MAX;
/// The bit of a place that tells a party's cell from a subject's.
const OF_PARTY: u32 = 1 << 31;

/// Whose calls are counted.
#[derive(Clone, Copy, Debug)]
pub enum Subject<'a> {
    /// A number of ours.
    Did(Number),
    /// An organisation, by its id.
    Organisation(&'a [u8]),
    /// An environment, by its name.
    Environment(&'a str),
    /// A trunk, by its name.
    Trunk(&'a str),
    /// The calls on a trunk that are not prod's.
    NotProd(&'a str),
    /// One gateway of a trunk.
    Gateway(&'a str, SocketAddr),
}

/// The counts of one process.
#[derive(Debug)]
pub struct Counts {
    /// Parties and gateways: their cells stay theirs.
    parties: Box<[Cell]>,
    /// DIDs and organisations: a cell that nobody counts in is given to the next.
    subjects: Box<[Cell]>,
    /// See [`Counts::set_zero`].
    zero_unix_us: AtomicU64,
    /// How often a cell was asked for: no two askings are the same.
    asked: AtomicU64,
}

#[derive(Debug, Default)]
struct Cell {
    /// The subject's tag, and how many calls it has; 0 is nobody's.
    word: AtomicU64,
    /// The subject's [`Bucket`].
    bucket: AtomicU64,
    /// Its [`Budget`].
    budget: AtomicU64,
}

/// What one call holds of the counts. Dropping it gives everything back.
#[derive(Debug)]
pub(crate) struct Permit {
    counts: Arc<Counts>,
    places: [u32; SEATS],
}

/// What a permit holds, by what it is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Seat {
    Did,
    Organisation,
    Environment,
    NotProd,
    Trunk,
    Gateway,
}

const SEATS: usize = 6;

/// Why a seat was not given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NoSeat {
    /// The subject has as many calls as it may have.
    Taken,
}

impl Default for Counts {
    fn default() -> Self {
        Counts::sized(COUNTED_SUBJECTS)
    }
}

impl Counts {
    /// Counts with room for so many DIDs and organisations at one time.
    pub fn sized(subjects: usize) -> Counts {
        let cells = |count: usize| (0..count).map(|_| Cell::default()).collect();
        Counts {
            parties: cells(COUNTED_PARTIES),
            subjects: cells(subjects),
            zero_unix_us: AtomicU64::new(0),
            asked: AtomicU64::new(0),
        }
    }

    /// What time of day it was at the zero of the caller's clock, in microseconds since 1970: by it a budget's day begins
    /// at midnight, UTC. To be told again whenever somebody may have set the time.
    pub fn set_zero(&self, unix_us: u64) {
        self.zero_unix_us.store(unix_us, Ordering::Relaxed);
    }

    /// What was used of a party's budget for a day.
    pub fn spent(&self, subject: Subject<'_>) -> Spent {
        self.budget_of(subject).spent()
    }

    /// How many calls of its budget a party has used on the day that it is.
    pub fn used_today(&self, subject: Subject<'_>, now: Time) -> u32 {
        let spent = self.spent(subject);
        if spent.day >= self.today(now) { spent.calls } else { 0 }
    }

    /// The number of the day that it is.
    pub(super) fn today(&self, now: Time) -> u32 {
        day_of(self.zero_unix_us.load(Ordering::Relaxed).saturating_add(now.0))
    }

    /// Goes on with what the process before this one has used of a party's budget.
    pub fn set_spent(&self, subject: Subject<'_>, spent: Spent) {
        // With no limit only the table's room is asked for; parties have more than a configuration can name.
        if let Ok(Some(place)) = self.enter(subject, None, Time(0)) {
            if let Some(cell) = self.cell(place) {
                cell.budget.store(Budget::of(spent).0, Ordering::Relaxed);
            }
            self.leave(place);
        }
    }

    /// How many calls a subject has now.
    pub fn used(&self, subject: Subject<'_>) -> u32 {
        let (cells, _, tag) = self.home(subject);
        let found = cells.iter().find_map(|cell| {
            let word = cell.word.load(Ordering::Relaxed);
            is_of(word, tag).then_some(word & COUNT_MASK)
        });
        u32::try_from(found.unwrap_or(0)).unwrap_or(u32::MAX)
    }

    /// A subject's bucket and budget, as they are.
    pub(super) fn bucket(&self, subject: Subject<'_>) -> Bucket {
        Bucket(self.own_cell(subject).map_or(0, |cell| cell.bucket.load(Ordering::Relaxed)))
    }

    pub(super) fn budget_of(&self, subject: Subject<'_>) -> Budget {
        Budget(self.own_cell(subject).map_or(0, |cell| cell.budget.load(Ordering::Relaxed)))
    }

    fn own_cell(&self, subject: Subject<'_>) -> Option<&Cell> {
        let (cells, _, tag) = self.home(subject);
        cells.iter().find(|cell| is_of(cell.word.load(Ordering::Relaxed), tag))
    }

    /// True when nobody has a call.
    pub fn is_zero(&self) -> bool {
        self.parties.iter().chain(&self.subjects).all(|cell| count_of(cell.word.load(Ordering::Relaxed)) == 0)
    }

    /// Counts one call more of a subject, unless it has as many as `most`. `Ok(None)`: the table has no room, and the
    /// call is let in uncounted.
    fn enter(&self, subject: Subject<'_>, most: Option<u32>, now: Time) -> Result<Option<u32>, NoSeat> {
        let (cells, first, tag) = self.home(subject);
        let of_party = first & OF_PARTY;
        // A turn is lost only to another worker that changed a cell, and so made progress.
        loop {
            let mut free = None;
            let mut changed = false;
            for (cell, place) in cells.iter().zip(first..) {
                let word = cell.word.load(Ordering::Acquire);
                // A cell that another worker asks for is no cell yet: who asks as well decides with it which one it is.
                if is_of(word, tag) {
                    if most.is_some_and(|most| word & COUNT_MASK >= u64::from(most)) {
                        return Err(NoSeat::Taken);
                    }
                    if cell.swap(word, word + 1) {
                        return Ok(Some(place));
                    }
                    changed = true;
                    break;
                }
                if free.is_none() && (word == 0 || of_party == 0 && cell.is_idle(word, now)) {
                    free = Some((place, cell, word));
                }
            }
            let Some((place, cell, word)) = free.filter(|_| !changed) else {
                if changed {
                    continue;
                }
                return Ok(None);
            };
            if most == Some(0) {
                return Err(NoSeat::Taken);
            }
            let asked = tag << COUNT_BITS | ASKED | self.asked.fetch_add(1, Ordering::Relaxed) & COUNT_MASK;
            if cell.claim(word, asked, cells) {
                return Ok(Some(place));
            }
        }
    }

    fn leave(&self, place: u32) {
        if let Some(cell) = self.cell(place) {
            cell.word.fetch_sub(1, Ordering::AcqRel);
        }
    }

    fn cell(&self, place: u32) -> Option<&Cell> {
        let cells = if place & OF_PARTY == 0 { &self.subjects } else { &self.parties };
        cells.get((place & !OF_PARTY) as usize).filter(|_| place != NOWHERE)
    }

    /// The cells that a subject may stand in, the place of the first one, and the subject's tag.
    fn home(&self, subject: Subject<'_>) -> (&[Cell], u32, u64) {
        let hash = subject.hash();
        let (cells, of_party) = match subject {
            Subject::Did(_) | Subject::Organisation(_) => (&self.subjects, 0),
            _ => (&self.parties, OF_PARTY),
        };
        let tag = (hash >> COUNT_BITS) | 1;
        // So many cells have as many behind them as a subject may stand in.
        let homes = cells.len().saturating_sub(PROBES - 1).max(1);
        let home = usize::try_from(hash & 0xFFFF_FFFF).unwrap_or(0) % homes;
        let cells = cells.get(home..cells.len().min(home + PROBES)).unwrap_or_default();
        (cells, u32::try_from(home).unwrap_or(0) | of_party, tag)
    }
}

/// True for the word of a cell that counts for the subject of a tag.
fn is_of(word: u64, tag: u64) -> bool {
    word & !COUNT_MASK == tag << COUNT_BITS
}

/// The calls that a word counts.
fn count_of(word: u64) -> u64 {
    if word & ASKED == 0 { word & COUNT_MASK } else { 0 }
}

impl Cell {
    fn swap(&self, old: u64, new: u64) -> bool {
        self.word.compare_exchange(old, new, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    /// Makes a free cell the one of a subject that has none, with one call; false when another worker was faster.
    ///
    /// Two workers may find two cells free for one subject, and two counts would be two limits. So a cell is asked for
    /// first, in one order that all see, and then every other cell of the subject is looked at. One that counts already
    /// wins; one that is only asked for is taken from its worker, who looks again.
    fn claim(&self, word: u64, asked: u64, cells: &[Cell]) -> bool {
        let tag = asked >> COUNT_BITS;
        if !self.swap(word, asked) {
            return false;
        }
        self.bucket.store(0, Ordering::Relaxed);
        self.budget.store(0, Ordering::Relaxed);
        for other in cells.iter().filter(|other| !std::ptr::eq(*other, self)) {
            let mut seen = other.word.load(Ordering::SeqCst);
            if seen >> COUNT_BITS == tag && seen & ASKED != 0 {
                seen = if other.swap(seen, 0) { 0 } else { other.word.load(Ordering::SeqCst) };
            }
            if seen >> COUNT_BITS == tag {
                // Where another worker has taken it from us, it is free already.
                self.swap(asked, 0);
                return false;
            }
        }
        self.swap(asked, tag << COUNT_BITS | 1)
    }

    /// Nobody counts in it, and its bucket is full.
    fn is_idle(&self, word: u64, now: Time) -> bool {
        word & (COUNT_MASK | ASKED) == 0 && self.bucket.load(Ordering::Relaxed) <= now.0
    }
}

impl Permit {
    pub(crate) fn new(counts: Arc<Counts>) -> Permit {
        Permit { counts, places: [NOWHERE; SEATS] }
    }

    /// Takes a seat, in the place of the one of this kind that it has. `Ok(false)`: it is not counted for want of room.
    pub(crate) fn take(
        &mut self,
        seat: Seat,
        subject: Subject<'_>,
        most: Option<u32>,
        now: Time,
    ) -> Result<bool, NoSeat> {
        let place = self.counts.enter(subject, most, now)?;
        let own = self.places.get_mut(seat as usize);
        let before = own.map_or(NOWHERE, |own| std::mem::replace(own, place.unwrap_or(NOWHERE)));
        self.counts.leave(before);
        Ok(place.is_some())
    }

    /// Whether it has this seat.
    pub(crate) fn has(&self, seat: Seat) -> bool {
        self.cell(seat).is_some()
    }

    /// Gives this seat back, if it has it.
    pub(crate) fn give_back(&mut self, seat: Seat) {
        if let Some(own) = self.places.get_mut(seat as usize) {
            self.counts.leave(std::mem::replace(own, NOWHERE));
        }
    }

    /// One call more in the second that this is, for the one who has this seat.
    pub(crate) fn take_rate(&self, seat: Seat, per_second: Option<u32>, now: Time) -> bool {
        let (Some(per_second), Some(cell)) = (per_second, self.cell(seat)) else { return true };
        let take = |seen| Bucket(seen).take(now, per_second).map(|bucket| bucket.0);
        cell.bucket.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).is_ok()
    }

    /// One call more of the day's budget, for the one who has this seat: what is used with it. `Ok(None)`: it is not
    /// counted for want of room.
    pub(crate) fn take_budget(&self, seat: Seat, most: u32, now: Time) -> Result<Option<Spent>, NoSeat> {
        let Some(cell) = self.cell(seat) else { return Ok(None) };
        let today = self.counts.today(now);
        let take = |seen| Budget(seen).take(today, most).map(|budget| budget.0);
        match cell.budget.fetch_update(Ordering::AcqRel, Ordering::Acquire, take) {
            // What was seen last leads to what is there now.
            Ok(seen) => Ok(Budget(seen).take(today, most).map(Budget::spent)),
            Err(_) => Err(NoSeat::Taken),
        }
    }

    fn cell(&self, seat: Seat) -> Option<&Cell> {
        self.counts.cell(*self.places.get(seat as usize)?)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        for place in self.places {
            self.counts.leave(place);
        }
    }
}

impl Subject<'_> {
    /// A hash over the kind and the name, well mixed: its bits are cut into a place and a tag.
    fn hash(self) -> u64 {
        let mut hash = Mix(0xcbf2_9ce4_8422_2325);
        match self {
            Subject::Did(number) => hash.add(b"d").add(&number.digits().to_le_bytes()),
            Subject::Organisation(id) => hash.add(b"o").add(id),
            Subject::Environment(name) => hash.add(b"e").add(name.as_bytes()),
            Subject::Trunk(name) => hash.add(b"t").add(name.as_bytes()),
            Subject::NotProd(name) => hash.add(b"n").add(name.as_bytes()),
            Subject::Gateway(name, address) => {
                hash.add(b"g").add(name.as_bytes()).add(&address.port().to_le_bytes());
                match address.ip() {
                    IpAddr::V4(ip) => hash.add(&ip.octets()),
                    IpAddr::V6(ip) => hash.add(&ip.octets()),
                }
            }
        };
        hash.finish()
    }
}

struct Mix(u64);

impl Mix {
    fn add(&mut self, bytes: &[u8]) -> &mut Mix {
        self.0 = bytes.iter().fold(self.0, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        self
    }

    fn finish(&self) -> u64 {
        let mixed = (self.0 ^ (self.0 >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        let mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        mixed ^ (mixed >> 33)
    }
}

#[cfg(test)]
mod tests;
