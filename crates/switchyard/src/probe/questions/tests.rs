use super::*;
use crate::probe::admins::Decided;
use crate::probe::rounds::Rounds;
use directory::Environment;
use std::net::SocketAddr;

const NUMBER: u64 = 918_065_978_002;
const IMPOSSIBLE: u64 = 910_000_000_000;

struct Stage {
    settings: Settings,
    rounds: Rounds,
    questions: Questions,
    count: u8,
}

impl Stage {
    fn new() -> Stage {
        let text = "[sip]\nlisten = [\"udp:127.0.0.1:5060\", \"tcp:127.0.0.1:5060\"]\n[[trunk]]\nname = \"tata\"\n\
                    gateways = [\"udp:127.0.0.2:5060\"]\n[environments.prod]\ntargets = [\"udp:127.0.0.3:5070\"]\n\
                    [environments.staging]\ncalled_number = \"e164\"\n\
                    targets = [\"udp:127.0.0.4:5070\", \"tcp:127.0.0.5:5070\"]\n[probe]\ninterval = \"0s\"\n";
        let configuration = crate::config::read("test", text, &|_| None).unwrap();
        let mut rounds = Rounds::new(configuration.probe);
        rounds.follow(Time(0), &configuration.core, |peer| (peer.to_string(), Decided::default()));
        Stage { settings: configuration.core, rounds, questions: Questions::default(), count: 0 }
    }

    fn ask(&mut self, at_ms: u64, environment: Environment) -> oneshot::Receiver<Result<Vec<Replies>, TooMany>> {
        let (answer, answered) = oneshot::channel();
        let number = |digits| Number::from_digits(digits).unwrap();
        let asked = Asked { environment, number: number(NUMBER), impossible: number(IMPOSSIBLE) };
        let count = &mut self.count;
        let random = || {
            *count += 1;
            [*count; 16]
        };
        let (now, watched) = (Time::from_millis(at_ms), self.rounds.watched());
        self.questions.begin(now, &self.settings, watched, asked, random, answer);
        answered
    }

    /// What leaves at this time: to whom, for which user, with which branch.
    fn leaves(&mut self, at_ms: u64) -> Vec<(SocketAddr, String, Box<[u8]>)> {
        let out = self.questions.on_time(Time::from_millis(at_ms));
        let read = |(flow, bytes): (Flow, Vec<u8>)| {
            let text = String::from_utf8(bytes).unwrap();
            let user = text.strip_prefix("OPTIONS sip:").unwrap().split('@').next().unwrap().to_owned();
            let branch = text.split("branch=").nth(1).unwrap().split(';').next().unwrap();
            (flow.remote, user, branch.as_bytes().into())
        };
        out.into_iter().map(read).collect()
    }

    fn hear(&mut self, at_ms: u64, branch: &[u8], remote: SocketAddr, status: u16) {
        let heard = Heard::Answered { branch: branch.into(), remote, status };
        assert!(self.questions.on_heard(Time::from_millis(at_ms), &heard));
    }
}

#[test]
fn each_target_is_asked_for_the_number_and_for_one_that_nobody_can_have() {
    let mut stage = Stage::new();
    let mut answered = stage.ask(0, Environment::Staging);
    let out = stage.leaves(0);
    let asked: Vec<(u16, &str)> = out.iter().map(|(to, user, _)| (to.port(), &**user)).collect();
    assert_eq!(asked, [(5070, "918065978002"), (5070, "910000000000"), (5070, "918065978002"), (5070, "910000000000")]);
    for (at, (remote, _, branch)) in out.iter().enumerate() {
        assert!(answered.try_recv().is_err());
        // Neither a stranger nor a provisional answer counts.
        stage.hear(10, branch, "127.0.0.9:5070".parse().unwrap(), 200);
        stage.hear(10, branch, *remote, 100);
        stage.hear(10, branch, *remote, if at % 2 == 0 { 200 } else { 404 });
        // The first final answer counts; with the last one the question is over.
        if at < 3 {
            stage.hear(10, branch, *remote, 500);
        }
    }
    let replies = answered.try_recv().unwrap().unwrap();
    let told = |peer: &str| Replies { peer: peer.into(), number: Reply::Status(200), impossible: Reply::Status(404) };
    assert_eq!(replies, [told("udp:127.0.0.4:5070"), told("tcp:127.0.0.5:5070")]);
    assert_eq!(stage.questions.next(), None);
    let late = Heard::Answered { branch: out[0].2.clone(), remote: out[0].0, status: 200 };
    assert!(!stage.questions.on_heard(Time::from_millis(11), &late));
}

#[test]
fn a_silent_target_is_asked_again_by_datagram_and_given_up_in_time() {
    let mut stage = Stage::new();
    let mut answered = stage.ask(0, Environment::Staging);
    let first = stage.leaves(0);
    let refused = Heard::Refused { branch: first[3].2.clone() };
    assert!(stage.questions.on_heard(Time::from_millis(5), &refused));
    let mut again = Vec::new();
    while let Some(next) = stage.questions.next() {
        let at_ms = next.as_millis();
        again.extend(
            stage.leaves(at_ms).into_iter().map(|(to, user, branch)| (at_ms, to.ip().to_string(), user, branch)),
        );
    }
    let datagrams = |(at_ms, to, _, branch): &(u64, String, String, Box<[u8]>)| {
        assert!([500, 1_000, 1_500].contains(at_ms) && to == "127.0.0.4" && first.iter().any(|sent| sent.2 == *branch));
    };
    again.iter().for_each(datagrams);
    assert_eq!(again.len(), 6);
    let replies = answered.try_recv().unwrap().unwrap();
    assert_eq!((replies[0].number, replies[0].impossible), (Reply::None, Reply::None));
    assert_eq!((replies[1].number, replies[1].impossible), (Reply::None, Reply::Refused));
}

#[test]
fn nobody_to_ask_is_answered_at_once_and_disabled_targets_are_left_alone() {
    let mut stage = Stage::new();
    let mut oss = stage.ask(0, Environment::Oss);
    assert!(stage.leaves(0).is_empty());
    assert_eq!(oss.try_recv().unwrap(), Ok(vec![]));
    stage.rounds.set_admin("prod", &Decided::new(Admin::Disabled, "asha", "disk full"));
    let mut prod = stage.ask(0, Environment::Prod);
    assert!(stage.leaves(0).is_empty());
    assert_eq!(prod.try_recv().unwrap(), Ok(vec![]));
}

#[test]
fn so_many_questions_at_once_and_so_many_a_second() {
    let mut stage = Stage::new();
    let mut open = Vec::new();
    for count in 0..READINESS_PER_SECOND {
        open.push(stage.ask(0, Environment::Prod));
        assert!(open[count].try_recv().is_err());
    }
    assert_eq!(stage.ask(999, Environment::Prod).try_recv().unwrap(), Err(TooMany));
    while open.len() < READINESS_AT_ONCE {
        open.push(stage.ask(1_000, Environment::Prod));
    }
    assert!(open.iter_mut().all(|answered| answered.try_recv().is_err()));
    assert_eq!(stage.ask(1_999, Environment::Prod).try_recv().unwrap(), Err(TooMany));
    stage.leaves(2_000);
    assert!(stage.ask(2_000, Environment::Prod).try_recv().is_err(), "there is room again");
}
