use super::*;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Runs a program as the kernel does: what it returns, and the steps that it took.
fn run(steps: &[Step], source: IpAddr) -> (u32, usize) {
    let (offset, bytes) = match source {
        IpAddr::V4(address) => (SOURCE_V4, address.octets().to_vec()),
        IpAddr::V6(address) => (SOURCE_V6, address.octets().to_vec()),
    };
    let mut loaded = 0;
    let mut at = 0;
    for taken in 1..=steps.len() {
        let Step { code, if_true, if_false, operand } = steps[at];
        let mut jump = |is_so: bool| at += usize::from(if is_so { if_true } else { if_false });
        match code {
            LOAD => {
                let from = (operand - NETWORK_HEADER - offset) as usize;
                loaded = u32::from_be_bytes(bytes[from..from + 4].try_into().unwrap());
            }
            IF_EQUAL => jump(loaded == operand),
            IF_ABOVE => jump(loaded > operand),
            IF_AT_LEAST => jump(loaded >= operand),
            JUMP => at += operand as usize,
            RETURN => return (operand, taken),
            _ => panic!("{code} is no instruction of ours"),
        }
        at += 1;
    }
    panic!("the program does not end");
}

fn keeps(networks: &[Network], source: IpAddr) -> bool {
    run(&program(networks, source.is_ipv4()).unwrap(), source).0 == KEEP
}

fn network(text: &str) -> Network {
    match text.split_once('/') {
        Some((address, len)) => Network { address: address.parse().unwrap(), prefix_len: len.parse().unwrap() },
        None => Network::host(text.parse().unwrap()),
    }
}

/// What the program must say, in the plainest words.
fn is_in(networks: &[Network], source: IpAddr) -> bool {
    networks.iter().any(|network| match (network.address, source) {
        (IpAddr::V4(address), IpAddr::V4(source)) => {
            (address.to_bits() ^ source.to_bits()).leading_zeros() >= u32::from(network.prefix_len).min(32)
        }
        (IpAddr::V6(address), IpAddr::V6(source)) => {
            (address.to_bits() ^ source.to_bits()).leading_zeros() >= u32::from(network.prefix_len).min(128)
        }
        _ => false,
    })
}

/// A fixed series of numbers without pattern.
fn series(seed: u64) -> impl FnMut() -> u32 {
    let mut state = seed;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from((state ^ (state >> 29)) >> 32).unwrap()
    }
}

#[test]
fn nobody_is_let_in_without_peers() {
    for source in ["10.10.10.2", "0.0.0.0", "255.255.255.255", "::1"] {
        assert!(!keeps(&[], source.parse().unwrap()));
    }
}

#[test]
fn peers_and_networks_are_let_in_and_their_neighbours_are_not() {
    let networks =
        ["10.10.10.2", "10.10.10.1", "192.0.2.0/24", "0.0.0.0/8", "255.255.255.255", "2001:db8::5", "fd00::/8"];
    let networks: Vec<Network> = networks.into_iter().map(network).collect();
    let inside = [
        "10.10.10.1",
        "10.10.10.2",
        "192.0.2.0",
        "192.0.2.255",
        "0.1.2.3",
        "255.255.255.255",
        "2001:db8::5",
        "fdff::1",
    ];
    for source in inside {
        assert!(keeps(&networks, source.parse().unwrap()), "{source}");
    }
    let outside = [
        "10.10.10.0",
        "10.10.10.3",
        "192.0.1.255",
        "192.0.3.0",
        "1.0.0.0",
        "255.255.255.254",
        "2001:db8::4",
        "fc00::1",
        "fe00::",
    ];
    for source in outside {
        assert!(!keeps(&networks, source.parse().unwrap()), "{source}");
    }
    assert!(keeps(&[network("0.0.0.0/0")], "203.0.113.9".parse().unwrap()));
    assert!(keeps(&[network("::/0")], "2001:db8::9".parse().unwrap()));
}

#[test]
fn any_set_of_networks_lets_in_what_is_in_it_and_nothing_else() {
    let mut next = series(7);
    for round in 0..300 {
        let is_ipv4 = round % 2 == 0;
        // Few bits differ, so that networks touch, nest and repeat.
        let mut address = || match is_ipv4 {
            true => IpAddr::V4(Ipv4Addr::from_bits(0x7FFF_FF00 ^ (next() & 0x8000_01FF))),
            false => {
                let (high, low) = (u128::from(next() & 3) << 94, u128::from(next() & 7) << 30);
                IpAddr::V6(Ipv6Addr::from_bits(high | low | u128::from(next() & 3)))
            }
        };
        let addresses: Vec<IpAddr> = (0..round).map(|_| address()).collect();
        let width = if is_ipv4 { 32 } else { 128 };
        let networks: Vec<Network> = addresses
            .iter()
            .enumerate()
            .map(|(at, address)| Network {
                address: *address,
                prefix_len: if at % 3 == 0 { width - [0, 1, 2, 3, 4][at % 5] } else { width },
            })
            .collect();
        let steps = program(&networks, is_ipv4).unwrap();
        let others: Vec<IpAddr> = (0..200).map(|_| address()).collect();
        for source in addresses.iter().chain(&others) {
            assert_eq!(run(&steps, *source).0 == KEEP, is_in(&networks, *source), "round {round}: {source}");
        }
    }
}

#[test]
fn a_thousand_addresses_and_as_many_networks_fit_and_cost_little() {
    let mut next = series(11);
    let hosts: Vec<Network> = (0..1_000).map(|_| Network::host(IpAddr::V4(Ipv4Addr::from_bits(next())))).collect();
    let steps = program(&hosts, true).unwrap();
    let longest = hosts.iter().map(|host| run(&steps, host.address).1).max().unwrap();
    assert!(steps.len() < 1_700 && longest <= 22, "{} steps, {longest} at most", steps.len());
    assert!(hosts.iter().all(|host| run(&steps, host.address).0 == KEEP));

    let mut networks = hosts;
    networks.extend((0..1_000).map(|_| Network { address: IpAddr::V4(Ipv4Addr::from_bits(next())), prefix_len: 28 }));
    let steps = program(&networks, true).unwrap();
    let taken = |source: u32| run(&steps, IpAddr::V4(Ipv4Addr::from_bits(source))).1;
    let longest = (0..10_000).map(|_| taken(next())).max().unwrap();
    assert!(longest <= 32, "{} steps, {longest} at most", steps.len());
}

/// Limit `udp::filter::FILTER_STEPS`.
#[test]
fn more_networks_than_a_program_holds_are_left_to_the_core() {
    let hosts: Vec<Network> = (0..10_000).map(|at| Network::host(IpAddr::V4(Ipv4Addr::from_bits(at * 2)))).collect();
    assert_eq!(program(&hosts, true), None);
    // Side by side they are few ranges.
    let hosts: Vec<Network> = (0..10_000).map(|at| Network::host(IpAddr::V4(Ipv4Addr::from_bits(at)))).collect();
    assert!(program(&hosts, true).unwrap().len() < 10);
}
