use super::*;
use crate::settings::{Availability, Role};
use std::collections::BTreeMap;

fn peer(port: u16) -> Peer {
    let address = SocketAddr::from(([10, 10, 10, 1], port));
    Peer { transport: Transport::Udp, address, listener: ListenerId(0), by_size: None }
}

fn party(ports: &[u16], weights: &[u16]) -> Party {
    Party {
        name: "prod".into(),
        role: Role::Trunk,
        sources: Vec::new(),
        peers: ports.iter().map(|port| peer(*port)).collect(),
        called_number: None,
        identity: crate::settings::IdentitySettings::default(),
        availability: Availability { weights: weights.to_vec(), ..Availability::default() },
        media: Vec::new(),
        quota: crate::settings::Quota::default(),
    }
}

fn ports(peers: &[Peer]) -> Vec<u16> {
    peers.iter().map(|peer| peer.address.port()).collect()
}

fn states(all: &[(u16, Admin, Health)]) -> States {
    all.iter().map(|(port, admin, health)| (peer(*port), State { admin: *admin, health: *health })).collect()
}

#[test]
fn unknown_counts_as_up_and_the_order_is_the_configurations() {
    let party = party(&[1, 2, 3], &[]);
    assert_eq!(ports(&States::default().order(&party, |_| false, 77, false)), [1, 2, 3]);
}

#[test]
fn degraded_and_paused_come_last_and_down_or_closed_not_at_all() {
    let party = party(&[1, 2, 3, 4, 5, 6], &[]);
    let states = states(&[
        (1, Admin::Enabled, Health::Degraded),
        (3, Admin::Enabled, Health::Down),
        (4, Admin::Drain, Health::Up),
        (5, Admin::Disabled, Health::Up),
    ]);
    assert_eq!(ports(&states.order(&party, |peer| peer.address.port() == 2, 0, false)), [6, 1, 2]);
    assert_eq!(ports(&states.order(&party, |_| false, 0, true)), [2, 6, 1, 3, 4, 5]);
}

#[test]
fn nothing_is_usable_when_all_are_down_or_closed() {
    let party = party(&[1, 2], &[]);
    let mut known = states(&[(1, Admin::Enabled, Health::Down), (2, Admin::Drain, Health::Up)]);
    assert!(!known.has_usable(&party));
    known.set(&peer(2), State { admin: Admin::Enabled, health: Health::Degraded });
    assert!(known.has_usable(&party));
    known.set(&peer(2), State::default());
    assert_eq!(known.of(&peer(2)), State::default());
}

#[test]
fn weights_spread_calls_and_a_zero_is_a_spare() {
    let party = party(&[1, 2, 3], &[3, 1, 0]);
    let mut firsts: BTreeMap<u16, u32> = BTreeMap::new();
    for chance in 0..4_000 {
        let order = ports(&States::default().order(&party, |_| false, chance, false));
        assert_eq!(order.last(), Some(&3), "{order:?}");
        assert_eq!(order.len(), 3);
        *firsts.entry(order[0]).or_default() += 1;
    }
    assert_eq!(firsts, BTreeMap::from([(1, 3_000), (2, 1_000)]));
}

#[test]
fn words_are_read_as_they_are_written() {
    for admin in Admin::ALL {
        assert_eq!(Admin::from_word(admin.as_str()), Some(admin));
    }
    assert_eq!(Admin::from_word("up"), None);
}
