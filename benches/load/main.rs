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

mod check;
mod plan;
mod read;
mod run;
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
use spent::Spent;
use std::process::ExitCode;

/// The search for the highest rate ends when its bounds are so close, in parts of a hundred.
const CLOSE_PERCENT: u64 = 4;
/// No proxy on one core comes here: where the search ends upward.
const RATE_MOST: u64 = 200_000;

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

/// Doubles the rate until it is not carried, then halves the distance. A rate counts as not carried when it fails twice.
fn find_highest(plan: &Plan) -> Result<bool> {
    let mut run = Run::new(plan.clone())?;
    let (mut carried, mut missed) = (0, None);
    let mut rate = plan.rate;
    let mut is_ours = false;
    loop {
        let mut is_carried = false;
        for _ in 0..2 {
            run.calls(rate, rate * plan.seconds);
            let tally = &run.tally;
            is_carried = tally.is_carried() && tally.kept_up();
            is_ours = !is_carried && !tally.kept_up();
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
            if is_carried {
                break;
            }
        }
        if is_carried {
            carried = rate;
        } else {
            missed = Some(rate);
        }
        rate = match missed {
            None => rate * 2,
            Some(missed) => (carried + missed) / 2,
        };
        let is_close = missed.is_some_and(|missed| (missed - carried) * 100 <= missed * CLOSE_PERCENT);
        if is_close || !(100..=RATE_MOST).contains(&rate) {
            break;
        }
    }
    println!("highest_rate {carried}");
    println!("highest_rate_is_the_generators {}", u8::from(is_ours));
    Ok(carried > 0)
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
    use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;
    use std::time::{Duration, Instant};

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

    /// A relay that keeps what comes in the first 1.5 s, delivers it then, and relays from there on.
    fn late(relay: &UdpSocket, [one, other]: [SocketAddrV4; 2], ends: &AtomicBool) {
        relay.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let (mut slot, mut kept, begun) = ([0; 4_096], Vec::new(), Instant::now());
        while begun.elapsed() < Duration::from_millis(1_500) {
            kept.extend(relay.recv_from(&mut slot).map(|(len, from)| (slot[..len].to_vec(), from)));
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

    /// What comes of a run's calls when the next has begun is late, and completes none of the next one's.
    #[test]
    fn calls_of_the_run_before_are_none_of_this_one() {
        let more = ["--rate", "50", "--seconds", "1", "--settle-seconds", "0"];
        let tally = through("bare", &more, 2, late);
        assert!(tally.begun == 50 && tally.completed <= 50 && tally.late >= 50, "{tally}");
    }

    #[test]
    fn a_proxy_that_does_not_do_its_work_is_seen() {
        let tally = through_relay("inbound", &["--rate", "30", "--seconds", "1", "--settle-seconds", "1"]);
        assert_eq!(tally.completed, 0, "{tally}");
        assert!(tally.faults_total() >= 30, "{tally}");
    }
}
