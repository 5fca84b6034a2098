//! Chance writes the calls: a caller and a PBX that behave by the book, a network that loses, doubles and delays, and a
//! process that is killed now and then. After every step the invariants of docs/reference/conformance.md must hold. A
//! failure prints its seed; `SWITCHYARD_SEED=n cargo test -p proxy --test simulation` runs that one alone.

#![expect(clippy::unwrap_used, reason = "the lint's leave for tests does not reach the functions they share")]

mod stage;

use proxy::{Engine, Time};
use stage::{Left, PROD, Stage, TATA, hop_ack, in_dialog, invite, response, ring};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const SEEDS: u64 = 300;
const CALLS: u64 = 12;
/// No call lives longer than Timer C and what follows it.
const END_MS: u64 = 600_000;

/// Rows W5, W6, W10, RC1 to RC6, RC12, and I1 to I3, I7 to I9 and I12.
#[test]
fn calls_over_a_bad_network_keep_the_invariants() {
    let chosen = std::env::var("SWITCHYARD_SEED").ok().and_then(|seed| seed.parse::<u64>().ok());
    let mut told = Told::default();
    for seed in chosen.map_or(0..SEEDS, |seed| seed..seed + 1) {
        let ran = std::panic::catch_unwind(|| World::new(seed).run());
        let Ok(found) = ran else { panic!("seed {seed} broke an invariant; the message stands above") };
        told.add(&found);
    }
    if chosen.is_none() {
        assert!(told.answered > 500 && told.refused > 500 && told.cancelled > 100 && told.restarts > 50, "{told:?}");
    }
}

/// What happened, so that a simulation in which nothing happens does not pass.
#[derive(Debug, Default)]
struct Told {
    answered: usize,
    refused: usize,
    cancelled: usize,
    restarts: usize,
}

impl Told {
    fn add(&mut self, other: &Told) {
        self.answered += other.answered;
        self.refused += other.refused;
        self.cancelled += other.cancelled;
        self.restarts += other.restarts;
    }
}

/// Splitmix64: small, and the same everywhere.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn percent(&mut self, of_100: u64) -> bool {
        self.below(100) < of_100
    }
}

