use super::*;

/// A PBX by its name; who speaks as staging is another name, at any of its addresses.
const TEXT: &str = "
sip.listen = [\"udp:10.10.10.1:5060\"]
[[trunk]]
name = \"tata\"
gateways = [\"udp:10.10.10.2:5060\"]
[environments.prod]
targets = [\"udp:pbx.example.net:5070\"]
[environments.staging]
targets = [\"udp:10.10.10.3:5080\"]
sources = [\"calls.example.net\"]
";
const PBX: &str = "pbx.example.net";
const CALLS: &str = "calls.example.net";

fn state(folder: &std::path::Path) -> State {
    let configuration = crate::config::read("test.toml", TEXT, &|_| None).unwrap();
    let (kept, known) = Kept::read(folder);
    let keys = Arc::new(KeyRing::new(&proxy::Key { id: 1, secret: [7; 32] }, &[]));
    State { configuration, keys, known, kept, due: BTreeMap::new(), failing: BTreeMap::new() }
}

fn ips(hosts: &[u8]) -> Vec<IpAddr> {
    hosts.iter().map(|host| IpAddr::from([10, 10, 20, *host])).collect()
}

fn sources(state: &State, party: &str) -> Vec<IpAddr> {
    let party = state.configuration.core.parties.iter().find(|known| *known.name == *party).unwrap();
    party.sources.iter().map(|source| source.ip).collect()
}

#[test]
fn a_peer_keeps_its_address_while_it_is_among_the_answers_and_its_source_follows() {
    let folder = tempfile::tempdir().unwrap();
    let mut state = state(folder.path());
    assert_eq!(sources(&state, "prod"), ips(&[]));
    assert_eq!(state.learn(PBX, ips(&[9, 5])), Ok(News::InForce));
    assert_eq!(sources(&state, "prod"), ips(&[5]), "the lowest, and no other");
    assert_eq!(state.learn(PBX, ips(&[5, 9, 5])), Ok(News::None));
    assert_eq!(state.learn(PBX, ips(&[1, 5])), Ok(News::ToKeep), "it does not go round");
    assert_eq!(sources(&state, "prod"), ips(&[5]));
    assert_eq!(state.learn(PBX, ips(&[1])), Ok(News::InForce));
    assert_eq!(sources(&state, "prod"), ips(&[1]));
    assert_eq!(state.learn(PBX, Vec::new()), Err("no address in the answer".to_owned()));
    assert_eq!(sources(&state, "prod"), ips(&[1]), "no answer changes nothing");
}

#[test]
fn a_source_by_name_is_every_address_of_the_answer_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let mut state = state(folder.path());
    assert_eq!(sources(&state, "staging"), ips(&[]), "nobody speaks as it before the first answer");
    assert_eq!(state.learn(CALLS, ips(&[6, 7])), Ok(News::InForce));
    assert_eq!(sources(&state, "staging"), ips(&[6, 7]));
    assert_eq!(state.learn(CALLS, ips(&[7, 6])), Ok(News::None), "the order says nothing");
    assert_eq!(state.learn(CALLS, ips(&[7, 8])), Ok(News::InForce));
    assert_eq!(sources(&state, "staging"), ips(&[7, 8]));
}

/// Limit ADDRESSES.
#[test]
fn a_name_has_at_most_so_many_addresses() {
    let folder = tempfile::tempdir().unwrap();
    let mut state = state(folder.path());
    let hosts: Vec<u8> = (1..=33).collect();
    assert_eq!(state.learn(CALLS, ips(&hosts[..ADDRESSES])), Ok(News::InForce));
    let refused = state.learn(CALLS, ips(&hosts));
    assert_eq!(refused, Err("found 33 addresses, expected at most 32".to_owned()));
    assert_eq!(sources(&state, "staging").len(), ADDRESSES);
}

/// DNS proves nothing: it does not make a caller of anybody in the public network, takes no other party's place, and does
/// not lead back to us.
#[test]
fn an_answer_that_would_give_trust_away_is_refused_and_the_last_good_one_stays() {
    let folder = tempfile::tempdir().unwrap();
    let mut state = state(folder.path());
    state.learn(CALLS, ips(&[6])).unwrap();
    state.learn(PBX, ips(&[5])).unwrap();
    let public: IpAddr = "198.51.100.7".parse().unwrap();
    for (host, wrong, why) in [
        (CALLS, vec![public], "DNS must not say who of the public network places calls"),
        (CALLS, vec![ips(&[6])[0], public], "DNS must not say who of the public network places calls"),
        (PBX, vec![public], "DNS must not say who of the public network places calls"),
        (CALLS, ips(&[5]), "prod speaks from 10.10.20.5 too"),
        (CALLS, vec!["10.10.10.2".parse().unwrap()], "tata speaks from 10.10.10.2 too"),
        (CALLS, vec!["224.0.0.1".parse().unwrap()], "an address of many hosts is nobody's"),
    ] {
        let refused = state.learn(host, wrong).unwrap_err();
        assert!(refused.contains(why), "{refused}");
        assert_eq!((sources(&state, "staging"), sources(&state, "prod")), (ips(&[6]), ips(&[5])));
    }
}

#[tokio::test]
async fn what_was_known_is_in_force_after_a_restart_and_stale_until_dns_confirms_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut before = state(folder.path());
    before.learn(PBX, ips(&[5])).unwrap();
    before.learn(CALLS, ips(&[6])).unwrap();
    assert_eq!(before.named()[0].stale_since, None);
    before.kept.write(&before.known, true).await;

    let text = format!("state_dir = \"{}\"\n{TEXT}", folder.path().display());
    let remembered = remember(crate::config::read("test.toml", &text, &|_| None).unwrap());
    let Remembered { configuration, known, kept } = remembered;
    let keys = Arc::clone(&before.keys);
    let mut after = State { configuration, keys, known, kept, due: BTreeMap::new(), failing: BTreeMap::new() };
    assert_eq!((sources(&after, "prod"), sources(&after, "staging")), (ips(&[5]), ips(&[6])));
    let stale_since = after.named()[0].stale_since.unwrap();
    assert!(stale_since <= before.known[PBX].confirmed_at);
    after.miss(PBX, "no answer in time");
    assert_eq!(after.named()[0].stale_since, Some(stale_since), "it does not grow younger");
    assert_eq!(after.learn(PBX, ips(&[5])), Ok(News::None));
    assert_eq!(after.named()[0].stale_since, None);
    after.miss(PBX, "no answer in time");
    assert!(after.named()[0].stale_since.unwrap() > stale_since, "confirmed a moment ago");
}

/// An address that the file of today cannot have is left out, and the others count.
#[tokio::test]
async fn what_was_known_and_breaks_a_rule_now_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let mut before = state(folder.path());
    before.learn(PBX, ips(&[5])).unwrap();
    before.learn(CALLS, ips(&[6])).unwrap();
    before.kept.write(&before.known, true).await;
    let text =
        format!("state_dir = \"{}\"\n{}", folder.path().display(), TEXT.replace("10.10.10.2:5060", "10.10.20.6:5060"));
    let remembered = remember(crate::config::read("test.toml", &text, &|_| None).unwrap());
    assert_eq!(remembered.known.keys().collect::<Vec<_>>(), [PBX]);
}

#[test]
fn times_are_told_in_the_unit_that_people_use() {
    let told = [(5, "5 s"), (119, "119 s"), (120, "2 min"), (7_300, "2 h"), (180_000, "2 d")];
    for (seconds, words) in told {
        assert_eq!(in_words(Duration::from_secs(seconds)), words);
    }
}
