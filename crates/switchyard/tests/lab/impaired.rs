//! Paths that lose, double, reorder, delay and cut, and targets that are not there.

use crate::site::{PROD_DID, PROXY, SETUP, STAGING_DID, Site, received, sip};
use lab::phones::{self, Callees, Plan};
use lab::program::CONFIGURATION;
use lab::sipp::Calls;
use lab::{Direction, Impairment, Node};
use std::time::{Duration, Instant};

/// Copies of so many in a thousand of the SIP datagrams that leave this node by the tunnel, inside it: WireGuard takes copies of
/// its own datagrams for a replay, so doubling on the outer path never reaches SIP.
fn double_inside(site: &Site, node: Node, permille: u32) {
    let rules: String = ["10.10.10.1", "10.10.10.2", "10.10.10.3", "10.10.10.4"]
        .map(|to| {
            format!(
                "ip daddr {to} udp dport {{5060, 5080}} numgen random mod 1000 < {permille} dup to {to} device wg0\n"
            )
        })
        .concat();
    let table =
        format!("table ip doubles {{ chain leaving {{ type filter hook postrouting priority 0;\n{rules}}}\n}}\n");
    let file = site.lab.path(&format!("{}.nft", node.name()));
    std::fs::write(&file, table).unwrap();
    site.lab.ran(node, "nft", &["-f", file.to_str().unwrap()]).unwrap();
}

/// Calls of honest phones, gateway to `to`: each must be answered once and ended, and arrive once at the PBX.
/// Returns how many requests came again there.
fn none_failed_none_doubled(site: &Site, to: Node, plan: Plan<'_>) -> usize {
    let callees = Callees::start(site.socket(to, sip(to)));
    let called = phones::call(&site.socket(Node::Nuc, sip(Node::Nuc)), PROXY, plan);
    let answered = callees.end();
    assert!(called.failed.is_empty(), "{} failed: {:#?}", called.failed.len(), called.failed);
    assert_eq!((called.completed, called.answered_twice), (plan.count, 0));
    assert_eq!(answered.branches.len(), plan.count, "calls at the PBX");
    let doubled: Vec<_> = answered.branches.iter().filter(|(_, branches)| branches.len() != 1).collect();
    assert!(doubled.is_empty(), "{doubled:#?}");
    assert_eq!(answered.ended.len(), plan.count, "calls that were ended at the PBX");
    assert!(answered.unexpected.is_empty(), "{:#?}", answered.unexpected);
    answered.repeated
}

fn plan(count: usize, per_second: u32) -> Plan<'static> {
    Plan { number: STAGING_DID, count, per_second, hold: Duration::from_secs(1) }
}

/// Rows W5 and W6.
#[test]
fn w5_w6_500_calls_at_10_percent_loss_and_5_percent_copies() {
    let site = Site::up(40);
    [Node::Nuc, Node::Prod, Node::Staging].into_iter().for_each(|node| double_inside(&site, node, 50));
    site.lab.relay().impair("loss=10 duplicate=5".parse().unwrap());
    let repeated = none_failed_none_doubled(&site, Node::Staging, plan(500, 50));
    let counts = site.lab.relay().all_counts();
    assert!(counts.lost > 300 && counts.doubled > 150, "the path was not impaired: {counts:?}");
    assert!(repeated > 0 && site.program.count("absorbed: request") > 0, "no copy came");
}

/// Row W6: everything twice, a third of it overtaken.
#[test]
fn w6_everything_doubled_and_out_of_order() {
    let site = Site::up(41);
    [Node::Nuc, Node::Prod, Node::Staging].into_iter().for_each(|node| double_inside(&site, node, 999));
    site.lab.relay().impair("duplicate=50 reorder=33 jitter=60ms".parse().unwrap());
    none_failed_none_doubled(&site, Node::Staging, plan(100, 50));
    assert!(site.lab.relay().all_counts().held_back > 100);
}

/// Row W6, with jitter of seconds.
#[test]
#[ignore = "full set: jitter of 4 s takes a minute"]
fn w6_jitter_of_four_seconds() {
    let site = Site::up(42);
    site.lab.relay().impair("duplicate=20 jitter=4s".parse().unwrap());
    none_failed_none_doubled(&site, Node::Staging, plan(100, 10));
}

