//! What is sent: an event, from where, and whether it is meant.

use std::sync::Arc;

use jiff::Timestamp;

use super::{incident::Incident, words};
use crate::model::{
    event::{Event, Severity},
    units::{Moment, ReceiverName, Revision},
};

/// How many characters of an event's text people are sent.
const TEXT_MAX: usize = 1024;

/// Whether something happened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// It did.
    News,
    /// Somebody wants to see a notice arrive.
    Test,
}

/// What is sent.
#[derive(Clone, Debug)]
pub struct Notice {
    /// What happened.
    pub event: Arc<Event>,
    /// The machine it happened on.
    pub host: Arc<str>,
    /// Whether it happened.
    pub purpose: Purpose,
    /// The incident that it opens or closes, for receivers that keep such.
    pub incident: Option<Incident>,
}

impl Notice {
    /// A notice of something that happened.
    pub fn news(event: &Arc<Event>, host: &Arc<str>) -> Self {
        Self { event: event.clone(), host: host.clone(), purpose: Purpose::News, incident: None }
    }

    /// A notice that only shows that it arrives.
    pub fn test(receiver: &ReceiverName, host: &Arc<str>) -> Self {
        let now = Moment(u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default());
        let summary = format!("a test of receiver {receiver}: nothing happened");
        let event = Event::new(now, Revision::default(), "test", Severity::Info, summary);
        Self { purpose: Purpose::Test, ..Self::news(&Arc::new(event), host) }
    }

    /// When it happened, as people and machines write it.
    pub fn time(&self) -> String {
        let millis = i64::try_from(self.event.time.0).unwrap_or(i64::MAX);
        Timestamp::from_millisecond(millis).unwrap_or_default().to_string()
    }

    /// What happened, on one line.
    pub fn summary(&self) -> String {
        words::one_line(&self.event.summary, TEXT_MAX)
    }

    /// The services it concerns, if it concerns some and not all.
    pub fn services(&self) -> Option<String> {
        let names: Vec<_> = self.event.services.iter().map(ToString::to_string).collect();
        (!names.is_empty()).then(|| names.join(", "))
    }

    /// Everything but the summary, each with what it is.
    pub fn details(&self) -> Vec<(&'static str, String)> {
        let event = &self.event;
        let text = |text: &String| words::clipped(text, TEXT_MAX);
        let some = |text: &String| (!text.is_empty()).then(|| words::clipped(text, TEXT_MAX));
        let details = [
            ("services", self.services()),
            ("reason", event.reason.as_ref().map(text)),
            ("before", some(&event.before)),
            ("after", some(&event.after)),
            ("by", Some(event.actor.name.clone())),
            ("revision", Some(event.revision.to_string())),
            ("kind", Some(event.kind.clone())),
            ("host", Some(self.host.to_string())),
            ("time", Some(self.time())),
        ];
        details.into_iter().filter_map(|(what, text)| Some((what, text?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_in_the_log() {
        let event = Event::new(Moment(1_767_323_045_678), Revision(1), "x", Severity::Info, "x");
        let mut notice = Notice::news(&Arc::new(event), &"edge-1".into());
        assert_eq!(notice.time(), "2026-01-02T03:04:05.678Z");
        Arc::make_mut(&mut notice.event).time = Moment(u64::MAX);
        assert_eq!(notice.time(), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn what_is_empty_is_left_out() {
        let notice = Notice::test(&"ops".parse().unwrap(), &"edge-1".into());
        let names: Vec<_> = notice.details().into_iter().map(|(what, _)| what).collect();
        assert_eq!(names, ["by", "revision", "kind", "host", "time"]);
    }
}
