//! The config file while lbd runs: reload, diff, show, and the watcher.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    task::{spawn_blocking, spawn_local},
    time::{Instant, MissedTickBehavior, interval, timeout_at},
};

use super::{
    Control, Rehearse, Shared,
    certificates::{refuse_expired, reread},
    clock,
    commit::{self, Ask},
    disk::SILENT,
    terms::Terms,
};
use crate::{
    api::types::{ConfigDiff, ConfigShown, Difference, Reloaded},
    config::{self, Loaded},
    model::{
        Actor, Changed, Input, Refusal, ServiceName, Settings, Severity,
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
async fn load(control: &Shared, deadline: Instant) -> Result<Loaded, Refusal> {
    let path = control.borrow().place.config.clone();
    let bad = |problem: String| Refusal::BadConfig(problem);
    let loading = spawn_blocking(move || config::load(&path));
    let loaded = timeout_at(deadline, loading).await.map_err(|_| bad(SILENT.into()))?;
    let loaded = loaded.map_err(|error| bad(error.to_string()))?;
    loaded.map_err(|problems| bad(problems.to_string()))
}

async fn take_over(control: &Shared, terms: Terms, runtime: Runtime) -> Result<Reloaded, Refusal> {
    let deadline = commit::deadline();
    let reloading = control.borrow().reloading.clone();
    let _turn = timeout_at(deadline, reloading.lock()).await.map_err(|_| commit::silent())?;
    let Loaded { settings, files, .. } = load(control, deadline).await?;
    refuse_expired(&control.borrow().model.settings, &settings, clock::now())?;
    // Against what the process started with: that is what it still runs on.
    let needs_restart = config::needs_restart(&control.borrow().place.started_with, &settings);
    let changed = adopt(control, settings, terms, runtime, deadline).await?;
    if !changed.dry_run {
        control.borrow_mut().named_files = files.into_keys().collect();
    }
    Ok(Reloaded { changed, needs_restart })
}

async fn adopt(
    control: &Shared,
    settings: Settings,
    terms: Terms,
    runtime: Runtime,
    deadline: Instant,
) -> Result<Changed, Refusal> {
    let Terms { actor, reason, if_revision, rehearse } = terms;
    let reload = Reload { settings: Arc::new(settings), actor, reason, runtime };
    let ask = Ask { input: Input::Reloaded(reload), if_revision, rehearse, deadline };
    commit::change(control, ask).await
}

/// Loads the certificates' files again, and orders at once what could not be had by ACME; nothing else.
///
/// # Errors
///
/// [`Refusal::BadConfig`] with everything that is wrong; those that were in force still are.
pub async fn reload_certificates(control: &Shared, terms: Terms) -> Result<Changed, Refusal> {
    let deadline = commit::deadline();
    let reloading = control.borrow().reloading.clone();
    let _turn = timeout_at(deadline, reloading.lock()).await.map_err(|_| commit::silent())?;
    let (old, config) = {
        let control = control.borrow();
        (control.model.settings.clone(), control.place.config.clone())
    };
    let reading = spawn_blocking({
        let old = old.clone();
        move || reread(&old, &config)
    });
    let read = timeout_at(deadline, reading).await;
    let read = read.map_err(|_| Refusal::BadConfig(SILENT.into()))?;
    let settings = read.map_err(|error| Refusal::BadConfig(error.to_string()))??;
    refuse_expired(&old, &settings, clock::now())?;
    let is_real = terms.rehearse == Rehearse::No;
    let changed = adopt(control, settings, terms, Runtime::Kept, deadline).await?;
    if is_real {
        control.borrow_mut().hurry_certificates();
    }
    Ok(changed)
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
        let named = control.borrow().named_files.clone();
        // Beside control: its disk may hang.
        let reading = spawn_blocking({
            let path = path.clone();
            move || Content::read(&path, named)
        });
        let now = reading.await.ok().flatten();
        if !control.borrow().is_own() {
            continue;
        }
        let settled = now == seen;
        seen.clone_from(&now);
        if settled && now != tried && now.is_some() {
            tried = now;
            // The refusal is journaled and logged by `reload` itself.
            let reloaded = reload(&control, Terms::by(Actor::lbd()), Runtime::Kept).await;
            if reloaded.is_err() {
                // What is wrong elsewhere must not let a certificate run out that was renewed. If it is
                // the certificate, that was told just now.
                let _ = reload_certificates(&control, Terms::by(Actor::lbd())).await;
            }
        }
    }
}

/// What the config consists of: the file's text, and what is in the files that it names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Content {
    text: String,
    pub(super) files: BTreeMap<PathBuf, Option<String>>,
}

impl Content {
    /// As it was loaded.
    pub fn of(loaded: &Loaded) -> Self {
        let files = loaded.files.iter().map(|(file, text)| (file.clone(), Some(text.clone())));
        Self { text: loaded.text.clone(), files: files.collect() }
    }

    /// As it is now, with the files that were named before.
    fn read(text: &Path, named: Vec<PathBuf>) -> Option<Self> {
        let content = |file: &PathBuf| fs::read_to_string(config::beside(text, file)).ok();
        let files = named.into_iter().map(|file| (file.clone(), content(&file))).collect();
        Some(Self { text: fs::read_to_string(text).ok()?, files })
    }
}
