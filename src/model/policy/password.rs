//! Who may come in with a name and a password (RFC 7617).

use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc};

use argon2::{Argon2, PasswordVerifier, password_hash::phc::PasswordHash};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Serialize;

/// The largest cost of a bcrypt hash: each step doubles the time, and 14 takes about a second.
const BCRYPT_COST_MAX: u32 = 14;
/// How much memory checking an argon2 hash may take, in KiB, and how many passes.
const ARGON2_LIMITS: (u32, u32) = (256 << 10, 16);

/// A service that asks for names and passwords.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BasicAuth {
    /// Where names and hashes are.
    pub file: PathBuf,
    /// What clients are told that the password is for.
    pub realm: Box<str>,
    /// The names and hashes, read with the config.
    #[serde(skip)]
    pub users: Arc<Users>,
}

/// Names with the hashes of their passwords.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Users(BTreeMap<Box<str>, Hash>);

/// The hash of a password, in its usual text form.
#[derive(Clone, PartialEq)]
struct Hash(Box<str>);

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What is wrong with a line of the file. Hashes are not repeated.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotAUser {
    /// Not `NAME:HASH`.
    #[error("is not NAME:HASH")]
    Form,
    /// A name twice.
    #[error("has the name {0} again")]
    Twice(String),
    /// Another way to hash, or none.
    #[error("has for {0} neither a bcrypt nor an argon2id hash")]
    Unknown(String),
    /// A hash that would take too long or too much memory to check.
    #[error("has for {0} a hash that is too costly to check")]
    Costly(String),
}

impl Users {
    /// Reads a file in the format of `htpasswd`: `NAME:HASH` in each line, `#` before comments.
    ///
    /// # Errors
    ///
    /// The number of the first line that is wrong, and why.
    pub fn read(text: &str) -> Result<Self, (usize, NotAUser)> {
        let mut users = BTreeMap::new();
        for (n, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, hash) = user(line).map_err(|wrong| (n + 1, wrong))?;
            if users.insert(name.into(), hash).is_some() {
                return Err((n + 1, NotAUser::Twice(name.to_owned())));
            }
        }
        Ok(Self(users))
    }

    /// Whether nobody can come in.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The hash that `name` has, as text: what was once found about a password holds for it only.
    pub fn hash_of(&self, name: &str) -> &str {
        self.0.get(name).map_or("", |hash| &hash.0)
    }

    /// Whether it is the password of `name`. Takes long, and as long for a name that nobody has.
    pub fn admit(&self, name: &str, password: &str) -> bool {
        let known = self.0.get(name);
        let hash = known.or_else(|| self.0.values().next());
        hash.is_some_and(|hash| hash.fits(password)) && known.is_some()
    }
}

fn user(line: &str) -> Result<(&str, Hash), NotAUser> {
    let (name, hash) = line.split_once(':').ok_or(NotAUser::Form)?;
    if name.is_empty() || hash.is_empty() {
        return Err(NotAUser::Form);
    }
    let unknown = || NotAUser::Unknown(name.to_owned());
    let is_costly = if hash.starts_with("$argon2id$") {
        let hash = PasswordHash::new(hash).map_err(|_| unknown())?;
        let params = argon2::Params::try_from(&hash).map_err(|_| unknown())?;
        if hash.salt.is_none() || hash.hash.is_none() {
            return Err(unknown());
        }
        let (memory, passes) = ARGON2_LIMITS;
        params.m_cost() > memory || params.t_cost() > passes
    } else if ["$2a$", "$2b$", "$2y$"].iter().any(|prefix| hash.starts_with(prefix)) {
        let parts: bcrypt::HashParts = hash.parse().map_err(|_| unknown())?;
        parts.get_cost() > BCRYPT_COST_MAX
    } else {
        return Err(unknown());
    };
    if is_costly { Err(NotAUser::Costly(name.to_owned())) } else { Ok((name, Hash(hash.into()))) }
}

impl Hash {
    fn fits(&self, password: &str) -> bool {
        if self.0.starts_with("$argon2id$") {
            let hash = PasswordHash::new(&self.0);
            return hash.is_ok_and(|hash| {
                Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()
            });
        }
        bcrypt::verify(password, &self.0).unwrap_or(false)
    }
}

/// Name and password of an `Authorization` header, if it has any.
pub fn credentials(authorization: &str) -> Option<(String, String)> {
    let (scheme, encoded) = authorization.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (name, password) = text.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `ada` with `hunter22`, by `htpasswd -B -C 4`-like and argon2 tools.
    fn file() -> String {
        use argon2::password_hash::{PasswordHasher, phc::Salt};
        let params = argon2::Params::new(64, 1, 1, None).unwrap();
        let argon2 = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
        let salt = Salt::from_b64("c29tZXNhbHQ").unwrap();
        let bob: PasswordHash = argon2.hash_password_with_salt(b"hunter33", &salt).unwrap();
        let ada = bcrypt::hash_with_salt("hunter22", 4, [7; 16]).unwrap();
        let ada = ada.format_for_version(bcrypt::Version::TwoY);
        format!("# who may see it\nada:{ada}\n\n  bob:{bob}\r\n")
    }

    #[test]
    fn both_kinds_of_hashes_are_checked() {
        let users = Users::read(&file()).unwrap();
        assert!(users.admit("ada", "hunter22") && users.admit("bob", "hunter33"));
        for (name, password) in [("ada", "hunter33"), ("bob", ""), ("eve", "hunter22"), ("", "")] {
            assert!(!users.admit(name, password), "{name}");
        }
        assert!(!Users::default().admit("ada", "hunter22"));
        assert!(!format!("{users:?}").contains('$'), "hashes are not shown");
    }

    #[test]
    fn what_is_wrong_with_a_line_is_told_without_the_hash() {
        for (line, wrong) in [
            ("ada", NotAUser::Form),
            (":x", NotAUser::Form),
            ("ada:hunter22", NotAUser::Unknown("ada".into())),
            ("ada:$apr1$x$y", NotAUser::Unknown("ada".into())),
            ("ada:$2y$10$short", NotAUser::Unknown("ada".into())),
            ("ada:$argon2id$v=19$m=64", NotAUser::Unknown("ada".into())),
            (
                "ada:$2y$31$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
                NotAUser::Costly("ada".into()),
            ),
        ] {
            assert_eq!(Users::read(&format!("\n{line}\n")), Err((2, wrong)), "{line}");
        }
        let twice = format!("{}{}", file(), file());
        assert!(matches!(Users::read(&twice), Err((6, NotAUser::Twice(_)))));
    }

    #[test]
    fn credentials_are_read_as_clients_send_them() {
        let read = |text: &str| credentials(text);
        let ada = Some(("ada".to_owned(), "a:b".to_owned()));
        assert_eq!(read(&format!("Basic {}", STANDARD.encode("ada:a:b"))), ada);
        assert_eq!(read(&format!("basic  {}", STANDARD.encode("ada:a:b"))), ada);
        for wrong in
            ["", "Basic", "Basic !", "Bearer YTpi", &format!("Basic {}", STANDARD.encode("a"))]
        {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
