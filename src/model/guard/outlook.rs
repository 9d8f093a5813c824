//! What a share can notice, and how soon, ahead of time.

use super::{
    judge::{ALONE, doubt},
    terms::Terms,
    wealth::{BEYOND_P50, BEYOND_P95, BEYOND_P99, FAILURES},
};

/// About how many of the candidate's requests it takes to notice that a part `candidate` of them fails
/// where `baseline` of the others do; `None` if that is within the tolerance.
///
/// The wealth grows by the same amount with every request on average (its drift), at the best rate of
/// the grid; the rest is Wald's approximation.
pub fn requests_to_notice(
    terms: &Terms,
    among: usize,
    share: f64,
    baseline: f64,
    candidate: f64,
) -> Option<u64> {
    if candidate <= baseline + terms.tolerance.errors.ratio() {
        return None;
    }
    if share > ALONE {
        let allowed = (baseline + 2.0 * terms.tolerance.errors.ratio()).min(0.9);
        return alone(FAILURES, terms.alpha * 0.1 / among as f64, allowed, candidate);
    }
    requests(FAILURES, terms.alpha * 0.4 / among as f64, share, baseline, candidate)
}

/// The same for a part of the candidate's answers that lies beyond the baseline's percentile `n` (0: the
/// median, 1: the 95th, 2: the 99th), with the tolerance.
pub fn requests_to_notice_slow(
    terms: &Terms,
    among: usize,
    share: f64,
    n: usize,
    candidate: f64,
) -> Option<u64> {
    let (grid, baseline) = match n {
        0 => (BEYOND_P50, 0.5),
        1 => (BEYOND_P95, 0.05),
        _ => (BEYOND_P99, 0.01),
    };
    if candidate <= baseline {
        return None;
    }
    if share > ALONE {
        return alone(grid, terms.alpha * 0.2 / 6.0 / among as f64, baseline, candidate);
    }
    requests(grid, terms.alpha * 0.8 / 6.0 / among as f64, share, baseline, candidate)
}

/// About how many good requests it takes until the verdict can be go, where `baseline` of them fail.
pub fn requests_to_go(terms: &Terms, baseline: f64) -> u64 {
    let most = baseline + terms.tolerance.errors.ratio();
    let start = u64::from(terms.min_requests);
    let bad = (baseline * start as f64).round() as u64;
    start + doubt(bad, start, most).unwrap_or_default()
}

/// Against a profile, where a part `allowed` may be bad.
fn alone(grid: &[f64], alpha: f64, allowed: f64, candidate: f64) -> Option<u64> {
    let drift = |r: &f64| {
        let worse = (allowed * r).min(0.95).max(allowed);
        candidate * (worse / allowed).ln()
            + (1.0 - candidate) * ((1.0 - worse) / (1.0 - allowed)).ln()
    };
    let best = grid.iter().map(drift).fold(0.0, f64::max);
    let needed = (1.0 / alpha).ln() + (2.0 * grid.len() as f64).ln();
    (best > 0.0).then(|| (needed / best).ceil() as u64)
}

fn requests(grid: &[f64], alpha: f64, s: f64, baseline: f64, candidate: f64) -> Option<u64> {
    let drift = |r: &f64| {
        let all = (s * r + 1.0 - s).ln();
        candidate * (r.ln() - all) - baseline * (1.0 - s) / s * all
    };
    let best = grid.iter().map(drift).fold(0.0, f64::max);
    // Half of the stake is there from the start, divided among the grid's rates.
    let needed = (1.0 / alpha).ln() + (2.0 * grid.len() as f64).ln();
    (best > 0.0).then(|| (needed / best).ceil() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_agrees_with_the_simulated_table() {
        let terms = Terms::default();
        for (share, candidate, median) in [
            (0.05, 1.0, 4),
            (0.05, 0.5, 8),
            (0.05, 0.2, 24),
            (0.05, 0.05, 170),
            (0.05, 0.02, 858),
            (0.25, 0.2, 42),
            (0.5, 0.05, 443),
        ] {
            let n = requests_to_notice(&terms, 1, share, 0.005, candidate).unwrap();
            let ratio = n as f64 / f64::from(median);
            assert!((0.6..1.6).contains(&ratio), "{share} {candidate}: {n} for {median}");
        }
        assert_eq!(requests_to_notice(&terms, 1, 0.05, 0.005, 0.009), None);
    }

    #[test]
    fn slowness_and_health_take_their_time_too() {
        let terms = Terms::default();
        let slow = |candidate| requests_to_notice_slow(&terms, 1, 0.05, 1, candidate).unwrap();
        assert!(slow(0.9) < 25 && slow(0.3) < 90 && slow(0.1) < 1_200);
        assert_eq!(requests_to_notice_slow(&terms, 1, 0.05, 1, 0.05), None);
        let go = requests_to_go(&terms, 0.0);
        assert!((800..1_100).contains(&go), "{go}");
    }
}
