//! Certificates that lbd gets by itself.
//!
//! What is to be done when is decided in [`crate::model::acme`]; here is what it takes: what is kept is
//! read and written ([`files`]), orders are carried out on a thread of their own ([`order`]), one after
//! the other so that they share the account, and what comes of them is put in force and told.

mod client;
mod files;
mod order;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::Duration,
};

use tokio::{sync::mpsc, task::spawn_blocking, time::sleep};

use super::{Control, Shared, clock};
use crate::{
    model::{
        Actor, Draw, Moment, Settings, Severity,
        acme::{Held, Next, Wanted, Watch, Why},
        tls::Certificate,
        units::ListenerName,
    },
    tls::Automatic,
};
use files::{Damaged, Folder};
use order::{Done, Failed, Job, Proof};

/// How long the task sleeps at most, so that a wall clock that is set is noticed.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// What is known of the certificates that lbd gets by itself.
#[derive(Debug, Default)]
pub struct Desk {
    automatic: Automatic,
    /// Whose server issued a listener's certificate.
    issuers: BTreeMap<ListenerName, Arc<str>>,
    watches: BTreeMap<ListenerName, Watch>,
    /// For which listener and server a kept certificate was looked for.
    looked: BTreeSet<Place>,
    /// The listeners of which was told that they show a stand-in.
    told: BTreeSet<ListenerName>,
}

type Place = (ListenerName, Arc<str>);
type Kept = (Place, Result<Option<Certificate>, Damaged>);

impl Desk {
    /// The certificates in force.
    pub fn issued<'d>(
        &'d self,
        settings: &'d Settings,
    ) -> impl Iterator<Item = (&'d ListenerName, &'d Certificate)> {
        wishes(settings).filter_map(|(name, _)| Some((name, &**self.automatic.issued.get(name)?)))
    }

    /// Tries again what failed, without waiting longer than a server asks.
    pub fn hurry(&mut self) {
        self.watches.values_mut().for_each(Watch::hurry);
    }

    /// Where to look for certificates that the last run left.
    fn unlooked(&self, settings: &Settings) -> Vec<Place> {
        let place = |(name, _): (&ListenerName, _)| (name.clone(), settings.acme.directory.clone());
        wishes(settings).map(place).filter(|place| !self.looked.contains(place)).collect()
    }

    fn held(&self, listener: &ListenerName) -> Option<Held<'_>> {
        let facts = &self.automatic.issued.get(listener)?.facts;
        Some(Held { facts, directory: self.issuers.get(listener)? })
    }

    fn put(&mut self, listener: ListenerName, directory: Arc<str>, certificate: Arc<Certificate>) {
        self.told.remove(&listener);
        self.issuers.insert(listener.clone(), directory);
        self.automatic.issued.insert(listener, certificate);
    }

    /// What to order now, or until when there is nothing to order.
    fn next(&self, settings: &Settings, now: Moment) -> Result<(ListenerName, Why), Moment> {
        let mut earliest = Moment(u64::MAX);
        for (name, names) in wishes(settings) {
            let watch = self.watches.get(name).cloned().unwrap_or_default();
            match watch.next(&wanted(settings, names), self.held(name), now) {
                Next::Order(why) => return Ok((name.clone(), why)),
                Next::Rest(until) => earliest = earliest.min(until),
                Next::Wait => {}
            }
        }
        Err(earliest)
    }
}

/// The listeners that are to have a certificate by themselves, and for which names.
fn wishes(settings: &Settings) -> impl Iterator<Item = (&ListenerName, &Vec<String>)> {
    settings.listener.iter().filter_map(|(name, listener)| {
        let tls = listener.tls.as_ref().filter(|tls| !tls.acme.is_empty())?;
        Some((name, &tls.acme))
    })
}

fn wanted(settings: &Settings, names: &[String]) -> Wanted {
    Wanted { names: names.to_vec(), acme: settings.acme.clone() }
}

fn look(state_dir: &Path, places: Vec<Place>) -> Vec<Kept> {
    let look = |place: Place| {
        let kept = Folder::of(state_dir, &place.1).certificate(&place.0, clock::now());
        (place, kept)
    };
    places.into_iter().map(look).collect()
}

/// Gets and renews certificates while lbd runs.
pub async fn keep_certificates(control: Shared) {
    let mut changes = control.borrow().changes();
    loop {
        let places = {
            let control = control.borrow();
            control.acme.unlooked(&control.model.settings)
        };
        if !places.is_empty() {
            let state_dir = control.borrow().place.started_with.admin.state_dir.clone();
            // A panic there is told by the runtime.
            let Ok(kept) = spawn_blocking(move || look(&state_dir, places)).await else { return };
            control.borrow_mut().take_kept(kept);
        }
        let next = control.borrow_mut().begin_order();
        match next {
            Ok(job) => carry_out(&control, job).await,
            Err(until) => {
                let pause = until.since(clock::now()).duration().min(SLEEP_MAX);
                tokio::select! {
                    () = sleep(pause) => {}
                    changed = changes.changed() => if changed.is_err() { return },
                }
            }
        }
    }
}

