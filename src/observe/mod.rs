//! What people and programs look at: the access log, the metrics and the spans.

pub mod access_log;
pub mod metrics;
pub mod spans;

/// What one worker has gathered for threads that write.
#[derive(Debug, Default)]
pub struct Gathered {
    /// Lines of access logs.
    pub lines: access_log::Buffers,
    /// Spans.
    pub spans: spans::Buffers,
}

impl Gathered {
    /// Hands on what was gathered.
    pub fn flush(&self) {
        self.lines.flush();
        self.spans.flush();
    }
}
