use super::*;
use crate::keys::Key;
use crate::timers::{TimerId, Timers};
use std::collections::VecDeque;
use std::time::Duration;

const AGE: Duration = Duration::from_secs(3_600);

fn ring(active: u8, retired: &[u8]) -> KeyRing {
    let key = |id: u8| Key { id, secret: [id; 32] };
    KeyRing::new(&key(active), &retired.iter().map(|id| key(*id)).collect::<Vec<_>>())
}

fn opening(key: u128) -> Opening<'static> {
    Opening {
        key: CallKey(key),
        direction: Direction::Inbound,
        from: PartyId(0),
        toward: PartyId(1),
        did: Number::from_digits(918_065_978_001),
        call_id: b"5f2a7c0e1d3b4a69@10.10.10.2",
        called: b"+918065978001",
        caller: b"+447700900123",
        organisation: b"0b7c1f5e-6a1d-4c55-9d3a-2f1e8c7b6a50",
        gateway: None,
        is_free: false,
        permit: Permit::new(std::sync::Arc::default()),
    }
}

#[test]
fn a_key_is_the_same_after_a_restart_and_a_change_of_keys_and_differs_for_every_other_call() {
    let of = |keys: &KeyRing, id, way, call_id: &[u8], tag: &[u8]| CallKey::of(keys, id, way, call_id, tag);
    let (old, new) = (ring(1, &[]), ring(2, &[1]));
    let key = of(&old, None, Direction::Inbound, b"call", b"tag");
    assert_eq!(of(&new, Some(1), Direction::Inbound, b"call", b"tag"), key);
    assert_eq!(of(&new, Some(3), Direction::Inbound, b"call", b"tag"), None);
    for other in [
        of(&new, None, Direction::Inbound, b"call", b"tag"),
        of(&old, None, Direction::Outbound, b"call", b"tag"),
        of(&old, None, Direction::Inbound, b"callt", b"ag"),
        of(&old, None, Direction::Inbound, b"call", b"other"),
    ] {
        assert_ne!(other, key);
    }
    assert_eq!(key.unwrap().to_string().len(), 32);
}

#[test]
fn a_call_keeps_its_texts_and_a_slot_its_room() {
    let mut calls = Calls::default();
    calls.open(Time(5), opening(1), AGE);
    let call = calls.find(CallKey(1)).unwrap();
    assert_eq!(call.call_id(), b"5f2a7c0e1d3b4a69@10.10.10.2");
    assert_eq!((call.called(), call.caller()), (&b"+918065978001"[..], &b"+447700900123"[..]));
    assert_eq!(call.organisation(), b"0b7c1f5e-6a1d-4c55-9d3a-2f1e8c7b6a50");
    let room = call.texts.bytes.as_ptr();
    let (slot, call) = calls.remove(CallKey(1)).unwrap();
    assert!(calls.remove(CallKey(1)).is_none(), "a call ends once");
    calls.recycle(slot, call);
    calls.open(Time(6), Opening { organisation: b"", ..opening(2) }, AGE);
    let call = calls.find(CallKey(2)).unwrap();
    assert_eq!((call.organisation(), call.texts.bytes.as_ptr()), (&b""[..], room));
    assert_eq!(calls.iter().map(Call::key).collect::<Vec<_>>(), [CallKey(2)]);
}

/// The limit `CALL_TEXT_BYTES`: what is longer is cut, and reads back as far as it goes.
#[test]
fn a_long_text_of_a_call_is_cut() {
    let long = [b'x'; 5_000];
    let mut texts = Texts::default();
    texts.take([&long, b"called", &long, b"organisation"]);
    let cut = CALL_TEXT_BYTES;
    let lengths = [0, 1, 2, 3].map(|part| texts.part(part).len());
    assert_eq!(lengths, [cut, 6, cut, 12]);
}

/// What a call costs, with the texts of a usual one: the aim is about 200 bytes beside its texts.
#[test]
fn a_call_is_small() {
    let slot = size_of::<Option<Call>>();
    assert!(slot <= 232, "{slot} bytes");
}

/// A call that ended long before its deadline leaves nothing in the wheel for longer than a look.
#[test]
fn the_wheel_is_empty_a_minute_after_the_last_call() {
    let (mut calls, mut timers) = (Calls::default(), Timers::new());
    for number in 0..100 {
        calls.open(Time(0), opening(number), AGE);
        calls.arm(Time(0), CallKey(number), &mut timers);
        let (slot, call) = calls.remove(CallKey(number)).unwrap();
        calls.recycle(slot, call);
    }
    let mut due: VecDeque<TimerId> = VecDeque::new();
    while let Some(at) = timers.next() {
        assert!(at <= Time::from_millis(60_000));
        timers.expire(at, &mut due);
    }
    assert_eq!(due.len(), 100);
    assert!(due.into_iter().all(|id| calls.due(id).is_none()));
}
