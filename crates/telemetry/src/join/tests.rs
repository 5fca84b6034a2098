use super::*;
use proptest::prelude::*;

/// A datagram of a call: which one it is can be told from its bytes.
fn message(call: u8, number: usize, bytes: usize) -> Vec<u8> {
    let mut message =
        format!("BYE sip:x SIP/2.0\r\nCall-ID: call{call}@gw\r\nCSeq: {number:04} BYE\r\n\r\n").into_bytes();
    message.resize(bytes.max(message.len()), b'x');
    message
}

/// What stands behind its Call-ID.
fn call_of(message: &[u8]) -> &[u8] {
    let value = |line: &&[u8]| line.starts_with(b"Call-ID: ");
    message.split(|byte| *byte == b'\n').find(value).unwrap_or_default()
}

/// Some datagrams: a destination, a call and a length of each. Few of each, so that many are equal.
fn drawn(most: usize) -> impl Strategy<Value = Vec<(u8, u8, usize)>> {
    let bytes = prop_oneof![Just(100_usize), Just(300), Just(301), Just(700), Just(1_500), 80_usize..2_000];
    proptest::collection::vec((0_u8..3, 0_u8..12, bytes), 1..=most)
}

fn at(destination: u8) -> SocketAddr {
    SocketAddr::from(([10, 10, 10, destination], 5060))
}

/// The messages of a plan, as numbers of datagrams.
fn messages(datagrams: &[(SocketAddr, &[u8])], longest: impl Fn(SocketAddr) -> usize) -> Vec<Vec<usize>> {
    let mut ordered = Vec::new();
    let plan = Plan::of(datagrams, longest, call_of);
    let mut rest = plan.leaving(datagrams, &mut ordered);
    let mut messages = Vec::new();
    while !rest.datagrams.is_empty() {
        let first = rest.first();
        assert_eq!(rest.singles() > 0, first == 1);
        let place = |bytes: &[u8]| datagrams.iter().position(|(_, other)| std::ptr::eq(*other, bytes)).unwrap();
        messages.push(rest.until(first).datagrams.iter().map(|(_, bytes)| place(bytes)).collect());
        rest = rest.after(first);
    }
    messages
}

/// A shorter way to write datagrams: destination, call, bytes.
fn planned(datagrams: &[(u8, u8, usize)]) -> Vec<Vec<usize>> {
    let owned: Vec<_> =
        datagrams.iter().enumerate().map(|(n, (to, call, len))| (at(*to), message(*call, n, *len))).collect();
    let lent: Vec<(SocketAddr, &[u8])> = owned.iter().map(|(to, bytes)| (*to, bytes.as_slice())).collect();
    messages(&lent, |_| usize::MAX)
}

#[test]
fn those_of_one_length_to_one_destination_leave_together() {
    assert_eq!(
        planned(&[(1, 1, 300), (2, 1, 300), (1, 2, 300), (2, 2, 300), (1, 3, 300)]),
        [vec![0, 2, 4], vec![1, 3]]
    );
    let many: Vec<(u8, u8, usize)> = (0..64).map(|call| (1, call, 900)).collect();
    assert_eq!(planned(&many), [(0..64).collect::<Vec<_>>()]);
}

#[test]
fn one_that_is_alone_ends_a_message_of_longer_ones() {
    assert_eq!(planned(&[(1, 1, 300), (1, 2, 200), (1, 3, 300)]), [vec![0, 2, 1]]);
    assert_eq!(planned(&[(1, 1, 200), (1, 2, 300), (1, 3, 300)]), [vec![1, 2, 0]]);
    assert_eq!(planned(&[(1, 1, 400), (1, 2, 300), (1, 3, 200), (1, 4, 100)]), [vec![0, 1], vec![2, 3]]);
    assert_eq!(planned(&[(1, 1, 400), (2, 2, 300)]), [[0], [1]], "not to another destination");
}

