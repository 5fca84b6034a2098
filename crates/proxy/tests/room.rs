//! What `explain` says of the limits is what admission does: calls by chance, looked at and then made.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "the lint's leave for tests does not reach the functions they share"
)]

mod stage;

use directory::{DidRow, Environment, Generation, OrganisationRow, Policy, Rows};
use proxy::engine::{Looked, Room, room_of};
use proxy::{Limit, Outcome, PartyId, Question, Role, Settings, Time, decide};
use sip::{Index, Method, Parsed};
use stage::{Left, Stage, TATA, invite, response};
use std::collections::BTreeSet;

const STAGING: &str = "10.10.10.3:5080";

/// Chance by a seed (xorshift).
struct Chance(u64);

impl Chance {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }

    /// A limit, or none.
    fn limit(&mut self) -> Option<u32> {
        (self.below(3) > 0).then(|| u32::try_from(self.below(4)).unwrap())
    }
}

/// Two environments on one trunk of two gateways, with limits by chance.
fn stage(chance: &mut Chance) -> Stage {
    let mut stage = Stage::with(|settings| limit(settings, chance));
    let did = |id: &str, number: &str, environment, chance: &mut Chance| DidRow {
        call_limit: Some(chance.limit().unwrap_or(0).to_string().into_bytes()),
        ..DidRow::assigned(id, "aurora", number, environment)
    };
    let limits = chance.limit().map(|most| format!("{{\"concurrent_calls\": {most}}}").into_bytes());
    let rows = Rows {
        organisations: vec![OrganisationRow { limits, ..OrganisationRow::active("aurora", "Aurora", "org_aurora_") }],
        dids: vec![
            did("one", "918065978001", Environment::Prod, chance),
            did("two", "918065978021", Environment::Staging, chance),
        ],
        ..Rows::default()
    };
    stage.directory = directory::build(Generation(1), rows, &Policy::default(), None);
    stage
}

fn limit(settings: &mut Settings, chance: &mut Chance) {
    let mut staging = settings.parties[1].clone();
    staging.name = "staging".into();
    staging.role = Role::Environment(Environment::Staging);
    staging.sources[0].ip = "10.10.10.3".parse().unwrap();
    staging.peers[0].address = STAGING.parse().unwrap();
    settings.parties.push(staging);
    let trunk = &mut settings.parties[0];
    let mut second = trunk.peers[0];
    second.address = "10.10.10.2:5062".parse().unwrap();
    trunk.peers.push(second);
    trunk.quota.max_channels = chance.limit();
    trunk.quota.calls_per_second = chance.limit().map(|most| most + 1);
    trunk.quota.prod_reserve = u32::try_from(chance.below(3)).unwrap();
    trunk.quota.gateway_channels = vec![chance.limit().unwrap_or(0), chance.limit().unwrap_or(0)];
    for environment in &mut settings.parties[1..] {
        environment.quota.max_channels = chance.limit();
        environment.quota.calls_per_second = chance.limit().map(|most| most + 1);
        environment.quota.daily_calls = chance.limit();
    }
    settings.limits.did_calls_per_second = chance.limit().map(|most| most + 1);
    settings.limits.organisation_calls_per_second = chance.limit().map(|most| most + 1);
    (settings.limits.busy_status, settings.limits.rate_status) = (486, 488);
    settings.caller_id.emergency = vec!["112".into()];
}

/// One kind of call: who sends it, and how its INVITE differs.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Inbound(&'static str),
    Outbound(&'static str, &'static str),
}

impl Kind {
    const ALL: [Kind; 5] = [
        Kind::Inbound("918065978001"),
        Kind::Inbound("918065978021"),
        Kind::Outbound("10.10.10.1:5070", "447700900123"),
        Kind::Outbound(STAGING, "447700900123"),
        Kind::Outbound(STAGING, "112"),
    ];

    fn sender(self) -> &'static str {
        match self {
            Kind::Inbound(_) => TATA,
            Kind::Outbound(sender, _) => sender,
        }
    }

    fn called(self) -> &'static str {
        match self {
            Kind::Inbound(called) | Kind::Outbound(_, called) => called,
        }
    }

    fn invite(self, name: &str) -> String {
        let text = invite(name).replace("918065978001", self.called()).replace(TATA, self.sender());
        match self {
            Kind::Inbound(_) => text,
            Kind::Outbound(..) => text.replace("+447700900123@10.10.10.2", "org_aurora_1001@10.10.10.1"),
        }
    }
}

