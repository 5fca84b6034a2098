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

mod build;
mod cell;
mod did_table;
mod directory;
mod fault;
pub mod limits;
mod organisation;
mod row_key;
pub mod rows;
mod trunk;
mod user;
mod words;

pub use build::{Builder, build};
pub use directory::{Did, Directory, Generation, Organisation, OrganisationId, Service, Trunk, User};
pub use fault::{Effect, Fault, Reason, Table};
pub use organisation::Limits;
pub use rows::{Cell, DidRow, OrganisationRow, Rows, TrunkRow, UserRow};
pub use words::{Environment, OrganisationStatus, PoolStates, PoolStatus, Status, Transport, UnknownWord, UserStatus};

/// What a build needs to know beside the rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// What a number without `+` means.
    pub numbering: sip::Numbering,
    /// The pool states in which a DID takes calls.
    pub pool_states: PoolStates,
}
