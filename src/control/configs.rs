//! The config file while lbd runs: reload, diff, show, and the watcher.

use std::{fs, path::Path, sync::Arc, time::Duration};

use tokio::time::{MissedTickBehavior, interval};

use super::{Control, Rehearse, Shared};
use crate::{
    api::types::{ConfigDiff, ConfigShown, Difference, Reloaded},
    config,
    model::{
        Actor, Input, Refusal, ServiceName, Severity,
        command::{Reload, Runtime},
        diff::listed,
        state::ServiceState,
    },
};

/// How often the watcher reads the file. By content: an inode that was replaced, a symlink that was
/// switched and a bind mount are all seen, which file-system events would miss.
const WATCH: Duration = Duration::from_secs(1);

impl Control {
    /// Loads the config file again: all or nothing.
    ///
    /// # Errors
    ///
    /// [`Refusal::BadConfig`] with every mistake; what ran before still runs.
    pub fn reload(
        &mut self,
        actor: Actor,
        reason: Option<String>,
        runtime: Runtime,
        rehearse: Rehearse,
    ) -> Result<Reloaded, Refusal> {
        let result = config::load(&self.place.config)
            .map_err(|problems| Refusal::BadConfig(problems.to_string()))
            .and_then(|loaded| {
                let settings = Arc::new(loaded.settings);
                // Against what the process started with: that is what it still runs on.
                let needs_restart = config::needs_restart(&self.place.started_with, &settings);
                let reload = Reload { settings, actor: actor.clone(), reason, runtime };
                Ok(Reloaded {
                    changed: self.apply(Input::Reloaded(reload), rehearse)?,
                    needs_restart,
                })
            });
        match &result {
            _ if rehearse == Rehearse::Yes => {}
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
        result
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
        let now = read(&control, &path);
        let settled = now == seen;
        seen.clone_from(&now);
        if settled && now != tried && now.is_some() {
            tried = now;
            // The refusal is journaled and logged by `reload` itself.
            let _ = control.borrow_mut().reload(Actor::lbd(), None, Runtime::Kept, Rehearse::No);
        }
    }
}

/// The file's text, and that of the maintenance page.
pub type Content = (String, Option<Arc<str>>);

fn read(control: &Shared, path: &Path) -> Option<Content> {
    let page = control.borrow().model.settings.maintenance.page.clone();
    let page = page.map(|page| path.parent().unwrap_or(Path::new("/")).join(page));
    let page = page.and_then(|page| fs::read_to_string(page).ok()).map(Arc::from);
    Some((fs::read_to_string(path).ok()?, page))
}
