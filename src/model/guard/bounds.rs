//! Confidence bounds of a proportion.

use statrs::distribution::{Beta, ContinuousCDF};

/// The smallest part that is plausible where `some` of `all` were counted, at `confidence` (Clopper
/// and Pearson, Biometrika 26, 1934: exact for any sample). 0 where nothing was counted.
pub fn lower(some: u64, all: u64, confidence: f64) -> f64 {
    if some == 0 || all == 0 {
        return 0.0;
    }
    let (k, n) = (some.min(all) as f64, all as f64);
    Beta::new(k, n - k + 1.0).map_or(0.0, |beta| beta.inverse_cdf(1.0 - confidence))
}

/// The largest part that is plausible, likewise. 1 where nothing was counted.
pub fn upper(some: u64, all: u64, confidence: f64) -> f64 {
    if some >= all {
        return 1.0;
    }
    let (k, n) = (some as f64, all as f64);
    Beta::new(k + 1.0, n - k).map_or(1.0, |beta| beta.inverse_cdf(confidence))
}

/// A quick lower bound for an effect's size, not for a test: Wilson's at one-sided 95 %.
pub fn about_lower(some: u64, all: u64) -> f64 {
    const Z: f64 = 1.645;
    // What is left of rounding would be more than a limit of nothing.
    if some == 0 || all == 0 {
        return 0.0;
    }
    let (n, p) = (all as f64, some.min(all) as f64 / all as f64);
    let (middle, z) = (p + Z * Z / (2.0 * n), Z / n.sqrt());
    let spread = z * (p * (1.0 - p) + Z * Z / (4.0 * n)).sqrt();
    ((middle - spread) / (1.0 + Z * Z / n)).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_are_those_of_the_tables() {
        // Rule of three: none of 300 at 95 %.
        assert!((upper(0, 300, 0.95) - 0.009_936).abs() < 1e-5);
        assert!((lower(5, 50, 0.975) - 0.033_28).abs() < 1e-4);
        assert!((upper(5, 50, 0.975) - 0.218_13).abs() < 1e-4);
        assert!((about_lower(10, 100) - 0.060_6).abs() < 1e-3);
    }

    #[test]
    fn nothing_and_everything_have_bounds_too() {
        assert_eq!((lower(0, 0, 0.99), upper(0, 0, 0.99)), (0.0, 1.0));
        assert_eq!((lower(0, 9, 0.99), upper(9, 9, 0.99)), (0.0, 1.0));
        assert!(lower(9, 9, 0.99) > 0.5 && about_lower(4, 4) > 0.5);
        assert!((0..1_000).all(|n| about_lower(0, n) == 0.0));
    }
}
