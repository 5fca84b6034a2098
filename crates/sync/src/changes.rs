//! What an operator changes: a DID's environment for good, leases, tester overrides, panic. Each is one transaction
//! with a row in `switchyard_audit`, and is answered with the generation in which it is live.
//!
//! Of two who change the same thing the second learns that it has changed: a row is written only where it still says
//! what the writer saw, and of a lease, an override or a panic there is one at a time.

mod fault;
mod listing;
mod many;
mod order;
mod statements;

use std::future::Future;
use std::time::{Duration, Instant};

use directory::{Directory, Environment, Fault, Generation, Lease, Subject, Table, Tester};
use sip::Number;
use tokio::sync::{Mutex, MutexGuard};

use crate::clock::now_ms;
use crate::fault::SyncFault;
use crate::limits::{OVERLAY_LIFE_MAX, REASON_BYTES_MAX, WHO_BYTES_MAX};
use crate::mapping::Mapping;
use crate::own_tables::OwnTable;
use crate::settings::Settings;
use crate::source::Engine;
use crate::watch::Watcher;

pub use fault::WriteFault;
pub use listing::{AuditNote, AuditPlace, LeaseNote, Made, PanicNote, TesterNote};
pub use many::{Move, MovesWritten};
use order::Order;
use statements::Transaction;

/// How often a write is tried that ends in a deadlock.
const TRIES_MAX: u32 = 4;

/// Who changes something, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct By {
    /// The operator: 1 to 255 bytes.
    pub who: String,
    /// The reason: 1 to 1,024 bytes.
    pub reason: String,
    /// What they are here: a role. Empty where it is not known.
    pub role: String,
    /// From where they ask, and by what they were known; its first 255 bytes are recorded. Empty where it is not known.
    pub origin: String,
}

impl By {
    /// Somebody of whom no more is known.
    pub fn new(who: impl Into<String>, reason: impl Into<String>) -> By {
        By { who: who.into(), reason: reason.into(), role: String::new(), origin: String::new() }
    }
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The id of the lease, the override or the panic; of a DID's row for a move.
    pub id: String,
    /// The generation in which it is live; a fault when it was committed and could not be read back yet.
    pub live: Result<Generation, SyncFault>,
    /// The time from the request until then.
    pub took: Duration,
}

/// The way to write. Writes come one after the other, on a connection of their own.
pub struct Writes {
    watcher: Watcher,
    mapping: Mapping,
    query_timeout: Duration,
    engine: Mutex<Engine>,
}

impl Writes {
    /// The way to write to the database that a watcher looks at. Nothing is connected to yet.
    pub fn new(settings: &Settings, watcher: Watcher) -> Result<Writes, SyncFault> {
        Ok(Writes {
            watcher,
            mapping: settings.mapping.clone(),
            query_timeout: settings.query_timeout,
            engine: Mutex::new(Engine::for_writes(settings)?),
        })
    }

    /// Moves a DID to another environment for good. `before` is what its row is expected to say; `None`: what the
    /// present directory says, or whatever the row says that is no environment, which is mended so.
    pub async fn set_environment(
        &self,
        number: Number,
        environment: Environment,
        before: Option<&str>,
        by: &By,
    ) -> Result<Written, WriteFault> {
        let begun = Instant::now();
        check(by)?;
        let directory = self.watcher.published().load();
        let id = self.move_row(&directory, number, environment, before, by).await?;
        Ok(self.live(id, begun).await)
    }

    /// The id of the row that was written.
    async fn move_row(
        &self,
        directory: &Directory,
        number: Number,
        environment: Environment,
        before: Option<&str>,
        by: &By,
    ) -> Result<String, WriteFault> {
        let did = directory.did(number);
        let is_bad = did.is_none_or(|did| did.kept_last_good);
        let to_mend = if is_bad && before.is_none() { self.row_to_mend(directory, number).await? } else { None };
        let (id, before) = match (to_mend, did, directory.did_row_id(number)) {
            (Some(found), ..) => found,
            (None, Some(did), Some(id)) => (id, Some(before.unwrap_or(did.environment.as_str()).to_owned())),
            _ => return Err(WriteFault::NoSuchDid { number }),
        };
        self.watcher.note_own_move(number, environment);
        let dids = self.mapping.of(Table::Dids);
        let order = Order::Move { dids, id: &id, number, before: before.as_deref(), environment };
        self.write(&order, by).await?;
        Ok(id)
    }

