//! The config file while lbd runs: reload, diff, show, and the watcher.

use std::{fs, path::Path, sync::Arc, time::Duration};

use tokio::{
    task::{spawn_blocking, spawn_local},
    time::{Instant, MissedTickBehavior, interval, timeout_at},
};

use super::{
    Control, Rehearse, Shared,
    commit::{self, Ask},
    disk::SILENT,
    terms::Terms,
};
use crate::{
    api::types::{ConfigDiff, ConfigShown, Difference, Reloaded},
    config,
    model::{
        Actor, Input, Refusal, ServiceName, Settings, Severity,
        command::{Reload, Runtime},
        diff::listed,
        state::ServiceState,
    },
};

/// How often the watcher reads the file. By content: an inode that was replaced, a symlink that was
/// switched and a bind mount are all seen, which file-system events would miss.
const WATCH: Duration = Duration::from_secs(1);

/// Loads the config file again: all or nothing, and one reload after the other.
///
/// # Errors
///
/// [`Refusal::BadConfig`] with every mistake; what ran before still runs.
pub async fn reload(control: &Shared, terms: Terms, runtime: Runtime) -> Result<Reloaded, Refusal> {
    let control = control.clone();
    // A task of its own: who asked may go away.
    let task = spawn_local(async move {
        let (actor, rehearse) = (terms.actor.clone(), terms.rehearse);
        let result = take_over(&control, terms, runtime).await;
        if rehearse == Rehearse::No {
            control.borrow_mut().note_reload(&result, actor);
        }
        result
    });
    task.await.unwrap_or_else(|error| Err(Refusal::BadConfig(error.to_string())))
}

/// Reads the file, beside control: its disk may hang.
async fn load(control: &Shared, deadline: Instant) -> Result<Settings, Refusal> {
    let path = control.borrow().place.config.clone();
    let bad = |problem: String| Refusal::BadConfig(problem);
    let loading = spawn_blocking(move || config::load(&path));
    let loaded = timeout_at(deadline, loading).await.map_err(|_| bad(SILENT.into()))?;
    let loaded = loaded.map_err(|error| bad(error.to_string()))?;
    Ok(loaded.map_err(|problems| bad(problems.to_string()))?.settings)
}

async fn take_over(control: &Shared, terms: Terms, runtime: Runtime) -> Result<Reloaded, Refusal> {
    let deadline = commit::deadline();
    let reloading = control.borrow().reloading.clone();
    let _turn = timeout_at(deadline, reloading.lock()).await.map_err(|_| commit::silent())?;
    let settings = load(control, deadline).await?;
    let Terms { actor, reason, if_revision, rehearse } = terms;
    // Against what the process started with: that is what it still runs on.
    let needs_restart = config::needs_restart(&control.borrow().place.started_with, &settings);
    let reload = Reload { settings: Arc::new(settings), actor, reason, runtime };
    let ask = Ask { input: Input::Reloaded(reload), if_revision, rehearse, deadline };
    Ok(Reloaded { changed: commit::change(control, ask).await?, needs_restart })
}

impl Control {
    fn note_reload(&mut self, result: &Result<Reloaded, Refusal>, actor: Actor) {
        match result {
            Ok(reloaded) => {
                self.reloads.done += 1;
                if reloaded.changed.changed && !reloaded.needs_restart.is_empty() {
                    let keys = reloaded.needs_restart.join(", ");
                    self.note(
                        "reload",
                        Severity::Warning,
                        actor,
                        format!("only a restart applies {keys}"),
                    );
                }
            }
            Err(refusal) => {
                self.reloads.refused += 1;
                let summary = format!("the new config was refused: {refusal}");
                self.note("reload", Severity::Warning, actor, summary);
            }
        }
    }

    /// How reloads went so far.
    pub fn reloads(&self) -> super::Reloads {
        self.reloads
    }

    /// The config in force, with every default.
    pub fn show_config(&self) -> ConfigShown {
        let effective = toml::to_string(&*self.model.settings);
        ConfigShown {
            file: self.place.config.display().to_string(),
            // Every value of the settings has a form in TOML: a test reads them back.
            effective: effective.unwrap_or_else(|error| format!("# cannot be shown: {error}\n")),
        }
    }

    /// Where runtime differs from the file.
    pub fn diff_config(&self) -> ConfigDiff {
        let services = self.model.state.services.iter();
        ConfigDiff {
            differences: services.flat_map(|(name, state)| differences(name, state)).collect(),
        }
    }
}

fn differences(name: &ServiceName, state: &ServiceState) -> Vec<Difference> {
    let mut list = Vec::new();
    let mut compare = |key: String, file: String, runtime: String| {
        if file != runtime {
            list.push(Difference { key: format!("service.{name}.{key}"), file, runtime });
        }
    };
    compare("baseline".into(), state.file.baseline.to_string(), state.baseline.to_string());
    for (pool, share) in state.file.split.iter() {
        compare(
            format!("pool.{pool}.weight"),
            share.to_string(),
            state.split.share(pool).to_string(),
        );
    }
    for (pool, file) in &state.file.endpoints {
        let runtime = state.endpoints.get(pool).map(Vec::as_slice).unwrap_or_default();
        compare(format!("pool.{pool}.endpoints"), listed(file), listed(runtime));
    }
    list
}

/// Reloads when the file's content changes. A content is tried once, and only when it is the same in
/// two readings, so that a file is not read while it is being written.
pub async fn watch(control: Shared) {
    let mut ticks = interval(WATCH);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let path = control.borrow().place.config.clone();
    let mut tried = Some(control.borrow().place.loaded.clone());
    let mut seen = tried.clone();
    loop {
        ticks.tick().await;
        let now = read(&control, &path).await;
        let settled = now == seen;
        seen.clone_from(&now);
        if settled && now != tried && now.is_some() {
            tried = now;
            // The refusal is journaled and logged by `reload` itself.
            let _ = reload(&control, Terms::by(Actor::lbd()), Runtime::Kept).await;
        }
    }
}

/// The file's text, and that of the maintenance page.
pub type Content = (String, Option<Arc<str>>);

/// Reads both, beside control: their disk may hang.
async fn read(control: &Shared, path: &Path) -> Option<Content> {
    let page = control.borrow().model.settings.maintenance.page.clone();
    let page = page.map(|page| path.parent().unwrap_or(Path::new("/")).join(page));
    let path = path.to_owned();
    let reading = spawn_blocking(move || {
        let page = page.and_then(|page| fs::read_to_string(page).ok()).map(Arc::from);
        Some((fs::read_to_string(path).ok()?, page))
    });
    reading.await.ok()?
}
