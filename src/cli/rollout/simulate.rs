//! `rollout simulate`: what other terms would have made of stored evidence.

use crate::{
    api::{
        Op,
        release::{SimulateBody, Simulated},
    },
    cli::{
        call::Call,
        exit::Trouble,
        grammar::SimulateArgs,
        judged::{terms, verdict_lines},
        moment::Clock,
        session::Session,
        table::{Paint, Tone},
    },
};

/// Asks and prints.
///
/// # Errors
///
/// As for [`crate::cli::client::Client::call`].
pub async fn run(session: &mut Session<'_>, args: SimulateArgs) -> Result<(), Trouble> {
    let body = SimulateBody { terms: args.judging.terms() };
    let call = Call::new(Op::SimulateRollout).at(&args.id).body(&body)?;
    let simulated: Vec<Simulated> = session.show(&call).await?.read()?;
    let (clock, paint) = (session.clock(), session.out.paint);
    session.out.lines(simulated.iter().flat_map(|service| render(service, &clock, paint)))
}

fn render(simulated: &Simulated, clock: &Clock, paint: Paint) -> Vec<String> {
    let mut lines = vec![paint.apply(Tone::Bold, simulated.service.as_str()).into_owned()];
    match &simulated.then {
        Some(verdict) => lines.extend(verdict_lines(2, "then", verdict, paint)),
        None => lines.push("  then: nothing was judged".into()),
    }
    let at = simulated.at.map(|at| format!(", first at {}", clock.at(at))).unwrap_or_default();
    match &simulated.now {
        Some(verdict) => {
            lines.extend(verdict_lines(2, &format!("by these terms{at}"), verdict, paint));
        }
        None => lines.push("  by these terms: no evidence was kept to judge".into()),
    }
    lines.extend(terms(&simulated.terms));
    lines
}
