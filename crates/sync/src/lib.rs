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
mod fault;
pub mod limits;
mod mapping;
mod published;
pub mod schema;
mod settings;
mod source;
mod status;
mod watch;

pub use fault::SyncFault;
pub use mapping::{Mapping, MappingFault};
pub use published::{Published, Publisher, Reader};
pub use settings::{Settings, masked_url};
pub use status::Status;
pub use watch::{Watcher, start};