    /// The row of this number that says an environment which is none, and what it says.
    async fn row_to_mend(
        &self,
        directory: &Directory,
        number: Number,
    ) -> Result<Option<(String, Option<String>)>, WriteFault> {
        let is_of_environment = |fault: &&Fault| fault.table == Table::Dids && fault.column == "routing_environment";
        let faults = directory.faults().iter().filter(is_of_environment);
        let ids: Vec<String> = faults.map(|fault| fault.key.clone()).collect();
        let dids = self.mapping.of(Table::Dids);
        let mut held = self.held().await;
        let work = async {
            let mut transaction = Transaction::begin(&mut held.engine).await?;
            transaction.row_to_mend(dids, &ids, number, directory.numbering()).await
        };
        let done = self.within(work).await;
        held.settled(done).await
    }

    /// Makes a lease. If there is one of this number already, `replaces` must name it.
    pub async fn lease(&self, lease: Lease, replaces: Option<&str>, by: &By) -> Result<Written, WriteFault> {
        let begun = Instant::now();
        check(by)?;
        check_end(Some(lease.ends_at_ms))?;
        let directory = self.watcher.published().load();
        let number = lease.number;
        let before = directory.route(number, None).ok_or(WriteFault::NoSuchDid { number })?.environment;
        let id = new_id()?;
        self.write(&Order::Lease { id: &id, lease, before, replaces }, by).await?;
        Ok(self.live(id, begun).await)
    }

    /// Ends a lease before its time.
    pub async fn end_lease(&self, id: &str, by: &By) -> Result<Written, WriteFault> {
        self.end(OwnTable::Leases, id, "end_lease", by).await
    }

    /// Makes a tester override. If there is one of this caller and subject already, `replaces` must name it.
    pub async fn set_tester(&self, tester: Tester, replaces: Option<&str>, by: &By) -> Result<Written, WriteFault> {
        let begun = Instant::now();
        check(by)?;
        check_end(Some(tester.ends_at_ms))?;
        let directory = self.watcher.published().load();
        match &tester.subject {
            Subject::Did(number) if directory.did(*number).is_none() => {
                return Err(WriteFault::NoSuchDid { number: *number });
            }
            Subject::Organisation(id) if directory.organisation_by_uuid(id).is_none() => {
                return Err(WriteFault::NoSuchOrganisation { id: id.clone() });
            }
            Subject::Did(_) | Subject::Organisation(_) => {}
        }
        let id = new_id()?;
        self.write(&Order::Tester { id: &id, tester: &tester, replaces }, by).await?;
        Ok(self.live(id, begun).await)
    }

    /// Ends a tester override before its time.
    pub async fn end_tester(&self, id: &str, by: &By) -> Result<Written, WriteFault> {
        self.end(OwnTable::Testers, id, "end_tester", by).await
    }

    /// Sends everything to prod until an end, or until it is released.
    pub async fn panic(&self, ends_at_ms: Option<u64>, by: &By) -> Result<Written, WriteFault> {
        let begun = Instant::now();
        check(by)?;
        check_end(ends_at_ms)?;
        let id = new_id()?;
        self.write(&Order::Panic { id: &id, ends_at_ms }, by).await?;
        Ok(self.live(id, begun).await)
    }

    /// Releases the panic of this id.
    pub async fn release_panic(&self, id: &str, by: &By) -> Result<Written, WriteFault> {
        self.end(OwnTable::Panic, id, "release_panic", by).await
    }

    /// Records what was done that is no row of ours: what the guard held back was accepted or rejected.
    pub async fn record(&self, action: &'static str, subject: &str, after: &str, by: &By) -> Result<(), WriteFault> {
        check(by)?;
        self.write(&Order::Record { action, subject, after }, by).await
    }

    /// Whether this may be who changes something, and why.
    pub fn check(by: &By) -> Result<(), WriteFault> {
        check(by)
    }

    /// The leases in effect, by number.
    pub async fn leases(&self) -> Result<Vec<LeaseNote>, WriteFault> {
        let mut held = self.held().await;
        let work = async { Transaction::begin(&mut held.engine).await?.leases().await };
        let done = self.within(work).await;
        held.settled(done).await
    }

    /// The tester overrides in effect, by caller.
    pub async fn testers(&self) -> Result<Vec<TesterNote>, WriteFault> {
        let mut held = self.held().await;
        let work = async { Transaction::begin(&mut held.engine).await?.testers().await };
        let done = self.within(work).await;
        held.settled(done).await
    }

    /// The panic in effect.
    pub async fn present_panic(&self) -> Result<Option<PanicNote>, WriteFault> {
        let mut held = self.held().await;
        let work = async { Transaction::begin(&mut held.engine).await?.present_panic().await };
        let done = self.within(work).await;
        held.settled(done).await
    }

