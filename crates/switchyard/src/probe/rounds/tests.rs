use super::*;
use proxy::targets::HealthRules;
use std::net::SocketAddr;

fn settings() -> Settings {
    let text = "[sip]\nlisten = [\"udp:127.0.0.1:5060\"]\n[[trunk]]\nname = \"tata\"\ngateways = [\"udp:127.0.0.2:5060\"]\n\
                [environments.prod]\ntargets = [\"udp:127.0.0.3:5070\"]\n";
    crate::config::read("test", text, &|_| None).unwrap().core
}

fn probe() -> Probe {
    Probe {
        interval: Some(Duration::from_secs(5)),
        timeout: Duration::from_secs(2),
        rules: HealthRules::default(),
        unwilling: vec![503],
        tunnels: Vec::new(),
    }
}

struct Stage {
    rounds: Rounds,
    settings: Settings,
    changed: Vec<Changed>,
    count: u8,
    now: Time,
}

impl Stage {
    fn new() -> Stage {
        let settings = settings();
        let mut rounds = Rounds::new(probe());
        rounds.follow(Time(0), &settings, |peer| (peer.to_string(), Decided::default()));
        Stage { rounds, settings, changed: Vec::new(), count: 0, now: Time(0) }
    }

    /// Runs to the next moment at which probes leave; gives each with its branch.
    fn round(&mut self) -> Vec<(SocketAddr, Box<[u8]>)> {
        for _ in 0..16 {
            self.now = self.rounds.next().unwrap().max(self.now);
            let count = &mut self.count;
            let random = || {
                *count += 1;
                [*count; 16]
            };
            let out = self.rounds.on_time(self.now, &self.settings, random, &mut self.changed);
            if !out.is_empty() {
                return out.into_iter().map(|(flow, bytes)| (flow.remote, branch_of(&bytes))).collect();
            }
        }
        panic!("no probe leaves");
    }

    fn hear(&mut self, heard: &Heard) {
        self.rounds.on_heard(self.now, heard, &mut self.changed);
    }

    fn health(&self, port: u16) -> Health {
        let watched = self.rounds.watched().iter().find(|watched| watched.peer.address.port() == port);
        watched.unwrap().health()
    }
}

fn branch_of(bytes: &[u8]) -> Box<[u8]> {
    let text = String::from_utf8_lossy(bytes).into_owned();
    text.split("branch=").nth(1).unwrap().split(';').next().unwrap().as_bytes().into()
}

/// Row W1: the dead one is down after three misses, within 20 s of the fault; the other one stays up.
#[test]
fn w1_a_silent_peer_is_down_after_three_misses() {
    let mut stage = Stage::new();
    while stage.health(5070) != Health::Down {
        for (remote, branch) in stage.round() {
            if remote.port() == 5060 {
                stage.hear(&Heard::Answered { branch, remote, status: 404 });
            }
        }
        assert!(stage.now < Time::from_millis(20_000), "it takes too long");
    }
    assert_eq!(stage.health(5060), Health::Up);
    let last = stage.changed.last().unwrap();
    assert_eq!((&*last.party, last.transition.evidence.in_row), ("prod", 3));
    let party = &stage.settings.parties[1];
    assert!(!stage.rounds.states().has_usable(party));
}

/// Row W2: a refusal is a miss that need not be waited for, and an answer counts from the peer alone.
#[test]
fn w2_refusals_count_at_once_and_forged_answers_not_at_all() {
    let mut stage = Stage::new();
    while stage.health(5070) != Health::Down {
        assert!(stage.now < Time::from_millis(30_000), "it takes too long");
        for (remote, branch) in stage.round() {
            match remote.port() {
                5070 => stage.hear(&Heard::Refused { branch }),
                _ => stage.hear(&Heard::Answered { branch, remote: "127.0.0.9:5060".parse().unwrap(), status: 200 }),
            }
        }
        stage.hear(&Heard::Answered {
            branch: b"z9hG4bK-probe-00".as_slice().into(),
            remote: "127.0.0.2:5060".parse().unwrap(),
            status: 200,
        });
    }
    assert_ne!(stage.health(5060), Health::Up);
}

/// Which answers say "alive, and no calls please" is configured: 404 is a PBX that does not know the extension, 503 one that
/// drains, and another operator's 486 may be either.
#[test]
fn which_answers_count_as_up_is_configured() {
    let health = |unwilling: &[u16], status| {
        let mut stage = Stage::new();
        stage.rounds.set_probe(Probe { unwilling: unwilling.to_vec(), ..probe() });
        for (remote, branch) in stage.round() {
            stage.hear(&Heard::Answered { branch, remote, status });
        }
        stage.health(5070)
    };
    for (unwilling, status, expected) in [
        (&[503][..], 200, Health::Up),
        (&[503], 404, Health::Up),
        (&[503], 486, Health::Up),
        (&[503], 503, Health::Degraded),
        (&[486, 503], 486, Health::Degraded),
        (&[486], 503, Health::Up),
        (&[], 503, Health::Up),
    ] {
        assert_eq!(health(unwilling, status), expected, "{unwilling:?} {status}");
    }
}

#[test]
fn a_probe_takes_from_its_leaving_to_its_answer() {
    let mut stage = Stage::new();
    let took = |stage: &Stage| stage.rounds.watched().iter().map(|watched| watched.round_trip).collect::<Vec<_>>();
    let probes = stage.round();
    stage.now = Time(stage.now.0 + 3_000);
    let (remote, branch) = probes.into_iter().find(|(remote, _)| remote.port() == 5060).unwrap();
    stage.hear(&Heard::Answered { branch, remote, status: 404 });
    assert_eq!(took(&stage), [Some(Duration::from_millis(3)), None]);
    // The next one is not answered: the figure of before says nothing any more.
    while stage.health(5060) != Health::Down {
        stage.round();
        assert!(stage.now < Time::from_millis(60_000), "it takes too long");
    }
    assert_eq!(took(&stage), [None, None]);
}

#[test]
fn a_disabled_peer_is_not_asked_and_a_new_configuration_keeps_what_is_known() {
    let mut stage = Stage::new();
    for (remote, branch) in stage.round() {
        stage.hear(&Heard::Answered { branch, remote, status: 200 });
    }
    let disabled = Decided::new(Admin::Disabled, "asha", "disk full");
    assert_eq!(stage.rounds.set_admin("prod", &disabled), ["udp:127.0.0.3:5070"]);
    assert_eq!(stage.rounds.set_admin("udp:127.0.0.3:5070", &disabled), ["udp:127.0.0.3:5070"]);
    assert!(stage.rounds.set_admin("udp:127.0.0.3:5071", &disabled).is_empty());
    let (now, settings) = (stage.now, stage.settings.clone());
    stage.rounds.follow(now, &settings, |_| panic!("no peer is new"));
    let asked: Vec<u16> = stage.round().iter().map(|(remote, _)| remote.port()).collect();
    assert_eq!(asked, [5060]);
    assert_eq!(stage.health(5060), Health::Up);
    let state = stage.rounds.watched()[1].state();
    assert_eq!(state, State { admin: Admin::Disabled, health: Health::Up });
}

#[test]
fn probes_keep_their_interval_with_a_tenth_of_jitter() {
    for chance in [[0; 16], [0x80; 16], [0xff; 16]] {
        let interval = jittered(Duration::from_secs(5), chance);
        assert!((Duration::from_millis(4_500)..=Duration::from_millis(5_501)).contains(&interval), "{interval:?}");
    }
}
