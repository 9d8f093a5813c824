//! Where the state survives a restart.
//!
//! A state is written whole or not at all: to a temporary file that is synced, then renamed over the
//! old one, and the folder synced. A reader finds the old state or the new one, whatever happens.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use crate::model::{State, state::FORMAT};

/// Keeps the state. A file now; the seam for a fleet's store later. Only the thread that writes calls
/// it.
pub trait Store: fmt::Debug + Send {
    /// Writes the state so that it survives whatever happens after this returns.
    ///
    /// # Errors
    ///
    /// If that cannot be promised. Whether the old state or the new one is found after a loss of power
    /// is open then; one of them is, whole.
    fn save(&mut self, state: &State) -> io::Result<()>;
}

/// A state file.
#[derive(Debug)]
pub struct FileStore {
    folder: PathBuf,
    /// Held while the process lives: two of them would overwrite each other's state.
    lock: File,
}

/// A state file that cannot be used. It is left where it is.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {problem}\n  hint: {hint}")]
pub struct Unusable {
    path: String,
    problem: String,
    hint: String,
}

const FILE: &str = "state.json";

impl FileStore {
    /// A store in `folder`, which is made if it is missing; `lock` is its lock, if it was handed over.
    ///
    /// # Errors
    ///
    /// If the folder cannot be made, or another process has it.
    pub fn new(folder: &Path, lock: Option<OwnedFd>) -> io::Result<Self> {
        // The state holds secrets of maintenance and users' ids: it is nobody else's to read.
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let lock = match lock {
            Some(lock) => File::from(lock),
            None => {
                let path = folder.join("lock");
                OpenOptions::new().create(true).append(true).mode(0o600).open(path)?
            }
        };
        // One that was handed over is held already, and is held by both until one of them ends.
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                return Err(io::Error::other("another lbd keeps its state there"));
            }
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
        Ok(Self { folder: folder.to_owned(), lock })
    }

    /// The lock, to be handed over.
    ///
    /// # Errors
    ///
    /// If there are too many descriptors.
    pub fn lock(&self) -> io::Result<OwnedFd> {
        Ok(self.lock.try_clone()?.into())
    }

    /// The state that the last run left, if there was one.
    ///
    /// # Errors
    ///
    /// [`Unusable`] if the file is damaged, foreign or of another release's form. It is never reset
    /// silently: [`FileStore::set_aside`] is the operator's decision.
    pub fn load(&self) -> Result<Option<State>, Unusable> {
        let path = self.path();
        let unusable = |problem: String| Unusable {
            path: path.display().to_string(),
            problem,
            hint:
                "restore the file from a backup, or start once with `lbd --reset-state`: it keeps \
                   this file aside and begins from the config file"
                    .into(),
        };
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                let hint = "make the file readable for the user that lbd runs as".into();
                return Err(Unusable { hint, ..unusable(format!("cannot be read: {error}")) });
            }
        };
        let state: State = serde_json::from_slice(&text)
            .map_err(|e| unusable(format!("is not a state of lbd: {e}")))?;
        if state.format == FORMAT {
            Ok(Some(state))
        } else {
            Err(unusable(format!("has form {}, this release reads form {FORMAT}", state.format)))
        }
    }

    /// Moves the state file aside and returns its new place; `None` if there is none.
    ///
    /// # Errors
    ///
    /// If it cannot be renamed.
    pub fn set_aside(&self, now: crate::model::Moment) -> io::Result<Option<PathBuf>> {
        let aside = self.folder.join(format!("{FILE}.aside-{}", now.0));
        match fs::rename(self.path(), &aside) {
            Ok(()) => Ok(Some(aside)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.join(FILE)
    }
}

impl Store for FileStore {
    fn save(&mut self, state: &State) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(state)?;
        let fresh = self.folder.join(format!("{FILE}.new"));
        let mut file =
            OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&fresh)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&fresh, self.path())?;
        File::open(&self.folder)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Moment;

    fn state() -> State {
        let text = include_str!("../../conf/minimal.toml");
        let settings =
            crate::config::check(text, &|_| Err(io::ErrorKind::NotFound.into())).unwrap();
        State::new(&settings)
    }

    #[test]
    fn what_was_saved_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = FileStore::new(&folder.path().join("deep/er"), None).unwrap();
        assert_eq!(store.load().unwrap(), None);
        store.save(&state()).unwrap();
        assert_eq!(store.load().unwrap(), Some(state()));
    }

    #[test]
    fn two_cannot_share_a_folder_and_strangers_cannot_read() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let mut store = FileStore::new(folder.path(), None).unwrap();
        store.save(&state()).unwrap();
        assert!(
            FileStore::new(folder.path(), None).unwrap_err().to_string().contains("another lbd")
        );
        let mode = fs::metadata(folder.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_torn_or_foreign_file_is_refused_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = FileStore::new(folder.path(), None).unwrap();
        store.save(&state()).unwrap();
        let path = folder.path().join(FILE);
        let whole = fs::read_to_string(&path).unwrap();
        let newer = whole.replace("\"format\": 1", "\"format\": 2");
        for bad in ["", "{}", "hello", &whole[..whole.len() / 2], &newer] {
            fs::write(&path, bad).unwrap();
            let error = store.load().unwrap_err().to_string();
            assert!(error.contains("state.json") && error.contains("--reset-state"), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), bad);
        }
        let aside = store.set_aside(Moment(7)).unwrap().unwrap();
        assert_eq!(fs::read_to_string(aside).unwrap(), newer);
        assert_eq!(store.load().unwrap(), None);
        assert_eq!(store.set_aside(Moment(8)).unwrap(), None);
    }

    #[test]
    fn a_failed_write_leaves_the_old_state() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = FileStore::new(folder.path(), None).unwrap();
        store.save(&state()).unwrap();
        // A folder in the place of the temporary file: the write fails for any user.
        fs::create_dir(folder.path().join("state.json.new")).unwrap();
        let next = State { revision: state().revision.next(), ..state() };
        assert!(store.save(&next).is_err());
        assert_eq!(store.load().unwrap(), Some(state()));
    }

    #[test]
    fn a_lock_that_was_handed_over_outlives_the_one_who_had_it() {
        let folder = tempfile::tempdir().unwrap();
        let old = FileStore::new(folder.path(), None).unwrap();
        let new = FileStore::new(folder.path(), Some(old.lock().unwrap())).unwrap();
        drop(old);
        assert!(FileStore::new(folder.path(), None).is_err());
        drop(new);
        assert!(FileStore::new(folder.path(), None).is_ok());
    }
}
