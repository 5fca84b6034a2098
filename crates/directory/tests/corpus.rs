//! The fuzz targets as plain tests: `fixtures/corpus` replayed, and mutations of it from one seed.

#![expect(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test: whatever it trips over fails it")]

use std::fs;
use std::path::Path;

#[expect(unreachable_pub, reason = "the same file is the library of the fuzz package")]
#[path = "../fuzz/src/lib.rs"]
mod targets;

use targets::{rows, snapshot, visit};

type Target = fn(&[u8]);

const TARGETS: [(&str, Target); 2] = [("rows", rows::run), ("snapshot", snapshot::run)];

fn inputs(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/corpus").join(name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Rows D5 and D10: whatever was ever found to be hard stays so.
#[test]
fn d5_d10_the_corpus_is_replayed() {
    for (name, run) in TARGETS {
        let inputs = inputs(name);
        assert!(inputs.len() >= 3, "{name}: {} inputs", inputs.len());
        inputs.iter().for_each(|input| run(input));
    }
}

/// Row D5: 3,000 mutations of rows, each built, changed, compared and read back.
#[test]
fn d5_mutated_rows_break_nothing() {
    let seeds = inputs("rows");
    let mut state = 0x5377_6974_6368_7964_u64;
    let mut below = |end: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap() % end.max(1)
    };
    for _ in 0..3_000 {
        let mut bytes = seeds.get(below(seeds.len())).unwrap().clone();
        for _ in 0..=below(6) {
            let at = below(bytes.len());
            let end = (at + below(30)).min(bytes.len());
            match below(4) {
                0 => drop(bytes.drain(at..end)),
                1 => {
                    let copy = bytes.get(at..end).unwrap().to_vec();
                    bytes.splice(at..at, copy);
                }
                2 => bytes.splice(at..at, *b"\ngone\n").for_each(drop),
                _ => bytes.splice(at..at, u8::try_from(below(256))).for_each(drop),
            }
        }
        rows::run(&bytes);
    }
}

/// The targets' own seal is the one that snapshots have.
#[test]
fn a_sealed_body_is_a_snapshot() {
    let input = inputs("snapshot").into_iter().next().unwrap();
    let directory = directory::snapshot::decode(&snapshot::sealed(&input), &directory::Policy::default()).unwrap();
    visit(&directory);
    assert!(directory.did_count() > 0);
}
