//! Which number is whose, as a value: the immutable numbered table, its lookups and its build from rows.
//!
//! A tour, in the order in which data passes:
//!
//! - [`rows`]: what a database holds, column by column, as bytes. Anything can stand in a cell.
//! - [`build`] and [`Builder`]: rows become a [`Directory`]. Building never fails: a row that cannot be read is set
//!   aside alone, as a [`Fault`], and a row that was good before keeps its last good value.
//! - [`Directory`]: the value. It never changes; a change is a new directory with a higher [`Generation`]. Share it as
//!   `Arc<Directory>`, and look up as often as you like: no lookup allocates.
//!
//! Nothing here does I/O, knows SQL or reads a clock.

mod apply;
mod assemble;
mod build;
mod cell;
mod contender;
mod did;
mod did_table;
pub mod difference;
mod directory;
mod fault;
pub mod guard;
mod key_index;
pub mod limits;
#[cfg(test)]
mod made_up;
mod ordered;
mod organisation;
pub mod overlays;
mod place_list;
mod provider;
mod read;
mod row_key;
pub mod rows;
mod service;
pub mod snapshot;
mod trunk;
mod user;
mod words;

pub use apply::{Change, Changes};
pub use build::{Builder, build};
pub use did::Did;
pub use difference::{DidChange, DidFacts, Difference, Tally};
pub use directory::{DidMemory, Directory, Generation, Organisation, OrganisationId, Trunk, User};
pub use fault::{Effect, Fault, Reason, Table};
pub use guard::{Guard, GuardPolicy, Hold, HoldReason, OwnMove, Verdict, Warning};
pub use organisation::Limits;
pub use overlays::{Lease, Overlays, Panic, Routed, RoutedBy, Subject, Tester, TooManyOverlays};
pub use rows::{Cell, DidRow, OrganisationRow, Rows, TrunkRow, UserRow};
pub use service::{DidWords, Service};
pub use words::{Environment, OrganisationStatus, PoolStates, PoolStatus, Status, Transport, UnknownWord, UserStatus};

/// What a build needs to know beside the rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// What a number without `+` means.
    pub numbering: sip::Numbering,
    /// The pool states in which a DID takes calls.
    pub pool_states: PoolStates,
}