/// Row W5 at other figures. Each path is lost on by itself: of 7 sends of an INVITE one arrives in all but 0.2^7.
#[test]
#[ignore = "full set: three losses, a minute each"]
fn w5_1_5_and_20_percent_loss() {
    for (seed, loss) in [(43, 1), (44, 5), (45, 20)] {
        let site = Site::up(seed);
        site.lab.relay().impair(format!("loss={loss}").parse().unwrap());
        none_failed_none_doubled(&site, Node::Staging, plan(200, 20));
    }
}

/// Row W5 at 30 %: an INVITE is sent 7 times, so 0.3^7 = 0.0002 of them never arrive, on each of two hops; a 2xx goes two hops
/// without help in between, 11 times, so 0.51^11 = 0.0006 never do; the BYE and its answer cost as much again on each hop.
/// With 0.003 of 200 calls in all, more than 6 failed ones come in less than one run of 20,000. None may be doubled.
#[test]
#[ignore = "full set: calls at 30 percent loss take up to two minutes"]
fn w5_30_percent_loss_fails_no_more_calls_than_theory_and_doubles_none() {
    let site = Site::up(58);
    site.lab.relay().impair("loss=30".parse().unwrap());
    let plan = plan(200, 20);
    let callees = Callees::start(site.socket(Node::Staging, sip(Node::Staging)));
    let called = phones::call(&site.socket(Node::Nuc, sip(Node::Nuc)), PROXY, plan);
    let answered = callees.end();
    assert!(called.failed.len() <= 6, "{} failed: {:#?}", called.failed.len(), called.failed);
    assert_eq!((called.completed + called.failed.len(), called.answered_twice), (plan.count, 0));
    assert!(answered.branches.len() <= plan.count && answered.ended.len() >= called.completed);
    assert!(answered.branches.values().all(|branches| branches.len() == 1), "{:#?}", answered.branches);
    assert!(answered.unexpected.is_empty(), "{:#?}", answered.unexpected);
}

/// One call during whose setup the paths of these nodes carry nothing for some time.
fn outage(seed: u64, nodes: &[Node], seconds: u64) {
    let site = Site::up(seed);
    let outage = Impairment { outage: Duration::from_secs(seconds), ..Impairment::CLEAN };
    nodes.iter().for_each(|node| site.lab.relay().impair_path(*node, outage));
    let begun = Instant::now();
    none_failed_none_doubled(&site, Node::Staging, plan(1, 1));
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(seconds), "the call was not held up: {took:?}");
    assert!(took < SETUP, "{took:?}");
    assert!(site.lab.relay().all_counts().cut > 0);
}

/// Row W4: the proxy's tunnel to the PBX is down for 10 s during setup.
#[test]
fn w4_the_tunnel_is_down_for_10_s_during_setup() {
    outage(46, &[Node::Staging], 10);
}

/// Row W4: gaps from 1 to 20 s, on either path and both.
#[test]
#[ignore = "full set: gaps of up to 20 s, one after the other"]
fn w4_gaps_of_other_lengths_and_on_other_paths() {
    for (seed, nodes, seconds) in [
        (47, &[Node::Nuc][..], 10),
        (48, &[Node::Staging], 1),
        (49, &[Node::Staging], 5),
        (50, &[Node::Nuc, Node::Staging], 12),
        (51, &[Node::Staging], 20),
    ] {
        outage(seed, nodes, seconds);
    }
}

/// Row W4: a gap longer than any setup waits for. The caller hears of it within Timer B, and the next call goes through.
#[test]
#[ignore = "full set: a gap of 60 s"]
fn w4_a_gap_of_60_s_ends_the_call_cleanly() {
    let site = Site::up(52);
    let outage = Impairment { outage: Duration::from_secs(60), ..Impairment::CLEAN };
    let begun = Instant::now();
    site.lab.relay().impair_path(Node::Staging, outage);
    let messages = site.caller("timeout", Node::Nuc, Calls::one(STAGING_DID)).succeeded();
    let took = begun.elapsed();
    assert!(took > Duration::from_secs(20) && took < SETUP, "{took:?}");
    assert!(received(&messages).any(|text| text.contains("\nSIP/2.0 408 ")), "{messages}");
    lab::process::until(|| "the end of the gap".to_owned(), 2 * SETUP, || begun.elapsed() > Duration::from_secs(61));
    none_failed_none_doubled(&site, Node::Staging, plan(1, 1));
}

