//! What two processes say to each other.

use std::{net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::model::{State, handed::Handed, units::ListenerName};

/// The form of this conversation. Two that speak different forms do not hand over.
pub const PROTOCOL: u32 = 1;

/// What the process that runs says.
#[derive(Debug, Deserialize, Serialize)]
pub enum Order {
    /// What there is to be had; each thing is a descriptor that came along.
    Offer(Offer),
    /// What it knows, which is not changed any more.
    State(Box<Handed>),
    /// Everything is the next one's from now on.
    Yours,
}

/// What there is to be had.
#[derive(Debug, Deserialize, Serialize)]
pub struct Offer {
    /// [`PROTOCOL`] of who offers.
    pub protocol: u32,
    /// Its release.
    pub version: String,
    /// Its number.
    pub pid: u32,
    /// What came along.
    pub things: Vec<Thing>,
    /// Another offer follows.
    pub more: bool,
}

/// A descriptor that is handed over.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Thing {
    /// A socket of a listener.
    Listener(ListenerSocket),
    /// The socket of `admin.http`.
    Http(SocketAddr),
    /// The admin socket.
    Admin {
        /// Where its file is.
        path: PathBuf,
        /// Which file that is.
        inode: u64,
    },
    /// The lock of a state's folder.
    Lock(PathBuf),
}

/// A socket of a listener; it may have several.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ListenerSocket {
    /// The listener's name.
    pub name: ListenerName,
    /// Its address as the config has it.
    pub configured: SocketAddr,
    /// Its address as it is; a port 0 has become a real one.
    pub address: SocketAddr,
    /// Somebody else has it open too, and goes on with it: systemd.
    pub is_foreign: bool,
}

/// What the next process says.
#[derive(Debug, Deserialize, Serialize)]
pub enum Word {
    /// Everything that can fail is done.
    Prepared(Prepared),
    /// It accepts clients.
    Serving,
    /// It cannot go on.
    Failed {
        /// Why.
        why: String,
    },
}

/// What the next process says once everything is its own, a line each: only the end of the wire comes
/// after it.
#[derive(Debug, Deserialize, Serialize)]
pub enum Counsel {
    /// What it decided.
    Decided(Box<State>),
    /// It stops, and the process before it is not to wait for who says nothing.
    Stops,
}

/// What the next process has got ready.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Prepared {
    /// [`PROTOCOL`] that it speaks.
    pub protocol: u32,
    /// Its release.
    pub version: String,
    /// The addresses of listeners that it goes on with.
    pub listeners: Vec<SocketAddr>,
    /// Whether it goes on with the admin socket.
    pub admin: bool,
}
