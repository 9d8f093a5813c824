//! The admin servers: the Unix socket for operators, and a TCP address for health and metrics.

use std::{
    fs,
    io::{self, ErrorKind},
    net::SocketAddr,
    os::fd::AsFd,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::unistd::{Group, chown};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener, UnixStream},
    sync::{Semaphore, watch},
    task::{spawn_blocking, spawn_local},
    time::{sleep, timeout},
};

use super::{Shared, access::Caller, handler, upgrade::Course};
use crate::{
    handover::{message::Thing, successor::Heirloom},
    model::settings::Admin,
};

/// How long an admin client may take to send a request's head.
const HEAD: Duration = Duration::from_secs(10);
/// How many operators may be connected at once, followers of events included.
const SOCKET_MAX: usize = 256;
/// How many connections `admin.http` has at once, and for how long each.
const HTTP_MAX: usize = 64;
const HTTP_TIME: Duration = Duration::from_secs(30);
/// How long those who are connected may take for the answers that they wait for, when lbd hands over.
const FAREWELL: Duration = Duration::from_secs(2);
/// For how long of that nobody is sent away who has asked nothing.
const FIRST_REQUEST: Duration = Duration::from_millis(250);
/// How long accepting rests after an error.
const REST: Duration = Duration::from_millis(50);

/// The admin socket. Its file is removed when this is dropped, if it is still the same.
#[derive(Debug)]
pub struct AdminSocket {
    listener: UnixListener,
    path: PathBuf,
    inode: u64,
    /// The file is another process's: of one that still hands over, or has taken over.
    is_foreign: bool,
}

/// Why the admin socket cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("admin.socket {path}: {problem}\n  hint: {hint}")]
pub struct SocketProblem {
    path: String,
    problem: String,
    hint: &'static str,
}

impl AdminSocket {
    /// Opens the socket: under another name first, then renamed, so that it is never there with the
    /// wrong permissions.
    ///
    /// # Errors
    ///
    /// If another lbd answers there, or the place cannot be written.
    pub fn open(admin: &Admin) -> Result<Self, SocketProblem> {
        let path = &admin.socket;
        let problem = |problem: String, hint| SocketProblem {
            path: path.display().to_string(),
            problem,
            hint,
        };
        if fs::symlink_metadata(path).is_ok_and(|m| !m.file_type().is_socket()) {
            let hint = "name another place in admin.socket, or remove what is there";
            return Err(problem("there is something else than a socket".into(), hint));
        }
        match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => {
                let hint =
                    "stop it first, or give this one its own admin.socket and admin.state_dir";
                return Err(problem("another lbd answers there".into(), hint));
            }
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                let hint = "run lbd as the user who owns it, or name another place in admin.socket";
                return Err(problem("it belongs to somebody else".into(), hint));
            }
            // Left by a process that is gone, or not there at all.
            Err(_) => {}
        }
        Self::make(admin).map_err(|error| {
            let hint = match error.kind() {
                ErrorKind::PermissionDenied => {
                    "run lbd as the user who owns the folder, or name another place in admin.socket"
                }
                ErrorKind::NotFound => {
                    "name an existing group in admin.socket_group, or make the folder"
                }
                _ => "name another place in admin.socket",
            };
            problem(format!("cannot be opened: {error}"), hint)
        })
    }

    fn make(admin: &Admin) -> io::Result<Self> {
        let path = admin.socket.clone();
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let fresh = path.with_extension(format!("{}", std::process::id()));
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(&fresh)?;
        let placed = place(admin, &fresh, &path);
        if placed.is_err() {
            // Nothing of the attempt is left behind; its own error is the one that counts.
            let _ = fs::remove_file(&fresh);
        }
        let inode = placed?;
        Ok(Self { listener, path, inode, is_foreign: false })
    }

    /// Goes on with the socket of a process that hands over.
    ///
    /// # Errors
    ///
    /// If its permissions cannot be made what the config says.
    pub fn adopt(admin: &Admin, listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        let path = admin.socket.clone();
        permit(admin, &path)?;
        listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(listener)?;
        let inode = fs::metadata(&path)?.ino();
        // If nothing comes of it, the file must stay.
        Ok(Self { listener, path, inode, is_foreign: true })
    }

    /// Its file is this process's from now on.
    pub fn own(&mut self) {
        self.is_foreign = false;
    }

    /// What the next process needs to go on with it.
    ///
    /// # Errors
    ///
    /// If there are too many descriptors.
    pub fn heirloom(&self) -> io::Result<Heirloom> {
        let thing = Thing::Admin { path: self.path.clone(), inode: self.inode };
        Ok(Heirloom { thing, descriptor: self.listener.as_fd().try_clone_to_owned()? })
    }

    /// Serves operators until the process ends, or hands over; then until those who are there have
    /// their answers.
    pub async fn serve(mut self, control: Shared) {
        let room = Arc::new(Semaphore::new(SOCKET_MAX));
        let mut course = control.borrow().course();
        loop {
            let Ok(place) = room.clone().acquire_owned().await else { return };
            let accepted = tokio::select! {
                biased;
                given = gone(&mut course) => {
                    self.is_foreign = given;
                    break;
                }
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let control = control.clone();
                    spawn_local(async move {
                        let caller = caller(&stream, &control).await;
                        serve_connection(stream, control, caller).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!("the admin socket cannot accept: {error}");
                    sleep(REST).await;
                }
            }
        }
        drop(self);
        let _ = timeout(FAREWELL, room.acquire_many(SOCKET_MAX as u32)).await;
    }
}

