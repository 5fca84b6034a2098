//! Seeds in a row, and proof that each invariant can fail.

use simulation::{Sabotage, Told, run};

const SEEDS: u64 = 256;
/// Seeds that a wrong proxy may need to be found out.
const SPOILED_SEEDS: u64 = 400;

/// Rows I1 to I12, H1, W1 to W3, W5, W6, W7, W10, W12, RC1 to RC6, RC8, RC10 to RC12, SX3, SX4, SX15, SX16 and SX18.
#[test]
fn calls_over_a_bad_network_keep_the_invariants() {
    let mut told = Told::default();
    for seed in 0..SEEDS {
        match run(seed, None) {
            Ok(seen) => told.add(&seen),
            Err(broken) => panic!(
                "seed {seed} at {} ms: {}\nreplay: cargo xtask sim --seed {seed} --trace",
                broken.at_ms, broken.what
            ),
        }
    }
    assert!(told.answered > 500 && told.refused > 400 && told.cancelled > 80 && told.ended > 500, "{told:?}");
    assert!(told.restarts > 100 && told.failovers > 50 && told.stateless > 200, "{told:?}");
    assert!(told.limited > 50 && told.expired > 20, "{told:?}");
    assert!(told.resets > 50 && told.forks > 20 && told.outbound > 500, "{told:?}");
}

/// A proxy that is wrong in one way is found out, by the invariant that is named for it.
#[test]
fn a_wrong_proxy_breaks_the_invariant_that_is_named_for_it() {
    let mut wrong = Vec::new();
    for (sabotage, name) in Sabotage::ALL {
        let found = (0..SPOILED_SEEDS).find_map(|seed| run(seed, Some(sabotage)).err());
        let what =
            found.map_or_else(|| "nothing".to_owned(), |broken| format!("seed {}: {}", broken.seed, broken.what));
        if what.split(": ").nth(1).is_none_or(|said| format!("{said}:") != name) {
            wrong.push(format!("{sabotage:?} led to {what}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The same seed is the same world.
#[test]
fn a_seed_replays() {
    for seed in [3, 77, 1_319] {
        assert_eq!(run(seed, None).ok(), run(seed, None).ok());
    }
}
