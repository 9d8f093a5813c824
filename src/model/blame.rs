//! Whose fault a failed request is. Decided once per request.

/// Why a request failed, and so whose fault it is.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Blame {
    /// The endpoint answered with a 5xx status.
    Upstream5xx,
    /// No connection could be made.
    Connect,
    /// The endpoint did not answer, or did not go on, in time.
    Timeout,
    /// The endpoint broke the connection.
    Reset,
    /// The endpoint did not speak HTTP.
    Protocol,
    /// The client went away: nobody's fault here.
    ClientAbort,
}

impl Blame {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 6] = [
        Self::Upstream5xx,
        Self::Connect,
        Self::Timeout,
        Self::Reset,
        Self::Protocol,
        Self::ClientAbort,
    ];

    /// The word for it in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Upstream5xx => "upstream-5xx",
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Reset => "reset",
            Self::Protocol => "protocol",
            Self::ClientAbort => "client-abort",
        }
    }

    /// Whether it counts against the pool.
    pub const fn is_upstream(self) -> bool {
        !matches!(self, Self::ClientAbort)
    }
}
