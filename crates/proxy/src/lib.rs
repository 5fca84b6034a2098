//! What we do with a message: the sans-I/O core, from datagram to outbox.
//!
//! The way in is [`Engine`]: the caller brings the time, the flow that the bytes arrived on, the bytes and one
//! [`directory::Directory`]; it lends an [`Outbox`] and sends what is in it when the call returns. No socket, clock,
//! DNS or await is to be found here, so a call can be replayed from a text file, a seed or a capture.
//!
//! Where to read: [`engine`] (the steps, in order), [`dispatch`] (where a call goes, and why), [`outbox`] (what leaves:
//! bytes and facts), [`settings`] (what the configuration means). Then `transaction/` (one state machine per file, RFC
//! 3261 section 17 and RFC 6026), `dialog_token` (how a dialog is routed with no memory), `rewrite` (RFC 3261 16.6).

pub mod admission;
pub mod caller_id;
pub mod calls;
mod deadline;
pub mod dialog_token;
pub mod dispatch;
pub mod engine;
pub mod flow;
pub mod identity;
pub mod keys;
pub mod limits;
pub mod media;
pub mod outbox;
pub mod refusal;
mod rewrite;
mod route;
mod scanners;
pub mod settings;
pub mod targets;
mod timers;
mod transaction;
pub mod untagged;

pub use caller_id::{Claims, Presented, Rule, Shown, present};
pub use calls::{Call, CallKey, Counts, EndedBy, Limit};
pub use dispatch::{Decision, Outcome, Question, decide};
pub use engine::Engine;
pub use flow::{Flow, InterfaceId, ListenerId, PartyId, Time, Transport};
pub use keys::{Key, KeyRing};
pub use outbox::{DropReason, Event, Outbox, Suspicion, Warning};
pub use refusal::Refusal;
pub use settings::{Listener, Party, Peer, Role, Settings, Source};
