//! The judgement on a trial.

#![cfg_attr(not(test), expect(clippy::indexing_slicing, reason = "indexes of the same arrays"))]

use std::collections::BTreeSet;

use super::{
    bounds::{about_lower, lower, upper},
    recent::{Marks, QUANTILES},
    sample::Sample,
    seconds::Sum,
    terms::Terms,
    trial::{Count, MEASURES, Side, Trial, is_beyond},
    verdict::{Breach, Detector, Evidence, Lacking, Measure, Sums, Test, Verdict},
    words::{clock, ms, percent},
};
use crate::model::{
    histogram::{bucket_of, upper_bound},
    units::{Millis, Moment, PoolName, Share},
};

/// How the budget of false alarms is divided among the tests.
const BUDGET: [f64; 4] = [1.0 / 2.0, 1.0 / 6.0, 1.0 / 6.0, 1.0 / 6.0];
/// From this part on the baseline serves too little to be compared with.
pub const ALONE: f64 = 0.98;
/// So long after its last answer the baseline counts as silent.
pub const SILENT: Millis = Millis::from_secs(30);
/// A part of failures that is bad wherever no limit is set.
const BAD: f64 = 0.1;
/// So many different users must have failed, unless all answers did.
const USERS: u64 = 3;
/// Spans over which the size of an effect is looked at: it may have begun lately, or be small.
const SPANS: [Millis; 5] = [
    Millis::from_secs(1),
    Millis::from_secs(10),
    Millis::from_secs(60),
    Millis::from_secs(300),
    Millis::from_secs(900),
];
/// How sure it must be that a limit is exceeded.
const LIMIT_CONFIDENCE: f64 = 0.999;
/// How sure it must be that nothing is wrong.
const GO_CONFIDENCE: f64 = 0.99;
/// Below so many of its requests nothing is said of the baseline.
const FEW: u64 = 20;
/// How long what costs something to work out holds.
const WORK: Millis = Millis::from_secs(1);
/// Beyond this nobody waits.
const MOST_MORE: u64 = 10_000_000;

/// What is needed to judge.
#[derive(Clone, Copy, Debug)]
pub struct Question<'q> {
    /// The moment.
    pub now: Moment,
    /// The candidate.
    pub pool: &'q PoolName,
    /// What it is judged by.
    pub terms: &'q Terms,
    /// Services that share the budget.
    pub among: usize,
    /// The candidate's part of what it and the baseline serve now.
    pub share: f64,
    /// Where answers are slow, compared side by side.
    pub marks: Marks,
    /// Where they are slow compared with the profile.
    pub profile_marks: Marks,
    /// The part of failures that the profile allows.
    pub allowed: f64,
    /// Requests that wait, of this trial.
    pub waiting: &'q [(Side, Sample)],
}

impl Trial {
    /// The verdict on it.
    pub fn judge(&mut self, q: &Question<'_>) -> (Verdict, Evidence) {
        let verdict = self.verdict(q);
        let evidence = self.evidence(q);
        (verdict, evidence)
    }

    fn verdict(&mut self, q: &Question<'_>) -> Verdict {
        if let Some(breach) = self.accusation(q) {
            return Verdict::NoGo(breach);
        }
        if let Some((breach, is_baseline_too)) = self.limits(q) {
            return if is_baseline_too && self.is_concurrent(q) {
                Verdict::BothDegraded(breach)
            } else {
                Verdict::NoGo(breach)
            };
        }
        if let Some(breach) = self.both_degraded(q) {
            return Verdict::BothDegraded(breach);
        }
        self.is_good(q)
    }

    /// Whether the baseline serves enough beside it to be compared with.
    fn is_concurrent(&self, q: &Question<'_>) -> bool {
        // One that waits for its answers is no less there.
        let waits = || q.waiting.iter().any(|(side, _)| *side == Side::Baseline);
        q.share <= ALONE && (q.now.since(self.baseline_at) < SILENT || waits())
    }

