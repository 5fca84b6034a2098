//! The demonstration's round, in this process: the real proxy on real sockets, every fact held.

use switchyard::demo::{Expected, ROUND, round};

#[tokio::test]
async fn every_call_of_the_round_goes_where_its_number_says() {
    let mut out = Vec::new();
    let shown = round(&mut out).await.unwrap();
    let out = String::from_utf8(out).unwrap();
    assert_eq!(shown.len(), ROUND.len(), "{out}");
    for (shown, scene) in shown.iter().zip(ROUND) {
        assert!(shown.wrong.is_empty(), "{}: {:?}\n{out}", scene.shows, shown.wrong);
        let (party, status) = scene.expected.facts();
        assert_eq!(shown.status, Some(status), "{}", scene.shows);
        assert_eq!(shown.reached, party.into_iter().collect::<Vec<_>>(), "{}", scene.shows);
    }
    // The rules are those of the calls, not a text that is always there.
    let told = |at: usize| shown[at].told.join("\n");
    assert!(told(0).contains("the number's row says prod"), "{}", told(0));
    assert!(told(1).contains("the called number is +918065978021"), "{}", told(1));
    assert!(told(3).ends_with("no row has this number"), "{}", told(3));
    assert!(told(5).contains("its organisation is not active"), "{}", told(5));
    assert!(told(7).contains("sent by prod, so the call is outbound"), "{}", told(7));
}

#[test]
fn the_round_shows_every_kind_of_call() {
    let reached = |wanted| ROUND.iter().filter(|scene| scene.expected.facts().0 == wanted).count();
    for party in ["prod", "staging", "oss", "gateway"] {
        assert!(reached(Some(party)) > 0, "{party}");
    }
    assert!(reached(None) > 1);
    assert!(ROUND.iter().any(|scene| matches!(scene.expected, Expected::GivenUp(_))));
    assert!(ROUND.iter().any(|scene| matches!(scene.expected, Expected::HeardOut(_))));
    for pbx in ["prod", "staging", "oss"] {
        assert!(ROUND.iter().any(|scene| scene.caller == pbx), "{pbx}");
    }
}
