//! The load generator: both ends of many calls through a proxy, in one thread. `load --help` lists what it is told.
//!
//! Calls begin by the clock (open loop), so a slow proxy does not slow the load. Every message that comes through is
//! checked. The last lines are `name value` pairs, for people and programs.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a measuring program speaks to the terminal, and its numbers are far below the bounds of their types"
)]

mod call;
mod check;
mod due;
mod lanes;
mod plan;
mod read;
mod run;
mod search;
mod spent;
mod tally;
mod text;
mod wire;

use anyhow::{Context, Result};
use clap::Parser;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use plan::Plan;
use run::Run;
use search::Search;
use spent::Spent;
use std::process::ExitCode;

fn main() -> Result<ExitCode> {
    let plan = Plan::parse();
    if let Some(core) = plan.core {
        let mut cores = CpuSet::new();
        cores.set(core)?;
        sched_setaffinity(Pid::this(), &cores).with_context(|| format!("core {core} cannot be taken"))?;
    }
    let is_good = match plan.hold {
        Some(calls) => hold(&plan, calls)?,
        None if plan.find_highest => find_highest(&plan)?,
        None => at_one_rate(&plan)?,
    };
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn spent(plan: &Plan) -> Result<Spent> {
    plan.pid.map_or(Ok(Spent::default()), spent::read)
}

fn at_one_rate(plan: &Plan) -> Result<bool> {
    let mut run = Run::new(plan.clone())?;
    let (before, own) = (spent(plan)?, spent::own_us()?);
    run.calls(plan.rate, plan.rate * plan.seconds);
    let (after, own_after) = (spent(plan)?, spent::own_us()?);
    print!("{}", run.tally);
    let own_us: u64 = own_after.iter().sum::<u64>() - own.iter().sum::<u64>();
    println!("generator_calls_per_core_second {:.0}", run.tally.begun as f64 * 1e6 / own_us.max(1) as f64);
    for (name, (before, after)) in ["user", "system"].iter().zip(own.into_iter().zip(own_after)) {
        println!("generator_{name}_us_per_call {:.2}", (after - before) as f64 / run.tally.begun.max(1) as f64);
    }
    if plan.pid.is_some() {
        let per_call = (after.cpu_us - before.cpu_us) as f64 / run.tally.begun.max(1) as f64;
        println!("cpu_us_per_call {per_call:.2}");
        println!("memory_before_bytes {}", before.memory_bytes);
        println!("memory_after_bytes {}", after.memory_bytes);
    }
    let is_whole = run.tally.completed == run.tally.begun;
    Ok(run.tally.faults_total() == 0 && (is_whole || plan.overload))
}

/// The highest rate that is carried, and how many messages were sent again at it.
fn find_highest(plan: &Plan) -> Result<bool> {
    let mut run = Run::new(plan.clone())?;
    let mut search = Search::new(plan.rate);
    let (mut is_ours, mut sent_again) = (false, 0.0);
    while let Some(rate) = search.next() {
        run.calls(rate, rate * plan.seconds);
        let tally = &run.tally;
        let is_carried = tally.is_carried() && tally.kept_up();
        if is_carried {
            sent_again = tally.sent_again as f64 * 1_000.0 / tally.begun.max(1) as f64;
        } else {
            is_ours = !tally.kept_up();
        }
        println!(
            "step {rate}: {} completed of {}, {} sent again, {} faults, p99 {:.0} us, lag {} us{}",
            tally.completed,
            tally.begun,
            tally.sent_again,
            tally.faults_total(),
            tally.answered.per_mille_us(990),
            tally.lag_us,
            if is_carried { "" } else { ": not carried" }
        );
        search.tried(is_carried);
    }
    println!("highest_rate {}", search.highest());
    println!("highest_rate_sent_again_per_thousand {sent_again:.2}");
    println!("highest_rate_is_the_generators {}", u8::from(is_ours));
    Ok(search.highest() > 0)
}

/// The memory of calls that ring all at once.
fn hold(plan: &Plan, calls: u64) -> Result<bool> {
    let mut run = Run::new(plan.clone())?;
    let before = spent(plan)?;
    run.calls(plan.rate, calls);
    let ringing = run.tally.rang;
    let after = spent(plan)?;
    run.answer_all();
    print!("{}", run.tally);
    println!("ringing {ringing}");
    let held = after.memory_bytes.saturating_sub(before.memory_bytes);
    println!("memory_before_bytes {}", before.memory_bytes);
    println!("memory_ringing_bytes {}", after.memory_bytes);
    println!("memory_per_ringing_call_bytes {}", held / ringing.max(1));
    Ok(run.tally.faults_total() == 0 && ringing == calls && run.tally.completed == calls)
}

#[cfg(test)]
mod tests {
    use super::*;
    use read::Read;
    use std::collections::{HashMap, HashSet};
    use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;
    use std::time::Duration;

    /// Calls through a relay thread; `--prod` of the plan is spoilt on demand, so that a wrong way is seen.
    fn through_relay(road: &str, more: &[&str]) -> tally::Tally {
        through(road, more, 1, |relay, peers, ends| benches::bare::relay(relay, peers, ends).unwrap())
    }

    /// A relay that loses every eighth datagram, in no step with calls: else it might always be what nobody sends again.
    fn lossy(relay: &UdpSocket, [one, other]: [SocketAddrV4; 2], ends: &AtomicBool) {
        relay.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let (mut slot, mut count) = ([0; 4_096], 0_u64);
        while !ends.load(Ordering::Relaxed) {
            let Ok((len, from)) = relay.recv_from(&mut slot) else { continue };
            count += 1;
            if count.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 61 != 0 {
                let to = if from == one.into() { other } else { one };
                relay.send_to(&slot[..len], to).unwrap();
            }
        }
    }

    /// A relay that loses the first so many ACKs of each call.
    fn without_acks(relay: &UdpSocket, [one, other]: [SocketAddrV4; 2], ends: &AtomicBool, lost: usize) {
        relay.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let (mut slot, mut acks) = ([0; 4_096], HashMap::<Vec<u8>, usize>::new());
        while !ends.load(Ordering::Relaxed) {
            let Ok((len, from)) = relay.recv_from(&mut slot) else { continue };
            let bytes = &slot[..len];
            if bytes.starts_with(b"ACK ") {
                let count = acks.entry(Read::of(bytes).unwrap().call_id.to_vec()).or_default();
                *count += 1;
                if *count <= lost {
                    continue;
                }
            }
            relay.send_to(bytes, if from == one.into() { other } else { one }).unwrap();
        }
    }

    /// A relay that sends everything twice.
    fn twice(relay: &UdpSocket, [one, other]: [SocketAddrV4; 2], ends: &AtomicBool) {
        relay.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let mut slot = [0; 4_096];
        while !ends.load(Ordering::Relaxed) {
            let Ok((len, from)) = relay.recv_from(&mut slot) else { continue };
            for _ in 0..2 {
                relay.send_to(&slot[..len], if from == one.into() { other } else { one }).unwrap();
            }
        }
    }

    /// A relay that says of each BYE that it is being seen to, as a proxy does of one that waits.
    fn trying(relay: &UdpSocket, [one, other]: [SocketAddrV4; 2], ends: &AtomicBool) {
        relay.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let mut slot = [0; 4_096];
        while !ends.load(Ordering::Relaxed) {
            let Ok((len, from)) = relay.recv_from(&mut slot) else { continue };
            let text = std::str::from_utf8(&slot[..len]).unwrap();
            if let Some((_, rest)) = text.split_once("\r\n").filter(|(line, _)| line.starts_with("BYE ")) {
                relay.send_to(format!("SIP/2.0 100 Trying\r\n{rest}").as_bytes(), from).unwrap();
            }
            relay.send_to(&slot[..len], if from == one.into() { other } else { one }).unwrap();
        }
    }

    /// A relay that keeps what comes of so many calls, delivers it when one more begins, and relays from there on.
    fn late(relay: &UdpSocket, [one, other]: [SocketAddrV4; 2], ends: &AtomicBool, calls: usize) {
        relay.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let (mut slot, mut kept, mut begun) = ([0; 4_096], Vec::new(), HashSet::<Vec<u8>>::new());
        while begun.len() <= calls && !ends.load(Ordering::Relaxed) {
            let Ok((len, from)) = relay.recv_from(&mut slot) else { continue };
            let bytes = slot[..len].to_vec();
            begun.insert(Read::of(&bytes).unwrap().call_id.to_vec());
            kept.push((bytes, from));
        }
        for (bytes, from) in kept {
            relay.send_to(&bytes, if from == one.into() { other } else { one }).unwrap();
        }
        benches::bare::relay(relay, [one, other], ends).unwrap();
    }

    /// The last of so many runs, one after the other.
    fn through(
        road: &str,
        more: &[&str],
        runs: usize,
        relays: impl FnOnce(&UdpSocket, [SocketAddrV4; 2], &AtomicBool) + Send + 'static,
    ) -> tally::Tally {
        let relay = UdpSocket::bind("127.0.0.1:0").unwrap();
        let SocketAddr::V4(at) = relay.local_addr().unwrap() else { panic!("not IPv4") };
        let free = || {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            let SocketAddr::V4(at) = socket.local_addr().unwrap() else { panic!("not IPv4") };
            (socket, at)
        };
        let (held, ends): (Vec<_>, Vec<_>) = (0..4).map(|_| free()).unzip();
        drop(held);
        let names = ["--gateway", "--prod", "--staging", "--oss"];
        let mut words = vec!["load".to_owned(), "--road".into(), road.into(), "--proxy".into(), at.to_string()];
        words.extend(names.iter().zip(&ends).flat_map(|(name, end)| [(*name).to_owned(), end.to_string()]));
        words.extend(more.iter().map(|word| (*word).to_owned()));
        let plan = Plan::parse_from(words);
        let end = Arc::new(AtomicBool::new(false));
        let (peers, ends) = ([ends[0], ends[1]], Arc::clone(&end));
        let relaying = thread::spawn(move || relays(&relay, peers, &ends));
        let mut run = Run::new(plan.clone()).unwrap();
        for _ in 0..runs {
            run.calls(plan.rate, plan.rate * plan.seconds);
        }
        end.store(true, Ordering::Relaxed);
        relaying.join().unwrap();
        run.tally
    }

    #[test]
    fn calls_through_a_relay_complete_without_a_fault() {
        let tally = through_relay("bare", &["--rate", "200", "--seconds", "1", "--ring-ms", "5", "--talk-ms", "5"]);
        assert_eq!((tally.begun, tally.completed, tally.faults_total()), (200, 200, 0), "{tally}");
    }

    /// As with real gateways and PBXs a datagram that is lost is no call that is lost: it is sent again, and counted.
    #[test]
    fn what_is_lost_is_sent_again() {
        let more = ["--rate", "100", "--seconds", "1", "--ring-ms", "5", "--talk-ms", "5"];
        let tally = through("bare", &more, 1, lossy);
        assert_eq!((tally.begun, tally.completed, tally.failed), (100, 100, 0), "{tally}");
        assert!(tally.sent_again > 30 && tally.came_again > 0, "{tally}");
    }

    /// A BYE that comes before its ACK ends a call, and the ACK that is sent again makes it whole.
    #[test]
    fn a_call_whose_ack_was_lost_is_whole_when_it_was_sent_again() {
        let more = ["--rate", "40", "--seconds", "1"];
        let tally = through("bare", &more, 1, |relay, peers, ends| without_acks(relay, peers, ends, 1));
        assert_eq!((tally.begun, tally.completed, tally.faults_total()), (40, 40, 0), "{tally}");
        assert!(tally.sent_again >= 40, "each 200 was sent again: {tally}");
    }

    /// Every call has ended at its caller, and no callee has seen an ACK.
    #[test]
    fn a_call_whose_ack_never_comes_is_left_over() {
        let more = ["--rate", "40", "--seconds", "1", "--settle-seconds", "2"];
        let tally = through("bare", &more, 1, |relay, peers, ends| without_acks(relay, peers, ends, usize::MAX));
        assert_eq!((tally.completed, tally.faults_total()), (40, 40), "{tally}");
        assert!(tally.to_string().contains("fault_left_over 40\n"), "{tally}");
    }

    /// A second 200, to an INVITE or to a BYE, is nothing that is wrong.
    #[test]
    fn what_comes_twice_is_no_fault() {
        let tally = through("bare", &["--rate", "60", "--seconds", "1", "--talk-ms", "5"], 1, twice);
        assert_eq!((tally.completed, tally.rang, tally.faults_total()), (60, 60, 0), "{tally}");
        assert!(tally.came_again + tally.late >= 240, "{tally}");
    }

    #[test]
    fn a_bye_that_is_being_seen_to_is_no_fault() {
        let tally = through("bare", &["--rate", "60", "--seconds", "1", "--talk-ms", "5"], 1, trying);
        assert_eq!((tally.completed, tally.faults_total()), (60, 0), "{tally}");
    }

    /// By the clock, joined and one by one: the generator with nothing between its ends.
    #[test]
    fn calls_from_end_to_end_complete_at_a_high_rate() {
        for more in [&["--rate", "6000", "--seconds", "1"][..], &["--rate", "6000", "--seconds", "1", "--singly"]] {
            let tally = through_relay("mirror", more);
            assert_eq!((tally.begun, tally.completed, tally.faults_total()), (6_000, 6_000, 0), "{tally}");
            assert!(tally.messages >= 7 * 6_000, "{tally}");
        }
    }

    /// What comes of a run's calls when the next has begun is late, and completes none of the next one's.
    #[test]
    fn calls_of_the_run_before_are_none_of_this_one() {
        // In the time to settle the second run hears of its own last calls, which leave the relay behind those of the first.
        let more = ["--rate", "50", "--seconds", "1", "--settle-seconds", "1"];
        let tally = through("bare", &more, 2, |relay, peers, ends| late(relay, peers, ends, 50));
        assert!(tally.begun == 50 && tally.completed <= 50 && tally.late >= 50, "{tally}");
    }

    #[test]
    fn a_proxy_that_does_not_do_its_work_is_seen() {
        let tally = through_relay("inbound", &["--rate", "30", "--seconds", "1", "--settle-seconds", "1"]);
        assert_eq!(tally.completed, 0, "{tally}");
        assert!(tally.faults_total() >= 30, "{tally}");
    }
}
