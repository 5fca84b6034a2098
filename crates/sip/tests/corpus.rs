//! The fuzz targets as plain tests: `fixtures/corpus` replayed, and 100,000 mutations of it from one seed.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test: whatever it trips over fails it"
)]

use std::fs;
use std::path::{Path, PathBuf};

#[expect(unreachable_pub, reason = "the same file is the library of the fuzz package")]
#[path = "../fuzz/src/lib.rs"]
mod targets;

use targets::{datagram, edit_round_trip, framing, local_reply, uri_number};

type Target = fn(&[u8]);

const TARGETS: [(&str, Target); 5] = [
    ("datagram", datagram::run),
    ("edit_round_trip", edit_round_trip::run),
    ("uri_number", uri_number::run),
    ("local_reply", local_reply::run),
    ("framing", framing::run),
];

/// Bytes in front of the message that the target of that name reads first; they pick nothing special.
fn prefix(name: &str) -> &'static [u8] {
    match name {
        "edit_round_trip" => &[2, 10, 4, 7, 0, 0, 3],
        "local_reply" => &[0b11_1010, 2],
        "framing" => &[0, 7],
        _ => &[],
    }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures")
}

/// Name and bytes of every file in a folder, in order.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.display().to_string(), fs::read(&path).unwrap())).collect()
}

fn torture() -> Vec<(String, Vec<u8>)> {
    ["rfc4475", "rfc5118"].iter().flat_map(|folder| files(&fixtures().join("torture").join(folder))).collect()
}

#[test]
fn the_corpus_is_replayed() {
    for (name, run) in TARGETS {
        let inputs = files(&fixtures().join("corpus").join(name));
        assert!(inputs.len() >= 5, "{name}: {} inputs", inputs.len());
        for (path, input) in inputs {
            println!("{path}");
            run(&input);
        }
    }
}

/// The torture messages are inputs of every target as well.
#[test]
fn the_torture_messages_are_replayed() {
    let messages = torture();
    assert!(messages.len() >= 61, "{}", messages.len());
    for (path, message) in messages {
        println!("{path}");
        for (name, run) in TARGETS {
            run(&[prefix(name), &message].concat());
        }
    }
}

/// Row W7, and the trap of 39 panics in 100,000: no mutation makes the scanner panic or break a promise of its own.
#[test]
fn w7_100_000_mutations_break_nothing() {
    let mut seeds: Vec<_> = torture().into_iter().map(|(_, bytes)| bytes).filter(|bytes| bytes.len() < 2_000).collect();
    seeds.extend(files(&fixtures().join("corpus/datagram")).into_iter().map(|(_, bytes)| bytes));
    let mut chance = Chance(0x5377_6974_6368_7964);
    let mut outcomes = [0_u32; 4];
    let mut index = sip::Index::new();
    for round in 0..100_000 {
        let input = mutated(&seeds, &mut chance);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let parsed = sip::parse(&input, &mut index);
            datagram::visit(&parsed);
            match parsed {
                sip::Parsed::Request(_) => 0,
                sip::Parsed::Response(_) => 1,
                sip::Parsed::Answerable(_) => 2,
                sip::Parsed::Hopeless(_) => 3,
            }
        }));
        match outcome {
            Ok(outcome) => outcomes[outcome] += 1,
            Err(_) => panic!("mutation {round}: {}", input.escape_ascii()),
        }
    }
    assert!(outcomes.iter().all(|&count| count > 1_000), "the mutations reach every answer: {outcomes:?}");
}

/// Pieces that a message breaks at.
const PIECES: [&[u8]; 24] = [
    b"\r\n",
    b"\r\n ",
    b"\r\n\r\n",
    b"\r",
    b"\n",
    b"\0",
    b":",
    b";",
    b",",
    b"\"",
    b"\\",
    b"<",
    b">",
    b"@",
    b"=",
    b"?",
    b" ",
    b"%00",
    b"[",
    b"]",
    b"Via: ",
    b"l: 99999999999",
    b"\xff",
    b"-1",
];

/// One of the seeds with one or two faults in it.
fn mutated(seeds: &[Vec<u8>], chance: &mut Chance) -> Vec<u8> {
    let mut bytes = seeds[chance.below(seeds.len())].clone();
    for _ in 0..=chance.below(2) {
        let at = chance.below(bytes.len() + 1);
        let end = (at + chance.below(40)).min(bytes.len());
        match chance.below(12) {
            0 => bytes.truncate(at),
            1..=3 if at < bytes.len() => bytes[at] ^= 1 << chance.below(8),
            4..=5 => drop(bytes.drain(at..end)),
            6 => {
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            7..=8 => {
                let other = &seeds[chance.below(seeds.len())];
                let from = chance.below(other.len());
                bytes.splice(at..end, other[from..].iter().copied().take(60));
            }
            _ => drop(bytes.splice(at..at, PIECES[chance.below(PIECES.len())].iter().copied())),
        }
    }
    bytes
}

/// Numbers by chance, the same ones in every run.
struct Chance(u64);

impl Chance {
    /// 0 up to `end`, without it; 0 when that is 0.
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % end.max(1)
    }
}
