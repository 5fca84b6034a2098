//! Calls by chance: the core of the proxy between gateways, PBXs, bad links, kills, new keys and changing tables, on a
//! clock that is a number. One seed is one world, the same each time and everywhere.
//!
//! Where to read: [`World`] (the queue, and one call of the engine), `weather` (what a seed may be like), `stage` (who is
//! there), `caller` and `callee` (what the ends do), `links` (what the network does to it), `invariants` (what must hold
//! after every step), `quotas` and `ledger` (how many calls everybody may have, and has), [`Sabotage`] (proxies that are
//! wrong, to show that it can fail).
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test tool: what cannot be stops it, with the seed that led there"
)]

mod callee;
mod caller;
mod chance;
mod invariants;
mod ledger;
mod links;
mod phones;
mod quotas;
mod sabotage;
mod stage;
mod told;
mod weather;
mod wire;
mod world;

pub use sabotage::Sabotage;
pub use told::Told;
pub use world::{Depth, Failure, World};

/// Runs one seed; a panic in the core is a failure like any other.
pub fn run(seed: u64, sabotage: Option<Sabotage>) -> Result<Told, Failure> {
    let ran = std::panic::catch_unwind(|| World::new(seed, sabotage, Depth::Nothing).run());
    ran.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        Err(Failure { seed, at_ms: 0, what: format!("panic: {text}") })
    })
}
