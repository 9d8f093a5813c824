//! Where a body ends.

use crate::edge::chunks::Chunks;

/// What is left of a body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Body {
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked(Chunks),
    /// Everything until the endpoint closes the connection.
    UntilClosed,
}

impl Body {
    /// A chunked body of which nothing has come yet.
    pub fn chunked() -> Self {
        Self::Chunked(Chunks::default())
    }

    /// Whether it is complete.
    pub fn is_done(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunks) => chunks.is_done(),
            Self::UntilClosed => false,
        }
    }
}
