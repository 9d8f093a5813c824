//! How this process was started.

use std::{
    ffi::OsString,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// Set for a process whose standard input leads to its predecessor.
pub const VARIABLE: &str = "LBD_HANDOVER";

/// How this process was started, so that the next one can be started in the same way.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The binary as it was named: what is there by now is what an upgrade starts.
    pub program: PathBuf,
    arguments: Vec<OsString>,
}

impl Origin {
    /// Of this process; to be asked for at its start, before anybody replaces the binary.
    ///
    /// # Errors
    ///
    /// If the system does not say what runs.
    pub fn here() -> io::Result<Self> {
        let mut words = std::env::args_os();
        let named = words.next().map(PathBuf::from).unwrap_or_default();
        // A name with a folder in it may lead through links, which a deployment turns.
        let program = match named.parent() {
            Some(folder) if folder != Path::new("") && named.exists() => {
                std::path::absolute(&named)?
            }
            _ => std::env::current_exe()?,
        };
        Ok(Self { program, arguments: words.filter(|word| word != "--reset-state").collect() })
    }

    /// Starts the binary that is there now, with `wire` as its way to this process.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    pub fn start(&self, wire: UnixStream) -> io::Result<Child> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).env(VARIABLE, "1").stdin(Stdio::from(OwnedFd::from(wire)));
        // Sockets that systemd opened come over the wire like all others.
        for variable in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] {
            command.env_remove(variable);
        }
        command.spawn()
    }
}

/// The way to the predecessor, if there is one. Standard input leads nowhere from then on.
///
/// # Errors
///
/// If standard input is no such way.
pub fn inherited() -> io::Result<Option<UnixStream>> {
    if std::env::var_os(VARIABLE).is_none() {
        return Ok(None);
    }
    let wire = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    wire.peer_addr()?;
    nix::unistd::dup2_stdin(std::fs::File::open("/dev/null")?)?;
    Ok(Some(wire))
}