#[test]
fn a_call_keeps_its_order() {
    // A 180 and then a 200 of each call.
    assert_eq!(planned(&[(1, 1, 300), (1, 1, 500), (1, 2, 300), (1, 2, 500)]), [[0, 2], [1, 3]]);
    // The shorter one came second in one call and first in the other.
    assert_eq!(planned(&[(1, 1, 500), (1, 1, 300), (1, 2, 300), (1, 2, 500)]), [vec![0], vec![1, 2], vec![3]]);
    // It came first: it ends no message of a longer one of its own call.
    assert_eq!(planned(&[(1, 1, 200), (1, 1, 300), (1, 2, 300)]), [vec![0], vec![1, 2]]);
    assert_eq!(planned(&[(1, 1, 300), (1, 1, 200), (1, 2, 300)]), [vec![0, 2, 1]]);
    // Two of one call in one message, as they came.
    assert_eq!(planned(&[(1, 1, 300), (1, 1, 300)]), [[0, 1]]);
    // Without a Call-ID all have one order.
    let (long, short) = ([b'x'; 9], [b'x'; 7]);
    let lent: [(SocketAddr, &[u8]); 3] = [(at(1), &long), (at(1), &short), (at(1), &long[..8])];
    assert_eq!(messages(&lent, |_| usize::MAX), [vec![0, 1], vec![2]]);
}

/// Limits GROUP and MESSAGE_BYTES, and what a destination refused.
#[test]
fn a_message_has_its_bounds() {
    let large: Vec<(u8, u8, usize)> = (0..5).map(|call| (1, call, 20_000)).collect();
    assert_eq!(planned(&large), [vec![0, 1, 2], vec![3, 4]]);
    assert_eq!(planned(&[(1, 1, MESSAGE_BYTES - 100), (1, 2, 100)]), [[0, 1]]);
    assert_eq!(planned(&[(1, 1, MESSAGE_BYTES - 100), (1, 2, 101)]), [[0], [1]]);
    let (empty, one) = ([], [b'x'; 1]);
    let lent: [(SocketAddr, &[u8]); 4] = [(at(1), &empty), (at(1), &one), (at(1), &empty), (at(1), &one)];
    assert_eq!(messages(&lent, |_| usize::MAX).len(), 4, "what is empty has no place in a message");
    let owned: Vec<Vec<u8>> = (0..4).map(|call| message(call, 0, if call < 2 { 1_400 } else { 1_300 })).collect();
    let lent: Vec<(SocketAddr, &[u8])> = owned.iter().map(|bytes| (at(1), bytes.as_slice())).collect();
    assert_eq!(messages(&lent, |_| 1_399), [vec![0], vec![1], vec![2, 3]]);
    assert_eq!(messages(&lent, |_| 0).len(), 4);
}

proptest! {
    /// Whatever leaves: all of it, once, in messages that the kernel takes, each call's to one destination in order.
    #[test]
    fn what_leaves_is_whole_and_in_the_order_of_each_call(datagrams in drawn(GROUP), refused in 0_usize..2_000) {
        let owned: Vec<_> = datagrams.iter().enumerate()
            .map(|(n, (to, call, len))| (at(*to), message(*call, n, *len))).collect();
        let lent: Vec<(SocketAddr, &[u8])> = owned.iter().map(|(to, bytes)| (*to, bytes.as_slice())).collect();
        let longest = |to: SocketAddr| if to == at(0) { refused } else { usize::MAX };
        let messages = messages(&lent, longest);
        let mut all: Vec<usize> = messages.concat();
        let mut last = std::collections::HashMap::new();
        for place in &all {
            let (to, call, _) = datagrams[*place];
            prop_assert!(last.insert((to, call), *place).is_none_or(|before| before < *place), "{messages:?}");
        }
        all.sort_unstable();
        prop_assert_eq!(all, (0..datagrams.len()).collect::<Vec<_>>());
        for message in messages.iter().filter(|message| message.len() > 1) {
            let of = |place: &usize| (lent[*place].0, lent[*place].1.len());
            let (to, bytes) = of(&message[0]);
            let (tail, body) = message.split_last().unwrap();
            prop_assert!(body.iter().all(|place| of(place) == (to, bytes)) && of(tail).0 == to && of(tail).1 <= bytes);
            prop_assert!(bytes <= longest(to));
            prop_assert!(message.iter().map(|place| of(place).1).sum::<usize>() <= MESSAGE_BYTES);
        }
    }
}
