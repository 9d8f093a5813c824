//! The config file while lbd runs: reload, diff, show, and the watcher.

use std::{fs, path::Path, sync::Arc, time::Duration};

use tokio::time::{MissedTickBehavior, interval};

use super::{Control, Rehearse, Shared};
use crate::{
    api::types::{ConfigDiff, ConfigShown, Difference, Reloaded},
    config,
    model::{
        Actor, Input, Refusal, ServiceName, Severity,
        health::AdminState,
        state::{EndpointState, ServiceState},
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
    pub fn reload(&mut self, actor: Actor, rehearse: Rehearse) -> Result<Reloaded, Refusal> {
        let result = self.try_reload(&actor, rehearse);
        if rehearse == Rehearse::No {
            match &result {
                Ok(_) => self.reloads.done += 1,
                Err(refusal) => {
                    self.reloads.refused += 1;
                    let summary = format!("the new config was refused: {refusal}");
                    self.note("reload", Severity::Warning, actor, summary);
                }
            }
        }
        result
    }

    fn try_reload(&mut self, actor: &Actor, rehearse: Rehearse) -> Result<Reloaded, Refusal> {
        let loaded = config::load(&self.place.config).map_err(|p| Refusal::BadConfig(p.to_string()))?;
        let needs_restart = config::needs_restart(&self.model.settings, &loaded.settings);
        let input = Input::Reloaded(Arc::new(loaded.settings), actor.clone());
        let changed = self.apply(input, rehearse)?;
        Ok(Reloaded { changed, needs_restart })
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
        ConfigDiff { differences: services.flat_map(|(name, state)| differences(name, state)).collect() }
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
        compare(format!("pool.{pool}.weight"), share.to_string(), state.split.share(pool).to_string());
    }
    for (pool, file) in &state.file.endpoints {
        let runtime = state.endpoints.get(pool).map(Vec::as_slice).unwrap_or_default();
        compare(format!("pool.{pool}.endpoints"), listed(file), listed(runtime));
    }
    list
}

fn listed(endpoints: &[EndpointState]) -> String {
    let text = |e: &EndpointState| {
        let weight = if e.weight == 1 { String::new() } else { format!(" weight {}", e.weight) };
        let state = match e.admin {
            AdminState::Ready => String::new(),
            AdminState::Drain | AdminState::Maint => format!(" {}", e.admin.as_str()),
        };
        format!("{}{weight}{state}", e.address)
    };
    endpoints.iter().map(text).collect::<Vec<_>>().join(", ")
}

/// Reloads when the file's content changes. A content is tried once, and only when it is the same in
/// two readings, so that a file is not read while it is being written.
pub async fn watch(control: Shared) {
    let mut ticks = interval(WATCH);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let path = control.borrow().place.config.clone();
    let mut tried = read(&control, &path);
    let mut seen = tried.clone();
    loop {
        ticks.tick().await;
        let now = read(&control, &path);
        let settled = now == seen;
        seen.clone_from(&now);
        if settled && now != tried && now.is_some() {
            tried = now;
            // The refusal is journaled and logged by `reload` itself.
            let _ = control.borrow_mut().reload(Actor::lbd(), Rehearse::No);
        }
    }
}

/// The file's content, with that of the maintenance page.
fn read(control: &Shared, path: &Path) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
    let page = control.borrow().model.settings.maintenance.page.clone();
    let page = page.map(|page| path.parent().unwrap_or(Path::new("/")).join(page));
    Some((fs::read(path).ok()?, page.and_then(|page| fs::read(page).ok())))
}
