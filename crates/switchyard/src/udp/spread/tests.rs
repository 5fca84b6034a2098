use super::*;
use std::collections::HashMap;

fn spread(workers: u16) -> Spread {
    let mut seed = [0; 4 * HASHED_BYTES];
    seed.iter_mut().zip(0_u8..).for_each(|(byte, at)| *byte = at.wrapping_mul(167).wrapping_add(43));
    Spread::seeded(workers, &seed)
}

/// Runs a program as the kernel does: what it returns, and the steps that it took.
fn run(steps: &[sock_filter], bytes: &[u8]) -> (u32, usize) {
    let (mut loaded, mut x, mut kept) = (0_u32, 0_u32, [0_u32; 16]);
    let word = |at: u32| bytes.get(at as usize..)?.first_chunk().map(|word| u32::from_be_bytes(*word));
    let mut at = 0;
    for taken in 1..=steps.len() {
        let sock_filter { code, jt, jf, k } = steps[at];
        let mut branch = |is_so: bool| at += usize::from(if is_so { jt } else { jf });
        match code {
            LOAD | LOAD_AT_X => match word(if code == LOAD { k } else { x.wrapping_add(k) }) {
                Some(word) => loaded = word,
                None => return (0, taken),
            },
            LOAD_BYTE_AT_X => match bytes.get(x.wrapping_add(k) as usize) {
                Some(byte) => loaded = (*byte).into(),
                None => return (0, taken),
            },
            LOAD_NUMBER => loaded = k,
            LOAD_KEPT => loaded = kept[k as usize],
            X_NUMBER => x = k,
            X_KEPT => x = kept[k as usize],
            KEEP => kept[k as usize] = loaded,
            KEEP_X => kept[k as usize] = x,
            ADD => loaded = loaded.wrapping_add(k),
            ADD_X => loaded = loaded.wrapping_add(x),
            SUBTRACT_X => loaded = loaded.wrapping_sub(x),
            MULTIPLY => loaded = loaded.wrapping_mul(k),
            OR => loaded |= k,
            SHIFT_RIGHT => loaded >>= k,
            MODULO => loaded %= k,
            IF_EQUAL => branch(loaded == k),
            IF_ABOVE => branch(loaded > k),
            JUMP => at += k as usize,
            TO_X => x = loaded,
            FROM_X => loaded = x,
            RETURN => return (k, taken),
            RETURN_LOADED => return (loaded, taken),
            _ => panic!("{code} is no instruction of ours"),
        }
        at += 1;
    }
    panic!("the program does not end");
}

