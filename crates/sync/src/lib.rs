//! How the directory stays true: SQL in, numbered directories out.
//!
//! A tour, in the order in which data passes:
//!
//! - [`Settings`]: which database, how often to look, how to read it.
//! - [`start`]: one writer, on a thread of its own, so that no packet ever waits for a build. It looks for a change,
//!   reads, builds and publishes. A reading that fails changes nothing: the last good directory stays.
//! - [`Published`]: where everyone else takes the directory from. A load is a pointer; [`Published::subscribe`] tells
//!   when there is a new generation.
//! - [`Watcher`]: the writer's other end: [`Watcher::status`], [`Watcher::refresh`], [`Watcher::stop`].
//! - [`schema`]: the reference tables and made-up rows, for demonstrations and tests.
//!
//! `source/` has one file for each database engine: queries and change detection, nothing else.

mod backoff;
mod call_table;
pub mod changes;
mod clock;
mod examine;
mod fault;
mod generations;
pub mod limits;
mod mapping;
mod migrate;
mod own_tables;
mod published;
mod reading;
mod rights;
mod saver;
pub mod schema;
mod settings;
mod snapshot_files;
mod source;
mod status;
mod watch;
mod writer;

pub use call_table::{CallRow, CallTable};
pub use examine::{ClockSkew, Examination, Triggers, examine};
pub use fault::SyncFault;
pub use generations::{Cause, GenerationNote};
pub use mapping::{Mapping, MappingFault};
pub use migrate::{Migration, Statement, account_of, migrate, plan, script};
pub use published::{Published, Publisher, Reader};
pub use rights::{MissingColumn, Rights, User, rights};
pub use settings::{Detection, Settings, masked_url};
pub use snapshot_files::{PREVIOUS_SNAPSHOT_NAME, SNAPSHOT_NAME};
pub use status::{Held, Status};
pub use watch::{Watcher, start};
