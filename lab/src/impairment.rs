//! What a path does to datagrams.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// What happens to the datagrams of one direction. All shares are in percent, each datagram is rolled for by itself.
///
/// As text: `loss=10 duplicate=5 reorder=2 delay=20ms jitter=5ms rate=125000 mtu=1400 up=5s down=1s outage=10s`, any of them, in
/// any order; or `clean`, or `cut`.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Impairment {
    /// Share of datagrams that are lost.
    pub loss_percent: f64,
    /// Share of datagrams that arrive twice.
    pub duplicate_percent: f64,
    /// Share of datagrams that are held back by [`crate::REORDER_HOLD`], so that later ones overtake them.
    pub reorder_percent: f64,
    /// Time on the way.
    pub delay: Duration,
    /// Added to it: anything up to this, even. Datagrams overtake each other.
    pub jitter: Duration,
    /// Bytes per second that the path carries; 0 is no bound.
    pub rate_bytes_per_s: u64,
    /// Largest IP packet, 28 bytes of headers counted in; larger ones vanish without a word. 0 is no bound.
    pub mtu_bytes: usize,
    /// The path flaps: it carries for this long, and then for `down` nothing at all. Zero `down` is no flapping.
    pub up: Duration,
    /// See `up`. With a zero `up` the path is cut.
    pub down: Duration,
    /// For this long from now on nothing arrives, once; then all the above.
    pub outage: Duration,
}

impl Impairment {
    /// Everything arrives at once.
    pub const CLEAN: Impairment = Impairment {
        loss_percent: 0.0,
        duplicate_percent: 0.0,
        reorder_percent: 0.0,
        delay: Duration::ZERO,
        jitter: Duration::ZERO,
        rate_bytes_per_s: 0,
        mtu_bytes: 0,
        up: Duration::ZERO,
        down: Duration::ZERO,
        outage: Duration::ZERO,
    };
    /// Nothing arrives.
    pub const CUT: Impairment = Impairment { down: Duration::from_secs(1), ..Impairment::CLEAN };
}

impl FromStr for Impairment {
    type Err = String;

    fn from_str(text: &str) -> Result<Impairment, String> {
        let mut impairment = Impairment::CLEAN;
        for word in text.split_whitespace() {
            match word.split_once('=') {
                None if word == "clean" => impairment = Impairment::CLEAN,
                None if word == "cut" => impairment = Impairment::CUT,
                Some((key, value)) => impairment.set(key, value)?,
                None => return Err(format!("found {word:?}, expected clean, cut or KEY=VALUE")),
            }
        }
        Ok(impairment)
    }
}

impl Impairment {
    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "loss" => self.loss_percent = percent(value)?,
            "duplicate" => self.duplicate_percent = percent(value)?,
            "reorder" => self.reorder_percent = percent(value)?,
            "delay" => self.delay = duration(value)?,
            "jitter" => self.jitter = duration(value)?,
            "rate" => self.rate_bytes_per_s = value.parse().map_err(|_| format!("rate: {value:?} is no number"))?,
            "mtu" => self.mtu_bytes = value.parse().map_err(|_| format!("mtu: {value:?} is no number"))?,
            "up" => self.up = duration(value)?,
            "down" => self.down = duration(value)?,
            "outage" => self.outage = duration(value)?,
            _ => {
                let keys = "loss, duplicate, reorder, delay, jitter, rate, mtu, up, down, outage";
                return Err(format!("found {key:?}, expected one of {keys}"));
            }
        }
        Ok(())
    }
}

fn percent(value: &str) -> Result<f64, String> {
    let number = value.trim_end_matches('%').parse::<f64>().ok().filter(|share| (0.0..=100.0).contains(share));
    number.ok_or_else(|| format!("found {value:?}, expected percent from 0 to 100"))
}

fn duration(value: &str) -> Result<Duration, String> {
    let fault = || format!("found {value:?}, expected a whole number of ms or s");
    let (digits, unit_ms) = match value.strip_suffix("ms") {
        Some(digits) => (digits, 1),
        None => (value.strip_suffix('s').ok_or_else(fault)?, 1_000),
    };
    let count: u64 = digits.parse().map_err(|_| fault())?;
    count.checked_mul(unit_ms).map(Duration::from_millis).ok_or_else(fault)
}

impl fmt::Display for Impairment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Impairment { loss_percent, duplicate_percent, reorder_percent, rate_bytes_per_s, mtu_bytes, .. } = self;
        write!(f, "loss={loss_percent} duplicate={duplicate_percent} reorder={reorder_percent}")?;
        write!(f, " delay={}ms jitter={}ms", self.delay.as_millis(), self.jitter.as_millis())?;
        write!(f, " rate={rate_bytes_per_s} mtu={mtu_bytes}")?;
        write!(f, " up={}ms down={}ms", self.up.as_millis(), self.down.as_millis())?;
        write!(f, " outage={}ms", self.outage.as_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let text = "loss=10 duplicate=5 reorder=2.5 delay=20ms jitter=5ms rate=125000 mtu=1400 up=5000ms down=1000ms \
                    outage=10000ms";
        let impairment: Impairment = text.parse().unwrap();
        assert_eq!(impairment.to_string(), text);
        assert_eq!("down=1s up=5s loss=10%".parse::<Impairment>().unwrap().up, Duration::from_secs(5));
        assert_eq!("clean".parse(), Ok(Impairment::CLEAN));
        assert_eq!("cut".parse(), Ok(Impairment::CUT));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for text in ["loss=101", "loss=-1", "loss=nan", "delay=5", "jitter=ms", "rate=fast", "los=1", "dirty"] {
            assert!(text.parse::<Impairment>().is_err(), "{text}");
        }
    }
}
