//! One candidate on trial: what it and the baseline did since it got traffic.

#![cfg_attr(not(test), expect(clippy::indexing_slicing, reason = "indexes of the same arrays"))]

use serde::{Deserialize, Serialize};

use super::{
    judge::{ALONE, SILENT},
    recent::{Marks, QUANTILES},
    sample::{Fate, Sample},
    seconds::Seconds,
    sequential::{Crowd, EDGE, Test},
    users::Users,
    verdict::{Measure, Verdict},
    wealth::{BEYOND_P50, BEYOND_P95, BEYOND_P99, FAILURES, Wealth},
};
use crate::model::{
    histogram::bucket_of,
    units::{Millis, Moment, Share},
};

/// What is tested, in the order of the tests.
pub const MEASURES: [Measure; 4] = [Measure::Errors, Measure::P50, Measure::P95, Measure::P99];
const GRIDS: [&[f64]; 4] = [FAILURES, BEYOND_P50, BEYOND_P95, BEYOND_P99];
/// A failure that took longer than this may be our own doing where we were held up.
const OURS: u64 = 1_000_000;

/// On which side an answer fell.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    /// The pool that is tried.
    Candidate,
    /// The pool that is trusted.
    Baseline,
}

/// What is needed to take a sample in.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// The moment.
    pub now: Moment,
    /// The candidate's part of what it and the baseline serve, by the split it began under.
    pub share: f64,
    /// Where answers are slow, compared side by side.
    pub marks: Marks,
    /// Where they are slow compared with the profile, which has more tolerance.
    pub profile_marks: Marks,
    /// The part of failures that the profile allows.
    pub allowed: f64,
    /// Whether what took long is evidence: we were not held up ourselves.
    pub is_punctual: bool,
}

/// What was counted of one side.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Count {
    /// Judged requests.
    pub requests: u64,
    /// Those that failed.
    pub failed: u64,
    /// Of those whose response time is known: how many there are, and are beyond the candidate's or
    /// baseline's mark of each percentile.
    pub timed: [u64; 3],
    /// See `timed`.
    pub beyond: [u64; 3],
}

/// One candidate on trial.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Trial {
    /// Since when.
    pub since: Moment,
    /// Since when its share is what it is.
    pub stage_since: Moment,
    /// The candidate since the shift began.
    pub candidate: Count,
    /// The baseline since then.
    pub baseline: Count,
    /// The candidate since the stage began.
    pub stage_candidate: Count,
    /// The baseline since then.
    pub stage_baseline: Count,
    /// Second by second.
    pub seconds: Seconds,
    /// The tests, by [`MEASURES`].
    pub tests: [Test; 4],
    /// Failures of single requests, whoever's.
    pub requests_wealth: Wealth,
    /// Who failed on the candidate, and how many requests of users who are not known.
    failed: (Users, u64),
    baseline_failed: (Users, u64),
    seen: Users,
    /// Users of the candidate.
    candidate_users: Users,
    next_beginning: Moment,
    /// When the baseline was last seen to serve.
    pub baseline_at: Moment,
    /// Since when each limit is exceeded without a break.
    pub exceeded: [Option<Moment>; 4],
    /// How the candidate's last answers went, the last one lowest; 1: it failed.
    last_answers: u32,
    /// What was worked out last of what changes slowly.
    #[serde(skip)]
    pub worked_out: WorkedOut,
}

/// What is worked out at most once a second, because it costs something.
#[derive(Clone, Debug, Default)]
pub struct WorkedOut {
    /// Whether the candidate is good.
    pub good: Option<(Moment, Verdict)>,
    /// Percentiles of candidate and baseline over the last minute, in milliseconds.
    pub percentiles: Option<(Moment, [[Option<f64>; 3]; 2])>,
}