async fn carry_out(control: &Shared, job: Job) {
    let (prove, mut asked) = mpsc::channel(1);
    let ordering = spawn_blocking({
        let job = job.clone();
        move || order::order(&job, prove)
    });
    while let Some((proofs, given)) = asked.recv().await {
        control.borrow_mut().prove(proofs);
        // The order may have been given up.
        let _ = given.send(());
    }
    let done = ordering.await.unwrap_or_else(|error| {
        let failed = Failed { problem: error.to_string(), asked: None };
        Done { result: Err(failed), remarks: Vec::new() }
    });
    control.borrow_mut().end_order(&job, done);
}

impl Control {
    /// Takes what the last run left, before the first handshake.
    pub(super) fn take_kept_certificates(&mut self) {
        let places = self.acme.unlooked(&self.model.settings);
        let kept = look(&self.place.started_with.admin.state_dir, places);
        self.take_kept(kept);
    }

    fn take_kept(&mut self, kept: Vec<Kept>) {
        for ((listener, directory), found) in kept {
            match found {
                Ok(None) => {}
                Ok(Some(one)) => self.acme.put(listener.clone(), directory.clone(), one.into()),
                Err(damaged) => {
                    let summary = format!("{damaged}; a new certificate is ordered");
                    self.note("certificate", Severity::Warning, Actor::lbd(), summary);
                }
            }
            self.acme.looked.insert((listener, directory));
        }
        self.update_handshakes();
    }

    /// Orders at once what could not be had so far.
    pub(super) fn hurry_certificates(&mut self) {
        self.acme.hurry();
        self.changes.send_modify(|n| *n += 1);
    }

    /// Puts in force what handshakes are made with.
    pub(super) fn update_handshakes(&mut self) {
        for problem in self.handshakes.update(&self.model.settings.listener, &self.acme.automatic) {
            // The config check has read the same certificates.
            tracing::error!("{problem}");
        }
    }

    /// The order that is to be carried out now, or until when there is none.
    fn begin_order(&mut self) -> Result<Job, Moment> {
        if self.is_stopping() || !self.is_own() {
            return Err(Moment(u64::MAX));
        }
        let settings = self.model.settings.clone();
        let (listener, why) = self.acme.next(&settings, clock::now())?;
        let tls = settings.listener.get(&listener).and_then(|listener| listener.tls.as_ref());
        let tls = tls.ok_or(Moment(0))?;
        let uncovered = tls.uncovered();
        if why == Why::First && !uncovered.is_empty() && self.acme.told.insert(listener.clone()) {
            let summary = format!(
                "listener {listener} has no certificate for {} yet: until it has been issued, \
                 handshakes get one that lbd signs itself and that nobody trusts",
                uncovered.join(", ")
            );
            self.note("certificate", Severity::Warning, Actor::lbd(), summary);
        }
        let wanted = wanted(&settings, &tls.acme);
        self.acme.watches.entry(listener.clone()).or_default().begin(wanted.clone());
        let state_dir = &self.place.started_with.admin.state_dir;
        let folder = Folder::of(state_dir, &wanted.acme.directory);
        tracing::info!("a certificate for {} is ordered", wanted.names.join(", "));
        Ok(Job { listener, wanted, folder })
    }

    fn prove(&mut self, proofs: Vec<Proof>) {
        for Proof { name, token, answer, digest } in proofs {
            self.publisher.proofs.insert(token, answer);
            self.acme.automatic.proofs.insert(name, digest);
        }
        self.update_handshakes();
        self.publish();
    }

    fn end_order(&mut self, job: &Job, done: Done) {
        let (now, draw) = (clock::now(), Draw(fastrand::u64(..)));
        self.publisher.proofs.clear();
        self.acme.automatic.proofs.clear();
        let Job { listener, wanted, .. } = job;
        let what =
            format!("the certificate for {} on listener {listener}", wanted.names.join(", "));
        let (severity, summary) = match done.result {
            Ok(certificate) => {
                let is_renewed = self.acme.held(listener).is_some();
                let facts = &certificate.facts;
                let held = Held { facts, directory: &wanted.acme.directory };
                let watch = self.acme.watches.entry(listener.clone()).or_default();
                watch.issued(wanted, held, now, draw);
                let verb = if is_renewed { "renewed" } else { "issued" };
                let summary = format!(
                    "{what} was {verb} by {} (acme), until {}",
                    facts.issuer,
                    day(facts.not_after)
                );
                let directory = wanted.acme.directory.clone();
                self.acme.put(listener.clone(), directory, certificate);
                (Severity::Info, summary)
            }
            Err(Failed { problem, asked }) => {
                let watch = self.acme.watches.entry(listener.clone()).or_default();
                let wait = watch.failed(now, asked, draw);
                let minutes = wait.secs_ceil().div_ceil(60);
                let meanwhile = match self.acme.held(listener) {
                    Some(held) => format!("the old one stays, until {}", day(held.facts.not_after)),
                    None => "there is none yet".to_owned(),
                };
                let summary = format!(
                    "{what} could not be had from {}: {problem}; {meanwhile}; the next attempt is \
                     in {minutes} minutes",
                    wanted.acme.directory
                );
                (Severity::Warning, summary)
            }
        };
        self.update_handshakes();
        self.publish();
        for remark in done.remarks {
            self.note("certificate", Severity::Warning, Actor::lbd(), remark);
        }
        self.note("certificate", severity, Actor::lbd(), summary);
    }
}

fn day(moment: Moment) -> String {
    let time = jiff::Timestamp::from_millisecond(moment.0.cast_signed());
    time.map_or_else(|_| "ever".to_owned(), |time| time.to_string())
}
