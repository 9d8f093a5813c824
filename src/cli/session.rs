//! What a verb works with: the daemon, the terms, the output.

use jiff::tz::TimeZone;

use super::{
    call::{Call, Terms},
    change,
    client::{Client, Reply},
    exit::Trouble,
    grammar::{Globals, Verb},
    moment::{self, Clock},
    out::Out,
};
use crate::model::{Changed, Millis, Revision};

/// How long a reply may take, if not told otherwise.
const REPLY_LIMIT: Millis = Millis::from_secs(10);
/// How long `--wait` waits, if not told otherwise.
pub const WAIT_LIMIT: Millis = Millis::from_secs(60);
/// How long a preflight may take, if not told otherwise.
pub const CHECK_LIMIT: Millis = Millis::from_secs(5 * 60);
/// How long a receiver may take for a test notice, if not told otherwise.
pub const NOTICE_LIMIT: Millis = Millis::from_secs(30);
/// As long as it takes: a hundred years.
pub const FOREVER: Millis = Millis::from_secs(100 * 365 * 86_400);

/// One run of `lbctl`.
pub struct Session<'w> {
    /// The daemon.
    pub client: Client,
    /// The terms of commands.
    pub terms: Terms,
    /// Where the result goes.
    pub out: Out<'w>,
    /// The zone in which moments are shown.
    pub zone: TimeZone,
    timeout: Option<Millis>,
}

impl<'w> Session<'w> {
    /// A session with what was typed.
    pub fn new(globals: &Globals, out: Out<'w>) -> Self {
        let terms = Terms {
            dry_run: globals.dry_run,
            reason: globals.reason.clone(),
            if_revision: globals.if_revision.map(Revision),
        };
        let client = Client::new(&globals.socket, globals.timeout.unwrap_or(REPLY_LIMIT));
        let zone = moment::now().time_zone().clone();
        Self { client, terms, out, zone, timeout: globals.timeout }
    }

    /// Refuses terms that the verb has no use for: nobody should believe in them.
    ///
    /// # Errors
    ///
    /// [`Trouble::Usage`].
    pub fn terms_fit(&self, verb: &Verb) -> Result<(), Trouble> {
        let given = [
            ("--dry-run", self.terms.dry_run),
            ("--reason", self.terms.reason.is_some()),
            ("--if-revision", self.terms.if_revision.is_some()),
        ];
        match given.iter().find(|(_, given)| *given) {
            Some((flag, _)) if !verb.changes() => Err(Trouble::Usage {
                problem: format!("{flag} is for verbs that change something; this one only shows"),
                hint: "leave it out",
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// How long to wait for something that takes its time.
    pub fn wait_limit(&self, otherwise: Millis) -> Millis {
        self.timeout.unwrap_or(otherwise)
    }

    /// Gives replies this long, if not told otherwise.
    pub fn allow(&mut self, limit: Millis) {
        self.client = self.client.within(self.wait_limit(limit));
    }

    /// A client for questions that are asked again and again: however long the wait is, a daemon that
    /// does not answer is soon noticed.
    pub fn poller(&self) -> Client {
        self.client.within(self.wait_limit(REPLY_LIMIT).min(REPLY_LIMIT))
    }

    /// How moments are shown now.
    pub fn clock(&self) -> Clock {
        Clock { now: moment::moment(&moment::now()), zone: self.zone.clone() }
    }

    /// Reads something; prints it if the form is JSON.
    ///
    /// # Errors
    ///
    /// As for [`Client::call`].
    pub async fn show(&mut self, call: &Call) -> Result<Reply, Trouble> {
        let reply = self.client.call(call).await?;
        self.out.reply(&reply)?;
        Ok(reply)
    }

    /// Gives a command and prints what it changed.
    ///
    /// # Errors
    ///
    /// As for [`Client::call`].
    pub async fn change(&mut self, call: Call) -> Result<Changed, Trouble> {
        let reply = self.client.call(&call.on(&self.terms)).await?;
        let changed: Changed = reply.read()?;
        self.out.reply(&reply)?;
        change::print(&mut self.out, &changed)?;
        Ok(changed)
    }
}
