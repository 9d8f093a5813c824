//! Stored evidence, judged again by other terms.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    sample::{Epoch, Fate, PoolTag, Sample},
    terms::Terms,
    verdict::{Second, Tally, Tape, Verdict},
    watch::Watch,
};
use crate::model::{
    split::Split,
    units::{Millis, Moment, PoolName, Share},
};

/// What other terms make of stored evidence.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Replay {
    /// The first no-go, or what was found at the end.
    pub verdict: Verdict,
    /// When.
    pub at: Moment,
}

/// Judges a tape by `terms`, second by second. `None` if it is empty.
///
/// A second's requests are told without their users: of failures those are told that counted then, and
/// the share is rounded to what it was in that second.
pub fn rejudge(tape: &Tape, terms: &Terms, pool: &PoolName) -> Option<Replay> {
    let mut watch = Watch::default();
    let mut share = None;
    let mut last = None;
    for second in &tape.seconds {
        if share != Some(second.share) {
            let (baseline, split) = division(pool, second.share)?;
            watch.divide(second.at, &baseline, &split);
            share = Some(second.share);
        }
        let end = second.at.after(Millis(999));
        watch.take(end, &told(second, watch.epoch(), watch.find_tag(pool)?), terms);
        let verdict = watch.judge(end, pool, terms, 1, &[]).map(|finding| finding.verdict);
        if let Some(verdict) = verdict {
            let is_over = matches!(verdict, Verdict::NoGo(_));
            last = Some(Replay { verdict, at: end });
            if is_over {
                break;
            }
        }
    }
    last
}

fn division(pool: &PoolName, share: Share) -> Option<(PoolName, Split)> {
    let name = if pool.as_str() == "baseline" { "other" } else { "baseline" };
    let baseline: PoolName = name.parse().ok()?;
    let split = vec![(baseline.clone(), share.rest()), (pool.clone(), share)];
    Some((baseline, split.try_into().ok()?))
}

fn told(second: &Second, epoch: Epoch, candidate: PoolTag) -> Vec<Sample> {
    // The only other pool of the replayed division.
    let baseline = PoolTag(1 - candidate.0.min(1));
    let mut samples = Vec::new();
    for (pool, tally) in [(baseline, &second.baseline), (candidate, &second.candidate)] {
        let sample = |fate, latency| Sample { pool, epoch, user: None, fate, latency };
        let mut of_pool = Vec::new();
        for (latency, n) in &tally.latencies {
            (0..*n).for_each(|_| of_pool.push(sample(Fate::Good, *latency)));
        }
        (0..failures(tally)).for_each(|_| of_pool.push(sample(Fate::Failed, 0)));
        // Both pools are told evenly over the second.
        let all = of_pool.len().max(1) as f64;
        samples.extend(of_pool.into_iter().enumerate().map(|(n, s)| (n as f64 / all, s)));
    }
    samples.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    samples.into_iter().map(|(_, sample)| sample).collect()
}

/// How many failures are told: those that counted, one for each user.
fn failures(tally: &Tally) -> u64 {
    tally.voices.min(tally.failed)
}
