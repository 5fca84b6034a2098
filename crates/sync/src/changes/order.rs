//! What a write does, step by step, within its transaction.

use directory::{Environment, Lease, Tester};
use sip::Number;

use super::statements::{Transaction, tester_key, written};
use super::{By, WriteFault};
use crate::mapping::TableNames;
use crate::own_tables::{MOVED, OwnTable};

/// What is to be written.
pub(super) enum Order<'o> {
    /// A DID's row says another environment from now on; `before` is what it says, `None` for NULL.
    Move { dids: &'o TableNames, id: &'o str, number: Number, before: Option<&'o str>, environment: Environment },
    /// A DID goes elsewhere for a while; `before` is where it went.
    Lease { id: &'o str, lease: Lease, before: Environment, replaces: Option<&'o str> },
    /// A caller's calls go elsewhere for a while.
    Tester { id: &'o str, tester: &'o Tester, replaces: Option<&'o str> },
    /// Everything goes to prod.
    Panic { id: &'o str, ends_at_ms: Option<u64> },
    /// Nothing of ours changes, and it is recorded.
    Record { action: &'static str, subject: &'o str, after: &'o str },
    /// One of these ends before its time.
    End { table: OwnTable, id: &'o str, action: &'static str },
}

/// What there is one panic of.
const PANIC_KEY: &str = "panic";

impl Order<'_> {
    /// Runs it, its row of the audit included.
    pub(super) async fn run(&self, transaction: &mut Transaction<'_>, by: &By) -> Result<(), WriteFault> {
        match *self {
            Order::Move { dids, id, number, before, environment } => {
                if !transaction.move_did(dids, id, before, environment).await? {
                    return Err(match transaction.environment_of(dids, id).await? {
                        Some(found) => WriteFault::Changed { found },
                        None => WriteFault::NoSuchDid { number },
                    });
                }
                let (subject, after) = (written(number), environment.as_str());
                transaction.audit(MOVED, &subject, before, Some(after), by).await
            }
            Order::Lease { id, lease, before, replaces } => {
                let key = written(lease.number);
                let replaced = transaction.free(OwnTable::Leases, &key, replaces).await?;
                transaction.insert_lease(id, &lease, by).await?;
                let after = format!("{} until {}", lease.environment, lease.ends_at_ms);
                let before = replaced.as_deref().unwrap_or(before.as_str());
                transaction.audit("lease", &key, Some(before), Some(&after), by).await
            }
            Order::Tester { id, tester, replaces } => {
                let key = tester_key(tester);
                let replaced = transaction.free(OwnTable::Testers, &key, replaces).await?;
                transaction.insert_tester(id, tester, by).await?;
                let after = format!("{} until {}", tester.environment, tester.ends_at_ms);
                transaction.audit("set_tester", &key, replaced.as_deref(), Some(&after), by).await
            }
            Order::Panic { id, ends_at_ms } => {
                transaction.free(OwnTable::Panic, PANIC_KEY, None).await?;
                transaction.insert_panic(id, PANIC_KEY, ends_at_ms, by).await?;
                let after = ends_at_ms.map_or("until released".to_owned(), |ends_at_ms| format!("until {ends_at_ms}"));
                transaction.audit("panic", "everything", None, Some(&after), by).await
            }
            Order::Record { action, subject, after } => transaction.audit(action, subject, None, Some(after), by).await,
            Order::End { table, id, action } => {
                let ended = || WriteFault::Ended { id: id.to_owned() };
                let (subject, before) = transaction.present(table, id).await?.ok_or_else(ended)?;
                if !transaction.end(table, id).await? {
                    return Err(ended());
                }
                transaction.audit(action, &subject, Some(&before), Some("ended"), by).await
            }
        }
    }
}
