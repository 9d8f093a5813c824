//! Any text is an nginx file or none, with a reason, never a panic; and what comes of it is TOML that
//! the config check reads to its end.
#![no_main]

use std::{
    io,
    path::{Path, PathBuf},
};

use lbd::{
    config,
    import::{Files, import},
};
use libfuzzer_sys::fuzz_target;

/// The first part is the file, the second is what it may include.
struct Two<'b>(&'b [u8], &'b [u8]);

impl Files for Two<'_> {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        match path.to_str() {
            Some("/n/a") => Ok(self.0.to_vec()),
            Some("/n/b") => Ok(self.1.to_vec()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn matching(&self, _: &Path) -> Vec<PathBuf> {
        vec!["/n/b".into()]
    }
}

fuzz_target!(|bytes: &[u8]| {
    let parts: Vec<&[u8]> = bytes.splitn(2, |byte| *byte == 0).collect();
    let files = Two(parts[0], parts.get(1).copied().unwrap_or_default());
    match import(Path::new("/n/a"), Path::new("/n"), &files) {
        Ok(imported) => {
            if let Err(problems) = config::check(&imported.config, &|_| Ok(String::new())) {
                // The checker may say no, as to two listeners of one address, but not to the syntax.
                let syntax = problems.list.iter().find(|problem| problem.key == "syntax");
                assert!(syntax.is_none(), "{problems}\n{}", imported.config);
            }
        }
        Err(broken) => assert!(!broken.why.is_empty(), "refused without a reason"),
    }
});
