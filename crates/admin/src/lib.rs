//! What people see and change: the API that the command line speaks to the running process.
//!
//! A tour:
//!
//! - [`api`]: the resources under `/api/v1`, a file for each, with the types that both sides know. [`api::router`] is
//!   the same whatever serves it.
//! - [`serve`]: the router on the Unix socket in the state folder, which root, the process's user and its group may
//!   open. The kernel says who asks.
//! - [`page`]: the pages under `/admin`, on the API's own values.
//! - [`listener`]: the router and the page over TCP, where [`Auth`] knows who asks.
//! - [`Caller`], [`Role`]: who asks, and what they may.
//! - [`Problem`]: every answer that is no success.
//! - [`Client`]: the command line's side.

mod access;
pub mod api;
mod auth;
mod client;
mod gate;
mod instruments;
pub mod limits;
pub mod listener;
mod login;
mod numbers;
mod observe;
pub mod page;
mod problem;
mod server;
mod status;

pub use access::{Caller, Numbers, OPERATORS, Role};
pub use api::Api;
pub use auth::{Auth, AuthSettings, CSRF, NewToken, TOKENS_NAME, TeamSettings, Token, Tokens, TokensFault};
pub use client::{AskFault, Client, fetch_status};
pub use instruments::Instruments;
pub use observe::{Observed, Readiness, serve_observed};
pub use problem::{Kind, Problem};
pub use server::{BindFault, SOCKET_NAME, bind, serve};
pub use status::{Count, DirectoryStatus, DrainStatus, ListenerStatus, PartyStatus, PeerStatus, Status};