/// What the limits would say to this INVITE now.
fn looked_at(stage: &Stage, kind: Kind, text: &str, at_ms: u64) -> Room {
    let (settings, directory) = (&*stage.settings, &stage.directory);
    let from = PartyId(match kind {
        Kind::Inbound(_) => 0,
        Kind::Outbound(STAGING, _) => 2,
        Kind::Outbound(..) => 1,
    });
    let user = kind.called().as_bytes();
    let decision = decide(settings, directory, &Question { from, method: Method::Invite, user, caller: None });
    let Outcome::Forward(toward) = decision.outcome else { panic!("{kind:?} goes nowhere: {decision:?}") };
    let mut index = Index::default();
    let Parsed::Request(request) = sip::parse(text.as_bytes(), &mut index) else { panic!("{text}") };
    let claims = proxy::identity::claims_of(settings, &request);
    let emergency = proxy::dispatch::is_emergency(settings, user);
    let claims = proxy::caller_id::Claims { emergency, ..claims };
    let presented =
        matches!(kind, Kind::Outbound(..)).then(|| proxy::present(settings, directory, from, PartyId(0), &claims));
    let remote = kind.sender().parse().unwrap();
    let looked = Looked { decision: &decision, from, remote, toward, presented: presented.as_ref() };
    room_of(settings, directory, stage.engine.counts(), Time::from_millis(at_ms), &looked).unwrap()
}

fn used(room: &Room) -> u32 {
    room.standings.iter().filter(|standing| !standing.limit.is_rate()).map(|standing| standing.used).sum()
}

/// Each call is looked at, and then made: it is refused as was said, or let in and counted wherever it was looked for. Every
/// limit refuses some of them.
#[test]
fn what_is_said_of_the_limits_is_what_admission_does() {
    let mut met: BTreeSet<&str> = BTreeSet::new();
    let mut let_in = 0;
    for seed in 1..=400 {
        let mut chance = Chance(seed * 0x9e37_79b9);
        let mut stage = stage(&mut chance);
        let (mut at_ms, mut up) = (10_000, Vec::new());
        for number in 0..24 {
            at_ms += chance.below(700);
            stage.runs_to(at_ms);
            let kind = Kind::ALL[usize::try_from(chance.below(5)).unwrap()];
            let name = format!("s{seed}n{number}");
            let text = kind.invite(&name);
            let room = looked_at(&stage, kind, &text, at_ms);
            assert_eq!(looked_at(&stage, kind, &text, at_ms), room, "to look takes nothing");
            let left = stage.arrives(at_ms, kind.sender(), &text);
            let final_of = |left: &&Left| left.starts("SIP/2.0 4") || left.starts("SIP/2.0 5");
            match (room.refusal, left.iter().find(final_of)) {
                (Some(refusal), Some(answer)) => {
                    let head = format!("SIP/2.0 {} {}\r\n", refusal.status(), refusal.phrase());
                    assert!(answer.starts(&head), "{seed} {number}: {head}{}", answer.text);
                    met.insert(refusal.name());
                }
                (None, None) => {
                    let forwarded = left.iter().find(|left| left.starts("INVITE")).unwrap().clone();
                    let before = used(&room);
                    let after = looked_at(&stage, kind, &text, at_ms);
                    let seats = after.standings.iter().filter(|standing| !standing.limit.is_rate());
                    // One gateway of those that the call may take has it.
                    let gateways = seats.clone().filter(|standing| standing.limit == Limit::Gateway).count();
                    let expected = seats.count() - gateways + usize::from(gateways > 0);
                    assert_eq!(used(&after), before + u32::try_from(expected).unwrap(), "{seed} {number}: {after:?}");
                    up.push(forwarded);
                    let_in += 1;
                }
                (said, got) => panic!("{seed} {number} {kind:?}: {said:?} was said, {got:?} came of it\n{room:?}"),
            }
            if chance.below(3) == 0 && !up.is_empty() {
                // The callee refuses it: the call is over.
                let forwarded: Left = up.swap_remove(usize::try_from(chance.below(up.len() as u64)).unwrap());
                stage.arrives(at_ms, &forwarded.to.to_string(), response(&forwarded, "486 Busy Here"));
            }
        }
    }
    let all: BTreeSet<&str> = Limit::ALL.into_iter().map(Limit::name).collect();
    assert_eq!(met, all, "every limit refuses");
    assert!(let_in > 1_000, "{let_in} calls were let in");
}
