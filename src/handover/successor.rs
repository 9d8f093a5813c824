//! The process that runs, about the next one.

use std::{
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{net::UnixStream, process::ExitStatusExt},
    },
    process::{Child, ExitStatus},
    time::{Duration, Instant},
};

use nix::{
    sys::wait::{Id, WaitPidFlag, WaitStatus, waitid},
    unistd::Pid,
};

use super::{
    message::{Offer, Order, PROTOCOL, Prepared, Thing, Word},
    origin::Origin,
    wire::{DESCRIPTORS_MAX, Wire},
};
use crate::model::handed::Handed;

/// How long the next process may take to go on with what it was sent. Nothing is judged meanwhile.
const TAKING_OVER: Duration = Duration::from_secs(3);
/// How long a process whose wire is closed may take to end by itself, so that its status can be told.
const ENDING: Duration = Duration::from_millis(500);

/// Something that can be handed over, with its descriptor.
#[derive(Debug)]
pub struct Heirloom {
    /// What it is.
    pub thing: Thing,
    /// It.
    pub descriptor: OwnedFd,
}

/// The next process, while it is not the one that counts. Dropped, it is killed: before its wire is
/// closed, so that it does nothing about that.
#[derive(Debug)]
pub struct Successor {
    child: Mortal,
    wire: Wire,
}

/// A process that is killed when this is dropped.
#[derive(Debug)]
struct Mortal(Option<Child>);

/// The next process once everything is its own. The wire is kept open for as long as this process
/// lives: that is how the next one sees that it does.
#[derive(Debug)]
pub struct Heir {
    wire: Wire,
    child: Child,
}

/// The next process as one of this one's children.
#[derive(Debug)]
pub struct Kin(Child);

impl Successor {
    /// Starts the binary that is on the disk now.
    ///
    /// # Errors
    ///
    /// Why it cannot be started.
    pub fn start(origin: &Origin) -> Result<Self, String> {
        let cannot =
            |error: io::Error| format!("{} cannot be started: {error}", origin.program.display());
        let (ours, theirs) = UnixStream::pair().map_err(cannot)?;
        let child = origin.start(theirs).map_err(cannot)?;
        Ok(Self { wire: Wire::new(ours), child: Mortal(Some(child)) })
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.0.as_ref().map_or(0, Child::id)
    }

    /// Offers what there is, and waits until it is prepared.
    ///
    /// # Errors
    ///
    /// Why it is not, in its own words where it has any.
    pub fn prepare(
        &mut self,
        heirlooms: &[Heirloom],
        patience: Duration,
    ) -> Result<Prepared, String> {
        let end = Instant::now() + patience;
        let mut parts = heirlooms.chunks(DESCRIPTORS_MAX).peekable();
        loop {
            let part = parts.next().unwrap_or_default();
            let more = parts.peek().is_some();
            let offer = Order::Offer(Offer {
                protocol: PROTOCOL,
                version: env!("CARGO_PKG_VERSION").into(),
                pid: std::process::id(),
                things: part.iter().map(|heirloom| heirloom.thing.clone()).collect(),
                more,
            });
            let descriptors: Vec<_> = part.iter().map(|h| h.descriptor.as_fd()).collect();
            let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            if let Err(error) = self.wire.send(&offer, &descriptors, left) {
                return Err(self.explain(&error, patience));
            }
            if !more {
                break;
            }
        }
        let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        match self.hear(left, patience)? {
            Word::Prepared(prepared) if prepared.protocol == PROTOCOL => Ok(prepared),
            Word::Prepared(prepared) => Err(format!(
                "lbd {} hands over in form {}, and this one in form {PROTOCOL}",
                prepared.version, prepared.protocol
            )),
            Word::Serving => Err("the new process does not keep to the order of things".into()),
            Word::Failed { why } => Err(why),
        }
    }

    /// Sends what is known, and waits until the next process serves.
    ///
    /// # Errors
    ///
    /// Why it does not.
    pub fn take_over(&mut self, handed: Handed) -> Result<(), String> {
        let order = Order::State(Box::new(handed));
        if let Err(error) = self.wire.send(&order, &[], TAKING_OVER) {
            return Err(self.explain(&error, TAKING_OVER));
        }
        match self.hear(TAKING_OVER, TAKING_OVER)? {
            Word::Serving => Ok(()),
            Word::Failed { why } => Err(why),
            Word::Prepared(_) => Err("the new process does not keep to the order of things".into()),
        }
    }

    /// Lets it go on with everything.
    ///
    /// # Errors
    ///
    /// If it is gone.
    pub fn bless(mut self) -> Result<Heir, String> {
        if let Err(error) = self.wire.send(&Order::Yours, &[], TAKING_OVER) {
            return Err(self.explain(&error, TAKING_OVER));
        }
        let Self { wire, mut child } = self;
        let child = child.0.take().ok_or("it is gone")?;
        Ok(Heir { wire, child })
    }

    fn hear(&mut self, patience: Duration, told: Duration) -> Result<Word, String> {
        match self.wire.receive::<Word>(Some(patience)) {
            Ok((word, _)) => Ok(word),
            Err(error) => Err(self.explain(&error, told)),
        }
    }

    /// Why nothing more comes from it.
    fn explain(&mut self, error: &io::Error, patience: Duration) -> String {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                let patience = humantime::format_duration(patience);
                format!("the new process was not ready within {patience}, and was ended")
            }
            io::ErrorKind::InvalidData => format!("the new process is not understood: {error}"),
            _ => match self.ended() {
                Some(status) => format!("the new process ended by itself: {status}"),
                None => format!("the new process does not listen: {error}"),
            },
        }
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        let end = Instant::now() + ENDING;
        while Instant::now() < end {
            if let Ok(Some(status)) = self.child.0.as_mut()?.try_wait() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        None
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            // Where it has ended already there is nothing to kill.
            let _ = child.kill();
            // One that waits for a disk that hangs ends when that answers, and holds up nobody until then.
            std::thread::spawn(move || child.wait());
        }
    }
}

impl Heir {
    /// The way to it, which says when it ends, and the process.
    pub fn into_parts(self) -> (Wire, Kin) {
        (self.wire, Kin(self.child))
    }
}

impl Kin {
    /// Its number.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// How it ended, if it did already. That is left to be asked by whoever takes this process's children in:
    /// the service manager starts a service anew only if it sees itself how its main process ended.
    ///
    /// # Errors
    ///
    /// If the system does not know it.
    pub fn has_ended(&self) -> io::Result<Option<ExitStatus>> {
        let pid = Pid::from_raw(i32::try_from(self.id()).map_err(io::Error::other)?);
        let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        Ok(match waitid(Id::Pid(pid), look)? {
            WaitStatus::Exited(_, code) => Some(ExitStatus::from_raw(code << 8)),
            WaitStatus::Signaled(_, signal, _) => Some(ExitStatus::from_raw(signal as i32)),
            _ => None,
        })
    }
}