/// Row W4: the spoke's provider gives it another port in the middle of calls. The hub learns it from what comes.
#[test]
fn w4_the_gateway_roams_and_its_calls_live() {
    let site = Site::up(53);
    let calls = Calls { number: STAGING_DID, count: 5, per_second: 10, more: &["-d", "3000"] };
    let callee = site.callee("call", Node::Staging, calls.count);
    let caller = site.caller("call", Node::Nuc, calls);
    lab::process::until(
        || "five calls to be up".to_owned(),
        SETUP,
        || callee.messages().matches("\nACK sip:").count() >= 5,
    );
    let endpoint = || site.lab.ran(Node::Prod, "wg", &["show", "wg0", "endpoints"]).unwrap();
    let before = endpoint();
    site.lab.relay().roam(Node::Nuc).unwrap();
    caller.succeeded();
    callee.succeeded();
    assert_ne!(endpoint(), before);
}

/// Row W4: a path that carries less than the tunnel believes, and says nothing. Ordinary calls live; an INVITE that
/// does not fit ends with one final response.
#[test]
#[ignore = "full set: a black hole is waited out, 32 s"]
fn w4_an_mtu_black_hole_lets_small_calls_through_and_ends_large_ones() {
    let site = Site::up(54);
    site.lab.relay().impair_path(Node::Staging, Impairment { mtu_bytes: 1_300, ..Impairment::CLEAN });
    none_failed_none_doubled(&site, Node::Staging, plan(1, 1));
    let messages = site.caller("large-timeout", Node::Nuc, Calls::one(STAGING_DID)).succeeded();
    assert!(received(&messages).any(|text| text.contains("\nSIP/2.0 408 ")), "{messages}");
    assert!(site.lab.relay().counts(Node::Staging, Direction::ToSpoke).too_large > 0);
}

/// Row W10: only what goes to the gateway is lost, half of it. Its retransmissions are answered from what was kept.
#[test]
fn w10_only_responses_are_lost() {
    let site = Site::up(55);
    let lossy = Impairment { loss_percent: 50.0, ..Impairment::CLEAN };
    site.lab.relay().impair_one_way(Node::Nuc, Direction::ToSpoke, lossy);
    none_failed_none_doubled(&site, Node::Prod, Plan { number: PROD_DID, ..plan(50, 25) });
    assert!(site.program.count("absorbed: request") > 0);
    assert_eq!(site.lab.relay().counts(Node::Nuc, Direction::ToHub).lost, 0);
}

/// The configuration with two targets of staging: the second is oss's machine.
fn two_targets() -> String {
    let one = "targets = [\"udp:10.10.10.3:5080\"]";
    let text = CONFIGURATION.replace(one, "targets = [\"udp:10.10.10.3:5080\", \"udp:10.10.10.4:5080\"]");
    let (head, rest) = text.split_once("[environments.oss]").unwrap();
    let (_, tail) = rest.split_once("[database]").unwrap();
    format!("{head}[database]{tail}")
}

/// A call to staging that its second target takes; how long the setup took.
fn fails_over(site: &Site) -> Duration {
    let callee = site.callee("call", Node::Oss, 1);
    let begun = Instant::now();
    let messages = site.caller("call", Node::Nuc, Calls::one(STAGING_DID)).succeeded();
    let took = begun.elapsed();
    let finals = received(&messages).filter(|text| text.contains("\nSIP/2.0 200 ") && text.contains("INVITE"));
    assert_eq!(finals.count(), 1, "one final response:\n{messages}");
    assert!(callee.succeeded().contains(&format!("INVITE sip:{STAGING_DID}@{}", sip(Node::Oss))));
    took
}

/// Row W1: the first target's path is a black hole.
#[test]
fn w1_a_black_hole_is_left_for_the_next_target_after_hop_timeout() {
    let site = Site::with(56, &two_targets());
    site.lab.relay().impair_path(Node::Staging, Impairment::CUT);
    let took = fails_over(&site);
    assert!(took >= Duration::from_secs(4), "before hop_timeout: {took:?}");
    assert_eq!(site.program.count("failovers: timeout"), 1);
}

/// Row W2: nobody listens at the first target, and its machine says so.
#[test]
fn w2_a_refusal_by_icmp_is_left_for_the_next_target_at_once() {
    let site = Site::with(57, &two_targets());
    let took = fails_over(&site);
    // 100 ms on an idle machine; far from hop_timeout's 4 s on a busy one.
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(site.program.count("failovers: unreachable"), 1);
    assert_eq!(site.program.count("icmp unreachable"), 1);
}
