//! One shift: the real guard and its rivals hear the same traffic.

use std::{ops::RangeInclusive, sync::Arc};

use fastrand::Rng;
use lbd::model::{
    Millis, Moment, PoolName, Share, Split,
    guard::{Breach, Fate, Sample, Terms, Verdict, Watch},
};

use super::{
    rules::Rules,
    slack::{Happened, Slack},
    traffic::{Sides, Traffic},
    world::World,
};

/// For how long what has ended is kept back from the guard at most, in milliseconds.
const KEPT_BACK_MAX: f64 = 10_000.0;
/// For how long the baseline may be silent then, in seconds.
const BASELINE_SEEN: f64 = 20.0;
/// When the shifts of all simulations begin, but for a day.
const BEGINNING: Moment = Moment(1_800_000_000_000);

/// What is shifted, how, and how it is judged.
#[derive(Clone, Debug)]
pub struct Shift {
    /// The traffic.
    pub world: Arc<World>,
    /// How the shares grow, by seconds since the beginning; the first at 0.
    pub stages: Vec<(f64, Share)>,
    /// For how many seconds the baseline serves everything beforehand.
    pub lead_in: f64,
    /// For how many seconds the shift is watched.
    pub length: f64,
    /// How finely time passes.
    pub pace: Pace,
    /// What the guard judges by.
    pub terms: Terms,
}

/// How finely time passes, in milliseconds.
#[derive(Clone, Debug)]
pub struct Pace {
    /// Traffic is told to the guard in steps, each of a drawn length.
    pub step: RangeInclusive<u64>,
    /// When it judges, besides after each failure of the candidate.
    pub judge: Judging,
}

impl Pace {
    /// As lbd does it when there is little to do.
    pub const DENSE: Self = Self { step: 50..=1000, judge: Judging::Every(0) };
    /// With the same verdicts at a tenth of the cost.
    pub const SPARSE: Self = Self { step: 600..=1000, judge: Judging::WhenItMatters };
}

/// When the guard judges, besides after each failure of the candidate at once.
#[derive(Clone, Copy, Debug)]
pub enum Judging {
    /// After a step, if so many milliseconds have passed since it last did.
    Every(u64),
    /// After a step, if it could be no-go (see [`Slack`]) or ten seconds have passed. What ends is kept
    /// back until then.
    WhenItMatters,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The guard's first no-go.
    pub no_go: Option<NoGo>,
    /// When it first said that both sides are degraded, in seconds.
    pub both_degraded: Option<f64>,
    /// When it first said go.
    pub go: Option<f64>,
    /// What the rivals did.
    pub rules: Rules,
    /// How many requests the candidate answered.
    pub answered: u64,
}

/// The guard's no-go.
#[derive(Clone, Debug)]
pub struct NoGo {
    /// Seconds since the beginning of the shift.
    pub secs: f64,
    /// How many of the candidate's requests had ended.
    pub answered: u64,
    /// How many had been sent.
    pub sent: u64,
    /// What it was for.
    pub breach: Breach,
}

/// A shift under way.
#[derive(Clone, Debug)]
pub struct Trial {
    shift: Shift,
    names: Names,
    traffic: Traffic,
    watch: Watch,
    rng: Rng,
    stage: usize,
    /// When it was last judged, in milliseconds.
    judged: f64,
    slack: Slack,
    happened: Happened,
    /// When the baseline last answered, in seconds.
    baseline_at: f64,
    told: Vec<Sample>,
    outcome: Outcome,
}

#[derive(Clone, Debug)]
struct Names {
    baseline: PoolName,
    candidate: PoolName,
}

impl Trial {
    /// A shift that is about to begin: the baseline has served everything for a while.
    pub fn about_to_begin(shift: &Shift, seed: u64) -> Self {
        let names = Names {
            baseline: "blue".parse().expect("a name"),
            candidate: "green".parse().expect("a name"),
        };
        let mut watch = Watch::default();
        let sides =
            Sides { baseline: watch.tag(&names.baseline), candidate: watch.tag(&names.candidate) };
        let traffic = Traffic::new(shift.world.clone(), sides, shift.lead_in, seed);
        let mut trial = Self {
            shift: shift.clone(),
            names,
            traffic,
            watch,
            rng: Rng::with_seed(!seed),
            stage: 0,
            judged: f64::MIN,
            slack: Slack::default(),
            happened: Happened::default(),
            baseline_at: f64::MIN,
            told: Vec::new(),
            outcome: Outcome::default(),
        };
        trial.divide(Share::NONE);
        while trial.traffic.secs() < 0.0 {
            trial.lead_in();
        }
        trial
    }

    /// The same shift with other chances from here on.
    pub fn with_chances(&self, seed: u64) -> Self {
        let mut other = self.clone();
        other.traffic.reseed(seed);
        other.rng = Rng::with_seed(!seed);
        other
    }

    /// The shift to its end, or until all judges have spoken.
    pub fn run(mut self) -> Outcome {
        while self.traffic.secs() < self.shift.length && !self.is_settled() {
            self.enter_stage();
            self.step();
        }
        self.outcome
    }

