//! Where lines go: a bounded queue, and behind it stderr, with a count of what lies between.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Lines that were left for the queue, and those that have come out of it. Clones count the same lines.
#[derive(Clone, Debug, Default)]
pub(super) struct Flow {
    left: Arc<AtomicUsize>,
    written: Arc<AtomicUsize>,
}

impl Flow {
    /// A line is left for the queue, which may be full.
    pub(super) fn leave(&self) {
        self.left.fetch_add(1, Ordering::Relaxed);
    }

    /// Lines that wait, when so many found the queue full.
    pub(super) fn waiting(&self, lost: usize) -> usize {
        let written = self.written.load(Ordering::Relaxed);
        self.left.load(Ordering::Relaxed).saturating_sub(written.saturating_add(lost))
    }

    /// The sink behind the queue: each call of `write_all` is a line.
    pub(super) fn into_sink(self, sink: Box<dyn Write + Send>) -> Sink {
        Sink { sink, flow: self }
    }
}

/// Stderr, with its count.
pub(super) struct Sink {
    sink: Box<dyn Write + Send>,
    flow: Flow,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.sink.write(bytes)
    }

    /// A line that cannot be written waits no longer either.
    fn write_all(&mut self, line: &[u8]) -> io::Result<()> {
        let written = self.sink.write_all(line);
        self.flow.written.fetch_add(1, Ordering::Relaxed);
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_between_is_what_was_left_and_neither_written_nor_lost() {
        let flow = Flow::default();
        let mut sink = flow.clone().into_sink(Box::new(io::sink()));
        (0..5).for_each(|_| flow.leave());
        assert_eq!((flow.waiting(0), flow.waiting(2)), (5, 3));
        sink.write_all(b"a line\n").unwrap();
        assert_eq!((flow.waiting(2), flow.waiting(9)), (2, 0));
    }
}