/// Waits until everything is the next process's, and says whether the admin socket is.
async fn gone(course: &mut watch::Receiver<Course>) -> bool {
    let gone = course.wait_for(|course| matches!(course, Course::Gone { .. })).await;
    // An error means that control is gone itself, with the process.
    gone.is_ok_and(|course| *course == Course::Gone { admin: true })
}

fn place(admin: &Admin, fresh: &Path, path: &Path) -> io::Result<u64> {
    permit(admin, fresh)?;
    fs::rename(fresh, path)?;
    Ok(fs::metadata(path)?.ino())
}

/// Lets those use the socket who may.
fn permit(admin: &Admin, fresh: &Path) -> io::Result<()> {
    fs::set_permissions(fresh, fs::Permissions::from_mode(admin.socket_mode))?;
    if let Some(name) = &admin.socket_group {
        let group = Group::from_name(name)?;
        let missing = || io::Error::new(ErrorKind::NotFound, format!("there is no group `{name}`"));
        chown(fresh, None, Some(group.ok_or_else(missing)?.gid))?;
    }
    Ok(())
}

async fn caller(stream: &UnixStream, control: &Shared) -> Caller {
    let Ok(credentials) = stream.peer_cred() else { return Caller::stranger() };
    if let Some(caller) = Caller::root(&credentials) {
        return caller;
    }
    // Names and groups may come over a network; control must not wait for it.
    let admin = control.borrow().model.settings.admin.clone();
    let found = spawn_blocking(move || Caller::of(&credentials, &admin)).await;
    found.unwrap_or_else(|_| Caller::stranger())
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        // Another process may have taken the place over meanwhile.
        if !self.is_foreign && fs::metadata(&self.path).is_ok_and(|m| m.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Opens `admin.http`.
///
/// # Errors
///
/// If the address cannot be had. `given` is a socket of this address that was handed over.
pub async fn open_http(
    address: SocketAddr,
    given: Option<std::net::TcpListener>,
) -> io::Result<TcpListener> {
    match given {
        None => TcpListener::bind(address).await,
        Some(socket) => {
            socket.set_nonblocking(true)?;
            TcpListener::from_std(socket)
        }
    }
}

/// Serves health and metrics until the process ends, or hands over; then until those who are there have
/// their answers.
pub async fn serve_http(listener: TcpListener, control: Shared) {
    let room = Arc::new(Semaphore::new(HTTP_MAX));
    let mut course = control.borrow().course();
    loop {
        let Ok(place) = room.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            biased;
            _ = gone(&mut course) => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let connection = serve_connection(stream, control.clone(), Caller::stranger());
                spawn_local(async move {
                    // Nobody who asks for metrics needs longer, and who never reads must not stay.
                    let _ = timeout(HTTP_TIME, connection).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!("admin.http cannot accept: {error}");
                sleep(REST).await;
            }
        }
    }
    drop(listener);
    let _ = timeout(FAREWELL, room.acquire_many(HTTP_MAX as u32)).await;
}

async fn serve_connection<S>(stream: S, control: Shared, caller: Caller)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let mut course = control.borrow().course();
    let service = service_fn(move |request| {
        let (control, caller) = (control.clone(), caller.clone());
        async move {
            Ok::<_, std::convert::Infallible>(handler::handle(request, &control, &caller).await)
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // What went wrong with one admin client concerns that client only.
    tokio::select! {
        _ = connection.as_mut() => {}
        _ = gone(&mut course) => {
            // Who was let in has asked, or is about to.
            if timeout(FIRST_REQUEST, connection.as_mut()).await.is_err() {
                connection.as_mut().graceful_shutdown();
                let _ = connection.await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_that_only_tried_to_take_over_leaves_the_socket_there() {
        let folder = tempfile::tempdir().unwrap();
        let text = include_str!("../../conf/minimal.toml");
        let missing = |_: &Path| Err(ErrorKind::NotFound.into());
        let socket = folder.path().join("admin.sock");
        let admin = Admin { socket, ..crate::config::check(text, &missing).unwrap().admin };
        let old = AdminSocket::open(&admin).unwrap();
        let adopted = || AdminSocket::adopt(&admin, old.heirloom().unwrap().descriptor.into());
        drop(adopted().unwrap());
        assert!(admin.socket.exists());
        let mut new = adopted().unwrap();
        new.own();
        drop(new);
        assert!(!admin.socket.exists());
    }
}
