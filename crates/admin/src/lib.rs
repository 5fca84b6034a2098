//! What people see and change: the API that the command line speaks to the running process.
//!
//! The process listens on a Unix socket in its state folder, readable by its user and group alone. [`serve`] answers
//! there, [`fetch_status`] asks. [`Status`] is the one value that both know: what `GET /api/v1/status` says.

mod client;
mod observe;
mod server;
mod status;

pub use client::{AskFault, fetch_status};
pub use observe::{Observed, Readiness, serve_observed};
pub use server::{BindFault, SOCKET_NAME, bind, serve};
pub use status::{Count, DirectoryStatus, ListenerStatus, PartyStatus, Status};
