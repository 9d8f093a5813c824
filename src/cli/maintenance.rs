//! `maintenance on`, `off` and `status`.

use super::{
    call::Call,
    exit::Trouble,
    grammar::{Maintenance, MaintenanceOn, Services},
    moment,
    out::Form,
    session::Session,
    status::maintenance_line,
    values::Secret,
};
use crate::{
    api::{
        Op,
        types::{MaintenanceBody, MaintenanceView},
    },
    model::{Moment, maintenance::BYPASS_PATH},
};

/// Does what was typed.
///
/// # Errors
///
/// As for [`super::client::Client::call`].
pub async fn run(session: &mut Session<'_>, verb: Maintenance) -> Result<(), Trouble> {
    match verb {
        Maintenance::On(args) => on(session, args).await,
        Maintenance::Off(services) => off(session, &services).await,
        Maintenance::Status => status(session).await,
    }
}

async fn on(session: &mut Session<'_>, args: MaintenanceOn) -> Result<(), Trouble> {
    let secret = args.secret.map(|given| given.map_or_else(Secret::random, Ok)).transpose()?;
    let until = args.until.map(|until| until.resolve(&moment::now())).transpose();
    let no_moment = |error: jiff::Error| Trouble::Usage {
        problem: format!("--until is not a moment here: {error}"),
        hint: "write it as in 2026-11-22T04:00:00Z",
    };
    let body = MaintenanceBody {
        services: args.services.names,
        until: until.map_err(no_moment)?,
        span: args.span,
        message: args.message,
        allow: args.allow,
        secret: secret.as_ref().map(|secret| secret.0.clone()),
    };
    session.change(Call::new(Op::SetMaintenance).body(&body)?).await?;
    match secret {
        Some(secret) if !session.terms.dry_run => link(session, &secret),
        Some(_) | None => Ok(()),
    }
}

/// The link is made here and known to nobody else, so it is said even beside JSON.
fn link(session: &mut Session<'_>, secret: &Secret) -> Result<(), Trouble> {
    let text = format!("who opens {BYPASS_PATH}{} passes", secret.0);
    match session.out.form {
        Form::Text => session.out.lines([text]),
        Form::Json | Form::Quiet => {
            session.out.note(&text);
            Ok(())
        }
    }
}

async fn off(session: &mut Session<'_>, services: &Services) -> Result<(), Trouble> {
    session.change(Call::new(Op::EndMaintenance).services(&services.names)).await.map(drop)
}

async fn status(session: &mut Session<'_>) -> Result<(), Trouble> {
    let views: Vec<MaintenanceView> = session.show(&Call::new(Op::GetMaintenance)).await?.read()?;
    let now = moment::moment(&moment::now());
    let lines = render(&views, now, session);
    session.out.lines(lines)
}

fn render(views: &[MaintenanceView], now: Moment, session: &Session<'_>) -> Vec<String> {
    if views.is_empty() {
        return vec!["maintenance is off".into()];
    }
    let mut lines = Vec::new();
    for view in views {
        lines.push(maintenance_line(view, now, &session.zone));
        if !view.allow.is_empty() {
            let networks: Vec<_> = view.allow.iter().map(ToString::to_string).collect();
            lines.push(format!("  passes: {}", networks.join(", ")));
        }
        lines.extend(view.link.iter().map(|link| format!("  link:   {link}")));
    }
    lines
}
