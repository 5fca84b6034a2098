//! Waiting on several sockets at once, with no task and no allocation for each wait.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use tokio::io::Ready;

/// The sockets, each with the wait that is under way.
pub(super) struct Readiness<S, F> {
    sockets: Vec<Rc<S>>,
    wait: fn(Rc<S>) -> F,
    waits: Vec<Pin<Box<F>>>,
    /// Where the next look begins, so that a busy socket does not starve those behind it.
    first: usize,
}

impl<S, F: Future<Output = io::Result<Ready>>> Readiness<S, F> {
    pub(super) fn new(sockets: Vec<Rc<S>>, wait: fn(Rc<S>) -> F) -> Readiness<S, F> {
        let waits = sockets.iter().map(|socket| Box::pin(wait(Rc::clone(socket)))).collect();
        Readiness { sockets, wait, waits, first: 0 }
    }

    /// The position of a socket that is ready, and for what. May be dropped and asked again at any time.
    pub(super) async fn next(&mut self) -> (usize, Ready) {
        poll_fn(|context| self.poll_next(context)).await
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<(usize, Ready)> {
        let count = self.waits.len();
        for position in (self.first..count).chain(0..self.first.min(count)) {
            let (Some(pending), Some(socket)) = (self.waits.get_mut(position), self.sockets.get(position)) else {
                continue;
            };
            if let Poll::Ready(ready) = pending.as_mut().poll(context) {
                pending.set((self.wait)(Rc::clone(socket)));
                self.first = position + 1;
                // The wait itself fails only when the runtime goes: then nothing is ready any more.
                return ready.map_or(Poll::Pending, |ready| Poll::Ready((position, ready)));
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    struct Fake {
        ready: Cell<u32>,
    }

    async fn wait(fake: Rc<Fake>) -> io::Result<Ready> {
        poll_fn(|_| match fake.ready.get() {
            0 => Poll::Pending,
            left => {
                fake.ready.set(left - 1);
                Poll::Ready(Ok(Ready::READABLE))
            }
        })
        .await
    }

    #[test]
    fn a_busy_socket_does_not_starve_the_others() {
        let sockets: Vec<Rc<Fake>> = [3, 1, 0, 2].iter().map(|n| Rc::new(Fake { ready: Cell::new(*n) })).collect();
        let mut readiness = Readiness::new(sockets, wait);
        let mut context = Context::from_waker(std::task::Waker::noop());
        let mut order = Vec::new();
        while let Poll::Ready((position, _)) = readiness.poll_next(&mut context) {
            order.push(position);
        }
        assert_eq!(order, [0, 1, 3, 0, 3, 0]);
    }
}