    fn is_settled(&self) -> bool {
        self.outcome.no_go.is_some() && self.outcome.rules.are_done()
    }

    fn now(&self) -> Moment {
        let millis = (Traffic::EPOCH / 1000) as f64 + self.traffic.secs() * 1000.0;
        BEGINNING.after(Millis(millis.round() as u64))
    }

    fn lead_in(&mut self) {
        self.told.clear();
        let left = (-self.traffic.secs() * 1000.0).ceil() as u64;
        self.traffic.pass(left.min(100), &mut self.told);
        self.watch.take(self.now(), &self.told, &self.shift.terms);
    }

    fn enter_stage(&mut self) {
        let next = self.shift.stages.get(self.stage).copied();
        if let Some((_, share)) = next.filter(|(from, _)| self.traffic.secs() >= *from) {
            self.stage += 1;
            self.divide(share);
        }
    }

    fn divide(&mut self, share: Share) {
        let Names { baseline, candidate } = &self.names;
        let shares = vec![(baseline.clone(), share.rest()), (candidate.clone(), share)];
        let split = Split::try_from(shares).expect("a whole");
        self.watch.divide(self.now(), baseline, &split);
        self.traffic.divide(share, self.watch.epoch());
    }

    fn step(&mut self) {
        let before = self.told.len();
        let millis = self.rng.u64(self.shift.pace.step.clone());
        self.traffic.pass(millis, &mut self.told);
        self.listen(before);
        if !self.may_keep_back() {
            self.tell();
        }
    }

    /// The rivals hear of what has ended since there were `before` samples.
    fn listen(&mut self, before: usize) {
        for sample in &self.told[before..] {
            if self.traffic.is_candidate(sample) {
                self.happened.add(sample);
                self.outcome.rules.hear(sample);
            } else {
                self.baseline_at = self.traffic.secs();
            }
        }
        self.outcome.rules.pass(self.traffic.secs());
    }

    /// Whether the guard need not hear yet of what has ended.
    fn may_keep_back(&self) -> bool {
        let Judging::WhenItMatters = self.shift.pace.judge else { return false };
        let mut happened = self.happened;
        let waiting = self.traffic.waiting();
        waiting.iter().filter(|s| self.traffic.is_candidate(s)).for_each(|s| happened.add(s));
        let secs = self.traffic.secs();
        self.slack.lasts(happened)
            && secs * 1000.0 < self.judged + KEPT_BACK_MAX
            && secs < self.baseline_at + BASELINE_SEEN
    }

    /// The guard hears of what has ended, and judges.
    fn tell(&mut self) {
        let told = std::mem::take(&mut self.told);
        let mut rest = told.as_slice();
        while let Some(at) = rest.iter().position(|sample| self.is_candidates_failure(sample)) {
            let (until, later) = rest.split_at(at + 1);
            self.hear(until);
            self.judge();
            rest = later;
        }
        self.hear(rest);
        let every = match self.shift.pace.judge {
            Judging::Every(millis) => millis as f64,
            Judging::WhenItMatters => 0.0,
        };
        if self.traffic.secs() * 1000.0 >= self.judged + every {
            self.judge();
        }
        self.told = told;
        self.told.clear();
    }

    fn is_candidates_failure(&self, sample: &Sample) -> bool {
        self.traffic.is_candidate(sample) && matches!(sample.fate, Fate::Failed | Fate::Broke)
    }

    fn hear(&mut self, samples: &[Sample]) {
        let answers = |s: &&Sample| self.traffic.is_candidate(s) && s.fate != Fate::Broke;
        self.outcome.answered += samples.iter().filter(answers).count() as u64;
        if self.outcome.no_go.is_none() {
            self.watch.take(self.now(), samples, &self.shift.terms);
        }
    }

    fn judge(&mut self) {
        if self.outcome.no_go.is_some() {
            return;
        }
        let secs = self.traffic.secs();
        self.judged = secs * 1000.0;
        let (now, waiting) = (self.now(), self.traffic.waiting());
        let terms = &self.shift.terms;
        let finding = self.watch.judge(now, &self.names.candidate, terms, 1, &waiting);
        (self.slack, self.happened) =
            (finding.as_ref().map(Slack::of).unwrap_or_default(), Happened::default());
        match finding.map(|finding| finding.verdict) {
            Some(Verdict::NoGo(breach)) => self.accuse(secs, breach),
            Some(Verdict::BothDegraded(_)) => _ = self.outcome.both_degraded.get_or_insert(secs),
            Some(Verdict::Go) => _ = self.outcome.go.get_or_insert(secs),
            Some(Verdict::Undecided(_)) | None => {}
        }
    }

    /// From here on only the rivals listen, and they hear the candidate alone.
    fn accuse(&mut self, secs: f64, breach: Breach) {
        let (answered, sent) = (self.outcome.answered, self.traffic.sent);
        self.outcome.no_go = Some(NoGo { secs, answered, sent, breach });
        if self.stage == self.shift.stages.len() {
            self.traffic.forget_baseline();
            self.shift.pace.step = 1000..=1000;
        }
    }
}
