//! How `lbctl` ends: the exit codes, and what goes wrong on the way to them.

use std::{path::PathBuf, process::ExitCode};

use crate::{
    api::types::Failure,
    model::{Millis, Refusal},
};

/// Exit codes of `lbctl`. Deploy scripts rely on them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Exit {
    /// Done, or there was nothing to do.
    Done = 0,
    /// It was tried and failed.
    Failed = 1,
    /// The command line, or the file given to `config check`, is wrong.
    Usage = 2,
    /// The daemon cannot be reached.
    Unreachable = 3,
    /// The daemon refused; nothing was changed.
    Refused = 4,
    /// It took too long.
    TimedOut = 5,
    /// What was waited for ended in a rollback.
    RolledBack = 6,
    /// What was waited for is held or undecided.
    Held = 7,
}

impl Exit {
    /// All codes, in order.
    pub const ALL: &[Self] = &[
        Self::Done,
        Self::Failed,
        Self::Usage,
        Self::Unreachable,
        Self::Refused,
        Self::TimedOut,
        Self::RolledBack,
        Self::Held,
    ];

    /// The code as the shell sees it.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// What it means, as help and manual say it.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Usage => "wrong usage, or a bad config file",
            Self::Unreachable => "daemon unreachable",
            Self::Refused => "refused, nothing changed",
            Self::TimedOut => "timed out",
            Self::RolledBack => "ended in rollback",
            Self::Held => "held or undecided",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a verb did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// What was typed reads well but makes no sense.
    #[error("{problem}")]
    Usage {
        /// What is wrong.
        problem: String,
        /// What to write instead.
        hint: &'static str,
    },

    /// Nobody answers at the socket.
    #[error("cannot reach lbd at {}: {}", socket.display(), reason(error))]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// Why not.
        error: std::io::Error,
    },

    /// The connection ended before the reply did.
    #[error("lost the connection to lbd at {}: {error}", socket.display())]
    Lost {
        /// The socket.
        socket: PathBuf,
        /// What the connection says.
        error: String,
    },

    /// There was no reply in time.
    #[error("lbd did not answer within {0}")]
    NoAnswer(Millis),

    /// What was waited for did not come in time.
    #[error("gave up after {limit}: {left}")]
    StillWaiting {
        /// How long it was waited.
        limit: Millis,
        /// What is left.
        left: String,
    },

    /// What was waited for ended otherwise.
    #[error("{problem}")]
    EndedOtherwise {
        /// The exit code that this is.
        exit: Exit,
        /// What came instead.
        problem: String,
        /// What to do.
        hint: &'static str,
    },

    /// The daemon said no, or failed.
    #[error("{}", failure.error)]
    Answered {
        /// The HTTP status.
        status: u16,
        /// What it said.
        failure: Failure,
    },

    /// The reply is not what this release understands.
    #[error("the reply of lbd makes no sense to this lbctl: {0}")]
    Garbled(String),

    /// Reading or writing on this machine failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such socket".into(),
        std::io::ErrorKind::PermissionDenied => "permission denied".into(),
        std::io::ErrorKind::ConnectionRefused => "connection refused, nobody listens there".into(),
        _ => error.to_string(),
    }
}

