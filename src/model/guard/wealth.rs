//! The wealth of a sequential test.
//!
//! If candidate and baseline are equally good, then, given that something bad happened, it fell on the
//! candidate with probability `s`, its part of what was being served. A candidate `r` times as bad gets
//! `q = s·r / (s·r + 1 − s)` of it. The wealth is the likelihood ratio of the two, averaged over a grid of
//! `r`: under "no worse" a nonnegative supermartingale that begins at 1 or less, so that by Ville's
//! inequality the chance that it ever reaches `1/α` is at most `α`, whenever and however often one looks
//! (the conditional count test of Lindon and Malek, arXiv 2011.03567).
//!
//! A long good history would push the wealth so far down that a regression which begins late took as
//! long to be found. So it is averaged over beginnings too: half of it is staked at the start, and at
//! minute `k` a further `1/(2·k·(k+1))` begins with what happens from then on. The stakes sum to 1, so
//! the bound holds for the whole shift (a mixture of e-processes over change points; Shin, Ramdas and
//! Rinaldo, "E-detectors", arXiv 2203.03532).

use serde::{Deserialize, Serialize};

/// How much worse a candidate's failures are thought to be.
pub const FAILURES: &[f64] = &[1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0, 400.0];
/// Answers beyond the median: at most twice as many.
pub const BEYOND_P50: &[f64] = &[1.1, 1.2, 1.35, 1.5, 1.75, 2.0];
/// Answers beyond the 95th percentile: at most twenty times as many.
pub const BEYOND_P95: &[f64] = &[1.3, 1.6, 2.0, 3.0, 5.0, 10.0, 20.0];
/// Answers beyond the 99th percentile.
pub const BEYOND_P99: &[f64] = &[1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0];

/// The largest part of bad answers that the one-sample form thinks of.
const MOST: f64 = 0.95;

/// The wealth of one test, as logarithms by the grid's rates.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(try_from = "Kept", into = "Kept")]
pub struct Wealth {
    rates: &'static [f64],
    ln: Vec<f64>,
    /// Beginnings so far.
    begun: f64,
}

/// A wealth as it is handed from process to process. Logarithms may be infinite, so they go by their
/// bits.
#[derive(Deserialize, Serialize)]
struct Kept {
    rates: Vec<f64>,
    ln: Vec<u64>,
    begun: f64,
}

impl From<Wealth> for Kept {
    fn from(wealth: Wealth) -> Self {
        let ln = wealth.ln.iter().map(|ln| ln.to_bits()).collect();
        Self { rates: wealth.rates.to_vec(), ln, begun: wealth.begun }
    }
}

impl TryFrom<Kept> for Wealth {
    type Error = &'static str;

    fn try_from(kept: Kept) -> Result<Self, Self::Error> {
        let mut grids = [FAILURES, BEYOND_P50, BEYOND_P95, BEYOND_P99].into_iter();
        let rates = grids.find(|grid| *grid == kept.rates.as_slice());
        let rates = rates.filter(|rates| rates.len() == kept.ln.len());
        let ln = kept.ln.into_iter().map(f64::from_bits).collect();
        Ok(Self { rates: rates.ok_or("a test over other rates")?, ln, begun: kept.begun })
    }
}

impl Wealth {
    /// A test that has seen nothing.
    pub fn new(rates: &'static [f64]) -> Self {
        let stake = (0.5 / rates.len() as f64).ln();
        Self { rates, ln: vec![stake; rates.len()], begun: 0.0 }
    }

    /// A further part of the stake begins now. Called once a minute.
    pub fn begin(&mut self) {
        self.begun += 1.0;
        let stake = 0.5 / (self.begun * (self.begun + 1.0) * self.rates.len() as f64);
        for ln in &mut self.ln {
            *ln = ln_sum([*ln, stake.ln()]);
        }
    }

    /// Something bad fell on the candidate, or on the baseline, where the candidate had the part `s`.
    pub fn attribute(&mut self, s: f64, to_candidate: bool) {
        for (ln, r) in self.ln.iter_mut().zip(self.rates) {
            let all = s * r + 1.0 - s;
            *ln += if to_candidate { (r / all).ln() } else { -all.ln() };
        }
    }

    /// The one-sample form: an answer of the candidate was bad or not, where a part `p` of them may be.
    pub fn answer(&mut self, p: f64, bad: bool) {
        for (ln, r) in self.ln.iter_mut().zip(self.rates) {
            let worse = (p * r).min(MOST).max(p);
            *ln += if bad { (worse / p).ln() } else { ((1.0 - worse) / (1.0 - p)).ln() };
        }
    }

    /// The natural logarithm of the wealth.
    pub fn ln(&self) -> f64 {
        ln_sum(self.ln.iter().copied())
    }
}

/// The logarithm of a sum of numbers that are given by their logarithms.
fn ln_sum(lns: impl IntoIterator<Item = f64> + Clone) -> f64 {
    let most = lns.clone().into_iter().fold(f64::NEG_INFINITY, f64::max);
    most + lns.into_iter().map(|ln| (ln - most).exp()).sum::<f64>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Draw;

    /// A number from 0 to 1.
    fn uniform(draw: &mut Draw) -> f64 {
        *draw = draw.another();
        (draw.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    #[test]
    fn under_no_difference_its_mean_never_grows() {
        let (mut draw, s) = (Draw(1), 0.2);
        let mut sum = 0.0;
        const RUNS: u32 = 4_000;
        for _ in 0..RUNS {
            let mut wealth = Wealth::new(FAILURES);
            for n in 0..20 {
                wealth.attribute(s, uniform(&mut draw) < s);
                if n % 5 == 4 {
                    wealth.begin();
                }
            }
            sum += wealth.ln().exp();
        }
        let mean = sum / f64::from(RUNS);
        assert!((0.7..1.1).contains(&mean), "{mean}");
    }

    #[test]
    fn it_seldom_accuses_the_innocent_and_always_the_guilty() {
        let (mut draw, s, needed) = (Draw(2), 0.05, 100f64.ln());
        let mut ever = |r: f64| {
            let q = s * r / (s * r + 1.0 - s);
            let mut wealth = Wealth::new(FAILURES);
            (0..400).any(|_| {
                wealth.attribute(s, uniform(&mut draw) < q);
                wealth.ln() >= needed
            })
        };
        let innocent = (0..2_000).filter(|_| ever(1.0)).count();
        assert!(innocent <= 20, "{innocent} of 2000 at alpha 1 %");
        assert_eq!((0..200).filter(|_| ever(10.0)).count(), 200);
    }

    #[test]
    fn what_begins_late_is_still_found() {
        let mut wealth = Wealth::new(FAILURES);
        for minute in 0..1_440 {
            (0..40).for_each(|_| wealth.attribute(0.05, false));
            (minute % 20 == 0).then(|| wealth.attribute(0.05, true));
            wealth.begin();
        }
        let needed = 1e4f64.ln();
        assert!(wealth.ln() < needed);
        let bad = (1..).find(|_| {
            wealth.attribute(0.05, true);
            wealth.ln() >= needed
        });
        assert!(bad.unwrap() <= 12, "{bad:?}");
    }

    #[test]
    fn the_one_sample_form_finds_what_is_worse_than_allowed() {
        let mut wealth = Wealth::new(FAILURES);
        (0..2_000).for_each(|n| wealth.answer(0.02, n % 100 == 0));
        assert!(wealth.ln() < 0.0);
        let mut wealth = Wealth::new(FAILURES);
        (0..10).for_each(|_| wealth.answer(0.02, true));
        assert!(wealth.ln() > 1e4f64.ln());
    }
}
