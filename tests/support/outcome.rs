//! How a program ended.

use std::{
    fs::File,
    path::Path,
    process::{Command, Stdio},
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
    /// Runs a program to its end, a minute at most. Output goes through files in `folder`, so that
    /// no pipe can fill up.
    pub fn of(command: &mut Command, folder: &Path) -> Self {
        const PATIENCE: Duration = Duration::from_secs(60);
        let unique = format!("{:x}", fastrand::u64(..));
        let place = |kind: &str| folder.join(format!("{kind}-{unique}"));
        let line = format!("{command:?}");
        let mut child = command
            .stdin(Stdio::null())
            .stdout(File::create(place("stdout")).unwrap())
            .stderr(File::create(place("stderr")).unwrap())
            .spawn()
            .unwrap_or_else(|error| panic!("{line} cannot be started: {error}"));
        let status = within(PATIENCE, || child.try_wait().unwrap());
        if status.is_none() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let read =
            |kind| String::from_utf8_lossy(&std::fs::read(place(kind)).unwrap()).into_owned();
        let (stdout, stderr) = (read("stdout"), read("stderr"));
        let Some(status) = status else {
            panic!("{line} did not end within {PATIENCE:?}\n{stdout}\n{stderr}")
        };
        Self { line, code: status.code().unwrap_or(-1), stdout, stderr }
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