/// What will happen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// Bytes reach the proxy.
    Arrives { from: &'static str, text: String },
    /// Bytes reach the caller or the PBX.
    Delivered { to: &'static str, text: String },
    /// An end sends what it still has no answer to: what, and how often it did already.
    Again { from: &'static str, key: String, text: String, times: u32 },
    /// The caller of this call gives up, or hangs up.
    EndsIt { call: String },
    /// The process is killed and started again.
    Restart,
}

struct World {
    chance: Chance,
    stage: Stage,
    queue: BTreeSet<(u64, u64, Due)>,
    serial: u64,
    /// What still waits for an answer, by an end's own key; gone when answered.
    unanswered: BTreeSet<String>,
    callers: BTreeMap<String, Caller>,
    pbx: BTreeMap<String, Answered>,
    shadow: Shadow,
    told: Told,
    restarted: bool,
}

#[derive(Default)]
struct Caller {
    ringing: bool,
    success: Option<Left>,
    failed: bool,
}

/// A call at the PBX, by the branch of its INVITE.
struct Answered {
    request: Left,
    last: String,
    is_final: bool,
}

/// What the proxy may do, seen from outside.
#[derive(Default)]
struct Shadow {
    /// Branch to the first bytes on it.
    branches: BTreeMap<String, String>,
    /// Call-ID to the branch of its INVITE.
    invites: BTreeMap<String, String>,
    finals: BTreeMap<String, BTreeSet<String>>,
    /// Branches on which the PBX has sent a 1xx that arrived.
    progressed: BTreeSet<String>,
}

impl World {
    fn new(seed: u64) -> World {
        let mut world = World {
            chance: Chance(seed),
            stage: Stage::new(),
            queue: BTreeSet::new(),
            serial: 0,
            unanswered: BTreeSet::new(),
            callers: BTreeMap::new(),
            pbx: BTreeMap::new(),
            shadow: Shadow::default(),
            told: Told::default(),
            restarted: false,
        };
        for number in 0..CALLS {
            let call = format!("s{seed}c{number}");
            let at_ms = world.chance.below(20_000);
            let text = invite(&call);
            world.at(at_ms, Due::Again { from: TATA, key: format!("{call} INVITE"), text, times: 0 });
            world.unanswered.insert(format!("{call} INVITE"));
            let ends_ms = at_ms + 200 + world.chance.below(40_000);
            world.at(ends_ms, Due::EndsIt { call: call.clone() });
            world.callers.insert(call, Caller::default());
        }
        if seed.is_multiple_of(3) {
            let at_ms = world.chance.below(25_000);
            world.at(at_ms, Due::Restart);
        }
        world
    }

    fn run(mut self) -> Told {
        while let Some((at_ms, _, due)) = self.queue.pop_first() {
            if at_ms > END_MS {
                break;
            }
            for (left_ms, left) in self.stage.runs_to(at_ms) {
                self.leaves(left_ms, left);
            }
            match due {
                Due::Arrives { from, text } => self.reaches_proxy(at_ms, from, &text),
                Due::Delivered { to: TATA, text } => self.reaches_caller(at_ms, &text),
                Due::Delivered { text, .. } => self.reaches_pbx(at_ms, text),
                Due::Again { from, key, text, times } => self.sends_again(at_ms, from, key, text, times),
                Due::EndsIt { call } => self.ends(at_ms, &call),
                Due::Restart => {
                    self.stage.engine = Engine::new(Arc::clone(&self.stage.settings), Arc::new(ring(1)));
                    self.told.restarts += 1;
                    self.restarted = true;
                }
            }
        }
        for (_, left) in self.stage.comes_to_rest() {
            self.shadow.check(&left, self.restarted);
        }
        assert!(self.stage.engine.poll_timeout().is_none_or(|next| next > Time::from_millis(END_MS)));
        self.told
    }

    fn at(&mut self, at_ms: u64, due: Due) {
        self.serial += 1;
        self.queue.insert((at_ms, self.serial, due));
    }

    /// The network: a tenth is lost, a tenth comes twice, and each takes its own time.
    fn travels(&mut self, at_ms: u64, due: &Due) {
        let copies = if self.chance.percent(10) { 0 } else { 1 + u64::from(self.chance.percent(10)) };
        for _ in 0..copies {
            let slow_ms = if self.chance.percent(5) { 1_500 } else { 40 };
            let delay_ms = 1 + self.chance.below(slow_ms);
            self.at(at_ms + delay_ms, due.clone());
        }
    }

    fn sends(&mut self, at_ms: u64, from: &'static str, text: String) {
        self.travels(at_ms, &Due::Arrives { from, text });
    }

    /// Timers A, E and G of the ends: until answered, at most for 64*T1.
    fn sends_again(&mut self, at_ms: u64, from: &'static str, key: String, text: String, times: u32) {
        if !self.unanswered.contains(&key) || times > 9 {
            return;
        }
        self.sends(at_ms, from, text.clone());
        let wait_ms = (500 << times.min(3)).min(4_000);
        self.at(at_ms + wait_ms, Due::Again { from, key, text, times: times + 1 });
    }

    fn insists(&mut self, at_ms: u64, from: &'static str, key: String, text: String) {
        if self.unanswered.insert(key.clone()) {
            self.at(at_ms, Due::Again { from, key, text, times: 0 });
        }
    }

    fn reaches_proxy(&mut self, at_ms: u64, from: &'static str, text: &str) {
        let arrived = Left { to: TATA.parse().unwrap(), text: text.to_owned() };
        if from == PROD && text.starts_with("SIP/2.0 1") {
            self.shadow.progressed.insert(arrived.branch().to_owned());
        }
        let is_quiet = text.starts_with("SIP/2.0 ") || text.starts_with("ACK");
        for left in self.stage.arrives(at_ms, from, text.as_bytes()) {
            let answers_back = left.to == from.parse().unwrap() && left.starts("SIP/2.0");
            assert!(!(is_quiet && answers_back), "I12: {text:?} was answered: {left:?}");
            self.leaves(at_ms, left);
        }
    }

    fn leaves(&mut self, at_ms: u64, left: Left) {
        self.shadow.check(&left, self.restarted);
        let to = if left.to == TATA.parse().unwrap() { TATA } else { PROD };
        self.travels(at_ms, &Due::Delivered { to, text: left.text });
    }

    fn reaches_caller(&mut self, at_ms: u64, text: &str) {
        let got = Left { to: TATA.parse().unwrap(), text: text.to_owned() };
        let (call, method) =
            (got.header("Call-ID").to_owned(), got.header("CSeq").split(' ').nth(1).unwrap().to_owned());
        if method != "INVITE" {
            self.unanswered.remove(&format!("{call} {method}"));
            return;
        }
        self.unanswered.remove(&format!("{call} INVITE"));
        let caller = self.callers.get_mut(&call).unwrap();
        match text.as_bytes().get(8) {
            Some(b'1') => caller.ringing = true,
            Some(b'2') => {
                self.told.answered += usize::from(caller.success.is_none());
                caller.success.get_or_insert_with(|| got.clone());
                self.sends(at_ms, TATA, in_dialog(&call, "ACK", 1, &got));
            }
            _ => {
                self.told.refused += usize::from(!caller.failed);
                caller.failed = true;
                self.sends(at_ms, TATA, hop_ack(&call, &got));
            }
        }
    }

    /// The caller hangs up, gives up, or has nothing to end.
    fn ends(&mut self, at_ms: u64, call: &str) {
        let caller = self.callers.get_mut(call).unwrap();
        if let Some(success) = caller.success.clone() {
            let bye = in_dialog(call, "BYE", 2, &success);
            return self.insists(at_ms, TATA, format!("{call} BYE"), bye);
        }
        if caller.ringing && !caller.failed {
            self.told.cancelled += 1;
            let open = invite(call);
            let head = open.split("Contact").next().unwrap_or_default();
            let cancel = head.replacen("INVITE", "CANCEL", 1).replace("1 INVITE", "1 CANCEL");
            let cancel = format!("{cancel}Content-Length: 0\r\n\r\n");
            self.insists(at_ms, TATA, format!("{call} CANCEL"), cancel);
        }
    }

    fn reaches_pbx(&mut self, at_ms: u64, text: String) {
        let request = Left { to: PROD.parse().unwrap(), text };
        let branch = request.branch().to_owned();
        match request.text.split(' ').next().unwrap() {
            "INVITE" => self.pbx_invite(at_ms, request, &branch),
            "ACK" => {
                let call = request.header("Call-ID");
                self.unanswered.remove(&format!("pbx {call}"));
            }
            "CANCEL" => {
                self.sends(at_ms, PROD, response(&request, "200 OK"));
                if let Some(open) = self.pbx.get(&branch).filter(|open| !open.is_final) {
                    let text = response(&open.request, "487 Request Terminated");
                    self.pbx_final(at_ms, &branch, text);
                }
            }
            "BYE" => self.sends(at_ms, PROD, response(&request, "200 OK")),
            _ => {}
        }
    }

    fn pbx_invite(&mut self, at_ms: u64, request: Left, branch: &str) {
        if let Some(known) = self.pbx.get(branch) {
            let last = known.last.clone();
            return self.sends(at_ms, PROD, last);
        }
        let ringing = response(&request, "180 Ringing");
        let chosen = self.chance.below(10);
        let final_text = match chosen {
            0..5 => Some(response(&request, "200 OK")),
            5..7 => Some(response(&request, "486 Busy Here")),
            7 => Some(response(&request, "503 Service Unavailable")),
            _ => None,
        };
        self.sends(at_ms, PROD, ringing.clone());
        self.pbx.insert(branch.to_owned(), Answered { request, last: ringing, is_final: false });
        if let Some(text) = final_text {
            self.pbx_final(at_ms, branch, text);
        }
    }

    /// The PBX insists on its final until the ACK comes.
    fn pbx_final(&mut self, at_ms: u64, branch: &str, text: String) {
        let open = self.pbx.get_mut(branch).unwrap();
        (open.last, open.is_final) = (text.clone(), true);
        let key = format!("pbx {}", open.request.header("Call-ID"));
        let later_ms = at_ms + self.chance.below(8_000);
        if self.unanswered.insert(key.clone()) {
            self.at(later_ms, Due::Again { from: PROD, key, text, times: 0 });
        }
    }
}

impl Shadow {
    fn check(&mut self, left: &Left, restarted: bool) {
        let (tata, prod) = (TATA.parse().unwrap(), PROD.parse().unwrap());
        assert!(left.to == tata || left.to == prod, "I2: {left:?}");
        if left.starts("SIP/2.0") {
            assert_eq!(left.to, tata, "no request of ours came from the PBX: {left:?}");
            return self.check_response(left, restarted);
        }
        assert!(left.header("Via").starts_with("SIP/2.0/UDP 10.10.10.1:5060;branch=z9hG4bK"), "I3: {left:?}");
        let (method, branch) = (left.text.split(' ').next().unwrap(), left.branch().to_owned());
        match method {
            "INVITE" => {
                let call = left.header("Call-ID").to_owned();
                let first = self.invites.entry(call).or_insert_with(|| branch.clone());
                assert_eq!(*first, branch, "I3: one call, two INVITEs at the PBX");
                let bytes = self.branches.entry(branch).or_insert_with(|| left.text.clone());
                assert_eq!(*bytes, left.text, "I3: other bytes on a branch");
            }
            "CANCEL" => {
                let is_known = self.branches.get(&branch).is_some_and(|first| first.starts_with("INVITE"));
                assert!(is_known && (restarted || self.progressed.contains(&branch)), "I8: {left:?}");
            }
            _ => {}
        }
    }

    fn check_response(&mut self, left: &Left, restarted: bool) {
        let (status, call) = (left.text.get(8..11).unwrap(), left.header("Call-ID"));
        let is_invite = left.header("CSeq").ends_with("INVITE");
        if status == "100" && is_invite {
            assert!(!left.header("To").contains("tag="), "I7: a 100 of somebody else: {left:?}");
        }
        if is_invite && status >= "200" {
            let seen = self.finals.entry(call.to_owned()).or_default();
            seen.insert(status.to_owned());
            assert!(seen.len() == 1 || restarted, "I1: {call} got {seen:?}");
        }
    }
}
