//! Which events belong to one trouble.
//!
//! PagerDuty opens an incident for a trouble and closes it when it is over; both notices carry the
//! same key. The key is made of the event alone, so it need not be remembered across retries.
//!
//! | event | what it does to the incident |
//! |---|---|
//! | `guard` warning or critical; `rollback` by lbd itself | opens the services' guard incident |
//! | `guard` info by lbd; `weight` or `rollout` info by a person | closes those of its services |
//! | `endpoint` warning or critical | opens the endpoint's incident |
//! | `endpoint` info that says it is up, or back | closes it |
//! | any other | opens one that nothing closes |
//!
//! What lbd does to weights by itself closes nothing: an alert that only warns must stay open while
//! the plan goes on, and a rollback must not close what it has just opened. Good news of several
//! services closes every incident that is about some of them and no other: the bad news may have come
//! service by service.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::words;
use crate::model::{
    event::{Actor, Event, Severity},
    units::ServiceName,
};

/// The longest key that PagerDuty takes, in characters.
const KEY_MAX: usize = 255;
/// How many open incidents are remembered.
const OPEN_MAX: usize = 256;

/// What an event means for its incident.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// Opens it, or adds to it.
    Trigger,
    /// Closes it.
    Resolve,
    /// Opens one that no later event closes.
    Alert,
}

/// What a trouble is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Trouble {
    /// What the guard found about services; none: all of them.
    Guard,
    /// One endpoint.
    Endpoint,
    /// Anything else.
    Other,
}

/// The trouble that an event belongs to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Incident {
    /// What it is about.
    pub trouble: Trouble,
    /// Whom it concerns.
    pub services: Vec<ServiceName>,
    /// The same for all events of one trouble.
    pub key: String,
    /// What the event means for it.
    pub action: Action,
}

impl Incident {
    /// Whether good news of this trouble is good news of `other`.
    fn covers(&self, other: &Self) -> bool {
        let guards = (self.trouble, other.trouble) == (Trouble::Guard, Trouble::Guard);
        let within = other.services.iter().all(|service| self.services.contains(service));
        // An event without services may be about all of them, or about none in particular.
        let part = !other.services.is_empty() && within;
        self.key == other.key || (guards && part)
    }
}

/// The trouble that an event on `host` belongs to.
pub fn incident(event: &Event, host: &str) -> Incident {
    let (trouble, action) = judged(event);
    let services: Vec<_> = event.services.iter().map(ToString::to_string).collect();
    let services = if services.is_empty() { "all".to_owned() } else { services.join(",") };
    let key = match trouble {
        Trouble::Guard => format!("lbd:{host}:guard:{services}"),
        Trouble::Endpoint => {
            format!("lbd:{host}:endpoint:{services}:{}", subject(&event.summary))
        }
        Trouble::Other => {
            let Event { kind, time, revision, summary, .. } = event;
            format!("lbd:{host}:{kind}:{}:{revision}:{}", time.0, words::digest(summary))
        }
    };
    Incident { trouble, services: event.services.clone(), key: fitting(key), action }
}

fn judged(event: &Event) -> (Trouble, Action) {
    let lbd = event.actor == Actor::lbd();
    match (&*event.kind, event.severity) {
        ("guard", Severity::Info) if lbd => (Trouble::Guard, Action::Resolve),
        ("weight" | "rollout", Severity::Info) if !lbd => (Trouble::Guard, Action::Resolve),
        ("guard", Severity::Warning | Severity::Critical) => (Trouble::Guard, Action::Trigger),
        ("rollback", Severity::Critical) if lbd => (Trouble::Guard, Action::Trigger),
        ("endpoint", Severity::Info) if is_well(&event.summary) => {
            (Trouble::Endpoint, Action::Resolve)
        }
        ("endpoint", Severity::Warning | Severity::Critical) => {
            (Trouble::Endpoint, Action::Trigger)
        }
        _ => (Trouble::Other, Action::Alert),
    }
}

/// What an endpoint's event speaks of: `green endpoint 192.0.2.1:80` of `… is down: refused`.
fn subject(summary: &str) -> &str {
    summary.split_once(" is ").map_or(summary, |(subject, _)| subject)
}

fn is_well(summary: &str) -> bool {
    let state = summary.split_once(" is ").map(|(_, state)| state);
    state.is_some_and(|state| state.starts_with("up") || state.starts_with("back"))
}

/// The key itself, or if it is too long its start with a digest of the whole.
fn fitting(key: String) -> String {
    if key.chars().nth(KEY_MAX).is_none() {
        return key;
    }
    let digest = words::digest(&key);
    let start: String = key.chars().take(KEY_MAX - 1 - digest.len()).collect();
    format!("{start}:{digest}")
}

/// The incidents that a receiver was told of. It forgets the oldest rather than grow.
#[derive(Debug, Default)]
pub struct Open(Mutex<VecDeque<Incident>>);

impl Open {
    /// An incident was opened.
    pub fn add(&self, incident: Incident) {
        let mut open = self.lock();
        open.retain(|known| known.key != incident.key);
        open.push_back(incident);
        if open.len() > OPEN_MAX {
            open.pop_front();
        }
    }