impl Trial {
    /// A trial that begins now.
    pub fn new(now: Moment) -> Self {
        Self {
            since: now,
            stage_since: now,
            candidate: Count::default(),
            baseline: Count::default(),
            stage_candidate: Count::default(),
            stage_baseline: Count::default(),
            seconds: Seconds::default(),
            tests: GRIDS.map(Test::new),
            requests_wealth: Wealth::new(FAILURES),
            failed: (Users::default(), 0),
            baseline_failed: (Users::default(), 0),
            seen: Users::default(),
            candidate_users: Users::default(),
            next_beginning: now.after(Millis::from_secs(60)),
            baseline_at: now,
            exceeded: [None; 4],
            last_answers: 0,
            worked_out: WorkedOut::default(),
        }
    }

    /// Its share is another from now on.
    pub fn begin_stage(&mut self, now: Moment) {
        self.stage_since = now;
        (self.stage_candidate, self.stage_baseline) = (Count::default(), Count::default());
        self.worked_out = WorkedOut::default();
    }

    /// Lets a further part of the tests' stakes begin, once a minute.
    pub fn begin_minute(&mut self, now: Moment) {
        if now < self.next_beginning {
            return;
        }
        self.next_beginning = now.after(Millis::from_secs(60));
        self.requests_wealth.begin();
        for test in &mut self.tests {
            test.wealth.begin();
            test.alone.begin();
        }
    }

    /// Takes a sample in.
    pub fn take(&mut self, side: Side, sample: Sample, context: &Context) {
        let failed = matches!(sample.fate, Fate::Failed | Fate::Broke);
        if !context.is_punctual && failed && usize::from(sample.latency) > bucket_of(OURS) {
            return;
        }
        let latency = self.latency_of(side, sample, context);
        if sample.fate == Fate::Left && latency.is_none() {
            return;
        }
        match side {
            Side::Baseline => self.baseline_at = context.now,
            Side::Candidate => self.last_answers = self.last_answers << 1 | u32::from(failed),
        }
        let voice = self.count(side, sample, failed, latency, context);
        if failed && voice {
            let share = Share::from_basis_points((context.share * 10_000.0) as u16);
            let second = self.seconds.at(context.now, share);
            match side {
                Side::Candidate => second.candidate.voices += 1,
                Side::Baseline => second.baseline.voices += 1,
            }
        }
    }

    /// The response time, where it is evidence.
    fn latency_of(&self, side: Side, sample: Sample, context: &Context) -> Option<u16> {
        let known = match sample.fate {
            Fate::Good => true,
            // Who left before a slow answer has waited at least so long.
            Fate::Left => {
                let mark = context.marks.0[0].or(context.profile_marks.0[0]);
                mark.is_some_and(|mark| {
                    sample.latency
                        > match side {
                            Side::Candidate => mark.candidate,
                            Side::Baseline => mark.baseline,
                        }
                })
            }
            Fate::Failed | Fate::Broke | Fate::Waiting => false,
        };
        (known && context.is_punctual).then_some(sample.latency)
    }

