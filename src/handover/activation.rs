//! Sockets that systemd opened (sd_listen_fds(3)).

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use crate::model::units::ListenerName;

/// A socket that systemd opened, with its `FileDescriptorName=`.
#[derive(Debug)]
pub struct Activated {
    /// What it is called; empty where that is not said.
    pub name: String,
    /// It.
    pub socket: TcpListener,
}

impl Activated {
    /// Whether it is meant for the listener of this name and address.
    pub fn is_for(&self, name: &ListenerName, address: SocketAddr) -> bool {
        self.name == name.as_str() || self.socket.local_addr().is_ok_and(|own| own == address)
    }
}

/// Takes the sockets that systemd opened for this process. Those that are no TCP listeners are left.
///
/// # Errors
///
/// If one of them cannot be used.
pub fn take() -> io::Result<Vec<Activated>> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut all = listenfd::ListenFd::from_env();
    let mut taken = Vec::new();
    for index in 0..all.len() {
        let name = names.next().unwrap_or_default().to_owned();
        match all.take_tcp_listener(index) {
            Ok(Some(socket)) => {
                socket.set_nonblocking(true)?;
                taken.push(Activated { name, socket });
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!("socket `{name}` of systemd is not for lbd: {error}");
            }
        }
    }
    Ok(taken)
}
