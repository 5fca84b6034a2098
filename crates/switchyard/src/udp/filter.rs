//! Who may reach a socket at all: a classic BPF program, made from the peers' addresses, that the kernel runs before a
//! datagram takes room in the receive buffer (row SX1).
//!
//! The program looks at the source address alone. Ports and interfaces are the core's to judge: a program that is wider
//! than the core costs a parse, one that is narrower would cost a call.

use socket2::SockFilter;
use std::net::IpAddr;

/// Instructions of one program: what the kernel takes (BPF_MAXINSNS).
pub const FILTER_STEPS: usize = 4_096;
/// Addresses that stand in one chain; above it the tree branches.
const CHAIN: usize = 8;

/// linux/filter.h: from here on offsets count from the network header.
const NETWORK_HEADER: u32 = 0xFFF0_0000;
/// Where the source address stands in the headers of IPv4 and IPv6.
const SOURCE_V4: u32 = 12;
const SOURCE_V6: u32 = 8;

/// linux/bpf_common.h: load a word, jump, jump if equal, greater, or greater or equal, return.
const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const IF_EQUAL: u16 = 0x15;
const IF_ABOVE: u16 = 0x25;
const IF_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;
/// What a program returns: how many bytes of the datagram are kept.
const KEEP: u32 = u32::MAX;
const DROP: u32 = 0;

/// An address with all that share its first bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Network {
    /// The address; bits behind the prefix do not count.
    pub address: IpAddr,
    /// How many bits are the same.
    pub prefix_len: u8,
}

/// One instruction of classic BPF.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    code: u16,
    if_true: u8,
    if_false: u8,
    operand: u32,
}

/// A set of addresses, low and high end included, in order and apart.
type Ranges = Vec<(u128, u128)>;

/// What one word of an address decides.
enum Item {
    /// Words from the first to the last: kept.
    Keep(u32, u32),
    /// This word: the next one decides.
    Ask(u32, Ranges),
}

impl Network {
    /// One address.
    pub fn host(address: IpAddr) -> Network {
        Network { address, prefix_len: if address.is_ipv4() { 32 } else { 128 } }
    }

    fn range(&self) -> (u128, u128) {
        let (bits, width) = match self.address {
            IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
            IpAddr::V6(address) => (address.to_bits(), 128),
        };
        let free = width - u32::from(self.prefix_len).min(width);
        let mask = u128::MAX.checked_shl(free).unwrap_or(0);
        let high = bits | !mask & (u128::MAX >> (128 - width));
        (bits & mask, high)
    }
}

/// The program of a socket of one address family: keeps what comes from these networks. `None` when they need more
/// than [`FILTER_STEPS`]: then the core alone drops strangers.
pub fn program(networks: &[Network], is_ipv4: bool) -> Option<Vec<Step>> {
    let of_family = networks.iter().filter(|network| network.address.is_ipv4() == is_ipv4);
    let ranges = merged(of_family.map(Network::range).collect());
    let (words, offset) = if is_ipv4 { (1, SOURCE_V4) } else { (4, SOURCE_V6) };
    let steps = word(&ranges, words, NETWORK_HEADER.wrapping_add(offset));
    (steps.len() <= FILTER_STEPS).then_some(steps)
}

/// Steps as the socket takes them.
pub(super) fn as_filter(steps: &[Step]) -> Vec<SockFilter> {
    steps.iter().map(|step| SockFilter::new(step.code, step.if_true, step.if_false, step.operand)).collect()
}

fn merged(mut ranges: Ranges) -> Ranges {
    ranges.sort_unstable();
    let mut apart: Ranges = Vec::with_capacity(ranges.len());
    for (low, high) in ranges {
        match apart.last_mut() {
            Some((_, last)) if low <= last.saturating_add(1) => *last = high.max(*last),
            _ => apart.push((low, high)),
        }
    }
    apart
}

/// Loads the first of `words` words at `offset` and decides by it. Every way through ends in a return.
fn word(ranges: &[(u128, u128)], words: u32, offset: u32) -> Vec<Step> {
    let items = items(ranges, words);
    let mut steps = vec![step(LOAD, offset)];
    steps.extend(tree(&chains(&items), words, offset));
    steps
}