    /// The last changes, newest first; at most `limit`.
    pub async fn audit(&self, limit: u32) -> Result<Vec<AuditNote>, WriteFault> {
        self.audit_before(None, limit).await
    }

    /// The changes before a place, newest first; at most `limit`.
    pub async fn audit_before(&self, place: Option<&AuditPlace>, limit: u32) -> Result<Vec<AuditNote>, WriteFault> {
        let mut held = self.held().await;
        let work = async { Transaction::begin(&mut held.engine).await?.audit_notes(place, limit).await };
        let done = self.within(work).await;
        held.settled(done).await
    }

    async fn end(&self, table: OwnTable, id: &str, action: &'static str, by: &By) -> Result<Written, WriteFault> {
        let begun = Instant::now();
        check(by)?;
        self.write(&Order::End { table, id, action }, by).await?;
        Ok(self.live(id.to_owned(), begun).await)
    }

    /// Does what is ordered in one transaction: all of it is committed, or nothing. A deadlock, which rolls back
    /// everything, is another try.
    async fn write(&self, order: &Order<'_>, by: &By) -> Result<(), WriteFault> {
        let mut held = self.held().await;
        let mut tries_left = TRIES_MAX;
        loop {
            held.is_settled = false;
            let work = async {
                let mut transaction = Transaction::begin(&mut held.engine).await?;
                order.run(&mut transaction, by).await?;
                transaction.commit().await
            };
            let done = self.within(work).await;
            let done = held.settled(done).await;
            tries_left -= 1;
            match done {
                Err(fault) if fault.is_deadlock() && tries_left > 0 => {}
                Err(fault) => return Err(fault.not_alone()),
                Ok(()) => return Ok(()),
            }
        }
    }

    async fn held(&self) -> Held<'_> {
        Held { engine: self.engine.lock().await, is_settled: false }
    }

    async fn within<T>(&self, work: impl Future<Output = Result<T, WriteFault>>) -> Result<T, WriteFault> {
        let timeout = self.query_timeout;
        let done = tokio::time::timeout(timeout, work).await;
        done.unwrap_or(Err(WriteFault::Database(SyncFault::TimedOut(timeout))))
    }

    /// Waits until what was committed is published.
    async fn live(&self, id: String, begun: Instant) -> Written {
        let live = self.watcher.refresh().await;
        Written { id, live, took: begun.elapsed() }
    }
}

/// The connection while one asks. Who goes away before all is settled leaves it closed, so that no transaction stays open
/// for whoever comes next.
struct Held<'w> {
    engine: MutexGuard<'w, Engine>,
    is_settled: bool,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if !self.is_settled {
            self.engine.disconnect();
        }
    }
}

impl Held<'_> {
    /// Rolls back what is left of a transaction, or gives the connection up.
    async fn settled<T>(&mut self, done: Result<T, WriteFault>) -> Result<T, WriteFault> {
        let is_broken = matches!(done, Err(WriteFault::Database(_)));
        // After a commit there is nothing to roll back, which is no fault in MariaDB and PostgreSQL, and one in SQLite.
        if is_broken || self.engine.execute("ROLLBACK").await.is_err() {
            self.engine.disconnect();
        }
        self.is_settled = true;
        done
    }
}

fn check(by: &By) -> Result<(), WriteFault> {
    let parts = [("who", &by.who, WHO_BYTES_MAX), ("reason", &by.reason, REASON_BYTES_MAX)];
    for (what, text, most) in parts {
        if text.trim().is_empty() || text.len() > most || text.contains('\0') {
            return Err(WriteFault::Invalid { what, expected: format!("1 to {most} bytes of text") });
        }
    }
    Ok(())
}

fn check_end(ends_at_ms: Option<u64>) -> Result<(), WriteFault> {
    let Some(ends_at_ms) = ends_at_ms else { return Ok(()) };
    let now_ms = now_ms();
    let most_ms = u64::try_from(OVERLAY_LIFE_MAX.as_millis()).unwrap_or(u64::MAX);
    if ends_at_ms <= now_ms || ends_at_ms - now_ms > most_ms {
        let expected = format!("a time from now to {} days ahead", OVERLAY_LIFE_MAX.as_secs() / 86_400);
        return Err(WriteFault::Invalid { what: "end", expected });
    }
    Ok(())
}

/// A random UUID (RFC 9562 section 5.4).
fn new_id() -> Result<String, WriteFault> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        let detail = error.to_string();
        WriteFault::Database(SyncFault::Query { what: "randomness".to_owned(), detail })
    })?;
    let value = u128::from_be_bytes(bytes) & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let mut text = format!("{value:032x}");
    for at in [8, 13, 18, 23] {
        text.insert(at, '-');
    }
    Ok(text)
}