impl Trouble {
    /// The exit code that it ends in.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage { .. } => Exit::Usage,
            Self::Unreachable { .. } | Self::Lost { .. } => Exit::Unreachable,
            Self::NoAnswer(_) | Self::StillWaiting { .. } => Exit::TimedOut,
            Self::Answered { status: 400..=499, .. } => Exit::Refused,
            Self::Answered { failure, .. } if Refusal::CODES.contains(&failure.code.as_str()) => {
                Exit::Refused
            }
            Self::EndedOtherwise { exit, .. } => *exit,
            // A reader that has seen enough, as in `lbctl events | head`, is no failure.
            Self::Io(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Exit::Done,
            Self::Answered { .. } | Self::Garbled(_) | Self::Io(_) => Exit::Failed,
        }
    }

    /// What to do about it; may be empty.
    pub fn hint(&self) -> &str {
        match self {
            Self::Usage { hint, .. } | Self::EndedOtherwise { hint, .. } => hint,
            Self::Unreachable { error, .. } => match error.kind() {
                std::io::ErrorKind::PermissionDenied => {
                    "use sudo, or have your user listed in admin.operators or admin.viewers \
                     and in the socket's group"
                }
                _ => {
                    "is lbd running? see `systemctl status lbd`; \
                     --socket or LBCTL_SOCKET names another socket"
                }
            },
            Self::Lost { .. } => {
                "see `systemctl status lbd`; `lbctl status` shows what is in force"
            }
            Self::NoAnswer(_) => "`lbctl status` shows what is in force; --timeout gives it longer",
            Self::StillWaiting { .. } => "the command itself is in force; --timeout waits longer",
            Self::Answered { failure, .. } => &failure.hint,
            Self::Garbled(_) => "compare the releases with `lbctl version`",
            Self::Io(_) => "",
        }
    }

    /// Whether the daemon refused for the reason that `code` stands for.
    pub fn is_refusal(&self, code: &str) -> bool {
        matches!(self, Self::Answered { failure, .. } if failure.code == code)
    }

    /// Whether the daemon may only be away for a while.
    pub fn is_absence(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Lost { .. } | Self::NoAnswer(_) => true,
            Self::Usage { .. }
            | Self::StillWaiting { .. }
            | Self::EndedOtherwise { .. }
            | Self::Answered { .. }
            | Self::Garbled(_)
            | Self::Io(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};

    use super::*;

    fn answered(status: u16, code: &str) -> Trouble {
        let failure = Failure { error: "no".into(), code: code.into(), hint: "yes".into() };
        Trouble::Answered { status, failure }
    }

    fn ended(exit: Exit) -> Trouble {
        Trouble::EndedOtherwise { exit, problem: String::new(), hint: "" }
    }

    fn unreachable(kind: ErrorKind) -> Trouble {
        Trouble::Unreachable { socket: "/run/x".into(), error: Error::from(kind) }
    }

    #[test]
    fn codes_count_from_zero_and_have_meanings() {
        for (n, exit) in Exit::ALL.iter().enumerate() {
            assert_eq!(usize::from(exit.code()), n);
            assert!(!exit.meaning().is_empty());
        }
    }

    #[test]
    fn every_trouble_has_its_exit_code() {
        for (trouble, exit) in [
            (Trouble::Usage { problem: String::new(), hint: "" }, Exit::Usage),
            (unreachable(ErrorKind::NotFound), Exit::Unreachable),
            (Trouble::Lost { socket: "/x".into(), error: String::new() }, Exit::Unreachable),
            (Trouble::NoAnswer(Millis(1)), Exit::TimedOut),
            (Trouble::StillWaiting { limit: Millis(1), left: String::new() }, Exit::TimedOut),
            (answered(401, "unauthorized"), Exit::Refused),
            (answered(403, "forbidden"), Exit::Refused),
            (answered(404, "unknown_pool"), Exit::Refused),
            (answered(409, "nowhere_else"), Exit::Refused),
            (answered(412, "stale_revision"), Exit::Refused),
            (answered(507, "state_not_written"), Exit::Refused),
            (answered(500, "internal"), Exit::Failed),
            (answered(500, "checks_failed"), Exit::Refused),
            (ended(Exit::RolledBack), Exit::RolledBack),
            (ended(Exit::Held), Exit::Held),
            (Trouble::Garbled(String::new()), Exit::Failed),
            (Trouble::Io(ErrorKind::PermissionDenied.into()), Exit::Failed),
            (Trouble::Io(ErrorKind::BrokenPipe.into()), Exit::Done),
        ] {
            assert_eq!(trouble.exit(), exit, "{trouble:?}");
        }
    }

    #[test]
    fn an_unreachable_daemon_is_explained() {
        let away = unreachable(ErrorKind::NotFound);
        assert_eq!(away.to_string(), "cannot reach lbd at /run/x: there is no such socket");
        assert!(away.hint().contains("systemctl status lbd"));
        assert!(unreachable(ErrorKind::PermissionDenied).hint().contains("admin.operators"));
        let refused = unreachable(ErrorKind::ConnectionRefused).to_string();
        assert!(refused.contains("connection refused"), "{refused}");
    }
}
