//! `lbctl`: what was typed becomes requests to the admin API, their replies become text or JSON.
//!
//! - `grammar` is what can be typed; every value is checked there, by the types of the model.
//! - `help` is how that is explained.
//! - `call` is one request; `client` sends it and reads the reply, or follows the stream of events.
//! - One file for each noun turns its verbs into calls and the replies into lines.
//! - `exit` has the exit codes, and the troubles that lead to them.
//! - `out`, `table`, `moment` and `numbers` are how lines look, `judged` is how the guard is quoted.

mod call;
mod cert;
mod change;
mod check;
mod client;
mod cohort;
mod complete;
mod config;
mod endpoint;
mod events;
mod exit;
mod explain;
#[cfg(test)]
mod fake;
mod grammar;
mod guard;
mod help;
mod import;
mod judged;
mod maintenance;
mod man;
mod moment;
mod notify;
mod numbers;
mod out;
mod pause;
mod rollout;
mod session;
mod status;
mod table;
#[cfg(test)]
mod tests;
mod upgrade;
mod values;
mod version;
mod weight;

use std::{ffi::OsString, process::ExitCode};

use clap::{ColorChoice, FromArgMatches, error::ErrorKind};

pub use complete::answer as complete;
pub use exit::Exit;
pub use grammar::Cli;
pub use help::command;

use exit::Trouble;
use grammar::{Globals, Verb};
use out::{Form, Out};
use session::Session;
use table::Paint;

/// Reads the command line.
///
/// # Errors
///
/// The exit code, after help or what is wrong has been printed.
pub fn parse(typed: impl IntoIterator<Item = OsString>) -> Result<Cli, ExitCode> {
    let typed: Vec<OsString> = typed.into_iter().collect();
    let mut command = command();
    if typed.iter().any(|word| word == "--no-color") {
        command = command.color(ColorChoice::Never);
    }
    let matches = command.try_get_matches_from_mut(typed);
    matches.and_then(|matches| Cli::from_arg_matches(&matches)).map_err(|error| {
        if is_help(&error) {
            // To a closed pipe there is nothing to say.
            let _ = error.print();
        } else {
            eprint!("{}", misuse(&error));
        }
        if error.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() }
    })
}

/// Whether it is help that was asked for, or that is shown since nothing was.
fn is_help(error: &clap::Error) -> bool {
    let by_mistake = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    !error.use_stderr() || by_mistake
}

/// What is wrong with the command line, in the form of all other errors.
fn misuse(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let text = text.split("\n\nFor more information").next().unwrap_or(&text).trim_end();
    let text = text.strip_prefix("error: ").unwrap_or(text);
    format!("lbctl: {text}\n  hint: --help after the verb shows what it takes\n")
}

/// Does what was typed and says how it went.
pub async fn run(cli: Cli) -> ExitCode {
    let plain = cli.globals.no_color.then_some(Paint::Off);
    let out = Out::standard(form(&cli.globals), plain);
    execute(cli, out).await.into()
}

fn form(globals: &Globals) -> Form {
    match (globals.json, globals.quiet) {
        (true, _) => Form::Json,
        (false, true) => Form::Quiet,
        (false, false) => Form::Text,
    }
}

async fn execute(cli: Cli, out: Out<'_>) -> Exit {
    let mut session = Session::new(&cli.globals, out);
    let outcome = match session.terms_fit(&cli.verb) {
        Ok(()) => dispatch(&mut session, cli.verb).await,
        Err(trouble) => Err(trouble),
    };
    let Err(trouble) = outcome else {
        return Exit::Done;
    };
    if trouble.exit() != Exit::Done {
        session.out.trouble(&trouble);
    }
    trouble.exit()
}

async fn dispatch(session: &mut Session<'_>, verb: Verb) -> Result<(), Trouble> {
    match verb {
        Verb::Status(args) => status::run(session, args).await,
        Verb::Weight(args) => weight::weight(session, args).await,
        Verb::Switch(args) => weight::switch(session, args).await,
        Verb::Rollback(args) => weight::rollback(session, args).await,
        Verb::Rollout(verb) => rollout::run(session, verb).await,
        Verb::Check(args) => check::run(session, args).await,
        Verb::Guard(verb) => guard::run(session, verb).await,
        Verb::Pause(args) => pause::pause(session, args).await,
        Verb::Resume(services) => pause::resume(session, services).await,
        Verb::Notify(verb) => notify::run(session, verb).await,
        Verb::Maintenance(verb) => maintenance::run(session, verb).await,
        Verb::Endpoint(verb) => endpoint::run(session, verb).await,
        Verb::Cohort(verb) => cohort::run(session, verb).await,
        Verb::Explain(args) => explain::run(session, args).await,
        Verb::Events(args) => events::run(session, args).await,
        Verb::Cert(verb) => cert::run(session, verb).await,
        Verb::Config(verb) => config::run(session, verb).await,
        Verb::Upgrade(args) => upgrade::run(session, args).await,
        Verb::Version => version::run(session).await,
        Verb::Completion { shell } => session.out.raw(&complete::script(shell)?),
        Verb::Man => session.out.raw(&man::page(command())?),
    }
}
