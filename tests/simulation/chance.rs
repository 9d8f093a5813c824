//! Seeded chance: gaps between arrivals, popularity, response times.

use std::sync::{Arc, OnceLock};

use fastrand::Rng;

/// Microseconds until the next arrival of a Poisson process with `rate` arrivals a second.
pub fn gap_micros(rng: &mut Rng, rate: f64) -> f64 {
    exponential(rng) * 1e6 / rate
}

/// An exponential draw with mean 1.
pub fn exponential(rng: &mut Rng) -> f64 {
    -(1.0 - rng.f64()).ln()
}

/// A standard normal draw (Box and Muller).
pub fn normal(rng: &mut Rng) -> f64 {
    let radius = (2.0 * exponential(rng)).sqrt();
    radius * (std::f64::consts::TAU * rng.f64()).cos()
}

/// A number between `low` and `high`, each order of magnitude equally likely.
pub fn log_uniform(rng: &mut Rng, low: f64, high: f64) -> f64 {
    low * (high / low).powf(rng.f64())
}

/// One of `choices`.
pub fn one_of<T: Clone>(rng: &mut Rng, choices: &[T]) -> T {
    choices[rng.usize(..choices.len())].clone()
}

/// A choice among weighted things, in constant time (Walker's alias method).
#[derive(Clone, Debug)]
pub struct Choice {
    keep: Vec<f32>,
    other: Vec<u32>,
}

impl Choice {
    /// A choice in which each thing has its weight.
    pub fn among(weights: &[f64]) -> Self {
        let scale = weights.len() as f64 / weights.iter().sum::<f64>();
        let mut keep: Vec<f64> = weights.iter().map(|w| w * scale).collect();
        let mut other: Vec<u32> = (0..weights.len() as u32).collect();
        let (mut poor, mut rich): (Vec<usize>, Vec<usize>) =
            (0..keep.len()).partition(|n| keep[*n] < 1.0);
        while let (Some(low), Some(high)) = (poor.pop(), rich.last().copied()) {
            other[low] = high as u32;
            keep[high] -= 1.0 - keep[low];
            if keep[high] < 1.0 {
                rich.pop();
                poor.push(high);
            }
        }
        Self { keep: keep.into_iter().map(|k| k as f32).collect(), other }
    }

    /// The index of the thing drawn.
    pub fn draw(&self, rng: &mut Rng) -> usize {
        let at = rng.usize(..self.keep.len());
        if rng.f32() < self.keep[at] { at } else { self.other[at] as usize }
    }
}

/// How long answers take: a mixture of a log-normal body (97 %, median 40 ms) and a Pareto tail (3 %,
/// from 120 ms on, index 1.6). It is kept as 32,768 equally likely values, so that a draw is one
/// look-up: the values are the distribution, there is no other behind them.
#[derive(Clone, Debug)]
pub struct Times {
    micros: Arc<[f32]>,
}

/// One response time.
#[derive(Clone, Copy, Debug)]
pub struct Time {
    /// In microseconds.
    pub micros: f64,
    /// Whether it is one of the slowest 2 %.
    pub slowest: bool,
}

impl Times {
    const VALUES: usize = 1 << 15;

    /// Those of an ordinary web application: p50 41 ms, p95 121 ms, p99 242 ms or so.
    pub fn ordinary() -> Self {
        static ORDINARY: OnceLock<Arc<[f32]>> = OnceLock::new();
        Self { micros: ORDINARY.get_or_init(ordinary).clone() }
    }

    /// The time of one answer.
    pub fn draw(&self, rng: &mut Rng) -> Time {
        let at = (rng.u32(..) >> (u32::BITS - Self::VALUES.ilog2())) as usize;
        Time { micros: f64::from(self.micros[at]), slowest: at >= Self::VALUES * 98 / 100 }
    }
}

fn ordinary() -> Arc<[f32]> {
    let mut rng = Rng::with_seed(1);
    let mut draw = |n: usize| {
        if n % 100 < 97 {
            40_000.0 * (0.6 * normal(&mut rng)).exp()
        } else {
            120_000.0 * (1.0 - rng.f64()).powf(-1.0 / 1.6)
        }
    };
    let mut micros: Vec<f32> = (0..Times::VALUES).map(|n| draw(n) as f32).collect();
    micros.sort_by(f32::total_cmp);
    micros.into()
}

#[test]
fn things_are_chosen_by_their_weights() {
    let (mut rng, choice) = (Rng::with_seed(1), Choice::among(&[1.0, 2.0, 5.0]));
    let mut counts = [0; 3];
    (0..80_000).for_each(|_| counts[choice.draw(&mut rng)] += 1);
    let expected = [10_000, 20_000, 50_000];
    assert!(counts.iter().zip(expected).all(|(n, e): (&i32, _)| (n - e).abs() < 600), "{counts:?}");
}

#[test]
fn ordinary_times_are_as_documented() {
    let times = Times::ordinary();
    let quantile = |q: f64| times.micros[(q * Times::VALUES as f64) as usize] / 1000.0;
    assert!((40.0..42.0).contains(&quantile(0.5)), "{}", quantile(0.5));
    assert!((115.0..140.0).contains(&quantile(0.95)), "{}", quantile(0.95));
    assert!((200.0..300.0).contains(&quantile(0.99)), "{}", quantile(0.99));
}