    /// What a sequential test accuses it of.
    fn accusation(&self, q: &Question<'_>) -> Option<Breach> {
        let concurrent = self.is_concurrent(q);
        self.failures(q, concurrent).or_else(|| {
            let compared = q.terms.compare;
            (1..4).filter(|_| compared).find_map(|n| self.slowness(q, n, concurrent))
        })
    }

    /// The logarithm of the wealth at which a test accuses. Beside the baseline and against its profile
    /// are two tests of the same: a fifth of the budget is the latter's.
    fn needed(&self, q: &Question<'_>, test: usize, concurrent: bool) -> f64 {
        let part = if concurrent { 0.8 } else { 0.2 };
        (q.among as f64 / (q.terms.alpha * BUDGET[test] * part)).ln()
    }

    fn failures(&self, q: &Question<'_>, concurrent: bool) -> Option<Breach> {
        let needed = self.needed(q, 0, concurrent);
        let test = &self.tests[0];
        let wealth = if concurrent { test.wealth.ln() } else { test.alone.ln() };
        let all_failed = self.candidate.failed >= USERS
            && self.candidate.failed >= self.candidate.requests
            && self.users_failed(Side::Candidate) >= 2;
        let many = self.users_failed(Side::Candidate) >= USERS;
        let proven = (wealth >= needed && many)
            || (all_failed && concurrent && self.requests_wealth.ln() >= needed + 2f64.ln());
        if !proven {
            return None;
        }
        let stretch = if concurrent { 1.0 } else { 2.0 };
        let tolerance = q.terms.tolerance.errors.ratio() * stretch;
        let (found, base) = SPANS.iter().find_map(|span| {
            let (candidate, baseline) = self.seconds.over(q.now, *span);
            let base = if concurrent { baseline.rate() } else { q.allowed - tolerance };
            let low = about_lower(candidate.failed, candidate.requests);
            (low > base + tolerance).then_some((candidate, base))
        })?;
        let gross = self.fails_grossly();
        let detector = match (gross, concurrent) {
            (true, _) => Detector::GrossFailure,
            (false, true) => Detector::Regression,
            (false, false) => Detector::Profile,
        };
        (gross || q.terms.compare).then(|| Breach {
            detector,
            measure: Measure::Errors,
            measured: found.rate(),
            limit: base + tolerance,
            sample: self.candidate.requests,
            text: self.failures_told(q, concurrent, base, &found),
        })
    }

    fn failures_told(&self, q: &Question<'_>, concurrent: bool, base: f64, found: &Sum) -> String {
        let test = &self.tests[0];
        let rate = percent(found.rate());
        if concurrent {
            format!(
                "of {} failures since {} UTC, {} fell on {}, which served {}: {rate} of its requests \
                 fail, {} of the baseline's",
                test.bad,
                clock(self.since),
                test.bad_candidate,
                q.pool,
                percent(q.share),
                percent(base),
            )
        } else {
            format!(
                "{rate} of the requests of {} fail, where {} did before the shift; there is no traffic \
                 beside it to compare with",
                q.pool,
                percent(base),
            )
        }
    }