    /// There is good news: takes out the incidents that it closes.
    pub fn take(&self, news: &Incident) -> Vec<Incident> {
        let mut open = self.lock();
        let (over, rest) = open.drain(..).partition(|known| news.covers(known));
        *open = rest;
        let over: VecDeque<_> = over;
        let resolved = |known| Incident { action: Action::Resolve, ..known };
        over.into_iter().map(resolved).collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Incident>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::fake, *};

    fn of(kind: &str, severity: Severity, by: &str, summary: &str) -> Incident {
        let mut event = fake::event(kind, summary);
        event.severity = severity;
        event.actor.name = by.into();
        incident(&event, "edge-1")
    }

    #[test]
    fn good_news_has_the_key_of_the_bad() {
        use Severity::*;
        let guard = "lbd:edge-1:guard:app,web";
        let endpoint = "lbd:edge-1:endpoint:app,web:green endpoint 192.0.2.1:80";
        let table = [
            ("guard", Warning, "lbd", "green is held", Action::Trigger, guard),
            ("guard", Critical, "lbd", "no-go", Action::Trigger, guard),
            ("rollback", Critical, "lbd", "green is taken back", Action::Trigger, guard),
            ("guard", Info, "lbd", "over", Action::Resolve, guard),
            ("weight", Info, "alice", "green gets 10%", Action::Resolve, guard),
            ("rollout", Info, "alice", "started", Action::Resolve, guard),
            (
                "endpoint",
                Warning,
                "lbd",
                "green endpoint 192.0.2.1:80 is down: refused: it is off",
                Action::Trigger,
                endpoint,
            ),
            (
                "endpoint",
                Info,
                "lbd",
                "green endpoint 192.0.2.1:80 is up",
                Action::Resolve,
                endpoint,
            ),
        ];
        for (kind, severity, by, summary, action, key) in table {
            let got = of(kind, severity, by, summary);
            assert_eq!((&*got.key, got.action), (key, action), "{kind} {summary}");
        }
    }

    #[test]
    fn other_events_stand_alone() {
        use Severity::*;
        let table = [
            ("guard", Info, "alice", "the guard judges by other terms"),
            ("weight", Info, "lbd", "green gets 50%"),
            ("rollout", Info, "lbd", "stage 2"),
            ("rollback", Critical, "alice", "green is taken back"),
            ("endpoint", Info, "alice", "green endpoint 192.0.2.1:80 is drained"),
            ("reload", Warning, "lbd", "refused"),
        ];
        for (kind, severity, by, summary) in table {
            let one = of(kind, severity, by, summary);
            assert_eq!(one.action, Action::Alert, "{kind} {summary}");
            assert_eq!(one, of(kind, severity, by, summary), "a retry keeps the key");
            assert_ne!(one.key, of(kind, severity, by, "another").key);
        }
    }

    #[test]
    fn keys_fit_and_differ() {
        let key =
            |end: &str| of("endpoint", Severity::Warning, "lbd", &("x".repeat(400) + end)).key;
        assert_eq!(key("a").chars().count(), KEY_MAX);
        assert_ne!(key("a"), key("b"));
        let mut event = fake::event("guard", "held");
        event.services.clear();
        assert_eq!(incident(&event, "edge-1").key, "lbd:edge-1:guard:all");
    }

    fn guard(services: &[&str]) -> Incident {
        let mut event = fake::event("guard", "x");
        event.services = services.iter().map(|name| name.parse().unwrap()).collect();
        incident(&event, "edge-1")
    }

    fn closed(open: &Open, news: &Incident) -> Vec<String> {
        open.take(news).into_iter().map(|incident| incident.key).collect()
    }

    #[test]
    fn only_what_was_opened_is_closed_and_the_oldest_is_forgotten() {
        let open = Open::default();
        let one = |n: usize| Incident {
            key: n.to_string(),
            ..of("endpoint", Severity::Warning, "lbd", "x")
        };
        open.add(one(0));
        open.add(one(0));
        assert_eq!(closed(&open, &one(0)), ["0"]);
        assert_eq!(closed(&open, &one(0)), [""; 0]);
        (0..=OPEN_MAX).for_each(|n| open.add(one(n)));
        assert_eq!(closed(&open, &one(0)), [""; 0]);
        assert_eq!(closed(&open, &one(OPEN_MAX)), [OPEN_MAX.to_string()]);
    }

    #[test]
    fn good_news_of_several_services_closes_what_is_about_some_of_them() {
        let open = Open::default();
        let endpoint = of("endpoint", Severity::Warning, "lbd", "green endpoint x is down");
        for incident in
            [guard(&["app"]), guard(&["app", "web"]), guard(&["db"]), guard(&[]), endpoint]
        {
            open.add(incident);
        }
        assert_eq!(closed(&open, &guard(&["web"])), [""; 0]);
        let both = ["lbd:edge-1:guard:app", "lbd:edge-1:guard:app,web"];
        assert_eq!(closed(&open, &guard(&["web", "app"])), both);
        assert_eq!(closed(&open, &guard(&[])), ["lbd:edge-1:guard:all"]);
        assert_eq!(closed(&open, &guard(&["db"])), ["lbd:edge-1:guard:db"]);
    }
}
