//! What is kept of ACME: accounts, and certificates with their keys; in a folder for each server.
//!
//! Each file is written whole or not at all, and only lbd's user may read it. One that cannot be used
//! is set aside, never overwritten.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::{
    model::{Moment, settings::Secret, tls::Certificate, units::ListenerName},
    tls,
};

/// What may stand in a folder's name besides letters and digits.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'.').remove(b'-').remove(b'_');

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";

/// Where things of one server are kept.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

/// A file that cannot be used.
#[derive(Debug)]
pub struct Damaged {
    /// The file, and what is wrong with it.
    pub problem: String,
    /// Where it is now, if it could be moved.
    pub aside: Option<PathBuf>,
}

impl Folder {
    /// That of a server, below `state_dir`.
    pub fn of(state_dir: &Path, directory: &str) -> Self {
        let server = directory.strip_prefix("https://").unwrap_or(directory);
        let name = utf8_percent_encode(server, PLAIN).to_string();
        Self(state_dir.join("acme").join(name))
    }

    /// Where a listener's certificate is: first its key, then its chain.
    pub fn certificate_path(&self, listener: &ListenerName) -> PathBuf {
        self.0.join(format!("{listener}.pem"))
    }

    /// A listener's certificate, if one is kept.
    ///
    /// # Errors
    ///
    /// [`Damaged`]; the file is set aside.
    pub fn certificate(
        &self,
        listener: &ListenerName,
        now: Moment,
    ) -> Result<Option<Certificate>, Damaged> {
        let path = self.certificate_path(listener);
        match read(&path) {
            Ok(Some(pem)) => certificate(&path, &pem).map(Some).map_err(|p| aside(&path, p, now)),
            Ok(None) => Ok(None),
            Err(error) => Err(aside(&path, format!("cannot be read: {error}"), now)),
        }
    }

    /// Keeps a listener's certificate.
    ///
    /// # Errors
    ///
    /// If it cannot be written; the old one is still there.
    pub fn keep_certificate(&self, listener: &ListenerName, pem: &str) -> io::Result<()> {
        self.write(&self.certificate_path(listener), pem)
    }

    /// The account, if there is one.
    ///
    /// # Errors
    ///
    /// [`Damaged`]; the file is set aside.
    pub fn account<A: serde::de::DeserializeOwned>(
        &self,
        now: Moment,
    ) -> Result<Option<A>, Damaged> {
        let path = self.account_path();
        let text = match read(&path) {
            Ok(Some(text)) => text,
            Ok(None) => return Ok(None),
            Err(error) => return Err(aside(&path, format!("cannot be read: {error}"), now)),
        };
        match serde_json::from_str(&text) {
            Ok(account) => Ok(Some(account)),
            // The error's own text may repeat the key.
            Err(_) => Err(aside(&path, "is no account of lbd's".into(), now)),
        }
    }

    /// Keeps the account.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn keep_account<A: serde::Serialize>(&self, account: &A) -> io::Result<()> {
        self.write(&self.account_path(), &serde_json::to_string(account)?)
    }

    /// Sets the account aside, which the server does not know any more.
    pub fn set_account_aside(&self, now: Moment) -> Damaged {
        aside(&self.account_path(), "is of an account that the server does not know".into(), now)
    }

    fn account_path(&self) -> PathBuf {
        // No listener's name has a dot in it.
        self.0.join("account.key.json")
    }

    fn write(&self, path: &Path, text: &str) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
        let fresh = path.with_extension("new");
        // One that a power cut left may be of other rights.
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&fresh)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&fresh, path)?;
        File::open(&self.0)?.sync_all()
    }
}

/// A certificate as it stands in its file.
///
/// # Errors
///
/// What is wrong with it.
pub fn certificate(path: &Path, pem: &str) -> Result<Certificate, String> {
    let (_, facts) = tls::certificate(pem, pem).map_err(|problem| match problem {
        tls::Problem::Certificate(problem) | tls::Problem::Key(problem) => problem,
    })?;
    // The chain without the key before it, which must not be shown anywhere.
    let chain = pem.find(CERTIFICATE).map_or("", |at| pem.split_at(at).1);
    Ok(Certificate {
        cert: path.to_owned(),
        key: path.to_owned(),
        cert_pem: chain.into(),
        key_pem: Secret(pem.into()),
        facts,
    })
}

fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn aside(path: &Path, problem: String, now: Moment) -> Damaged {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".aside-{}", now.0));
    let aside = PathBuf::from(name);
    let moved = fs::rename(path, &aside).is_ok();
    Damaged { problem: format!("{} {problem}", path.display()), aside: moved.then_some(aside) }
}

impl std::fmt::Display for Damaged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.aside {
            Some(aside) => write!(f, "{}; it was set aside as {}", self.problem, aside.display()),
            None => write!(f, "{}; it could not be set aside", self.problem),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn made() -> String {
        let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        made.signing_key.serialize_pem() + &made.cert.pem()
    }

    #[test]
    fn what_was_kept_is_found_and_strangers_cannot_read_it() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::of(root.path(), "https://127.0.0.1:14000/dir");
        let web: ListenerName = "web".parse().unwrap();
        assert!(folder.certificate(&web, Moment(0)).unwrap().is_none());
        folder.keep_certificate(&web, &made()).unwrap();
        folder.keep_certificate(&web, &made()).unwrap();
        let kept = folder.certificate(&web, Moment(0)).unwrap().unwrap();
        assert_eq!(kept.facts.names, ["a.example"]);
        assert!(!format!("{kept:?}").contains("PRIVATE"), "{kept:?}");
        assert_eq!(kept.cert, root.path().join("acme/127.0.0.1%3A14000%2Fdir/web.pem"));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&kept.cert), 0o600);
        assert_eq!(mode(kept.cert.parent().unwrap()), 0o700);
        let other = Folder::of(root.path(), "https://127.0.0.1:14000/other");
        assert!(other.certificate(&web, Moment(0)).unwrap().is_none());
    }

    #[test]
    fn what_is_damaged_is_set_aside() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::of(root.path(), "https://a/dir");
        let web: ListenerName = "web".parse().unwrap();
        let (one, other) = (made(), made());
        let key = one.split_inclusive("-----END PRIVATE KEY-----\n").next().unwrap();
        let foreign = key.to_owned() + other.split_once("-----END PRIVATE KEY-----\n").unwrap().1;
        for (n, bad) in ["", "hello", &one[..one.len() / 2], &foreign].into_iter().enumerate() {
            folder.keep_certificate(&web, bad).unwrap();
            let damaged = folder.certificate(&web, Moment(n as u64)).unwrap_err();
            assert_eq!(fs::read_to_string(damaged.aside.as_ref().unwrap()).unwrap(), bad);
            assert!(damaged.to_string().contains("web.pem"), "{damaged}");
            assert!(folder.certificate(&web, Moment(9)).unwrap().is_none());
        }
        folder.keep_account(&"secret").unwrap();
        let damaged = folder.account::<Vec<u8>>(Moment(1)).unwrap_err().to_string();
        assert!(!damaged.contains("secret") && damaged.contains("account"), "{damaged}");
        assert!(folder.account::<String>(Moment(1)).unwrap().is_none());
    }
}