    fn slowness(&self, q: &Question<'_>, n: usize, concurrent: bool) -> Option<Breach> {
        if self.has_few_users() {
            return None;
        }
        let marks = if concurrent { &q.marks } else { &q.profile_marks };
        let mark = marks.0[n - 1]?;
        let test = &self.tests[n];
        let mut wealth = if concurrent { test.wealth.clone() } else { test.alone.clone() };
        let (mut spoke, mut slow_now) = (BTreeSet::new(), 0);
        for (side, sample) in q.waiting.iter().filter(|(_, s)| test.may_speak(*s)) {
            if !is_beyond(sample.latency, mark, *side) {
                continue;
            }
            if sample.user.is_some_and(|user| !spoke.insert(user.bucket())) {
                continue;
            }
            slow_now += u64::from(*side == Side::Candidate);
            if concurrent {
                if let Some(part) = test.part(*sample, self.crowd(q.share)) {
                    wealth.attribute(part, *side == Side::Candidate);
                }
            } else if *side == Side::Candidate {
                wealth.answer(1.0 - QUANTILES[n - 1], true);
            }
        }
        if wealth.ln() < self.needed(q, n, concurrent) || test.bad_candidate + slow_now < USERS {
            return None;
        }
        let allowed = 1.0 - QUANTILES[n - 1];
        let found = SPANS.iter().find_map(|span| {
            let (candidate, _) = self.seconds.over(q.now, *span);
            let (beyond, all) = candidate.beyond(mark.candidate);
            (about_lower(beyond + slow_now, all + slow_now) > allowed).then_some(candidate)
        })?;
        let limit = upper_bound(usize::from(mark.candidate)) as f64 / 1000.0;
        let measured = found.quantile_ms(QUANTILES[n - 1]).unwrap_or_default();
        let measured = if slow_now > 0 { measured.max(oldest(q.waiting)) } else { measured };
        let name = MEASURES[n].as_str();
        let detector = if concurrent { Detector::Regression } else { Detector::Profile };
        let than = if concurrent { "the baseline's is" } else { "it was before the shift" };
        let base = mark.micros as f64 / 1000.0;
        let waiting = match slow_now {
            0 => String::new(),
            n => format!("; {n} requests wait for longer than that"),
        };
        let text =
            format!("{name} of {} is {}, where {than} {}{waiting}", q.pool, ms(measured), ms(base));
        let (measure, sample) = (MEASURES[n], self.candidate.requests);
        Some(Breach { detector, measure, measured, limit, sample, text })
    }

    /// The first limit that is exceeded for long enough, and whether the baseline exceeds it as well.
    fn limits(&mut self, q: &Question<'_>) -> Option<(Breach, bool)> {
        let terms = q.terms;
        if terms.error_rate.is_none()
            && [terms.p50, terms.p95, terms.p99].iter().all(Option::is_none)
        {
            return None;
        }
        let (candidate, baseline) = self.seconds.over(q.now, q.terms.window);
        let errors =
            q.terms.error_rate.map(|limit| self.error_limit(q, limit, &candidate, &baseline));
        let spans = [q.terms.p50, q.terms.p95, q.terms.p99];
        let slow = |n: usize| spans[n].map(|limit| slow_limit(q, n, limit, &candidate, &baseline));
        let found = [errors, slow(0), slow(1), slow(2)].map(Option::flatten);
        let mut worst = None;
        for (n, breach) in found.into_iter().enumerate() {
            let Some(breach) = breach else {
                self.exceeded[n] = None;
                continue;
            };
            let since = *self.exceeded[n].get_or_insert(q.now);
            if worst.is_none() && q.now.since(since) >= q.terms.sustain {
                worst = Some(breach);
            }
        }
        worst
    }

    fn error_limit(
        &self,
        q: &Question<'_>,
        limit: Share,
        candidate: &Sum,
        baseline: &Sum,
    ) -> Option<(Breach, bool)> {
        let (n, failed, most) = (candidate.requests, candidate.failed, limit.ratio());
        let many =
            limit == Share::NONE || failed == n || self.users_failed(Side::Candidate) >= USERS;
        if n < u64::from(q.terms.min_requests) || !many {
            return None;
        }
        if lower(failed, n, LIMIT_CONFIDENCE) <= most {
            return None;
        }
        let breach = Breach {
            detector: Detector::Limit,
            measure: Measure::Errors,
            measured: candidate.rate(),
            limit: most,
            sample: n,
            text: format!(
                "{} of the requests of {} failed over {}, limit {limit} ({failed} of {n})",
                percent(candidate.rate()),
                q.pool,
                q.terms.window,
            ),
        };
        let most = degraded_from(q.terms);
        Some((breach, is_bad_too(baseline.failed, baseline.requests, most)))
    }

