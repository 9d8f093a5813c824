//! How a program ended.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::within;

/// How a program ended, and what it said.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub line: String,
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    /// Runs a program to its end, a minute at most.
    pub fn of(command: &mut Command, folder: &Path) -> Self {
        Begun::start(command, folder).ended()
    }

    /// Asserts that it ended well, and returns what it printed.
    #[track_caller]
    pub fn succeeds(self) -> String {
        assert_eq!(self.code, 0, "{}\n{}\n{}", self.line, self.stdout, self.stderr);
        self.stdout
    }

    /// Asserts the code it failed with, and that it told why on standard error, which is returned.
    #[track_caller]
    pub fn fails_with(self, code: i32) -> String {
        assert_eq!(self.code, code, "{}\n{}\n{}", self.line, self.stdout, self.stderr);
        assert!(!self.stderr.trim().is_empty(), "{} failed without a word", self.line);
        self.stderr
    }

    /// Asserts that it ended well, and reads what it printed as JSON.
    #[track_caller]
    pub fn json(self) -> serde_json::Value {
        let text = self.succeeds();
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("no JSON: {e}: {text}"))
    }
}

/// A program that runs. Output goes through files in its folder, so that no pipe can fill up.
pub struct Begun {
    line: String,
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Begun {
    pub fn new(mut command: Command, folder: &Path) -> Self {
        Self::start(&mut command, folder)
    }

    fn start(command: &mut Command, folder: &Path) -> Self {
        let unique = format!("{:x}", fastrand::u64(..));
        let [stdout, stderr] = ["stdout", "stderr"].map(|k| folder.join(format!("{k}-{unique}")));
        let line = format!("{command:?}");
        let child = command
            .stdin(Stdio::null())
            .stdout(File::create(&stdout).unwrap())
            .stderr(File::create(&stderr).unwrap())
            .spawn()
            .unwrap_or_else(|error| panic!("{line} cannot be started: {error}"));
        Self { line, child, stdout, stderr }
    }

    /// Waits until it ends, a minute at most.
    pub fn ended(mut self) -> Outcome {
        const PATIENCE: Duration = Duration::from_secs(60);
        let status = within(PATIENCE, || self.child.try_wait().unwrap());
        if status.is_none() {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
        let read = |file| String::from_utf8_lossy(&std::fs::read(file).unwrap()).into_owned();
        let (stdout, stderr) = (read(&self.stdout), read(&self.stderr));
        let line = std::mem::take(&mut self.line);
        let Some(status) = status else {
            panic!("{line} did not end within {PATIENCE:?}\n{stdout}\n{stderr}")
        };
        Outcome { line, code: status.code().unwrap_or(-1), stdout, stderr }
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        // It has ended, unless the test failed meanwhile or lost interest.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
