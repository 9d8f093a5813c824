//! `events`: the journal, and what is added to it.

use std::{collections::VecDeque, time::Duration};

use jiff::tz::TimeZone;

use super::{
    call::Call,
    exit::Trouble,
    grammar::EventsArgs,
    moment::{self, local},
    out::Form,
    session::Session,
    table::{Paint, Tone},
};
use crate::{
    api::{Op, types::EventList},
    model::{Event, Moment, Severity},
};

/// How many events are shown, if not told otherwise.
const LIMIT: usize = 20;
/// More events than the daemon keeps at hand; without a limit it would use its own.
const ALL: usize = 1_000_000;
/// How long to wait before the daemon is looked for again.
const RETRY: Duration = Duration::from_secs(1);
/// How many printed events are remembered.
const REMEMBERED: usize = 256;

/// Prints events.
///
/// # Errors
///
/// As for [`super::client::Client::call`]. Once it follows, it outlives the daemon.
pub async fn run(session: &mut Session<'_>, args: EventsArgs) -> Result<(), Trouble> {
    let now = moment::moment(&moment::now());
    let since = args.since.map(|span| Moment(now.0.saturating_sub(span.0)));
    let limit = args.limit.unwrap_or(if args.since.is_none() { LIMIT } else { ALL });
    let mut printed = Printed::default();
    if !args.follow {
        return past(session, &list(since, limit), &mut printed).await;
    }
    let mut call = list(since, limit);
    let mut begun = false;
    loop {
        match follow(session, &call, &mut printed, &mut begun).await {
            Err(trouble) if begun && trouble.is_absence() => {
                session.out.note(&format!("{trouble}; trying again"));
                begun_again(session, &call).await;
            }
            Err(trouble) => return Err(trouble),
            Ok(never) => match never {},
        }
        // What happened in between is in the journal.
        call = list(Some(printed.resume().unwrap_or(now)), ALL);
    }
}

fn list(since: Option<Moment>, limit: usize) -> Call {
    let call = Call::new(Op::Events).query("limit", limit);
    since.iter().fold(call, |call, since| call.query("since", since.0))
}

/// Waits until the daemon answers again.
async fn begun_again(session: &mut Session<'_>, call: &Call) {
    loop {
        tokio::time::sleep(RETRY).await;
        match session.client.call(call).await {
            Err(trouble) if trouble.is_absence() => {}
            Ok(_) | Err(_) => return session.out.note("lbd is back"),
        }
    }
}

/// The stream is opened before the journal is read, so that nothing falls between them.
async fn follow(
    session: &mut Session<'_>,
    call: &Call,
    printed: &mut Printed,
    begun: &mut bool,
) -> Result<std::convert::Infallible, Trouble> {
    let mut stream = session.client.follow(&Call::new(Op::Events)).await?;
    past(session, call, printed).await?;
    *begun = true;
    loop {
        let data = stream.next().await?;
        let garbled = |error: serde_json::Error| Trouble::Garbled(error.to_string());
        let event: Event = serde_json::from_str(&data).map_err(garbled)?;
        print(session, &event, printed)?;
    }
}

async fn past(
    session: &mut Session<'_>,
    call: &Call,
    printed: &mut Printed,
) -> Result<(), Trouble> {
    let list: EventList = session.client.call(call).await?.read()?;
    list.events.iter().try_for_each(|event| print(session, event, printed))
}

/// The events that were printed last, so that none is printed twice where stream and journal meet.
#[derive(Default)]
struct Printed(VecDeque<Event>);

impl Printed {
    /// Whether the event was not printed yet; a second time it was.
    fn is_new(&mut self, event: &Event) -> bool {
        if self.0.contains(event) {
            return false;
        }
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(event.clone());
        true
    }

    /// From when on the journal may have more, if anything was printed.
    fn resume(&self) -> Option<Moment> {
        // The API leaves out the moment itself, in which more may have happened.
        self.0.back().map(|event| Moment(event.time.0.saturating_sub(1)))
    }
}

fn print(session: &mut Session<'_>, event: &Event, printed: &mut Printed) -> Result<(), Trouble> {
    if !printed.is_new(event) {
        return Ok(());
    }
    match session.out.form {
        Form::Text => {
            let now = moment::moment(&moment::now());
            let line = render(event, now, &session.zone, session.out.paint);
            session.out.lines([line])
        }
        Form::Json | Form::Quiet => session.out.json(event),
    }
}

/// `12:30:00  42  weight  alice: green 10% → 25% (canary)`.
fn render(event: &Event, now: Moment, zone: &TimeZone, paint: Paint) -> String {
    let (tone, mark) = match event.severity {
        Severity::Info => (Tone::Plain, ""),
        Severity::Warning => (Tone::Warning, "warning: "),
        Severity::Critical => (Tone::Bad, "critical: "),
    };
    let time = local(event.time, now, zone);
    let services: Vec<_> = event.services.iter().map(ToString::to_string).collect();
    let of =
        if services.is_empty() { String::new() } else { format!(" [{}]", services.join(", ")) };
    let reason = event.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    let what = paint.apply(tone, &format!("{mark}{}", event.summary)).into_owned();
    let (revision, kind, actor) = (event.revision, &event.kind, &event.actor.name);
    format!("{time}  r{revision}  {kind:<11}  {actor}: {what}{of}{reason}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Actor, Revision};

    fn event(time: u64, summary: &str) -> Event {
        Event {
            time: Moment(time),
            kind: "weight".into(),
            severity: Severity::Warning,
            actor: Actor { name: "alice".into(), uid: Some(1000), pid: None },
            services: vec!["app".parse().unwrap()],
            summary: summary.into(),
            reason: Some("canary".into()),
            cause: None,
            before: String::new(),
            after: String::new(),
            revision: Revision(42),
        }
    }

    #[test]
    fn an_event_is_one_line() {
        let line =
            render(&event(60_000, "green 10% → 25%"), Moment(61_000), &TimeZone::UTC, Paint::Off);
        assert_eq!(
            line,
            "00:01:00  r42  weight       alice: warning: green 10% → 25% [app] (canary)"
        );
    }

    #[test]
    fn no_event_is_printed_twice() {
        let mut printed = Printed::default();
        let seen = [(5, "a"), (7, "b"), (7, "b"), (7, "c"), (5, "a"), (7, "c"), (8, "d")]
            .map(|(time, summary)| printed.is_new(&event(time, summary)));
        assert_eq!(printed.resume(), Some(Moment(7)));
        assert_eq!(seen, [true, true, false, true, false, false, true]);
    }
}
