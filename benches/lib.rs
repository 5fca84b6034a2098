//! What benches share: numbers by chance that are the same in every run, figures as min, median and max, the bare relay,
//! and the numbers that calls are made to.

pub mod bare;
pub mod dids;

use std::fmt;

/// Numbers by chance, the same ones in every run.
pub struct Chance(u64);

impl Chance {
    /// Chance from a seed.
    pub const fn new(seed: u64) -> Chance {
        Chance(seed | 1)
    }

    /// Any number.
    pub const fn next(&mut self) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number from 0 up to `end`, without it.
    pub const fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// A figure from several repeats. Displays as `median (min to max)`, each with two decimals.
#[derive(Clone, Debug)]
pub struct Figure {
    sorted: Vec<f64>,
}

impl Figure {
    /// The figure of these samples.
    pub fn of(samples: impl IntoIterator<Item = f64>) -> Figure {
        let mut sorted: Vec<f64> = samples.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        Figure { sorted }
    }

    /// The sample that `percent` of the samples do not exceed; 0 without samples.
    pub fn percentile(&self, percent: usize) -> f64 {
        let place = (self.sorted.len() * percent / 100).min(self.sorted.len().saturating_sub(1));
        self.sorted.get(place).copied().unwrap_or_default()
    }

    /// The middle sample.
    pub fn median(&self) -> f64 {
        self.percentile(50)
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} ({:.2} to {:.2})", self.median(), self.percentile(0), self.percentile(100))
    }
}
