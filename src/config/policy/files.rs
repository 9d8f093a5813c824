//! What is read from files of its own: `basic_auth` and `error_pages`.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use super::{
    super::{places::file_content, reader::Value},
    Read,
};
use crate::model::policy::{
    error_page::{ErrorPage, ErrorPages, STATUSES},
    password::{BasicAuth, Users},
};

/// Largest error page in bytes.
const PAGE_MAX: usize = 1 << 20;
/// Longest realm in bytes.
const REALM_MAX: usize = 200;

/// Reads who may come in with a password.
pub(super) fn basic_auth(read: Read<'_>) -> impl Fn(&Value<'_>) -> Option<BasicAuth> {
    move |value| {
        let mut section = value.section("{ file = \"htpasswd\", realm = \"text\" }")?;
        let users = section.required("file", "\"htpasswd\"", |value| {
            let (file, text) = contents(value, read)?;
            match Users::read(&text) {
                Ok(users) if users.is_empty() => value.problem(format!(
                    "{} has no user; write NAME:HASH lines, as htpasswd -B makes them",
                    value.shown()
                )),
                Ok(users) => Some((file, Arc::new(users))),
                Err((line, wrong)) => value.problem(format!(
                    "{}, line {line}, {wrong}; write NAME:HASH lines, as htpasswd -B makes them",
                    value.shown()
                )),
            }
        });
        let realm = section.or("realm", "restricted".into(), realm);
        section.finish();
        let (file, users) = users?;
        Some(BasicAuth { file, realm, users })
    }
}

/// It stands in quotes in a header.
fn realm(value: &Value<'_>) -> Option<Box<str>> {
    let is_plain = |text: &&str| {
        let plain = |byte: u8| (b' '..=b'~').contains(&byte) && !b"\"\\".contains(&byte);
        (1..=REALM_MAX).contains(&text.len()) && text.bytes().all(plain)
    };
    value.text().filter(is_plain).map(Into::into).or_else(|| {
        value.is_not("a realm", "up to 200 ASCII characters other than quotes and backslashes")
    })
}

/// Reads the pages for errors.
pub(super) fn error_pages(read: Read<'_>) -> impl Fn(&Value<'_>) -> Option<ErrorPages> {
    move |value| {
        let section = value.section("{ \"502\" = \"502.html\" }")?;
        let mut pages = BTreeMap::new();
        for (key, value) in section.entries() {
            let status = key.parse().ok().filter(|status| STATUSES.contains(status));
            let Some(status) = status else {
                let all: Vec<_> = STATUSES.iter().map(u16::to_string).collect();
                value.problem::<()>(format!(
                    "is not a status that lbd answers a service's requests with; write one of {}",
                    all.join(", ")
                ));
                continue;
            };
            if let Some((file, html)) = contents(&value, read) {
                if html.len() > PAGE_MAX {
                    value.problem::<()>(format!(
                        "{} is larger than 1MiB; write a smaller page",
                        value.shown()
                    ));
                }
                pages.insert(status, ErrorPage { file, html: html.into() });
            }
        }
        Some(ErrorPages(pages))
    }
}

fn contents(value: &Value<'_>, read: Read<'_>) -> Option<(PathBuf, String)> {
    file_content(value, read, "write the path of a file that lbd may read")
}

#[cfg(test)]
mod tests {
    use std::{io, path::Path};

    use super::{super::super::reader::read_one, *};

    const ADA: &str = "ada:$2y$04$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";

    fn files(path: &Path) -> io::Result<String> {
        match path.to_str() {
            Some("users") => Ok(ADA.into()),
            Some("empty") => Ok("# nobody".into()),
            Some("plain") => Ok("\nada:hunter22".into()),
            Some("large") => Ok("x".repeat(PAGE_MAX + 1)),
            Some("page") => Ok("<h1>Sorry</h1>".into()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    #[test]
    fn users_are_read_with_the_config() {
        let read = |text: &str| read_one(text, basic_auth(&files));
        let auth = read("{ file = 'users' }").unwrap();
        assert_eq!((&*auth.realm, auth.users.is_empty()), ("restricted", false));
        for (text, expected) in [
            ("{ file = 'none' }", "\"none\" cannot be read: entity not found; write"),
            ("{ file = 'empty' }", "\"empty\" has no user; write"),
            ("{ file = 'plain' }", "\"plain\", line 2, has for ada neither a bcrypt nor"),
            ("{ file = 'users', realm = 'a\"b' }", "\"a\"b\" is not a realm; write"),
            ("{ realm = 'a' }", "is missing; write file ="),
            ("'users'", "\"users\" is not a table; write"),
        ] {
            let message = read(text).unwrap_err();
            assert!(message.starts_with(expected), "{text}: {message}");
            assert!(!message.contains("hunter"), "{message}");
        }
    }

    #[test]
    fn pages_are_read_for_statuses_of_lbds_own() {
        let read = |text: &str| read_one(text, error_pages(&files));
        let pages = read("{ '502' = 'page', 503 = 'page' }").unwrap();
        assert_eq!(pages.html(503).as_deref(), Some("<h1>Sorry</h1>"));
        assert_eq!(pages.html(504), None);
        for text in ["{ 404 = 'page' }", "{ x = 'page' }", "{ 502 = 'none' }", "{ 502 = 'large' }"]
        {
            assert!(read(text).unwrap_err().contains("; write "), "{text}");
        }
        assert!(STATUSES.is_sorted());
    }
}
