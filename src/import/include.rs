//! Puts included files in the place of `include`.

use std::{
    io,
    path::{Path, PathBuf},
    rc::Rc,
};

use super::{
    ledger::Ledger,
    parser::{Broken, Directive, Place, parse},
};

/// How many files may be read, the first one included.
const FILES_MAX: usize = 1000;
/// How many bytes they may have together.
const BYTES_MAX: usize = 16 << 20;
/// How deep files may include each other.
const DEPTH_MAX: usize = 16;

/// Where files come from.
pub trait Files {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// Why it cannot be read.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// The files that fit a pattern of the shell, sorted.
    fn matching(&self, pattern: &Path) -> Vec<PathBuf>;
}

/// Reads the file at `path` and everything it includes.
///
/// As in nginx, a relative path starts at the folder of the first file. If there is nothing, it starts
/// at the folder above, since files of `sites-enabled` and the like are written for that one.
///
/// # Errors
///
/// Where a file is no nginx file, or files include each other in a circle.
pub fn read(path: &Path, files: &dyn Files, ledger: &Ledger) -> Result<Vec<Directive>, Broken> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut reader =
        Reader { files, ledger, folder, open: Vec::new(), count: 0, read: 0, bytes: 0 };
    let shown: Rc<str> = path.display().to_string().into();
    let bytes = files.read(path).map_err(|error| Broken {
        at: Place { file: shown.clone(), line: 1 },
        why: format!("cannot be read: {error}"),
    })?;
    reader.file(path, &bytes, &Place { file: shown, line: 1 })
}

struct Reader<'f> {
    files: &'f dyn Files,
    ledger: &'f Ledger,
    folder: &'f Path,
    open: Vec<PathBuf>,
    count: usize,
    read: usize,
    bytes: usize,
}

impl Reader<'_> {
    fn file(&mut self, path: &Path, bytes: &[u8], from: &Place) -> Result<Vec<Directive>, Broken> {
        let refuse = |why: String| Err(Broken { at: from.clone(), why });
        if self.open.iter().any(|open| open == path) {
            return refuse(format!("{} includes itself", path.display()));
        }
        self.read += 1;
        self.bytes = self.bytes.saturating_add(bytes.len());
        if self.read > FILES_MAX || self.open.len() >= DEPTH_MAX {
            return refuse(format!(
                "more than {FILES_MAX} files, or more than {DEPTH_MAX} that include each other"
            ));
        }
        if self.bytes > BYTES_MAX {
            return refuse(format!("more than {} MiB; is it an nginx file?", BYTES_MAX >> 20));
        }
        let shown: Rc<str> = path.display().to_string().into();
        let text = String::from_utf8_lossy(bytes);
        let directives = parse(&text, &shown, &mut self.count)?;
        self.open.push(path.to_owned());
        let expanded = self.expand(directives);
        self.open.pop();
        expanded
    }

    fn expand(&mut self, directives: Vec<Directive>) -> Result<Vec<Directive>, Broken> {
        let mut expanded = Vec::with_capacity(directives.len());
        for mut directive in directives {
            if directive.name == "include" && directive.block.is_none() {
                expanded.extend(self.included(&directive)?);
                expanded.push(directive);
                continue;
            }
            directive.block = directive.block.map(|block| self.expand(block)).transpose()?;
            expanded.push(directive);
        }
        Ok(expanded)
    }

    fn included(&mut self, directive: &Directive) -> Result<Vec<Directive>, Broken> {
        let pattern = Path::new(directive.arg(0));
        let is_pattern = directive.arg(0).contains(['*', '?', '[']);
        let above = self.folder.parent().unwrap_or(self.folder);
        let mut directives = Vec::new();
        for folder in [self.folder, above] {
            let path = folder.join(pattern);
            let found = if is_pattern { self.files.matching(&path) } else { vec![path] };
            for path in found {
                match self.files.read(&path) {
                    Ok(bytes) => {
                        directives.extend(self.file(&path, &bytes, &directive.at)?);
                        self.ledger.carry(directive);
                    }
                    Err(error) if is_pattern || error.kind() != io::ErrorKind::NotFound => {
                        let why = format!("{} cannot be read: {error}", path.display());
                        self.ledger.left(directive, why);
                    }
                    Err(_) => {}
                }
            }
            if self.ledger.is_known(directive) {
                return Ok(directives);
            }
        }
        match is_pattern {
            // As for nginx, a pattern without files is nothing.
            true => self.ledger.unneeded(directive, "no file fits the pattern"),
            false if pattern.ends_with("mime.types") => {
                self.ledger.unneeded(directive, "lbd serves no files");
            }
            false => self.ledger.left(directive, "there is no such file"),
        }
        Ok(directives)
    }
}