fn invite(padding: &str, line: &str) -> Vec<u8> {
    format!(
        "INVITE sip:+918065978000@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.2;branch=z9hG4bK1{padding}\r\n{line}\r\n\
         CSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

#[test]
fn a_call_has_one_owner_in_every_form_of_its_header() {
    let spread = spread(4);
    let whole = "3f0a-7c11-99@192.0.2.1";
    let owner = Some(spread.owner(whole.as_bytes()));
    assert_eq!(spread.owner_in(&[b"\r\n\r\n", &*invite("", &format!("Call-ID: {whole}"))].concat()), owner);
    let forms = ["Call-ID: {}", "call-id:{}", "CALL-ID :\t {}", "i: {}", "I:{}", "Call-ID:\r\n {}", "i :  \r\n\t{}  "];
    for form in forms {
        assert_eq!(spread.owner_in(&invite("", &form.replace("{}", whole))), owner, "{form}");
    }
    let body = b"MESSAGE sip:a@b SIP/2.0\r\nCSeq: 1 MESSAGE\r\n\r\nCall-ID: in-the-body\r\n";
    let without: [&[u8]; 6] = [
        b"",
        b"\r\n\r\n",
        body,
        b"INVITE sip:a@b SIP/2.0\r\nCall-Info: <x>\r\nSubject: x\r\n Call-ID: folded\r\nIx: 1\r\n\r\n",
        b"INVITE sip:a@b SIP/2.0\r\nCall-ID: \r\n\r\n",
        b"INVITE sip:a@b SIP/2.0\r\nCall-ID: cut-o",
    ];
    for message in without {
        assert_eq!(spread.owner_in(message), None, "{}", message.escape_ascii());
    }
    let long = format!("Call-ID: {}", "x".repeat(HASHED_BYTES));
    assert!(spread.owner_in(format!("BYE sip:a@b SIP/2.0\r\n{long}").as_bytes()).is_some(), "enough of it is there");
}

/// Call-IDs as peers make them, counted up, by time, at random: every worker gets its share.
#[test]
fn calls_are_spread_evenly_however_their_ids_are_made() {
    let of_time = |at: u32| format!("20261128{:06}@192.0.2.1", at);
    let of_count = |at: u32| format!("{at}-4711@192.0.2.1");
    let of_host = |at: u32| format!("192.0.2.1-{at:08x}");
    let mixed = |at: u32| format!("{:08x}-{:08x}", at.wrapping_mul(2_654_435_761), at.wrapping_mul(40_503));
    let makers: [&dyn Fn(u32) -> String; 4] = [&of_time, &of_count, &of_host, &mixed];
    for workers in [2, 3, 8] {
        let spread = Spread::new(workers).unwrap();
        for (which, make) in makers.iter().enumerate() {
            let mut shares: HashMap<u16, u32> = HashMap::new();
            (0..16_000).for_each(|at| *shares.entry(spread.owner(make(at).as_bytes())).or_default() += 1);
            let even = 16_000 / u32::from(workers);
            for worker in 0..workers {
                let share = shares.get(&worker).copied().unwrap_or(0);
                assert!((even * 4 / 5..=even * 6 / 5).contains(&share), "{which}: {worker} of {workers} has {share}");
            }
        }
    }
}

/// The kernel's program and ours say the same, wherever the header stands.
#[test]
fn the_kernel_picks_the_owner_wherever_the_call_id_stands() {
    let spread = spread(3);
    let steps = spread.program(SCANNED_BYTES);
    assert!(steps.len() <= 4_096, "{} steps are more than the kernel takes", steps.len());
    for padding in 0..400 {
        let call_id = format!("{padding}-77@192.0.2.1");
        for line in [format!("Call-ID: {call_id}"), format!("CALL-id: {call_id}{}", "z".repeat(40))] {
            let message = invite(&"p".repeat(padding), &line);
            let owner = spread.owner_in(&message).unwrap();
            assert_eq!(run(&steps, &message).0, u32::from(owner), "{padding}: {line}");
        }
    }
    let shortest = b"BYE sip:a SIP/2.0\r\nCall-ID: a\r\nCSeq: 1 BYE\r\n\r\n";
    assert_eq!(run(&steps, shortest).0, u32::from(spread.owner(b"a")));
    // Without the blank some looks miss it; what is found is found right.
    let found = (0..64).filter(|padding| {
        let message = invite(&"p".repeat(*padding), "Call-ID:3f0a@192.0.2.1");
        run(&steps, &message).0 == u32::from(spread.owner_in(&message).unwrap())
    });
    assert!(found.count() >= 56);
}

/// A line that only looks like it leads nowhere, and hides nothing that is farther down.
#[test]
fn the_kernel_is_not_led_astray() {
    let spread = spread(7);
    let steps = spread.program(SCANNED_BYTES);
    for padding in 0..64 {
        let lines = format!("Session-ID: ab\r\nCall-Info: <sip:all-id: >\r\nX: {}\r\nCall-ID: 3f0a", "y".repeat(200));
        let message = invite(&"p".repeat(padding), &lines);
        assert_eq!(run(&steps, &message).0, u32::from(spread.owner(b"3f0a")), "{padding}");
    }
    let far = invite(&"p".repeat(SCANNED_BYTES + 200), "Call-ID: 3f0a");
    assert_eq!(run(&steps, &far).0, ANY);
    assert_eq!(run(&steps, b"\r\n\r\n").0, 0, "what is too short goes to the first");
}

#[test]
fn a_look_costs_little() {
    let spread = spread(2);
    let (_, taken) = run(&spread.program(SCANNED_BYTES), &invite(&"p".repeat(300), "Call-ID: 3f0a-7c11@192.0.2.1"));
    assert!(taken < 900, "{taken} steps");
}
