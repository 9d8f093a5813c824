//! Judges every answer, and counts.

use std::{
    collections::VecDeque,
    fmt,
    time::{Duration, Instant},
};

use crate::load;

/// Over how long rates and observed shares are taken: each user asks once in that time.
const WINDOW: Duration = load::ROUND;

/// A pool.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    /// The baseline.
    Blue,
    /// The candidate.
    Green,
}

impl Side {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Blue, Self::Green];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Blue => "blue",
            Self::Green => "green",
        }
    }
}

/// What a user got.
#[derive(Clone, Debug)]
pub enum Answer {
    /// 200 from a pool.
    From(Side),
    /// The maintenance page: 503 with `Retry-After`.
    Page,
    /// Anything else, in words.
    Failed(String),
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::From(side) => write!(f, "an answer of {}", side.name()),
            Self::Page => f.write_str("the maintenance page"),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

/// What users must get.
#[derive(Clone, Debug)]
pub enum Due {
    /// An answer of the pool that each user belongs to.
    Sides(Vec<Side>),
    /// The maintenance page.
    Page,
}

impl Due {
    fn allows(&self, user: usize, answer: &Answer) -> bool {
        match (self, answer) {
            (Self::Sides(sides), Answer::From(side)) => sides.get(user) == Some(side),
            (Self::Page, Answer::Page) => true,
            (Self::Sides(_) | Self::Page, Answer::From(_) | Answer::Page | Answer::Failed(_)) => {
                false
            }
        }
    }
}

/// A request that got its answer.
#[derive(Debug)]
pub struct Request {
    /// Who asked.
    pub user: usize,
    /// When it was sent.
    pub begun: Instant,
    /// What came.
    pub answer: Answer,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Requests answered, or failed.
    pub requests: u64,
    /// Maintenance pages that were due.
    pub pages: u64,
    /// Requests without the answer that was due, wrong pools included.
    pub failures: [u64; 2],
    /// Connections that had to be made anew.
    pub reconnects: u64,
}

/// All answers, judged.
#[derive(Debug)]
pub struct Ledger {
    due: Due,
    /// What was due before the last command.
    before: Due,
    /// When the last command's reply came; `None` while it is awaited.
    since: Option<Instant>,
    /// Where each user was served since then.
    seen: Vec<Option<Side>>,
    recent: VecDeque<(Instant, Option<Side>)>,
    counts: Counts,
    first_failure: Option<String>,
}

impl Ledger {
    /// Nothing counted yet, every user due at `sides`.
    pub fn new(sides: Vec<Side>) -> Self {
        Self {
            seen: vec![None; sides.len()],
            before: Due::Sides(sides.clone()),
            due: Due::Sides(sides),
            since: Some(Instant::now()),
            recent: VecDeque::new(),
            counts: Counts::default(),
            first_failure: None,
        }
    }

    /// A command is being given that makes `due` due. Until its reply, either may come.
    pub fn expect(&mut self, due: Due) {
        self.before = std::mem::replace(&mut self.due, due);
        self.since = None;
        self.seen.fill(None);
    }

    /// The command's reply came at `at`: whatever is asked from then on must follow it.
    pub fn answered(&mut self, at: Instant) {
        self.since = Some(at);
    }

    /// Judges and counts a request.
    pub fn record(&mut self, request: &Request) {
        let Request { user, begun, answer } = request;
        let follows = self.since.is_some_and(|since| *begun >= since);
        let right =
            self.due.allows(*user, answer) || (!follows && self.before.allows(*user, answer));
        let side = match answer {
            Answer::From(side) => Some(*side),
            Answer::Page | Answer::Failed(_) => None,
        };
        self.counts.requests += 1;
        self.counts.pages += u64::from(right && side.is_none());
        if !right {
            // What no pool answered is held against the pool that should have.
            let owner = side.unwrap_or_else(|| self.owner(*user));
            self.counts.failures[owner as usize] += 1;
            self.first_failure.get_or_insert_with(|| format!("user-{user} got {answer}"));
        }
        if follows && let Some(seen) = self.seen.get_mut(*user) {
            *seen = side.or(*seen);
        }
        self.recent.push_back((Instant::now(), side));
    }

    fn owner(&self, user: usize) -> Side {
        match (&self.due, &self.before) {
            (Due::Sides(sides), _) | (Due::Page, Due::Sides(sides)) => sides[user],
            (Due::Page, Due::Page) => Side::Blue,
        }
    }

    /// A connection had to be made anew.
    pub fn reconnected(&mut self) {
        self.counts.reconnects += 1;
    }

    /// Where each user was served since the last command's reply.
    pub fn seen(&self) -> &[Option<Side>] {
        &self.seen
    }

    /// What was counted.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Requests that did not get what was due.
    pub fn failures(&self) -> u64 {
        self.counts.failures.iter().sum()
    }

    /// The first of them, in words.
    pub fn first_failure(&self) -> Option<&str> {
        self.first_failure.as_deref()
    }

    /// Answers per second of blue, of green, and of neither, over the last second.
    pub fn rates(&mut self) -> [f64; 3] {
        while self.recent.front().is_some_and(|(at, _)| at.elapsed() > WINDOW) {
            self.recent.pop_front();
        }
        let count = |side| self.recent.iter().filter(|(_, s)| *s == side).count() as f64;
        [Some(Side::Blue), Some(Side::Green), None].map(|side| count(side) / WINDOW.as_secs_f64())
    }
}
