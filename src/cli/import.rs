//! `config import-nginx`.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{
    exit::Trouble,
    out::{Form, Out},
    session::Session,
};
use crate::import::{self, Files, Imported, Kind};

/// Longest file in bytes. Nobody writes more, and a device or a log is soon recognised.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// How many files a pattern may mean.
const FILES_MAX: usize = 1000;

/// What cannot be read as nginx's, for programs.
#[derive(Serialize)]
struct Unreadable<'b> {
    file: &'b str,
    line: usize,
    error: &'b str,
}

/// Imports `file`, into `output` or to standard output.
///
/// # Errors
///
/// If the file is not nginx's, or the new one cannot be written.
pub fn run(session: &mut Session<'_>, file: &Path, output: Option<&Path>) -> Result<(), Trouble> {
    // Certificates and the like are named relative to it, and lbd runs elsewhere.
    let absolute = std::path::absolute(file)?;
    let folder = absolute.parent().unwrap_or(&absolute);
    match import::import(file, folder, &Disk) {
        Ok(imported) => print(&mut session.out, &imported, file, output),
        Err(broken) => {
            let (file, line, error) = (&*broken.at.file, broken.at.line, broken.why.as_str());
            session.out.json(&Unreadable { file, line, error })?;
            Err(Trouble::Usage { problem: broken.to_string(), hint: "`nginx -t` may say more" })
        }
    }
}

fn print(
    out: &mut Out<'_>,
    imported: &Imported,
    file: &Path,
    output: Option<&Path>,
) -> Result<(), Trouble> {
    match output {
        Some(output) => std::fs::write(output, &imported.config).map_err(|error| {
            io::Error::new(error.kind(), format!("cannot write {}: {error}", output.display()))
        })?,
        None if out.form == Form::Json => {}
        None => out.raw(&imported.config)?,
    }
    out.json(imported)?;
    out.aside(imported.notes.iter().map(ToString::to_string));
    out.aside([summary(imported, file)]);
    Ok(())
}

fn summary(imported: &Imported, file: &Path) -> String {
    let all = imported.carried + imported.count(Kind::Left) + imported.count(Kind::Unneeded);
    format!(
        "lbctl: {}: {} of {all} directives carried over, {} notes of a difference, {} not needed, {} \
         not carried over",
        file.display(),
        imported.carried,
        imported.count(Kind::Differs),
        imported.count(Kind::Unneeded),
        imported.count(Kind::Left),
    )
}

/// Files as they are on this machine.
struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        match bytes.len() as u64 {
            0..=FILE_BYTES_MAX => Ok(bytes),
            _ => Err(io::Error::other("it is larger than 16 MiB; is it an nginx file?")),
        }
    }

    fn matching(&self, pattern: &Path) -> Vec<PathBuf> {
        // As for nginx: a file whose name begins with a dot is only meant by a pattern that has one.
        let options = glob::MatchOptions {
            case_sensitive: true,
            require_literal_separator: true,
            require_literal_leading_dot: true,
        };
        let found = glob::glob_with(&pattern.to_string_lossy(), options);
        found
            .map(|paths| paths.filter_map(Result::ok).take(FILES_MAX).collect())
            .unwrap_or_default()
    }
}
