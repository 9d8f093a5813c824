//! The next process, about the one that runs.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::{
        fd::OwnedFd,
        unix::net::{UnixListener, UnixStream},
    },
    path::Path,
    time::Duration,
};

use super::{
    message::{Offer, Order, PROTOCOL, Prepared, Thing, Word},
    wire::Wire,
};
use crate::model::{handed::Handed, units::ListenerName};

/// How long the predecessor may take for what it does at once.
const SOON: Duration = Duration::from_secs(30);

/// The process that runs, and what it offers.
#[derive(Debug)]
pub struct Predecessor {
    /// Its release.
    pub version: String,
    /// Its number.
    pub pid: u32,
    wire: Wire,
    things: Vec<(Thing, OwnedFd)>,
}

/// A socket of a listener that was handed over.
#[derive(Debug)]
pub struct Given {
    /// It.
    pub socket: TcpListener,
    /// Somebody else has it open too, and goes on with it.
    pub is_foreign: bool,
}

impl Predecessor {
    /// Hears what there is to be had.
    ///
    /// # Errors
    ///
    /// If nothing sensible comes.
    pub fn meet(stream: UnixStream) -> io::Result<Self> {
        let wire = Wire::new(stream);
        let mut things = Vec::new();
        loop {
            let (order, descriptors) = wire.receive(Some(SOON))?;
            let Order::Offer(Offer { protocol, version, pid, things: named, more }) = order else {
                return Err(io::Error::other("an offer was expected"));
            };
            if protocol != PROTOCOL {
                let why = format!("it hands over in form {protocol}, this one in form {PROTOCOL}");
                return Err(io::Error::other(why));
            }
            if named.len() != descriptors.len() {
                return Err(io::Error::other("descriptors are missing; is their limit too low?"));
            }
            things.extend(named.into_iter().zip(descriptors));
            if !more {
                return Ok(Self { version, pid, wire, things });
            }
        }
    }

    /// The sockets of a listener, if there are any: by its address, or by its name where the system has
    /// chosen the port.
    pub fn listener(&mut self, name: &ListenerName, configured: SocketAddr) -> Vec<Given> {
        let is_wanted = |thing: &Thing| match thing {
            Thing::Listener(socket) => {
                socket.configured == configured && (configured.port() != 0 || socket.name == *name)
            }
            Thing::Http(_) | Thing::Admin { .. } | Thing::Lock(_) => false,
        };
        let given = |(thing, descriptor)| Given {
            socket: TcpListener::from(descriptor),
            is_foreign: matches!(thing, Thing::Listener(socket) if socket.is_foreign),
        };
        self.take(is_wanted).into_iter().map(given).collect()
    }

    /// The socket of `admin.http`, if it has this address.
    pub fn http(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let taken = self.take(|thing| *thing == Thing::Http(address));
        taken.into_iter().next().map(|(_, descriptor)| descriptor.into())
    }

    /// The admin socket, if its file is this one.
    pub fn admin(&mut self, at: &Path, inode: u64) -> Option<UnixListener> {
        let wanted = Thing::Admin { path: at.to_owned(), inode };
        self.take(|thing| *thing == wanted).into_iter().next().map(|(_, d)| d.into())
    }

    /// The lock of a state's folder, if it is this one.
    pub fn lock(&mut self, folder: &Path) -> Option<OwnedFd> {
        let wanted = Thing::Lock(folder.to_owned());
        self.take(|thing| *thing == wanted).into_iter().next().map(|(_, d)| d)
    }

    fn take(&mut self, wanted: impl Fn(&Thing) -> bool) -> Vec<(Thing, OwnedFd)> {
        self.things.extract_if(.., |(thing, _)| wanted(thing)).collect()
    }

    /// Says that everything that can fail is done, and waits for what the predecessor knows. What was
    /// not taken of its things is closed.
    ///
    /// # Errors
    ///
    /// If the predecessor has thought better of it, or is gone.
    pub fn prepared(&mut self, listeners: Vec<SocketAddr>, admin: bool) -> io::Result<Handed> {
        self.things.clear();
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let prepared = Prepared { protocol: PROTOCOL, version, listeners, admin };
        self.wire.send(&Word::Prepared(prepared), &[], SOON)?;
        match self.wire.receive(Some(SOON))?.0 {
            Order::State(handed) => Ok(*handed),
            Order::Offer(_) | Order::Yours => Err(io::Error::other("a state was expected")),
        }
    }

    /// Says that clients are accepted, and waits until everything is this process's own.
    ///
    /// # Errors
    ///
    /// If the predecessor has thought better of it, or is gone.
    pub fn serving(&self) -> io::Result<()> {
        self.wire.send(&Word::Serving, &[], SOON)?;
        match self.wire.receive(Some(SOON))?.0 {
            Order::Yours => Ok(()),
            Order::Offer(_) | Order::State(_) => Err(io::Error::other("a blessing was expected")),
        }
    }

    /// Says why this process cannot go on.
    pub fn fail(&self, why: String) {
        // Whether it is heard or not: this process ends.
        let _ = self.wire.send(&Word::Failed { why }, &[], SOON);
    }

    /// Its end of the wire, which is closed when it ends.
    pub fn into_wire(self) -> UnixStream {
        self.wire.into_inner()
    }
}
