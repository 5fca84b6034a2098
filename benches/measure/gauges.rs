//! `/metrics` of ours: read for its gauges, and scraped as Prometheus would.

use crate::generator::figure;
use anyhow::{Context, Result};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Where ours answers in every configuration that has metrics.
pub(crate) const METRICS: &str = "127.0.202.1:9160";
/// As deploy/prometheus/scrape.yml has it.
const SCRAPED_EVERY: Duration = Duration::from_secs(5);
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// The whole page.
pub(crate) fn page() -> Result<String> {
    let address = METRICS.parse().context("no address")?;
    let mut stream = TcpStream::connect_timeout(&address, ANSWERS_WITHIN).context("/metrics cannot be reached")?;
    stream.set_read_timeout(Some(ANSWERS_WITHIN))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: switchyard\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text).context("/metrics does not end")?;
    Ok(text)
}

/// One gauge without labels.
pub(crate) fn gauge(name: &str) -> Result<f64> {
    figure(&page()?, name)
}

/// Reads the page again and again until it is dropped.
pub(crate) struct Scraper {
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Scraper {
    pub(crate) fn start() -> Scraper {
        let end = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&end);
        let thread = thread::spawn(move || {
            let mut next = Instant::now() + SCRAPED_EVERY;
            while !ends.load(Ordering::Relaxed) {
                if Instant::now() >= next {
                    // A program that is being started or ended does not answer.
                    let _unread = page();
                    next += SCRAPED_EVERY;
                }
                thread::sleep(Duration::from_millis(50));
            }
        });
        Scraper { end, thread: Some(thread) }
    }
}

impl Drop for Scraper {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}
