//! `config check`, `diff`, `reload` and `show`; `import` has `import-nginx`.

use std::path::Path;

use serde::Serialize;

use super::{
    call::Call,
    change,
    exit::Trouble,
    grammar::Config,
    import,
    session::Session,
    table::{Side::Left, Table},
};
use crate::{
    api::{
        Op,
        types::{ConfigDiff, ConfigShown, ReloadBody, Reloaded},
    },
    model::Settings,
};

/// Does what was typed.
///
/// # Errors
///
/// As for [`super::client::Client::call`]; for `check` if the file is not good.
pub async fn run(session: &mut Session<'_>, verb: Config) -> Result<(), Trouble> {
    match verb {
        Config::Check { file } => check(session, &file),
        Config::Diff => diff(session).await,
        Config::Reload { reset_runtime } => {
            let reloaded = reload(session, reset_runtime).await?;
            print(session, &reloaded)
        }
        Config::ImportNginx { file, output } => import::run(session, &file, output.as_deref()),
        Config::Show => show(session).await,
    }
}

/// What a good file holds.
#[derive(Serialize)]
struct Good {
    file: String,
    services: usize,
    listeners: usize,
}

impl Good {
    fn new(file: &Path, settings: &Settings) -> Self {
        let (services, listeners) = (settings.service.len(), settings.listener.len());
        Self { file: file.display().to_string(), services, listeners }
    }

    fn line(&self) -> String {
        let plural = |count: usize, name: &str| match count {
            1 => format!("1 {name}"),
            count => format!("{count} {name}s"),
        };
        let (services, listeners) =
            (plural(self.services, "service"), plural(self.listeners, "listener"));
        format!("{} is good: {services}, {listeners}", self.file)
    }
}

fn check(session: &mut Session<'_>, file: &Path) -> Result<(), Trouble> {
    match crate::config::load(file) {
        Ok(loaded) => {
            let good = Good::new(file, &loaded.settings);
            session.out.json(&good)?;
            session.out.lines([good.line()])
        }
        Err(problems) => {
            session.out.json(&problems)?;
            Err(Trouble::Usage { problem: problems.to_string(), hint: "" })
        }
    }
}

async fn diff(session: &mut Session<'_>) -> Result<(), Trouble> {
    let diff: ConfigDiff = session.show(&Call::new(Op::DiffConfig)).await?.read()?;
    let lines = match diff.differences.is_empty() {
        true => vec!["runtime is what the file says".into()],
        false => differences(&diff).lines(session.out.paint),
    };
    session.out.lines(lines)
}

fn differences(diff: &ConfigDiff) -> Table {
    let mut table = Table::new(0, &[("KEY", Left), ("FILE", Left), ("RUNTIME", Left)]);
    for difference in &diff.differences {
        let (file, runtime) = (difference.file.clone(), difference.runtime.clone());
        table.row([difference.key.clone().into(), file.into(), runtime.into()]);
    }
    table
}

async fn reload(session: &mut Session<'_>, reset_runtime: bool) -> Result<Reloaded, Trouble> {
    let call = Call::new(Op::ReloadConfig).body(&ReloadBody { reset_runtime })?.on(&session.terms);
    session.client.call(&call).await?.read()
}

fn print(session: &mut Session<'_>, reloaded: &Reloaded) -> Result<(), Trouble> {
    session.out.json(reloaded)?;
    change::print(&mut session.out, &reloaded.changed)?;
    let keys = reloaded.needs_restart.iter();
    session.out.lines(keys.map(|key| format!("{key} takes effect with the next restart")))
}

async fn show(session: &mut Session<'_>) -> Result<(), Trouble> {
    let shown: ConfigShown = session.show(&Call::new(Op::ShowConfig)).await?.read()?;
    session.out.lines([
        format!("# {} with every default", shown.file).as_str(),
        shown.effective.trim_end(),
    ])
}
