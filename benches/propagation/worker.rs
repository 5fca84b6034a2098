//! A worker as the program has it: it takes the directory by its own reader, and looks numbers up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use benches::{Chance, Figure};
use directory::{Did, Directory};
use rustix::time::{ClockId, clock_gettime};
use sip::Number;
use sync::{Published, Reader};

use crate::place::digits;

/// Time between two looks of a worker; a figure is that much too great at most, and half of it in the middle.
const LOOKS_APART: Duration = Duration::from_micros(100);
/// How long a change is waited for before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// The number of the DID at a place of the table.
pub(crate) fn number(at: u64) -> Number {
    Number::from_digits(digits(at)).unwrap()
}

/// Waits until a DID is as wanted for the next call, and says when; `None` when it never was.
pub(crate) fn until(reader: &mut Reader, at: u64, is_wanted: impl Fn(&Did<'_>) -> bool) -> Option<Instant> {
    let begun = Instant::now();
    loop {
        let is_there = reader.latest().did(number(at)).is_some_and(|did| is_wanted(&did));
        let now = Instant::now();
        if is_there {
            return Some(now);
        }
        if now - begun > PATIENCE {
            return None;
        }
        std::thread::sleep(LOOKS_APART);
    }
}

/// A thread that takes calls all the time: every 100 us a batch, for which it takes the directory and looks up 8
/// numbers.
pub(crate) struct Calls {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<[Vec<f64>; 2]>,
}

impl Calls {
    /// Begins.
    pub(crate) fn start(published: &Published, rows: u64) -> Calls {
        let is_over = Arc::new(AtomicBool::new(false));
        let (reader, over) = (published.reader(), Arc::clone(&is_over));
        Calls { is_over, thread: std::thread::spawn(move || take_calls(reader, rows, &over)) }
    }

    /// Ends, with the microseconds of a batch by the clock and by the processor's time of the thread alone.
    pub(crate) fn finish(self) -> [Figure; 2] {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap().map(Figure::of)
    }
}

fn take_calls(mut reader: Reader, rows: u64, is_over: &AtomicBool) -> [Vec<f64>; 2] {
    let mut chance = Chance::new(3);
    let (mut by_clock, mut by_processor) = (Vec::new(), Vec::new());
    while !is_over.load(Ordering::Relaxed) {
        let numbers: [Number; 8] = std::array::from_fn(|_| number(chance.below(rows)));
        let (begun, used) = (Instant::now(), processor_us());
        let directory: &Arc<Directory> = reader.latest();
        for number in numbers {
            std::hint::black_box(directory.route(number, None));
        }
        by_processor.push(processor_us() - used);
        by_clock.push(begun.elapsed().as_secs_f64() * 1e6);
        std::thread::sleep(LOOKS_APART);
    }
    [by_clock, by_processor]
}

fn processor_us() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
}