    /// Counts a sample everywhere. True if it was a failure that counted for the sequential test.
    fn count(
        &mut self,
        side: Side,
        sample: Sample,
        failed: bool,
        latency: Option<u16>,
        context: &Context,
    ) -> bool {
        let is_request = sample.fate != Fate::Broke;
        let beyond = |marks: &Marks| {
            let of = |n: usize| marks.0[n].map(|m| latency.map(|l| is_beyond(l, m, side)));
            [of(0), of(1), of(2)].map(Option::flatten)
        };
        let slow = beyond(&context.marks);
        let (total, stage, users) = match side {
            Side::Candidate => (&mut self.candidate, &mut self.stage_candidate, &mut self.failed),
            Side::Baseline => {
                (&mut self.baseline, &mut self.stage_baseline, &mut self.baseline_failed)
            }
        };
        total.add(is_request, failed, slow);
        stage.add(is_request, failed, slow);
        if let Some(user) = sample.user {
            self.seen.add(user);
            if side == Side::Candidate {
                self.candidate_users.add(user);
            }
        }
        if failed {
            match sample.user {
                Some(user) => users.0.add(user),
                None => users.1 += 1,
            }
        }
        self.count_second(side, is_request, failed, latency, context);
        let share = context.share;
        if failed {
            self.requests_wealth.attribute(share.clamp(EDGE, 1.0 - EDGE), side == Side::Candidate);
        }
        let crowd = self.crowd(share);
        let alone = beyond(&context.profile_marks);
        // The profile is the measure only where the baseline serves nothing beside it.
        let is_alone = side == Side::Candidate
            && (share > ALONE || context.now.since(self.baseline_at) >= SILENT);
        let allowed = is_alone.then_some(context.allowed);
        let voice = self.tests[0].take(side, sample, failed, crowd, allowed);
        for n in 0..3 {
            let test = &mut self.tests[n + 1];
            if let Some(slow) =
                alone[n].filter(|slow| is_alone && (!slow || test.may_speak(sample)))
            {
                test.alone.answer(1.0 - QUANTILES[n], slow);
                if slow {
                    test.speak(sample, side, crowd);
                }
            } else if let Some(slow) = slow[n].filter(|_| !is_alone) {
                test.compare(side, sample, slow, crowd);
            }
        }
        voice
    }

    fn count_second(
        &mut self,
        side: Side,
        is_request: bool,
        failed: bool,
        latency: Option<u16>,
        context: &Context,
    ) {
        let share = Share::from_basis_points((context.share * 10_000.0) as u16);
        let second = self.seconds.at(context.now, share);
        let tally = match side {
            Side::Candidate => &mut second.candidate,
            Side::Baseline => &mut second.baseline,
        };
        tally.requests += u64::from(is_request);
        tally.failed += u64::from(failed);
        if let Some(latency) = latency {
            tally.latency(latency);
        }
    }

    /// Whether the candidate's last answers, four to twenty of them, failed on a scale that leaves no
    /// doubt: four of four, eight of twenty. Of answers of which 5 % fail, chance makes such a row once
    /// in 60,000.
    pub fn fails_grossly(&self) -> bool {
        let known = self.candidate.requests.min(20) as u32;
        (4..=known).any(|n| (self.last_answers & ((1 << n) - 1)).count_ones() >= 4 + (n - 1) / 4)
    }

    /// Whether so few users are on the candidate that their response times are more their own than the
    /// candidate's: some have large accounts, or a long way. Users who are not known are always enough,
    /// since their pool is drawn for each request.
    pub fn has_few_users(&self) -> bool {
        const FEW: u32 = 30;
        (1..FEW).contains(&self.candidate_users.count())
    }

    /// Who asks, where the candidate has this part of what it and the baseline serve.
    pub fn crowd(&self, share: f64) -> Crowd {
        Crowd { share, candidate: self.candidate_users.count(), all: self.seen.count() }
    }

    /// Different users who saw a failure of a side, and requests of those who are not known.
    pub fn users_failed(&self, side: Side) -> u64 {
        let (users, strangers) = match side {
            Side::Candidate => &self.failed,
            Side::Baseline => &self.baseline_failed,
        };
        u64::from(users.count()) + strangers
    }
}

/// Whether an answer is beyond a mark, for its side.
pub fn is_beyond(latency: u16, mark: super::recent::Mark, side: Side) -> bool {
    match side {
        Side::Candidate => latency > mark.candidate,
        Side::Baseline => latency > mark.baseline,
    }
}

impl Count {
    fn add(&mut self, is_request: bool, failed: bool, slow: [Option<bool>; 3]) {
        self.requests += u64::from(is_request);
        self.failed += u64::from(failed);
        for (n, slow) in slow.into_iter().enumerate() {
            if let Some(slow) = slow {
                self.timed[n] += 1;
                self.beyond[n] += u64::from(slow);
            }
        }
    }

    /// The part that failed; 0 of nothing.
    pub fn rate(&self) -> f64 {
        if self.requests == 0 { 0.0 } else { self.failed as f64 / self.requests as f64 }
    }
}