    /// Both sides fail on a scale that is bad wherever no limit is set.
    fn both_degraded(&self, q: &Question<'_>) -> Option<Breach> {
        let most = degraded_from(q.terms);
        let [candidate, baseline] = self.seconds.counts(q.now, q.terms.window);
        let is_bad = |(n, failed): (u64, u64)| n >= FEW && about_lower(failed, n) > most;
        let rate = |(n, failed): (u64, u64)| failed as f64 / n.max(1) as f64;
        (self.is_concurrent(q) && is_bad(candidate) && is_bad(baseline)).then(|| Breach {
            detector: Detector::Limit,
            measure: Measure::Errors,
            measured: rate(candidate),
            limit: most,
            sample: candidate.0,
            text: format!(
                "{} of the requests of {} fail, and {} of the baseline's",
                percent(rate(candidate)),
                q.pool,
                percent(rate(baseline)),
            ),
        })
    }

    /// Go, or what is lacking for it.
    fn is_good(&mut self, q: &Question<'_>) -> Verdict {
        let (have, need) = (self.stage_candidate.requests, u64::from(q.terms.min_requests));
        if have < need {
            return Verdict::Undecided(Lacking::Requests { have, need });
        }
        match &self.worked_out.good {
            Some((at, verdict)) if q.now.since(*at) < WORK => verdict.clone(),
            Some(_) | None => {
                let verdict = self.doubts(q);
                self.worked_out.good = Some((q.now, verdict.clone()));
                verdict
            }
        }
    }

    fn doubts(&self, q: &Question<'_>) -> Verdict {
        let concurrent = self.is_concurrent(q);
        let base = if concurrent { self.stage_baseline.rate() } else { q.allowed };
        let mut most = base + q.terms.tolerance.errors.ratio();
        if let Some(limit) = q.terms.error_rate.map(Share::ratio).filter(|limit| *limit > 0.0) {
            most = most.min(limit);
        }
        let stage = &self.stage_candidate;
        let mut open =
            doubt(stage.failed, stage.requests, most).map(|more| (more, Measure::Errors));
        for n in 0..2 {
            let (beyond, all) = (stage.beyond[n], stage.timed[n]);
            if q.terms.compare && all > 0 && concurrent && open.is_none() {
                let most = 1.0 - QUANTILES[n];
                open = doubt(beyond, all, most).map(|more| (more, MEASURES[n + 1]));
            }
        }
        match open {
            None => Verdict::Go,
            Some((more, measure)) => Verdict::Undecided(Lacking::Certainty { more, measure }),
        }
    }

    /// Percentiles of candidate and baseline over the last minute.
    fn percentiles(&mut self, now: Moment) -> [[Option<f64>; 3]; 2] {
        if let Some((at, known)) = self.worked_out.percentiles
            && now.since(at) < WORK
        {
            return known;
        }
        let (candidate, baseline) = self.seconds.over(now, Millis::from_secs(60));
        let all = [candidate, baseline].map(|sum| QUANTILES.map(|q| sum.quantile_ms(q)));
        self.worked_out.percentiles = Some((now, all));
        all
    }

    fn evidence(&mut self, q: &Question<'_>) -> Evidence {
        let [candidate, baseline] = self.percentiles(q.now);
        let concurrent = self.is_concurrent(q);
        let sums = |side, total: &Count, stage: &Count, [p50_ms, p95_ms, p99_ms]: [_; 3]| Sums {
            requests: total.requests,
            failed: total.failed,
            users_failed: self.users_failed(side),
            stage_requests: stage.requests,
            stage_failed: stage.failed,
            p50_ms,
            p95_ms,
            p99_ms,
        };
        let test = |n: usize| {
            let test = &self.tests[n];
            let wealth = if concurrent { &test.wealth } else { &test.alone };
            Test {
                measure: MEASURES[n],
                bad: test.bad,
                bad_candidate: test.bad_candidate,
                wealth_ln: wealth.ln(),
                needed_ln: self.needed(q, n, concurrent),
            }
        };
        Evidence {
            since: self.since,
            share: Share::from_basis_points((q.share * 10_000.0).round() as u16),
            concurrent,
            candidate: sums(Side::Candidate, &self.candidate, &self.stage_candidate, candidate),
            baseline: sums(Side::Baseline, &self.baseline, &self.stage_baseline, baseline),
            tests: (0..4).map(test).collect(),
        }
    }
}

