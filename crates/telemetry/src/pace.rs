//! Queues that are looked at instead of waited for: while there is something to do, who puts something in wakes nobody.

use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

/// So long after the last thing it is looked for; then it is waited for, and the first one costs its sender a wake-up.
const AWAKE_FOR: Duration = Duration::from_secs(1);

/// A receiver with its pace.
#[derive(Debug)]
pub struct Paced<'q, T> {
    queue: &'q Receiver<T>,
    every: Duration,
    last: Option<Instant>,
}

impl<'q, T> Paced<'q, T> {
    /// Looks into `queue` so often.
    pub const fn new(queue: &'q Receiver<T>, every: Duration) -> Paced<'q, T> {
        Paced { queue, every, last: None }
    }

    /// The next thing, whenever it comes; `None` when nothing can come any more. It may be as late as the pace says: who
    /// takes it takes what else is there at the same time.
    pub fn take(&mut self) -> Option<T> {
        loop {
            match self.queue.try_recv() {
                Ok(next) => return self.took(next),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) if self.last.is_some_and(|last| last.elapsed() < AWAKE_FOR) => {
                    std::thread::sleep(self.every);
                }
                Err(TryRecvError::Empty) => {
                    let next = self.queue.recv().ok()?;
                    return self.took(next);
                }
            }
        }
    }

    fn took(&mut self, next: T) -> Option<T> {
        self.last = Some(Instant::now());
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::sync_channel;

    /// Everything comes out in order, at its pace and after a pause, and the end is seen.
    #[test]
    fn nothing_is_missed_and_the_end_is_seen() {
        let (sender, queue) = sync_channel(1_000);
        let thread = std::thread::spawn(move || {
            for number in 0..300 {
                sender.send(number).unwrap();
                if number % 100 == 0 {
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
            std::thread::sleep(AWAKE_FOR + Duration::from_millis(200));
            sender.send(300).unwrap();
        });
        let mut paced = Paced::new(&queue, Duration::from_millis(1));
        let mut got = Vec::new();
        while let Some(number) = paced.take() {
            got.push(number);
        }
        assert_eq!(got, (0..=300).collect::<Vec<_>>());
        thread.join().unwrap();
    }
}
