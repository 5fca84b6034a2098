use super::*;
use crate::udp::spread::Spread;
use std::net::SocketAddr;

/// The ways of two workers, and a message of each.
fn pair() -> (Vec<Fellows>, Vec<mpsc::Receiver<Arrived>>, [Vec<u8>; 2]) {
    let spread = Arc::new(Spread::new(2).unwrap());
    let (to, from): (Vec<_>, Vec<_>) = (0..2).map(|_| mpsc::channel(2)).unzip();
    let ways = Ways::to_all(to, Arc::clone(&spread)).unwrap();
    let message = |owner: u16| {
        let id = (0..1_000).map(|at| format!("{at}@192.0.2.1")).find(|id| spread.owner(id.as_bytes()) == owner);
        format!("BYE sip:a@b SIP/2.0\r\nCall-ID: {}\r\nCSeq: 1 BYE\r\n\r\n", id.unwrap()).into_bytes()
    };
    (Fellows::of(&ways), from, [message(0), message(1)])
}

fn flow() -> Flow {
    Flow::to(proxy::ListenerId(0), SocketAddr::from(([127, 0, 0, 1], 5060)))
}

#[test]
fn a_datagram_goes_to_its_owner_and_what_finds_no_room_is_counted() {
    let (fellows, mut from, [own, others]) = pair();
    let counters = Counters::new();
    let count = |name: &str| {
        counters.samples().iter().filter(|sample| sample.family.name == name).map(|sample| sample.value).sum::<u64>()
    };
    let first = &fellows[0];
    assert!(!first.take(&flow(), &own, &counters, || true), "it is ours");
    assert!(!first.take(&flow(), b"\r\n\r\n", &counters, || true), "it is nobody's");
    assert!(!first.take(&flow(), &others, &counters, || false), "a stranger's takes nobody's room");
    assert!((0..3).all(|_| first.take(&flow(), &others, &counters, || true)));
    assert_eq!(count("switchyard_udp_handed_over_total"), 2);
    assert_eq!(count("switchyard_udp_overflowed_total"), 1, "the way holds two");
    let arrived = from[1].try_recv().unwrap();
    assert_eq!(arrived, Arrived::Datagram(flow(), Bytes::from(others.clone())));
    assert!(from[0].try_recv().is_err());
    drop(from.pop());
    assert!(!first.take(&flow(), &others, &counters, || true), "the owner has ended");
}

#[test]
fn a_failure_goes_to_its_owner_and_to_all_where_nobody_can_tell() {
    let (fellows, mut from, [own, others]) = pair();
    let first = &fellows[0];
    assert!(!first.take_failure(&flow(), &own) && from[1].try_recv().is_err());
    assert!(first.take_failure(&flow(), &others));
    assert_eq!(from[1].try_recv().unwrap(), Arrived::Undelivered(flow(), Bytes::from(others)));
    assert!(!first.take_failure(&flow(), b"BYE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP"), "we look for it as well");
    assert!(matches!(from[1].try_recv(), Ok(Arrived::Undelivered(..))));
    assert!(from[0].try_recv().is_err(), "nobody tells himself");
}

#[test]
fn workers_end_together() {
    let (fellows, ..) = pair();
    let [first, second] = &fellows[..] else { panic!("two workers") };
    assert!(!first.are_drained(0), "the other one does not know of it yet");
    assert!(!second.are_drained(1));
    assert!(!first.are_drained(0));
    assert!(second.are_drained(0));
    assert!(first.are_drained(1), "what came in the last moment ends nothing any more");
}

/// Rounded up, so that no limit becomes none.
#[test]
fn limits_of_the_core_are_shared_out() {
    let (fellows, ..) = pair();
    let settings = crate::config::read(
        "test",
        "[sip]\nlisten = [\"udp:127.0.0.1:5060\"]\n[limits]\ntransactions = 1001\nrequests_per_second = 1\n",
        &|_| None,
    );
    let settings = Arc::new(settings.unwrap().core);
    let share = fellows[0].share_of(&settings).limits;
    assert_eq!((share.transactions, share.requests_per_second, share.requests_burst_secs), (501, 1, 2));
    assert_eq!(share.transaction_bytes * 2, settings.limits.transaction_bytes);
}

#[tokio::test]
async fn all_are_told_and_all_answer() {
    let (to, mut from): (Vec<_>, Vec<_>) = (0..2).map(|_| mpsc::channel(2)).unzip();
    let crew = Crew::of(to);
    assert!(crew.tell(&Command::Refuse(true)).await);
    assert!(from.iter_mut().all(|worker| matches!(worker.try_recv(), Ok(Command::Refuse(true)))));
    assert!(crew.tell_one(Command::Drain).await);
    assert_eq!((crew.workers(), crew.waiting()), (2, (1, 4)));
    assert!(matches!(from[0].try_recv(), Ok(Command::Drain)));
    assert!(from[1].try_recv().is_err());
    let asking = crew.clone();
    let asked = tokio::spawn(async move { asking.answers().await });
    for worker in &mut from {
        let Some(Command::Answer(answer)) = worker.recv().await else { panic!("another command") };
        answer.send(()).await.unwrap();
    }
    assert!(asked.await.unwrap());
    let asking = crew.clone();
    let asked = tokio::spawn(async move { asking.answers().await });
    for (worker, answers) in from.iter_mut().zip([true, false]) {
        let Some(Command::Answer(answer)) = worker.recv().await else { panic!("another command") };
        if answers {
            answer.send(()).await.unwrap();
        }
    }
    assert!(!asked.await.unwrap(), "one gave no answer");
    drop(from.pop());
    assert!(!crew.answers().await && !crew.tell(&Command::Drain).await, "one has ended");
}

#[test]
fn nobody_serves_before_all_have_their_calls() {
    let (first, second) = (Restoring::default(), Restoring::default());
    first.end();
    let (other, failed) = (second.clone(), second.clone());
    let (serves, served) = std::sync::mpsc::channel();
    let waiting = std::thread::spawn(move || {
        other.end();
        serves.send(()).unwrap();
    });
    assert!(served.recv_timeout(Duration::from_millis(50)).is_err(), "two have not got theirs");
    drop(failed);
    second.end();
    served.recv_timeout(Duration::from_secs(10)).unwrap();
    waiting.join().unwrap();
}