/// The part of failures from which on a baseline is no place to go back to. Where a candidate may not
/// fail at all, one failure of the baseline must not protect it.
fn degraded_from(terms: &Terms) -> f64 {
    terms.error_rate.filter(|limit| *limit > Share::NONE).map_or(BAD, Share::ratio)
}

fn slow_limit(
    q: &Question<'_>,
    n: usize,
    limit: Millis,
    candidate: &Sum,
    baseline: &Sum,
) -> Option<(Breach, bool)> {
    let bucket = bucket_of(limit.0 * 1000) as u16;
    let late = |wanted: Side| {
        let of_side = q.waiting.iter().filter(|(side, _)| *side == wanted);
        of_side.filter(|(_, sample)| sample.latency > bucket).count() as u64
    };
    let over = |sum: &Sum, waiting: u64| {
        let (slow, all) = sum.beyond(bucket);
        (slow + waiting, all + waiting)
    };
    let waiting = late(Side::Candidate);
    let (slow, all) = over(candidate, waiting);
    let most = 1.0 - QUANTILES[n];
    if all < u64::from(q.terms.min_requests) || lower(slow, all, LIMIT_CONFIDENCE) <= most {
        return None;
    }
    let (base_slow, base_all) = over(baseline, late(Side::Baseline));
    let is_baseline_too = is_bad_too(base_slow, base_all, most);
    let measured = candidate.quantile_ms(QUANTILES[n]).unwrap_or_default();
    let measured = if waiting > 0 { measured.max(oldest(q.waiting)) } else { measured };
    let name = MEASURES[n + 1].as_str();
    let breach = Breach {
        detector: Detector::Limit,
        measure: MEASURES[n + 1],
        measured,
        limit: limit.0 as f64,
        sample: all,
        text: format!(
            "{name} of {} is {} over {}, limit {limit} ({slow} of {all} requests took longer)",
            q.pool,
            ms(measured),
            q.terms.window,
        ),
    };
    Some((breach, is_baseline_too))
}

/// Whether the baseline is beyond a limit too. Of a few requests most must be.
fn is_bad_too(bad: u64, all: u64, most: f64) -> bool {
    let part = bad as f64 / all.max(1) as f64;
    if all >= FEW { part > most } else { all >= USERS && part >= 0.5 }
}

/// The age of the candidate's oldest waiting request in milliseconds.
fn oldest(waiting: &[(Side, Sample)]) -> f64 {
    let candidate = waiting.iter().filter(|(side, _)| *side == Side::Candidate);
    let latency = candidate.map(|(_, sample)| sample.latency).max().unwrap_or_default();
    upper_bound(usize::from(latency)) as f64 / 1000.0
}

/// How many more requests it takes until at most `most` are bad for sure, if they go on as before;
/// `None` if that is so already.
pub fn doubt(bad: u64, all: u64, most: f64) -> Option<u64> {
    if upper(bad, all, GO_CONFIDENCE) < most {
        return None;
    }
    let rate = bad as f64 / all.max(1) as f64;
    let is_enough = |n: u64| upper((rate * n as f64).round() as u64, n, GO_CONFIDENCE) < most;
    let mut high = all.max(50);
    while !is_enough(high) {
        if high >= MOST_MORE {
            return Some(MOST_MORE);
        }
        high *= 2;
    }
    let mut low = all;
    while high - low > 1 + low / 50 {
        let middle = low.midpoint(high);
        if is_enough(middle) { high = middle } else { low = middle }
    }
    Some(high.saturating_sub(all).max(1))
}