fn items(ranges: &[(u128, u128)], words: u32) -> Vec<Item> {
    let rest_bits = 32 * (words - 1);
    let rest_max = !u128::MAX.checked_shl(rest_bits).unwrap_or(0);
    let first = |value: u128| u32::try_from(value >> rest_bits & 0xFFFF_FFFF).unwrap_or(u32::MAX);
    let mut items = Vec::new();
    for (low, high) in ranges {
        let (mut from, mut to) = (u64::from(first(*low)), u64::from(first(*high)));
        let (low_rest, high_rest) = (low & rest_max, high & rest_max);
        if from == to && (low_rest, high_rest) != (0, rest_max) {
            ask(&mut items, first(*low), (low_rest, high_rest));
            continue;
        }
        if low_rest != 0 {
            ask(&mut items, first(*low), (low_rest, rest_max));
            from += 1;
        }
        let cut = (high_rest != rest_max).then_some((0, high_rest));
        to = to.saturating_sub(u64::from(cut.is_some()));
        if from <= to {
            let narrow = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
            items.push(Item::Keep(narrow(from), narrow(to)));
        }
        if let Some(rest) = cut {
            ask(&mut items, first(*high), rest);
        }
    }
    items
}

/// Adds what the words behind this one have to be.
fn ask(items: &mut Vec<Item>, word: u32, rest: (u128, u128)) {
    match items.last_mut() {
        Some(Item::Ask(last, ranges)) if *last == word => ranges.push(rest),
        _ => items.push(Item::Ask(word, vec![rest])),
    }
}

/// The items in pieces that are looked at one after the other: some that keep, or one that asks on.
fn chains(items: &[Item]) -> Vec<&[Item]> {
    items
        .chunk_by(|left, right| matches!((left, right), (Item::Keep(..), Item::Keep(..))))
        .flat_map(|piece| piece.chunks(CHAIN))
        .collect()
}

/// Halves the pieces until one is left: its steps grow with the logarithm of their number.
fn tree(chains: &[&[Item]], words: u32, offset: u32) -> Vec<Step> {
    let (lower, upper) = chains.split_at(chains.len() / 2);
    let (Some(_), Some(Item::Keep(bound, _) | Item::Ask(bound, _))) =
        (lower.first(), upper.first().and_then(|u| u.first()))
    else {
        return chains.first().map_or_else(|| vec![step(RETURN, DROP)], |chain| leaf(chain, words, offset));
    };
    let below = tree(lower, words, offset);
    let mut steps = match u8::try_from(below.len()) {
        Ok(if_true) => vec![Step { if_true, ..step(IF_AT_LEAST, *bound) }],
        // Farther than a conditional jump reaches.
        Err(_) => {
            let distance = u32::try_from(below.len()).unwrap_or(u32::MAX);
            vec![Step { if_false: 1, ..step(IF_AT_LEAST, *bound) }, step(JUMP, distance)]
        }
    };
    steps.extend(below);
    steps.extend(tree(upper, words, offset));
    steps
}

fn leaf(chain: &[Item], words: u32, offset: u32) -> Vec<Step> {
    if let [Item::Ask(bound, rest)] = chain {
        let mut steps = vec![Step { if_true: 1, ..step(IF_EQUAL, *bound) }, step(RETURN, DROP)];
        steps.extend(word(rest, words - 1, offset.wrapping_add(4)));
        return steps;
    }
    let cost = |item: &Item| if matches!(item, Item::Keep(first, last) if first != last) { 2 } else { 1 };
    // Steps from the one behind the present one to the return that drops; the one that keeps is next to it.
    let mut to_drop: u8 = chain.iter().map(cost).sum();
    let mut steps = Vec::new();
    for item in chain {
        let Item::Keep(first, last) = item else { continue };
        if first == last {
            to_drop -= 1;
            steps.push(Step { if_true: to_drop + 1, ..step(IF_EQUAL, *first) });
        } else {
            // The items are in order: what is below this one is in none behind it.
            to_drop -= 1;
            steps.push(Step { if_false: to_drop, ..step(IF_AT_LEAST, *first) });
            to_drop -= 1;
            steps.push(Step { if_false: to_drop + 1, ..step(IF_ABOVE, *last) });
        }
    }
    steps.extend([step(RETURN, DROP), step(RETURN, KEEP)]);
    steps
}

fn step(code: u16, operand: u32) -> Step {
    Step { code, if_true: 0, if_false: 0, operand }
}

#[cfg(test)]
mod tests;
